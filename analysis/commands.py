"""The evidence's subcommands, by section of the command map."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from analysis.cost import Hosting
    from analysis.source import Source
    from codetrial.records import ArmLabel

from analysis.audit_commands import audit, rescore, retention
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


_HOSTING = (
    click.option(
        "--gpu-usd",
        type=click.FloatRange(0, min_open=True),
        help="Price of a GPU hour of your own; without it no break-even.",
    ),
    click.option(
        "--per-second",
        type=click.FloatRange(0, min_open=True),
        help="Completions a second of one GPU, as `codetrial cost probe` measured.",
    ),
    click.option("--replicas", type=click.IntRange(1), default=2, help="GPUs that always run."),
    click.option(
        "--utilisation", type=click.FloatRange(0.01, 1), default=0.7, help="Share of the throughput to plan with."
    ),
    click.option("--peak", type=click.FloatRange(1), default=3.0, help="Busiest hour over the mean hour of work."),
    click.option("--hours-per-day", type=click.FloatRange(0.1, 24), default=9.0, help="Hours in which people work."),
    click.option(
        "--hours-on", type=click.FloatRange(1, 730), default=730.0, help="Hours a month in which GPUs are paid."
    ),
    click.option("--operations-usd", type=click.FloatRange(0), default=0.0, help="People and the rest, a month."),
    click.option(
        "--against", type=click.Choice(["A", "B"]), help="Arm to compare with; by default the one paid by use."
    ),
)
"""What a machine of one's own is assumed to be, for the break-even."""


def _hosting(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_HOSTING):
        command = option(command)
    return command


def _hosting_of(given: Mapping[str, Any]) -> "Hosting | None":
    """The machine that the options describe; None if they describe none."""
    gpu_usd, per_second = given["gpu_usd"], given["per_second"]
    if (gpu_usd is None) != (per_second is None):
        raise click.UsageError("--gpu-usd and --per-second go together; `codetrial cost probe` measures the second.")
    if gpu_usd is None:
        return None
    from analysis.cost import Hosting

    return Hosting(
        gpu_usd_per_hour=gpu_usd,
        completions_per_s=per_second,
        replicas=given["replicas"],
        utilisation=given["utilisation"],
        peak=given["peak"],
        hours_per_day=given["hours_per_day"],
        hours_on_per_month=given["hours_on"],
        operations_usd_per_month=given["operations_usd"],
    )


@click.command(epilog="Example:  codetrial report --html report.html --open")
@_store
@_trial
@_origin
@click.option("--door", type=click.Choice(["completions", "reviews"]), help="One alone; by default each that has data.")
@click.option("--from", "shipped", metavar="URL", help="Read what `codetrial ship` wrote here instead of a database.")
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "clickhouse", "spark"]),
    default="duckdb",
    help="What reads it, for --from.",
)
@click.option("--fresh", is_flag=True, help="Read every row again, whatever an earlier report has kept.")
@click.option("--since", metavar="DATE", help="Leave out sessions that started before this date, such as 2026-03-01.")
@click.option("--by", metavar="WHAT", help="Also by language, place, developer-hash, or several of these with commas.")
@click.option("--published", "with_published", is_flag=True, help="Also by definitions that others have published.")
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page here.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON; --schema describes them.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the numbers as CSV, one a row.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a summary for a pull request or a chat.")
@click.option("--schema", "print_schema", is_flag=True, help="Print the JSON schema and end.")
@click.option("--blind", is_flag=True, help="Hide the arms' names until the trial is decided.")
@_hosting
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
    import json

    from analysis import report as reports

    if print_schema:
        click.echo(json.dumps(reports.schema(), indent=2))
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
        hosting=_hosting_of(hosting),
        against=ArmLabel(hosting["against"]) if hosting["against"] else None,
    )
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


