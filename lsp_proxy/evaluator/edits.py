"""Edits of a document and the places that must survive them.

A place is a line and a column in code points, so that following an edit costs the same in a file of any length. A span
has a left edge that stays behind what is inserted at it and a right edge that moves along: whatever is written at a
cursor is what lies in the span that was opened there.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rapidfuzz.distance import Indel

__all__ = ["Edit", "Point", "Span", "after", "follow", "refine", "rewritten", "rotate"]

REFINE_TOKENS = 6_000
"""Above this many tokens a replacement is compared by lines alone."""

REFINE_LINES = 20_000
"""Above this many lines a replacement is one edit: what was inside is gone."""

_PIECE = re.compile(r"\w+|\s+|[^\w\s]")


class Point(NamedTuple):
    line: int
    column: int
    """In code points."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What stood between two points was replaced."""

    start: Point
    end: Point
    old: str
    new: str
    new_end: Point = field(init=False)
    """Where `new` ends: asked for by every place that follows the edit."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "new_end", after(self.start, self.new))

    @property
    def is_insertion(self) -> bool:
        return not self.old


def after(start: Point, text: str) -> Point:
    """The point after `text` that begins at `start`; line ends are `\\n`, `\\r\\n` and `\\r`, as in LSP."""
    lines = _split(text)
    if len(lines) == 1:
        return Point(start.line, start.column + len(text))
    return Point(start.line + len(lines) - 1, len(lines[-1]))


def _split(text: str) -> list[str]:
    if "\r" in text:
        return re.split(r"\r\n|\r|\n", text)
    return text.split("\n")


def follow(point: Point, edit: Edit, *, moves: bool) -> Point:
    """Where a point is after an edit; `moves` says whether what is inserted right at it pushes it along."""
    if point < edit.start or (point == edit.start and not moves):
        return point
    new_end = edit.new_end
    if point < edit.end:
        return new_end if moves else edit.start
    if point.line == edit.end.line:
        return Point(new_end.line, new_end.column + point.column - edit.end.column)
    return Point(point.line + new_end.line - edit.end.line, point.column)


@dataclass(slots=True)
class Span:
    """A stretch of a document that follows every edit."""

    start: Point
    end: Point
    grows: bool = True
    """Whether what is inserted right at its end belongs to it; to an empty span it always does, for a redo."""
    is_swallowed: bool = False
    """An edit replaced it together with text on both sides: its place is lost."""
    _cut: str = ""
    """What was taken off its end: if it comes back there, it belongs to it again (a redo, a menu that tries items)."""

    def follow(self, edit: Edit) -> bool:
        """Follow an edit; True if the text in the span may have changed."""
        if self.end < edit.start:
            return False
        if edit.end.line < self.start.line:
            # Most of all edits, to most of all places: what is typed above moves them by whole lines or not at all.
            lines = edit.new_end.line - edit.end.line
            if lines:
                self.start = Point(self.start.line + lines, self.start.column)
                self.end = Point(self.end.line + lines, self.end.column)
            return False
        touches = edit.start <= self.end and edit.end >= self.start
        comes_back = edit.is_insertion and edit.start == self.end and self._cut.startswith(edit.new)
        if comes_back:
            self._cut = self._cut[len(edit.new) :]
        elif touches:
            is_cut = edit.start >= self.start and edit.end == self.end and not edit.new
            self._cut = edit.old + self._cut if is_cut else ""
        if edit.start < self.start and self.end < edit.end:
            self.is_swallowed = True
        start = follow(self.start, edit, moves=False)
        end = follow(self.end, edit, moves=self.grows or comes_back or self.start == self.end)
        self.start, self.end = start, max(start, end)
        return touches


def rewritten(context: str, line: str) -> int | None:
    """Where in a line, given up to a span's end, the span begins if its context was written anew.

    Editors that delete the word before the cursor and insert it again with its rest leave the left edge before it.

    Args:
        context: What stood before the span when it was opened; white space does not count.

    Returns:
        The column; None if the line does not begin with the context.
    """
    wanted = "".join(context.split())
    seen = 0
    for column, character in enumerate(line):
        if seen == len(wanted):
            return column
        if character.isspace():
            continue
        if character != wanted[seen]:
            return None
        seen += 1
    return len(line) if seen == len(wanted) else None


def refine(edit: Edit) -> Sequence[Edit]:
    """The same change as smaller edits, last first, so that each can be applied where the document says.

    Editors replace whole lines, or the whole text after a formatter ran, where only some tokens changed; taken
    literally, every place inside would be lost.
    """
    if not edit.old or not edit.new:
        return [edit]
    return list(_refined(_trim(edit)))


def _trim(edit: Edit) -> Edit:
    """Without what is the same at both ends."""
    old, new = edit.old, edit.new
    head = _common(old, new)
    if head and head < max(len(old), len(new)) and old[head - 1 : head] == "\r":
        head -= 1  # Never between the two characters of a line end.
    tail = _common(old[head:][::-1], new[head:][::-1])
    if tail and (old[len(old) - tail] == "\n" and head < len(old) - tail and old[len(old) - tail - 1] == "\r"):
        tail -= 1
    if tail and new[len(new) - tail] == "\n" and head < len(new) - tail and new[len(new) - tail - 1] == "\r":
        tail -= 1
    start = after(edit.start, old[:head])
    kept = old[head : len(old) - tail]
    return Edit(start, after(start, kept), kept, new[head : len(new) - tail])


def _common(one: str, other: str) -> int:
    limit = min(len(one), len(other))
    if one[:limit] == other[:limit]:
        return limit
    low, high = 0, limit
    # Slices are compared in C: halving beats a loop over characters by far in long texts.
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _refined(edit: Edit) -> Iterator[Edit]:
    if not edit.old and not edit.new:
        return
    if not edit.old or not edit.new:
        yield edit
        return
    old, new = _PIECE.findall(edit.old), _PIECE.findall(edit.new)
    if len(old) + len(new) <= REFINE_TOKENS:
        yield from _aligned(edit.start, old, new)
        return
    old, new = edit.old.splitlines(keepends=True), edit.new.splitlines(keepends=True)
    if len(old) + len(new) > REFINE_LINES:
        yield edit
        return
    for hunk in _aligned(edit.start, old, new):
        pieces = _PIECE.findall(hunk.old), _PIECE.findall(hunk.new)
        if hunk.old and hunk.new and len(pieces[0]) + len(pieces[1]) <= REFINE_TOKENS:
            yield from _aligned(hunk.start, *pieces)
        else:
            yield hunk


def _aligned(start: Point, old: Sequence[str], new: Sequence[str]) -> Iterator[Edit]:
    """Edits between two sequences of pieces, last first."""
    hunks: list[tuple[int, int, int, int]] = []
    for op in Indel.opcodes(old, new):
        if op.tag == "equal":
            continue
        if hunks and hunks[-1][1] == op.src_start and hunks[-1][3] == op.dest_start:
            hunks[-1] = (hunks[-1][0], op.src_end, hunks[-1][2], op.dest_end)
        else:
            hunks.append((op.src_start, op.src_end, op.dest_start, op.dest_end))
    edits: list[Edit] = []
    at, seen = start, 0
    for src_start, src_end, dest_start, dest_end in hunks:
        at = after(at, "".join(old[seen:src_start]))
        gone = "".join(old[src_start:src_end])
        edits.append(Edit(at, after(at, gone), gone, "".join(new[dest_start:dest_end])))
        at, seen = edits[-1].end, src_end
    return reversed(edits)


def rotate(edit: Edit, run: str, wanted: Point) -> Edit:
    """The same insertion moved left to `wanted`, if it reads the same there.

    A text that an editor sends whole does not tell where in a run of equal characters something was typed: a line's end
    and its indentation, before another of the same indentation, as little as one more bracket.

    Args:
        run: What stands between `wanted` and the insertion.
    """
    if not edit.is_insertion or not run or not (run + edit.new).endswith(run):
        return edit
    return Edit(wanted, wanted, "", (run + edit.new)[: len(edit.new)])
