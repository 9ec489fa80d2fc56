"""The evidence's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from analysis.source import Source

from analysis.audit_commands import audit, retention
from analysis.data_commands import export, inspect, purge
from analysis.replay import commands as before

__all__ = ["commands"]

_store = click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CODETRIAL_STORE",
    show_envvar=True,
    help="The database; by default the one in codetrial's data folder.",
)
_trial = click.option("--trial", metavar="ID|NAME", help="Which trial; by default the one that was last worked in.")
_origin = click.option(
    "--origin",
    type=click.Choice(["person", "replay", "test"]),
    help="Whose sessions. By default people's, or what there is if nobody has worked yet. Never mixed.",
)


@click.command(epilog="Example:  codetrial report --html report.html --open")
@_store
@_trial
@_origin
@click.option("--from", "shipped", metavar="URL", help="Read what `codetrial ship` wrote here instead of a database.")
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "clickhouse", "spark"]),
    default="duckdb",
    help="What reads it, for --from.",
)
@click.option("--since", metavar="DATE", help="Leave out sessions that started before this date, such as 2026-03-01.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON; --schema describes them.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the numbers as CSV, one a row.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a summary for a pull request or a chat.")
@click.option("--schema", "print_schema", is_flag=True, help="Print the JSON schema and end.")
@click.option("--blind", is_flag=True, help="Hide the arms' names until the trial is decided.")
def report(
    store: Path | None,
    trial: str | None,
    origin: str | None,
    shipped: str | None,
    engine: str,
    since: str | None,
    html_file: Path | None,
    open_page: bool,
    as_json: bool,
    as_csv: bool,
    as_markdown: bool,
    print_schema: bool,
    blind: bool,
) -> None:
    """Say which model people keep using, with honest intervals, or "not yet"."""
    import json

    from analysis import report as reports

    if print_schema:
        click.echo(json.dumps(reports.schema(), indent=2))
        return
    if sum((as_json, as_csv, as_markdown)) > 1:
        raise click.UsageError("Choose one of --json, --csv and --markdown.")
    found = _made(_opened(store, shipped, engine), trial, origin, since, blind=blind)
    if open_page and html_file is None:
        from codetrial.paths import data_dir

        html_file = data_dir() / "report.html"
    if html_file is not None:
        reports.write_html(found, html_file)
    if as_json:
        click.echo(json.dumps(found, indent=2, allow_nan=False))
    elif as_csv:
        from analysis.report.table import to_csv

        click.echo(to_csv(found), nl=False)
    elif as_markdown:
        from analysis.report.markdown import to_markdown

        click.echo(to_markdown(found), nl=False)
    else:
        from rich.console import Console

        from analysis.report.terminal import render

        render(found, Console(highlight=False))
        if html_file is not None:
            click.echo(f"\nThe page: {html_file}")
    if open_page and html_file is not None:
        click.launch(html_file.absolute().as_uri())


def _made(source: "Source", trial: str | None, origin: str | None, since: str | None, *, blind: bool) -> dict[str, Any]:
    from analysis import report as reports
    from codetrial.records import Origin

    try:
        return reports.make(
            source, trial=trial, origin=Origin(origin) if origin else None, since=_date(since), blind=blind
        )
    finally:
        source.close()


def _opened(store: Path | None, shipped: str | None, engine: str) -> "Source":
    if shipped is not None:
        if store is not None:
            raise click.UsageError("Name either a database with --store or shipped files with --from.")
        from analysis.engines import open_shipped

        return open_shipped(shipped, engine)
    from analysis.source import SqliteSource

    return SqliteSource(_database(store))


def _database(store: Path | None) -> Path:
    from codetrial.paths import default_database

    return store or default_database()


def _date(text: str | None) -> str | None:
    """An ISO date or time as it sorts beside stored times."""
    if text is None:
        return None
    from datetime import UTC, datetime

    from codetrial.clock import utc_text

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date such as 2026-03-01.", param_hint="--since") from None
    return utc_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@click.command(epilog="Example:  codetrial ship s3://bucket/codetrial")
@click.argument("destination", metavar="URL")
@_store
@_origin
def ship(destination: str, store: Path | None, origin: str | None) -> None:
    """Write finished sessions as Parquet, without any text, where a team can read them.

    Run it as often as you like: what is there already is left alone, and a run that was killed is finished.
    """
    from codetrial.errors import ConfigError
    from codetrial.records import Origin

    try:
        from analysis.ship import ship as ship_sessions
    except ImportError as fault:
        raise ConfigError(f"Shipping needs {fault.name}: pip install 'codetrial[parquet]'.") from fault

    done = ship_sessions(_database(store), destination, origin=Origin(origin) if origin else Origin.PERSON)
    click.echo(f"Shipped {done.sessions:,} sessions ({done.rows:,} rows) in {done.batches:,} batches to {destination}.")
    if done.open_sessions:
        click.echo(f"{done.open_sessions:,} sessions still run; they go with the next time.")


@click.command(epilog="Example:  codetrial merge team.db alice.db bob.db")
@click.argument("into", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--text/--no-text", default=False, help="Take the stored texts along.")
@click.option("--other-trials", is_flag=True, help="Take trials of the same name but another manifest along, apart.")
def merge(into: Path, sources: tuple[Path, ...], text: bool, other_trials: bool) -> None:
    """Join developers' databases into one; what is there already stays as it is."""
    from analysis.merge import merge as merge_stores

    for source in sources:
        merged = merge_stores(into, source, text=text, other_trials=other_trials)
        click.echo(f"{source}: {merged.rows:,} new rows, {merged.sessions:,} new sessions.")
        for warning in merged.warnings:
            click.echo(f"Warning: {warning}", err=True)


commands: Mapping[str, Sequence[click.Command]] = {
    "Run": before.commands,
    "Look": (report, inspect, audit, retention),
    "Share": (export, ship, merge, purge),
}
