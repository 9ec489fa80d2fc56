"""The store: one SQLite file, append-only, that survives kill -9 of any of its writers.

Single-statement inserts and `BEGIN IMMEDIATE` batches only: a transaction that reads before it writes fails at once
under several writers, whatever the busy timeout (docs/design/0003-the-store.md).
"""

import dataclasses
import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from analysis.lean_sqlite import Database
from analysis.schema import migrations
from codetrial.errors import StoreError
from codetrial.records import Record, Text

__all__ = ["Store", "Writer", "WriterCounts", "text_record"]

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 10.0
"""Longer than any batch of another writer takes; sixteen writers on one file were measured at 36 ms worst."""

QUEUE_RECORDS = 20_000
"""About 10 MB of records: minutes of typing while the disk does not answer."""

BATCH_RECORDS = 200
BATCH_WAIT_S = 0.2
"""Nothing waits longer than this to be durable."""

HELD_PAUSE_S = 0.5
"""How often a disk that was full or gone is tried again."""


def text_record(content: str) -> Text:
    """A text with its hash: 32 hexadecimal digits of SHA-256 over its UTF-8 bytes."""
    data = content.encode("utf-8", "replace")
    return Text(hash=hashlib.sha256(data).hexdigest()[:32], content=data.decode("utf-8"))


class _Statement(NamedTuple):
    names: tuple[str, ...]
    insert: str


def _statement(kind: type[Record]) -> _Statement:
    names = tuple(field.name for field in dataclasses.fields(kind))
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join("?" * len(names))
    return _Statement(names, f'INSERT INTO "{kind.table}" ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING')


_STATEMENTS = {kind: _statement(kind) for kind in Record.__subclasses__()}


def _row(record: Record) -> tuple[Any, ...]:
    """The record's values as SQLite takes them. Lone surrogates cannot be UTF-8: they become U+FFFD here only."""
    values = []
    for name in _STATEMENTS[type(record)].names:
        value = getattr(record, name)
        if isinstance(value, StrEnum):
            value = value.value
        elif isinstance(value, bool):
            value = int(value)
        elif isinstance(value, str) and not value.isascii():
            value = value.encode("utf-8", "replace").decode("utf-8")
        values.append(value)
    return tuple(values)


