"""What the bot itself must remember: deliveries, work, drafts and where its findings are. One SQLite file.

It holds no evidence (that is the store's) and no code: paths, line numbers and hashes only, but for a draft that has
not been posted yet. Lost, it can be built again from the markers at GitHub and the store, save what changed unseen.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codetrial.errors import ReviewError

__all__ = ["Job", "State"]

BUSY_TIMEOUT_S = 10.0
LEASE_S = 1_800.0
"""A worker that was killed holds its job no longer than this, if nobody notices earlier."""

MAX_TRIES = 8
BACKOFF_S = 30.0
MAX_BACKOFF_S = 3_600.0
KEEP_DELIVERIES_S = 30 * 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS delivery (
    id TEXT PRIMARY KEY, body_hash TEXT NOT NULL, event TEXT NOT NULL, received_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_body ON delivery(body_hash, received_at);
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, pull TEXT NOT NULL, payload TEXT NOT NULL, delivery TEXT,
    state TEXT NOT NULL DEFAULT 'queued', tries INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL,
    lease_until REAL, worker TEXT, error TEXT, created_at REAL NOT NULL, finished_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS job_open ON job(state, not_before);
CREATE INDEX IF NOT EXISTS job_pull ON job(pull, state);
CREATE TABLE IF NOT EXISTS pull (
    key TEXT PRIMARY KEY, repository TEXT NOT NULL, number INTEGER NOT NULL, is_paused INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'open', merged_at TEXT, closed_at TEXT, is_finished INTEGER NOT NULL DEFAULT 0,
    base_sha TEXT, session TEXT, clone_url TEXT, base_ref TEXT, head_sha TEXT, installation INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS repository (name TEXT PRIMARY KEY, installation INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS head (
    pull TEXT NOT NULL, sha TEXT NOT NULL, task TEXT NOT NULL, marker TEXT NOT NULL, draft TEXT, posted TEXT,
    reviewed_at REAL NOT NULL, PRIMARY KEY (pull, sha)
) STRICT;
CREATE TABLE IF NOT EXISTS finding (
    id TEXT PRIMARY KEY, pull TEXT NOT NULL, task TEXT NOT NULL, label TEXT NOT NULL, assignment TEXT NOT NULL,
    stratum TEXT NOT NULL, head TEXT NOT NULL, merge_base TEXT NOT NULL, path TEXT NOT NULL, side TEXT NOT NULL,
    start_line INTEGER, end_line INTEGER, anchor TEXT NOT NULL, place_key TEXT NOT NULL, words TEXT NOT NULL,
    suggestion TEXT, marker TEXT NOT NULL, is_posted INTEGER NOT NULL, rank INTEGER, near_posted INTEGER NOT NULL,
    comment INTEGER, created_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS finding_pull ON finding(pull);
CREATE TABLE IF NOT EXISTS seen (finding TEXT NOT NULL, signal TEXT NOT NULL, value TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (finding, signal)) STRICT;
CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, outcome TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS etag (path TEXT PRIMARY KEY, etag TEXT NOT NULL, data TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


class Job(NamedTuple):
    id: int
    kind: str
    pull: str
    payload: Mapping[str, Any]
    delivery: str | None
    tries: int


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Make a new file one that many can write; of several that open it at once one does it, and the others see it.

    SQLite does not wait for its busy timeout here, so this does.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class State:
    """An open file; safe to share between threads, and between processes.

    Args:
        is_receiver: This one writes deliveries down while GitHub waits; moving the log into the file, which waits for
            the disk, is left to the worker's connections.

    Raises:
        ReviewError: it cannot be opened.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time, is_receiver: bool = False) -> None:
        self.path = path
        self.now = now
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            _switch_to_wal(self._db)
            self._db.execute("PRAGMA synchronous=NORMAL")
            if is_receiver:
                self._db.execute("PRAGMA wal_autocheckpoint=0")
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except (sqlite3.Error, OSError) as fault:
            raise ReviewError(f"Cannot open the bot's own file {path}: {fault}. Set CODETRIAL_DATA_DIR.") from fault

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "State":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, also when the process is killed in between."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # --- deliveries and work -----------------------------------------------------------------------------------

    def accept(self, delivery: str, body_hash: str, event: str, jobs: list[tuple[str, str, Mapping[str, Any]]]) -> bool:
        """Note a delivery together with the work it asks for; False if it came before.

        The delivery's id stands in a header that nobody signed, so the signed body counts as well: the same bytes again
        are the same delivery, whatever id they carry.
        """
        now = self.now()
        with self.transaction() as db:
            known = db.execute(
                "SELECT 1 FROM delivery WHERE id = ? OR (body_hash = ? AND received_at > ?)",
                (delivery, body_hash, now - KEEP_DELIVERIES_S),
            ).fetchone()
            if known is not None:
                return False
            db.execute("INSERT INTO delivery VALUES (?, ?, ?, ?)", (delivery, body_hash, event, now))
            for kind, pull, payload in jobs:
                self._put(db, kind, pull, payload, delivery, now)
        return True

    def put(self, kind: str, pull: str, payload: Mapping[str, Any], *, delay_s: float = 0.0) -> None:
        with self.transaction() as db:
            self._put(db, kind, pull, payload, None, self.now() + delay_s)

    def _put(
        self, db: sqlite3.Connection, kind: str, pull: str, payload: Mapping[str, Any], delivery: str | None, at: float
    ) -> None:
        db.execute(
            "INSERT INTO job (kind, pull, payload, delivery, not_before, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, pull, json.dumps(payload), delivery, at, self.now()),
        )

    def claim(self, worker: str) -> Job | None:
        """The oldest job that is due, for this worker alone; of one pull request never two at once."""
        now = self.now()
        # Looked at before the write lock is taken: idle workers ask often, and a delivery would have to wait for them.
        if not self.rows(
            "SELECT 1 FROM job WHERE not_before <= ? AND (state = 'queued' OR (state = 'running' AND lease_until < ?)) "
            "LIMIT 1", now, now,
        ):  # fmt: skip
            return None
        with self.transaction() as db:
            row = db.execute(
                """
                UPDATE job SET state = 'running', worker = ?, lease_until = ?, tries = tries + 1
                WHERE id = (
                    SELECT id FROM job WHERE not_before <= ?
                    AND (state = 'queued' OR (state = 'running' AND lease_until < ?))
                    AND NOT EXISTS (SELECT 1 FROM job other WHERE other.pull = job.pull AND other.id <> job.id
                                    AND other.state = 'running' AND other.lease_until >= ?)
                    ORDER BY id LIMIT 1)
                RETURNING *
                """,
                (worker, now + LEASE_S, now, now, now),
            ).fetchone()
        if row is None:
            return None
        return Job(row["id"], row["kind"], row["pull"], json.loads(row["payload"]), row["delivery"], row["tries"])

    def finish(self, job: Job, *, state: str = "done", error: str | None = None) -> None:
        with self.transaction() as db:
            self.finish_in(db, job, state=state, error=error)

    def finish_in(self, db: sqlite3.Connection, job: Job, *, state: str = "done", error: str | None = None) -> None:
        """Finish within a transaction of the caller's, so that the work and its end are one."""
        db.execute(
            "UPDATE job SET state = ?, error = ?, finished_at = ?, lease_until = NULL WHERE id = ?",
            (state, error, self.now(), job.id),
        )

    def retry(self, job: Job, error: str, *, after_s: float | None = None) -> bool:
        """Put a job back for later; False if it has been tried often enough and is given up."""
        if job.tries >= MAX_TRIES:
            self.finish(job, state="failed", error=error)
            return False
        pause = after_s if after_s is not None else min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** (job.tries - 1))
        with self.transaction() as db:
            db.execute(
                "UPDATE job SET state = 'queued', error = ?, not_before = ?, lease_until = NULL WHERE id = ?",
                (error, self.now() + pause, job.id),
            )
        return True

    def release(self, worker_prefix: str) -> int:
        """Queue again what workers of this name were doing when they ended; how much that was."""
        with self.transaction() as db:
            return db.execute(
                "UPDATE job SET state = 'queued', lease_until = NULL WHERE state = 'running' AND worker LIKE ? || '%'",
                (worker_prefix,),
            ).rowcount

    def is_superseded(self, job: Job) -> bool:
        """Whether a newer job of the same kind waits for the same pull request."""
        found = self.rows(
            "SELECT 1 FROM job WHERE pull = ? AND kind = ? AND id > ? AND state = 'queued'", job.pull, job.kind, job.id
        )
        return bool(found)

    def schedule_collecting(self) -> int:
        """Queue a look at every pull request whose window is open and that has none queued; how many that were."""
        with self.transaction() as db:
            rows = db.execute(
                """
                SELECT key, repository, number, installation FROM pull WHERE NOT is_finished AND NOT EXISTS (
                    SELECT 1 FROM job WHERE job.pull = pull.key AND kind = 'collect' AND job.state = 'queued')
                """
            ).fetchall()
            for row in rows:
                need = {name: row[name] for name in ("repository", "number", "installation")}
                self._put(db, "collect", row["key"], need, None, self.now())
        return len(rows)

    def schedule_sweeps(self) -> int:
        """Queue a look for open pull requests that nobody was told of, in each repository that has none queued."""
        with self.transaction() as db:
            rows = db.execute(
                """
                SELECT name, installation FROM repository WHERE NOT EXISTS (
                    SELECT 1 FROM job WHERE job.pull = repository.name AND kind = 'sweep' AND job.state = 'queued')
                """
            ).fetchall()
            for row in rows:
                need = {"repository": row["name"], "number": 0, "installation": row["installation"]}
                self._put(db, "sweep", row["name"], need, None, self.now())
        return len(rows)

    def put_missed(self, key: str, payload: Mapping[str, Any]) -> bool:
        """Queue a review unless one waits or runs already."""
        with self.transaction() as db:
            waits = db.execute(
                "SELECT 1 FROM job WHERE pull = ? AND kind = 'review' AND state IN ('queued', 'running')", (key,)
            ).fetchone()
            if waits is None:
                self._put(db, "review", key, payload, None, self.now())
        return waits is None

    def remember_installation(self, pull: str, installation: int | None) -> None:
        with self.transaction() as db:
            db.execute("UPDATE pull SET installation = ? WHERE key = ?", (installation, pull))
            db.execute(
                "INSERT INTO repository VALUES (?, ?) ON CONFLICT DO UPDATE SET installation = excluded.installation",
                (pull.partition("#")[0], installation),
            )

    def forget_repository(self, name: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM repository WHERE name = ?", (name,))

    def prune(self) -> None:
        """Forget deliveries and finished work of a month ago; GitHub offers none that is so old again."""
        before = self.now() - KEEP_DELIVERIES_S
        with self.transaction() as db:
            db.execute("DELETE FROM delivery WHERE received_at < ?", (before,))
            db.execute("DELETE FROM job WHERE finished_at < ?", (before,))

    def counts(self) -> dict[str, int]:
        return {row["state"]: row["n"] for row in self.rows("SELECT state, count(*) AS n FROM job GROUP BY state")}

    # --- small facts -------------------------------------------------------------------------------------------

    def seen(self, finding: str, signal: str) -> str | None:
        rows = self.rows("SELECT value FROM seen WHERE finding = ? AND signal = ?", finding, signal)
        return rows[0]["value"] if rows else None

    def note(self, finding: str, signal: str, value: str) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
                (finding, signal, value, self.now()),
            )

    def cached(self, path: str) -> tuple[str, Any] | None:
        rows = self.rows("SELECT etag, data FROM etag WHERE path = ?", path)
        return (rows[0]["etag"], json.loads(rows[0]["data"])) if rows else None

    def cache(self, path: str, etag: str, data: Any) -> None:
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO etag VALUES (?, ?, ?)", (path, etag, json.dumps(data)))
