"""The editor's documents as the evaluator follows them: a mirror, plus what each change did to which place.

Never raises on what an editor sends. A document whose text cannot be trusted is unknown until its full text comes
again; the listener is told, so that nothing is guessed about it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lsp_proxy.evaluator.edits import Edit, Point, after, refine, rotate
from lsp_proxy.relay.mirror import Document, Mirror

__all__ = ["Documents", "Listener", "View"]

LARGE_CHARS = 5_000_000
"""Above this a whole-text change is not compared: its places are lost, the session goes on."""


HINT_LINES = 3
"""What was inserted further from where it is expected than this was not inserted there."""


class Listener(Protocol):
    """Who wants to know what happens to documents."""

    def changed(self, uri: str, edits: Sequence[Edit], *, is_whole: bool) -> None:
        """One content change was applied; the edits stand last first, as they were in the text before.

        Args:
            is_whole: The editor sent the whole text: what was done in how many steps, it does not tell.
        """

    def settled(self, uri: str) -> None:
        """All changes of one notification were applied."""

    def lost(self, uri: str, reason: str) -> None:
        """Places in this document no longer mean anything."""

    def closed(self, uri: str) -> None: ...

    def hints(self, uri: str) -> Sequence[Point]:
        """Where something is likely to have been inserted, if the change itself does not tell."""
        ...


class View:
    """A known document, read by points."""

    __slots__ = ("_document",)

    def __init__(self, document: Document) -> None:
        self._document = document

    @property
    def version(self) -> int | None:
        return self._document.version

    @property
    def language_id(self) -> str:
        return self._document.language_id

    def between(self, start: Point, end: Point) -> str:
        return _between(self._document.lines, start, end)

    def line(self, number: int) -> str:
        return self._document.line(number)

    def point(self, line: int, character: int) -> Point | None:
        """The point at a position in the session's encoding; None if there is no such line."""
        if line < 0 or character < 0 or line >= len(self._document.lines):
            return None
        return Point(line, self._document.offset_at(line, character) - self._document.offset_at(line, 0))

    def around(self, line: int, character: int, before_chars: int, after_chars: int) -> tuple[str, str]:
        return self._document.around(line, character, before_chars, after_chars)

    def find(self, needle: str) -> Point | None:
        """The only place that reads so; None if there is none, or several."""
        text = self._document.text()
        at = text.find(needle)
        if at < 0 or text.find(needle, at + 1) >= 0:
            return None
        return after(Point(0, 0), text[:at])


def _between(lines: Sequence[str], start: Point, end: Point) -> str:
    if start >= end or start.line >= len(lines):
        return ""
    if start.line == end.line:
        return lines[start.line][start.column : end.column]
    last = lines[end.line][: end.column] if end.line < len(lines) else ""
    return "".join([lines[start.line][start.column :], *lines[start.line + 1 : end.line], last])


