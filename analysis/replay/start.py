"""`codetrial replay`: from a repository and a configuration to tasks, answers and a report."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Task as ProgressTask
from rich.text import Text as RichText

from analysis.history import History, Selection
from analysis.replay.book import Book
from analysis.replay.cursors import Chosen, CursorTask, Windows, choose
from analysis.replay.cutoffs import Cutoff, cutoff_of
from analysis.replay.paired import Paired, load_paired
from analysis.replay.roots import Roots
from analysis.replay.run import Outcome, refuse_unpriced, run
from codetrial.arms import build, define
from codetrial.config import Config
from codetrial.errors import EvidenceError
from codetrial.manifest import freeze
from codetrial.pseudonyms import pseudonym_of_repository
from codetrial.records import ArmLabel

if TYPE_CHECKING:
    from git import Repo

__all__ = [
    "CLIENT",
    "PROXY_CLIENT",
    "Options",
    "Prepared",
    "Replayed",
    "Through",
    "Walk",
    "Where",
    "describe",
    "prepare",
    "progress",
    "replay",
    "replay_through",
    "tell",
    "tell_outcome",
    "where",
]

CLIENT = "codetrial replay"
PROXY_CLIENT = "codetrial replay through the proxy"

ESTIMATE_AFTER = 10
"""Tasks of this run before any estimate: the first ones pay for connections and caches."""

_REASONS = {
    "merge": "merge commits",
    "shallow_boundary": "commits at the edge of a shallow clone",
    "first_commit": "first commits",
    "date": "commits outside the dates",
    "author": "commits of other authors",
    "nothing_to_type": "commits with nothing to type",
    "deleted_file": "deleted files",
    "new_file": "new files",
    "submodule": "submodules",
    "symlink": "symbolic links",
    "path": "files outside the paths",
    "language": "files in other languages",
    "huge_file": "huge files",
    "missing_object": "files whose objects are not here",
    "lfs_pointer": "Git LFS pointers",
    "binary_file": "binary files",
    "undecodable_file": "files that are not UTF-8",
    "odd_line_ends": "files with lone carriage returns",
    "nothing_inserted": "files where nothing was added",
    "pasted": "files with more than anybody types",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    repository: Path
    selection: Selection
    """Its `since`, if any, is the person's own; otherwise the cut-offs decide."""
    tasks: int = 200
    per_file: int = 4
    seed: str = "0"
    concurrency: int = 4
    budget_usd: float | None = None
    cutoffs: Mapping[ArmLabel, datetime] = field(default_factory=dict)
    store: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a replay would ask, before anything is asked."""

    chosen: Chosen
    cutoffs: Mapping[ArmLabel, Cutoff]
    since: datetime | None
    skipped: Counter[str]
    is_shallow: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    prepared: Prepared
    outcome: Outcome
    paired: Paired
    store: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What a replay needs to know that asks in another way than directly."""

    tasks: Sequence[CursorTask]
    place: "Where"
    store: Path
    config_file: Path | None
    server: Sequence[str]
    """The language server's command; empty: what is installed for each task's language."""


class Through(Protocol):
    """Another way from tasks to stored answers, such as through a real editor's proxy. See `codetrial.replays`."""

    def __call__(
        self, history: History, config: Config, options: Options, walk: Walk, console: Console, /
    ) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Where:
    """A repository as privacy rules and prompts name it, and as records do."""

    name: str
    identity: str
    origin: str


def where(history: History) -> Where:
    from git import Repo

    with Repo(history.root) as repository:
        origin = _origin(repository) or str(history.root)
    name = origin.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return Where(name, pseudonym_of_repository(origin), origin)


def _origin(repository: "Repo") -> str | None:
    return next((url for remote in repository.remotes for url in remote.urls), None)


def prepare(history: History, config: Config, options: Options) -> Prepared:
    """Read the history and choose the tasks; asks nobody anything.

    Raises:
        EvidenceError: nothing is left to replay; says what was left out, and what would let more in.
    """
    started = time.perf_counter()
    cutoffs = {
        label: cutoff_of(define(config.arms[label], label, templates=config.templates), options.cutoffs.get(label))
        for label in ArmLabel
    }
    known = [cutoff.at for cutoff in cutoffs.values() if cutoff.at is not None]
    since = options.selection.since or max(known, default=None)
    windows = Windows(prefix_chars=config.editor.prefix_chars, suffix_chars=config.editor.suffix_chars)
    chosen = choose(
        history.changes(replace(options.selection, since=since)),
        seed=options.seed,
        limit=options.tasks,
        per_file=options.per_file,
        windows=windows,
    )
    skipped = history.skipped
    if not chosen.tasks:
        raise EvidenceError(_nothing(history, options, since, skipped))
    seconds = time.perf_counter() - started
    return Prepared(
        chosen=chosen,
        cutoffs=cutoffs,
        since=since,
        skipped=skipped,
        is_shallow=history.is_shallow,
        seconds=seconds,
    )


def _nothing(history: History, options: Options, since: datetime | None, skipped: Counter[str]) -> str:
    said = f"Nothing in {history.root} can be replayed"
    if since is not None and options.selection.since is None and skipped["date"]:
        said += (
            f": no commit after {since:%Y-%m-%d}, the later training cut-off of the arms. Older commits may have been "
            "learnt by heart; to use them all the same, name a date with --since."
        )
    elif history.is_shallow:
        said += ": the clone is shallow. Get more of its history with `git fetch --unshallow`."
    else:
        said += "."
    left_out = describe(skipped)
    return f"{said} Left out: {left_out}." if left_out else said


