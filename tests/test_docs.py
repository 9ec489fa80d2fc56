"""The documentation says what is so: generated parts are fresh, links lead somewhere, commands exist."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from analysis.source import column_types, tables
from codetrial import app as application
from codetrial.config import load
from codetrial.records import OutcomeClass
from lsp_proxy.doctor import Grade

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DATA = DOCS / "data.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BUILD_TIME_LIMIT_S = 100.0


def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIME_LIMIT_S,
    )


def commands_of(page: Path) -> list[str]:
    """The lines that call codetrial, in indented and in fenced blocks; not the help texts, which are no commands."""
    found, is_fenced = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced and line.strip("`") in ("", "sh", "console")
        elif is_fenced or line.startswith("    "):
            words = re.sub(r"^(\s*[A-Z_]+=\S+)*\s*", "", line)
            if words.startswith("codetrial "):
                found.append(words.partition(" #")[0].partition(" > ")[0].strip())
    return found


COMMANDS = sorted({(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in commands_of(page)})


def test_generated_parts_are_fresh() -> None:
    done = run("docs/generate.py", "--check", COLUMNS="40")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="the list is of what requirements pin for Python 3.11; others need other packages",
)
def test_licences_are_listed_and_go_with_ours() -> None:
    done = run("docs/licences.py", "--check")
    assert done.returncode == 0, done.stderr


def test_worked_examples_are_what_the_report_prints() -> None:
    done = run("docs/examples.py", "--check", COLUMNS="40")  # Whatever the terminal.
    assert done.returncode == 0, done.stderr


def test_the_pages_build_offline_and_every_link_and_anchor_leads_somewhere(tmp_path: Path) -> None:
    done = run("-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", DOCS, tmp_path / "pages")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "pages" / "reading-a-report.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page)


def test_a_link_to_an_anchor_that_is_not_there_ends_the_build(tmp_path: Path) -> None:
    for source in (DOCS / "conf.py", DOCS / "method.md"):
        (tmp_path / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "index.md").write_text("# Index\n\n[lost](method.md#no-such-place)\n", encoding="utf-8")
    done = run("-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", tmp_path, tmp_path / "pages")
    assert done.returncode != 0
    assert "no-such-place" in done.stderr


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_and_named_files_outside_of_the_pages_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", ["extending.md", "method.md"])
def test_modules_that_a_page_names_are_there(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    named = {
        path
        for path in re.findall(r"`((?:codetrial|analysis|lsp_proxy|pr_bot|tests|docs|bench)/[\w./]+)`", text)
        if "NAME" not in path
    }
    assert named
    assert not {path for path in named if not (ROOT / path).exists() and path != "bench/RESULTS.md"}


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_that_a_page_shows_exists_with_its_options(page: str, line: str) -> None:
    application.load_commands()
    words = shlex.split(line.replace("...", "x"), comments=True)[1:]
    if words[:2] == ["replay", "--reviews"]:  # Hands all that follows to the other door.
        words[:2] = ["pr", "replay"]
    command: click.Command = application.app
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: there is no command {words[0]} in {line}"
        command = command.commands[words.pop(0)]
    context = click.Context(command, info_name=line, **command.context_settings)
    command.make_parser(context).parse_args(words)  # Raises for an option that is not there.


def test_pages_show_commands_at_all() -> None:
    assert len(COMMANDS) > 60


QUICK = {
    "quick-start-editor.md": (
        "codetrial init --list",
        "codetrial init --a qwen-coder --b codestral --no-check",
        "codetrial arms list",
        "codetrial install neovim --dry-run",
        "codetrial install neovim",
        "codetrial status",
        "codetrial pause --for 1h",
        "codetrial resume",
        "codetrial uninstall neovim",
    ),
    "quick-start-pull-requests.md": (
        "codetrial init --a claude --b gpt --no-check",
        "codetrial pr install --action acme/codetrial@0123456789abcdef0123456789abcdef01234567 --key OPENAI_API_KEY",
    ),
}
"""What costs nothing, asks nobody and takes no time, in the order of the page."""


@pytest.mark.parametrize("page", QUICK)
def test_a_quick_start_works_as_written(page: str, tmp_path: Path) -> None:
    shown = commands_of(DOCS / page)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    folders = {
        name: str(tmp_path / name.lower())
        for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "CODETRIAL_DATA_DIR", "CODETRIAL_RUNTIME_DIR")
    }
    for line in QUICK[page]:
        assert line in shown
        done = subprocess.run(
            [sys.executable, "-m", "codetrial.cli", *shlex.split(line)[1:]],
            cwd=project,
            env={"PATH": os.environ["PATH"], **folders},
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIME_LIMIT_S,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("--version", 0),
        ("report", 1),
        ("no-such-command", 2),
        ("lsp -- /no/such/server", 127),
        ("lsp -- /dev/null", 126),
    ],
)
def test_commands_end_with_the_documented_status(arguments: str, status: int, tmp_path: Path) -> None:
    done = run("-m", "codetrial.cli", *arguments.split(), CODETRIAL_DATA_DIR=str(tmp_path))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert status < 3 or str(status) in (DOCS / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ["codetrial/paths.py", "lsp_proxy/doctor.py", "pr_bot/identity.py"])
def test_every_variable_of_the_environment_is_listed(module: str) -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in re.findall(r'"(CODETRIAL_[A-Z_]+)"', (ROOT / module).read_text()))


def test_the_readmes_configuration_loads(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert tomllib.loads(block)
    (tmp_path / "codetrial.toml").write_text(block, encoding="utf-8")
    assert load(tmp_path, config_file=tmp_path / "codetrial.toml").arms.a.title == "qwen2.5-coder-7b"


@pytest.mark.parametrize(
    "said",
    [
        "CODETRIAL_OFF is set", "is not on PATH, editors start", "needs a key", "nothing answers at",
        "there is no program", "Nothing has been recorded yet", "Nothing can be recorded in", "cannot be read",
        "cannot be written", "Cannot write", "There is no `git` on PATH", "Installed in no editor",
        "is not as it would be written now", "starts its servers with", "cannot be found",
        "codetrial needs Neovim 0.11", "Paused", "its evaluator recorded nothing",
    ],
)  # fmt: skip
def test_troubleshooting_has_what_the_doctor_says(said: str) -> None:
    source = " ".join(re.sub(r'"\s*\n\s*f?"', "", (ROOT / "lsp_proxy/doctor.py").read_text(encoding="utf-8")).split())
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert said in source
    assert said in page
    assert all(f"`{mark}`" in page for mark in ("ok", Grade.NOTE, Grade.WRONG))


@pytest.mark.parametrize("name", tables)
def test_the_data_dictionary_has_every_table_and_column(name: str) -> None:
    _, _, rest = DATA.read_text(encoding="utf-8").partition(f"### `{name}`\n")
    section = rest.partition("\n### ")[0]
    for column in column_types(name):
        assert f"| `{column}` |" in section


def test_every_word_of_an_outcome_is_listed() -> None:
    text = DATA.read_text(encoding="utf-8")
    assert all(f"- `{word}`" in text for word in OutcomeClass)


def test_a_page_that_was_edited_by_hand_is_found_stale(tmp_path: Path) -> None:
    for source in [*DOCS.glob("*.md"), *DOCS.glob("*.py")]:
        (tmp_path / source.name).write_text(source.read_text(encoding="utf-8").replace("| `seed` |", "| `sead` |"))
    done = run(tmp_path / "generate.py", "--check", PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert "data.md" in done.stderr
    assert "configuration.md" in done.stderr
