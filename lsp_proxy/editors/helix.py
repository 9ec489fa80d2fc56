"""Helix: the servers' commands in `languages.toml`, the rest of which stays as the person wrote it.

Helix brings a long list of servers; a table in the person's file changes one of them. So every server that is installed
on this machine, or that the person has configured, gets its command wrapped there.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from codetrial.errors import ProxyError
from lsp_proxy.editors.plan import Plan, codetrial_command

__all__ = ["KNOWN", "Languages", "plan"]

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
"""As Helix names and starts them by default."""

MARK = "codetrial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Languages:
    """The person's `languages.toml`, with wrapped commands."""

    path: Path

    def result(self) -> str:
        document = self._document()
        servers = cast(dict[str, Any], document.setdefault("language-server", tomlkit.table(is_super_table=True)))
        prefix = [*codetrial_command(), "lsp", "--"]
        for name, default in KNOWN.items():
            if name not in servers and shutil.which(default[0]):
                servers[name] = _table(prefix, default)
        for name, server in servers.items():
            command = server.get("command")
            if command is None and name in KNOWN:
                server["command"], server["args"] = KNOWN[name][0], list(server.get("args", KNOWN[name][1:]))
                command = KNOWN[name][0]
            if command is not None and command != prefix[0]:
                server["args"] = [*prefix[1:], command, *server.get("args", [])]
                server["command"] = prefix[0]
        return tomlkit.dumps(document)

    def undone(self) -> str | None:
        document = self._document()
        servers = cast(dict[str, Any], document.get("language-server", {}))
        for name, server in list(servers.items()):
            words = [server.get("command", ""), *server.get("args", [])]
            if "lsp" not in words or "--" not in words or MARK not in str(words[: words.index("lsp")]):
                continue
            command = words[words.index("--") + 1 :]
            if tuple(command) == KNOWN.get(name) and set(server) <= {"command", "args"}:
                del servers[name]
            else:
                server["command"], server["args"] = command[0], command[1:]
        if not servers:
            document.pop("language-server", None)
        return tomlkit.dumps(document).strip("\n") + "\n" if document else None

    def _document(self) -> tomlkit.TOMLDocument:
        try:
            return tomlkit.parse(self.path.read_text(encoding="utf-8")) if self.path.exists() else tomlkit.document()
        except (OSError, UnicodeDecodeError, TOMLKitError) as fault:
            raise ProxyError(f"Cannot read {self.path}: {fault}. Mend it, then install again.") from fault


def _table(prefix: list[str], command: tuple[str, ...]) -> tomlkit.items.Table:
    table = tomlkit.table()
    table["command"], table["args"] = prefix[0], [*prefix[1:], *command]
    return table


def plan() -> Plan:
    base = os.environ.get("XDG_CONFIG_HOME")
    path = (Path(base) if base else Path.home() / ".config") / "helix" / "languages.toml"
    return Plan(
        editor="helix",
        changes=(Languages(path=path),),
        advice=("Suggestions appear in the completion list. `:lsp-restart` or a restart of Helix makes it so.",),
    )
