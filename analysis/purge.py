"""Deletion that is one: the bytes leave the files, and what stays is said.

Rows are deleted in short transactions, so that a proxy that writes meanwhile waits milliseconds. Deleting a row does
not remove its bytes: SQLite leaves them in free pages, in the unused ends of pages, and in the write-ahead log. So
deleted cells are overwritten (`secure_delete`), the file is built anew (`VACUUM`: pages that were split long ago may
hold copies that no deletion knows of), and the log is emptied (docs/design/0030-deletion.md).
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from analysis.identity import developers_of, repositories_of
from analysis.store import Store
from codetrial.clock import now_utc, utc_text
from codetrial.errors import CodetrialError, EvidenceError, StoreError

__all__ = [
    "Choice",
    "Found",
    "PurgeIncompleteError",
    "Purged",
    "announce",
    "choose",
    "find",
    "parse_age",
    "purge",
    "tell",
]

BATCH = 500
"""Requests, or texts, per transaction: some tens of milliseconds, far below what a writing proxy waits for the lock."""

STRETCH = 10_000
"""Rows of a table looked at per transaction, where no index finds those of a request."""

QUIET = timedelta(hours=24)
"""A session without an end that has asked for nothing for so long was cut off."""

SETTLING = timedelta(minutes=15)
"""An episode opened so long ago has had its last outcome and continuation (600 s) stored."""

BUSY_MS = 10_000

LOG_WAIT_S = 60.0
"""Longer than another process needs to copy some gigabytes from the log into the file."""
LOG_PAUSE_S = 0.2

_AGE = re.compile(r"(\d+)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class PurgeIncompleteError(CodetrialError):
    """The rows are gone, but their bytes may still lie in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to delete; everything that is named must hold."""

    text_only: bool = False
    """Delete texts and keep every number."""
    repositories: tuple[str, ...] | None = None
    """As the sessions name them."""
    developers: tuple[str, ...] | None = None
    before: datetime | None = None
    """Episodes that opened earlier."""

    @property
    def is_everything(self) -> bool:
        return self.repositories is None and self.developers is None and self.before is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a choice comes to; counting it deletes nothing."""

    rows: Mapping[str, int]
    """Rows to delete, by table."""
    text_chars: int
    shared_texts: int
    """Texts of the choice that stay, because a row outside it holds the very same text."""
    open_sessions: int
    """Sessions of the choice that may still be written to: their own row stays, and what they write from now on."""

    @property
    def is_empty(self) -> bool:
        return not any(self.rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    found: Found
    """What was deleted."""
    bytes_before: int
    bytes_after: int


def parse_age(text: str, now: datetime | None = None) -> datetime:
    """The moment that `30d`, `12h`, `2w` or an ISO date means.

    Raises:
        EvidenceError: it is neither.
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found:
        return (now or now_utc()) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise EvidenceError(f"{text!r} is no age: write 30d, 12h, 2w, or a date such as 2026-03-01.") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def choose(
    store: Store, *, text_only: bool, repository: str | None, developer: str | None, older_than: str | None
) -> Choice:
    """What a person named, as the store knows it.

    Raises:
        EvidenceError: nothing is named, or a name fits nothing that is stored.
    """
    if not text_only and repository is None and developer is None and older_than is None:
        raise EvidenceError(
            "Say what to delete: --text-only, --repository, --developer or --older-than (0d is everything so far)."
        )
    return Choice(
        text_only=text_only,
        repositories=None if repository is None else repositories_of(store, repository),
        developers=None if developer is None else developers_of(store, developer),
        before=None if older_than is None else parse_age(older_than),
    )


def find(path: Path, choice: Choice) -> Found:
    """Count what would be deleted, and leave everything as it is."""
    with _opened(path) as connection:
        _select(connection, choice)
        return _count(connection, choice)


def purge(path: Path, choice: Choice) -> Purged:
    """Delete, for good.

    Raises:
        PurgeIncompleteError: the rows are gone but the file could not be built anew, or another program reads an old
            state of it, so that bytes may remain; says what to do.
        StoreError: the file is locked for long, or damaged.
    """
    before = _size(path)
    with _opened(path) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        _select(connection, choice)
        found = _count(connection, choice)
        _delete(connection, choice)
        _build_anew(connection, path)
    return Purged(found=found, bytes_before=before, bytes_after=_size(path))


def _size(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise StoreError(f"No database at {path}: there is nothing to delete, or --store names another place.")
    # Opening it as a store first brings an old file up to date, and refuses one from a newer version.
    Store(path).close()
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        # What is chosen are ids and hashes; they, too, stay off the disk.
        connection.execute("PRAGMA temp_store = MEMORY")
        yield connection
    except sqlite3.Error as fault:
        raise StoreError(f"Cannot delete from {path}: {fault}. What was deleted so far stays deleted.") from fault
    finally:
        connection.close()


# What is chosen, as temporary tables.

_REFERENCES = (
    ("task", "prefix_hash", "id"),
    ("task", "suffix_hash", "id"),
    ("suggestion", "raw_hash", "task"),
    ("suggestion", "text_hash", "task"),
    ("continuation", "text_hash", "task"),
)
"""Columns that hold a text's hash, and the column that tells whose request it is."""

_CHILDREN = ("score", "outcome", "exposure", "finding", "suggestion", "attempt", "continuation")
"""Tables with a `task` column, those that refer to others first."""


def _select(connection: sqlite3.Connection, choice: Choice) -> None:
    """Fill gone_task, gone_assignment, gone_session and gone_text."""
    connection.executescript("""
        CREATE TEMP TABLE chosen_session (id TEXT PRIMARY KEY, is_open INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TEMP TABLE gone_task (id TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TEMP TABLE gone_assignment (id TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TEMP TABLE gone_session (id TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TEMP TABLE chosen_text (hash TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TEMP TABLE gone_text (hash TEXT PRIMARY KEY) WITHOUT ROWID;
    """)
    where, values = _whose(choice)
    values |= {"quiet": utc_text(now_utc() - QUIET)}
    connection.execute(
        "INSERT INTO chosen_session SELECT s.id, "
        "NOT EXISTS (SELECT 1 FROM session_end e WHERE e.session = s.id) AND max(s.started_at, coalesce("
        " (SELECT max(t.requested_at) FROM task t WHERE t.session = s.id), '')) >= :quiet "
        f"FROM session s WHERE {where}",
        values,
    )
    _select_rows(connection, choice)
    _select_texts(connection, choice)


def _whose(choice: Choice) -> tuple[str, dict[str, str]]:
    clauses: list[str] = ["1"]
    values: dict[str, str] = {}
    for column, names in (("repository", choice.repositories), ("developer", choice.developers)):
        if names is not None:
            marks = {f"{column}{i}": name for i, name in enumerate(names)}
            clauses.append(f"s.{column} IN ({', '.join(':' + mark for mark in marks)})")
            values |= marks
    return " AND ".join(clauses), values


def _select_rows(connection: sqlite3.Connection, choice: Choice) -> None:
    before = utc_text(choice.before) if choice.before is not None else "~"  # Sorts after every date.
    settled = utc_text(now_utc() - SETTLING)
    # An episode goes whole or not at all: half of one would count as an episode in which less was taken.
    connection.execute(
        "INSERT INTO gone_task SELECT t.id FROM task t JOIN chosen_session s ON s.id = t.session "
        "LEFT JOIN assignment a ON a.id = t.assignment WHERE coalesce(a.opened_at, t.requested_at) < ?",
        [before],
    )
    # Rows that a session wrote to a request after an earlier purge had deleted it.
    for table in _CHILDREN:
        connection.execute(
            f"INSERT OR IGNORE INTO gone_task SELECT task FROM {table} WHERE task NOT IN (SELECT id FROM task)"
        )
    # A session that is still open goes on writing to its last episodes.
    connection.execute(
        "INSERT INTO gone_assignment SELECT a.id FROM assignment a JOIN chosen_session s ON s.id = a.session "
        "WHERE a.opened_at < ? AND (NOT s.is_open OR a.opened_at < ?)",
        [before, settled],
    )
    connection.execute(
        "INSERT INTO gone_session SELECT s.id FROM chosen_session s WHERE NOT s.is_open "
        "AND (SELECT started_at FROM session WHERE id = s.id) < ? "
        "AND NOT EXISTS (SELECT 1 FROM task t WHERE t.session = s.id AND t.id NOT IN (SELECT id FROM gone_task)) "
        "AND NOT EXISTS (SELECT 1 FROM assignment a WHERE a.session = s.id "
        "                AND a.id NOT IN (SELECT id FROM gone_assignment))",
        [before],
    )


def _select_texts(connection: sqlite3.Connection, choice: Choice) -> None:
    for table, column, owner in _REFERENCES:
        connection.execute(
            f"INSERT OR IGNORE INTO chosen_text SELECT {column} FROM {table} "
            f"WHERE {column} IS NOT NULL AND {owner} IN (SELECT id FROM gone_task)"
        )
    if choice.is_everything:
        connection.execute("INSERT OR IGNORE INTO chosen_text SELECT hash FROM text")
    elif not _any_open(connection):
        # Rows and texts of a session that was killed half-way: nothing will ever refer to them.
        outside = " AND ".join(
            f"hash NOT IN (SELECT {column} FROM {table} WHERE {column} IS NOT NULL)" for table, column, _ in _REFERENCES
        )
        connection.execute(f"INSERT OR IGNORE INTO chosen_text SELECT hash FROM text WHERE {outside}")
    connection.execute("INSERT INTO gone_text SELECT hash FROM chosen_text WHERE hash IN (SELECT hash FROM text)")
    if not choice.is_everything:
        for table, column, owner in _REFERENCES:
            connection.execute(
                f"DELETE FROM gone_text WHERE hash IN (SELECT {column} FROM {table} "
                f"WHERE {column} IS NOT NULL AND {owner} NOT IN (SELECT id FROM gone_task))"
            )


def _any_open(connection: sqlite3.Connection) -> bool:
    [found] = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM session s WHERE s.started_at >= ? "
        "AND NOT EXISTS (SELECT 1 FROM session_end e WHERE e.session = s.id))",
        [utc_text(now_utc() - QUIET)],
    ).fetchone()
    return bool(found)


