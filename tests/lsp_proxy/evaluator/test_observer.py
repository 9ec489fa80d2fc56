"""Continuations, retention and counts, with hours passing in a moment."""

from typing import Any

import pytest

from codetrial.records import ArmLabel, Continuation, Score
from lsp_proxy.evaluator.continuations import Suggested, Watch
from lsp_proxy.evaluator.edits import Point
from tests.lsp_proxy.evaluator.scripted_editor import SECOND, URI, ScriptedEditor, position

BEFORE = "def total(prices):\n    result = "
AFTER = "\n    return result\n"


def editor() -> ScriptedEditor:
    return ScriptedEditor(BEFORE + AFTER, len(BEFORE))


def watched(it: ScriptedEditor, a: str = "sum(prices)", b: str = "0", *, latency_s: float = 0.3) -> Watch:
    line, column = position(it.text, it.cursor)
    watch = it.observer.watch(
        uri=URI,
        task="t-1",
        language="python",
        at=Point(line, column),
        context="    result = ",
        opened_ns=it.clock.now_ns,
    )
    watch.routed_ns = it.clock.now_ns
    it.observer.begin(watch)
    it.observer.suggested(watch, ArmLabel.A, Suggested("g-a", a), int(latency_s * SECOND))
    it.observer.suggested(watch, ArmLabel.B, Suggested("g-b", b), 2 * SECOND)
    return watch


def continuations(it: ScriptedEditor) -> dict[str, tuple[Any, ...]]:
    return {c.horizon: (c.state.value, c.text_hash, c.reason) for c in it.notebook.of(Continuation)}


def scores(it: ScriptedEditor, metric: str, label: ArmLabel = ArmLabel.A) -> dict[str, float | None]:
    return {s.horizon: s.value for s in it.notebook.of(Score) if s.metric == metric and s.label is label}


def test_what_was_written_is_taken_at_every_horizon_and_scored_for_both_arms() -> None:
    it = editor()
    watched(it)
    it.type("sum(prices)")
    it.wait(40)
    it.type(" * 2")
    it.wait(600)
    assert [c[1] for c in continuations(it).values()] == ["sum(prices)", *["sum(prices) * 2"] * 3]
    assert scores(it, "first_line_exact") == {"30s": 1.0, "120s": 0.0, "300s": 0.0, "600s": 0.0}
    assert set(scores(it, "first_line_similarity", ArmLabel.B)) == {"30s", "120s", "300s", "600s"}


def test_what_is_written_elsewhere_is_no_continuation() -> None:
    it = editor()
    watched(it)
    it.cursor = 0
    it.type("# why\n")
    it.wait(31)
    assert continuations(it)["30s"] == ("found", "", None)


def test_a_place_follows_edits_above_and_notices_edits_before_it() -> None:
    it = editor()
    watched(it)
    it.replace(0, 0, "import os\n")
    it.type("sum(prices)")
    at = it.text.index("result")
    it.replace(at, at + 6, "amount")
    it.wait(31)
    assert continuations(it)["30s"] == ("edited", "sum(prices)", None)


def test_the_first_save_is_a_horizon() -> None:
    it = editor()
    watched(it)
    it.type("sum(")
    it.save()
    it.type("prices)")
    it.save()
    assert continuations(it) == {"save": ("found", "sum(", None)}


def test_an_early_close_is_censored_and_not_zero() -> None:
    it = editor()
    watched(it)
    it.wait(31)
    it.observer.notification("textDocument/didClose", {"textDocument": {"uri": URI}})
    states = {horizon: found[0] for horizon, found in continuations(it).items()}
    assert states == {"30s": "found", "120s": "censored", "300s": "censored", "600s": "censored"}
    assert set(scores(it, "first_line_exact")) == {"30s"}


def test_the_end_of_a_session_is_censored() -> None:
    it = editor()
    watched(it)
    it.observer.end("exit")
    assert {found[::2] for found in continuations(it).values()} == {("censored", "exit")}


def test_a_replaced_place_is_gone_and_not_scored() -> None:
    it = editor()
    watched(it)
    it.replace(0, len(it.text), "§")
    it.wait(31)
    assert continuations(it)["30s"][0] == "gone"
    assert scores(it, "first_line_exact") == {}


def test_what_was_not_seen_is_unknown() -> None:
    it = editor()
    watched(it)
    document = {"uri": URI, "version": 9}
    it.observer.notification("textDocument/didChange", {"textDocument": document, "contentChanges": [7]})
    assert {found[0] for found in continuations(it).values()} == {"unknown"}


def test_a_suggestion_that_comes_after_a_horizon_is_scored_against_it() -> None:
    it = editor()
    watch = watched(it)
    watch.suggestions.clear()
    it.type("sum(prices)")
    it.wait(31)
    assert scores(it, "first_line_exact") == {}
    it.observer.suggested(watch, ArmLabel.A, Suggested("g-a", "sum(prices)"), SECOND)
    assert scores(it, "first_line_exact") == {"30s": 1.0}


