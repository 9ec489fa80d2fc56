"""Confidence sequences: intervals that may be looked at as often as anybody likes.

empirical_bernstein    bounded values, any dependence, exact at every sample size
asymptotic             sums over clusters, tighter, from 30 clusters on
Both are for a running mean; docs/design/0010-intervals-for-peeking.md says which is used where, and why.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "ALPHA",
    "MIN_CLUSTERS",
    "Interval",
    "Sequence",
    "asymptotic_half_width",
    "cluster_ratio",
    "empirical_bernstein",
    "gamma_exponential_bound",
    "gamma_exponential_log_mixture",
    "look_times",
    "mixture_precision",
]

ALPHA = 0.05

MIN_CLUSTERS = 30
"""Below this the asymptotic sequence is not shown: its error is only small from some clusters on."""

OPTIMAL_CLUSTERS = 100
"""Where the asymptotic sequence is tightest. A choice made before any data, so it costs no validity."""

OPTIMAL_VARIANCE = 100.0
"""In squares of the range: where the empirical-Bernstein sequence is tightest (some thousand units of typical data)."""

NEWTON_STEPS = 30
"""Ten do; at a billion units rounding keeps the last ones from growing smaller."""

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its confidence limits; never of zero width, and infinite where nothing is known."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high

    def lies_within(self, margin: float) -> bool:
        return -margin < self.low and self.high < margin


class Sequence(NamedTuple):
    """An interval at each of some sample sizes, in order."""

    sizes: NDArray[np.int64]
    estimates: Floats
    lows: Floats
    highs: Floats

    @property
    def last(self) -> Interval | None:
        """The interval for everything seen; None before there is one."""
        if not len(self.sizes):
            return None
        return Interval(float(self.estimates[-1]), float(self.lows[-1]), float(self.highs[-1]))


def look_times(size: int, looks: int = 200) -> NDArray[np.int64]:
    """At most `looks` sample sizes up to `size`, closer together at the start; always ends at `size`."""
    if size <= 0:
        return np.empty(0, dtype=np.int64)
    if size <= looks:
        return np.arange(1, size + 1, dtype=np.int64)
    return np.unique(np.append(np.geomspace(2, size, looks).round().astype(np.int64), size)[-looks:])


def mixture_precision(v_opt: float, alpha: float = ALPHA) -> float:
    """The mixture's r that makes its boundary lowest at variance `v_opt`.

    Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
    Statistics 49(2), 2021, section 3.5: v / (-W_{-1}(-a^2 / e) - 1), W the lower branch of Lambert's function. Only
    the width depends on it, never the coverage.
    """
    branch = special.lambertw(-(alpha**2) / math.e, -1).real
    return float(v_opt / (-branch - 1))


def gamma_exponential_log_mixture(s: ArrayLike, v: ArrayLike, r: float, c: float) -> Floats:
    """Logarithm of the gamma-exponential mixture at sum `s` and variance `v`.

    Howard et al. (2021), the one-sided mixture of sub-exponential supermartingales with scale `c`; agrees with the
    reference values of the authors' own software (tests).
    """
    s, v = np.asarray(s, dtype=np.float64), np.asarray(v, dtype=np.float64)
    shape, w, z = r / c**2, (v + r) / c**2, (c * s + v + r) / c**2
    constant = shape * math.log(shape) - special.gammaln(shape) - math.log(special.gammainc(shape, shape))
    found: Floats = constant + special.gammaln(w) + np.log(special.gammainc(w, z)) - w * np.log(z) + (c * s + v) / c**2
    return found


def _slope(s: Floats, v: Floats, r: float, c: float) -> Floats:
    """The derivative of `gamma_exponential_log_mixture` by the sum."""
    w, z = (v + r) / c**2, (c * s + v + r) / c**2
    density = np.exp((w - 1) * np.log(z) - z - special.gammaln(w))
    found: Floats = (density / special.gammainc(w, z) - w / z + 1) / c
    return found


def gamma_exponential_bound(v: ArrayLike, log_threshold: float, r: float, c: float) -> Floats:
    """The sum at which the mixture reaches the threshold: with probability 1 - exp(-threshold) never crossed."""
    variance = np.asarray(v, dtype=np.float64)
    s = np.sqrt(variance + r) + c
    while (low := gamma_exponential_log_mixture(s, variance, r, c) < log_threshold).any():
        s = np.where(low, 2 * s, s)
    # A mixture of exponentials has a convex logarithm, so Newton's steps from above never go past the root.
    for _ in range(NEWTON_STEPS):
        step = (gamma_exponential_log_mixture(s, variance, r, c) - log_threshold) / _slope(s, variance, r, c)
        s = s - step
        if (np.abs(step) <= 1e-10 * s).all():
            break
    return s


def empirical_bernstein(
    values: ArrayLike,
    *,
    value_range: float,
    start: float = 0.0,
    alpha: float = ALPHA,
    looks: int = 200,
) -> Sequence:
    """Confidence sequence for the running mean of conditional means of bounded values.

    Howard et al. (2021), Theorem 4 with the gamma-exponential mixture: mean +- u(V) / t, where
    V = sum (x_i - mean_{i-1})^2 and u is the mixture's boundary at alpha / 2 for each side. It needs neither
    independence nor a constant effect: only that each value lies in a range known before it is drawn.

    Args:
        values: In the order in which they were assigned.
        value_range: Width of the range that every value lies in.
        start: The prediction for the first value, inside the range.
    """
    x = np.asarray(values, dtype=np.float64)
    sizes = look_times(len(x), looks)
    if not len(sizes):
        empty = np.empty(0)
        return Sequence(sizes, empty, empty, empty)
    counts = np.arange(1, len(x) + 1)
    means = np.cumsum(x) / counts
    predictions = np.concatenate(([start], means[:-1]))
    variances = np.cumsum((x - predictions) ** 2)
    r = mixture_precision(OPTIMAL_VARIANCE * value_range**2, alpha / 2)
    threshold = math.log(2 / alpha)
    at = sizes - 1
    radii = gamma_exponential_bound(variances[at], threshold, r, value_range) / sizes
    return Sequence(sizes, means[at], means[at] - radii, means[at] + radii)


def asymptotic_half_width(
    size: ArrayLike, deviation: ArrayLike, *, alpha: float = ALPHA, optimal_size: float = OPTIMAL_CLUSTERS
) -> Floats:
    """Half-width of the asymptotic confidence sequence for a mean.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences", Annals of Statistics 52(6), 2024 (arXiv 2103.06476), Theorem 2.2: the conjugate-mixture margin times the
    deviation seen so far. Margin and level agree with the first author's own R package (drconfseq,
    `std_conjmix_margin`, level alpha for both sides together); the theorem's wording was not at hand. Their precision
    is exact (`best_rho2_exact`), ours its closed approximation, within 5 percent (tests): that moves where the
    interval is tightest, never its coverage.
    """
    t = np.asarray(size, dtype=np.float64)
    r2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / optimal_size
    grown = t * r2 + 1
    return np.asarray(deviation) * np.sqrt(2 * grown / (t**2 * r2) * np.log(np.sqrt(grown) / alpha))


def cluster_ratio(
    sums: ArrayLike,
    weights: ArrayLike,
    *,
    alpha: float = ALPHA,
    min_clusters: int = MIN_CLUSTERS,
    optimal_clusters: float = OPTIMAL_CLUSTERS,
) -> Sequence:
    """Asymptotic confidence sequence for sum(sums) / sum(weights), whole clusters at a time.

    The ratio is linearised: the residual of cluster k is (S_k - ratio n_k) / mean(n). That step is not in the paper;
    its coverage under peeking is measured by `python -m bench intervals`.

    Args:
        sums: Per cluster, in the order in which clusters closed.
        weights: Per cluster, the number of units behind its sum.
    """
    s, n = np.asarray(sums, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if s.shape != n.shape:
        raise ValueError("one weight for each sum")
    sizes = np.arange(min_clusters, len(s) + 1, dtype=np.int64)
    if not len(sizes):
        empty = np.empty(0)
        return Sequence(sizes, empty, empty, empty)
    k = sizes - 1
    total_s, total_n = np.cumsum(s)[k], np.cumsum(n)[k]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = total_s / total_n
        # Sum of squared residuals without a loop over looks.
        squares = np.cumsum(s * s)[k] - 2 * ratio * np.cumsum(s * n)[k] + ratio**2 * np.cumsum(n * n)[k]
        deviation = np.sqrt(np.maximum(squares, 0.0) / (sizes - 1)) / (total_n / sizes)
    known = np.isfinite(ratio) & (deviation > 0)  # No variation seen yet: no interval, rather than one of zero width.
    sizes, ratio, deviation = sizes[known], ratio[known], deviation[known]
    radii = asymptotic_half_width(sizes, deviation, alpha=alpha, optimal_size=optimal_clusters)
    return Sequence(sizes, ratio, ratio - radii, ratio + radii)
