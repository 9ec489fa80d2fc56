"""The workflow that is written, and the action it uses: under real linters, and each step run as a runner would."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.store import Store
from codetrial.errors import ReviewError
from pr_bot.sealing import seal, unseal
from pr_bot.workflow import install, render
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import finding, serve_model

ACTION = "acme/codetrial@" + "0123456789" * 4
ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize("keys", [(), ("OPENAI_API_KEY", "MISTRAL_API_KEY")])
def test_the_workflow_is_valid_and_passes_a_security_linter(tmp_path: Path, keys: tuple[str, ...]) -> None:
    (tmp_path / ".git").mkdir()
    path = install(tmp_path, ACTION, keys=keys)
    subprocess.run([TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path], check=True)
    subprocess.run([TOOLS / "zizmor", "--offline", "--no-progress", path], check=True)
    subprocess.run([TOOLS / "actionlint", path], check=True)
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
    with pytest.raises(ReviewError, match="--overwrite"):
        install(tmp_path, ACTION)


def test_the_store_is_kept_after_a_failure_too_and_of_one_branch_only() -> None:
    job = yaml.safe_load(render(ACTION))["jobs"]["codetrial"]
    keep = job["steps"][-1]
    assert (keep["if"], "/save@" in keep["uses"]) == ("always()", True)
    assert "default_branch" in job["if"]
    assert {step["with"]["path"] for step in job["steps"] if "cache" in step.get("uses", "")} == {"~/codetrial-data"}
    assert job["permissions"] == {"contents": "read", "pull-requests": "write", "checks": "write"}


class Runner:
    """What GitHub's runner does with a composite action: expressions filled in, each `run` given to bash."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "temp").mkdir()
        self.environment = {
            **os.environ, "RUNNER_TEMP": str(folder / "temp"), "GITHUB_ACTION_PATH": str(ROOT), "HOME": str(folder),
            "GITHUB_REPOSITORY": "octo/app", "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), **environment,
        }  # fmt: skip

    def run_of(self, **inputs: str) -> dict[str, int]:
        """The exit codes of the steps of one run on a fresh runner; after a failure only those that always run."""
        shutil.rmtree(self.folder / "temp/codetrial-data", ignore_errors=True)
        codes: dict[str, int] = {}
        for name, step in action_steps().items():
            if name != "Install" and (not any(codes.values()) or step.get("if") == "always()"):
                codes[name] = self.step(step, **inputs).returncode
        return codes

    def step(self, step: dict[str, Any], **values: str) -> subprocess.CompletedProcess[str]:
        def filled(text: str) -> str:
            return re.sub(r"\$\{\{ (?:inputs|vars)\.([\w-]+) \}\}", lambda match: values[match[1]], text)

        assert "${{" not in step["run"], "nothing of an event is ever pasted into a shell"
        own = {name: filled(value) for name, value in step.get("env", {}).items()}
        # As GitHub starts `shell: bash`.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(
            command, cwd=self.folder, env={**self.environment, **own}, capture_output=True, text=True, timeout=800
        )


def action_steps() -> dict[str, dict[str, Any]]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    return {step["name"]: step for step in action["runs"]["steps"]}


def test_the_actions_steps_review_collect_and_catch_up_as_a_runner_runs_them(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "runner").mkdir()
    runner = Runner(tmp_path / "runner", GITHUB_API_URL=scene.hub.url)
    bin_folder = runner.folder / "temp/codetrial/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "codetrial").symlink_to(TOOLS / "codetrial")
    sealed = runner.folder / "kept/store.sealed"
    repo = scene.hub.repository("octo/app", {"app.py": "x = 1\n"})
    pulls = [scene.hub.open_pull(repo, {"app.py": f"x = {n}\ny = 1\n"}, is_fork=n == 3) for n in (2, 3)]
    with serve_model([finding(start_line=1, end_line=1, quote="x =", title="x should stay one")]) as model:
        arms = "".join(
            f'[arms.{label}]\napi = "openai-chat"\nmodel = "{label}"\nurl = "{model.url}"\n' for label in "ab"
        )
        workflow = yaml.safe_load(render(ACTION))["jobs"]["codetrial"]["steps"]
        written = runner.step(workflow[0], CODETRIAL_CONFIG=arms + "[review]\npost_share = 1.0\n")
        assert written.returncode == 0, written.stderr
        inputs = {"task": "review", "config": str(runner.folder / "temp/codetrial.toml"), "data": "~/kept",
                  "pull-request": "1", "token": scene.hub.token("github-actions[bot]"), "salt": "s" * 32}  # fmt: skip
        for task in ("review", "review", "collect", "collect"):
            assert runner.run_of(**{**inputs, "task": task}) == {"Open the store": 0, "Run": 0, "Seal the store": 0}
        wrong = runner.run_of(**{**inputs, "task": "$(touch ran)"})
        assert wrong == {"Open the store": 0, "Run": 2, "Seal the store": 0}
        before = sealed.read_bytes()
        assert runner.run_of(**{**inputs, "salt": "t" * 32}) == {"Open the store": 1, "Seal the store": 0}
    assert not (runner.folder / "ran").exists()
    assert [len(pull.reviews) for pull in pulls] == [1, 1], "the one of the event, then the one that was missed"
    assert "Not yet:" in (runner.folder / "summary.md").read_text()
    assert sealed.read_bytes() == before, "another secret neither opens the store nor replaces it"
    assert [path.name for path in (runner.folder / "kept").iterdir()] == ["store.sealed"]
    assert not re.search(b"SQLite|octo|s{32}", before), "nothing of it can be read in the cache"
    unseal(sealed, tmp_path / "opened", "s" * 32)
    assert (tmp_path / "opened/salt").read_text() == "s" * 32
    with Store(tmp_path / "opened/codetrial.db", readonly=True) as store:
        assert store.rows("SELECT count(*) AS n FROM task")[0]["n"] == 2


