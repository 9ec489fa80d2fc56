"""From a request to an answer: episode, debounce, both arms, the shown arm's suggestion; every attempt on record.

The editor waits for the shown arm alone. The other arm is never shown instead, and its attempt goes on when the editor
has long moved on, or a slow arm would look fast.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.cut import CUT_VERSION, cut
from analysis.scores import properties
from codetrial.arms.base import Answer, Prompt
from codetrial.attempts import attempt_row
from codetrial.clock import now_ns
from codetrial.config import EditorConfig
from codetrial.ids import new_id
from codetrial.records import ArmLabel, ArmRow, Attempt, AttemptStatus, Disposition, Shown, Suggestion, Surface, Trial
from codetrial.routing import Flight, Router
from lsp_proxy.evaluator.acceptance import Offer
from lsp_proxy.evaluator.continuations import Suggested, Watch
from lsp_proxy.evaluator.edits import Span
from lsp_proxy.evaluator.episodes import Episode, Episodes
from lsp_proxy.evaluator.observer import Observer
from lsp_proxy.evaluator.recorder import Recorder
from lsp_proxy.evaluator.requests import Request, completion_list, inline_list, one_line_list

__all__ = ["Arrival", "Desk"]

logger = logging.getLogger(__name__)

DURABLE_WAIT_S = 5.0
"""An assignment that is not on disk by then means a disk that does not answer: nothing is asked or shown."""

DESCRIBE_AFTER_S = 0.05
"""Parsing takes milliseconds, and the editor waits for the answer."""

RECORD_AFTER_S = 0.005
"""An answer has left the process by then."""

DURABLE_EPISODES = 100
"""Episodes known to be stored; one document has one, and few documents are typed in at a time."""

REUSE_TASKS = 200
"""Tasks of an episode whose suggestions may still answer what was typed; an episode has some dozens."""


@dataclass(slots=True, eq=False)
class Arrival:
    """A request from its arrival on, with its place already followed through every edit."""

    request: Request
    watch: Watch
    episode: Episode | None
    """None where privacy rules forbid the document, and while a person has asked for silence."""
    reused: tuple[Offer, str] | None
    """What the episode offered before and still agrees with what was typed, and what is left of it."""
    is_forbidden: bool = False
    overtaken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a newer request for the document came, or the editor withdrew this one."""
    is_cancelled: bool = False
    flight: Flight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What holds for all requests of a session."""

    trial: Trial
    arms: Mapping[ArmLabel, ArmRow]
    session: str
    editor: EditorConfig
    debounce_s: float
    root: Path
    repository: str | None
    accept_command: str | None
    encoding: Callable[[], str]
    confirms_delivery: bool
    """False in a session without a relay: then what is answered counts as delivered."""
    menu_is_one_line: bool = False
    """The client's menu inserts no more than one line of an item."""


