"""Parquet files for a team: what one person's store holds, without text, put where others can read it.

    DEST/<table>/trial=<id>/dt=<day the sessions started>/dev=<pseudonym>/<batch>.parquet

A batch is a set of finished sessions of one developer and day with all their rows, so that one folder per table is all
there is of somebody's day. Its name is the hash of their ids, so the same sessions always make the same names. A plan
is written first, the files next, a done mark last: a run that was killed is finished by the next one with exactly the
same names, and readers look at done batches only.

Rows that a session gained after it was shipped (what a later commit kept of a text, a merge) follow in a late batch. A
done mark says how many rows of each table each session had, which is the mark that tells; what exactly is missing is
then found by the ids in the files.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.source import column_types, tables
from analysis.store import Store
from analysis.summing import ABANDONED, sum_up, unsummed
from analysis.sums import SUMS
from codetrial.clock import now_utc, utc_text
from codetrial.errors import EvidenceError
from codetrial.records import Origin

__all__ = ["SHIPPED", "Batch", "Destination", "Shipped", "ship"]

SESSIONS_PER_BATCH = 500
ROWS_AT_ONCE = 20_000

_BY_SESSION = ("session_end", "assignment", "task", "incident")
_BY_TASK = ("attempt", "suggestion", "finding", "exposure", "outcome", "continuation", "score")
_EVENTS = (*_BY_SESSION, *_BY_TASK)
_OF_SUM = tuple(table for table in SUMS if table != "session_sum")
SHIPPED = ("trial", "arm", "session", *_EVENTS, *SUMS)
"""All tables but the texts, which never leave the machine this way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    name: str
    sessions: tuple[str, ...]
    late_of: str | None = None
    """The batch that its sessions were shipped with; None if that is this one."""
    rows: Mapping[str, Mapping[str, int]] | None = None
    """Rows by session and table; None in marks of before they were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    batches: int
    sessions: int
    rows: int
    open_sessions: int
    """Left for the next time: they still run."""
    late_rows: int = 0
    """Of sessions that had been shipped before."""


class Destination:
    """A folder on any file system that fsspec knows, such as `/mnt/team/codetrial` or `s3://bucket/codetrial`."""

    def __init__(self, url: str) -> None:
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as fault:
            raise EvidenceError(f"Cannot use {url!r}: {fault}") from fault
        self.root = self.root.rstrip("/")
        self.url = url

    def batches(self, kind: str) -> list[Batch]:
        """Batches that are planned (`plan`) or complete (`done`)."""
        try:
            paths = self.files.glob(f"{self.root}/_{kind}/*.json")
            contents = [json.loads(self.files.cat_file(path)) for path in sorted(paths)]
        except (OSError, ValueError) as fault:
            raise EvidenceError(f"Cannot read {self.url}: {fault}") from fault
        return [
            Batch(name=c["batch"], sessions=tuple(c["sessions"]), late_of=c.get("late_of"), rows=c.get("rows"))
            for c in contents
        ]

    def mark(self, kind: str, batch: Batch) -> None:
        content = json.dumps(
            {"batch": batch.name, "sessions": batch.sessions, "late_of": batch.late_of, "rows": batch.rows}
        )
        self.write(f"_{kind}/{batch.name}.json", content.encode())

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all: object stores put so by themselves, a folder needs a rename."""
        path = f"{self.root}/{name}"
        try:
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            draft = f"{path}.draft"
            self.files.pipe_file(draft, content)
            self.files.mv(draft, path)
        except OSError as fault:
            raise EvidenceError(f"Cannot write to {self.url}: {fault}") from fault

    def parquet(self, table: str, done: Sequence[Batch]) -> list[str]:
        """Files of one table that belong to done batches."""
        names = {batch.name for batch in done}
        found = self.files.glob(f"{self.root}/{table}/trial=*/dt=*/dev=*/*.parquet")
        return sorted(path for path in found if path.rsplit("/", 1)[1].split(".")[0] in names)


