"""`codetrial doctor` finds each broken link of the chain, and says how to mend it."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.store import Store
from codetrial.app import app
from lsp_proxy.commands import commands
from lsp_proxy.doctor import Finding, Grade, examine
from lsp_proxy.editors import plan_for
from lsp_proxy.editors.plan import apply

PAIR = """
[arms.a]
api = "ngram"
[arms.b]
api = "openai-completions"
url = "{url}"
model = "x"
template = "prefix-only"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CODETRIAL_OFF", "VIMCONFIG", "NVIM_APPNAME", "CODETRIAL_USER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "CODETRIAL_DATA_DIR", "CODETRIAL_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def model() -> Iterator[str]:
    """Something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@pytest.fixture
def config(home: Path, model: str) -> Path:
    path = home / "codetrial.toml"
    path.write_text(PAIR.format(url=model))
    return path


def found(home: Path, grade: Grade) -> list[str]:
    return [finding.what for finding in examine(home, is_quick=True) if finding.grade is grade]


def one(sentences: list[str]) -> str:
    [sentence] = sentences
    return sentence


def run(*arguments: str) -> tuple[int, str]:
    for section, listed in commands.items():
        app.add_section(section, listed)
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.exit_code, result.output


def test_a_whole_chain_is_well(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    status, said = run("--config", str(config))
    assert status == 0, said
    assert "answers and records" in said
    assert "Nothing has been recorded yet" in said
    assert "can be reached" in said
    assert "Installed in no editor: `codetrial install EDITOR`" in said


def test_a_broken_configuration_is_said_and_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "codetrial.toml").write_text("[arms\n")
    monkeypatch.chdir(home)
    status, said = run("--quick")
    assert status == 1
    assert "is not valid TOML" in said


def test_an_arm_where_nothing_listens(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (home / "codetrial.toml").write_text(PAIR.format(url=f"http://127.0.0.1:{port}/v1"))
    sentence = one(found(home, Grade.WRONG))
    assert f"nothing answers at 127.0.0.1:{port}" in sentence
    assert "start it, or correct `url`" in sentence


def test_a_key_that_is_missing(home: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    (home / "codetrial.toml").write_text(PAIR.format(url=model) + 'key_env = "SOME_KEY"\n')
    assert "set SOME_KEY where the editor starts" in one(found(home, Grade.WRONG))


def test_a_database_that_cannot_come_into_being(config: Path, home: Path) -> None:
    (home / "file").write_text("")
    config.write_text(config.read_text() + f'[store]\npath = "{home}/file/trial.db"\n')
    assert f"{home}/file is no folder. Correct `[store] path`" in one(found(home, Grade.WRONG))


def test_a_database_that_is_none(config: Path, home: Path) -> None:
    (home / "trial.db").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    config.write_text(config.read_text() + f'[store]\npath = "{home}/trial.db"\n')
    assert "trial.db cannot be" in one(found(home, Grade.WRONG))


def test_a_healthy_database(config: Path, home: Path) -> None:
    config.write_text(config.read_text() + f'[store]\npath = "{home}/trial.db"\n')
    Store(home / "trial.db").close()
    assert any("is healthy and holds 0 sessions" in sentence for sentence in found(home, Grade.FINE))


def test_a_data_folder_that_cannot_be_written(config: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(home / "file" / "data"))
    assert any("Set CODETRIAL_DATA_DIR to a folder you can write" in sentence for sentence in found(home, Grade.WRONG))


def install_zed(home: Path, settings: str) -> Path:
    path = home / "xdg_config_home" / "zed" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(settings)
    apply(plan_for("zed"))
    return path


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A language server on a PATH with nothing else but what git needs."""
    folder = home / "bin"
    folder.mkdir()
    for name in ("pylsp", "git"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder / "pylsp"


def test_an_installation_that_is_well(config: Path, home: Path, server: Path) -> None:
    path = install_zed(home, "{}")
    assert f"Zed: installed in {path}." in found(home, Grade.FINE)
    assert found(home, Grade.WRONG) == []


def test_a_proxy_that_has_moved_away(config: Path, home: Path, server: Path) -> None:
    path = install_zed(home, "{}")
    path.write_text(path.read_text().replace(str(Path(sys.executable).parent), "/gone/bin"))
    assert "/gone/bin/codetrial, which is not there: run `codetrial install zed` again" in one(found(home, Grade.WRONG))
    assert any("is not as it would be written now" in sentence for sentence in found(home, Grade.NOTE))
    apply(plan_for("zed"))
    assert found(home, Grade.WRONG) == []


def test_a_language_server_that_has_gone(config: Path, home: Path, server: Path) -> None:
    install_zed(home, '{"lsp": {"mine": {"binary": {"path": "/gone/my-server"}}}}')
    assert "the language server /gone/my-server cannot be found: install it" in one(found(home, Grade.WRONG))


def test_a_language_server_on_another_path_is_only_noted(config: Path, home: Path, server: Path) -> None:
    install_zed(home, '{"lsp": {"mine": {"binary": {"path": "my-server"}}}}')
    assert any("the language server my-server cannot be found" in sentence for sentence in found(home, Grade.NOTE))
    assert found(home, Grade.WRONG) == []


def test_an_editor_s_settings_that_cannot_be_read(config: Path, home: Path, server: Path) -> None:
    install_zed(home, "{}").write_text('{"lsp" 1}')
    assert "line 1 is no JSON. Mend it" in one(found(home, Grade.WRONG))


def test_an_extension_that_the_editor_has_lost(config: Path, home: Path, server: Path) -> None:
    apply(plan_for("vscode"))
    sentences = found(home, Grade.NOTE)
    assert any("VS Code: the extension of this version is not where" in sentence for sentence in sentences)
    assert not any("not as it would be written" in sentence for sentence in sentences)


def test_a_neovim_that_is_too_old(config: Path, home: Path, server: Path) -> None:
    apply(plan_for("neovim"))
    (server.parent / "nvim").write_text("#!/bin/sh\necho NVIM v0.9.5\n")
    (server.parent / "nvim").chmod(0o755)
    assert "is NVIM v0.9: codetrial needs Neovim 0.11" in one(found(home, Grade.WRONG))


def test_an_evaluator_that_does_not_start(config: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRIAL_EVALUATOR", '["false"]')
    wrong = [finding for finding in examine(home) if finding.grade is Grade.WRONG]
    [finding] = wrong
    assert isinstance(finding, Finding)
    assert "its evaluator recorded nothing. It said: codetrial's evaluator ended" in finding.what


def test_being_switched_off_is_noted(config: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRIAL_OFF", "1")
    assert any("CODETRIAL_OFF is set" in sentence for sentence in found(home, Grade.NOTE))
