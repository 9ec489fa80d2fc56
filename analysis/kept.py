"""Rollups of finished sessions, kept in a file, so that a report reads only what was recorded since.

Events are only ever added, so the sums of a finished session stay true until a row of it is added or deleted. What was
read is remembered as a mark (how many rows each table had, or which batches there were); a kept rollup is used only if
everything up to its mark is still there and nothing new belongs to its sessions. Else all is read again. A kept file is
never evidence: it can be deleted at any time, and `codetrial report --fresh` does without it.
"""

import hashlib
import json
import logging
import sqlite3
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from analysis.rollup import (
    AGREEMENT,
    AGREEMENT_HORIZON,
    COUNTERS,
    EPISODE_COLUMNS,
    HORIZONS_S,
    PAIR_COLUMNS,
    Rollup,
    Scope,
    read,
)
from analysis.source import Source

__all__ = ["KEEP_FROM", "Keeper", "Since", "SqliteKeeper", "forget", "rollup_of"]

logger = logging.getLogger(__name__)

VERSION = 3
"""Of what a rollup sums up, and how: a file of another version is not read."""

KEEP_FROM = 2_000
"""Episodes; less than that is read faster than kept."""

NEW_AT_ONCE = 500
"""Sessions named one by one in a query; with more new ones, everything is read."""

REWRITE_FROM = 50
"""Finished sessions that are new before the file is written again."""

Json = dict[str, Any]


class Since(NamedTuple):
    """What happened since a mark."""

    is_append: bool
    """False: something that was there is gone or changed."""
    sessions: frozenset[str]
    """Sessions that rows were added to."""


class Keeper(Protocol):
    """Where a source's rollups are kept, and how far they reach."""

    def path(self, scope: Scope) -> Path: ...

    def mark(self) -> Json:
        """How far the source reaches now."""
        ...

    def since(self, mark: Json) -> Since: ...


def rollup_of(
    source: Source,
    scope: Scope,
    *,
    everyone: Iterable[str],
    chosen: Iterable[str],
    finished: Iterable[str],
    keeper: Keeper | None,
) -> Rollup:
    """The rollup of the chosen sessions, from what is kept as far as that holds.

    Args:
        finished: Those of `chosen` that can have no further event.
    """
    everyone, wanted, done = list(everyone), frozenset(chosen), frozenset(finished)
    if keeper is None or scope.since is not None:
        return read(source, scope, everyone, wanted)
    mark = keeper.mark()
    kept = _load(keeper, scope)
    if kept is not None and frozenset(kept.sessions) <= done:
        new = wanted - frozenset(kept.sessions)
        if len(new) <= NEW_AT_ONCE:
            closed, still_open = (
                _some(source, scope, everyone, some) for some in (sorted(new & done), sorted(new - done))
            )
            if len(closed.sessions) >= REWRITE_FROM:
                _save(keeper, scope, kept + closed, mark)
            return kept + closed + still_open
    whole = read(source, scope, everyone, wanted)
    if len(whole.session) >= KEEP_FROM and len(wanted - done) <= NEW_AT_ONCE:
        _save(keeper, scope, whole - _some(source, scope, everyone, sorted(wanted - done)), mark)
    return whole


def _some(source: Source, scope: Scope, everyone: Iterable[str], sessions: list[str]) -> Rollup:
    if not sessions:
        return Rollup()
    only = Scope(scope.trial, scope.origin, scope.since, is_everything=False, only=tuple(sessions))
    return read(source, only, everyone, sessions)


_ARRAYS = ("session", *EPISODE_COLUMNS, "pair_session", *PAIR_COLUMNS)


