"""Documentation that is read off the code is what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.source import column_types, tables
from codetrial.records import OutcomeClass

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs" / "data.md"


def test_generated_parts_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", tables)
def test_the_data_dictionary_has_every_table_and_column(name: str) -> None:
    _, _, rest = DATA.read_text(encoding="utf-8").partition(f"### `{name}`\n")
    section = rest.partition("\n### ")[0]
    for column in column_types(name):
        assert f"| `{column}` |" in section


def test_every_word_of_an_outcome_is_listed() -> None:
    text = DATA.read_text(encoding="utf-8")
    assert all(f"- `{word}`" in text for word in OutcomeClass)


def test_a_page_that_was_edited_by_hand_is_found_stale(tmp_path: Path) -> None:
    for source in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.py")]:
        (tmp_path / source.name).write_text(source.read_text(encoding="utf-8").replace("| `seed` |", "| `sead` |"))
    run = subprocess.run(
        [sys.executable, str(tmp_path / "generate.py"), "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "data.md" in run.stderr
