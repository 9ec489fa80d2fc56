"""What a replay says: both arms on the same tasks, against what was really written.

Silence, errors and time-outs count as zero: a developer gets nothing from them either. Tasks of one commit resemble
each other, so the intervals are over commits, and again over files; with fewer than thirty of them there is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analysis.statistics import MIN_CLUSTERS, Interval, cluster_ratio, cluster_sums
from analysis.store import Store
from codetrial.records import ArmLabel, AttemptStatus

__all__ = ["ArmSummary", "Columns", "MetricPair", "Paired", "Replays", "Stratum", "load_paired", "print_paired"]

METRICS: Mapping[str, str] = {
    "first_line_similarity": "first line alike",
    "first_line_exact": "first line exact",
    "prefix_chars_share": "right until it goes wrong",
    "token_similarity": "tokens alike",
}
PRIMARY = "first_line_similarity"

MIN_STRATUM = 10
"""Tasks of a language or place; with fewer a mean is an anecdote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPair:
    metric: str
    a: float
    b: float
    over_commits: Interval | None
    """Of A - B; None with fewer than MIN_CLUSTERS commits, or without any variation."""
    over_files: Interval | None
    better_a: int
    equal: int
    better_b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    name: str
    attempts: int
    spoke: int
    empty: int
    timeouts: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    """None if the cost of any attempt is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    axis: str
    value: str
    tasks: int
    commits: int
    a: float
    b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    trial: str
    tasks: int
    commits: int
    files: int
    arms: Mapping[ArmLabel, ArmSummary]
    metrics: tuple[MetricPair, ...]
    """Empty without tasks."""
    strata: tuple[Stratum, ...]
    """On the primary metric; exploratory."""

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        for metric in plain["metrics"]:
            for key in ("over_commits", "over_files"):
                metric[key] = None if metric[key] is None else list(metric[key])
        return plain


# A replay through the proxy is stored by the evaluator like any typing: one session a commit, whose id is the scripted
# editor's version, and what was written is known when the file is saved. A task without that was interrupted.
_CHOSEN = """
FROM task t JOIN session s ON s.id = t.session
WHERE t.trial = :trial AND s.origin = 'replay' AND s.client_name = :client
  AND (:repository IS NULL OR s.repository = :repository)
  AND (t.door = 'replay' OR EXISTS (SELECT 1 FROM continuation w WHERE w.task = t.id AND w.horizon = 'save'))
"""

_TASKS = f"""
SELECT t.id, CASE t.door WHEN 'replay' THEN t.request_id ELSE s.client_version END AS "commit", t.document, t.language,
       t.place, t.session
{_CHOSEN} ORDER BY t.id
"""

_ATTEMPTS = f"SELECT p.* FROM attempt p WHERE p.task IN (SELECT t.id {_CHOSEN})"

_SCORES = f"""
SELECT c.task, c.label, c.metric, c.value FROM score c JOIN task k ON k.id = c.task
WHERE c.horizon = CASE k.door WHEN 'replay' THEN 'commit' ELSE 'save' END AND k.id IN (SELECT t.id {_CHOSEN})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """One entry a task, for one metric; silence counts as zero."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    commit: list[int]
    """Index of the task's commit."""
    file: list[int]
    language: list[str]
    place: list[str]
    sha: list[str]


class Replays:
    """What is stored of the replays of one trial, of one repository or of all."""

    def __init__(self, path: Path, trial: str, *, client: str, repository: str | None = None) -> None:
        parameters = {"trial": trial, "client": client, "repository": repository}
        with Store(path, readonly=True) as store:
            self._tasks = store.rows(_TASKS, parameters)
            self._attempts = store.rows(_ATTEMPTS, parameters)
            scores = store.rows(_SCORES, parameters)
            self._names = {
                row["label"]: row["name"] for row in store.rows("SELECT * FROM arm WHERE trial = ?", [trial])
            }
        self._values = {(r["task"], r["label"], r["metric"]): r["value"] for r in scores if r["value"] is not None}

    def __len__(self) -> int:
        return len(self._tasks)

    def columns(self, metric: str = PRIMARY) -> Columns:
        a, b = (
            np.array([self._values.get((row["id"], label.value, metric), 0.0) for row in self._tasks], dtype=np.float64)
            for label in ArmLabel
        )
        return Columns(
            a=a,
            b=b,
            commit=_indices([row["commit"] for row in self._tasks]),
            file=_indices([row["document"] for row in self._tasks]),
            language=[row["language"] for row in self._tasks],
            place=[row["place"] for row in self._tasks],
            sha=[row["commit"] for row in self._tasks],
        )

    def arm(self, label: ArmLabel) -> "ArmSummary":
        attempts = [p for p in self._attempts if p["label"] == label]
        return _summary(self._names.get(label.value, label.value), attempts)


def load_paired(path: Path, trial: str, *, client: str, repository: str | None = None) -> Paired:
    """Everything replayed so far for a trial, of one repository or of all."""
    replays = Replays(path, trial, client=client, repository=repository)
    primary = replays.columns()
    return Paired(
        trial=trial,
        tasks=len(replays),
        commits=len(set(primary.commit)),
        files=len(set(primary.file)),
        arms={label: replays.arm(label) for label in ArmLabel},
        metrics=tuple(_pair(m, replays.columns(m)) for m in METRICS) if len(replays) else (),
        strata=tuple(_strata(primary)),
    )