class Store:
    """An open database. Use one per thread that writes; SQLite serialises the rest.

    Raises:
        StoreError: the folder cannot be written, the file is not a database, or a newer codetrial wrote it.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        try:
            self._connection = self._connect(path, readonly=readonly)
            self.db = Database(self._connection)
            if readonly:
                self._upgrade_older(path)
            else:
                self._migrate()
            self._refuse_newer_schema()
        except sqlite3.Error as fault:
            raise StoreError(_explain(path, fault)) from fault

    def _connect(self, path: Path, *, readonly: bool) -> sqlite3.Connection:
        if readonly:
            if not path.exists():
                raise StoreError(
                    f"No database at {path}: nothing has been recorded yet, or --store names another place."
                )
            uri = f"file:{_uri_path(path)}?mode=ro"
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise StoreError(
                f"Cannot create {path.parent}: {fault.strerror}. "
                "Set CODETRIAL_DATA_DIR or [store] path to a folder you can write."
            ) from fault
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL may lose the last commits at a power cut, never at a kill; FULL costs 4-10x (docs/design/0003).
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _upgrade_older(self, path: Path) -> None:
        """Bring an older file of ours up to date for a reader, if it may be written; another's file is left alone."""
        if not (migrations.applied(self.db) and migrations.pending(self.db)):
            return
        try:
            Store(path).close()
        except StoreError as fault:
            logger.info("reading %s as it is: %s", path, fault)

    def _migrate(self) -> None:
        if not migrations.pending(self.db):
            return
        # Several proxies may open a new file at once: the first takes the lock, the others find nothing pending.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            migrations.apply(self.db)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _refuse_newer_schema(self) -> None:
        known = {m.name for m in migrations._migrations}
        unknown = [m.name for m in migrations.applied(self.db) if m.name not in known]
        if unknown:
            raise StoreError(
                f"{self.path} was written by a newer codetrial (it has {unknown[-1]}): upgrade with "
                "`pip install -U codetrial`, or name another file with --store."
            )

    def append(self, *records: Record) -> None:
        """Insert at once, durable against kill -9 when this returns; a row that exists already is left as it is.

        Raises:
            StoreError: the disk is full, the file is locked for longer than the busy timeout, or is damaged.
        """
        try:
            if len(records) == 1:
                self._connection.execute(_STATEMENTS[type(records[0])].insert, _row(records[0]))
                return
            with self._immediate():
                for kind, group in groupby(records, key=type):
                    self._connection.executemany(_STATEMENTS[kind].insert, map(_row, group))
        except sqlite3.Error as fault:
            raise StoreError(_explain(self.path, fault)) from fault

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query, as dictionaries.

        Raises:
            StoreError: as for `append`.
        """
        try:
            return list(self.db.query(sql, parameters))
        except sqlite3.Error as fault:
            raise StoreError(_explain(self.path, fault)) from fault

    def text(self, digest: str | None) -> str | None:
        """The text behind a hash; None if it is not stored (by `store_text`, or deleted since)."""
        rows = self.rows("SELECT content FROM text WHERE hash = ?", [digest]) if digest else []
        return rows[0]["content"] if rows else None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _uri_path(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _explain(path: Path, fault: sqlite3.Error) -> str:
    name = getattr(fault, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return f"The disk that holds {path} is full: free some space, or move the file with [store] path."
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return f"Cannot write {path}: {fault}. Check the folder's permissions, or set [store] path in codetrial.toml."
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"{path} is not a healthy codetrial database ({fault}): move it away and codetrial starts a new one."
    if name.startswith("SQLITE_BUSY"):
        return f"{path} stayed locked by another process for {BUSY_TIMEOUT_S:.0f} s: end that process and try again."
    if name.startswith("SQLITE_IOERR"):
        return f"The disk that holds {path} failed to answer ({name}): check it, or move the file with [store] path."
    return f"{path}: {fault}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriterCounts:
    written: int
    dropped: int
    """Records lost to a full queue, or to a disk that was still full at the end; they are reported, never hidden."""
    dropped_texts: int


class Writer:
    """The one thread of a process that writes, behind a bounded queue.

    `offer` never waits: with a full queue texts are dropped before events, and what was dropped is counted. What a full
    or failing disk refuses is held, as a part of the queue, until there is room. `flush` returns when everything
    offered before it is durable (or counted as dropped).

    Args:
        on_fault: Called once from the writer's thread, with a sentence for the user, when the disk first fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_records: int = QUEUE_RECORDS,
        on_fault: Callable[[str], None] | None = None,
        store_text: bool = True,
    ) -> None:
        self._store = Store(path)
        self._queue: queue.Queue[Record | threading.Event | None] = queue.Queue()
        self._limit = queue_records
        self._on_fault = on_fault
        self._store_text = store_text
        self._written = self._dropped = self._dropped_texts = 0
        self._held: list[Record] = []
        """What the disk has refused, in order; it goes before all that is in the queue."""
        self._flushes: list[threading.Event] = []
        """Those that wait for it."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="codetrial-writer", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> WriterCounts:
        return WriterCounts(written=self._written, dropped=self._dropped, dropped_texts=self._dropped_texts)

    def offer(self, *records: Record) -> bool:
        """Queue records in order; False if any had to be dropped."""
        kept_all = True
        for record in records:
            is_text = isinstance(record, Text)
            if is_text and not self._store_text:
                continue
            # Texts may fill half of the queue: numbers are what the evidence cannot do without.
            limit = self._limit // 2 if is_text else self._limit
            if self._closed or self._queue.qsize() + len(self._held) >= limit:
                kept_all = False
                self._count_dropped(record)
            else:
                self._queue.put(record)
        return kept_all

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was offered so far is on disk; False if that took longer than `timeout_s`."""
        if self._closed:
            return True
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then stop."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while True:
                batch, flushes, is_last = self._next_batch()
                self._write(batch)
                self._flushes += flushes
                if is_last:
                    for record in self._held:
                        self._count_dropped(record)
                if is_last or not self._held:
                    for flush in self._flushes:
                        flush.set()
                    self._flushes.clear()
                if is_last:
                    return
        finally:
            self._store.close()

    def _next_batch(self) -> tuple[list[Record], list[threading.Event], bool]:
        """Wait for a first record, then gather what follows within BATCH_WAIT_S; a flush ends the gathering.

        What a disk has refused is due again after a pause, with nothing new to write as well.
        """
        batch: list[Record] = []
        deadline = time.monotonic() + (HELD_PAUSE_S if self._held else BATCH_WAIT_S)
        while len(batch) < BATCH_RECORDS:
            is_patient = not batch and not self._held
            try:
                item = self._queue.get(timeout=None if is_patient else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if item is None:
                return batch, [], True
            if isinstance(item, threading.Event):
                return batch, [item], False
            if is_patient:
                deadline = time.monotonic() + BATCH_WAIT_S
            batch.append(item)
        return batch, [], False

    def _write(self, batch: Sequence[Record]) -> None:
        if batch and not self._held:
            try:
                self._store.append(*batch)
            except StoreError as fault:
                self._report(fault)
            else:
                self._written += len(batch)
                return
        self._write_singly([*self._held, *batch])

    def _write_singly(self, records: Sequence[Record]) -> None:
        """One by one, so that a record that is bad itself does not take its batch with it.

        Where the disk refuses, that record and all behind it are held, so that no row is stored without those that
        came before it: an attempt never lacks its task.
        """
        self._held = []
        for number, record in enumerate(records):
            try:
                self._store.append(record)
            except StoreError as fault:
                if isinstance(fault.__cause__, sqlite3.OperationalError):
                    self._held = list(records[number:])
                    return
                logger.warning("a record is lost: %s", fault)
                self._count_dropped(record)
            else:
                self._written += 1

    def _count_dropped(self, record: Record) -> None:
        if isinstance(record, Text):
            self._dropped_texts += 1
        else:
            self._dropped += 1

    def _report(self, fault: StoreError) -> None:
        if self._on_fault is not None:
            report, self._on_fault = self._on_fault, None
            logger.warning("%s", fault)
            report(str(fault))
