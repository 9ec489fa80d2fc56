"""The review door in the report, as numbers: posted against held back, per arm, and what it costs."""

from typing import Any

from analysis.queries import Evidence
from analysis.report.arms import guardrail_numbers, latency_numbers
from analysis.report.numbers import Naming, header
from analysis.review_verdict import METRIC, ReviewCost, ReviewJudgement, StratumResult
from analysis.reviews import SHARED, Rate, Reviews
from analysis.statistics import MIN_CLUSTERS, Interval
from codetrial.records import ArmLabel

__all__ = ["SIGNALS", "review_numbers"]

Json = dict[str, Any]

SIGNALS = (
    ("reaction_positive", "liked"),
    ("reaction_negative", "disliked"),
    ("reaction_neutral", "other reaction"),
    ("reaction_withdrawn", "reaction taken back"),
    ("reply_agree", "answered: agrees"),
    ("reply_refute", "answered: refutes"),
    ("reply_ask", "answered: asks"),
    ("reply_other", "answered otherwise"),
    ("resolved_person", "resolved by a person"),
    ("resolved_sweep", "resolved with all others at once"),
    ("resolved_bot", "resolved by a bot"),
    ("minimised", "hidden"),
    ("deleted", "deleted"),
)
"""What people did with posted findings besides changing code; never an acceptance by itself."""


def review_numbers(evidence: Evidence, reviews: Reviews, judged: ReviewJudgement, called: Naming) -> Json:
    """Everything that the report says about reviews."""
    return {
        **header(evidence, judged, called),
        "metric": METRIC,
        "unit": "points",
        "scale": 100,
        "primary": {
            **_contrast(judged.contrast.estimate, judged.interval),
            "over_time": _over_time(judged),
            "clusters": len(reviews.finished),
            "clusters_needed": MIN_CLUSTERS,
            "margin": judged.margin,
            "is_margin_frozen": judged.is_margin_frozen,
            "more_pull_requests": judged.more_pulls,
            "more_days": judged.more_days,
        },
        "arms": {label.value: _arm(evidence, reviews, judged, label, called) for label in ArmLabel},
        "shared": {
            **_stratum(judged.strata[SHARED]),
            "in_words_of": {label.value: _rate(judged.words[label]) for label in ArmLabel},
        },
        "size": {
            "days": round(judged.days, 2),
            "pull_requests": reviews.pulls,
            "finished_pull_requests": len(reviews.finished),
            "reviews": reviews.reviews,
            "findings": len(reviews.units),
            "open_findings": sum(unit.is_open for unit in reviews.units),
            "developers": len(evidence.sessions.developers),
            "repositories": evidence.sessions.repositories,
        },
        "guardrails": guardrail_numbers(judged.guardrails),
        "split": {
            "posted": judged.split.counts[0],
            "held_back": judged.split.counts[1],
            "expected": list(judged.split.expected),
            "p_value": judged.split.p_value,
            "is_mismatch": judged.split.is_mismatch,
        },
        "outside": {who: dict(counts) for who, counts in reviews.outside.items()},
        "incidents": {kind: n for kind, n in evidence.incidents.items() if kind != "outside_finding"},
    }


def _interval(interval: Interval | None) -> Json | None:
    return None if interval is None else {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _contrast(estimate: float | None, interval: Interval | None) -> Json:
    return {"estimate": estimate, "interval": _interval(interval)}


def _over_time(judged: ReviewJudgement) -> Json | None:
    sequence = judged.contrast.sequence
    if not len(sequence.sizes):
        return None
    # A hundred points draw the same line as a thousand.
    step = max(1, len(sequence.sizes) // 100)
    chosen = sorted({*range(0, len(sequence.sizes), step), len(sequence.sizes) - 1})
    return {
        "clusters": [int(sequence.sizes[i]) for i in chosen],
        "estimate": [round(float(sequence.estimates[i]), 6) for i in chosen],
        "low": [round(max(-2.0, float(sequence.lows[i])), 6) for i in chosen],
        "high": [round(min(2.0, float(sequence.highs[i])), 6) for i in chosen],
    }


def _rate(found: Rate) -> Json:
    limits = found.limits
    return {
        "findings": found.findings,
        "acted_on": found.acted_on,
        "rate": None if limits is None else limits.estimate,
        "low": None if limits is None else limits.low,
        "high": None if limits is None else limits.high,
    }


def _stratum(found: StratumResult) -> Json:
    last = found.net.last
    interval = None if last is None else Interval(last.estimate, max(-1.0, last.low), min(1.0, last.high))
    return {
        "findings": found.found,
        "posted": _rate(found.posted),
        "held_back": _rate(found.held_back),
        "posted_in_all": _rate(found.posted_in_all),
        "net": {**_contrast(found.net.estimate, interval), "refused": found.refusal},
        "posted_by_rule": found.by_rule,
        "open": found.open,
        "not_observed": found.not_observed,
        "beside_posted": found.near_posted,
    }


def _arm(evidence: Evidence, reviews: Reviews, judged: ReviewJudgement, label: ArmLabel, called: Naming) -> Json:
    facts = evidence.arms[label]
    statuses = evidence.statuses[label]
    signals = reviews.signals[label]
    return {
        "name": called.names[label],
        "fingerprint": None if called.is_hidden else facts.fingerprint,
        "model": None if called.is_hidden else facts.definition.get("model"),
        "api": None if called.is_hidden else facts.definition.get("api"),
        "is_self_hosted": None if called.is_hidden else facts.is_self_hosted,
        "reviews": sum(statuses.values()),
        "statuses": dict(statuses),
        "errors": dict(evidence.errors[label]),
        "own": _stratum(judged.strata[label.value]),
        "signals": {kind: signals[kind] for kind, _ in SIGNALS if kind in signals},
        "latency_ms": latency_numbers(evidence.latencies[label]),
        "cost": _cost(judged.costs[label]),
    }


def _cost(found: ReviewCost) -> Json:
    return {
        "reviews": found.reviews,
        "priced": found.priced,
        "trial_usd": found.trial_usd,
        "per_review_usd": found.per_review_usd,
        "per_finding_acted_on_usd": found.per_finding_acted_on_usd,
        "per_finding_acted_on_because_posted_usd": found.per_finding_acted_on_because_posted_usd,
    }