def _count(connection: sqlite3.Connection, choice: Choice) -> Found:
    def number(sql: str) -> int:
        return int(connection.execute(sql).fetchone()[0] or 0)

    rows = {"text": number("SELECT count(*) FROM gone_text")}
    if not choice.text_only:
        rows |= {
            table: number(f"SELECT count(*) FROM {table} WHERE task IN (SELECT id FROM gone_task)")
            for table in _CHILDREN
        }
        rows |= {name: number(f"SELECT count(*) FROM gone_{name}") for name in ("task", "assignment", "session")}
        for table in ("session_end", "incident"):
            rows[table] = number(f"SELECT count(*) FROM {table} WHERE session IN (SELECT id FROM gone_session)")
    return Found(
        rows=rows,
        text_chars=number("SELECT sum(length(content)) FROM text WHERE hash IN (SELECT hash FROM gone_text)"),
        shared_texts=number(
            "SELECT count(*) FROM chosen_text WHERE hash IN (SELECT hash FROM text) "
            "AND hash NOT IN (SELECT hash FROM gone_text)"
        ),
        open_sessions=number("SELECT count(*) FROM chosen_session WHERE is_open"),
    )


# How it is deleted.


def _delete(connection: sqlite3.Connection, choice: Choice) -> None:
    """Texts first: if this is cut off, what is left is the harmless part."""
    seen = {table: _last_row(connection, table) for table, _, _ in _REFERENCES}
    for batch in _batches(connection, "gone_text", "hash"):
        with _immediate(connection):
            if not choice.is_everything:
                batch = _still_unused(connection, batch, seen)
            connection.executemany("DELETE FROM text WHERE hash = ?", batch)
    if choice.text_only:
        return
    for table in ("exposure", "finding"):
        _delete_unindexed(connection, table)
    for batch in _batches(connection, "gone_task", "id"):
        with _immediate(connection):
            for table in (t for t in _CHILDREN if t not in ("exposure", "finding")):
                connection.executemany(f"DELETE FROM {table} WHERE task = ?", batch)
            connection.executemany("DELETE FROM task WHERE id = ?", batch)
    for name in ("assignment", "session"):
        for batch in _batches(connection, f"gone_{name}", "id"):
            with _immediate(connection):
                if name == "session":
                    connection.executemany("DELETE FROM incident WHERE session = ?", batch)
                    connection.executemany("DELETE FROM session_end WHERE session = ?", batch)
                connection.executemany(f"DELETE FROM {name} WHERE id = ?", batch)


