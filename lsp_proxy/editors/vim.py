"""Vim (or Neovim) with coc.nvim: `coc-settings.json`, the servers that it lists and those that coc's extensions start.

An extension takes the path of one program, so it gets a small script of ours that starts the server behind us.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codetrial.paths import data_dir
from lsp_proxy.editors.jsonc import REMOVE, loads
from lsp_proxy.editors.plan import Change, Plan, WholeFile, codetrial_command, read, unwrapped, wrapped
from lsp_proxy.editors.servers import config_home, installed
from lsp_proxy.editors.settings import Edit, Settings, section, words

__all__ = ["plan"]

FILE_NAME = "coc-settings.json"

EXTENSIONS: Mapping[str, tuple[str, str]] = {
    "coc-clangd": ("clangd.path", "clangd"),
    "coc-go": ("go.goplsPath", "gopls"),
    "coc-rust-analyzer": ("rust-analyzer.server.path", "rust-analyzer"),
}
"""The setting that holds the server's path, and the program that the extension looks for without it."""


_SCRIPT = """\
#!/bin/sh
# Written by `codetrial install vim'; `codetrial uninstall vim' removes it.
[ -x %(codetrial)s ] || exec %(server)s "$@" # codetrial has gone: the server works without it.
exec %(command)s "$@"
"""


def _script(setting: str) -> Path:
    return data_dir() / "wrappers" / f"coc-{setting.removesuffix('Path').removesuffix('.path')}"


def _script_text(program: str) -> str:
    proxy = codetrial_command()
    return _SCRIPT % {
        "codetrial": shlex.quote(proxy[0]),
        "server": shlex.quote(str(Path(program).expanduser())),
        "command": shlex.join([*proxy, "lsp", "--", program]),
    }


def _inside(script: str) -> str | None:
    """The program that a script of ours starts."""
    path = Path(script)
    if path.parent != data_dir() / "wrappers":
        return None
    found = re.search(r"^exec (.+) \"\$@\"$", read(path), re.MULTILINE)
    inner = unwrapped(shlex.split(found[1])) if found is not None else None
    return inner[0] if inner else None


def _programs(config: Mapping[str, Any], extensions: set[str]) -> dict[str, str]:
    """By setting: the server that an extension would start without us."""
    found = {}
    for extension, (setting, name) in EXTENSIONS.items():
        path = config.get(setting)
        if isinstance(path, str) and path:
            if "$" not in path:
                found[setting] = _inside(path) or path
        elif extension in extensions and (default := installed([name])) is not None:
            found[setting] = default[0]
    return found


def _wrap(extensions: set[str], config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "languageserver")
    for name in servers:
        server = section(servers, name)
        command = server.get("command")
        if isinstance(command, str) and command and "$" not in command:  # coc itself fills in its command's variables.
            first, *arguments = wrapped([command, *(words(server.get("args")) or [])])
            yield ("languageserver", name, "command"), first
            yield ("languageserver", name, "args"), arguments
    for setting in _programs(config, extensions):
        yield (setting,), str(_script(setting))


def _unwrap(config: Mapping[str, Any]) -> Iterator[Edit]:
    servers = section(config, "languageserver")
    for name in servers:
        server = section(servers, name)
        inner = unwrapped([str(server.get("command", "")), *(words(server.get("args")) or [])])
        if inner is not None:
            yield ("languageserver", name, "command"), inner[0]
            yield ("languageserver", name, "args"), inner[1:] or REMOVE
    for setting, name in EXTENSIONS.values():
        if isinstance(config.get(setting), str) and config[setting] == str(_script(setting)):
            program = _inside(config[setting])
            is_found = program is None or installed([name]) == [program]
            yield (setting,), REMOVE if is_found else program


def _homes() -> list[Path]:
    """Where coc looks for its settings, of those that have some; Vim's own place if none has. As in coc#util."""
    named = os.environ.get("VIMCONFIG")
    vim = Path.home() / ".vim"
    if named:
        vim = Path(named)
    elif not vim.is_dir():
        vim = config_home() / "vim"
    neovim = config_home() / os.environ.get("NVIM_APPNAME", "nvim")
    return [home for home in (vim, neovim) if (home / FILE_NAME).exists()] or [vim]


def _extensions() -> set[str]:
    base = os.environ.get("COC_DATA_HOME")
    folder = (Path(base) if base else config_home() / "coc") / "extensions" / "node_modules"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def plan() -> Plan:
    extensions = _extensions()
    scripts: dict[Path, str] = {}
    settings: list[Change] = []
    modules, variables = [], []
    for home in _homes():
        path = home / FILE_NAME
        config = loads(read(path), path)
        for setting, program in _programs(config, extensions).items():
            scripts.setdefault(_script(setting), _script_text(program))
        servers = section(config, "languageserver")
        modules += [name for name in servers if "module" in section(servers, name)]
        variables += [name for name in servers if "$" in str(section(servers, name).get("command"))]
        variables += [setting for setting, _ in EXTENSIONS.values() if "$" in str(config.get(setting))]
        settings.append(
            Settings(path=path, wrap=lambda config: _wrap(extensions, config), unwrap=_unwrap),
        )
    advice = [
        "Suggestions appear in the text where coc can show them there (0.0.83), in the completion list before that. "
        "`:CocRestart` makes it so."
    ]
    if modules:
        advice.append(f"Not wrapped, since they run inside coc's own Node (`module`): {', '.join(modules)}.")
    if variables:
        advice.append(
            f"Not wrapped, since there is a variable in the command: {', '.join(variables)}. "
            "Write the path out to have it wrapped."
        )
    own = [name for name in ("coc-pyright", "coc-tsserver", "coc-json") if name in extensions]
    if own:
        advice.append(f"Not wrapped, since they bring their server as a module of their own: {', '.join(own)}.")
    files = [WholeFile(path=path, content=text, is_program=True) for path, text in scripts.items()]
    # The settings are taken back first: they are read with the help of the scripts.
    return Plan(editor="vim", changes=(*settings, *files), advice=tuple(advice))
