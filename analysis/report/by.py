"""Groups in the report: the comparison by language, place, developer, or any of these."""

from collections.abc import Iterator, Mapping
from typing import Any

from analysis.breakdown import Breakdown
from analysis.report import words

__all__ = ["MOST_SHOWN", "NOTE", "by_numbers", "group_cells", "heads", "hidden"]

Json = dict[str, Any]

MOST_SHOWN = 40
"""Groups in the forms that people read; JSON and CSV have all."""

NOTE = (
    "Exploratory: many groups are many chances to be misled, and none was chosen beforehand. Each interval holds at "
    "any time, for its own group alone."
)


def by_numbers(found: Breakdown) -> Json:
    """The groups, largest first."""
    return {
        "dimensions": [str(name) for name in found.dimensions],
        "metric": found.metric.name,
        "title": found.metric.title,
        "unit": found.metric.unit,
        "scale": found.metric.scale,
        "groups": [
            {
                "values": list(group.values),
                "sessions": group.sessions,
                "closed_sessions": group.closed_sessions,
                "developers": group.developers,
                "episodes": {"A": group.episodes_a, "B": group.episodes_b, "none": group.episodes_none},
                "mean_a": group.mean_a,
                "mean_b": group.mean_b,
                "interval": None
                if group.interval is None
                else {
                    "estimate": group.interval.estimate,
                    "low": group.interval.low,
                    "high": group.interval.high,
                },
            }
            for group in found.groups
        ],
    }


def heads(found: Mapping[str, Any]) -> list[str]:
    """The columns before the two arms and the difference."""
    return [*found["dimensions"], "sessions", "developers", "episodes A / B / none"]


def group_cells(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for each group that is shown."""
    unit, scale = found["unit"], found["scale"]
    for group in found["groups"][:MOST_SHOWN]:
        n = group["episodes"]
        yield [
            *(value.replace("_", " ") for value in group["values"]),
            f"{group['sessions']:,}",
            f"{group['developers']:,}",
            f"{n['A']:,} / {n['B']:,} / {n['none']:,}",
            words.effect(group["mean_a"], unit, scale),
            words.effect(group["mean_b"], unit, scale),
            _interval(group["interval"], unit, scale),
        ]


def _interval(interval: Mapping[str, Any] | None, unit: str, scale: float) -> str:
    """An interval that leaves out nothing is not shown as if it said something."""
    if interval is None or (unit == "points" and interval["low"] <= -1 and interval["high"] >= 1):
        return "not yet"
    return words.interval(interval, scale, unit)


def hidden(found: Mapping[str, Any]) -> int:
    """How many groups are not shown."""
    return max(0, len(found["groups"]) - MOST_SHOWN)
