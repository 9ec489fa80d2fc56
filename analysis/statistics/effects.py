"""Effects of showing one arm rather than the other, and differences between both arms on the same task."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Hajek", "centred_ipw", "cluster_sums", "hajek"]

Floats = NDArray[np.float64]


class Hajek(NamedTuple):
    """Mean outcome per assigned unit, had every unit shown this arm."""

    a: float | None
    """None: no unit was assigned to it."""
    b: float | None

    @property
    def effect(self) -> float | None:
        return None if self.a is None or self.b is None else self.a - self.b


def hajek(outcome: ArrayLike, is_a: ArrayLike, is_b: ArrayLike, share_a: ArrayLike, share_b: ArrayLike) -> Hajek:
    """Weighted means by assignment, the weights being one over the propensity (Hajek 1971).

    Every assigned unit counts; one where nothing came in time has outcome 0.
    """
    y = np.asarray(outcome, dtype=np.float64)
    means: list[float | None] = []
    for chosen, share in ((is_a, share_a), (is_b, share_b)):
        mask = np.asarray(chosen, dtype=bool)
        weight = 1 / np.asarray(share, dtype=np.float64)[mask]
        means.append(float((y[mask] * weight).sum() / weight.sum()) if mask.any() else None)
    return Hajek(*means)


def centred_ipw(outcome: ArrayLike, is_a: ArrayLike, is_b: ArrayLike, share_a: ArrayLike, share_b: ArrayLike) -> Floats:
    """One value per unit whose conditional mean is the unit's own effect: (Y - m)(1[A] / p_A - 1[B] / p_B).

    m is the mean outcome of the units before, so the values stay a martingale difference sequence around the effects
    (as needed by `empirical_bernstein`), with about a third less variance than without centring. Units that show
    nothing give 0 and count: propensities are of all three.
    """
    y = np.asarray(outcome, dtype=np.float64)
    if not len(y):
        return np.empty(0)
    counts = np.arange(1, len(y) + 1)
    before = np.concatenate(([0.5], (0.5 + np.cumsum(y)[:-1]) / counts[1:]))
    weight_a = np.asarray(is_a, dtype=np.float64) / np.asarray(share_a, dtype=np.float64)
    weight_b = np.asarray(is_b, dtype=np.float64) / np.asarray(share_b, dtype=np.float64)
    return (y - before) * (weight_a - weight_b)


def cluster_sums(values: ArrayLike, cluster: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Sum of the values and of the weights (by default the number of values) of each cluster, by cluster index."""
    index = np.asarray(cluster, dtype=np.int64)
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    size = int(index.max()) + 1 if len(index) else 0
    return np.bincount(index, v, size).astype(np.float64), np.bincount(index, w, size).astype(np.float64)