class Desk:
    """Answers the requests of one session."""

    def __init__(
        self,
        setting: Setting,
        *,
        episodes: Episodes,
        observer: Observer,
        recorder: Recorder,
        router: Router,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.is_paused = False
        self._setting = setting
        self._episodes = episodes
        self._observer = observer
        self._recorder = recorder
        self._router = router
        self._tasks = tasks
        self._newest: dict[str, Arrival] = {}
        self._by_wire_id: dict[int | str, Arrival] = {}
        self._flights: set[Flight] = set()
        self._durable: dict[str, asyncio.Task[bool]] = {}
        self._of_episode: OrderedDict[str, list[str]] = OrderedDict()

    def arrive(self, request: Request) -> Arrival:
        """Take note of a request at once, before any later message is read."""
        refused = self._router.policy.refusal(
            path=request.path, language=request.language, repository=self._setting.repository
        )
        is_silent = refused is not None or self.is_paused
        episode = None if is_silent else self._episodes.current(request.document, request.requested_ns)
        earlier = self._of_episode.get(episode.id, ()) if episode is not None else ()
        reused = self._observer.reusable(request.uri, request.at, earlier)
        watch = self._observer.watch(
            uri=request.uri,
            task=request.id,
            language=request.language,
            at=request.at,
            context=request.context,
            opened_ns=request.requested_ns,
        )
        arrival = Arrival(request, watch, episode, reused, is_forbidden=refused is not None)
        before = self._newest.get(request.uri)
        if before is not None:
            before.overtaken.set()
        self._newest[request.uri] = arrival
        self._by_wire_id[request.wire_id] = arrival
        return arrival

    def answers_within(self, arrival: Arrival, seconds: float) -> bool:
        """Whether there may be an answer by then: none is before the debounce is over, unless nobody is asked."""
        is_asked = arrival.reused is None and arrival.episode is not None and arrival.episode.is_sampled
        return not is_asked or self._setting.debounce_s < seconds

    def cancelled(self, wire_id: int | str) -> None:
        """The editor no longer waits for this request."""
        arrival = self._by_wire_id.get(wire_id)
        if arrival is None:
            return
        arrival.is_cancelled = True
        arrival.overtaken.set()
        if arrival.flight is not None:
            arrival.flight.cancel()

    def close(self) -> None:
        """Nobody waits any more: end what is under way, so that it is recorded now."""
        for arrival in [*self._newest.values(), *self._by_wire_id.values()]:
            arrival.is_cancelled = True
            arrival.overtaken.set()
        for flight in list(self._flights):
            flight.stop()

    async def answer(self, arrival: Arrival) -> dict[str, Any] | None:
        """What the editor gets: a list with the shown arm's suggestion, or nothing."""
        try:
            return await self._answer(arrival)
        finally:
            if arrival.flight is None:
                self._observer.release(arrival.watch)
            if self._by_wire_id.get(arrival.request.wire_id) is arrival:
                del self._by_wire_id[arrival.request.wire_id]
            if self._newest.get(arrival.request.uri) is arrival:
                del self._newest[arrival.request.uri]

    async def _answer(self, arrival: Arrival) -> dict[str, Any] | None:
        request, episode = arrival.request, arrival.episode
        if episode is None:
            self._put_task(request, None, Disposition.EXCLUDED if arrival.is_forbidden else Disposition.PAUSED)
            return None
        if not episode.is_sampled:
            self._put_task(request, episode, Disposition.SAMPLED_OUT)
            return None
        if arrival.reused is not None:
            # The record needs a parse, which takes longer than all the rest: the answer goes out before.
            self._tasks.create_task(self._put_reused_later(request, episode))
            offer, rest = arrival.reused
            return self._render(request, rest, offer.suggestion)
        durable = self._make_durable(episode)
        if await _happens(arrival.overtaken.wait(), self._setting.debounce_s):
            is_withdrawn = arrival.is_cancelled
            self._put_task(request, episode, Disposition.CANCELLED if is_withdrawn else Disposition.SUPERSEDED)
            return None
        if not await durable:
            self._recorder.count("assignment_not_durable")
            self._put_task(request, episode, Disposition.PAUSED)
            return None
        return await self._route(arrival, episode)

    async def _put_reused_later(self, request: Request, episode: Episode) -> None:
        try:
            await asyncio.sleep(RECORD_AFTER_S)
        finally:
            try:
                self._put_task(request, episode, Disposition.REUSED)
            except Exception:
                # Among the session's tasks one that fails would end them all.
                logger.exception("a reused suggestion could not be recorded")
                self._recorder.count("fault_answer")

    def _make_durable(self, episode: Episode) -> "asyncio.Task[bool]":
        """Wait for the disk while the debounce runs: no arm is asked before the assignment is stored."""
        known = self._durable.get(episode.id)
        if known is None or (known.done() and not known.result()):
            if known is not None:
                # It may have been dropped by a full queue: waiting for what is queued now would not bring it back.
                self._episodes.put_again(episode)
            known = self._tasks.create_task(asyncio.to_thread(self._recorder.flush, DURABLE_WAIT_S))
            self._durable = {episode.id: known, **dict(list(self._durable.items())[:DURABLE_EPISODES])}
        return known

    async def _route(self, arrival: Arrival, episode: Episode) -> dict[str, Any] | None:
        request = arrival.request
        self._put_task(request, episode, Disposition.ROUTED, routed_ns=now_ns())
        self._observer.begin(arrival.watch)
        tasks = self._of_episode.setdefault(episode.id, [])
        tasks.append(request.id)
        del tasks[:-REUSE_TASKS]
        while len(self._of_episode) > REUSE_TASKS:
            self._of_episode.popitem(last=False)
        flight = self._router.start(
            Prompt(
                prefix=request.prefix,
                suffix=request.suffix,
                path=request.path,
                language=request.language,
                repository=self._setting.repository,
                root=str(self._setting.root),
            )
        )
        arrival.flight = flight
        self._flights.add(flight)
        if arrival.is_cancelled:
            flight.cancel()
        arrival.watch.routed_ns = now_ns()
        settled = {
            label: self._tasks.create_task(self._guarded(self._settle(arrival, episode, label, flight)))
            for label in flight.answers
        }
        if episode.shown is Shown.NONE:
            return None
        # Shielded: the attempt must be recorded although nobody may be waiting any more.
        suggested = await asyncio.shield(settled[ArmLabel(episode.shown.value)])
        if suggested is None or arrival.is_cancelled:
            return None
        return self._present(arrival, episode, suggested)

    async def _guarded(self, settling: Coroutine[Any, Any, Suggested | None]) -> Suggested | None:
        """A fault of ours costs one attempt's record, never the session."""
        try:
            return await settling
        except Exception:
            logger.exception("an attempt could not be recorded")
            self._recorder.count("fault_attempt")
            return None

    async def _settle(self, arrival: Arrival, episode: Episode, label: ArmLabel, flight: Flight) -> Suggested | None:
        """Wait for one arm and record what it answered; its suggestion, if anything is left of it after the cut."""
        answer = await flight.answers[label]
        if all(task.done() for task in flight.answers.values()):
            self._flights.discard(flight)
        request = arrival.request
        trimmed = cut(
            answer.text,
            prefix=request.prefix,
            suffix=request.suffix,
            language=request.language,
            max_lines=self._setting.editor.max_lines,
        )
        is_answer = answer.status is AttemptStatus.OK
        attempt = self._attempt(request, episode, label, flight, answer, is_empty=is_answer and not trimmed.text)
        self._recorder.put(attempt)
        if not is_answer:
            return None
        suggestion = Suggested(new_id(), trimmed.text)
        self._recorder.put(
            Suggestion(
                id=suggestion.id,
                attempt=attempt.id,
                task=request.id,
                label=label,
                rank=0,
                raw_hash=self._recorder.text(answer.text) or "",
                text_hash=self._recorder.text(trimmed.text) or "",
                raw_chars=len(answer.text),
                chars=len(trimmed.text),
                lines=trimmed.text.count("\n") + 1 if trimmed.text else 0,
                filters=json.dumps(trimmed.filters),
                cut_version=CUT_VERSION,
            )
        )
        latency_ns = None if attempt.latency_ms is None else int(attempt.latency_ms * 1e6)
        self._observer.suggested(arrival.watch, label, suggestion, latency_ns)
        self._tasks.create_task(self._describe_later(arrival, label, suggestion))
        return suggestion if suggestion.text else None

    async def _describe_later(self, arrival: Arrival, label: ArmLabel, suggestion: Suggested) -> None:
        request = arrival.request
        await asyncio.sleep(DESCRIBE_AFTER_S)
        try:
            values = properties(
                suggestion.text,
                prefix=request.prefix,
                suffix=request.suffix,
                language=request.language,
                elsewhere=self._observer.elsewhere(arrival.watch),
            )
            self._observer.describe(request.id, label, suggestion, values)
        except Exception:
            logger.exception("a suggestion could not be described")
            self._recorder.count("fault_describe")

    def _attempt(
        self, request: Request, episode: Episode, label: ArmLabel, flight: Flight, answer: Answer, *, is_empty: bool
    ) -> Attempt:
        return attempt_row(
            self._setting.arms[label],
            request.id,
            answer,
            self._router.cost(label, answer, when=flight.started_at),
            identity=new_id(),
            is_shown=episode.shown.value == label.value,
            is_empty=is_empty,
        )

    def _present(self, arrival: Arrival, episode: Episode, suggested: Suggested) -> dict[str, Any] | None:
        """Offer the shown arm's suggestion. One that comes after typing went on may still answer the next request."""
        request = arrival.request
        view = self._observer.documents.view(request.uri)
        text = self._showable(request, suggested.text)
        if view is None or arrival.watch.span.is_swallowed or not text.strip():
            return None
        offer = Offer(
            suggestion=suggested.id,
            task=request.id,
            label=ArmLabel(episode.shown.value),
            surface=request.surface,
            text=text,
            language=request.language,
            span=Span(arrival.watch.span.start, arrival.watch.span.end),
            context=request.context,
            opened_ns=now_ns(),
            rhythm=self._observer.rhythm,
            gathers_keystrokes=self._observer.gathers_keystrokes,
        )
        rest = offer.catch_up(view)
        if rest is None:
            return None
        self._observer.offer(offer, request.uri)
        if rest != text and request.surface is Surface.INLINE:
            return None  # An inline answer for a cursor that has moved is thrown away by the editor.
        return self._render(request, text, suggested.id)

    def _showable(self, request: Request, text: str) -> str:
        """What of a suggestion the editor can insert."""
        is_cut = self._setting.menu_is_one_line and request.surface is Surface.MENU
        return text.partition("\n")[0] if is_cut else text

    def _render(self, request: Request, text: str, token: str) -> dict[str, Any] | None:
        command, encoding = self._setting.accept_command, self._setting.encoding()
        if request.surface is Surface.INLINE:
            rendered = inline_list(request, text, token=token, command=command, encoding=encoding)
        else:
            build = one_line_list if self._setting.menu_is_one_line else completion_list
            rendered = build(request, text, token=token, command=command, encoding=encoding)
        if rendered is not None and not self._setting.confirms_delivery:
            self._observer.delivered(token, was_delivered=True, reason=None, at_ns=now_ns())
        return rendered

    def _put_task(
        self, request: Request, episode: Episode | None, disposition: Disposition, *, routed_ns: int | None = None
    ) -> None:
        self._recorder.put(
            request.task(
                self._recorder,
                trial=self._setting.trial.id,
                session=self._setting.session,
                assignment=episode.id if episode is not None else None,
                disposition=disposition,
                routed_ns=routed_ns,
            )
        )


async def _happens(event: Awaitable[Any], within_s: float) -> bool:
    try:
        await asyncio.wait_for(event, within_s)
    except TimeoutError:
        return False
    return True
