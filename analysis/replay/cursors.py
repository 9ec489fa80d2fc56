"""Completion tasks from history: the places where a cursor really was, and what was then really written there.

A commit's edits are taken in file order, as `analysis.history` gives them. When an edit is under way, everything
before it stands as it was committed, everything after it as it was before; brackets that an editor might have closed
by itself are not invented. Which places become tasks is decided by hashes of the seed and of each place alone: the
same seed gives the same tasks byte for byte, and asking for more tasks adds to them and changes none.
"""

import heapq
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from analysis.history import Change, Edit, FileChange
from analysis.places import place_of
from codetrial.canonical import canonical_json
from codetrial.pseudonyms import hashed
from codetrial.records import Place

__all__ = ["Chosen", "CursorKind", "CursorTask", "Moment", "Windows", "choose", "moments"]

MIN_WRITTEN_CHARS = 3
"""Of the first line that is still to come: with fewer there is nothing worth suggesting."""

WRITTEN_CHARS = 4_000
"""As much of what was written as is kept to compare with; no suggestion is longer."""

_TRIGGER = re.compile(r"->|::|[.(\[@]")
_NOT_BLANK = re.compile(r"\S[^\n]*")
_WORD_END = re.compile(r"(?<=\w)(?=\W)|(?<=\S )(?=\S)")


