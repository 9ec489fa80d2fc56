"""What the evaluator costs beside the editor: CPU per keystroke in a 10,000-line file, memory, bytes per task.

The real process, behind a socket that is fed as the relay feeds it: every keystroke a change and a request, as VS Code
asks, with a pause after each word so that some requests outlive the debounce and go to both arms.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.store import Store
from bench.report import Report
from bench.streaming_server import streaming_server

URI = "file:///bench/large.py"
LINE = "    value_{number} = compute(value, offset={number})  # {number}\n"
WORD = "total = compute(value, offset)"
KEY_GAP_S = 0.01
PAUSE_S = 0.25
"""Longer than the debounce."""

CONFIG = """
[trial]
name = "bench"
seed = "5eed"
shares = {{ a = 0.45, b = 0.45, none = 0.1 }}
[arms.a]
api = "openai-completions"
url = "{url}/v1"
model = "one"
template = "prefix-only"
[arms.b]
api = "openai-completions"
url = "{url}/v1"
model = "two"
template = "prefix-only"
[editor]
time_scale = {scale}
[store]
store_text = "hash"
"""


class Link:
    """The relay's end of the socket, as plain as can be."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._id = 0
        self.version = 1

    def notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def request(self, method: str, params: Any) -> int:
        self._id += 1
        self._send({"id": self._id, "method": method, "params": params})
        return self._id

    def wait_for(self, wire_id: int) -> None:
        while True:
            length = 0
            while line := self._file.readline().strip():
                if line.startswith(b"Content-Length"):
                    length = int(line.split(b":")[1])
            if json.loads(self._file.read(length)).get("id") == wire_id:
                return

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


@contextmanager
def evaluator(folder: Path, url: str, scale: float) -> Iterator[tuple[Link, int]]:
    """A started evaluator and its process id."""
    (folder / "codetrial.toml").write_text(CONFIG.format(url=url, scale=scale))
    mine, theirs = socket.socketpair()
    options = {"config": str(folder / "codetrial.toml"), "store": str(folder / "bench.db"), "origin": "test"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lsp_proxy.evaluator",
            "--link-fd",
            str(theirs.fileno()),
            "--options",
            json.dumps({**options, "root": str(folder), "session": "s-bench"}),
        ],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "CODETRIAL_DATA_DIR": str(folder / "data"), "CODETRIAL_USER_CONFIG": str(folder / "none")},
    )
    theirs.close()
    try:
        link = Link(mine)
        link.wait_for(link.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}}))
        link.notify("codetrial/session", {"session": "s-bench", "surface": "inline", "acceptCommand": "x"})
        yield link, process.pid
        link.wait_for(link.request("shutdown", None))
        link.notify("exit", None)
        process.wait(30)
    finally:
        process.kill()
        mine.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def type_words(link: Link, line: int, words: int, *, asks: bool) -> int:
    """Type so many words at the end of a line; how many keys that took."""
    keys, column = 0, 0
    for _ in range(words):
        last = 0
        for character in WORD + "\n":
            at = {"line": line, "character": column}
            link.version += 1
            change = {"range": {"start": at, "end": at}, "text": character}
            link.notify(
                "textDocument/didChange",
                {"textDocument": {"uri": URI, "version": link.version}, "contentChanges": [change]},
            )
            line, column = (line + 1, 0) if character == "\n" else (line, column + 1)
            if asks:
                position = {"line": line, "character": column}
                last = link.request(
                    "textDocument/inlineCompletion",
                    {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 2}},
                )
            keys += 1
            time.sleep(KEY_GAP_S)
        time.sleep(PAUSE_S)
        if asks:
            link.wait_for(last)
    return keys


def measure(lines: int, words: int, *, asks: bool, scale: float = 1.0) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, streaming_server() as url:
        folder = Path(name)
        with evaluator(folder, url, scale) as (link, pid):
            text = "".join(LINE.format(number=number) for number in range(lines))
            item = {"uri": URI, "languageId": "python", "version": 1, "text": text}
            link.notify("textDocument/didOpen", {"textDocument": item})
            type_words(link, lines // 2, 2, asks=asks)  # Imports and grammars are loaded once.
            link.wait_for(link.request("workspace/executeCommand", {"command": "x", "arguments": []}))
            used_s, began_mb = cpu_s(pid), resident_mb(pid)
            keys = type_words(link, lines // 2, words, asks=asks)
            link.wait_for(link.request("workspace/executeCommand", {"command": "x", "arguments": []}))
            used_s, ended_mb = cpu_s(pid) - used_s, resident_mb(pid)
        with Store(folder / "bench.db", readonly=True) as store:
            tasks = store.rows("SELECT count(*) AS n FROM task")[0]["n"]
            routed = store.rows("SELECT count(*) AS n FROM task WHERE disposition = 'routed'")[0]["n"]
            pages = store.rows("SELECT page_count * page_size AS n FROM pragma_page_count(), pragma_page_size()")[0][
                "n"
            ]
    return {
        "keys": keys,
        "ms_per_key": used_s / keys * 1000,
        "began_mb": began_mb,
        "ended_mb": ended_mb,
        "tasks": tasks,
        "routed": routed,
        "bytes_per_task": pages / tasks if tasks else 0.0,
    }


def run(report: Report) -> None:
    rows = []
    for lines in (1_000, 10_000):
        for asks in (False, True):
            found = measure(lines, 30, asks=asks)
            what = "change and request" if asks else "change alone"
            rows.append((lines, what, found))
    report.table(
        "Evaluator, beside the editor",
        ["lines", "each keystroke", "keys", "CPU ms per key", "tasks", "sent to arms", "bytes per task", "MB"],
        [
            [
                lines,
                what,
                int(found["keys"]),
                f"{found['ms_per_key']:.2f}",
                int(found["tasks"]),
                int(found["routed"]),
                f"{found['bytes_per_task']:.0f}" if found["tasks"] else "-",
                f"{found['began_mb']:.0f} -> {found['ended_mb']:.0f}",
            ]
            for lines, what, found in rows
        ],
        command="python -m bench evaluator",
        note="Target: 3 ms of CPU per key in a 10,000-line file, as a mean. Texts are not stored.",
    )
