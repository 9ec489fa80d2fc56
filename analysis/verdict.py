"""A wins, B wins, a tie, or not yet: the decision on the frozen primary metric, with guardrails.

An arm wins when the confidence sequence over episodes excludes zero and, clustered by session, so does the second one;
30 closed sessions are needed for that. It is a tie when both lie within the margin. A guardrail can only take a win
away, and only where harm is proven. docs/design/0010-intervals-for-peeking.md and 0011-the-verdict.md give the reasons.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.queries import HORIZONS_S, Episodes, Evidence, Pairs
from analysis.statistics import (
    ALPHA,
    LOOK_DAYS,
    MIN_CLUSTERS,
    MIN_DEVELOPERS,
    Clustering,
    GeneralClaim,
    Interval,
    Quantile,
    SampleRatio,
    Sequence,
    bernstein_half_width,
    bin_edges,
    centred_ipw,
    cluster_ratio,
    cluster_sums,
    clustering,
    clusters_for_half_width,
    developers_in_general,
    empirical_bernstein,
    hajek,
    kaplan_meier,
    planned_look,
    quantile,
    rounded_up,
    sample_ratio,
    units_for_half_width,
)
from codetrial.records import ArmLabel, Origin

__all__ = [
    "DEFAULT_MARGINS",
    "METRICS",
    "Decision",
    "Effect",
    "Forecast",
    "Guardrail",
    "Judgement",
    "Limits",
    "Metric",
    "Units",
    "failures_guardrail",
    "guardrail_margin",
    "judge",
    "latency_guardrail",
    "limits_of",
    "named",
    "setup_warnings",
    "silent_arms",
    "units_of_episodes",
    "units_of_pairs",
]

Floats = NDArray[np.float64]


class Decision(StrEnum):
    WIN = "win"
    TIE = "tie"
    CONFLICT = "conflict"
    """Better on the primary metric, proven harm on a guardrail: for people to weigh."""
    NOT_YET = "not_yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    title: str
    unit: str
    """`points` are hundredths of a share."""
    scale: float
    """From the number to the unit."""
    win: str
    """What a better arm does, to follow its name; `{gain}` is the difference."""
    is_paired: bool
    """Both arms on the same request, nothing shown; else by assignment."""
    default_margin: float


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="acceptance",
            title="Episodes in which a suggestion is taken",
            unit="points",
            scale=100,
            win="its suggestions are taken in {gain} more of the episodes",
            is_paired=False,
            default_margin=0.02,
        ),
        Metric(
            name="agreement",
            title="Agreement with what was then written (nothing shown)",
            unit="points",
            scale=100,
            win="its suggestions agree {gain} better with what was then written",
            is_paired=True,
            default_margin=0.02,
        ),
        Metric(
            name="kept_chars",
            title="Characters kept per episode",
            unit="characters",
            scale=1,
            win="{gain} more of its text is kept per episode",
            is_paired=False,
            default_margin=2.0,
        ),
    )
}

DEFAULT_MARGINS: Mapping[str, float] = {
    "p95_latency": 0.25,
    "failure_rate": 0.02,
    "retention": 0.05,
    "cost": 0.25,
}
"""Guardrails: how much worse counts as harm. Latency and cost as a share of the better arm's, the others as a
difference of shares. A manifest's `margins` go before these."""

GUARDED = 3
"""Guardrails that have an interval; the error is split among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A minus B on one metric."""

    metric: Metric
    mean_a: float | None
    mean_b: float | None
    sequence: Sequence | None
    """Over episodes, exact; None for metrics without a bound."""
    clustered: Interval | None
    """Over sessions; None below 30 closed ones."""
    interval: Interval | None
    """What decides: as wide as the wider of both."""
    units: int
    clusters: int
    cluster_deviation: float | None
    variance: float | None
    value_range: float | None
    clustering: Clustering | None
    general: GeneralClaim | None
    general_refusal: str | None
    first_week: Interval | None
    later: Interval | None
    margin: float
    is_margin_frozen: bool
    """False: the manifest names no margin, so a default stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    name: str
    title: str
    a: str
    b: str
    """Each arm's value as text, with limits; "unknown" where it is."""
    margin: str
    harms: ArmLabel | None
    """The arm that is proven to be worse by more than the margin."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    detectable: float | None
    """Smallest effect that the present data would show about half of the time."""
    detectable_in_30_days: float | None
    units_per_day: float | None
    more_units: int | None
    more_days: float | None
    """None: not to be said, or not in this way."""
    target: float | None
    """The half-width that would decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    decision: Decision
    winner: ArmLabel | None
    sentence: str
    """For a manager: one plain sentence, with the arms as `{A}` and `{B}`."""
    reasons: list[str]
    """Why it is not decided, or what limits it."""
    primary: Effect
    effects: Mapping[str, Effect]
    guardrails: list[Guardrail]
    forecast: Forecast
    sample_ratio: SampleRatio
    warnings: list[str]


