"""Editors whose servers stand in a settings file: wrapped there, everything else kept, and given back byte for byte."""

import html
import json
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from codetrial.errors import ProxyError
from lsp_proxy.editors import plan_for
from lsp_proxy.editors.jsonc import loads
from lsp_proxy.editors.plan import apply, codetrial_command, undo

ZED = """\
// Zed settings
{
  "theme": "One Dark", // dark
  "lsp": {
    "pylsp": {
      "binary": { "path": "/opt/pylsp", "arguments": ["-v"] }, /* mine */
    },
    "rust-analyzer": { "initialization_options": { "checkOnSave": false } },
  },
  "vim_mode": true,
}
"""

SUBLIME = """\
// Settings in here override those in "LSP/LSP.sublime-settings"
{
\t"clients":
\t{
\t\t"pylsp": { "enabled": true, "command": ["pylsp", "-v"], "selector": "source.python" },
\t\t"gopls": { "enabled": true }, // the package knows how
\t\t"godot": { "enabled": true, "command": ["nc"], "tcp_port": 6008 },
\t\t"unknown": { "enabled": true },
\t},
}
"""

KATE = """{
    "servers": {
        "python": {
            "command": ["basedpyright-langserver", "--stdio"],
            "highlightingModeRegex": "^Python$"
        },
        "c": {
            "command": "clangd -log=error",
            "commandDebug": ["clangd", "-log=verbose"]
        },
        "cpp": {"use": "c"}
    }
}
"""

COC = """\
{
  // servers
  "languageserver": {
    "python": {
      "command": "basedpyright-langserver",
      "args": ["--stdio"], // over a pipe
      "filetypes": ["python"]
    },
    "bare": {"command": "gopls", "filetypes": ["go"]},
    "vimls": {"module": "/x/vimls/bin/index.js", "filetypes": ["vim"]}
  },
  "rust-analyzer.server.path": "/opt/rust-analyzer",
  "suggest.noselect": true
}
"""

LSP4IJ = """\
<application>
  <component name="UserDefinedLanguageServerSettingsState">
    <state>
      <map>
        <entry key="one">
          <value>
            <UserDefinedLanguageServerItemSettings>
              <option name="commandLine" value="sh -c &quot;pylsp -v &amp;&amp; true&quot;" />
              <option name="serverId" value="one" />
              <option name="serverName" value="Python &lt;mine&gt;" />
            </UserDefinedLanguageServerItemSettings>
          </value>
        </entry>
        <entry key="two">
          <value>
            <UserDefinedLanguageServerItemSettings>
              <option name="commandLine" value="gopls -mode=stdio"/>
            </UserDefinedLanguageServerItemSettings>
          </value>
        </entry>
      </map>
    </state>
  </component>
</application>
"""

PLACES = {
    "zed": ("config/zed/settings.json", ZED),
    "sublime": ("config/sublime-text/Packages/User/LSP.sublime-settings", SUBLIME),
    "kate": ("config/kate/lspclient/settings.json", KATE),
    "vim": (".vim/coc-settings.json", COC),
    "jetbrains": ("config/JetBrains/PyCharm2026.1/options/UserDefinedLanguageServerSettings.xml", LSP4IJ),
}

