"""`codetrial plan`: what a live trial would take, from a replay and the size of the team.

Everything the team does not say is an assumption with a name, printed beside the result. Days are until the interval is
as narrow as the difference that matters, which is when an effect of that size shows in about half of the trials.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from analysis.cost import Hosting, SensitivityRow, sensitivity
from analysis.replay.paired import Replays
from analysis.statistics import MIN_CLUSTERS, Interval, cluster_ratio, cluster_sums, clustering, units_for_half_width
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel

__all__ = ["Assumptions", "Duration", "Plan", "make_plan", "print_plan"]

WORK_DAYS_PER_MONTH = 22
LONGEST_DAYS = 90
"""Beyond a quarter the models, the team and the code are others."""

DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.10)
NONE_SHARES = (0.10, 0.20, 0.30, 1.0)
"""1.0 is a shadow trial: nothing is shown, so every episode can be compared, and nobody's acceptance is seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    developers: int
    difference: float = 0.03
    """The smallest one that would change the decision, as a share."""
    episodes_per_day: float = 200.0
    """Of one developer with completion requests in them; an episode is a minute."""
    requests_per_episode: float = 5.0
    session_effect: float = 1.5
    """Design effect of sessions on a paired difference; re-estimated as soon as the trial runs."""
    acceptance: float = 0.29
    """Share of episodes with anything accepted, from published studies; only for the shown comparison."""
    hosting: Hosting | None = None
    """None: no machine was described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    difference: float
    none_share: float
    agreement_days: float | None
    """Both arms against what was written where nothing was shown; None: not in this way."""
    acceptance_days: float | None
    """Which arm's suggestions are taken; None in a shadow trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    assumptions: Assumptions
    tasks: int
    commits: int
    effect: Interval | None
    """What the replay found, A - B."""
    spread: float
    """Standard deviation of the paired difference of one request."""
    correlation: float
    """Between requests of one commit, taken for those of one episode."""
    durations: tuple[Duration, ...]
    none_share: float | None
    """Recommended; None: no share gets there within a quarter."""
    days: int | None
    requests_per_month: float
    trial_usd: float | None
    """Both arms, for the recommended days; None if a price is not known."""
    month_usd: dict[ArmLabel, float | None]
    advice: str
    """Which model to use where that is clear already, else whether to start the trial."""
    reasons: tuple[str, ...]
    hosting: tuple[SensitivityRow, ...]

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["effect"] = None if self.effect is None else list(self.effect)
        return plain


def make_plan(replays: Replays, assumptions: Assumptions, *, self_hosted: dict[ArmLabel, bool]) -> Plan:
    """Plan from everything that was replayed.

    Raises:
        EvidenceError: there is too little of it to know how much requests differ.
    """
    columns = replays.columns()
    commits = len(set(columns.commit))
    if commits < MIN_CLUSTERS:
        raise EvidenceError(
            f"Planning needs a replay of at least {MIN_CLUSTERS} commits to know how much requests differ; there are "
            f"{commits}. Run `codetrial replay` with more --tasks first."
        )
    differences = columns.a - columns.b
    variance = float(differences.var(ddof=1))
    if variance == 0:
        raise EvidenceError("Both arms did equally well on every replayed task: there is nothing to plan a trial for.")
    found = clustering(differences, columns.commit)
    correlation = min(1.0, max(0.0, found.intraclass_correlation)) if found is not None else 0.0
    effect = cluster_ratio(*cluster_sums(differences, columns.commit)).last
    m = assumptions.requests_per_episode
    per_episode = variance * (1 + (m - 1) * correlation) / m
    durations = tuple(
        _duration(assumptions, per_episode, difference, share)
        for difference in sorted({*DIFFERENCES, assumptions.difference})
        for share in NONE_SHARES
    )
    share, days = _recommended(assumptions, durations)
    monthly = assumptions.developers * assumptions.episodes_per_day * m * WORK_DAYS_PER_MONTH
    each = {label: _each_usd(replays, label) for label in ArmLabel}
    month = {label: None if usd is None else usd * monthly for label, usd in each.items()}
    both = None if None in each.values() else sum(usd or 0.0 for usd in each.values())
    rows = _hosting(replays, assumptions, each, self_hosted, monthly)
    advice, reasons = _advice(effect, assumptions, share, days, self_hosted, month, rows)
    return Plan(
        assumptions=assumptions,
        tasks=len(replays),
        commits=commits,
        effect=effect,
        spread=math.sqrt(variance),
        correlation=correlation,
        durations=durations,
        none_share=share,
        days=days,
        requests_per_month=monthly,
        trial_usd=None if both is None or days is None else both * monthly / WORK_DAYS_PER_MONTH * days,
        month_usd=month,
        advice=advice,
        reasons=tuple(reasons),
        hosting=tuple(rows),
    )


