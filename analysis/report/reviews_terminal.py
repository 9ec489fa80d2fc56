"""The review door in a terminal."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.report import reviews_text
from analysis.report.reviews_text import Line

__all__ = ["review_parts"]


def review_parts(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Tables and notes, the comparison first."""
    names = [found["arms"][label]["name"] for label in ("A", "B")]
    yield _group(
        "Review findings acted on (95% limits that may be looked at at any time)",
        _table([*reviews_text.finding_lines(found), *reviews_text.shared_lines(found)], names, "A minus B"),
        reviews_text.notes(found),
    )
    lines = [*reviews_text.count_lines(found), *reviews_text.signal_lines(found)]
    yield _group("Findings, and what people said to them", _table(lines, names))
    yield _group("Reviews: time and cost", _table(reviews_text.cost_lines(found), names))
    rails = Table(box=None, pad_edge=False, padding=(0, 2))
    for title in ("", *names, "harm is", "proven harm"):
        rails.add_column(title, justify="right" if title else "left")
    for rail in found["guardrails"]:
        harm = found["arms"][rail["harms"]]["name"] if rail["harms"] else "none"
        rails.add_row(
            rail["title"], rail["a"], rail["b"], rail["margin"], Text(harm, style="bold red" * bool(rail["harms"]))
        )
    yield _group("Review guardrails", rails)
    yield _group("Review checks", None, reviews_text.checks(found))


def _table(lines: Iterable[Line], names: list[str], extra: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for name in (*names, *([extra] if extra else [])):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line[: len(table.columns)])
    return table


def _group(title: str, table: Table | None, notes: Iterable[str] = ()) -> Group:
    parts: list[RenderableType] = [Text(title, style="bold")]
    if table is not None:
        parts.append(table)
    return Group(*parts, *(Text(note, style="dim") for note in notes))
