"""Two clocks: monotonic nanoseconds for durations, UTC for when. They are never mixed."""

import time
from datetime import UTC, datetime

__all__ = ["now_ns", "now_utc", "utc_text"]

# CLOCK_MONOTONIC is one clock for all processes of a machine, so relay and evaluator can compare their times.
now_ns = time.monotonic_ns


def now_utc() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime | None = None) -> str:
    """ISO 8601 in UTC with milliseconds and a `Z`: sorts as text, and SQLite's date functions read it."""
    moment = now_utc() if moment is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
