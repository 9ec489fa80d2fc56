"""The draw: which arm a unit shows, from the trial's seed and the unit's id alone.

Nothing else enters, so that anybody with the stored seed can draw again and compare (`codetrial audit`), and nothing
that happens later can move it. The draw is `HMAC-SHA256(key = seed, message = "codetrial/1/<purpose>/<unit id>")`; its
first 53 bits, read as a binary fraction, are a uniform number in [0, 1). `shown` takes A below the share of A, B below
the sum of both, and none above. Whether a unit is evaluated at all (`sample`) is an independent draw of its own.
"""

import hashlib
import hmac
import math
from typing import NamedTuple, Protocol

from codetrial.errors import ConfigError
from codetrial.records import Shown

__all__ = ["Draw", "Propensities", "SharesLike", "draw", "uniform"]

SCHEME = "codetrial/1"
"""Part of every message: another way of drawing needs another name, or old trials could no longer be audited."""

SHARES_TOLERANCE = 1e-9
"""Three decimal shares rarely sum to exactly one in binary."""


class SharesLike(Protocol):
    """How often a unit shows A, B, or nothing; they sum to one."""

    @property
    def a(self) -> float: ...
    @property
    def b(self) -> float: ...
    @property
    def none(self) -> float: ...


class Propensities(NamedTuple):
    """The probability of each assignment before it was drawn."""

    a: float
    b: float
    none: float


class Draw(NamedTuple):
    shown: Shown
    propensities: Propensities
    is_sampled: bool
    """False: the unit is not evaluated at all. `shown` is drawn all the same, so that an audit needs no exception."""


def uniform(seed: str, purpose: str, unit_id: str) -> float:
    """The number in [0, 1) that belongs to this unit and purpose, with the 53 bits that a float can hold."""
    message = f"{SCHEME}/{purpose}/{unit_id}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(seed.encode(), message, hashlib.sha256)
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def draw(seed: str, unit_id: str, shares: SharesLike, sample: float) -> Draw:
    """Assign one unit.

    Raises:
        ConfigError: the shares are not probabilities that sum to one, or `sample` is not a probability.
    """
    propensities = _propensities(shares)
    if not 0 <= sample <= 1:
        raise ConfigError(f"trial.sample is {sample}: it must lie between 0 and 1.")
    point = uniform(seed, "shown", unit_id)
    if point < propensities.a:
        shown = Shown.A
    elif point < propensities.a + propensities.b:
        shown = Shown.B
    else:
        # Rounding may leave the sum of a and b a hair below one: with no share for none, the last arm takes it.
        shown = Shown.NONE if propensities.none > 0 else (Shown.B if propensities.b > 0 else Shown.A)
    return Draw(shown, propensities, uniform(seed, "sample", unit_id) < sample)


def _propensities(shares: SharesLike) -> Propensities:
    values = Propensities(float(shares.a), float(shares.b), float(shares.none))
    if any(not 0 <= share <= 1 for share in values) or not math.isclose(sum(values), 1, abs_tol=SHARES_TOLERANCE):
        raise ConfigError(
            f"trial.shares are a={values.a}, b={values.b}, none={values.none}: each must lie between 0 and 1, "
            "and together they must make 1."
        )
    return values
