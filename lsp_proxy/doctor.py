"""`codetrial doctor`: the whole chain from editor to database, link by link, each with its mend."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from analysis.store import Store
from codetrial.arms import local
from codetrial.config import ArmConfig, Config, load
from codetrial.errors import CodetrialError, StoreError
from codetrial.paths import data_dir, runtime_dir
from codetrial.records import ArmLabel
from lsp_proxy import control
from lsp_proxy.editor_client import MENU_EDITOR, EditorClient
from lsp_proxy.editors import EDITORS, plan_for
from lsp_proxy.editors.plan import Wrapping, applied, codetrial_command, undoable, unwrapped
from lsp_proxy.editors.servers import KNOWN

__all__ = ["Finding", "Grade", "examine"]

READY_S = 30.0
ANSWER_S = 30.0
REACH_S = 3.0
"""For a connection to an arm's address: longer, and editing would suffer too."""


class Grade(StrEnum):
    FINE = "fine"
    NOTE = "note"
    """Works, but the person may want to know."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    grade: Grade
    what: str
    """A sentence, with the mend if there is something to mend."""


def examine(project: Path, *, config_file: Path | None = None, is_quick: bool = False) -> Iterator[Finding]:
    """Look at every link in turn. Writes nothing but a session in a database of its own, which is thrown away.

    Args:
        is_quick: Leave that session out, which takes seconds.
    """
    config: Config | None = None
    yield _python()
    try:
        config = load(project, config_file=config_file)
    except CodetrialError as fault:
        yield Finding(Grade.WRONG, str(fault))
    else:
        sources = ", ".join(map(str, config.sources)) or "no file: the embedded default pair"
        yield Finding(Grade.FINE, f"Configuration: {sources}.")
        yield from _arms(config)
        yield _attempt("The database", partial(_database, config))
    yield from _folders()
    yield from _editors()
    yield from _proxies()
    if not is_quick:
        yield _attempt("The proxy", partial(_chain, config_file))


def _attempt(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except CodetrialError as fault:
        return Finding(Grade.WRONG, f"{subject}: {fault}")


def _python() -> Finding:
    command = shutil.which("codetrial")
    version = ".".join(map(str, sys.version_info[:3]))
    if os.environ.get("CODETRIAL_OFF"):
        return Finding(
            Grade.NOTE, "CODETRIAL_OFF is set: editors started from here get their servers without codetrial."
        )
    if command is None:
        return Finding(
            Grade.NOTE, f"Python {version}; `codetrial` is not on PATH, editors start {codetrial_command()[0]}."
        )
    return Finding(Grade.FINE, f"Python {version}; `codetrial` is {command}.")


def _arms(config: Config) -> Iterator[Finding]:
    for label in ArmLabel:
        arm = config.arms[label]
        if arm.key_env is not None and not os.environ.get(arm.key_env):
            yield Finding(
                Grade.WRONG, f"Arm {label} ({arm.title}) needs a key: set {arm.key_env} where the editor starts."
            )
        elif arm.url is not None and arm.url.startswith("local:"):
            yield _attempt(f"Arm {label} ({arm.title})", partial(_local, arm.url, arm.title))
        else:
            yield _reach(f"Arm {label} ({arm.title})", arm)


def _reach(title: str, arm: ArmConfig) -> Finding:
    """Whether something listens there, or the program exists; nothing is asked of it."""
    program = arm.options.get("command")
    if isinstance(program, list) and program and shutil.which(str(program[0])) is None:
        return Finding(Grade.WRONG, f"{title}: there is no program {program[0]}: install it, or correct `command`.")
    parts = urlsplit(arm.url or "")
    if parts.hostname is not None and not _by_proxy(parts.scheme, parts.hostname):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname, port), timeout=REACH_S).close()
        except OSError as fault:
            return Finding(
                Grade.WRONG,
                f"{title}: nothing answers at {parts.hostname}:{port} ({fault.strerror or fault}): start it, or "
                "correct `url`.",
            )
    return Finding(Grade.FINE, f"{title} can be reached; `codetrial arms check` asks it something.")


def _by_proxy(scheme: str, host: str) -> bool:
    """Whether requests go by an HTTP proxy of the person's: then only a request could tell."""
    return scheme in getproxies() and not proxy_bypass(host)


