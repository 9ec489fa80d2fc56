"""The evaluator's process: reads the configuration, opens store and arms, serves until the editor leaves.

Whatever is missing or wrong (configuration, disk, arms) becomes a sentence for the person, and the process goes on
answering "nothing": an editor must never lose its language server because an evaluation cannot run.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.io_ import StdinAsyncReader, StdoutWriter, run_async
from pygls.uris import to_fs_path

from analysis.store import Store, Writer
from analysis.summing import SESSIONS_AT_ONCE, sum_up_finished
from codetrial import config as configuration
from codetrial.arms import build
from codetrial.clock import now_ns
from codetrial.errors import CodetrialError
from codetrial.ids import new_id
from codetrial.manifest import freeze
from codetrial.records import ArmLabel, Origin, Surface, Trial
from codetrial.routing import Router
from lsp_proxy.evaluator.server import EvaluatorServer
from lsp_proxy.evaluator.session import EvaluatorSession, Links, Opening

if TYPE_CHECKING:
    from pygls.io_ import AsyncReader

logger = logging.getLogger("lsp_proxy.evaluator")

READ_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the relay passes on the command line."""

    config: Path | None
    store: Path | None
    origin: Origin
    root: Path
    session: str

    @classmethod
    def read(cls, text: str) -> "Options":
        given: Mapping[str, Any] = json.loads(text)
        return cls(
            config=Path(given["config"]) if given.get("config") else None,
            store=Path(given["store"]) if given.get("store") else None,
            origin=Origin(given.get("origin") or Origin.PERSON),
            root=Path(given.get("root") or Path.cwd()),
            session=given.get("session") or new_id(),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lsp_proxy.evaluator", description=__doc__)
    parser.add_argument("--link-fd", type=int, metavar="N", help="socket to the relay")
    parser.add_argument("--options", default="{}", metavar="JSON", help="what the relay was started with")
    parser.add_argument("--stdio", action="store_true", help="serve an editor alone, without a language server behind")
    given = parser.parse_args(arguments)
    if given.stdio == (given.link_fd is not None):
        parser.error("give either --stdio or --link-fd")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    return asyncio.run(_serve(Options.read(given.options), given.link_fd))


async def _serve(options: Options, link_fd: int | None) -> int:
    reception = _Reception(options, has_relay=link_fd is not None)
    reader = await _connect(reception.server, link_fd)
    try:
        config = configuration.load(options.root, config_file=options.config)
        trial, rows = freeze(config)
        arms = {label: build(config.arms[label], label, templates=config.templates) for label in ArmLabel}
        path = options.store or config.store.database
        router = Router(arms, config, on_notice=reception.warn)
        writer = Writer(path, on_fault=reception.warn_from_thread, store_text=config.store.store_text == "full")
    except CodetrialError as fault:
        reception.trouble = f"codetrial is not evaluating: {fault}"
        await reception.serve(reader, None)
        return fault.exit_code
    with writer, Store(path) as store:
        writer.offer(trial, *rows)
        writer.flush()
        # Whoever began the trial drew its seed: another machine's salt must not draw differently in the same store.
        stored = store.rows("SELECT * FROM trial WHERE id = ?", [trial.id])
        trial = Trial(**{**stored[0], "assignment_unit": trial.assignment_unit}) if stored else trial
        async with router, asyncio.TaskGroup() as tasks:
            links = Links(
                config=config,
                trial=trial,
                arms={row.label: row for row in rows},
                writer=writer,
                store=store,
                router=router,
                tasks=tasks,
            )
            reason = await reception.serve(reader, links)
        reception.close(reason)
    # The editor has gone, so nobody waits; a report will then not have to read what this session did row by row.
    sum_up_finished(path, most=SESSIONS_AT_ONCE)
    return 0


class _Reception:
    """Begins the session when the editor has said who it is, and sees it off."""

    def __init__(self, options: Options, *, has_relay: bool) -> None:
        # Editors register commands globally: two proxies with one name would keep the second from starting.
        self._accept_command = None if has_relay else f"codetrial.accept.{secrets.token_hex(4)}"
        self.server = EvaluatorServer(self._begin, has_relay=has_relay, accept_command=self._accept_command)
        self.trouble: str | None = None
        self._options = options
        self._links: Links | None = None
        self._clock: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def serve(self, reader: "AsyncReader", links: Links | None) -> str:
        """Serve until the editor leaves; why it ended."""
        self._links = links
        work = asyncio.create_task(_read(self.server, reader), name="read")
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, work.cancel)
        await asyncio.wait({work})
        reason = "terminated" if work.cancelled() else "exit" if self.server.ending.is_set() else "link_closed"
        if not work.cancelled() and (fault := work.exception()) is not None:
            logger.error("reading failed", exc_info=fault)
            reason = "fault"
        if self.server.session is not None:
            self.server.session.settle(reason)
            self.server.session.desk.close()
        if self._clock is not None:
            self._clock.cancel()
        return reason

    def close(self, reason: str) -> None:
        if self.server.session is not None:
            self.server.session.close(reason)

    def warn(self, sentence: str) -> None:
        self.server.notice("warning", sentence)

    def warn_from_thread(self, sentence: str) -> None:
        self._loop.call_soon_threadsafe(self.warn, sentence)

    def _begin(self, editor: types.InitializeParams, relay: Mapping[str, Any] | None) -> EvaluatorSession | None:
        if self.trouble is not None:
            self.warn(self.trouble)
        if self._links is None:
            return None
        opening = _opening(self._options, editor, relay, self._accept_command)
        session = EvaluatorSession(opening, self._links)
        self._clock = self._links.tasks.create_task(session.run_clock(), name="clock")
        if relay is not None:
            settings = self._links.config.editor
            content = {
                "surface": session.surface.value,
                "mergeBudgetMs": settings.merge_budget_ms,
                "inlineDeadlineMs": settings.inline_deadline_ms,
            }
            self.server.protocol.notify("codetrial/settings", content)
        return session


