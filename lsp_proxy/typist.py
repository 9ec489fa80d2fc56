"""A scripted editor: types real commits the way a person would, asks for completions, and takes what fits.

It knows what the commit goes on to say, so it takes a suggestion exactly when a person with that text in mind would,
and it writes down what it really did. Its sessions are replays: they say how two arms answer real tasks, never what
people would have liked.
"""

import asyncio
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from analysis.history import Edit, FileChange
from codetrial.clock import now_ns
from codetrial.records import Surface
from lsp_proxy.editor_client import Document, EditorClient, Pending, Replacement, RequestFailedError

__all__ = ["Deed", "Habits", "Pace", "TruthEntry", "TruthLog", "Typist", "leading_part", "pick_edits"]

ITEM_MARK = "codetrial"
"""Key in the `data` of a menu item that came from the proxy and not from the language server."""

WORTH_TAKING_CHARS = 3
"""For less nobody moves a finger to another key."""
PLACES_TO_LOOK_UP = ".(,=[{:"
BACKSPACE_CHARS = 8
"""So many characters are deleted one by one, more are selected first."""


class Deed(StrEnum):
    """What the typist really did with a suggestion on display."""

    TAKE = "take"
    TAKE_LINE = "take_line"
    """Its first lines and no more."""
    TAKE_WORD = "take_word"
    TYPE_THROUGH = "type_through"
    """Typed to its end by hand while it stood there."""
    IGNORE = "ignore"
    """Typed something else."""
    SUPERSEDED = "superseded"
    """Still agreed, but the editor put another in its place."""
    LEAVE = "leave"
    """The edit or the file ended while it stood there."""
    TAKE_AND_UNDO = "take_and_undo"
    TAKE_AND_DELETE = "take_and_delete"
    TAKE_OTHER = "take_other"
    """An item of the language server itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast; medians of log-normal times in seconds, drawn from the typist's seed."""

    speed: float = 1.0
    """Divides all times but `patience_s`: a model does not answer sooner because the typist is in a hurry."""
    time_scale: float = 1.0
    """The trial's: a trial that makes up its mind sooner must see sooner that somebody else has."""
    stroke_s: float = 0.14
    move_s: float = 0.8
    read_s: float = 0.5
    patience_s: float = 1.5
    """How long a person who has looked up waits for something to appear."""
    debounce_s: float = 0.075
    """The editor's own, before it asks by itself."""
    spread: float = 0.4
    """Standard deviation of the logarithm: a tenth of the strokes take 1.7 times the median or more."""
    look_up: float = 0.25
    """How often one looks up within a line, after `.`, `(` and the like; at a line's start it is nearly always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Shares of the occasions on which the typist does as it says."""

    take: float = 0.92
    """A suggestion that is just what was meant; otherwise it is typed through."""
    take_part: float = 0.6
    undo: float = 0.02
    delete: float = 0.03
    """A suggestion taken and thrown away again, right or wrong."""
    take_other: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthEntry:
    """One thing that really happened to one suggestion on display."""

    deed: Deed
    request_ids: tuple[int, ...]
    """The requests whose answers put it on display; several if it was offered again."""
    surface: Surface
    path: str
    suggestion: str
    """What taking it whole would have inserted at the cursor."""
    taken: str
    at_ns: int


class TruthLog:
    """What the typist did, for whoever wants to compare it with what the trial thinks that it did."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[TruthEntry] = []
        self._path = path

    def add(self, entry: TruthEntry) -> None:
        self.entries.append(entry)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")

    def count(self, *deeds: Deed) -> int:
        return sum(entry.deed in deeds for entry in self.entries)


class Part(NamedTuple):
    """How much of a suggestion is what was meant."""

    deed: Deed
    text: str


def leading_part(suggestion: str, meant: str) -> Part | None:
    """The whole, or its first lines or words, as far as it is what comes next; None if not worth taking.

    Characters that merely begin alike do not count: `value` is not a part of `values`.
    """
    if _is_beginning(suggestion, meant):
        return Part(Deed.TAKE, suggestion) if suggestion.strip() else None
    lines = suggestion.split("\n")
    for count in range(len(lines) - 1, 0, -1):
        part = "\n".join(lines[:count])
        if _is_worth(part) and _is_beginning(part, meant):
            return Part(Deed.TAKE_LINE, part)
    for word in reversed(list(re.finditer(r"\w+|[^\w\s]", lines[0]))):
        part = lines[0][: word.end()]
        if _is_worth(part) and _is_beginning(part, meant):
            return Part(Deed.TAKE_WORD, part)
    return None


def _is_worth(part: str) -> bool:
    return len(part.strip()) >= WORTH_TAKING_CHARS


def _is_beginning(part: str, meant: str) -> bool:
    if not meant.startswith(part):
        return False
    return not (_is_word(part[-1:]) and _is_word(meant[len(part) : len(part) + 1]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def pick_edits(file: FileChange, rng: random.Random, *, min_chars: int, max_chars: int, total_chars: int) -> FileChange:
    """The same change with some of its edits, drawn at random: those of a size that a demonstration can show."""
    fitting = [n for n, edit in enumerate(file.edits) if min_chars <= len(edit.inserted.strip()) <= max_chars]
    rng.shuffle(fitting)
    chosen, spent = [], 0
    for number in fitting:
        if spent + len(file.edits[number].inserted) <= total_chars:
            chosen.append(number)
            spent += len(file.edits[number].inserted)
    return file.only(chosen)


def next_stroke(text: str) -> str:
    """What one key press brings: a character, or a line's end with the indentation that editors add to it."""
    found = re.match(r"\r?\n[ \t]*", text)
    return found[0] if found else text[0]


