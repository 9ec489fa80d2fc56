"""Editors in a terminal (tmux), with what `codetrial install` writes.

Emacs and Helix send no command when a suggestion is taken: there it is read from the text alone.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codetrial.paths import cache_dir
from lsp_proxy.demo import language_server
from tests.lsp_proxy.desk import DECIDED_S, OFFERED, PROGRAM, SUGGESTION, Desk, appears, codetrial, program, until
from tests.lsp_proxy.terminal import Terminal, keep_picture, terminal
from tests.lsp_proxy.test_neovim import MENU_AS_YOU_TYPE, neovim_at, neovim_settings

SERVER = Path(__file__).with_name("scripted_server.py")

pytestmark = pytest.mark.editor

EMACS = """
(setq make-backup-files nil create-lockfiles nil completions-detailed nil warning-minimum-level :error)
"""

EGLOT = """
(require 'eglot)
(add-to-list 'eglot-server-programs '(python-mode . ({server})))
(add-hook 'python-mode-hook #'eglot-ensure)
"""

# The second client's server is nowhere: lsp-mode must go on leaving it out.
LSP_MODE = """
(require 'lsp-mode)
(setq lsp-auto-guess-root t lsp-enable-snippet nil lsp-enabled-clients '(scripted absent)
      lsp-session-file (expand-file-name "lsp-session" user-emacs-directory))
(lsp-register-client
 (make-lsp-client :new-connection (lsp-stdio-connection '({server}))
                  :activation-fn (lsp-activate-on "python") :server-id 'scripted))
(lsp-register-client
 (make-lsp-client :new-connection (lsp-stdio-connection '("no-such-server" "--stdio"))
                  :activation-fn (lsp-activate-on "python") :priority 9 :server-id 'absent))
(add-hook 'python-mode-hook #'lsp)
"""

COC = Path(os.environ.get("CODETRIAL_COC", cache_dir() / "editors" / "coc.nvim"))
"""A checkout of coc.nvim, which no package registry has whole."""

COC_INLINE = COC / "autoload" / "coc" / "inline.vim"
COC_ACCEPT = "inoremap <silent><expr> <C-j> coc#inline#accept()\n"

VIMRC = f"""
set nocompatible encoding=utf-8 noswapfile nobackup hidden
set runtimepath^={COC}
filetype plugin indent on
let g:coc_disable_startup_warning = 1
"""

HELIX = """
[language-server.basedpyright]
command = {command}
args = ["--stdio"]

[[language]]
name = "python"
language-servers = ["basedpyright"]
"""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk.laid_out(tmp_path, home="h") as made:
        yield made


async def test_helix_takes_it_from_the_menu(desk: Desk) -> None:
    languages = desk.home / "config" / "helix" / "languages.toml"
    languages.parent.mkdir(parents=True)
    command = language_server()[0]
    languages.write_text(HELIX.format(command=f'"{command}"'))
    await asyncio.to_thread(codetrial, "install", "helix", environment=desk.environment())
    with terminal(desk.home, desk.project, desk.environment(), program("hx"), "main.py") as helix:
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
        keep_picture("helix", "Helix", helix)
        helix.keys("C-n")
        await until(lambda: f"value = {SUGGESTION}" in helix.screen(), "it is the first of the list")
        helix.keys("Enter")
        helix.keys("Escape")
        helix.write(":w")
        helix.keys("Enter")
        await until(lambda: SUGGESTION in desk.on_disk(), "the text is on disk")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "menu")


async def test_helix_takes_it_at_two_cursors(desk: Desk) -> None:
    (desk.project / "main.py").write_text(PROGRAM + "value = \n")
    languages = desk.home / "config" / "helix" / "languages.toml"
    languages.parent.mkdir(parents=True)
    languages.write_text(HELIX.format(command=f'"{language_server()[0]}"'))
    await asyncio.to_thread(codetrial, "install", "helix", environment=desk.environment())
    with terminal(desk.home, desk.project, desk.environment(), program("hx"), "main.py") as helix:
        await until(desk.is_recording, "the evaluator starts")
        helix.write("4ggCA")
        helix.write("json.")
        for _ in range(10):
            if await appears(lambda: OFFERED in helix.screen(), 2.0):
                break
            helix.keys("C-x")
        else:
            pytest.fail("our item never came into the menu")
        helix.keys("C-n")
        await until(lambda: helix.screen().count(f"value = {SUGGESTION}") == 2, "both cursors show it")
        helix.keys("Enter", "Escape")
        helix.write(":w")
        helix.keys("Enter")
        await until(lambda: desk.on_disk().count(f"value = {SUGGESTION}\n") == 2, "it is on disk twice")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert len(found) == 1, "one suggestion, taken once"


async def emacs_ready(desk: Desk, settings: str) -> None:
    assert shutil.which("emacs"), "emacs is missing: run tests/editors/install.sh as root"
    init = desk.home / ".emacs.d" / "init.el"
    init.parent.mkdir()
    # Emacs 28's eglot and basedpyright do not get along (the server ends, without us too): a small one instead.
    (desk.home / "after.txt").write_text("")
    server = [sys.executable, str(SERVER), str(desk.home / "after.txt"), "none"]
    init.write_text((EMACS + settings).format(server=" ".join(f'"{word}"' for word in server)))
    await asyncio.to_thread(codetrial, "install", "emacs", environment=desk.environment())


async def completes(emacs: Terminal) -> None:
    """Ask for the list until our item is in it: a suggestion that is late for one list comes with the next."""
    for _ in range(10):
        emacs.keys("M-Tab")
        if await appears(lambda: OFFERED in emacs.screen(), 2.0):
            return
        emacs.keys("C-g")
    pytest.fail(f"our item never came into the list:\n{emacs.screen()}")


async def takes(emacs: Terminal) -> None:
    """Choose it in the buffer *Completions*."""
    emacs.keys("M-x")
    await until(lambda: "M-x" in emacs.screen(), "a command can be named")
    emacs.write("switch-to-completions")
    emacs.keys("Enter", "C-s")
    await until(lambda: "I-search:" in emacs.screen(), "the list can be searched")
    emacs.write("loads")
    await until(lambda: "I-search: loads" in emacs.screen(), "it is found in the list")
    emacs.keys("Enter", "Enter")
    await until(lambda: f"value = {SUGGESTION}" in emacs.screen(), "the suggestion is in the buffer")


async def test_emacs_with_eglot_takes_it_from_the_list(desk: Desk) -> None:
    await emacs_ready(desk, EGLOT)
    with terminal(desk.home, desk.project, desk.environment(), "emacs", "-nw", "main.py") as emacs:
        await until(desk.is_recording, "the evaluator starts")
        emacs.keys("M-g", "g")
        emacs.write("4")
        emacs.keys("Enter", "C-e")
        emacs.write("json.")
        await completes(emacs)
        assert "quite_another" in emacs.screen(), "the language server's own items are there as well"
        keep_picture("emacs-eglot", "Emacs with eglot", emacs)
        await takes(emacs)
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "menu")


async def test_emacs_with_lsp_mode_takes_it_from_the_list(desk: Desk) -> None:
    await emacs_ready(desk, LSP_MODE)
    # lsp-mode keeps a list for as long as a word is typed: what is late for it comes with the next word's. On a busy
    # machine that one has to be waited for.
    settings = desk.home / "codetrial.toml"
    settings.write_text(settings.read_text().replace("[editor]\n", "[editor]\nmerge_budget_ms = 1000\n"))
    with terminal(desk.home, desk.project, desk.environment(), "emacs", "-nw", "main.py") as emacs:
        await until(desk.is_recording, "the evaluator starts")
        assert "LSP[scripted:" in emacs.screen()
        emacs.keys("M-g", "g")
        emacs.write("4")
        emacs.keys("Enter", "C-e")
        emacs.keys("M-Tab")
        await until(desk.has_answers, "the arms have answered")
        emacs.keys("C-g")
        emacs.write("json.")
        await completes(emacs)
        keep_picture("emacs-lsp-mode", "Emacs with lsp-mode", emacs)
        await takes(emacs)
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "menu")


async def test_neovim_shows_it_in_the_text_and_tab_takes_it(desk: Desk) -> None:
    await asyncio.to_thread(codetrial, "install", "neovim", environment=desk.environment())
    # Two processes: the launcher of this build is not the program that the screen's half would start the other with.
    screen = [program("nvim"), "--server", str(desk.home / "nvim.sock"), "--remote-ui"]
    with neovim_at(desk, program("nvim"), "vim.o.termguicolors = true\n") as inside:
        await until(lambda: inside.lua("#vim.lsp.get_clients({bufnr = 0})") == "1", "the server attaches")
        await until(desk.is_recording, "the evaluator starts")
        with terminal(desk.home, desk.project, desk.environment(), *screen) as neovim:
            await until(lambda: "value =" in neovim.screen(), "the screen is there")
            neovim.write("4GAj")
            await until(lambda: f"value = {SUGGESTION}" in neovim.screen(), "ghost text appears")
            keep_picture("neovim", "Neovim 0.12", neovim)
            neovim.keys("Tab", "Escape")
            neovim.write(":w")
            neovim.keys("Enter")
            await until(lambda: SUGGESTION in desk.on_disk(), "the text is on disk")
            found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "inline")


async def test_an_older_neovim_shows_it_in_the_menu(desk: Desk) -> None:
    await asyncio.to_thread(codetrial, "install", "neovim", environment=desk.environment())
    neovim_settings(desk, MENU_AS_YOU_TYPE)
    with terminal(desk.home, desk.project, desk.environment(), program("nvim-0.11"), "main.py") as neovim:
        await until(desk.is_recording, "the evaluator starts")
        neovim.write("4GAjson.")
        for _ in range(10):
            if await appears(lambda: OFFERED in neovim.screen(), 2.0):
                break
            neovim.keys("C-x", "C-o")
        else:
            pytest.fail(f"our item never came into the menu:\n{neovim.screen()}")
        keep_picture("neovim-0.11", "Neovim 0.11", neovim)


@pytest.mark.skipif(
    not COC.exists(),
    reason="no package registry has coc.nvim whole, only its repository: "
    f"git clone --branch release https://github.com/neoclide/coc.nvim {COC}",
)
async def test_vim_with_coc_takes_it(desk: Desk) -> None:
    folder = desk.home / ".vim"
    folder.mkdir()
    (desk.home / "coc").mkdir()  # Else a box tells that it is made.
    (desk.home / ".vimrc").write_text(VIMRC + f"let g:coc_data_home = '{desk.home}/coc'\n" + COC_ACCEPT)
    server = {"command": language_server()[0], "args": ["--stdio"], "filetypes": ["python"], "rootPatterns": [".git"]}
    (folder / "coc-settings.json").write_text(
        json.dumps({"languageserver": {"python": server}, "inlayHint.enable": False})
    )
    await asyncio.to_thread(codetrial, "install", "vim", environment=desk.environment())
    with terminal(desk.home, desk.project, desk.environment(), "vim", "main.py") as vim:
        await until(desk.is_recording, "the evaluator starts")
        vim.write("4GAjson.")
        for _ in range(10):
            if await appears(lambda: OFFERED in vim.screen(), 3.0):
                break
            vim.keys("BSpace")
            vim.write(".")
        else:
            pytest.fail(f"it was never shown:\n{vim.screen()}")
        # coc from 2025 on knows inline completion, and is offered it in the text; older ones in the list.
        if COC_INLINE.exists():
            keep_picture("vim-coc-inline", "Vim with coc.nvim, in the text", vim)
            vim.keys("C-j")
            column = len(f"value = {SUGGESTION}") + 1
            await until(lambda: f"4,{column} " in vim.screen(), "the cursor is behind the suggestion")
            vim.keys("Escape")
        else:
            keep_picture("vim-coc", "Vim with coc.nvim", vim)
            vim.keys("C-n")
            await until(lambda: "value = json.loads" in vim.screen(), "it is the first of the list")
            vim.keys("C-y", "Escape")  # coc 0.0.71 writes what is no keyword when insert mode ends.
        await until(lambda: f"value = {SUGGESTION}" in vim.screen(), "the suggestion is in the buffer")
        vim.write(":w")
        vim.keys("Enter")
        await until(lambda: SUGGESTION in desk.on_disk(), "the text is on disk")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert found[-1]["outcome"] == "accepted"
