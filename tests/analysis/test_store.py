"""The store on a real SQLite file: append-only, bounded, and alive after kill -9."""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from analysis.schema import migrations
from analysis.store import Store, Writer, text_record
from codetrial.clock import now_ns, utc_text
from codetrial.errors import StoreError
from codetrial.ids import new_id
from codetrial.records import Incident, Record, Text


def incident(kind: str = "test", detail: str | None = None) -> Incident:
    return Incident(
        id=new_id(), session=None, kind=kind, count=1, detail=detail, happened_ns=now_ns(), happened_at=utc_text()
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "store" / "codetrial.db"


def count(path: Path, table: str) -> int:
    with Store(path, readonly=True) as store:
        return int(store.rows(f'SELECT count(*) AS n FROM "{table}"')[0]["n"])


# A dataclass with slots is a second class; both name the same table.
KINDS = list({kind.table: kind for kind in Record.__subclasses__()}.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table)
def test_each_table_has_exactly_the_columns_of_its_record(kind: type[Record], database: Path) -> None:
    with Store(database) as store:
        columns = [column.name for column in store.db[kind.table].columns]
    assert columns == [field.name for field in dataclasses.fields(kind)]


def test_every_table_is_strict_and_the_file_is_in_wal_mode(database: Path) -> None:
    with Store(database) as store:
        loose = store.rows("SELECT name FROM pragma_table_list WHERE strict = 0 AND type = 'table' AND schema = 'main'")
        assert {row["name"] for row in loose} <= {"_sqlite_migrations", "sqlite_schema"}
        assert store.rows("PRAGMA journal_mode") == [{"journal_mode": "wal"}]


def test_a_row_written_twice_stays_as_it_was_first(database: Path) -> None:
    first = incident("first")
    with Store(database) as store:
        store.append(first)
        store.append(dataclasses.replace(first, kind="second"))
        assert [row["kind"] for row in store.rows("SELECT kind FROM incident")] == ["first"]


def test_lone_surrogates_are_stored_instead_of_raising(database: Path) -> None:
    with Store(database) as store:
        store.append(text_record("a\ud800b"), incident(detail="\udfff"))
        assert store.rows("SELECT content FROM text") == [{"content": "a?b"}]


def test_a_file_from_a_newer_codetrial_is_refused_with_the_mend(database: Path) -> None:
    with Store(database) as store:
        store.db.table("_sqlite_migrations").insert(
            {"migration_set": "codetrial", "name": "m999_future", "applied_at": utc_text()}
        )
    with pytest.raises(StoreError, match=r"newer codetrial.*m999_future.*upgrade"):
        Store(database)


def test_a_file_that_is_no_database_is_named(database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="not a healthy codetrial database"):
        Store(database)


def test_a_folder_that_cannot_be_made_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="CODETRIAL_DATA_DIR"):
        Store(tmp_path / "file" / "codetrial.db")


def test_reading_where_nothing_was_recorded_says_so(database: Path) -> None:
    with pytest.raises(StoreError, match="nothing has been recorded yet"):
        Store(database, readonly=True)


def test_many_processes_may_open_a_new_file_at_once(database: Path) -> None:
    script = "import sys; from pathlib import Path; from analysis.store import Store; Store(Path(sys.argv[1])).close()"
    openers = [subprocess.Popen([sys.executable, "-c", script, str(database)]) for _ in range(4)]
    assert [opener.wait(60) for opener in openers] == [0] * 4
    with Store(database) as store:
        assert len(migrations.applied(store.db)) == len(migrations._migrations)


def test_flush_means_that_another_connection_sees_it(database: Path) -> None:
    with Writer(database) as writer:
        writer.offer(incident(), incident())
        assert writer.flush()
        assert count(database, "incident") == 2


