"""How long accepted text stays: Kaplan-Meier over the fixed horizons, with censoring."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scipy import special

from analysis.statistics.sequences import ALPHA

__all__ = ["SurvivalPoint", "kaplan_meier", "proportion_limits"]


class SurvivalPoint(NamedTuple):
    horizon_s: float
    at_risk: int
    """Still there at the horizon before, and looked at here."""
    gone: int
    censored: int
    """Lost from sight before this horizon: not observed, which is neither kept nor gone."""
    survival: float | None
    """None: nothing was observed up to here."""
    low: float | None
    high: float | None


def proportion_limits(successes: int, size: int, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Limits of a proportion that hold at all times: Robbins' beta-binomial mixture with a uniform prior (1970).

    Keeps p while B(1 + s, 1 + t - s) / (p^s (1 - p)^(t - s)) < 1 / alpha.
    """
    if size == 0:
        return 0.0, 1.0
    centre = successes / size
    log_mixture = float(special.betaln(1 + successes, 1 + size - successes))

    def is_plausible(p: float) -> bool:
        if p in (0.0, 1.0):
            return successes == size * p and log_mixture < math.log(1 / alpha)
        likelihood = successes * math.log(p) + (size - successes) * math.log1p(-p)
        return log_mixture - likelihood < math.log(1 / alpha)

    return _limit(is_plausible, centre, 0.0), _limit(is_plausible, centre, 1.0)


def _limit(is_plausible: Callable[[float], bool], centre: float, end: float) -> float:
    if is_plausible(end):
        return end
    inside, outside = centre, end
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_plausible(middle) else (inside, middle)
    return outside


def kaplan_meier(
    horizons_s: Sequence[float],
    at_risk: Sequence[int],
    gone: Sequence[int],
    censored: Sequence[int],
    *,
    alpha: float = ALPHA,
) -> list[SurvivalPoint]:
    """Product-limit estimate (Kaplan and Meier 1958) at fixed horizons, with limits that hold at all times.

    Greenwood's usual limits hold for one look only. Here each horizon's hazard gets a beta-binomial confidence
    sequence at alpha / number of horizons and the limits are the products, so that all horizons hold together at all
    times. As everywhere with this estimate, censoring must not depend on whether the text would have stayed.
    """
    share = alpha / max(1, len(horizons_s))
    survival, low, high = 1.0, 1.0, 1.0
    points = []
    has_data = False
    for horizon, risk, lost, cut in zip(horizons_s, at_risk, gone, censored, strict=True):
        hazard_low, hazard_high = proportion_limits(lost, risk, alpha=share)
        if risk:
            has_data = True
            survival *= 1 - lost / risk
        low, high = low * (1 - hazard_high), high * (1 - hazard_low)
        limits = (survival, low, high) if has_data and risk else (None, None, None)
        points.append(SurvivalPoint(horizon, risk, lost, cut, *limits))
    return points
