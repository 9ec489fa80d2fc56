"""How long until an honest answer: smallest effects that can be seen, units that are needed."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

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
    "rounded_up",
    "units_for_half_width",
]

MAX_UNITS = 10**9
"""Beyond this the answer is "not in this way"."""


def rounded_up(forecast: float) -> int:
    """Days or units ahead as they may be told: at least one, rounded up to two digits, for no more is known."""
    unit: int = 10 ** max(0, math.floor(math.log10(max(forecast, 1.0))) - 1)
    return max(1, math.ceil(forecast / unit) * unit)


def bernstein_half_width(
    size: ArrayLike, variance: float, *, value_range: float, alpha: float = ALPHA
) -> NDArray[np.float64]:
    """Half-width that `empirical_bernstein` will have after `size` units of this variance."""
    r = mixture_precision(OPTIMAL_VARIANCE * value_range**2, alpha / 2)
    n = np.asarray(size, dtype=np.float64)
    return gamma_exponential_bound(variance * n, math.log(2 / alpha), r, value_range) / n


def units_for_half_width(half_width: float, variance: float, *, value_range: float, alpha: float = ALPHA) -> int | None:
    """Units until the interval is this narrow, about where an effect of that size shows in half of the trials.

    None if it would take more than MAX_UNITS.
    """
    return _least_size(
        lambda size: bernstein_half_width(size, variance, value_range=value_range, alpha=alpha), half_width, 1
    )


def clusters_for_half_width(half_width: float, deviation: float) -> int | None:
    """Clusters until the asymptotic sequence over clusters is this narrow; None if that takes over MAX_UNITS."""
    return _least_size(lambda size: asymptotic_half_width(size, deviation), half_width, MIN_CLUSTERS)


def _least_size(
    half_widths: Callable[[NDArray[np.float64]], NDArray[np.float64]], wanted: float, least: int
) -> int | None:
    """The size from which on a half-width that only falls is as narrow as wanted, to a millionth of itself."""
    low, high = math.log(least), math.log(MAX_UNITS)
    narrow = half_widths(np.exp([low, high])) <= wanted
    if wanted <= 0 or not narrow[1]:
        return None
    if narrow[0]:
        return least
    while high - low > 1e-6:
        sizes = np.linspace(low, high, 65)
        at = int(np.argmax(half_widths(np.exp(sizes)) <= wanted))
        low, high = float(sizes[at - 1]), float(sizes[at])
    return math.ceil(math.exp(high))


def fixed_sample_size(effect: float, variance: float, *, power: float = 0.8, alpha: float = ALPHA) -> int:
    """Units for a single look at the end with this power: the textbook number, for comparison."""
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    return math.ceil(z**2 * variance / effect**2)
