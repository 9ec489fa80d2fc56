"""Real language servers say the same to the editor directly and through the proxy, and hear what the editor said.

The servers come from `tests/editors/servers.sh`; basedpyright is a dependency of the tests.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from codetrial.paths import cache_dir
from tests.lsp_proxy.relay.conftest import PROXY, Evaluators, Open, Wire, notification, recorded, request, wait_until

PYTHON = """import os


def join(first, second):
    '''Put two together.'''
    return os.path.join(first, second)


join('a', 'b').up
"""
TYPESCRIPT = """export function join(first: string, second: string) {
  return first + second;
}
join('a', 'b').toUp
"""
C = """#include <stddef.h>
struct pair { int first; int second; };
int sum(struct pair p) {
  return p.first + p.;
}
"""
GO = """package main

import "strings"

// Pair holds two words.
type Pair struct{ First, Second string }

func main() {
	pair := Pair{"a", "b"}
	println(strings.ToUpper(pair.First))
	pair.
}
"""
RUST = """/// Two words.
struct Pair {
    first: u32,
    perhaps: u32,
}

fn sum(pair: Pair) -> u32 {
    pair.first + pair.
}

fn main() {
    sum(Pair { first: 1, perhaps: 2 });
}
"""
RUST_PROJECT = '{"crates":[{"root_module":"main.rs","edition":"2021","deps":[]}]}'

CAPABILITIES: dict[str, Any] = {
    "textDocument": {
        "completion": {"completionItem": {"snippetSupport": True, "resolveSupport": {"properties": ["detail"]}}},
        "hover": {"contentFormat": ["markdown"]},
        "inlineCompletion": {},
    },
    "workspace": {"configuration": True, "workspaceFolders": True, "executeCommand": {}},
    "window": {"workDoneProgress": True},
    "experimental": {"serverStatusNotification": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A file, and where somebody types in it."""

    name: str
    language: str
    text: str
    line: int
    character: int
    beside: Mapping[str, str] = field(default_factory=dict)
    """Other files of the project."""
    is_loaded: str | None = None
    """A notification, with `quiescent` true if it has that, after which answers do not depend on time any more."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the server wants to be told at the start."""


def installed(name: str) -> Path:
    path = Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors")) / "bin" / name
    assert path.exists(), f"{path} is missing: run tests/editors/servers.sh"
    return path


class Session:
    """One editor's questions about one file, with patience for what a server asks back."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire = wire
        self._folder = folder
        self.heard: list[dict[str, Any]] = []
        """The server's notifications and requests."""

    def _next(self) -> dict[str, Any]:
        message = self._wire.message()
        if "method" in message:
            self.heard.append(message)
            if "id" in message:
                items = message.get("params", {}).get("items")
                result = [None] * len(items) if message["method"] == "workspace/configuration" else None
                self._wire.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
        return message

    def ask(self, token: Any, method: str, **params: Any) -> dict[str, Any]:
        self._wire.send(request(token, method, **params))
        while (message := self._next()).get("id") != token or "method" in message:
            pass
        return message

    def start(self, options: Mapping[str, Any], capabilities: Mapping[str, Any] = CAPABILITIES) -> dict[str, Any]:
        root = self._folder.as_uri()
        answer = self.ask(
            0,
            "initialize",
            processId=None,
            rootUri=root,
            capabilities=capabilities,
            workspaceFolders=[{"uri": root, "name": "root"}],
            initializationOptions=dict(options),
        )
        self._wire.send(notification("initialized"))
        return answer

    def tell(self, method: str, **params: Any) -> None:
        self._wire.send(notification(method, **params))

    def open(self, program: Program) -> dict[str, Any]:
        """Open the file; gives its identifier."""
        uri = (self._folder / program.name).as_uri()
        item = {"uri": uri, "languageId": program.language, "version": 1, "text": program.text}
        self.tell("textDocument/didOpen", textDocument=item)
        return {"uri": uri}

    def type(self, document: Mapping[str, Any], version: int, at: Mapping[str, int], typed: str) -> dict[str, int]:
        """Type where the cursor is; gives where it is then."""
        change = {"range": {"start": at, "end": at}, "text": typed}
        self.tell("textDocument/didChange", textDocument={**document, "version": version}, contentChanges=[change])
        return {"line": at["line"], "character": at["character"] + len(typed)}

    def finish(self) -> dict[str, Any]:
        self.ask("bye", "shutdown")
        self._wire.send(notification("exit"))
        return {"status": self._wire.status()}

    def run(self, program: Program, capabilities: Mapping[str, Any] = CAPABILITIES) -> list[dict[str, Any]]:
        """The answers, in order; the last one is the exit status."""
        answers = [self.start(program.options, capabilities)]
        document, end = self.open(program), {"line": program.line, "character": program.character}
        while program.is_loaded and not (
            (last := self._next()).get("method") == program.is_loaded and last["params"].get("quiescent", True)
        ):
            pass
        answers.append(self.ask("s", "textDocument/documentSymbol", textDocument=document))
        for number, typed in enumerate("pe", 2):
            end = self.type(document, number, end, typed)
            answers.append(self.ask(number, "textDocument/completion", textDocument=document, position=end))
        result = answers[-1].get("result") or []
        items = result["items"] if isinstance(result, dict) else result
        if items and answers[0]["result"]["capabilities"]["completionProvider"].get("resolveProvider"):
            answers.append(self.ask("r", "completionItem/resolve", **items[0]))
        where = {"line": program.line, "character": program.character - 2}
        answers.append(self.ask("h", "textDocument/hover", textDocument=document, position=where))
        answers.append(self.ask("no", "vendor/unheardOf"))
        return [*answers, self.finish()]


