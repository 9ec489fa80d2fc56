"""`codetrial tasks`: both arms fill each hole some times, and the check says which fillings work."""

import asyncio
import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.cut import CUT_VERSION, cut
from analysis.replay.book import Book
from analysis.replay.problems import Problem, solution_text
from analysis.replay.run import Spending, plain_errors, refuse_unpriced
from analysis.replay.sandbox import NOT_FOUND, Sandbox
from analysis.store import text_record
from codetrial.arms import build
from codetrial.arms.base import Answer, Arm, Preparable, Prompt
from codetrial.attempts import attempt_row
from codetrial.clock import now_ns, utc_text
from codetrial.config import ArmConfig, ArmsConfig, Config
from codetrial.errors import EvidenceError
from codetrial.manifest import freeze
from codetrial.prices import Cost
from codetrial.records import (
    ArmLabel,
    AttemptStatus,
    Disposition,
    Door,
    Place,
    Record,
    Score,
    Suggestion,
    Task,
)
from codetrial.routing import Router

__all__ = ["CLIENT", "HORIZON", "METRIC", "Settings", "Solved", "solve", "task_config"]

CLIENT = "codetrial tasks"
HORIZON = "check"
METRIC = "passed"

MAX_LINES = 400
"""Of a solution; the editor's limit is for what fits on a screen."""

SAMPLING_TEMPERATURE = 0.6
"""For several samples of an arm that would otherwise say the same each time."""

CHECKS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    samples: int = 1
    max_tokens: int = 512
    timeout_s: float = 60.0
    concurrency: int = 4
    budget_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    asked: int
    already_done: int
    spent_usd: float
    stopped: str | None
    trial: str


def task_config(config: Config, settings: Settings) -> Config:
    """The same two arms with room for a whole solution. Other settings make another arm, so this is another trial."""

    def roomier(arm: ArmConfig) -> ArmConfig:
        temperature = arm.temperature
        if settings.samples > 1 and temperature == 0:
            temperature = SAMPLING_TEMPERATURE
        return replace(
            arm,
            max_tokens=max(arm.max_tokens, settings.max_tokens),
            timeout_s=max(arm.timeout_s, settings.timeout_s),
            stops=(),
            temperature=temperature,
            prefix_chars=None,
            suffix_chars=None,
        )

    arms = ArmsConfig(a=roomier(config.arms.a), b=roomier(config.arms.b))
    return replace(config, arms=arms, trial=replace(config.trial, name=f"{config.trial.name}: coding tasks"))


@dataclass(frozen=True, slots=True)
class _Job:
    problem: Problem
    sample: int
    identity: str


async def solve(
    problems: Sequence[Problem],
    config: Config,
    settings: Settings,
    *,
    sandbox: Sandbox,
    store: Path,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_done: Callable[[], None] = lambda: None,
) -> Solved:
    """Ask both arms for every sample that is not stored yet, and check each answer.

    Args:
        config: Of the trial; the arms get room for whole solutions (`task_config`).

    Raises:
        EvidenceError: a check fails to run at all.
        CodetrialError: an arm cannot be asked.
    """
    config = task_config(config, settings)
    trial, rows = freeze(config)
    arms = {label: build(config.arms[label], label, templates=config.templates) for label in ArmLabel}
    if settings.budget_usd is not None:
        refuse_unpriced({label: arm.definition for label, arm in arms.items()}, config)
    book = Book(store, trial, rows, client=CLIENT, repository=None, store_text=config.store.store_text)
    jobs = [
        _Job(problem, sample, _identity(trial.id, problem, sample))
        for sample in range(settings.samples)
        for problem in problems
    ]
    done = book.done(job.identity for job in jobs)
    waiting = [job for job in jobs if job.identity not in done]
    on_start(len(jobs) - len(waiting), len(jobs))
    solver = _Solver(book, arms, config, settings, sandbox, on_done)
    reason = "interrupted"
    try:
        with plain_errors():
            async with Router(arms, config, order=random.Random(trial.seed)) as router:
                for arm in arms.values():
                    if isinstance(arm, Preparable):
                        await arm.prepare(None)
                await solver.work_off(router, waiting)
        reason = "finished" if solver.stopped is None else "stopped"
    finally:
        book.close(reason)
    return Solved(
        asked=solver.asked,
        already_done=len(jobs) - len(waiting),
        spent_usd=solver.spending.usd,
        stopped=solver.stopped,
        trial=trial.id,
    )


def _identity(trial: str, problem: Problem, sample: int) -> str:
    """Changes with the task's content: a task that was mended is asked again."""
    content = f"{trial}/{problem.name}/{problem.digest}/{sample}"
    return f"c-{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:24]}"


