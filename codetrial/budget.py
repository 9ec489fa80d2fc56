"""What each arm has used today, shared by all processes of this user, and whether it may use more.

A counter per day (UTC) and arm in a small SQLite file. Processes count their own use at once and learn the others' with
each write, so several editors may together exceed a limit by what they have in flight, not by more.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from codetrial.clock import now_utc
from codetrial.config import BudgetConfig, Limits
from codetrial.paths import data_dir
from codetrial.records import ArmLabel

__all__ = ["Budget", "Used"]

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS used (
    day TEXT NOT NULL, arm TEXT NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, nanousd INTEGER NOT NULL,
    PRIMARY KEY (day, arm)
) STRICT
"""
_ADD = """
INSERT INTO used (day, arm, requests, tokens, nanousd) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (day, arm) DO UPDATE SET
    requests = requests + excluded.requests, tokens = tokens + excluded.tokens, nanousd = nanousd + excluded.nanousd
RETURNING requests, tokens, nanousd
"""
BUSY_TIMEOUT_S = 5.0
NANO = 1_000_000_000


@dataclass(slots=True)
class Used:
    requests: int = 0
    tokens: int = 0
    nanousd: int = 0


@dataclass(slots=True)
class _Arm:
    fingerprint: str
    limits: Limits
    used: Used = field(default_factory=Used)
    """As the file said last, plus what this process has begun since."""
    pending: int = 0
    """Requests begun by this process and not yet in the file."""


class Budget:
    """The budgets of a trial's two arms. Without any limit it touches no file."""

    def __init__(self, config: BudgetConfig, fingerprints: Mapping[ArmLabel, str], path: Path | None = None) -> None:
        self._arms = {label: _Arm(fingerprints[label], config[label]) for label in fingerprints}
        self._path = path or data_dir() / "budget.db"
        self._day = _today()
        self._told: set[ArmLabel] = set()
        self._turn = asyncio.Lock()
        self._is_limited = any(
            limit is not None
            for arm in self._arms.values()
            for limit in (arm.limits.requests, arm.limits.tokens, arm.limits.usd)
        )

    async def open(self) -> Self:
        if self._is_limited:
            for label in self._arms:
                await self._write(label, Used())
        return self

    def exhausted(self) -> str | None:
        """Why no more may be sent today, or None. Either arm's limit stops both."""
        if not self._is_limited:
            return None
        self._turn_day()
        for label, arm in self._arms.items():
            for name, used, limit in (
                ("requests", arm.used.requests, arm.limits.requests),
                ("tokens", arm.used.tokens, arm.limits.tokens),
                ("US dollars", arm.used.nanousd / NANO, arm.limits.usd),
            ):
                if limit is not None and used >= limit:
                    return f"arm {label} has used its {limit:g} {name} of today ({self._day}, UTC)"
        return None

    def begin(self, label: ArmLabel) -> None:
        """Count a request as it is sent, so that many at once cannot slip under the limit."""
        arm = self._arms[label]
        arm.used.requests += 1
        arm.pending += 1

    def release(self, label: ArmLabel) -> None:
        """A request that was begun will not be sent."""
        arm = self._arms[label]
        arm.used.requests -= 1
        arm.pending -= 1

    async def end(self, label: ArmLabel, *, tokens: int, nanousd: int) -> None:
        if self._is_limited:
            await self._write(label, Used(requests=1, tokens=tokens, nanousd=nanousd))

    def _turn_day(self) -> None:
        today = _today()
        if today != self._day:
            self._day = today
            for arm in self._arms.values():
                arm.used = Used(requests=arm.pending)

    async def _write(self, label: ArmLabel, more: Used) -> None:
        arm = self._arms[label]
        # One write at a time, and a request leaves `pending` with the total that contains it: between the two there
        # is no moment at which it counts nowhere (one request over the limit) or twice (one too few).
        async with self._turn:
            self._turn_day()
            try:
                total = await asyncio.to_thread(self._add, self._day, arm.fingerprint, more)
            except sqlite3.Error as fault:
                # This process still counts for itself; the limit holds, only other processes are not seen.
                arm.used.tokens += more.tokens
                arm.used.nanousd += more.nanousd
                if label not in self._told:
                    self._told.add(label)
                    logger.warning(
                        "the budget file %s cannot be used (%s): counting this process only", self._path, fault
                    )
                return
            arm.pending -= more.requests
            arm.used = Used(total.requests + arm.pending, total.tokens, total.nanousd)

    def _add(self, day: str, fingerprint: str, more: Used) -> Used:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise sqlite3.OperationalError(str(fault)) from fault
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
            row = connection.execute(_ADD, (day, fingerprint, more.requests, more.tokens, more.nanousd)).fetchone()
        finally:
            connection.close()
        return Used(*row)


def _today() -> str:
    return now_utc().date().isoformat()
