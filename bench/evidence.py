"""How a full report grows: 10 thousand to 10 million requests, on SQLite and on shipped Parquet files under DuckDB."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from analysis.engines import DuckDbSource
from analysis.ship import SHIPPED, Destination, arrow_schema
from analysis.source import column_types
from analysis.statements import DETAILS
from analysis.store import Store
from analysis.summing import sum_up_finished
from analysis.sums import SUMS, VERSION
from bench.report import Report
from tests.analysis.synthetic import Plan, records

SQLITE_SIZES = (10_000, 100_000, 1_000_000)
PARQUET_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
LIMIT_ENVIRONMENT = "CODETRIAL_BENCH_REQUESTS"

REQUESTS_PER_EPISODE = 5
EPISODES_PER_SESSION = 20
DEVELOPERS = 50
MEMORY = "6GB"
"""For DuckDB where it makes what is measured."""


def run(report: Report) -> None:
    limit = int(os.environ.get(LIMIT_ENVIRONMENT, PARQUET_SIZES[-1]))
    rows: list[list[Any]] = []
    for size in PARQUET_SIZES:
        if size > limit:
            continue
        with tempfile.TemporaryDirectory(prefix="codetrial-bench-") as folder:
            lake = Path(folder) / "lake"
            make_lake(lake, size)
            if size in SQLITE_SIZES:
                database = Path(folder) / "codetrial.db"
                fill(database, lake)
                rows += _each("SQLite", size, ["--store", str(database)], database, sum_up_finished)
                database.unlink()
            rows += _each("DuckDB on Parquet", size, ["--from", str(lake)], lake, sum_lake)
    rows.sort(key=lambda row: (str(row[0]), str(row[1]), int(str(row[2]))))
    for engine in ("DuckDB on Parquet", "SQLite"):
        for state in STATES:
            own = [row for row in rows if row[:2] == [engine, state]]
            if len(own) > 1:
                slope, last = (_slope(part) for part in (own, own[-2:]))
                rows.append([f"{engine}: log-log slope of CPU (last step)", state, "", "", f"{slope:.2f} ({last:.2f})"])
    report.table(
        "Full report, HTML page included",
        ["store", "report", "requests", "seconds", "CPU seconds", "peak memory MB", "size MB", "page MB"],
        [[*row, *[""] * (8 - len(row))] for row in rows],
        command="python -m bench evidence",
        note="Whole command in a process of its own, none of which leaves anything to the next. Fresh: every row is "
        "read (--fresh). Summing up: what those who write do once, a little when each session ends, here all at once. "
        "As written: the report that a person gets, from what the doors and `codetrial ship` leave; the "
        "files are in the system's cache. Targets, as written: 1 M on SQLite in 5 s and 500 MB; 10 M on DuckDB in 8 s "
        "and 1.5 GB; "
        "a page of 1.5 MB. A request has two attempts, two suggestions and two scores; what was taken one a horizon.",
    )


STATES = ("fresh", "as written")


def _slope(rows: list[list[Any]]) -> float:
    """Of the logarithm of CPU time over that of the number of requests, by least squares."""
    sizes, seconds = (np.log([float(row[column]) for row in rows]) for column in (2, 4))
    return float(np.polyfit(sizes, seconds, 1)[0])


def _each(engine: str, size: int, where: list[str], place: Path, sum_up: Callable[[Path], None]) -> list[list[Any]]:
    fresh = _measure([*where, "--fresh"])
    without = _megabytes(place)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    sum_up(place)
    spent = (time.perf_counter() - begun, time.process_time() - begun_cpu)
    rows: list[list[Any]] = [
        [engine, "fresh", size, *fresh[:3], without, fresh[3]],
        [engine, "summing up, once", size, *spent, "", _megabytes(place) - without],
        [engine, "as written", size, *(found := _measure(where))[:3], _megabytes(place), found[3]],
    ]
    for row in rows:
        # A size takes minutes: who waits wants to see it.
        print(*(f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row), file=sys.stderr, flush=True)
    return rows


def _megabytes(place: Path) -> float:
    files = place.rglob("*.parquet") if place.is_dir() else [place]
    return sum(path.stat().st_size for path in files) / 1e6


def _measure(where: list[str]) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds and peak megabytes of `codetrial report` in a new process, and megabytes of its page."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "r.html"
        command = [sys.executable, "-m", "codetrial.cli", "report", *where, "--json", "--html", str(page)]
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURED, *command], capture_output=True, text=True, check=True
        )
        page_bytes = page.stat().st_size
    seconds, cpu_seconds, peak_kb = map(float, done.stderr.split()[-3:])
    assert json.loads(done.stdout)["size"]["requests"] > 0
    return seconds, cpu_seconds, peak_kb / 1024, page_bytes / 1e6


MEASURED = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
seconds = time.perf_counter() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""
"""Between us and the report: a process's peak begins with that of the one that started it, and ours is large."""


