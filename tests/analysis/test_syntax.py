import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.syntax import (
    Definition,
    enclosing_function,
    error_count,
    is_supported,
    language_of,
    place_of,
    slow_parses,
    tokens,
)
from codetrial.records import Place

LANGUAGES = st.sampled_from(["python", "typescript", "c", "go", "rust", "yaml", "unknown"])


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("x = foo(a, |)\n", Place.ARGUMENT),
        ("x = foo(a, |\n", Place.ARGUMENT),
        ("def f(|):\n    pass\n", Place.MID_LINE),
        ("import o|\n", Place.IMPORT),
        ("from a.b import |\n", Place.IMPORT),
        ("# why th|\n", Place.COMMENT),
        ("x = 'ab|c'\n", Place.STRING),
        ("x = f'ab{y|}c'\n", Place.MID_LINE),
        ("os.pa|\n", Place.MEMBER),
        ("x = 3.|\n", Place.LINE_END),
        ("x = |\n", Place.LINE_END),
        ("def f():\n    |\n", Place.LINE_START),
        ("x = | + 1\n", Place.MID_LINE),
        ("x = 'abc'|\n", Place.LINE_END),
        ("x = [1, |]\n", Place.MID_LINE),
        ("if (a|\n", Place.LINE_END),
    ],
)
def test_place_in_python(code: str, place: Place) -> None:
    prefix, suffix = code.split("|")
    assert place_of(prefix, suffix, "python") is place


@pytest.mark.parametrize(
    ("language", "code", "place"),
    [
        ("typescript", "foo(a, |);\n", Place.ARGUMENT),
        ("c", "int main() { printf(|", Place.ARGUMENT),
        ("c", "#include |\n", Place.IMPORT),
        ("cpp", "std::|\n", Place.MEMBER),
        ("go", "func f() { x := a.|\n", Place.MEMBER),
        ("rust", "let v = Vec::|", Place.MEMBER),
        ("java", "// what |\n", Place.COMMENT),
        ("elixir", "x = |\n", Place.UNKNOWN),
        ("cobol", "       MOVE |\n", Place.LINE_END),
        ("cobol", "000100* why |\n", Place.COMMENT),
        ("cobol", '           DISPLAY "HEL|LO".\n', Place.STRING),
        ("cobol", "       COPY |\n", Place.IMPORT),
        ("fortran", "program p\n  use |\n", Place.IMPORT),
        ("fortran", "program p\n  ! why |\nend program\n", Place.COMMENT),
        ("fortran", "program p\n  call solve(a, |\nend program\n", Place.ARGUMENT),
        ("matlab", "y = sum(a, |)\n", Place.ARGUMENT),
        ("matlab", "% why |\n", Place.COMMENT),
        ("csharp", "class A { void F() { Go(a, |); } }\n", Place.ARGUMENT),
        ("php", "<?php f($a, |);\n", Place.ARGUMENT),
        ("lua", "local x = require |\n", Place.IMPORT),
        ("kotlin", "fun f() { go(a, |) }\n", Place.ARGUMENT),
        ("swift", "import |\n", Place.IMPORT),
        ("ada", "with |\n", Place.IMPORT),
        ("pascal", "uses |\n", Place.IMPORT),
        ("scala", "// why |\n", Place.COMMENT),
    ],
)
def test_place_in_other_languages(language: str, code: str, place: Place) -> None:
    prefix, suffix = code.split("|")
    assert place_of(prefix, suffix, language) is place


@given(st.text(max_size=120), LANGUAGES)
def test_tokens_cover_the_text_whatever_it_is(text: str, language: str) -> None:
    expected = "".join(text.encode("utf-8", "replace").decode().split())
    assert "".join("".join(tokens(text, language)).split()) == expected


@given(st.text(max_size=80), st.text(max_size=80), LANGUAGES)
def test_any_cursor_has_a_place(prefix: str, suffix: str, language: str) -> None:
    assert isinstance(place_of(prefix, suffix, language), Place)


def test_strings_and_comments_are_split_into_words() -> None:
    assert tokens("x = 'a b'  # hi you\n", "python") == ["x", "=", "'", "a", "b", "'", "#", "hi", "you"]


def test_broken_code_has_errors_and_whole_code_has_none() -> None:
    assert error_count("x = (1, 2)\n", "python") == 0
    assert (error_count("x = (1, \n", "python") or 0) > 0
    assert error_count("anything", "cobol") is None


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
    assert place_of(text, "", "python") in set(Place)
    assert slow_parses() > before
    monkeypatch.undo()
    assert error_count("x = 1\n", "python") == 0
