"""VS Code itself, as code-server in a browser without a screen, with the extension that `codetrial install` put in."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, async_playwright, expect

from codetrial import __version__
from lsp_proxy import control
from lsp_proxy.demo import language_server
from lsp_proxy.editors.vscode import IDENTIFIER
from tests.codetrial.streaming import Received, Script
from tests.lsp_proxy.desk import DECIDED_S, PROGRAM, SUGGESTION, Desk, codetrial, program, until

pytestmark = [pytest.mark.editor, pytest.mark.timeout(400)]

SETTINGS = """\
{
  // A person's own file, with comments.
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "security.workspace.trust.enabled": false,
  "chat.disableAIFeatures": true,
  "editor.quickSuggestions": { "other": "off" }, // While the list is open, Tab takes from it.
  "extensions.autoCheckUpdates": false,
}
"""

PATIENT = {"inline_deadline_ms": 30_000}
"""What is late is not shown, and here a whole editor starts beside the first question."""

READY_S = 90.0
"""A window that opens starts four processes and loads 20 MB; on a busy machine that takes a while."""

expect.set_options(timeout=45_000)


@dataclass
class VSCodeDesk(Desk):
    """With VS Code on it, installed and set up; `settings` are the person's."""

    prompts: list[str] = field(default_factory=list)
    proxies: int = 1
    """How many run: one for each server that is named or found, one for all other languages."""

    def says(self, request: Received) -> Script:
        self.prompts.append(request.body["prompt"])
        return super().says(request)

    @property
    def settings(self) -> Path:
        return self.home / "data" / "code-server" / "User" / "settings.json"

    def configure(self, **settings: object) -> None:
        lines = "".join(f'  "codetrial.{name}": {json.dumps(value)},\n' for name, value in settings.items())
        self.settings.write_text(SETTINGS.replace("{\n", "{\n" + lines, 1))

    def states(self) -> set[str]:
        """Of the running proxies, as `codetrial status` shows them; empty until all of them run."""
        found = [proxy.state for proxy in control.proxies()]
        return set(found) if len(found) == self.proxies else set()

    def suggests(self) -> bool:
        """Every evaluator has read its configuration, opened its session and spoken to its relay."""
        is_recording = len(self._rows("session", "SELECT 1 FROM session")) == self.proxies
        return is_recording and self.states() == {"suggests in the text"}


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VSCodeDesk]:
    async with VSCodeDesk.laid_out(tmp_path, is_root=False, editor=PATIENT) as made:
        monkeypatch.setenv("CODETRIAL_DATA_DIR", str(made.store.parent))
        made.settings.parent.mkdir(parents=True)
        made.settings.write_text(SETTINGS)
        yield made


def environment(desk: Desk) -> dict[str, str]:
    """VS Code asks a login shell for PATH; what the project itself has is found without it."""
    return {
        **desk.environment(),
        "PATH": os.pathsep.join([str(Path(program("code-server")).parent), "/usr/bin", "/bin"]),
    }


def with_language_server(desk: VSCodeDesk) -> None:
    desk.proxies = 2
    programs = desk.project / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "basedpyright-langserver").symlink_to(language_server()[0])


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
            await expect(page.locator(".monaco-workbench")).to_be_visible()
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
    await expect(page.locator(f".tab.active[data-resource-name='{name}']")).to_be_visible()
    await expect(page.locator(".editor-instance .native-edit-context, .editor-instance textarea").first).to_be_focused()
    await page.keyboard.press("Control+g")
    await expect(page.locator(".quick-input-widget")).to_be_visible()
    await page.keyboard.type(place)
    await page.keyboard.press("Enter")
    await expect(page.locator("[id='status.editor.selection']")).to_contain_text(f"Ln {place.replace(':', ', Col ')}")


@asynccontextmanager
async def at_the_cursor(desk: VSCodeDesk, file: str = "main.py") -> AsyncIterator[Page]:
    """A window with the cursor behind `value = `, once every evaluator suggests."""
    surroundings = environment(desk)
    await start(desk, surroundings)
    async with workbench(desk, surroundings) as page:
        await open_at(page, file, "4:9")
        await until(desk.suggests, "the evaluators start", READY_S)
        yield page


