"""Subcommands for what was recorded: look at one request, delete, export, ship, merge."""

import dataclasses
from pathlib import Path

import click

from codetrial.options import ARM, config_option, database, echo_json, json_option, store_option

__all__ = ["export", "inspect", "merge", "purge", "ship"]


@click.command(epilog="Example:  codetrial inspect last")
@click.argument("task", default="last")
@store_option
@json_option
@click.option("--names", is_flag=True, help="Tell which models the arms are: you no longer take part blindly.")
def inspect(task: str, store: Path | None, as_json: bool, names: bool) -> None:
    """Show all that is known of one request: TASK is the beginning of its id, or `last`."""
    from rich.console import Console

    from analysis import inspection
    from analysis.store import Store

    with Store(database(store), readonly=True) as opened:
        seen = inspection.inspect(opened, task)
    if as_json:
        click.echo(inspection.as_json(seen, with_names=names))
    else:
        inspection.show(seen, Console(), with_names=names)


@click.command(epilog="Example:  codetrial purge --text-only --older-than 30d")
@store_option
@click.option("--text-only", is_flag=True, help="Delete texts (code) and keep every number.")
@click.option("--repository", metavar="WHICH", help="Only of this: a folder, a remote's URL, owner/name, or a hash.")
@click.option("--developer", metavar="WHO", help="Only of: me, a git e-mail address, a login, or a pseudonym.")
@click.option("--older-than", metavar="AGE", help="Only of episodes older than 30d, 12h, 2w, or before a date.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(
    store: Path | None,
    text_only: bool,
    repository: str | None,
    developer: str | None,
    older_than: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete recorded data for good: its bytes leave the database's files, and the files shrink.

    What is named together must hold together. Editors may go on working meanwhile.
    """
    from analysis import purge as purging
    from analysis.store import Store

    if as_json and not (yes or dry_run):
        raise click.UsageError("--json does not ask: add --dry-run to look, or --yes to delete.")
    path = database(store)
    with Store(path, readonly=True) as opened:
        choice = purging.choose(
            opened, text_only=text_only, repository=repository, developer=developer, older_than=older_than
        )
    found = purging.find(path, choice)
    if not as_json:
        click.echo(purging.announce(found, is_dry=dry_run))
    if not dry_run and not yes:
        click.confirm(f"Delete this from {path}? It cannot be undone", abort=True)
    done = None if dry_run else purging.purge(path, choice)
    if as_json:
        echo_json({"found": dataclasses.asdict(found)} if done is None else dataclasses.asdict(done))
    elif done is not None:
        click.echo(purging.tell(done))


@click.command(epilog="Example:  codetrial export pairs/ --origin person --form preference")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@store_option
@click.option(
    "--origin",
    type=click.Choice(["person", "replay", "test"]),
    required=True,
    help="Whose decisions; only those of a person are evidence about people.",
)
@click.option("--form", type=click.Choice(["fim", "preference"]), default="fim", help="What a row is.")
@click.option("--trial", metavar="ID|NAME", help="Only this trial.")
@click.option("--arm", type=ARM, help="Only suggestions of this arm.")
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
@config_option
@json_option
def export(
    folder: Path,
    store: Path | None,
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
    as_json: bool,
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
    with Store(database(store, config_file), readonly=True) as opened:
        done = exporting.export(opened, folder, order, privacy)
    if as_json:
        echo_json(dataclasses.asdict(done))
        return
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


@click.command(epilog="Example:  codetrial ship s3://bucket/codetrial")
@click.argument("destination", metavar="URL")
@store_option
@click.option(
    "--origin",
    type=click.Choice(["person", "replay", "test"]),
    default="person",
    help="Whose sessions; only people's are evidence about people.",
)
@json_option
def ship(destination: str, store: Path | None, origin: str, as_json: bool) -> None:
    """Write finished sessions as Parquet, without any text, where a team can read them.

    Run it as often as you like: what is there already is left alone, and a run that was killed is finished.
    """
    from codetrial.errors import ConfigError
    from codetrial.records import Origin

    try:
        from analysis.ship import ship as ship_sessions
    except ImportError as fault:
        raise ConfigError(f"Shipping needs {fault.name}: pip install 'codetrial[parquet]'.") from fault

    done = ship_sessions(database(store), destination, origin=Origin(origin))
    if as_json:
        echo_json(dataclasses.asdict(done))
        return
    click.echo(f"Shipped {done.sessions:,} sessions ({done.rows:,} rows) in {done.batches:,} batches to {destination}.")
    if done.open_sessions:
        click.echo(f"{done.open_sessions:,} sessions still run; they go with the next time.")


@click.command(epilog="Example:  codetrial merge team.db alice.db bob.db")
@click.argument("into", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--text/--no-text", default=False, help="Take the stored texts along.")
@click.option("--other-trials", is_flag=True, help="Take trials of the same name but another manifest along, apart.")
@json_option
def merge(into: Path, sources: tuple[Path, ...], text: bool, other_trials: bool, as_json: bool) -> None:
    """Join developers' databases into one; what is there already stays as it is."""
    from analysis.merge import merge as merge_stores

    done = {}
    for source in sources:
        merged = merge_stores(into, source, text=text, other_trials=other_trials)
        done[str(source)] = dataclasses.asdict(merged)
        if not as_json:
            click.echo(f"{source}: {merged.rows:,} new rows, {merged.sessions:,} new sessions.")
        for warning in merged.warnings:
            click.echo(f"Warning: {warning}", err=True)
    if as_json:
        echo_json(done)
