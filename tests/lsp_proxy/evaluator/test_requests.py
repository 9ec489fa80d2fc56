"""The items that editors get, beside what editors make of them."""

from codetrial.records import Surface
from lsp_proxy.evaluator.edits import Point
from lsp_proxy.evaluator.requests import Request, completion_list, one_line_list


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
