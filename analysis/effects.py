"""A minus B on a metric: the units it is made of, in order of assignment, and the intervals around their mean.

docs/design/0010-intervals-for-peeking.md gives the reasons for these intervals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.queries import Episodes, Evidence, Pairs
from analysis.statistics import (
    LOOK_DAYS,
    MIN_DEVELOPERS,
    Clustering,
    GeneralClaim,
    Interval,
    Sequence,
    centred_ipw,
    cluster_ratio,
    cluster_sums,
    clustering,
    developers_in_general,
    empirical_bernstein,
    hajek,
    planned_look,
)

__all__ = [
    "METRICS",
    "Effect",
    "Limits",
    "Metric",
    "Units",
    "effect_on",
    "has_nothing_yet",
    "limits_of",
    "units_of_episodes",
    "units_of_pairs",
]

Floats = NDArray[np.float64]


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
    is_defined = units.mean_a is not None and units.mean_b is not None and not has_nothing_yet(units)
    sequence = (
        empirical_bernstein(units.values, value_range=units.value_range)
        if units.value_range is not None and is_defined
        else None
    )
    sums, sizes = _closed_clusters(evidence, units)
    over_sessions = cluster_ratio(sums, sizes).last if is_defined else None
    last = sequence.last if sequence is not None else None
    return Limits(sequence, over_sessions, _possible(_wider(last, over_sessions), metric), sums, sizes)


def has_nothing_yet(units: Units | Effect) -> bool:
    """An amount without a bound that was zero every time: nothing says how far it varies."""
    return units.value_range is None and not units.mean_a and not units.mean_b


def effect_on(evidence: Evidence, metric: Metric) -> Effect:
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
