"""Subcommands about money: what each arm costs, and how much a machine of one's own would serve."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codetrial.options import (
    ARM,
    concurrency_option,
    config_option,
    database,
    echo_json,
    html_option,
    json_option,
    origin_option,
    store_option,
    trial_option,
)

if TYPE_CHECKING:
    from analysis.cost import Hosting

__all__ = ["cost", "gpu_options", "hosting_of", "hosting_options"]

GPU_OPTIONS = (
    click.option(
        "--gpu-usd",
        type=click.FloatRange(0, min_open=True),
        help="Price of a GPU hour of your own; without it self-hosting is not computed.",
    ),
    click.option(
        "--per-second",
        type=click.FloatRange(0, min_open=True),
        help="Completions a second of one GPU, as `codetrial cost probe` measured.",
    ),
    click.option("--replicas", type=click.IntRange(1), default=2, help="GPUs that always run."),
    click.option("--operations-usd", type=click.FloatRange(0), default=0.0, help="People and the rest, a month."),
)
"""What a machine of one's own costs and does."""

_HOSTING = (
    *GPU_OPTIONS,
    click.option(
        "--utilisation", type=click.FloatRange(0.01, 1), default=0.7, help="Share of the throughput to plan with."
    ),
    click.option("--peak", type=click.FloatRange(1), default=3.0, help="Busiest hour over the mean hour of work."),
    click.option("--hours-per-day", type=click.FloatRange(0.1, 24), default=9.0, help="Hours in which people work."),
    click.option(
        "--hours-on", type=click.FloatRange(1, 730), default=730.0, help="Hours a month in which GPUs are paid."
    ),
    click.option("--against", type=ARM, help="Arm to compare with; by default the one paid by use."),
)
"""And how it is used, for the break-even."""


def gpu_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(GPU_OPTIONS):
        command = option(command)
    return command


def hosting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_HOSTING):
        command = option(command)
    return command


def hosting_of(given: Mapping[str, Any]) -> "Hosting | None":
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


@click.group(invoke_without_command=True, epilog="Example:  codetrial cost --gpu-usd 2.5 --per-second 12")
@store_option
@trial_option
@origin_option
@hosting_options
@html_option
@json_option
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
    machine = hosting_of(hosting)
    from analysis.cost_report import gather_costs, print_costs, print_review_costs
    from analysis.source import SqliteSource
    from codetrial.records import ArmLabel, Origin

    source = SqliteSource(database(store))
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
        echo_json(found)
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


@cost.command("probe", epilog="Example:  codetrial cost probe --arm B --requests 64 --concurrency 8")
@config_option
@click.option("--arm", "which", type=ARM, required=True, help="The arm whose endpoint to load.")
@click.option("--requests", type=click.IntRange(1, 10_000), default=32, help="How many; an API may charge for each.")
@concurrency_option
@json_option
def cost_probe(config_file: Path | None, which: str, requests: int, concurrency: int, as_json: bool) -> None:
    """Load an arm's endpoint with ordinary prompts (Python's own library, none of your code) and measure it."""
    import asyncio

    from analysis.cost_report import Throughput, probe, sample_prompts
    from analysis.report import words
    from codetrial import trust
    from codetrial.arms import build
    from codetrial.config import load
    from codetrial.records import ArmLabel

    config = load(Path.cwd(), config_file=config_file)
    label = ArmLabel(which)

    async def measure() -> Throughput:
        arm = build(config.arms[label], label, templates=config.templates)
        trust.require(config, (arm.definition,))
        try:
            return await probe(arm, sample_prompts(requests), concurrency=concurrency)
        finally:
            await arm.aclose()

    found = asyncio.run(measure())
    if as_json:
        echo_json(dataclasses.asdict(found))
        return
    click.echo(
        f"{found.requests} requests, {found.concurrency} at a time, in {found.seconds:.1f} s; {found.failed} failed.\n"
        f"{found.completions_per_s:.2f} completions a second (for --per-second, if one GPU served them)\n"
        f"tokens a second: {words.count(found.tokens_in_per_s)} in, {words.count(found.tokens_out_per_s)} out\n"
        f"latency: median {words.ms(found.latency_p50_ms)}, 95th percentile {words.ms(found.latency_p95_ms)}"
    )
