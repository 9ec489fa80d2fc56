import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.cut import Cut, cut


def shown(raw: str, prefix: str = "", suffix: str = "", language: str = "python", max_lines: int = 8) -> Cut:
    return cut(raw, prefix=prefix, suffix=suffix, language=language, max_lines=max_lines)


CODE = st.text(alphabet="ab(){}[]\n\r\t  :,'\"<|>", max_size=80)


@given(CODE, CODE, CODE, st.integers(1, 5))
def test_a_cut_only_ever_shortens(raw: str, prefix: str, suffix: str, max_lines: int) -> None:
    text = shown(raw, prefix, suffix, max_lines=max_lines).text
    assert raw.replace("\r\n", "\n").replace("\r", "\n").startswith(text)
    assert text.count("\n") < max_lines


@given(CODE, CODE, CODE)
def test_filters_are_named_exactly_when_something_was_cut(raw: str, prefix: str, suffix: str) -> None:
    result = shown(raw, prefix, suffix)
    assert bool(result.filters) == (result.text != raw.replace("\r\n", "\n").replace("\r", "\n"))


@pytest.mark.parametrize("token", ["<|endoftext|>", "<|fim_middle|>", "<｜end▁of▁sentence｜>", "<EOT>", "<|file_sep|>"])
def test_special_tokens_end_the_suggestion(token: str) -> None:
    assert shown(f"x + 1{token}def other():") == Cut("x + 1", ("sentinel",))


def test_code_to_the_right_keeps_it_to_one_line() -> None:
    assert shown("a,\n    b", "f(", " + 1)\n") == Cut("a,", ("mid_line",))


def test_closers_to_the_right_do_not_keep_it_to_one_line() -> None:
    assert shown("a,\n    b", "f(", ")\n").text == "a,\n    b"


def test_the_line_below_is_not_written_twice() -> None:
    assert shown("x = 1\nreturn x\n", "", "\nreturn x\n") == Cut("x = 1", ("repeats_following",))


def test_a_smaller_indentation_ends_the_block() -> None:
    assert shown("return 1\n\ndef g():", "def f():\n    ").text == "return 1"


def test_indentation_means_nothing_in_prose() -> None:
    assert shown("one\ntwo", "    ", language="markdown").text == "one\ntwo"


def test_a_model_that_goes_round_is_stopped() -> None:
    assert shown("x\nx\nx\nx\n").text == "x"


def test_the_line_limit_counts_lines_that_are_left() -> None:
    assert shown("a\nb\nc", max_lines=2) == Cut("a\nb", ("max_lines",))


@pytest.mark.parametrize(
    ("raw", "prefix", "suffix", "text"),
    [
        ("a)", "f(", ")", "a"),
        ("g(a)", "f(", ")", "g(a)"),
        ("g(a))", "f(", ")", "g(a)"),
        ("name']", "x['", "']", "name"),
        ("total + offset", "x = ", " + offset", "total"),
        ("a b", "", " b c", "a b"),
    ],
)
def test_what_stands_to_the_right_is_not_written_twice(raw: str, prefix: str, suffix: str, text: str) -> None:
    assert shown(raw, prefix, suffix).text == text


def test_nothing_but_white_space_is_nothing() -> None:
    assert shown(" \n\t\n") == Cut("", ("trailing_space",))