def _duration(assumptions: Assumptions, variance: float, difference: float, none_share: float) -> Duration:
    per_day = assumptions.developers * assumptions.episodes_per_day
    effect = assumptions.session_effect
    pairs = units_for_half_width(difference, variance * effect, value_range=2.0)
    shown = (1 - none_share) / 2
    days = None
    if shown > 0:
        # Each episode's value is (taken - mean) weighted by one over the share of the arm that it shows.
        spread = assumptions.acceptance * (1 - assumptions.acceptance) * 2 / shown
        units = units_for_half_width(difference, spread * effect, value_range=2 / shown)
        days = None if units is None else units / per_day
    return Duration(
        difference=difference,
        none_share=none_share,
        agreement_days=None if pairs is None else pairs / (per_day * none_share),
        acceptance_days=days,
    )


def _recommended(assumptions: Assumptions, durations: Sequence[Duration]) -> tuple[float | None, int | None]:
    """The smallest share of nothing with which agreement is decided within a month; else what gets there at all."""
    own = [d for d in durations if d.difference == assumptions.difference and d.agreement_days is not None]
    for limit in (WORK_DAYS_PER_MONTH, LONGEST_DAYS):
        for duration in own:
            assert duration.agreement_days is not None
            if duration.agreement_days <= limit:
                return duration.none_share, max(1, math.ceil(duration.agreement_days))
    return None, None


def _each_usd(replays: Replays, label: ArmLabel) -> float | None:
    arm = replays.arm(label)
    return None if arm.cost_usd is None or not arm.attempts else arm.cost_usd / arm.attempts


def _hosting(
    replays: Replays,
    assumptions: Assumptions,
    each: dict[ArmLabel, float | None],
    self_hosted: dict[ArmLabel, bool],
    monthly: float,
) -> list[SensitivityRow]:
    general = [label for label in ArmLabel if not self_hosted[label]]
    if assumptions.hosting is None or len(general) != 1 or not each[general[0]]:
        return []
    return sensitivity(assumptions.hosting, api_usd_per_1000=(each[general[0]] or 0.0) * 1000, completions=monthly)


