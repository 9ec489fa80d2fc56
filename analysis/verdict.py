"""A wins, B wins, a tie, or not yet: the decision on the frozen primary metric, with guardrails.

An arm wins when the confidence sequence over episodes excludes zero and, clustered by session, so does the second one;
30 closed sessions are needed for that. It is a tie when both lie within the margin. A guardrail can only take a win
away, and only where harm is proven. docs/design/0010-intervals-for-peeking.md and 0011-the-verdict.md give the reasons.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from analysis.effects import METRICS, Effect, Metric, effect_on, has_nothing_yet
from analysis.guardrails import Guardrail, guardrails_of
from analysis.queries import Evidence
from analysis.statistics import (
    MIN_CLUSTERS,
    SampleRatio,
    bernstein_half_width,
    clusters_for_half_width,
    rounded_up,
    sample_ratio,
    units_for_half_width,
)
from codetrial.records import ArmLabel, Origin

__all__ = ["Decision", "Forecast", "Judgement", "judge", "named", "setup_warnings", "silent_arms"]


class Decision(StrEnum):
    WIN = "win"
    TIE = "tie"
    CONFLICT = "conflict"
    """Better on the primary metric, proven harm on a guardrail: for people to weigh."""
    NOT_YET = "not_yet"


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
    effects = {metric.name: effect_on(evidence, metric) for metric in METRICS.values()}
    primary = effects[name]
    guardrails = guardrails_of(evidence)
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
    if has_nothing_yet(effect):
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
