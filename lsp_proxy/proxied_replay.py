"""`codetrial replay --through-proxy`: the same places of a history, asked for by a scripted editor through the proxy.

Everything that a developer has is between the place and the arms: the editor's requests, the relay, a real language
server, the evaluator in its own process, its debounce and its cut. One session a commit, opened on the files as they
stood. At each place the last keystroke is typed and a completion asked for; when both arms are done, what was really
written is typed, and the file saved. So what the evaluator recorded can be held against the direct replay.
"""

import asyncio
import json
import os
import shutil
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.history import Change, History
from analysis.replay.cursors import CursorTask, Moment, moments
from analysis.replay.folders import working_folder
from analysis.replay.run import Outcome, Spending, refuse_unpriced
from analysis.replay.start import PROXY_CLIENT, Options, Walk, progress
from analysis.store import Store
from codetrial import trust
from codetrial.arms import define
from codetrial.clock import now_ns
from codetrial.config import Config
from codetrial.errors import ProxyError
from codetrial.manifest import freeze
from codetrial.records import ArmLabel, AttemptStatus, Disposition
from lsp_proxy.demo import proxy_command
from lsp_proxy.editor_client import INLINE_EDITOR, Document, EditorClient, RequestFailedError
from lsp_proxy.editors.servers import KNOWN, installed
from lsp_proxy.evaluator.requests import units
from lsp_proxy.typist import ITEM_MARK, next_stroke

__all__ = ["replay_through_proxy", "server_for"]

SERVERS = {
    "python": ("basedpyright", "pyright", "pylsp", "jedi"),
    "c": ("clangd",),
    "cpp": ("clangd",),
    "css": ("vscode-css-language-server",),
    "go": ("gopls",),
    "html": ("vscode-html-language-server",),
    "javascript": ("typescript-language-server",),
    "json": ("vscode-json-language-server",),
    "bash": ("bash-language-server",),
    "rust": ("rust-analyzer",),
    "typescript": ("typescript-language-server",),
    "tsx": ("typescript-language-server",),
    "yaml": ("yaml-language-server",),
}
"""By language, the ones that people use most first. For others the proxy runs without a language server."""

READY_S = 30.0
"""For a language server and the evaluator to start, on a machine that has much else to do."""
MARGIN_S = 10.0
"""Beyond the slowest arm's own deadline, for what it said to be stored."""
LOOK_S = 0.05
FAILURES = 2


def server_for(language: str) -> list[str]:
    """The command of a language server that is here; empty if there is none for this language."""
    for name in SERVERS.get(language, ()):
        program, *arguments = KNOWN[name]
        beside = Path(sys.executable).with_name(program)
        if beside.exists():
            return [str(beside), *arguments]
        if (found := installed(KNOWN[name])) is not None:
            return found
    return []


def replay_through_proxy(
    history: History, config: Config, options: Options, walk: Walk, console: Console, /
) -> Outcome:
    """Ask for every task that is not stored yet. Ctrl-C ends it early and orderly.

    Raises:
        CodetrialError: the proxy or a language server cannot be started, or the store not be written.
    """
    definitions = {label: define(config.arms[label], label, templates=config.templates) for label in ArmLabel}
    trust.require(config, tuple(definitions.values()))
    if options.budget_usd is not None:
        refuse_unpriced(definitions, config)
    with ExitStack() as stack:
        store = stack.enter_context(Store(walk.store))
        folder = working_folder("proxied")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        config_file = walk.config_file or config.project_file
        if config_file is None:
            # Without one the proxy would look in the history's own files, where an old codetrial.toml may lie.
            config_file = folder / "codetrial.toml"
            config_file.touch()
        shown = stack.enter_context(progress(console))
        run = _Run(history, config, options, walk, store, config_file.absolute(), console, folder)
        bar = shown.add_task("replaying", total=len(walk.tasks), completed=run.outcome.already_done,
                             counted_from=run.outcome.already_done)  # fmt: skip
        run.on_done = lambda: shown.advance(bar)
        try:
            asyncio.run(run.all())
        except KeyboardInterrupt:
            run.outcome.stopped = "you stopped it"
        run.finish()
    run.tell()
    return run.outcome


@dataclass(slots=True)
class _Session:
    """One editor on one commit."""

    editor: EditorClient
    id: str
    asked: int = 0
    deadline_s: float = 0.0


