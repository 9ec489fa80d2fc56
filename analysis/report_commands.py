"""Subcommands that say what a trial has shown: report, watch, explore."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.cost_commands import hosting_of, hosting_options
from codetrial.options import database, echo_json, html_option, json_option, origin_option, store_option, trial_option

if TYPE_CHECKING:
    from analysis.cost import Hosting
    from analysis.source import Source
    from codetrial.records import ArmLabel

__all__ = ["explore", "report", "watch"]


@click.command(epilog="Example:  codetrial report --html report.html --open")
@store_option
@trial_option
@origin_option
@click.option("--door", type=click.Choice(["completions", "reviews"]), help="One alone; by default each that has data.")
@click.option("--from", "shipped", metavar="URL", help="Read what `codetrial ship` wrote here instead of a database.")
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "clickhouse", "spark"]),
    default="duckdb",
    help="What reads it, for --from.",
)
@click.option("--fresh", is_flag=True, help="Read every row, not the sums of finished sessions.")
@click.option("--since", metavar="DATE", help="Leave out sessions that started before this date, such as 2026-03-01.")
@click.option("--by", metavar="WHAT", help="Also by language, place, developer-hash, or several of these with commas.")
@click.option("--published", "with_published", is_flag=True, help="Also by definitions that others have published.")
@html_option
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the numbers as CSV, one a row.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a summary for a pull request or a chat.")
@click.option("--schema", "print_schema", is_flag=True, help="Print the JSON schema and end.")
@click.option("--blind", is_flag=True, help="Hide the arms' names until the trial is decided.")
@hosting_options
def report(
    store: Path | None,
    trial: str | None,
    origin: str | None,
    door: str | None,
    shipped: str | None,
    engine: str,
    fresh: bool,
    since: str | None,
    by: str | None,
    with_published: bool,
    html_file: Path | None,
    open_page: bool,
    as_json: bool,
    as_csv: bool,
    as_markdown: bool,
    print_schema: bool,
    blind: bool,
    **hosting: Any,
) -> None:
    """Say which model people keep using, with honest intervals, or "not yet"."""
    from analysis import report as reports

    if print_schema:
        echo_json(reports.schema())
        return
    if sum((as_json, as_csv, as_markdown)) > 1:
        raise click.UsageError("Choose one of --json, --csv and --markdown.")
    from codetrial.records import ArmLabel

    found = _made(
        _opened(store, shipped, engine, fresh=fresh),
        trial,
        origin,
        since,
        door=door,
        by=by,
        with_published=with_published,
        blind=blind,
        hosting=hosting_of(hosting),
        against=ArmLabel(hosting["against"]) if hosting["against"] else None,
    )
    if open_page and html_file is None:
        from codetrial.paths import data_dir

        html_file = data_dir() / "report.html"
    if html_file is not None:
        reports.write_html(found, html_file)
    if as_json:
        echo_json(found)
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


def _made(
    source: "Source",
    trial: str | None,
    origin: str | None,
    since: str | None,
    *,
    blind: bool,
    door: str | None = None,
    by: str | None = None,
    with_published: bool = False,
    hosting: "Hosting | None" = None,
    against: "ArmLabel | None" = None,
) -> dict[str, Any]:
    from analysis import report as reports
    from analysis.breakdown import dimensions
    from analysis.doors import DoorName
    from codetrial.records import Origin

    try:
        return reports.make(
            source,
            trial=trial,
            door=DoorName(door) if door else None,
            origin=Origin(origin) if origin else None,
            since=_date(since),
            blind=blind,
            by=dimensions(by) if by is not None else (),
            with_published=with_published,
            hosting=hosting,
            against=against,
        )
    finally:
        source.close()


FEW_SESSIONS = 50
"""Are read sooner than summed up."""

MOST_SESSIONS = 100
"""A second's work. A large store without sums is read row by row, which is three times as quick as summing it all up
first; this report and those after it, writers and `codetrial ship` sum up the rest bit by bit."""


def _opened(store: Path | None, shipped: str | None, engine: str, *, fresh: bool = False) -> "Source":
    if shipped is not None:
        if store is not None:
            raise click.UsageError("Name either a database with --store or shipped files with --from.")
        from analysis.engines import open_shipped

        return open_shipped(shipped, engine, fresh=fresh)
    from analysis.source import SqliteSource
    from analysis.summing import sum_up_finished

    path = database(store)
    if not fresh:
        sum_up_finished(path, least=FEW_SESSIONS, most=MOST_SESSIONS)
    return SqliteSource(path, fresh=fresh)


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


@click.command(epilog="Example:  codetrial watch --every 5")
@store_option
@trial_option
@origin_option
@click.option("--every", "every_s", type=click.FloatRange(0.5), default=5.0, help="Seconds between looks.")
@click.option("--rounds", type=click.IntRange(1), help="End after so many looks; by default at Ctrl-C.")
@click.option("--blind/--names", default=True, help="Hide the arms' names until the trial is decided.")
def watch(
    store: Path | None, trial: str | None, origin: str | None, every_s: float, rounds: int | None, blind: bool
) -> None:
    """Follow a running trial in the terminal; looking as often as you like changes nothing."""
    from rich.console import Console

    from analysis.watching import watch as look

    look(
        lambda: _made(_opened(store, None, "duckdb"), trial, origin, None, blind=blind),
        Console(highlight=False),
        every_s=every_s,
        rounds=rounds,
    )


@click.command(epilog="Example:  codetrial explore --port 8001")
@store_option
@click.option("--port", type=click.IntRange(1, 65535), default=8001, help="On this machine only.")
def explore(store: Path | None, port: int) -> None:
    """Open the database in Datasette with ready questions."""
    from analysis.watching import explore as open_datasette

    open_datasette(database(store), port=port)
