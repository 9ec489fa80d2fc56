"""Helix and Emacs in a terminal (tmux), with what `codetrial install` writes: editors that send no accept command."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lsp_proxy.demo import language_server
from tests.codetrial.streaming import StreamingServer
from tests.lsp_proxy.test_neovim import (
    CONFIG,
    DECIDED_S,
    OFFERED,
    PROGRAM,
    SUGGESTION,
    Desk,
    appears,
    codetrial,
    program,
    says,
    until,
)

SERVER = Path(__file__).with_name("scripted_server.py")

pytestmark = pytest.mark.editor

EMACS = """
(require 'eglot)
(add-to-list 'eglot-server-programs '(python-mode . ({server})))
(add-hook 'python-mode-hook #'eglot-ensure)
(setq make-backup-files nil create-lockfiles nil completions-detailed nil)
"""

HELIX = """
[language-server.basedpyright]
command = {command}
args = ["--stdio"]

[[language]]
name = "python"
language-servers = ["basedpyright"]
"""


class Terminal:
    """A tmux session on a server of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, timeout=20, check=True).stdout

    def keys(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def write(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    def screen(self) -> str:
        return self.run("capture-pane", "-p")


@contextmanager
def terminal(desk: Desk, *command: str) -> Iterator[Terminal]:
    made = Terminal(desk.home / "tmux")
    keep = {**desk.environment(), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    shell = ["env", *(f"{k}={v}" for k, v in keep.items() if k.isidentifier()), *command]
    made.run("new-session", "-d", "-x", "110", "-y", "30", "-c", str(desk.project), *shell)
    try:
        yield made
    finally:
        made.run("kill-server")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    assert shutil.which("tmux"), "tmux is missing: apt install tmux"
    made = Desk(tmp_path / "h", tmp_path / "project", tmp_path / "data" / "codetrial.db")
    made.project.mkdir()
    made.home.mkdir()
    (made.project / ".git").mkdir()
    (made.project / "main.py").write_text(PROGRAM)
    async with StreamingServer() as server:
        server.script = says
        (made.home / "codetrial.toml").write_text(CONFIG.format(url=server.url))
        yield made


def keep_capture(name: str, screen: str) -> None:
    """For docs/editors, when somebody asks for it."""
    if folder := os.environ.get("CODETRIAL_CAPTURES"):
        Path(folder, f"{name}.txt").write_text(screen)


async def test_helix_takes_it_from_the_menu(desk: Desk) -> None:
    languages = desk.home / "config" / "helix" / "languages.toml"
    languages.parent.mkdir(parents=True)
    command = language_server()[0]
    languages.write_text(HELIX.format(command=f'"{command}"'))
    await asyncio.to_thread(codetrial, "install", "helix", environment=desk.environment())
    with terminal(desk, program("hx"), "main.py") as helix:
        await until(desk.is_recording, "the evaluator starts")
        helix.write("4ggA")
        helix.write("json.")

        # A suggestion that is late for one list comes with the next.
        for _ in range(10):
            if await appears(lambda: OFFERED in helix.screen(), 2.0):
                break
            helix.keys("C-x")
        else:
            pytest.fail("our item never came into the menu")
        keep_capture("helix", helix.screen())
        helix.keys("C-n")
        await until(lambda: f"value = {SUGGESTION}" in helix.screen(), "it is the first of the list")
        helix.keys("Enter")
        helix.keys("Escape")
        helix.write(":w")
        helix.keys("Enter")
        await until(lambda: SUGGESTION in (desk.project / "main.py").read_text(), "the text is on disk")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "menu")


async def test_emacs_asks_through_the_proxy_and_shows_the_server_s_own_list(desk: Desk) -> None:
    assert shutil.which("emacs"), "emacs is missing: run tests/editors/install.sh as root"
    init = desk.home / ".emacs.d" / "init.el"
    init.parent.mkdir()
    # Emacs 28's eglot and basedpyright do not get along (the server ends, without us too): a small one instead.
    (desk.home / "after.txt").write_text("")
    server = [sys.executable, str(SERVER), str(desk.home / "after.txt"), "none"]
    init.write_text(EMACS.format(server=" ".join(f'"{word}"' for word in server)))
    await asyncio.to_thread(codetrial, "install", "emacs", environment=desk.environment())
    with terminal(desk, "emacs", "-nw", "main.py") as emacs:
        await until(desk.is_recording, "the evaluator starts")
        emacs.keys("M-g", "g")
        emacs.write("4")
        emacs.keys("Enter", "C-e")
        emacs.write("json.")
        emacs.keys("M-Tab")
        await until(lambda: "quite_another" in emacs.screen(), "the language server's own items are shown")
        keep_capture("emacs", emacs.screen())
        await until(desk.has_answers, "the arms were asked")
