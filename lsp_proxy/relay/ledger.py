"""Requests whose answer we may add to or give: each gets exactly one, whoever is slow, late or dead.

Two parties write here (the server's pump and the evaluator's link) and a clock; whoever comes first settles an entry.
The rules are decided here and carried out by the relay, which sends what a `Settled` says.
"""

import threading
from typing import NamedTuple

from lsp_proxy.relay import rewrite
from lsp_proxy.relay.frames import encode, id_key

__all__ = ["BYPASSED", "CANCELLED", "LATE", "NOTHING", "PARTIAL_RESULT", "UNMERGEABLE", "Ledger", "Settled"]

LATE = "late"
CANCELLED = "cancelled"
UNMERGEABLE = "unmergeable"
PARTIAL_RESULT = "partial_result"
BYPASSED = "bypassed"
NOTHING = "nothing"
"""Why no suggestion went out; NOTHING if the evaluator had none to offer, of which it need not be told."""

REQUEST_CANCELLED = -32800
KEPT_TOKENS = 4096
"""How many of our items an editor may still ask to resolve."""


class Settled(NamedTuple):
    """The end of an entry."""

    token: bytes
    """The request's id as the editor wrote it."""
    frame: bytes
    """To be sent to the editor; empty if there is nothing (more) to send."""
    reason: str | None
    """Why our suggestion is not in it; None if it is."""
    suggestion: str | None
    """The token in our item's `data`."""


class _Awaited:
    """One request under way; `frame` is what goes out if nothing better comes."""

    __slots__ = ("due_ns", "frame", "is_inline", "is_late", "offer", "token")

    def __init__(self, token: bytes, *, is_inline: bool, frame: bytes | None, due_ns: int | None) -> None:
        self.token = token
        self.is_inline = is_inline
        self.frame = frame
        self.due_ns = due_ns
        self.is_late = False
        """The evaluator has said that its answer will come too late to be waited for."""
        self.offer: rewrite.Offer | None = None


