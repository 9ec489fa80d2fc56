"""The behaviours of `truth` in Neovim itself, without a screen."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.lsp_proxy.neovim_rpc import NeovimRpc
from tests.lsp_proxy.truth import (
    DECIDED_S,
    READY_S,
    SHOWN_S,
    Case,
    Session,
    Tally,
    compare,
    perform,
    plan,
    session_in,
    until,
)

_INLINE = """
vim.o.swapfile = false
vim.o.hidden = true
vim.lsp.config('basedpyright', { cmd = %(command)s, filetypes = { 'python' }, root_markers = { '.git' } })
vim.lsp.enable('basedpyright')
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  if vim.lsp.inline_completion then vim.lsp.inline_completion.enable(true, { bufnr = args.buf }) end
end })
"""

_MENU = """
vim.o.swapfile = false
vim.o.hidden = true
vim.o.completeopt = 'menuone,noinsert'
vim.lsp.config('basedpyright', { cmd = %(command)s, filetypes = { 'python' }, root_markers = { '.git' } })
vim.lsp.enable('basedpyright')
"""

_MENU_COMMANDS = """
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  vim.lsp.completion.enable(true, args.data.client_id, args.buf, { autotrigger = false })
end })
"""

_GHOST = """
local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
return space and #vim.api.nvim_buf_get_extmarks(0, space, 0, -1, {}) > 0
"""

_ATTACHED = (
    "return #vim.lsp.get_clients({ bufnr = 0 }) > 0 and vim.lsp.get_clients({ bufnr = 0 })[1].initialized == true"
)

_TAKE = """
local part, runs = ...
return vim.lsp.inline_completion.get({ on_accept = function(item)
  if part ~= vim.NIL then item.insert_text = part end
  if not runs then item.command = nil end
  return item
end })
"""

_ANOTHER = """
local text = ...
local client = {
  request = function(method, params, callback)
    if method == 'initialize' then
      callback(nil, { capabilities = { inlineCompletionProvider = true } })
    elseif method == 'textDocument/inlineCompletion' then
      local range = { start = params.position, ['end'] = params.position }
      callback(nil, { items = { { insertText = text, range = range } } })
    else
      callback(nil, vim.NIL)
    end
    return true, 1
  end,
  notify = function() return true end,
  is_closing = function() return false end,
  terminate = function() end,
}
vim.lsp.start({ name = 'another', cmd = function() return client end }, { bufnr = 0 })
vim.schedule(function() vim.cmd('doautocmd CursorMovedI') end)
"""

_CHOOSE_ANOTHER = """
local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
local marks = vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true })
if vim.inspect(marks):find('another_assistant', 1, true) then return true end
vim.lsp.inline_completion.select()
return false
"""

_OFFERED = """
local at = -1
for index, item in ipairs(vim.fn.complete_info({ 'items' }).items) do
  local data = vim.tbl_get(item, 'user_data', 'nvim', 'lsp', 'completion_item', 'data')
  if at < 0 and type(data) == 'table' and data.codetrial then at = index - 1 end
end
return at
"""

_DELETE = """
local row, column, text = ...
local cursor = vim.api.nvim_win_get_cursor(0)
vim.api.nvim_buf_set_text(0, row, column, cursor[1] - 1, cursor[2], {})
"""

_FORMAT = """
local new = ...
local last = vim.api.nvim_buf_line_count(0)
local range = { start = { line = 0, character = 0 }, ['end'] = { line = last, character = 0 } }
vim.lsp.util.apply_text_edits({ { newText = new, range = range } }, vim.api.nvim_get_current_buf(), 'utf-16')
vim.cmd('silent write')
"""


FIRST_FLUSH_S = 0.2
"""More than Neovim's 150 ms of quiet."""


