"""GitHub behind one class: PyGithub for what it does well, plain HTTP where it would lose data.

PyGithub repeats a POST after a lost answer, and posts twice; so reads retry and writes never do (posting.py reads back
instead). Its GraphQL call throws partial data away, and it cannot ask "only if changed"; both are done with httpx.
"""

import base64
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import requests.exceptions
from github import Auth, Github, GithubException
from urllib3.util import Retry

from codetrial.errors import ReviewError
from pr_bot.diff import Change, Diff, FileDiff, parse_patch

__all__ = [
    "Api",
    "Forbidden",
    "GitHubError",
    "Missing",
    "Pull",
    "RateLimited",
    "Refused",
    "ReviewComment",
    "ReviewSummary",
    "Unavailable",
]

DEFAULT_URL = "https://api.github.com"
READ_TIMEOUT_S = 30
READ_RETRIES = 3
MAX_FILES = 3_000
"""GitHub lists no more files of a pull request than this."""


class GitHubError(ReviewError):
    """GitHub did not do what was asked."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Forbidden(GitHubError):  # noqa: N818  # GitHub's own word for it.
    """The token may not do this, and waiting will not help."""


class Missing(GitHubError):  # noqa: N818
    """The repository or pull request is gone, or this token cannot see it."""


class Refused(GitHubError):  # noqa: N818
    """GitHub understood and says no (422): the same request will be refused again."""


class RateLimited(GitHubError):  # noqa: N818
    """Too much at once, or too much this hour."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class Unavailable(GitHubError):  # noqa: N818
    """No answer, or a server's failure: a write may or may not have been done."""


SECONDARY_WAIT_S = 60.0
"""What GitHub asks for where a secondary limit comes without a time."""


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except GithubException as fault:
        raise classify(what, fault.status, fault.data, fault.headers or {}) from fault
    except (requests.exceptions.RequestException, httpx.HTTPError) as fault:
        raise Unavailable(f"{what}: no answer from GitHub ({type(fault).__name__}).") from fault


def classify(what: str, status: int, data: Any, headers: Mapping[str, str]) -> GitHubError:
    """The error that a status and its body mean; limits come as 403, as 429, as 422, and from GraphQL even as 200."""
    message = str(data.get("message", "")) if isinstance(data, Mapping) else str(data or "")
    details = _details(data)
    text = f"{what}: {message or status}" + (f" ({details})" if details else "")
    lowered = {key.lower(): value for key, value in headers.items()}
    words = f"{message} {details}".lower()
    is_limit = status == 429 or "rate limit" in words or "abuse" in words or "retry-after" in lowered
    if status in (200, 403, 422, 429) and (is_limit or lowered.get("x-ratelimit-remaining") == "0"):
        return RateLimited(text, status=status, retry_after_s=_wait_s(lowered))
    if status == 401:
        return Forbidden(f"{text}. The token is wrong, expired or revoked.", status=status)
    if status == 403:
        return Forbidden(f"{text}. Check the permissions in docs/pull-requests.md.", status=status)
    if status in (404, 410, 451):
        return Missing(f"{text}. It is gone, or this token cannot see it.", status=status)
    if status >= 500 or status in (0, 408):
        return Unavailable(text, status=status)
    return Refused(text, status=status)


def _details(data: Any) -> str:
    errors = data.get("errors") if isinstance(data, Mapping) else None
    if not isinstance(errors, list):
        return ""
    parts = [str(e.get("message") or e.get("code") or e) if isinstance(e, Mapping) else str(e) for e in errors]
    return "; ".join(parts)[:300]


def _wait_s(headers: Mapping[str, str]) -> float:
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and (reset := headers.get("x-ratelimit-reset", "")).isdigit():
        return max(1.0, float(reset) - time.time())
    return SECONDARY_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request as the bot sees it; everything a stranger can write is text and nothing more."""

    repository: str
    number: int
    title: str
    body: str
    author: str
    author_is_bot: bool
    state: str
    is_draft: bool
    is_fork: bool
    base_ref: str
    base_sha: str
    head_sha: str
    clone_url: str
    merged_at: str | None
    closed_at: str | None
    updated_at: str
    merge_commit: str | None = None
    """What the base branch got; before the merge it is GitHub's trial merge and means nothing."""

    @property
    def key(self) -> str:
        return f"{self.repository}#{self.number}"


