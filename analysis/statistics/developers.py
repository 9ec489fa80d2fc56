"""Developers in general: what few people can say about many."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.statistics.sequences import ALPHA, Interval

__all__ = ["LOOK_DAYS", "MIN_DEVELOPERS", "GeneralClaim", "developers_in_general", "planned_look"]

MIN_DEVELOPERS = 10

LOOK_DAYS = (7, 14, 28, 56, 112, 224)
"""Days after the start at which this claim is looked at; in between the last look's interval is shown again."""

REPLICATIONS = 1999


class GeneralClaim(NamedTuple):
    interval: Interval
    bootstrap: Interval
    """Wild cluster bootstrap, for comparison with the t interval."""
    developers: int
    look: int
    """Which planned look this is, from 1."""
    alpha: float
    """The part of the error that this look may spend."""


def planned_look(days: float) -> int:
    """How many planned looks lie behind after this many days."""
    return sum(day <= days for day in LOOK_DAYS)


def developers_in_general(effects: ArrayLike, *, look: int, alpha: float = ALPHA, seed: int = 0) -> GeneralClaim | None:
    """The mean effect over developers like these, each developer weighing the same; None below MIN_DEVELOPERS.

    A t interval on the developers' own effects. More requests of the same developers never narrow it. It is not safe
    under peeking by itself, so look j spends alpha / (j (j + 1)), which sums to at most alpha over all looks.

    The wild cluster bootstrap (Cameron, Gelbach and Miller, Review of Economics and Statistics 90(3), 2008) with
    Rademacher signs is computed beside it; where both differ much, few developers dominate.
    """
    x = np.asarray(effects, dtype=np.float64)
    if len(x) < MIN_DEVELOPERS or look < 1:
        return None
    spent = alpha / (look * (look + 1))
    mean, deviation = float(x.mean()), float(x.std(ddof=1))
    if np.ptp(x) == 0:
        return None
    error = deviation / math.sqrt(len(x))
    radius = float(special.stdtrit(len(x) - 1, 1 - spent / 2)) * error
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(REPLICATIONS, len(x)))
    drawn = (x - mean) * signs
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(len(x))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(np.abs(drawn.mean(axis=1)) / errors, nan=0.0, posinf=np.finfo(float).max)
    wild = float(np.quantile(ratios, 1 - spent)) * error
    return GeneralClaim(
        Interval(mean, mean - radius, mean + radius), Interval(mean, mean - wild, mean + wild), len(x), look, spent
    )
