"""The snippet method: what a chat model repeats is removed, what it adds is kept."""

import pytest

from codetrial.arms.base import Prompt, Snippet
from codetrial.arms.chat_infill import extract, messages

MID_LINE = ("def area(r):\n    return 3.14 * ", "\n\nprint(area(2))\n")
BLANK_LINE = ("for x in y:\n    total += x\n    ", "\nprint(total)\n")
IN_CALL = ("value = max(", ")\n")


def cursor(place: tuple[str, str]) -> Prompt:
    return Prompt(prefix=place[0], suffix=place[1], path="a.py", language="python")


@pytest.mark.parametrize(
    ("place", "said", "kept"),
    [
        (MID_LINE, "<snippet>\n    return 3.14 * r * r\n\nprint(area(2))\n</snippet>", "r * r"),
        (MID_LINE, "```python\n    return 3.14 * r * r\n```", "r * r"),
        (MID_LINE, "Here you are:\n```\n    return 3.14 * r * r\n```\nIt works.", "r * r"),
        (MID_LINE, "<snippet>\nreturn 3.14 * r * r\n</snippet>", "r * r"),
        (MID_LINE, "<snippet>return 3.14 *r * r</snippet>", "r * r"),
        (MID_LINE, "r * r", "r * r"),
        (MID_LINE, "<snippet>\n    return 3.14 * r *", "r *"),
        (BLANK_LINE, "<snippet>\n    total += x\n    count += 1\nprint(total)\n</snippet>", "count += 1"),
        (BLANK_LINE, "<snippet>\ntotal += x\n    count += 1\nprint(total)</snippet>", "count += 1"),
        (IN_CALL, "<snippet>\nvalue = max(1, 2)\n</snippet>", "1, 2"),
        (IN_CALL, "1, 2", "1, 2"),
        (("", ""), "<snippet>\nimport os\n</snippet>", "import os"),
        (("x = ", ""), '<snippet>x = "\\n"</snippet>', '"\\n"'),
    ],
)
def test_overlap_fences_and_tags_are_removed(place: tuple[str, str], said: str, kept: str) -> None:
    assert extract(said, cursor(place)) == kept


def test_a_model_that_only_repeats_has_said_nothing() -> None:
    assert extract("<snippet>\n    return 3.14 * \n</snippet>", cursor(MID_LINE)).strip() == ""


def test_the_model_is_told_both_sides_the_path_and_the_snippets() -> None:
    prompt = Prompt(
        prefix="P", suffix="S", path="a.py", language="python", snippets=(Snippet(path="b.py", text="CONTEXT"),)
    )
    system, user = messages(prompt)
    assert "repeating" in system
    for part in ("<before_cursor>\nP</before_cursor>", "<after_cursor>S", "a.py", "b.py", "CONTEXT"):
        assert part in user
