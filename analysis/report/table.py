"""The report as CSV: one number a row, long rather than wide, so that a spreadsheet can pivot it."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["to_csv"]

COLUMNS = ("section", "metric", "arm", "value", "low", "high")

Row = tuple[str, str, str, Any, Any, Any]


def to_csv(report: Mapping[str, Any]) -> str:
    """All figures with their limits; an empty field is unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(report))
    return out.getvalue()


def _rows(report: Mapping[str, Any]) -> Iterator[Row]:
    yield "verdict", "decision", "", report["verdict"]["decision"], None, None
    yield "verdict", "winner", "", report["verdict"]["winner"], None, None
    yield "trial", "origin", "", report["origin"], None, None
    yield "trial", "manifest_hash", "", report["trial"]["manifest_hash"], None, None
    for name, value in report["size"].items():
        yield "size", name, "", value, None, None
    for effect in report["effects"].values():
        yield "effect", effect["name"], "A", effect["mean_a"], None, None
        yield "effect", effect["name"], "B", effect["mean_b"], None, None
        found = effect["interval"] or {"estimate": None, "low": None, "high": None}
        yield "effect", effect["name"], "A-B", found["estimate"], found["low"], found["high"]
    for label in ("A", "B"):
        yield from _arm(label, report["arms"][label])
    for s in report["strata"]:
        yield "stratum", f"{s['language']}/{s['place']}/offered", s["arm"], s["offered"], None, None
        yield "stratum", f"{s['language']}/{s['place']}/accepted", s["arm"], s["accepted"], None, None


def _arm(label: str, arm: Mapping[str, Any]) -> Iterator[Row]:
    yield "arm", "name", label, arm["name"], None, None
    for step in arm["funnel"]:
        yield "funnel", step["step"], label, step["count"], None, None
    for status, n in arm["statuses"].items():
        yield "status", status, label, n, None, None
    for name in ("p50", "p95"):
        q = arm["latency_ms"][name] or {"value": None, "low": None, "high": None}
        yield "latency_ms", name, label, q["value"], q["low"], q["high"]
    for point in arm["retention"]:
        yield "retention", f"{point['horizon_s']}s", label, point["survival"], point["low"], point["high"]
    for name, value in arm["cost"].items():
        yield "cost", name, label, value, None, None
