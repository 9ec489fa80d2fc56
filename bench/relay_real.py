"""Hovers and completions of a real language server: direct, through `cat`, and through `codetrial lsp` with its real
evaluator, which has something to offer or may not.

Each has a server of its own, open on the same package; they are asked the same in turn, after everything that the last
change set off has come to rest. The suggestions go into the menu: there a completion could be made to wait.
"""

import json
import os
import random
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pygls

from bench.evaluator import CONFIG
from bench.report import Report, spread
from bench.streaming_server import streaming_server

COMMAND = "python -m bench relay_real"
FILE = "protocol/json_rpc.py"
ROUNDS = 80
QUIET_S = 0.06
"""Nothing from the server for so long: it has finished what the last change set off."""
SEED = 5
CAPABILITIES = {
    "textDocument": {"completion": {"completionItem": {"snippetSupport": True}}, "hover": {}, "publishDiagnostics": {}},
    "workspace": {"configuration": True, "executeCommand": {}},
}


class Editor:
    """One editor with one file open."""

    def __init__(self, name: str, command: Sequence[str], root: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=root,
            env=os.environ | env,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self._data = b""
        self._id = 0
        self._version = 1
        self.uri = (root / FILE).as_uri()
        folders = [{"uri": root.as_uri(), "name": "root"}]
        began = time.perf_counter()
        self.ask(
            "initialize", processId=None, rootUri=root.as_uri(), capabilities=CAPABILITIES, workspaceFolders=folders
        )
        self.start_ms = (time.perf_counter() - began) * 1e3
        self.tell("initialized")
        text = (root / FILE).read_text()
        self.tell(
            "textDocument/didOpen", textDocument={"uri": self.uri, "languageId": "python", "version": 1, "text": text}
        )

    def tell(self, method: str, **params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self._id += 1
        self._send({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        while (message := self._message()).get("id") != self._id or "method" in message:
            pass
        return message["result"]

    def timed(self, method: str, line: int, character: int) -> float:
        """Milliseconds from the question to the answer."""
        began = time.perf_counter()
        self.ask(method, textDocument={"uri": self.uri}, position={"line": line, "character": character})
        return (time.perf_counter() - began) * 1e3

    def change(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        self._version += 1
        span = {name: {"line": at[0], "character": at[1]} for name, at in (("start", start), ("end", end))}
        self.tell(
            "textDocument/didChange",
            textDocument={"uri": self.uri, "version": self._version},
            contentChanges=[{"range": span, "text": text}],
        )

    def rest(self) -> None:
        """Until the server says nothing any more."""
        while self._data or select.select([self._out], [], [], QUIET_S)[0]:
            self._message()

    def close(self) -> None:
        self.ask("shutdown")
        self.tell("exit")
        self._in.close()  # The first `cat` ends with this, not with the server.
        self.process.wait(20)

    def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        self._in.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _message(self) -> dict[str, Any]:
        while (head := self._data.find(b"\r\n\r\n")) < 0:
            self._fill()
        end = head + 4 + int(self._data[16:head].partition(b"\r\n")[0])
        while len(self._data) < end:
            self._fill()
        body, self._data = self._data[head + 4 : end], self._data[end:]
        message: dict[str, Any] = json.loads(body)
        if "method" in message and "id" in message:
            count = len(message.get("params", {}).get("items", ()))
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": [None] * count if count else None})
        return message

    def _fill(self) -> None:
        chunk = os.read(self._out.fileno(), 1 << 16)
        if not chunk:
            raise EOFError(f"{self.name}: the server has ended")
        self._data += chunk


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name, streaming_server() as url:
        folder = Path(name)
        root = folder / "project"
        shutil.copytree(Path(pygls.__file__).parent, root)
        (root / "codetrial.toml").write_text(CONFIG.format(url=url, scale=1))
        server = [str(Path(sys.executable).with_name("basedpyright-langserver")), "--stdio"]
        proxy = [str(Path(sys.executable).with_name("codetrial")), "lsp", "--origin", "test"]
        merging = [*proxy, "--store", str(folder / "merging.db"), "--", *server]
        silent = [*proxy, "--store", str(folder / "silent.db"), "--surface", "none", "--", *server]
        env = {"CODETRIAL_DATA_DIR": str(folder / "data"), "CODETRIAL_USER_CONFIG": str(folder / "none")}
        editors = [
            Editor("direct", server, root, {}),
            Editor("direct, again", server, root, {}),
            Editor("cat", ["sh", "-c", f"cat | {shlex.join(server)} | cat"], root, {}),
            Editor("codetrial, shows nothing", silent, root, env),
            Editor("codetrial", merging, root, env),
        ]
        try:
            found = measure(editors, root)
        finally:
            for editor in editors:
                editor.close()
    rows: list[list[object]] = []
    for operation, times in found.items():
        direct = median(times["direct"])
        for name, values in times.items():
            s = spread(values)
            label = operation if name == "direct" else ""
            rows.append([label, name, s.count, s.p50, s.p95, s.p50 / direct, paired(times["direct"], values)])
    report.table(
        "basedpyright on the package pygls, typing in a file of 800 lines, ms",
        ["operation", "who", "times", "p50", "p95", "ratio of p50", "median of ratios"],
        rows,
        command=COMMAND,
        note="Target: at most 1.03. `direct, again` is another server without a proxy: so far two equal things differ. "
        "`shows nothing` copies every request to the evaluator, and lets no answer wait for it; where something is "
        "offered, `completion again` waits until it is in the menu.",
    )


def paired(base: Sequence[float], values: Sequence[float]) -> float:
    """The median over the same questions of how much longer an answer took than the base's."""
    return median(value / one for value, one in zip(values, base, strict=True))


def measure(editors: Sequence[Editor], root: Path) -> dict[str, dict[str, list[float]]]:
    lines = (root / FILE).read_text().split("\n")
    names = [(number, line.index("self.") + 6) for number, line in enumerate(lines) if "self._" in line]
    draw = random.Random(SEED)
    found: dict[str, dict[str, list[float]]] = {
        operation: {editor.name: [] for editor in editors}
        for operation in ("hover", "completion after typing", "completion again")
    }
    for editor in editors:
        editor.ask("textDocument/documentSymbol", textDocument={"uri": editor.uri})
    for number in range(ROUNDS):
        line, character = draw.choice(names)
        # Each begins as often as the others: whoever comes first finds a cold machine.
        for editor in [*editors[number % len(editors) :], *editors[: number % len(editors)]]:
            editor.rest()
            found["hover"][editor.name].append(editor.timed("textDocument/hover", line, character))
            editor.change((line, character), (line, character), "x")
            ask = ("textDocument/completion", line, character + 1)
            found["completion after typing"][editor.name].append(editor.timed(*ask))
            editor.rest()
            found["completion again"][editor.name].append(editor.timed(*ask))
            editor.change((line, character), (line, character + 1), "")
    return found
