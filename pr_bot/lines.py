"""Where a range of lines of one commit stands in another, and whether it was touched on the way.

Lines that only moved, or that the base branch changed, are not the author's answer to a finding; so the base's own
changes are merged into the reviewed file first, and only what differs from that counts.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Fate", "Tracked", "line_hashes", "track"]


class Fate(StrEnum):
    UNTOUCHED = "untouched"
    CHANGED = "changed"
    REFORMATTED = "reformatted"
    """Only white space differs."""
    FILE_GONE = "file_gone"
    BASE_CHANGED = "base_changed"
    """The base branch changed these lines itself; what the author did to them cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Tracked:
    fate: Fate
    start_line: int | None = None
    end_line: int | None = None
    """Where the range, or what replaced it, stands now (from 1); `end_line` below `start_line` means nothing does."""


def line_hashes(text: str) -> list[str]:
    """Each line as a hash of its words, so that it can be found again without being kept."""
    return [_hash(line) for line in text.split("\n")]


def _hash(line: str) -> str:
    return hashlib.sha256(" ".join(line.split()).encode("utf-8", "replace")).hexdigest()[:12]


def track(
    reviewed: str, now: str | None, start_line: int, end_line: int, *, old_base: str | None = None,
    new_base: str | None = None,
) -> Tracked:  # fmt: skip
    """Follow lines `start_line` to `end_line` of the reviewed file to what it is now.

    Args:
        old_base, new_base: The file where the pull request's history parted from the base, then and now; differing
            ones mean that the base's changes were merged or rebased in.
    """
    if now is None:
        return Tracked(Fate.FILE_GONE)
    before = reviewed.split("\n")
    if old_base is not None and new_base is not None and old_base != new_base:
        carried = _through_base(before, old_base.split("\n"), new_base.split("\n"), start_line, end_line)
        if carried is None:
            return Tracked(Fate.BASE_CHANGED)
        before, start_line, end_line = carried
    return _compare(before, now.split("\n"), start_line, end_line)


def _through_base(
    reviewed: list[str], old_base: list[str], new_base: list[str], start: int, end: int
) -> tuple[list[str], int, int] | None:
    """The reviewed file with the base's changes applied, and the range in it; None where the base touched the range."""
    to_base = difflib.SequenceMatcher(a=old_base, b=reviewed, autojunk=False).get_matching_blocks()
    merged = list(reviewed)
    changes = difflib.SequenceMatcher(a=old_base, b=new_base, autojunk=False).get_opcodes()
    # From the bottom up, so that places further up stay right.
    for kind, low, high, new_low, new_high in reversed(changes):
        if kind == "equal":
            continue
        place = _same_lines(to_base, low, high)
        if place is None:
            continue  # The author changed these lines too: what came of it is in the comparison that follows.
        first, last = place
        if first < end and last > start - 1 and first != last:
            return None
        merged[first:last] = new_base[new_low:new_high]
        if last <= start - 1:
            shift = (new_high - new_low) - (last - first)
            start, end = start + shift, end + shift
    return merged, start, end


def _same_lines(blocks: Sequence[difflib.Match], low: int, high: int) -> tuple[int, int] | None:
    for block in blocks:
        if block.a <= low and high <= block.a + block.size and block.size:
            return block.b + low - block.a, block.b + high - block.a
    return None


def _compare(before: list[str], now: list[str], start: int, end: int) -> Tracked:
    low, high = start - 1, end
    fate = Fate.UNTOUCHED
    new_low = new_high = None
    for kind, a_low, a_high, b_low, b_high in difflib.SequenceMatcher(a=before, b=now, autojunk=False).get_opcodes():
        overlaps = a_low < high and a_high > low
        inserted_inside = kind == "insert" and low < a_low < high
        if not (overlaps or inserted_inside):
            continue
        if kind == "equal":
            first, last = b_low + max(low, a_low) - a_low, b_low + min(high, a_high) - a_low
        else:
            first, last = b_low, b_high
            if fate is not Fate.CHANGED:
                same_words = _words(before[a_low:a_high]) == _words(now[b_low:b_high])
                fate = Fate.REFORMATTED if same_words else Fate.CHANGED
        new_low = first if new_low is None else min(new_low, first)
        new_high = last if new_high is None else max(new_high, last)
    if new_low is None or new_high is None:
        return Tracked(Fate.CHANGED)
    return Tracked(fate, new_low + 1, new_high)


def _words(lines: list[str]) -> str:
    return "".join("".join(lines).split())
