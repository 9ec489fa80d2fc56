"""The review threads of a pull request, as GitHub's GraphQL tells them: who resolved, answered, reacted, hid.

GraphQL's limit is in points and not in requests: a hundredth of the lists that a query may have to open, counted by its
`first` arguments as if all of them were full (docs.github.com, "Rate limits and query limits for the GraphQL API").
So reactions are asked for of the first comment of each thread alone, and as many threads at once as cost one point.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pr_bot.github import Api, Pull

__all__ = ["THREADS_QUERY", "Comment", "Opening", "Thread", "Threads", "threads"]

THREADS_QUERY = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      reviewThreads(first: 30, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id isResolved isOutdated path line subjectType
          resolvedBy { login databaseId }
          opening: comments(first: 1) {
            nodes {
              databaseId body isMinimized minimizedReason createdAt
              author { __typename login }
              reactions(first: 50) { nodes { content createdAt user { login databaseId } } }
            }
          }
          comments(first: 50) { nodes { databaseId body author { __typename login } } }
        }
      }
    }
  }
}
"""


class Comment(NamedTuple):
    id: int
    author: str
    author_is_bot: bool
    body: str


class Opening(NamedTuple):
    """A thread's first comment: a finding, or somebody else's remark."""

    comment: Comment
    minimized: str | None
    """Why it was hidden; None if it was not."""
    reactions: tuple[tuple[str, str], ...]
    """(who, what)."""


class Thread(NamedTuple):
    is_resolved: bool
    resolved_by: str | None
    path: str
    line: int | None
    opening: Opening
    replies: tuple[Comment, ...]

    @property
    def id(self) -> int:
        """That of its first comment, by which REST and our own rows know it."""
        return self.opening.comment.id


class Threads(NamedTuple):
    found: list[Thread]
    is_complete: bool
    """False: GitHub could not give some of them just now, so a comment that is not there may still exist."""


def threads(api: Api, pull: Pull) -> Threads:
    """All threads; where GitHub gives only a part of them, that part, and that it is one."""
    owner, _, name = pull.repository.partition("/")
    found: list[Thread] = []
    is_complete = True
    after: str | None = None
    while True:
        data = api.graphql(THREADS_QUERY, {"owner": owner, "name": name, "number": pull.number, "after": after})
        page = ((data.get("repository") or {}).get("pullRequest") or {}).get("reviewThreads")
        if page is None:
            return Threads(found, False)
        for node in page["nodes"]:
            thread = _thread(node)
            # A thread that failed is null, or has nulls in it, in an answer that is otherwise good.
            is_complete &= thread is not None
            if thread is not None:
                found.append(thread)
        if not page["pageInfo"]["hasNextPage"]:
            return Threads(found, is_complete)
        after = page["pageInfo"]["endCursor"]


def _thread(node: Mapping[str, Any] | None) -> Thread | None:
    openings, comments = ([] if node is None else _nodes(node.get(name)) for name in ("opening", "comments"))
    if node is None or not openings or not comments:
        return None
    opening = _opening(openings[0])
    resolver = node.get("resolvedBy")
    return Thread(
        is_resolved=bool(node.get("isResolved")),
        resolved_by=None if resolver is None else str(resolver["login"]),
        path=node.get("path") or "",
        line=node.get("line"),
        opening=opening,
        replies=tuple(reply for entry in comments if (reply := _comment(entry)).id != opening.comment.id),
    )


def _nodes(connection: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [node for node in (connection or {}).get("nodes") or [] if node is not None]


def _opening(node: Mapping[str, Any]) -> Opening:
    return Opening(
        comment=_comment(node),
        minimized=(node.get("minimizedReason") or "hidden") if node.get("isMinimized") else None,
        reactions=tuple(
            ((reaction.get("user") or {}).get("login") or "ghost", reaction["content"])
            for reaction in _nodes(node.get("reactions"))
        ),
    )


def _comment(node: Mapping[str, Any]) -> Comment:
    author = node.get("author") or {}
    return Comment(
        id=int(node["databaseId"]),
        author=author.get("login") or "ghost",
        author_is_bot=author.get("__typename") == "Bot",
        body=node.get("body") or "",
    )
