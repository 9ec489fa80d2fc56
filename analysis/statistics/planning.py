"""How long until an honest answer: smallest effects that can be seen, units that are needed."""

import math

from scipy import optimize, special

from analysis.statistics.sequences import (
    ALPHA,
    MIN_CLUSTERS,
    OPTIMAL_VARIANCE,
    asymptotic_half_width,
    gamma_exponential_bound,
    mixture_precision,
)

__all__ = [
    "MAX_UNITS",
    "bernstein_half_width",
    "clusters_for_half_width",
    "fixed_sample_size",
    "units_for_half_width",
]

MAX_UNITS = 10**9
"""Beyond this the answer is "not in this way"."""


def bernstein_half_width(size: float, variance: float, *, value_range: float, alpha: float = ALPHA) -> float:
    """Half-width that `empirical_bernstein` will have after `size` units of this variance."""
    r = mixture_precision(OPTIMAL_VARIANCE * value_range**2, alpha / 2)
    return gamma_exponential_bound(variance * size, math.log(2 / alpha), r, value_range) / size


def units_for_half_width(half_width: float, variance: float, *, value_range: float, alpha: float = ALPHA) -> int | None:
    """Units until the interval is this narrow, about where an effect of that size shows in half of the trials.

    None if it would take more than MAX_UNITS.
    """

    def excess(log_size: float) -> float:
        size = math.exp(log_size)
        return bernstein_half_width(size, variance, value_range=value_range, alpha=alpha) - half_width

    if half_width <= 0 or excess(math.log(MAX_UNITS)) > 0:
        return None
    if excess(0.0) <= 0:
        return 1
    return math.ceil(math.exp(optimize.brentq(excess, 0.0, math.log(MAX_UNITS), xtol=1e-6)))


def clusters_for_half_width(half_width: float, deviation: float) -> int | None:
    """Clusters until the asymptotic sequence over clusters is this narrow; None if that takes over MAX_UNITS."""

    def excess(log_size: float) -> float:
        return float(asymptotic_half_width(math.exp(log_size), deviation)) - half_width

    if half_width <= 0 or excess(math.log(MAX_UNITS)) > 0:
        return None
    if excess(math.log(MIN_CLUSTERS)) <= 0:
        return MIN_CLUSTERS
    return math.ceil(math.exp(optimize.brentq(excess, math.log(MIN_CLUSTERS), math.log(MAX_UNITS), xtol=1e-6)))


def fixed_sample_size(effect: float, variance: float, *, power: float = 0.8, alpha: float = ALPHA) -> int:
    """Units for a single look at the end with this power: the textbook number, for comparison."""
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    return math.ceil(z**2 * variance / effect**2)