def test_on_time_asks_both_arms_about_the_same_keystroke() -> None:
    it = editor()
    watched(it, b="sum(prices)")
    it.wait(1)
    it.type("sum(prices)")
    it.wait(31)
    assert scores(it, "on_time") == {"keystroke": 1.0}
    assert scores(it, "useful_chars_on_time") == {"keystroke": 11.0}
    assert scores(it, "on_time", ArmLabel.B) == {"keystroke": 0.0}
    assert scores(it, "useful_chars_on_time", ArmLabel.B) == {"keystroke": 0.0}


def test_kept_share_of_a_taken_suggestion_over_time() -> None:
    it = editor()
    it.offer("sum(prices)")
    it.insert("sum(prices)")
    it.wait(31)
    at = it.text.index("prices)", it.text.index("sum"))
    it.replace(at, at + 6, "amounts")
    it.wait(100)
    it.replace(it.text.index("sum"), it.text.index("sum") + len("sum(amounts)"), "")
    it.wait(600)
    kept = scores(it, "kept_share")
    assert kept["30s"] == 1.0
    assert kept["120s"] == 5 / 11
    assert kept["300s"] == kept["600s"] == 0.0


def test_what_is_written_after_a_taken_text_is_not_kept_text() -> None:
    it = editor()
    it.offer("x")
    it.insert("x")
    it.observer.command("g-1")
    it.type("; y = x")
    it.replace(it.text.index("x; y"), it.text.index("x; y") + 1, "z")
    it.wait(31)
    assert scores(it, "kept_share")["30s"] == 0.0


def test_a_large_insertion_that_nothing_of_ours_explains_is_counted() -> None:
    it = editor()
    it.insert("sum(price.value for price in prices)")
    assert it.notebook.counted["outside_insertion"] == 1


def test_an_outside_insertion_told_character_by_character_is_counted_once() -> None:
    it = ScriptedEditor(BEFORE + AFTER, len(BEFORE), "strokes")
    it.type("abc ")
    it.wait(1)
    it.insert("sum(price.value for price in prices)")
    it.type("; after = all_that_is_typed(1, 2)")
    assert it.notebook.counted["outside_insertion"] == 1


@pytest.mark.parametrize("dialect", ["plain", "strokes", "whole"])
def test_our_own_and_undo_are_no_outside_insertions(dialect: str) -> None:
    it = ScriptedEditor(BEFORE + AFTER, len(BEFORE), dialect)
    it.offer("sum(price.value for price in prices)")
    it.insert("sum(price.value for price in prices)")
    taken, before = it.text, BEFORE + AFTER
    it.undo_to(before)
    it.undo_to(taken)
    it.type("abc def ghi jkl mno")
    assert "outside_insertion" not in it.notebook.counted


def test_nothing_is_left_behind_when_everything_has_been_taken() -> None:
    it = editor()
    for _ in range(50):
        watched(it)
        it.type("a")
        it.wait(1)
    it.wait(700)
    assert len(it.observer._watches) == 0
    assert it.observer._offers == {}


def seen(it: ScriptedEditor) -> dict[str, str]:
    """How a taken text was found at each horizon."""
    return {s.horizon: str(s.reason) for s in it.notebook.of(Score) if s.metric == "kept_share"}


def taken(it: ScriptedEditor, text: str = "sum(price.value for price in prices)") -> str:
    it.offer(text)
    it.insert(text)
    it.wait(31)
    return text


def test_a_taken_text_that_is_cut_and_pasted_has_moved_with_nothing_lost() -> None:
    it = editor()
    text = taken(it)
    at = it.text.index(text)
    it.replace(at, at + len(text), "")
    it.wait(1)
    it.replace(0, 0, f"def later():\n    x = {text}\n")
    it.wait(600)
    assert seen(it) == {"30s": "found", "120s": "moved", "300s": "moved", "600s": "moved"}
    assert set(scores(it, "kept_char_distance").values()) == {0.0}


def test_a_whole_line_moved_down_and_indented_anew_has_moved() -> None:
    it = editor()
    text = taken(it)
    line = f"    result = {text}\n"
    at = it.text.index(line)
    it.replace(at, at + len(line), "")
    it.replace(len(it.text), len(it.text), f"\nclass A:\n        result = {text}\n")
    it.wait(600)
    assert set(list(seen(it).values())[1:]) == {"moved"}


def test_a_text_of_which_a_twin_is_left_is_gone_and_not_moved() -> None:
    it = editor()
    text = taken(it)
    it.replace(0, 0, f"x = {text}\n")
    at = it.text.rindex(text)
    it.replace(at, at + len(text), "")
    it.wait(600)
    assert set(list(seen(it).values())[1:]) == {"gone"}


