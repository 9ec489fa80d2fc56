"""A cloned repository's configuration sends nothing anywhere before the person has agreed."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from codetrial.arms import build
from codetrial.commands import init, trust
from codetrial.config import load
from codetrial.errors import ConfigError
from codetrial.records import ArmLabel
from codetrial.routing import Router

HOSTED = '[arms.a]\napi = "openai-chat"\nurl = "https://models.example"\nmodel = "m"\nkey_env = "GITHUB_TOKEN"\n'
PROGRAM = '[arms.a]\napi = "command"\nself_hosted = true\noptions = { command = ["./run-me"] }\n'
HERE = '[arms.a]\napi = "openai-chat"\nurl = "http://127.0.0.1:9"\nmodel = "m"\n'
NGRAM = '[arms.b]\napi = "ngram"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cloned"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def start(project: Path, *, named: Path | None = None) -> None:
    config = load(project, config_file=named)
    Router({label: build(config.arms[label], label) for label in ArmLabel}, config)


@pytest.mark.parametrize("arm", [HOSTED, PROGRAM])
def test_a_found_file_that_reaches_out_needs_agreement(project: Path, arm: str) -> None:
    path = project / "codetrial.toml"
    path.write_text(arm + NGRAM)
    with pytest.raises(ConfigError, match=r"came with this project.*codetrial trust"):
        start(project)
    assert CliRunner().invoke(trust, [str(path)]).exit_code == 0
    start(project)
    path.write_text(arm.replace("models.example", "other.example").replace("run-me", "run-this") + NGRAM)
    with pytest.raises(ConfigError, match="codetrial trust"):
        start(project)


def test_what_stays_on_this_machine_needs_none(project: Path) -> None:
    (project / "codetrial.toml").write_text(HERE + NGRAM)
    start(project)


def test_a_file_that_is_named_or_the_users_own_needs_none(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "mine.toml"
    named.write_text(HOSTED + NGRAM)
    start(project, named=named)
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(named))
    start(project)


def test_what_init_writes_is_trusted(project: Path) -> None:
    result = CliRunner().invoke(init, ["--a", "codestral", "--b", "ngram", "--no-check"])
    assert result.exit_code == 0
    start(project)


def test_trust_in_a_file_that_cannot_be_used_is_refused(project: Path) -> None:
    (project / "codetrial.toml").write_text("[arms.a\n")
    assert isinstance(CliRunner().invoke(trust).exception, ConfigError)
