"""VS Code itself, as code-server in a browser without a screen, with the extension that `codetrial install` put in."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, async_playwright, expect

from lsp_proxy.demo import language_server
from tests.codetrial.streaming import StreamingServer
from tests.lsp_proxy.test_neovim import CONFIG, DECIDED_S, PROGRAM, SUGGESTION, Desk, codetrial, program, says, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(240)]

PICTURE = Path(__file__).parents[2] / "docs" / "editors" / "vscode.png"

SETTINGS = """\
{
  // A person's own file, with comments.
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "security.workspace.trust.enabled": false,
  "chat.disableAIFeatures": true,
}
"""

READY_MS = 60_000
SHOWN_MS = 30_000


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "home", tmp_path / "project", tmp_path / "data" / "codetrial.db")
    made.project.mkdir()
    made.home.mkdir()
    (made.project / "main.py").write_text(PROGRAM)
    settings = made.home / "data" / "code-server" / "User" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)
    async with StreamingServer() as server:
        server.script = says
        (made.home / "codetrial.toml").write_text(CONFIG.format(url=server.url))
        yield made


def environment(desk: Desk, *, servers: bool = True) -> dict[str, str]:
    folders = [str(Path(program("code-server")).parent)]
    if servers:
        folders.append(str(Path(language_server()[0]).parent))
    return {**desk.environment(), "PATH": os.pathsep.join([*folders, "/usr/bin", "/bin"])}


@asynccontextmanager
async def workbench(desk: Desk, environment: dict[str, str]) -> AsyncIterator[Page]:
    """The editor's window on the project."""
    process = await asyncio.create_subprocess_exec(
        program("code-server"), "--auth", "none", "--disable-telemetry", "--disable-update-check",
        "--bind-addr", "127.0.0.1:0", cwd=desk.project, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while not (found := re.search(rb"listening on (http://\S+?)/?\s", line := await process.stdout.readline())):
                assert line, "code-server ended"
        reading = asyncio.create_task(process.stdout.read())  # Else its pipe fills up.
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1100, "height": 520})
            await page.goto(f"{found[1].decode()}/?folder={desk.project}")
            await expect(page.locator(".monaco-workbench")).to_be_visible(timeout=READY_MS)
            yield page
            await browser.close()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        await reading


def status(page: Page) -> Locator:
    return page.locator(".statusbar-item[id='codetrial.codetrial.codetrial'] a")


async def open_at(page: Page, name: str, place: str) -> None:
    await page.locator(f".explorer-folders-view .monaco-list-row[aria-label*='{name}']").dblclick()
    await expect(page.locator(f".tab.active[data-resource-name='{name}']")).to_be_visible(timeout=SHOWN_MS)
    await expect(page.locator(".editor-instance .native-edit-context, .editor-instance textarea").first).to_be_focused()
    await page.keyboard.press("Control+g")
    await expect(page.locator(".quick-input-widget")).to_be_visible()
    await page.keyboard.type(place)
    await page.keyboard.press("Enter")
    await expect(page.locator("[id='status.editor.selection']")).to_contain_text(f"Ln {place.replace(':', ', Col ')}")


async def test_ghost_text_appears_and_tab_takes_it(desk: Desk) -> None:
    surroundings = environment(desk)
    said = await asyncio.to_thread(codetrial, "install", "code-server", environment=surroundings)
    assert "--install-extension" in said
    async with workbench(desk, surroundings) as page:
        await expect(status(page)).to_have_attribute("aria-label", re.compile("suggests"), timeout=READY_MS)
        await open_at(page, "main.py", "4:9")
        await until(desk.is_recording, "the evaluator starts")
        await page.keyboard.type("j")
        ghost = page.locator(".ghost-text-decoration, .ghost-text")
        await expect(ghost.first).to_contain_text(SUGGESTION[1:], timeout=SHOWN_MS)
        await page.screenshot(path=PICTURE)
        await page.keyboard.press("Tab")
        await expect(page.locator(".view-lines")).to_contain_text(SUGGESTION)
        await expect(ghost).to_have_count(0)
        await page.keyboard.press("Control+s")
        await until(lambda: f"value = {SUGGESTION}" in (desk.project / "main.py").read_text(), "it is on disk")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert found[-1] == {"outcome": "accepted", "rule": "command", "surface": "inline"}
