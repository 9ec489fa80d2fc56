"""The index of traps names tests that are there, and enough of them."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent


def test_every_test_that_the_index_names_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", (FOLDER / "TRAPS.md").read_text())
    written = {
        name for path in FOLDER.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert not set(named) - written
    assert len(set(named)) > 80


def test_every_trap_has_a_test() -> None:
    rows = [line for line in (FOLDER / "TRAPS.md").read_text().splitlines() if line.startswith("| ")]
    traps = [row for row in rows if not row.startswith("| trap ")]
    assert all("`test_" in row for row in traps)