def describe(skipped: Counter[str]) -> str:
    """What was left out, in words: `3 merge commits, 2 binary files`."""
    return ", ".join(f"{count:,} {_REASONS.get(reason, reason)}" for reason, count in skipped.most_common() if count)


def replay(history: History, config: Config, options: Options, prepared: Prepared, console: Console) -> Replayed:
    """Ask both arms, store everything, and read the report of all that is stored for this trial and repository.

    Ctrl-C ends it early and orderly; what is done is stored, and the same command goes on from there.

    Raises:
        CodetrialError: an arm cannot be asked, or the store not be written.
    """
    trial, arm_rows = freeze(config)
    place = where(history)
    path = options.store or config.store.database
    arms = {label: build(config.arms[label], label, templates=config.templates) for label in ArmLabel}
    if options.budget_usd is not None:
        refuse_unpriced({label: arm.definition for label, arm in arms.items()}, config)
    book = Book(path, trial, arm_rows, client=CLIENT, repository=place.identity, store_text=config.store.store_text)
    reason = "interrupted"
    tasks = prepared.chosen.tasks
    with closing(Roots(history, list(arms.values()))) as roots:
        try:
            with progress(console) as shown:
                bar = shown.add_task("replaying", total=len(tasks), counted_from=0)
                outcome = asyncio.run(
                    run(
                        tasks,
                        arms=arms,
                        config=config,
                        book=book,
                        roots=roots,
                        repository=place.name,
                        concurrency=options.concurrency,
                        budget_usd=options.budget_usd,
                        on_start=lambda done: shown.update(bar, completed=done, counted_from=done),
                        on_done=lambda: shown.advance(bar),
                    )
                )
            reason = "finished" if outcome.stopped is None else "stopped"
        except KeyboardInterrupt:
            outcome = Outcome(asked=book.written, stopped="you stopped it")
        finally:
            book.close(reason)
    paired = load_paired(path, trial.id, client=CLIENT, repository=place.identity)
    return Replayed(prepared=prepared, outcome=outcome, paired=paired, store=path)


def replay_through(
    through: Through,
    history: History,
    config: Config,
    options: Options,
    prepared: Prepared,
    console: Console,
    *,
    config_file: Path | None,
    server: Sequence[str],
) -> Replayed:
    """The same tasks, asked in another way; stored and read like the direct replay, and never mixed with it."""
    trial, _ = freeze(config)
    place = where(history)
    path = options.store or config.store.database
    walk = Walk(tasks=prepared.chosen.tasks, place=place, store=path, config_file=config_file, server=server)
    outcome = through(history, config, options, walk, console)
    paired = load_paired(path, trial.id, client=PROXY_CLIENT, repository=place.identity)
    return Replayed(prepared=prepared, outcome=outcome, paired=paired, store=path)


class _Remaining(ProgressColumn):
    """Time left as a range: by the pace of this whole run, and by the pace of late."""

    def render(self, task: ProgressTask) -> RichText:
        done = task.completed - task.fields.get("counted_from", 0)
        if task.elapsed is None or task.finished or done < ESTIMATE_AFTER:
            return RichText("" if task.finished else "time left: not known yet")
        left = (task.total or 0) - task.completed
        paces = [task.elapsed / done]
        if task.speed:
            paces.append(1 / task.speed)
        low, high = (_duration(left * pace) for pace in (min(paces), max(paces)))
        return RichText(f"about {low} left" if low == high else f"about {low} to {high} left")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def progress(console: Console) -> Progress:
    """How far it is, with an honest estimate; tasks need the field `counted_from`."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Remaining(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip


def tell(prepared: Prepared, config: Config, console: Console) -> None:
    """What is about to be asked, of what, and how far it can be trusted."""
    chosen = prepared.chosen
    characters = sum(len(task.prefix) + len(task.suffix) for task in chosen.tasks)
    commits = len({task.commit for task in chosen.tasks})
    console.print(
        f"{len(chosen.tasks):,} places in {commits:,} commits, drawn from {chosen.places:,} places in "
        f"{chosen.commits:,} commits ({prepared.seconds:.1f} s); about {characters // 4:,} tokens of prompts per arm.",
        highlight=False,
    )
    for label, cutoff in prepared.cutoffs.items():
        console.print(f"Arm {label}, {config.arms[label].title}: {cutoff.describe()}.", markup=False, highlight=False)
    unsafe = [label for label, cutoff in prepared.cutoffs.items() if _may_have_seen(cutoff, prepared.since)]
    if unsafe:
        console.print(
            f"Arm {' and '.join(unsafe)} may have learnt some of these commits by heart: name the cut-off with "
            "--cutoff, or take newer commits with --since.",
            style="yellow",
            highlight=False,
        )
    if prepared.is_shallow:
        console.print("The clone is shallow: older commits were not seen (`git fetch --unshallow`).", style="yellow")
    if left_out := describe(prepared.skipped):
        console.print(f"Left out: {left_out}.", style="dim", highlight=False)


def _may_have_seen(cutoff: Cutoff, since: datetime | None) -> bool:
    if cutoff.basis == "never trained":
        return False
    return cutoff.at is None or since is None or since < cutoff.at


def tell_outcome(done: Replayed, console: Console) -> None:
    outcome = done.outcome
    said = f"Asked {outcome.asked:,}"
    if outcome.already_done:
        said += f", done before {outcome.already_done:,}"
    if outcome.excluded:
        said += f", excluded by privacy rules {outcome.excluded:,}"
    console.print(f"{said}; ${outcome.spent_usd:.4f} spent. Stored in {done.store}.", markup=False, highlight=False)
    if outcome.stopped is not None:
        console.print(
            f"Stopped early: {outcome.stopped}. The same command goes on from here.", style="yellow", markup=False
        )
