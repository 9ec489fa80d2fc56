"""Changing one value in a settings file changes nothing else in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetrial.errors import ProxyError
from lsp_proxy.editors.jsonc import REMOVE, edited, loads

PATH = Path("settings.json")

NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SETTINGS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(NAMES, VALUES, max_size=5)

REMARKED = """\
// first
{
    "a": 1, // one
    /* before b */ "b": {"x": [1, 2, ], "y": {}},
    "c": {
        // nothing yet
    },
    "d": "é // no remark"  // last
}
// after
"""


@st.composite
def written(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Settings, as somebody might have written them."""
    value = draw(SETTINGS)
    text = json.dumps(value, indent=draw(st.sampled_from([None, 2, "\t"])), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()) and value:
        text = text[:-1].rstrip() + ",\n}"
    text = draw(st.sampled_from(["", "// x\n", "/* {} */ "])) + text + draw(st.sampled_from(["", "\n", " // y"]))
    return value, text.replace("\n", "\r\n") if draw(st.booleans()) else text


@given(written(), st.lists(NAMES, min_size=1, max_size=3), VALUES)
def test_a_set_value_is_there_and_all_others_stay(
    given: tuple[dict[str, Any], str], key: list[str], new: object
) -> None:
    value, text = given
    expected = json.loads(json.dumps(value))
    node = expected
    for name in key[:-1]:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    node[key[-1]] = new
    assert loads(edited(text, [(tuple(key), new)], PATH), PATH) == expected


@given(written(), st.data())
def test_a_removed_key_is_gone_and_all_others_stay(given: tuple[dict[str, Any], str], data: st.DataObject) -> None:
    value, text = given
    name = data.draw(st.sampled_from(sorted(value)) if value else NAMES)
    after = loads(edited(text, [((name,), REMOVE)], PATH), PATH)
    assert after == {key: kept for key, kept in value.items() if key != name}


@given(written(), NAMES.filter(bool), VALUES)
def test_removing_what_was_added_leaves_what_was_read(
    given: tuple[dict[str, Any], str], name: str, new: object
) -> None:
    value, text = given
    if name in value:
        return
    there = edited(text, [((name, "x"), new)], PATH)
    assert loads(edited(there, [((name,), REMOVE)], PATH), PATH) == value


def test_remarks_and_style_stay() -> None:
    there = edited(REMARKED, [(("b", "y", "z"), [1]), (("c", "k"), {"m": 1}), (("e",), "x"), (("a",), 2)], PATH)
    assert there == (
        REMARKED.replace('"a": 1', '"a": 2')
        .replace('"y": {}', '"y": {\n        "z": [1]\n    }')
        .replace("// nothing yet\n", '// nothing yet\n        "k": {\n            "m": 1\n        }\n')
        .replace('no remark"  // last\n', 'no remark",  // last\n    "e": "x"\n')
    )


def test_a_byte_order_mark_stays_in_front() -> None:
    assert edited('\ufeff{"a": 1}', [(("a",), 2)], PATH) == '\ufeff{"a": 2}'


@pytest.mark.parametrize("text", ["", "\n", "// none\n", "{}", "{ }\n"])
def test_an_empty_file_gets_an_object(text: str) -> None:
    there = edited(text, [(("a", "b"), ["c"])], PATH)
    assert loads(there, PATH) == {"a": {"b": ["c"]}}
    assert '  "a": {\n    "b": ["c"]\n  }\n' in there


BROKEN = ['{"a" 1}', "{,}", "[1]", '{"a":1}{', '{"a":1,,}', '{"a": [1,,2]}', '{"a":}', '{"a":1 "b":2}', "{'a':1}"]


@pytest.mark.parametrize("text", [*BROKEN, '{"a":tru}', '{"a":1', "}", '{"a": "\n'])
def test_what_is_no_json_is_refused_by_name_and_line(text: str) -> None:
    with pytest.raises(ProxyError, match=r"settings\.json: line \d is no JSON"):
        loads(text, PATH)
