"""Neovim itself, without a screen, with the file that `codetrial install neovim` writes."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lsp_proxy.demo import language_server
from lsp_proxy.editors.plan import quoted
from tests.lsp_proxy.desk import DECIDED_S, OFFERED, SUGGESTION, Desk, appears, codetrial, program, until

pytestmark = pytest.mark.editor

MENU_AS_YOU_TYPE = """
vim.o.completeopt = 'menuone,noinsert'
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  vim.lsp.completion.enable(true, args.data.client_id, args.buf, { autotrigger = true })
end })
"""


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


def neovim_settings(desk: Desk, extra: str) -> None:
    """The person's own: a language server as Neovim's documentation has it."""
    settings = desk.home / "config" / "nvim" / "init.lua"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        "vim.lsp.config('basedpyright', { cmd = { " + quoted(language_server()) + " }, "
        "filetypes = { 'python' }, root_markers = { '.git' } })\n"
        "vim.lsp.enable('basedpyright')\nvim.o.swapfile = false\n" + extra
    )


@contextmanager
def neovim_at(desk: Desk, program: str, extra: str = "") -> Iterator[Neovim]:
    neovim_settings(desk, extra)
    socket = desk.home / "nvim.sock"
    command = [program, "--headless", "--listen", str(socket), "main.py"]
    process = subprocess.Popen(
        command, cwd=desk.project, env=desk.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield Neovim(program, socket)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk.laid_out(tmp_path) as made:
        installed = await asyncio.to_thread(codetrial, "install", "neovim", environment=made.environment())
        assert "codetrial.lua" in installed
        yield made


async def ready(desk: Desk, neovim: Neovim) -> None:
    await until(lambda: neovim.lua("#vim.lsp.get_clients({bufnr = 0})") == "1", "the server attaches")
    await until(desk.is_recording, "the evaluator starts")


async def test_ghost_text_appears_and_tab_takes_it(desk: Desk) -> None:
    with neovim_at(desk, program("nvim")) as neovim:
        await ready(desk, neovim)
        assert "codetrial" in neovim.lua("vim.lsp.get_clients({bufnr = 0})[1].config.cmd[1]")
        neovim.type("4GA")
        neovim.type("j")
        assert SUGGESTION[1:] in await until(neovim.ghost, "ghost text appears")
        neovim.type("<Tab>")
        await until(lambda: neovim.line() == f"value = {SUGGESTION}", "the suggestion is in the buffer")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
        neovim.type("<Esc>:qa!<CR>")
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "inline")


async def test_undo_of_a_taken_suggestion_is_not_an_acceptance(desk: Desk) -> None:
    with neovim_at(desk, program("nvim")) as neovim:
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
    with neovim_at(desk, program("nvim")) as neovim:
        await ready(desk, neovim)
        neovim.type("i<Tab>x")
        await until(lambda: neovim.line() == "x", "the keys arrive")
        assert int(neovim.evaluate("strlen(getline('.'))")) > 1


async def test_an_older_neovim_is_offered_it_in_the_menu(desk: Desk) -> None:
    with neovim_at(desk, program("nvim-0.11"), MENU_AS_YOU_TYPE) as neovim:
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
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert found[-1]["outcome"] == "accepted"
    assert found[-1]["surface"] == "menu"