def project(folder: Path, program: Program) -> Path:
    folder.mkdir()
    for name, text in {program.name: program.text, **program.beside}.items():
        (folder / name).write_text(text)
    return folder


def compare(open_wire: Open, tmp_path: Path, server: list[str], program: Program) -> None:
    folder = project(tmp_path / "project", program)
    direct, proxied = (
        Session(open_wire(server=server, direct=is_direct, stderr=subprocess.DEVNULL), folder).run(program)
        for is_direct in (True, False)
    )
    assert any(answer.get("result") for answer in direct[2:4]), "a completion without any item proves little"
    assert added(proxied) == (1, True)
    added(direct)
    assert clean(direct) == clean(proxied)


def clean(value: Any) -> Any:
    """Without process ids: only they may differ between two runs of a server."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items() if key not in ("pid", "processId")}
    return [clean(item) for item in value] if isinstance(value, list) else value


def added(answers: list[dict[str, Any]]) -> tuple[int, Any]:
    """Take away what we add to the first answer, and what stands in its place without us; gives what that was."""
    capabilities = answers[0]["result"]["capabilities"]
    commands = capabilities.pop("executeCommandProvider", {}).get("commands", [])
    ours = [name for name in commands if name.startswith("codetrial.accepted.")]
    capabilities["commands"] = [name for name in commands if name not in ours]
    return len(ours), capabilities.pop("inlineCompletionProvider", None)


PYTHON_PROGRAM = Program(name="a.py", language="python", text=PYTHON, line=8, character=16)
BASEDPYRIGHT = [str(Path(sys.executable).with_name("basedpyright-langserver")), "--stdio"]
SERVERS = {
    "basedpyright": (BASEDPYRIGHT, PYTHON_PROGRAM),
    "pylsp": (["pylsp"], PYTHON_PROGRAM),
    "clangd": (
        ["clangd", "--background-index=false"],
        # Beside other work its first list once said that there may be more: ask when it has looked at the file.
        Program(name="a.c", language="c", text=C, line=3, character=20, is_loaded="textDocument/publishDiagnostics"),
    ),
    "typescript": (
        ["typescript-language-server", "--stdio"],
        Program(
            name="a.ts",
            language="typescript",
            text=TYPESCRIPT,
            line=3,
            character=18,
            # Its second, quicker process answers for a while, and how long is a matter of luck.
            options={"tsserver": {"useSyntaxServer": "never"}, "disableAutomaticTypingAcquisition": True},
        ),
    ),
    "gopls": (
        ["gopls"],
        Program(
            name="main.go", language="go", text=GO, line=10, character=6, beside={"go.mod": "module example.com/a\n"}
        ),
    ),
    "rust-analyzer": (
        ["rust-analyzer"],
        Program(
            name="main.rs",
            language="rust",
            text=RUST,
            line=7,
            character=22,
            beside={"rust-project.json": RUST_PROJECT},
            is_loaded="experimental/serverStatus",
            options={"checkOnSave": False, "procMacro": {"enable": False}},
        ),
    ),
}


def command_of(name: str) -> list[str]:
    [program, *arguments] = SERVERS[name][0]
    return [program if Path(program).is_absolute() else str(installed(program)), *arguments]


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_the_answers_are_the_same(open_wire: Open, tmp_path: Path, name: str) -> None:
    compare(open_wire, tmp_path, command_of(name), SERVERS[name][1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_every_byte_of_a_session_is_the_same_on_both_sides_of_the_proxy(
    open_wire: Open, tmp_path: Path, name: str
) -> None:
    program = SERVERS[name][1]
    folder = project(tmp_path / "project", program)
    server = recorded(command_of(name), tmp_path / "server")
    editor = recorded([*PROXY, "--", *server], tmp_path / "editor")
    # An editor that can do nothing of what we would announce: then nothing at all is rewritten.
    poor = deepcopy(CAPABILITIES)
    del poor["textDocument"]["inlineCompletion"], poor["workspace"]["executeCommand"]
    Session(open_wire(server=editor, direct=True, stderr=subprocess.DEVNULL), folder).run(program, poor)
    assert_same_bytes(tmp_path)


def assert_same_bytes(tmp_path: Path, *, apart_from: bytes | None = None) -> None:
    """On both sides of the proxy; `apart_from` marks the one message that we have changed."""

    def frames(side: str, file: str) -> list[bytes]:
        content = (tmp_path / side / file).read_bytes()
        if apart_from is None or file == "read":
            return [content]
        parts = content.split(b"Content-Length: ")
        marked = [number for number, part in enumerate(parts) if apart_from in part]
        parts[marked[0]] = b"the changed one"
        return parts

    def is_same(file: str) -> bool:
        return frames("server", file) == frames("editor", file)

    for file in ("read", "written"):
        # The recorders may still be writing their last line when the session is over.
        wait_until(partial(is_same, file))


COPILOT_OPTIONS = {
    "editorInfo": {"name": "an editor", "version": "1"},
    "editorPluginInfo": {"name": "a plugin", "version": "1"},
}


def copilot_session(session: Session, folder: Path) -> list[dict[str, Any]]:
    """What a plugin of Copilot's says, as far as that goes without an account."""
    answers = [session.start(COPILOT_OPTIONS)]
    session.tell("workspace/didChangeConfiguration", settings={"telemetry": {"telemetryLevel": "off"}})
    document = session.open(PYTHON_PROGRAM)
    end = session.type(document, 2, {"line": PYTHON_PROGRAM.line, "character": PYTHON_PROGRAM.character}, "p")
    session.tell("textDocument/didFocus", textDocument=document)
    where = {"textDocument": {**document, "version": 2}, "position": end}
    context = {"triggerKind": 2, "selectedCompletionInfo": None}
    tabs = {"tabSize": 4, "insertSpaces": True}
    answers += [
        session.ask(1, "checkStatus"),
        session.ask(2, "getVersion"),
        session.ask(3, "textDocument/inlineCompletion", context=context, formattingOptions=tabs, **where),
        session.ask(4, "getCompletions", doc={"uri": document["uri"], "position": end, "version": 2} | tabs),
        session.ask(5, "textDocument/copilotInlineEdit", **where),
        session.ask(6, "textDocument/copilotPanelCompletion", **where),
        session.ask(7, "workspace/executeCommand", command="github.copilot.didAcceptCompletionItem", arguments=["x"]),
        session.ask(8, "signOut"),
    ]
    session.tell("textDocument/didShowCompletion", item={"insertText": "x"})
    session.tell("textDocument/didPartiallyAcceptCompletion", item={"insertText": "x"}, acceptedLength=1)
    return [*answers, session.finish()]


@pytest.mark.slow
def test_copilot_s_language_server_is_left_alone(open_wire: Open, tmp_path: Path, evaluators: Evaluators) -> None:
    # Without a network: it would tell its makers about our tests.
    server = ["unshare", "--map-root-user", "--net", str(installed("copilot-language-server")), "--stdio"]
    folder = project(tmp_path / "project", PYTHON_PROGRAM)
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    direct = copilot_session(Session(open_wire(server=server, direct=True, env=env), folder), folder)
    kept = recorded(server, tmp_path / "server")
    command = recorded([*PROXY, "--", *kept], tmp_path / "editor")
    session = Session(open_wire(server=command, direct=True, env=env), folder)
    proxied = copilot_session(session, folder)
    assert evaluators.next().hear("codetrial/session")["params"]["surface"] == "none"
    assert {"didChangeStatus", "statusNotification"} <= {message["method"] for message in session.heard}
    assert direct[3]["error"]["code"] == 1000, "an answer that needs an account"
    assert_same_bytes(tmp_path, apart_from=b"github.copilot.didAcceptCompletionItem")
    # It has inline completions of its own: only our command is added.
    assert added(proxied) == (1, {})
    assert added(direct) == (0, {})
    assert clean(direct) == clean(proxied)
