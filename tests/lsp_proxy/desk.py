"""A person's machine for tests with real editors: home, project, model server and database."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from analysis.store import Store
from codetrial.paths import cache_dir
from tests.codetrial.streaming import Received, Script, StreamingServer
from tests.lsp_proxy import served_arm

__all__ = [
    "DECIDED_S",
    "OFFERED",
    "PROGRAM",
    "SUGGESTION",
    "Desk",
    "appears",
    "codetrial",
    "program",
    "says",
    "until",
]

SUGGESTION = "json.loads(text_from_the_model)"
OFFERED = SUGGESTION.removeprefix("json.")
PROGRAM = "import json\n\ntext_from_the_model = '{}'\nvalue = \n"

DECIDED_S = 40.0
"""What was taken counts when it still stands after 10 s: these sessions are a person's, and time is not scaled."""


def says(request: Received) -> Script:
    """The rest of the line, whatever of it is written already."""
    _, found, line = request.body["prompt"].rpartition("value = ")
    text = SUGGESTION[len(line) :] if found and SUGGESTION.startswith(line) else ""
    return served_arm.says(text)


@dataclass
class Desk:
    """A person's machine: home, project, model server, database."""

    home: Path
    project: Path
    store: Path

    @classmethod
    @asynccontextmanager
    async def laid_out(
        cls, folder: Path, *, home: str = "home", is_root: bool = True, editor: Mapping[str, float] | None = None
    ) -> AsyncIterator[Self]:
        """With a file to write in, a configuration, and the model server that it names, which runs meanwhile.

        Args:
            is_root: The project has the mark by which editors know a root.
            editor: Keys of `[editor]` in the configuration.
        """
        made = cls(folder / home, folder / "project", folder / "data" / "codetrial.db")
        made.home.mkdir()
        made.project.mkdir()
        if is_root:
            (made.project / ".git").mkdir()
        (made.project / "main.py").write_text(PROGRAM)
        async with StreamingServer() as server:
            server.script = made.says
            file = made.home / "codetrial.toml"
            file.write_text(served_arm.configuration(server.url, name="editors", editor=editor))
            yield made

    def says(self, request: Received) -> Script:
        """What the served arm answers."""
        return says(request)

    def environment(self) -> dict[str, str]:
        home = {"HOME": self.home, "XDG_CONFIG_HOME": self.home / "config", "XDG_DATA_HOME": self.home / "data"}
        state = {"XDG_STATE_HOME": self.home / "state", "XDG_CACHE_HOME": self.home / "cache"}
        own = {"CODETRIAL_DATA_DIR": self.store.parent, "CODETRIAL_USER_CONFIG": self.home / "codetrial.toml"}
        return {**os.environ, **{name: str(path) for name, path in (home | state | own).items()}}

    def on_disk(self) -> str:
        """The file's text; none for the moment in which an editor puts the new file in its place."""
        try:
            return (self.project / "main.py").read_text()
        except FileNotFoundError:
            return ""

    def is_recording(self) -> bool:
        """The evaluator has opened its session; it starts after the language server."""
        return bool(self._rows("session", "SELECT 1 FROM session"))

    def has_answers(self) -> bool:
        return bool(self._rows("attempt", "SELECT 1 FROM attempt WHERE status = 'ok'"))

    def was_taken(self) -> bool:
        return bool(self._rows("incident", "SELECT 1 FROM incident WHERE kind = 'taken'"))

    def outcomes(self) -> list[dict[str, Any]]:
        return self._rows("v_outcome", "SELECT outcome, rule, surface FROM v_outcome ORDER BY decided_ns")

    def accepted(self) -> list[dict[str, Any]]:
        """Those taken whole. What they replaced while somebody typed is decided sooner."""
        return [row for row in self.outcomes() if row["outcome"] == "accepted"]

    def _rows(self, table: str, sql: str) -> list[dict[str, Any]]:
        if not self.store.exists():
            return []
        with Store(self.store, readonly=True) as store:
            has_table = store.rows("SELECT 1 FROM sqlite_master WHERE name = ?", [table])
            return store.rows(sql) if has_table else []


def codetrial(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-P", "-m", "codetrial.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def program(name: str) -> str:
    path = Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors")) / "bin" / name
    assert path.exists(), f"{path} is missing: run tests/editors/install.sh"
    return str(path)


async def until(condition: Callable[[], Any], what: str, deadline_s: float = 30.0) -> Any:
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    if found := await asyncio.to_thread(condition):
                        return found
                except subprocess.CalledProcessError:
                    pass  # Neovim does not listen yet.
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what}: did not happen within {deadline_s:g} s")


async def appears(condition: Callable[[], Any], within_s: float) -> bool:
    for _ in range(int(within_s / 0.05)):
        if await asyncio.to_thread(condition):
            return True
        await asyncio.sleep(0.05)
    return False
