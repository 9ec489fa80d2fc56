"""VS Code and what is made from it: an extension of ours, and the servers that other extensions start.

The extension lies ready made in the package; the editor's own command installs it. An extension that starts a server of
its own has, at best, a setting for the server's program: where the person uses that, a small script of ours takes its
place. What starts inside an editor's process (Pylance, the TypeScript service) cannot be wrapped, and the extension
suggests beside it.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from codetrial import __version__
from codetrial.errors import ProxyError
from codetrial.paths import data_dir
from lsp_proxy.editors.jsonc import loads
from lsp_proxy.editors.plan import Change, Plan, WholeFile, codetrial_command, read
from lsp_proxy.editors.servers import config_home
from lsp_proxy.editors.settings import Edit, Settings, section

__all__ = ["EXTENSION", "FORKS", "IDENTIFIER", "PACKAGE", "Fork", "plan"]

EXTENSION = Path(__file__).with_name("extension")
PACKAGE = Path(__file__).with_name("codetrial.vsix")
IDENTIFIER = "codetrial.codetrial"

WRAPPED = "codetrial-wrapped"
"""The folder of our scripts; the extension knows them by it."""
WRAPS = "# wraps: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Where one of them keeps things."""

    title: str
    command: str
    folder: str | None = None
    """Of its settings, within the platform's folder for such."""
    application: str | None = None
    """On macOS."""
    own: str | None = None
    """Of its extensions, within the home."""
    remote: str | None = None
    """Of what it keeps on a machine that it works on from another, within the home there."""

    def program(self) -> str:
        """Its command by the full path if it can be found, or else as it is usually called."""
        if found := shutil.which(self.command):
            return found
        inside = Path("/Applications", f"{self.application}.app", "Contents", "Resources", "app", "bin", self.command)
        return str(inside) if self.application and inside.exists() else self.command

    def settings(self) -> list[Path]:
        """The person's, and those of this machine, which hold the paths of programs if the window is elsewhere."""
        library = Path.home() / "Library" / "Application Support"
        if self.folder is None:
            base = library if sys.platform == "darwin" else Path.home() / ".local" / "share"
            data = Path(os.environ.get("XDG_DATA_HOME") or base) / "code-server"
            return [data / "User" / "settings.json", data / "Machine" / "settings.json"]
        found = [(library if sys.platform == "darwin" else config_home()) / self.folder / "User" / "settings.json"]
        if self.remote is not None:
            found.append(Path.home() / self.remote / "data" / "Machine" / "settings.json")
        return found

    def has_extension(self) -> bool:
        """Whether this very version is listed in one of the folders where it keeps extensions."""
        if self.folder is None:
            folders = [path.parent.parent / "extensions" for path in self.settings()[:1]]
        else:
            homes = [name for name in (self.own, self.remote) if name is not None]
            folders = [Path.home() / name / "extensions" for name in homes]
        return any(_lists_ours(folder) for folder in folders)


def _lists_ours(folder: Path) -> bool:
    """By the list that the editor keeps there: what it uninstalls stays unpacked for a time."""
    try:
        extensions = json.loads((folder / "extensions.json").read_text(encoding="utf-8"))
        return any((entry["identifier"]["id"], entry["version"]) == (IDENTIFIER, __version__) for entry in extensions)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # No list, or another kind of one: the editor has yet to be asked.


FORKS: Mapping[str, Fork] = {
    "vscode": Fork(
        title="VS Code",
        command="code",
        folder="Code",
        application="Visual Studio Code",
        own=".vscode",
        remote=".vscode-server",
    ),
    "code-insiders": Fork(
        title="VS Code Insiders",
        command="code-insiders",
        folder="Code - Insiders",
        application="Visual Studio Code - Insiders",
        own=".vscode-insiders",
        remote=".vscode-server-insiders",
    ),
    "code-server": Fork(title="code-server", command="code-server"),
    "vscodium": Fork(
        title="VSCodium",
        command="codium",
        folder="VSCodium",
        application="VSCodium",
        own=".vscode-oss",
        remote=".vscodium-server",
    ),
    "cursor": Fork(
        title="Cursor", command="cursor", folder="Cursor", application="Cursor", own=".cursor", remote=".cursor-server"
    ),
}

