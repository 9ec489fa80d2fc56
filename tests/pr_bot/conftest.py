"""Real git repositories to review."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from github import Auth

from codetrial.arms.base import Answer, Usage
from codetrial.clock import now_ns
from codetrial.config import load
from codetrial.records import AttemptStatus, Origin
from pr_bot.git import Repository
from pr_bot.github import Api
from pr_bot.pulls import Bot, open_bot
from pr_bot.review import ReviewPrompt
from tests.fakehub.hub import Hub

_IDENTITY = {
    "GIT_AUTHOR_NAME": "A Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.org",
    "GIT_COMMITTER_NAME": "A Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class WorkingCopy:
    """A repository with files to write and commit, as a developer has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env={**os.environ, **_IDENTITY}, check=True, capture_output=True
        )
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> str:
        """Write (or, for None, delete) the files and commit; the commit's id."""
        for name, content in files.items():
            place = self.folder / name
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder)


@pytest.fixture
def working_copy(tmp_path: Path) -> WorkingCopy:
    return WorkingCopy(tmp_path / "work")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the data of the person who runs it."""
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CODETRIAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


class ScriptedReviewer:
    """An arm whose answers are given; for tests of what comes after the answer."""

    def __init__(self, findings: list[dict[str, Any]] | str | AttemptStatus) -> None:
        self.findings = findings
        self.prompts: list[ReviewPrompt] = []

    async def review(self, prompt: ReviewPrompt, *, deadline_s: float) -> Answer:
        self.prompts.append(prompt)
        sent_ns = now_ns()
        if isinstance(self.findings, AttemptStatus):
            return Answer(status=self.findings, text="", sent_ns=sent_ns, end_ns=now_ns(), error_kind="scripted")
        text = self.findings if isinstance(self.findings, str) else json.dumps({"findings": self.findings})
        usage = Usage(tokens_in=1000, tokens_out=100)
        return Answer(status=AttemptStatus.OK, text=text, sent_ns=sent_ns, end_ns=now_ns(), usage=usage)


Findings = list[dict[str, Any]] | str | AttemptStatus


class Scene:
    """GitHub, a bot and its two arms, for one test."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.slept: list[float] = []
        self.lock = threading.Lock()
        self.arms: dict[str, ScriptedReviewer] = {}

    def bot(self, a: Findings, b: Findings, *, more: str = "", **review: Any) -> Bot:
        """Everything is posted unless a test says otherwise: no test may hang on a draw."""
        review = {"post_share": 1.0, **review}
        text = (
            '[trial]\nname = "pr"\nseed = "0123456789abcdef"\n'
            '[arms.a]\napi = "openai-chat"\nmodel = "alpha"\nurl = "http://127.0.0.1:1/v1"\n'
            '[arms.b]\napi = "openai-chat"\nmodel = "beta"\nurl = "http://127.0.0.1:1/v1"\n'
        )
        with self.lock:  # The threads of a worker make their bots at once.
            (self.folder / "trial.toml").write_text(text + more)
            return self._open(a, b, review)

    def _open(self, a: Findings, b: Findings, review: dict[str, Any]) -> Bot:
        config = load(self.folder, config_file=self.folder / "trial.toml", overrides={"review": review})
        self.arms = {"alpha": ScriptedReviewer(a), "beta": ScriptedReviewer(b)}
        bot = open_bot(config, database=self.folder / "store.db", origin=Origin.TEST)
        bot.sleep = self.slept.append
        bot.make_reviewer = lambda arm: self.arms[str(arm.model)]
        return bot

    def api(self, login: str = "codetrial[bot]", permissions: Mapping[str, str] | None = None) -> Api:
        return Api(Auth.Token(self.hub.token(login, permissions)), url=self.hub.url, pace_s=0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Hub(tmp_path / "hub") as hub:
        yield Scene(hub, tmp_path)