@dataclass(slots=True)
class _Run:
    history: History
    config: Config
    options: Options
    walk: Walk
    store: Store
    config_file: Path
    console: Console
    folder: Path
    outcome: Outcome = field(default_factory=Outcome)
    spending: Spending = field(default_factory=Spending)
    waits_ms: list[float] = field(default_factory=list)
    """From request to suggestion, for those that got one: what a developer would have waited."""
    failures: int = 0
    """Commits on which the proxy or the language server ended by itself."""
    lost: int = 0
    """Places where the evaluator recorded nothing in time."""
    on_done: Any = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A repository is read by one thread at a time: GitPython shares one `git cat-file`."""
    _trial: str = ""
    _queue: deque[tuple[str, list[CursorTask]]] = field(default_factory=deque)
    _sessions: list[str] = field(default_factory=list)
    _messages: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._trial = freeze(self.config)[0].id
        self.spending.limit_usd = self.options.budget_usd
        waiting: dict[str, list[CursorTask]] = {}
        done = self._done()
        for task in self.walk.tasks:
            place = (task.commit, task.language, task.line, units(task.prefix.rpartition("\n")[2], "utf-16"))
            if done[place] > 0:
                done[place] -= 1
                self.outcome.already_done += 1
            else:
                waiting.setdefault(task.commit, []).append(task)
        self._queue.extend(waiting.items())

    def _done(self) -> Counter[tuple[str, str, int, int]]:
        """Places by commit whose continuation is stored. Columns in UTF-16, which is all that this editor offers."""
        rows = self.store.rows(
            "SELECT s.client_version AS sha, t.language, t.line, t.character FROM task t JOIN session s "
            "ON s.id = t.session JOIN continuation w ON w.task = t.id AND w.horizon = 'save' "
            "WHERE t.trial = ? AND s.client_name = ? AND s.repository IS ?",
            [self._trial, PROXY_CLIENT, self.walk.place.identity],
        )
        return Counter((row["sha"], row["language"], row["line"], row["character"]) for row in rows)

    async def all(self) -> None:
        count = max(1, min(self.options.concurrency, os.cpu_count() or 1, len(self._queue)))
        async with asyncio.TaskGroup() as workers:
            for number in range(count):
                workers.create_task(self._work(number), name=f"editor {number}")

    async def _work(self, number: int) -> None:
        folder = self.folder / f"{number}" / self.walk.place.name
        try:
            while self._queue and self.outcome.stopped is None:
                sha, tasks = self._queue.popleft()
                await self._commit(folder, sha, tasks)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _commit(self, folder: Path, sha: str, tasks: Sequence[CursorTask]) -> None:
        async with self._reading:
            change = await asyncio.to_thread(self._change, sha)
            await asyncio.to_thread(self._checkout, folder, tasks[0].parent)
        by_server: dict[tuple[str, ...], list[Moment]] = {}
        for moment in moments(change, tasks):
            command = tuple(self.walk.server) or tuple(server_for(moment.task.language))
            by_server.setdefault(command, []).append(moment)
        for command, chosen in by_server.items():
            await self._visit(folder, sha, command, chosen)

    def _change(self, sha: str) -> Change:
        chosen = replace(self.options.selection, revision=sha, max_commits=1, since=None, until=None)
        return next(iter(self.history.changes(chosen)))

    def _checkout(self, folder: Path, revision: str) -> None:
        from git import Repo

        self.history.checkout(folder, revision)
        with Repo(folder) as clone:
            # Privacy rules go by a repository's name, and records by where it comes from: not from our cache.
            clone.remote("origin").set_url(self.walk.place.origin)

    async def _visit(self, folder: Path, sha: str, server: Sequence[str], chosen: Sequence[Moment]) -> None:
        profile = replace(INLINE_EDITOR, name=PROXY_CLIENT, version=sha)
        command = proxy_command(server, config=self.config_file, store=self.walk.store)
        before = self._newest(sha)
        try:
            async with EditorClient.started(command, root=folder, profile=profile) as editor:
                session = await self._session(editor, sha, before)
                for moment in chosen:
                    if session is None or not self._may_go_on():
                        break
                    await self._one(session, folder, moment)
                self._tell_messages(editor.messages)
        except ProxyError as fault:
            # A language server that dies on one commit is no reason to give up the others; one that always does is.
            self.failures += 1
            self._tell_messages([str(fault)])
            if self.failures > FAILURES and not self.outcome.asked:
                self.outcome.stopped = f"no commit could be opened: {fault}"

    def _may_go_on(self) -> bool:
        if self.outcome.stopped is None and not self.spending.admits():
            limit, usd = self.spending.limit_usd, self.spending.usd
            self.outcome.stopped = f"the budget of ${limit:g} has no room for another task (${usd:.4f} spent)"
        return self.outcome.stopped is None

    async def _session(self, editor: EditorClient, sha: str, before: set[str]) -> _Session | None:
        """The evaluator's session, once it has begun to record."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        while loop.time() < deadline:
            if new := self._newest(sha) - before:
                [identity] = new
                self._sessions.append(identity)
                slowest = max(self.config.arms[label].timeout_s for label in ArmLabel)
                return _Session(editor, identity, deadline_s=slowest + MARGIN_S)
            await asyncio.sleep(LOOK_S)
        self.outcome.stopped = f"the evaluator did not begin to record within {READY_S:g} s" + (
            f": {editor.messages[-1]}" if editor.messages else "; `codetrial doctor` looks for the reason"
        )
        return None

    def _newest(self, sha: str) -> set[str]:
        rows = self.store.rows(
            "SELECT id FROM session WHERE client_name = ? AND client_version = ?", [PROXY_CLIENT, sha]
        )
        return {row["id"] for row in rows}

    async def _one(self, session: _Session, folder: Path, moment: Moment) -> None:
        editor, task = session.editor, moment.task
        # The last keystroke before the place is typed, so that the request comes as it does in an editor.
        stroke = moment.typed[-1:] if moment.typed[-1:].isascii() else ""
        start = len(moment.before) - len(stroke)
        text = moment.before[:start] + moment.after
        document = await editor.open(folder / task.path, task.language, text)
        try:
            if stroke:
                await editor.change(document, start, start, stroke)
            await self._ask(session, document, len(moment.before))
            stored = await self._settled(session)
            at = len(moment.before)
            for rest in _strokes(task.written):
                await editor.change(document, at, at, rest)
                at += len(rest)
            await editor.save(document)
        finally:
            await editor.close(document)
        if stored is None:
            self.lost += 1
            self.on_done()
            return
        if stored["disposition"] == Disposition.ROUTED:
            self.outcome.asked += 1
        else:
            self.outcome.excluded += 1
        self.on_done()

    async def _ask(self, session: _Session, document: Document, at: int) -> None:
        editor = session.editor
        pending = await (editor.start_inline if editor.asks_inline else editor.start_completion)(document, at)
        try:
            answer = await editor.answer_of(pending, deadline_s=session.deadline_s)
        except RequestFailedError:
            answer = None  # Editors show nothing then.
        if answer and _has_ours(answer, is_inline=editor.asks_inline):
            self.waits_ms.append(((pending.answered_ns or now_ns()) - pending.sent_ns) / 1e6)
        session.asked += 1

    async def _settled(self, session: _Session) -> dict[str, Any] | None:
        """The row of the request just made, once both arms' attempts are stored; None if that takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + session.deadline_s
        while loop.time() < deadline:
            rows = self.store.rows(
                "SELECT t.id, t.disposition, count(p.id) AS attempts, sum(p.cost_nanousd) AS nanousd "
                "FROM task t LEFT JOIN attempt p ON p.task = t.id WHERE t.session = ? GROUP BY t.id "
                "ORDER BY t.requested_ns DESC",
                [session.id],
            )
            if len(rows) >= session.asked:
                newest = dict(rows[0])
                if newest["disposition"] != Disposition.ROUTED or newest["attempts"] >= len(ArmLabel):
                    self.spending.nanousd += newest["nanousd"] or 0
                    self.spending.dearest_nanousd = max(self.spending.dearest_nanousd, newest["nanousd"] or 0)
                    return newest
            await asyncio.sleep(LOOK_S)
        return None

    def _tell_messages(self, messages: Sequence[str]) -> None:
        for message in messages:
            if message not in self._messages:
                self._messages.add(message)
                self.console.print(message, style="yellow", markup=False)

    def finish(self) -> None:
        self.outcome.spent_usd = self.spending.usd
        marks = json.dumps(self._sessions)
        for row in self.store.rows(
            "SELECT p.label, p.status, count(*) AS n FROM attempt p JOIN task t ON t.id = p.task "
            "WHERE t.session IN (SELECT value FROM json_each(?)) GROUP BY p.label, p.status",
            [marks],
        ):
            self.outcome.statuses[ArmLabel(row["label"]), AttemptStatus(row["status"])] = row["n"]

    def tell(self) -> None:
        if self.waits_ms:
            ordered = sorted(self.waits_ms)
            p50, p95 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95))
            self.console.print(
                f"The editor got {len(ordered):,} suggestions, half of them within {p50:,.0f} ms, 95 % within "
                f"{p95:,.0f} ms of asking.",
                highlight=False,
            )
        if self.lost:
            self.console.print(
                f"At {self.lost:,} places nothing was recorded in time; the same command asks there again.",
                style="yellow",
                highlight=False,
            )


def _strokes(text: str) -> Iterator[str]:
    while text:
        stroke = next_stroke(text)
        yield stroke
        text = text[len(stroke) :]


def _has_ours(answer: Any, *, is_inline: bool) -> bool:
    """Whether there is a suggestion among the items; in a menu most come from the language server."""
    items = answer if isinstance(answer, list) else answer.get("items") or []
    return bool(items) if is_inline else any(ITEM_MARK in (item.get("data") or {}) for item in items)
