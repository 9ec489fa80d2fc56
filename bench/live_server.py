"""One editor, one real language server, and something between them that can be stepped around.

Two servers are never alike: the same one, started twice, answers up to a tenth sooner or later for as long as it lives.
So the server behind a proxy is also asked without it: the proxy is stopped, and the server's own pipes, opened once
more under /proc (Linux only), are written to and read from. What was changed that way is taken back before the proxy
goes on, which therefore misses nothing.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Document", "LiveServer"]

Document = Mapping[str, str]
"""A TextDocumentIdentifier."""

QUIET_S = 0.06
"""Nothing from the server for so long, and no work of its own: it has finished what the last change set off."""
QUIET_TICKS = 1
PATIENCE_S = 5.0
"""Some servers always do something."""
BESIDE = ("cat", "lsp_proxy.evaluator")
"""What runs beside a server."""


class LiveServer:
    """A server behind a command that carries its messages.

    Args:
        command: What the editor starts; the server is its child.
        root: The project; the server runs in it.
        capabilities: What the editor can do.
        options: What the server wants to be told at its start.
        env: Added to the environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        root: Path,
        *,
        capabilities: Mapping[str, Any],
        options: Mapping[str, Any],
        env: Mapping[str, str],
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=root,
            env=os.environ | env,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._data = b""
        self._id = 0
        self._root = root
        self._versions: dict[str, int] = {}
        self.ask(
            "initialize",
            processId=None,
            rootUri=root.as_uri(),
            capabilities=capabilities,
            workspaceFolders=[{"uri": root.as_uri(), "name": "root"}],
            initializationOptions=options,
        )
        self._tell("initialized")

    def open(self, file: str, language: str) -> Document:
        """Open a file of the project; gives its identifier."""
        path = self._root / file
        item = {"uri": path.as_uri(), "languageId": language, "version": 1, "text": path.read_text()}
        self._tell("textDocument/didOpen", textDocument=item)
        self._versions[path.as_uri()] = 1
        return {"uri": path.as_uri()}

    def ask(self, method: str, **params: Any) -> Any:
        """The result, or None after an error."""
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while (message := self._message()).get("id") != self._id or "method" in message:
            pass
        return message.get("result")

    def ask_at(self, method: str, document: Document, line: int, character: int) -> Any:
        """The result for a place in a file."""
        return self.ask(method, textDocument=document, position={"line": line, "character": character})

    def change(self, document: Document, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        self._versions[document["uri"]] += 1
        span = {name: {"line": at[0], "character": at[1]} for name, at in (("start", start), ("end", end))}
        versioned = {**document, "version": self._versions[document["uri"]]}
        self._tell("textDocument/didChange", textDocument=versioned, contentChanges=[{"range": span, "text": text}])

    def rest(self) -> None:
        """Until the server says nothing and does nothing any more."""
        until = time.monotonic() + PATIENCE_S
        spent = -1
        while True:
            spent, before = self._spent_ticks(), spent
            if before >= 0 and (spent - before <= QUIET_TICKS or time.monotonic() > until):
                return
            while self._data or select.select([self._out], [], [], QUIET_S)[0]:
                self._message()
                spent = self._spent_ticks()

    def _spent_ticks(self) -> int:
        """Processor time of the server and all that it has started, in the kernel's hundredths of a second."""
        _, server = self._parts()
        total, pids = 0, [server]
        for pid in pids:
            try:
                total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
                pids += children_of(pid)
            except OSError:  # It has ended meanwhile.
                continue
        return total

    @contextmanager
    def around(self) -> Iterator[None]:
        """Within, the server itself is spoken to; what stands between sleeps. Both sides must be at rest."""
        between, server = self._parts()
        through = self._in, self._out
        with ExitStack() as undo:
            for pid in between:
                os.kill(pid, signal.SIGSTOP)
                undo.callback(os.kill, pid, signal.SIGCONT)
            self._in = os.open(f"/proc/{server}/fd/0", os.O_WRONLY)
            undo.callback(os.close, self._in)
            self._out = os.open(f"/proc/{server}/fd/1", os.O_RDONLY)
            undo.callback(os.close, self._out)
            try:
                yield
            finally:
                self._in, self._out = through

    def close(self) -> None:
        self.ask("shutdown")
        self._tell("exit")
        assert self._process.stdin is not None
        self._process.stdin.close()  # The first `cat` ends with this, not with the server.
        self._process.wait(20)

    def _parts(self) -> tuple[list[int], int]:
        """What stands between the editor and the server, and the server."""
        own = self._process.pid
        children = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in children_of(own)}
        beside = [pid for pid, command in children.items() if any(name in command for name in BESIDE)]
        [server] = set(children) - set(beside)
        cats = [pid for pid in beside if children[pid][0] == "cat"]
        return cats or [own], server

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        data = memoryview(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        while data:
            data = data[os.write(self._in, data) :]

    def _message(self) -> dict[str, Any]:
        while (head := self._data.find(b"\r\n\r\n")) < 0:
            self._fill()
        fields = dict(line.split(b": ", 1) for line in self._data[:head].lower().split(b"\r\n"))
        end = head + 4 + int(fields[b"content-length"])
        while len(self._data) < end:
            self._fill()
        body, self._data = self._data[head + 4 : end], self._data[end:]
        message: dict[str, Any] = json.loads(body)
        if "method" in message and "id" in message:
            count = len((message.get("params") or {}).get("items", ()))
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": [None] * count if count else None})
        return message

    def _fill(self) -> None:
        chunk = os.read(self._out, 1 << 16)
        if not chunk:
            raise EOFError("the server has ended")
        self._data += chunk


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
