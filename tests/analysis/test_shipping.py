"""What leaves for a team: whole sessions, once, without a word of code, and the same evidence at the far end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.engines import open_shipped
from analysis.purge import Choice, purge
from analysis.queries import gather
from analysis.ship import Destination, ship
from analysis.source import SqliteSource, column_types, tables
from analysis.store import Store
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Origin, Score, Session, SessionEnd
from tests.analysis.recorded import Asked, Work, record
from tests.analysis.synthetic import Plan, build

SECRET = "fn_zyzzyva_quuxotic"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "codetrial.db"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "team"


def keep(database: Path, *works: Work) -> None:
    with Store(database) as store:
        for work in works:
            store.append(*record(work))


def ids(place: Path, table: str) -> list[str]:
    """Keys of all rows that a reader would see, doubles included."""
    destination = Destination(str(place))
    key = "session" if table == "session_end" else "id"
    files = destination.parquet(table, destination.batches("done"))
    return [row for file in files for row in pq.ParquetFile(file).read(columns=[key])[key].to_pylist()]


def stored(database: Path, table: str) -> list[str]:
    key = "session" if table == "session_end" else "id"
    with Store(database, readonly=True) as store:
        return [row["k"] for row in store.rows(f'SELECT {key} AS k FROM "{table}"')]


def assert_whole(database: Path, place: Path) -> None:
    for table in set(tables) - {"text", "trial", "arm"}:
        assert Counter(ids(place, table)) == Counter(stored(database, table)), table


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return [
            None if part != part else round(part, 9) if isinstance(part, float) else part for part in value.tolist()
        ]
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def test_the_evidence_is_the_same_at_the_far_end(database: Path, place: Path) -> None:
    build(database, Plan(sessions=30, developers=3, episodes=6))
    ship(database, str(place), now=NOW)
    here, there = SqliteSource(database), open_shipped(str(place))
    try:
        ours, theirs = plain(gather(here, now=NOW)), plain(gather(there, now=NOW))
    finally:
        here.close()
        there.close()
    for found in (ours, theirs):  # Rows of a group come in whatever order an engine likes.
        found["strata"].sort(key=lambda row: (row["label"], row["language"], row["place"]))
        found["attempts"] = {
            label: sorted(zip(*sums.values(), strict=True)) for label, sums in found["attempts"].items()
        }
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different == {"place", "trial"}
    assert {name for name in ours["trial"] if ours["trial"][name] != theirs["trial"][name]} == {"seed"}


def test_files_lie_by_trial_day_and_developer(database: Path, place: Path) -> None:
    keep(database, Work(), Work(developer="dev-bert"), Work(asked=(Asked(at=datetime(2026, 3, 9, tzinfo=UTC)),)))
    ship(database, str(place), now=NOW)
    [trial] = stored(database, "trial")
    folders = {str(file.parent.relative_to(place)) for file in place.glob("task/**/*.parquet")}
    assert folders == {
        f"task/trial={trial}/dt=2026-03-02/dev=dev-anna",
        f"task/trial={trial}/dt=2026-03-02/dev=dev-bert",
        f"task/trial={trial}/dt=2026-03-09/dev=dev-anna",
    }


def test_every_row_but_texts_arrives_once_and_a_second_run_adds_nothing(database: Path, place: Path) -> None:
    keep(database, *(Work(session=f"s{n}") for n in range(5)))
    first = ship(database, str(place), now=NOW)
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*.parquet")}
    second = ship(database, str(place), now=NOW)
    assert_whole(database, place)
    assert (first.sessions, second.sessions) == (5, 0)
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*.parquet")} == before
    assert not list(place.glob("text/**/*"))


def test_a_later_run_adds_what_was_recorded_since(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"))
    ship(database, str(place), now=NOW)
    keep(database, Work(session="s2"))
    assert ship(database, str(place), now=NOW).sessions == 1
    assert_whole(database, place)


def test_no_text_no_hash_of_one_no_seed_and_no_words_leave(database: Path, place: Path) -> None:
    asked = Asked(prefix=f"def {SECRET}():", a=SECRET, b=None, written=SECRET)
    keep(database, Work(asked=(asked,), seed="cafe1234cafe"))
    ship(database, str(place), now=NOW)
    with Store(database, readonly=True) as store:
        hashes = [row["hash"] for row in store.rows("SELECT hash FROM text")]
    content = json.dumps([pq.ParquetFile(file).read().to_pylist() for file in sorted(place.rglob("*.parquet"))])
    for secret in (SECRET, "cafe1234cafe", "models.example", *hashes):
        assert secret not in content


def test_shipped_columns_are_the_records(database: Path, place: Path) -> None:
    keep(database, Work())
    ship(database, str(place), now=NOW)
    names = {"string": "string", "int64": "int64", "float64": "double"}
    for file in place.rglob("*.parquet"):
        schema, table = pq.ParquetFile(file).schema_arrow, file.relative_to(place).parts[0]
        assert {f.name: str(f.type) for f in schema} == {n: names[t] for n, t in column_types(table).items()}


def test_a_running_session_waits_until_it_is_over(database: Path, place: Path) -> None:
    running = Work(session="s1", is_over=False)
    keep(database, running)
    [session] = [row for row in record(running) if isinstance(row, Session)]
    then = datetime.fromisoformat(session.started_at) + timedelta(hours=1)
    assert ship(database, str(place), now=then).open_sessions == 1
    ended = SessionEnd(session="s1", reason="exit", dropped_events=0, ended_ns=1, ended_at=session.started_at)
    with Store(database) as store:
        store.append(ended)
    assert ship(database, str(place), now=then).sessions == 1
    assert_whole(database, place)


def add_late_score(database: Path, name: str, session: str) -> None:
    """As `codetrial retention` does once a commit has been made."""
    with Store(database) as store:
        [suggestion, *_] = store.rows(
            "SELECT g.id, g.task, g.label FROM suggestion g JOIN task t ON t.id = g.task WHERE t.session = ?", [session]
        )
        late = Score(
            id=name, suggestion=suggestion["id"], task=suggestion["task"], label=ArmLabel(suggestion["label"]),
            horizon="600s", metric="kept_share", value=1.0, reason=None, scorer_version="1",
        )  # fmt: skip
        store.append(late)


def test_what_a_shipped_session_gains_later_follows(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"), Work(session="s2", developer="dev-bert"))
    ship(database, str(place), now=NOW)
    add_late_score(database, "late-1", "s1")
    first = ship(database, str(place), now=NOW)
    add_late_score(database, "late-2", "s1")
    add_late_score(database, "late-3", "s2")
    second = ship(database, str(place), now=NOW)
    assert (first.sessions, first.late_rows, second.late_rows) == (0, 1, 2)
    assert_whole(database, place)
    assert ship(database, str(place), now=NOW).rows == 0


def test_late_rows_follow_marks_of_an_earlier_version_too(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"), Work(session="s2"))
    ship(database, str(place), now=NOW)
    for mark in (place / "_done").iterdir():
        content = json.loads(mark.read_text())
        mark.write_text(json.dumps({"batch": content["batch"], "sessions": content["sessions"]}))
    assert ship(database, str(place), now=NOW).rows == 0
    add_late_score(database, "late-1", "s2")
    assert ship(database, str(place), now=NOW).late_rows == 1
    assert_whole(database, place)


def test_a_run_that_is_killed_before_late_rows_were_marked_doubles_nothing(
    database: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, Work(session="s1"))
    ship(database, str(place), now=NOW)
    add_late_score(database, "late-1", "s1")
    mark = Destination.mark
    monkeypatch.setattr(Destination, "mark", lambda self, kind, batch: sys.exit("killed"))
    with pytest.raises(SystemExit):
        ship(database, str(place), now=NOW)
    monkeypatch.setattr(Destination, "mark", mark)
    add_late_score(database, "late-2", "s1")
    assert ship(database, str(place), now=NOW).late_rows == 2
    assert_whole(database, place)


def test_purged_rows_do_not_hide_late_ones(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"), Work(session="s2", developer="dev-bert"))
    ship(database, str(place), now=NOW)
    purge(database, Choice(developers=("dev-bert",)))
    add_late_score(database, "late-1", "s1")
    assert ship(database, str(place), now=NOW).late_rows == 1


def test_two_developers_ship_to_one_place(tmp_path: Path, place: Path) -> None:
    for name in ("anna", "bert"):
        keep(tmp_path / f"{name}.db", Work(session=f"s-{name}", developer=name, seed=name))
        ship(tmp_path / f"{name}.db", str(place), now=NOW)
    source = open_shipped(str(place))
    try:
        found = gather(source, now=NOW)
    finally:
        source.close()
    assert found.sessions.developers == ["anna", "bert"]
    assert found.other_trials == 0


def test_what_another_database_has_shipped_is_not_shipped_twice(tmp_path: Path, database: Path, place: Path) -> None:
    keep(database, Work(session="s1"))
    keep(tmp_path / "merged.db", Work(session="s1"), Work(session="s2"))
    ship(database, str(place), now=NOW)
    ship(tmp_path / "merged.db", str(place), now=NOW)
    assert_whole(tmp_path / "merged.db", place)


def test_only_one_origin_is_shipped_at_a_time(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"), Work(session="s2", origin=Origin.REPLAY))
    ship(database, str(place), origin=Origin.REPLAY, now=NOW)
    assert ids(place, "session") == ["s2"]


def test_any_file_system_of_fsspec_will_do(database: Path) -> None:
    keep(database, Work())
    ship(database, "memory://team/codetrial", now=NOW)
    files = fsspec.filesystem("memory").find("/team/codetrial")
    assert sum(file.endswith(".parquet") for file in files) > 10


def test_a_place_that_cannot_be_used_is_a_sentence(database: Path, tmp_path: Path) -> None:
    keep(database, Work())
    (tmp_path / "file").write_text("in the way")
    for url in ("nosuch://x", str(tmp_path / "file" / "below")):
        with pytest.raises(EvidenceError, match="Cannot"):
            ship(database, url, now=NOW)


def test_without_the_extra_the_command_says_what_to_install(database: Path) -> None:
    keep(database, Work())
    script = "import sys; sys.modules['pyarrow'] = None; sys.argv[1:] = ['ship', 'x', '--store', sys.argv[1]]; "
    script += "from codetrial.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", script, str(database)], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.strip() == "codetrial: Shipping needs pyarrow: pip install 'codetrial[parquet]'."


def test_purging_between_runs_neither_doubles_nor_stops_shipping(database: Path, place: Path) -> None:
    keep(database, Work(session="s1"), Work(session="s2", developer="dev-bert"))
    ship(database, str(place), now=NOW)
    purge(database, Choice(developers=("dev-bert",)))
    keep(database, Work(session="s3"))
    ship(database, str(place), now=NOW)
    assert sorted(ids(place, "session")) == ["s1", "s2", "s3"]


def test_a_run_that_is_killed_is_finished_by_the_next_without_a_row_lost_or_doubled(
    database: Path, place: Path
) -> None:
    build(database, Plan(sessions=24, developers=4, episodes=3, days=6))
    script = textwrap.dedent("""
        import sys
        from datetime import datetime, UTC
        from pathlib import Path
        from analysis import ship
        write = ship.Destination.write
        def told(self, name, content):
            write(self, name, content)
            print(name, flush=True)
        ship.Destination.write = told
        ship.ship(Path(sys.argv[1]), sys.argv[2], now=datetime(2026, 6, 1, tzinfo=UTC))
    """)
    for files_before_the_kill in (1, 9, 40):
        run = subprocess.Popen(
            [sys.executable, "-c", script, str(database), str(place)], stdout=subprocess.PIPE, text=True
        )
        assert run.stdout is not None
        for _ in range(files_before_the_kill):
            run.stdout.readline()
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        for table in ("session", "task", "score"):
            seen = Counter(ids(place, table))
            assert max(seen.values(), default=1) == 1
    ship(database, str(place), now=NOW)
    assert_whole(database, place)
    assert ship(database, str(place), now=NOW).sessions == 0
