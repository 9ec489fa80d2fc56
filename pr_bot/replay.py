"""Both arms review changes of the past in which the place of a defect is known.

A finding hits a defect if it names the same file within three lines, or the same function. It is confirmed if the same
arm did not flag that place in the twin, where nothing was made wrong: then the defect is what it saw. Findings on twins
are false alarms at most, since nobody has shown that real changes have no defects of their own.
"""

import asyncio
import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from analysis.history import History
from analysis.replay.defects import Case, Defect, Workshop
from analysis.replay.run import Spending, plain_errors, refuse_unpriced
from analysis.replay.sandbox import Sandbox, Unprotected, open_sandbox
from analysis.statistics import MIN_CLUSTERS, Interval, cluster_ratio, empirical_bernstein
from analysis.store import Store
from codetrial.clock import now_ns, utc_text
from codetrial.config import Config, load
from codetrial.ids import new_id
from codetrial.options import echo_json
from codetrial.pseudonyms import hashed
from codetrial.records import ArmLabel, AttemptStatus, Incident, Origin, Record
from pr_bot.diff import local_diff
from pr_bot.findings import Placed
from pr_bot.git import Repository
from pr_bot.guard import Guard
from pr_bot.isolated import IsolatedReviewer
from pr_bot.neighbours import NEAR_LINES
from pr_bot.recording import ReviewTrial, freeze_reviews, review_records, session_record
from pr_bot.review import Reviewer
from pr_bot.reviewing import Change, Reviewed, members, review_change
from pr_bot.settings import ReviewSettings, review_arms, settings
from pr_bot.source import Source

__all__ = ["ArmRecall", "Options", "Recall", "Replayed", "load_recall", "print_recall", "replay_reviews", "run"]

CLIENT = "codetrial pr replay"
KIND = "review_replay_case"

