"""`codetrial pilot`: is a fine-tune worth trying, and if it was tried, was it worth it?

Training and test data are split by time, never at random: lines of one file resemble each other, and a model that has
seen the neighbours of a test line has seen the test. A fine-tune is compared on commits after its training data only,
and with its base under a good prompt, since that is what it must beat to be worth its upkeep.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from analysis.history import Change, History, Selection
from analysis.replay.cursors import Windows, choose
from analysis.replay.paired import Columns, Replays
from analysis.statistics import MIN_CLUSTERS, Interval, cluster_ratio, cluster_sums
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel

__all__ = [
    "Comparison",
    "DataCount",
    "Decided",
    "Gap",
    "Pilot",
    "Split",
    "compare",
    "count_data",
    "count_export",
    "gaps",
    "print_pilot",
    "split",
    "write_split",
]

TEST_SHARE = 0.2
"""Of the commits, the newest."""

ENOUGH_EXAMPLES = 1_000
"""Published studies of small fine-tunes begin here; below, a better prompt is the cheaper thing to try."""

MIN_GAP_TASKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCount:
    """What a language offers to learn from."""

    language: str
    commits: int
    files: int
    typed_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What people decided in the trial itself, in one language of an export."""

    language: str
    accepted: int
    rejected: int
    train: int
    """Of both, for training; the rest is for validation and test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Commits in order of time, cut once."""

    at: datetime
    """The first moment of the test data."""
    train: tuple[Change, ...]
    test: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far the base arm is from the other one, where the tasks are of one language or place."""

    axis: str
    value: str
    tasks: int
    commits: int
    base: float
    other: float
    interval: Interval | None
    """Of other - base over commits; None with fewer than MIN_CLUSTERS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One pair, on commits after the training data of both."""

    a: str
    b: str
    tasks: int
    commits: int
    left_out: int
    """Tasks of commits that are too old."""
    difference: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """All that is known before anybody fine-tunes."""

    data: tuple[DataCount, ...]
    split: Split
    written: Mapping[str, int] | None
    """Examples written, by part; None if none were asked for."""
    decided: tuple[Decided, ...]
    base: str
    """The arm that a fine-tune would start from."""
    gaps: tuple[Gap, ...]
    comparisons: tuple[Comparison, ...]
    """Of a fine-tune that exists, which is arm A of each."""
    difference: float
    """The smallest that matters."""

    @property
    def verdict(self) -> str | None:
        return _verdict(self.comparisons, self.difference) if self.comparisons else None

    def as_json(self) -> dict[str, Any]:
        return {
            "to_learn_from": [asdict(count) for count in self.data],
            "split": {
                "at": self.split.at.isoformat(),
                "train_commits": len(self.split.train),
                "test_commits": len(self.split.test),
            },
            "examples_written": self.written,
            "decided": [asdict(row) for row in self.decided],
            "base": self.base,
            "gaps": [_with_interval(gap, gap.interval) for gap in self.gaps],
            "comparisons": [_with_interval(pair, pair.difference) for pair in self.comparisons],
            "verdict": self.verdict,
        }


def _with_interval(row: Gap | Comparison, interval: Interval | None) -> dict[str, Any]:
    name = "interval" if isinstance(row, Gap) else "difference"
    return {**asdict(row), name: None if interval is None else list(interval)}


def count_data(changes: Iterable[Change]) -> list[DataCount]:
    commits: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    typed: Counter[str] = Counter()
    for change in changes:
        commits.update({file.language for file in change.files})
        for file in change.files:
            files.setdefault(file.language, set()).add(file.path)
            typed[file.language] += file.typed_chars
    return [
        DataCount(language=language, commits=commits[language], files=len(files[language]), typed_chars=chars)
        for language, chars in typed.most_common()
    ]


def count_export(folder: Path) -> list[Decided]:
    """What `codetrial export` wrote, by language, most first.

    Raises:
        EvidenceError: the folder is no export, or a line of it cannot be read.
    """
    if not (folder / "about.json").is_file():
        raise EvidenceError(f"{folder} is no export: write one with `codetrial export --origin person {folder}`.")
    accepted: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    train: Counter[str] = Counter()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    language = row["provenance"]["language"]
                    is_taken = row["is_accepted"] if "is_accepted" in row else row["basis"] != "written_instead"
                except (ValueError, KeyError, TypeError) as fault:
                    raise EvidenceError(f"{path}, line {number}, is no row of an export. Export again.") from fault
                (accepted if is_taken else rejected)[language] += 1
                train[language] += path.stem == "train"
    return [
        Decided(language=name, accepted=accepted[name], rejected=rejected[name], train=train[name])
        for name, _ in (accepted + rejected).most_common()
    ]


def split(changes: Sequence[Change], *, at: datetime | None = None) -> Split:
    """Cut by time: at a given moment, or so that the newest fifth of the commits is for testing.

    Raises:
        EvidenceError: one side would be empty.
    """
    ordered = sorted(changes, key=lambda change: (change.authored_at, change.commit))
    if at is None and len(ordered) > 1:
        at = ordered[min(len(ordered) - 1, int(len(ordered) * (1 - TEST_SHARE)))].authored_at
    train = tuple(change for change in ordered if at is not None and change.authored_at < at)
    test = tuple(change for change in ordered if at is not None and change.authored_at >= at)
    if at is None or not train or not test:
        raise EvidenceError(
            f"The history cannot be split by time: {len(train)} commits before, {len(test)} after. "
            "Choose another --split-at day, or take in more of the history."
        )
    return Split(at=at, train=train, test=test)


def write_split(parts: Split, folder: Path, *, windows: Windows, seed: str, per_file: int) -> Mapping[str, int]:
    """Fill-in-the-middle examples as JSON lines, `train.jsonl` and `test.jsonl`; how many each holds."""
    counts = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, changes in (("train", parts.train), ("test", parts.test)):
        dates = {change.commit: change.authored_at for change in changes}
        chosen = choose(changes, seed=seed, limit=1_000_000, per_file=per_file, windows=windows)
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8", errors="replace") as out:
            for task in chosen.tasks:
                example = {
                    "prefix": task.prefix,
                    "suffix": task.suffix,
                    "middle": task.written,
                    "path": task.path,
                    "language": task.language,
                    "commit": task.commit,
                    "authored_at": dates[task.commit].isoformat(),
                }
                out.write(json.dumps(example, ensure_ascii=False) + "\n")
        counts[name] = len(chosen.tasks)
    return counts


def gaps(replays: Replays, *, base: ArmLabel) -> list[Gap]:
    """By language and by place, those where the base falls short most first."""
    columns = replays.columns()
    found = []
    for axis, values in (("all", ["all"] * len(replays)), ("language", columns.language), ("place", columns.place)):
        for value in sorted(set(values)):
            chosen = [i for i, v in enumerate(values) if v == value]
            if len(chosen) >= MIN_GAP_TASKS:
                found.append(_gap(axis, value, columns, chosen, base))
    return sorted(found, key=lambda gap: (gap.axis != "all", gap.base - gap.other))


def _gap(axis: str, value: str, columns: Columns, chosen: Sequence[int], base: ArmLabel) -> Gap:
    mine, other = (columns.a, columns.b) if base is ArmLabel.A else (columns.b, columns.a)
    indices = {commit: number for number, commit in enumerate(dict.fromkeys(columns.sha[i] for i in chosen))}
    clusters = [indices[columns.sha[i]] for i in chosen]
    return Gap(
        axis=axis,
        value=value,
        tasks=len(chosen),
        commits=len(indices),
        base=float(mine[chosen].mean()),
        other=float(other[chosen].mean()),
        interval=cluster_ratio(*cluster_sums(other[chosen] - mine[chosen], clusters)).last,
    )


def compare(replays: Replays, history: History, *, trained_until: datetime) -> Comparison:
    """Both arms on commits after the training data.

    Raises:
        EvidenceError: the replay holds no task of such a commit: it would measure memory.
    """
    columns = replays.columns()
    dates = _dates(history, set(columns.sha))
    chosen = [i for i, sha in enumerate(columns.sha) if sha in dates and dates[sha] > trained_until]
    if not chosen:
        newest = max(dates.values(), default=None)
        told = "none is in this repository" if newest is None else f"the newest commit is of {newest:%Y-%m-%d}"
        raise EvidenceError(
            f"Refused: all {len(columns.sha)} replayed tasks are older than the end of the training data, "
            f"{trained_until:%Y-%m-%d} ({told}). A model would be asked for what it has learnt: run `codetrial replay "
            f"--since {trained_until:%Y-%m-%d}` when there are newer commits."
        )
    indices = {sha: number for number, sha in enumerate(dict.fromkeys(columns.sha[i] for i in chosen))}
    clusters = [indices[columns.sha[i]] for i in chosen]
    return Comparison(
        a=replays.arm(ArmLabel.A).name,
        b=replays.arm(ArmLabel.B).name,
        tasks=len(chosen),
        commits=len(indices),
        left_out=len(columns.sha) - len(chosen),
        difference=cluster_ratio(*cluster_sums((columns.a - columns.b)[chosen], clusters)).last,
    )


def _dates(history: History, wanted: set[str]) -> dict[str, datetime]:
    from git import Repo

    with Repo(history.root) as repository:
        listed = repository.git.log("--all", "--format=%H %aI").split("\n")
    pairs = (line.split(" ", 1) for line in listed if line)
    return {sha: datetime.fromisoformat(at).astimezone(UTC) for sha, at in pairs if sha in wanted}


def read_changes(history: History, selection: Selection) -> list[Change]:
    """Raises:
    EvidenceError: there is nothing to learn from.
    """
    changes = list(history.changes(selection))
    if not changes:
        raise EvidenceError(f"{history.root} has no commit to learn from in this selection.")
    return changes


def print_pilot(made: Pilot, console: Console) -> None:
    _print_data(made, console)
    if made.decided:
        table = Table(
            "decided in the trial", *(Column(title, justify="right") for title in ("accepted", "rejected", "to train"))
        )
        for row in made.decided:
            table.add_row(row.language, f"{row.accepted:,}", f"{row.rejected:,}", f"{row.train:,}")
        console.print(table)
    if made.gaps:
        headings = (Column(t, justify="right") for t in ("tasks", "base", "other arm", "gap"))
        table = Table(f"base = {made.base}", *headings)
        for gap in made.gaps:
            shown = _shown(gap.interval, gap.commits)
            table.add_row(f"{gap.axis} {gap.value}", str(gap.tasks), f"{gap.base:.1%}", f"{gap.other:.1%}", shown)
        console.print(table)
    for comparison in made.comparisons:
        shown = _shown(comparison.difference, comparison.commits)
        console.print(
            f"{comparison.a} - {comparison.b}: {shown} on {comparison.tasks} tasks of {comparison.commits} commits "
            f"after the training data ({comparison.left_out} older left out).",
            markup=False,
            highlight=False,
        )
    if made.verdict is not None:
        console.print(made.verdict, style="bold", highlight=False)


def _print_data(made: Pilot, console: Console) -> None:
    table = Table(
        "to learn from", *(Column(title, justify="right") for title in ("commits", "files", "characters typed"))
    )
    for count in made.data:
        table.add_row(count.language, f"{count.commits:,}", f"{count.files:,}", f"{count.typed_chars:,}")
    console.print(table)
    console.print(
        f"Split by time at {made.split.at:%Y-%m-%d}: {len(made.split.train):,} commits to train on, "
        f"{len(made.split.test):,} to test with.",
        highlight=False,
    )
    if made.written is not None:
        examples = made.written["train"]
        console.print(f"Wrote {examples:,} training and {made.written['test']:,} test examples.", highlight=False)
        if examples < ENOUGH_EXAMPLES:
            console.print(f"Fewer than {ENOUGH_EXAMPLES:,} examples: try a better prompt first.", highlight=False)


def _verdict(comparisons: Sequence[Comparison], difference: float) -> str:
    """The fine-tune is arm A of every pair; it must beat all it is compared with."""
    intervals = [comparison.difference for comparison in comparisons]
    known = [interval for interval in intervals if interval is not None]
    if any(interval.high < difference for interval in known):
        return f"Not worth it: it is not better by {100 * difference:g} pp than everything it was compared with."
    if len(known) == len(intervals) and all(interval.low > 0 for interval in known):
        few = (
            "" if len(comparisons) > 1 else " Compare it with its base under a good prompt too, before anybody decides."
        )
        return f"Better than what it was compared with.{few}"
    return "Not decided yet: replay more commits."


def _shown(interval: Interval | None, commits: int) -> str:
    if interval is None:
        return f"not yet ({commits} of {MIN_CLUSTERS} commits)"
    return f"{100 * interval.estimate:+.1f} pp [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