def _indices(values: Sequence[str]) -> list[int]:
    """Cluster numbers in order of appearance; tasks are sorted by hashed ids, so the order is as good as random."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]


def _pair(metric: str, columns: Columns) -> MetricPair:
    a, b = columns.a, columns.b
    return MetricPair(
        metric=metric,
        a=float(a.mean()),
        b=float(b.mean()),
        over_commits=cluster_ratio(*cluster_sums(a - b, columns.commit)).last,
        over_files=cluster_ratio(*cluster_sums(a - b, columns.file)).last,
        better_a=int((a > b).sum()),
        equal=int((a == b).sum()),
        better_b=int((b > a).sum()),
    )


def _summary(name: str, attempts: Sequence[Mapping[str, Any]]) -> ArmSummary:
    times = [p["latency_ms"] for p in attempts if p["latency_ms"] is not None and not p["is_cache_hit"]]
    costs = [p["cost_nanousd"] for p in attempts]
    count = {status: sum(p["status"] == status for p in attempts) for status in AttemptStatus}
    spoke, empty, late = (count[s] for s in (AttemptStatus.OK, AttemptStatus.EMPTY, AttemptStatus.TIMEOUT))
    return ArmSummary(
        name=name,
        attempts=len(attempts),
        spoke=spoke,
        empty=empty,
        timeouts=late,
        errors=len(attempts) - spoke - empty - late,
        p50_ms=float(np.percentile(times, 50)) if times else None,
        p95_ms=float(np.percentile(times, 95)) if times else None,
        tokens_in=sum(p["tokens_in"] or 0 for p in attempts),
        tokens_out=sum(p["tokens_out"] or 0 for p in attempts),
        cost_usd=None if None in costs else sum(costs) / 1e9,
    )


def _strata(columns: Columns) -> Iterator[Stratum]:
    for axis, values in (("language", columns.language), ("place", columns.place)):
        for value in sorted(set(values), key=lambda v: (-values.count(v), v)):
            chosen = [i for i, v in enumerate(values) if v == value]
            if len(chosen) >= MIN_STRATUM:
                yield Stratum(
                    axis=axis,
                    value=value,
                    tasks=len(chosen),
                    commits=len({columns.commit[i] for i in chosen}),
                    a=float(columns.a[chosen].mean()),
                    b=float(columns.b[chosen].mean()),
                )


def print_paired(paired: Paired, console: Console) -> None:
    a, b = paired.arms[ArmLabel.A], paired.arms[ArmLabel.B]
    console.print(f"Replay of {paired.tasks} places in {paired.commits} commits and {paired.files} files", style="bold")
    console.print(f"A = {a.name}    B = {b.name}", markup=False, highlight=False)
    if not paired.metrics:
        console.print("Nothing has been replayed yet.")
        return
    table = Table("against what was written", *(_right(h) for h in ("A", "B", "A - B over commits", "over files")))
    table.add_column("A better / equal / B better", justify="right")
    for m in paired.metrics:
        table.add_row(
            METRICS[m.metric],
            f"{m.a:.1%}",
            f"{m.b:.1%}",
            _interval(m.over_commits, paired.commits, "commits"),
            _interval(m.over_files, paired.files, "files"),
            f"{m.better_a} / {m.equal} / {m.better_b}",
        )
    console.print(table)
    table = Table("arms", _right(f"A  {a.name}"), _right(f"B  {b.name}"))
    for title, shown in _ARM_ROWS:
        table.add_row(title, shown(a), shown(b))
    console.print(table)
    if paired.strata:
        table = Table("exploratory: first line alike", *(_right(h) for h in ("tasks", "commits", "A", "B")))
        for s in paired.strata:
            table.add_row(f"{s.axis} {s.value}", str(s.tasks), str(s.commits), f"{s.a:.1%}", f"{s.b:.1%}")
        console.print(table)
    console.print(
        "Silence, errors and time-outs count as 0. Times are of a replay with several tasks at once, not of an editor. "
        "Nobody saw these suggestions: a replay says what would have matched, not what people would have taken.",
        style="dim",
    )


def _right(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right")


def _interval(interval: Interval | None, clusters: int, name: str) -> str:
    if interval is None:
        return f"not yet: {clusters} of {MIN_CLUSTERS} {name}" if clusters < MIN_CLUSTERS else "no variation"
    return f"{100 * interval.estimate:+.1f} pp [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


_ARM_ROWS: Any = (
    ("suggested something", lambda s: f"{s.spoke} of {s.attempts}"),
    ("silent", lambda s: str(s.empty)),
    ("timed out", lambda s: str(s.timeouts)),
    ("failed", lambda s: str(s.errors)),
    ("median time", lambda s: "-" if s.p50_ms is None else f"{s.p50_ms:,.0f} ms"),
    ("95th percentile", lambda s: "-" if s.p95_ms is None else f"{s.p95_ms:,.0f} ms"),
    ("tokens in / out", lambda s: f"{s.tokens_in:,} / {s.tokens_out:,}"),
    ("cost", lambda s: "unknown" if s.cost_usd is None else f"${s.cost_usd:.4f}"),
)
