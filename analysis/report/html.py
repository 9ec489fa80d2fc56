"""The report as one HTML file: no script, no network, readable in light, in dark, on paper and by a screen reader."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import cost_report
from analysis.report import by, charts, cost_chart, measures, review_charts, reviews_text, words
from analysis.statistics import rounded_up
from codetrial.records import Place

__all__ = ["cost_page", "page"]

MOST_LANGUAGES = 7
"""Columns of the heat map: more would not fit; the table by language has them all."""

MIN_CELL = 10
"""Offers per arm below which a cell of the heat map shows its count only."""


def page(report: Mapping[str, Any]) -> str:
    """The whole page as text."""
    drawings: dict[str, str | None] = {}
    has_completions = "arms" in report
    if has_completions:
        drawings |= {
            "effect": charts.effect_over_time(report),
            "funnel": charts.funnel(report),
            "latency": charts.latency(report),
            "retention": charts.retention(report),
            "break_even": cost_chart.break_even(report["break_even"]),
        }
    if report["reviews"] is not None:
        drawings |= {
            "acted_on": review_charts.acted_on(report["reviews"]),
            "net_over_time": review_charts.net_over_time(report["reviews"]),
        }
    return _render(
        "page.html",
        report=report,
        charts=drawings,
        heat=heat_map(report) if has_completions else None,
        ruler=_ruler(report) if has_completions else None,
    )


def cost_page(found: Mapping[str, Any]) -> str:
    """The page of `codetrial cost`."""
    return _render("cost.html", found=found, charts={"break_even": cost_chart.break_even(found.get("break_even"))})


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("analysis.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["two_lines"] = _two_lines
    environment.globals |= {"words": words, "texts": reviews_text, "costs": cost_report, "by": by, "measures": measures}
    environment.globals["rounded_up"] = rounded_up
    return environment.get_template(template).render(**values)


def _two_lines(text: str) -> Markup:
    """An estimate above its limits: side by side, three of them are wider than a page."""
    estimate, bracket, limits = text.partition(" (")
    return Markup("{}<br><span class='limits'>({}</span>").format(estimate, limits) if bracket else Markup.escape(text)


def heat_map(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Taken share by place and language, with the sessions behind each cell; None without any offer."""
    cells: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for s in report["strata"]:
        cells.setdefault((s["language"], s["place"]), {})[s["arm"]] = s
    if not cells:
        return None
    offered: dict[str, int] = {}
    for (language, _), by_arm in cells.items():
        offered[language] = offered.get(language, 0) + sum(s["offered"] for s in by_arm.values())
    languages = sorted(offered, key=lambda language: -offered[language])
    seen = {place for _, place in cells}
    known = [str(place.value) for place in Place]
    # In the classifier's order; a place of another version comes last.
    places = [place for place in known if place in seen] + sorted(seen.difference(known))
    shown = languages[:MOST_LANGUAGES]
    return {
        "languages": shown,
        "hidden": languages[MOST_LANGUAGES:],
        "rows": [(place, [_cell(cells.get((language, place), {})) for language in shown]) for place in places],
    }


def _cell(by_arm: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    sessions = max((s["sessions"] for s in by_arm.values()), default=0)
    counts = {label: by_arm[label]["offered"] if label in by_arm else 0 for label in ("A", "B")}
    if min(counts.values()) < MIN_CELL:
        return {"sessions": sessions, "offered": sum(counts.values()), "difference": None}
    a, b = (by_arm[label]["accepted"] / counts[label] for label in ("A", "B"))
    # Full colour at 20 points: differences beyond are rare, and this one is exploratory anyway.
    strength = round(min(1.0, abs(a - b) / 0.2) * 60)
    return {
        "sessions": sessions,
        "offered": sum(counts.values()),
        "a": a,
        "b": b,
        "difference": a - b,
        "arm": "a" if a > b else "b",
        "strength": strength,
    }


def _ruler(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Places in percent of the width for the strip that shows where the effect may lie."""
    primary = report["primary"]
    found = primary["interval"]
    if found is None:
        return None
    reach: float = max(abs(found["low"]), abs(found["high"]), primary["margin"] * 2) * 1.1

    def at(value: float) -> float:
        return round((value + reach) / (2 * reach) * 100, 2)

    low, high, middle = at(found["low"]), at(found["high"]), at(found["estimate"])
    margin = primary["margin"]
    return {
        "low": low,
        "width": round(high - low, 2),
        "estimate": middle,
        "margin_low": at(-margin),
        "margin_width": round(at(margin) - at(-margin), 2),
        "texts": [(x, round(value * primary["scale"], 1)) for x, value in ((low, found["low"]), (high, found["high"]))],
    }
