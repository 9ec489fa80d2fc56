"""What stands at a task's place later, and what is left of what was taken.

Each watched place is a span that follows every edit; at each horizon its text is taken. A document or session that ends
earlier leaves its horizons censored, which is not the same as nothing written.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from codetrial.records import ArmLabel
from lsp_proxy.evaluator.edits import Edit, Span

__all__ = ["Due", "Horizon", "Suggested", "Watch", "Watches"]

SAVE = "save"
TEXT_LIMIT = 20_000
"""Characters of a continuation that are looked at: a pasted file is no answer to a suggestion of eight lines."""


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

    def follow(self, uri: str, edits: Sequence[Edit], now_ns: int) -> None:
        for watch in self._by_uri.get(uri, ()):
            if watch.next_change_ns is None:
                watch.next_change_ns = now_ns
            for edit in edits:
                watch.span.follow(edit)

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

    def uris(self) -> Mapping[str, list[Watch]]:
        return self._by_uri

    def _forget_finished(self, watch: Watch) -> None:
        """Only the save may be missing: nobody waits for that once the last horizon has passed."""
        if watch.pending <= {SAVE} and watch in self._by_uri.get(watch.uri, ()):
            self._by_uri[watch.uri].remove(watch)
