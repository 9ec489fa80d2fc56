"""What an earlier report kept gives the same numbers as reading everything, or is not used."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import kept
from analysis.kept import forget
from analysis.purge import Choice, purge
from analysis.queries import gather
from analysis.rollup import Rollup, read
from analysis.source import SqliteSource
from tests.analysis.synthetic import Plan, build, with_
from tests.analysis.test_shipping import plain

PLAN = with_(Plan(), sessions=12, developers=3, episodes=3)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "KEEP_FROM", 10)
    monkeypatch.setattr(kept, "REWRITE_FROM", 5)
    return build(tmp_path / "codetrial.db", PLAN)


def evidence(database: Path, *, fresh: bool = False) -> Any:
    source = SqliteSource(database, fresh=fresh)
    try:
        return plain(gather(source, now=PLAN.end))
    finally:
        source.close()


def read_sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sessions each reading asked for."""
    asked: list[int] = []
    original = read

    def told(source: Any, scope: Any, everyone: Any, chosen: Any) -> Rollup:
        wanted = list(chosen)
        asked.append(len(wanted))
        return original(source, scope, everyone, wanted)

    monkeypatch.setattr(kept, "read", told)
    return asked


def files(database: Path) -> list[Path]:
    return sorted(database.parent.glob("*.npz"))


def test_a_second_report_reads_nothing_and_says_the_same(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evidence(database)
    assert len(files(database)) == 1
    asked = read_sessions(monkeypatch)
    assert evidence(database) == first == evidence(database, fresh=True)
    assert asked == [12]


def test_only_new_sessions_are_read(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence(database)
    build(database, with_(PLAN, seed=99, sessions=7))
    asked = read_sessions(monkeypatch)
    grown = evidence(database)
    assert asked == [7]
    assert len(grown["sessions"]["ids"]) == 19
    assert grown == evidence(database, fresh=True)


def test_open_sessions_are_read_every_time(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(database, with_(PLAN, seed=99, sessions=3, ends=False))
    first = evidence(database)
    asked = read_sessions(monkeypatch)
    assert evidence(database) == first == evidence(database, fresh=True)
    assert asked == [3, 15]


def test_a_late_row_of_a_finished_session_makes_it_read_all(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence(database)
    with sqlite3.connect(database) as connection:
        [task] = connection.execute("SELECT task FROM outcome WHERE outcome = 'not_taken' LIMIT 1").fetchone()
        connection.execute(
            "INSERT INTO outcome SELECT 'late', suggestion, task, label, 'accepted', rule, 12, decided_ns, decided_at, "
            "detail FROM outcome WHERE task = ? LIMIT 1",
            [task],
        )
    asked = read_sessions(monkeypatch)
    assert evidence(database) == evidence(database, fresh=True)
    assert asked == [12, 12]


def test_a_score_that_no_number_uses_leaves_what_is_kept(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence(database)
    with sqlite3.connect(database) as connection:
        connection.execute(
            "INSERT INTO score SELECT 'later', suggestion, task, label, 'commit', 'kept_share', 1.0, NULL, '1' "
            "FROM score LIMIT 1"
        )
    asked = read_sessions(monkeypatch)
    assert evidence(database) == evidence(database, fresh=True)
    assert asked == [12]


def test_a_row_deleted_behind_our_back_is_noticed(database: Path) -> None:
    evidence(database)
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM attempt WHERE rowid = 5")
    assert evidence(database) == evidence(database, fresh=True)


def test_a_purge_takes_along_what_was_kept(database: Path) -> None:
    evidence(database)
    [developer, *_] = evidence(database)["sessions"]["developers"]
    purge(database, Choice(developers=(developer,)))
    assert files(database) == []
    assert len(evidence(database)["sessions"]["developers"]) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"no archive"])
def test_a_broken_file_is_only_slower(database: Path, content: bytes) -> None:
    first = evidence(database)
    [file] = files(database)
    file.write_bytes(content)
    assert evidence(database) == first


def test_where_nothing_can_be_written_the_report_is_made_all_the_same(database: Path) -> None:
    first = evidence(database)
    [file] = files(database)
    forget(database)
    file.mkdir()
    assert evidence(database) == first


def test_rollups_of_different_sessions_add_up(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Rollup] = []
    original = read

    def noted(source: Any, scope: Any, everyone: Any, chosen: Any) -> Rollup:
        made.append(original(source, scope, everyone, chosen))
        return made[-1]

    monkeypatch.setattr(kept, "read", noted)
    evidence(database, fresh=True)
    [whole] = made
    part = whole - Rollup(sessions=whole.sessions[:5])
    assert part.sessions == whole.sessions[5:]
    assert len(part.session) == int((whole.session > 4).sum())
    with pytest.raises(ValueError, match="in both"):
        _ = whole + part
    assert np.array_equal((Rollup() + whole).opened_ms, whole.opened_ms)
