"""A small editor without a screen: speaks LSP to a server over its pipes and answers it as editors do.

It is written at the level of bytes and plain dictionaries on purpose. A typed client fills in defaults and drops what
it does not know, so it could not see a proxy doing the same.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from codetrial.clock import now_ns
from codetrial.errors import ProxyError

__all__ = [
    "INLINE_EDITOR",
    "MENU_EDITOR",
    "Document",
    "EditorClient",
    "EditorProfile",
    "Pending",
    "Replacement",
    "RequestFailedError",
    "ServerEndedError",
]

ANSWER_S = 30.0
"""A real language server may read a whole repository before its first answer."""
EXIT_S = 10.0
READ_LIMIT = 64 << 20
METHOD_NOT_FOUND = -32601

Json = Any
"""What JSON can hold; looked at where it is used."""


class ServerEndedError(ProxyError):
    """The server closed its output while an answer was due."""


class RequestFailedError(ProxyError):
    """The server answered with an error."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method} failed: {message} ({code})")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorProfile:
    """What the editor says that it can do."""

    name: str
    version: str
    shows_inline: bool
    """Announces `textDocument/inlineCompletion`; otherwise there is the menu only."""
    position_encodings: tuple[str, ...] = ("utf-16",)
    runs_item_commands: bool = True
    """Sends an accepted item's command; Emacs and Helix do not."""

    def capabilities(self) -> dict[str, Any]:
        completion_item = {
            "snippetSupport": False,
            "insertReplaceSupport": False,
            "resolveSupport": {"properties": ["documentation", "detail", "additionalTextEdits"]},
            "labelDetailsSupport": True,
        }
        document: dict[str, Any] = {
            "synchronization": {"didSave": True, "dynamicRegistration": False},
            "completion": {
                "dynamicRegistration": True,
                "contextSupport": True,
                "completionItem": completion_item,
                "completionList": {"itemDefaults": ["editRange", "insertTextFormat", "data"]},
            },
            "publishDiagnostics": {},
        }
        if self.shows_inline:
            document["inlineCompletion"] = {"dynamicRegistration": False}
        workspace: dict[str, Any] = {"configuration": True, "workspaceFolders": True, "applyEdit": True}
        if self.runs_item_commands:
            workspace["executeCommand"] = {"dynamicRegistration": True}
        return {
            "general": {"positionEncodings": list(self.position_encodings)},
            "textDocument": document,
            "workspace": workspace,
            "window": {"workDoneProgress": True, "showMessage": {}, "showDocument": {"support": True}},
        }


INLINE_EDITOR = EditorProfile(name="typist-inline", version="1", shows_inline=True)
MENU_EDITOR = EditorProfile(name="typist-menu", version="1", shows_inline=False)


class Replacement(NamedTuple):
    """What taking an item would do to the document, in offsets."""

    start: int
    end: int
    text: str


@dataclass(slots=True)
class Document:
    """An open file and its text; all places are offsets in characters from its start."""

    path: Path
    language: str
    text: str
    encoding: str = "utf-16"
    version: int = 1

    @property
    def uri(self) -> str:
        return self.path.as_uri()

    def position(self, offset: int) -> dict[str, int]:
        line_start = self.text.rfind("\n", 0, offset) + 1
        return {
            "line": self.text.count("\n", 0, line_start),
            "character": _units(self.text[line_start:offset], self.encoding),
        }

    def offset(self, position: Mapping[str, int]) -> int:
        """A character beyond the line's end means its end, as the specification has it."""
        start = 0
        for _ in range(position["line"]):
            start = self.text.find("\n", start) + 1
            if not start:
                return len(self.text)
        end = self.text.find("\n", start)
        line = self.text[start : end if end >= 0 else len(self.text)].removesuffix("\r")
        return start + _characters(line, position["character"], self.encoding)

    def word_start(self, offset: int) -> int:
        found = re.search(r"\w*\Z", self.text[max(0, offset - 200) : offset])
        return offset - len(found[0]) if found else offset

    def edit_of(self, item: Mapping[str, Any], offset: int, defaults: Mapping[str, Any]) -> Replacement:
        """What taking a completion item at the cursor would replace, and by what."""
        edit = item.get("textEdit")
        default_range = defaults.get("editRange")
        if edit is not None:
            span, text = edit.get("range") or edit["insert"], edit["newText"]
        elif default_range is not None:
            span = default_range.get("insert", default_range)
            text = item.get("textEditText") or item.get("insertText") or item["label"]
        else:
            return Replacement(self.word_start(offset), offset, item.get("insertText") or item["label"])
        return Replacement(self.offset(span["start"]), self.offset(span["end"]), text)

    def inline_edit_of(self, item: Mapping[str, Any], offset: int) -> Replacement:
        text = item["insertText"]
        text = text["value"] if isinstance(text, dict) else text
        span = item.get("range")
        if span is None:
            return Replacement(offset, offset, text)
        return Replacement(self.offset(span["start"]), self.offset(span["end"]), text)