def _advice(
    effect: Interval | None,
    assumptions: Assumptions,
    share: float | None,
    days: int | None,
    self_hosted: dict[ArmLabel, bool],
    month: dict[ArmLabel, float | None],
    rows: Sequence[SensitivityRow],
) -> tuple[str, list[str]]:
    reasons = []
    if effect is not None:
        reasons.append(
            f"Replayed history: A - B = {100 * effect.estimate:+.1f} pp "
            f"[{100 * effect.low:+.1f}, {100 * effect.high:+.1f}] on the first line."
        )
    own = [label for label in ArmLabel if self_hosted[label]]
    if len(own) == 1 and rows:
        mine, other = own[0], next(label for label in ArmLabel if label is not own[0])
        gain = (
            None if effect is None else (effect if mine is ArmLabel.A else Interval(-effect[0], -effect[2], -effect[1]))
        )
        cheaper = [row for row in rows if row.result.per_month_usd < (month[other] or 0.0)]
        base = rows[0].result
        reasons.append(
            f"At {assumptions.developers} developers the API costs ${month[other] or 0.0:,.0f} a month, machines "
            f"of your own ${base.per_month_usd:,.0f}; cheaper in {len(cheaper)} of {len(rows)} cases looked at."
        )
        if gain is not None and gain.high < -assumptions.difference:
            reasons.append(f"Arm {mine} was worse by more than the difference that matters to you.")
            return "use the general model", reasons
        if not cheaper and not (gain is not None and gain.low > assumptions.difference):
            return "do not self-host at this volume", reasons
        if len(cheaper) == len(rows) and gain is not None and gain.low > -assumptions.difference:
            return "self-host", reasons
        reasons.append("Which of these holds depends on the assumptions below, or quality is not decided yet.")
    if share is None:
        reasons.append(
            f"No share of control episodes decides {100 * assumptions.difference:g} pp within {LONGEST_DAYS} working "
            "days: more developers, or a larger difference that matters."
        )
        return "do not start yet", reasons
    kind = "a shadow trial" if share == 1 else f"{share:.0%} of episodes showing nothing"
    reasons.append(f"{days} working days with {kind} decide {100 * assumptions.difference:g} pp.")
    return "start the trial", reasons


def print_plan(plan: Plan, console: Console) -> None:
    known = plan.assumptions
    console.print(plan.advice.capitalize() + ".", style="bold")
    for reason in plan.reasons:
        console.print(f"- {reason}", markup=False, highlight=False)
    shares = [f"{share:.0%} none" if share < 1 else "shadow" for share in NONE_SHARES]
    table = Table(
        "difference",
        *(Column(share, justify="right") for share in [*shares, "accepted, 10% none"]),
        title="working days until decided",
    )
    for difference in sorted({d.difference for d in plan.durations}):
        row = [d for d in plan.durations if d.difference == difference]
        cells = [_days(d.agreement_days) for d in row]
        table.add_row(f"{100 * difference:g} pp", *cells, _days(row[0].acceptance_days))
    console.print(table)
    if plan.none_share is not None:
        rest = (1 - plan.none_share) / 2
        console.print(
            f"Recommended shares: a = {rest:g}, b = {rest:g}, none = {plan.none_share:g}, for {plan.days} working days."
            f" Cost of the trial, both arms: {_usd(plan.trial_usd)}.",
            highlight=False,
        )
    for label, usd in plan.month_usd.items():
        console.print(f"A month of arm {label} alone: {_usd(usd)}.", highlight=False)
    if plan.hosting:
        table = Table("machines of your own", *(Column(t, justify="right") for t in ("GPUs", "a month", "pays from")))
        for case in plan.hosting:
            crossing = case.result.completions_per_month
            pays = "never" if crossing is None else f"{crossing:,.0f} completions a month"
            table.add_row(case.changed, str(case.result.gpus), f"${case.result.per_month_usd:,.0f}", pays)
        console.print(table)
    console.print(
        f"From {plan.tasks} replayed tasks in {plan.commits} commits: one request differs by {plan.spread:.2f} (sd), "
        f"requests of one commit correlate by {plan.correlation:.2f}. Assumed: {known.developers} developers, "
        f"{known.episodes_per_day:g} episodes a developer-day with {known.requests_per_episode:g} requests each, "
        f"design effect of sessions {known.session_effect:g}, {known.acceptance:.0%} of episodes accept something. "
        f"{_only_these(known.developers)}",
        style="dim",
        highlight=False,
    )


def _only_these(developers: int) -> str:
    few = "" if developers >= 10 else f" With {developers} developers nothing can be said about developers in general."
    return f"The answer will be about these developers.{few}"


def _days(days: float | None) -> str:
    if days is None:
        return "never"
    return "< 1" if days < 1 else f"{np.ceil(days):,.0f}"


def _usd(usd: float | None) -> str:
    return "unknown (a price is not known)" if usd is None else f"${usd:,.2f}"