def _load(keeper: Keeper, scope: Scope) -> Rollup | None:
    path = keeper.path(scope)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if about["version"] != VERSION:
                return None
            since = keeper.since(about["mark"])
            if not since.is_append or since.sessions & set(about["sessions"]):
                logger.info("%s no longer holds: everything is read again", path)
                return None
            columns = {name: stored[name] for name in _ARRAYS}
            attempts = {name: stored[f"attempts_{name}"] for name in about["attempts"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as fault:
        logger.info("%s cannot be read (%s): everything is read again", path, fault)
        return None
    counters: Json = {name: {tuple(key): n for key, n in about[name]} for name in COUNTERS}
    return Rollup(sessions=tuple(about["sessions"]), attempts=attempts, **columns, **counters)


def _save(keeper: Keeper, scope: Scope, rollup: Rollup, mark: Json) -> None:
    """Whole or not at all, and never in the way: where nothing can be written, nothing is kept."""
    path = keeper.path(scope)
    about = {
        "version": VERSION,
        "mark": mark,
        "sessions": rollup.sessions,
        "attempts": list(rollup.attempts),
        **{name: [[list(key), n] for key, n in getattr(rollup, name).items()] for name in COUNTERS},
    }
    arrays = {name: getattr(rollup, name) for name in _ARRAYS}
    arrays |= {f"attempts_{name}": values for name, values in rollup.attempts.items()}
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        draft.replace(path)
    except OSError as fault:
        logger.info("nothing is kept in %s: %s", path, fault)
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def name_of(scope: Scope) -> str:
    return hashlib.sha256(f"{scope.trial}|{scope.origin.value}".encode()).hexdigest()[:12]


def forget(database: Path) -> None:
    """Delete what was kept of a database: it holds sums of rows that may have been deleted."""
    for path in database.parent.glob(f"{database.name}.rollup-*.npz"):
        path.unlink(missing_ok=True)


_BY_SESSION = ("assignment", "task", "incident")
_BY_TASK = ("attempt", "outcome", "exposure", "continuation", "score")
_MARKED = ("session", "session_end", *_BY_SESSION, *_BY_TASK)

_HORIZONS = ", ".join(f"'{h}s'" for h in HORIZONS_S)
_COUNTED = {
    "continuation": f"x.horizon = '{AGREEMENT_HORIZON}'",
    "score": f"(x.metric = 'kept_share' AND x.horizon IN ({_HORIZONS}))"
    f" OR (x.metric = '{AGREEMENT}' AND x.horizon = '{AGREEMENT_HORIZON}')",
}
"""Others, such as what is measured at a later commit, change no number of a rollup."""


class SqliteKeeper:
    """Beside the database; the mark is the last row and the number of rows of each table."""

    def __init__(self, database: Path, connection: sqlite3.Connection) -> None:
        self._database = database
        self._connection = connection

    def path(self, scope: Scope) -> Path:
        return self._database.with_name(f"{self._database.name}.rollup-{name_of(scope)}.npz")

    def mark(self) -> Json:
        # VACUUM may number rows anew, and raises the schema's version.
        [version] = self._one("PRAGMA schema_version")
        return {"schema": version, **{table: self._extent(table) for table in _MARKED}}

    def _one(self, statement: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._connection.execute(statement).fetchone()
        return found

    def _extent(self, table: str) -> list[int]:
        [last] = self._one(f'SELECT coalesce(max(rowid), 0) FROM "{table}"')
        [rows] = self._one(f'SELECT count(*) FROM "{table}"')
        return [last, rows]

    def since(self, mark: Json) -> Since:
        now = self.mark()
        is_append = now["schema"] == mark["schema"]
        touched: set[str] = set()
        for table in _MARKED:
            last, rows = mark[table]
            [added] = self._one(f'SELECT count(*) FROM "{table}" WHERE rowid > {int(last)}')
            is_append &= now[table][0] >= last and now[table][1] == rows + added
            if added and table not in ("session", "session_end"):
                found = self._sessions(table, int(last))
                # An incident of no session belongs to the sums of all of them.
                is_append &= None not in found
                touched |= found - {None}
        return Since(is_append, frozenset(touched))

    def _sessions(self, table: str, last: int) -> set[Any]:
        if table in _BY_SESSION:
            statement = f'SELECT DISTINCT x.session FROM "{table}" x WHERE x.rowid > {last}'
        else:
            counted = f" AND ({_COUNTED[table]})" if table in _COUNTED else ""
            statement = (
                f'SELECT DISTINCT t.session FROM "{table}" x JOIN task t ON t.id = x.task '
                f"WHERE x.rowid > {last}{counted}"
            )
        return {row[0] for row in self._connection.execute(statement)}


class BatchKeeper:
    """For files shipped in batches, in the cache of this machine; the mark is the names of the batches."""

    def __init__(self, folder: Path, place: str, batches: Mapping[str, Iterable[str]]) -> None:
        self._stem = hashlib.sha256(place.encode()).hexdigest()[:12]
        self._folder = folder
        self._batches = batches

    def path(self, scope: Scope) -> Path:
        return self._folder / f"{self._stem}-{name_of(scope)}.npz"

    def mark(self) -> Json:
        return {"batches": sorted(self._batches)}

    def since(self, mark: Json) -> Since:
        known = set(mark["batches"])
        new = [sessions for name, sessions in self._batches.items() if name not in known]
        return Since(known <= set(self._batches), frozenset(session for sessions in new for session in sessions))