def ghost(page: Page) -> Locator:
    """The line with ghost text in it, which lies there in as many pieces as it has colours."""
    return page.locator(".view-line").filter(has=page.locator(".ghost-text-decoration, .ghost-text"))


def written(page: Page) -> Locator:
    return page.locator(".editor-instance .view-lines")


async def notification(page: Page, words: str) -> None:
    await expect(page.locator(".notification-list-item", has_text=words).first).to_be_visible()


async def start(desk: VSCodeDesk, surroundings: dict[str, str]) -> None:
    said = await asyncio.to_thread(codetrial, "install", "code-server", environment=surroundings)
    assert "--install-extension" in said


async def test_ghost_text_appears_and_tab_takes_it(desk: VSCodeDesk) -> None:
    with_language_server(desk)
    surroundings = environment(desk)
    await start(desk, surroundings)
    async with workbench(desk, surroundings) as page:
        await expect(status(page)).to_have_attribute("aria-label", re.compile("suggests"))
        await open_at(page, "main.py", "4:9")
        await until(desk.suggests, "the evaluators start", READY_S)
        await page.keyboard.type("j")
        await expect(ghost(page)).to_contain_text(SUGGESTION)
        if folder := os.environ.get("CODETRIAL_CAPTURES"):
            await page.screenshot(path=Path(folder, "vscode.png"))
        await page.keyboard.press("Tab")
        await expect(written(page)).to_contain_text(SUGGESTION)
        await page.keyboard.press("Control+s")
        await until(lambda: f"value = {SUGGESTION}" in desk.on_disk(), "it is on disk")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert found[-1] == {"outcome": "accepted", "rule": "command", "surface": "inline"}


async def test_uninstalling_leaves_an_editor_without_it(desk: VSCodeDesk) -> None:
    surroundings = environment(desk)

    def extensions() -> str:
        command = [program("code-server"), "--list-extensions"]
        return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout

    await start(desk, surroundings)
    assert IDENTIFIER in await asyncio.to_thread(extensions)
    assert list(desk.settings.parents[1].glob(f"extensions/{IDENTIFIER}-{__version__}*")), "where the doctor looks"
    await asyncio.to_thread(codetrial, "uninstall", "code-server", environment=surroundings)
    assert IDENTIFIER not in await asyncio.to_thread(extensions)
    assert desk.settings.read_text() == SETTINGS


async def test_the_language_server_works_and_a_pause_silences_suggestions_only(desk: VSCodeDesk) -> None:
    with_language_server(desk)
    surroundings = environment(desk)
    await start(desk, surroundings)
    async with workbench(desk, surroundings) as page:
        await open_at(page, "main.py", "4:9")
        await until(desk.suggests, "the evaluators start", READY_S)
        await asyncio.to_thread(codetrial, "pause", environment=surroundings)
        await expect(status(page)).to_have_attribute("aria-label", "codetrial: paused")
        await until(lambda: desk.states() == {"paused"}, "the proxies are silent")
        await page.keyboard.type("j")
        await page.keyboard.press("Control+Space")
        # The server's own list, and its opinion of half a line.
        await expect(page.locator(".suggest-widget.visible")).to_contain_text("json")
        await page.keyboard.press("Escape")
        await expect(page.locator("[id='status.problems']")).not_to_have_attribute("aria-label", "No Problems")
        assert desk.prompts == []
        await status(page).click()
        await page.locator(".quick-input-list .monaco-list-row", has_text="Resume").click()
        await expect(status(page)).to_have_attribute("aria-label", "codetrial: suggests")
        await until(desk.suggests, "the proxies speak again")
        await written(page).click()
        await page.keyboard.press("Control+End")
        await page.keyboard.type("value = js")
        await expect(ghost(page)).to_contain_text(SUGGESTION)


async def test_suggestions_appear_also_where_there_is_no_server_to_wrap(desk: VSCodeDesk) -> None:
    (desk.project / "main.rb").write_text(PROGRAM)
    async with at_the_cursor(desk, "main.rb") as page:
        await page.keyboard.type("j")
        await expect(ghost(page)).to_contain_text(SUGGESTION)
        await page.keyboard.press("Tab")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert found[-1] == {"outcome": "accepted", "rule": "command", "surface": "inline"}