class ReviewComment(NamedTuple):
    id: int
    review: int | None
    author: str
    author_is_bot: bool
    body: str
    path: str
    line: int | None
    side: str | None
    created_at: str
    in_reply_to: int | None
    reactions: int
    """All reactions, by the rollup: a change of it is worth a request for who and when."""


class ReviewSummary(NamedTuple):
    id: int
    state: str
    body: str
    author_is_bot: bool


class Fetched(NamedTuple):
    """A conditional read."""

    data: Any
    etag: str | None
    """None where the answer had none."""
    is_changed: bool


class Api:
    """What the bot does at GitHub, as one identity.

    Args:
        pace_s: Seconds between writes; GitHub asks for one. Tests set 0.
    """

    def __init__(self, auth: Auth.Auth, *, url: str = DEFAULT_URL, pace_s: float = 1.0) -> None:
        self.url = url.rstrip("/")
        self._auth = auth
        # Not PyGithub's own: that one sleeps through limits, for as long as GitHub says, with a worker in its hands.
        retry = Retry(
            total=READ_RETRIES, status_forcelist=(500, 502, 503, 504), allowed_methods=("GET",), backoff_factor=0.3,
            respect_retry_after_header=False, raise_on_status=False,
        )  # fmt: skip
        common: dict[str, Any] = {
            "base_url": self.url, "auth": auth, "timeout": READ_TIMEOUT_S, "per_page": 100, "lazy": True,
            "seconds_between_requests": 0, "user_agent": "codetrial",
        }  # fmt: skip
        self._reads = Github(retry=retry, seconds_between_writes=0, **common)
        # retry=0 and not None: None would still let urllib3 repeat a request whose connection was lost.
        self._writes = Github(retry=0, seconds_between_writes=pace_s, **common)
        self._http = httpx.Client(timeout=READ_TIMEOUT_S, follow_redirects=False)
        self.calls = 0
        """Requests so far that count against the hourly limit, of those made with httpx."""

    def close(self) -> None:
        self._reads.close()
        self._writes.close()
        self._http.close()

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading -----------------------------------------------------------------------------------------------

    def pull(self, repository: str, number: int) -> Pull:
        with _translated(f"Reading {repository}#{number}"):
            _, raw = self._reads.requester.requestJsonAndCheck("GET", f"/repos/{repository}/pulls/{number}")
        return pull_of(repository, raw)

    def open_pulls(self, repository: str) -> list[Pull]:
        """Every open pull request, for what no event told or no run lived to do."""
        found = self._list(f"Listing the pull requests of {repository}", f"/repos/{repository}/pulls")
        return [pull_of(repository, raw) for raw in found]

    def _list(self, what: str, path: str) -> list[Any]:
        """All pages of a list, as GitHub wrote them.

        Not by PyGithub's objects: on a lazy client each of them would be fetched once more, and the client must be lazy
        or every repository would be.
        """
        found: list[Any] = []
        url: str | None = f"{path}?per_page=100"
        with _translated(what):
            while url is not None:
                headers, page = self._reads.requester.requestJsonAndCheck("GET", url)
                found.extend(page)
                url = _next_page(headers.get("link", ""))
        return found

    def files(self, pull: Pull) -> Diff:
        """The change by GitHub's files endpoint, for where git cannot fetch: without patches of large files."""
        with _translated(f"Listing the files of {pull.key}"):
            repo = self._reads.get_repo(pull.repository)
            merge_base = repo.compare(pull.base_sha, pull.head_sha).merge_base_commit.sha
        listed = self._list(f"Listing the files of {pull.key}", f"{_path(pull)}/files")
        entries: list[FileDiff] = []
        missing: list[tuple[str, str]] = []
        for file in listed:
            path, patch = file["filename"], file.get("patch")
            change = _CHANGES.get(file["status"], Change.MODIFIED)
            entries.append(parse_patch(path, file.get("previous_filename") or path, change, patch or ""))
            if patch is None and change is not Change.RENAMED:
                missing.append((path, "no patch from GitHub: binary or too large"))
        if len(listed) >= MAX_FILES:
            missing.append(("(further files)", f"GitHub lists {MAX_FILES} at most"))
        have = tuple(entry for entry in entries if entry.path not in dict(missing))
        return Diff(merge_base=merge_base, head=pull.head_sha, files=have, missing=tuple(missing))

    def file_text(self, repository: str, path: str, ref: str) -> str | None:
        """A file at a commit, for where git cannot fetch; None if there is none."""
        try:
            with _translated(f"Reading {path} of {repository}"):
                found = self._reads.get_repo(repository).get_contents(path, ref=ref)
        except Missing:
            return None
        return None if isinstance(found, list) else base64.b64decode(found.content).decode("utf-8", "replace")

    def permission(self, repository: str, login: str) -> str:
        """`admin`, `write`, `read` or `none`."""
        with _translated(f"Reading the permission of {login} in {repository}"):
            return self._reads.get_repo(repository).get_collaborator_permission(login)

    def reactions(self, pull: Pull, comment: int) -> list[tuple[str, bool, str]]:
        """(who, whether that is a bot, what) of a review comment."""
        path = f"/repos/{pull.repository}/pulls/comments/{comment}/reactions"
        listed = self._list(f"Listing reactions in {pull.key}", path)
        self.calls += 1
        return [((raw.get("user") or {}).get("login") or "ghost", _is_bot(raw), raw["content"]) for raw in listed]

    def conditional(self, path: str, etag: str | None) -> Fetched:
        """A read that costs nothing of the hourly limit if nothing has changed."""
        headers = {"Authorization": f"Bearer {self.token()}", "Accept": "application/vnd.github+json"}
        if etag:
            headers["If-None-Match"] = etag
        with _translated(f"Reading {path}"):
            response = self._http.get(f"{self.url}{path}", headers=headers)
        if response.status_code == 304:
            return Fetched(None, etag, False)
        self.calls += 1
        if response.status_code != 200:
            raise classify(f"Reading {path}", response.status_code, _json(response), response.headers)
        return Fetched(response.json(), response.headers.get("ETag"), True)

    def graphql(self, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """What GraphQL answers, even in part: one broken thread must not hide the others."""
        self.calls += 1
        with _translated("Reading review threads"):
            response = self._http.post(
                f"{self.url.removesuffix('/v3')}/graphql",
                headers={"Authorization": f"Bearer {self.token()}"},
                json={"query": query, "variables": dict(variables)},
            )
        content = _json(response)
        data = content.get("data") if isinstance(content, Mapping) else None
        if response.status_code != 200 or not isinstance(data, Mapping):
            raise classify("Reading review threads", response.status_code, content, response.headers)
        return data

    def token(self) -> str:
        return self._auth.token

    def git_config(self) -> dict[str, str]:
        """Settings for git to fetch with this identity; they travel in the environment, never on a command line."""
        basic = base64.b64encode(f"x-access-token:{self.token()}".encode()).decode()
        return {"http.extraHeader": f"Authorization: Basic {basic}"}

    # --- writing: each once, never repeated here ---------------------------------------------------------------

    def reviews(self, pull: Pull) -> list[ReviewSummary]:
        """All reviews; of pending ones GitHub shows each identity its own only."""
        found = self._list(f"Listing the reviews of {pull.key}", f"{_path(pull)}/reviews")
        return [ReviewSummary(raw["id"], raw["state"], raw.get("body") or "", _is_bot(raw)) for raw in found]

    def delete_pending(self, pull: Pull, review: int) -> None:
        with _translated(f"Deleting a pending review of {pull.key}"):
            self._writes.requester.requestJsonAndCheck("DELETE", f"{_path(pull)}/reviews/{review}")

    def create_review(self, pull: Pull, *, commit: str, body: str, comments: Sequence[Mapping[str, Any]]) -> int:
        """Post one review; always a COMMENT, for the bot neither approves nor blocks.

        Raises:
            Unavailable: the answer was lost; the review may stand. Read back before doing anything else.
        """
        with _translated(f"Posting the review of {pull.key}"):
            _, data = self._writes.requester.requestJsonAndCheck(
                "POST",
                f"{_path(pull)}/reviews",
                input={"commit_id": commit, "body": body, "event": "COMMENT", "comments": [dict(c) for c in comments]},
            )
        return int(data["id"])

    def comments_of_review(self, pull: Pull, review: int) -> list[ReviewComment]:
        """The comments of a review with their ids, which the answer to posting it does not tell."""
        found = self._list(f"Reading back the review of {pull.key}", f"{_path(pull)}/reviews/{review}/comments")
        return [comment_of(raw) for raw in found]

    def check_run(self, pull: Pull, name: str, external_id: str) -> int | None:
        """The check of this name and id at the head, if there is one."""
        data = self.conditional(f"/repos/{pull.repository}/commits/{pull.head_sha}/check-runs?per_page=100", None).data
        for run in data["check_runs"]:
            if run["name"] == name and run["external_id"] == external_id:
                return int(run["id"])
        return None

    def write_check(self, pull: Pull, run: int | None, values: Mapping[str, Any]) -> int:
        path = f"/repos/{pull.repository}/check-runs"
        with _translated(f"Writing the check of {pull.key}"):
            if run is None:
                body = {"head_sha": pull.head_sha, **values}
                _, data = self._writes.requester.requestJsonAndCheck("POST", path, input=body)
            else:
                _, data = self._writes.requester.requestJsonAndCheck("PATCH", f"{path}/{run}", input=dict(values))
        return int(data["id"])

    def comment(self, pull: Pull, body: str) -> int:
        with _translated(f"Commenting on {pull.key}"):
            _, data = self._writes.requester.requestJsonAndCheck(
                "POST", f"/repos/{pull.repository}/issues/{pull.number}/comments", input={"body": body}
            )
        return int(data["id"])

    def issue_comments(self, pull: Pull) -> list[str]:
        path = f"/repos/{pull.repository}/issues/{pull.number}/comments"
        return [raw.get("body") or "" for raw in self._list(f"Listing the conversation of {pull.key}", path)]


def _path(pull: Pull) -> str:
    return f"/repos/{pull.repository}/pulls/{pull.number}"


_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


def _next_page(link: str) -> str | None:
    match = _NEXT.search(link)
    return match[1] if match else None


_CHANGES: Mapping[str, Change] = {
    "added": Change.ADDED,
    "removed": Change.DELETED,
    "renamed": Change.RENAMED,
    "copied": Change.COPIED,
}


def pull_of(repository: str, raw: Mapping[str, Any]) -> Pull:
    """A pull request from REST or from a webhook; a deleted account or fork leaves nulls behind."""
    user = raw.get("user") or {}
    head_repo = (raw.get("head") or {}).get("repo") or {}
    base = raw["base"]
    base_repo = base.get("repo") or {}
    return Pull(
        repository=repository,
        number=int(raw["number"]),
        title=raw.get("title") or "",
        body=raw.get("body") or "",
        author=user.get("login") or "ghost",
        author_is_bot=user.get("type") == "Bot",
        state=raw.get("state") or "open",
        is_draft=bool(raw.get("draft")),
        # A fork that was deleted has no repository any more, and was one all the same.
        is_fork=head_repo.get("full_name") != base_repo.get("full_name"),
        base_ref=base["ref"],
        base_sha=base["sha"],
        head_sha=raw["head"]["sha"],
        clone_url=base_repo.get("clone_url") or "",
        merged_at=raw.get("merged_at"),
        closed_at=raw.get("closed_at"),
        updated_at=raw.get("updated_at") or "",
        merge_commit=raw.get("merge_commit_sha") if raw.get("merged_at") else None,
    )


def comment_of(raw: Mapping[str, Any]) -> ReviewComment:
    user = raw.get("user") or {}
    return ReviewComment(
        id=int(raw["id"]),
        review=raw.get("pull_request_review_id"),
        author=user.get("login") or "ghost",
        author_is_bot=user.get("type") == "Bot",
        body=raw.get("body") or "",
        path=raw.get("path") or "",
        line=raw.get("line"),
        side=raw.get("side"),
        created_at=raw.get("created_at") or "",
        in_reply_to=raw.get("in_reply_to_id"),
        reactions=int((raw.get("reactions") or {}).get("total_count", 0)),
    )


def _is_bot(raw: Mapping[str, Any]) -> bool:
    return (raw.get("user") or {}).get("type") == "Bot"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {"message": response.text[:200]}
