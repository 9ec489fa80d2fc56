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

from analysis.statistics.sequences import ALPHA

__all__ = ["LOG_BIN", "Quantile", "bin_edges", "bin_of", "quantile", "rank_limits"]

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


def quantile(
    lows: ArrayLike, highs: ArrayLike, counts: ArrayLike, p: float, *, alpha: float = ALPHA
) -> Quantile | None:
    """The p-quantile of binned values with its confidence limits; None without any value.

    Args:
        lows: Lower edges of the bins in rising order; for single values the values themselves.
        highs: Upper edges.
        counts: How many values lie in each bin.
    """
    low_edges, high_edges = np.asarray(lows, dtype=np.float64), np.asarray(highs, dtype=np.float64)
    reached = np.cumsum(np.asarray(counts, dtype=np.int64))
    size = int(reached[-1]) if len(reached) else 0
    if not size:
        return None
    middle = int(np.searchsorted(reached, math.ceil(p * size), side="left"))
    least, most = rank_limits(p, size, alpha=alpha)
    low = None if least == 0 else float(low_edges[np.searchsorted(reached, least, side="left")])
    above = int(np.searchsorted(reached, most, side="right"))
    high = None if most >= size else float(high_edges[above])
    return Quantile(math.sqrt(low_edges[middle] * high_edges[middle]), low, high, size)
