"""What the arms cost: measured so far, per thing of use, a month ahead, and against a machine of one's own.

An unknown price stays unknown. No threshold is built in: break-even is computed from the user's own numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from analysis.queries import Evidence
from codetrial.records import ArmLabel

__all__ = [
    "ArmCost",
    "BreakEven",
    "Hosting",
    "Rival",
    "SensitivityRow",
    "arm_costs",
    "break_even",
    "break_even_with",
    "monthly_usd",
    "requests_per_month",
    "seat_price",
    "sensitivity",
    "sensitivity_against",
]

NANO = 1e-9

WORK_DAYS_PER_MONTH = 22
HOURS_PER_MONTH = 730
DAYS_PER_MONTH = 365.25 / 12


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
    seats: int
    """Developers whose seats are paid; 0 for an arm that is paid by use."""
    seat_usd_per_month: float | None


def arm_costs(evidence: Evidence) -> Mapping[ArmLabel, ArmCost]:
    """Each arm's cost from what was recorded."""
    return {label: _arm_cost(evidence, label) for label in ArmLabel}


def requests_per_month(evidence: Evidence) -> float | None:
    """Routed requests in a month of working days, from the days on which there were any."""
    active = [n for n in evidence.tasks_by_day.values() if n]
    return sum(active) / len(active) * WORK_DAYS_PER_MONTH if active else None


class _Known(NamedTuple):
    """What is known of an arm's price."""

    priced: int
    measured_usd: float | None
    each_usd: float | None
    month_usd: float | None
    seats: int = 0
    seat_usd: float | None = None


def _by_use(evidence: Evidence, label: ArmLabel) -> _Known:
    sums = evidence.attempts[label]
    priced = int(sums.priced.sum())
    if not priced:
        return _Known(0, None, None, None)
    known = float(sums.known_cost_nanousd.sum()) * NANO
    monthly = requests_per_month(evidence)
    return _Known(priced, known, known / priced, None if monthly is None else known / priced * monthly)


def _by_seat(evidence: Evidence, label: ArmLabel, seat_usd: float) -> _Known:
    """A seat is paid whether it is used or not, so a completion costs what its share of the month's use makes it."""
    attempts = int(evidence.attempts[label].attempts.sum())
    seats = len(evidence.sessions.developers)
    month = seat_usd * seats
    monthly = requests_per_month(evidence)
    return _Known(
        priced=attempts,
        # A day is the least: a trial of an hour has not cost nothing.
        measured_usd=month * max(1.0, evidence.days) / DAYS_PER_MONTH if attempts else None,
        each_usd=month / monthly if monthly else None,
        month_usd=month if attempts else None,
        seats=seats,
        seat_usd=seat_usd,
    )


def seat_price(evidence: Evidence, label: ArmLabel) -> float | None:
    """What one developer's seat costs a month, from the manifest; None for an arm that is paid by use."""
    prices = evidence.trial.manifest.get("prices")
    own = prices.get(label.value) if isinstance(prices, Mapping) else None
    found = own.get("seat_usd_per_month") if isinstance(own, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def _arm_cost(evidence: Evidence, label: ArmLabel) -> ArmCost:
    sums = evidence.attempts[label]
    attempts = int(sums.attempts.sum())
    seat = seat_price(evidence, label)
    known = _by_use(evidence, label) if seat is None else _by_seat(evidence, label, seat)
    each = known.each_usd
    episodes = evidence.episodes
    chosen = episodes.is_a if label is ArmLabel.A else episodes.is_b
    asked = evidence.funnel[label].get("routed", 0)
    accepted = int(episodes.accepted_chars[chosen].sum())
    kept = float(episodes.kept_chars[chosen].sum())
    return ArmCost(
        attempts=attempts,
        priced=known.priced,
        measured_usd=known.measured_usd,
        per_1000_completions_usd=None if each is None else each * 1000,
        per_1000_accepted_chars_usd=None if each is None or not accepted else each * asked / accepted * 1000,
        per_kept_1000_chars_usd=None if each is None or kept <= 0 else each * asked / kept * 1000,
        per_month_usd=known.month_usd,
        tokens_in_per_completion=_mean(int(sums.tokens_in.sum()), attempts),
        tokens_out_per_completion=_mean(int(sums.tokens_out.sum()), attempts),
        seats=known.seats,
        seat_usd_per_month=known.seat_usd,
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
    """What the other one costs at that number."""
    developers: int | None = None
    """Against an arm paid by seat: from so many developers on, each as busy as those of the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What a machine of one's own is compared with: paid by use, or by seat."""

    usd_per_1000: float
    """At the present use."""
    completions: float
    """A month, at the present pace of the developers of the trial."""
    seats: int = 0
    seat_usd_per_month: float | None = None

    def per_month_usd(self, completions: float) -> float:
        """For so many completions; seats grow with the developers who make them."""
        return completions * self.usd_per_1000 / 1000


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


MOST_DEVELOPERS = 20_000


def break_even_with(hosting: Hosting, rival: Rival) -> BreakEven:
    """Against an arm that is paid by use or by seat, at the present use."""
    found = break_even(hosting, api_usd_per_1000=rival.usd_per_1000, completions=rival.completions)
    if rival.seat_usd_per_month is None or not rival.seats:
        return found
    each = rival.completions / rival.seats
    least = None
    for developers in range(1, MOST_DEVELOPERS + 1):
        if monthly_usd(hosting, each * developers)[1] <= developers * rival.seat_usd_per_month:
            least = developers
            break
    return replace(
        found,
        completions_per_month=None if least is None else least * each,
        api_usd_per_month=None if least is None else least * rival.seat_usd_per_month,
        developers=least,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRow:
    changed: str
    hosting: Hosting
    result: BreakEven


def sensitivity(hosting: Hosting, *, api_usd_per_1000: float, completions: float) -> list[SensitivityRow]:
    """The sensitivity against an API that is paid by use."""
    return sensitivity_against(hosting, Rival(usd_per_1000=api_usd_per_1000, completions=completions))


def sensitivity_against(hosting: Hosting, rival: Rival) -> list[SensitivityRow]:
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
        ("1 replica" if hosting.replicas > 1 else "2 replicas", replace(hosting, replicas=1 + (hosting.replicas == 1))),
        ("on in working hours only", replace(hosting, hours_on_per_month=WORK_DAYS_PER_MONTH * hosting.hours_per_day)),
        ("$3,000 of operations a month", replace(hosting, operations_usd_per_month=3000.0)),
        ("$15,000 of operations a month", replace(hosting, operations_usd_per_month=15000.0)),
    ]
    return [
        SensitivityRow(
            changed=name,
            hosting=case,
            result=break_even_with(case, rival),
        )
        for name, case in cases
    ]
