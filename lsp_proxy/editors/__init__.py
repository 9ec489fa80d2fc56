"""What `codetrial install` writes for each editor."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsp_proxy.editors.plan import Plan

__all__ = ["EDITORS", "plan_for"]

EDITORS: Mapping[str, str] = {
    "neovim": "Neovim 0.11 and newer",
    "emacs": "Emacs with eglot or lsp-mode",
    "helix": "Helix",
    "vim": "Vim or Neovim with coc.nvim",
    "zed": "Zed",
    "sublime": "Sublime Text with LSP",
    "kate": "Kate",
    "jetbrains": "JetBrains IDEs with LSP4IJ",
    "vscode": "VS Code",
    "code-insiders": "VS Code Insiders",
    "code-server": "code-server",
    "vscodium": "VSCodium",
    "cursor": "Cursor",
}

_VSCODE = frozenset({"vscode", "code-insiders", "code-server", "vscodium", "cursor"})
"""One module serves them all."""


def plan_for(editor: str) -> "Plan":
    """What installing in an editor would do on this machine now."""
    if editor in _VSCODE:
        from lsp_proxy.editors import vscode

        return vscode.plan(editor)
    make: Callable[[], Plan] = import_module(f"lsp_proxy.editors.{editor}").plan
    return make()
