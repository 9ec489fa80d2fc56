"""What a better arm may not cost: slower answers, more failures, less text that stays, more money.

A guardrail can only take a win away, and only where harm is proven (docs/design/0011-the-verdict.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.queries import HORIZONS_S, Evidence
from analysis.statistics import ALPHA, MIN_CLUSTERS, Quantile, bin_edges, cluster_ratio, kaplan_meier, quantile
from codetrial.records import ArmLabel

__all__ = [
    "DEFAULT_MARGINS",
    "GUARDED",
    "Guardrail",
    "failures_guardrail",
    "guardrail_margin",
    "guardrails_of",
    "latency_guardrail",
]

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


def guardrail_margin(evidence: Evidence, name: str) -> float:
    """What counts as harm: the manifest's margin, or else the default."""
    margins = evidence.trial.settings.get("margins")
    found = margins.get(name) if isinstance(margins, Mapping) else None
    return float(found) if found is not None else DEFAULT_MARGINS[name]


def guardrails_of(evidence: Evidence) -> list[Guardrail]:
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