class CursorKind(StrEnum):
    HUNK_START = "hunk_start"
    """Where somebody put the cursor to begin."""
    LINE_END = "line_end"
    MID_LINE = "mid_line"
    """After a word, with more of the line still to come."""
    TRIGGER = "trigger"
    """Just after a character at which editors ask by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How much of the document both arms get."""

    prefix_chars: int
    suffix_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorTask:
    """One completion to ask for, and what was written there."""

    key: str
    """Hash of commit, path, edit and characters typed: the same place always has the same key."""
    commit: str
    parent: str
    path: str
    language: str
    kind: CursorKind
    trigger: str | None
    place: Place
    line: int
    """From 0."""
    character: int
    """In code points from the start of the line."""
    prefix: str
    suffix: str
    written: str
    """What really came next at this place, up to the end of the edit."""

    def canonical(self) -> str:
        return canonical_json(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The tasks of a replay, and what they were chosen from."""

    tasks: tuple[CursorTask, ...]
    """By commit, the commits in an order drawn from the seed: a replay that stops early has seen all of the history."""
    commits: int
    """Commits that had anything to type."""
    places: int
    """Places that could have become tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The whole document as it stood when the cursor was at a task's place: what an editor has open there."""

    task: CursorTask
    before: str
    after: str
    typed: str
    """What of the edit under way stands before the cursor already."""


class _Spot(NamedTuple):
    """A place in one edit, before anything is cut out of the text."""

    edit: int
    typed: int
    kind: CursorKind
    trigger: str | None


def choose(changes: Iterable[Change], *, seed: str, limit: int, per_file: int, windows: Windows) -> Chosen:
    """Choose at most `limit` tasks, at most `per_file` from one file of one commit, all kinds of places alike."""
    # A heap with the worst on top. It holds windows, not files, so that a long history costs little memory.
    kept: list[tuple[int, str, CursorTask]] = []
    commits = places = 0
    for change in changes:
        commits += 1
        for file in change.files:
            spots = [spot for number, edit in enumerate(file.edits) for spot in _spots(number, edit)]
            places += len(spots)
            for spot in _drawn(spots, file, random.Random(hashed(seed, change.commit, file.path)), per_file):
                key = _key(change, file, spot)
                rank = -int(hashed(seed, key), 16)
                if len(kept) < limit:
                    heapq.heappush(kept, (rank, key, _task(change, file, spot, windows)))
                elif rank > kept[0][0]:
                    heapq.heapreplace(kept, (rank, key, _task(change, file, spot, windows)))
    kept.sort(key=lambda entry: (hashed(seed, entry[2].commit), -entry[0]))
    return Chosen(tasks=tuple(_placed(task) for _, _, task in kept), commits=commits, places=places)


def moments(change: Change, tasks: Iterable[CursorTask]) -> Iterator[Moment]:
    """The documents of those tasks that belong to this commit, in file order."""
    wanted = {task.key: task for task in tasks}
    for file in change.files:
        for number, edit in enumerate(file.edits):
            for spot in _spots(number, edit):
                task = wanted.get(_key(change, file, spot))
                if task is not None:
                    before, after = _around(file, spot)
                    yield Moment(task=task, before=before, after=after, typed=edit.inserted[: spot.typed])


def _drawn(spots: Sequence[_Spot], file: FileChange, order: random.Random, count: int) -> Iterator[_Spot]:
    """By turns one of each kind: places in the middle of a line would crowd out all others."""
    by_kind = [[spot for spot in spots if spot.kind is kind] for kind in CursorKind]
    order.shuffle(by_kind)
    while count and any(by_kind):
        for waiting in by_kind:
            spot = _take(waiting, file, order)
            if spot is not None and count:
                count -= 1
                yield spot


def _take(waiting: list[_Spot], file: FileChange, order: random.Random) -> _Spot | None:
    while waiting:
        at = order.randrange(len(waiting))
        waiting[at], waiting[-1] = waiting[-1], waiting[at]
        spot = waiting.pop()
        if _is_worth(file.edits[spot.edit], spot):
            return spot
    return None


def _is_worth(edit: Edit, spot: _Spot) -> bool:
    return len(_first_line(edit.inserted, spot.typed)) >= MIN_WRITTEN_CHARS


def _key(change: Change, file: FileChange, spot: _Spot) -> str:
    return hashed(change.commit, file.path, str(spot.edit), str(spot.typed))


def _spots(number: int, edit: Edit) -> Iterator[_Spot]:
    """Each place once; where several kinds fit, the rarer one wins."""
    text = edit.inserted
    spots: dict[int, _Spot] = {}
    for found in _WORD_END.finditer(text):
        if _rest_of_line(text, found.start()).strip() and _line_so_far(text, found.start()).strip():
            spots[found.start()] = _Spot(number, found.start(), CursorKind.MID_LINE, None)
    for found in _TRIGGER.finditer(text):
        spots[found.end()] = _Spot(number, found.end(), CursorKind.TRIGGER, found[0])
    for found in re.finditer(r"(?<=[^\s])[ \t]*\r?\n", text):
        spots[found.start()] = _Spot(number, found.start(), CursorKind.LINE_END, None)
    # New lines begin with Enter and the indentation that the editor gives.
    start = re.match(r"(?:\r?\n[ \t]*)*", text)
    first = start.end() if start else 0
    spots[first] = _Spot(number, first, CursorKind.HUNK_START, None)
    for typed in sorted(spots):
        yield spots[typed]


def _task(change: Change, file: FileChange, spot: _Spot, windows: Windows) -> CursorTask:
    edit = file.edits[spot.edit]
    before, after = _around(file, spot)
    prefix, suffix = before[-windows.prefix_chars :], after[: windows.suffix_chars]
    return CursorTask(
        key=_key(change, file, spot),
        commit=change.commit,
        parent=change.parent or "",
        path=file.path,
        language=file.language,
        kind=spot.kind,
        trigger=spot.trigger,
        place=Place.UNKNOWN,
        line=before.count("\n"),
        character=len(before) - before.rfind("\n") - 1,
        prefix=prefix,
        suffix=suffix,
        written=edit.inserted[spot.typed :][:WRITTEN_CHARS],
    )


def _around(file: FileChange, spot: _Spot) -> tuple[str, str]:
    """Up to the edit the file is as it became, after it as it was: edits are made in file order."""
    edit = file.edits[spot.edit]
    shift = sum(len(e.inserted) - len(e.removed) for e in file.edits[: spot.edit])
    before = file.after[: edit.offset] + edit.inserted[: spot.typed]
    return before, file.before[edit.offset - shift + len(edit.removed) :]


def _placed(task: CursorTask) -> CursorTask:
    """With its place by syntax: parsing costs more than everything else, so only what is chosen is parsed."""
    return replace(task, place=place_of(task.prefix, task.suffix, task.language))


def _rest_of_line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return text[at:] if end < 0 else text[at:end]


def _line_so_far(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 : at]


def _first_line(text: str, at: int) -> str:
    """The first line with anything on it, from a place on."""
    found = _NOT_BLANK.search(text, at)
    return found[0].strip() if found else ""
