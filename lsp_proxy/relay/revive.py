"""`--restart`: what must be remembered so that a crashed language server can be started again unnoticed.

The editor must not find out: each request that the old server took with it is answered, what it had registered is
unregistered (the new one registers anew, and editors refuse the same id twice), and answers that were meant for the old
server do not reach the new one, whose ids begin at the same number.
"""

import json
import os
from collections.abc import Mapping

from lsp_proxy.relay import rewrite
from lsp_proxy.relay.frames import Head, encode, id_key

__all__ = ["RESTARTS", "Revival", "registrations_in"]

RESTARTS = 3
"""As often as editors restart a server by themselves before they give up."""

CONTENT_MODIFIED = -32801
"""An editor takes this as "ask again", and shows nothing."""

REGISTER, UNREGISTER = "client/registerCapability", "client/unregisterCapability"


class Revival:
    """The memory of one session; both pumps write to it, single steps only."""

    def __init__(self) -> None:
        self._asked: dict[bytes, bytes] = {}
        """Of the editor, by key: the tokens as written."""
        self._server_asked: dict[bytes, None] = {}
        self._orphaned: dict[bytes, None] = {}
        self._registered: dict[str, str] = {}
        self._refused: dict[bytes, None] = {}
        """Answered by us while their bytes still waited for a server; the new one's answer is one too many."""
        self._prefix = f"ct-{os.urandom(4).hex()}-"
        self._own_requests = 0
        self.count = 0

    def editor_said(self, head: Head) -> bool:
        """Note a message of the editor; True if it must not reach the server, which never asked for it."""
        if head.id is None:
            return False
        key = id_key(head.id)
        if head.method is not None:
            self._asked[key] = head.id
            self._refused.pop(key, None)
            return False
        self._server_asked.pop(key, None)
        if key.startswith(b'"' + self._prefix.encode()):
            return True
        return self._orphaned.pop(key, key) is None

    def server_said(self, head: Head) -> bool:
        """Note a message of the server; True if it answers what we have answered already."""
        if head.id is None:
            return False
        key = id_key(head.id)
        if head.method is None:
            self._asked.pop(key, None)
            return key in self._refused
        self._server_asked[key] = None
        self._orphaned.pop(key, None)
        return False

    def is_refused(self, token: bytes) -> bool:
        """Whether this answer is one too many; asked once for each."""
        return self._refused.pop(id_key(token), token) is None

    def server_registers(self, method: str, registrations: Mapping[str, str]) -> None:
        """Note registrations of the server's, or their end."""
        for name, registered in registrations.items():
            if method == REGISTER:
                self._registered[name] = registered
            else:
                self._registered.pop(name, None)

    def last_will(self) -> bytes:
        """What the editor must still get from the server that has ended."""
        self.count += 1
        asked, self._asked = self._asked, {}
        self._refused |= dict.fromkeys(asked)
        self._orphaned |= self._server_asked
        self._server_asked = {}
        frames = [
            encode(rewrite.refusal(token, CONTENT_MODIFIED, "the language server was started again"))
            for token in asked.values()
        ]
        if self._registered:
            self._own_requests += 1
            gone = [{"id": name, "method": method} for name, method in self._registered.items()]
            self._registered = {}
            request = {
                "jsonrpc": "2.0",
                "id": f"{self._prefix}{self._own_requests}",
                "method": UNREGISTER,
                "params": {"unregisterations": gone},
            }
            frames.append(encode(json.dumps(request).encode()))
        return b"".join(frames)


def registrations_in(method: str, body: bytes) -> dict[str, str]:
    """By id, the methods that a server registers, or whose registration it ends."""
    # The protocol has lived with this misspelling since it had the method.
    key = "registrations" if method == REGISTER else "unregisterations"
    return {one["id"]: one["method"] for one in rewrite.params_of(body).get(key, ())}
