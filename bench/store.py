"""How fast events become durable: one writer, four processes on one file, against plain sqlite3 in the same run."""

import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from analysis.store import Writer
from bench.report import Report, spread
from codetrial.records import ArmLabel, Attempt, AttemptStatus

EVENTS = 100_000
ROUNDS = 3


def attempt(identity: str) -> Attempt:
    return Attempt(
        id=identity, task="t" * 26, arm="a" * 26, label=ArmLabel.A, is_shown=True, status=AttemptStatus.OK,
        error_kind=None, error=None, sent_ns=123456789, first_byte_ms=1.5, first_line_ms=2.5, latency_ms=3.5,
        censored_at_ms=None,
        http_status=200, model_returned="some-model-name", finish_reason="stop", tokens_in=500, tokens_cached=400,
        tokens_out=20, tokens_reasoning=None, cost_nanousd=12345, cost_basis="usage", is_cache_hit=False, retries=0,
        in_flight=1, server_timings='{"prompt_ms": 12.5, "predicted_ms": 80.1}',
    )  # fmt: skip


def through_the_writer(folder: Path, events: int) -> float:
    """Events per second from the first offer to durable."""
    records = [attempt(f"{n:026d}") for n in range(events)]
    with Writer(folder / f"writer-{time.monotonic_ns()}.db", queue_records=events) as writer:
        started = time.perf_counter()
        writer.offer(*records)
        writer.flush(120)
        elapsed = time.perf_counter() - started
        assert writer.counts.written == events
    return events / elapsed


def plain_sqlite(folder: Path, events: int, batch: int) -> float:
    """The same rows with nothing of ours: `executemany` of the same batch size, WAL, NORMAL."""
    connection = sqlite3.connect(folder / f"plain-{time.monotonic_ns()}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    row = [getattr(attempt("x"), name) for name in Attempt.__dataclass_fields__]
    row = [value.value if hasattr(value, "value") else value for value in row]
    connection.execute(f"CREATE TABLE attempt ({', '.join(f'c{n}' for n in range(len(row)))}, PRIMARY KEY (c0))")
    connection.execute("CREATE INDEX i ON attempt(c1)")
    insert = f"INSERT INTO attempt VALUES ({', '.join('?' * len(row))})"
    rows = [(f"{n:026d}", *row[1:]) for n in range(events)]
    started = time.perf_counter()
    for first in range(0, events, batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows[first : first + batch])
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - started
    connection.close()
    return events / elapsed


PROXY = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from analysis.store import Writer
    from bench.store import attempt
    with Writer(Path(sys.argv[1])) as writer:
        for n in range(int(sys.argv[3])):
            started = time.perf_counter()
            writer.offer(attempt(f"{sys.argv[2]}-{n}"))
            print((time.perf_counter() - started) * 1e6)
            time.sleep(0.001)
""")


def four_proxies(folder: Path, events: int) -> tuple[list[float], int, float]:
    """Four writers on one file, paced like busy proxies: what an offer costs its caller, and what arrived."""
    path = folder / "shared.db"
    started = time.perf_counter()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PROXY, str(path), str(n), str(events)], stdout=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    offers = [float(line) for writer in writers for line in writer.communicate(timeout=120)[0].splitlines()]
    elapsed = time.perf_counter() - started
    connection = sqlite3.connect(path)
    [arrived] = connection.execute("SELECT count(*) FROM attempt").fetchone()
    connection.close()
    return offers, arrived, elapsed


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = [(through_the_writer(folder, EVENTS), plain_sqlite(folder, EVENTS, 200)) for _ in range(ROUNDS)]
        ours, plain = (spread(side).p50 for side in zip(*pairs, strict=True))
        report.table(
            "Events made durable, attempts of 26 columns, median of 3 rounds",
            ["way", "events/s", "ratio to plain sqlite3"],
            [["plain sqlite3, executemany of 200", plain, 1.0], ["codetrial Writer", ours, ours / plain]],
            command="python -m bench store",
            note="Target: at least 20,000 a second.",
        )
        offers, arrived, _ = four_proxies(folder, 3000)
        cost = spread(offers)
        report.table(
            "Four proxies on one file",
            ["offered", "arrived", "lost", "offer p50 us", "p95 us", "p99 us"],
            [[4 * 3000, arrived, 4 * 3000 - arrived, cost.p50, cost.p95, cost.p99]],
            command="python -m bench store",
            note="What `offer` costs the thread that calls it; it never waits for the disk.",
        )
