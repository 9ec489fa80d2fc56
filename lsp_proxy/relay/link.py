"""What the evaluator is told, over a socket that may be full, broken or not there (docs/design/0002-the-link.md).

Nobody waits here. A copy goes into the socket if it fits, else into a queue of 8 MB; when that is full, copies are
dropped and counted. Once the evaluator reads again it is told how much it missed, and gets every open document whole.

The mirror is kept here because of that: "apply a change and offer its copy" and "send all texts" must exclude each
other, or a change would arrive twice.
"""

import json
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from lsp_proxy.relay import rewrite
from lsp_proxy.relay.frames import encode
from lsp_proxy.relay.mirror import Mirror

if TYPE_CHECKING:
    import socket

__all__ = ["Link"]

QUEUE_BYTES = 8 << 20
LATE_BYTES = 1 << 20
"""So much of what the editor said about its documents may lie undecoded. Decoding it as it comes would hold the
interpreter while the server's answer waits: 20 us for a keystroke, 3 ms for a full text of 600 KB."""
IDLE_BYTES = 1 << 16
"""So much may be decoded in one go whenever the loop has nothing to do."""

_URI = re.compile(rb'"uri"\s*:\s*("(?:[^"\\]|\\.)*")')
_CHANGE = "textDocument/didChange"


class Link:
    """The copies' end of the link. Offering never blocks and never raises."""

    def __init__(self, queue_bytes: int = QUEUE_BYTES) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._queue_bytes = queue_bytes
        self._mirror = Mirror(tracks_edits=False)
        self._late: list[tuple[str, bytes]] = []
        self._late_bytes = 0
        self._opening: list[bytes] = []
        self._has_begun = False
        self._dropped = 0
        self._dropped_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether copies reach an evaluator now, rather than being dropped."""
        return self._socket is not None and not self._dropped

    @property
    def wants_write(self) -> bool:
        """Whether something waits for the socket to take it."""
        return self._socket is not None and (bool(self._queue) or self._dropped > 0)

    def set_encoding(self, encoding: str) -> None:
        with self._lock:
            self._mirror.encoding = encoding

    def observe(self, method: str, body: bytes) -> None:
        """A notification about a document: into the mirror, and a copy of it to the evaluator."""
        with self._lock:
            self._remember(method, body)
            self._offer(body)

    def offer(self, body: bytes) -> bool:
        """A copy of any other message; False if it was not taken."""
        with self._lock:
            return self._offer(body)

    def keep(self, body: bytes) -> None:
        """A message that every evaluator gets first, however late it starts: `initialize`, then `initialized`."""
        with self._lock:
            self._opening.append(body)
            self._offer(body)

    def attach(self, connection: "socket.socket", session: bytes) -> None:
        """Begin with a new evaluator: what it must know first, what it missed, and every document as it stands."""
        connection.setblocking(False)
        with self._lock:
            self._socket = connection
            if not self._has_begun:
                self._has_begun = True
                self._dropped = self._dropped_bytes = 0
            for body in (*self._opening[:1], session, *self._opening[1:]):
                self._enqueue(body)
            self._tell_all()

    def detach(self) -> None:
        """The evaluator is gone; what was not sent counts as missed."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            self._count(len(self._queue), self._queued_bytes)
            self._queue.clear()
            self._queued_bytes = 0

    def flush(self) -> None:
        """Send what the socket takes; to be called when it can take something."""
        with self._lock:
            self._drain()
            if self._dropped and not self._queue and self._socket is not None:
                self._tell_all()

    def opening(self) -> list[bytes]:
        """The editor's `initialize` and, once it was said, `initialized`."""
        with self._lock:
            return list(self._opening)

    def text_documents(self) -> list[dict[str, Any]]:
        """The open documents whose text is known, as TextDocumentItems, notebook cells included."""
        with self._lock:
            return self._items()

    def open_notebooks(self) -> list[dict[str, Any]]:
        """The open notebooks as the protocol's NotebookDocuments."""
        with self._lock:
            self._settle_late()
            return [notebook.document for notebook in self._mirror.notebooks.values()]

    def forget_texts(self) -> None:
        """A change passed that nobody saw: no document's text can be trusted until it comes whole."""
        with self._lock:
            self._settle_late()
            for document in self._mirror.documents.values():
                document.is_known = False
            self._count(1, 0)

    def settle(self) -> None:
        """Bring the mirror up to date, if that is cheap; to be called now and then."""
        if self._late and self._late_bytes <= IDLE_BYTES:
            with self._lock:
                self._settle_late()

    def _remember(self, method: str, body: bytes) -> None:
        if self._late and method == _CHANGE and self._supersedes(body, *self._late[-1]):
            self._late_bytes -= len(self._late.pop()[1])
        self._late.append((method, body))
        self._late_bytes += len(body)
        if self._late_bytes > LATE_BYTES and len(self._late) > 1:
            self._settle_late()

    @staticmethod
    def _supersedes(new: bytes, method: str, old: bytes) -> bool:
        """Whether the newer body brings the whole text of the document that the older one changes."""
        if method != _CHANGE or len(new) < IDLE_BYTES or b'"range"' in new:
            return False
        names = [_URI.search(body, 0, 4096) for body in (new, old)]
        return all(names) and len({name[1] for name in names if name}) == 1

    def _settle_late(self) -> None:
        late, self._late, self._late_bytes = self._late, [], 0
        for method, body in late:
            self._apply(method, body)

    def _apply(self, method: str, body: bytes) -> None:
        try:
            params = json.loads(body).get("params")
        except (ValueError, AttributeError, RecursionError):
            return
        self._mirror.apply(method, params)

    def _items(self) -> list[dict[str, Any]]:
        self._settle_late()
        return [
            {"uri": d.uri, "languageId": d.language_id, "version": d.version or 0, "text": d.text()}
            for d in self._mirror.documents.values()
            if d.is_known
        ]

    def _tell_all(self) -> None:
        """The gap, if there is one, and all documents. Beyond the queue's bound: they are in memory anyway."""
        if self._dropped:
            gap = {"dropped": self._dropped, "bytes": self._dropped_bytes}
            self._dropped = self._dropped_bytes = 0
            self._enqueue(rewrite.notification("codetrial/gap", gap))
        for item in self._items():
            self._enqueue(rewrite.notification("textDocument/didOpen", {"textDocument": item}))
        self._drain()

    def _offer(self, body: bytes) -> bool:
        if self._socket is None or self._dropped or self._queued_bytes + len(body) > self._queue_bytes:
            self._count(1, len(body))
            return False
        frame = encode(body)
        if self._queue:
            self._enqueue(body)
            return True
        sent = self._send(frame)
        if sent < len(frame):
            self._queue.append(frame[sent:])
            self._queued_bytes += len(frame) - sent
        return True

    def _enqueue(self, body: bytes) -> None:
        frame = encode(body)
        self._queue.append(frame)
        self._queued_bytes += len(frame)

    def _drain(self) -> None:
        while self._queue:
            frame = self._queue[0]
            sent = self._send(frame)
            self._queued_bytes -= sent
            if sent < len(frame):
                self._queue[0] = frame[sent:]
                return
            self._queue.popleft()

    def _send(self, data: bytes) -> int:
        """How much the socket took; a broken one takes nothing, and whoever reads it finds that out."""
        if self._socket is None:
            return 0
        try:
            return self._socket.send(data)
        except OSError:
            return 0

    def _count(self, messages: int, size: int) -> None:
        self._dropped += messages
        self._dropped_bytes += size
