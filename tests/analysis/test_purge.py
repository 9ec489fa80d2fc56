"""Deletion on real files: the bytes are looked for, and a proxy writes meanwhile."""

import hashlib
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import git
import pytest
from click.testing import CliRunner

from analysis import purge as purging
from analysis.data_commands import purge as command
from analysis.identity import developers_of, repositories_of
from analysis.purge import Choice, PurgeIncompleteError, find, parse_age, purge
from analysis.source import tables
from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError
from codetrial.pseudonyms import pseudonym_of_author, pseudonym_of_developer
from codetrial.records import Shown
from lsp_proxy.evaluator.identity import repository_of
from tests.analysis.recorded import Asked, Work, record

SECRET = "fn_zyzzyva_quuxotic"
LONG_SECRET = "\n".join(f"{SECRET}_{n} = compute({n})" for n in range(600))
"""Several pages long, so that SQLite keeps it in overflow pages."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "codetrial.db"


def keep(database: Path, *works: Work) -> None:
    with Store(database) as store:
        for work in works:
            store.append(*record(work))


def rows(database: Path) -> dict[str, int]:
    with Store(database, readonly=True) as store:
        return {name: int(store.rows(f'SELECT count(*) AS n FROM "{name}"')[0]["n"]) for name in tables}


def bytes_of(database: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(database.parent.glob(database.name + "*")))


def secretive(**changes: object) -> Work:
    asked = (
        Asked(prefix=f"def {SECRET}(a):\n", a=f"    return {SECRET}", b=f"    {SECRET}()", written=f"{SECRET} + 1"),
        Asked(prefix=LONG_SECRET, suffix=f"# {SECRET}"),
    )
    return Work(asked=asked, **changes)  # type: ignore[arg-type]  # The names are the recording's own.


def numbers(database: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    found = [
        row
        for name in tables
        if name != "text"
        for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall()
    ]
    connection.close()
    return found


def test_purged_texts_leave_no_byte_in_any_file_and_no_number_changes(database: Path) -> None:
    keep(database, *(secretive() for _ in range(20)))
    before = numbers(database)
    assert SECRET.encode() in bytes_of(database)
    done = purge(database, Choice(text_only=True))
    assert SECRET.encode() not in bytes_of(database)
    assert numbers(database) == before
    assert rows(database)["text"] == 0
    assert done.bytes_after < done.bytes_before


def delete_carelessly(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")  # Some builds of SQLite have it on.
    connection.execute("DELETE FROM text")
    connection.close()


def test_deleting_rows_alone_would_have_left_the_bytes(database: Path) -> None:
    keep(database, *(secretive() for _ in range(20)))
    delete_carelessly(database)
    assert SECRET.encode() in bytes_of(database)


def test_bytes_that_an_earlier_careless_deletion_left_go_too(database: Path) -> None:
    keep(database, *(secretive() for _ in range(20)))
    delete_carelessly(database)
    purge(database, Choice(text_only=True))
    assert SECRET.encode() not in bytes_of(database)


def test_a_purged_developer_is_gone_and_the_others_are_whole(database: Path, tmp_path: Path) -> None:
    others = (Work(developer="dev-bert"), Work(developer="dev-cleo"))
    keep(database, others[0], secretive(), others[1])
    only_others = tmp_path / "others.db"
    keep(only_others, *others)
    purge(database, Choice(developers=("dev-anna",)))
    assert numbers(database) == numbers(only_others)
    assert rows(database) == rows(only_others)
    found = bytes_of(database)
    assert SECRET.encode() not in found
    assert b"dev-anna" not in found


def test_a_purged_repository_is_gone_and_the_others_are_whole(database: Path, tmp_path: Path) -> None:
    other = Work(repository="repo-two")
    keep(database, other, secretive())
    keep(tmp_path / "other.db", other)
    purge(database, Choice(repositories=("repo-one",)))
    assert numbers(database) == numbers(tmp_path / "other.db")
    assert SECRET.encode() not in bytes_of(database)


def test_older_than_takes_whole_episodes_and_leaves_newer_ones(database: Path, tmp_path: Path) -> None:
    old, new = secretive().ago(days=40), Work().ago(days=3)
    keep(database, old, new)
    keep(tmp_path / "new.db", new)
    purge(database, Choice(before=parse_age("30d")))
    assert numbers(database) == numbers(tmp_path / "new.db")
    assert SECRET.encode() not in bytes_of(database)


def test_what_is_named_together_must_hold_together(database: Path) -> None:
    keep(database, Work(), Work(repository="repo-two"), Work(developer="dev-bert"))
    found = find(database, Choice(developers=("dev-anna",), repositories=("repo-one",)))
    assert (found.rows["session"], found.rows["task"]) == (1, 1)


def test_a_text_that_others_hold_too_stays_and_that_is_said(database: Path) -> None:
    keep(database, Work(), Work(developer="dev-bert"))
    found = find(database, Choice(developers=("dev-anna",), text_only=True))
    assert found.rows == {"text": 0}
    assert found.shared_texts > 0
    assert "texts stay" in purging.announce(find(database, Choice(developers=("dev-anna",))), is_dry=True)


def test_a_running_session_keeps_the_rows_that_it_still_refers_to(database: Path) -> None:
    work = secretive(is_over=False).ago(minutes=2)
    keep(database, work)
    done = purge(database, Choice(developers=("dev-anna",)))
    assert done.found.open_sessions == 1
    left = {name: n for name, n in rows(database).items() if n}
    assert left == {"trial": 1, "arm": 2, "session": 1, "assignment": 2, "incident": 2}
    assert SECRET.encode() not in bytes_of(database)


def test_what_a_running_session_writes_to_a_deleted_request_goes_with_the_next_purge(database: Path) -> None:
    work = secretive().ago(minutes=2)
    written = record(work)
    late = [row for row in written if type(row).__name__ in ("Continuation", "Score", "Outcome", "Exposure")]
    with Store(database) as store:
        store.append(*written)
    purge(database, Choice(developers=("dev-anna",)))
    with Store(database) as store:
        store.append(*late)
    purge(database, Choice(before=datetime.now(UTC)))
    assert {name for name, n in rows(database).items() if n} == {"trial", "arm"}


def test_a_dry_run_changes_no_byte(database: Path) -> None:
    keep(database, secretive())
    before = database.read_bytes()
    result = CliRunner().invoke(command, ["--older-than", "0d", "--dry-run", "--store", str(database)])
    assert result.exit_code == 0
    assert "Would be deleted" in result.output
    assert "2 requests" in result.output
    assert database.read_bytes() == before


def test_the_command_asks_and_a_no_deletes_nothing(database: Path) -> None:
    keep(database, secretive())
    result = CliRunner().invoke(command, ["--text-only", "--store", str(database)], input="n\n")
    assert result.exit_code == 1
    assert rows(database)["text"] > 0
    result = CliRunner().invoke(command, ["--text-only", "--store", str(database), "--yes"])
    assert "Deleted:" in result.output
    assert "MB less" in result.output
    assert rows(database)["text"] == 0


def test_naming_nothing_deletes_nothing(database: Path) -> None:
    keep(database, Work())
    with pytest.raises(EvidenceError, match="Say what to delete"):
        CliRunner().invoke(command, ["--yes", "--store", str(database)], catch_exceptions=False)
    assert rows(database)["task"] == 1


def test_a_place_without_a_database_gets_none(database: Path) -> None:
    with pytest.raises(StoreError):
        purge(database, Choice(text_only=True))
    assert not database.exists()


def test_a_reader_of_an_old_state_is_named_as_the_hindrance(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "BUSY_MS", 50)
    monkeypatch.setattr(purging, "LOG_WAIT_S", 0.3)
    keep(database, secretive())
    reader = sqlite3.connect(database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM text").fetchone()
    with pytest.raises(PurgeIncompleteError, match="reads an old state"):
        purge(database, Choice(text_only=True))
    reader.close()
    purge(database, Choice(text_only=True))
    assert SECRET.encode() not in bytes_of(database)


def test_a_proxy_that_writes_meanwhile_loses_nothing(database: Path) -> None:
    keep(database, *(secretive(session=f"old{n}") for n in range(60)))
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from analysis.store import Writer
        from codetrial.records import Incident
        with Writer(Path(sys.argv[1])) as writer:
            print("ready", flush=True)
            n = 0
            while n < 20 or not Path(sys.argv[2]).exists():
                writer.offer(Incident(id=f"live-{n}", session=None, kind="k", count=1, detail=None, happened_ns=0,
                                      happened_at=""))
                writer.flush()
                n += 1
            print(n, writer.counts.dropped, flush=True)
    """)
    stop = database.parent / "stop"
    proxy = subprocess.Popen(
        [sys.executable, "-c", script, str(database), str(stop)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        assert proxy.stdout.readline() == "ready\n"
        purge(database, Choice(developers=("dev-anna",)))
    finally:
        stop.touch()
        output, _ = proxy.communicate(timeout=60)
    written, dropped = map(int, output.split())
    assert dropped == 0
    assert rows(database)["incident"] == written
    assert rows(database)["session"] == 0
    assert SECRET.encode() not in bytes_of(database)


@pytest.mark.parametrize(
    ("text", "hours"), [("30d", 720), ("12h", 12), ("2w", 336), ("90m", 1.5), ("0d", 0), (" 7D ", 168)]
)
def test_ages_are_read(text: str, hours: float) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert now - parse_age(text, now) == timedelta(hours=hours)


def test_dates_are_read_as_utc() -> None:
    assert parse_age("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)
    assert parse_age("2026-03-01T02:00+02:00") == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "30", "d", "-3d", "2026-13-01"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError, match="is no age"):
        parse_age(text)


def test_people_are_found_by_what_both_doors_make_of_their_name(database: Path) -> None:
    by_email = pseudonym_of_developer("5eed", "anna@example.com")
    by_login = pseudonym_of_author("5eed", "octoanna")
    keep(database, Work(developer=by_email), Work(developer=by_login))
    with Store(database, readonly=True) as store:
        assert developers_of(store, "anna@example.com") == (by_email,)
        assert developers_of(store, "octoanna") == (by_login,)
        assert developers_of(store, by_email[:6]) == (by_email,)
        with pytest.raises(EvidenceError, match=r"No developer in the store is 'bert@example.com'"):
            developers_of(store, "bert@example.com")


def test_a_repository_is_found_by_folder_url_and_name(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    url = "git@example.com:acme/shop.git"
    with git.Repo.init(folder) as repository:
        repository.create_remote("origin", url)
    in_editor = repository_of(folder).identity
    in_review = hashlib.sha256(b"5eed\0acme/shop").hexdigest()[:16]
    assert in_editor is not None
    keep(database, Work(repository=in_editor), Work(repository=in_review))
    with Store(database, readonly=True) as store:
        both = tuple(sorted((in_editor, in_review)))
        assert repositories_of(store, str(folder)) == both
        assert repositories_of(store, url) == both
        assert repositories_of(store, "acme/shop") == (in_review,)
        assert repositories_of(store, in_editor[:8]) == (in_editor,)


def test_an_episode_that_showed_nothing_goes_like_any_other(database: Path) -> None:
    keep(database, Work(asked=(Asked(shown=Shown.NONE),)))
    purge(database, Choice(before=datetime.now(UTC)))
    assert {name for name, n in rows(database).items() if n} == {"trial", "arm"}
