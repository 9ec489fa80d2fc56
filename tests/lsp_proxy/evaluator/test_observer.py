"""Continuations, retention and counts, with hours passing in a moment."""

from typing import Any

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


def test_our_own_and_undo_are_no_outside_insertions() -> None:
    it = editor()
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
