"""Measures by definitions that others have published, in the report's forms; asked for, since they read every row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.published import Measure, Outside
from analysis.report import words
from codetrial.records import ArmLabel

__all__ = ["HEADS", "NOTE", "OUTSIDE_HEADS", "cells", "outside_cells", "published_numbers"]

Json = dict[str, Any]

TITLES = {
    "car": "taken of what was read (CAR)",
    "wcar": "characters taken of those read (weighted CAR)",
    "rocc": "completed of what was written",
    "unchanged": "taken and unchanged",
    "mostly_unchanged": "taken and mostly unchanged",
}
HEADS = ("measure", "after", "A", "B")
OUTSIDE_HEADS = ("from outside the trial, after", "seen", "kept on average", "how they were found")
NOTE = (
    "By others' definitions, to stand beside what is in print; the verdict does not use them. Sources and differences: "
    "docs/data.md."
)


def published_numbers(measures: Sequence[Measure], insertions: Sequence[Outside]) -> Json:
    """Everything, by measure; limits are null with too few sessions."""
    return {
        "measures": [
            {
                "name": measure.name,
                "arm": measure.label.value,
                "horizon": measure.horizon,
                "part": measure.part,
                "whole": measure.whole,
                "value": measure.value,
                "low": measure.low,
                "high": measure.high,
                "sessions": measure.sessions,
            }
            for measure in measures
        ],
        "outside": [
            {
                "horizon": seen.horizon,
                "insertions": seen.insertions,
                "states": dict(seen.states),
                "mean_kept": seen.mean_kept,
            }
            for seen in insertions
        ],
    }


def cells(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each measure, both arms beside each other; what nobody has seen yet is left out."""
    by_place: dict[tuple[str, str | None], dict[str, Mapping[str, Any]]] = {}
    for measure in found["measures"]:
        if measure["whole"]:
            by_place.setdefault((measure["name"], measure["horizon"]), {})[measure["arm"]] = measure
    for (name, horizon), arms in by_place.items():
        yield TITLES[name], horizon or "", *(_share(arms.get(label.value)) for label in ArmLabel)


def _share(measure: Mapping[str, Any] | None) -> str:
    if measure is None or measure["value"] is None:
        return "-"
    if measure["low"] is None:
        return f"{words.percent(measure['value'])} (no limits yet)"
    return f"{words.percent(measure['value'])} [{words.percent(measure['low'])}, {words.percent(measure['high'])}]"


def outside_cells(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each horizon at which such texts were looked at again."""
    for seen in found["outside"]:
        states = ", ".join(f"{name} {n:,}" for name, n in sorted(seen["states"].items()))
        kept = "-" if seen["mean_kept"] is None else words.percent(seen["mean_kept"])
        yield seen["horizon"], f"{sum(seen['states'].values()):,} of {seen['insertions']:,}", kept, states
