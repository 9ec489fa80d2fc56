"""`codetrial doctor`: the whole chain from editor to database, link by link, each with its mend."""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from analysis.store import Store
from codetrial.arms import local
from codetrial.config import Config, load
from codetrial.errors import CodetrialError
from codetrial.paths import data_dir, default_database, runtime_dir
from codetrial.records import ArmLabel
from lsp_proxy import control
from lsp_proxy.editor_client import MENU_EDITOR, EditorClient
from lsp_proxy.editors import EDITORS, plan_for
from lsp_proxy.editors.plan import applied, codetrial_command
from lsp_proxy.editors.servers import KNOWN

__all__ = ["Finding", "Grade", "examine"]

READY_S = 30.0
ANSWER_S = 20.0


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


def examine(project: Path, *, config_file: Path | None = None) -> Iterator[Finding]:
    """Look at every link in turn. Writes nothing but a session in a database of its own, which is thrown away."""
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
    yield _attempt("The proxy", partial(_chain, config_file))


def _attempt(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except CodetrialError as fault:
        return Finding(Grade.WRONG, f"{subject}: {fault}")


def _python() -> Finding:
    command = shutil.which("codetrial")
    version = ".".join(map(str, sys.version_info[:3]))
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
            yield Finding(Grade.FINE, f"Arm {label}: {arm.title}; `codetrial arms check` asks it something.")


def _local(url: str, title: str) -> Finding:
    local.check_installed(local.find(url.removeprefix("local:")))
    return Finding(Grade.FINE, f"{title}: runtime and weights are here.")


def _database(config: Config) -> Finding:
    path = Path(config.store.path) if config.store.path else default_database()
    if not path.exists():
        return Finding(Grade.NOTE, f"Nothing has been recorded yet; it will be in {path}.")
    with Store(path, readonly=True) as store:
        [health] = store.rows("PRAGMA quick_check(1)")
        [sessions] = store.rows("SELECT count(*) AS n FROM session")
    if next(iter(health.values())) != "ok":
        return Finding(Grade.WRONG, f"{path} is damaged: move it away, and a new one is started.")
    return Finding(Grade.FINE, f"{path} is healthy and holds {sessions['n']} sessions.")


def _folders() -> Iterator[Finding]:
    for path, variable in ((data_dir(), "CODETRIAL_DATA_DIR"), (runtime_dir(), "CODETRIAL_RUNTIME_DIR")):
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            yield Finding(Grade.WRONG, f"Cannot write {path}: set {variable} to a folder you can write.")
    if shutil.which("git") is None:
        yield Finding(Grade.WRONG, "There is no `git` on PATH: install it (for instance `apt install git`).")


def _editors() -> Iterator[Finding]:
    for name, title in EDITORS.items():
        try:
            plan = plan_for(name)
            is_there = any(
                change.path.exists() and change.undone() != change.path.read_text() for change in plan.changes
            )
            is_applied = applied(plan)
        except (CodetrialError, OSError, UnicodeDecodeError) as fault:
            yield Finding(Grade.WRONG, f"{title}: {fault}")
            continue
        if is_applied:
            yield Finding(Grade.FINE, f"{title}: installed in {plan.changes[0].path}.")
        elif is_there:
            yield Finding(Grade.NOTE, f"{title}: installed by another version: run `codetrial install {name}` again.")


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
        await editor.answer_of(await editor.start_completion(document, 13), deadline_s=ANSWER_S)
        return _has_session(store), editor.messages


def _has_session(store: Path) -> bool:
    if not store.exists():
        return False
    with Store(store, readonly=True) as opened:
        names = opened.rows("SELECT name FROM sqlite_master WHERE name = 'session'")
        return bool(names and opened.rows("SELECT 1 FROM session"))
