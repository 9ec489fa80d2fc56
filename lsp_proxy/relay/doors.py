"""What the relay does with each message: one door for what the editor says, one for what the server says.

A door looks at a message's head in the pump's thread and says whether it passes, is copied to the evaluator, or is held
for an answer of ours. Everything that lasts longer than a message is the relay's.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from lsp_proxy.relay import rewrite
from lsp_proxy.relay.frames import Head, encode, id_key
from lsp_proxy.relay.ledger import BYPASSED, PARTIAL_RESULT, Settled
from lsp_proxy.relay.mirror import ENCODINGS
from lsp_proxy.relay.pump import HOLD, LATER, OBSERVE, PASS, TOLD, WHOLE
from lsp_proxy.relay.revive import REGISTER, UNREGISTER, registrations_in

if TYPE_CHECKING:
    from lsp_proxy.relay.relay import Relay

__all__ = ["EditorDoor", "ServerDoor", "delivered"]

DOCUMENTS = (
    "textDocument/didOpen",
    "textDocument/didChange",
    "textDocument/didClose",
    "notebookDocument/didOpen",
    "notebookDocument/didChange",
    "notebookDocument/didClose",
)
COPIED = ("textDocument/didSave", "notebookDocument/didSave", "shutdown")
COMPLETION = "textDocument/completion"
COMPLETION_BYTES = COMPLETION.encode()
INLINE = "textDocument/inlineCompletion"
RESOLVE = "completionItem/resolve"
EXECUTE = "workspace/executeCommand"
CANCEL = "$/cancelRequest"
REGISTRATIONS = (REGISTER.encode(), UNREGISTER.encode())


class EditorDoor:
    """What is done with the editor's messages."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        wishes: dict[str | None, Callable[[Head], int]] = dict.fromkeys(DOCUMENTS, lambda _: LATER)
        wishes |= dict.fromkeys(COPIED, lambda _: OBSERVE)
        wishes |= {
            "initialize": self._admit_initialize,
            "initialized": lambda _: OBSERVE,
            "exit": lambda _: OBSERVE,
            CANCEL: lambda _: HOLD if len(self._relay.ledger) else OBSERVE,
            COMPLETION: lambda head: self._admit_completion(head.id),
            INLINE: lambda head: HOLD if self._relay.answers_inline and head.id else OBSERVE,
            RESOLVE: lambda head: HOLD if self._relay.ledger.tokens and head.id else PASS,
            EXECUTE: lambda head: HOLD if self._relay.command and head.id else PASS,
        }
        self._wishes = wishes
        self._wanted = frozenset(str(method).encode() for method in wishes)
        self._documents = frozenset(method.encode() for method in DOCUMENTS)
        self._awaited = relay.ledger.awaited
        self._is_open = False
        """`initialize` is over, and no id has to be remembered."""

    def at_most(self, frame: bytes) -> int:
        # Looked for as bytes, for that is the quickest: `completion`, `inlineCompletion`, `completionItem/resolve`,
        # commands. What could be cancelled, other than by the server, is awaited.
        is_free = self._is_open and not self._awaited and b"ompletion" not in frame and b"executeCommand" not in frame
        return OBSERVE if is_free else WHOLE

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        if self._relay.revival is not None:
            return WHOLE  # Every id counts, and it may come later than here.
        if method not in self._wanted:
            return PASS
        if method == COMPLETION_BYTES and token is not None:
            return self._admit_completion(token)
        return LATER if method in self._documents else WHOLE

    def admit(self, head: Head) -> int:
        revival = self._relay.revival
        if revival is not None and (head.id is not None or not head.is_settled):
            if not head.is_settled:
                return WHOLE
            if revival.editor_said(head):
                return HOLD
        wish = self._wishes.get(head.method)
        if wish is None:
            return PASS if head.is_settled or head.method else WHOLE
        if not head.is_settled and head.method not in DOCUMENTS:
            return WHOLE
        try:
            return wish(head)
        except Exception as fault:
            self._relay.fault(fault)
            return PASS

    def _admit_initialize(self, head: Head) -> int:
        # Read before it is forwarded, the only one: its answer depends on it, and a quick server answers at once.
        self._relay.initialize_key = id_key(head.id) if head.id else None
        return HOLD

    def _admit_completion(self, token: bytes | None) -> int:
        if token is None or not self._relay.may_offer("menu"):
            return LATER
        self._relay.ledger.expect_menu(token)
        # Where the server's answer waits for the evaluator's, that shall have its copy as soon.
        return OBSERVE if self._relay.ledger.waits else LATER

    def observe(self, head: Head, body: bytes) -> None:
        if head.method in DOCUMENTS:
            # The keystroke's own way: nothing in it can take long, so nobody measures.
            self._relay.link.observe(head.method, body)
            self._relay.wake_for_link()
        else:
            self._relay.guarded(lambda: self._observe(head, body), None)

    def _observe(self, head: Head, body: bytes) -> None:
        relay, method = self._relay, head.method
        if method == COMPLETION:
            self._copy_completion(head, body)
        elif method == "initialized":
            self._is_open = relay.revival is None
            relay.link.keep(body)
            relay.tell_pending()
        elif method == INLINE and head.id is not None:
            # The server's own: a shadow of it for the record, and never an answer of ours.
            if relay.offer(body) and relay.has_announced_inline:
                relay.offer(delivered(Settled(head.id, b"", BYPASSED, None)))
        else:
            relay.has_exited = relay.has_exited or method == "exit"
            relay.offer(body)

    def _copy_completion(self, head: Head, body: bytes) -> None:
        relay = self._relay
        if head.id is None:
            return
        if not relay.is_bypassed:
            # A copy even when nothing can be offered: the evaluator records and shadows every request.
            is_taken = relay.offer(body, is_question=True)
        if b'"partialResultToken"' in body:
            reason = PARTIAL_RESULT  # The items come as progress; the answer itself may be empty.
        elif relay.is_bypassed or not is_taken:
            reason = BYPASSED
        else:
            return
        if (settled := relay.ledger.forget(head.id, reason)) is not None:
            relay.carry_out(settled)

    def replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        if head.method is None:
            return b""  # An answer to us, or to a server that is gone.
        if head.method == INLINE:
            # Never forwarded: the server did not announce it, we did.
            null = encode(rewrite.answer(head.id or b"null", b"null"))
            taken = self._relay.guarded(lambda: self._hold_inline(head.id or b"", body), False)
            if not taken:
                self._relay.to_editor.inject(null)
            return b""
        return self._relay.guarded(lambda: self._replace(head, body), None)

    def _replace(self, head: Head, body: bytes) -> bytes | None:
        if head.method == CANCEL:
            return self._cancel(body)
        if head.method == "initialize":
            self._relay.editor = rewrite.abilities(body)
            self._relay.link.keep(body)
            return None
        token = head.id or b""
        if head.method == RESOLVE:
            result = rewrite.resolved(body, self._relay.ledger.tokens) if b"codetrial" in body else None
            return None if result is None else self._answer(token, result)
        if self._relay.command is None or self._relay.command.encode() not in body:
            return None
        if rewrite.command_of(body) != self._relay.command:
            return None
        self._relay.offer(body)
        return self._answer(token, b"null")

    def _answer(self, token: bytes, result: bytes) -> bytes:
        self._relay.to_editor.inject(encode(rewrite.answer(token, result)))
        return b""

    def _cancel(self, body: bytes) -> bytes | None:
        relay = self._relay
        token = rewrite.named_id(body)
        is_ours = token is not None and relay.ledger.is_inline(token)
        relay.offer(body)
        if token is not None and (settled := relay.ledger.cancel(token)) is not None:
            relay.carry_out(settled)
        return b"" if is_ours else None

    def _hold_inline(self, token: bytes, body: bytes) -> bool:
        """Whether the evaluator is waited for; if not, the caller answers."""
        relay = self._relay
        if not relay.may_offer("inline"):
            if not relay.is_bypassed and relay.offer(body, is_question=True):
                relay.offer(delivered(Settled(token, b"", BYPASSED, None)))
            return False
        relay.ledger.hold_inline(token, time.monotonic_ns() + relay.inline_deadline_ns)
        if not relay.offer(body, is_question=True):
            # Whoever settles it first answers: the caller only if nobody else has.
            return relay.ledger.forget(token, BYPASSED) is None
        relay.wake()
        return True

    def missed(self, head: Head) -> None:
        if head.method in DOCUMENTS:
            self._relay.link.forget_texts()
        elif head.method == "initialize":
            # A second one, which the protocol forbids: the server's answer is not ours to add to.
            self._relay.initialize_key = None

    def lost_framing(self) -> None:
        self._relay.bypass("the editor's messages cannot be told apart")


