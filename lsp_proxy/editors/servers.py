"""Language servers as they are usually named and started, for editors whose settings need not name them."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["KNOWN", "config_home", "installed", "is_default"]

KNOWN: Mapping[str, tuple[str, ...]] = {
    "basedpyright": ("basedpyright-langserver", "--stdio"),
    "bash-language-server": ("bash-language-server", "start"),
    "clangd": ("clangd",),
    "gopls": ("gopls",),
    "jedi": ("jedi-language-server",),
    "pylsp": ("pylsp",),
    "pyright": ("pyright-langserver", "--stdio"),
    "ruff": ("ruff", "server"),
    "rust-analyzer": ("rust-analyzer",),
    "ty": ("ty", "server"),
    "typescript-language-server": ("typescript-language-server", "--stdio"),
    "vscode-css-language-server": ("vscode-css-language-server", "--stdio"),
    "vscode-html-language-server": ("vscode-html-language-server", "--stdio"),
    "vscode-json-language-server": ("vscode-json-language-server", "--stdio"),
    "yaml-language-server": ("yaml-language-server", "--stdio"),
}
"""As Helix names and starts them by default; Zed uses the same names for most."""


def installed(command: Sequence[str]) -> list[str] | None:
    """The command with the full path of its program: an editor with windows has not always the shell's PATH."""
    found = shutil.which(command[0])
    if found is None or (command[0] in _SHIMS and not _answers(found)):
        return None
    return [found, *command[1:]]


_SHIMS = frozenset({"rust-analyzer"})
"""rustup puts a program of this name on PATH whether the server is there or not."""

SHIM_S = 10.0


def _answers(program: str) -> bool:
    try:
        asked = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=SHIM_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def is_default(command: Sequence[str], default: Sequence[str] | None) -> bool:
    """Whether it is the default command, wherever its program lies."""
    if not command or default is None:
        return False
    return [Path(command[0]).name, *command[1:]] == [Path(default[0]).name, *default[1:]]


def config_home() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return Path(base) if base else Path.home() / ".config"