class NeovimHands:
    """A running Neovim."""

    def __init__(self, neovim: NeovimRpc, session: Session, *, surface: str, runs_commands: bool) -> None:
        self.surface = surface
        self._neovim = neovim
        self._session = session
        self._runs_commands = runs_commands
        self._start = (0, 0)
        self._has_told = False
        """Whether the buffer's first changes have been sent (docs/design/0005, known limits)."""

    async def begin(self) -> None:
        """Start the language server with a file of no interest, and wait for the evaluator."""
        path = self._session.work / "first.py"
        path.write_text("pass\n")
        await self._neovim.call("nvim_command", f"silent edit {path}")
        await self._until(_ATTACHED, READY_S)
        await self._session.ready()
        if self.surface == "menu":
            # The first list of all takes the language server seconds.
            await self._keys("A<C-x><C-o>")
            await self._until("return vim.fn.pumvisible() == 1", READY_S)
            await self._close_menu()

    async def open(self, case: Case) -> bool:
        path = self._session.write(case)
        line = case.before.count("\n")
        column = len(case.before) - case.before.rfind("\n") - 1
        self._start = (line, column)
        self._has_told = False
        await self._keys("<Esc>")
        await self._neovim.call("nvim_command", f"silent edit {path}")
        await self._until(_ATTACHED, READY_S)
        await self._neovim.call("nvim_win_set_cursor", 0, [line + 1, column])
        await self._keys("A")
        if self.surface == "inline":
            return await self._appears(_GHOST)
        for _ in range(3):
            await self._keys("<C-x><C-o>")
            if await self._appears(f"return (function() {_OFFERED} end)() >= 0", within_s=2.5):
                return True
            await self._close_menu()
        return False

    async def _close_menu(self) -> None:
        """Without a menu this key would copy a character from the line below."""
        if await self._lua("return vim.fn.pumvisible() == 1"):
            await self._keys("<C-e>")

    async def take(self) -> None:
        await self._take(None)

    async def take_part(self, part: str) -> None:
        await self._take(part)

    async def _take(self, part: str | None) -> None:
        before = await self._tick()
        if self.surface == "inline":
            assert await self._lua(_TAKE, part, self._runs_commands), "nothing to take"
        else:
            at = await self._lua(_OFFERED)
            await self._keys("<C-n>" * at + "<C-y>")

        async def is_there() -> bool:
            return await self._tick() != before

        await until(is_there, SHOWN_S)

    async def type(self, text: str) -> None:
        await self._close_menu()
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if number:
                await self._key("<CR>")
                line = await self._unindented(line)
            for character in line:
                await self._key("<LT>" if character == "<" else character)
                if not self._has_told:
                    # Until it has, Neovim waits on with every key, and tells of all of them as of an insertion.
                    await asyncio.sleep(FIRST_FLUSH_S)
                    self._has_told = True

    async def _unindented(self, line: str) -> str:
        """What is still to be typed after the editor has indented, backwards where it went too far."""
        has = await self._neovim.call("nvim_get_current_line")
        wanted = line[: len(line) - len(line.lstrip())]
        if len(has) > len(wanted):
            await self._key("<C-U>")
            return line
        return line[len(has) :]

    async def backspace(self, chars: int) -> None:
        for _ in range(chars):
            await self._key("<BS>")

    async def undo(self) -> None:
        await self._keys("<Esc>u")

    async def redo(self) -> None:
        await self._keys("<C-r>")

    async def delete(self, text: str) -> None:
        await self._lua(_DELETE, *self._start, text)

    async def reformat(self, change: Callable[[str], str]) -> None:
        lines = await self._neovim.call("nvim_buf_get_lines", 0, 0, -1, True)
        await self._lua(_FORMAT, change("\n".join(lines) + "\n"))

    async def take_from_another(self, text: str) -> None:
        before = await self._tick()
        if self.surface == "inline":
            await self._lua(_ANOTHER, text)
            await self._until(_CHOOSE_ANOTHER, SHOWN_S)
            await self._lua("vim.lsp.inline_completion.get()")
        else:
            await self._close_menu()
            # What a completion plug-in of another assistant does.
            await self._lua("vim.fn.complete(vim.fn.col('.'), { ... })", text)
            await self._until("return vim.fn.pumvisible() == 1", SHOWN_S)
            await self._keys("<C-y>")

        async def is_there() -> bool:
            return await self._tick() != before

        await until(is_there, SHOWN_S)

    async def close(self) -> None:
        await self._keys("<Esc>")
        await self._neovim.call("nvim_command", "silent bdelete!")

    async def _key(self, key: str) -> None:
        await asyncio.sleep(self._session.key_gap_s())
        await self._keys(key)

    async def _keys(self, keys: str) -> None:
        await self._neovim.call("nvim_input", keys)

    async def _lua(self, code: str, *arguments: Any) -> Any:
        return await self._neovim.call("nvim_exec_lua", code, list(arguments))

    async def _tick(self) -> int:
        return int(await self._lua("return vim.b.changedtick"))

    async def _appears(self, code: str, within_s: float = SHOWN_S) -> bool:
        try:
            await self._until(code, within_s)
        except TimeoutError:
            return False
        return True

    async def _until(self, code: str, within_s: float) -> None:
        async def holds() -> bool:
            return bool(await self._lua(code))

        await until(holds, within_s)


async def in_neovim(
    folder: Path,
    program: str,
    known: Sequence[Case],
    each: int,
    *,
    surface: str,
    runs_commands: bool,
    at_once: int = 1,
) -> Tally:
    """Every behaviour in Neovims without a screen, so many side by side."""
    planned = plan(known, each, has_parts=surface == "inline", one_line=surface == "menu")
    tally = Tally()
    tallies = await asyncio.gather(
        *(
            _in_one_neovim(
                folder / str(number),
                program,
                known,
                planned[number::at_once],
                surface=surface,
                runs_commands=runs_commands,
            )
            for number in range(at_once)
        )
    )
    for one in tallies:
        tally.add(one)
    return tally


async def _in_one_neovim(
    folder: Path,
    program: str,
    known: Sequence[Case],
    planned: Sequence[tuple[Case, str]],
    *,
    surface: str,
    runs_commands: bool,
) -> Tally:
    async with session_in(folder, known) as session:
        settings = folder / "config" / "nvim" / "init.lua"
        settings.parent.mkdir(parents=True, exist_ok=True)
        text = _INLINE if surface == "inline" else _MENU + (_MENU_COMMANDS if runs_commands else "")
        settings.write_text(text % {"command": "{ " + ", ".join(json.dumps(w) for w in session.command()) + " }"})
        async with NeovimRpc.started(program, session.work, session.environment()) as neovim:
            hands = NeovimHands(neovim, session, surface=surface, runs_commands=runs_commands)
            await hands.begin()
            done = await perform(hands, session, planned)
            await asyncio.sleep(DECIDED_S)
        await session.over()
        return compare(session, len(planned), done)
