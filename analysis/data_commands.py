"""Subcommands for what was recorded: look at one request, delete, export, ship, merge."""

from pathlib import Path

import click

__all__ = ["inspect", "purge"]

_store = click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path),
    envvar="CODETRIAL_STORE",
    show_envvar=True,
    help="Database; by default the one that codetrial.toml names, or codetrial.db in the data directory.",
)


def _database(given: Path | None) -> Path:
    """The file that recording in this folder writes to."""
    if given is not None:
        return given
    from codetrial.config import load
    from codetrial.paths import default_database

    configured = load(Path.cwd()).store.path
    return Path(configured).expanduser() if configured else default_database()


@click.command(epilog="Example:  codetrial inspect last")
@click.argument("task", default="last")
@_store
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--names", is_flag=True, help="Tell which models the arms are: you no longer take part blindly.")
def inspect(task: str, database: Path | None, as_json: bool, names: bool) -> None:
    """Show all that is known of one request: TASK is the beginning of its id, or `last`."""
    from rich.console import Console

    from analysis import inspection
    from analysis.store import Store

    with Store(_database(database), readonly=True) as store:
        seen = inspection.inspect(store, task)
    if as_json:
        click.echo(inspection.as_json(seen, with_names=names))
    else:
        inspection.show(seen, Console(), with_names=names)


@click.command(epilog="Example:  codetrial purge --text-only --older-than 30d")
@_store
@click.option("--text-only", is_flag=True, help="Delete texts (code) and keep every number.")
@click.option("--repository", metavar="WHICH", help="Only of this: a folder, a remote's URL, owner/name, or a hash.")
@click.option("--developer", metavar="WHO", help="Only of: me, a git e-mail address, a login, or a pseudonym.")
@click.option("--older-than", metavar="AGE", help="Only of episodes older than 30d, 12h, 2w, or before a date.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(
    database: Path | None,
    text_only: bool,
    repository: str | None,
    developer: str | None,
    older_than: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete recorded data for good: its bytes leave the database's files, and the files shrink.

    What is named together must hold together. Editors may go on working meanwhile.
    """
    from analysis import purge as purging
    from analysis.store import Store

    path = _database(database)
    with Store(path, readonly=True) as store:
        choice = purging.choose(
            store, text_only=text_only, repository=repository, developer=developer, older_than=older_than
        )
    click.echo(purging.announce(purging.find(path, choice), is_dry=dry_run))
    if dry_run:
        return
    if not yes:
        click.confirm(f"Delete this from {path}? It cannot be undone", abort=True)
    click.echo(purging.tell(purging.purge(path, choice)))
