"""Run completion tasks through both arms: several at once, within a budget, and so that a kill loses nothing done."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from analysis.replay.book import Book, task_id
from analysis.replay.cursors import CursorTask
from analysis.replay.roots import Roots
from codetrial.arms.base import Answer, Arm, ArmDefinition, Preparable, Prompt
from codetrial.clock import now_ns
from codetrial.config import Config
from codetrial.errors import CodetrialError, ConfigError
from codetrial.prices import Cost, is_priced
from codetrial.records import ArmLabel, AttemptStatus
from codetrial.routing import Flight, Router

__all__ = ["Outcome", "Spending", "plain_errors", "refuse_unpriced", "run"]

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
"""As long as the router leaves a failing arm alone."""

PAUSES = 6
"""In a row without an answer, three quarters of a minute; then the arm is down, and asking on says nothing about it."""

NANO = 1_000_000_000

_AWAY = frozenset({"connect", "connect_timeout", "circuit_open", "http_408", "http_429"})
_CLOSED = frozenset({"http_401", "http_402", "http_403", "http_404"})
"""A wrong key, address or model: waiting mends none of them."""


@dataclass(slots=True)
class Spending:
    """What both arms have cost together, and whether one more task still fits."""

    limit_usd: float | None = None
    nanousd: int = 0
    dearest_nanousd: int = 0
    in_flight: int = 0

    @property
    def usd(self) -> float:
        return self.nanousd / NANO

    def admits(self) -> bool:
        """True if one more task keeps within the limit even if all that is under way is as dear as the dearest."""
        if self.limit_usd is None:
            return True
        return (self.nanousd + self.dearest_nanousd * (self.in_flight + 1)) / NANO <= self.limit_usd

    def add(self, costs: Mapping[ArmLabel, Cost]) -> None:
        spent = sum(cost.nanousd or 0 for cost in costs.values())
        self.nanousd += spent
        self.dearest_nanousd = max(self.dearest_nanousd, spent)


@dataclass(slots=True)
class Outcome:
    """How a run ended."""

    asked: int = 0
    already_done: int = 0
    excluded: int = 0
    """By privacy rules; both arms alike."""
    spent_usd: float = 0.0
    statuses: Counter[tuple[ArmLabel, AttemptStatus]] = field(default_factory=Counter)
    stopped: str | None = None
    """Why it ended before the last task; None if it did not."""


def refuse_unpriced(definitions: Mapping[ArmLabel, ArmDefinition], config: Config) -> None:
    """A budget in money can only be kept where money is known; a self-hosted arm without a price counts as free.

    Raises:
        ConfigError: names the arm, and what to write.
    """
    for label, arm in definitions.items():
        if not arm.is_self_hosted and not is_priced(arm, config.arms[label].price):
            raise ConfigError(
                f"--budget cannot be kept: the price of arm {label} ({arm.name}) is not known. "
                f"Write it in [arms.{label.lower()}.price], or limit --tasks instead."
            )


@contextmanager
def plain_errors() -> Iterator[None]:
    """The one sentence that a person needs, out of the groups that task groups wrap it in."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        if isinstance(leaf, CodetrialError):
            raise leaf from group
        raise


async def run(
    tasks: Sequence[CursorTask],
    *,
    arms: Mapping[ArmLabel, Arm],
    config: Config,
    book: Book,
    roots: Roots,
    repository: str | None,
    concurrency: int,
    budget_usd: float | None = None,
    on_start: Callable[[int], None] = lambda done: None,
    on_done: Callable[[], None] = lambda: None,
    first_pause_s: float = FIRST_PAUSE_S,
) -> Outcome:
    """Ask both arms for every task that is not stored yet.

    An arm that cannot be reached has not answered: such a task is not stored, asked again after a pause, and the run
    ends with a sentence if that does not help. What an arm answers wrongly, late or not at all is stored.

    Raises:
        CodetrialError: an arm cannot be asked at all; nothing was sent then.
    """
    done = await asyncio.to_thread(book.done, [task_id(book.trial.id, task.key) for task in tasks])
    waiting = [task for task in tasks if task_id(book.trial.id, task.key) not in done]
    outcome = Outcome(already_done=len(tasks) - len(waiting))
    on_start(outcome.already_done)
    spending = Spending(budget_usd)
    with plain_errors():
        async with Router(arms, config, order=random.Random(book.trial.seed)) as router:
            for arm in arms.values():
                if isinstance(arm, Preparable):
                    await arm.prepare(None)
            runner = _Runner(router, arms, config, book, roots, repository, spending, outcome, on_done, first_pause_s)
            queue = iter(waiting)
            if budget_usd is not None:
                await runner.work(queue, at_most=1)  # Until one task has been paid for, nobody knows what one costs.
            async with asyncio.TaskGroup() as workers:
                for number in range(min(concurrency, len(waiting))):
                    workers.create_task(runner.work(queue), name=f"replay worker {number}")
    outcome.spent_usd = spending.usd
    return outcome


