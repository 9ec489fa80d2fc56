"""Asks both arms the same thing, at once or one after the other, and lets neither disturb the other.

A `Flight` is one task under way. Its answers are asyncio tasks that never raise: failure, refusal, a spent budget and
cancellation are answers too, so that no pair is ever lost and no failing arm goes unrecorded.
"""

import asyncio
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from codetrial import prices, trust
from codetrial.arms.base import Answer, Arm, Preparable, Prompt, partial_answers
from codetrial.arms.check import first_look, needs_look, recorded
from codetrial.budget import Budget
from codetrial.clock import now_ns, now_utc
from codetrial.config import ArmConfig, Config
from codetrial.errors import ArmError, CodetrialError, ConfigError
from codetrial.privacy import Policy
from codetrial.records import Api, ArmLabel, AttemptStatus

__all__ = ["Flight", "Router"]

logger = logging.getLogger(__name__)

OVERRUN_S = 1.0
"""An arm returns within its deadline by contract; this much later it is ended from outside."""

BREAKER_FAILURES = 5
"""In a row; then the arm is left alone for a while and its attempts are recorded as `circuit_open`."""
BREAKER_PAUSE_S = 15.0
BREAKER_PAUSE_MAX_S = 300.0

RETRY_PAUSE_S = 0.2
_RETRIABLE = frozenset({"connect", "http_429", "http_500", "http_502", "http_503", "http_504", "http_529"})
"""Failures before any text: asking again cannot show two halves of different answers."""

CHARS_PER_TOKEN = 4
"""For budgets only, where a provider reports no usage; costs are never estimated from it."""


