"""Places, duplicates, draws and caps: decided here, exactly, and the same way each time."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from codetrial.records import ArmLabel, Shown
from pr_bot.anchors import AnchorKind, Claimed, anchor
from pr_bot.diff import Diff, Side, parse
from pr_bot.findings import Group, Placed, assign, deduplicate, fingerprint, marker_id, place, plan
from pr_bot.neighbours import Spot, near_posted
from pr_bot.packing import pack
from pr_bot.review import Claim
from pr_bot.settings import ReviewSettings
from tests.pr_bot.models import finding

DIFF = """\
diff --git a/app.py b/app.py
--- a/app.py
+++ b/app.py
@@ -1,5 +1,6 @@ def first():
 def first():
-    return old
+    return new
+    # more
     }
 x = 1
 y = 2
@@ -50,4 +51,5 @@ def second():
 def second():
     total = 0
+    total =+ value
     return total
     }
diff --git a/gone.py b/gone.py
deleted file mode 100644
--- a/gone.py
+++ /dev/null
@@ -1,2 +0,0 @@
-a = 1
-b = 2
"""
CHANGE = Diff(merge_base="a", head="b", files=tuple(parse(DIFF)))


def at(
    start: int | None, end: int | None = None, side: Side = Side.RIGHT, quote: str = "", path: str = "app.py"
) -> Claimed:
    return Claimed(path, side, start, end if end is not None else start, quote)


@pytest.mark.parametrize(
    ("claim", "kind", "lines"),
    [
        (at(2), AnchorKind.EXACT, (2, 2)),
        (at(2, 3), AnchorKind.EXACT, (2, 3)),
        (at(1), AnchorKind.EXACT, (1, 1)),
        (at(2, side=Side.LEFT), AnchorKind.EXACT, (2, 2)),
        (at(1, 2, side=Side.LEFT), AnchorKind.FILE, None),
        (at(30), AnchorKind.FILE, None),
        (at(5, 52), AnchorKind.FILE, None),
        (at(3, 2), AnchorKind.FILE, None),
        (at(0), AnchorKind.FILE, None),
        (at(-1, 2), AnchorKind.FILE, None),
        (at(None), AnchorKind.FILE, None),
        (at(99, quote="total =+ value"), AnchorKind.QUOTE, (53, 53)),
        (at(2, quote="total =+ value"), AnchorKind.QUOTE, (53, 53)),
        (at(53, quote="  total  =+   value "), AnchorKind.EXACT, (53, 53)),
        (at(99, quote="    total = 0\n    total =+ value"), AnchorKind.QUOTE, (52, 53)),
        (at(99, quote="    }"), AnchorKind.FILE, None),
        (at(99, quote="not there at all"), AnchorKind.FILE, None),
        (at(99, quote="return old"), AnchorKind.QUOTE, (2, 2)),
        (at(1, side=Side.LEFT, path="gone.py"), AnchorKind.EXACT, (1, 1)),
        (at(1, path="gone.py"), AnchorKind.FILE, None),
        (at(1, path="b/app.py"), AnchorKind.EXACT, (1, 1)),
        (at(1, path="./app.py"), AnchorKind.EXACT, (1, 1)),
        (at(1, path="other.py"), AnchorKind.BODY, None),
        (at(1, path="../../etc/passwd"), AnchorKind.BODY, None),
    ],
)  # fmt: skip
def test_a_claim_is_placed_exactly_or_by_a_unique_quote_or_not_on_lines(
    claim: Claimed, kind: AnchorKind, lines: tuple[int, int] | None
) -> None:
    found = anchor(CHANGE, claim)
    assert found.kind is kind
    assert lines is None or (found.start_line, found.end_line) == lines
    assert lines is not None or found.start_line is None


def test_no_anchor_leaves_its_hunk_whatever_is_claimed() -> None:
    for start in range(-2, 60):
        for end in range(start, min(start + 70, 62)):
            for side in Side:
                found = anchor(CHANGE, at(start, end, side))
                if found.is_inline and found.start_line is not None and found.end_line is not None:
                    wanted = set(range(found.start_line, found.end_line + 1))
                    [app, _] = CHANGE.files
                    assert any(wanted <= hunk.numbers(found.side) for hunk in app.hunks)
                    assert (found.start_line, found.end_line) == (start, end)


def claim(**values: Any) -> Claim:
    return msgspec.convert(finding(**values), Claim)


def placed(label: ArmLabel, **values: Any) -> Placed:
    [found] = place(CHANGE, [claim(**values)], label)
    return found


SUM_A = {
    "start_line": 53,
    "end_line": 53,
    "title": "Assigns instead of adding",
    "body": "total keeps only the last value",
}
SUM_B = {"start_line": 53, "end_line": 53, "title": "The sum assigns instead of adding", "body": "only last value kept"}
RACE = {"start_line": 53, "end_line": 53, "title": "Data race", "body": "Two threads write without holding the lock"}


def test_the_same_defect_by_both_arms_is_one_finding_of_its_own_stratum() -> None:
    a, b = placed(ArmLabel.A, **SUM_A), placed(ArmLabel.B, **SUM_B)
    [group] = deduplicate([b, a])
    assert group.stratum == "both"
    assert group.id == a.id
    assert {m.label for m in group.members} == {ArmLabel.A, ArmLabel.B}


def test_two_defects_on_one_line_stay_two() -> None:
    groups = deduplicate([placed(ArmLabel.A, **SUM_A), placed(ArmLabel.B, **RACE)])
    assert sorted(group.stratum for group in groups) == ["A", "B"]


def test_the_same_words_at_another_place_stay_two() -> None:
    groups = deduplicate([placed(ArmLabel.A, **SUM_A), placed(ArmLabel.B, **{**SUM_B, "start_line": 2, "end_line": 2})])
    assert len(groups) == 2


def test_an_arm_that_repeats_itself_counts_once() -> None:
    assert len(deduplicate([placed(ArmLabel.A, **SUM_A), placed(ArmLabel.A, **SUM_B)])) == 1


def test_a_fingerprint_survives_a_shift_of_lines_and_other_words() -> None:
    moved = Diff(merge_base="a", head="c", files=tuple(parse(DIFF.replace("+51,5", "+91,5"))))
    [there] = place(moved, [claim(**{**SUM_B, "start_line": 93, "end_line": 93})], ArmLabel.A)
    here = placed(ArmLabel.A, **SUM_A)
    assert fingerprint(here) == fingerprint(there)
    assert fingerprint(here) != fingerprint(placed(ArmLabel.A, **{**SUM_A, "start_line": 2, "end_line": 2}))


SETTINGS = ReviewSettings(post_share=0.8, always_post=("critical/security",), max_inline=2)


def many(label: ArmLabel, count: int) -> list[Group]:
    return [Group(members=(replace(placed(label, **SUM_A), id=f"{label}{number}"),)) for number in range(count)]


def test_the_draw_depends_on_seed_and_id_alone_and_keeps_its_share() -> None:
    groups = [*many(ArmLabel.A, 1000), *many(ArmLabel.B, 1000)]
    first = assign(groups, seed="ab", settings=SETTINGS, is_shadow=False)
    again = assign(reversed(groups), seed="ab", settings=SETTINGS, is_shadow=False)
    assert {a.group.id: a.shown for a in first} == {a.group.id: a.shown for a in again}
    for label in ArmLabel:
        share = sum(a.shown.value == label for a in first) / 1000
        assert 0.76 < share < 0.84
    assert {tuple(round(p, 9) for p in a.propensities) for a in first} == {(0.8, 0.0, 0.2), (0.0, 0.8, 0.2)}


def test_a_finding_of_both_is_drawn_once_and_either_words_may_be_posted() -> None:
    pairs = [
        Group(
            members=(replace(placed(ArmLabel.A, **SUM_A), id=f"a{n}"), replace(placed(ArmLabel.B, **SUM_B), id=f"b{n}"))
        )
        for n in range(1000)
    ]
    shown = [entry.shown for entry in assign(pairs, seed="ab", settings=SETTINGS, is_shadow=False)]
    assert 340 < shown.count(Shown.A) < 460
    assert 340 < shown.count(Shown.B) < 460


def test_what_is_always_posted_says_so_in_its_assignment() -> None:
    one = placed(ArmLabel.A, **SUM_A, severity="critical", category="security")
    grave = [Group(members=(replace(one, id=f"g{number}"),)) for number in range(50)]
    assigned = assign(grave, seed="ab", settings=SETTINGS, is_shadow=False)
    assert {(a.shown, a.propensities.a, a.reason) for a in assigned} == {
        (Shown.A, 1.0, "severity_override:critical/security")
    }


def test_in_shadow_mode_nothing_is_posted_however_grave() -> None:
    grave = [Group(members=(placed(ArmLabel.A, **SUM_A, severity="critical", category="security"),))]
    [entry] = assign(grave, seed="ab", settings=SETTINGS, is_shadow=True)
    assert entry.posted is None


def test_both_arms_have_the_same_cap_and_the_rest_is_folded() -> None:
    groups = [*many(ArmLabel.A, 5), *many(ArmLabel.B, 3)]
    everything = replace(SETTINGS, post_share=1.0)
    assigned = assign(groups, seed="ab", settings=everything, is_shadow=False)
    planned = plan(assigned, seed="ab", task="t", max_inline=2)
    assert sorted(f.label for f in planned.inline) == ["A", "A", "B", "B"]
    assert len(planned.folded) == 4


def test_the_order_is_shuffled_and_can_be_drawn_again() -> None:
    assigned = assign([*many(ArmLabel.A, 8), *many(ArmLabel.B, 8)], seed="ab",
                      settings=replace(SETTINGS, post_share=1.0), is_shadow=False)  # fmt: skip
    orders = [[f.id for f in plan(assigned, seed="ab", task=task, max_inline=8).inline]
              for task in ("t1", "t1", "t2")]  # fmt: skip
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_neighbours_of_a_posted_finding_are_not_compared_whether_posted_or_held_back() -> None:
    drawn = [
        replace(placed(ArmLabel.B, **{**RACE, "start_line": line, "end_line": line}), id=name)
        for name, line in (("near", 54), ("near too", 55), ("far", 2), ("same function", 5))
    ]
    posted = replace(placed(ArmLabel.A, **SUM_A), id="posted")
    functions = {"posted": "second:51", "same function": "second:51", "far": "first:1"}
    for is_shadow, near in (
        (True, {"near", "near too", "same function"}),
        (False, {"posted", "near", "near too", "same function", "far"}),
    ):
        always = replace(SETTINGS, post_share=1.0)
        entries = [
            *assign([Group(members=(posted,))], seed="ab", settings=always, is_shadow=False),
            *assign([Group(members=(f,)) for f in drawn], seed="ab", settings=always, is_shadow=is_shadow),
        ]
        assert near_posted(entries, functions) == near


def test_both_members_of_a_shared_finding_are_one_and_no_neighbours() -> None:
    twins = Group(members=(replace(placed(ArmLabel.A, **SUM_A), id="a"), replace(placed(ArmLabel.B, **SUM_B), id="b")))
    entries = assign([twins], seed="ab", settings=replace(SETTINGS, post_share=1.0), is_shadow=False)
    assert near_posted(entries, {"a": "f:1", "b": "f:1"}) == set()


def test_a_finding_of_an_earlier_head_that_stands_still_makes_neighbours_too() -> None:
    late = replace(placed(ArmLabel.A, **SUM_A), id="late")
    entries = assign([Group(members=(late,))], seed="ab", settings=SETTINGS, is_shadow=True)
    beside = Spot(replace(late.anchor, start_line=50, end_line=50), None)
    elsewhere = Spot(replace(late.anchor, path="other.py"), None)
    for standing, near in (([beside], {"late"}), ([elsewhere], set()), ([], set())):
        assert near_posted(entries, {}, standing) == near


def test_a_marker_tells_nothing_without_the_seed() -> None:
    assert marker_id("ab", "finding") != marker_id("ac", "finding")
    assert len(marker_id("ab", "finding")) == 24


def test_packing_takes_the_riskiest_first_and_says_what_it_left_out() -> None:
    text = "".join(
        f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1,0 +1,40 @@\n" + f"+{'x' * 50}\n" * 40
        for name in ("docs/a.md", "tests/test_a.py", "pkg/core.py", "pkg/b.json", "uv.lock")
    )
    diff = Diff(merge_base="a", head="b", files=tuple(parse(text)))
    packed = pack(diff, max_chars=5_200)
    assert [entry.path for entry in packed.shown] == ["pkg/core.py", "tests/test_a.py"]
    assert dict(packed.coverage.left_out) == {"docs/a.md": "too large", "pkg/b.json": "too large", "uv.lock": "ignored"}
    assert (packed.coverage.changed_lines, packed.coverage.shown_lines) == (160, 80)
    assert not packed.coverage.is_complete
    part = pack(diff, max_chars=2_300)
    assert part.coverage.partly == ("pkg/core.py",)
    assert 0 < part.coverage.shown_lines < 40
    assert pack(diff, max_chars=100_000).coverage.is_complete
