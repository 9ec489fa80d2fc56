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
    if report["reviews"] is not None:
        yield from _reviews(report["reviews"])
    if "arms" in report:
        yield from _completions(report)


def _completions(report: Mapping[str, Any]) -> Iterator[Row]:
    for name, value in report["size"].items():
        yield "size", name, "", value, None, None
    for effect in report["effects"].values():
        yield "effect", effect["name"], "A", effect["mean_a"], None, None
        yield "effect", effect["name"], "B", effect["mean_b"], None, None
        found = effect["interval"] or {"estimate": None, "low": None, "high": None}
        yield "effect", effect["name"], "A-B", found["estimate"], found["low"], found["high"]
    for label in ("A", "B"):
        yield from _arm(label, report["arms"][label])
    if report["by"] is not None:
        yield from _groups(report["by"])
    if report["published"] is not None:
        for m in report["published"]["measures"]:
            name = f"{m['name']}/{m['horizon']}" if m["horizon"] else m["name"]
            yield "published", name, m["arm"], m["value"], m["low"], m["high"]
    for s in report["strata"]:
        yield "stratum", f"{s['language']}/{s['place']}/offered", s["arm"], s["offered"], None, None
        yield "stratum", f"{s['language']}/{s['place']}/accepted", s["arm"], s["accepted"], None, None


def _groups(found: Mapping[str, Any]) -> Iterator[Row]:
    for group in found["groups"]:
        name = "/".join(group["values"])
        section = f"by {','.join(found['dimensions'])}"
        for key in ("sessions", "developers"):
            yield section, f"{name}/{key}", "", group[key], None, None
        for label, n in group["episodes"].items():
            yield section, f"{name}/episodes", label, n, None, None
        for label, key in (("A", "mean_a"), ("B", "mean_b")):
            yield section, f"{name}/{found['metric']}", label, group[key], None, None
        limits = group["interval"] or {"estimate": None, "low": None, "high": None}
        yield section, f"{name}/{found['metric']}", "A-B", limits["estimate"], limits["low"], limits["high"]


def _reviews(found: Mapping[str, Any]) -> Iterator[Row]:
    yield "reviews", "decision", "", found["verdict"]["decision"], None, None
    yield "reviews", "winner", "", found["verdict"]["winner"], None, None
    yield "reviews", "manifest_hash", "", found["trial"]["manifest_hash"], None, None
    for name, value in found["size"].items():
        yield "reviews size", name, "", value, None, None
    yield "reviews acted_on", "posted minus held back", "A-B", *_limits(found["primary"])
    for label in ("A", "B"):
        arm = found["arms"][label]
        yield "reviews arm", "name", label, arm["name"], None, None
        yield from _stratum(arm["own"], label)
        for kind, n in arm["signals"].items():
            yield "reviews signal", kind, label, n, None, None
        for status, n in arm["statuses"].items():
            yield "reviews status", status, label, n, None, None
        yield from _quantiles("reviews latency_ms", arm, label)
        for name, value in arm["cost"].items():
            yield "reviews cost", name, label, value, None, None
    yield from _stratum(found["shared"], "both")


def _stratum(found: Mapping[str, Any], label: str) -> Iterator[Row]:
    for name in ("findings", "posted_by_rule", "open", "not_observed", "beside_posted"):
        yield "reviews findings", name, label, found[name], None, None
    for name in ("posted", "held_back", "posted_in_all"):
        rate = found[name]
        yield "reviews acted_on", name, label, rate["rate"], rate["low"], rate["high"]
        yield "reviews findings", name, label, rate["findings"], None, None
    yield "reviews acted_on", "posted minus held back", label, *_limits(found["net"])


def _limits(found: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    interval = found["interval"] or {"low": None, "high": None}
    return found["estimate"], interval["low"], interval["high"]


def _quantiles(section: str, arm: Mapping[str, Any], label: str) -> Iterator[Row]:
    for name in ("p50", "p95"):
        q = arm["latency_ms"][name] or {"value": None, "low": None, "high": None}
        yield section, name, label, q["value"], q["low"], q["high"]


def _arm(label: str, arm: Mapping[str, Any]) -> Iterator[Row]:
    yield "arm", "name", label, arm["name"], None, None
    for step in arm["funnel"]:
        yield "funnel", step["step"], label, step["count"], None, None
    for status, n in arm["statuses"].items():
        yield "status", status, label, n, None, None
    yield from _quantiles("latency_ms", arm, label)
    for point in arm["retention"]:
        yield "retention", f"{point['horizon_s']}s", label, point["survival"], point["low"], point["high"]
    for name, value in arm["cost"].items():
        yield "cost", name, label, value, None, None
