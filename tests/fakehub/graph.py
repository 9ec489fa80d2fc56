"""The GraphQL side, executed over GitHub's own schema."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    graphql_sync,
    parse,
)

from .routing import Actor
from .state import Comment, Pull, Repo, User

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Schema", "points"]

_REACTIONS = {"+1": "THUMBS_UP", "-1": "THUMBS_DOWN", "laugh": "LAUGH", "confused": "CONFUSED", "heart": "HEART",
              "hooray": "HOORAY", "eyes": "EYES", "rocket": "ROCKET"}  # fmt: skip


@lru_cache(maxsize=1)
def _schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parent / "spec/schema.graphql").read_text())


def points(query: str) -> int:
    """What GitHub takes from the hour for a query: the requests it may need, with every list full, over a hundred.

    By its page "Rate limits and query limits for the GraphQL API". GitHub answers at least one point.
    """
    needed = sum(
        _requests(definition.selection_set, 1)
        for definition in parse(query).definitions
        if isinstance(definition, OperationDefinitionNode)
    )
    return max(1, round(needed / 100))


def _requests(selected: SelectionSetNode | None, parents: int) -> int:
    """Requests for the lists below, each asked for once for each of its parents."""
    total = 0
    for field in [] if selected is None else selected.selections:
        assert isinstance(field, FieldNode), "fragments are not counted"
        sizes = [a.value for a in field.arguments or () if a.name.value in ("first", "last")]
        assert all(isinstance(size, IntValueNode) for size in sizes), "a size that is no number in the query"
        size = int(sizes[0].value) if sizes and isinstance(sizes[0], IntValueNode) else None
        total += parents * (size is not None) + _requests(field.selection_set, parents * (size or 1))
    return total


class Schema:
    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._schema = _schema()

    def execute(self, request: dict[str, Any], actor: Actor) -> dict[str, Any]:
        result = graphql_sync(
            self._schema, request["query"], root_value=_Root(self._hub), variable_values=request.get("variables")
        )
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [error.formatted for error in result.errors]
        return answer


class _Root:
    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def repository(self, _info: Any, owner: str, name: str, **_: Any) -> Any:
        repo = self._hub.repos.get(f"{owner}/{name}")
        if repo is None or repo.is_deleted:
            raise ValueError(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        return _Repository(self._hub, repo)


class _Repository:
    def __init__(self, hub: "Hub", repo: Repo) -> None:
        self._hub, self._repo = hub, repo

    def pullRequest(self, _info: Any, number: int) -> Any:  # noqa: N802  # GitHub's name.
        pull = self._repo.pulls.get(number)
        if pull is None:
            raise ValueError(f"Could not resolve to a PullRequest with the number of {number}.")
        return _PullRequest(self._hub, pull)


class _PullRequest:
    def __init__(self, hub: "Hub", pull: Pull) -> None:
        self._hub, self._pull = hub, pull
        self.number = pull.number
        self.state = "MERGED" if pull.merged_at else pull.state.upper()
        self.headRefOid = pull.head
        self.mergedAt, self.closedAt, self.merged = pull.merged_at, pull.closed_at, pull.merged_at is not None

    def reviewThreads(self, _info: Any, first: int = 100, after: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N802
        roots = [comment for comment in self._pull.comments if comment.in_reply_to is None]
        start = int(after or 0)
        page = roots[start : start + first]
        more = start + first < len(roots)
        return {
            "totalCount": len(roots),
            "pageInfo": {"hasNextPage": more, "endCursor": str(start + first), "hasPreviousPage": False},
            "nodes": [_thread(self._hub, self._pull, comment) for comment in page],
        }


def _thread(hub: "Hub", pull: Pull, root: Comment) -> dict[str, Any]:
    members = [c for c in pull.comments if c is root or c.in_reply_to == root.id]

    def comments(_info: Any, first: int = 100, **_: Any) -> dict[str, Any]:
        if root.id in hub.broken_threads:
            raise ValueError("Something went wrong while executing your query.")
        nodes = [_comment(comment) for comment in members[:first]]
        return {"totalCount": len(members), "nodes": nodes, "pageInfo": {"hasNextPage": len(members) > first}}

    return {
        "id": f"T_{root.id}",
        "isResolved": root.resolved_by is not None,
        "isOutdated": root.is_outdated,
        "isCollapsed": root.resolved_by is not None,
        "resolvedBy": _actor(root.resolved_by) if root.resolved_by else None,
        "subjectType": root.subject_type.upper(),
        "path": root.path,
        "line": root.line,
        "comments": comments,
    }


def _comment(comment: Comment) -> dict[str, Any]:
    counts = Counter(reaction["content"] for reaction in comment.reactions)
    groups = [
        {"content": name, "reactors": {"totalCount": counts[content]}, "users": {"totalCount": counts[content]}}
        for content, name in _REACTIONS.items()
    ]
    return {
        "databaseId": comment.id,
        "fullDatabaseId": str(comment.id),
        "body": comment.body,
        "author": _actor(comment.user),
        "isMinimized": comment.minimized is not None,
        "minimizedReason": comment.minimized,
        "outdated": comment.is_outdated,
        "createdAt": comment.created_at,
        "path": comment.path,
        "line": comment.line,
        "originalLine": comment.original_line,
        "reactionGroups": groups,
        "reactions": lambda _info, first=100, **_: {
            "totalCount": len(comment.reactions),
            "nodes": [
                {"content": _REACTIONS[r["content"]], "createdAt": r["created_at"], "user": _actor(r["user"]),
                 "databaseId": r["id"], "id": f"RE_{r['id']}"}
                for r in comment.reactions[:first]
            ],
        },
    }  # fmt: skip


def _actor(user: User) -> dict[str, Any]:
    # GraphQL leaves the suffix of a bot's login away, which REST shows.
    return {
        "__typename": user.type,
        "login": user.login.removesuffix("[bot]"),
        "databaseId": user.id,
        "id": f"U_{user.id}",
    }