class _Solver:
    def __init__(
        self,
        book: Book,
        arms: Mapping[ArmLabel, Arm],
        config: Config,
        settings: Settings,
        sandbox: Sandbox,
        on_done: Callable[[], None],
    ) -> None:
        self.asked = 0
        self.stopped: str | None = None
        self.spending = Spending(settings.budget_usd)
        self._book = book
        self._arms = arms
        self._config = config
        self._settings = settings
        self._sandbox = sandbox
        self._on_done = on_done
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def work_off(self, router: Router, jobs: Sequence[_Job]) -> None:
        queue = iter(jobs)

        async def worker() -> None:
            for job in queue:
                if not self.spending.admits():
                    self.stopped = f"the budget of ${self.spending.limit_usd:g} has no room for another task"
                if self.stopped is not None:
                    return
                await self._one(router, job)

        # With a budget one at a time: a solution costs far more than a completion, and an overrun as well.
        count = 1 if self.spending.limit_usd is not None else self._settings.concurrency
        async with asyncio.TaskGroup() as workers:
            for number in range(count):
                workers.create_task(worker(), name=f"tasks worker {number}")

    async def _one(self, router: Router, job: _Job) -> None:
        problem = job.problem
        prompt = Prompt(prefix=problem.prompt, suffix=problem.suffix, path=problem.path, language=problem.language)
        requested_ns = now_ns()
        flight = router.start(prompt)
        answers = await flight.settled()
        unreachable = next(
            ((label, a) for label, a in answers.items() if a.sent_ns is None or a.error_kind in _NOT_AN_ANSWER), None
        )
        if unreachable is not None:
            label, answer = unreachable
            name = self._arms[label].definition.name
            self.stopped = f"arm {label} ({name}) did not answer: {answer.error or answer.error_kind}"
            return
        costs = {label: router.cost(label, answer, when=flight.started_at) for label, answer in answers.items()}
        self.spending.add(costs)
        records: list[Record] = [self._task(job, requested_ns)]
        for label, answer in answers.items():
            records += await self._checked(job, label, answer, costs[label])
        await self._book.add(records)
        self.asked += 1
        self._on_done()

    async def _checked(self, job: _Job, label: ArmLabel, answer: Answer, cost: Cost) -> list[Record]:
        problem, identity = job.problem, f"{job.identity}-{label}"
        trimmed = cut(
            answer.text,
            prefix=problem.prompt,
            suffix=problem.suffix,
            language=problem.language,
            max_lines=MAX_LINES,
        )
        is_ok = answer.status is AttemptStatus.OK
        attempt = attempt_row(
            self._book.arms[label],
            job.identity,
            answer,
            cost,
            identity=identity,
            is_shown=False,
            is_empty=is_ok and not trimmed.text,
        )
        if not is_ok or not trimmed.text:
            return [attempt]
        raw, filled = text_record(answer.text), text_record(solution_text(problem, trimmed.text))
        async with self._checks:
            reason, passed = await _check(problem, filled.content, self._sandbox)
        suggestion = Suggestion(
            id=f"{identity}-0",
            attempt=identity,
            task=job.identity,
            label=label,
            rank=0,
            raw_hash=raw.hash,
            text_hash=filled.hash,
            raw_chars=len(answer.text),
            chars=len(trimmed.text),
            lines=trimmed.text.count("\n") + 1,
            filters=json.dumps(trimmed.filters),
            cut_version=CUT_VERSION,
        )
        score = Score(
            id=f"{identity}-{HORIZON}",
            suggestion=suggestion.id,
            task=job.identity,
            label=label,
            horizon=HORIZON,
            metric=METRIC,
            value=float(passed),
            reason=reason,
            scorer_version="1",
        )
        return [raw, filled, attempt, suggestion, score]

    def _task(self, job: _Job, requested_ns: int) -> Task:
        return Task(
            id=job.identity,
            trial=self._book.trial.id,
            session=self._book.session,
            assignment=None,
            door=Door.REPLAY,
            disposition=Disposition.ROUTED,
            request_id=job.problem.name,
            document=job.problem.digest[:32],
            document_version=job.sample,
            language=job.problem.language,
            place=Place.UNKNOWN,
            trigger=None,
            line=None,
            character=None,
            prefix_hash=None,
            suffix_hash=None,
            prefix_chars=len(job.problem.prompt),
            suffix_chars=len(job.problem.suffix),
            requested_ns=requested_ns,
            requested_at=utc_text(),
            routed_ns=requested_ns,
        )


_NOT_AN_ANSWER = frozenset(
    {"connect", "connect_timeout", "circuit_open", "http_401", "http_402", "http_403", "http_404", "http_429"}
)


async def _check(problem: Problem, solution: str, sandbox: Sandbox) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory(prefix="codetrial-task-") as name:
        folder = Path(name)
        for path, content in {**problem.files, problem.path: solution}.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8", errors="replace")
        ran = await sandbox.run(problem.check, folder, limit_s=problem.time_limit_s)
    if ran.exit_code == NOT_FOUND:
        raise EvidenceError(f"The check of task {problem.name!r} cannot be run: {ran.output.strip()[-300:]}")
    return ran.reason, ran.passed
