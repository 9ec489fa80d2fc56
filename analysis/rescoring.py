"""Scores computed again from the stored texts: to check what was recorded, and to score old recordings anew.

A score says which version of the scorer made it. What needs more than the store holds is left as it was recorded:
what a taken text looked like at each horizon (only its distances are kept), and names that only the rest of the file
knew.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.scores import SCORER_VERSION, properties, score
from analysis.store import Store
from codetrial.records import ArmLabel, Score

__all__ = ["Checked", "check", "rescored"]

TASKS_AT_ONCE = 500
NEEDS_THE_FILE = frozenset({"unknown_identifiers"})
TOLERANCE = 1e-9


@dataclass(slots=True)
class Checked:
    """How recorded scores compare with the same computed again."""

    equal: int = 0
    different: Counter[str] = field(default_factory=Counter)
    """By metric."""
    other_version: int = 0
    """Recorded by another version of the scorer, so not compared."""
    not_computable: int = 0
    """The texts are not stored, or the metric needs more than them."""


def check(store: Store) -> Checked:
    """Compute every score of this version again and compare."""
    found = Checked()
    for tasks in _chunks(store):
        fresh = dict(_computed(store, tasks))
        for row in _recorded(store, tasks):
            key = (row["suggestion"], row["horizon"], row["metric"])
            if row["scorer_version"] != SCORER_VERSION:
                found.other_version += 1
            elif key not in fresh:
                found.not_computable += 1
            elif _is_same(row["value"], fresh[key]):
                found.equal += 1
            else:
                found.different[row["metric"]] += 1
    return found


def rescored(store: Store) -> Iterator[Score]:
    """The scores of this version that are not recorded, for every suggestion whose texts are."""
    for tasks in _chunks(store):
        recorded = {
            (row["suggestion"], row["horizon"], row["metric"])
            for row in _recorded(store, tasks)
            if row["scorer_version"] == SCORER_VERSION
        }
        labels = {row["id"]: row for row in _suggestions(store, tasks)}
        for key, value in _computed(store, tasks):
            suggestion, horizon, metric = key
            if key in recorded:
                continue
            yield Score(
                id=f"v{SCORER_VERSION}-{suggestion}-{horizon}-{metric}",
                suggestion=suggestion,
                task=labels[suggestion]["task"],
                label=ArmLabel(labels[suggestion]["label"]),
                horizon=horizon,
                metric=metric,
                value=value,
                reason=None if value is not None else "not_measurable",
                scorer_version=SCORER_VERSION,
            )


Key = tuple[str, str, str]
"""Suggestion, horizon, metric."""


def _chunks(store: Store) -> Iterator[list[str]]:
    after = ""
    while True:
        rows = store.rows(
            "SELECT DISTINCT task FROM suggestion WHERE task > ? ORDER BY task LIMIT ?", [after, TASKS_AT_ONCE]
        )
        if not rows:
            return
        tasks = [row["task"] for row in rows]
        yield tasks
        after = tasks[-1]


def _of(tasks: list[str]) -> str:
    return f"({', '.join('?' * len(tasks))})"


def _recorded(store: Store, tasks: list[str]) -> list[dict[str, Any]]:
    return store.rows(
        f"SELECT suggestion, horizon, metric, value, scorer_version FROM score WHERE task IN {_of(tasks)}", tasks
    )


def _suggestions(store: Store, tasks: list[str]) -> list[dict[str, Any]]:
    return store.rows(
        "SELECT g.id, g.task, g.label, x.content, t.language, before.content AS prefix, behind.content AS suffix, "
        "p.latency_ms FROM suggestion g JOIN task t ON t.id = g.task JOIN attempt p ON p.id = g.attempt "
        "LEFT JOIN text x ON x.hash = g.text_hash LEFT JOIN text before ON before.hash = t.prefix_hash "
        f"LEFT JOIN text behind ON behind.hash = t.suffix_hash WHERE g.task IN {_of(tasks)} AND t.door = 'editor'",
        tasks,
    )


def _computed(store: Store, tasks: list[str]) -> Iterator[tuple[Key, float | None]]:
    rows = store.rows(
        "SELECT c.task, c.horizon, c.next_change_ms, x.content FROM continuation c "
        f"LEFT JOIN text x ON x.hash = c.text_hash WHERE c.task IN {_of(tasks)} AND c.horizon NOT LIKE 'commit%'",
        tasks,
    )
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    for one in _suggestions(store, tasks):
        if one["content"] is None:
            continue
        for horizon, metrics in _of_one(one, by_task.get(one["task"], [])):
            for metric, value in metrics.items():
                yield (one["id"], horizon, metric), value


def _of_one(
    one: dict[str, Any], continuations: list[dict[str, Any]]
) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    text, language = one["content"], one["language"] or "unknown"
    if one["prefix"] is not None and one["suffix"] is not None:
        values = properties(text, prefix=one["prefix"], suffix=one["suffix"], language=language)
        yield "answer", {metric: value for metric, value in values.items() if metric not in NEEDS_THE_FILE}
    for there in continuations:
        measured = None if there["content"] is None else score(text, there["content"], language)
        if measured is not None:
            yield there["horizon"], measured
        if there["next_change_ms"] is not None and one["latency_ms"] is not None:
            yield "keystroke", _on_time(one["latency_ms"], there["next_change_ms"], measured)


def _on_time(
    latency_ms: float, next_change_ms: float, measured: Mapping[str, float | None] | None
) -> Mapping[str, float | None]:
    is_on_time = latency_ms <= next_change_ms
    useful = None if measured is None else (measured["saved_chars"] or 0.0) if is_on_time else 0.0
    return {"on_time": float(is_on_time), "useful_chars_on_time": useful}


def _is_same(recorded: float | None, fresh: float | None) -> bool:
    if recorded is None or fresh is None:
        return recorded is fresh
    return math.isclose(recorded, fresh, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
