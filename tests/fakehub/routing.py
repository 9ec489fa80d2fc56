"""How an operation of GitHub's description finds its handler."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .state import Pull, Repo, Rule, User

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["ROUTES", "Actor", "Call", "Context", "Fault", "Handler", "Reply", "route"]


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
class Actor:
    """Who a token belongs to, and what it may do."""

    user: User
    permissions: dict[str, str]
    installation: int | None = None
    repositories: list[str] | None = None
    """Names without their owner; None if the token is for all."""


Handler = Callable[["Hub", "Context"], "Reply"]
ROUTES: list[tuple[str, str, re.Pattern[str], str | None, Handler]] = []


@dataclass
class Reply:
    known: Any
    status: int = 200
    is_list: bool = False
    media: str = "application/json"


@dataclass
class Context:
    """One request, as a handler sees it."""

    actor: Actor
    path: dict[str, str]
    query: Mapping[str, str]
    json: Any
    accept: str
    repo: Repo | None = None

    @property
    def repository(self) -> Repo:
        if self.repo is None:
            raise Rule(404, "Not Found")
        return self.repo

    @property
    def pull(self) -> Pull:
        number = int(self.path.get("pull_number") or self.path.get("issue_number") or 0)
        if number not in self.repository.pulls:
            raise Rule(404, "Not Found")
        return self.repository.pulls[number]


def route(method: str, template: str, needs: str | None = None) -> Callable[[Handler], Handler]:
    """Serve an operation; `needs` is `permission:level`, without which GitHub says 403."""

    def add(handler: Handler) -> Handler:
        pattern = re.escape(template).replace(r"\{path\}", "(?P<path>.+)")
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
        ROUTES.append((method, template, re.compile(f"^{pattern}$"), needs, handler))
        return handler

    return add