def _opening(
    options: Options, editor: types.InitializeParams, relay: Mapping[str, Any] | None, accept_command: str | None
) -> Opening:
    client = editor.client_info
    common: dict[str, Any] = {
        "root": _root_of(editor) or options.root,
        "client_name": client.name if client is not None else None,
        "client_version": client.version if client is not None else None,
        "started_ns": now_ns(),
    }
    if relay is None:
        document = editor.capabilities.text_document
        has_inline = document is not None and document.inline_completion is not None
        return Opening(
            session=options.session,
            origin=options.origin,
            server_name=None,
            surface=Surface.INLINE if has_inline else Surface.MENU,
            encoding="utf-16",
            accept_command=accept_command,
            generation=1,
            confirms_delivery=False,
            **common,
        )
    return Opening(
        session=str(relay.get("session") or options.session),
        origin=Origin(relay.get("origin") or options.origin),
        server_name=relay.get("serverName"),
        surface=Surface(relay.get("surface") or Surface.NONE),
        encoding=str(relay.get("positionEncoding") or "utf-16"),
        accept_command=relay.get("acceptCommand"),
        generation=int(relay.get("generation") or 1),
        confirms_delivery=True,
        **common,
    )


def _root_of(editor: types.InitializeParams) -> Path | None:
    """The folder the editor has open, which need not be where it started us."""
    folders = editor.workspace_folders or []
    uri = folders[0].uri if folders else editor.root_uri
    path = to_fs_path(uri) if uri else editor.root_path
    return Path(path) if path and Path(path).is_dir() else None


async def _read(server: EvaluatorServer, reader: "AsyncReader") -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await run_async(stop_event=server.ending, reader=_Readable(reader), protocol=server.protocol, logger=logger)


class _Readable:
    """A reader whose messages are always UTF-8: pygls would pass over one that is not, and the next be applied to a
    text that misses it.
    """

    def __init__(self, reader: "AsyncReader") -> None:
        self._reader = reader

    async def readline(self) -> bytes:
        return bytes(await _result(self._reader.readline()))

    async def readexactly(self, n: int) -> bytes:
        body = bytes(await _result(self._reader.readexactly(n)))
        try:
            body.decode()
        except UnicodeDecodeError:
            return _without_text(body)
        return body


async def _result(read: Awaitable[bytes] | bytes) -> bytes:
    return read if isinstance(read, bytes) else await read


def _without_text(body: bytes) -> bytes:
    """The message without what it says of a text, so that its document is unknown until its next full text."""
    message = json.loads(body.decode(errors="replace"))
    params = message.get("params")
    if isinstance(params, dict) and "contentChanges" in params:
        params["contentChanges"] = [{}]
    elif isinstance(params, dict) and isinstance(document := params.get("textDocument"), dict):
        document.pop("text", None)
        params["textDocument"] = {**document, "text": None}
    return json.dumps(message).encode()


async def _connect(server: EvaluatorServer, link_fd: int | None) -> "AsyncReader":
    if link_fd is None:
        output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        # Nothing that is printed by accident may come between the frames.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        server.protocol.set_writer(StdoutWriter(output))
        return StdinAsyncReader(sys.stdin.buffer)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=link_fd), limit=READ_LIMIT)
    server.protocol.set_writer(writer)
    return reader


if __name__ == "__main__":
    sys.exit(main())