def _local(url: str, title: str) -> Finding:
    local.check_installed(local.find(url.removeprefix("local:")))
    return Finding(Grade.FINE, f"{title}: runtime and weights are here.")


def _database(config: Config) -> Finding:
    path = config.store.database
    if not path.exists():
        if (fault := _unwritable(path)) is not None:
            return Finding(Grade.WRONG, f"Nothing can be recorded in {path}: {fault}. Correct `[store] path`.")
        return Finding(Grade.NOTE, f"Nothing has been recorded yet; it will be in {path}.")
    try:
        with Store(path, readonly=True) as store:
            [health] = store.rows("PRAGMA quick_check(1)")
            [sessions] = store.rows("SELECT count(*) AS n FROM session")
    except (StoreError, sqlite3.DatabaseError) as fault:
        return Finding(Grade.WRONG, f"{path} cannot be read: {fault}. Move it away, and a new one is started.")
    if next(iter(health.values())) != "ok":
        return Finding(Grade.WRONG, f"{path} is damaged: move it away, and a new one is started.")
    if not os.access(path, os.W_OK):
        return Finding(Grade.WRONG, f"{path} cannot be written: correct its permissions.")
    return Finding(Grade.FINE, f"{path} is healthy and holds {sessions['n']} sessions.")


def _unwritable(path: Path) -> str | None:
    """Why a file cannot come into being there."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        return f"{existing} is no folder"
    return None if os.access(existing, os.W_OK) else f"{existing} cannot be written"


def _folders() -> Iterator[Finding]:
    for path, variable in ((data_dir(), "CODETRIAL_DATA_DIR"), (runtime_dir(), "CODETRIAL_RUNTIME_DIR")):
        if (fault := _unwritable(path)) is not None:
            yield Finding(Grade.WRONG, f"Cannot write {path}: {fault}. Set {variable} to a folder you can write.")
    if shutil.which("git") is None:
        yield Finding(Grade.WRONG, "There is no `git` on PATH: install it (for instance `apt install git`).")


def _editors() -> Iterator[Finding]:
    found = False
    for name, title in EDITORS.items():
        try:
            plan = plan_for(name)
            paths = undoable(plan)
            present = [change for change in plan.changes if change.path in paths]
            if not present:
                continue
            found = True
            if applied(plan):
                yield Finding(Grade.FINE, f"{title}: installed in {present[0].path}.")
            elif not plan.has_run:
                yield Finding(
                    Grade.NOTE,
                    f"{title}: the extension of this version is not where the editor keeps its own: run "
                    f"`codetrial install {name}` again.",
                )
            else:
                yield Finding(
                    Grade.NOTE,
                    f"{title}: {present[0].path} is not as it would be written now (another version, or servers that "
                    f"came since): run `codetrial install {name}` again.",
                )
            commands = [command for change in present if isinstance(change, Wrapping) for command in change.wrapped()]
            yield from _commands(name, title, commands)
        except CodetrialError as fault:
            found = True
            yield Finding(Grade.WRONG, f"{title}: {fault}")
    if not found:
        yield Finding(Grade.NOTE, "Installed in no editor: `codetrial install EDITOR` does it.")
    else:
        yield from _neovim_version()


def _commands(name: str, title: str, commands: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """Whether what the editor will start is there."""
    for program in sorted({command[0] for command in commands}):
        if shutil.which(program) is None:
            yield Finding(
                Grade.WRONG,
                f"{title} starts its servers with {program}, which is not there: run `codetrial install {name}` again.",
            )
    for server in sorted({inner[0] for command in commands if (inner := unwrapped(command))}):
        if "$" in server or shutil.which(Path(server).expanduser()) is not None:
            continue  # There, or named by a variable that only the editor can resolve.
        grade = Grade.WRONG if Path(server).is_absolute() else Grade.NOTE  # The editor's PATH may be another.
        yield Finding(
            grade, f"{title}: the language server {server} cannot be found: install it, or take it out of the settings."
        )


def _neovim_version() -> Iterator[Finding]:
    program = shutil.which("nvim")
    if program is None or not any(change.path.exists() for change in plan_for("neovim").changes):
        return
    try:
        said = subprocess.run(
            [program, "--version"],
            env={**os.environ, "NVIM_LOG_FILE": os.devnull},  # Or asking its version leaves a log in the home.
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as fault:
        yield Finding(Grade.WRONG, f"{program} does not start: {fault}.")
        return
    version = re.search(r"NVIM v(\d+)\.(\d+)", said)
    if version is not None and (int(version[1]), int(version[2])) < (0, 11):
        yield Finding(
            Grade.WRONG, f"{program} is {version[0]}: codetrial needs Neovim 0.11; it does nothing in this one."
        )


def _proxies() -> Iterator[Finding]:
    for proxy in control.proxies():
        grade = Grade.WRONG if proxy.is_bypassed else Grade.NOTE if proxy.is_evaluator_silent else Grade.FINE
        yield Finding(grade, f"Running: {proxy.editor or 'an editor'} > {proxy.server}: {proxy.state}.")
    if control.paused() is not None:
        yield Finding(Grade.NOTE, "Paused: `codetrial resume` ends it.")


def _server() -> list[str]:
    """Any language server of this machine; without one the proxy is tried alone."""
    beside = Path(sys.executable).parent
    for command in KNOWN.values():
        for found in (str(beside / command[0]) if (beside / command[0]).exists() else None, shutil.which(command[0])):
            if found is not None:
                return ["--", found, *command[1:]]
    return []


def _chain(config_file: Path | None) -> Finding:
    """A session from end to end: start, initialize, ask, and look whether it was recorded."""
    server = _server()
    with tempfile.TemporaryDirectory(prefix="codetrial-doctor-") as folder:
        root = Path(folder) / "project"
        root.mkdir()
        store = Path(folder) / "doctor.db"
        command = [sys.executable, "-P", "-m", "codetrial.cli", "lsp", "--origin", "test", "--store", str(store)]
        command += ["--log", str(Path(folder) / "evaluator.log")]
        if config_file is not None:
            command += ["--config", str(config_file.resolve())]
        recorded, messages = asyncio.run(_session([*command, *server], root, store))
    name = Path(server[1]).name if server else "no language server"
    if not recorded:
        said = f" It said: {messages[0]}" if messages else ""
        return Finding(Grade.WRONG, f"The proxy works with {name}, but its evaluator recorded nothing.{said}")
    return Finding(Grade.FINE, f"The proxy in front of {name} answers and records.")


async def _session(command: list[str], root: Path, store: Path) -> tuple[bool, list[str]]:
    async with EditorClient.started(
        command, root=root, profile=MENU_EDITOR, stderr=asyncio.subprocess.DEVNULL
    ) as editor:
        document = await editor.open(root / "main.py", "python", "import os\nos.\n")
        with contextlib.suppress(TimeoutError):  # Then it is said that nothing was recorded.
            async with asyncio.timeout(READY_S):
                while not _has_session(store) and not editor.messages:  # noqa: ASYNC110  # Another process's file.
                    await asyncio.sleep(0.1)
        if _has_session(store):
            await editor.answer_of(await editor.start_completion(document, 13), deadline_s=ANSWER_S)
        return _has_session(store), editor.messages


def _has_session(store: Path) -> bool:
    if not store.exists():
        return False
    with Store(store, readonly=True) as opened:
        names = opened.rows("SELECT name FROM sqlite_master WHERE name = 'session'")
        return bool(names and opened.rows("SELECT 1 FROM session"))