class Flight:
    """One prompt under way to both arms."""

    def __init__(self, prompt: Prompt, loop: asyncio.AbstractEventLoop, cap_s: float) -> None:
        self.prompt = prompt
        self.answers: Mapping[ArmLabel, asyncio.Task[Answer]] = {}
        self.started_at: datetime = now_utc()
        self._loop = loop
        self._cap_s = cap_s
        self._started_s = loop.time()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """The editor no longer waits. Both attempts may run on until `shadow_cap_s` after the start, then are closed.

        Closing at once would cut off slow answers more often than fast ones, and make a slow arm look fast; closing
        only the shown arm would treat the two differently.
        """
        if self._timer is None and not self._ended.done():
            left_s = self._started_s + self._cap_s - self._loop.time()
            self._timer = self._loop.call_later(max(0.0, left_s), self.stop)

    def stop(self) -> None:
        """Close both streams now; unfinished attempts become `cancelled`."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def settled(self) -> Mapping[ArmLabel, Answer]:
        """Both answers, when both have ended."""
        await asyncio.wait(self.answers.values())
        return {label: task.result() for label, task in self.answers.items()}


@dataclass(slots=True)
class _Breaker:
    """Leaves an arm alone that fails again and again, or that asked for it."""

    failures: int = 0
    pause_s: float = BREAKER_PAUSE_S
    open_until_s: float = 0.0

    def blocks(self, now_s: float) -> bool:
        return now_s < self.open_until_s

    def record(self, answer: Answer, now_s: float) -> None:
        if answer.status is AttemptStatus.CANCELLED:
            return
        # Slowness is a result to record attempt by attempt, not a reason to stop asking.
        if answer.status is not AttemptStatus.ERROR and answer.error_kind != "connect_timeout":
            self.failures, self.pause_s = 0, BREAKER_PAUSE_S
            return
        self.failures += 1
        if answer.retry_after_s is not None:
            self.open_until_s = now_s + min(answer.retry_after_s, BREAKER_PAUSE_MAX_S)
        elif self.failures >= BREAKER_FAILURES:
            self.open_until_s = now_s + self.pause_s
            self.pause_s = min(self.pause_s * 2, BREAKER_PAUSE_MAX_S)
            # One attempt goes through after the pause; its failure opens the breaker again.
            self.failures = BREAKER_FAILURES - 1


class Router:
    """Routes prompts to the two arms of a trial.

    Args:
        on_notice: Called with a sentence for the person when an arm cannot be made ready.

    Raises:
        PrivacyError: an endpoint is forbidden.
        ArmError: the last check of an arm found garbage.
        ConfigError: a budget in money on an arm whose price is unknown, or a project's file that is not trusted.
    """

    def __init__(
        self,
        arms: Mapping[ArmLabel, Arm],
        config: Config,
        *,
        on_notice: Callable[[str], None] | None = None,
        order: random.Random | None = None,
    ) -> None:
        self._arms = dict(arms)
        self._config = config
        self._on_notice = on_notice
        self._order = order or random.Random()
        self._definitions = {label: arm.definition for label, arm in self._arms.items()}
        self._breakers = {label: _Breaker() for label in self._arms}
        self._in_flight: Counter[str] = Counter()
        self._flights: set[Flight] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._unchecked: set[ArmLabel] = set()
        self._looks: set[asyncio.Task[None]] = set()
        self._garbage: str | None = None
        """Why neither arm is asked any more: the first look at an unchecked arm found garbage."""
        trust.require(config, tuple(self._definitions.values()))
        self.policy = Policy(config.privacy, self._definitions)
        self._budget = Budget(config.budget, {label: d.fingerprint for label, d in self._definitions.items()})
        self._refuse_unpriced_budgets()
        self._refuse_garbage()

    async def __aenter__(self) -> Self:
        await self._budget.open()
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._tasks.create_task(asyncio.to_thread(prices.warm_up), name="load prices")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        for flight in list(self._flights):
            flight.stop()
        self._unchecked.clear()
        for look in list(self._looks):
            look.cancel()
        try:
            await self._tasks.__aexit__(kind, fault, trace)
        finally:
            self._tasks = None
            for arm in self._arms.values():
                await arm.aclose()

    def prepare(self, root: str | None = None) -> None:
        """Begin to make both arms ready (index, local server), and look at those never checked, without waiting."""
        assert self._tasks is not None, "prepare is called inside `async with`"
        if not self._config.trial.force:
            self._unchecked = {label for label, definition in self._definitions.items() if needs_look(definition)}
        for label, arm in self._arms.items():
            if isinstance(arm, Preparable):
                self._tasks.create_task(self._prepare(label, arm, root), name=f"prepare arm {label}")

    def start(self, prompt: Prompt) -> Flight:
        """Send a prompt to both arms. Returns at once."""
        assert self._tasks is not None, "start is called inside `async with`"
        loop = asyncio.get_running_loop()
        admitted = self.policy.admit(prompt)
        flight = Flight(admitted if isinstance(admitted, Prompt) else prompt, loop, self._config.editor.shadow_cap_s)
        spent = self._budget.exhausted()
        labels = list(self._arms)
        before: asyncio.Task[Answer] | None = None
        if self._config.editor.schedule == "staggered":
            self._order.shuffle(labels)
        answers: dict[ArmLabel, asyncio.Task[Answer]] = {}
        for label in labels:
            if not isinstance(admitted, Prompt):
                attempt = _unsent(AttemptStatus.REFUSED, "privacy", f"Not sent: {admitted}.")
            elif self._garbage is not None:
                attempt = _unsent(AttemptStatus.REFUSED, "garbage_arm", f"Not sent: {self._garbage}")
            elif spent is not None:
                attempt = _unsent(AttemptStatus.OVER_BUDGET, "budget", f"Not sent: {spent}.")
            else:
                # Counted here, not when the task first runs: many flights may be started before any task does.
                self._budget.begin(label)
                attempt = self._attempt(label, flight, before)
            answers[label] = self._tasks.create_task(attempt, name=f"arm {label}")
            if self._config.editor.schedule == "staggered":
                before = answers[label]
        flight.answers = answers
        self._flights.add(flight)
        for task in answers.values():
            task.add_done_callback(lambda _: self._forget(flight))
        return flight

    def cost(self, label: ArmLabel, answer: Answer, *, when: datetime) -> prices.Cost:
        """What an attempt cost; unknown is None."""
        return prices.cost_of(self._definitions[label], self._arm_config(label).price, answer, when=when)

    def _arm_config(self, label: ArmLabel) -> ArmConfig:
        return self._config.arms[label]

    def _forget(self, flight: Flight) -> None:
        if all(task.done() for task in flight.answers.values()):
            self._flights.discard(flight)
            if flight._timer is not None:
                flight._timer.cancel()

    async def _prepare(self, label: ArmLabel, arm: Preparable, root: str | None) -> None:
        try:
            await arm.prepare(root)
            self._begin_look(label)
        except CodetrialError as fault:
            logger.warning("arm %s is not ready: %s", label, fault)
            if self._on_notice is not None:
                # Blinded: the person learns what is missing, not which arm they have been looking at.
                self._on_notice(f"One of the two arms cannot answer: {fault}")
        except Exception:
            logger.exception("arm %s could not be prepared", label)

    def _begin_look(self, label: ArmLabel) -> None:
        """Look at an arm that nobody has checked, behind the editor's back."""
        if label not in self._unchecked or self._budget.exhausted() is not None:
            return
        self._unchecked.discard(label)
        assert self._tasks is not None
        task = self._tasks.create_task(self._look(label), name=f"look at arm {label}")
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _look(self, label: ArmLabel) -> None:
        """On garbage, stop asking both arms."""
        try:
            verdict = await first_look(self._definitions[label], lambda prompt: self._ask_probe(label, prompt))
        except Exception:
            logger.exception("arm %s could not be looked at", label)
            return
        if verdict is None:
            self._unchecked.add(label)  # It does not answer: looked at again once it has answered something.
        elif not verdict.is_usable:
            self._garbage = f"{verdict.reason} Mend it and run `codetrial arms check`, or set [trial] force = true."
            logger.warning("arm %s cannot be used: %s", label, self._garbage)
            if self._on_notice is not None:
                self._on_notice(f"codetrial stops evaluating: one of the two arms cannot be used. {self._garbage}")

    async def _ask_probe(self, label: ArmLabel, prompt: Prompt) -> Answer:
        """Ask one arm alone, counted like any other request."""
        began = now_utc()
        self._budget.begin(label)
        accelerator = self._accelerator(label)
        self._in_flight[accelerator] += 1
        try:
            answer = await self._arms[label].answer(prompt, deadline_s=self._arm_config(label).timeout_s)
        finally:
            self._in_flight[accelerator] -= 1
        await self._account(label, prompt, answer, began)
        return answer

    async def _attempt(self, label: ArmLabel, flight: Flight, before: "asyncio.Task[Answer] | None") -> Answer:
        if before is not None:
            turn: set[asyncio.Future[Any]] = {before, flight._ended}
            await asyncio.wait(turn, return_when=asyncio.FIRST_COMPLETED)
            if flight._ended.done():
                self._budget.release(label)
                return Answer(status=AttemptStatus.CANCELLED, text="", sent_ns=None, end_ns=now_ns())
        loop = asyncio.get_running_loop()
        breaker = self._breakers[label]
        if breaker.blocks(loop.time()):
            self._budget.release(label)
            return Answer(
                status=AttemptStatus.ERROR,
                text="",
                sent_ns=None,
                end_ns=now_ns(),
                error_kind="circuit_open",
                error="Not sent: it failed repeatedly, or asked to be left alone for a while.",
            )
        accelerator = self._accelerator(label)
        others = self._in_flight[accelerator]
        self._in_flight[accelerator] += 1
        try:
            answer = await self._ask(label, flight)
        finally:
            self._in_flight[accelerator] -= 1
        breaker.record(answer, loop.time())
        assert self._tasks is not None
        self._tasks.create_task(self._settle(label, flight, answer), name=f"account arm {label}")
        return replace(answer, in_flight=others)

    async def _ask(self, label: ArmLabel, flight: Flight) -> Answer:
        """Ask, and again only where the arm's options allow it and its deadline still lets an answer be used."""
        timeout_s = self._arm_config(label).timeout_s
        retries_left = int(self._arm_config(label).options.get("retries", 0))
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeout_s
        first_sent_ns: int | None = None
        retries = 0
        while True:
            answer = await self._once(label, flight, ends_s - loop.time())
            first_sent_ns = first_sent_ns or answer.sent_ns
            pause_s = max(RETRY_PAUSE_S * 2**retries, answer.retry_after_s or 0.0)
            may_retry = answer.error_kind in _RETRIABLE and not answer.text and loop.time() + pause_s < ends_s
            if retries >= retries_left or not may_retry or flight._ended.done():
                return replace(answer, retries=retries + answer.retries, sent_ns=first_sent_ns)
            await asyncio.wait({flight._ended}, timeout=pause_s)
            retries += 1

    async def _once(self, label: ArmLabel, flight: Flight, deadline_s: float) -> Answer:
        began_ns = now_ns()
        kept: list[Answer] = []
        context = contextvars.copy_context()
        context.run(partial_answers.set, kept)
        asked = asyncio.get_running_loop().create_task(
            self._arms[label].answer(flight.prompt, deadline_s=deadline_s), context=context
        )
        try:
            either: set[asyncio.Future[Any]] = {asked, flight._ended}
            await asyncio.wait(either, timeout=deadline_s + OVERRUN_S, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                await asyncio.wait({asked}, timeout=OVERRUN_S)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if asked.cancelled() or not asked.done():
            was_ended = flight._ended.done()
            arrived = kept[-1] if kept else Answer(status=AttemptStatus.CANCELLED, text="", sent_ns=began_ns)
            return replace(
                arrived,
                status=AttemptStatus.CANCELLED if was_ended else AttemptStatus.TIMEOUT,
                end_ns=now_ns(),
                error_kind=None if was_ended else "overrun",
            )
        fault = asked.exception()
        if fault is not None:
            logger.error("arm %s failed inside codetrial", label, exc_info=fault)
            return Answer(
                status=AttemptStatus.ERROR,
                text="",
                sent_ns=began_ns,
                end_ns=now_ns(),
                error_kind="internal",
                error=f"codetrial itself failed on this arm ({type(fault).__name__}); the log has the details.",
            )
        return asked.result()

    async def _settle(self, label: ArmLabel, flight: Flight, answer: Answer) -> None:
        await self._account(label, flight.prompt, answer, flight.started_at)
        if label in self._unchecked and answer.status is AttemptStatus.OK:
            self._begin_look(label)

    async def _account(self, label: ArmLabel, prompt: Prompt, answer: Answer, when: datetime) -> None:
        usage = answer.usage
        if usage.tokens_in is None and usage.tokens_out is None and answer.sent_ns is not None:
            tokens = (len(prompt.prefix) + len(prompt.suffix) + len(answer.text)) // CHARS_PER_TOKEN
        else:
            tokens = (usage.tokens_in or 0) + (usage.tokens_out or 0)
        cost = self.cost(label, answer, when=when)
        await self._budget.end(label, tokens=tokens, nanousd=cost.nanousd or 0)

    def _accelerator(self, label: ArmLabel) -> str:
        """Which machine does the work: attempts on the same one slow each other, and that is recorded."""
        definition = self._definitions[label]
        named = self._arm_config(label).options.get("accelerator")
        if named is not None:
            return str(named)
        if definition.api is Api.NGRAM:
            return f"in process {label}"
        host = urlsplit(definition.url or "").hostname
        if (definition.url or "").startswith("local:") or host in ("127.0.0.1", "::1", "localhost"):
            return "this machine"
        return host or f"arm {label}"

    def _refuse_garbage(self) -> None:
        for label, definition in self._definitions.items():
            verdict = recorded(definition)
            if verdict is not None and not verdict.is_usable and not self._config.trial.force:
                raise ArmError(
                    f"The last check of arm {label} ({definition.name}, {verdict.checked_at}) found: {verdict.reason} "
                    "Mend it and run `codetrial arms check`, or set [trial] force = true."
                )

    def _refuse_unpriced_budgets(self) -> None:
        for label, definition in self._definitions.items():
            price = self._arm_config(label).price
            if self._config.budget[label].usd is not None and not prices.is_priced(definition, price):
                raise ConfigError(
                    f"[budget.{label.lower()}] usd cannot be kept: the price of arm {label} ({definition.name}) is not "
                    f"known. Write it in [arms.{label.lower()}.price], or limit requests or tokens."
                )


async def _unsent(status: AttemptStatus, kind: str, reason: str) -> Answer:
    return Answer(status=status, text="", sent_ns=None, error_kind=kind, error=reason)