def named(text: str, names: Mapping[ArmLabel, str]) -> str:
    """A text with the arms' names, or with "Arm A" and "Arm B" while the trial is blind."""
    for label in ArmLabel:
        text = text.replace("{" + label.value + "}", names[label])
    return text


def judge(evidence: Evidence) -> Judgement:
    """Decide what can be decided, and say what cannot."""
    name, note = _primary_metric(evidence)
    effects = {metric.name: _effect(evidence, metric) for metric in METRICS.values()}
    primary = effects[name]
    guardrails = _guardrails(evidence)
    ratio = _sample_ratio(evidence)
    reasons, warnings = list(note), _warnings(evidence, ratio)
    decision, winner = _decide(evidence, primary, guardrails, ratio, reasons)
    forecast = _forecast(evidence, primary)
    sentence = _sentence(evidence, decision, winner, primary, guardrails, forecast)
    return Judgement(
        decision=decision,
        winner=winner,
        sentence=sentence,
        reasons=reasons,
        primary=primary,
        effects=effects,
        guardrails=guardrails,
        forecast=forecast,
        sample_ratio=ratio,
        warnings=warnings,
    )


def _primary_metric(evidence: Evidence) -> tuple[str, list[str]]:
    frozen = evidence.trial.primary_metric
    if evidence.trial.is_shadow and frozen != "agreement":
        return "agreement", [
            "The trial is in shadow mode: nothing is ever shown, so nothing can be taken, and agreement with what was "
            "then written decides."
        ]
    if frozen not in METRICS:
        return "acceptance", [
            f"The manifest's primary metric {frozen!r} is not known to this version (known: {', '.join(METRICS)}); "
            "acceptance is shown, and nothing is decided."
        ]
    return frozen, []


# Effects.


@dataclass(frozen=True, slots=True)
class Units:
    """Unit by unit in order of assignment: values whose mean is the effect."""

    values: Floats
    session: NDArray[np.int64]
    opened: NDArray[np.datetime64]
    value_range: float | None
    mean_a: float | None
    mean_b: float | None


def units_of_pairs(pairs: Pairs) -> Units:
    """Episodes that showed nothing: the difference of both arms on the same requests."""
    means = (float(pairs.a.mean()), float(pairs.b.mean())) if len(pairs) else (None, None)
    return Units(pairs.a - pairs.b, pairs.session, pairs.opened, 2.0, *means)


def units_of_episodes(episodes: Episodes, metric: Metric) -> Units:
    """Assigned episodes, weighted by their propensities."""
    e = episodes
    outcome = (e.accepted > 0).astype(np.float64) if metric.name == "acceptance" else e.kept_chars
    possible = (e.share_a > 0) & (e.share_b > 0)
    arms = (outcome[possible], e.is_a[possible], e.is_b[possible], e.share_a[possible], e.share_b[possible])
    found = hajek(*arms)
    smallest = float(min(e.share_a[possible].min(), e.share_b[possible].min())) if possible.any() else 0.45
    value_range = 2 / smallest if metric.name == "acceptance" else None
    return Units(centred_ipw(*arms), e.session[possible], e.opened[possible], value_range, found.a, found.b)


def _units(evidence: Evidence, metric: Metric) -> Units:
    return units_of_pairs(evidence.pairs) if metric.is_paired else units_of_episodes(evidence.episodes, metric)


class Limits(NamedTuple):
    """The intervals of one effect."""

    sequence: Sequence | None
    clustered: Interval | None
    interval: Interval | None
    """As wide as the wider of both."""
    sums: Floats
    sizes: Floats


def limits_of(evidence: Evidence, metric: Metric, units: Units) -> Limits:
    """Over episodes and over finished sessions."""
    # Both arms must have been assigned at least once: before that a difference is not even defined.
    is_defined = units.mean_a is not None and units.mean_b is not None and not _nothing_yet(units)
    sequence = (
        empirical_bernstein(units.values, value_range=units.value_range)
        if units.value_range is not None and is_defined
        else None
    )
    sums, sizes = _closed_clusters(evidence, units)
    over_sessions = cluster_ratio(sums, sizes).last if is_defined else None
    last = sequence.last if sequence is not None else None
    return Limits(sequence, over_sessions, _possible(_wider(last, over_sessions), metric), sums, sizes)


