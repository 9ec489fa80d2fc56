"""The repository n-gram arm: says what the repository says, and is silent otherwise."""

import asyncio
from pathlib import Path

import git
import pytest

from codetrial.arms import Prompt, build
from codetrial.arms.ngram import build_index, complete
from codetrial.config import ArmConfig
from codetrial.records import Api, ArmLabel, AttemptStatus

LIBRARY = """
import logging

logger = logging.getLogger(__name__)


def load(path):
    with path.open(encoding="utf-8") as file:
        return json.load(file)


def save(path, content):
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    with git.Repo.init(root) as repo:
        (root / "library.py").write_text(LIBRARY)
        (root / ".gitignore").write_text("ignored.py\n")
        (root / "ignored.py").write_text("zebra crossing the_ignored_road()\n")
        (root / "untracked.py").write_text("llama grazing on_the_untracked_meadow()\n")
        (root / "binary.bin").write_bytes(b"zebra\0crossing the_binary_road()\n")
        repo.index.add(["library.py", ".gitignore"])
    return root


def at(prefix: str, root: Path | None = None, suffix: str = "") -> Prompt:
    return Prompt(prefix=prefix, suffix=suffix, path="new.py", language="python", root=str(root) if root else None)


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("import logging\n\nlogger = logging.", "getLogger(__name__)"),
        ("logger = logging.getL", "ogger(__name__)"),
        ("def f(p):\n    with p.open(encoding=", '"utf-8") as file:'),
        ("quite unknown words he", ""),
        ("x", ""),
        ("", ""),
        ("llama grazing ", "on_the_untracked_meadow()"),
    ],
)
def test_continues_as_the_repository_does(repository: Path, prefix: str, said: str) -> None:
    assert complete(at(prefix), build_index(repository), max_tokens=24).split("\n")[0] == said


@pytest.mark.parametrize("prefix", ["zebra crossing "])
def test_ignored_and_binary_files_are_not_read(repository: Path, prefix: str) -> None:
    assert complete(at(prefix), build_index(repository), max_tokens=24) == ""


def test_ignore_rules_hold_without_git(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    (tmp_path / "ignored.py").write_text("zebra crossing the_road()\n")
    (tmp_path / "kept.py").write_text("llama grazing on_the_meadow()\n")
    index = build_index(tmp_path)
    assert complete(at("zebra crossing "), index, max_tokens=9) == ""
    assert complete(at("llama grazing "), index, max_tokens=9) == "on_the_meadow()"


def test_text_at_hand_counts_before_the_repository(repository: Path) -> None:
    prefix = "logger = logging.getLogger('mine')\nother = logging."
    assert complete(at(prefix), build_index(repository), max_tokens=9) == "getLogger('mine')"


def test_indentation_follows_the_cursor(tmp_path: Path) -> None:
    block = "if ready:\n    start()\n    log()\n"
    (tmp_path / "a.py").write_text(block * 3)
    text = complete(at("class X:\n    def run(self):\n        if ready"), build_index(tmp_path), max_tokens=16)
    assert text.startswith(":\n            start()\n            log()")


def test_no_more_than_max_tokens(repository: Path) -> None:
    assert complete(at("with path.open("), build_index(repository), max_tokens=2) == "encoding="


async def test_answers_before_its_index_is_ready_and_better_after(repository: Path) -> None:
    arm = build(ArmConfig(api=Api.NGRAM), ArmLabel.A)
    prompt = at("logger = logging.", repository)
    try:
        first = await arm.answer(prompt, deadline_s=1)
        assert first.status is AttemptStatus.EMPTY
        await arm.prepare(str(repository))  # type: ignore[attr-defined]  # This arm is Preparable.
        second = await arm.answer(prompt, deadline_s=1)
        assert (second.status, second.text) == (AttemptStatus.OK, "getLogger(__name__)")
    finally:
        await arm.aclose()


async def test_a_missing_root_leaves_the_text_at_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arm = build(ArmConfig(api=Api.NGRAM), ArmLabel.A)
    prompt = at("one two three\none two ", tmp_path / "nowhere")
    try:
        assert (await arm.answer(prompt, deadline_s=1)).text == "three"
        await asyncio.sleep(0)
        await arm.prepare(prompt.root)  # type: ignore[attr-defined]  # This arm is Preparable.
        assert (await arm.answer(prompt, deadline_s=1)).text == "three"
    finally:
        await arm.aclose()
