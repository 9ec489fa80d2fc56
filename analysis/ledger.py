"""What has been shipped where: a mark per table and destination, kept in the database that is shipped from.

A mark is a row number, since rows are only ever appended, together with that row's key, since building a file anew may
number rows again. Before a file is written, its rows and its name are noted as under way; after a kill the very same
file is written again. Deleting rows lowers the marks in the same transaction, or a row number that is given a second
time would look shipped.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from analysis.store import Store
from codetrial.clock import utc_text
from codetrial.errors import EvidenceError
from codetrial.ids import new_id

__all__ = ["KEYS", "Ledger", "Part", "destinations", "lower_marks"]

KEYS = {"session_end": "session"}
"""Primary keys that are not called `id`."""

ledger = Migrations("codetrial-shipping")


@ledger()
def s001_shipment(db: Database) -> None:
    """One row a destination and table: the part that was shipped last, or is under way."""
    db.executescript("""
    CREATE TABLE shipment (
        destination TEXT NOT NULL, "table" TEXT NOT NULL, run TEXT NOT NULL,
        after_row INTEGER NOT NULL, after_key TEXT NOT NULL, upto_row INTEGER NOT NULL, upto_key TEXT NOT NULL,
        planned_at TEXT NOT NULL, done_at TEXT, PRIMARY KEY (destination, "table")
    ) STRICT;
    """)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one table that go together: those numbered above `after` and up to `upto`."""

    table: str
    run: str
    """A ULID; the name of every file that these rows become."""
    after: int
    upto: int


class Ledger:
    """The marks of one destination."""

    def __init__(self, store: Store, destination: str) -> None:
        self._connection: sqlite3.Connection = store.db.conn
        self._destination = destination
        if ledger.pending(store.db):
            with _immediate(self._connection):
                ledger.apply(store.db)
        self._find_marks_again()

    def _find_marks_again(self) -> None:
        """Row numbers may have changed (VACUUM): find the marked rows by their keys.

        Raises:
            EvidenceError: a marked row is gone, so that nobody can tell what was shipped.
        """
        rows = self._connection.execute(
            'SELECT "table", after_row, after_key, upto_row, upto_key FROM shipment WHERE destination = ?',
            [self._destination],
        ).fetchall()
        for table, *marks in rows:
            after, upto = self._row_of(table, *marks[:2]), self._row_of(table, *marks[2:])
            if (after, upto) != (marks[0], marks[2]):
                self._connection.execute(
                    'UPDATE shipment SET after_row = ?, upto_row = ? WHERE destination = ? AND "table" = ?',
                    [after, upto, self._destination, table],
                )

    def _row_of(self, table: str, row: int, key: str) -> int:
        if row == 0:
            return 0
        column = KEYS.get(table, "id")
        found = self._connection.execute(f'SELECT rowid FROM "{table}" WHERE {column} = ?', [key]).fetchone()
        if found is None:
            raise EvidenceError(
                f"Row {key} of {table}, up to which {self._destination} was shipped, has been deleted by something "
                "other than `codetrial purge`. Ship into an empty place."
            )
        return int(found[0])

    def mark(self, table: str) -> int:
        """The row number up to which a table has been shipped."""
        part = self._last(table)
        if part is None:
            return 0
        return part.upto if self._is_done(table) else part.after

    def unfinished(self, table: str) -> Part | None:
        """The part that was under way when shipping was cut off."""
        return None if self._is_done(table) else self._last(table)

    def next(self, table: str, target: int, rows: int) -> Part | None:
        """The part to ship now, noted as under way; the unfinished one first. None: all up to `target` is shipped."""
        with _immediate(self._connection):
            unfinished = self.unfinished(table)
            if unfinished is not None:
                return unfinished
            after = self.mark(table)
            upto = self._connection.execute(
                f'SELECT max(n) FROM (SELECT rowid AS n FROM "{table}" WHERE rowid > ? AND rowid <= ? '
                "ORDER BY rowid LIMIT ?)",
                [after, target, rows],
            ).fetchone()[0]
            if upto is None:
                return None
            part = Part(table=table, run=new_id(), after=after, upto=int(upto))
            self._connection.execute(
                'INSERT OR REPLACE INTO shipment (destination, "table", run, after_row, after_key, upto_row, upto_key, '
                "planned_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    *(self._destination, table, part.run),
                    *(part.after, self._key_of(table, part.after), part.upto, self._key_of(table, part.upto)),
                    utc_text(),
                ],
            )
            return part

    def done(self, part: Part) -> None:
        """Every file of the part is at its place."""
        self._connection.execute(
            'UPDATE shipment SET done_at = ? WHERE destination = ? AND "table" = ? AND run = ?',
            [utc_text(), self._destination, part.table, part.run],
        )

    def _key_of(self, table: str, row: int) -> str:
        found = self._connection.execute(
            f'SELECT {KEYS.get(table, "id")} FROM "{table}" WHERE rowid = ?', [row]
        ).fetchone()
        return str(found[0]) if found else ""

    def _last(self, table: str) -> Part | None:
        found = self._connection.execute(
            'SELECT run, after_row, upto_row FROM shipment WHERE destination = ? AND "table" = ?',
            [self._destination, table],
        ).fetchone()
        return None if found is None else Part(table=table, run=found[0], after=found[1], upto=found[2])

    def _is_done(self, table: str) -> bool:
        found = self._connection.execute(
            'SELECT done_at IS NOT NULL FROM shipment WHERE destination = ? AND "table" = ?',
            [self._destination, table],
        ).fetchone()
        return found is None or bool(found[0])


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


def _has_ledger(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'shipment'").fetchone() is not None


def destinations(connection: sqlite3.Connection) -> list[str]:
    """Where rows of this database have been shipped to."""
    if not _has_ledger(connection):
        return []
    return [row[0] for row in connection.execute("SELECT DISTINCT destination FROM shipment ORDER BY 1")]


def lower_marks(connection: sqlite3.Connection) -> None:
    """Let every mark stand on a row that exists. Call it in the transaction that deletes rows."""
    if not _has_ledger(connection):
        return
    for (table,) in connection.execute('SELECT DISTINCT "table" FROM shipment').fetchall():
        key = KEYS.get(table, "id")
        for mark in ("after", "upto"):
            connection.execute(
                f'UPDATE shipment SET {mark}_row = coalesce((SELECT max(rowid) FROM "{table}" '
                f'WHERE rowid <= {mark}_row), 0) WHERE "table" = ?',
                [table],
            )
            connection.execute(
                f'UPDATE shipment SET {mark}_key = coalesce((SELECT {key} FROM "{table}" '
                f"WHERE rowid = {mark}_row), '') WHERE \"table\" = ?",
                [table],
            )
