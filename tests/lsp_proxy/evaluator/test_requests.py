"""The items that editors get, beside what editors make of them."""

from pathlib import Path

import pytest

from codetrial.records import Surface
from lsp_proxy.evaluator.edits import Point
from lsp_proxy.evaluator.requests import Request, completion_list, one_line_list, relative_path


def request(context: str) -> Request:
    return Request(
        id="t-1",
        wire_id=1,
        surface=Surface.MENU,
        uri="file:///w/a.py",
        document="d",
        version=1,
        path="a.py",
        language="python",
        line=3,
        character=len(context),
        at=Point(3, len(context)),
        prefix=context,
        suffix="",
        context=context,
        trigger=None,
        selected=None,
        requested_ns=0,
    )


def test_an_item_replaces_the_word_before_the_cursor() -> None:
    [item] = completion_list(request("x = js"), "on.loads(a, b)", token="g", command=None, encoding="utf-16")["items"]
    assert item["textEdit"]["newText"] == "json.loads(a, b)"
    assert item["textEdit"]["range"]["start"] == {"line": 3, "character": 4}
    assert "insertText" not in item


def test_neovims_menu_gets_a_snippet_whose_label_is_the_same_text() -> None:
    made = one_line_list(request("x = js"), "on.loads(a, '${b}')", token="g", command="c", encoding="utf-16")
    [item] = made["items"]
    assert item["label"] == item["filterText"] == "json.loads(a, '${b}')"
    assert item["textEdit"]["newText"] == r"json.loads(a, '\${b\}')"
    assert item["insertTextFormat"] == 2
    assert item["command"]["arguments"] == ["g"]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///w/lib/a.py", "lib/a.py"),
        ("file:///w/lib/a%2C%20b.py", "lib/a, b.py"),
        ("file:///elsewhere/a.py", "/elsewhere/a.py"),
        ("vscode-notebook-cell:/w/lib/a.ipynb#W0sZmlsZQ%3D%3D", "lib/a.ipynb"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("untitled:/w/lib/new.py", "lib/new.py"),
        ("git:/w/lib/a.py?%7B%22ref%22%3A%22HEAD%22%7D", "lib/a.py"),
    ],
)
def test_rules_for_files_hold_for_whatever_stands_for_a_file(uri: str, path: str) -> None:
    assert relative_path(uri, Path("/w")) == path