def _units(text: str, encoding: str) -> int:
    if encoding == "utf-32":
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _characters(line: str, units: int, encoding: str) -> int:
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    passed = 0
    for count, character in enumerate(line):
        if passed >= units:
            return count
        passed += _units(character, encoding)
    return len(line)


@dataclass(slots=True)
class Pending:
    """A request under way."""

    id: int
    method: str
    sent_ns: int
    answer: asyncio.Future[Json] = field(repr=False)
    answered_ns: int | None = None


@dataclass(slots=True, kw_only=True)
class EditorClient:
    """One editor and the server that it has started."""

    profile: EditorProfile
    root: Path
    process: asyncio.subprocess.Process
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Answers to `workspace/configuration`, by section."""
    capabilities: dict[str, Any] = field(default_factory=dict)
    """The server's, as it answered `initialize`."""
    server_info: dict[str, Any] = field(default_factory=dict)
    encoding: str = "utf-16"
    messages: list[str] = field(default_factory=list)
    """What the server had shown to the person."""
    log: list[str] = field(default_factory=list)
    diagnostics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    registrations: dict[str, dict[str, Any]] = field(default_factory=dict)
    _next_id: int = 0
    _pending: dict[int, Pending] = field(default_factory=dict)
    _reader: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def started(
        cls,
        command: Sequence[str],
        *,
        root: Path,
        profile: EditorProfile = INLINE_EDITOR,
        environment: Mapping[str, str] | None = None,
        stderr: IO[bytes] | int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> AsyncIterator["EditorClient"]:
        """Start the server in `root`, initialize it, and end it afterwards in whatever state it is.

        Raises:
            ProxyError: the command cannot be started, or did not answer `initialize`.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                cwd=root,
                env={**os.environ, **environment} if environment else None,
                limit=READ_LIMIT,
                # Ctrl-C is meant for the editor; the server is then told to shut down.
                start_new_session=True,
            )
        except OSError as fault:
            raise ProxyError(f"Cannot start {command[0]!r}: {fault.strerror}. Install it, or name another.") from fault
        editor = cls(profile=profile, root=root, process=process, settings=settings or {})
        editor._reader = asyncio.create_task(editor._read(), name="editor reads server")
        try:
            await editor._initialize()
            yield editor
        finally:
            await editor._end()

    async def _initialize(self) -> None:
        folder = {"uri": self.root.as_uri(), "name": self.root.name}
        answer = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": self.profile.name, "version": self.profile.version},
                "rootUri": self.root.as_uri(),
                "workspaceFolders": [folder],
                "capabilities": self.profile.capabilities(),
            },
        )
        self.capabilities = answer["capabilities"]
        self.server_info = answer.get("serverInfo") or {}
        self.encoding = self.capabilities.get("positionEncoding") or "utf-16"
        await self.notify("initialized", {})

    @property
    def asks_inline(self) -> bool:
        """The editor can show it and somebody can answer."""
        # Empty options are a yes too.
        return self.profile.shows_inline and self.capabilities.get("inlineCompletionProvider") not in (None, False)

    @property
    def trigger_characters(self) -> frozenset[str]:
        options = [self.capabilities.get("completionProvider") or {}]
        options += [
            r.get("registerOptions") or {}
            for r in self.registrations.values()
            if r["method"] == "textDocument/completion"
        ]
        return frozenset(c for option in options for c in option.get("triggerCharacters") or ())

    # Documents

    async def open(self, path: Path, language: str, text: str) -> Document:
        document = Document(path, language, text, self.encoding)
        item = {"uri": document.uri, "languageId": language, "version": document.version, "text": text}
        await self.notify("textDocument/didOpen", {"textDocument": item})
        return document

    async def change(self, document: Document, start: int, end: int, text: str) -> None:
        """Replace a part; one notification with one change."""
        span = {"start": document.position(start), "end": document.position(end)}
        document.text = document.text[:start] + text + document.text[end:]
        document.version += 1
        await self.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": document.uri, "version": document.version},
                "contentChanges": [{"range": span, "text": text}],
            },
        )

    async def save(self, document: Document) -> None:
        """To the disk too, as editors do."""
        data = document.text.encode("utf-8")
        await asyncio.to_thread(_write, document.path, data)
        await self.notify("textDocument/didSave", {"textDocument": {"uri": document.uri}})

    async def close(self, document: Document) -> None:
        await self.notify("textDocument/didClose", {"textDocument": {"uri": document.uri}})

    # Completions

    async def start_inline(self, document: Document, offset: int, *, is_automatic: bool = True) -> Pending:
        context = {"triggerKind": 2 if is_automatic else 1}
        return await self.start_request(
            "textDocument/inlineCompletion", self._at(document, offset) | {"context": context}
        )

    async def start_completion(self, document: Document, offset: int, *, trigger: str | None = None) -> Pending:
        context: dict[str, Any] = (
            {"triggerKind": 1} if trigger is None else {"triggerKind": 2, "triggerCharacter": trigger}
        )
        return await self.start_request("textDocument/completion", self._at(document, offset) | {"context": context})

    async def run_command(self, command: Mapping[str, Any]) -> None:
        """Send an accepted item's command, if this editor does so and the server knows it. Does not wait."""
        known = (self.capabilities.get("executeCommandProvider") or {}).get("commands") or ()
        if self.profile.runs_item_commands and command.get("command") in known:
            pending = await self.start_request(
                "workspace/executeCommand",
                {"command": command["command"], "arguments": command.get("arguments") or []},
            )
            # Nobody waits for it: an error must not be reported as never looked at.
            pending.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def _at(self, document: Document, offset: int) -> dict[str, Any]:
        return {"textDocument": {"uri": document.uri}, "position": document.position(offset)}

    # Messages

    async def request(self, method: str, params: Json, *, deadline_s: float = ANSWER_S) -> Json:
        """Ask and wait.

        Raises:
            RequestFailedError: the server said no.
            ServerEndedError: it is gone.
            ProxyError: no answer within `deadline_s`.
        """
        return await self.answer_of(await self.start_request(method, params), deadline_s=deadline_s)

    async def start_request(self, method: str, params: Json) -> Pending:
        self._next_id += 1
        pending = Pending(self._next_id, method, now_ns(), asyncio.get_running_loop().create_future())
        self._pending[pending.id] = pending
        await self._send({"jsonrpc": "2.0", "id": pending.id, "method": method, "params": params})
        return pending

    async def answer_of(self, pending: Pending, *, deadline_s: float = ANSWER_S) -> Json:
        try:
            return await asyncio.wait_for(asyncio.shield(pending.answer), deadline_s)
        except TimeoutError as fault:
            raise ProxyError(f"No answer to {pending.method} within {deadline_s:g} s.") from fault

    async def cancel(self, pending: Pending) -> None:
        """Withdraw a request; its answer, if one comes all the same, is thrown away."""
        if not pending.answer.done():
            pending.answer.cancel()
            await self.notify("$/cancelRequest", {"id": pending.id})

    async def notify(self, method: str, params: Json) -> None:
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def shut_down(self) -> int:
        """`shutdown`, `exit`, and the server's exit status."""
        if self.process.returncode is None:
            with contextlib.suppress(ServerEndedError, RequestFailedError):
                await self.request("shutdown", None, deadline_s=EXIT_S)
                await self.notify("exit", None)
        return await asyncio.wait_for(self.process.wait(), EXIT_S)

    async def _end(self) -> None:
        """Orderly if the server still listens, by force if not; also while an exception is on its way."""
        try:
            await self.shut_down()
        except (ProxyError, TimeoutError):
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self.process.stdin is not None:
            self.process.stdin.close()
            with contextlib.suppress(OSError):
                await self.process.stdin.wait_closed()

    async def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await self.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as fault:
            raise ServerEndedError(self._obituary()) from fault

    def _obituary(self) -> str:
        status = self.process.returncode
        return "The language server is gone" + (f" (exit status {status})." if status is not None else ".")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            while True:
                await self._receive(json.loads(await _frame(self.process.stdout)))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass  # The server closed its output.
        finally:
            for pending in self._pending.values():
                if not pending.answer.done():
                    pending.answer.set_exception(ServerEndedError(self._obituary()))
                    pending.answer.exception()  # Whoever still waits gets it; nobody has to.
            self._pending.clear()

    async def _receive(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method is None:
            self._settle(message)
        elif "id" in message:
            with contextlib.suppress(ServerEndedError):
                await self._send(self._reply(message["id"], method, message.get("params")))
        else:
            self._note(method, message.get("params"))

    def _settle(self, message: dict[str, Any]) -> None:
        pending = self._pending.pop(message["id"], None)
        if pending is None or pending.answer.done():
            return
        pending.answered_ns = now_ns()
        if "error" in message:
            error = message["error"]
            pending.answer.set_exception(
                RequestFailedError(pending.method, error.get("code", 0), error.get("message", ""))
            )
        else:
            pending.answer.set_result(message.get("result"))

    def _reply(self, request_id: int | str, method: str, params: Json) -> dict[str, Any]:
        answers: dict[str, Any] = {
            "window/showMessageRequest": None,
            "window/showDocument": {"success": True},
            "window/workDoneProgress/create": None,
            "workspace/applyEdit": {"applied": False},
            "workspace/workspaceFolders": [{"uri": self.root.as_uri(), "name": self.root.name}],
        }
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id}
        if method == "client/registerCapability":
            self.registrations.update({r["id"]: r for r in params["registrations"]})
            return reply | {"result": None}
        if method == "client/unregisterCapability":
            for registration in params["unregisterations"]:
                self.registrations.pop(registration["id"], None)
            return reply | {"result": None}
        if method == "workspace/configuration":
            return reply | {"result": [self.settings.get(item.get("section") or "") for item in params["items"]]}
        if method == "window/showMessageRequest":
            self.messages.append(params["message"])
        if method in answers:
            return reply | {"result": answers[method]}
        if method.startswith("workspace/") and method.endswith("/refresh"):
            return reply | {"result": None}
        return reply | {"error": {"code": METHOD_NOT_FOUND, "message": f"Unknown method {method}"}}

    def _note(self, method: str, params: Json) -> None:
        if method == "window/showMessage":
            self.messages.append(params["message"])
        elif method == "window/logMessage":
            self.log.append(params["message"])
        elif method == "textDocument/publishDiagnostics":
            self.diagnostics[params["uri"]] = params["diagnostics"]


async def _frame(stream: asyncio.StreamReader) -> bytes:
    length: int | None = None
    while True:
        line = await stream.readuntil(b"\r\n")
        if line == b"\r\n":
            if length is None:
                raise ProxyError("The server sent a message without Content-Length: its framing is broken.")
            return await stream.readexactly(length)
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