_UNREACHABLE = frozenset({"connect", "connect_timeout", "local_server", "process", "http_401", "http_403", "http_404"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    repository: Path
    tests: tuple[str, ...] = ()
    """The command that runs the repository's tests; without one no defect can be seeded."""
    changes: int = 20
    blamed: int = 0
    tries: int = 5
    """Defects tried in one change until the tests notice one."""
    limit_s: float = 300.0
    seed: str = "0"
    budget_usd: float | None = None
    """For both arms together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    trial: str
    asked: int
    already_done: int
    skipped: Counter[str]
    stopped: str | None
    spent_usd: float = 0.0
    complaint: str = ""
    """What the repository's tests said when they failed by themselves."""


async def replay_reviews(
    options: Options,
    config: Config,
    *,
    sandbox: Sandbox,
    store: Path,
    reviewers: Mapping[ArmLabel, Reviewer] | None = None,
    on_case: Callable[[str], None] = lambda said: None,
) -> Replayed:
    """Make cases, ask both arms, and store each case whole; what is stored is not asked again.

    Raises:
        EvidenceError: not a repository, no history, or tests that cannot be run.
        ConfigError: an arm cannot review.
    """
    own = settings(config)
    arms = review_arms(config, own)
    trial = freeze_reviews(config, own, arms)
    if options.budget_usd is not None:
        refuse_unpriced(trial.definitions, config)
    asked_of = reviewers or {label: IsolatedReviewer(arm) for label, arm in arms.items()}
    with (
        Store(store) as opened,
        History(options.repository) as history,
        Workshop(history, seed=options.seed) as workshop,
    ):
        spending = Spending(options.budget_usd)
        replay = _Replay(workshop, config, own, trial, asked_of, opened, history.root.name, spending)
        if options.tests:
            for number, commit in enumerate(workshop.changes(options.changes), start=1):
                on_case(f"change {number} of at most {options.changes}")
                pair = await workshop.seeded(
                    commit, tests=options.tests, sandbox=sandbox, limit_s=options.limit_s, tries=options.tries
                )
                if pair is not None and not await replay.review(pair):
                    break
        if replay.stopped is None and options.blamed:
            for number, case in enumerate(await asyncio.to_thread(workshop.blamed, options.blamed), start=1):
                on_case(f"blamed change {number} of at most {options.blamed}")
                if not await replay.review((case,)):
                    break
    return Replayed(
        trial=trial.trial.id,
        asked=replay.asked,
        already_done=replay.done,
        skipped=workshop.skipped,
        stopped=replay.stopped,
        spent_usd=spending.usd,
        complaint=workshop.complaint,
    )


class _Replay:
    def __init__(
        self,
        workshop: Workshop,
        config: Config,
        own: ReviewSettings,
        trial: ReviewTrial,
        reviewers: Mapping[ArmLabel, Reviewer],
        store: Store,
        name: str,
        spending: Spending,
    ) -> None:
        self._spending = spending
        self.asked = self.done = 0
        self.stopped: str | None = None
        self._repository = Repository.open(workshop.root)
        self._own = own
        self._trial = trial
        self._reviewers = reviewers
        self._store = store
        self._name = name
        self._guard = Guard(config, trial, own)

    async def review(self, cases: Sequence[Case]) -> bool:
        """All cases of one change, stored together; False if there is no point in going on."""
        records: list[Record] = []
        fresh = 0
        for case in cases:
            number = f"{case.commit}/{case.head}/{'twin' if case.defect is None else case.defect.kind}"
            session = session_record(
                self._trial.trial,
                repository=self._name,
                number=number,
                author="replay",
                origin=Origin.REPLAY,
                client=CLIENT,
            )
            if self._store.rows("SELECT 1 FROM task WHERE session = ?", [session.id]):
                self.done += 1
                continue
            # A change and its twin are stored together, so there must be room for both.
            self._spending.in_flight = len(cases) - 1
            if not fresh and not self._spending.admits():
                self.stopped = (
                    f"the budget of ${self._spending.limit_usd:g} has no room for another review "
                    f"(${self._spending.usd:.4f} spent)"
                )
                return False
            reviewed = await self._ask(case)
            if self.stopped is not None:
                return False
            costs = {label: self._guard.cost(label, review.answer) for label, review in reviewed.reviews.items()}
            self._spending.add(costs)
            records += review_records(reviewed, self._trial, session, costs)
            records.append(self._note(case, reviewed, session.id))
            fresh += 1
        if records:
            await asyncio.to_thread(self._store.append, *records)
            self.asked += fresh
        return True

    async def _ask(self, case: Case) -> Reviewed:
        diff = self._guard.exclude(local_diff(self._repository, case.base, case.head), self._name)
        reviewed = await review_change(
            Change(title=case.title, description=case.description, diff=diff),
            repository=self._repository,
            reviewers=self._reviewers,
            settings=self._own,
            trial=self._trial.trial,
            guard=self._guard,
            is_shadow=True,
        )
        for label, review in reviewed.reviews.items():
            answer = review.answer
            if answer.status is AttemptStatus.OVER_BUDGET or answer.error_kind in _UNREACHABLE:
                self.stopped = f"arm {label} did not review: {answer.error or answer.error_kind}"
        return reviewed

    def _note(self, case: Case, reviewed: Reviewed, session: str) -> Incident:
        """What is known of the case, and which findings hit it: where code stands is not kept, only whether it fits."""
        hits = [] if case.defect is None else self._hits(case.defect, case.head, reviewed)
        detail = {
            "task": reviewed.task,
            "commit": case.commit,
            "kind": None if case.defect is None else case.defect.kind,
            "path_hash": None if case.defect is None else hashed(self._trial.trial.seed, case.defect.path)[:32],
            "lines": None if case.defect is None else list(case.defect.lines),
            "hits": hits,
        }
        return Incident(
            id=new_id(),
            session=session,
            kind=KIND,
            count=1,
            detail=json.dumps(detail, sort_keys=True),
            happened_ns=now_ns(),
            happened_at=utc_text(),
        )

    def _hits(self, defect: Defect, head: str, reviewed: Reviewed) -> list[str]:
        source = Source(self._repository, head)
        return [member.id for member, _ in members(reviewed) if _is_hit(defect, member, source)]


def _is_hit(defect: Defect, member: Placed, source: Source) -> bool:
    anchor = member.anchor
    if anchor.path != defect.path or anchor.start_line is None or anchor.end_line is None:
        return False
    if any(anchor.start_line - NEAR_LINES <= line <= anchor.end_line + NEAR_LINES for line in defect.lines):
        return True
    functions = {source.function(defect.path, line - 1) for line in defect.lines} - {None}
    return source.function(anchor.path, anchor.start_line - 1) in functions


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRecall:
    name: str
    found: int
    """Defects with a finding at their place."""
    confirmed: int
    """Of those, seeded ones whose place the same arm did not flag in the twin."""
    failed: int
    """Reviews that were no answer; they found nothing and count."""
    twin_findings: int
    """False alarms at most."""
    lines: int
    """Of all findings on changes with a defect."""
    cost_usd: float | None

    @property
    def lines_per_defect(self) -> float | None:
        """Lines to read for each defect that is found; None if none is."""
        return self.lines / self.found if self.found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Both arms on the same defects."""

    kind: str
    """`seeded` or `blamed`."""
    defects: int
    twins: int
    changes: int
    arms: Mapping[ArmLabel, ArmRecall]
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: Interval | None
    """Of recall, A - B, over changes."""

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["difference"] = None if self.difference is None else list(self.difference)
        return plain


_NOTES = """
SELECT i.detail FROM incident i JOIN session s ON s.id = i.session
WHERE s.trial = ? AND s.origin = 'replay' AND i.kind = ? ORDER BY i.id
"""
_FINDINGS = """
SELECT f.task, f.id, f.path_hash, f.start_line, f.end_line, g.label, g.lines
FROM finding f JOIN suggestion g ON g.id = f.id JOIN task t ON t.id = f.task WHERE t.trial = ?
"""
_ATTEMPTS = "SELECT p.* FROM attempt p JOIN task t ON t.id = p.task WHERE t.trial = ?"


def load_recall(store: Path, trial: str) -> tuple[Recall, ...]:
    """What is stored of a trial's review replays: seeded and blamed defects apart."""
    with Store(store, readonly=True) as opened:
        notes = [json.loads(row["detail"]) for row in opened.rows(_NOTES, [trial, KIND])]
        findings = opened.rows(_FINDINGS, [trial])
        attempts = opened.rows(_ATTEMPTS, [trial])
        names = {row["label"]: row["name"] for row in opened.rows("SELECT * FROM arm WHERE trial = ?", [trial])}
    twins = {note["commit"]: note for note in notes if note["kind"] is None}
    seeded = [note for note in notes if note["kind"] not in (None, "blamed")]
    blamed = [note for note in notes if note["kind"] == "blamed"]
    table = _Findings(findings, attempts, names)
    found = []
    if seeded:
        found.append(_recall("seeded", seeded, twins, table))
    if blamed:
        found.append(_recall("blamed", blamed, {}, table))
    return tuple(found)


class _Findings:
    def __init__(
        self, findings: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]], names: Mapping[str, str]
    ) -> None:
        self._findings = findings
        self._attempts = attempts
        self._names = names

    def of(self, task: str, label: ArmLabel) -> list[Mapping[str, Any]]:
        return [row for row in self._findings if row["task"] == task and row["label"] == label]

    def attempts(self, tasks: set[str], label: ArmLabel) -> list[Mapping[str, Any]]:
        return [row for row in self._attempts if row["task"] in tasks and row["label"] == label]

    def name(self, label: ArmLabel) -> str:
        return self._names.get(label.value, label.value)


