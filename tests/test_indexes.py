"""The indexes of traps and edge cases name tests that are there, and have one in every row."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

INDEXES = pytest.mark.parametrize("index", ["pr_bot/TRAPS.md", "lsp_proxy/EDGE_CASES.md"])


@INDEXES
def test_every_test_that_an_index_names_is_there(index: str) -> None:
    page = TESTS / index
    written = {
        name
        for path in page.parent.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert not set(re.findall(r"`(test_\w+)`", page.read_text())) - written


@INDEXES
def test_every_row_of_an_index_has_a_test(index: str) -> None:
    rows = [line for line in (TESTS / index).read_text().splitlines() if line.startswith("| ")]
    cases = [row for row in rows if not row.endswith("| test |")]
    assert len(cases) >= 30
    assert [row for row in cases if "`test_" not in row] == []