def _nothing_yet(units: Units | Effect) -> bool:
    """An amount without a bound that was zero every time: nothing says how far it varies."""
    return units.value_range is None and not units.mean_a and not units.mean_b


def _effect(evidence: Evidence, metric: Metric) -> Effect:
    units = _units(evidence, metric)
    margins = evidence.trial.settings.get("margins")
    frozen = margins.get(metric.name) if isinstance(margins, Mapping) else None
    limits = limits_of(evidence, metric, units)
    general, refusal = _general(evidence, units)
    week, later = (_possible(part, metric) for part in _first_week_and_later(units))
    return Effect(
        metric=metric,
        mean_a=units.mean_a,
        mean_b=units.mean_b,
        sequence=limits.sequence,
        clustered=limits.clustered,
        interval=limits.interval,
        units=len(units.values),
        clusters=len(limits.sums),
        cluster_deviation=_deviation(limits.sums, limits.sizes),
        variance=float(units.values.var()) if len(units.values) > 1 else None,
        value_range=units.value_range,
        clustering=clustering(units.values, units.session),
        general=general,
        general_refusal=refusal,
        first_week=week,
        later=later,
        margin=float(frozen) if frozen is not None else metric.default_margin,
        is_margin_frozen=frozen is not None,
    )


def _closed_clusters(evidence: Evidence, units: Units) -> tuple[Floats, Floats]:
    """Sums over the sessions that have ended: an open one's sum still moves."""
    if not len(units.values):
        return np.empty(0), np.empty(0)
    closed = evidence.sessions.is_closed[units.session]
    sums, sizes = cluster_sums(units.values[closed], units.session[closed])
    return sums[sizes > 0], sizes[sizes > 0]


def _deviation(sums: Floats, sizes: Floats) -> float | None:
    if len(sums) < 2:
        return None
    ratio = sums.sum() / sizes.sum()
    return float(((sums - ratio * sizes) / sizes.mean()).std(ddof=1))


def _wider(exact: Interval | None, clustered: Interval | None) -> Interval | None:
    """The hull of both: whatever it leaves out, both leave out."""
    if exact is None or clustered is None:
        return exact or clustered
    return Interval(exact.estimate, min(exact.low, clustered.low), max(exact.high, clustered.high))


def _possible(interval: Interval | None, metric: Metric) -> Interval | None:
    """Within what a difference of shares can be at all."""
    if interval is None or metric.unit != "points":
        return interval
    return Interval(interval.estimate, max(interval.low, -1.0), min(interval.high, 1.0))


def _general(evidence: Evidence, units: Units) -> tuple[GeneralClaim | None, str | None]:
    people = len(evidence.sessions.developers)
    if people < MIN_DEVELOPERS:
        return None, f"needs {MIN_DEVELOPERS} developers, has {people}"
    look = planned_look(evidence.days_ago)
    if not look or not len(units.values):
        return None, f"is first looked at after {LOOK_DAYS[0]} days"
    limit = units.opened.min() + np.timedelta64(LOOK_DAYS[look - 1], "D")
    seen = units.opened <= limit
    developer = evidence.sessions.developer[units.session[seen]]
    sums, sizes = cluster_sums(units.values[seen], developer)
    claim = developers_in_general(sums[sizes > 0] / sizes[sizes > 0], look=look)
    return claim, None if claim is not None else f"needs {MIN_DEVELOPERS} developers with data at the last planned look"


def _first_week_and_later(units: Units) -> tuple[Interval | None, Interval | None]:
    """Novelty shows as a difference between these two; the first week is never dropped."""
    if not len(units.values) or units.value_range is None:
        return None, None
    early = units.opened < units.opened.min() + np.timedelta64(7, "D")
    parts = (
        empirical_bernstein(units.values[part], value_range=units.value_range, looks=1).last for part in (early, ~early)
    )
    week, later = parts
    return week, later


# Checks and guardrails.


def _sample_ratio(evidence: Evidence) -> SampleRatio:
    e = evidence.episodes
    counts = [int(e.is_a.sum()), int(e.is_b.sum()), int((~e.is_a & ~e.is_b).sum())]
    if not len(e):
        return sample_ratio(counts, (1 / 3, 1 / 3, 1 / 3))
    shares = [float(s.mean()) for s in (e.share_a, e.share_b, e.share_none)]
    return sample_ratio(counts, shares)


