"""`codetrial cost`: what the arms cost, and when a machine of one's own would be cheaper, by the user's numbers."""

import asyncio
import inspect
import json
import json.decoder
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.cost import Hosting, Rival, arm_costs, monthly_usd, requests_per_month, sensitivity_against
from analysis.doors import choose
from analysis.queries import Evidence, gather
from analysis.report import words
from analysis.review_verdict import judge_reviews
from analysis.reviews import Reviews, gather_reviews
from analysis.source import Source
from codetrial.arms.base import Arm, Prompt
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, AttemptStatus, Origin

__all__ = [
    "BREAK_EVEN_COLUMNS",
    "COMPLETION_ROWS",
    "REVIEW_ROWS",
    "Throughput",
    "break_even_cells",
    "break_even_numbers",
    "break_even_title",
    "cost_numbers",
    "gather_costs",
    "print_costs",
    "print_review_costs",
    "probe",
    "review_cost_numbers",
    "sample_prompts",
]

Json = dict[str, Any]
Names = Mapping[ArmLabel, str]


def gather_costs(
    source: Source, *, trial: str | None, origin: Origin | None, hosting: Hosting | None, against: ArmLabel | None
) -> Json:
    """Costs at each door that has data.

    Raises:
        EvidenceError: as for `gather`, or there is no price to compare with.
    """
    doors = choose(source, trial=trial)
    found: Json = {"reviews": None}
    if doors.completions is not None:
        found |= cost_numbers(gather(source, trial=doors.completions.id, origin=origin), hosting, against)
    elif hosting is not None:
        raise EvidenceError("A break-even is about completions, and this trial has none: leave out --gpu-usd.")
    if doors.reviews is not None:
        evidence = gather(source, trial=doors.reviews.id, origin=origin)
        found["reviews"] = review_cost_numbers(evidence, gather_reviews(source, evidence))
    return found


def cost_numbers(evidence: Evidence, hosting: Hosting | None, api: ArmLabel | None, names: Names | None = None) -> Json:
    """Costs of completions of both arms; with `hosting`, the break-even against the arm that is paid by use or seat.

    Raises:
        EvidenceError: a break-even was asked for, but no price to compare with is known.
    """
    called = names or {label: evidence.arms[label].name for label in ArmLabel}
    costs = arm_costs(evidence)
    return {
        "origin": evidence.origin.value,
        "requests_per_month": requests_per_month(evidence),
        "arms": {label.value: {"name": called[label], **asdict(costs[label])} for label in ArmLabel},
        "trial_usd": _sum(costs[ArmLabel.A].measured_usd, costs[ArmLabel.B].measured_usd),
        "break_even": None if hosting is None else break_even_numbers(evidence, hosting, api, called),
    }


def break_even_numbers(evidence: Evidence, hosting: Hosting, api: ArmLabel | None, names: Names) -> Json:
    """A machine of one's own against an arm, with one assumption changed at a time, and the curves of both.

    Raises:
        EvidenceError: no price to compare with is known.
    """
    costs = arm_costs(evidence)
    monthly = requests_per_month(evidence)
    against = api or _dearer(evidence, {label: costs[label].per_1000_completions_usd for label in ArmLabel})
    price = costs[against].per_1000_completions_usd
    if price is None or monthly is None:
        raise EvidenceError(
            f"What {names[against]} costs a completion is not known here, so there is nothing to compare "
            "a machine with: add [arms.x.price] to codetrial.toml, or name the other arm with --against."
        )
    rival = Rival(
        usd_per_1000=price,
        completions=monthly,
        seats=costs[against].seats,
        seat_usd_per_month=costs[against].seat_usd_per_month,
    )
    rows = sensitivity_against(hosting, rival)
    return {
        "against": names[against],
        "api_usd_per_1000": price,
        "seat_usd_per_month": rival.seat_usd_per_month,
        "completions_per_month": monthly,
        "rows": [{"changed": row.changed, **asdict(row.result)} for row in rows],
        "assumptions": asdict(hosting),
        "curve": _curve(hosting, rival, rows[0].result.completions_per_month),
    }


CURVE_POINTS = 160
WIDE = 20
"""From so many times the present use on, the axes are logarithmic."""


def _curve(hosting: Hosting, rival: Rival, crossing: float | None) -> Json:
    """Both monthly costs over completions, as far as makes the crossing and the present use visible."""
    # Where they never cross, ten times the present use shows that they do not.
    furthest = max(rival.completions * 2, 1.6 * crossing if crossing is not None else rival.completions * 10)
    if furthest > WIDE * rival.completions > 0:
        # On a plain axis the present use would lie on its edge.
        least = rival.completions / 2
        xs = [least * (furthest / least) ** (i / CURVE_POINTS) for i in range(CURVE_POINTS + 1)]
    else:
        xs = [furthest * i / CURVE_POINTS for i in range(CURVE_POINTS + 1)]
    return {
        "completions": [round(x, 1) for x in xs],
        "hosted_usd": [round(monthly_usd(hosting, x)[1], 2) for x in xs],
        "rival_usd": [round(rival.per_month_usd(x), 2) for x in xs],
    }


