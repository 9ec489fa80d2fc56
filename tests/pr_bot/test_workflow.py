"""The workflow that is written, and the action it uses, under real linters."""

import subprocess
import sys
from pathlib import Path

import pytest

from codetrial.errors import ReviewError
from pr_bot.workflow import install, render

ACTION = "acme/codetrial@" + "0123456789" * 4
ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize("keys", [(), ("OPENAI_API_KEY", "MISTRAL_API_KEY")])
def test_the_workflow_is_valid_and_passes_a_security_linter(tmp_path: Path, keys: tuple[str, ...]) -> None:
    (tmp_path / ".git").mkdir()
    path = install(tmp_path, ACTION, keys=keys)
    subprocess.run([TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path], check=True)
    subprocess.run([TOOLS / "zizmor", "--offline", "--no-progress", path], check=True)
    text = path.read_text()
    assert "actions/checkout" not in text, "nothing of a pull request is checked out"
    assert "pull_request_review_thread" not in text, "a webhook event that is no trigger; the file would not parse"


def test_the_action_is_valid_and_passes_a_security_linter() -> None:
    subprocess.run(
        [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-actions", ROOT / "action.yml"], check=True
    )
    subprocess.run([TOOLS / "zizmor", "--offline", "--no-progress", ROOT / "action.yml"], check=True)


@pytest.mark.parametrize(
    "action", ["acme/codetrial@v1", "acme/codetrial", "acme/codetrial@" + "0" * 39, "x\ny@" + "0" * 40]
)
def test_an_action_that_is_not_pinned_is_refused(action: str) -> None:
    with pytest.raises(ReviewError, match="not pinned"):
        render(action)


def test_a_workflow_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    install(tmp_path, ACTION)
    with pytest.raises(ReviewError, match="--force"):
        install(tmp_path, ACTION)