def test_without_a_salt_the_action_works_and_warns_that_the_store_lies_open(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    inputs = {"task": "collect", "config": "x", "data": "~/kept", "pull-request": "", "token": "x", "salt": ""}
    done = runner.step(action_steps()["Open the store"], **inputs)
    assert (done.returncode, "::warning::The store is not sealed" in done.stdout) == (0, True)
    (tmp_path / "temp/codetrial-data/codetrial.db").write_text("x")
    assert runner.step(action_steps()["Seal the store"], **inputs).returncode == 0
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["codetrial.db"]


def test_what_is_sealed_opens_with_its_secret_alone_and_only_whole(tmp_path: Path) -> None:
    (tmp_path / "data/run").mkdir(parents=True)
    (tmp_path / "data/codetrial.db").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "data/run/x").write_text("deep")
    sealed = tmp_path / "kept/store.sealed"
    seal(tmp_path / "data", sealed, "s" * 32)
    unseal(sealed, tmp_path / "again", "s" * 32)
    assert (tmp_path / "again/codetrial.db").read_bytes() == (tmp_path / "data/codetrial.db").read_bytes()
    assert (tmp_path / "again/run/x").read_text() == "deep"
    whole = sealed.read_bytes()
    for spoilt in (whole[:-1], whole[:60], b"", whole[:80] + bytes([whole[80] ^ 1]) + whole[81:]):
        sealed.write_bytes(spoilt)
        with pytest.raises(ReviewError, match="cannot be opened"):
            unseal(sealed, tmp_path / "never", "s" * 32)
    sealed.write_bytes(whole)
    with pytest.raises(ReviewError, match="another CODETRIAL_SALT"):
        unseal(sealed, tmp_path / "never", "t" * 32)
    with pytest.raises(ReviewError, match="there already"):
        unseal(sealed, tmp_path / "again", "s" * 32)
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_action_installs_itself_from_its_pins_alone(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    done = runner.step(action_steps()["Install"])
    assert done.returncode == 0, done.stderr
    found = subprocess.run([tmp_path / "temp/codetrial/bin/codetrial", "pr", "--help"], capture_output=True, text=True)
    assert "collect" in found.stdout
    listed = [str(tmp_path / "temp/codetrial/bin/pip"), "list", "--format=json"]
    names = {entry["name"] for entry in json.loads(subprocess.run(listed, capture_output=True, text=True).stdout)}
    assert not names & {"pytest", "mypy", "ruff", "zizmor"}


def test_scripts_read_json_and_a_repository_without_work_says_so(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from pr_bot.commands import pr

    monkeypatch.setenv("GITHUB_TOKEN", scene.hub.token("codetrial[bot]"))
    monkeypatch.setenv("GITHUB_API_URL", scene.hub.url)
    repo = scene.hub.repository("octo/app", {"app.py": "x = 1\n"})
    with serve_model([]) as model:
        path = tmp_path / "trial.toml"
        path.write_text(
            "".join(f'[arms.{label}]\napi = "openai-chat"\nmodel = "m"\nurl = "{model.url}"\n' for label in "ab")
        )

        def run(*words: str) -> tuple[int, str]:
            done = CliRunner().invoke(pr, [*words, "--config", str(path), "--store", str(tmp_path / "s.db")])
            return done.exit_code, done.output

        assert run("review", "octo/app") == (0, "No open pull request waits for a review.\n")
        scene.hub.open_pull(repo, {"app.py": "x = 2\n"})
        code, text = run("review", "octo/app", "--json")
        assert (code, [entry["result"] for entry in json.loads(text)]) == (0, ["nothing_to_post"])
        code, text = run("collect", "--json")
        assert (code, json.loads(text)["pulls"]) == (0, 1)
        repo.is_deleted = True
        assert run("review", "octo/app#1")[0] == 1