@dataclass(slots=True)
class _Runner:
    router: Router
    arms: Mapping[ArmLabel, Arm]
    config: Config
    book: Book
    roots: Roots
    repository: str | None
    spending: Spending
    outcome: Outcome
    on_done: Callable[[], None]
    first_pause_s: float
    pauses: int = 0
    """In a row; an answer from both arms ends the row."""
    paused_until_s: float = 0.0
    ended: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def work(self, queue: Iterator[CursorTask], *, at_most: int | None = None) -> None:
        """Take tasks until there are none, or somebody has found a reason to stop."""
        taken = 0
        while at_most is None or taken < at_most:
            if self.outcome.stopped is not None:
                return
            if not await self._may_spend():
                return
            task = next(queue, None)
            if task is None:
                return
            taken += 1
            self.spending.in_flight += 1
            try:
                await self._one(task)
            finally:
                self.spending.in_flight -= 1
                async with self.ended:
                    self.ended.notify_all()

    async def _may_spend(self) -> bool:
        """What is under way may turn out cheaper than the dearest so far: only when nothing is, the budget is spent."""
        async with self.ended:
            while not self.spending.admits():
                if not self.spending.in_flight:
                    limit, usd = self.spending.limit_usd, self.spending.usd
                    self.outcome.stopped = f"the budget of ${limit:g} has no room for another task (${usd:.4f} spent)"
                    return False
                await self.ended.wait()
        return self.outcome.stopped is None

    async def _one(self, task: CursorTask) -> None:
        if self.router.policy.refusal(path=task.path, language=task.language, repository=self.repository):
            self.outcome.excluded += 1
            self.on_done()
            return
        async with self.roots.at(task.parent) as root:
            prompt = Prompt(
                prefix=task.prefix,
                suffix=task.suffix,
                path=task.path,
                language=task.language,
                repository=self.repository,
                root=root,
            )
            asked = await self._ask(prompt)
        if asked is None:
            return
        requested_ns, flight, answers = asked
        records = self.book.completion(
            task,
            flight.prompt,  # As it was sent, secrets masked: that is what may be stored.
            answers,
            self._costs(flight, answers),
            max_lines=self.config.editor.max_lines,
            requested_ns=requested_ns,
        )
        await self.book.add(records)
        self.outcome.asked += 1
        self.outcome.statuses.update((label, answer.status) for label, answer in answers.items())
        self.on_done()

    async def _ask(self, prompt: Prompt) -> tuple[int, Flight, Mapping[ArmLabel, Answer]] | None:
        """Both answers; None if there is no point in asking on, and then `outcome.stopped` says why."""
        while self.outcome.stopped is None:
            requested_ns = now_ns()
            flight = self.router.start(prompt)
            answers = await flight.settled()
            self.spending.add(self._costs(flight, answers))
            kinds = {label: answer.error_kind or "" for label, answer in answers.items()}
            if spent := next((a for a in answers.values() if a.status is AttemptStatus.OVER_BUDGET), None):
                self.outcome.stopped = f"the day's budget in codetrial.toml is used up: {spent.error}"
            elif closed := next((label for label, kind in kinds.items() if kind in _CLOSED), None):
                self.outcome.stopped = self._about(closed, answers[closed])
            elif away := next((label for label, kind in kinds.items() if _is_away(kind)), None):
                await self._pause(away, answers[away])
            else:
                self.pauses = 0
                return requested_ns, flight, answers
        return None

    async def _pause(self, label: ArmLabel, answer: Answer) -> None:
        """All workers wait together; each further failure doubles the wait."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self.paused_until_s:
            if self.pauses == PAUSES:
                self.outcome.stopped = self._about(label, answer)
                return
            pause_s = min(LONGEST_PAUSE_S, self.first_pause_s * 2**self.pauses)
            self.paused_until_s = loop.time() + max(pause_s, answer.retry_after_s or 0.0)
            self.pauses += 1
        await asyncio.sleep(max(0.0, self.paused_until_s - loop.time()))

    def _about(self, label: ArmLabel, answer: Answer) -> str:
        return (
            f"arm {label} ({self.arms[label].definition.name}) cannot be reached: {answer.error or answer.error_kind}"
        )

    def _costs(self, flight: Flight, answers: Mapping[ArmLabel, Answer]) -> dict[ArmLabel, Cost]:
        return {label: self.router.cost(label, answer, when=flight.started_at) for label, answer in answers.items()}


def _is_away(kind: str) -> bool:
    return kind in _AWAY or kind.startswith("http_5")
