"""`python -m bench.rehearsal`: play the fortnight, then hold every figure against the script's own account."""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console

from analysis.history import History, Selection
from bench.rehearsal import sittings
from bench.rehearsal.account import Sat
from bench.rehearsal.calendar import Calendar, build_library
from bench.rehearsal.desk import Desk, write_config
from bench.rehearsal.disk import small_disk
from bench.rehearsal.evidence import Evidence
from bench.rehearsal.ledger import Ledger
from bench.rehearsal.models import Switchboard, models
from bench.rehearsal.pulls import Week, compare_pulls, plans
from bench.rehearsal.repositories import build_all
from bench.rehearsal.reviewer import Reviewers
from bench.rehearsal.script import TEAM, Fault, Script, Sitting
from tests.fakehub.hub import Hub

AT_ONCE = 2
"""Developers who type at the same time: two models and two language servers are all that two cores carry."""

ALONE = (Fault.MODEL_HANGS, Fault.MODEL_SLOW)


@click.command()
@click.option("--quick", is_flag=True, help="One day instead of ten.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Leave the databases and pages here.")
@click.option("--seed", type=int, default=1, help="What the developers' whims are drawn from.")
def main(quick: bool, keep: Path | None, seed: int) -> None:
    """Rehearse a small team's fortnight; exits with 1 if a figure disagrees with what was scripted."""
    console = Console(highlight=False, width=150)
    script = Script.quick() if quick else Script.whole()
    began = time.monotonic()
    with _folder(keep) as folder:
        ledger = Ledger()
        asyncio.run(_play(script, folder, seed, ledger, console))
        ledger.show(console)
        (folder / "ledger.md").write_text(ledger.markdown(), encoding="utf-8")
    console.print(
        f"{len(ledger.entries)} claims, {ledger.failed} differ; {(time.monotonic() - began) / 60:.1f} minutes."
    )
    sys.exit(1 if ledger.failed else 0)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="codetrial-rehearsal-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _play(script: Script, folder: Path, seed: int, ledger: Ledger, console: Console) -> None:
    with ExitStack() as stack:
        histories = [stack.enter_context(History(path)) for path in build_all(console)]
        running = stack.enter_context(models())
        library = build_library(folder)
        reviewers = Reviewers()
        stack.enter_context(reviewers.serving())
        async with Switchboard(running) as board:
            config = write_config(folder, board.urls, reviewers.url)
            desks = [
                Desk(
                    developer=who, folder=folder / who.name, script=script, history=histories[who.repository],
                    changes=list(histories[who.repository].changes(Selection(languages=("python",)))), config=config,
                    library=library, runtime=folder / "run", board=board, rng=random.Random(f"{seed} {who.name}"),
                )
                for who in TEAM
            ]  # fmt: skip
            planned = _with_disks(script, desks, stack, ledger)
            stores = {desk.developer.name: desk.store for desk in desks}
            evidence = Evidence(folder=folder, stores=stores, bot=folder / "bot" / "bot.db", ledger=ledger)
            sat = await _type(planned, {desk.developer.name: desk for desk in desks}, console, evidence, script)
        week = _week(folder, config, script, library, reviewers, stack)
        await week.play(plans(histories, script.pulls))
        sittings.compare(desks, sat, ledger)
        compare_pulls(week, ledger)
        evidence.gather(sat)


def _week(folder: Path, config: Path, script: Script, library: Path, reviewers: Reviewers, stack: ExitStack) -> Week:
    own = folder / "bot"
    own.mkdir(exist_ok=True)
    hub = stack.enter_context(Hub(own / "hub", is_checked=find_spec("openapi_core") is not None))
    calendar = Calendar(library, own / "clock")
    return Week(folder=own, config=config, script=script, calendar=calendar, reviewers=reviewers, hub=hub)


def _with_disks(script: Script, desks: list[Desk], stack: ExitStack, ledger: Ledger) -> list[Sitting]:
    """Give a small disk to those whose disk will be full; without the right to mount one that fault is left out."""
    planned = script.sittings()
    wanting = {sitting.developer.name for sitting in planned if sitting.fault is Fault.DISK_FULL}
    for desk in desks:
        if desk.developer.name in wanting and not stack.enter_context(small_disk(desk.data)):
            ledger.untried("disk full", f"the disk of {desk.developer.name}", "mounting one needs root")
            wanting.discard(desk.developer.name)
    return [
        replace(sitting, fault=Fault.NONE)
        if sitting.fault is Fault.DISK_FULL and sitting.developer.name not in wanting
        else sitting
        for sitting in planned
    ]


async def _type(
    planned: list[Sitting], desks: dict[str, Desk], console: Console, evidence: Evidence, script: Script
) -> list[Sat]:
    """Day by day; those whose fault would reach others sit alone."""
    sat: list[Sat] = []
    room = asyncio.Semaphore(AT_ONCE)

    async def sit(sitting: Sitting) -> None:
        async with room:
            sat.append(await desks[sitting.developer.name].sit(sitting))
        one = sat[-1]
        fault = "" if sitting.fault is Fault.NONE else str(sitting.fault)
        did = f"asked {len(one.sent_ns):>3}, got {len(one.offered):>3}, did {len(one.deeds):>3}"
        console.print(f"day {sitting.day + 1:>2}  {sitting.developer.name:<7} {did}   {fault}")

    for day in sorted({sitting.day for sitting in planned}):
        today = [sitting for sitting in planned if sitting.day == day]
        async with asyncio.TaskGroup() as together:
            for sitting in today:
                if sitting.fault not in ALONE:
                    together.create_task(sit(sitting), name=sitting.name)
        for sitting in today:
            if sitting.fault in ALONE:
                await sit(sitting)
        if day == (script.days - 1) // 2:
            await asyncio.to_thread(evidence.ship_half)
    return sat


main()
