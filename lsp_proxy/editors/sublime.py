"""Sublime Text's LSP package: the `command` of its clients, and of its helper packages (`LSP-pyright` and the like).

A helper package brings its own settings; a file of the same name in `Packages/User` lies over them.
"""

import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from codetrial.errors import ProxyError
from lsp_proxy.editors.jsonc import REMOVE, loads
from lsp_proxy.editors.plan import Change, Plan, read, unwrapped, wrapped
from lsp_proxy.editors.servers import config_home
from lsp_proxy.editors.settings import Edit, Settings, section, words

__all__ = ["plan"]

SUFFIX = ".sublime-settings"


def data_folder() -> Path:
    """Sublime Text's own: the first that exists, or where version 4 makes it."""
    if sys.platform == "darwin":
        places = [Path.home() / "Library" / "Application Support" / name for name in ("Sublime Text", "Sublime Text 3")]
    else:
        places = [config_home() / name for name in ("sublime-text", "sublime-text-3")]
    return next((path for path in places if path.is_dir()), places[0])


def _defaults(folder: Path, package: str) -> Mapping[str, Any]:
    """A package's own settings, unpacked or in its archive."""
    name = f"{package}{SUFFIX}"
    unpacked, archive = (
        folder / "Packages" / package / name,
        folder / "Installed Packages" / f"{package}.sublime-package",
    )
    try:
        if unpacked.is_file():
            return loads(read(unpacked), unpacked)
        if archive.is_file():
            with zipfile.ZipFile(archive) as content:
                return loads(content.read(name).decode("utf-8"), archive / name)
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile, ProxyError):
        return {}  # A package that Sublime Text itself may not read either.
    return {}


def _helpers(folder: Path) -> list[str]:
    unpacked = [path.name for path in folder.glob("Packages/LSP-*") if path.is_dir()]
    return sorted({*unpacked, *(path.stem for path in folder.glob("Installed Packages/LSP-*.sublime-package"))})


def _wrap_clients(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Edit]:
    clients = section(config, "clients")
    for name in clients:
        client = section(clients, name)
        command = words(client.get("command", section(defaults, name).get("command")))
        if command and "tcp_port" not in client:  # One that is reached over a socket has no pipe to sit on.
            yield ("clients", name, "command"), wrapped(command)


def _unwrap_clients(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Edit]:
    clients = section(config, "clients")
    for name in clients:
        inner = unwrapped(words(section(clients, name).get("command")) or [])
        if inner is not None:
            is_default = inner == section(defaults, name).get("command")
            yield ("clients", name, "command"), REMOVE if is_default else inner


def _wrap_helper(default: list[str] | None, config: Mapping[str, Any]) -> Iterator[Edit]:
    command = words(config.get("command", default))
    if command:
        yield ("command",), wrapped(command)


def _unwrap_helper(default: list[str] | None, config: Mapping[str, Any]) -> Iterator[Edit]:
    inner = unwrapped(words(config.get("command")) or [])
    if inner is not None:
        yield ("command",), REMOVE if inner == default else inner


def plan() -> Plan:
    folder = data_folder()
    user = folder / "Packages" / "User"
    package = _defaults(folder, "LSP")
    defaults = {**section(package, "default_clients"), **section(package, "clients")}
    changes: list[Change] = [
        Settings(
            path=user / f"LSP{SUFFIX}", wrap=partial(_wrap_clients, defaults), unwrap=partial(_unwrap_clients, defaults)
        )
    ]
    silent = []
    for name in _helpers(folder):
        path = user / f"{name}{SUFFIX}"
        default = words(_defaults(folder, name).get("command"))
        if default is None and not path.exists():
            silent.append(name)
        changes.append(
            Settings(path=path, wrap=partial(_wrap_helper, default), unwrap=partial(_unwrap_helper, default))
        )
    advice = ["Suggestions appear in the completion list. `LSP: Restart Servers` in the command palette makes it so."]
    if silent:
        advice.append(f"{', '.join(silent)} start their servers by code of their own: they are not wrapped.")
    return Plan(editor="sublime", changes=tuple(changes), advice=tuple(advice))
