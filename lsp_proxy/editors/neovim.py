"""Neovim 0.11 and newer: one plug-in file of ours, nothing of the person's is touched.

It wraps whatever servers the person has configured, by any plug-in, at the one place where all of them pass:
`vim.lsp.start`. Commands that are functions (servers over a socket) stay as they are.
"""

import os
from pathlib import Path

from lsp_proxy.editors.plan import Plan, WholeFile, codetrial_command, quoted

__all__ = ["FILE_NAME", "lua", "plan"]

FILE_NAME = "codetrial.lua"

_LUA = """\
-- Written by `codetrial install neovim`; `codetrial uninstall neovim` removes it.
-- Every language server is started behind `codetrial lsp --`, which passes everything through.
if vim.fn.has('nvim-0.11') == 0 or vim.g.loaded_codetrial then
  return
end
vim.g.loaded_codetrial = true

local proxy = { %(command)s }

local function is_wrapped(cmd)
  for index, word in ipairs(proxy) do
    if cmd[index] ~= word then
      return false
    end
  end
  return true
end

local start = vim.lsp.start
---@diagnostic disable-next-line: duplicate-set-field
vim.lsp.start = function(config, opts)
  if type(config) == 'table' and type(config.cmd) == 'table' and config.cmd[1] and not is_wrapped(config.cmd) then
    config = vim.tbl_extend('force', config, { cmd = vim.list_extend(vim.deepcopy(proxy), config.cmd) })
  end
  return start(config, opts)
end

-- Neovim 0.12 shows suggestions as ghost text; <Tab> takes one, and is what it was where there is none.
vim.api.nvim_create_autocmd('LspAttach', {
  group = vim.api.nvim_create_augroup('codetrial', {}),
  callback = function(args)
    local client = vim.lsp.get_client_by_id(args.data.client_id)
    local inline = 'textDocument/inlineCompletion'
    if not (vim.lsp.inline_completion and client and client:supports_method(inline, args.buf)) then
      return
    end
    vim.lsp.inline_completion.enable(true, { bufnr = args.buf })
    -- Neovim's own <Tab> jumps to the next place of a snippet, and ours still does; a mapping of yours stays as it is.
    local mapped = vim.fn.maparg('<Tab>', 'i', false, true)
    if vim.tbl_isempty(mapped) or (mapped.desc or ''):find('vim.snippet', 1, true) then
      vim.keymap.set('i', '<Tab>', function()
        if vim.lsp.inline_completion.get() then
          return ''
        elseif vim.snippet.active({ direction = 1 }) then
          return '<Cmd>lua vim.snippet.jump(1)<CR>'
        end
        return '<Tab>'
      end, { buffer = args.buf, expr = true, desc = 'Take the suggestion, or a tab' })
    end
  end,
})
"""


def lua() -> str:
    return _LUA % {"command": quoted([*codetrial_command(), "lsp", "--"])}


def plan() -> Plan:
    base = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(base) if base else Path.home() / ".config"
    path = folder / os.environ.get("NVIM_APPNAME", "nvim") / "plugin" / FILE_NAME
    return Plan(
        editor="neovim",
        changes=(WholeFile(path=path, content=lua()),),
        advice=(
            "Neovim 0.12 shows suggestions as ghost text, <Tab> takes one; 0.11 offers them in the completion menu.",
            "Servers that are already running keep their old command until Neovim is started again.",
        ),
    )