def ship(store: Path, url: str, *, origin: Origin | None = Origin.PERSON, now: datetime | None = None) -> Shipped:
    """Write what is finished and not there yet.

    Args:
        origin: Which sessions; None for all.

    Raises:
        EvidenceError: the destination cannot be read or written.
    """
    destination = Destination(url)
    with closing(Store(store)) as opened:
        # Whoever reads what is shipped then reads one row an episode, not all that led to it.
        sum_up(opened, unsummed(opened, now))
        done = destination.batches("done")
        there = {session for batch in done for session in batch.sessions}
        finished, still_open = _finished(opened, origin, now or now_utc())
        names = {batch.name for batch in done}
        # What an earlier run began comes first, with its own sessions; only then new ones are grouped.
        begun = [
            batch
            for batch in destination.batches("plan")
            if batch.name not in names and set(batch.sessions) <= finished.keys()
        ]
        there |= {session for batch in begun for session in batch.sessions}
        batches = begun + _grouped({session: place for session, place in finished.items() if session not in there})
        rows = 0
        for batch in batches:
            destination.mark("plan", batch)
            rows += _ship_batch(opened, destination, batch)
            destination.mark("done", replace(batch, rows=_counted(opened, batch.sessions)))
        late_batches, late_rows = _ship_late(opened, destination, done)
    return Shipped(
        batches=len(batches) + late_batches,
        sessions=sum(len(batch.sessions) for batch in batches),
        rows=rows + late_rows,
        open_sessions=still_open,
        late_rows=late_rows,
    )


def _grouped(sessions: dict[str, str]) -> list[Batch]:
    by_place: dict[str, list[str]] = defaultdict(list)
    for session, place in sessions.items():
        by_place[place].append(session)
    return [
        _batch(together[i : i + SESSIONS_PER_BATCH])
        for _, together in sorted(by_place.items())
        for i in range(0, len(together), SESSIONS_PER_BATCH)
    ]


def _batch(sessions: Sequence[str]) -> Batch:
    ordered = tuple(sorted(sessions))
    return Batch(name=hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:24], sessions=ordered)


_PLACE = "'trial=' || s.trial || '/dt=' || substr(s.started_at, 1, 10) || '/dev=' || s.developer"


def _finished(store: Store, origin: Origin | None, now: datetime) -> tuple[dict[str, str], int]:
    """Finished sessions with the folder they belong to, and how many still run."""
    rows = store.rows(
        f"SELECT s.id, {_PLACE} AS place, e.session IS NOT NULL OR s.started_at < ? AS is_closed FROM session s "
        "LEFT JOIN session_end e ON e.session = s.id WHERE ? IS NULL OR s.origin = ? ORDER BY s.id",
        [utc_text(now - ABANDONED), origin and origin.value, origin and origin.value],
    )
    finished = {row["id"]: str(row["place"]) for row in rows if row["is_closed"]}
    return finished, len(rows) - len(finished)


def _choose(store: Store, sessions: Iterable[str]) -> None:
    """Make these the sessions that selections are of."""
    store.db.conn.execute("CREATE TEMP TABLE IF NOT EXISTS shipping (id TEXT PRIMARY KEY)")
    store.db.conn.execute("DELETE FROM shipping")
    store.db.conn.executemany("INSERT INTO shipping VALUES (?)", [[session] for session in set(sessions)])


Counts = dict[str, dict[str, int]]


def _counted(store: Store, sessions: Iterable[str]) -> Counts:
    """Rows of the store by session and table."""
    _choose(store, sessions)
    found: Counts = defaultdict(dict)
    for table in (*_EVENTS, "session_sum"):
        if table in _BY_SESSION or table == "session_sum":
            statement = f'SELECT session, count(*) AS n FROM "{table}" WHERE session IN (SELECT id FROM shipping)'
        else:
            statement = (
                f'SELECT t.session AS session, count(*) AS n FROM task t JOIN "{table}" x ON x.task = t.id '
                "WHERE t.session IN (SELECT id FROM shipping)"
            )
        for row in store.rows(f"{statement} GROUP BY 1"):
            found[row["session"]][table] = row["n"]
    return dict(found)


def _ship_late(store: Store, destination: Destination, done: Sequence[Batch]) -> tuple[int, int]:
    """Batches and rows of what shipped sessions have gained since.

    There is no plan for them: a run that is killed leaves files that nobody reads, and the next makes them again.
    """
    families: dict[str, list[Batch]] = defaultdict(list)
    for batch in done:
        families[batch.late_of or batch.name].append(batch)
    here = _counted(store, [session for batch in done for session in batch.sessions])
    batches = rows = 0
    for original, family in families.items():
        there = _shipped_counts(destination, family)
        grown: dict[str, set[str]] = defaultdict(set)
        for session in {session for batch in family for session in batch.sessions} & here.keys():
            for table, n in here[session].items():
                if n > there.get(session, {}).get(table, 0):
                    grown[table].add(session)
        if not grown:
            continue
        # Late rows are in new sums of their sessions.
        grown["session_sum"] = set().union(*grown.values())
        written, batch = _ship_rows(store, destination, original, family, grown)
        if batch.rows:
            destination.mark("done", batch)
            batches, rows = batches + 1, rows + written
    return batches, rows