OURS = [*codetrial_command(), "lsp", "--"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, and three language servers on PATH."""
    for name in ("VIMCONFIG", "NVIM_APPNAME", "COC_DATA_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "bin").mkdir()
    for name in ("clangd", "pylsp", "rust-analyzer"):
        (tmp_path / "bin" / name).write_text('#!/bin/sh\necho "$0 $*"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    return tmp_path


def place(home: Path, editor: str) -> Path:
    name, content = PLACES[editor]
    path = home / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("editor", PLACES)
def test_it_comes_back_byte_for_byte_and_a_second_time_changes_nothing(home: Path, editor: str) -> None:
    path = place(home, editor)
    files = sorted(home.rglob("*"))
    [copy, *_] = apply(plan_for(editor))
    assert copy.read_text() == PLACES[editor][1]
    once = path.read_bytes()
    assert apply(plan_for(editor)) == []
    assert path.read_bytes() == once
    undo(plan_for(editor))
    assert path.read_bytes() == PLACES[editor][1].encode()
    assert [found for found in sorted(home.rglob("*")) if found.is_file() and home / "data" not in found.parents] == [
        found for found in files if found.is_file()
    ]
    assert undo(plan_for(editor)) == []


@pytest.mark.parametrize("editor", PLACES)
def test_windows_line_ends_stay(home: Path, editor: str) -> None:
    path = place(home, editor)
    before = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(before)
    apply(plan_for(editor))
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")
    undo(plan_for(editor))
    assert path.read_bytes() == before


@pytest.mark.parametrize("editor", PLACES)
def test_what_the_person_changes_afterwards_outlives_uninstalling(home: Path, editor: str) -> None:
    path = place(home, editor)
    apply(plan_for(editor))
    text = path.read_text()
    if editor == "jetbrains":
        path.write_text(text.replace('value="one"', 'value="uno"'))
        expected = LSP4IJ.replace('value="one"', 'value="uno"')
    else:
        path.write_text(text.rstrip().removesuffix("}").rstrip().removesuffix(",") + ',\n  "added": [1]\n}\n')
        assert loads(path.read_text(), path)["added"] == [1]
        expected = ""
    undo(plan_for(editor))
    if editor == "jetbrains":
        assert path.read_text() == expected
    else:
        after, before = loads(path.read_text(), path), loads(PLACES[editor][1], path)
        assert after.pop("added") == [1]
        assert after == before
        assert [line for line in path.read_text().splitlines() if "//" in line] == [
            line for line in PLACES[editor][1].splitlines() if "//" in line
        ]


@pytest.mark.parametrize("editor", [editor for editor in PLACES if editor != "jetbrains"])
def test_a_broken_file_is_left_alone_with_a_sentence(home: Path, editor: str) -> None:
    path = place(home, editor)
    path.write_text('{"a" 1}')
    with pytest.raises(ProxyError, match="line 1 is no JSON"):
        apply(plan_for(editor))
    assert path.read_text() == '{"a" 1}'


@pytest.mark.parametrize("editor", [editor for editor in PLACES if editor != "jetbrains"])
@pytest.mark.parametrize(
    "strange", ['{"lsp": [], "servers": 1, "clients": null, "languageserver": "x"}', "", "// none\n"]
)
def test_values_of_strange_kinds_are_nothing_to_wrap(home: Path, editor: str, strange: str) -> None:
    path = place(home, editor)
    path.write_text(strange)
    apply(plan_for(editor))
    undo(plan_for(editor))
    assert path.read_text() == strange


def test_zed_wraps_what_is_configured_and_what_is_on_path(home: Path) -> None:
    path = place(home, "zed")
    apply(plan_for("zed"))
    servers = loads(path.read_text(), path)["lsp"]
    assert servers["pylsp"]["binary"] == {"path": OURS[0], "arguments": [*OURS[1:], "/opt/pylsp", "-v"]}
    assert servers["clangd"] == {"binary": {"path": OURS[0], "arguments": [*OURS[1:], str(home / "bin" / "clangd")]}}
    rust = servers["rust-analyzer"]
    assert rust["initialization_options"] == {"checkOnSave": False}
    assert rust["binary"]["arguments"] == [*OURS[1:], str(home / "bin" / "rust-analyzer")]
    assert "gopls" not in servers
    assert "// dark" in path.read_text()
    assert "/* mine */" in path.read_text()


def test_zed_names_the_servers_that_it_has_downloaded_for_itself(home: Path) -> None:
    (home / ".local" / "share" / "zed" / "languages" / "gopls").mkdir(parents=True)
    (home / ".local" / "share" / "zed" / "languages" / "clangd").mkdir(parents=True)
    assert any("copies of gopls are not wrapped" in sentence for sentence in plan_for("zed").advice)


def test_sublime_wraps_clients_and_helper_packages(home: Path) -> None:
    path = place(home, "sublime")
    folder = home / "config" / "sublime-text" / "Installed Packages"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "LSP.sublime-package", "w") as package:
        package.writestr("LSP.sublime-settings", '{"default_clients": {"gopls": {"command": ["gopls"]},}, // x\n}')
    with zipfile.ZipFile(folder / "LSP-pyright.sublime-package", "w") as package:
        package.writestr(
            "LSP-pyright.sublime-settings", '{"command": ["${node_bin}", "${server_path}", "--stdio"], "settings": {}}'
        )
    with zipfile.ZipFile(folder / "LSP-own.sublime-package", "w") as package:
        package.writestr("plugin.py", "")
    (folder / "LSP-broken.sublime-package").write_bytes(b"no archive")
    plan = plan_for("sublime")
    apply(plan)
    clients = loads(path.read_text(), path)["clients"]
    assert clients["pylsp"]["command"] == [*OURS, "pylsp", "-v"]
    assert clients["gopls"]["command"] == [*OURS, "gopls"]
    assert clients["godot"]["command"] == ["nc"]
    assert clients["unknown"] == {"enabled": True}
    helper = path.with_name("LSP-pyright.sublime-settings")
    assert json.loads(helper.read_text()) == {"command": [*OURS, "${node_bin}", "${server_path}", "--stdio"]}
    assert any("LSP-broken, LSP-own start their servers by code" in sentence for sentence in plan.advice)
    undo(plan_for("sublime"))
    assert not helper.exists()
    assert path.read_text() == SUBLIME


def test_kate_wraps_its_own_list_s_servers_too(home: Path) -> None:
    path = place(home, "kate")
    apply(plan_for("kate"))
    servers = json.loads(path.read_text())["servers"]  # Kate's reader takes no comments: plain JSON it has to be.
    assert servers["python"]["command"] == [*OURS, "basedpyright-langserver", "--stdio"]
    assert servers["c"] == {
        "command": " ".join([*OURS, "clangd", "-log=error"]),
        "commandDebug": [*OURS, "clangd", "-log=verbose"],
    }
    assert servers["cpp"] == {"use": "c"}
    assert servers["rust"] == {"command": [*OURS, str(home / "bin" / "rust-analyzer")]}


def test_kate_s_other_settings_file_is_found(home: Path) -> None:
    other = home / "my servers.json"
    other.write_text(KATE)
    (home / "config").mkdir()
    (home / "config" / "katerc").write_text(
        f"[General]\nServerConfiguration=file:///no\n\n[lspclient]\nServerConfiguration=file://{home}/my%20servers.json\n"
    )
    assert [change.path for change in plan_for("kate").changes] == [other]


def test_coc_wraps_its_list_and_gives_extensions_a_script(home: Path) -> None:
    path = place(home, "vim")
    (home / "config" / "coc" / "extensions" / "node_modules" / "coc-clangd").mkdir(parents=True)
    (home / "config" / "coc" / "extensions" / "node_modules" / "coc-pyright").mkdir()
    plan = plan_for("vim")
    apply(plan)
    settings = loads(path.read_text(), path)
    assert settings["languageserver"]["python"] == {
        "command": OURS[0],
        "args": [*OURS[1:], "basedpyright-langserver", "--stdio"],
        "filetypes": ["python"],
    }
    assert settings["languageserver"]["bare"]["args"] == [*OURS[1:], "gopls"]
    assert settings["languageserver"]["vimls"] == {"module": "/x/vimls/bin/index.js", "filetypes": ["vim"]}
    assert any("(`module`): vimls." in sentence for sentence in plan.advice)
    assert any("their own: coc-pyright." in sentence for sentence in plan.advice)
    rust, clangd = Path(settings["rust-analyzer.server.path"]), Path(settings["clangd.path"])
    assert f'{" ".join(OURS)} /opt/rust-analyzer "$@"' in rust.read_text()
    said = subprocess.run([clangd, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == f"{home / 'bin' / 'clangd'} --version\n"
    undo(plan_for("vim"))
    assert path.read_text() == COC
    assert not rust.exists()
    assert not clangd.exists()


def test_coc_s_variables_are_left_to_it_with_a_sentence(home: Path) -> None:
    path = place(home, "vim")
    given = COC.replace('"gopls"', '"${env:GOPATH}/bin/gopls"').replace("/opt/rust", "$HOME/rust")
    path.write_text(given)
    plan = plan_for("vim")
    apply(plan)
    settings = loads(path.read_text(), path)
    assert settings["languageserver"]["bare"] == loads(given, path)["languageserver"]["bare"]
    assert settings["rust-analyzer.server.path"] == "$HOME/rust-analyzer"
    assert settings["languageserver"]["python"]["args"][0] == "lsp"
    assert any("bare, rust-analyzer.server.path. Write the path out" in sentence for sentence in plan.advice)


def test_coc_s_script_finds_a_server_in_the_home_without_us(home: Path) -> None:
    path = place(home, "vim")
    path.write_text(COC.replace("/opt/rust", "~/bin/rust"))
    apply(plan_for("vim"))
    script = Path(loads(path.read_text(), path)["rust-analyzer.server.path"])
    script.write_text(script.read_text().replace(f"[ -x {OURS[0]}", "[ -x /nowhere"))
    said = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == f"{home / 'bin' / 'rust-analyzer'} --version\n"
    assert f"{' '.join(OURS)} '~/bin/rust-analyzer' " in script.read_text()
    undo(plan_for("vim"))
    assert '"~/bin/rust-analyzer"' in path.read_text()


def test_coc_s_settings_of_neovim_are_found_as_well(home: Path) -> None:
    place(home, "vim")
    other = home / "config" / "nvim" / "coc-settings.json"
    other.parent.mkdir(parents=True)
    other.write_text(COC)
    apply(plan_for("vim"))
    assert OURS[0] in other.read_text()


def test_lsp4ij_s_command_lines_are_wrapped_as_it_splits_them(home: Path) -> None:
    path = place(home, "jetbrains")
    apply(plan_for("jetbrains"))
    options = ElementTree.parse(path).iterfind(".//option[@name='commandLine']")
    lines = [option.attrib["value"] for option in options]
    assert lines == [f'{" ".join(OURS)} sh -c "pylsp -v && true"', f"{' '.join(OURS)} gopls -mode=stdio"]
    assert html.escape("<mine>") in path.read_text()


def test_lsp4ij_gets_a_template_for_every_server_on_path(home: Path) -> None:
    plan = plan_for("jetbrains")
    apply(plan)
    found = {
        path.parent.name: json.loads(path.read_text()) for path in (home / "data" / "jetbrains").glob("*/template.json")
    }
    assert set(found) == {"clangd", "pylsp", "rust-analyzer"}
    python = found["pylsp"]
    assert python["programArgs"] == {"default": " ".join([*OURS, str(home / "bin" / "pylsp")])}
    assert python["fileTypeMappings"] == [{"fileType": {"patterns": ["*.py"]}, "languageId": "python"}]
    undo(plan_for("jetbrains"))
    assert not list((home / "data" / "jetbrains").rglob("*.json"))
