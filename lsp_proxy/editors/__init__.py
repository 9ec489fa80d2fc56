"""What `codetrial install` writes for each editor."""

from collections.abc import Callable, Mapping
from importlib import import_module

from lsp_proxy.editors.plan import Plan

__all__ = ["EDITORS", "plan_for"]

EDITORS: Mapping[str, str] = {
    "neovim": "Neovim 0.11 and newer",
    "emacs": "Emacs with eglot or lsp-mode",
    "helix": "Helix",
}


def plan_for(editor: str) -> Plan:
    """What installing in an editor would do on this machine now."""
    make: Callable[[], Plan] = import_module(f"lsp_proxy.editors.{editor}").plan
    return make()
