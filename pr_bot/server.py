"""The webhook server: it proves who is speaking, writes the work down, and answers. Everything else is the worker's."""

import asyncio
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pr_bot.state import State

__all__ = ["create_app", "is_signed", "verb_of", "work_of"]

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no larger payload."""

_REVIEWED_ACTIONS = frozenset({"opened", "reopened", "synchronize", "ready_for_review"})
_VERB = re.compile(r"^@codetrial (review|pause|resume|explain)\s*$")
_EVENTS = frozenset(
    {
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_review_thread",
        "issue_comment",
    }
)
_INSTALLED = {"installation": "repositories", "installation_repositories": "repositories_added"}
"""Where the events that make repositories known list them; their open pull requests are then looked for."""

Work = tuple[str, str, Mapping[str, Any]]
"""(kind, pull request, what the worker needs)."""


def create_app(state: State, secret: bytes) -> Starlette:
    """The ASGI application over a state file that a worker works off."""
    counts: dict[str, int] = {"accepted": 0, "duplicate": 0, "unsigned": 0, "ignored": 0, "malformed": 0}

    async def webhook(request: Request) -> Response:
        body = await _body(request)
        delivery = request.headers.get("X-GitHub-Delivery", "")
        if body is None:
            return _refuse(counts, "malformed", 413, delivery, "The payload is larger than GitHub sends.")
        # Before anything is parsed: what is not signed by GitHub is not even looked at.
        if not is_signed(secret, body, request.headers.get("X-Hub-Signature-256", "")):
            return _refuse(counts, "unsigned", 401, delivery, "The signature is wrong.")
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return _refuse(counts, "malformed", 400, delivery, "The payload is not JSON.")
        event = request.headers.get("X-GitHub-Event", "")
        work = work_of(event, payload) if isinstance(payload, dict) else []
        body_hash = hashlib.sha256(event.encode() + b"\0" + body).hexdigest()
        # The header may be missing; the signed body cannot be.
        is_new = await asyncio.to_thread(state.accept, delivery or f"body:{body_hash}", body_hash, event, work)
        outcome = "accepted" if work and is_new else "ignored" if is_new else "duplicate"
        counts[outcome] += 1
        logger.info("delivery %s: %s, %s", delivery, event, outcome)
        return JSONResponse({"outcome": outcome}, 202 if outcome == "accepted" else 200)

    async def health(_request: Request) -> Response:
        try:
            await asyncio.to_thread(state.counts)
        except Exception:
            logger.exception("the state file cannot be read")
            return JSONResponse({"status": "unhealthy"}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(_request: Request) -> Response:
        jobs = await asyncio.to_thread(state.counts)
        lines = ["# TYPE codetrial_deliveries_total counter"]
        lines += [f'codetrial_deliveries_total{{outcome="{name}"}} {count}' for name, count in counts.items()]
        lines.append("# TYPE codetrial_jobs gauge")
        lines += [f'codetrial_jobs{{state="{name}"}} {count}' for name, count in sorted(jobs.items())]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/webhook", webhook, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ]
    )


async def _body(request: Request) -> bytes | None:
    """The raw bytes; None once they are more than GitHub sends, without reading on."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _refuse(counts: dict[str, int], name: str, status: int, delivery: str, why: str) -> Response:
    counts[name] += 1
    logger.warning("delivery %s refused: %s", delivery.replace("\n", " ")[:64], why)
    return JSONResponse({"error": why}, status)


def is_signed(secret: bytes, body: bytes, signature: str) -> bool:
    """Whether GitHub, who shares the secret, signed exactly these bytes."""
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def work_of(event: str, payload: Mapping[str, Any]) -> list[Work]:
    """What a delivery asks for; nothing for events we do not know, and nothing for what bots say.

    Payloads are read leniently: of what GitHub documents, old and new hooks leave parts out.
    """
    if event in _INSTALLED:
        return _sweeps(payload, _INSTALLED[event])
    if event not in _EVENTS:
        return []
    repository = (payload.get("repository") or {}).get("full_name")
    number = _number(payload)
    if not isinstance(repository, str) or number is None:
        return []
    need = {
        "repository": repository,
        "number": number,
        "installation": (payload.get("installation") or {}).get("id"),
    }
    key = f"{repository}#{number}"
    is_bot = (payload.get("sender") or {}).get("type") == "Bot"
    if event == "pull_request":
        # A merge by a bot is still an end; a push by one must not start a chain of bots answering bots.
        if payload.get("action") == "closed":
            return [("collect", key, need)]
        return [("review", key, need)] if payload.get("action") in _REVIEWED_ACTIONS and not is_bot else []
    if is_bot:
        return []
    if event == "issue_comment":
        verb = verb_of(payload)
        if verb is None:
            return []
        comment = payload["comment"]
        who = (comment.get("user") or {}).get("login")
        return [("command", key, {**need, "verb": verb, "who": who, "comment": comment.get("id")})]
    return [("collect", key, need)]


def _sweeps(payload: Mapping[str, Any], field: str) -> list[Work]:
    if payload.get("action") not in ("created", "added"):
        return []
    installation = (payload.get("installation") or {}).get("id")
    names = [entry.get("full_name") for entry in payload.get(field) or [] if isinstance(entry, Mapping)]
    return [("sweep", name, {"repository": name, "number": 0, "installation": installation})
            for name in names if isinstance(name, str)]  # fmt: skip


def _number(payload: Mapping[str, Any]) -> int | None:
    holder = payload.get("pull_request") or payload.get("issue") or {}
    number = holder.get("number") if isinstance(holder, Mapping) else None
    return number if isinstance(number, int) else None


def verb_of(payload: Mapping[str, Any]) -> str | None:
    """The verb of a new comment on a pull request that consists of it alone.

    A comment that was edited does not count: somebody else may have edited it. There are no options, for settings from
    comments are how bots were made to send their tokens elsewhere.
    """
    issue, comment = payload.get("issue") or {}, payload.get("comment") or {}
    if payload.get("action") != "created" or not issue.get("pull_request"):
        return None
    match = _VERB.match(str(comment.get("body") or "").strip())
    return match[1] if match else None
