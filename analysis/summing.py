"""Sums of sessions that have ended, made once by whoever writes, so that a report need not read what they sum up.

The editor's door does it when a session ends, `codetrial ship` before it ships, and a report that finds much to read
for the latest hundred. Nothing depends on it: what has no sums is read row by row.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from analysis.statements import DETAILS, hold, put, statement
from analysis.store import Store
from analysis.sums import SUMS, VERSION
from codetrial.clock import utc_text
from codetrial.errors import StoreError

__all__ = ["ABANDONED", "SESSIONS_AT_ONCE", "sum_up", "sum_up_finished", "unsummed"]

logger = logging.getLogger(__name__)

ABANDONED = timedelta(hours=24)
"""A session without an end counts as closed this long after it started: it was cut off."""

SESSIONS_AT_ONCE = 25
"""A tenth of a second, in which other writers wait."""


def unsummed(store: Store, now: datetime | None = None) -> list[str]:
    """Sessions that are over and have no sums of this version, oldest first."""
    rows = store.rows(
        "SELECT s.id FROM session s LEFT JOIN session_end e ON e.session = s.id "
        "LEFT JOIN session_sum m ON m.session = s.id AND m.version = ? "
        "WHERE m.id IS NULL AND (e.session IS NOT NULL OR s.started_at < ?) ORDER BY s.started_at, s.id",
        [VERSION, utc_text((now or datetime.now(UTC)) - ABANDONED)],
    )
    return [row["id"] for row in rows]


def sum_up(store: Store, sessions: Sequence[str]) -> None:
    """Make the sums of these sessions, a few at a time; what was made stays if it is interrupted.

    Raises:
        StoreError: the file cannot be written.
    """
    connection = store.db.conn
    for first in range(0, len(sessions), SESSIONS_AT_ONCE):
        try:
            # A row that came between reading and writing would be missing in sums that nothing deletes any more.
            connection.execute("BEGIN IMMEDIATE")
            _sum_up(connection, sessions[first : first + SESSIONS_AT_ONCE])
            connection.execute("COMMIT")
        except sqlite3.Error as fault:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"Cannot sum up the sessions of {store.path}: {fault}.") from fault


def sum_up_finished(path: Path, *, least: int = 1, most: int | None = None) -> None:
    """Make the sums that are missing, as far as the file can be written: reports do without, only slower.

    Args:
        least: Sessions that make it worth the while.
        most: Sessions at most, the latest first; None for all.
    """
    try:
        # For reading first: a file that is not ours must stay as it is.
        with Store(path, readonly=True) as store:
            missing = unsummed(store)[::-1][:most]
        if len(missing) >= least:
            with Store(path) as store:
                sum_up(store, missing)
    except StoreError as fault:
        logger.info("nothing is summed up: %s", fault)


def _sum_up(connection: sqlite3.Connection, sessions: Sequence[str]) -> None:
    now = utc_text()
    put(connection, "chosen", {"session": sessions, "number": [_identity(session, now) for session in sessions]})
    for name in DETAILS:
        hold(connection, f"details_{name}", statement(f"details_{name}", "sqlite"))
    connection.execute("DELETE FROM session_sum WHERE session IN (SELECT session FROM chosen)")
    for table, columns in SUMS.items():
        own = [name for name in columns if name not in ("id", "session", "version", "made_at", "sum")]
        names = ", ".join(f'"{name}"' for name in own)
        details = f"details_{table.removesuffix('_sum')}"
        if table == "session_sum":
            connection.execute(
                f"INSERT INTO session_sum (id, session, version, made_at, {names}) "
                f"SELECT number, session, ?, ?, {names} FROM {details} JOIN chosen USING (number)",
                [VERSION, now],
            )
        else:
            connection.execute(f'INSERT INTO "{table}" (sum, {names}) SELECT number, {names} FROM {details}')


def _identity(session: str, now: str) -> int:
    """63 bits that no other sums have, whoever made them."""
    return int.from_bytes(hashlib.sha256(f"{session} {now}".encode()).digest()[:8]) >> 1
