"""Git, safe over other people's commits: no hooks, no external programs, no prompts, nothing checked out.

Only objects are read. A pull request's head is never checked out, its submodules and large-file pointers are never
followed, and symbolic links are blobs like any other.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import git

from codetrial.errors import ReviewError

__all__ = ["GitError", "Repository"]

FETCH_TIMEOUT_S = 120.0
"""A first fetch of a large repository may take a minute; local reads take milliseconds and need no limit."""

_SAFE_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.quotePath": "true",
    "core.symlinks": "false",
    "diff.external": "",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.file.allow": "never",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "filter.lfs.smudge": "",
    "filter.lfs.required": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "http.followRedirects": "initial",
}


class GitError(ReviewError):
    """Git could not do it; the message is git's own, shortened."""


class Repository:
    """A git directory that is read, and fetched into, without running anything that it contains."""

    def __init__(self, folder: Path, *, extra_config: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._config = {**_SAFE_CONFIG, **(extra_config or {})}
        self._git = git.Git(str(folder))
        self._here: set[str] = set()

    @classmethod
    def open(cls, folder: Path) -> "Repository":
        """The repository that `folder` lies in.

        Raises:
            GitError: it lies in none.
        """
        try:
            with git.Repo(folder, search_parent_directories=True) as found:
                return cls(Path(found.git_dir))
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as fault:
            raise GitError(f"{folder} is not in a git repository: run this inside one, or name it.") from fault

    @classmethod
    def create_bare(cls, folder: Path, *, extra_config: Mapping[str, str] | None = None) -> "Repository":
        """The bare repository at `folder`, made if it is not there; it only ever holds fetched objects."""
        repository = cls(folder, extra_config=extra_config)
        if not (folder / "HEAD").exists():
            folder.mkdir(parents=True, exist_ok=True)
            repository.text("init", "--quiet", "--bare")
        return repository

    def data(self, *arguments: str, stdin: bytes | None = None, timeout_s: float | None = None) -> bytes:
        """What the command prints, byte for byte.

        Raises:
            GitError: it ended with an error, or took longer than `timeout_s`.
        """
        # A git directory named here wins over GIT_DIR, which a hook that runs codetrial would hand down.
        command = ["git", "--no-pager", "--literal-pathspecs", f"--git-dir={self.folder.absolute()}", *arguments]
        try:
            with tempfile.TemporaryFile() as istream:
                if stdin is not None:
                    istream.write(stdin)
                    istream.seek(0)
                output = self._git.execute(
                    command,
                    istream=istream,
                    env=self._environment(),
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    kill_after_timeout=timeout_s,
                )
        except (git.GitCommandError, git.GitCommandNotFound, OSError) as fault:
            raise GitError(f"git {arguments[0]} failed in {self.folder.name}: {_sentence(fault)}") from fault
        return output

    def text(self, *arguments: str, stdin: bytes | None = None) -> str:
        """As `data`, decoded: what is not UTF-8 becomes U+FFFD, for prompts and pages are UTF-8."""
        return self.data(*arguments, stdin=stdin).decode("utf-8", "replace")

    def commit(self, revision: str) -> str:
        """The full id of a commit.

        Raises:
            GitError: there is no such commit here.
        """
        if revision.startswith("-"):
            raise GitError(f"{revision!r} is not a revision.")
        return self.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()

    def has_commit(self, commit: str) -> bool:
        """Whether a commit's objects are here; once they are they stay."""
        if commit not in self._here:
            try:
                self.commit(commit)
            except GitError:
                return False
            self._here.add(commit)
        return True

    def merge_base(self, base: str, head: str) -> str:
        """Where the two histories part; the base itself where they have no common commit."""
        try:
            return self.text("merge-base", base, head).strip()
        except GitError:
            return base

    def blob(self, commit: str, path: str) -> bytes | None:
        """The file's content at a commit; None if no regular file is there (but a link, a submodule or nothing)."""
        listing = self.data("ls-tree", "-z", commit, "--", path)
        if not listing:
            return None
        mode, kind, rest = listing.split(b" ", 2)
        if kind != b"blob" or mode == b"120000":
            return None
        return self.data("cat-file", "blob", rest.split(b"\t", 1)[0].decode())

    def fetch(self, url: str, refspecs: Sequence[str]) -> None:
        """Bring objects here, without tags, submodules or anything that runs."""
        self.data("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force",
                   url, *refspecs, timeout_s=FETCH_TIMEOUT_S)  # fmt: skip

    def _environment(self) -> dict[str, str]:
        # By environment, so that a token in `http.<url>.extraHeader` is on no command line for others to list.
        settings = {"GIT_CONFIG_COUNT": str(len(self._config))}
        for number, (key, value) in enumerate(self._config.items()):
            settings[f"GIT_CONFIG_KEY_{number}"] = key
            settings[f"GIT_CONFIG_VALUE_{number}"] = value
        return {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_PARAMETERS": "",
            "GIT_SSH_COMMAND": "false",
            "GIT_EXTERNAL_DIFF": "",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_LAZY_FETCH": "1",
            **settings,
        }


def _sentence(fault: Exception) -> str:
    text = getattr(fault, "stderr", "") or str(fault)
    return " ".join(str(text).replace("stderr:", "").split())[:300]
