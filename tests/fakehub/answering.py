"""The HTTP side: who asks, whether they may, how much is left of their hour, and what was ordered to go wrong."""

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jwt
from starlette.requests import Request
from starlette.responses import Response

from . import git_http, graph, rest
from .contract import Contract
from .routing import ROUTES, Actor, Call, Context, Fault, Reply
from .shapes import plain
from .state import Repo, Rule

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Answers"]


class Answers:
    def __init__(self, hub: "Hub", *, is_checked: bool) -> None:
        self.hub = hub
        self.operations = rest.__name__
        self._contract = _contract(is_checked)
        self._graph = graph.Schema(hub)

    async def serve(self, request: Request) -> Response:
        body = await request.body()
        with self.hub.lock:
            if ".git/" in request.url.path:
                return git_http.serve(self.hub, request, body)
            response = self._answer(request, body)
            self.hub.calls.append(Call(request.method, request.url.path, response.status_code))
            return response

    def _answer(self, request: Request, body: bytes) -> Response:
        fault = self._fault(request, after=False)
        if fault is not None:
            return _fault_response(fault)
        response = self._true_answer(request, body)
        fault = self._fault(request, after=True)
        return response if fault is None else _fault_response(fault)

    def _fault(self, request: Request, *, after: bool) -> Fault | None:
        for fault in self.hub.faults:
            is_due = fault.after is after and fault.times > 0 and fault.method in (request.method, "*")
            if is_due and re.search(fault.pattern, request.url.path):
                fault.times -= 1
                return fault
        return None

    def _true_answer(self, request: Request, body: bytes) -> Response:
        try:
            actor = self._actor(request)
            if request.url.path == "/graphql":
                return self._graphql(json.loads(body), actor)
            if self.hub.used >= self.hub.limit:
                raise Rule(403, "API rate limit exceeded for installation.")
            return self._rest(request, body, actor)
        except Rule as rule:
            return self._json(rule.status, rule.body)

    def _graphql(self, asked: dict[str, Any], actor: Actor) -> Response:
        cost = graph.points(asked["query"])
        if self.hub.points + cost > self.hub.limit:
            # Unlike REST with a status of 200, and no data.
            fault = {"type": "RATE_LIMITED", "message": f"API rate limit exceeded for user ID {actor.user.id}."}
            return self._json(200, {"errors": [fault]}, used=self.hub.limit, resource="graphql")
        self.hub.points += cost
        return self._json(200, self._graph.execute(asked, actor), used=self.hub.points, resource="graphql")

    def _json(self, status: int, content: Any, *, used: int | None = None, resource: str = "core") -> Response:
        used = self.hub.used if used is None else used
        headers = {
            "X-RateLimit-Limit": str(self.hub.limit),
            "X-RateLimit-Remaining": str(max(0, self.hub.limit - used)),
            "X-RateLimit-Reset": str(int(self.hub.clock.now().timestamp()) + 3600),
            "X-RateLimit-Used": str(used),
            "X-RateLimit-Resource": resource,
        }
        return Response(json.dumps(content), status, headers, media_type="application/json")

    def _actor(self, request: Request) -> Actor:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token in self.hub.actors:
            return self.hub.actors[token]
        if scheme == "Bearer":
            for app_id, key in self.hub.apps.items():
                try:
                    # GitHub refuses tokens that live longer than ten minutes.
                    claims = jwt.decode(token, key, algorithms=["RS256"], issuer=app_id)
                except jwt.InvalidTokenError:
                    continue
                if claims["exp"] - claims["iat"] > 660:
                    raise Rule(401, "'Expiration time' claim ('exp') is too far in the future")
                return Actor(self.hub.user("codetrial[bot]"), {"app": "write"})
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
            reply = handler(self.hub, context)
            return self._reply(request, body, template, reply)
        raise Rule(404, "Not Found")

    def _context(self, request: Request, body: bytes, actor: Actor, path: dict[str, str]) -> Context:
        repo = None
        if "owner" in path:
            repo = self.hub.repos.get(f"{path['owner']}/{path['repo']}")
            if repo is None or repo.is_deleted:
                raise Rule(404, "Not Found")
            if actor.repositories is not None and path["repo"] not in actor.repositories:
                raise Rule(404, "Not Found")  # GitHub does not tell a token what it may not see.
        data = json.loads(body) if body else None
        return Context(actor, path, dict(request.query_params), data, request.headers.get("accept", ""), repo)

    def _check_request(self, request: Request, body: bytes) -> None:
        if (why := self._contract.request_fault(request, body)) is not None:
            self.hub.violations.append(f"{request.method} {request.url.path}: request: {why}")

    def _reply(self, request: Request, body: bytes, template: str, reply: Reply) -> Response:
        if reply.media != "application/json":
            self.hub.used += 1
            return Response(reply.known, reply.status, media_type=reply.media)
        known, link = self._page(request, reply) if reply.is_list else (reply.known, None)
        found = plain(self.hub, known, Repo.__new__(Repo))
        content = self._contract.fill(request.method, template, reply.status, found, self.hub.url)
        response = self._json(reply.status, content) if content is not None else Response(status_code=reply.status)
        etag = '"' + hashlib.sha256(bytes(response.body)).hexdigest()[:32] + '"'
        if request.method == "GET" and request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})  # Free: it costs nothing of the hourly limit.
        self.hub.used += 1
        response.headers["ETag"] = etag
        if link:
            response.headers["Link"] = link
        if (why := self._contract.response_fault(request, body, response)) is not None:
            self.hub.violations.append(f"{request.method} {request.url.path}: response: {why}")
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
                links.append(f'<{self.hub.url}{url.path}?{url.query}>; rel="{name}"')
        return items[(page - 1) * size : page * size], ", ".join(links) or None


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