def _recall(kind: str, notes: Sequence[Mapping[str, Any]], twins: Mapping[str, Any], table: _Findings) -> Recall:
    found = {label: np.array([_found(note, label, table) for note in notes], dtype=np.float64) for label in ArmLabel}
    a, b = found[ArmLabel.A], found[ArmLabel.B]
    return Recall(
        kind=kind,
        defects=len(notes),
        twins=sum(note["commit"] in twins for note in notes),
        changes=len({note["commit"] for note in notes}),
        arms={label: _arm(label, notes, twins, found[label], table) for label in ArmLabel},
        both=int((a * b).sum()),
        only_a=int((a * (1 - b)).sum()),
        only_b=int((b * (1 - a)).sum()),
        neither=int(((1 - a) * (1 - b)).sum()),
        difference=_difference(a - b),
    )


def _found(note: Mapping[str, Any], label: ArmLabel, table: _Findings) -> bool:
    return any(row["id"] in note["hits"] for row in table.of(note["task"], label))


def _difference(values: Any) -> Interval | None:
    """One defect a change, so each value is a cluster. None as long as everything from -1 to 1 is possible."""
    if len(values) >= MIN_CLUSTERS:
        return cluster_ratio(values, np.ones_like(values)).last
    interval = empirical_bernstein(values, value_range=2.0).last
    if interval is None or (interval.low <= -1 and interval.high >= 1):
        return None
    return Interval(interval.estimate, max(-1.0, interval.low), min(1.0, interval.high))


