"""The stand-in for GitHub: a real HTTP server over real git, with a clock to move and faults to order.

    with Hub(folder) as hub:
        repo = hub.repository("octo/app", {"app.py": "x = 1\\n"})
        pull = hub.open_pull(repo, {"app.py": "x = 2\\n"}, by="ada")
        Github(base_url=hub.url, auth=Auth.Token(hub.token("codetrial[bot]")))

Every request and every answer is checked against GitHub's own description; a violation fails the test (`hub.check()`).
"""

import hashlib
import hmac
import json
import re
import socket
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import git_http, graph, rest
from .contract import Contract
from .routing import ROUTES, Actor, Context, Reply
from .state import PERMISSIONS, Clock, Comment, Pull, Repo, Review, Rule, User

__all__ = ["Actor", "Call", "Fault", "Hub"]

MAX_BODY_CHARS = 65_536
PRIMARY_LIMIT = 5_000


@dataclass
class Call:
    method: str
    path: str
    status: int


@dataclass
class Fault:
    """An answer that is given instead of the true one, or (`after`) in its place once the work is done."""

    method: str
    pattern: str
    status: int
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=lambda: {"message": "Server Error"})
    after: bool = False


@dataclass
class Hook:
    url: str
    secret: str
    is_paused: bool = False
    """Deliveries are kept for the test to send: late, twice or in another order."""
    kept: list[tuple[str, str, bytes]] = field(default_factory=list)


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
        self.limit, self.used = PRIMARY_LIMIT, 0
        self.lock = threading.RLock()
        self._number = 1000
        self.operations = rest.__name__
        self._contract = _contract(is_checked)
        self._graph = graph.Schema(self)
        self._client = httpx.Client(timeout=30)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        everything = Route("/{path:path}", self._serve, methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
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
        self._client.close()
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
        self, repo: Repo, files: Mapping[str, str | bytes | None], *, by: str = "ada", title: str = "Change",
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
        self.emit(repo, "pull_request", {"action": "opened", "number": number, "pull_request": pull}, pull.user)
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
        self, repo: Repo, pull: Pull, files: Mapping[str, str | bytes | None], *, message: str = "Fix", by: str = "ada",
        committer: str = "dev",
    ) -> str:  # fmt: skip
        commit = repo.write(pull.head, files, message, committer=committer)
        self.set_head(repo, pull, commit, by=by)
        return commit

    def set_head(self, repo: Repo, pull: Pull, commit: str, *, by: str = "ada") -> None:
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
        self.emit(repo, "pull_request", change, self.user(by))

    def commit_suggestion(self, repo: Repo, pull: Pull, comment: Comment, *, by: str = "ada") -> str:
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
        self.emit(repo, "pull_request_review_thread", change, self.user(by))

    def reply(self, repo: Repo, pull: Pull, comment: Comment, body: str, *, by: str) -> Comment:
        with self.lock:
            review = Review(self.number(), self.user(by), "", "COMMENTED", pull.head, self.clock.text())
            pull.reviews.append(review)
            reply = self._comment(
                pull, review, {"path": comment.path, "body": body, "line": comment.line, "side": comment.side}
            )
            reply.in_reply_to = comment.id
        self.emit(repo, "pull_request_review_comment",
                  {"action": "created", "pull_request": pull, "comment": reply}, self.user(by))  # fmt: skip
        return reply

    def review_by(self, repo: Repo, pull: Pull, comments: list[dict[str, Any]], *, by: str) -> Review:
        """Somebody else's review: a person's or another bot's."""
        with self.lock:
            review = Review(self.number(), self.user(by), "", "COMMENTED", pull.head, self.clock.text())
            pull.reviews.append(review)
            for entry in comments:
                self._comment(pull, review, entry)
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
        self.emit(repo, "issue_comment", {"action": "created", "issue": issue, "comment": entry}, self.user(by))

    def merge(self, repo: Repo, pull: Pull, *, by: str = "ada", squash: bool = False) -> str:
        with self.lock:
            main = repo.git("rev-parse", "refs/heads/main")
            tree = repo.git("merge-tree", "--write-tree", main, pull.head).split("\n")[0]
            parents = ["-p", main] if squash else ["-p", main, "-p", pull.head]
            commit = repo.git("commit-tree", tree, *parents, "-m", f"Merge #{pull.number}")
            repo.set_ref("refs/heads/main", commit)
            pull.state, pull.merged_at, pull.merged_by = "closed", self.clock.text(), self.user(by)
            pull.closed_at = pull.updated_at = pull.merged_at
            pull.merge_commit = commit
        self.emit(
            repo, "pull_request", {"action": "closed", "number": pull.number, "pull_request": pull}, self.user(by)
        )
        return commit

    def close(self, repo: Repo, pull: Pull, *, by: str = "ada") -> None:
        pull.state, pull.closed_at = "closed", self.clock.text()
        self.emit(
            repo, "pull_request", {"action": "closed", "number": pull.number, "pull_request": pull}, self.user(by)
        )

    def advance_main(self, repo: Repo, files: Mapping[str, str | bytes | None], message: str = "Other work") -> str:
        commit = repo.write(repo.git("rev-parse", "refs/heads/main"), files, message)
        repo.set_ref("refs/heads/main", commit)
        return commit

    # --- webhooks ----------------------------------------------------------------------------------------------

    def emit(self, repo: Repo, event: str, payload: dict[str, Any], sender: User) -> None:
        if not self.hooks:
            return
        body = self._plain({**payload, "repository": repo, "sender": sender}, repo)
        installed = [n for n, i in self.installations.items() if repo.full_name in i["repositories"]]
        if installed:
            body["installation"] = {"id": installed[0]}
        data = json.dumps(body).encode()
        for hook in self.hooks:
            delivery = str(uuid.uuid4())
            if hook.is_paused:
                hook.kept.append((event, delivery, data))
            else:
                self.deliver(hook, event, delivery, data)

    def deliver(self, hook: Hook, event: str, delivery: str, data: bytes) -> int:
        signature = "sha256=" + hmac.new(hook.secret.encode(), data, hashlib.sha256).hexdigest()
        headers = {
            "X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature,
            "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/fakehub",
        }  # fmt: skip
        try:
            status = self._client.post(hook.url, content=data, headers=headers).status_code
        except httpx.HTTPError:
            status = 0
        self.deliveries.append({"guid": delivery, "event": event, "status_code": status, "id": self.number()})
        return status

    def _plain(self, value: Any, repo: Repo) -> Any:
        """Objects of the stand-in as GitHub writes them into a payload."""
        if isinstance(value, dict):
            return {key: self._plain(item, repo) for key, item in value.items()}
        if isinstance(value, list):
            return [self._plain(item, repo) for item in value]
        if isinstance(value, User):
            return value.known()
        if isinstance(value, Repo):
            return {**self.known_repo(value)}
        if isinstance(value, Pull):
            return self._plain(self.known_pull(repo, value), repo)
        if isinstance(value, Comment):
            return self._plain(self.known_comment(repo, value), repo)
        return value

    # --- the server --------------------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> Response:
        body = await request.body()
        with self.lock:
            if ".git/" in request.url.path:
                return git_http.serve(self, request, body)
            response = self._answer(request, body)
            self.calls.append(Call(request.method, request.url.path, response.status_code))
            return response

    def _answer(self, request: Request, body: bytes) -> Response:
        fault = self._fault(request, after=False)
        if fault is not None:
            return _fault_response(fault)
        response = self._true_answer(request, body)
        fault = self._fault(request, after=True)
        return response if fault is None else _fault_response(fault)

    def _fault(self, request: Request, *, after: bool) -> Fault | None:
        for fault in self.faults:
            is_due = fault.after is after and fault.times > 0 and fault.method in (request.method, "*")
            if is_due and re.search(fault.pattern, request.url.path):
                fault.times -= 1
                return fault
        return None

    def _true_answer(self, request: Request, body: bytes) -> Response:
        try:
            actor = self._actor(request)
            if self.used >= self.limit:
                raise Rule(403, "API rate limit exceeded for installation.")
            if request.url.path == "/graphql":
                self.used += 1
                return self._json(200, self._graph.execute(json.loads(body), actor))
            return self._rest(request, body, actor)
        except Rule as rule:
            return self._json(rule.status, rule.body)

    def _json(self, status: int, content: Any) -> Response:
        data = json.dumps(content).encode()
        headers = {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
                   "X-RateLimit-Reset": str(int(self.clock.now().timestamp()) + 3600),
                   "X-RateLimit-Used": str(self.used), "X-RateLimit-Resource": "core"}  # fmt: skip
        return Response(data, status, headers, media_type="application/json")

    def _actor(self, request: Request) -> Actor:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token in self.actors:
            return self.actors[token]
        if scheme == "Bearer":
            for app_id, key in self.apps.items():
                try:
                    # GitHub refuses tokens that live longer than ten minutes.
                    claims = jwt.decode(token, key, algorithms=["RS256"], issuer=app_id)
                except jwt.InvalidTokenError:
                    continue
                if claims["exp"] - claims["iat"] > 660:
                    raise Rule(401, "'Expiration time' claim ('exp') is too far in the future")
                return Actor(self.user("codetrial[bot]"), {"app": "write"})
        raise Rule(401, "Bad credentials")

    def _rest(self, request: Request, body: bytes, actor: Actor) -> Response:
        for method, template, pattern, needs, handler in ROUTES:
            match = pattern.match(request.url.path)
            if match is None or method != request.method:
                continue
            self._check_request(request, body)
            context = self._context(request, body, actor, match.groupdict())
            if needs is not None:
                _require(actor, needs)
            reply = handler(self, context)
            return self._reply(request, body, template, reply)
        raise Rule(404, "Not Found")

    def _context(self, request: Request, body: bytes, actor: Actor, path: dict[str, str]) -> Context:
        repo = None
        if "owner" in path:
            repo = self.repos.get(f"{path['owner']}/{path['repo']}")
            if repo is None or repo.is_deleted:
                raise Rule(404, "Not Found")
            if actor.repositories is not None and path["repo"] not in actor.repositories:
                raise Rule(404, "Not Found")  # GitHub does not tell a token what it may not see.
        data = json.loads(body) if body else None
        return Context(actor, path, dict(request.query_params), data, request.headers.get("accept", ""), repo)

    def _check_request(self, request: Request, body: bytes) -> None:
        if (why := self._contract.request_fault(request, body)) is not None:
            self.violations.append(f"{request.method} {request.url.path}: request: {why}")

    def _reply(self, request: Request, body: bytes, template: str, reply: Reply) -> Response:
        if reply.media != "application/json":
            self.used += 1
            return Response(reply.known, reply.status, media_type=reply.media)
        known, link = self._page(request, reply) if reply.is_list else (reply.known, None)
        plain = self._plain(known, Repo.__new__(Repo))
        content = self._contract.fill(request.method, template, reply.status, plain, self.url)
        response = self._json(reply.status, content) if content is not None else Response(status_code=reply.status)
        etag = '"' + hashlib.sha256(bytes(response.body)).hexdigest()[:32] + '"'
        if request.method == "GET" and request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})  # Free: it costs nothing of the hourly limit.
        self.used += 1
        response.headers["ETag"] = etag
        if link:
            response.headers["Link"] = link
        if (why := self._contract.response_fault(request, body, response)) is not None:
            self.violations.append(f"{request.method} {request.url.path}: response: {why}")
        return response

    def _page(self, request: Request, reply: Reply) -> tuple[list[Any], str | None]:
        size = min(100, int(request.query_params.get("per_page", 30)))
        page = int(request.query_params.get("page", 1))
        items = list(reply.known)
        last = max(1, -(-len(items) // size))
        links = []
        for name, number in (("next", page + 1), ("last", last)):
            if page < last:
                url = request.url.include_query_params(page=number)
                links.append(f'<{self.url}{url.path}?{url.query}>; rel="{name}"')
        return items[(page - 1) * size : page * size], ", ".join(links) or None

    # --- shapes ------------------------------------------------------------------------------------------------

    def known_repo(self, repo: Repo) -> dict[str, Any]:
        owner, name = repo.full_name.split("/")
        return {
            "id": repo.id, "name": name, "full_name": repo.full_name, "private": False, "default_branch": "main",
            "owner": self.user(owner).known(), "clone_url": f"{self.url}/{repo.full_name}.git", "fork": False,
            "url": f"{self.url}/repos/{repo.full_name}", "html_url": f"{self.url}/{repo.full_name}",
        }  # fmt: skip

    def known_pull(self, repo: Repo, pull: Pull) -> dict[str, Any]:
        main = repo.base_commit(pull)
        api = f"{self.url}/repos/{repo.full_name}/pulls/{pull.number}"
        head_repo = {**self.known_repo(repo), "fork": pull.is_fork}
        if pull.is_fork:
            head_repo.update(id=repo.id + 1, full_name=f"{pull.user.login}/{repo.full_name.split('/')[1]}")
        return {
            "id": repo.id * 1000 + pull.number, "number": pull.number, "url": api, "title": pull.title,
            "html_url": f"{self.url}/{repo.full_name}/pull/{pull.number}", "body": pull.body, "state": pull.state,
            "user": pull.user.known(), "draft": pull.draft, "locked": False, "created_at": pull.created_at,
            "updated_at": pull.updated_at, "closed_at": pull.closed_at, "merged_at": pull.merged_at,
            "merged": pull.merged_at is not None, "merged_by": pull.merged_by.known() if pull.merged_by else None,
            "merge_commit_sha": pull.merge_commit, "author_association": "CONTRIBUTOR", "labels": [],
            "head": {"ref": f"topic-{pull.number}", "sha": pull.head, "label": "x", "user": pull.user.known(),
                     "repo": head_repo},
            "base": {"ref": pull.base, "sha": main, "label": "x", "user": self.user("octo").known(),
                     "repo": self.known_repo(repo)},
            "commits": len(repo.commits(pull)), "auto_merge": None,
        }  # fmt: skip

    def known_review(self, repo: Repo, pull: Pull, review: Review) -> dict[str, Any]:
        known = {
            "id": review.id, "node_id": f"R_{review.id}", "user": review.user.known(), "body": review.body,
            "state": review.state, "commit_id": review.commit_id, "author_association": "NONE",
            "html_url": f"{self.url}/{repo.full_name}/pull/{pull.number}#pullrequestreview-{review.id}",
            "pull_request_url": f"{self.url}/repos/{repo.full_name}/pulls/{pull.number}",
        }  # fmt: skip
        return known if review.submitted_at is None else {**known, "submitted_at": review.submitted_at}

    def known_comment(self, repo: Repo, comment: Comment) -> dict[str, Any]:
        counts = dict.fromkeys(("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket"), 0)
        for reaction in comment.reactions:
            counts[reaction["content"]] += 1
        known = {
            "id": comment.id, "node_id": f"C_{comment.id}", "pull_request_review_id": comment.review.id,
            "user": comment.user.known(), "body": comment.body, "path": comment.path, "commit_id": comment.commit_id,
            "original_commit_id": comment.original_commit_id, "line": comment.line, "side": comment.side,
            "original_line": comment.original_line, "start_line": comment.start_line,
            "start_side": comment.start_side, "created_at": comment.created_at, "updated_at": comment.created_at,
            "subject_type": comment.subject_type, "diff_hunk": "@@", "author_association": "NONE",
            "reactions": {"url": f"{self.url}/", "total_count": len(comment.reactions), **counts},
        }  # fmt: skip
        return known if comment.in_reply_to is None else {**known, "in_reply_to_id": comment.in_reply_to}

    # --- rules of reviews --------------------------------------------------------------------------------------

    def _point(self, repo: Repo, pull: Pull) -> None:
        repo.set_ref(f"refs/pull/{pull.number}/head", pull.head)

    def _comment(self, pull: Pull, review: Review, entry: Mapping[str, Any]) -> Comment:
        comment = Comment(
            id=self.number(), review=review, user=review.user, body=entry["body"], path=entry["path"],
            commit_id=pull.head, original_commit_id=pull.head, line=entry.get("line"), side=entry.get("side", "RIGHT"),
            start_line=entry.get("start_line"), start_side=entry.get("start_side"), original_line=entry.get("line"),
            created_at=self.clock.text(), subject_type=entry.get("subject_type", "line"),
        )  # fmt: skip
        pull.comments.append(comment)
        return comment

    def check_place(self, repo: Repo, pull: Pull, entry: Mapping[str, Any], commit: str) -> None:
        """What GitHub refuses in a comment, with its message; one bad comment refuses the whole review."""
        hunks = repo.commentable(pull, commit).get(entry["path"])
        if hunks is None:
            raise Rule(422, "Unprocessable Entity", ["Path could not be resolved"])
        if entry.get("subject_type") == "file":
            return
        side, line = entry.get("side", "RIGHT"), entry.get("line")
        if side not in ("LEFT", "RIGHT"):
            raise Rule(422, "Unprocessable Entity", ["Side is invalid"])
        holding = [hunk for hunk in hunks if line in hunk[side]]
        if not holding:
            raise Rule(422, "Unprocessable Entity", ["Line could not be resolved"])
        start = entry.get("start_line")
        if start is not None:
            if start >= line:
                raise Rule(422, "Unprocessable Entity", ["Start line must precede the end line."])
            if start not in holding[0][entry.get("start_side", side)]:
                raise Rule(422, "Unprocessable Entity", ["Start line must be part of the same hunk as the line."])
        if re.search(r"^`{3,}suggestion", entry["body"], re.MULTILINE) and side == "LEFT":
            raise Rule(422, "Unprocessable Entity", ["Suggestions cannot be made on deleted lines"])


@lru_cache(maxsize=2)
def _contract(is_checked: bool) -> Contract:
    """Read once: it takes half a second, and nothing changes it."""
    if not is_checked:
        return Contract()
    from .checked import CheckedContract

    return CheckedContract()


def _require(actor: Actor, needs: str) -> None:
    permission, level = needs.split(":")
    have = actor.permissions.get(permission)
    if have is None or (level == "write" and have == "read"):
        raise Rule(403, "Resource not accessible by integration")


def _fault_response(fault: Fault) -> Response:
    return Response(json.dumps(fault.body), fault.status, dict(fault.headers), media_type="application/json")
