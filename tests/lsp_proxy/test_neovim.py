"""Neovim itself, without a screen, with the file that `codetrial install neovim` writes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Store
from codetrial.paths import cache_dir
from lsp_proxy.demo import language_server
from lsp_proxy.editors.plan import quoted
from tests.codetrial.streaming import Received, Script, StreamingServer, sse_stream

pytestmark = pytest.mark.editor

CONFIG = """
[trial]
name = "neovim"
shares = {{ a = 1.0, b = 0.0, none = 0.0 }}

[arms.a]
api = "openai-completions"
url = "{url}/v1"
model = "one"
template = "prefix-only"

[arms.b]
api = "ngram"
"""

SUGGESTION = "json.loads(text_from_the_model)"
OFFERED = SUGGESTION.removeprefix("json.")
PROGRAM = "import json\n\ntext_from_the_model = '{}'\nvalue = \n"

MENU_AS_YOU_TYPE = """
vim.o.completeopt = 'menuone,noinsert'
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  vim.lsp.completion.enable(true, args.data.client_id, args.buf, { autotrigger = true })
end })
"""


def says(request: Received) -> Script:
    """The rest of the line, whatever of it is written already."""
    _, found, line = request.body["prompt"].rpartition("value = ")
    text = SUGGESTION[len(line) :] if found and SUGGESTION.startswith(line) else ""
    body = {"choices": [{"text": text, "index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    return Script(parts=sse_stream(body, "[DONE]"))


@dataclass
class Neovim:
    """A running Neovim, driven through its own remote commands."""

    program: str
    socket: Path

    def evaluate(self, expression: str) -> str:
        command = [self.program, "--server", str(self.socket), "--remote-expr", expression]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    def lua(self, expression: str) -> str:
        return self.evaluate(f"luaeval({quoted([expression])})")

    def type(self, keys: str) -> None:
        command = [self.program, "--server", str(self.socket), "--remote-send", keys]
        subprocess.run(command, capture_output=True, timeout=20, check=True)

    def line(self) -> str:
        return self.evaluate("getline('.')")

    def ghost(self) -> str:
        return self.lua(
            "(function() local n = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion'] "
            "if not n then return '' end "
            "local m = vim.api.nvim_buf_get_extmarks(0, n, 0, -1, {details = true}) "
            "return m[1] and vim.inspect(m[1][4].virt_text or m[1][4].virt_lines) or '' end)()"
        )


@dataclass
class Desk:
    """A person's machine: home, project, model server, database."""

    home: Path
    project: Path
    store: Path

    def environment(self) -> dict[str, str]:
        home = {"HOME": self.home, "XDG_CONFIG_HOME": self.home / "config", "XDG_DATA_HOME": self.home / "data"}
        state = {"XDG_STATE_HOME": self.home / "state", "XDG_CACHE_HOME": self.home / "cache"}
        own = {"CODETRIAL_DATA_DIR": self.store.parent, "CODETRIAL_USER_CONFIG": self.home / "codetrial.toml"}
        return {**os.environ, **{name: str(path) for name, path in (home | state | own).items()}}

    @contextmanager
    def neovim(self, program: str, extra: str = "") -> Iterator[Neovim]:
        neovim_settings(self, extra)
        socket = self.home / "nvim.sock"
        command = [program, "--headless", "--listen", str(socket), "main.py"]
        process = subprocess.Popen(
            command, cwd=self.project, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            yield Neovim(program, socket)
        finally:
            process.terminate()
            process.wait(20)

    def is_recording(self) -> bool:
        """The evaluator has opened its session; it starts after the language server."""
        return bool(self._rows("session", "SELECT 1 FROM session"))

    def has_answers(self) -> bool:
        return bool(self._rows("attempt", "SELECT 1 FROM attempt WHERE status = 'ok'"))

    def was_offered(self) -> bool:
        return bool(self._rows("exposure", "SELECT 1 FROM exposure"))

    def was_taken(self) -> bool:
        return bool(self._rows("incident", "SELECT 1 FROM incident WHERE kind = 'taken'"))

    def outcomes(self) -> list[dict[str, Any]]:
        return self._rows("v_outcome", "SELECT outcome, rule, surface FROM v_outcome ORDER BY decided_ns")

    def _rows(self, table: str, sql: str) -> list[dict[str, Any]]:
        if not self.store.exists():
            return []
        with Store(self.store, readonly=True) as store:
            has_table = store.rows("SELECT 1 FROM sqlite_master WHERE name = ?", [table])
            return store.rows(sql) if has_table else []


def neovim_settings(desk: Desk, extra: str) -> None:
    """The person's own: a language server as Neovim's documentation has it."""
    settings = desk.home / "config" / "nvim" / "init.lua"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        "vim.lsp.config('basedpyright', { cmd = { " + quoted(language_server()) + " }, "
        "filetypes = { 'python' }, root_markers = { '.git' } })\n"
        "vim.lsp.enable('basedpyright')\nvim.o.swapfile = false\n" + extra
    )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "home", tmp_path / "project", tmp_path / "data" / "codetrial.db")
    made.project.mkdir()
    (made.project / "main.py").write_text(PROGRAM)
    (made.project / ".git").mkdir()
    async with StreamingServer() as server:
        server.script = says
        made.home.mkdir()
        (made.home / "codetrial.toml").write_text(CONFIG.format(url=server.url))
        installed = await asyncio.to_thread(codetrial, "install", "neovim", environment=made.environment())
        assert "codetrial.lua" in installed
        yield made


