"""A review of local commits through the real command, with real processes and model servers on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from codetrial.errors import ConfigError, ReviewError
from pr_bot.commands import pr
from pr_bot.local import review_locally
from tests.pr_bot.conftest import WorkingCopy
from tests.pr_bot.models import ModelServer, finding, serve_model

BEFORE = "def mean(values):\n    return sum(values) / len(values)\n"
AFTER = """\
def mean(values):
    total = 0
    for value in values:
        total =+ value
    return total / len(values)
"""


def configuration(folder: Path, a: ModelServer, b: ModelServer, extra: str = "") -> Path:
    path = folder / "trial.toml"
    path.write_text(
        f"""
        [arms.a]
        api = "openai-chat"
        model = "alpha"
        url = "{a.url}"
        [arms.b]
        api = "openai-chat"
        model = "beta"
        url = "{b.url}"
        {extra}
        """
    )
    return path


@pytest.fixture
def changed(working_copy: WorkingCopy) -> WorkingCopy:
    working_copy.commit({"app.py": BEFORE})
    working_copy.commit({"app.py": AFTER}, "Sum by hand\n\nIt is faster.")
    return working_copy


def test_both_arms_get_the_same_prompt_and_are_printed_side_by_side(changed: WorkingCopy, tmp_path: Path) -> None:
    wrong = finding(start_line=4, end_line=4, quote="total =+ value", title="`=+` assigns instead of adding",
                    body="The loop keeps only the last value.", suggestion="        total += value")  # fmt: skip
    also = finding(start_line=4, end_line=4, quote="total =+ value", title="The loop assigns instead of adding",
                   body="Only the last value is kept by the loop.")  # fmt: skip
    empty = finding(
        start_line=5, end_line=5, quote="return total / len(values)", title="Division by zero", severity="minor"
    )
    with serve_model([wrong]) as a, serve_model([also, empty]) as b:
        path = configuration(tmp_path, a, b)
        found = CliRunner().invoke(
            pr,
            ["review", "--local", "HEAD~1..HEAD", "--repository", str(changed.folder), "--json", "--config", str(path)],
            catch_exceptions=False,
        )
        result = json.loads(found.output)
        text = review_locally(changed.folder, "HEAD~1..HEAD", config_file=path)
    assert [(f["arm"], f["stratum"], f["start_line"], f["anchor"]) for f in result["findings"]] == [
        ("A", "both", 4, "exact"), ("B", "both", 4, "exact"), ("B", "B", 5, "exact")]  # fmt: skip
    assert result["findings"][0]["suggestion"] == "        total += value"
    assert a.requests[0]["messages"] == b.requests[0]["messages"]
    assert "R4 +         total =+ value" in a.requests[0]["messages"][1]["content"]
    assert "app.py:4: major bug" in text
    assert "[both arms]" in text


def test_an_arm_that_fails_is_named_with_its_kind_and_the_other_goes_on(changed: WorkingCopy, tmp_path: Path) -> None:
    with (
        serve_model(lambda _body: "I cannot answer in JSON, sorry.") as a,
        serve_model([finding(quote="def mean(values):")]) as b,
    ):
        result = json.loads(
            review_locally(changed.folder, "HEAD~1..HEAD", config_file=configuration(tmp_path, a, b), as_json=True)
        )
        assert len(a.requests) == 2, "one repair, no more"
    assert result["arms"]["A"] == {"status": "error", "error_kind": "bad_json"}
    assert [f["arm"] for f in result["findings"]] == ["B"]


def test_the_model_process_sees_neither_tokens_nor_the_other_arms_key(
    changed: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghs_secret")
    monkeypatch.setenv("KEY_A", "key-of-a")
    monkeypatch.setenv("KEY_B", "key-of-b")
    with serve_model([]) as a, serve_model([]) as b:
        path = configuration(tmp_path, a, b, '[review.arms.a]\nkey_env = "KEY_A"\n[review.arms.b]\nkey_env = "KEY_B"')
        review_locally(changed.folder, "HEAD~1..HEAD", config_file=path)
        assert a.headers[0]["authorization"] == "Bearer key-of-a"
        assert b.headers[0]["authorization"] == "Bearer key-of-b"
    from pr_bot import isolated

    passed_on = isolated._environment()
    assert not {"GITHUB_TOKEN", "KEY_A", "KEY_B"} & set(passed_on)


def test_the_n_gram_arm_cannot_review_and_says_what_to_write(changed: WorkingCopy) -> None:
    with pytest.raises(ConfigError, match=r"cannot review.*\[review.arms.a\]"):
        review_locally(changed.folder, "HEAD~1..HEAD")


@pytest.mark.parametrize("commits", ["HEAD", "..HEAD", "nowhere..HEAD"])
def test_what_is_no_range_is_named(changed: WorkingCopy, commits: str) -> None:
    with pytest.raises(ReviewError, match=r"range|rev-parse"):
        review_locally(changed.folder, commits)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pr_bot.pulls", ("pandas", "numpy", "matplotlib", "ibis", "jinja2")),
        ("pr_bot.asked", ("pandas", "numpy", "git", "github", "pathspec", "click", "rich", "sqlite3", "analysis")),
    ],
)
def test_a_process_starts_without_what_it_does_not_need(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded} & set(unwanted) == set()