def _delete_unindexed(connection: sqlite3.Connection, table: str) -> None:
    """Rows of a table without an index by task: a stretch of the table at a time, each read once."""
    for first in range(0, _last_row(connection, table), STRETCH):
        with _immediate(connection):
            connection.execute(
                f"DELETE FROM {table} WHERE rowid > ? AND rowid <= ? AND task IN (SELECT id FROM gone_task)",
                [first, first + STRETCH],
            )


def _still_unused(connection: sqlite3.Connection, batch: list[tuple[str]], seen: Mapping[str, int]) -> list[tuple[str]]:
    """Without the texts that a row written since the choice was made refers to."""
    used = {
        row[0]
        for table, column, _ in _REFERENCES
        for row in connection.execute(f"SELECT {column} FROM {table} WHERE rowid > ?", [seen[table]])
    }
    return [row for row in batch if row[0] not in used]


def _last_row(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0)


def _batches(connection: sqlite3.Connection, table: str, column: str) -> Iterator[list[tuple[str]]]:
    last = ""
    while rows := connection.execute(
        f"SELECT {column} FROM {table} WHERE {column} > ? ORDER BY {column} LIMIT {BATCH}", [last]
    ).fetchall():
        yield rows
        last = rows[-1][0]


@contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _build_anew(connection: sqlite3.Connection, path: Path) -> None:
    try:
        # In memory the copy of a large file would not fit; it holds only what stays.
        connection.execute("PRAGMA temp_store = DEFAULT")
        connection.execute("VACUUM")
    except sqlite3.Error as fault:
        raise PurgeIncompleteError(
            f"The rows are deleted, but {path} could not be built anew ({fault}), so that bytes of them may remain. "
            "Free as much space as the file takes, end programs that hold it, and run the same command again."
        ) from fault
    if not _empty_log(connection):
        raise PurgeIncompleteError(
            f"The rows are deleted, but another program reads an old state of {path}, so that {path.name}-wal could "
            "not be emptied and may hold their bytes. End it (a report, Datasette) and run the same command again."
        )


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Try until `LOG_WAIT_S` is over.

    The new file lies in the log first, so that the next commit of another process sets off its own, long checkpoint:
    for that one SQLite does not wait, whatever the busy timeout.
    """
    deadline = time.monotonic() + LOG_WAIT_S
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOG_PAUSE_S)
    return True


# What is said about it.

_PLURALS = {
    "session_end": "session ends",
    "task": "requests",
    "text": "texts",
    "assignment": "assignments of episodes and findings",
}


def announce(found: Found, *, is_dry: bool) -> str:
    """What a choice comes to, in words."""
    if found.is_empty:
        return "Nothing stored fits."
    lines = ["To be deleted:" if not is_dry else "Would be deleted:", *_listed(found)]
    if found.shared_texts:
        lines.append(f"{found.shared_texts:,} texts stay: rows that are not deleted hold the very same ones.")
    if found.open_sessions:
        lines.append(
            f"{found.open_sessions:,} sessions are not over. Their own rows and newest assignments stay, and what they "
            "record from now on: end those editors and purge again to delete that, too."
        )
    return "\n".join(lines)


def tell(purged: Purged) -> str:
    """What was deleted, in words."""
    lines = ["Deleted:", *_listed(purged.found)]
    freed = purged.bytes_before - purged.bytes_after
    lines.append(
        f"The file was built anew and its log emptied: {purged.bytes_after / 1e6:,.1f} MB now"
        + (f", {freed / 1e6:,.1f} MB less." if freed > 0 else ".")
    )
    lines.append("Backups, logs, exports, and what was shipped or merged elsewhere are not touched.")
    return "\n".join(lines)


def _listed(found: Found) -> list[str]:
    lines = []
    for table, number in found.rows.items():
        if number:
            chars = f" ({found.text_chars:,} characters)" if table == "text" else ""
            lines.append(f"  {number:>9,} {_PLURALS.get(table, table + 's')}{chars}")
    return lines or ["  nothing"]
