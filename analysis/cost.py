"""What the arms cost: measured so far, per thing of use, a month ahead, and against a machine of one's own.

An unknown price stays unknown. No threshold is built in: break-even is computed from the user's own numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from analysis.queries import Evidence
from codetrial.records import ArmLabel

__all__ = [
    "ArmCost",
    "BreakEven",
    "Hosting",
    "SensitivityRow",
    "arm_costs",
    "break_even",
    "monthly_usd",
    "requests_per_month",
    "sensitivity",
]

NANO = 1e-9

WORK_DAYS_PER_MONTH = 22
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCost:
    """One arm in US dollars; None where a price, or what it would be divided by, is not known."""

    attempts: int
    priced: int
    """Attempts whose cost is known; the rest is assumed to cost as much on average."""
    measured_usd: float | None
    """What this trial spent on it so far, as far as prices are known."""
    per_1000_completions_usd: float | None
    per_1000_accepted_chars_usd: float | None
    """All requests of the episodes that show this arm, paid, over the characters taken from it."""
    per_kept_1000_chars_usd: float | None
    per_month_usd: float | None
    """If it alone answered, at the present number of requests per working day."""
    tokens_in_per_completion: float | None
    tokens_out_per_completion: float | None


def arm_costs(evidence: Evidence) -> Mapping[ArmLabel, ArmCost]:
    """Each arm's cost from what was recorded."""
    return {label: _arm_cost(evidence, label) for label in ArmLabel}


def requests_per_month(evidence: Evidence) -> float | None:
    """Routed requests in a month of working days, from the days on which there were any."""
    active = [n for n in evidence.tasks_by_day.values() if n]
    return sum(active) / len(active) * WORK_DAYS_PER_MONTH if active else None


def _arm_cost(evidence: Evidence, label: ArmLabel) -> ArmCost:
    sums = evidence.attempts[label]
    attempts, priced = int(sums.attempts.sum()), int(sums.priced.sum())
    known = float(sums.known_cost_nanousd.sum()) * NANO
    each = known / priced if priced else None
    episodes = evidence.episodes
    chosen = episodes.is_a if label is ArmLabel.A else episodes.is_b
    asked = evidence.funnel[label].get("routed", 0)
    accepted = int(episodes.accepted_chars[chosen].sum())
    kept = float(episodes.kept_chars[chosen].sum())
    monthly = requests_per_month(evidence)
    return ArmCost(
        attempts=attempts,
        priced=priced,
        measured_usd=known if priced else None,
        per_1000_completions_usd=None if each is None else each * 1000,
        per_1000_accepted_chars_usd=None if each is None or not accepted else each * asked / accepted * 1000,
        per_kept_1000_chars_usd=None if each is None or kept <= 0 else each * asked / kept * 1000,
        per_month_usd=None if each is None or monthly is None else each * monthly,
        tokens_in_per_completion=_mean(int(sums.tokens_in.sum()), attempts),
        tokens_out_per_completion=_mean(int(sums.tokens_out.sum()), attempts),
    )


def _mean(total: int, count: int) -> float | None:
    return total / count if count and total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """A machine of one's own."""

    gpu_usd_per_hour: float
    completions_per_s: float
    """Of one GPU under load: what `codetrial cost probe` measured, not what a data sheet says."""
    replicas: int = 2
    utilisation: float = 0.7
    """Share of the measured throughput that one dares to use."""
    peak: float = 3.0
    """Busiest hour over the mean hour of work."""
    hours_per_day: float = 9.0
    operations_usd_per_month: float = 0.0
    hours_on_per_month: float = HOURS_PER_MONTH
    """730 if it always runs; fewer if it is switched off outside working hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    gpus: int
    per_month_usd: float
    per_1000_completions_usd: float | None
    """At the given number of completions."""
    completions_per_month: float | None
    """From here on self-hosting is cheaper; None: never with these numbers."""
    api_usd_per_month: float | None
    """What the API costs at that number."""


def monthly_usd(hosting: Hosting, completions: float) -> tuple[int, float]:
    """GPUs needed for this many completions a month, and what they cost."""
    work_seconds = WORK_DAYS_PER_MONTH * hosting.hours_per_day * 3600
    per_second = completions / work_seconds * hosting.peak
    gpus = max(hosting.replicas, math.ceil(per_second / hosting.completions_per_s / hosting.utilisation))
    return gpus, gpus * hosting.gpu_usd_per_hour * hosting.hours_on_per_month + hosting.operations_usd_per_month


def break_even(hosting: Hosting, *, api_usd_per_1000: float, completions: float) -> BreakEven:
    """The least completions a month from which self-hosting costs no more than the API, and what it costs now.

    Cost is a staircase in the number of GPUs, so the crossing is sought upwards step by step: on each step GPUs are
    paid in full from its first completion on.
    """
    gpus, now = monthly_usd(hosting, completions)
    price = api_usd_per_1000 / 1000
    crossing = None
    work_seconds = WORK_DAYS_PER_MONTH * hosting.hours_per_day * 3600
    per_gpu = hosting.utilisation * hosting.completions_per_s / hosting.peak * work_seconds
    for count in range(hosting.replicas, hosting.replicas + 10_000):
        cost = count * hosting.gpu_usd_per_hour * hosting.hours_on_per_month + hosting.operations_usd_per_month
        needed = cost / price if price > 0 else math.inf
        if needed <= count * per_gpu:
            crossing = max(needed, 0.0 if count == hosting.replicas else (count - 1) * per_gpu)
            break
    return BreakEven(
        gpus=gpus,
        per_month_usd=now,
        per_1000_completions_usd=now / completions * 1000 if completions > 0 else None,
        completions_per_month=crossing,
        api_usd_per_month=None if crossing is None else crossing * price,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRow:
    changed: str
    hosting: Hosting
    result: BreakEven


def sensitivity(hosting: Hosting, *, api_usd_per_1000: float, completions: float) -> list[SensitivityRow]:
    """The same with one assumption changed at a time: a break-even is only as good as what moves it least."""
    cases: list[tuple[str, Hosting]] = [("as given", hosting)]
    for factor, word in ((0.5, "half"), (2.0, "double")):
        cases += [
            (f"{word} the GPU price", replace(hosting, gpu_usd_per_hour=hosting.gpu_usd_per_hour * factor)),
            (
                f"{word} the throughput",
                replace(hosting, completions_per_s=hosting.completions_per_s * factor),
            ),
        ]
    cases += [
        ("40% utilisation", replace(hosting, utilisation=0.4)),
        ("1 replica", replace(hosting, replicas=1)),
        ("on in working hours only", replace(hosting, hours_on_per_month=WORK_DAYS_PER_MONTH * hosting.hours_per_day)),
        ("$3,000 of operations a month", replace(hosting, operations_usd_per_month=3000.0)),
        ("$15,000 of operations a month", replace(hosting, operations_usd_per_month=15000.0)),
    ]
    return [
        SensitivityRow(
            changed=name,
            hosting=case,
            result=break_even(case, api_usd_per_1000=api_usd_per_1000, completions=completions),
        )
        for name, case in cases
    ]