def _warnings(evidence: Evidence, ratio: SampleRatio) -> list[str]:
    found = []
    if ratio.is_mismatch:
        a, b, none = ratio.counts
        found.append(
            f"Assigned counts (A {a:,}, B {b:,}, none {none:,}) do not fit the shares asked for: episodes were lost "
            "unevenly. Find out why before you believe any comparison."
        )
    found += setup_warnings(evidence)
    if evidence.episodes.clock_jumps:
        found.append(
            f"{evidence.episodes.clock_jumps:,} episodes have impossible times: a clock was set. "
            "Their order and the days are off."
        )
    if cut_off := int(evidence.sessions.is_cut_off.sum()):
        found.append(f"{cut_off:,} sessions ended without saying so (killed?); what they had open is censored.")
    return [*found, *silent_arms(evidence)]


def setup_warnings(evidence: Evidence) -> list[str]:
    """What is wrong with the trial itself, whichever door it has."""
    found = []
    if not evidence.trial.is_manifest_intact:
        found.append("The stored manifest does not match its hash: it was changed after the trial began.")
    if evidence.sessions.dropped_events:
        found.append(f"{evidence.sessions.dropped_events:,} events were dropped while recording; counts are too low.")
    return found


def silent_arms(evidence: Evidence) -> list[str]:
    """Arms of which no attempt gave an answer."""
    found = []
    for label, counts in evidence.statuses.items():
        if counts and not counts.get("ok") and not counts.get("empty"):
            worst = max(counts, key=lambda status: counts[status])
            found.append(
                f"Arm {{{label.value}}} never answered: all {sum(counts.values()):,} attempts ended in {worst}."
            )
    return found


def guardrail_margin(evidence: Evidence, name: str) -> float:
    """What counts as harm: the manifest's margin, or else the default."""
    margins = evidence.trial.settings.get("margins")
    found = margins.get(name) if isinstance(margins, Mapping) else None
    return float(found) if found is not None else DEFAULT_MARGINS[name]


def _guardrails(evidence: Evidence) -> list[Guardrail]:
    return [latency_guardrail(evidence), failures_guardrail(evidence), _retention(evidence), _cost(evidence)]


def latency_guardrail(evidence: Evidence) -> Guardrail:
    """Whether one arm is proven to be slower."""
    margin = guardrail_margin(evidence, "p95_latency")
    found = {}
    for label, latencies in evidence.latencies.items():
        lows, highs = bin_edges(latencies.bins)
        found[label] = quantile(
            lows, highs, latencies.counts, 0.95, alpha=ALPHA / GUARDED / 2, effective=latencies.effective
        )
    texts = {label: quantile_text(q) for label, q in found.items()}
    a, b = found[ArmLabel.A], found[ArmLabel.B]
    harms = None
    if a is not None and b is not None:
        for label, mine, other in ((ArmLabel.A, a, b), (ArmLabel.B, b, a)):
            if mine.low is not None and other.high is not None and mine.low > other.high * (1 + margin):
                harms = label
    cut = sum(latencies.cut_off for latencies in evidence.latencies.values())
    return Guardrail(
        name="p95_latency",
        title="95th percentile of latency",
        a=texts[ArmLabel.A],
        b=texts[ArmLabel.B],
        margin=f"{margin:.0%} slower",
        harms=harms,
        note=f"{cut:,} attempts that failed or were cut off are not in it." if cut else "",
    )


def quantile_text(found: Quantile | None) -> str:
    if found is None:
        return "unknown"
    low, high = ("?" if limit is None else f"{limit:,.0f}" for limit in (found.low, found.high))
    return f"{found.value:,.0f} ms ({low} to {high})"