def _shipped_counts(destination: Destination, family: Sequence[Batch]) -> Counts:
    found: Counts = defaultdict(lambda: defaultdict(int))
    for batch in family:
        counts = batch.rows if batch.rows is not None else _read_counts(destination, batch)
        for session, by_table in counts.items():
            for table, n in by_table.items():
                found[session][table] += n
    return found


def _read_counts(destination: Destination, batch: Batch) -> Counts:
    """From the files, for marks that do not say."""
    found: Counts = defaultdict(lambda: defaultdict(int))
    tasks = _column_pairs(destination, "task", batch, ("id", "session"))
    session_of = dict(tasks)
    for table in (*_EVENTS, "session_sum"):
        if table in _BY_SESSION or table == "session_sum":
            sessions = [session for session, _ in _column_pairs(destination, table, batch, ("session", "session"))]
        else:
            owners = [task for task, _ in _column_pairs(destination, table, batch, ("task", "task"))]
            sessions = [session_of[task] for task in owners if task in session_of]
        for session in sessions:
            if session is not None:
                found[session][table] += 1
    return found


def _column_pairs(
    destination: Destination, table: str, batch: Batch, columns: tuple[str, str]
) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for path in destination.parquet(table, [batch]):
        with destination.files.open(path, "rb") as file:
            content = pq.read_table(file, columns=sorted(set(columns)))
        found += zip(*(content[column].to_pylist() for column in columns), strict=True)
    return found


def _ship_rows(
    store: Store, destination: Destination, original: str, family: Sequence[Batch], grown: Mapping[str, set[str]]
) -> tuple[int, Batch]:
    """Write the rows of these sessions whose ids are in no file yet."""
    missing: dict[str, list[str]] = {}
    for table, sessions in grown.items():
        key = "session" if table == "session_end" else "id"
        known = {k for batch in family for k, _ in _column_pairs(destination, table, batch, (key, key))}
        _choose(store, sessions)
        chosen = store.db.conn.execute(_selection(table, f'x."{key}" AS k')).fetchall()
        missing[table] = sorted(row[0] for row in chosen if row[0] not in known)
    missing = {table: ids for table, ids in missing.items() if ids}
    digest = hashlib.sha256(json.dumps([original, missing], sort_keys=True).encode()).hexdigest()[:24]
    chosen_sessions = tuple(sorted({session for sessions in grown.values() for session in sessions}))
    [first] = store.rows(f"SELECT {_PLACE} AS place FROM session s WHERE s.id = ?", [chosen_sessions[0]])
    rows = 0
    for table, ids in missing.items():
        key = "session" if table == "session_end" else "id"
        store.db.conn.execute("CREATE TEMP TABLE IF NOT EXISTS late (k PRIMARY KEY)")
        store.db.conn.execute("DELETE FROM late")
        store.db.conn.executemany("INSERT INTO late VALUES (?)", [[k] for k in ids])
        _choose(store, grown[table])
        written, content = _parquet(table, store, f'{_selection(table)} AND x."{key}" IN (SELECT k FROM late)')
        destination.write(f"{table}/{first['place']}/{digest}.parquet", content)
        rows += written if table in _EVENTS else 0
    for table in _OF_SUM if "session_sum" in missing else ():
        _choose(store, grown["session_sum"])
        new = ", ".join(map(str, missing["session_sum"]))
        _, content = _parquet(table, store, f"{_selection(table)} AND x.sum IN ({new})")
        destination.write(f"{table}/{first['place']}/{digest}.parquet", content)
    counts = _late_counts(store, grown, missing)
    return rows, Batch(name=digest, sessions=chosen_sessions, late_of=original, rows=counts)


