"""A suggestion becomes a button only if it applies, parses and changes something; else it is text, with the reason."""

from typing import Any

import msgspec
import pytest

from codetrial.records import ArmLabel
from pr_bot.diff import local_diff
from pr_bot.findings import place
from pr_bot.render import finding_text
from pr_bot.review import Claim
from pr_bot.source import Source, apply, check_suggestion
from tests.pr_bot.conftest import WorkingCopy
from tests.pr_bot.models import finding

BEFORE = "def total(values):\n    result = 0\n    for v in values:\n        result += v\n    return result\n"
AFTER = "def total(values):\n    result = 1\n    for v in values:\n        result =+ v\n    return result\n"


def shown(copy: WorkingCopy, after: str | bytes = AFTER, path: str = "app.py", **values: Any) -> tuple[str, str | None]:
    """The comment's text, and why the suggestion is no button."""
    base = copy.commit({path: BEFORE})
    diff = local_diff(copy.repository, base, copy.commit({path: after}))
    [placed] = place(diff, [msgspec.convert(finding(path=path, **values), Claim)], ArmLabel.A)
    checked = check_suggestion(placed, Source(copy.repository, diff.head))
    return finding_text(checked), checked.suggestion_note


FOUR: dict[str, Any] = {"start_line": 4, "end_line": 4, "quote": "result =+ v"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({**FOUR, "suggestion": "        result += (v"}, "it would not parse"),
        ({**FOUR, "suggestion": "    ) result += v"}, "it would not parse"),
        ({**FOUR, "suggestion": "        result =+ v"}, "it changes nothing"),
        ({**FOUR, "suggestion": "        result =+ v   "}, "it changes nothing"),
        ({**FOUR, "suggestion": "```python\n        result =+ v\n```"}, "it changes nothing"),
        ({**FOUR, "side": "LEFT", "quote": "result += v", "suggestion": "x = 1"}, "not on lines of the new file"),
        ({**FOUR, "suggestion": '        result += v  # ghp_' + "a1B2" * 9}, "it holds a secret"),
        ({"start_line": None, "end_line": None, "suggestion": "x = 1"}, "not on lines of the new file"),
        ({"start_line": 99, "end_line": 99, "quote": "result =+ v", "suggestion": "        result += v"},
         "its lines were found by their text"),
    ],
    ids=["open-bracket", "stray-bracket", "same", "blanks", "fenced-same", "deleted-lines", "secret", "whole-file",
         "by-quote"],
)  # fmt: skip
def test_what_does_not_fit_is_plain_text_with_the_reason(
    working_copy: WorkingCopy, values: dict[str, Any], why: str
) -> None:
    text, note = shown(working_copy, **values)
    assert note == why
    assert "```suggestion" not in text
    assert f"Suggested ({why}):" in text


@pytest.mark.parametrize(
    ("suggestion", "button"),
    [
        ("        result += v", "```suggestion\n        result += v\n```"),
        ("```python\n        result += v\n```", "```suggestion\n        result += v\n```"),
        ("\n        result += v\n\n", "```suggestion\n        result += v\n```"),
        ("        result += v  # ```", "````suggestion\n        result += v  # ```\n````"),
    ],
    ids=["plain", "fenced", "newlines", "fence-inside"],
)
def test_what_fits_is_a_button_with_a_fence_of_its_own_length(
    working_copy: WorkingCopy, suggestion: str, button: str
) -> None:
    text, note = shown(working_copy, **FOUR, suggestion=suggestion)
    assert note is None
    assert button in text


def test_a_file_of_no_known_syntax_gets_no_button(working_copy: WorkingCopy) -> None:
    text, note = shown(working_copy, path="notes.unknown", **FOUR, suggestion="        result += v")
    assert note == "its syntax could not be checked"
    assert "```suggestion" not in text


def test_a_file_that_did_not_parse_before_may_be_mended(working_copy: WorkingCopy) -> None:
    broken = AFTER.replace("result =+ v", "result += (v")
    text, note = shown(working_copy, broken, start_line=4, end_line=4, quote="result += (v",
                       suggestion="        result += v")  # fmt: skip
    assert note is None
    assert "```suggestion" in text


def test_lines_keep_the_ends_that_the_file_has() -> None:
    assert apply("a\r\nb\r\nc\r\n", 2, 2, "x\ny") == "a\r\nx\r\ny\r\nc\r\n"
    assert apply("a\nb", 2, 2, "x") == "a\nx"
    assert apply("a\nb", 2, 9, "x") is None


def test_a_file_that_is_not_text_gets_no_button(working_copy: WorkingCopy) -> None:
    latin = AFTER.replace("return result", "return résultat").encode("latin-1")
    _, note = shown(working_copy, latin, **FOUR, suggestion="        result += v")
    assert note == "the file is not text"