def failures_guardrail(evidence: Evidence) -> Guardrail:
    """Whether one arm is proven to fail more often."""
    margin = guardrail_margin(evidence, "failure_rate")
    size = len(evidence.sessions)
    failed, tried = {}, {}
    for label, sums in evidence.attempts.items():
        failed[label] = np.bincount(sums.session, sums.failed, size) if size else np.zeros(0)
        tried[label] = np.bincount(sums.session, sums.attempts, size) if size else np.zeros(0)
    both = (tried[ArmLabel.A] > 0) & (tried[ArmLabel.B] > 0) & evidence.sessions.is_closed
    rates = {label: float(failed[label].sum() / n) if (n := tried[label].sum()) else None for label in ArmLabel}
    found = cluster_ratio(
        (failed[ArmLabel.A] - failed[ArmLabel.B])[both], tried[ArmLabel.A][both], alpha=ALPHA / GUARDED
    ).last
    harms = None
    if found is not None and found.low > margin:
        harms = ArmLabel.A
    elif found is not None and found.high < -margin:
        harms = ArmLabel.B
    return Guardrail(
        name="failure_rate",
        title="Failed attempts",
        a=_share_text(rates[ArmLabel.A]),
        b=_share_text(rates[ArmLabel.B]),
        margin=f"{margin * 100:g} points more",
        harms=harms,
        note=f"A - B: {found.low * 100:+.1f} to {found.high * 100:+.1f} points"
        if found is not None
        else f"no interval: needs {MIN_CLUSTERS} closed sessions in which failures vary",
    )


def _retention(evidence: Evidence) -> Guardrail:
    margin = guardrail_margin(evidence, "retention")
    last = {}
    for label, seen in evidence.retention.items():
        points = kaplan_meier(HORIZONS_S, seen.at_risk, seen.gone, seen.censored, alpha=ALPHA / GUARDED / 2)
        last[label] = points[-1]
    a, b = last[ArmLabel.A], last[ArmLabel.B]
    harms = None
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        if a.high < b.low - margin:
            harms = ArmLabel.A
        elif b.high < a.low - margin:
            harms = ArmLabel.B

    def text(label: ArmLabel) -> str:
        p = last[label]
        if p.survival is None or p.low is None or p.high is None:
            return "unknown"
        return f"{p.survival:.0%} ({p.low:.0%} to {p.high:.0%})"

    return Guardrail(
        name="retention",
        title="Taken text still there after 10 min",
        a=text(ArmLabel.A),
        b=text(ArmLabel.B),
        margin=f"{margin * 100:g} points less",
        harms=harms,
        note="Among taken suggestions only, which the arms' users chose differently: descriptive.",
    )


def _cost(evidence: Evidence) -> Guardrail:
    from analysis.cost import arm_costs

    costs = arm_costs(evidence)

    def text(label: ArmLabel) -> str:
        value = costs[label].per_kept_1000_chars_usd
        return "unknown" if value is None else f"${value:,.4f}"

    return Guardrail(
        name="cost",
        title="Cost per 1,000 kept characters",
        a=text(ArmLabel.A),
        b=text(ArmLabel.B),
        margin=f"{guardrail_margin(evidence, 'cost'):.0%} dearer",
        harms=None,
        note="No interval, so it never decides; see the cost section.",
    )


