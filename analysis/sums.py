"""What a session comes to: four tables of sums, from which a report is made without reading what they sum up.

Rows are only ever added, so the sums of a session that has ended stay true until a late row of it arrives; then
triggers of the store delete them, and they are made again (analysis/summing.py). They are never evidence: they can be
deleted at any time, and `codetrial report --fresh` does without them (docs/design/0015-sums.md).
"""

from collections.abc import Mapping
from typing import Any

from codetrial.records import ArmLabel

__all__ = ["MEASURED", "SUMS", "VERSION"]

VERSION = 1
"""Of what is summed up, and how: sums of another version are not read."""

MEASURED = ("attempts", "failed", "cost", "priced", "tokens_in", "tokens_out", "timed", "log_latency")
"""Sums over one arm's attempts; cost is in nano-dollars, latency in millionths of its natural logarithm."""

SUMS: Mapping[str, Mapping[str, Any]] = {
    "session_sum": {
        "id": "int64",
        "session": "string",
        "version": "int64",
        "made_at": "string",
        **{f"{name}_{label.value}": "int64" for label in ArmLabel for name in MEASURED},
    },
    "episode_sum": {
        "sum": "int64",
        "position": "int64",
        "opened": "int64",
        "window_ms": "int64",
        "shown": "int64",
        "share_a": "float64",
        "share_b": "float64",
        "share_none": "float64",
        "tasks": "int64",
        "asked": "int64",
        "routed": "int64",
        "accepted": "int64",
        "accepted_chars": "int64",
        "kept_chars": "float64",
        "pair_a": "float64",
        "pair_b": "float64",
        "pair_requests": "int64",
    },
    "attempt_sum": {
        "sum": "int64",
        "label": "string",
        "status": "string",
        "error_kind": "string",
        "bin": "int64",
        "is_cut_off": "int64",
        "n": "int64",
        "answered": "int64",
    },
    "count_sum": {
        "sum": "int64",
        "name": "string",
        "label": "string",
        "key": "string",
        "other": "string",
        "n": "int64",
        "total": "float64",
    },
}
"""Columns by table. `sum` is the id of the row in session_sum that a row belongs to.

episode_sum: one row an episode, in the order of `position`; `opened` is the time as digits, 20260302090000000; pair_*
are the mean agreements of an episode that showed nothing, and null in others.
attempt_sum: attempts by status, kind of error, 2 % bin of latency, and whether they were cut off.
count_sum: `name` says what is counted: exposed (requests that showed something), offered (outcomes by language and
place; `total` were taken), stands (taken texts by what was seen of them at each horizon, a digit each), share (sums of
the shares that stand, by horizon), day (requests by disposition and day), incident (by kind).
"""