async def test_a_server_that_is_missing_is_named_and_suggestions_appear_all_the_same(desk: VSCodeDesk) -> None:
    desk.proxies = 2
    desk.configure(servers=[{"languages": ["python"], "command": ["no-such-server", "--stdio"]}])
    surroundings = environment(desk)
    await start(desk, surroundings)
    async with workbench(desk, surroundings) as page:
        await notification(page, "The language server no-such-server for python was not found")
        await open_at(page, "main.py", "4:9")
        await until(desk.suggests, "the evaluators start", READY_S)
        await page.keyboard.type("j")
        await expect(ghost(page)).to_contain_text(SUGGESTION)


async def test_a_codetrial_that_is_missing_is_named_until_it_is_there(desk: VSCodeDesk) -> None:
    surroundings = environment(desk)
    await start(desk, surroundings)
    settings = desk.project / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{ "codetrial.command": ["/nowhere/codetrial"] }')
    async with workbench(desk, surroundings) as page:
        await notification(page, "The setting codetrial.command names /nowhere/codetrial, which is not there")
        await expect(status(page)).to_have_attribute("aria-label", "codetrial: something is wrong")
        settings.write_text("{}")
        await expect(status(page)).to_have_attribute("aria-label", "codetrial: suggests")


async def test_a_word_taken_with_its_own_key_is_partly_accepted(desk: VSCodeDesk) -> None:
    async with at_the_cursor(desk) as page:
        await page.keyboard.type("j")
        await expect(ghost(page)).to_contain_text(SUGGESTION)
        await page.keyboard.press("Control+ArrowRight")
        await expect(written(page)).to_contain_text("value = json")
        await page.keyboard.press("Escape")
        await page.keyboard.type("x = 3  # something else")
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert (found[0]["outcome"], found[0]["surface"]) == ("partly_accepted", "inline")


async def test_undo_of_a_taken_suggestion_is_not_an_acceptance(desk: VSCodeDesk) -> None:
    with_language_server(desk)
    async with at_the_cursor(desk) as page:
        await page.keyboard.type("j")
        await expect(ghost(page)).to_contain_text(SUGGESTION)
        await page.keyboard.press("Tab")
        await until(desk.was_taken, "the evaluator sees it taken")
        await page.keyboard.press("Control+z")
        await expect(written(page)).not_to_contain_text(SUGGESTION)
        found = await until(desk.outcomes, "the outcome reaches the database", DECIDED_S)
    assert found[0]["outcome"] == "not_taken"


async def test_a_suggestion_taken_within_closed_brackets_is_written_once(desk: VSCodeDesk) -> None:
    """VS Code closes a bracket as it is typed; the model's own must not come after it."""
    with_language_server(desk)
    async with at_the_cursor(desk) as page:
        await page.keyboard.type("json.loads(")
        await expect(ghost(page)).to_contain_text(SUGGESTION)
        await page.keyboard.press("Tab")
        await expect(ghost(page)).to_have_count(0)
        await page.keyboard.press("Control+s")
        expected = PROGRAM.replace("value = ", f"value = {SUGGESTION}")
        await until(lambda: (desk.project / "main.py").read_text() == expected, "it is on disk, once")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert found == [{"outcome": "accepted", "rule": "command", "surface": "inline"}]


async def test_with_two_cursors_both_lines_get_it_and_it_counts_once(desk: VSCodeDesk) -> None:
    (desk.project / "main.py").write_text(f"{PROGRAM}value = \n")
    with_language_server(desk)
    async with at_the_cursor(desk) as page:
        await page.keyboard.press("Control+Shift+p")
        await page.keyboard.type("Add Cursor Below")
        await page.locator(".quick-input-list .monaco-list-row", has_text="Add Cursor Below").first.click()
        await expect(page.locator("[id='status.editor.selection']")).to_contain_text("2 selections")
        await page.keyboard.type("j")
        await expect(ghost(page).first).to_contain_text(SUGGESTION)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Control+s")
        expected = f"{PROGRAM}value = \n".replace("value = ", f"value = {SUGGESTION}")
        await until(lambda: (desk.project / "main.py").read_text() == expected, "it is on disk, twice")
        found = await until(desk.accepted, "the outcome reaches the database", DECIDED_S)
    assert [row["rule"] for row in found] == ["command"]
