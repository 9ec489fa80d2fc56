"""Where a finding belongs, decided here and exactly: a model's line numbers are a claim, not a place.

GitHub refuses a whole review for one bad line and does not say which, so nothing is ever tried out there. And a
finding that does not fit is never moved to a nearby line: what it quotes is looked for, and where that is not found
once and only once it goes to the file or to the body of the review, and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pr_bot.diff import Diff, FileDiff, Line, Side

__all__ = ["MAX_SPAN_LINES", "Anchor", "AnchorKind", "Claimed", "anchor"]

MAX_SPAN_LINES = 60
"""A comment on more lines than a screen shows is a comment on the file."""


class AnchorKind(StrEnum):
    EXACT = "exact"
    """The lines stand in the diff as claimed, and hold what was quoted."""
    QUOTE = "quote"
    """The numbers were wrong, but the quoted text stands in that file's diff once and only once."""
    FILE = "file"
    BODY = "body"


class Claimed(NamedTuple):
    """Where a model says its finding is."""

    path: str
    side: Side
    start_line: int | None
    end_line: int | None
    quote: str
    """The flagged line or lines as they stand in the file; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    kind: AnchorKind
    path: str
    """Of the new tree; as the model gave it for `body`."""
    side: Side = Side.RIGHT
    start_line: int | None = None
    end_line: int | None = None
    """Last line; a comment is shown beneath it."""
    text: str = ""
    """The anchored lines as they stood, the part of a finding's identity that survives a shift of lines."""

    @property
    def is_inline(self) -> bool:
        return self.kind in (AnchorKind.EXACT, AnchorKind.QUOTE)


def anchor(diff: Diff, claim: Claimed) -> Anchor:
    """The place of a claim in a diff: always one, and never one that the claim did not name or quote."""
    path = claim.path.strip().removeprefix("./")
    # Models often keep git's prefix; a file whose folder really is called `a` is found by its own name first.
    entry = diff.file(path) or (diff.file(path[2:]) if path.startswith(("a/", "b/")) else None)
    if entry is None:
        return Anchor(kind=AnchorKind.BODY, path=claim.path)
    return _exact(entry, claim) or _quoted(entry, claim) or Anchor(kind=AnchorKind.FILE, path=entry.path)


def _exact(entry: FileDiff, claim: Claimed) -> Anchor | None:
    if claim.end_line is None and claim.start_line is None:
        return None
    end = claim.end_line if claim.end_line is not None else claim.start_line
    start = claim.start_line if claim.start_line is not None else end
    if start is None or end is None or not 0 < start <= end or end - start >= MAX_SPAN_LINES:
        return None
    lines = _span(entry, claim.side, start, end)
    if lines is None:
        return None
    quoted = _quoted_lines(claim.quote)
    if quoted and not _stands_in(quoted, [_squeeze(line.text) for line in lines]):
        return None
    return _at(AnchorKind.EXACT, entry, claim.side, lines)


def _span(entry: FileDiff, side: Side, start: int, end: int) -> list[Line] | None:
    """The lines `start` to `end` of one side if all of them stand in one hunk: GitHub refuses what crosses hunks."""
    for hunk in entry.hunks:
        lines = [line for line in hunk.lines if (number := line.number(side)) is not None and start <= number <= end]
        if len(lines) == end - start + 1:
            return lines
    return None


def _quoted(entry: FileDiff, claim: Claimed) -> Anchor | None:
    wanted = _quoted_lines(claim.quote)
    if not wanted or not any(_says_something(line) for line in wanted) or len(wanted) >= MAX_SPAN_LINES:
        return None
    for side in (claim.side, Side.LEFT if claim.side is Side.RIGHT else Side.RIGHT):
        found = list(_occurrences(entry, side, wanted))
        if len(found) == 1:
            return _at(AnchorKind.QUOTE, entry, side, found[0])
        if found:
            return None
    return None


def _occurrences(entry: FileDiff, side: Side, wanted: list[str]) -> Iterator[list[Line]]:
    for hunk in entry.hunks:
        lines = [line for line in hunk.lines if line.number(side) is not None]
        squeezed = [_squeeze(line.text) for line in lines]
        for place in range(len(lines) - len(wanted) + 1):
            window = lines[place : place + len(wanted)]
            if squeezed[place : place + len(wanted)] == wanted and _is_contiguous(window, side):
                yield window


def _is_contiguous(lines: list[Line], side: Side) -> bool:
    first, last = lines[0].number(side), lines[-1].number(side)
    return first is not None and last is not None and last - first == len(lines) - 1


def _at(kind: AnchorKind, entry: FileDiff, side: Side, lines: list[Line]) -> Anchor:
    return Anchor(
        kind=kind,
        path=entry.path,
        side=side,
        start_line=lines[0].number(side),
        end_line=lines[-1].number(side),
        text="\n".join(line.text for line in lines),
    )


def _quoted_lines(quote: str) -> list[str]:
    lines = [_squeeze(line) for line in quote.split("\n")]
    return [line for line in lines if line]


def _stands_in(wanted: list[str], lines: list[str]) -> bool:
    """Whether the quote is among the lines; models often quote a part of a line, or the first line of several."""
    return all(any(part in line for line in lines) for part in wanted)


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _says_something(line: str) -> bool:
    """A brace or `else:` stands everywhere by accident; four letters or digits are little enough to ask for."""
    return sum(character.isalnum() for character in line) >= 4
