"""A byte-level editor, tiny real servers, and an evaluator whose part the test plays."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NEIGHBOURS = Path(__file__).with_name("neighbours")
SCRIPTED = [sys.executable, str(NEIGHBOURS / "scripted_server.py")]
REFLECTING = [sys.executable, str(NEIGHBOURS / "reflecting_server.py")]
PROXY = [sys.executable, "-c", "from codetrial.cli import main; main()", "lsp"]
PATIENCE_S = 30.0
"""A test waits so long for what must come; reaching it is a failure."""


def recorded(command: list[str], folder: Path) -> list[str]:
    """The command, with what it reads and writes kept in the files `read` and `written` as well."""
    folder.mkdir()
    line = 'folder=$1; shift; exec "$@" < <(exec tee "$folder/read") > >(exec tee "$folder/written")'
    return ["bash", "-c", line, "bash", str(folder), *command]


def frame(body: bytes | dict[str, Any]) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"Content-Length: %d\r\n\r\n" % len(raw) + raw


def request(token: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": token, "method": method, "params": params}


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


class Stream:
    """Frames read from a file descriptor, with patience and an end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def _fill(self, patience_s: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], patience_s)
        if not ready:
            raise TimeoutError(f"nothing came within {patience_s} s; at hand: {self._data[:200]!r}")
        chunk = os.read(self._fd, 1 << 16)
        self._data += chunk
        return bool(chunk)

    def take(self, count: int) -> bytes:
        while len(self._data) < count:
            if not self._fill(PATIENCE_S):
                raise EOFError(f"ended with {self._data!r}")
        data, self._data = self._data[:count], self._data[count:]
        return data

    def rest(self) -> bytes:
        while self._fill(PATIENCE_S):
            pass
        data, self._data = self._data, b""
        return data

    def line(self) -> bytes:
        while b"\n" not in self._data:
            if not self._fill(PATIENCE_S):
                raise EOFError
        line, _, self._data = self._data.partition(b"\n")
        return line

    def frame(self) -> bytes:
        """The next frame with its header."""
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            if not self._fill(PATIENCE_S):
                raise EOFError(f"ended with {self._data!r}")
        [length] = [int(h[15:]) for h in self._data[:end].split(b"\r\n") if h.lower().startswith(b"content-length:")]
        return self.take(end + 4 + length)

    def message(self) -> dict[str, Any]:
        raw = self.frame()
        message: dict[str, Any] = json.loads(raw[raw.index(b"\r\n\r\n") + 4 :])
        return message

    def is_quiet(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes for a while: the only way to see that something is *not* sent."""
        return not self._data and not select.select([self._fd], [], [], seconds)[0]


class Wire(Stream):
    """An editor that says and hears bytes."""

    def __init__(self, command: list[str], env: dict[str, str], stderr: Any = None) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | env, bufsize=0
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = self.process.stdin
        super().__init__(self.process.stdout.fileno())

    def send(self, *messages: bytes | dict[str, Any]) -> None:
        """Frames; bytes go as they are."""
        data = b"".join(m if isinstance(m, bytes) else frame(m) for m in messages)
        rest = memoryview(data)
        while rest:
            rest = rest[self._stdin.write(rest) :]

    def send_meanwhile(self, *messages: bytes | dict[str, Any]) -> None:
        """Like `send`, from a thread: for more than fits into the pipes while nobody reads the other end."""
        threading.Thread(target=self.send, args=messages, daemon=True).start()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give its answer; other messages before it are dropped."""
        self.send(message)
        while (answer := self.message()).get("id") != message["id"] or "method" in answer:
            pass
        return answer

    def initialize(
        self,
        *,
        inline: bool = False,
        commands: bool = False,
        answer: str | None = None,
        then_initialized: bool = True,
        **capabilities: Any,
    ) -> dict[str, Any]:
        """Shake hands; gives the result."""
        text_document: dict[str, Any] = {"inlineCompletion": {}} if inline else {}
        said = {"textDocument": text_document, "workspace": {"executeCommand": {}} if commands else {}, **capabilities}
        options = {} if answer is None else {"answer": answer}
        result = self.ask(request(0, "initialize", processId=None, capabilities=said, initializationOptions=options))
        if then_initialized:
            self.send(notification("initialized"))
        return result

    def hang_up(self) -> None:
        """Close our end of its stdin."""
        self._stdin.close()

    def status(self) -> int:
        return self.process.wait(PATIENCE_S)

    def received_by_server(self) -> bytes:
        """All bytes that the scripted server has read so far, this question included."""
        return str(self.ask(request("received?", "test/received"))["result"]).encode("latin-1")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Bridge(Stream):
    """One evaluator process, as the test sees it: what the relay tells it, and what it says."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection.fileno())
        self._connection = connection
        self.pid = int(self.line())

    def say(self, *messages: bytes | dict[str, Any]) -> None:
        self._connection.sendall(b"".join(m if isinstance(m, bytes) else frame(m) for m in messages))

    def hear(self, method: str) -> dict[str, Any]:
        """The next message of this method; those before it are dropped."""
        while (message := self.message()).get("method") != method:
            pass
        return message

    def answer(self, to: dict[str, Any], result: Any) -> None:
        self.say({"jsonrpc": "2.0", "id": to["id"], "result": result})

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self._connection.close()


class Evaluators:
    """Where the relay's evaluators report to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "evaluator"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._bridges: list[Bridge] = []

    @property
    def env(self) -> dict[str, str]:
        command = [sys.executable, str(NEIGHBOURS / "bridging_evaluator.py"), str(self.path)]
        return {"CODETRIAL_EVALUATOR": json.dumps(command)}

    def next(self) -> Bridge:
        """The next evaluator that is started."""
        connection, _ = self._listener.accept()
        bridge = Bridge(connection)
        self._bridges.append(bridge)
        return bridge

    def close(self) -> None:
        for bridge in self._bridges:
            bridge.close()
        self._listener.close()


@pytest.fixture
def evaluators(tmp_path: Path) -> Iterator[Evaluators]:
    evaluators = Evaluators(tmp_path)
    try:
        yield evaluators
    finally:
        evaluators.close()


Open = Callable[..., Wire]


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def open_wire(evaluators: Evaluators, runtime_dir: Path) -> Iterator[Open]:
    """Starts a server, directly or behind the proxy; ends it with the test."""
    wires: list[Wire] = []

    def open_it(
        *options: str,
        server: list[str] | None = None,
        direct: bool = False,
        env: dict[str, str] | None = None,
        **more: Any,
    ) -> Wire:
        command = SCRIPTED if server is None else server
        argv = command if direct else [*PROXY, *options, "--", *command]
        base = {"CODETRIAL_RUNTIME_DIR": str(runtime_dir)} | evaluators.env
        wires.append(Wire(argv, base | (env or {}), **more))
        return wires[-1]

    try:
        yield open_it
    finally:
        for wire in wires:
            wire.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that tells nobody, such as a process that ends or a file that appears."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
