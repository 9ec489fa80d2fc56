"""Outcomes from document changes alone, in every dialect; the last test measures precision and recall on real code."""

import ast
import random
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from codetrial.records import Exposure, Outcome, Score, Surface
from tests.lsp_proxy.evaluator.scripted_editor import DIALECTS, GATHERING, SECOND, URI, ScriptedEditor

BEFORE = "import os\n\n\ndef total(prices):\n    result = "
AFTER = "\n    return result\n"
SUGGESTION = "sum(price.value for price in prices)"

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def editor(dialect: str = "plain", *, closes_brackets: bool = False) -> ScriptedEditor:
    return ScriptedEditor(BEFORE + AFTER, len(BEFORE), dialect, closes_brackets=closes_brackets)


def outcome(it: ScriptedEditor, token: str = "g-1") -> tuple[str, str]:
    [found] = [o for o in it.notebook.of(Outcome) if o.suggestion == token]
    return found.outcome.value, found.rule


@every_dialect
def test_taking_the_whole_is_accepted(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.wait(1)
    it.insert(SUGGESTION)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")
    assert it.notebook.of(Outcome)[0].accepted_chars == len(SUGGESTION)


@every_dialect
def test_taking_the_rest_after_typing_a_bit_counts_the_rest(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.type("sum")
    it.insert(SUGGESTION[3:])
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")
    assert it.notebook.of(Outcome)[0].accepted_chars == len(SUGGESTION) - 3


@every_dialect
def test_typing_the_whole_is_typed_through(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.type(SUGGESTION)
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


@every_dialect
def test_typing_with_an_editor_that_closes_brackets_is_typed_through(dialect: str) -> None:
    it = editor(dialect, closes_brackets=True)
    it.offer(SUGGESTION)
    it.type(SUGGESTION)
    assert it.text == BEFORE + SUGGESTION + AFTER
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


@every_dialect
def test_writing_something_else_is_not_taken(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.type("len(prices) or 17")
    it.wait(11)
    assert outcome(it) == ("not_taken", "diverged")


@every_dialect
def test_a_mistype_that_is_corrected_does_not_end_an_offer(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.type("suk")
    it.backspace()
    it.insert(SUGGESTION[2:])
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_taken_and_deleted_within_ten_seconds_is_not_taken(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    before = it.text
    it.insert(SUGGESTION)
    it.wait(4)
    it.undo_to(before)
    it.wait(11)
    assert outcome(it) == ("not_taken", "deleted_within_10s")


@every_dialect
def test_undone_and_redone_after_typing_a_bit_is_accepted(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.type("sum")
    before = it.text
    it.insert(SUGGESTION[3:])
    taken = it.text
    it.wait(2)
    it.undo_to(before)
    it.wait(2)
    it.undo_to(taken)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_undone_and_redone_is_accepted(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    before = it.text
    it.insert(SUGGESTION)
    taken = it.text
    it.wait(2)
    it.undo_to(before)
    it.wait(2)
    it.undo_to(taken)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_a_formatter_right_after_does_not_unmake_it(dialect: str) -> None:
    it = editor(dialect)
    it.offer("f( a,b )")
    it.insert("f( a,b )")
    it.save()
    it.become("import os\n\n\ndef total( prices ):\n    result = f(a, b)\n    return result\n")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_taken_and_edited_a_little_is_accepted(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.insert(SUGGESTION)
    it.cursor -= len("prices)")
    it.type("all_")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@pytest.mark.parametrize("dialect", ["plain", "lines", "whole", "batched"])
def test_taking_a_word_is_partly_accepted(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.insert("sum(price")
    it.wait(1)
    it.type("[0])")
    it.wait(11)
    assert outcome(it) == ("partly_accepted", "word")
    assert it.notebook.of(Outcome)[0].accepted_chars == len("sum(price")


def test_taking_a_line_is_partly_accepted() -> None:
    it = editor()
    it.offer("one(1)\n    two(2)")
    it.insert("one(1)")
    it.wait(301)
    assert outcome(it) == ("partly_accepted", "line")


def test_taking_all_of_it_in_parts_is_accepted() -> None:
    it = editor()
    it.offer("one(1)\n    two(2)")
    it.insert("one(1)")
    it.wait(1)
    it.insert("\n    two(2)")
    it.wait(11)
    assert outcome(it) == ("accepted", "parts")
    assert it.notebook.of(Outcome)[0].accepted_chars == len("one(1)\n    two(2)")


def test_the_command_confirms_what_looked_typed() -> None:
    it = editor()
    it.offer(")")
    it.insert(")")
    it.observer.command("g-1")
    it.wait(11)
    assert outcome(it) == ("accepted", "command")


def test_the_command_may_come_before_the_change() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.observer.command("g-1")
    it.insert(SUGGESTION)
    it.wait(31)
    assert outcome(it) == ("accepted", "command")
    assert [s.value for s in it.notebook.of(Score) if (s.horizon, s.metric) == ("30s", "kept_share")] == [1.0]


@pytest.mark.parametrize("rest", ["[0])", ".value for price in prices)"])
def test_a_command_that_is_run_for_a_part_confirms_the_part(rest: str) -> None:
    """Neovim runs the item's command whatever of its text a person's settings let it insert."""
    it = editor()
    it.offer(SUGGESTION)
    it.wait(1)
    it.insert("sum(price")
    it.observer.command("g-1")
    it.wait(1)
    if SUGGESTION.endswith(rest):
        it.insert(rest)
        it.observer.command("g-1")
    else:
        it.type(rest)
    it.wait(11)
    assert outcome(it) == (("accepted", "command") if SUGGESTION.endswith(rest) else ("partly_accepted", "word"))


def test_a_command_that_overtakes_the_delivery_proves_the_exposure() -> None:
    it = editor()
    it.offer(SUGGESTION, deliver=False)
    it.insert(SUGGESTION)
    it.observer.command("g-1")
    it.wait(11)
    assert len(it.notebook.of(Exposure)) == 1
    assert outcome(it) == ("accepted", "command")


def test_a_menu_item_that_replaces_the_word_before_it_is_accepted() -> None:
    it = ScriptedEditor("os.pa\n", 5)
    it.offer("th.join(a, b)", surface=Surface.MENU)
    it.replace(3, 5, "path.join(a, b)")
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


def test_a_menu_item_told_as_a_deletion_and_an_insertion_is_accepted() -> None:
    it = ScriptedEditor("os.pa\n", 5, "batched")
    it.offer("th.join(a, b)", surface=Surface.MENU)
    it.replace(3, 5, "")
    it.replace(3, 3, "path.join(a, b)")
    it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


def test_a_word_from_the_servers_own_menu_is_no_part_of_a_menu_item() -> None:
    it = editor()
    it.offer(SUGGESTION, surface=Surface.MENU)
    it.insert("sum")
    it.type("med")
    it.wait(11)
    assert outcome(it) == ("not_taken", "diverged")


def test_a_word_from_the_editors_own_list_is_no_part_of_an_inline_suggestion() -> None:
    """VS Code says with each request what its list has selected; Tab then takes that, and not the ghost text."""
    it = editor()
    it.type("j")
    it.offer("son.loads(text)")
    it.observer.listed(URI, "json")
    it.wait(1)
    it.insert("son")
    assert it.observer.typed_chars(URI) == 4
    it.observer.listed(URI, None)
    it.wait(1)
    it.type(".dumps")
    it.wait(11)
    assert outcome(it) == ("not_taken", "diverged")


def test_an_item_of_the_list_that_is_all_of_the_suggestion_is_typed_through() -> None:
    it = editor()
    it.type("j")
    it.offer("son")
    it.observer.listed(URI, "json")
    it.insert("son")
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


def test_a_word_that_is_taken_while_the_list_offers_another_is_a_part() -> None:
    it = editor()
    it.type("j")
    it.offer("son.loads(text)")
    it.observer.listed(URI, "jinja")
    it.wait(1)
    it.insert("son")
    it.wait(1)
    it.type("; x")
    it.wait(11)
    assert outcome(it) == ("partly_accepted", "word")


def test_other_cursors_do_not_disturb() -> None:
    it = ScriptedEditor("a = \nb = \nc = \n", 9, "batched")
    it.offer("load(1)")
    for at in (14, 9, 4):
        it.replace(at, at, "load(1)")
    it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


def test_edits_above_move_the_place() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.replace(0, 0, "import sys\n")
    it.insert(SUGGESTION)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


def test_a_rename_all_over_the_file_moves_the_place_and_no_more() -> None:
    it = editor("batched")
    it.offer(SUGGESTION)
    it.insert(SUGGESTION)
    for at in reversed([i for i in range(len(it.text)) if it.text.startswith("result", i)]):
        it.replace(at, at + 6, "amount")
    it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@every_dialect
def test_a_file_that_another_tool_rewrote_is_not_taken(dialect: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    it.become("# another branch\n\nclass Other:\n    pass\n" * 5)
    it.wait(301)
    assert outcome(it)[0] == "not_taken"


def test_a_new_suggestion_supersedes_the_one_before() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.offer("0", token="g-2")
    assert outcome(it) == ("not_taken", "superseded")


def test_nothing_happening_expires() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.wait(301)
    assert outcome(it) == ("not_taken", "expired")


def test_a_closed_document_leaves_an_open_offer_not_taken_and_a_taken_one_accepted() -> None:
    for takes, expected in ((False, ("not_taken", "closed")), (True, ("accepted", "whole_insertion"))):
        it = editor()
        it.offer(SUGGESTION)
        if takes:
            it.insert(SUGGESTION)
        it.observer.notification("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert outcome(it) == expected


@every_dialect
@pytest.mark.parametrize("ends", ["closes", "leaves"])
def test_taken_undone_and_closed_at_once_is_not_taken(dialect: str, ends: str) -> None:
    it = editor(dialect)
    it.offer(SUGGESTION)
    before = it.text
    it.insert(SUGGESTION)
    it.wait(1)
    it.undo_to(before)
    if ends == "closes":
        it.close()
    else:
        it.observer.end("exit")
    assert outcome(it) == ("not_taken", "deleted_within_10s")


def test_a_part_that_is_deleted_at_once_is_not_taken() -> None:
    for keeps, expected in ((0, ("not_taken", "diverged")), (2, ("not_taken", "deleted_within_10s"))):
        it = editor()
        it.offer(SUGGESTION)
        it.insert("sum(price")
        it.wait(2)
        it.backspace(len("sum(price") - keeps)
        it.type("§")
        it.wait(11)
        assert outcome(it) == expected


def test_a_part_that_is_deleted_much_later_was_taken() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.insert("sum(price")
    it.wait(12)
    it.backspace(len("sum(price") - 2)
    it.type("§")
    it.wait(11)
    assert outcome(it) == ("partly_accepted", "word")


# What Neovim 0.11 sent when `loads(text_from_the_model)` was taken from its menu: two notifications, the second 40 ms
# after the first, one change for each character.
NEOVIM_MENU = ("l", "oads(text_from_the_model)")


@pytest.mark.parametrize("dialect", ["plain", "batched", "strokes"])
def test_a_word_deleted_and_written_again_with_its_rest_can_be_undone_and_redone(dialect: str) -> None:
    it = ScriptedEditor("from co\n", 7, dialect)
    it.offer("llections import Counter", surface=Surface.MENU)
    it.wait(1)
    for at in (6, 5):
        it.replace(at, at + 1, "")
    it.insert("collections import Counter")
    taken = it.text
    it.wait(1)
    it.undo_to("from co\n")
    it.wait(1)
    it.undo_to(taken)
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")


@pytest.mark.parametrize("gathers", [True, False])
def test_a_menu_item_told_character_by_character_is_accepted(*, gathers: bool) -> None:
    it = ScriptedEditor("value = json.\n", 13, "strokes" if gathers else "batched")
    it.offer("".join(NEOVIM_MENU), surface=Surface.MENU)
    it.wait(1)
    for piece in NEOVIM_MENU:
        it.clock.now_ns += 40_000_000
        for character in piece:
            it.insert(character, flush=False)
        it.flush()
    it.wait(11)
    assert outcome(it) == ("accepted", "whole_insertion")
    assert it.notebook.of(Outcome)[0].accepted_chars == len(NEOVIM_MENU[1])


def test_what_was_typed_while_the_editor_kept_silent_is_typed_through() -> None:
    it = editor("batched")
    it.offer(SUGGESTION)
    for character in SUGGESTION:
        it.clock.now_ns += SECOND // 20
        it.insert(character, flush=False)
    it.flush()
    it.wait(11)
    assert outcome(it) == ("typed_through", "typed_through")


def test_what_was_not_seen_is_unknown() -> None:
    it = editor()
    it.offer(SUGGESTION)
    document = {"uri": URI, "version": 9}
    it.observer.notification("textDocument/didChange", {"textDocument": document, "contentChanges": [{"range": 3}]})
    assert outcome(it) == ("unknown", "malformed")


def test_an_outcome_is_final_and_there_is_one() -> None:
    it = editor()
    it.offer(SUGGESTION)
    it.type("x")
    it.wait(11)
    it.backspace()
    it.insert(SUGGESTION)
    it.observer.command("g-1")
    it.wait(301)
    it.observer.end("exit")
    assert outcome(it) == ("not_taken", "diverged")
    assert it.notebook.counted["command_unknown"] == 1


def test_an_undelivered_answer_has_no_outcome() -> None:
    it = editor()
    it.offer(SUGGESTION, deliver=False)
    it.observer.delivered("g-1", was_delivered=False, reason="late", at_ns=0)
    it.wait(301)
    assert it.notebook.of(Outcome) == []


# Precision and recall, on places and continuations taken from real code.


def _take_whole(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    typed = chance.choice([0, 0, 1, 2])
    it.type(text[:typed])
    it.insert(text[typed:])


def _take_and_edit(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    it.insert(text)
    it.wait(1)
    it.cursor -= chance.randrange(len(text) // 3)
    it.type("_x")


def _take_and_reformat(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    it.insert(text)
    it.save()
    it.become(it.text.replace(" = ", "  =  ").replace(", ", ","))


def _take_undo_redo(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    before = it.text
    it.insert(text)
    taken = it.text
    it.undo_to(before)
    it.wait(1)
    it.undo_to(taken)


def _word_end(text: str) -> int:
    """Where an editor's "take a word" would stop, some characters in; 0 if the text is one word."""
    ends = (i for i in range(4, len(text)) if not (text[i - 1].isalnum() or text[i - 1] in "_ \n") and text[i] != " ")
    return next(ends, 0)


def _take_word(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    it.insert(text[: _word_end(text)])
    it.wait(1)
    it.type("§ else")


def _type_through(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    it.type(text, seconds_per_key=chance.uniform(0.05, 0.4))


def _take_and_delete(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    before = it.text
    it.insert(text)
    it.wait(chance.randrange(1, 8))
    it.undo_to(before)


def _ignore(it: ScriptedEditor, text: str, chance: random.Random) -> None:
    it.type(text[: chance.randrange(3)] + "§ something = else_entirely(1)")


BEHAVIOURS: dict[str, list[Callable[[ScriptedEditor, str, random.Random], None]]] = {
    "accepted": [_take_whole, _take_whole, _take_and_edit, _take_and_reformat, _take_undo_redo],
    "partly_accepted": [_take_word],
    "typed_through": [_type_through],
    "not_taken": [_ignore, _take_and_delete],
}


def real_places(modules: Sequence[ModuleType]) -> list[tuple[str, str, str]]:
    """(before, suggestion, after) from the standard library: the rest of real statements of one to four lines."""
    places = []
    for module in modules:
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign | ast.Return | ast.Expr) and node.end_lineno is not None:
                if node.end_lineno - node.lineno > 3 or not source.isascii():
                    continue
                start = starts[node.lineno - 1] + node.col_offset
                end = starts[node.end_lineno - 1] + (node.end_col_offset or 0)
                cut = start + min(7, (end - start) // 4)
                if end - cut >= 12 and '"""' not in source[cut:end]:
                    places.append((source[:cut], source[cut:end], source[end:]))
    return places


@pytest.mark.parametrize(
    ("cases", "modules"), [(40, [textwrap]), pytest.param(400, [textwrap, random, ast], marks=pytest.mark.slow)]
)
@pytest.mark.timeout(600)
def test_precision_and_recall_over_real_code(
    capsys: pytest.CaptureFixture[str], cases: int, modules: Sequence[ModuleType]
) -> None:
    chance = random.Random(20260101)
    places = [place for place in real_places(modules) if _word_end(place[1])]
    confusion: Counter[tuple[str, str]] = Counter()
    for truth, behaviours in BEHAVIOURS.items():
        for number in range(cases):
            before, text, after = chance.choice(places)
            dialect = DIALECTS[number % len(DIALECTS)]
            if truth == "partly_accepted" and dialect in GATHERING:
                dialect = "plain"  # The one editor that gathers keystrokes cannot take a part.
            it = ScriptedEditor(before + after, len(before), dialect, closes_brackets=number % 3 == 0)
            it.offer(text)
            it.wait(1)
            chance.choice(behaviours)(it, text, chance)
            it.wait(11)
            it.observer.end("exit")
            confusion[truth, outcome(it)[0]] += 1
    for name in BEHAVIOURS:
        right = confusion[name, name]
        recall = right / cases
        precision = right / max(1, sum(n for (_, got), n in confusion.items() if got == name))
        wanted = 0.99 if name == "accepted" else 0.97
        with capsys.disabled():
            print(f"\n{name}: precision {precision:.3f}, recall {recall:.3f}", end="")
        assert precision >= wanted, confusion
        assert recall >= wanted, confusion
