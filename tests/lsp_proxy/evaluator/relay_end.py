"""The relay's end of the link, scripted: starts the real evaluator and speaks to it as docs/design/0002 says."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

COMMAND = "codetrial.accept.test"
DEADLINE_S = 50.0
"""The imports alone take ten seconds where twenty processes want one core."""


class RelayEnd:
    """A running evaluator and the socket to it."""

    def __init__(
        self, folder: Path, *, store: Path, config: Path, environment: Mapping[str, str], session: str
    ) -> None:
        self.folder = folder
        self.store = store
        self.session = session
        self.notifications: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._environment = {**os.environ, **environment}
        self._options = {"config": str(config), "store": str(store), "origin": "test", "root": str(folder)}
        self._answers: dict[int | str, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._version = 1

    async def __aenter__(self) -> Self:
        mine, theirs = socket.socketpair()
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lsp_proxy.evaluator",
                "--link-fd",
                str(theirs.fileno()),
                "--options",
                json.dumps({**self._options, "session": self.session, "log": None}),
                pass_fds=[theirs.fileno()],
                env=self._environment,
                cwd=self.folder,
            )
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=mine)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        self._writer.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def begin(self, *, surface: str = "inline", generation: int = 1, encoding: str = "utf-16") -> None:
        await self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": self.folder.as_uri(),
                "capabilities": {"textDocument": {"inlineCompletion": {}}},
                "clientInfo": {"name": "scripted", "version": "1"},
            },
        )
        self.notify(
            "codetrial/session",
            {
                "session": self.session,
                "generation": generation,
                "origin": "test",
                "acceptCommand": COMMAND,
                "surface": surface,
                "positionEncoding": encoding,
                "serverName": "none",
                "serverVersion": None,
                "startedNs": 0,
                "restarts": generation - 1,
            },
        )
        self.notify("initialized", {})
        assert (await self.notified("codetrial/settings"))["surface"] == surface

    def notify(self, method: str, params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: Any) -> "tuple[int, asyncio.Future[Any]]":
        self._next_id += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            raise ConnectionResetError("the evaluator has ended")
        self._answers[self._next_id] = answer
        self._send({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return self._next_id, answer

    async def request(self, method: str, params: Any) -> Any:
        return await asyncio.wait_for(self.ask(method, params)[1], DEADLINE_S)

    async def notified(self, method: str) -> Any:
        while True:
            name, params = await asyncio.wait_for(self.notifications.get(), DEADLINE_S)
            if name == method:
                return params

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self._version = 1
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def insert(self, uri: str, line: int, character: int, text: str) -> None:
        self._version += 1
        at = {"line": line, "character": character}
        self.notify(
            "textDocument/didChange",
            {
                "textDocument": {"uri": uri, "version": self._version},
                "contentChanges": [{"range": {"start": at, "end": at}, "text": text}],
            },
        )

    def ask_inline(self, uri: str, line: int, character: int) -> "tuple[int, asyncio.Future[Any]]":
        return self.ask(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": 2},
            },
        )

    def delivered(self, request: int, token: str, *, was_delivered: bool = True, reason: str | None = None) -> None:
        self.notify(
            "codetrial/delivered",
            {"id": request, "delivered": was_delivered, "reason": reason, "tNs": 1, "token": token},
        )

    async def accept(self, token: str) -> None:
        await self.request("workspace/executeCommand", {"command": COMMAND, "arguments": [token]})

    async def synchronised(self) -> None:
        """Everything sent so far was handled: messages are handled in order."""
        await self.request("workspace/executeCommand", {"command": COMMAND, "arguments": []})

    async def end(self) -> int:
        await self.request("shutdown", None)
        self.notify("exit", None)
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def _send(self, message: dict[str, Any]) -> None:
        # An escaped byte goes out as that byte, which is not UTF-8.
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogateescape")
        self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _read(self) -> None:
        while header := await self._reader.readline():
            length = int(header.split(b":")[1])
            while (await self._reader.readline()).strip():
                pass
            message = json.loads(await self._reader.readexactly(length))
            if "method" in message:
                self.notifications.put_nowait((message["method"], message.get("params")))
            else:
                answer = self._answers.pop(message["id"])
                if not answer.done():
                    answer.set_result(message.get("result", message.get("error")))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the evaluator ended"))
