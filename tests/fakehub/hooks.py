"""Webhooks: what happens is told, signed, to whoever listens."""

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from .shapes import plain
from .state import Repo, User

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["Hook", "deliver", "emit"]


@dataclass
class Hook:
    url: str
    secret: str
    is_paused: bool = False
    """Deliveries are kept for the test to send: late, twice or in another order."""
    kept: list[tuple[str, str, bytes]] = field(default_factory=list)


def emit(hub: "Hub", repo: Repo, event: str, payload: dict[str, Any], sender: User) -> None:
    if not hub.hooks:
        return
    body = plain(hub, {**payload, "repository": repo, "sender": sender}, repo)
    installed = [n for n, i in hub.installations.items() if repo.full_name in i["repositories"]]
    if installed:
        body["installation"] = {"id": installed[0]}
    data = json.dumps(body).encode()
    for hook in hub.hooks:
        delivery = str(uuid.uuid4())
        if hook.is_paused:
            hook.kept.append((event, delivery, data))
        else:
            deliver(hub, hook, event, delivery, data)


def deliver(hub: "Hub", hook: Hook, event: str, delivery: str, data: bytes) -> int:
    signature = "sha256=" + hmac.new(hook.secret.encode(), data, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature,
        "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/fakehub",
    }  # fmt: skip
    try:
        status = hub.client.post(hook.url, content=data, headers=headers).status_code
    except httpx.HTTPError:
        status = 0
    hub.deliveries.append({"guid": delivery, "event": event, "status_code": status, "id": hub.number()})
    return status