def test_a_full_queue_drops_texts_before_events_and_counts_both(database: Path) -> None:
    with Writer(database, queue_records=10) as writer:
        blocker = sqlite3.connect(database, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")  # The writer's thread now waits, as behind a slow disk.
        for number in range(500):
            writer.offer(incident(), text_record(str(number)))
        counts = writer.counts
        blocker.execute("ROLLBACK")
        blocker.close()
        assert counts.dropped > 0
        assert counts.dropped_texts > counts.dropped
        assert writer.flush()
        assert writer.counts.written + writer.counts.dropped + writer.counts.dropped_texts == 1000


def refuse_growth(writer: Writer) -> None:
    """SQLite itself then answers SQLITE_FULL."""
    [pages] = writer._store.db.conn.execute("PRAGMA page_count").fetchone()
    writer._store.db.conn.execute(f"PRAGMA max_page_count={pages}")


def make_room(writer: Writer) -> None:
    writer._store.db.conn.execute("PRAGMA max_page_count=1073741823")


def test_what_a_full_disk_refuses_is_told_once_and_stored_in_order_when_there_is_room(database: Path) -> None:
    told: list[str] = []
    with Writer(database, on_fault=told.append) as writer:
        writer.offer(incident())
        assert writer.flush()
        refuse_growth(writer)
        writer.offer(*(incident(f"{number:02}", detail="x" * 3000) for number in range(20)))
        assert not writer.flush(1)
        writer.offer(incident("20"))
        assert not writer.flush(1)
        stored = count(database, "incident")
        assert stored < 20
        make_room(writer)
        assert writer.flush()
        assert writer.counts.dropped == 0
        assert len(told) == 1
        assert "is full" in told[0]
    with Store(database, readonly=True) as store:
        kinds = [row["kind"] for row in store.rows("SELECT kind FROM incident ORDER BY rowid")]
    assert kinds[1:] == [f"{number:02}" for number in range(21)]


def test_what_is_refused_is_stored_without_anything_new_to_write(database: Path) -> None:
    with Writer(database) as writer:
        writer.offer(incident())
        assert writer.flush()
        refuse_growth(writer)
        writer.offer(*(incident(detail="x" * 3000) for _ in range(20)))
        flushed = threading.Thread(target=writer.flush)
        flushed.start()
        make_room(writer)
        flushed.join(30)
        assert count(database, "incident") == 21


def test_what_a_disk_refuses_to_the_end_or_the_queue_cannot_hold_is_counted(database: Path) -> None:
    with Writer(database, queue_records=50) as writer:
        writer.offer(incident())
        assert writer.flush()
        refuse_growth(writer)
        writer.offer(*(incident(detail="x" * 3000) for _ in range(20)))
        assert not writer.flush(1)
        assert not writer.offer(*(incident(detail="x" * 3000) for _ in range(100)))
    stored = count(database, "incident")
    assert writer.counts.written == stored
    assert writer.counts.dropped == 121 - stored


def test_a_record_that_is_bad_itself_holds_nothing_up(database: Path) -> None:
    with Writer(database) as writer:
        bad = dataclasses.replace(incident(), kind=None)  # type: ignore[arg-type]
        writer.offer(incident(), bad, incident())
        assert writer.flush()
        assert (writer.counts.written, writer.counts.dropped) == (2, 1)


def test_hash_only_storage_keeps_no_text(database: Path) -> None:
    with Writer(database, store_text=False) as writer:
        assert writer.offer(text_record("secret code"), incident())
    assert count(database, "text") == 0
    assert count(database, "incident") == 1


def test_nothing_that_was_acknowledged_is_lost_at_kill_9(database: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from analysis.store import Writer
        from codetrial.records import Incident
        writer = Writer(Path(sys.argv[1]))
        for batch in range(10_000):
            ids = [f"{sys.argv[2]}-{batch}-{n}" for n in range(7)]
            writer.offer(*(Incident(id=i, session=None, kind="k", count=1, detail=None, happened_ns=0, happened_at="")
                           for i in ids))
            assert writer.flush()
            print(*ids, sep="\\n", flush=True)
    """)
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(database), str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    acknowledged: set[str] = set()
    try:
        for writer in writers:
            assert writer.stdout is not None
            acknowledged.update(writer.stdout.readline().strip() for _ in range(70))
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
    for writer in writers:
        rest, _ = writer.communicate()
        acknowledged.update(rest.splitlines()[:-1])  # The last line may have been cut by the kill.
    with Store(database, readonly=True) as store:
        stored = {row["id"] for row in store.rows("SELECT id FROM incident")}
        assert store.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert len(acknowledged) >= 280
    assert acknowledged <= stored


def test_records_are_written_in_the_order_they_were_offered(database: Path) -> None:
    kinds = [str(n) for n in range(1000)]
    with Writer(database) as writer:
        for kind in kinds:
            writer.offer(incident(kind), Text(hash=kind, content=kind))
    with Store(database, readonly=True) as store:
        assert [row["kind"] for row in store.rows("SELECT kind FROM incident ORDER BY rowid")] == kinds