def _opened(store: Path | None, shipped: str | None, engine: str, *, fresh: bool = False) -> "Source":
    if shipped is not None:
        if store is not None:
            raise click.UsageError("Name either a database with --store or shipped files with --from.")
        from analysis.engines import open_shipped

        return open_shipped(shipped, engine, fresh=fresh)
    from analysis.source import SqliteSource

    return SqliteSource(_database(store), fresh=fresh)


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


@click.group(invoke_without_command=True, epilog="Example:  codetrial cost --gpu-usd 2.5 --per-second 12")
@_store
@_trial
@_origin
@_hosting
@click.option("--html", "html_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a page here.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.pass_context
def cost(
    ctx: click.Context,
    /,
    store: Path | None,
    trial: str | None,
    origin: str | None,
    html_file: Path | None,
    as_json: bool,
    **hosting: Any,
) -> None:
    """Say what each arm costs, and whether a machine of your own would be cheaper."""
    if ctx.invoked_subcommand is not None:
        return
    machine = _hosting_of(hosting)
    from analysis.cost_report import gather_costs, print_costs, print_review_costs
    from analysis.source import SqliteSource
    from codetrial.records import ArmLabel, Origin

    source = SqliteSource(_database(store))
    try:
        found = gather_costs(
            source,
            trial=trial,
            origin=Origin(origin) if origin else None,
            hosting=machine,
            against=ArmLabel(hosting["against"]) if hosting["against"] else None,
        )
    finally:
        source.close()
    if html_file is not None:
        from analysis.report import write_page
        from analysis.report.html import cost_page

        write_page(cost_page(found), html_file)
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if "arms" in found:
        print_costs(found, console)
    if found["reviews"] is not None:
        console.print()
        print_review_costs(found["reviews"], console)
    if html_file is not None:
        click.echo(f"The page: {html_file}")


@cost.command("probe", epilog="Example:  codetrial cost probe --arm b --requests 64 --concurrency 8")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="This file instead of codetrial.toml.")
@click.option("--arm", "which", type=click.Choice(["a", "b"]), required=True, help="The arm whose endpoint to load.")
@click.option("--requests", type=click.IntRange(1, 10_000), default=32, help="How many; an API may charge for each.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, help="How many at a time.")
def cost_probe(config_file: Path | None, which: str, requests: int, concurrency: int) -> None:
    """Load an arm's endpoint with ordinary prompts (Python's own library, none of your code) and measure it."""
    import asyncio

    from analysis.cost_report import Throughput, probe, sample_prompts
    from analysis.report import words
    from codetrial import trust
    from codetrial.arms import build
    from codetrial.config import load
    from codetrial.records import ArmLabel

    config = load(Path.cwd(), config_file=config_file)
    label = ArmLabel(which.upper())

    async def measure() -> Throughput:
        arm = build(config.arms[label], label, templates=config.templates)
        trust.require(config, (arm.definition,))
        try:
            return await probe(arm, sample_prompts(requests), concurrency=concurrency)
        finally:
            await arm.aclose()

    found = asyncio.run(measure())
    click.echo(
        f"{found.requests} requests, {found.concurrency} at a time, in {found.seconds:.1f} s; {found.failed} failed.\n"
        f"{found.completions_per_s:.2f} completions a second (for --per-second, if one GPU served them)\n"
        f"tokens a second: {words.count(found.tokens_in_per_s)} in, {words.count(found.tokens_out_per_s)} out\n"
        f"latency: median {words.ms(found.latency_p50_ms)}, 95th percentile {words.ms(found.latency_p95_ms)}"
    )


@click.command(epilog="Example:  codetrial watch --every 5")
@_store
@_trial
@_origin
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
@_store
@click.option("--port", type=click.IntRange(1, 65535), default=8001, help="On this machine only.")
def explore(store: Path | None, port: int) -> None:
    """Open the database in Datasette with ready questions."""
    from analysis.watching import explore as open_datasette

    open_datasette(_database(store), port=port)


commands: Mapping[str, Sequence[click.Command]] = {
    "Run": before.commands,
    "Look": (report, watch, explore, cost, inspect, audit, retention, rescore),
    "Share": (export, ship, merge, purge),
}
