"""The stand-in for GitHub: a real HTTP server over real git, with a clock to move and faults to order.

    with Hub(folder) as hub:
        repo = hub.repository("octo/app", {"app.py": "x = 1\\n"})
        pull = hub.open_pull(repo, {"app.py": "x = 2\\n"}, by="author")
        Github(base_url=hub.url, auth=Auth.Token(hub.token("codetrial[bot]")))

Every request and every answer is checked against GitHub's own description; a violation fails the test (`hub.check()`).
"""

import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from .answering import Answers
from .hooks import Hook, emit
from .routing import Actor, Call, Fault
from .state import PERMISSIONS, Clock, Comment, Pull, Repo, Review, User

__all__ = ["Actor", "Call", "Fault", "Hub"]

PRIMARY_LIMIT = 5_000
"""An hour: requests of REST, and points of GraphQL."""


class Hub:
    """
    Args:
        is_checked: Hold GitHub's description against everything that is said; needs openapi-core.
    """

    def __init__(self, folder: Path, *, is_checked: bool = True) -> None:
        self.folder = folder
        self.clock = Clock()
        self.repos: dict[str, Repo] = {}
        self.users: dict[str, User] = {}
        self.actors: dict[str, Actor] = {}
        self.apps: dict[str, str] = {}
        self.installations: dict[int, dict[str, Any]] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.hooks: list[Hook] = []
        self.deliveries: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.broken_threads: set[int] = set()
        """Comments whose thread fails inside a GraphQL answer that is otherwise good: partial data."""
        self.limit = PRIMARY_LIMIT
        self.used = self.points = 0
        """Of the hour: requests of REST, and points of GraphQL."""
        self.lock = threading.RLock()
        self._number = 1000
        self.client = httpx.Client(timeout=30)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        answers = Answers(self, is_checked=is_checked)
        everything = Route("/{path:path}", answers.serve, methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
        config = uvicorn.Config(
            Starlette(routes=[everything]), lifespan="off", log_level="warning", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="fakehub")

    def __enter__(self) -> Self:
        # The socket listens already, so that nobody has to wait for the thread to be ready.
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.client.close()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Fail if anything was said in either direction that GitHub's description does not allow."""
        assert not self.violations, "\n".join(self.violations)

    # --- what a test sets up -----------------------------------------------------------------------------------

    def number(self) -> int:
        self._number += 1
        return self._number

    def user(self, login: str) -> User:
        if login not in self.users:
            kind = "Bot" if login.endswith("[bot]") else "User"
            self.users[login] = User(login, self.number(), kind)
        return self.users[login]

    def token(self, login: str, permissions: Mapping[str, str] | None = None) -> str:
        """A token for a person or a bot, with the permissions of a well-configured workflow unless told otherwise."""
        token = f"tok-{login}-{self.number()}"
        self.actors[token] = Actor(self.user(login), dict(PERMISSIONS if permissions is None else permissions))
        return token

    def app(self, app_id: str, public_key: str, repositories: list[str]) -> int:
        """A GitHub App, installed on some repositories; the installation's id."""
        self.apps[app_id] = public_key
        installation = self.number()
        self.installations[installation] = {"app": app_id, "repositories": repositories}
        return installation

    def repository(self, full_name: str, files: Mapping[str, str | bytes | None]) -> Repo:
        repo = Repo(self.folder / f"{full_name}.git", full_name, self.number())
        repo.set_ref("refs/heads/main", repo.write(None, files, "Start"))
        self.repos[full_name] = repo
        return repo

    def open_pull(
        self, repo: Repo, files: Mapping[str, str | bytes | None], *, by: str = "author", title: str = "Change",
        body: str = "", is_fork: bool = False, head: str | None = None, draft: bool = False,
    ) -> Pull:  # fmt: skip
        with self.lock:
            base = repo.git("rev-parse", "refs/heads/main")
            commit = head or repo.write(base, files, title)
            now = self.clock.text()
            number = len(repo.pulls) + 1
            pull = Pull(number, title, body, self.user(by), "main", commit, is_fork, now, now, draft=draft)
            repo.pulls[number] = pull
            self._point(repo, pull)
        emit(self, repo, "pull_request", {"action": "opened", "number": number, "pull_request": pull}, pull.user)
        return pull

    def fail(
        self, method: str, pattern: str, status: int, *, times: int = 1, after: bool = False,
        headers: Mapping[str, str] | None = None, message: str = "Server Error", errors: list[Any] | None = None,
    ) -> None:  # fmt: skip
        """Order faults for requests whose path matches; `after` means the work is done and the answer lost."""
        body: dict[str, Any] = {"message": message}
        if errors is not None:
            body["errors"] = errors
        self.faults.append(Fault(method, pattern, status, times, headers or {}, body, after))

    def hook(self, url: str, secret: str) -> Hook:
        self.hooks.append(Hook(url, secret))
        return self.hooks[-1]

    # --- what people do ----------------------------------------------------------------------------------------

    def push(
        self, repo: Repo, pull: Pull, files: Mapping[str, str | bytes | None], *, message: str = "Fix",
        by: str = "author", committer: str = "dev",
    ) -> str:  # fmt: skip
        commit = repo.write(pull.head, files, message, committer=committer)
        self.set_head(repo, pull, commit, by=by)
        return commit

    def set_head(self, repo: Repo, pull: Pull, commit: str, *, by: str = "author") -> None:
        """A push, forced if it has to be: earlier comments move with their lines, and reviews point to the new head."""
        with self.lock:
            before = pull.head
            forced = repo.git("merge-base", before, commit) != before
            for comment in pull.comments:
                if comment.line is not None and comment.side == "RIGHT":
                    comment.line = repo.moved_line(comment.path, comment.line, before, commit)
                    comment.commit_id = commit
            if forced:
                for review in pull.reviews:
                    review.commit_id = commit
            pull.head, pull.updated_at = commit, self.clock.text()
            self._point(repo, pull)
        change = {
            "action": "synchronize",
            "number": pull.number,
            "pull_request": pull,
            "before": before,
            "after": commit,
        }
        emit(self, repo, "pull_request", change, self.user(by))

    def commit_suggestion(self, repo: Repo, pull: Pull, comment: Comment, *, by: str = "author") -> str:
        """Press the button beneath a suggestion, as GitHub does it."""
        found = re.search(r"^(`{3,})suggestion\n(.*?)\n?\1$", comment.body, re.DOTALL | re.MULTILINE)
        assert found, "the comment has no suggestion"
        assert comment.line is not None, "GitHub offers no button on an outdated comment"
        start = comment.start_line or comment.line
        lines = (repo.text(pull.head, comment.path) or "").split("\n")
        new = [*lines[: start - 1], *(found[2].split("\n") if found[2] else []), *lines[comment.line :]]
        author = comment.user
        message = (
            f"Apply suggestion from @{author.login}\n\n"
            f"Co-authored-by: {author.login} <{author.id}+{author.login}@users.noreply.github.com>"
        )
        return self.push(repo, pull, {comment.path: "\n".join(new)}, message=message, by=by, committer="GitHub")

    def react(self, comment: Comment, content: str, *, by: str) -> None:
        with self.lock:
            comment.react(self.user(by), content, self.number(), self.clock.text())

    def unreact(self, comment: Comment, content: str, *, by: str) -> None:
        with self.lock:
            comment.reactions = [r for r in comment.reactions if (r["user"].login, r["content"]) != (by, content)]

    def resolve(self, repo: Repo, pull: Pull, comment: Comment, *, by: str) -> None:
        with self.lock:
            comment.resolved_by = self.user(by)
        thread = {"node_id": f"T_{comment.id}", "comments": [comment]}
        change = {"action": "resolved", "pull_request": pull, "thread": thread}
        emit(self, repo, "pull_request_review_thread", change, self.user(by))

    def reply(self, repo: Repo, pull: Pull, comment: Comment, body: str, *, by: str) -> Comment:
        with self.lock:
            review = Review(self.number(), self.user(by), "", "COMMENTED", pull.head, self.clock.text())
            pull.reviews.append(review)
            reply = self.comment(
                pull, review, {"path": comment.path, "body": body, "line": comment.line, "side": comment.side}
            )
            reply.in_reply_to = comment.id
        emit(self, repo, "pull_request_review_comment",
                  {"action": "created", "pull_request": pull, "comment": reply}, self.user(by))  # fmt: skip
        return reply

    def review_by(self, repo: Repo, pull: Pull, comments: list[dict[str, Any]], *, by: str) -> Review:
        """Somebody else's review: a person's or another bot's."""
        with self.lock:
            review = Review(self.number(), self.user(by), "", "COMMENTED", pull.head, self.clock.text())
            pull.reviews.append(review)
            for entry in comments:
                self.comment(pull, review, entry)
        return review

    def minimize(self, comment: Comment, reason: str) -> None:
        comment.minimized = reason

    def comment_on_pull(self, repo: Repo, pull: Pull, body: str, *, by: str) -> None:
        with self.lock:
            entry = {"id": self.number(), "body": body, "user": self.user(by), "created_at": self.clock.text()}
            pull.issue_comments.append(entry)
        issue = {
            "number": pull.number,
            "pull_request": {"url": f"{self.url}/repos/{repo.full_name}/pulls/{pull.number}"},
        }
        emit(self, repo, "issue_comment", {"action": "created", "issue": issue, "comment": entry}, self.user(by))

    def merge(self, repo: Repo, pull: Pull, *, by: str = "author", squash: bool = False) -> str:
        with self.lock:
            main = repo.git("rev-parse", "refs/heads/main")
            tree = repo.git("merge-tree", "--write-tree", main, pull.head).split("\n")[0]
            parents = ["-p", main] if squash else ["-p", main, "-p", pull.head]
            commit = repo.git("commit-tree", tree, *parents, "-m", f"Merge #{pull.number}")
            repo.set_ref("refs/heads/main", commit)
            pull.state, pull.merged_at, pull.merged_by = "closed", self.clock.text(), self.user(by)
            pull.closed_at = pull.updated_at = pull.merged_at
            pull.merge_commit = commit
        emit(
            self, repo, "pull_request", {"action": "closed", "number": pull.number, "pull_request": pull}, self.user(by)
        )
        return commit

    def close(self, repo: Repo, pull: Pull, *, by: str = "author") -> None:
        pull.state, pull.closed_at = "closed", self.clock.text()
        emit(
            self, repo, "pull_request", {"action": "closed", "number": pull.number, "pull_request": pull}, self.user(by)
        )

    def advance_main(self, repo: Repo, files: Mapping[str, str | bytes | None], message: str = "Other work") -> str:
        commit = repo.write(repo.git("rev-parse", "refs/heads/main"), files, message)
        repo.set_ref("refs/heads/main", commit)
        return commit

    # --- rules of reviews --------------------------------------------------------------------------------------

    def _point(self, repo: Repo, pull: Pull) -> None:
        repo.set_ref(f"refs/pull/{pull.number}/head", pull.head)

    def comment(self, pull: Pull, review: Review, entry: Mapping[str, Any]) -> Comment:
        comment = Comment(
            id=self.number(), review=review, user=review.user, body=entry["body"], path=entry["path"],
            commit_id=pull.head, original_commit_id=pull.head, line=entry.get("line"), side=entry.get("side", "RIGHT"),
            start_line=entry.get("start_line"), start_side=entry.get("start_side"), original_line=entry.get("line"),
            created_at=self.clock.text(), subject_type=entry.get("subject_type", "line"),
        )  # fmt: skip
        pull.comments.append(comment)
        return comment
