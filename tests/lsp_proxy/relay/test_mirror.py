"""The mirror holds exactly what the editor holds, in every position encoding, or says that it does not know."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_proxy.relay.mirror import ENCODINGS, Document, Edit, Mirror, split_lines

URI = "file:///a.py"
ALPHABET = st.sampled_from(["a", "b", " ", "\n", "\r", "\r\n", "é", "😀", "\x0c", "\u2028", "\x85", "漢"])
TEXTS = st.lists(ALPHABET, max_size=20).map("".join)


def units(text: str, encoding: str) -> int:
    if encoding == "utf-8":
        return len(text.encode())
    return len(text.encode("utf-16-le")) // 2 if encoding == "utf-16" else len(text)


def naive_lines(text: str) -> list[str]:
    lines, line, index = [], "", 0
    while index < len(text):
        end = "\r\n" if text.startswith("\r\n", index) else text[index]
        line += end
        index += len(end)
        if end in ("\r\n", "\r", "\n"):
            lines.append(line)
            line = ""
    return [*lines, line]


def naive_position(text: str, offset: int, encoding: str) -> dict[str, int]:
    """Where an offset is, by walking the text; an offset between \\r and \\n counts as before both."""
    if text[offset - 1 : offset + 1] == "\r\n":
        offset -= 1
    before = naive_lines(text[:offset])
    return {"line": len(before) - 1, "character": units(before[-1], encoding)}


def snapped(text: str, offset: int) -> int:
    return offset - 1 if text[offset - 1 : offset + 1] == "\r\n" else offset


def change(*changes: dict[str, Any], version: int = 2) -> dict[str, Any]:
    return {"textDocument": {"uri": URI, "version": version}, "contentChanges": list(changes)}


def opened(text: str, encoding: str = "utf-16") -> Mirror:
    mirror = Mirror(encoding)
    mirror.apply(
        "textDocument/didOpen", {"textDocument": {"uri": URI, "languageId": "python", "version": 1, "text": text}}
    )
    return mirror


def span(line: int, character: int, end_line: int, end_character: int) -> dict[str, Any]:
    return {"start": {"line": line, "character": character}, "end": {"line": end_line, "character": end_character}}


@given(TEXTS)
def test_lines_end_where_the_protocol_says_and_nowhere_else(text: str) -> None:
    assert split_lines(text) == naive_lines(text)


@given(st.data(), st.sampled_from(ENCODINGS))
def test_any_sequence_of_edits_equals_the_same_edits_on_a_string(data: st.DataObject, encoding: str) -> None:
    text = data.draw(TEXTS)
    mirror = opened(text, encoding)
    for version in range(2, data.draw(st.integers(3, 8))):
        first = snapped(text, data.draw(st.integers(0, len(text))))
        last = snapped(text, data.draw(st.integers(first, len(text))))
        last = max(first, last)
        inserted = data.draw(TEXTS)
        positions = {name: naive_position(text, at, encoding) for name, at in (("start", first), ("end", last))}
        [edit] = mirror.apply("textDocument/didChange", change({"range": positions, "text": inserted}, version=version))
        assert edit == Edit(URI, first, last - first, inserted, version)
        text = text[:first] + inserted + text[last:]
        document = mirror.document(URI)
        assert document is not None
        assert document.text() == text
        assert document.lines == naive_lines(text)
        offset = snapped(text, data.draw(st.integers(0, len(text))))
        where = naive_position(text, offset, encoding)
        assert document.position_at(offset) == (where["line"], where["character"])
        assert document.offset_at(where["line"], where["character"]) == offset
        before, after = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
        assert document.around(where["line"], where["character"], before, after) == (
            text[max(0, offset - before) : offset],
            text[offset : offset + after],
        )


@given(TEXTS, TEXTS)
def test_a_full_text_is_told_as_the_one_place_that_changed(old: str, new: str) -> None:
    mirror = opened(old)
    edits = mirror.apply("textDocument/didChange", change({"text": new}))
    document = mirror.document(URI)
    assert document is not None
    assert document.text() == new
    text = old
    for edit in edits:
        text = text[: edit.start] + edit.inserted + text[edit.start + edit.removed_chars :]
    assert text == new
    assert len(edits) == (old != new)


@pytest.mark.parametrize("text", ["a\x0cb\nc\n", "a\u2028b\nc\n", "a\x85b\nc\n", "a\x0bb\nc\n"])
def test_form_feeds_and_other_separators_do_not_end_lines(text: str) -> None:
    mirror = opened(text)
    mirror.apply("textDocument/didChange", change({"range": span(1, 1, 1, 1), "text": "X"}))
    assert mirror.documents[URI].text() == text.replace("c", "cX")


def test_a_character_beyond_the_line_means_its_end_with_and_without_a_line_end() -> None:
    for text, expected in (("abc", "abcX"), ("abc\nd", "abcX\nd"), ("abc\r\nd", "abcX\r\nd")):
        mirror = opened(text)
        mirror.apply("textDocument/didChange", change({"range": span(0, 4294967295, 0, 4294967295), "text": "X"}))
        assert mirror.documents[URI].text() == expected


def test_a_range_to_a_line_far_beyond_the_end_replaces_the_rest() -> None:
    mirror = opened("a\nb\nc")
    mirror.apply("textDocument/didChange", change({"range": span(1, 0, 2147483647, 0), "text": "x"}))
    assert mirror.documents[URI].text() == "a\nx"


def test_a_column_inside_a_surrogate_pair_does_not_cut_it() -> None:
    mirror = opened("😀b")
    mirror.apply("textDocument/didChange", change({"range": span(0, 1, 0, 1), "text": "X"}))
    assert mirror.documents[URI].text() == "X😀b"


def test_halves_of_a_character_sent_in_two_changes_become_one() -> None:
    mirror = opened("ab\n")
    mirror.apply("textDocument/didChange", change({"range": span(0, 1, 0, 1), "text": "\ud83d"}))
    [edit] = mirror.apply("textDocument/didChange", change({"range": span(0, 2, 0, 2), "text": "\ude00"}, version=3))
    assert mirror.documents[URI].text() == "a😀b\n"
    assert (edit.start, edit.removed_chars, edit.inserted) == (0, 4, "a😀b\n")


def test_a_deletion_that_brings_cr_and_lf_together_makes_one_line_end() -> None:
    mirror = opened("a\rb\nc")
    mirror.apply("textDocument/didChange", change({"range": span(1, 0, 1, 1), "text": ""}))
    assert mirror.documents[URI].lines == ["a\r\n", "c"]


@pytest.mark.parametrize(
    "bad",
    [
        {"range": span(9, 0, 9, 0), "text": "x"},
        {"range": span(0, 2, 0, 1), "text": "x"},
        {"range": span(-1, 0, 0, 0), "text": "x"},
        {"range": span(0, -1, 0, 0), "text": "x"},
        {"range": {"start": {}, "end": {}}, "text": "x"},
        {"range": span(0, 0, 0, 0)},
        {"range": span(0, 0, 0, 0), "text": 7},
        {"range": 5, "text": "x"},
        {},
        "nonsense",
    ],
)
def test_an_impossible_change_makes_the_document_unknown_until_its_full_text_comes(bad: Any) -> None:
    mirror = opened("abc\n")
    mirror.apply("textDocument/didChange", change(bad))
    assert mirror.document(URI) is None
    mirror.apply("textDocument/didChange", change({"range": span(0, 0, 0, 0), "text": "y"}, version=3))
    assert mirror.document(URI) is None
    mirror.apply("textDocument/didChange", change({"text": "new"}, version=4))
    document = mirror.document(URI)
    assert document is not None
    assert document.text() == "new"


def test_a_version_that_goes_back_makes_the_document_unknown() -> None:
    mirror = opened("abc")
    mirror.apply("textDocument/didChange", change({"range": span(0, 0, 0, 0), "text": "x"}, version=5))
    mirror.apply("textDocument/didChange", change({"range": span(0, 0, 0, 0), "text": "x"}, version=4))
    assert mirror.document(URI) is None


def test_a_change_of_a_document_never_opened_is_unknown_until_its_full_text() -> None:
    mirror = Mirror()
    mirror.apply("textDocument/didChange", change({"range": span(0, 0, 0, 0), "text": "x"}))
    assert mirror.document(URI) is None
    mirror.apply("textDocument/didChange", change({"text": "whole"}, version=3))
    document = mirror.document(URI)
    assert document is not None
    assert document.text() == "whole"


@pytest.mark.parametrize("params", [None, [], {}, {"textDocument": 5}, {"textDocument": {"uri": URI}}, "x"])
@pytest.mark.parametrize("method", ["textDocument/didOpen", "textDocument/didChange", "notebookDocument/didChange"])
def test_messages_of_the_wrong_shape_change_nothing(method: str, params: Any) -> None:
    mirror = opened("abc")
    assert mirror.apply(method, params) == []
    assert mirror.documents[URI].text() == "abc"


def test_a_closed_document_is_forgotten() -> None:
    mirror = opened("abc")
    mirror.apply("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert mirror.documents == {}


def cell(name: str) -> dict[str, Any]:
    return {"kind": 2, "document": f"cell:{name}"}


def item(name: str, text: str) -> dict[str, Any]:
    return {"uri": f"cell:{name}", "languageId": "python", "version": 1, "text": text}


def test_the_cells_of_a_notebook_are_documents_of_their_own() -> None:
    mirror = Mirror()
    mirror.apply(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {"uri": "nb", "notebookType": "jupyter", "version": 1, "cells": [cell("a"), cell("b")]},
            "cellTextDocuments": [item("a", "x"), item("b", "y")],
        },
    )
    edits = mirror.apply(
        "notebookDocument/didChange",
        {
            "notebookDocument": {"uri": "nb", "version": 2},
            "change": {
                "cells": {
                    "structure": {
                        "array": {"start": 1, "deleteCount": 1, "cells": [cell("c")]},
                        "didOpen": [item("c", "z")],
                        "didClose": [{"uri": "cell:b"}],
                    },
                    "textContent": [
                        {
                            "document": {"uri": "cell:a", "version": 2},
                            "changes": [{"range": span(0, 1, 0, 1), "text": "1"}],
                        }
                    ],
                }
            },
        },
    )
    assert {uri: document.text() for uri, document in mirror.documents.items()} == {"cell:a": "x1", "cell:c": "z"}
    assert edits == [Edit("cell:a", 1, 0, "1", 2)]
    assert mirror.notebooks["nb"].cell_uris() == ["cell:a", "cell:c"]
    mirror.apply("notebookDocument/didClose", {"notebookDocument": {"uri": "nb"}, "cellTextDocuments": []})
    assert (mirror.documents, mirror.notebooks) == ({}, {})


def test_the_encoding_may_be_learnt_after_documents_were_opened() -> None:
    mirror = opened("é😀b")
    mirror.encoding = "utf-8"
    mirror.apply("textDocument/didChange", change({"range": span(0, 6, 0, 6), "text": "X"}))
    assert mirror.documents[URI].text() == "é😀Xb"


def test_without_tracking_no_edits_are_told_and_the_text_is_the_same() -> None:
    document = Document(URI, "a\nb", tracks_edits=False)
    assert document.change([{"range": span(1, 0, 1, 0), "text": "x"}], 1) == []
    assert document.text() == "a\nxb"
