"""Zed: `lsp.NAME.binary` in `settings.json`, for every server that is configured there or installed on this machine.

Zed starts only the servers of the languages in use, so an entry for one that is never used costs nothing.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lsp_proxy.editors.jsonc import REMOVE
from lsp_proxy.editors.plan import Plan, unwrapped, wrapped
from lsp_proxy.editors.servers import KNOWN, config_home, installed, is_default
from lsp_proxy.editors.settings import Edit, Settings, section, words

__all__ = ["plan"]


def _command(name: str, server: Mapping[str, Any]) -> list[str] | None:
    """How Zed starts it now: its own settings, or what is on PATH; None if it has a copy of its own."""
    binary = section(server, "binary")
    arguments = words(binary["arguments"]) if "arguments" in binary else None
    path = binary.get("path")
    if isinstance(path, str):
        return [path, *(arguments or [])]
    default = installed(KNOWN[name]) if name in KNOWN else None
    if default is None:
        return None
    return default if arguments is None else [default[0], *arguments]


def wrap(config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "lsp")
    for name in dict.fromkeys([*servers, *KNOWN]):
        if (command := _command(name, section(servers, name))) is not None:
            path, *arguments = wrapped(command)
            yield ("lsp", name, "binary", "path"), path
            yield ("lsp", name, "binary", "arguments"), arguments


def unwrap(config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "lsp")
    removed = 0
    for name in servers:
        server = section(servers, name)
        binary = section(server, "binary")
        inner = unwrapped([str(binary.get("path", "")), *(words(binary.get("arguments")) or [])])
        if inner is None:
            continue
        if is_default(inner, KNOWN.get(name)) and set(binary) <= {"path", "arguments"}:
            removed += set(server) == {"binary"}
            yield ("lsp", name) if set(server) == {"binary"} else ("lsp", name, "binary"), REMOVE
        else:
            yield ("lsp", name, "binary", "path"), inner[0]
            yield ("lsp", name, "binary", "arguments"), inner[1:]
    if removed and removed == len(servers):
        yield ("lsp",), REMOVE


def _own_copies() -> list[str]:
    """Servers that Zed has downloaded for itself: their paths change with every update, so they are not wrapped."""
    base = os.environ.get("XDG_DATA_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "share") / "zed" / "languages"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [name for name in names if name not in KNOWN or installed(KNOWN[name]) is None]


def plan() -> Plan:
    path = config_home() / "zed" / "settings.json"
    advice = ["Suggestions appear in the completion list. `editor: restart language server` or a restart makes it so."]
    if copies := _own_copies():
        advice.append(
            f"Zed's own copies of {', '.join(copies)} are not wrapped: install them on PATH, or name them under `lsp`, "
            "and install again."
        )
    return Plan(editor="zed", changes=(Settings(path=path, wrap=wrap, unwrap=unwrap),), advice=tuple(advice))
