"""Kate's LSP client: the user's own server settings, which Kate lays over the list that it brings."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lsp_proxy.editors.jsonc import REMOVE
from lsp_proxy.editors.plan import Plan, read, unwrapped, wrapped
from lsp_proxy.editors.servers import config_home, installed, is_default
from lsp_proxy.editors.settings import Edit, Settings, section, words

__all__ = ["plan"]

BROUGHT: Mapping[str, tuple[str, ...]] = {
    "bash": ("bash-language-server", "start"),
    "c": ("clangd", "-log=error", "--background-index"),
    "fortran": ("fortls",),
    "go": ("gopls",),
    "haskell": ("haskell-language-server-wrapper", "--lsp"),
    "javascript": ("typescript-language-server", "--stdio"),
    "latex": ("texlab",),
    "ocaml": ("ocamllsp",),
    "python": ("pylsp", "--check-parent-process"),
    "rust": ("rust-analyzer",),
    "zig": ("zls",),
}
"""Those of Kate's own list that are started by a name on PATH; `cpp` and `typescript` use `c`'s and `javascript`'s."""

COMMANDS = ("command", "commandDebug")


def _words(value: object) -> list[str] | None:
    return value.split() if isinstance(value, str) else words(value)  # As Kate reads a command in one string.


def _like(value: object, command: list[str]) -> str | list[str]:
    """In one string where the person writes it so, if that can be read back."""
    is_string = isinstance(value, str) and not any(" " in word for word in command)
    return " ".join(command) if is_string else command


def wrap(config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "servers")
    for name in dict.fromkeys([*servers, *BROUGHT]):
        server = section(servers, name)
        for key in COMMANDS:
            if command := _words(server.get(key)):
                yield ("servers", name, key), _like(server[key], wrapped(command))
        is_brought = "command" not in server and "use" not in server and name in BROUGHT
        if is_brought and (found := installed(BROUGHT[name])) is not None:
            yield ("servers", name, "command"), wrapped(found)


def unwrap(config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "servers")
    removed = 0
    for name in servers:
        server = section(servers, name)
        for key in COMMANDS:
            inner = unwrapped(_words(server.get(key)) or [])
            if inner is None:
                continue
            if key == "command" and is_default(inner, BROUGHT.get(name)) and Path(inner[0]).is_absolute():
                removed += set(server) == {"command"}
                yield ("servers", name) if set(server) == {"command"} else ("servers", name, key), REMOVE
            else:
                yield ("servers", name, key), _like(server[key], inner)
    if removed and removed == len(servers):
        yield ("servers",), REMOVE


def settings_file() -> Path:
    """Where Kate reads the user's servers: its default place, or the file that its configuration names."""
    found = re.search(r"^ServerConfiguration(\[\$e\])?=(.+)$", _kate_settings(), re.MULTILINE)
    if found is not None:
        named = os.path.expandvars(found[2]) if found[1] else found[2]
        path = Path(unquote(urlsplit(named).path))
        if path.is_absolute():
            return path
    return config_home() / "kate" / "lspclient" / "settings.json"


def _kate_settings() -> str:
    whole = read(config_home() / "katerc")
    found = re.search(r"^\[lspclient\]$(.*?)(?=^\[|\Z)", whole, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def plan() -> Plan:
    return Plan(
        editor="kate",
        changes=(Settings(path=settings_file(), wrap=wrap, unwrap=unwrap),),
        advice=(
            "Suggestions appear in the completion list. Restart Kate, or `LSP Client > Restart All LSP Servers`.",
            "Kate asks once whether it may start each server's new command line: say yes.",
        ),
    )
