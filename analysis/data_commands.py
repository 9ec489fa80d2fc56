"""Subcommands for what was recorded: look at one request, delete, export, ship, merge."""

from pathlib import Path

import click

__all__ = ["inspect"]

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
