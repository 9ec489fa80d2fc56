"""`codetrial cost`: what the arms cost, and when a machine of one's own would be cheaper, by the user's numbers."""

import asyncio
import inspect
import json
import json.decoder
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.cost import Hosting, arm_costs, requests_per_month, sensitivity
from analysis.queries import Evidence
from analysis.report import words
from codetrial.arms.base import Arm, Prompt
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, AttemptStatus

__all__ = ["Throughput", "cost_numbers", "print_costs", "probe", "sample_prompts"]

Json = dict[str, Any]


def cost_numbers(evidence: Evidence, hosting: Hosting | None, api: ArmLabel | None) -> Json:
    """Costs of both arms; with `hosting`, the break-even against the arm that is paid by use.

    Raises:
        EvidenceError: a break-even was asked for, but no price to compare with is known.
    """
    costs = arm_costs(evidence)
    monthly = requests_per_month(evidence)
    found: Json = {
        "origin": evidence.origin.value,
        "requests_per_month": monthly,
        "arms": {label.value: {"name": evidence.arms[label].name, **asdict(costs[label])} for label in ArmLabel},
        "trial_usd": _sum(costs[ArmLabel.A].measured_usd, costs[ArmLabel.B].measured_usd),
        "break_even": None,
    }
    if hosting is None:
        return found
    against = api or _dearer(evidence, {label: costs[label].per_1000_completions_usd for label in ArmLabel})
    price = costs[against].per_1000_completions_usd
    if price is None or monthly is None:
        raise EvidenceError(
            f"What {evidence.arms[against].name} costs a completion is not known here, so there is nothing to compare "
            "a machine with: add [arms.x.price] to codetrial.toml, or name the other arm with --against."
        )
    rows = sensitivity(hosting, api_usd_per_1000=price, completions=monthly)
    found["break_even"] = {
        "against": evidence.arms[against].name,
        "api_usd_per_1000": price,
        "rows": [{"changed": row.changed, **asdict(row.result)} for row in rows],
        "assumptions": asdict(hosting),
    }
    return found


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _dearer(evidence: Evidence, prices: Mapping[ArmLabel, float | None]) -> ArmLabel:
    """The arm that is paid by use: the one that is not self-hosted, or else the dearer one."""
    outside = [label for label in ArmLabel if not evidence.arms[label].is_self_hosted]
    return max(outside or list(ArmLabel), key=lambda label: prices[label] or 0.0)


def print_costs(found: Json, console: Console) -> None:
    arms = found["arms"]
    if found["origin"] != "person":
        console.print(f"From {found['origin']} data: not what people would use.", style="bold magenta")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("US dollars")
    for label in ("A", "B"):
        table.add_column(arms[label]["name"], justify="right")
    for key, title in (
        ("per_1000_completions_usd", "per 1,000 completions"),
        ("per_1000_accepted_chars_usd", "per 1,000 characters taken"),
        ("per_kept_1000_chars_usd", "per 1,000 characters kept"),
        ("per_month_usd", "a month at the present pace, alone"),
        ("measured_usd", "this trial so far"),
    ):
        table.add_row(title, *(words.usd(arms[label][key]) for label in ("A", "B")))
    console.print(table)
    console.print(f"The trial so far, both arms: {words.usd(found['trial_usd'])}.")
    for label in ("A", "B"):
        if arms[label]["priced"] < arms[label]["attempts"]:
            missing = arms[label]["attempts"] - arms[label]["priced"]
            console.print(f"{arms[label]['name']}: the price of {missing:,} attempts is unknown.", style="dim")
    if found["break_even"] is None:
        console.print(
            "Would a machine of your own be cheaper? Measure it with `codetrial cost probe`, then give --gpu-usd."
        )
        return
    _print_break_even(found["break_even"], found["requests_per_month"], console)


def _print_break_even(found: Json, monthly: float, console: Console) -> None:
    console.print(
        f"\nAgainst {found['against']} at {words.usd(found['api_usd_per_1000'])} per 1,000 completions, "
        f"at your {monthly:,.0f} completions a month:"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("assumption")
    for name in ("GPUs", "$ a month", "$ per 1,000", "cheaper from completions a month", "which cost at the API"):
        table.add_column(name, justify="right")
    for row in found["rows"]:
        crossing = row["completions_per_month"]
        table.add_row(
            row["changed"],
            f"{row['gpus']:,}",
            f"{row['per_month_usd']:,.0f}",
            words.usd(row["per_1000_completions_usd"]),
            "never" if crossing is None else f"{crossing:,.0f}",
            "" if row["api_usd_per_month"] is None else f"${row['api_usd_per_month']:,.0f}",
        )
    console.print(table)
    console.print(
        "One assumption changed at a time. No threshold holds for everybody: these are your numbers.", style="dim"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What an endpoint does under load, as the client sees it."""

    requests: int
    failed: int
    seconds: float
    concurrency: int
    completions_per_s: float
    tokens_in_per_s: float | None
    """None: the server reports no usage."""
    tokens_out_per_s: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None


PREFIX_CHARS, SUFFIX_CHARS = 3000, 1000
"""The windows that the editor's door sends by default."""


def sample_prompts(count: int) -> list[Prompt]:
    """Prompts of the usual size from Python's own library: the same for everybody, and nobody's own code."""
    text = inspect.getsource(json.decoder) + inspect.getsource(inspect)
    step = max(1, (len(text) - PREFIX_CHARS - SUFFIX_CHARS) // count)
    found = []
    for i in range(count):
        at = PREFIX_CHARS + i * step % max(1, len(text) - PREFIX_CHARS - SUFFIX_CHARS)
        prefix, suffix = text[at - PREFIX_CHARS : at], text[at : at + SUFFIX_CHARS]
        found.append(Prompt(prefix=prefix, suffix=suffix, path="example.py", language="python"))
    return found


async def probe(arm: Arm, prompts: list[Prompt], *, concurrency: int, deadline_s: float = 30.0) -> Throughput:
    """Ask the arm these prompts, so many at a time, and measure what comes back."""
    waiting = list(reversed(prompts))
    answers = []

    async def worker() -> None:
        while waiting:
            answers.append(await arm.answer(waiting.pop(), deadline_s=deadline_s))

    begun = time.monotonic()
    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(worker())
    seconds = time.monotonic() - begun
    good = [a for a in answers if a.status in (AttemptStatus.OK, AttemptStatus.EMPTY)]
    times = sorted((a.end_ns - a.sent_ns) / 1e6 for a in good if a.end_ns is not None and a.sent_ns is not None)
    tokens_in = [a.usage.tokens_in for a in good if a.usage.tokens_in is not None]
    tokens_out = [a.usage.tokens_out for a in good if a.usage.tokens_out is not None]
    return Throughput(
        requests=len(answers),
        failed=len(answers) - len(good),
        seconds=seconds,
        concurrency=concurrency,
        completions_per_s=len(good) / seconds,
        tokens_in_per_s=sum(tokens_in) / seconds if tokens_in else None,
        tokens_out_per_s=sum(tokens_out) / seconds if tokens_out else None,
        latency_p50_ms=statistics.median(times) if times else None,
        latency_p95_ms=times[min(len(times) - 1, int(len(times) * 0.95))] if times else None,
    )
