"""Subcommands for what was recorded: look at one request, delete, export, ship, merge."""

from pathlib import Path

import click

__all__ = ["export", "inspect", "purge"]

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


@click.command(epilog="Example:  codetrial export pairs/ --origin person --form preference")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_store
@click.option(
    "--origin",
    type=click.Choice(["person", "replay", "test"]),
    required=True,
    help="Whose decisions; only those of a person are evidence about people.",
)
@click.option("--form", type=click.Choice(["fim", "preference"]), default="fim", help="What a row is.")
@click.option("--trial", metavar="ID|NAME", help="Only this trial.")
@click.option("--arm", type=click.Choice(["A", "B"]), help="Only suggestions of this arm.")
@click.option(
    "--split",
    "split_by",
    type=click.Choice(["time", "repository", "developer"]),
    multiple=True,
    default=["time"],
    help="What train and test must not share; several may be given.",
)
@click.option("--shares", default="0.8,0.1,0.1", metavar="A,B,C", help="Of train, validation and test.")
@click.option("--horizon", default="120s", help="When what was written counts as what the person wanted.")
@click.option("--min-kept", type=click.FloatRange(0, 1), help="Leave out accepted texts that were not kept so far.")
@click.option("--unseen", is_flag=True, help="Add pairs over the other arm's text, which nobody was shown: a guess.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Its [privacy] rules are applied.")
def export(
    folder: Path,
    database: Path | None,
    origin: str,
    form: str,
    trial: str | None,
    arm: str | None,
    split_by: tuple[str, ...],
    shares: str,
    horizon: str,
    min_kept: float | None,
    unseen: bool,
    config_file: Path | None,
) -> None:
    """Write accepted and rejected suggestions into FOLDER as JSON lines, for a fine-tune pilot.

    Needs recorded texts. Each row says where it comes from; whether a model's terms allow training on what it wrote is
    for you to check, and --arm leaves one out.
    """
    from analysis import export as exporting
    from analysis.store import Store
    from codetrial.config import load
    from codetrial.records import ArmLabel, Origin

    order = exporting.Order(
        origin=Origin(origin),
        form=exporting.Form(form),
        trial=trial,
        arm=ArmLabel(arm) if arm else None,
        split_by=tuple(exporting.SplitBy(by) for by in dict.fromkeys(split_by)),
        shares=_shares(shares),
        horizon=horizon,
        min_kept=min_kept,
        with_unseen=unseen,
    )
    privacy = load(Path.cwd(), config_file=config_file).privacy
    with Store(_database(database), readonly=True) as store:
        done = exporting.export(store, folder, order, privacy)
    for name, rows in done.rows.items():
        click.echo(f"{rows:>9,} rows  {done.folder / name}.jsonl")
    for reason, number in sorted(done.left_out.items()):
        click.echo(f"{number:>9,} left out: {reason}")
    for note in done.notes:
        click.echo(note)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not three numbers such as 0.8,0.1,0.1.") from None
    if min(train, validation, test) < 0 or abs(train + validation + test - 1) > 1e-9:
        raise click.BadParameter(f"{text!r} must be three shares that make 1.")
    return train, validation, test