def _late_counts(store: Store, grown: Mapping[str, set[str]], missing: Mapping[str, list[str]]) -> Counts:
    found: Counts = defaultdict(lambda: defaultdict(int))
    for table, ids in missing.items():
        key = "session" if table == "session_end" else "id"
        owner = "t.session" if table in _BY_TASK else "x.session"
        _choose(store, grown[table])
        known = set(ids)
        for k, session in store.db.conn.execute(_selection(table, f'x."{key}", {owner}')).fetchall():
            found[session][table] += k in known
    return {session: dict(tables) for session, tables in found.items()}


def _ship_batch(store: Store, destination: Destination, batch: Batch) -> int:
    _choose(store, batch.sessions)
    [first] = store.rows(f"SELECT {_PLACE} AS place FROM session s WHERE s.id = ?", [batch.sessions[0]])
    rows = 0
    for table in SHIPPED:
        written, content = _parquet(table, store, _selection(table))
        if written:
            destination.write(f"{table}/{first['place']}/{batch.name}.parquet", content)
            rows += written if table not in SUMS else 0
    return rows


KEPT_BACK = {
    "seed": "''",
    "prefix_hash": "NULL",
    "suffix_hash": "NULL",
    "raw_hash": "NULL",
    "text_hash": "NULL",
    "error": "NULL",
    "request_id": "NULL",
    "detail": "NULL",
    "server_timings": "NULL",
}
"""Columns that stay behind. With the seed and a name anybody could make the pseudonyms again; a hash of a short text
can be found by trying; and what servers and incidents say in words may name anything."""


PARTS_OF_DETAIL = {
    "outcome": ("x.rule LIKE 'final!_%' ESCAPE '!'", ("near_posted", "ended", "fate")),
    "incident": ("x.kind = 'outside_finding'", ("is_bot", "fate")),
}
"""Rows whose detail holds something the review door's report needs, and what of it leaves: flags and words of ours."""


def _column(table: str, name: str) -> str:
    """One column as it leaves."""
    if name == "detail" and table in PARTS_OF_DETAIL:
        condition, parts = PARTS_OF_DETAIL[table]
        kept = ", ".join(f"'{part}', json_extract(x.detail, '$.{part}')" for part in parts)
        return f'CASE WHEN {condition} AND json_valid(x.detail) THEN json_object({kept}) END AS "{name}"'
    return f'{KEPT_BACK[name]} AS "{name}"' if name in KEPT_BACK else f'x."{name}"'


def _selection(table: str, names: str | None = None) -> str:
    """The rows of the chosen sessions: what may leave, or the columns that are named."""
    names = names or ", ".join(_column(table, name) for name in column_types(table))
    mine = "IN (SELECT id FROM shipping)"
    if table == "trial":
        return f"SELECT {names} FROM trial x WHERE x.id IN (SELECT trial FROM session WHERE id {mine})"
    if table == "arm":
        return f"SELECT {names} FROM arm x WHERE x.trial IN (SELECT trial FROM session WHERE id {mine})"
    if table == "session":
        return f"SELECT {names} FROM session x WHERE x.id {mine}"
    if table in _BY_SESSION or table == "session_sum":
        return f'SELECT {names} FROM "{table}" x WHERE x.session {mine}'
    if table in _OF_SUM:
        return f'SELECT {names} FROM session_sum m JOIN "{table}" x ON x.sum = m.id WHERE m.session {mine}'
    return f'SELECT {names} FROM "{table}" x JOIN task t ON t.id = x.task WHERE t.session {mine}'


def arrow_schema(table: str) -> pa.Schema:
    """The columns of a shipped table; the same whatever rows there are."""
    kinds = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in column_types(table).items()])


def _parquet(table: str, store: Store, selection: str) -> tuple[int, bytes]:
    schema = arrow_schema(table)
    sink = pa.BufferOutputStream()
    rows = 0
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for chunk in _chunks(store, selection):
            columns = [
                pa.array(column, type=field.type)
                for column, field in zip(zip(*chunk, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            rows += len(chunk)
    return rows, sink.getvalue().to_pybytes()


def _chunks(store: Store, statement: str) -> Iterator[list[tuple[Any, ...]]]:
    cursor = store.db.conn.execute(statement)
    while chunk := cursor.fetchmany(ROWS_AT_ONCE):
        yield chunk


assert set(SHIPPED) == {*tables, *SUMS} - {"text"}, "a new table needs a decision whether it may leave the machine"
