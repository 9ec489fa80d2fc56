"""What stands at a task's place later, and what is left of what was taken.

Each watched place is a span that follows every edit; at each horizon its text is taken. A document or session that ends
earlier leaves its horizons censored, which is not the same as nothing written.
"""

import heapq
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Protocol

from analysis.scores import kept_share, kept_state
from codetrial.records import ArmLabel, ContinuationState
from lsp_proxy.evaluator.edits import Edit, Point, Span, after

__all__ = ["Due", "Horizon", "Sight", "Suggested", "Watch", "Watches", "look"]

SAVE = "save"
TEXT_LIMIT = 20_000
"""Characters of a continuation that are looked at: a pasted file is no answer to a suggestion of eight lines."""

MOVED_CHARS = 12
"""A shorter text, white space apart, is not looked for elsewhere: what is found there may be another."""

_EVERYWHERE = Point(0, 0), Point(1 << 40, 0)


class Readable(Protocol):
    """A document as it stands now."""

    def between(self, start: Point, end: Point) -> str: ...

    def line(self, number: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Horizon:
    name: str
    """`30s`: also when a replay runs faster and it really is less."""
    after_ns: int


@dataclass(frozen=True, slots=True)
class Suggested:
    id: str
    text: str


@dataclass(slots=True, kw_only=True, eq=False)
class Watch:
    """A place under watch: a task's cursor, or the text that was taken there."""

    uri: str
    task: str
    language: str
    span: Span
    context: str
    """What stood before the place on its line."""
    opened_ns: int
    suggestions: dict[ArmLabel, Suggested] = field(default_factory=dict)
    taken: Suggested | None = None
    """Set if this is a taken suggestion's text, whose share that still stands is asked for."""
    taken_label: ArmLabel | None = None
    routed_ns: int | None = None
    next_change_ns: int | None = None
    """The first keystroke in the document after the request: an answer that comes later comes too late."""
    latencies_ns: dict[ArmLabel, int] = field(default_factory=dict)
    """Of the arms that answered, sent to last byte: as if each had been asked at `routed_ns`."""
    seen: dict[str, str] = field(default_factory=dict)
    """Texts by horizon, kept for suggestions that arrive after a horizon (a slow arm in a fast replay)."""
    pending: set[str] = field(default_factory=set)
    is_closed: bool = False
    """Its document was closed, or lost, while it was only held."""
    removed: str | None = None
    """The text that an edit took away as a whole, in case it is put in elsewhere."""
    has_moved: bool = False
    is_timed: bool = False
    """The first horizon is over: whether the arms were in time is known."""

    def follow(self, edit: Edit) -> bool:
        """Follow an edit; True if it took the whole text away."""
        removed = _taken_away(edit, self.span)
        self.span.follow(edit)
        if removed is None:
            return False
        self.removed = removed
        return True


@dataclass(frozen=True, slots=True)
class Due:
    watch: Watch
    horizon: str


class Watches:
    """All places under watch in one session."""

    def __init__(self, horizons: Sequence[Horizon]) -> None:
        self._horizons = tuple(horizons)
        self._by_uri: dict[str, list[Watch]] = defaultdict(list)
        self._heap: list[tuple[int, int, Watch, str]] = []
        self._order = count()

    def __len__(self) -> int:
        return sum(map(len, self._by_uri.values()))

    def hold(self, watch: Watch) -> None:
        """Follow a place without asking anything of it yet."""
        self._by_uri[watch.uri].append(watch)

    def release(self, watch: Watch) -> None:
        """Stop following a place that was only held."""
        if not watch.pending and watch in self._by_uri.get(watch.uri, ()):
            self._by_uri[watch.uri].remove(watch)

    def start(self, watch: Watch) -> None:
        """Take a held place's text at every horizon from now on."""
        watch.pending = {SAVE, *(horizon.name for horizon in self._horizons)}
        for horizon in self._horizons:
            due_ns = watch.opened_ns + horizon.after_ns
            heapq.heappush(self._heap, (due_ns, next(self._order), watch, horizon.name))

    def follow(self, uri: str, edits: Sequence[Edit], now_ns: int, document: Readable | None) -> None:
        """Follow one content change, after which the document reads as given."""
        for watch in self._by_uri.get(uri, ()):
            if watch.next_change_ns is None:
                watch.next_change_ns = now_ns
            was_removed = [watch.follow(edit) for edit in edits]
            if any(was_removed) and not _may_be_found(watch, edits, document):
                watch.removed = None

    def next_due_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> Iterator[Due]:
        """Everything whose time has come; each is given once."""
        while self._heap and self._heap[0][0] <= now_ns:
            _, _, watch, horizon = heapq.heappop(self._heap)
            if horizon in watch.pending:
                watch.pending.discard(horizon)
                self._forget_finished(watch)
                yield Due(watch, horizon)

    def saved(self, uri: str) -> Iterator[Due]:
        """The first save after a watch was opened."""
        for watch in self._by_uri.get(uri, ()):
            if SAVE in watch.pending:
                watch.pending.discard(SAVE)
                yield Due(watch, SAVE)

    def close(self, uri: str) -> Iterator[Due]:
        """What will never be seen, because the document is gone."""
        for watch in self._by_uri.pop(uri, ()):
            watch.is_closed = True
            yield from self.censored(watch)

    def censored(self, watch: Watch) -> Iterator[Due]:
        """The horizons of a watch whose document is gone."""
        horizons, watch.pending = sorted(watch.pending - {SAVE}), set()
        for horizon in horizons:
            yield Due(watch, horizon)

    def close_all(self) -> Iterator[Due]:
        for uri in list(self._by_uri):
            yield from self.close(uri)

    def outside(self) -> int:
        """How many places are watched because something else inserted text there."""
        watches = (watch for listed in self._by_uri.values() for watch in listed)
        return sum(watch.taken is not None and watch.taken_label is None for watch in watches)

    def _forget_finished(self, watch: Watch) -> None:
        """Only the save may be missing: nobody waits for that once the last horizon has passed."""
        if watch.pending <= {SAVE} and watch in self._by_uri.get(watch.uri, ()):
            self._by_uri[watch.uri].remove(watch)


@dataclass(frozen=True, slots=True)
class Sight:
    """What stands at a watched place."""

    state: ContinuationState
    reason: str | None
    text: str
    """"" where it is gone."""


def look(watch: Watch, document: Readable) -> Sight:
    """What stands at a watched place now; follows it to where it was moved to."""
    is_empty = watch.span.is_swallowed or not document.between(watch.span.start, watch.span.end).strip()
    if is_empty and watch.removed is not None:
        _find_again(watch, document)
    if watch.span.is_swallowed:
        return Sight(ContinuationState.GONE, "replaced", "")
    text = document.between(watch.span.start, watch.span.end)[:TEXT_LIMIT]
    whole = ContinuationState.MOVED if watch.has_moved else ContinuationState.FOUND
    if watch.taken is None:
        before = document.line(watch.span.start.line)[: watch.span.start.column]
        is_same = "".join(before.split()) == "".join(watch.context.split())
        return Sight(whole if is_same else ContinuationState.EDITED, None, text)
    state = kept_state(kept_share(watch.taken.text, text, watch.language) or 0.0)
    return Sight(whole if state == "found" else ContinuationState(state), None, text)


def _find_again(watch: Watch, document: Readable) -> None:
    """Move a watch to the only other place that reads as what was taken away; indented anew or not."""
    text = document.between(*_EVERYWHERE)
    places = _places(watch.removed or "", text, limit=2)
    if len(places) != 1:
        return
    [(start, end)] = places
    begin = after(Point(0, 0), text[:start])
    watch.span = Span(begin, after(begin, text[start:end]), grows=watch.span.grows)
    watch.context = document.line(begin.line)[: begin.column]
    watch.removed, watch.has_moved = None, True


def _may_be_found(watch: Watch, edits: Sequence[Edit], document: Readable | None) -> bool:
    """Whether finding the text elsewhere later will mean that it was moved: not if a twin of it is left already."""
    removed = watch.removed or ""
    if document is None or len("".join(removed.split())) < MOVED_CHARS:
        return False
    put_in = sum(len(_places(removed, edit.new, limit=2)) for edit in edits)
    return len(_places(removed, document.between(*_EVERYWHERE), limit=put_in + 1)) <= put_in


def _places(wanted: str, text: str, *, limit: int) -> list[tuple[int, int]]:
    """The first places that read as wanted, white space apart."""
    pattern = re.compile(r"\s+".join(map(re.escape, wanted.split())))
    return [found.span() for found in islice(pattern.finditer(text), limit)]


def _taken_away(edit: Edit, span: Span) -> str | None:
    """The text of a span that an edit takes away as a whole; None if it does not, or none stood there."""
    if not edit.old or not (edit.start <= span.start < span.end <= edit.end):
        return None
    starts = [0, *(found.end() for found in re.finditer(r"\r\n|\r|\n", edit.old))]
    return edit.old[_offset(starts, edit.start, span.start) : _offset(starts, edit.start, span.end)]


def _offset(starts: Sequence[int], origin: Point, point: Point) -> int:
    row = point.line - origin.line
    return starts[row] + point.column - (origin.column if row == 0 else 0)
