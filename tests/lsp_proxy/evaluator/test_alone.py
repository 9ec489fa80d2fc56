"""The evaluator as an editor's only server, without a relay or a language server behind it."""

import json
import sys
from pathlib import Path

from analysis.store import Store
from lsp_proxy.editor_client import INLINE_EDITOR, MENU_EDITOR, EditorClient
from tests.codetrial.streaming import StreamingServer
from tests.lsp_proxy.evaluator.conftest import CONFIG


def command(folder: Path, url: str) -> list[str]:
    config = folder / "codetrial.toml"
    config.write_text(CONFIG.format(seed="5eed", a=1.0, b=0.0, none=0.0, url=url, scale=1, store_text="full"))
    options = {"config": str(config), "store": str(folder / "alone.db"), "origin": "test", "root": str(folder)}
    return [sys.executable, "-P", "-m", "lsp_proxy.evaluator", "--stdio", "--options", json.dumps(options)]


async def test_it_serves_an_editor_alone_and_records_what_was_taken(tmp_path: Path, model: StreamingServer) -> None:
    environment = {"CODETRIAL_DATA_DIR": str(tmp_path / "data"), "CODETRIAL_USER_CONFIG": str(tmp_path / "none")}
    text = "def add(total):\n    x = \n"
    async with EditorClient.started(
        command(tmp_path, f"{model.url}/v1"), root=tmp_path, profile=INLINE_EDITOR, environment=environment
    ) as editor:
        assert editor.asks_inline
        document = await editor.open(tmp_path / "a.py", "python", text)
        at = text.index("x = ") + 4
        answer = await editor.answer_of(await editor.start_inline(document, at))
        [item] = answer["items"]
        edit = document.inline_edit_of(item, at)
        assert edit.text == "total + 1"
        await editor.change(document, *edit)
        await editor.run_command(item["command"])
        assert await editor.shut_down() == 0
    with Store(tmp_path / "alone.db", readonly=True) as store:
        assert [tuple(row.values()) for row in store.rows("SELECT outcome, rule FROM outcome")] == [
            ("accepted", "command")
        ]
        assert len(store.rows("SELECT * FROM exposure")) == 1
        assert [row["reason"] for row in store.rows("SELECT reason FROM session_end")] == ["exit"]


async def test_an_editor_that_shows_menus_only_is_offered_an_item(tmp_path: Path, model: StreamingServer) -> None:
    environment = {"CODETRIAL_DATA_DIR": str(tmp_path / "data"), "CODETRIAL_USER_CONFIG": str(tmp_path / "none")}
    async with EditorClient.started(
        command(tmp_path, f"{model.url}/v1"), root=tmp_path, profile=MENU_EDITOR, environment=environment
    ) as editor:
        document = await editor.open(tmp_path / "a.py", "python", "x = \n")
        answer = await editor.answer_of(await editor.start_completion(document, 4))
        assert [item["textEdit"]["newText"] for item in answer["items"]] == ["total + 1"]
