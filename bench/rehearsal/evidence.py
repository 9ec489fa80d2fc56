"""What the recorded fortnight says: each report, one destination, one merged database, and all of them alike."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.rehearsal.account import Sat
from bench.rehearsal.desk import rows_of
from bench.rehearsal.ledger import Ledger
from bench.rehearsal.sittings import LOSING, TAKING
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel

__all__ = ["Evidence"]

TABLES = ("session", "session_end", "assignment", "task", "attempt", "suggestion", "finding", "exposure", "outcome",
          "continuation", "score", "incident")  # fmt: skip

OF_THE_SOURCE = frozenset({"made_at", "store", "created_at"})
"""Keys of a report that say where and when it was made, and when whoever's row of the trial it has first began."""


@dataclass(slots=True, kw_only=True)
class Evidence:
    folder: Path
    stores: Mapping[str, Path]
    """The developers' databases by name."""
    bot: Path
    ledger: Ledger

    @property
    def team(self) -> Path:
        return self.folder / "team.db"

    @property
    def shipped(self) -> Path:
        return self.folder / "shipped"

    def ship_half(self) -> None:
        """In the middle of the fortnight: the first developer ships, and the second is killed while shipping."""
        first, second = list(self.stores.values())[:2]
        self._run("ship", str(self.shipped), "--store", str(first), "--origin", "replay")
        before = len(list((self.shipped / "_plan").glob("*.json")))
        command = _command("ship", str(self.shipped), "--store", str(second), "--origin", "replay")
        with subprocess.Popen(command, env=self._environment(), stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list((self.shipped / "_plan").glob("*.json"))) == before:
                time.sleep(0.001)
            is_killed = process.poll() is None
            process.send_signal(signal.SIGKILL)
        planned = {path.name for path in (self.shipped / "_plan").glob("*.json")}
        done = {path.name for path in (self.shipped / "_done").glob("*.json")}
        self.ledger.holds("shipping", "killed while shipping, a batch is left half done",
                          is_killed and planned != done, 1, len(planned - done))  # fmt: skip

    def gather(self, sat: Sequence[Sat]) -> None:
        """Ship, merge, report and audit, and compare what they say."""
        for store in self.stores.values():
            self._run("ship", str(self.shipped), "--store", str(store), "--origin", "replay")
        self._run("ship", str(self.shipped), "--store", str(self.bot), "--origin", "person")
        again = self._run("ship", str(self.shipped), "--store", str(self.bot), "--origin", "person")
        self.ledger.holds("shipping", "shipped once more, nothing is new", "Shipped 0 sessions (0 rows)" in again, 0,
                          again.strip().partition(" in ")[0])  # fmt: skip
        self._run("merge", str(self.team), *map(str, self.stores.values()), str(self.bot))
        self._same_rows()
        self._audits()
        whole = self._report("completions", "replay", "--store", str(self.team))
        self._sums(whole, sat)
        for door, origin in (("completions", "replay"), ("reviews", "person")):
            merged = self._report(door, origin, "--store", str(self.team), "--fresh")
            kept = self._report(door, origin, "--store", str(self.team))
            self._alike(f"{door}: a second report, from kept sums", merged, kept)
            for engine in ("duckdb", "clickhouse"):
                if engine == "clickhouse" and find_spec("chdb") is None:
                    self.ledger.untried("engines", f"{door}: {engine}", "chdb is not installed")
                    continue
                there = self._report(door, origin, "--from", str(self.shipped), "--engine", engine)
                self._alike(f"{door}: Parquet under {engine} and the merged database", merged, there)
        self._pages()

    def _same_rows(self) -> None:
        """Every row of every database is in the merged one, and in exactly one Parquet file."""
        import duckdb

        for table in TABLES:
            key = "session" if table == "session_end" else "id"
            own = [row[key] for store in (*self.stores.values(), self.bot)
                   for row in rows_of(store, f"SELECT {key} FROM {table}")]  # fmt: skip
            merged = [row[key] for row in rows_of(self.team, f"SELECT {key} FROM {table}")]
            files = [str(path) for path in self.shipped.glob(f"{table}/**/*.parquet")]
            there = [row[0] for row in duckdb.read_parquet(files).select(key).fetchall()] if files else []
            holds = sorted(own) == sorted(merged) == sorted(there)
            self.ledger.holds("rows", f"{table}: of all databases, merged, shipped", holds, len(own),
                              f"{len(merged)}, {len(there)}")  # fmt: skip

    def _audits(self) -> None:
        for name, store in {**self.stores, "bot": self.bot, "team": self.team}.items():
            done = subprocess.run(_command("audit", "--store", str(store)), env=self._environment(), text=True,
                                  capture_output=True, check=False)  # fmt: skip
            is_sound = done.returncode == 0 and "NOT SOUND" not in done.stdout
            self.ledger.holds("audit", name, is_sound, "sound", "sound" if is_sound else "not sound")
            if not is_sound:
                self.ledger.differ(f"audit of {name}: {done.stdout}{done.stderr}")

    def _sums(self, report: Mapping[str, Any], sat: Sequence[Sat]) -> None:
        """The report's counts beside the script's; what the sittings' part of the table has found lost is lost here."""

        def total(sql: str) -> int:
            return sum(row["n"] for store in self.stores.values() for row in rows_of(store, sql))

        size, arms = report["size"], report["arms"]
        self.ledger.equal("report", "sessions", len(sat), size["sessions"])
        self.ledger.equal("report", "developers", len(self.stores), size["developers"])
        sent = sum(len(one.sent_ns) for one in sat)
        recorded = total("SELECT count(*) AS n FROM task")
        self.ledger.holds("report", "requests, and those that are on record", recorded == size["requests"],
                          f"{sent}, {recorded}", size["requests"])  # fmt: skip
        for label in ("A", "B"):
            asked = sum(one.asked[ArmLabel(label)] for one in sat)
            attempts = total(f"SELECT count(*) AS n FROM attempt WHERE label = '{label}'")
            said = arms[label]["attempts"]
            self.ledger.holds("report", f"requests to model {label}, and its attempts on record", attempts == said,
                              f"{asked}, {attempts}", said)  # fmt: skip
        taken = sum(entry.deed in TAKING for one in sat for entry in one.deeds)
        cut_off = sum(one.sitting.fault in LOSING for one in sat)
        found = sum(step["count"] for arm in arms.values() for step in arm["funnel"] if step["step"] == "accepted")
        self.ledger.holds("report", "suggestions taken (at most one of a sitting is undecided at a kill)",
                          taken - cut_off <= found <= taken, taken, found)  # fmt: skip

    def _alike(self, claim: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        found = list(_differences(one, other))
        self.ledger.holds("engines", claim, not found, "the same", f"{len(found)} differ" if found else "the same")
        for text in found[:10]:
            self.ledger.differ(f"{claim}: {text}")

    def _pages(self) -> None:
        page = self.folder / "report.html"
        self._run("report", "--store", str(self.team), "--origin", "replay", "--html", str(page))
        self.ledger.holds("report", "a page with pictures", page.read_text().count("<svg") >= 3, "at least 3",
                          page.read_text().count("<svg"))  # fmt: skip

    def _report(self, door: str, origin: str, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self._run("report", "--json", "--door", door, "--origin", origin, *arguments)
        )
        return found

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            _command(*arguments), env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise EvidenceError(f"codetrial {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CODETRIAL_DATA_DIR": str(self.folder / "analyst"),
                "CODETRIAL_USER_CONFIG": str(self.folder / "none.toml")}  # fmt: skip


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "codetrial.cli", *arguments]


def _differences(one: Any, other: Any, path: str = "") -> Any:
    """Where two reports say something else, rounding apart: sums in another order differ in the last digit."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other} - OF_THE_SOURCE):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{path}[{number}]")
    elif isinstance(one, float) and isinstance(other, float | int):
        if not math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{path}: {one} and {other}"
    elif one != other:
        yield f"{path}: {one!r} and {other!r}"
