"""What the stand-in remembers: repositories that are real git, pull requests, and what people do in them."""

import difflib
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["Comment", "Pull", "Repo", "Review", "Rule", "User"]

PERMISSIONS = {"contents": "read", "metadata": "read", "pull_requests": "write", "checks": "write", "issues": "write"}


class Rule(Exception):  # noqa: N818  # An answer, not an error of the stand-in.
    """GitHub would refuse this with a status and a message."""

    def __init__(self, status: int, message: str, errors: list[Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "documentation_url": "https://docs.github.com/rest"}
        if errors is not None:
            self.body["errors"] = errors


class Clock:
    """The stand-in's time, which tests move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def text(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self, **by: float) -> None:
        self.ahead += timedelta(**by)


@dataclass
class User:
    login: str
    id: int
    type: str = "User"

    def known(self) -> dict[str, Any]:
        return {"login": self.login, "id": self.id, "type": self.type, "node_id": f"U_{self.id}", "site_admin": False}


@dataclass
class Review:
    id: int
    user: User
    body: str
    state: str
    commit_id: str
    submitted_at: str | None


@dataclass
class Comment:
    """A comment on lines (or a file) of a pull request; replies point to their thread's first."""

    id: int
    review: Review
    user: User
    body: str
    path: str
    commit_id: str
    line: int | None
    side: str
    start_line: int | None
    start_side: str | None
    created_at: str
    subject_type: str = "line"
    in_reply_to: int | None = None
    original_line: int | None = None
    original_commit_id: str = ""
    reactions: list[dict[str, Any]] = field(default_factory=list)
    resolved_by: User | None = None
    minimized: str | None = None

    @property
    def is_outdated(self) -> bool:
        return self.line is None and self.subject_type == "line"

    def react(self, user: User, content: str, number: int, at: str) -> dict[str, Any]:
        for reaction in self.reactions:
            if (reaction["user"], reaction["content"]) == (user, content):
                return reaction
        reaction = {"id": number, "user": user, "content": content, "created_at": at}
        self.reactions.append(reaction)
        return reaction


@dataclass
class Pull:
    number: int
    title: str
    body: str
    user: User
    base: str
    head: str
    is_fork: bool
    created_at: str
    updated_at: str
    state: str = "open"
    draft: bool = False
    merged_at: str | None = None
    merged_by: User | None = None
    closed_at: str | None = None
    merge_commit: str | None = None
    reviews: list[Review] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    issue_comments: list[dict[str, Any]] = field(default_factory=list)


_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class Repo:
    """A repository with its bare git directory."""

    def __init__(self, folder: Path, full_name: str, number: int) -> None:
        self.full_name, self.id, self.folder = full_name, number, folder
        self.pulls: dict[int, Pull] = {}
        self.check_runs: list[dict[str, Any]] = []
        self.collaborators: dict[str, str] = {}
        self.is_deleted = False
        self._base_commits: dict[str, str] = {}
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", ".")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.git("config", "http.uploadpack", "true")

    def git(self, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None) -> str:
        return self.raw(*arguments, stdin=stdin, extra=extra).decode("utf-8", "replace").strip()

    def raw(self, *arguments: str, stdin: bytes | None = None, extra: Mapping[str, str] | None = None) -> bytes:
        environment = {
            **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "dev", "GIT_AUTHOR_EMAIL": "dev@example.org",
            "GIT_COMMITTER_NAME": "dev", "GIT_COMMITTER_EMAIL": "dev@example.org", **(extra or {}),
        }  # fmt: skip
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, input=stdin, env=environment, check=True, capture_output=True
        ).stdout

    def write(
        self,
        parent: str | None,
        files: Mapping[str, str | bytes | None],
        message: str,
        *,
        committer: str = "dev",
        parents: tuple[str, ...] = (),
    ) -> str:
        """A commit with these files changed (None deletes), made without a working tree."""
        index = self.folder / "scratch.index"
        index.unlink(missing_ok=True)
        extra = {"GIT_INDEX_FILE": str(index)}
        if parent:
            self.git("read-tree", parent, extra=extra)
        for path, content in files.items():
            if content is None:
                gone = f"0 {'0' * 40}\t{path}\0".encode()
                self.git("update-index", "-z", "--index-info", stdin=gone, extra=extra)
                continue
            data = content.encode() if isinstance(content, str) else content
            blob = self.git("hash-object", "-w", "--stdin", stdin=data)
            self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", extra=extra)
        tree = self.git("write-tree", extra=extra)
        all_parents = parents or ((parent,) if parent else ())
        flags = [flag for commit in all_parents for flag in ("-p", commit)]
        names = {"GIT_COMMITTER_NAME": committer}
        if committer == "GitHub":
            names["GIT_COMMITTER_EMAIL"] = "noreply@github.com"
        return self.git("commit-tree", tree, *flags, "-m", message, extra=names)

    def set_ref(self, ref: str, commit: str) -> None:
        self.git("update-ref", ref, commit)

    def text(self, commit: str, path: str) -> str | None:
        try:
            return self.raw("cat-file", "blob", f"{commit}:{path}").decode("utf-8", "replace")
        except subprocess.CalledProcessError:
            return None

    def base_commit(self, pull: Pull) -> str:
        """Where the base branch stands, or stood before it was deleted: GitHub goes on telling that."""
        with suppress(subprocess.CalledProcessError):
            self._base_commits[pull.base] = self.git("rev-parse", "--verify", "--quiet", f"refs/heads/{pull.base}")
        return self._base_commits[pull.base]

    def merge_base(self, pull: Pull) -> str:
        return self.git("merge-base", self.base_commit(pull), pull.head)

    def commits(self, pull: Pull) -> list[str]:
        return self.git("rev-list", "--reverse", f"{self.merge_base(pull)}..{pull.head}").split()

    def commentable(self, pull: Pull, commit: str) -> dict[str, list[dict[str, set[int]]]]:
        """By path: for each hunk, the lines that can carry a comment. Read off git, not off the bot's parser."""
        base = self.git("merge-base", self.base_commit(pull), commit)
        out = self.raw("diff", "--raw", "-z", "-M", base, commit).decode("utf-8", "replace").split("\0")
        lines: dict[str, list[dict[str, set[int]]]] = {}
        place = 0
        while place + 1 < len(out):
            # A renamed file has two names, and is only seen as one if both are asked for.
            names = out[place + 1 : place + (3 if out[place].rsplit(" ", 1)[1][0] in "RC" else 2)]
            place += 1 + len(names)
            diff = self.raw("--literal-pathspecs", "diff", "--no-color", "-M", base, commit, "--", *names)
            lines[names[-1]] = _hunks(diff)
        return lines

    def moved_line(self, path: str, line: int, old: str, new: str) -> int | None:
        """Where a line of one commit stands in another; None if it was changed or is gone."""
        before, after = self.text(old, path), self.text(new, path)
        if before is None or after is None:
            return None
        matcher = difflib.SequenceMatcher(a=before.split("\n"), b=after.split("\n"), autojunk=False)
        for block in matcher.get_matching_blocks():
            if block.a < line <= block.a + block.size:
                return block.b + line - block.a
        return None


def _hunks(out: bytes) -> list[dict[str, set[int]]]:
    hunks: list[dict[str, set[int]]] = []
    old = new = 0
    for text in out.split(b"\n"):
        head = _HUNK.match(text)
        if head:
            old, new = int(head[1]), int(head[3])
            hunks.append({"LEFT": set(), "RIGHT": set()})
        elif not hunks or text.startswith(b"\\"):
            continue
        elif text.startswith(b"+"):
            hunks[-1]["RIGHT"].add(new)
            new += 1
        elif text.startswith(b"-"):
            hunks[-1]["LEFT"].add(old)
            old += 1
        elif text.startswith(b" "):
            hunks[-1]["RIGHT"].add(new)
            old, new = old + 1, new + 1
    return hunks
