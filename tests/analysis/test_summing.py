"""Sums of finished sessions give the same numbers as reading everything, and are gone as soon as they would not."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analysis import expressions
from analysis.engines import open_shipped
from analysis.purge import Choice, purge
from analysis.queries import gather
from analysis.report_commands import MOST_SESSIONS
from analysis.report_commands import report as report_command
from analysis.ship import ship
from analysis.source import SqliteSource
from analysis.store import Store
from analysis.summing import sum_up, sum_up_finished, unsummed
from analysis.sums import SUMS
from codetrial.records import Origin
from tests.analysis.synthetic import START, Plan, build, with_
from tests.analysis.test_shipping import plain

PLAN = with_(Plan(), sessions=12, developers=3, episodes=3)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = build(tmp_path / "codetrial.db", PLAN)
    sum_up_finished(path)
    return path


def evidence(source: Any) -> Any:
    try:
        return plain(gather(source, now=PLAN.end))
    finally:
        source.close()


def summed(database: Path) -> Any:
    return evidence(SqliteSource(database))


def fresh(database: Path) -> Any:
    return evidence(SqliteSource(database, fresh=True))


def missing(database: Path) -> int:
    with Store(database) as store:
        return len(unsummed(store))


def rows(database: Path, statement: str) -> list[Any]:
    with sqlite3.connect(database) as connection:
        return connection.execute(statement).fetchall()


def test_sums_give_the_numbers_of_single_rows(database: Path) -> None:
    assert missing(database) == 0
    assert summed(database) == fresh(database)


def test_a_report_from_sums_reads_no_single_row(database: Path) -> None:
    """Deleted with the triggers off, so that the sums stay: they alone must give the report."""
    wanted = summed(database)
    with sqlite3.connect(database) as connection:
        for [name] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for table in ("attempt", "outcome", "exposure", "score", "continuation", "suggestion", "task", "assignment"):
            connection.execute(f"DELETE FROM {table}")
    assert summed(database) == wanted


def test_new_and_open_sessions_are_read_beside_the_sums(database: Path) -> None:
    build(database, with_(PLAN, seed=99, sessions=4))
    build(database, with_(PLAN, seed=98, sessions=3, ends=False))
    both = summed(database)
    assert len(both["sessions"]["ids"]) == 19
    assert both == fresh(database)


def test_sums_of_another_origin_and_another_trial_stay_out(database: Path) -> None:
    build(database, with_(PLAN, seed=99, sessions=4, origin=Origin.REPLAY))
    build(database, with_(PLAN, seed=97, sessions=3, name="other"))
    sum_up_finished(database)
    assert missing(database) == 0
    assert summed(database) == fresh(database)


LATE = {
    "outcome": "INSERT INTO outcome SELECT 'late', suggestion, task, label, 'accepted', rule, 12, decided_ns, "
    "decided_at, detail FROM outcome WHERE outcome = 'not_taken' LIMIT 1",
    "attempt": "DELETE FROM attempt WHERE rowid = 5",
    "score": "INSERT INTO score SELECT 'late', suggestion, task, label, '600s', 'kept_share', 0.1, NULL, '1' "
    "FROM score LIMIT 1",
    "task": "DELETE FROM task WHERE rowid = 7",
    "assignment": "DELETE FROM assignment WHERE rowid = 3",
    "continuation": "DELETE FROM continuation WHERE horizon = '30s' AND rowid < 40",
    "incident": "INSERT INTO incident SELECT 'late', id, 'gap', 3, NULL, 1, started_at FROM session LIMIT 1",
    "exposure": "DELETE FROM exposure WHERE rowid = 2",
}


@pytest.mark.parametrize("table", LATE)
def test_a_row_that_comes_late_or_goes_takes_its_sums_along(database: Path, table: str) -> None:
    rows(database, LATE[table])
    assert missing(database) >= 1
    assert summed(database) == fresh(database)
    sum_up_finished(database)
    assert missing(database) == 0
    assert summed(database) == fresh(database)


def test_a_score_that_no_number_uses_leaves_the_sums(database: Path) -> None:
    rows(
        database,
        "INSERT INTO score SELECT 'later', suggestion, task, label, 'commit', 'kept_share', 1.0, NULL, '1' "
        "FROM score LIMIT 1",
    )
    assert missing(database) == 0


def test_no_part_of_gone_sums_stays_behind(database: Path) -> None:
    rows(database, "DELETE FROM session_sum")
    assert [rows(database, f"SELECT count(*) FROM {table}") for table in SUMS] == [[(0,)]] * len(SUMS)


def test_a_purge_takes_the_sums_along(database: Path) -> None:
    [developer, *_] = summed(database)["sessions"]["developers"]
    purge(database, Choice(developers=(developer,)))
    kept = rows(database, "SELECT count(*) FROM session_sum")
    assert kept == rows(database, "SELECT count(*) FROM session")
    assert summed(database) == fresh(database)


def test_sums_of_another_version_are_not_read_but_made_anew(database: Path) -> None:
    wanted = summed(database)
    rows(database, "UPDATE session_sum SET version = 0, attempts_A = 99")
    assert summed(database) == wanted
    sum_up_finished(database)
    assert rows(database, "SELECT count(*) FROM session_sum WHERE version = 0") == [(0,)]
    assert summed(database) == wanted


def test_a_session_that_was_cut_off_is_summed_up_after_a_day(database: Path) -> None:
    build(database, with_(PLAN, seed=98, sessions=3, ends=False))
    with Store(database) as store:
        assert unsummed(store, START) == []
        assert len(unsummed(store)) == 3


def test_summing_up_twice_changes_nothing(database: Path) -> None:
    before = summed(database)
    with Store(database) as store:
        sum_up(store, before["sessions"]["ids"])
    assert rows(database, "SELECT count(*) FROM session_sum") == [(12,)]
    assert summed(database) == before


def test_a_report_sums_up_the_latest_hundred_and_reads_the_others(tmp_path: Path) -> None:
    """As of a store that an older version wrote: nobody waits for sums of all that it holds."""
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=103, episodes=2, tasks=1, days=300))
    whole = reported(path, "--fresh")
    assert rows(path, "SELECT count(*) FROM session_sum") == [(0,)]
    first = reported(path)
    assert rows(path, "SELECT count(*) FROM session_sum") == [(MOST_SESSIONS,)]
    assert (missing(path), MOST_SESSIONS) == (3, 100)
    [[oldest]] = rows(path, "SELECT max(started_at) FROM session WHERE id NOT IN (SELECT session FROM session_sum)")
    assert rows(path, f"SELECT count(*) FROM session WHERE started_at <= '{oldest}'") == [(3,)]
    # Three are not worth summing up, so a second report reads the same three.
    assert first == reported(path) == whole
    assert missing(path) == 3


def reported(path: Path, *options: str) -> dict[str, Any]:
    """All numbers that the command prints but the moment of the report itself."""
    result = CliRunner().invoke(report_command, ["--store", str(path), "--json", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    assert report.pop("made_at")
    return report


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = other.read_bytes()
    sum_up_finished(other)
    sum_up_finished(tmp_path / "none.db")
    assert other.read_bytes() == before
    assert not (tmp_path / "none.db").exists()


def test_shipped_sums_give_the_same_numbers_also_after_late_rows(database: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    ship(database, lake)
    assert evidence(open_shipped(lake)) == evidence(open_shipped(lake, fresh=True))
    rows(database, LATE["outcome"])
    assert ship(database, lake).late_rows == 1
    after = evidence(open_shipped(lake))
    assert after == evidence(open_shipped(lake, fresh=True))
    apart = ("place", "trial")  # The seed stays at home.
    assert {k: v for k, v in after.items() if k not in apart} == {
        k: v for k, v in fresh(database).items() if k not in apart
    }
    assert ship(database, lake).batches == 0


def test_files_shipped_without_sums_get_them_with_the_next_shipping(database: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    ship(database, str(lake))
    for table in SUMS:
        for file in (lake / table).rglob("*.parquet"):
            file.unlink()
    for mark in (lake / "_done").glob("*.json"):
        mark.write_text(mark.read_text().replace('"session_sum": 1', '"session_sum": 0'))
    wanted = evidence(open_shipped(str(lake), fresh=True))
    assert evidence(open_shipped(str(lake))) == wanted
    again = ship(database, str(lake))
    assert (again.late_rows, again.batches > 0) == (0, True)
    assert any((lake / "session_sum").rglob("*.parquet"))
    assert evidence(open_shipped(str(lake))) == wanted


@pytest.mark.parametrize("dialect", expressions.COMPILED)
def test_the_compiled_statements_are_those_of_the_expressions(dialect: str) -> None:
    import sqlglot

    def parsed(text: str) -> str:
        return sqlglot.parse_one(text, dialect=dialect).sql(dialect=dialect)

    folder = Path(expressions.__file__).parent / "compiled"
    texts = (folder / f"{dialect}.sql").read_text(encoding="utf-8").split("-- ")[1:]
    compiled = {name: body.strip() for name, _, body in (text.partition("\n") for text in texts)}
    assert compiled.keys() == expressions.QUERIES.keys(), "run `python -m analysis.expressions`"
    for name, build_query in expressions.QUERIES.items():
        assert parsed(compiled[name]) == parsed(expressions.sql(build_query(), dialect)), (
            f"{name} changed: run `python -m analysis.expressions`"
        )
