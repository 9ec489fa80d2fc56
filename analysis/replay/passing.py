"""pass@1 and pass@k of both arms, side by side with what is published about them."""

import difflib
import html
import math
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from analysis.replay.problems import Problem
from analysis.replay.solving import CLIENT, HORIZON
from analysis.statistics import MIN_CLUSTERS, Interval, cluster_ratio, empirical_bernstein
from analysis.store import Store
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel

__all__ = [
    "PassRate",
    "Passing",
    "Published",
    "Result",
    "load_passing",
    "load_published",
    "pass_at_k",
    "print_passing",
    "write_page",
]


def pass_at_k(samples: int, passed: int, k: int) -> float | None:
    """Chance that at least one of `k` samples passes, without bias; None with fewer than `k` samples.

    Chen et al., "Evaluating Large Language Models Trained on Code", 2021 (arXiv 2107.03374), equation 1:
    1 - C(n - c, k) / C(n, k). Not 1 - (1 - c / n)^k, which is too low.
    """
    if k > samples:
        return None
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One arm on one task."""

    samples: int
    passed: int
    reasons: tuple[str, ...]
    solution: str | None
    """The first that passes, else the first at all; None if it is not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRate:
    k: int
    tasks: int
    a: Interval
    b: Interval
    difference: Interval
    """Of A - B over tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure that somebody published about an arm; it stands beside ours and enters nothing."""

    arm: ArmLabel
    benchmark: str
    value: float
    source: str
    date: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    arms: Mapping[ArmLabel, str]
    problems: Mapping[str, Mapping[ArmLabel, Result]]
    rates: tuple[PassRate, ...]
    contamination: Mapping[str, int]
    """Tasks by what is known about whether the arms may have seen them."""
    published: tuple[Published, ...] = ()

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        for rate in plain["rates"]:
            for key in ("a", "b", "difference"):
                rate[key] = list(rate[key])
        for item in plain["published"]:
            item["date"] = item["date"].date().isoformat()
        return plain


def load_published(place: Path) -> tuple[Published, ...]:
    """`published.toml` beside the tasks: [[score]] arm, benchmark, value, source, date, note.

    Raises:
        EvidenceError: one has no source or no date; a figure without them is a rumour.
    """
    path = (place if place.is_dir() else place.parent) / "published.toml"
    if not path.exists():
        return ()
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["score"]
        return tuple(
            Published(
                arm=ArmLabel(str(entry["arm"]).upper()),
                benchmark=str(entry["benchmark"]),
                value=float(entry["value"]),
                source=str(entry["source"]),
                date=datetime.fromisoformat(str(entry["date"])),
                note=str(entry.get("note", "")),
            )
            for entry in entries
        )
    except KeyError as fault:
        raise EvidenceError(
            f"{path}: every [[score]] needs arm, benchmark, value, source and date; {fault} is missing."
        ) from fault
    except (OSError, ValueError) as fault:
        raise EvidenceError(f"{path} cannot be used: {fault}.") from fault


_SQL = """
SELECT t.request_id AS name, t.document AS digest, p.label, s.value, s.reason, p.status, x.content
FROM task t JOIN session e ON e.id = t.session
JOIN attempt p ON p.task = t.id
LEFT JOIN score s ON s.task = t.id AND s.label = p.label AND s.horizon = :horizon
LEFT JOIN suggestion g ON g.attempt = p.id
LEFT JOIN text x ON x.hash = g.text_hash
WHERE t.trial = :trial AND e.client_name = :client
ORDER BY t.request_id, t.document_version, p.label
"""


def load_passing(
    store: Path,
    trial: str,
    problems: Sequence[Problem],
    *,
    ks: Sequence[int],
    cutoffs: Mapping[ArmLabel, datetime | None],
    published: Sequence[Published] = (),
) -> Passing:
    """What is stored about these tasks as they stand now; results of an older wording of a task are left out."""
    with Store(store, readonly=True) as opened:
        rows = opened.rows(_SQL, {"trial": trial, "client": CLIENT, "horizon": HORIZON})
        names = {row["label"]: row["name"] for row in opened.rows("SELECT * FROM arm WHERE trial = ?", [trial])}
    wanted = {problem.name: problem.digest[:32] for problem in problems}
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if wanted.get(row["name"]) == row["digest"]:
            grouped[row["name"], row["label"]].append(row)
    results = {
        name: {label: _result(grouped[name, label.value]) for label in ArmLabel}
        for name in wanted
        if all(grouped[name, label.value] for label in ArmLabel)
    }
    latest = max((cutoff for cutoff in cutoffs.values() if cutoff is not None), default=None)
    notes: dict[str, int] = defaultdict(int)
    for problem in problems:
        notes[problem.contamination(None if None in cutoffs.values() else latest)] += 1
    return Passing(
        arms={label: names.get(label.value, label.value) for label in ArmLabel},
        problems=results,
        rates=tuple(rate for k in ks if (rate := _rate(results, k)) is not None),
        contamination=dict(notes),
        published=tuple(published),
    )


def _result(rows: Sequence[Mapping[str, Any]]) -> Result:
    texts = sorted((row for row in rows if row["content"] is not None), key=lambda row: -(row["value"] or 0.0))
    return Result(
        samples=len(rows),
        passed=sum(row["value"] == 1.0 for row in rows),
        reasons=tuple(row["reason"] or row["status"] for row in rows),
        solution=texts[0]["content"] if texts else None,
    )


