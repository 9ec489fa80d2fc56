"""Whether the experiment ran as designed: sample-ratio mismatch, and how much clusters hold together."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.statistics.effects import cluster_sums

__all__ = ["MISMATCH_EVIDENCE", "Clustering", "SampleRatio", "clustering", "sample_ratio"]

MISMATCH_EVIDENCE = 1000.0
"""Alarm level: reached once in a thousand sound trials at most, however often one looks."""


class SampleRatio(NamedTuple):
    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float | None
    """Pearson's chi-square test at this one look; None without a unit."""
    evidence: float
    """Anytime-valid Bayes factor against the assigned shares; 1 means nothing known."""

    @property
    def is_mismatch(self) -> bool:
        return self.evidence >= MISMATCH_EVIDENCE


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> SampleRatio:
    """Whether units were assigned in the shares that were asked for.

    The alarm uses the Dirichlet-multinomial mixture of Lindon and Malek, "Anytime-valid inference for multinomial
    count data", NeurIPS 2022: under the right shares it stays below 1 / alpha at all times with probability 1 - alpha.
    The chi-square p-value beside it is the familiar one and holds for a single look only.
    """
    total = sum(counts)
    kept = [(n, p) for n, p in zip(counts, shares, strict=True) if p > 0]
    expected = tuple(total * p for p in shares)
    if any(n > 0 and p <= 0 for n, p in zip(counts, shares, strict=True)):
        return SampleRatio(tuple(counts), expected, 0.0, math.inf)
    if not total or len(kept) < 2:
        return SampleRatio(tuple(counts), expected, None, 1.0)
    n, p = np.array([c for c, _ in kept], dtype=np.float64), np.array([s for _, s in kept])
    p = p / p.sum()
    # A prior of weight 100 around the assigned shares: most power against small deviations.
    prior = 100 * p
    log_factor = (
        special.gammaln(prior.sum())
        - special.gammaln(prior.sum() + total)
        + float((special.gammaln(prior + n) - special.gammaln(prior)).sum())
        - float((n * np.log(p)).sum())
    )
    chi_square = float(((n - total * p) ** 2 / (total * p)).sum())
    return SampleRatio(
        tuple(counts), expected, float(special.chdtrc(len(p) - 1, chi_square)), math.exp(min(log_factor, 700.0))
    )


class Clustering(NamedTuple):
    clusters: int
    design_effect: float
    """Variance of the mean with clusters over the variance as if units were independent."""
    intraclass_correlation: float


def clustering(values: ArrayLike, cluster: ArrayLike) -> Clustering | None:
    """How much the units of one cluster resemble each other; None where that cannot be seen.

    The design effect is the ratio of the linearised cluster variance to the naive one (Kish 1965); the correlation is
    the one-way analysis-of-variance estimator, which can be a little below zero by chance.
    """
    x = np.asarray(values, dtype=np.float64)
    sums, sizes = cluster_sums(x, cluster)
    present = sizes > 0
    sums, sizes = sums[present], sizes[present]
    k, n = len(sums), len(x)
    naive = float(x.var(ddof=1)) if n > 1 else 0.0
    if k < 2 or n <= k or naive <= 0:
        return None
    mean = x.mean()
    between_residuals = sums - mean * sizes
    clustered = float((between_residuals**2).sum()) * k / (k - 1) / n**2
    mean_squares_between = float((sizes * (sums / sizes - mean) ** 2).sum()) / (k - 1)
    mean_squares_within = float((x**2).sum() - (sums**2 / sizes).sum()) / (n - k)
    typical = (n - float((sizes**2).sum()) / n) / (k - 1)
    spread = mean_squares_between + (typical - 1) * mean_squares_within
    correlation = (mean_squares_between - mean_squares_within) / spread if spread > 0 else 0.0
    return Clustering(k, clustered / (naive / n), correlation)
