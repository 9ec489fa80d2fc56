"""What editors and other tools do to the text around a suggestion, and that its outcome comes out right."""

import pytest

from codetrial.records import Continuation, Outcome, Score, Surface
from lsp_proxy.evaluator.edits import Point
from tests.lsp_proxy.evaluator.scripted_editor import DIALECTS, GATHERING, SECOND, URI, ScriptedEditor, position

BEFORE = "import os\n\n\ndef total(prices):\n    "
AFTER = "\n    return result\n"
BLOCK = "for price in prices:\n    result += price.value\nelse:\n    result = 0"
TOLD_WHOLE = [dialect for dialect in DIALECTS if dialect not in GATHERING]

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def editor(dialect: str = "plain", before: str = BEFORE, after: str = AFTER) -> ScriptedEditor:
    return ScriptedEditor(before + after, len(before), dialect)


def outcome(it: ScriptedEditor, token: str = "g-1") -> tuple[str, str]:
    [found] = [o for o in it.notebook.of(Outcome) if o.suggestion == token]
    return found.outcome.value, found.rule


@every_dialect
def test_an_editor_that_indents_the_lines_after_inserting_them(dialect: str) -> None:
    it = editor(dialect)
    it.offer(BLOCK)
    it.wait(1)
    it.insert(BLOCK)
    for line in ("    result += price.value", "else:", "    result = 0"):
        at = it.text.index("\n" + line) + 1
        it.replace(at, at, "    ", is_whole=True)
    it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_typing_through_with_an_editor_that_indents_each_new_line(dialect: str) -> None:
    it = editor(dialect)
    it.offer("if prices:\n    result = 1")
    it.wait(1)
    it.type("if prices:")
    it.insert("\n        ")
    it.wait(0.3)
    it.type("result = 1")
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


@every_dialect
def test_the_same_notification_adds_an_import_above(dialect: str) -> None:
    it = editor(dialect)
    it.offer("result = reduce(add, prices)", surface=Surface.MENU)
    it.wait(1)
    it.insert("result = reduce(add, prices)", flush=False)
    it.replace(0, 0, "from functools import reduce\n", is_whole=True)
    it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@pytest.mark.parametrize("dialect", TOLD_WHOLE)
def test_a_snippet_of_ours_is_expanded_in_place_of_its_label(dialect: str) -> None:
    it = editor(dialect)
    it.offer("result = sum(prices)", surface=Surface.MENU)
    start = it.cursor
    it.insert("result = sum(prices)", flush=False)
    it.replace(start, it.cursor, "", is_whole=True)
    it.insert("result = sum(prices)")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@pytest.mark.parametrize("dialect", TOLD_WHOLE)
def test_a_snippet_of_the_language_server_is_not_ours(dialect: str) -> None:
    it = editor(dialect)
    it.offer("result = sum(prices)", surface=Surface.MENU)
    it.wait(1)
    it.insert("result = sum(iterable, start)")
    place = it.text.index("iterable, start")
    it.replace(place, place + len("iterable, start"), "lines", is_whole=True)
    it.flush()
    it.wait(11)
    assert outcome(it) == ("not_taken", "diverged")


@every_dialect
def test_placeholders_that_are_filled_in_after_taking(dialect: str) -> None:
    it = editor(dialect)
    it.offer("result = sum(iterable, start)")
    it.wait(1)
    it.insert("result = sum(iterable, start)")
    it.wait(1)
    for old, new in (("iterable", "prices"), ("start", "0")):
        at = it.text.index(old)
        it.replace(at, at + len(old), new, is_whole=True)
        it.flush()
        it.wait(1)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


def test_typing_at_several_cursors_is_typed_through() -> None:
    text = "a = \nb = \nc = \n"
    it = ScriptedEditor(text, 4, "batched")
    it.offer("load(1)")
    for number, character in enumerate("load(1)"):
        it.clock.now_ns += SECOND // 8
        for line in (2, 1, 0):
            at = 4 + 5 * line + number * (line + 1)
            it.replace(at, at, character)
        it.flush()
    assert it.text == "a = load(1)\nb = load(1)\nc = load(1)\n"
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


@pytest.mark.parametrize("taken", [True, False])
def test_a_renamed_file_keeps_what_was_known_and_censors_the_rest(*, taken: bool) -> None:
    it = editor()
    line, column = position(it.text, it.cursor)
    watch = it.observer.watch(
        uri=URI, task="t", language="python", at=Point(line, column), context="    ", opened_ns=it.clock.now_ns
    )
    it.observer.begin(watch)
    it.offer("result = 1234567")
    if taken:
        it.insert("result = 1234567")
    it.wait(31)
    it.close()
    renamed = {"uri": "file:///w/b.py", "version": 1, "languageId": "python", "text": it.text}
    it.observer.notification("textDocument/didOpen", {"textDocument": renamed})
    it.wait(700)
    assert outcome(it) == (("accepted", "whole_insertion") if taken else ("not_taken", "closed"))
    states = {c.horizon: c.state.value for c in it.notebook.of(Continuation)}
    assert states == {"30s": "found", "120s": "censored", "300s": "censored", "600s": "censored"}
    assert not [s for s in it.notebook.of(Score) if s.horizon == "600s" and s.value is not None]


@every_dialect
def test_a_checkout_right_after_taking_takes_it_away(dialect: str) -> None:
    it = editor(dialect)
    it.offer(BLOCK)
    it.insert(BLOCK)
    it.wait(2)
    it.become("# another branch\n\nclass Other:\n    pass\n" * 5)
    it.wait(11)
    assert outcome(it) == ("not_taken", "deleted_within_10s")


@every_dialect
def test_a_checkout_that_changes_other_lines_does_not(dialect: str) -> None:
    it = editor(dialect)
    it.offer(BLOCK)
    it.insert(BLOCK)
    it.wait(2)
    it.become(
        it.text.replace("import os\n", "import os\nimport sys\n\nLIMIT = 3\n").replace("return result", "return 2")
    )
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_undo_past_the_offer_and_typing_on_is_not_taken(dialect: str) -> None:
    it = editor(dialect)
    before = it.text
    it.type("re")
    it.offer("sult = 1234567")
    it.wait(1)
    it.undo_to(before)
    it.wait(1)
    it.type("pass  # nothing")
    it.wait(11)
    assert outcome(it)[0] == "not_taken"


def test_a_document_saved_under_other_line_ends_keeps_its_outcome() -> None:
    it = editor("whole")
    it.offer(BLOCK)
    it.insert(BLOCK)
    it.become(it.text.replace("\n", "\r\n"))
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@pytest.mark.slow
def test_fifty_megabytes_are_followed_and_a_whole_text_that_size_is_not_compared() -> None:
    line = "value = compute(1)\n"
    it = editor("plain", before=line * (50_000_000 // len(line)), after="\n")
    it.offer("result = compute(2)")
    it.insert("result = compute(2)")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")
    it.offer("other = compute(3)", token="g-2")
    it.dialect = "whole"
    it.become("x = 1\n" + it.text[::-1])
    assert outcome(it, "g-2") == ("unknown", "places_lost")


@pytest.mark.parametrize("text", ["\x00\x01\x7fELF\x00" * 50, "caf\ufffd = \ufffd\ufffd\n", "a = 'x\ud800'\n"])
def test_binary_and_broken_texts_are_followed_like_any_other(text: str) -> None:
    it = ScriptedEditor(text + "x = ", len(text) + 4)
    it.offer("compute(1, 2)")
    it.insert("compute(1, 2)")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")
