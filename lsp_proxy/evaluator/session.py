"""One session of the evaluator: from the editor's `initialize` to its end.

Everything a feature handler calls is guarded: a fault of ours is logged once and counted, and the editor gets nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis.store import Store, Writer
from analysis.syntax import slow_parses
from codetrial import __version__
from codetrial.clock import now_ns, utc_text
from codetrial.config import Config
from codetrial.ids import new_id
from codetrial.pseudonyms import pseudonym_of_developer
from codetrial.records import ArmLabel, ArmRow, Door, Origin, Session, SessionEnd, Surface, Trial
from codetrial.routing import Router
from lsp_proxy.evaluator.acceptance import Rhythm
from lsp_proxy.evaluator.continuations import Horizon
from lsp_proxy.evaluator.episodes import Episodes
from lsp_proxy.evaluator.flights import Arrival, Desk, Setting
from lsp_proxy.evaluator.identity import login, repository_of
from lsp_proxy.evaluator.observer import Observer
from lsp_proxy.evaluator.recorder import Recorder
from lsp_proxy.evaluator.requests import read_request
from lsp_proxy.evaluator.resume import Resume

__all__ = ["EvaluatorSession", "Links", "Opening"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

SECOND_NS = 1_000_000_000
END_WAIT_S = 2.0
"""What a disk has not taken by then is written when the process ends, or lost with this session's end."""
IDLE_TICK_S = 1.0
"""Nothing that is due waits longer; in a replay it is divided by the time scale."""
NEOVIM = "neovim"
"""Tells together what was typed within a short time, and inserts no more than one line from its own menu."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is known when a session begins."""

    session: str
    origin: Origin
    root: Path
    client_name: str | None
    client_version: str | None
    server_name: str | None
    surface: Surface
    """What the editor can do."""
    encoding: str
    accept_command: str | None
    generation: int
    """Counts the evaluator's starts within the session, from 1."""
    confirms_delivery: bool
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What outlives a session."""

    config: Config
    trial: Trial
    arms: Mapping[ArmLabel, ArmRow]
    writer: Writer
    store: Store
    router: Router
    tasks: asyncio.TaskGroup


class EvaluatorSession:
    """Follows one editor."""

    def __init__(self, opening: Opening, links: Links) -> None:
        self._opening = opening
        self._links = links
        self._config = links.config
        self._has_ended = False
        self._faults: set[str] = set()
        scale = self._scale = self._config.editor.time_scale if opening.origin is not Origin.PERSON else 1.0
        self.surface = _surface(self._config.editor.surface, opening.surface)
        repository = repository_of(opening.root)
        root = repository.root or opening.root
        self._root = root
        links.writer.offer(self._session_row(repository.identity, repository.email))
        is_neovim = (opening.client_name or "").lower() == NEOVIM
        self._recorder = Recorder(links.writer, opening.session, self._config.store.store_text)
        if scale != 1:
            self._recorder.incident("time_scale", scale=scale)
        self.observer = Observer(
            self._recorder,
            horizons=[
                Horizon(f"{seconds}s", int(seconds * SECOND_NS / scale)) for seconds in self._config.editor.horizons_s
            ],
            rhythm=Rhythm().scaled(scale),
            now=now_ns,
            gathers_keystrokes=is_neovim,
        )
        self.observer.documents.encoding = opening.encoding
        resume = Resume(links.store, links.trial.id)
        if opening.generation > 1:
            resume.settle(opening.session, self._recorder)
        self.desk = Desk(
            Setting(
                trial=links.trial,
                arms=links.arms,
                session=opening.session,
                editor=self._config.editor,
                debounce_s=self._config.editor.debounce_ms / 1000 / scale,
                root=root,
                repository=repository.name,
                accept_command=opening.accept_command,
                encoding=lambda: self.observer.documents.encoding,
                confirms_delivery=opening.confirms_delivery,
                menu_is_one_line=is_neovim,
            ),
            episodes=Episodes(
                trial=links.trial,
                session=opening.session,
                shares=self._config.trial.effective_shares,
                sample=self._config.trial.sample,
                episode_s=self._config.trial.episode_s / scale,
                put=self._recorder.put,
                find=resume.open_episode,
            ),
            observer=self.observer,
            recorder=self._recorder,
            router=links.router,
            tasks=links.tasks,
        )
        links.router.prepare(str(root))

    def _session_row(self, repository: str | None, email: str | None) -> Session:
        opening = self._opening
        return Session(
            id=opening.session,
            trial=self._links.trial.id,
            door=Door.EDITOR,
            origin=opening.origin,
            developer=pseudonym_of_developer(self._links.trial.seed, email or login()),
            client_name=opening.client_name,
            client_version=opening.client_version,
            server_name=opening.server_name,
            surface=self.surface,
            position_encoding=opening.encoding,
            repository=repository,
            codetrial_version=__version__,
            started_ns=opening.started_ns,
            started_at=utc_text(),
        )

    def notification(self, method: str, params: Mapping[str, Any]) -> None:
        self._guard("notification", lambda: self.observer.notification(method, params))

    def arrive(self, params: Mapping[str, Any], wire_id: int | str, asked: Surface) -> Arrival | None:
        """Take note of a completion request; None if it is not one that this session answers."""
        if self.surface is not Surface.NONE and asked is not self.surface:
            return None
        return self._guard("request", lambda: self._arrive(params, wire_id, asked))

    def _arrive(self, params: Mapping[str, Any], wire_id: int | str, asked: Surface) -> Arrival | None:
        view = self.observer.documents.view(params["textDocument"]["uri"])
        if view is None:
            self._recorder.count("request_in_unknown_document")
            return None
        request = read_request(
            params,
            task=new_id(),
            wire_id=wire_id,
            surface=asked,
            view=view,
            seed=self._links.trial.seed,
            root=self._root,
            prefix_chars=self._config.editor.prefix_chars,
            suffix_chars=self._config.editor.suffix_chars,
            now_ns=now_ns(),
            typed_chars=self.observer.typed_chars(params["textDocument"]["uri"]),
        )
        if request is None:
            self._recorder.count("request_beyond_the_end")
            return None
        self.observer.listed(request.uri, (request.selected or {}).get("text"))
        return self.desk.arrive(request)

    def answers_soon(self, arrival: Arrival) -> bool:
        """Whether a menu's answer may come within the time that the relay holds the language server's for it."""
        budget_s = self._config.editor.merge_budget_ms / 1000
        return self.surface is not Surface.MENU or self.desk.answers_within(arrival, budget_s)

    async def answer(self, arrival: Arrival | None) -> dict[str, Any] | None:
        if arrival is None:
            return None
        try:
            answer = await self.desk.answer(arrival)
        except Exception as fault:
            self._fault("answer", fault)
            return None
        return None if self.surface is Surface.NONE else answer

    def cancelled(self, wire_id: int | str) -> None:
        self._guard("cancel", lambda: self.desk.cancelled(wire_id))

    def delivered(self, params: Mapping[str, Any]) -> None:
        token = params.get("token")
        if not isinstance(token, str):
            # Nothing had been offered yet when the relay stopped waiting.
            self._recorder.count(f"unanswered_{params.get('reason') or 'unknown'}")
            return
        self._guard(
            "delivered",
            lambda: self.observer.delivered(
                token,
                was_delivered=bool(params.get("delivered")),
                reason=params.get("reason"),
                at_ns=int(params.get("tNs") or now_ns()),
            ),
        )

    def gap(self, params: Mapping[str, Any]) -> None:
        """The relay had to drop copies; the full texts follow."""
        self._recorder.incident("gap", count=int(params.get("dropped") or 1), bytes=params.get("bytes"))

    def pause(self, params: Mapping[str, Any]) -> None:
        """A person has asked for silence, or it is over."""
        self.desk.is_paused = bool(params.get("paused"))

    def command(self, token: object) -> None:
        if isinstance(token, str):
            self._guard("command", lambda: self.observer.command(token))

    async def run_clock(self) -> None:
        """Take horizons and outcomes when they are due, until cancelled."""
        while True:
            self._guard("tick", self.observer.tick)
            due_ns = self.observer.next_due_ns()
            idle_s = IDLE_TICK_S / self._scale
            wait_s = idle_s if due_ns is None else min(idle_s, max(0.0, (due_ns - now_ns()) / SECOND_NS))
            # At least a moment: what is due but cannot be decided yet must not spin.
            await asyncio.sleep(max(wait_s, 0.005))

    def settle(self, reason: str) -> None:
        """The editor is about to leave: nothing more will be seen of its documents."""
        if not self._has_ended:
            self._has_ended = True
            self._guard("end", lambda: self.observer.end(reason))

    def close(self, reason: str) -> None:
        """The last row, after every attempt was recorded."""
        self.settle(reason)
        self._recorder.store_counts()
        if slow := slow_parses():
            self._recorder.incident("slow_parse", count=slow)
        self._links.writer.flush(END_WAIT_S)
        self._recorder.put(
            SessionEnd(
                session=self._opening.session,
                reason=reason,
                dropped_events=self._recorder.counts.dropped,
                ended_ns=now_ns(),
                ended_at=utc_text(),
            )
        )

    def _guard(self, what: str, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except Exception as fault:
            self._fault(what, fault)
            return None

    def _fault(self, what: str, fault: Exception) -> None:
        """Logged once with its traceback, counted every time; the editor must not notice."""
        kind = f"{what}: {type(fault).__name__}"
        if kind not in self._faults:
            self._faults.add(kind)
            logger.error("a fault while evaluating (%s); the editor is not affected", kind, exc_info=fault)
        self._recorder.count(f"fault_{what}")


def _surface(configured: str, possible: Surface) -> Surface:
    """What the configuration asks for, as far as the editor can do it."""
    if configured == "auto" or possible is Surface.NONE:
        return possible
    wanted = Surface(configured)
    return Surface.MENU if wanted is Surface.INLINE and possible is Surface.MENU else wanted
