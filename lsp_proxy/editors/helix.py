"""Helix: the servers' commands in `languages.toml`, the rest of which stays as the person wrote it.

Helix brings a long list of servers; a table in the person's file changes one of them. So every server that is installed
on this machine, or that the person has configured, gets its command wrapped there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from codetrial.errors import ProxyError
from lsp_proxy.editors.plan import Plan, read, unwrapped, wrapped
from lsp_proxy.editors.servers import KNOWN, config_home, installed
from lsp_proxy.editors.settings import wrapped_in

__all__ = ["Languages", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Languages:
    """The person's `languages.toml`, with wrapped commands."""

    path: Path

    def result(self) -> str:
        document = self._document()
        servers = cast(dict[str, Any], document.setdefault("language-server", tomlkit.table(is_super_table=True)))
        for name, default in KNOWN.items():
            if name not in servers and installed(default) is not None:
                servers[name] = tomlkit.table()
        for name, server in servers.items():
            command = _command(name, server)
            if command is not None and command != wrapped(command):
                server["command"], *server["args"] = wrapped(command)
        return tomlkit.dumps(document)

    def undone(self) -> str | None:
        document = self._document()
        servers = cast(dict[str, Any], document.get("language-server", {}))
        ours = {name: inner for name, server in servers.items() if (inner := unwrapped(_words(server))) is not None}
        if not ours:
            return read(self.path)
        for name, command in ours.items():
            if tuple(command) == KNOWN.get(name) and set(servers[name]) <= {"command", "args"}:
                del servers[name]
            else:
                servers[name]["command"], *servers[name]["args"] = command
        if not servers:
            document.pop("language-server", None)
        return tomlkit.dumps(document).strip("\n") + "\n" if document else None

    def wrapped(self) -> list[list[str]]:
        """The commands in the file now that start behind us."""
        return list(wrapped_in(self._document().unwrap()))

    def _document(self) -> tomlkit.TOMLDocument:
        try:
            return tomlkit.parse(read(self.path))
        except TOMLKitError as fault:
            raise ProxyError(f"Cannot read {self.path}: {fault}. Mend it, then install again.") from fault


def _words(server: dict[str, Any]) -> list[str]:
    return [str(server.get("command", "")), *map(str, server.get("args", []))]


def _command(name: str, server: dict[str, Any]) -> list[str] | None:
    """How Helix starts it: as the person says, with what he leaves out from Helix's own list."""
    default = KNOWN.get(name)
    if "command" in server:
        return _words(server)
    return None if default is None else [default[0], *map(str, server.get("args", default[1:]))]


def plan() -> Plan:
    path = config_home() / "helix" / "languages.toml"
    return Plan(
        editor="helix",
        changes=(Languages(path=path),),
        advice=("Suggestions appear in the completion list. `:lsp-restart` or a restart of Helix makes it so.",),
    )
