import hashlib
import hmac
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetrial.assignment import Propensities, draw, uniform
from codetrial.errors import ConfigError
from codetrial.records import Shown

DEFAULT = Propensities(0.45, 0.45, 0.10)
SEED = "5eed"


@given(st.text(), st.text())
def test_the_same_unit_is_always_drawn_alike(seed: str, unit: str) -> None:
    try:
        seed.encode()
    except UnicodeEncodeError:
        return
    assert draw(seed, unit, DEFAULT, 0.5) == draw(seed, unit, DEFAULT, 0.5)


@given(st.text(alphabet="0123456789abcdef", min_size=1), st.text(), st.sampled_from(["shown", "sample"]))
def test_a_draw_is_a_probability(seed: str, unit: str, purpose: str) -> None:
    assert 0 <= uniform(seed, purpose, unit) < 1


def test_the_draw_is_the_documented_hash() -> None:
    digest = hmac.new(SEED.encode(), b"codetrial/1/shown/e-1", hashlib.sha256).digest()
    assert uniform(SEED, "shown", "e-1") == (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def test_shares_are_kept_in_the_long_run() -> None:
    units = 20_000
    counts = dict.fromkeys(Shown, 0)
    for number in range(units):
        counts[draw(SEED, f"e-{number}", DEFAULT, 1.0).shown] += 1
    for shown, share in zip((Shown.A, Shown.B, Shown.NONE), DEFAULT, strict=True):
        # Five standard errors: with a fixed seed this never flickers, and a biased draw is far outside.
        assert abs(counts[shown] / units - share) < 5 * math.sqrt(share * (1 - share) / units)


def test_sampling_does_not_depend_on_what_is_shown() -> None:
    drawn = [draw(SEED, f"e-{number}", Propensities(0.5, 0.5, 0.0), 0.3) for number in range(10_000)]
    for shown in (Shown.A, Shown.B):
        sampled = [d.is_sampled for d in drawn if d.shown is shown]
        assert abs(sum(sampled) / len(sampled) - 0.3) < 0.03


@pytest.mark.parametrize(
    ("shares", "only"),
    [
        (Propensities(1, 0, 0), Shown.A),
        (Propensities(0, 1, 0), Shown.B),
        (Propensities(0, 0, 1), Shown.NONE),
    ],
)
def test_a_share_of_one_leaves_nothing_to_chance(shares: Propensities, only: Shown) -> None:
    assert {draw(SEED, f"e-{number}", shares, 1.0).shown for number in range(200)} == {only}


def test_without_a_share_for_none_something_is_always_shown() -> None:
    thirds = Propensities(0.1 + 0.2, 0.7, 0.0)
    assert Shown.NONE not in {draw(SEED, f"e-{number}", thirds, 1.0).shown for number in range(500)}


@pytest.mark.parametrize("shares", [Propensities(0.5, 0.5, 0.5), Propensities(-0.1, 1.0, 0.1), Propensities(0, 0, 0)])
def test_shares_that_are_no_probabilities_are_refused(shares: Propensities) -> None:
    with pytest.raises(ConfigError, match=r"together they must make 1"):
        draw(SEED, "e-1", shares, 1.0)


def test_a_sample_above_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.sample is 1\.5"):
        draw(SEED, "e-1", DEFAULT, 1.5)
