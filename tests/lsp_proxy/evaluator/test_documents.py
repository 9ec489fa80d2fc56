"""The documents, whatever an editor sends: never an exception, never a wrong text, lost places told."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lsp_proxy.evaluator.documents import Documents
from lsp_proxy.evaluator.edits import Edit, Point, Span
from lsp_proxy.relay.mirror import split_lines

URI = "file:///a.py"


class Heard:
    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self.reasons: list[str] = []
        self.closings: list[str] = []
        self.settlings = 0
        self.span: Span | None = None

    def changed(self, uri: str, edits: Sequence[Edit], *, is_whole: bool) -> None:
        self.edits += edits
        for edit in edits:
            if self.span is not None:
                self.span.follow(edit)

    def settled(self, uri: str) -> None:
        self.settlings += 1

    def lost(self, uri: str, reason: str) -> None:
        self.reasons.append(reason)

    def closed(self, uri: str) -> None:
        self.closings.append(uri)

    def hints(self, uri: str) -> Sequence[Point]:
        return [self.span.end] if self.span is not None else []


def opened(text: str, encoding: str = "utf-16") -> tuple[Documents, Heard]:
    heard = Heard()
    documents = Documents(heard, encoding)
    item = {"uri": URI, "languageId": "python", "version": 1, "text": text}
    documents.apply("textDocument/didOpen", {"textDocument": item})
    return documents, heard


def change(documents: Documents, *changes: Any, version: int = 2) -> None:
    documents.apply(
        "textDocument/didChange", {"textDocument": {"uri": URI, "version": version}, "contentChanges": changes}
    )


def ranged(start: tuple[int, int], end: tuple[int, int], text: str) -> dict[str, Any]:
    edges = [{"line": line, "character": character} for line, character in (start, end)]
    return {"range": {"start": edges[0], "end": edges[1]}, "text": text}


def text_of(documents: Documents) -> str | None:
    view = documents.view(URI)
    return None if view is None else view.between(Point(0, 0), Point(10_000, 0))


def test_positions_count_in_the_session_encoding() -> None:
    for encoding, character in (("utf-8", 4), ("utf-16", 2), ("utf-32", 1)):
        documents, heard = opened("😀x", encoding)
        change(documents, ranged((0, character), (0, character), "!"))
        assert text_of(documents) == "😀!x"
        assert heard.edits[0].start == Point(0, 1)


def test_form_feeds_and_u2028_are_no_line_ends() -> None:
    documents, heard = opened("a\x0cb\u2028c\nd")
    change(documents, ranged((1, 1), (1, 1), "!"))
    assert text_of(documents) == "a\x0cb\u2028c\nd!"
    assert heard.edits[0].start == Point(1, 1)


def test_files_with_old_mac_line_ends_work() -> None:
    documents, heard = opened("a\rb\rc")
    change(documents, ranged((1, 0), (1, 1), "x\ry"))
    assert text_of(documents) == "a\rx\ry\rc"
    assert heard.reasons == []


def test_positions_beyond_the_end_mean_the_end() -> None:
    documents, _ = opened("ab\ncd")
    change(documents, ranged((0, 99), (0, 99), "!"), ranged((1, 99), (7, 0), "?"))
    assert text_of(documents) == "ab!\ncd?"


def test_an_impossible_change_makes_the_document_unknown_until_its_next_full_text() -> None:
    documents, heard = opened("ab")
    change(documents, ranged((-1, 0), (0, 0), "x"))
    assert documents.view(URI) is None
    assert heard.reasons == ["impossible_change"]
    change(documents, ranged((0, 0), (0, 0), "x"))
    change(documents, {"text": "new"})
    assert text_of(documents) == "new"


def test_a_version_that_goes_back_is_not_believed() -> None:
    documents, heard = opened("ab")
    change(documents, ranged((0, 0), (0, 0), "x"), version=5)
    change(documents, ranged((0, 0), (0, 0), "x"), version=3)
    assert documents.view(URI) is None
    assert heard.reasons == ["impossible_change"]


def test_a_document_that_was_never_opened_is_unknown() -> None:
    documents, heard = opened("ab")
    documents.apply(
        "textDocument/didChange", {"textDocument": {"uri": "file:///b.py", "version": 1}, "contentChanges": []}
    )
    assert heard.reasons == ["never_opened"]
    assert documents.view("file:///b.py") is None


def test_half_a_character_does_not_raise() -> None:
    documents, _ = opened("x\n")
    change(documents, ranged((0, 1), (0, 1), "\ud83d"))
    change(documents, ranged((0, 2), (0, 2), "\ude00"), version=3)
    assert text_of(documents) == "x😀\n"


def test_a_line_end_in_two_halves_loses_places_and_not_the_text() -> None:
    documents, heard = opened("a\rb")
    change(documents, ranged((1, 0), (1, 0), "\n"))
    assert text_of(documents) == "a\r\nb"
    assert heard.reasons == ["places_lost"]


def test_opening_again_with_the_same_text_loses_nothing() -> None:
    documents, heard = opened("ab")
    documents.apply(
        "textDocument/didOpen", {"textDocument": {"uri": URI, "languageId": "python", "version": 2, "text": "ab"}}
    )
    assert (heard.reasons, heard.edits) == ([], [])


def test_a_gap_is_closed_by_the_full_text_that_follows_it() -> None:
    documents, heard = opened("a = 1\nb = 2\n")
    item = {"uri": URI, "languageId": "python", "version": 9, "text": "a = 1\nx\nb = 2\n"}
    documents.apply("textDocument/didOpen", {"textDocument": item})
    assert "".join(edit.new for edit in heard.edits) == "x\n"
    assert text_of(documents) == "a = 1\nx\nb = 2\n"


def test_cells_of_a_notebook_are_documents() -> None:
    documents, heard = opened("")
    cell = {"uri": "nb:1", "languageId": "python", "version": 1, "text": "a"}
    notebook = {"uri": "file:///n.ipynb", "notebookType": "jupyter", "version": 1}
    documents.apply(
        "notebookDocument/didOpen",
        {"notebookDocument": {**notebook, "cells": [{"kind": 2, "document": "nb:1"}]}, "cellTextDocuments": [cell]},
    )
    content = {"document": {"uri": "nb:1", "version": 2}, "changes": [ranged((0, 1), (0, 1), "b")]}
    documents.apply(
        "notebookDocument/didChange", {"notebookDocument": notebook, "change": {"cells": {"textContent": [content]}}}
    )
    view = documents.view("nb:1")
    assert view is not None
    assert view.line(0) == "ab"
    documents.apply("notebookDocument/didClose", {"notebookDocument": notebook, "cellTextDocuments": [{"uri": "nb:1"}]})
    assert heard.closings == ["nb:1"]


PIECES = st.text(alphabet="ab 😀\n\r\x0c", max_size=12)


@given(PIECES, st.lists(PIECES, max_size=4), st.integers(0, 12), st.integers(0, 12))
def test_whole_texts_keep_a_span_inside_the_document(text: str, texts: list[str], start: int, end: int) -> None:
    documents, heard = opened(text)
    lines = split_lines(text)
    line = min(start, len(lines) - 1)
    column = min(end, len(lines[line].rstrip("\r\n")))
    heard.span = Span(Point(line, column), Point(line, column))
    for number, whole in enumerate(texts):
        change(documents, {"text": whole}, version=number + 2)
        assert text_of(documents) == whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    if not heard.reasons:
        last = split_lines(texts[-1] if texts else text)
        for edge in (heard.span.start, heard.span.end):
            assert edge.line < len(last)
            assert edge.column <= len(last[edge.line])


ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-3, 2**32) | st.text(max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["textDocument", "contentChanges", "range", "text", "uri"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["textDocument/didOpen", "textDocument/didChange", "textDocument/didClose"]), ODD)
def test_nothing_an_editor_sends_raises(method: str, params: Any) -> None:
    documents, _ = opened("ab")
    if isinstance(params, dict):
        documents.apply(method, params)