def test_an_undone_removal_is_found_where_it_was() -> None:
    it = editor()
    text = taken(it)
    whole = it.text
    at = it.text.index(text)
    it.replace(at, at + len(text), "")
    it.undo_to(whole)
    it.wait(600)
    assert set(seen(it).values()) == {"found"}


def test_a_taken_text_changed_in_part_is_edited_and_then_gone_with_its_distances() -> None:
    it = editor()
    text = taken(it)
    at = it.text.index("value")
    it.replace(at, at + len("value"), "cost")
    it.wait(100)
    at = it.text.index("sum(price")
    it.replace(at, at + len("sum(price.cost for price in prices)"), "0")
    it.wait(600)
    assert seen(it) == {"30s": "found", "120s": "edited", "300s": "gone", "600s": "gone"}
    assert scores(it, "kept_token_distance")["120s"] == 1.0
    assert scores(it, "kept_char_distance")["120s"] == 5.0
    assert scores(it, "kept_char_distance")["600s"] == float(len(text))


def test_an_early_close_leaves_a_taken_text_censored_and_not_lost() -> None:
    it = editor()
    taken(it)
    it.observer.notification("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert seen(it) == {"30s": "found", "120s": "censored", "300s": "censored", "600s": "censored"}
    assert scores(it, "kept_share") == {"30s": 1.0, "120s": None, "300s": None, "600s": None}


def test_what_was_written_is_followed_like_what_is_taken() -> None:
    it = editor()
    watched(it)
    it.type("min(other_prices)")
    it.wait(31)
    at = it.text.index("min(")
    it.replace(at, at + 3, "max")
    it.wait(100)
    line = "    result = max(other_prices)\n"
    at = it.text.index(line)
    it.replace(at, at + len(line), "")
    it.replace(0, 0, line)
    it.wait(600)
    found = {c.horizon: c for c in it.notebook.of(Continuation)}
    assert [found[h].state.value for h in ("30s", "120s", "300s", "600s")] == ["found", "found", "moved", "moved"]
    assert [found[h].char_distance for h in ("30s", "120s", "600s")] == [None, 2, 2]
    assert [found[h].token_distance for h in ("120s", "300s")] == [1, 1]
    assert found["600s"].kept_share == 14 / 17


def test_a_place_that_is_gone_lost_all_that_was_written_there() -> None:
    it = editor()
    watched(it)
    it.type("min(prices)")
    it.wait(31)
    it.replace(0, len(it.text), "§")
    it.wait(100)
    gone = {c.horizon: c for c in it.notebook.of(Continuation)}["120s"]
    assert (gone.state.value, gone.kept_share, gone.char_distance, gone.token_distance) == ("gone", 0.0, 11, 4)


def test_being_on_time_does_not_wait_for_a_continuation() -> None:
    it = editor()
    watched(it)
    it.wait(1)
    it.type("x")
    it.observer.notification("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert scores(it, "on_time") == {"keystroke": 1.0}
    assert scores(it, "on_time", ArmLabel.B) == {"keystroke": 0.0}
    assert scores(it, "useful_chars_on_time") == {"keystroke": None}
    first = {c.horizon: c for c in it.notebook.of(Continuation)}["30s"]
    assert first.next_change_ms == 1150.0


def test_an_outside_insertion_gets_retention_like_any_other() -> None:
    it = editor()
    it.insert("sum(price.value for price in prices)")
    it.wait(31)
    at = it.text.index("value")
    it.replace(at, at + len("value"), "cost")
    it.wait(100)
    it.observer.end("exit")
    kept = [detail for kind, detail in it.notebook.details if kind == "outside_kept"]
    assert [(d["horizon"], d["state"]) for d in kept] == [
        ("30s", "found"),
        ("120s", "edited"),
        ("300s", "censored"),
        ("600s", "censored"),
    ]
    assert [d["char_distance"] for d in kept] == [0, 5, None, None]
    [noted] = [detail for kind, detail in it.notebook.details if kind == "outside_insertion"]
    assert {d["insertion"] for d in kept} == {noted["insertion"]}


def test_typed_characters_are_counted_apart_from_taken_and_inserted_ones() -> None:
    it = editor()
    it.type("abc")
    it.offer("sum(price.value for price in prices)")
    it.insert("sum(price.value for price in prices)")
    it.type(" + 1")
    it.insert("\n    other = [value for value in prices]")
    assert it.observer.typed_chars(URI) == 7
    assert it.observer.typed_chars(URI) == 0


def test_a_suggestion_told_as_single_strokes_is_not_typed() -> None:
    it = ScriptedEditor(BEFORE + AFTER, len(BEFORE), "strokes")
    it.type("x")
    it.offer(" + sum(price.value for price in prices)")
    it.insert(" + sum(price.value for price in prices)")
    it.wait(1)
    assert it.observer.typed_chars(URI) == 1