class Ledger:
    """Keyed by id token of the editor's requests; the server's own requests are another name space and not here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.awaited: dict[bytes, _Awaited] = {}
        """By `id_key`; changed here only. Whether there is any is asked for every message, without a call."""
        self.tokens: dict[str, None] = {}
        """Of the items that went out, oldest first."""
        self.waits = True
        """Whether the evaluator may answer a completion in time; it says so when that changes."""

    def __len__(self) -> int:
        return len(self.awaited)

    def __contains__(self, token: bytes) -> bool:
        return id_key(token) in self.awaited

    def is_inline(self, token: bytes) -> bool:
        """Whether we alone answer this request: the server has never seen it."""
        entry = self.awaited.get(id_key(token))
        return entry is not None and entry.is_inline

    def expect_menu(self, token: bytes) -> None:
        """A completion goes to the server now; its answer may get our item."""
        with self._lock:
            entry = _Awaited(token, is_inline=False, frame=None, due_ns=None)
            entry.is_late = not self.waits
            self.awaited[id_key(token)] = entry

    def hold_inline(self, token: bytes, due_ns: int) -> None:
        """An inline completion that only we answer, by `due_ns` at the latest."""
        null = encode(rewrite.answer(token, b"null"))
        with self._lock:
            self.awaited[id_key(token)] = _Awaited(token, is_inline=True, frame=null, due_ns=due_ns)

    def server_answers(self, token: bytes) -> Settled | None:
        """The server's answer begins to arrive; None if it has to be whole before anything is decided.

        Where nobody waits for the evaluator, a long answer streams on as if it had never been of interest.
        """
        key = id_key(token)
        with self._lock:
            entry = self.awaited.get(key)
            if entry is None or entry.is_inline or entry.offer is not None or not entry.is_late:
                return None
            del self.awaited[key]
        return Settled(entry.token, b"", LATE, None)

    def server_answered(self, token: bytes, frame: bytes, due_ns: int) -> Settled | None:
        """The server's answer to a completion; None if it is kept until the evaluator answers or `due_ns`."""
        key = id_key(token)
        with self._lock:
            entry = self.awaited.get(key)
            if entry is not None and entry.offer is None and not entry.is_late:
                entry.frame, entry.due_ns = frame, due_ns
                return None
            self.awaited.pop(key, None)
        if entry is None:
            # Settled while this answer was still arriving: whoever did that has said what became of it.
            return Settled(token, frame, NOTHING, None)
        if entry.offer is None:
            return Settled(entry.token, frame, LATE, None)
        return self._merged(entry, frame)

    def evaluator_offers_menu(self, token: bytes, offer: rewrite.Offer | None) -> Settled | None:
        """The evaluator's answer to a completion; None if that changes nothing yet."""
        key = id_key(token)
        with self._lock:
            entry = self.awaited.get(key)
            if entry is None or entry.offer is not None:
                return None
            if offer is not None and entry.frame is None:
                entry.offer = offer
                return None
            del self.awaited[key]
            entry.offer = offer
        return self._merged(entry, entry.frame or b"")

    def evaluator_is_late(self, token: bytes) -> Settled | None:
        """The evaluator will not answer this completion in time, nor the next ones until it says that it may."""
        key = id_key(token)
        with self._lock:
            self.waits = False
            entry = self.awaited.get(key)
            if entry is None or entry.is_inline:
                return None
            entry.is_late = True
            if entry.frame is None:
                return None
            del self.awaited[key]
        return Settled(entry.token, entry.frame, LATE, None)

    def evaluator_answers_inline(self, token: bytes, offer: rewrite.Offer | None) -> Settled | None:
        """The evaluator's answer to an inline completion; None if nobody waits for it any more."""
        with self._lock:
            entry = self.awaited.pop(id_key(token), None)
        if entry is None:
            return None
        if offer is None:
            return Settled(entry.token, entry.frame or b"", NOTHING, None)
        return Settled(entry.token, encode(rewrite.answer(entry.token, offer.item)), None, offer.token)

    def cancel(self, token: bytes) -> Settled | None:
        """The editor wants no answer any more; what the server said goes out untouched, as it would without us."""
        with self._lock:
            entry = self.awaited.pop(id_key(token), None)
        if entry is None:
            return None
        frame = entry.frame or b""
        if entry.is_inline:
            frame = encode(rewrite.refusal(entry.token, REQUEST_CANCELLED, "cancelled"))
        return Settled(entry.token, frame, CANCELLED, _token_of(entry))

    def forget(self, token: bytes, reason: str) -> Settled | None:
        """Let a request go as if we had never been interested."""
        with self._lock:
            entry = self.awaited.pop(id_key(token), None)
        return None if entry is None else Settled(entry.token, entry.frame or b"", reason, _token_of(entry))

    def overdue(self, now_ns: int) -> list[Settled]:
        """What has waited as long as it may."""
        with self._lock:
            keys = [k for k, e in self.awaited.items() if e.due_ns is not None and e.due_ns <= now_ns]
            entries = [self.awaited.pop(key) for key in keys]
        return [Settled(e.token, e.frame or b"", LATE, _token_of(e)) for e in entries]

    def release_all(self, reason: str) -> list[Settled]:
        """Everything that waits, let go at once."""
        with self._lock:
            entries = list(self.awaited.values())
            self.awaited.clear()
        return [Settled(e.token, e.frame or b"", reason, _token_of(e)) for e in entries]

    def next_due_ns(self) -> int | None:
        with self._lock:
            return min((e.due_ns for e in self.awaited.values() if e.due_ns is not None), default=None)

    def _merged(self, entry: _Awaited, frame: bytes) -> Settled:
        offer = entry.offer
        if offer is None:
            return Settled(entry.token, frame, NOTHING, None)
        try:
            merged = encode(rewrite.merge(frame[frame.index(b"\r\n\r\n") + 4 :], offer.item))
        except (ValueError, RecursionError):
            return Settled(entry.token, frame, UNMERGEABLE, offer.token)
        if offer.token is not None:
            self.tokens[offer.token] = None
            if len(self.tokens) > KEPT_TOKENS:
                del self.tokens[next(iter(self.tokens))]
        return Settled(entry.token, merged, None, offer.token)


def _token_of(entry: _Awaited) -> str | None:
    return entry.offer.token if entry.offer else None
