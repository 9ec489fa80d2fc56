"""What is handed over: wheel, sdist, and every command from an installation that knows nothing of this folder."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"analysis", "codetrial", "lsp_proxy", "pr_bot"}
MAX_FILE_BYTES = 2_000_000

EXTRAS = {
    "local": "xllamacpp",
    "keyring": "keyring",
    "pascal": "tree_sitter_pascal",
    "parquet": "duckdb, fsspec, pyarrow",
    "explore": "datasette",
    "clickhouse": "chdb",
    "spark": "pyspark",
}
"""Each extra and what it is for."""


def build(source: Path, target: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    [built] = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    assert {name.partition("/")[0] for name in names} == PACKAGES
    assert not [name for name in names if name.endswith((".pyc", ".db")) or "/tests/" in name]
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}
    assert {"codetrial/py.typed", "analysis/py.typed", "lsp_proxy/py.typed", "pr_bot/py.typed"} <= set(names)


def test_the_metadata_say_licence_and_way_home(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
        licences = [name for name in archive.namelist() if "/licenses/LICENSE" in name]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(EXTRAS)
    assert "codetrial" in str(metadata.get_payload())
    assert licences


def test_a_wheel_built_from_the_sdist_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    again = build(source, "wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it needs, and a home of its own."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    pip(folder, str(wheel))
    return folder


def pip(folder: Path, *what: str) -> None:
    command = [str(folder / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", *what]
    subprocess.run(command, check=True, timeout=1200, cwd=folder, capture_output=True)


def codetrial(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = {name: str(folder / name.lower()) for name in ("CODETRIAL_DATA_DIR", "CODETRIAL_CACHE_DIR")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **own}
    command = [str(folder / "venv/bin/codetrial"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def subcommands(folder: Path, *above: str) -> list[tuple[str, ...]]:
    """Every command there is, found as a person finds them: by --help."""
    shown = codetrial(folder, *above, "--help")
    assert shown.returncode == 0, shown.stderr
    options = shown.stdout.partition("Options:")[2]
    listed = re.findall(r"^  ([a-z][a-z-]*)  ", options, re.MULTILINE) if "COMMAND" in shown.stdout else []
    found: list[tuple[str, ...]] = [above]
    for name in listed:
        found += subcommands(folder, *above, name)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_command_runs_from_a_bare_installation(bare: Path) -> None:
    commands = subcommands(bare)
    assert {("lsp",), ("report",), ("pr", "review"), ("arms", "check"), ("demo",), ("replay",)} <= set(commands)
    version = codetrial(bare, "--version")
    assert version.stdout.startswith("codetrial, version ")
    for words in (("arms", "list"), ("init", "--a", "ngram", "--b", "codestral", "--no-check"), ("status", "--json")):
        done = codetrial(bare, *words)
        assert done.returncode == 0, done.stderr
    empty = codetrial(bare, "report")
    assert "Traceback" not in empty.stderr
    assert empty.stderr + empty.stdout
    passed = subprocess.run(
        [str(bare / "venv/bin/codetrial"), "lsp", "--off", "--", "cat"],
        input="as it is", capture_output=True, text=True, cwd=bare, timeout=60,
    )  # fmt: skip
    assert passed.stdout == "as it is"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_installs(bare: Path, wheel: Path, extra: str) -> None:
    pip(bare, f"codetrial[{extra}] @ {wheel.as_uri()}")
    subprocess.run([str(bare / "venv/bin/python"), "-c", f"import {EXTRAS[extra]}"], check=True, timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_it_installs_as_an_application_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """By pipx, as one person does who wants the command and no library; and it goes again without a trace."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    pip(tmp_path, "pipx")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8",
        "PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }  # fmt: skip

    def run(*words: str) -> str:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pipx = str(tmp_path / "venv/bin/pipx")
    run(pipx, "install", "--quiet", "--python", sys.executable, str(wheel))
    assert run("codetrial", "--version").startswith("codetrial, version ")
    assert "SmolLM2" in run("codetrial", "arms", "list")
    run(pipx, "uninstall", "codetrial")
    assert not (tmp_path / "bin/codetrial").exists()
