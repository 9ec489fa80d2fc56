"""The demo as a person runs it: a real commit, real processes, the stand-in for GitHub, and a page at the end."""

from pathlib import Path

from click.testing import CliRunner

from analysis.store import Store
from pr_bot.commands import pr
from tests.pr_bot.conftest import WorkingCopy

BEFORE = "import os\n\n\ndef first():\n    return 1\n"
AFTER = BEFORE + "".join(
    f"\n\ndef load_{number}(path):\n    try:\n        f = open(path)\n    except Exception:\n        return None\n"
    f"    if f == None:\n        return path\n    return f\n"
    for number in range(5)
)


def test_the_demo_goes_from_a_commit_to_outcomes_and_a_page(working_copy: WorkingCopy, tmp_path: Path) -> None:
    working_copy.commit({"app.py": BEFORE})
    working_copy.commit({"app.py": AFTER}, "Load things <script>")
    keep = tmp_path / "kept"
    found = CliRunner().invoke(
        pr, ["demo", "--repository", str(working_copy.folder), "--keep", str(keep)], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    assert "Ada commits the suggestion" in found.output
    page = (keep / "review.html").read_text()
    assert "Load things &lt;script&gt;" in page
    with Store(keep / "codetrial.db", readonly=True) as store:
        outcomes = {row["outcome"] for row in store.rows("SELECT outcome FROM outcome WHERE rule LIKE 'final%'")}
        assert "committed" in outcomes
        held_back = store.rows("SELECT count(*) AS n FROM assignment WHERE shown = 'none'")[0]["n"]
        assert held_back >= 1
        assert store.rows("SELECT DISTINCT origin FROM session") == [{"origin": "replay"}]


def test_a_repository_with_nothing_to_review_is_named(working_copy: WorkingCopy, tmp_path: Path) -> None:
    working_copy.commit({"a.txt": "x\n"})
    found = CliRunner().invoke(pr, ["demo", "--repository", str(working_copy.folder), "--keep", str(tmp_path / "k")])
    assert "None of the last" in str(found.exception)