DECIDED_S = 40.0
"""What was taken counts when it still stands after 10 s: these sessions are a person's, and time is not scaled."""


def codetrial(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-P", "-m", "codetrial.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def program(name: str) -> str:
    path = Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors")) / "bin" / name
    assert path.exists(), f"{path} is missing: run tests/editors/install.sh"
    return str(path)


async def until(condition: Callable[[], Any], what: str, deadline_s: float = 30.0) -> Any:
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    if found := await asyncio.to_thread(condition):
                        return found
                except subprocess.CalledProcessError:
                    pass  # Neovim does not listen yet.
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what}: did not happen within {deadline_s:g} s")


async def appears(condition: Callable[[], Any], within_s: float) -> bool:
    for _ in range(int(within_s / 0.05)):
        if await asyncio.to_thread(condition):
            return True
        await asyncio.sleep(0.05)
    return False


async def ready(desk: Desk, neovim: Neovim) -> None:
    await until(lambda: neovim.lua("#vim.lsp.get_clients({bufnr = 0})") == "1", "the server attaches")
    await until(desk.is_recording, "the evaluator starts")


async def test_ghost_text_appears_and_tab_takes_it(desk: Desk) -> None:
    with desk.neovim(program("nvim")) as neovim:
        await ready(desk, neovim)
        assert "codetrial" in neovim.lua("vim.lsp.get_clients({bufnr = 0})[1].config.cmd[1]")
        neovim.type("4GA")
        neovim.type("j")
        assert SUGGESTION[1:] in await until(neovim.ghost, "ghost text appears")
        neovim.type("<Tab>")
        await until(lambda: neovim.line() == f"value = {SUGGESTION}", "the suggestion is in the buffer")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
        neovim.type("<Esc>:qa!<CR>")
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "inline")


async def test_undo_of_a_taken_suggestion_is_not_an_acceptance(desk: Desk) -> None:
    with desk.neovim(program("nvim")) as neovim:
        await ready(desk, neovim)
        neovim.type("4GA")
        neovim.type("j")
        await until(neovim.ghost, "ghost text appears")
        neovim.type("<Tab>")
        # Neovim gathers changes for 150 ms: undone sooner, nothing of it would ever have been sent.
        await until(desk.was_taken, "the evaluator sees it taken")
        neovim.type("<Esc>u")
        await until(lambda: neovim.line() == "value =", "the line is as it was")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert found[-1]["outcome"] == "not_taken"


async def test_tab_is_a_tab_where_nothing_is_suggested(desk: Desk) -> None:
    (desk.project / "main.py").write_text("\n")
    with desk.neovim(program("nvim")) as neovim:
        await ready(desk, neovim)
        neovim.type("i<Tab>x")
        await until(lambda: neovim.line() == "x", "the keys arrive")
        assert int(neovim.evaluate("strlen(getline('.'))")) > 1


async def test_an_older_neovim_is_offered_it_in_the_menu(desk: Desk) -> None:
    with desk.neovim(program("nvim-0.11"), MENU_AS_YOU_TYPE) as neovim:
        await ready(desk, neovim)
        neovim.type("4GA")
        neovim.type("json.")

        # A suggestion that is late for one list comes with the next.
        for _ in range(10):
            neovim.type("<C-x><C-o>")
            if await appears(lambda: OFFERED in neovim.evaluate("json_encode(complete_info(['items']))"), 2.0):
                break
        else:
            pytest.fail("our item never came into the menu")
        items = neovim.evaluate("json_encode(map(complete_info(['items']).items, 'v:val.word'))")
        neovim.type("<C-n>" * json.loads(items).index(OFFERED) + "<C-y>")
        await until(lambda: neovim.line() == f"value = {SUGGESTION}", "the suggestion is in the buffer")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert found[-1]["outcome"] == "accepted"
    assert found[-1]["surface"] == "menu"
