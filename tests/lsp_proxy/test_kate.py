"""Kate itself on a screen without a monitor, with what `codetrial install kate` writes over Kate's own list."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.lsp_proxy.desk import DECIDED_S, SUGGESTION, Desk, appears, codetrial, program, until
from tests.lsp_proxy.screen import Screen, screen

pytestmark = [pytest.mark.editor, pytest.mark.timeout(300)]

PATIENT = {"merge_budget_ms": 3000}
"""What is late for one list comes with the next; with this it mostly comes with the first."""

KATERC = """\
[KTextEditor View]
Keyword Completion=false
Word Completion=false
"""
"""So that a list on the screen is the language server's."""

READY_S = 90.0
LIST_S = 45.0
"""The first completion of a Python server takes seconds, and asking again would make it begin anew."""
BELOW_THE_LINE = (80, 178, 700, 470)
"""Where the list opens, on a screen whose window fills it."""
AT_THE_LINE = (400, 168)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk.laid_out(tmp_path, editor=PATIENT) as made:
        (made.home / "config").mkdir()
        (made.home / "config" / "katerc").write_text(KATERC)
        yield made


def surroundings(desk: Desk) -> dict[str, str]:
    """With python-lsp-server on PATH, which is what Kate starts for Python by itself."""
    path = os.pathsep.join([str(Path(program("pylsp")).parent), "/usr/bin", "/bin"])
    return {**desk.environment(), "PATH": path, "XDG_RUNTIME_DIR": str(desk.home), "LC_ALL": "C.UTF-8"}


@contextmanager
def kate(desk: Desk, shown: Screen, environment: dict[str, str]) -> Iterator[None]:
    assert shutil.which("kate"), "Kate is missing: run tests/editors/install.sh as root"
    process = subprocess.Popen(
        ["kate", "--new", "--line", "4", "--column", "9", "main.py"],
        cwd=desk.project,
        env=environment | {"DISPLAY": shown.display},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()  # Asked to end, it would ask back about what is not saved.
        process.wait(20)


def below_the_line(shown: Screen) -> Image.Image:
    return shown.picture().crop(BELOW_THE_LINE)


async def list_with_ours(desk: Desk, shown: Screen) -> None:
    """Ask until the language server's list is on the screen and our item went out with it."""
    empty = below_the_line(shown)
    for _ in range(10):
        shown.keys("ctrl+space")
        is_shown = await appears(lambda: below_the_line(shown) != empty, LIST_S)
        if is_shown and await appears(desk.was_offered, 2.0):
            return
        shown.keys("Escape")
        await until(lambda: below_the_line(shown) == empty, "the list closes")
    pytest.fail("our item never came into the list")


async def test_kate_takes_it_from_the_list(desk: Desk) -> None:
    environment = surroundings(desk)
    said = await asyncio.to_thread(codetrial, "install", "kate", environment=environment)
    settings = desk.home / "config" / "kate" / "lspclient" / "settings.json"
    assert str(settings) in said
    with screen() as shown, kate(desk, shown, environment):
        question = await until(
            lambda: shown.window("LSP server start requested"), "Kate asks about the command", READY_S
        )
        await until(lambda: shown.focus(question), "the question hears keys")
        shown.keep_picture("kate-asks")
        shown.keys("alt+y")
        window = await until(lambda: shown.window("main.py"), "the file is open")
        shown.fill_with(window)
        await until(lambda: shown.focus(window), "the window hears keys")
        shown.click(*AT_THE_LINE)
        await until(desk.is_recording, "the evaluator starts", READY_S)
        shown.write("json.")
        await list_with_ours(desk, shown)
        shown.keep_picture("kate")
        shown.keys("Return", "ctrl+s")
        await until(lambda: SUGGESTION in (desk.project / "main.py").read_text(), "the text is on disk")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert (found[-1]["outcome"], found[-1]["surface"]) == ("accepted", "menu")
    await asyncio.to_thread(codetrial, "uninstall", "kate", environment=environment)
    assert not settings.exists()