@dataclass(slots=True)
class _Display:
    """A suggestion on display."""

    surface: Surface
    request_ids: list[int]
    edit: Replacement
    insertion: str
    """What it would add at the cursor where it appeared."""
    rest: str
    """What of that is not typed yet."""
    command: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class Typist:
    """Types file changes in one editor. The same seed makes the same draws; the answers' timing is the world's."""

    editor: EditorClient
    rng: random.Random
    pace: Pace = field(default_factory=Pace)
    habits: Habits = field(default_factory=Habits)
    truth: TruthLog = field(default_factory=TruthLog)
    on_typed: Callable[[int], None] | None = None
    """Called with the number of characters that have just come into the document."""
    is_time_up: Callable[[], bool] = lambda: False
    shown: int = 0
    """Suggestions that appeared."""
    asked: int = 0
    _display: _Display | None = None
    _pending: Pending | None = None
    _path: str = ""
    _was_in_word: bool = False
    _is_list_incomplete: bool = False

    async def make(self, file: FileChange) -> bool:
        """Open the file, make its edits, save and close it; False if time was up before the end."""
        self._path = file.path
        document = await self.editor.open(self.editor.root / file.path, file.language, file.before)
        try:
            for edit in file.edits:
                if not await self._make_edit(document, edit):
                    return False
            return True
        finally:
            await self._put_away(Deed.LEAVE)
            await self._withdraw()
            await self.editor.save(document)
            await self.editor.close(document)

    async def _make_edit(self, document: Document, edit: Edit) -> bool:
        await self._wait(self.pace.move_s)
        await self._delete(document, edit.offset, edit.removed)
        is_done = await self._type(document, edit.offset, edit.inserted)
        await self._put_away(Deed.LEAVE)
        return is_done

    async def _delete(self, document: Document, offset: int, removed: str) -> None:
        if not removed:
            return
        if len(removed) <= BACKSPACE_CHARS:
            for end in range(offset + len(removed), offset, -1):
                await self.editor.change(document, end - 1, end, "")
                await self._wait(self.pace.stroke_s / 2)
        else:
            await self._wait(self.pace.stroke_s * 3)
            await self.editor.change(document, offset, offset + len(removed), "")

    async def _type(self, document: Document, offset: int, text: str) -> bool:
        """Type a text at a place, or take parts of it from suggestions; False if time was up."""
        at, end = offset, offset + len(text)
        stroke = ""
        while at < end:
            if self.is_time_up():
                return False
            rest = text[at - offset :]
            taken = await self._look(document, at, rest, stroke)
            if taken:
                at += taken
                stroke = text[at - offset - 1]
                continue
            self._was_in_word = _is_word(stroke)
            stroke = next_stroke(rest)
            await self._strike(document, at, stroke)
            at += len(stroke)
        return True

    async def _strike(self, document: Document, at: int, stroke: str) -> None:
        await self.editor.change(document, at, at, stroke)
        self._report(len(stroke))
        display = self._display
        if display is None:
            return
        if not display.rest.startswith(stroke):
            await self._put_away(Deed.IGNORE)
            return
        display.rest = display.rest[len(stroke) :]
        if not display.rest:
            await self._put_away(Deed.TYPE_THROUGH)

    # Asking and looking

    async def _look(self, document: Document, at: int, rest: str, stroke: str) -> int:
        """The time until the next stroke, and what it may bring; the number of characters that were taken."""
        patience = self._patience(stroke)
        gap = self._draw(self.pace.stroke_s)
        if patience is None and gap < self.pace.debounce_s and not self._asks_menu(stroke, rest):
            await self._withdraw()
            await asyncio.sleep(gap)
            return 0
        if not self.editor.asks_inline and patience is None and not self._asks_menu(stroke, rest):
            await asyncio.sleep(gap)
            return 0
        answer = await self._ask(document, at, stroke, wait_s=max(gap, patience or 0.0), idle_s=gap)
        if answer is None:
            return 0
        if self.editor.asks_inline:
            await self._show_inline(document, at, answer)
        else:
            taken = await self._show_menu(document, at, rest, answer)
            if taken:
                return taken
        return await self._decide(document, at, rest) if patience is not None or self._display else 0

    def _patience(self, stroke: str) -> float | None:
        """How long to wait for a suggestion here; None where nobody looks up."""
        if stroke == "" or stroke.strip(" \t\r") == "\n":
            chance = 0.95
        else:
            chance = self.pace.look_up if stroke in PLACES_TO_LOOK_UP else self.pace.look_up / 6
        if self.rng.random() >= chance:
            return None
        return self.pace.patience_s * self.rng.lognormvariate(0.0, self.pace.spread)

    def _asks_menu(self, stroke: str, rest: str) -> bool:
        """A menu opens by itself at trigger characters and when a word has begun; a whole list is then filtered."""
        if self.editor.asks_inline:
            return False
        has_begun = _is_word(stroke) and (not self._was_in_word or self._is_list_incomplete)
        return stroke in self.editor.trigger_characters or (has_begun and _is_word(rest[:1]))

    async def _ask(self, document: Document, at: int, stroke: str, *, wait_s: float, idle_s: float) -> Any:
        """Ask as the editor would, and wait for as long as the person does; None if nothing came.

        Args:
            idle_s: With the answer that there is nothing, the person goes on after so much.
        """
        await self._withdraw()
        started_ns = now_ns()
        if self.editor.asks_inline:
            await asyncio.sleep(min(self.pace.debounce_s, wait_s))
            pending = await self.editor.start_inline(document, at)
        else:
            trigger = stroke if stroke in self.editor.trigger_characters else None
            pending = await self.editor.start_completion(document, at, trigger=trigger)
        self._pending = pending
        self.asked += 1
        elapsed_s = (now_ns() - started_ns) / 1e9
        await asyncio.wait([pending.answer], timeout=max(0.001, wait_s - elapsed_s))
        if not pending.answer.done() or pending.answer.cancelled():
            return None
        try:
            answer = pending.answer.result()
        except RequestFailedError:
            answer = None  # Busy, or the content has changed meanwhile: editors show nothing then.
        if not answer or not (answer if isinstance(answer, list) else answer.get("items")):
            await self._put_away(Deed.SUPERSEDED)
            elapsed_s = (now_ns() - started_ns) / 1e9
            await asyncio.sleep(max(0.0, idle_s - elapsed_s))
            return None
        return answer

    async def _show_inline(self, document: Document, at: int, answer: Any) -> None:
        items = answer if isinstance(answer, list) else answer["items"]
        edit = document.inline_edit_of(items[0], at)
        await self._show(document, at, edit, Surface.INLINE, items[0].get("command"))

    async def _show_menu(self, document: Document, at: int, rest: str, answer: Any) -> int:
        items = answer if isinstance(answer, list) else answer["items"]
        defaults = {} if isinstance(answer, list) else answer.get("itemDefaults") or {}
        self._is_list_incomplete = isinstance(answer, dict) and bool(answer.get("isIncomplete"))
        for item in items:
            if ITEM_MARK in (item.get("data") or {}):
                edit = document.edit_of(item, at, defaults)
                await self._show(document, at, edit, Surface.MENU, item.get("command"))
                return 0
        await self._put_away(Deed.SUPERSEDED)
        if self.rng.random() < self.habits.take_other:
            return await self._take_other(document, at, rest, items, defaults)
        return 0

    async def _show(
        self, document: Document, at: int, edit: Replacement, surface: Surface, command: Mapping[str, Any] | None
    ) -> None:
        assert self._pending is not None
        insertion = _insertion(document, at, edit)
        if not insertion:
            return
        display = self._display
        if display is not None and insertion == display.rest:
            display.request_ids.append(self._pending.id)  # The same one, offered again for what is left of it.
            display.edit, display.command = edit, command
            return
        await self._put_away(Deed.SUPERSEDED)
        self._display = _Display(surface, [self._pending.id], edit, insertion, insertion, command)
        self.shown += 1

    async def _take_other(
        self, document: Document, at: int, rest: str, items: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]
    ) -> int:
        for item in items:
            edit = document.edit_of(item, at, defaults)
            insertion = _insertion(document, at, edit)
            if insertion and _is_worth(insertion) and _is_beginning(insertion, rest):
                await self._insert(document, edit, insertion)
                self._note(Deed.TAKE_OTHER, Surface.MENU, insertion, insertion)
                return len(insertion)
        return 0

    # Deciding

    async def _decide(self, document: Document, at: int, rest: str) -> int:
        """Read what stands there and take what fits; the number of characters taken."""
        display = self._display
        if display is None:
            return 0
        await self._wait(self.pace.read_s)
        part = leading_part(display.rest, rest)
        if part is None or (part.deed is not Deed.TAKE and display.surface is Surface.MENU):
            if self.rng.random() < self.habits.delete:
                await self._take_back(document, at, display, Deed.TAKE_AND_DELETE)
            return 0
        if part.deed is not Deed.TAKE:
            return await self._take_part(document, at, display, part) if self._chance(self.habits.take_part) else 0
        if self._chance(self.habits.undo):
            await self._take_back(document, at, display, Deed.TAKE_AND_UNDO)
            return 0
        if self._chance(self.habits.delete):
            await self._take_back(document, at, display, Deed.TAKE_AND_DELETE)
            return 0
        if not self._chance(self.habits.take):
            return 0
        await self._take(document, display)
        await self._put_away(Deed.TAKE, taken=display.rest)
        return len(display.rest)

    async def _take(self, document: Document, display: _Display) -> None:
        await self._insert(document, display.edit, display.rest)
        if display.command is not None:
            await self.editor.run_command(display.command)

    async def _take_part(self, document: Document, at: int, display: _Display, part: Part) -> int:
        await self._insert(document, Replacement(at, at, part.text), part.text)
        await self._put_away(part.deed, taken=part.text)
        return len(part.text)

    async def _take_back(self, document: Document, at: int, display: _Display, deed: Deed) -> None:
        """Take it and make it gone: at once by undo, or a moment later by deleting it."""
        before = document.text
        await self._take(document, display)
        regret_s = self.pace.read_s if deed is Deed.TAKE_AND_UNDO else self.pace.read_s * 3
        await self._wait(regret_s / self.pace.time_scale)
        grown = len(document.text) - len(before)
        start, end = display.edit.start, display.edit.end
        await self.editor.change(document, start, end + grown, before[start:end])
        self._report(-grown)
        await self._put_away(deed, taken=display.rest)

    async def _insert(self, document: Document, edit: Replacement, insertion: str) -> None:
        await self.editor.change(document, *edit)
        self._report(len(insertion))

    async def _put_away(self, deed: Deed, *, taken: str = "") -> None:
        display, self._display = self._display, None
        if display is not None:
            self._note(deed, display.surface, display.insertion, taken, tuple(display.request_ids))

    def _note(
        self, deed: Deed, surface: Surface, suggestion: str, taken: str, request_ids: tuple[int, ...] | None = None
    ) -> None:
        ids = request_ids if request_ids is not None else (self._pending.id,) if self._pending else ()
        self.truth.add(
            TruthEntry(
                deed=deed,
                request_ids=ids,
                surface=surface,
                path=self._path,
                suggestion=suggestion,
                taken=taken,
                at_ns=now_ns(),
            )
        )

    # Time

    async def _withdraw(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            await self.editor.cancel(pending)

    def _draw(self, median_s: float) -> float:
        return median_s * self.rng.lognormvariate(0.0, self.pace.spread) / self.pace.speed

    async def _wait(self, median_s: float) -> None:
        await asyncio.sleep(self._draw(median_s))

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _report(self, chars: int) -> None:
        if self.on_typed is not None:
            self.on_typed(chars)


def _insertion(document: Document, at: int, edit: Replacement) -> str:
    """What an edit adds at the cursor; "" if it would change anything else than what is being typed."""
    if not edit.start <= at <= edit.end:
        return ""
    before, behind = document.text[edit.start : at], document.text[at : edit.end]
    if not edit.text.startswith(before) or not edit.text.endswith(behind):
        return ""
    return edit.text[len(before) : len(edit.text) - len(behind)]