def _share_text(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


# The decision.


def _decide(
    evidence: Evidence, effect: Effect, guardrails: list[Guardrail], ratio: SampleRatio, reasons: list[str]
) -> tuple[Decision, ArmLabel | None]:
    interval = effect.interval
    if interval is None:
        return Decision.NOT_YET, None
    if evidence.trial.primary_metric not in METRICS and not evidence.trial.is_shadow:
        return Decision.NOT_YET, None
    if ratio.is_mismatch:
        reasons.append("Assignment does not fit its shares, so nothing is decided.")
        return Decision.NOT_YET, None
    is_clear, is_tie = interval.excludes(0.0), interval.lies_within(effect.margin)
    if effect.clusters < MIN_CLUSTERS or effect.clustered is None:
        reasons.append(f"A decision needs {MIN_CLUSTERS} finished sessions; there are {effect.clusters}.")
        return Decision.NOT_YET, None
    if not is_clear and not is_tie:
        return Decision.NOT_YET, None
    if is_tie:
        return Decision.TIE, None
    winner = ArmLabel.A if interval.estimate > 0 else ArmLabel.B
    if any(guardrail.harms is winner for guardrail in guardrails):
        return Decision.CONFLICT, winner
    return Decision.WIN, winner


def _nothing_to_compare(evidence: Evidence, effect: Effect) -> str:
    if effect.metric.is_paired:
        shown_nothing = evidence.pairs.none_shown_requests
        if not shown_nothing:
            return "No request has been routed in an episode that shows nothing, and only those can be compared."
        return (
            f"{shown_nothing:,} requests were routed in episodes that show nothing, but in none of them were both arms "
            "scored against what was then written."
        )
    if not len(evidence.episodes):
        waiting = evidence.episodes.unsettled
        return f"No episode has ended yet ({waiting} still open)." if waiting else "No episode has been recorded yet."
    if effect.mean_a is None or effect.mean_b is None:
        missing = " and ".join("{" + n + "}" for n, m in (("A", effect.mean_a), ("B", effect.mean_b)) if m is None)
        return f"No episode has shown {missing} yet."
    if _nothing_yet(effect):
        return "No text of either arm has been kept yet."
    return f"An interval for this metric needs {MIN_CLUSTERS} finished sessions; there are {effect.clusters}."


def _forecast(evidence: Evidence, effect: Effect) -> Forecast:
    days = evidence.days
    # A replay's pace is that of a machine: it says nothing about how long people would take.
    has_pace = days >= 0.5 and effect.units and evidence.origin is Origin.PERSON
    per_day = effect.units / days if has_pace else None
    variance, value_range, deviation = effect.variance, effect.value_range, effect.cluster_deviation
    unknown = Forecast(
        detectable=None,
        detectable_in_30_days=None,
        units_per_day=per_day,
        more_units=None,
        more_days=None,
        target=None,
    )
    if effect.interval is None or variance is None or variance <= 0:
        return unknown
    estimate = abs(effect.interval.estimate)
    # Whichever comes first: the interval leaves zero, or it fits into the margin.
    target = max(estimate, effect.margin - estimate)
    needs = []
    detectable = detectable_later = None
    if value_range is not None:
        needs.append(units_for_half_width(target, variance, value_range=value_range))
        detectable = float(bernstein_half_width(effect.units, variance, value_range=value_range))
        if per_day is not None:
            later = effect.units + 30 * per_day
            detectable_later = float(bernstein_half_width(later, variance, value_range=value_range))
    if deviation is not None and effect.clusters:
        sessions = clusters_for_half_width(target, deviation)
        needs.append(None if sessions is None else math.ceil(sessions * effect.units / effect.clusters))
    known = [need for need in needs if need is not None]
    more = max(0, max(known) - effect.units) if known and len(known) == len(needs) else None
    if effect.metric.unit == "points":
        # No effect is larger than all: then nothing shows yet.
        detectable, detectable_later = (None if d is None or d >= 1 else d for d in (detectable, detectable_later))
    return Forecast(
        detectable=detectable,
        detectable_in_30_days=detectable_later,
        units_per_day=per_day,
        more_units=more,
        more_days=more / per_day if more is not None and per_day else None,
        target=target,
    )


def _amount(metric: Metric, value: float) -> str:
    number = abs(value) * metric.scale
    return f"{number:.1f} {metric.unit}"


def _sentence(
    evidence: Evidence,
    decision: Decision,
    winner: ArmLabel | None,
    effect: Effect,
    guardrails: list[Guardrail],
    forecast: Forecast,
) -> str:
    prefix = "" if evidence.origin is Origin.PERSON else f"In this {evidence.origin.value}: "
    if decision in (Decision.WIN, Decision.CONFLICT) and winner is not None and effect.interval is not None:
        name = "{" + winner.value + "}"
        gain = effect.metric.win.format(gain=_amount(effect.metric, effect.interval.estimate))
        if decision is Decision.WIN:
            return f"{prefix}{name} wins: {gain}."
        harm = next(g.title for g in guardrails if g.harms is winner)
        return f"{prefix}{name} is better, but at a price: {gain}; its guardrail '{harm}' is broken."
    if decision is Decision.TIE:
        return f"{prefix}A tie: {{A}} and {{B}} differ by less than {_amount(effect.metric, effect.margin)}."
    text = _not_yet(evidence, effect, forecast)
    return text if not prefix else text.replace("Not yet:", f"Not yet, in this {evidence.origin.value}:", 1)


def _not_yet(evidence: Evidence, effect: Effect, forecast: Forecast) -> str:
    if effect.interval is None:
        return f"Not yet: {_nothing_to_compare(evidence, effect)}"
    low, high = (value * effect.metric.scale for value in (effect.interval.low, effect.interval.high))
    so_far = f"{{A}} minus {{B}} is somewhere between {low:+.1f} and {high:+.1f} {effect.metric.unit}"
    if effect.clusters < MIN_CLUSTERS and forecast.more_days is None:
        return f"Not yet: {so_far} after {effect.units:,} episodes in {effect.clusters} finished sessions."
    if forecast.more_days is not None and forecast.more_days <= 3650:
        days = rounded_up(forecast.more_days)
        return f"Not yet: {so_far}; about {days:,} more day{'s' if days > 1 else ''} at the present pace."
    if forecast.more_units:
        return f"Not yet: {so_far}; about {rounded_up(forecast.more_units):,} more episodes are needed."
    return f"Not yet: {so_far}."