class ServerDoor:
    """What is done with the server's messages."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._settled: deque[Settled] = deque()
        """Ended by answers that are on their way out."""

    def at_most(self, frame: bytes) -> int:
        relay = self._relay
        if relay.ledger.awaited or relay.initialize_key is not None or relay.revival is not None:
            return WHOLE
        return WHOLE if relay.has_announced_inline and b"egisterCapability" in frame else PASS

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        relay = self._relay
        if relay.revival is not None:
            return WHOLE
        if method is not None:
            return WHOLE if method in REGISTRATIONS and relay.has_announced_inline else PASS
        if relay.initialize_key is not None:
            return WHOLE
        if not relay.ledger.awaited:
            return PASS
        return WHOLE if token is None else self._admit_answer(token)

    def _admit_answer(self, token: bytes) -> int:
        ledger = self._relay.ledger
        if token not in ledger or ledger.is_inline(token):
            return PASS
        if (settled := ledger.server_answers(token)) is None:
            return HOLD
        self._settled.append(settled)
        return TOLD

    def admit(self, head: Head) -> int:
        relay = self._relay
        if relay.revival is not None:
            if not head.is_settled:
                return WHOLE
            if relay.revival.server_said(head):
                return HOLD
        if head.method in (REGISTER, UNREGISTER) and (relay.revival is not None or relay.has_announced_inline):
            # Read before it is forwarded: what the editor asks next depends on it.
            return HOLD
        if head.method is not None or (relay.initialize_key is None and not len(relay.ledger)):
            return PASS
        if head.id is None:
            return PASS if head.is_settled else WHOLE
        if relay.initialize_key == id_key(head.id):
            return HOLD
        return self._admit_answer(head.id)

    def observe(self, head: Head, body: bytes) -> None:
        """An answer has left that nobody of ours is waited for with."""
        self._relay.guarded(lambda: self._relay.carry_out(self._settled.popleft()), None)

    def _registered(self, method: str, body: bytes) -> None:
        registrations = registrations_in(method, body)
        if self._relay.revival is not None:
            self._relay.revival.server_registers(method, registrations)
        for token, registered in registrations.items():
            if registered == INLINE and method == REGISTER:
                self._relay.server_inline.add(token)
            elif registered == INLINE:
                self._relay.server_inline.discard(token)

    def replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        return self._relay.guarded(lambda: self._replace(head, frame, body), None)

    def _replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        relay, token = self._relay, head.id or b""
        if head.method is not None:
            self._registered(head.method, body)
            return None
        if relay.revival is not None and relay.revival.is_refused(token):
            return b""
        if relay.initialize_key == id_key(token):
            if relay.is_replaying:
                relay.initialize_key = None
                relay.is_replayed = True
                relay.wake()
                return b""
            return self._initialized(frame, body)
        settled = relay.ledger.server_answered(token, frame, time.monotonic_ns() + relay.merge_budget_ns)
        if settled is None:
            relay.wake()
        else:
            relay.carry_out(settled)
        return b""

    def _initialized(self, frame: bytes, body: bytes) -> bytes | None:
        """The answer to `initialize`, with what we can do added to it."""
        relay = self._relay
        relay.initialize_key = None
        said = rewrite.initialize_answer(body)
        if said is None:
            return None  # An error: the editor may try again.
        relay.server_info = said.info
        if said.encoding in ENCODINGS:
            relay.encoding = said.encoding
            relay.link.set_encoding(said.encoding)
            new = self._announce(body, has_inline=said.has_inline)
        else:
            relay.bypass(f"the server counts characters in an unknown way, {said.encoding!r}")
            new = body
        relay.to_editor.inject(frame if new == body else encode(new))
        relay.is_initialized = True
        relay.wake()
        return b""

    def _announce(self, body: bytes, *, has_inline: bool) -> bytes:
        relay, wanted = self._relay, self._relay.options.surface
        with_inline = relay.editor.has_inline and not has_inline and wanted in ("auto", "inline")
        command = f"codetrial.accepted.{os.urandom(4).hex()}" if relay.editor.has_commands else None
        new = rewrite.announce(body, with_inline=with_inline, command=command)
        relay.command, relay.has_announced_inline = command, with_inline
        if with_inline:
            relay.surface = "inline"
        elif wanted == "auto":
            # A server that offers inline completions itself is not competed with.
            relay.surface = "none" if has_inline and relay.editor.has_inline else "menu"
        elif wanted == "inline":
            relay.surface = "none"
        return new

    def missed(self, head: Head) -> None:
        """An answer that cannot be merged with passes, and so does its request."""
        if head.id is not None:
            self._relay.ledger.forget(head.id, BYPASSED)

    def lost_framing(self) -> None:
        self._relay.bypass("the server's messages cannot be told apart")


def delivered(settled: Settled) -> bytes:
    """What became of the evaluator's answer, as the link says it."""
    reason = b"null" if settled.reason is None else b'"%b"' % settled.reason.encode()
    token = b"null" if settled.suggestion is None else rewrite.quoted(settled.suggestion)
    return (
        b'{"jsonrpc":"2.0","method":"codetrial/delivered","params":{"id":%b,"delivered":%b,"reason":%b,'
        b'"tNs":%d,"token":%b}}'
        % (settled.token, b"true" if settled.reason is None else b"false", reason, time.monotonic_ns(), token)
    )