def _rate(results: Mapping[str, Mapping[ArmLabel, Result]], k: int) -> PassRate | None:
    by_arm = {
        label: [pass_at_k(both[label].samples, both[label].passed, k) for both in results.values()]
        for label in ArmLabel
    }
    pairs = [(x, y) for x, y in zip(*by_arm.values(), strict=True) if x is not None and y is not None]
    if not pairs:
        return None
    a, b = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    return PassRate(
        k=k, tasks=len(pairs), a=_mean(a, 1.0, 0.5), b=_mean(b, 1.0, 0.5), difference=_mean(a - b, 2.0, 0.0)
    )


def _mean(values: Any, value_range: float, start: float) -> Interval:
    """Over tasks: with few, only what holds for any bounded values; with many, the tighter one."""
    if len(values) >= MIN_CLUSTERS and (tight := cluster_ratio(values, np.ones_like(values)).last) is not None:
        return tight
    safe = empirical_bernstein(values, value_range=value_range, start=start).last
    assert safe is not None  # There is at least one task.
    low, high = (1.0 - value_range, 1.0) if value_range > 1 else (0.0, 1.0)
    return Interval(safe.estimate, max(low, safe.low), min(high, safe.high))


def print_passing(passing: Passing, console: Console) -> None:
    a, b = (passing.arms[label] for label in ArmLabel)
    console.print(f"A = {a}    B = {b}", markup=False, highlight=False)
    table = Table("task", *(Column(title, justify="right") for title in ("A passed", "B passed")), "A", "B")
    for name, both in passing.problems.items():
        table.add_row(
            name,
            *(f"{both[label].passed} of {both[label].samples}" for label in ArmLabel),
            *(_reasons(both[label]) for label in ArmLabel),
        )
    console.print(table)
    rates = Table("", *(Column(title, justify="right") for title in ("tasks", "A", "B", "A - B")))
    for rate in passing.rates:
        rates.add_row(f"pass@{rate.k}", str(rate.tasks), *map(_shown, (rate.a, rate.b, rate.difference)))
    console.print(rates)
    notes = ", ".join(f"{count} {note}" for note, count in passing.contamination.items())
    console.print(f"Tasks: {notes}.", markup=False, highlight=False)
    if passing.published:
        _print_published(passing, console)


def _print_published(passing: Passing, console: Console) -> None:
    table = Table("published, not measured here", "arm", Column("value", justify="right"), "date", "source")
    for item in passing.published:
        table.add_row(item.benchmark, item.arm.value, f"{item.value:g}", f"{item.date:%Y-%m-%d}", item.source)
    console.print(table)
    for line in agreement(passing):
        console.print(line, markup=False, highlight=False)


def agreement(passing: Passing) -> list[str]:
    """Whether each benchmark that knows both arms ranks them as these tasks do."""
    lines = []
    by_benchmark: dict[str, dict[ArmLabel, float]] = defaultdict(dict)
    for item in passing.published:
        by_benchmark[item.benchmark][item.arm] = item.value
    for benchmark, values in by_benchmark.items():
        if len(values) < 2:
            lines.append(f"{benchmark}: only one of the arms has a published figure.")
        elif not passing.rates or not passing.rates[0].difference.excludes(0.0):
            lines.append(f"{benchmark}: these tasks do not decide between the arms, so there is nothing to agree with.")
        else:
            ahead = values[ArmLabel.A] > values[ArmLabel.B]
            agrees = ahead == (passing.rates[0].difference.estimate > 0)
            lines.append(
                f"{benchmark}: ranks the arms {'as' if agrees else 'the other way round than'} these tasks do."
            )
    return lines


def _reasons(result: Result) -> str:
    wrong = sorted({reason for reason in result.reasons if reason != "passed"})
    return ", ".join(wrong)


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def write_page(passing: Passing, path: Path) -> None:
    """Both arms' solutions side by side, task by task: one file, no script, nothing loaded."""
    differ = difflib.HtmlDiff(tabsize=4, wrapcolumn=80)
    parts = [_HEAD, f"<p>A = {html.escape(passing.arms[ArmLabel.A])}, B = {html.escape(passing.arms[ArmLabel.B])}</p>"]
    for rate in passing.rates:
        shown = html.escape(f"A {_shown(rate.a)}, B {_shown(rate.b)}, A - B {_shown(rate.difference)}")
        parts.append(f"<p>pass@{rate.k}, {rate.tasks} tasks: {shown}</p>")
    for item in passing.published:
        shown = html.escape(f"{item.benchmark}, arm {item.arm}: {item.value:g} ({item.source}, {item.date:%Y-%m-%d})")
        parts.append(f"<p>Published, not measured here: {shown}</p>")
    for name, both in passing.problems.items():
        a, b = (both[label] for label in ArmLabel)
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts.append(f"<p>A {a.passed} of {a.samples} passed, B {b.passed} of {b.samples} passed</p>")
        left, right = ((result.solution or "(no solution stored)").split("\n") for result in (a, b))
        parts.append(differ.make_table(left, right, "A", "B"))
    path.write_text("\n".join([*parts, "</body></html>"]), encoding="utf-8")


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Coding tasks</title><style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1b1b1b }
table.diff { border-collapse: collapse; font: 12px/1.4 ui-monospace, monospace; width: 100% }
.diff td { padding: 0 .4rem; vertical-align: top } .diff_header { color: #767676; text-align: right }
.diff_next { display: none } .diff_add { background: #d7f0dc } .diff_chg { background: #fff3c4 }
.diff_sub { background: #fbdcdc }
</style></head><body><h1>Coding tasks: both arms side by side</h1>"""
