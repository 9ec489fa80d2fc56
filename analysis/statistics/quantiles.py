"""Quantiles with limits that may be looked at at any time, from counts alone.

Latencies come as counts in bins two percent wide, because counts add up across laptops and every database can make
them; a quantile read off bins is exact to those two percent.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from analysis.statistics.sequences import ALPHA, MIN_CLUSTERS

__all__ = ["LOG_BIN", "Quantile", "bin_edges", "bin_of", "effective_size", "quantile", "rank_limits"]

LOG_BIN = math.log(1.02)
"""Width of a latency bin on the logarithmic scale."""

PRIOR_STRENGTH_MEDIAN = 50.0
PRIOR_STRENGTH_TAIL = 20.0
"""How much the mixture's prior weighs, in observations: fixed before any data; wider tails want a weaker one."""


class Quantile(NamedTuple):
    value: float
    low: float | None
    """None: the data cannot exclude any smaller value yet."""
    high: float | None
    """None: the data cannot exclude any larger value yet."""
    size: int


def bin_of(value_ms: float) -> int:
    """The bin of a positive latency; what is below a microsecond counts as a microsecond."""
    return math.floor(math.log(max(value_ms, 1e-3)) / LOG_BIN)


def bin_edges(index: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper edge of bins, in the unit that was binned."""
    i = np.asarray(index, dtype=np.float64)
    return np.exp(i * LOG_BIN), np.exp((i + 1) * LOG_BIN)


def rank_limits(p: float, size: int, *, alpha: float = ALPHA) -> tuple[int, int]:
    """Smallest and largest number of observations at or below the p-quantile that are still plausible.

    Beta-binomial mixture test of F(q) = p (Robbins 1970; Howard and Ramdas, "Sequential estimation of quantiles with
    applications to A/B testing and best-arm identification", Bernoulli 28(3), 2022, section 4): reject q once
    B(a + S, b + t - S) / B(a, b) / (p^S (1 - p)^(t - S)) reaches 1 / alpha, with a = kp, b = k(1 - p).
    """
    strength = PRIOR_STRENGTH_MEDIAN if 0.25 <= p <= 0.75 else PRIOR_STRENGTH_TAIL
    a, b = strength * p, strength * (1 - p)
    threshold = math.log(1 / alpha)

    def evidence(s: int) -> float:
        mixed = special.betaln(a + s, b + size - s) - special.betaln(a, b)
        return float(mixed - s * math.log(p) - (size - s) * math.log1p(-p))

    # Convex in s with its least value near size * p, so the plausible counts are one run around it.
    centre = min(size, max(0, round(size * p)))
    return _edge(evidence, centre, 0, threshold), _edge(evidence, centre, size, threshold)


def _edge(evidence: Callable[[int], float], centre: int, end: int, threshold: float) -> int:
    """The plausible count farthest from the centre towards `end`."""
    if evidence(end) < threshold:
        return end
    inside, outside = centre, end
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if evidence(middle) < threshold else (inside, middle)
    return inside


def effective_size(sizes: ArrayLike, sums: ArrayLike, squares: float) -> float:
    """How many independent values tell as much as these, which come in clusters that resemble themselves.

    Their number over Kish's design effect (1965) of their mean, as `clustering` has it, never below 1. Below
    MIN_CLUSTERS clusters that effect cannot be told, so each cluster counts as if all its values were one, weighted by
    its size. For latencies the values are logarithms: their mean moves with the session more than any quantile does.

    Args:
        sizes: Values per cluster.
        sums: Sum of the values per cluster.
        squares: Sum of all squared values.
    """
    m, s = np.asarray(sizes, dtype=np.float64), np.asarray(sums, dtype=np.float64)
    m, s = m[m > 0], s[m > 0]
    n, k = float(m.sum()), len(m)
    if not k:
        return 0.0
    if k < MIN_CLUSTERS:
        return n**2 / float((m**2).sum())
    mean = float(s.sum()) / n
    naive = max(squares / n - mean**2, 0.0) / n
    clustered = float(((s - mean * m) ** 2).sum()) * k / (k - 1) / n**2
    return n if clustered <= naive else n * naive / clustered


def quantile(
    lows: ArrayLike,
    highs: ArrayLike,
    counts: ArrayLike,
    p: float,
    *,
    alpha: float = ALPHA,
    effective: float | None = None,
) -> Quantile | None:
    """The p-quantile of binned values with its confidence limits; None without any value.

    Args:
        lows: Lower edges of the bins in rising order; for single values the values themselves.
        highs: Upper edges.
        counts: How many values lie in each bin.
        effective: How many independent values they are worth (`effective_size`); None: all are independent. The limits
            are those of so many values, as shares; that step is checked by simulation only.
    """
    low_edges, high_edges = np.asarray(lows, dtype=np.float64), np.asarray(highs, dtype=np.float64)
    reached = np.cumsum(np.asarray(counts, dtype=np.int64))
    size = int(reached[-1]) if len(reached) else 0
    if not size:
        return None
    middle = int(np.searchsorted(reached, math.ceil(p * size), side="left"))
    worth = size if effective is None else max(1, min(size, math.floor(effective)))
    least, most = rank_limits(p, worth, alpha=alpha)
    least, most = math.floor(least * size / worth), math.ceil(most * size / worth)
    low = None if least == 0 else float(low_edges[np.searchsorted(reached, least, side="left")])
    above = int(np.searchsorted(reached, most, side="right"))
    high = None if most >= size else float(high_edges[above])
    return Quantile(math.sqrt(low_edges[middle] * high_edges[middle]), low, high, size)
