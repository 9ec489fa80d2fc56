"""Signed sums of rates over whole clusters, such as posted minus held back, with limits that allow any number of looks.

Each rate is a ratio of sums of its own (findings acted on over findings), and one cluster may feed several of them.
"""

from collections.abc import Sequence as Series
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.sequences import (
    ALPHA,
    MIN_CLUSTERS,
    OPTIMAL_CLUSTERS,
    Interval,
    Sequence,
    asymptotic_half_width,
)

__all__ = ["Cell", "Contrast", "contrast"]

Floats = NDArray[np.float64]

MIN_UNITS = 10
"""In each rate, below which nothing is shown: a rate of a handful is 0 or 1 too easily."""


class Cell(NamedTuple):
    """One rate, cluster by cluster in the order in which clusters closed."""

    sign: float
    """Its part in the contrast: 1 or -1."""
    hits: Floats
    """Per cluster, the weighted number of units with the outcome."""
    weights: Floats
    """Per cluster, the sum of the weights."""
    squares: Floats
    """Per cluster, the sum of the squared weights."""


class Contrast(NamedTuple):
    sequence: Sequence
    estimate: float | None
    """Also where there is no interval yet; None where a rate has no unit."""
    deviation: float | None
    """Per cluster; what the next cluster is worth."""

    @property
    def last(self) -> Interval | None:
        return self.sequence.last


def contrast(
    cells: Series[Cell],
    *,
    alpha: float = ALPHA,
    min_clusters: int = MIN_CLUSTERS,
    optimal_clusters: float = OPTIMAL_CLUSTERS,
) -> Contrast:
    """Asymptotic confidence sequence for the signed sum of several rates.

    Waudby-Smith et al. (2024), Theorem 2.2, on the linearised residual of each cluster,
    sum over rates of sign (S_k - rate n_k) / mean(n), as `cluster_ratio` does for one rate. The linearisation is not in
    the paper; the tests simulate its coverage under peeking.

    Two guards for small counts. The deviation is never taken below what independent units of the same rates would have,
    with one hit and one miss added to each rate: a rate that happens to be 0 so far is not known exactly. And a rate of
    fewer than MIN_UNITS units gives no interval.
    """
    signs = np.array([cell.sign for cell in cells])
    hits, weights, squares = (np.array([getattr(cell, name) for cell in cells]) for name in Cell._fields[1:])
    empty = Sequence(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0))
    clusters = hits.shape[1]
    if not clusters:
        return Contrast(empty, None, None)
    counts = np.arange(1, clusters + 1)
    s, n, q = hits.cumsum(axis=1), weights.cumsum(axis=1), squares.cumsum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = s / n
        estimates = (signs[:, None] * rates).sum(axis=0)
        effective = n**2 / q
        scale = signs[:, None] * counts / n
        deviation = np.sqrt(
            np.maximum(
                _squared_residuals(hits, weights, rates, scale) / np.maximum(counts - 1, 1),
                _least_variance(rates, effective) * counts,
            )
        )
    known = np.isfinite(estimates) & np.isfinite(deviation) & (deviation > 0)
    estimate = float(estimates[-1]) if np.isfinite(estimates[-1]) else None
    last = float(deviation[-1]) if known[-1] else None
    known &= (counts >= min_clusters) & (effective >= MIN_UNITS).all(axis=0)
    sizes = counts[known]
    radii = asymptotic_half_width(sizes, deviation[known], alpha=alpha, optimal_size=optimal_clusters)
    middle = estimates[known]
    return Contrast(Sequence(sizes, middle, middle - radii, middle + radii), estimate, last)


def _squared_residuals(hits: Floats, weights: Floats, rates: Floats, scale: Floats) -> Floats:
    """Sum of the squared residuals of the clusters up to each, without a loop over looks."""
    total = np.zeros(hits.shape[1])
    for i in range(len(hits)):
        for j in range(len(hits)):
            product = (
                np.cumsum(hits[i] * hits[j])
                - rates[j] * np.cumsum(hits[i] * weights[j])
                - rates[i] * np.cumsum(weights[i] * hits[j])
                + rates[i] * rates[j] * np.cumsum(weights[i] * weights[j])
            )
            total = total + scale[i] * scale[j] * product
    return np.maximum(total, 0.0)


def _least_variance(rates: Floats, effective: Floats) -> Floats:
    """Variance of the contrast if units were independent, each rate drawn towards one half by two units."""
    drawn = (rates * effective + 1) / (effective + 2)
    total: Floats = (drawn * (1 - drawn) / effective).sum(axis=0)
    return total
