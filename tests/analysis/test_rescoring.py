"""Scores are what their texts give, whenever they are computed."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.audit_commands import rescore
from analysis.rescoring import check, rescored
from analysis.store import Store
from codetrial.records import Continuation, Record
from tests.analysis.recorded import Asked, Work, record


def rows() -> Iterator[Record]:
    for row in record(Work(asked=(Asked(), Asked(a="a + c", written="a + b")))):
        if isinstance(row, Continuation) and row.horizon == "30s":
            row = dataclasses.replace(row, next_change_ms=200.0)
        yield row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "codetrial.db") as store:
        store.append(*rows())
        yield store


def test_recorded_scores_are_what_their_texts_give(store: Store) -> None:
    found = check(store)
    assert found.equal == 4
    assert not found.different


def test_what_is_missing_is_added_once_and_agrees(store: Store) -> None:
    store.append(*rescored(store))
    assert list(rescored(store)) == []
    assert check(store).equal > 40
    [row] = store.rows(
        "SELECT s.value FROM score s JOIN suggestion g ON g.id = s.suggestion JOIN text x ON x.hash = g.text_hash "
        "WHERE x.content = 'a + c' AND s.metric = 'token_similarity' AND s.horizon = '120s'"
    )
    assert row["value"] == pytest.approx(2 / 3)


def test_on_time_asks_both_arms_about_the_same_change(store: Store) -> None:
    store.append(*rescored(store))
    times = store.rows("SELECT label, value FROM score WHERE metric = 'on_time' ORDER BY label")
    assert [(row["label"], row["value"]) for row in times] == [("A", 1.0), ("A", 1.0), ("B", 1.0), ("B", 1.0)]


def test_a_wrong_score_is_named_and_ends_with_one(store: Store, tmp_path: Path) -> None:
    [first, *_] = store.rows("SELECT id FROM score WHERE metric = 'first_line_exact'")
    store.db.execute("UPDATE score SET value = 0.25 WHERE id = ?", [first["id"]])
    result = CliRunner().invoke(rescore, ["--store", str(tmp_path / "codetrial.db"), "--check"])
    assert result.exit_code == 1
    assert "first_line_exact: 1 differ" in result.output


def test_without_texts_nothing_is_compared(tmp_path: Path) -> None:
    with Store(tmp_path / "codetrial.db") as store:
        store.append(*record(Work(store_text="hash")))
        found = check(store)
        assert (found.equal, sum(found.different.values())) == (0, 0)
        assert found.not_computable > 0
        assert list(rescored(store)) == []