class Documents:
    """Keeps the mirror and tells a listener about each change."""

    def __init__(self, listener: Listener, encoding: str = "utf-16") -> None:
        self._mirror = Mirror(encoding, tracks_edits=False)
        self._listener = listener

    @property
    def encoding(self) -> str:
        return self._mirror.encoding

    @encoding.setter
    def encoding(self, encoding: str) -> None:
        self._mirror.encoding = encoding

    def view(self, uri: str) -> View | None:
        """An open document whose text is known."""
        document = self._mirror.document(uri)
        return View(document) if document is not None else None

    def is_open(self, uri: str) -> bool:
        return uri in self._mirror.documents

    def apply(self, method: str, params: Mapping[str, Any]) -> None:
        """Take in one notification about documents."""
        try:
            if method == "textDocument/didChange":
                self._change(params["textDocument"], params["contentChanges"])
            elif method == "notebookDocument/didChange":
                self._notebook_change(params)
            elif method == "textDocument/didOpen":
                self._open(params)
            else:
                self._close_listed(method, params)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError):
            self._lose(params, "malformed")

    def _open(self, params: Mapping[str, Any]) -> None:
        uri = params["textDocument"]["uri"]
        was_open = uri in self._mirror.documents
        text = params["textDocument"].get("text")
        held = self._mirror.document(uri)
        if held is not None and held.text() == text:
            # After a gap, or by a client that opens twice: nothing changed, so no place is lost.
            self._mirror.apply("textDocument/didOpen", params)
            return
        if was_open and held is not None and isinstance(text, str):
            version = params["textDocument"].get("version")
            self._change({"uri": uri, "version": version}, [{"text": text}])
            return
        if was_open:
            self._listener.lost(uri, "reopened")
        self._mirror.apply("textDocument/didOpen", params)

    def _close_listed(self, method: str, params: Mapping[str, Any]) -> None:
        before = set(self._mirror.documents)
        self._mirror.apply(method, params)
        for uri in before - set(self._mirror.documents):
            self._listener.closed(uri)

    def _notebook_change(self, params: Mapping[str, Any]) -> None:
        change = dict(params["change"])
        cells = dict(change.get("cells") or {})
        contents = cells.pop("textContent", None) or ()
        self._close_listed("notebookDocument/didChange", {**params, "change": {**change, "cells": cells}})
        for content in contents:
            self._change(content["document"], content["changes"])

    def _change(self, identifier: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> None:
        uri = identifier["uri"]
        document = self._mirror.documents.get(uri)
        if document is None:
            # Never opened: the mirror holds it as unknown from here on.
            self._mirror.apply("textDocument/didChange", {"textDocument": identifier, "contentChanges": changes})
            self._listener.lost(uri, "never_opened")
            return
        version = identifier.get("version")
        for change in changes:
            was_known = document.is_known
            edits = self._one(document, change, version)
            if edits is not None:
                self._listener.changed(uri, edits, is_whole=change.get("range") is None)
            elif was_known:
                self._listener.lost(uri, "impossible_change" if not document.is_known else "places_lost")
        if document.is_known:
            self._listener.settled(uri)

    def _one(self, document: Document, change: Mapping[str, Any], version: int | None) -> Sequence[Edit] | None:
        """Apply one content change; None if places cannot be followed through it."""
        span = change.get("range")
        was_known, old = document.is_known, document.lines
        if span is None:
            document.change([change], version)
            return self._whole(document, old) if was_known and document.is_known else None
        located = self._locate(document, span, change) if was_known else None
        lines = len(old)
        document.change([change], version)
        if located is None or not document.is_known:
            return None
        grown = after(Point(0, 0), located.new).line - (located.end.line - located.start.line)
        # A line end completed by its other half, or a character by its: the lines are not where they were.
        return refine(located) if len(document.lines) == lines + grown else None

    def _locate(self, document: Document, span: Mapping[str, Any], change: Mapping[str, Any]) -> Edit | None:
        view = View(document)
        points = []
        for edge in (span["start"], span["end"]):
            line, character = edge["line"], edge["character"]
            if line < 0 or character < 0:
                return None
            point = view.point(line, character)
            last = len(document.lines) - 1
            points.append(point if point is not None else Point(last, len(document.lines[last])))
        start, end = points
        text = change["text"]
        if end < start or not isinstance(text, str):
            return None
        return Edit(start, end, view.between(start, end), text)

    def _whole(self, document: Document, old: list[str]) -> Sequence[Edit] | None:
        """What a whole-text change really changed."""
        new = document.lines
        head = 0
        limit = min(len(old), len(new))
        while head < limit and old[head] == new[head]:
            head += 1
        if head == len(old) == len(new):
            return []
        tail = 0
        while tail < limit - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        # One line more on each side where there is one, so that an inserted line end has somewhere to stand.
        head = max(0, head - 1) if head == limit or tail == limit - head else head
        gone, come = "".join(old[head : len(old) - tail]), "".join(new[head : len(new) - tail])
        if len(gone) + len(come) > LARGE_CHARS:
            return None
        start = Point(head, 0)
        end = Point(len(old) - tail, 0) if tail else Point(len(old) - 1, len(old[-1]))
        edits = refine(Edit(start, end, gone, come)) if gone and come else [Edit(start, end, gone, come)]
        return [self._hinted(document.uri, edit, old) for edit in edits]

    def _hinted(self, uri: str, edit: Edit, old: list[str]) -> Edit:
        for hint in self._listener.hints(uri):
            if hint < edit.start and edit.start.line - hint.line <= HINT_LINES:
                edit = rotate(edit, _between(old, hint, edit.start), hint)
        return edit

    def _lose(self, params: Mapping[str, Any], reason: str) -> None:
        try:
            uri = params["textDocument"]["uri"]
        except (KeyError, TypeError):
            return
        if isinstance(uri, str):
            document = self._mirror.documents.get(uri)
            if document is not None:
                document.is_known = False
            self._listener.lost(uri, reason)