def _arm(
    label: ArmLabel, notes: Sequence[Mapping[str, Any]], twins: Mapping[str, Any], found: Any, table: _Findings
) -> ArmRecall:
    confirmed = twin_findings = lines = 0
    tasks: set[str] = set()
    for note, is_found in zip(notes, found, strict=True):
        tasks.add(note["task"])
        lines += sum(row["lines"] for row in table.of(note["task"], label))
        twin = twins.get(note["commit"])
        if twin is None:
            continue
        tasks.add(twin["task"])
        on_twin = table.of(twin["task"], label)
        twin_findings += len(on_twin)
        confirmed += bool(is_found) and not any(_is_near(note, row) for row in on_twin)
    attempts = table.attempts(tasks, label)
    costs = [row["cost_nanousd"] for row in attempts]
    return ArmRecall(
        name=table.name(label),
        found=int(found.sum()),
        confirmed=confirmed,
        failed=sum(row["status"] not in (AttemptStatus.OK, AttemptStatus.EMPTY) for row in attempts),
        twin_findings=twin_findings,
        lines=lines,
        cost_usd=None if None in costs else sum(costs) / 1e9,
    )


def _is_near(note: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    if row["path_hash"] != note["path_hash"] or row["start_line"] is None:
        return False
    return any(row["start_line"] - NEAR_LINES <= line <= row["end_line"] + NEAR_LINES for line in note["lines"])


def print_recall(recalls: Sequence[Recall], console: Console) -> None:
    if not recalls:
        console.print("No defect has been reviewed yet.")
    for recall in recalls:
        a, b = (recall.arms[label] for label in ArmLabel)
        of = recall.defects
        table = Table(
            f"{recall.kind} defects, {of} in {recall.changes} changes",
            *(Column(f"{label}  {arm.name}", justify="right") for label, arm in recall.arms.items()),
        )
        table.add_row("found (place)", f"{a.found} of {of}", f"{b.found} of {of}")
        if recall.kind == "seeded":
            table.add_row("found and not flagged in the twin", f"{a.confirmed} of {of}", f"{b.confirmed} of {of}")
            table.add_row(f"findings on {recall.twins} twins", str(a.twin_findings), str(b.twin_findings))
        table.add_row("lines to read per defect found", _number(a.lines_per_defect), _number(b.lines_per_defect))
        table.add_row("reviews that failed", str(a.failed), str(b.failed))
        table.add_row("cost", _usd(a.cost_usd), _usd(b.cost_usd))
        console.print(table)
        console.print(
            f"Both found {recall.both}, only A {recall.only_a}, only B {recall.only_b}, neither {recall.neither}.",
            highlight=False,
        )
        if recall.difference is None:
            console.print(f"Recall A - B: not yet; {recall.defects} defects say too little.", highlight=False)
        else:
            estimate, low, high = (100 * value for value in recall.difference)
            console.print(f"Recall A - B: {estimate:+.1f} pp [{low:+.1f}, {high:+.1f}].", markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:.4f}"


def run(
    repository: Path,
    *,
    tests: str | None,
    changes: int,
    blamed: int,
    limit_s: float,
    seed: str,
    budget_usd: float | None,
    visible: Sequence[Path],
    without_sandbox: bool,
    as_json: bool,
    config_file: Path | None,
    database: Path | None,
) -> None:
    """`codetrial pr replay`."""
    config = load(repository, config_file=config_file)
    path = database or config.store.database
    notes = Console(stderr=True)
    options = Options(
        repository=repository,
        tests=tuple(shlex.split(tests or "")),
        changes=changes,
        blamed=blamed,
        limit_s=limit_s,
        seed=seed,
        budget_usd=budget_usd,
    )

    async def work() -> Replayed:
        sandbox: Sandbox = Unprotected()
        if options.tests:
            sandbox = await open_sandbox(without=without_sandbox, visible=visible)
        with notes.status("reading the history") as status:
            return await replay_reviews(options, config, sandbox=sandbox, store=path, on_case=status.update)

    with plain_errors():
        done = asyncio.run(work())
    recalls = load_recall(path, done.trial)
    if as_json:
        echo_json([recall.as_json() for recall in recalls])
    else:
        print_recall(recalls, Console())
    notes.print(
        f"Reviewed {done.asked}, done before {done.already_done}; ${done.spent_usd:.4f} spent. Stored in {path}.",
        highlight=False,
    )
    if done.skipped:
        left = ", ".join(f"{count} {reason}" for reason, count in done.skipped.most_common())
        notes.print(f"Left out: {left}.", markup=False, highlight=False)
    if done.complaint:
        notes.print(f"The tests said:\n{done.complaint}", markup=False, highlight=False)
    if done.stopped is not None:
        notes.print(f"Stopped early: {done.stopped}. The same command goes on from here.", markup=False)
        raise SystemExit(3)
