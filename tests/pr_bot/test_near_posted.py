"""Posted minus held back on code whose truth is known: dense places change more often, and neighbours are seen too."""

from collections.abc import Iterator

import numpy as np
import pytest

from analysis.reviews import FindingUnit, Reviews, posted_minus_held_back
from codetrial.records import ArmLabel, Shown
from pr_bot.anchors import Anchor, AnchorKind
from pr_bot.findings import Assigned, Group, Placed, assign
from pr_bot.neighbours import near_posted
from pr_bot.review import Claim, Severity
from pr_bot.settings import ReviewSettings

SETTINGS = ReviewSettings(post_share=0.6, max_inline=15)
EFFECT = 0.15
"""What posting a finding adds to the chance that its lines are changed."""
SPILL = 0.3
"""What a posted neighbour adds, whatever happens to the finding itself."""
ANYWAY = {"alone": 0.1, "crowded": 0.5}
PULLS = 2_500


def finding(name: str, line: int) -> Placed:
    claim = Claim(path="a.py", severity=Severity.MAJOR, category="bug", title=name, body=name)  # type: ignore[arg-type]
    anchor = Anchor(kind=AnchorKind.EXACT, path="a.py", start_line=line, end_line=line)
    return Placed(id=name, label=ArmLabel.A, claim=claim, anchor=anchor)


def places(pull: int) -> Iterator[tuple[Placed, str]]:
    """Two findings far from everything, and three beside each other."""
    for number, line in enumerate((100, 200, 300, 302, 304)):
        yield finding(f"{pull}-{number}", line), "alone" if number < 2 else "crowded"


def units(pull: int, generator: np.random.Generator, *, is_marked: bool) -> Iterator[FindingUnit]:
    found = list(places(pull))
    assigned = assign([Group(members=(one,)) for one, _ in found], seed="5eed", settings=SETTINGS, is_shadow=False)
    near = near_posted(assigned, {})
    for entry, (one, kind) in zip(assigned, found, strict=True):
        yield unit(entry, pull, ANYWAY[kind], is_near=one.id in near, generator=generator, is_marked=is_marked)


def unit(
    entry: Assigned, pull: int, anyway: float, *, is_near: bool, generator: np.random.Generator, is_marked: bool
) -> FindingUnit:
    is_posted = entry.shown is not Shown.NONE
    chance = anyway + EFFECT * is_posted + SPILL * is_near
    return FindingUnit(
        pull=pull, stratum="A", shown=entry.shown.value, share_posted=SETTINGS.post_share, is_forced=False,
        is_near_posted=is_near and (is_marked or not is_posted), is_acted_on=bool(generator.random() < chance),
        is_open=False, opened_at=f"{pull:05d}",
    )  # fmt: skip


def reviews(*, is_marked: bool) -> Reviews:
    generator = np.random.default_rng(5)
    found = [one for pull in range(PULLS) for one in units(pull, generator, is_marked=is_marked)]
    return Reviews(
        units=found, pulls=PULLS, pulls_with_findings=PULLS, finished=list(range(PULLS)), reviews=PULLS,
        reviews_finished=PULLS, signals={}, outside={},
    )  # fmt: skip


def test_posted_minus_held_back_is_what_posting_does_where_places_are_crowded() -> None:
    found = posted_minus_held_back(reviews(is_marked=True), "A")
    assert found.last is not None
    assert found.estimate == pytest.approx(EFFECT, abs=0.03)
    assert found.last.low < EFFECT < found.last.high


def test_leaving_out_held_back_neighbours_alone_would_lean_on_crowded_places() -> None:
    """Why posted ones carry the mark as well: without it the same code shows more than twice the effect."""
    found = posted_minus_held_back(reviews(is_marked=False), "A")
    assert found.last is not None
    assert found.last.low > 2 * EFFECT


def test_whether_a_finding_is_compared_tells_nothing_about_its_own_draw() -> None:
    compared = [one for one in reviews(is_marked=True).units if one.is_compared]
    share = sum(one.is_posted for one in compared) / len(compared)
    error = (SETTINGS.post_share * (1 - SETTINGS.post_share) / len(compared)) ** 0.5
    assert abs(share - SETTINGS.post_share) < 4 * error
