"""What `codetrial install` writes, and that it can all be taken back."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from codetrial.app import app
from codetrial.errors import ConfigError, ProxyError
from lsp_proxy import control
from lsp_proxy.commands import commands
from lsp_proxy.control import read_duration
from lsp_proxy.editors import EDITORS, plan_for
from lsp_proxy.editors.helix import Languages
from lsp_proxy.editors.plan import Block, Plan, apply, codetrial_command, undo, unwrapped, wrapped
from lsp_proxy.editors.servers import installed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own: nothing of this machine's editors is read or written."""
    for name in ("HOME", "CODETRIAL_DATA_DIR", "CODETRIAL_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


def run(*arguments: str) -> str:
    for section, found in commands.items():
        app.add_section(section, found)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


OWN_FILES = ("neovim", "emacs", "helix", "zed", "kate")
"""Editors in which something is written even where nothing is set up yet: a file of ours, or servers found on PATH."""


@pytest.fixture
def servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two language servers on PATH, and nothing else."""
    folder = home / "bin"
    folder.mkdir()
    for name in ("clangd", "pylsp"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def paths(editor: str) -> list[Path]:
    return [change.path for change in plan_for(editor).changes if change.result() is not None]


@pytest.mark.parametrize("editor", OWN_FILES)
def test_installing_and_uninstalling_leaves_no_trace_in_an_empty_home(editor: str, home: Path, servers: Path) -> None:
    written = paths(editor)
    said = run("install", editor)
    assert all(str(path) in said for path in written)
    assert written
    assert all(path.exists() for path in written)
    assert "Restored" not in run("uninstall", editor)
    assert not (home / "home").exists()
    assert not (home / "xdg_config_home").exists()


@pytest.mark.parametrize("editor", OWN_FILES)
def test_installing_twice_is_installing_once(editor: str, servers: Path) -> None:
    run("install", editor)
    once = [path.read_text() for path in paths(editor)]
    assert "would" not in run("install", editor, "--dry-run").lower()
    said = run("install", editor)
    assert "The file as it was" not in said
    assert "codetrial is there already, and everything is as it should be" in said
    assert not any(str(path) in said for path in paths(editor))
    assert [path.read_text() for path in paths(editor)] == once


@pytest.mark.parametrize("editor", OWN_FILES)
@pytest.mark.parametrize("option", ["--dry-run", "--print"])
def test_looking_writes_nothing(editor: str, option: str, servers: Path) -> None:
    assert str(paths(editor)[0]) in run("install", editor, option)
    assert not any(change.path.exists() for change in plan_for(editor).changes)


@pytest.mark.parametrize("editor", ["vim", "sublime", "jetbrains"])
def test_an_editor_without_servers_is_left_alone_with_a_sentence(
    editor: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "no language server is set up there" in run("install", editor)
    assert not any(change.path.exists() for change in plan_for(editor).changes)
    assert "was not installed" in run("uninstall", editor)


def test_a_folder_in_which_the_person_keeps_something_since_stays(home: Path) -> None:
    run("install", "neovim")
    [path] = paths("neovim")
    mine = path.with_name("mine.lua")
    mine.write_text("-- mine\n")
    run("install", "neovim")
    run("uninstall", "neovim")
    assert list(path.parent.iterdir()) == [mine]


def test_every_editor_can_be_chosen() -> None:
    for editor in EDITORS:
        assert editor in run("install", "--help")


def test_what_the_person_wrote_around_our_block_stays_byte_for_byte(home: Path) -> None:
    path = home / "init.el"
    path.write_text(";; mine\n(setq a 1)")
    plan = Plan(editor="emacs", changes=(Block(path=path, comment=";;", content="(load x)"),))
    [copy] = apply(plan)
    assert copy.read_text() == ";; mine\n(setq a 1)"
    path.write_text(path.read_text() + "(setq b 2)\n")
    undo(plan)
    assert path.read_text() == ";; mine\n(setq a 1)\n(setq b 2)\n"


def test_what_was_there_comes_back_byte_for_byte(home: Path) -> None:
    path = home / "languages.toml"
    before = b"\r\n\n[language-server.mine]\r\ncommand='x'   # odd  \n\n\n"
    path.write_bytes(before)
    plan = Plan(editor="helix", changes=(Languages(path=path),))
    apply(plan)
    assert path.read_bytes() != before
    apply(plan)
    assert undo(plan) == [path]
    assert path.read_bytes() == before
    assert undo(plan) == []


def test_a_file_of_the_person_s_own_by_our_name_comes_back(home: Path) -> None:
    path = plan_for("neovim").changes[0].path
    path.parent.mkdir(parents=True)
    path.write_text("-- mine\n")
    assert "The file as it was" in run("install", "neovim")
    assert str(path) in run("uninstall", "neovim", "--dry-run")
    run("uninstall", "neovim")
    assert path.read_text() == "-- mine\n"
    assert "take back" not in run("uninstall", "neovim", "--dry-run")


def test_rustup_s_stand_in_for_a_missing_server_is_not_taken_for_one(servers: Path) -> None:
    shim = servers / "rust-analyzer"
    shim.write_text("#!/bin/sh\necho error: not installed for this toolchain >&2\nexit 1\n")
    shim.chmod(0o755)
    assert installed(["rust-analyzer"]) is None
    shim.write_text("#!/bin/sh\n")
    assert installed(["rust-analyzer"]) == [str(shim)]


def test_a_lost_record_is_no_obstacle_to_undoing(home: Path) -> None:
    path = home / "languages.toml"
    path.write_text(HELIX)
    plan = Plan(editor="helix", changes=(Languages(path=path),))
    apply(plan)
    (home / "codetrial_data_dir" / "backups" / "helix" / "installed.json").write_text("[broken")
    undo(plan)
    assert tomllib.loads(path.read_text()) == tomllib.loads(HELIX)


def test_a_moved_installation_is_wrapped_anew_and_not_twice() -> None:
    old = ["/gone/bin/codetrial", "lsp", "--surface", "menu", "--", "pylsp", "-v"]
    assert unwrapped(old) == ["pylsp", "-v"]
    assert wrapped(old) == [*codetrial_command(), "lsp", "--surface", "menu", "--", "pylsp", "-v"]
    assert wrapped(wrapped(["pylsp"])) == wrapped(["pylsp"])
    assert unwrapped(["python3", "-P", "-m", "codetrial.cli", "lsp", "--", "a"]) == ["a"]
    for foreign in (["luau", "lsp", "--", "x"], ["lsp", "--"], [], ["codetrial", "status"]):
        assert unwrapped(foreign) is None


def test_a_link_to_a_dotfile_stays_a_link(home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "init.el").write_text("")
    (home / "init.el").symlink_to(home / "dotfiles" / "init.el")
    apply(Plan(editor="emacs", changes=(Block(path=home / "init.el", comment=";;", content="(load x)"),)))
    assert (home / "init.el").is_symlink()
    assert "(load x)" in (home / "dotfiles" / "init.el").read_text()


HELIX = """\
# my servers
[language-server.mine]
command = "my-server" # with a remark
args = ["--fast"]

[[language]]
name = "python"
language-servers = ["mine"]
"""


def test_helix_keeps_the_person_s_servers_and_remarks(home: Path) -> None:
    path = home / "languages.toml"
    path.write_text(HELIX)
    plan = Plan(editor="helix", changes=(Languages(path=path),))
    apply(plan)
    server = tomllib.loads(path.read_text())["language-server"]["mine"]
    assert [server["command"], *server["args"]] == [*codetrial_command(), "lsp", "--", "my-server", "--fast"]
    assert "# my servers" in path.read_text()
    undo(plan)
    assert tomllib.loads(path.read_text()) == tomllib.loads(HELIX)
    assert "# my servers" in path.read_text()


def test_a_broken_languages_toml_is_left_alone_with_a_sentence(home: Path) -> None:
    path = home / "languages.toml"
    path.write_text("[broken")
    with pytest.raises(ProxyError, match="Mend it"):
        apply(Plan(editor="helix", changes=(Languages(path=path),)))
    assert path.read_text() == "[broken"


def test_a_pause_is_seen_and_ends() -> None:
    assert control.paused() is None
    assert "until" in run("pause", "--for", "1h")
    assert control.paused() is not None
    assert "Paused until" in run("status")
    assert "again" in run("resume")
    assert control.paused() is None
    assert "Nothing was paused" in run("resume")


def test_a_pause_that_is_over_is_none() -> None:
    control.pause(-1)
    assert control.paused() is None


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172800)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1", "1h or so"])
def test_what_is_no_length_of_time_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="write 30m"):
        read_duration(text)


def test_every_editor_is_documented() -> None:
    folder = Path(__file__).parents[2] / "docs" / "editors"
    text = "".join(path.read_text() for path in folder.glob("*.md"))
    for editor in EDITORS:
        assert re.search(rf"\b{editor}\b", text), editor
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (folder / picture).exists(), picture
