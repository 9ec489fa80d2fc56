import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.syntax import (
    Definition,
    enclosing_function,
    encode,
    error_count,
    is_supported,
    language_of,
    parse,
    slow_parses,
    tokens,
)

LANGUAGES = st.sampled_from(["python", "typescript", "c", "go", "rust", "yaml", "unknown"])


@given(st.text(max_size=120), LANGUAGES)
def test_tokens_cover_the_text_whatever_it_is(text: str, language: str) -> None:
    expected = "".join(text.encode("utf-8", "replace").decode().split())
    assert "".join("".join(tokens(text, language)).split()) == expected


def test_strings_and_comments_are_split_into_words() -> None:
    assert tokens("x = 'a b'  # hi you\n", "python") == ["x", "=", "'", "a", "b", "'", "#", "hi", "you"]


def test_broken_code_has_errors_and_whole_code_has_none() -> None:
    assert error_count("x = (1, 2)\n", "python") == 0
    assert (error_count("x = (1, \n", "python") or 0) > 0
    assert error_count("anything", "cobol") is None


@given(st.text(alphabet="abf(){}[]:;=.,'\"\n # def", max_size=80), LANGUAGES)
def test_errors_are_those_of_every_node(text: str, language: str) -> None:
    tree = parse(encode(text), language)
    if tree is None:
        assert error_count(text, language) is None
        return
    nodes = [tree.root_node]
    for node in nodes:
        nodes += node.children
    assert error_count(text, language) == sum(node.is_error or node.is_missing for node in nodes)


CLASS = "class A:\n    def f(self):\n        return 1\n\nx = 1\n"


@pytest.mark.parametrize(
    ("line", "found"), [(1, Definition("f", 1, 2)), (2, Definition("f", 1, 2)), (4, None), (0, None)]
)
def test_enclosing_function(line: int, found: Definition | None) -> None:
    assert enclosing_function(CLASS, line, "python") == found


@pytest.mark.parametrize(
    ("path", "language_id", "language"),
    [
        ("a.py", None, "python"),
        ("a.txt", "Python", "python"),
        ("b.jsx", "javascriptreact", "javascript"),
        ("c.COB", None, "cobol"),
        ("Makefile", None, "unknown"),
        ("x", "elixir", "elixir"),
    ],
)
def test_language_of(path: str, language_id: str | None, language: str) -> None:
    assert language_of(path, language_id) == language


def test_every_grammar_loads_and_parses() -> None:
    from analysis.syntax import _GRAMMARS

    assert all(is_supported(language) and error_count("", language) is not None for language in _GRAMMARS)


def test_a_parse_that_takes_too_long_is_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.syntax.PARSE_LIMIT_S", -1.0)
    before = slow_parses()
    text = "x = f(1)\n" * 2_000
    assert error_count(text, "python") is None
    assert tokens(text, "python")[:3] == ["x", "=", "f"]
    assert slow_parses() > before
    monkeypatch.undo()
    assert error_count("x = 1\n", "python") == 0


def test_parsing_keeps_nothing() -> None:
    """The binding holds on to what its callback returned: whole texts, or the little that empty buffers take."""
    text = "def f(a):\n    return a\n" * 40
    error_count(text, "python")
    before = resident_kb()
    for number in range(3_000):
        error_count(f"{text}# {number}", "python")
    assert resident_kb() - before < 300


def resident_kb() -> int:
    gc.collect()
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