def make_lake(lake: Path, size: int) -> None:
    """Shipped files of a made-up trial with this many requests; DuckDB makes them, Python would take an hour."""
    connection = duckdb.connect()
    connection.execute(
        f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false; SET enable_progress_bar = false"
    )
    trial, *arms = (record for record in records(Plan(sessions=0)))
    episodes = max(1, size // REQUESTS_PER_EPISODE)
    sessions = max(1, episodes // EPISODES_PER_SESSION)
    for table, found in (("trial", [trial]), ("arm", arms)):
        names = list(column_types(table))
        rows = [[getattr(record, name) for name in names] for record in found]
        marks = ", ".join("?" * len(names))
        connection.execute(_create(table))
        connection.executemany(f"INSERT INTO made_{table} VALUES ({marks})", rows)
    identity = getattr(trial, "id")  # noqa: B009  # Record is the static type here.
    spread = f"(x // {REQUESTS_PER_EPISODE})"
    statements = {
        "session": f"""SELECT printf('s%08d', x) AS id, '{identity}' AS trial, 'editor' AS door, 'person' AS origin,
            printf('dev%03d', x % {DEVELOPERS}) AS developer, 'inline' AS surface, '0.1.0' AS codetrial_version,
            1 AS started_ns, {_moment("x * 1200.0")} AS started_at FROM range({sessions}) r(x)""",
        "session_end": f"""SELECT printf('s%08d', x) AS session, 'exit' AS reason, 0 AS dropped_events, 2 AS ended_ns,
            {_moment("x * 1200.0 + 2400")} AS ended_at FROM range({sessions}) r(x)""",
        "assignment": f"""SELECT printf('e%09d', x) AS id, '{identity}' AS trial,
            printf('s%08d', x // {EPISODES_PER_SESSION}) AS session, 'episode' AS unit, 'doc' AS document,
            {_shown("x")} AS shown, 0.45 AS propensity_a, 0.45 AS propensity_b, 0.1 AS propensity_none, 1 AS is_sampled,
            1 AS opened_ns, {_moment("x * 60.0")} AS opened_at, 60000000001 AS closes_ns FROM range({episodes}) r(x)""",
        "task": f"""SELECT printf('k%010d', x) AS id, '{identity}' AS trial,
            printf('s%08d', {spread} // {EPISODES_PER_SESSION}) AS session, printf('e%09d', {spread}) AS assignment,
            'editor' AS door, 'routed' AS disposition, 'doc' AS document, 1 AS document_version,
            ['python', 'python', 'typescript', 'go', 'rust'][CAST(1 + hash(x + 2) % 5 AS BIGINT)] AS language,
            ['line_start', 'member', 'argument', 'line_end', 'comment'][CAST(1 + hash(x + 3) % 5 AS BIGINT)] AS place,
            1 AS requested_ns, {_moment("x * 12.0")} AS requested_at, 2 AS routed_ns FROM range({size}) r(x)""",
        "attempt": f"""SELECT printf('a%010d%s', x, l) AS id, printf('k%010d', x) AS task, '{identity}-' || l AS arm,
            l AS label, CAST({_shown(spread)} = l AS BIGINT) AS is_shown,
            CASE WHEN hash(x + 4) % 50 = 0 THEN 'error' ELSE 'ok' END AS status,
            CASE WHEN hash(x + 4) % 50 = 0 THEN NULL
                 ELSE 250 * exp(0.5 * sqrt(-2 * ln({_uniform("x", 5)})) * cos(6.283185 * {_uniform("x", 6)})) END
                AS latency_ms,
            1500 AS tokens_in, 40 AS tokens_out, 450000 AS cost_nanousd, 0 AS is_cache_hit, 0 AS retries,
            0 AS in_flight, 1 AS sent_ns FROM range({size}) r(x), (VALUES ('A'), ('B')) labels(l)""",
        "suggestion": f"""SELECT printf('g%010d%s', x, l) AS id, printf('a%010d%s', x, l) AS attempt,
            printf('k%010d', x) AS task, l AS label, 0 AS rank, 'h' AS raw_hash, 'h' AS text_hash, 40 AS raw_chars,
            8 + hash(x) % 80 AS chars, 1 AS lines, '[]' AS filters, '1' AS cut_version
            FROM range({size}) r(x), (VALUES ('A'), ('B')) labels(l) WHERE hash(x + 4) % 50 <> 0""",
        "exposure": f"""SELECT printf('x%010d', x) AS id, printf('g%010d%s', x, {_shown(spread)}) AS suggestion,
            printf('k%010d', x) AS task, {_shown(spread)} AS label, 'inline' AS surface, 0 AS rank, 3 AS offered_ns,
            {_moment("x * 12.0")} AS offered_at FROM range({size}) r(x) WHERE {_offered()}""",
        "outcome": f"""SELECT printf('o%010d', x) AS id, printf('g%010d%s', x, {_shown(spread)}) AS suggestion,
            printf('k%010d', x) AS task, {_shown(spread)} AS label,
            CASE WHEN {_taken()} THEN 'accepted' ELSE 'not_taken' END AS outcome, 'whole' AS rule,
            CASE WHEN {_taken()} THEN 8 + hash(x) % 80 END AS accepted_chars, 4 AS decided_ns,
            {_moment("x * 12.0")} AS decided_at FROM range({size}) r(x) WHERE {_offered()}""",
        "continuation": f"""SELECT printf('n%010d%s', x, h) AS id, printf('k%010d', x) AS task, h AS horizon,
            'found' AS state, 30 AS chars, 5 AS taken_ns, {_moment("x * 12.0 + 600")} AS taken_at
            FROM range({size}) r(x), (VALUES ('30s'), ('120s'), ('300s'), ('600s')) horizons(h)""",
        "score": f"""SELECT printf('c%010d%s', x, l) AS id, printf('g%010d%s', x, l) AS suggestion,
            printf('k%010d', x) AS task, l AS label, '30s' AS horizon, 'first_line_similarity' AS metric,
            {_uniform("x", 7)} AS value, '1' AS scorer_version
            FROM range({size}) r(x), (VALUES ('A'), ('B')) labels(l) WHERE hash(x + 4) % 50 <> 0
            UNION ALL SELECT printf('r%010d%s', x, h), printf('g%010d%s', x, {_shown(spread)}), printf('k%010d', x),
            {_shown(spread)}, h, 'kept_share', CAST(hash(x + 8) % 10 < 8 AS DOUBLE), '1'
            FROM range({size}) r(x), (VALUES ('30s'), ('120s'), ('300s'), ('600s')) horizons(h)
            WHERE {_offered()} AND {_taken()}""",
    }
    for table in SHIPPED:
        if table in ("finding", "incident", *SUMS):
            continue
        folder = lake / table / PLACE
        folder.mkdir(parents=True)
        source = f"SELECT * FROM made_{table}" if table in ("trial", "arm") else statements[table]
        made = {name[0] for name in connection.execute(f"DESCRIBE {source}").fetchall()}
        columns = ", ".join(
            f'CAST({f"{chr(34)}{name}{chr(34)}" if name in made else "NULL"} AS {KINDS[kind]}) AS "{name}"'
            for name, kind in column_types(table).items()
        )
        connection.execute(
            f"COPY (SELECT {columns} FROM ({source})) TO '{folder}/batch.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
    (lake / "_done").mkdir()
    (lake / "_done" / "batch.json").write_text(json.dumps({"batch": "batch", "sessions": []}))
    connection.close()


def sum_lake(lake: Path) -> None:
    """What `codetrial ship` would have brought along: the same statements, under DuckDB for speed."""
    source = DuckDbSource(Destination(str(lake)), fresh=True)
    source.run(f"SET memory_limit = '{MEMORY}'")  # All sessions at once, which nobody does.
    names = source.fetch("sessions").strings("id")
    source.put("chosen", {"session": names, "number": np.arange(len(names))})
    for name in DETAILS:
        source.hold(f"details_{name}")
    for name, columns in SUMS.items():
        rows = f"details_{name.removesuffix('_sum')}"
        made = {"id": "number", "sum": "number", "version": str(VERSION), "made_at": "'2026-03-02'"}
        listed = ", ".join(f'CAST({made.get(c, c)} AS {KINDS[kind]}) AS "{c}"' for c, kind in columns.items())
        joined = f"{rows} JOIN chosen USING (number)" if name == "session_sum" else rows
        folder = lake / name / PLACE
        folder.mkdir(parents=True)
        source.run(
            f"COPY (SELECT {listed} FROM {joined}) TO '{folder}/batch.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
    source.close()


PLACE = "trial=made/dt=2026-03-02/dev=all"

KINDS = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE"}


def _create(table: str) -> str:
    columns = ", ".join(f'"{name}" {KINDS[kind]}' for name, kind in column_types(table).items())
    return f"CREATE TABLE made_{table} ({columns})"


def _moment(seconds: str) -> str:
    start = "TIMESTAMP '2026-03-02 09:00:00'"
    return f"strftime({start} + to_microseconds(CAST(({seconds}) * 1e6 AS BIGINT)), '%Y-%m-%dT%H:%M:%S.000Z')"


def _uniform(key: str, salt: int) -> str:
    return f"((hash({key} * 31 + {salt}) % 999983 + 1) / 999985.0)"


def _shown(episode: str) -> str:
    drawn = f"hash({episode} + 1) % 100"
    return f"CASE WHEN {drawn} < 45 THEN 'A' WHEN {drawn} < 90 THEN 'B' ELSE 'none' END"


def _offered() -> str:
    return f"{_shown(f'(x // {REQUESTS_PER_EPISODE})')} <> 'none' AND hash(x + 4) % 50 <> 0"


def _taken() -> str:
    return "hash(x + 9) % 100 < 28"


def fill(database: Path, lake: Path) -> None:
    """The same rows in a real store."""
    with Store(database) as store:
        writer = store.db.conn
        reader = duckdb.connect()
        reader.execute("SET enable_progress_bar = false")
        for table in SHIPPED:
            files = lake / table / PLACE / "batch.parquet"
            if not files.exists():
                continue
            names = arrow_schema(table).names
            marks = ", ".join("?" * len(names))
            quoted = ", ".join(f'"{name}"' for name in names)
            cursor = reader.execute(
                f"SELECT {quoted} FROM read_parquet('{files}', hive_partitioning = false) ORDER BY 1"
            )
            writer.execute("BEGIN IMMEDIATE")
            while rows := cursor.fetchmany(50_000):
                writer.executemany(f'INSERT INTO "{table}" ({quoted}) VALUES ({marks})', rows)
            writer.execute("COMMIT")
        reader.close()
