"""The demo as a person runs it: a real commit, real processes, the stand-in for GitHub, and a page at the end."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
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
    assert "The author commits the suggestion" in found.output
    page = (keep / "review.html").read_text()
    assert "Load things &lt;script&gt;" in page
    assert "<script" not in page
    assert page.count('class="add flagged"') == page.count("<article>") - 1, "each comment stands beneath its line"
    for seen in ("scripted: careful", "held back", "resolved by author", "This is intentional.", "Not yet"):
        assert seen in page, seen
    assert (keep / "report.html").exists()
    assert "The report says: Not yet" in found.output
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


FROM_A_WHEEL = """
import sys
sys.modules["openapi_core"] = None  # a test dependency, which nobody has who installed the wheel
from pr_bot.commands import pr
import pr_bot.demo
assert pr_bot.demo.__file__.startswith(sys.argv[1]), pr_bot.demo.__file__
pr(["demo", "--repository", sys.argv[2], "--keep", sys.argv[3]])
"""


def test_the_demo_works_from_an_installed_wheel(working_copy: WorkingCopy, tmp_path: Path) -> None:
    working_copy.commit({"app.py": BEFORE})
    working_copy.commit({"app.py": AFTER})
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=Path(__file__).parents[2], check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    command = [sys.executable, "-P", "-c", FROM_A_WHEEL, str(installed), str(working_copy.folder), str(tmp_path / "k")]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "The author commits the suggestion" in done.stdout


def test_without_the_models_weights_the_demo_says_how_to_get_them(working_copy: WorkingCopy, tmp_path: Path) -> None:
    working_copy.commit({"app.py": BEFORE})
    working_copy.commit({"app.py": AFTER})
    wanted = ["demo", "--repository", str(working_copy.folder), "--keep", str(tmp_path / "k"), "--local-models"]
    assert "codetrial arms fetch" in str(CliRunner().invoke(pr, wanted).exception)


@pytest.mark.model
@pytest.mark.timeout(900)
def test_real_local_models_go_the_whole_way(
    working_copy: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (folder := os.environ.get("CODETRIAL_TEST_CACHE_DIR")) is not None:
        monkeypatch.setenv("CODETRIAL_CACHE_DIR", folder)
    else:
        monkeypatch.delenv("CODETRIAL_CACHE_DIR")  # The weights lie in the person's own.
    working_copy.commit({"app.py": BEFORE})
    working_copy.commit({"app.py": AFTER}, "Load things")
    keep = tmp_path / "kept"
    found = CliRunner().invoke(
        pr, ["demo", "--repository", str(working_copy.folder), "--keep", str(keep), "--local-models"],
        catch_exceptions=False,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    with Store(keep / "codetrial.db", readonly=True) as store:
        attempts = store.rows("SELECT label, status, latency_ms, tokens_in FROM attempt ORDER BY label")
    assert [row["label"] for row in attempts] == ["A", "B"]
    assert any(row["tokens_in"] for row in attempts), "a model really read it"
    assert "SmolLM2-135M" in (keep / "review.html").read_text()
