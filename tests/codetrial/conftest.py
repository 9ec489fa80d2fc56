"""Fixtures of the trial's own tests: folders of their own, and a server that streams what it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codetrial.arms.base import Prompt
from tests.codetrial.streaming import StreamingServer


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own folders."""
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(tmp_path / "user" / "codetrial.toml"))


@pytest.fixture
async def server() -> AsyncIterator[StreamingServer]:
    async with StreamingServer() as running:
        yield running


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(
        prefix="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n", path="sums.py", language="python"
    )
