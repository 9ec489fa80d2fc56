"""The report as numbers: one dictionary, from which the terminal, the page, Markdown, JSON and CSV are all made.

What is published here keeps its name and meaning; `schema.json` beside this module describes it, and a test holds
both together. Unknown is null, never zero.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from analysis.cost import arm_costs, requests_per_month
from analysis.effects import Effect
from analysis.queries import HORIZONS_S, Evidence
from analysis.report.arms import guardrail_numbers, latency_numbers
from analysis.review_verdict import ReviewJudgement
from analysis.statistics import MIN_CLUSTERS, MIN_DEVELOPERS, Interval, kaplan_meier
from analysis.verdict import Judgement, named
from codetrial.records import ArmLabel, Origin

__all__ = ["SCHEMA", "Naming", "header", "naming", "numbers"]

SCHEMA = "codetrial/report/1"

Json = dict[str, Any]

BANNERS = {
    Origin.REPLAY: "Replay of past commits by a scripted editor. It shows that the machinery works; it is not evidence "
    "about people.",
    Origin.TEST: "Test data. It is not evidence about anything.",
}

FUNNEL_STEPS = (
    ("assigned", "Requests in its episodes"),
    ("routed", "Sent to the arms"),
    ("answered", "Answered in time"),
    ("shown", "Shown"),
    ("accepted", "Taken"),
    ("kept", "Still there after 30 s"),
)


class Naming(NamedTuple):
    """What to call the arms."""

    names: Mapping[ArmLabel, str]
    is_hidden: bool


def naming(evidence: Evidence, *, is_hidden: bool) -> Naming:
    """By name, or by label alone; two arms of one name are told apart."""
    names = {label: f"Arm {label.value}" if is_hidden else evidence.arms[label].name for label in ArmLabel}
    if names[ArmLabel.A] == names[ArmLabel.B]:
        names = {label: f"{name} ({label.value})" for label, name in names.items()}
    return Naming(names, is_hidden)


def header(evidence: Evidence, judgement: Judgement | ReviewJudgement, called: Naming) -> Json:
    """What every report begins with, whichever door it is about."""
    return {
        "origin": evidence.origin.value,
        "banner": BANNERS.get(evidence.origin),
        "is_blind": called.is_hidden,
        "trial": {
            "id": evidence.trial.id,
            "name": evidence.trial.name,
            "manifest_hash": evidence.trial.manifest_hash,
            "created_at": evidence.trial.created_at,
            "primary_metric": evidence.trial.primary_metric,
            "assignment_unit": evidence.trial.assignment_unit,
            "mode": evidence.trial.settings.get("mode"),
            "shares": evidence.trial.settings.get("shares"),
            "other_trials_in_store": evidence.other_trials,
            "sessions_of_other_origins": dict(evidence.other_origins),
            "since": evidence.since,
        },
        "verdict": {
            "decision": judgement.decision.value,
            "winner": judgement.winner.value if judgement.winner else None,
            "sentence": named(judgement.sentence, called.names),
            "reasons": [named(text, called.names) for text in judgement.reasons],
            "warnings": [named(text, called.names) for text in judgement.warnings],
        },
    }


def numbers(evidence: Evidence, judgement: Judgement, called: Naming) -> Json:
    """Everything a report says about completions."""
    return {
        "arms": {label.value: _arm(evidence, label, called) for label in ArmLabel},
        "size": _size(evidence),
        "primary": _effect(judgement.primary),
        "effects": {name: _effect(effect) for name, effect in judgement.effects.items()},
        "guardrails": guardrail_numbers(judgement.guardrails),
        "forecast": {
            "detectable": judgement.forecast.detectable,
            "detectable_in_30_days": judgement.forecast.detectable_in_30_days,
            "units_per_day": judgement.forecast.units_per_day,
            "more_units": judgement.forecast.more_units,
            "more_days": judgement.forecast.more_days,
            "target_half_width": judgement.forecast.target,
        },
        "sample_ratio": {
            "counts": list(judgement.sample_ratio.counts),
            "expected": list(judgement.sample_ratio.expected),
            "p_value": judgement.sample_ratio.p_value,
            "evidence": min(judgement.sample_ratio.evidence, 1e12),
            "is_mismatch": judgement.sample_ratio.is_mismatch,
        },
        "strata": [
            {
                "arm": s.label.value,
                "language": s.language,
                "place": s.place,
                "offered": s.offered,
                "accepted": s.accepted,
                "sessions": s.sessions,
            }
            for s in evidence.strata
        ],
        "dispositions": dict(evidence.dispositions),
        "incidents": dict(evidence.incidents),
        "tasks_by_day": dict(evidence.tasks_by_day),
        "requests_per_month": requests_per_month(evidence),
    }


def _interval(interval: Interval | None) -> Json | None:
    return None if interval is None else {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _effect(effect: Effect) -> Json:
    sequence = effect.sequence
    over_time = None
    if sequence is not None and len(sequence.sizes):
        over_time = {
            "units": sequence.sizes.tolist(),
            "estimate": _rounded(sequence.estimates),
            "low": _rounded(np.maximum(sequence.lows, -1.0)),
            "high": _rounded(np.minimum(sequence.highs, 1.0)),
        }
    general = effect.general
    return {
        "name": effect.metric.name,
        "title": effect.metric.title,
        "unit": effect.metric.unit,
        "scale": effect.metric.scale,
        "mean_a": effect.mean_a,
        "mean_b": effect.mean_b,
        "interval": _interval(effect.interval),
        "over_episodes": _interval(sequence.last if sequence is not None else None),
        "over_sessions": _interval(effect.clustered),
        "sessions_needed": MIN_CLUSTERS,
        "units": effect.units,
        "clusters": effect.clusters,
        "margin": effect.margin,
        "is_margin_frozen": effect.is_margin_frozen,
        "design_effect": effect.clustering.design_effect if effect.clustering else None,
        "intraclass_correlation": effect.clustering.intraclass_correlation if effect.clustering else None,
        "developers_in_general": None
        if general is None
        else {
            **(_interval(general.interval) or {}),
            "bootstrap_low": general.bootstrap.low,
            "bootstrap_high": general.bootstrap.high,
            "developers": general.developers,
            "look": general.look,
            "alpha": general.alpha,
        },
        "developers_in_general_refused": effect.general_refusal,
        "developers_needed": MIN_DEVELOPERS,
        "first_week": _interval(effect.first_week),
        "later": _interval(effect.later),
        "over_time": over_time,
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]


def _arm(evidence: Evidence, label: ArmLabel, called: Naming) -> Json:
    facts = evidence.arms[label]
    retention = evidence.retention[label]
    points = kaplan_meier(HORIZONS_S, retention.at_risk, retention.gone, retention.censored)
    cost = arm_costs(evidence)[label]
    statuses = evidence.statuses[label]
    return {
        "name": called.names[label],
        "fingerprint": None if called.is_hidden else facts.fingerprint,
        "model": None if called.is_hidden else facts.definition.get("model"),
        "api": None if called.is_hidden else facts.definition.get("api"),
        "is_self_hosted": None if called.is_hidden else facts.is_self_hosted,
        "funnel": [
            {"step": step, "title": title, "count": evidence.funnel[label][step]} for step, title in FUNNEL_STEPS
        ],
        "kept_looked_at": evidence.funnel[label]["looked_at"],
        "attempts": sum(statuses.values()),
        "statuses": dict(statuses),
        "errors": dict(evidence.errors[label]),
        "latency_ms": latency_numbers(evidence.latencies[label]),
        "retention": [
            {
                "horizon_s": int(p.horizon_s),
                "at_risk": p.at_risk,
                "gone": p.gone,
                "censored": p.censored,
                "survival": p.survival,
                "low": p.low,
                "high": p.high,
                "mean_kept": mean,
            }
            for p, mean in zip(points, retention.mean_kept, strict=True)
        ],
        "cost": {
            "attempts": cost.attempts,
            "priced": cost.priced,
            "trial_usd": cost.measured_usd,
            "per_1000_completions_usd": cost.per_1000_completions_usd,
            "per_1000_accepted_chars_usd": cost.per_1000_accepted_chars_usd,
            "per_1000_kept_chars_usd": cost.per_kept_1000_chars_usd,
            "per_month_usd": cost.per_month_usd,
            "tokens_in_per_completion": cost.tokens_in_per_completion,
            "tokens_out_per_completion": cost.tokens_out_per_completion,
            "seats": cost.seats,
            "seat_usd_per_month": cost.seat_usd_per_month,
        },
    }


def _size(evidence: Evidence) -> Json:
    sessions = evidence.sessions
    return {
        "days": round(evidence.days, 2),
        "sessions": len(sessions),
        "closed_sessions": int(sessions.is_closed.sum()),
        "developers": len(sessions.developers),
        "repositories": sessions.repositories,
        "episodes": len(evidence.episodes),
        "open_episodes": evidence.episodes.unsettled,
        "none_shown_episodes_scored": len(evidence.pairs),
        "none_shown_requests": evidence.pairs.none_shown_requests,
        "scored_requests": int(evidence.pairs.requests.sum()),
        "requests": sum(evidence.dispositions.values()),
        "dropped_events": sessions.dropped_events,
    }