def review_cost_numbers(evidence: Evidence, reviews: Reviews) -> Json:
    """Costs of reviews of both arms."""
    judged = judge_reviews(evidence, reviews)
    costs = judged.costs
    return {
        "origin": evidence.origin.value,
        "arms": {label.value: {"name": evidence.arms[label].name, **asdict(costs[label])} for label in ArmLabel},
        "trial_usd": _sum(costs[ArmLabel.A].trial_usd, costs[ArmLabel.B].trial_usd),
    }


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _dearer(evidence: Evidence, prices: Mapping[ArmLabel, float | None]) -> ArmLabel:
    """The arm that is paid by use: the one that is not self-hosted, or else the dearer one."""
    outside = [label for label in ArmLabel if not evidence.arms[label].is_self_hosted]
    return max(outside or list(ArmLabel), key=lambda label: prices[label] or 0.0)


COMPLETION_ROWS = (
    ("per_1000_completions_usd", "per 1,000 completions"),
    ("per_1000_accepted_chars_usd", "per 1,000 characters taken"),
    ("per_kept_1000_chars_usd", "per 1,000 characters kept"),
    ("per_month_usd", "a month at the present pace, alone"),
    ("measured_usd", "this trial so far"),
)

REVIEW_ROWS = (
    ("per_review_usd", "per review"),
    ("per_finding_acted_on_usd", "per review finding acted on"),
    ("per_finding_acted_on_because_posted_usd", "per finding acted on because it was posted"),
    ("trial_usd", "this trial so far"),
)


def _head(found: Json, title: str, rows: Iterable[tuple[str, str]], console: Console) -> None:
    arms = found["arms"]
    if found["origin"] != "person":
        console.print(f"From {found['origin']} data: not what people would use.", style="bold magenta")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column(title)
    for label in ("A", "B"):
        table.add_column(arms[label]["name"], justify="right")
    for key, name in rows:
        table.add_row(name, *(words.usd(arms[label][key]) for label in ("A", "B")))
    console.print(table)
    both = "unknown, for an arm's price is" if found["trial_usd"] is None else words.usd(found["trial_usd"])
    console.print(f"The trial so far, both arms: {both}.")


def print_review_costs(found: Json, console: Console) -> None:
    """What reviews cost, as a table."""
    _head(found, "US dollars, reviews", REVIEW_ROWS, console)
    for label in ("A", "B"):
        arm = found["arms"][label]
        if arm["priced"] < arm["reviews"]:
            missing = arm["reviews"] - arm["priced"]
            console.print(f"{arm['name']}: the price of {missing:,} reviews is unknown.", style="dim")


def print_costs(found: Json, console: Console) -> None:
    """What completions cost, as tables."""
    arms = found["arms"]
    _head(found, "US dollars", COMPLETION_ROWS, console)
    for arm in arms.values():
        if arm["seat_usd_per_month"] is not None:
            seats = f"{words.plural(arm['seats'], 'seat')} at {words.usd(arm['seat_usd_per_month'])} a month"
            console.print(f"{arm['name']}: {seats}, shared by their use.", style="dim")
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
    console.print(f"\n{break_even_title(found, monthly)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for i, name in enumerate(BREAK_EVEN_COLUMNS):
        table.add_column(name, justify="right" if i else "left")
    for row in found["rows"]:
        table.add_row(*break_even_cells(row))
    console.print(table)
    console.print(
        "One assumption changed at a time. No threshold holds for everybody: these are your numbers.", style="dim"
    )


BREAK_EVEN_COLUMNS = (
    "assumption",
    "GPUs",
    "$ a month",
    "$ per 1,000",
    "cheaper from completions a month",
    "which cost there",
)


def break_even_title(found: Json, monthly: float) -> str:
    """What is compared with what."""
    seat = (
        "" if found["seat_usd_per_month"] is None else f" ({words.usd(found['seat_usd_per_month'])} a seat and month)"
    )
    return (
        f"Against {found['against']} at {words.usd(found['api_usd_per_1000'])} per 1,000 completions{seat}, "
        f"at your {monthly:,.0f} completions a month:"
    )


def break_even_cells(row: Json) -> tuple[str, ...]:
    """One row of the sensitivity table, as text."""
    crossing, developers = row["completions_per_month"], row["developers"]
    people = "" if developers is None else f" ({words.plural(developers, 'developer')})"
    return (
        row["changed"],
        f"{row['gpus']:,}",
        f"{row['per_month_usd']:,.0f}",
        words.usd(row["per_1000_completions_usd"]),
        "never" if crossing is None else f"{crossing:,.0f}{people}",
        "" if row["api_usd_per_month"] is None else f"${row['api_usd_per_month']:,.0f}",
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