_WRAPPER = """\
#!/bin/sh
# Written by `codetrial install %(editor)s'; `codetrial uninstall %(editor)s' removes it.
%(wraps)s%(value)s
codetrial=%(codetrial)s
server=%(server)s
[ -x "$codetrial" ] || exec "$server" "$@" # codetrial has gone: the server works without it.
for word in "$@"; do
  case "$word" in
  -h | --help | -V | --version | -version | --check=*) exec "$server" "$@" ;;
  esac
done
case "${1-}" in
'' | -* | serve | server | lsp | start) exec %(proxy)s "$server" "$@" ;;
*) exec "$server" "$@" ;; # A question of the extension's, such as `gopls version`: no session.
esac
"""


def plan(editor: str = "vscode") -> Plan:
    fork = FORKS[editor]
    program = fork.program()
    changes: list[Change] = [
        WholeFile(path=_folder() / f"{editor}.json", content=json.dumps({"command": codetrial_command()}) + "\n")
    ]
    advice = [
        "Suggestions appear as ghost text, Tab takes one. In open windows: `Developer: Reload Window`.",
        "The status bar shows what codetrial does, and pauses it. Servers behind it: docs/editors/vscode.md.",
    ]
    for settings in fork.settings():
        servers = dict(_configured(editor, settings))
        # Before the scripts: what stood there is read from them.
        changes.append(Settings(path=settings, wrap=partial(_wrap, servers), unwrap=partial(_unwrap, servers)))
        changes += [_script(editor, script, value) for script, value in servers.values()]
        advice += [
            f"{'.'.join(key)} in {settings} has a variable in it: its server stays as it is. "
            "Write the path out to have it wrapped."
            for key in _with_variable(settings)
        ]
    return Plan(
        editor=editor,
        changes=tuple(changes),
        commands=((program, "--install-extension", str(PACKAGE), "--force"),),
        undo_commands=((program, "--uninstall-extension", IDENTIFIER),),
        has_run=fork.has_extension(),
        advice=tuple(advice),
    )


def _folder() -> Path:
    return data_dir() / "editors"


Key = tuple[str, ...]


def _known() -> Iterator[Key]:
    """Settings with which extensions let a person name a server's program."""
    content = json.loads((EXTENSION / "servers.json").read_text(encoding="utf-8"))
    for entry in content["settings"]:
        yield (entry["setting"], entry["member"]) if "member" in entry else (entry["setting"],)


def _configured(editor: str, settings: Path) -> Iterator[tuple[Key, tuple[Path, str]]]:
    """For each such setting that is used: our script's place, and the program that the person named."""
    config = loads(read(settings), settings)
    for key in _known():
        value = _named(config, key)
        if not isinstance(value, str) or not value or "$" in value:
            continue  # Unset, or with a variable, which only the extension can resolve.
        path = Path(value)
        if WRAPPED in path.parts:
            yield key, (path, _original(path))
        else:
            yield key, (_folder() / WRAPPED / editor / settings.parent.name / path.name, value)


def _with_variable(settings: Path) -> Iterator[Key]:
    config = loads(read(settings), settings)
    return (key for key in _known() if "$" in str(_named(config, key)))


def _named(config: Mapping[str, Any], key: Key) -> object:
    *outer, name = key
    return (section(config, outer[0]) if outer else config).get(name)


def _original(script: Path) -> str:
    for line in read(script).splitlines():
        if line.startswith(WRAPS):
            return str(json.loads(line.removeprefix(WRAPS)))
    raise ProxyError(
        f"Cannot read {script}, which stands for a language server. Name the server itself in the settings."
    )


def _wrap(servers: Mapping[Key, tuple[Path, str]], _: Mapping[str, Any]) -> Iterator[Edit]:
    for key, (script, _value) in servers.items():
        yield key, str(script)


def _unwrap(servers: Mapping[Key, tuple[Path, str]], config: Mapping[str, Any]) -> Iterator[Edit]:
    for key, (script, value) in servers.items():
        if _named(config, key) == str(script):
            yield key, value


def _script(editor: str, path: Path, value: str) -> WholeFile:
    command = codetrial_command()
    content = _WRAPPER % {
        "editor": editor,
        "wraps": WRAPS,
        "value": json.dumps(value),
        "codetrial": shlex.quote(command[0]),
        "server": shlex.quote(str(Path(value).expanduser())),
        "proxy": shlex.join([*command, "lsp", "--"]),
    }
    return WholeFile(path=path, content=content, is_program=True)
