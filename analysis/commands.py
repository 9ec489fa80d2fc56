"""The evidence's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from analysis.data_commands import inspect, purge
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
    found = _made(store, trial, origin, since, blind=blind)
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


def _made(
    store: Path | None, trial: str | None, origin: str | None, since: str | None, *, blind: bool
) -> dict[str, object]:
    from analysis import report as reports
    from analysis.source import SqliteSource
    from codetrial.paths import default_database
    from codetrial.records import Origin

    source = SqliteSource(store or default_database())
    try:
        return reports.make(
            source, trial=trial, origin=Origin(origin) if origin else None, since=_date(since), blind=blind
        )
    finally:
        source.close()


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


commands: Mapping[str, Sequence[click.Command]] = {"Run": before.commands, "Look": (report, inspect), "Share": (purge,)}
