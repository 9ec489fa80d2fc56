"""An editor without a screen that changes one document and says so as real editors do, each in its own dialect."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from codetrial.records import ArmLabel, Record, Surface
from lsp_proxy.evaluator.acceptance import Offer, Rhythm
from lsp_proxy.evaluator.continuations import Horizon
from lsp_proxy.evaluator.edits import Span
from lsp_proxy.evaluator.observer import Observer
from lsp_proxy.evaluator.recorder import Recorder

SECOND = 1_000_000_000
URI = "file:///w/a.py"

DIALECTS = ("plain", "gathering", "strokes", "batched", "lines", "whole")
"""plain: one change a notification (VS Code, Helix). strokes: what was typed within 150 ms is told together, each
character as a change of its own, those of a taken menu item too (Neovim). gathering: the same as one whole text
(Neovim, where the server wants whole texts). batched: several changes in one notification (eglot). lines: whole lines
are replaced. whole: the whole text each time.
"""

GATHERING = frozenset({"gathering", "strokes"})

GATHERING_NS = 150_000_000
"""How long Neovim waits for more before it tells of a change."""


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


class Notebook(Recorder):
    """Keeps records in a list instead of a database, for tests that need thousands of sessions."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.counted: dict[str, int] = {}
        self.details: list[tuple[str, dict[str, Any]]] = []

    def put(self, *records: Record) -> None:
        self.records += records

    def text(self, content: str) -> str | None:
        return content

    def incident(self, kind: str, *, count: int = 1, **detail: Any) -> None:
        self.counted[kind] = self.counted.get(kind, 0) + count
        self.details.append((kind, detail))

    def count(self, kind: str) -> None:
        self.incident(kind)

    def store_counts(self) -> None:
        pass

    def of(self, kind: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


@dataclass
class _Change:
    start: int
    end: int
    text: str
    before: str
    at_ns: int
    is_whole: bool = False
    """An undo or a formatter: no dialect takes it apart."""


@dataclass
class ScriptedEditor:
    """Text, a cursor, and an observer that hears what the dialect makes of each change."""

    text: str
    cursor: int
    dialect: str = "plain"
    clock: Clock = field(default_factory=Clock)
    notebook: Notebook = field(default_factory=Notebook)
    closes_brackets: bool = False
    _version: int = 1
    _pending: list[_Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observer = Observer(
            self.notebook,
            horizons=[Horizon(f"{s}s", s * SECOND) for s in (30, 120, 300, 600)],
            rhythm=Rhythm(),
            now=self.clock,
            gathers_keystrokes=self.dialect in GATHERING,
        )
        self._notify("textDocument/didOpen", languageId="python", text=self.text)

    def offer(self, text: str, *, surface: Surface = Surface.INLINE, token: str = "g-1", deliver: bool = True) -> Offer:
        """Offer a suggestion at the cursor."""
        self.flush()
        view = self.observer.documents.view(URI)
        assert view is not None
        line, column = position(self.text, self.cursor)
        at = view.point(line, column)
        assert at is not None
        offer = Offer(
            suggestion=token,
            task=f"t-{token}",
            label=ArmLabel.A,
            surface=surface,
            text=text,
            language="python",
            span=Span(at, at),
            context=view.line(line)[: at.column],
            opened_ns=self.clock.now_ns,
            rhythm=self.observer.rhythm,
            gathers_keystrokes=self.observer.gathers_keystrokes,
        )
        self.observer.offer(offer, URI)
        if deliver:
            self.observer.delivered(token, was_delivered=True, reason=None, at_ns=self.clock.now_ns)
        return offer

    def wait(self, seconds: float) -> None:
        """Let time pass, with the evaluator's clock ticking."""
        self.flush()
        end = self.clock.now_ns + int(seconds * SECOND)
        while self.clock.now_ns < end:
            self.clock.now_ns = min(end, self.clock.now_ns + SECOND)
            self.observer.tick()

    def type(self, text: str, *, seconds_per_key: float = 0.15) -> None:
        """Type character by character, with the editor's help."""
        for character in text:
            self.clock.now_ns += int(seconds_per_key * SECOND)
            if self._pending and self.clock.now_ns - self._pending[0].at_ns >= GATHERING_NS:
                self.flush()
            self._key(character)
        self.flush()

    def _key(self, character: str) -> None:
        closer = {"(": ")", "[": "]", "{": "}"}.get(character)
        following = self.text[self.cursor : self.cursor + 1]
        if self.closes_brackets and closer:
            self.insert(character + closer, flush=False)
            self.cursor -= 1
        elif self.closes_brackets and character in ")]}" and following == character:
            self.cursor += 1
        else:
            self.insert(character, flush=False)

    def insert(self, text: str, *, flush: bool = True) -> None:
        self.replace(self.cursor, self.cursor, text)
        if flush:
            self.flush()

    def backspace(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.now_ns += SECOND // 10
            self.replace(self.cursor - 1, self.cursor, "")
        self.flush()

    def replace(self, start: int, end: int, text: str, *, is_whole: bool = False) -> None:
        """Change the text; the cursor goes behind a change at it, and stays with its text otherwise."""
        self._pending.append(_Change(start, end, text, self.text, self.clock.now_ns, is_whole))
        self.text = self.text[:start] + text + self.text[end:]
        if self.cursor >= end:
            self.cursor += len(text) - (end - start)
        elif self.cursor > start:
            self.cursor = start + len(text)
        if self.dialect not in ("gathering", "strokes", "batched"):
            self.flush()

    def become(self, text: str) -> None:
        """Something else rewrote the document: a formatter, an undo, a checkout."""
        self.replace(0, len(self.text), text, is_whole=True)
        self.flush()

    def undo_to(self, text: str) -> None:
        """Undo as editors do: the smallest change that leads back."""
        head = 0
        while head < min(len(text), len(self.text)) and text[head] == self.text[head]:
            head += 1
        tail = 0
        while tail < min(len(text), len(self.text)) - head and text[-1 - tail] == self.text[-1 - tail]:
            tail += 1
        self.replace(head, len(self.text) - tail, text[head : len(text) - tail], is_whole=True)
        self.flush()

    def flush(self) -> None:
        """Send what was changed since the last notification."""
        changes, self._pending = self._pending, []
        if not changes:
            return
        if self.dialect in ("whole", "gathering"):
            content: list[dict[str, Any]] = [{"text": self.text}]
        elif self.dialect == "strokes":
            content = [stroke for change in changes for stroke in strokes_of(change)]
        elif self.dialect == "lines":
            content = [lines_of(change) for change in changes]
        else:
            content = [exact(change) for change in changes]
        self._version += 1
        document = {"uri": URI, "version": self._version}
        self.observer.notification("textDocument/didChange", {"textDocument": document, "contentChanges": content})

    def save(self) -> None:
        self.flush()
        self.observer.notification("textDocument/didSave", {"textDocument": {"uri": URI}})

    def close(self) -> None:
        self.flush()
        self.observer.notification("textDocument/didClose", {"textDocument": {"uri": URI}})

    def _notify(self, method: str, **item: Any) -> None:
        self.observer.notification(method, {"textDocument": {"uri": URI, "version": self._version, **item}})


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and UTF-16 character of an offset; texts here end their lines with `\\n`."""
    before = text[:offset]
    line = before.rpartition("\n")[2]
    return before.count("\n"), len(line.encode("utf-16-le", "surrogatepass")) // 2


def _range(text: str, start: int, end: int) -> dict[str, Any]:
    edges = [dict(zip(("line", "character"), position(text, at), strict=True)) for at in (start, end)]
    return {"start": edges[0], "end": edges[1]}


def exact(change: _Change) -> dict[str, Any]:
    return {"range": _range(change.before, change.start, change.end), "text": change.text}


def strokes_of(change: _Change) -> list[dict[str, Any]]:
    """The same change told character by character: first what goes, then what comes."""
    if change.is_whole:
        return [exact(change)]
    strokes, text, at = [], change.before, change.start
    if change.end > change.start:
        strokes.append(exact(_Change(change.start, change.end, "", text, change.at_ns)))
        text = text[: change.start] + text[change.end :]
    for character in change.text:
        strokes.append(exact(_Change(at, at, character, text, change.at_ns)))
        text = text[:at] + character + text[at:]
        at += 1
    return strokes


def lines_of(change: _Change) -> dict[str, Any]:
    """The same change told as whole lines."""
    text = change.before
    first = text.rfind("\n", 0, change.start) + 1
    last = text.find("\n", change.end)
    last = len(text) if last < 0 else last
    new = text[first : change.start] + change.text + text[change.end : last]
    return {"range": _range(text, first, last), "text": new}


__all__: Sequence[str] = ("DIALECTS", "GATHERING", "SECOND", "URI", "Clock", "Notebook", "ScriptedEditor", "position")
