"""One direction of the traffic: what was read is written, unless the door for this direction says otherwise.

Forward first, then look. One whole message leaves before anybody has read its envelope, where nothing can have to be
answered or rewritten. A message that nobody here cares about streams on while it is still arriving (a 1 MB answer is
not held until its last byte); one that is observed is shown to the door after its bytes have left, most of them when
nothing more has come for a moment; only what may have to be answered or rewritten waits until it is whole.
"""

import errno
import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

from lsp_proxy.relay.frames import (
    LAST_ID,
    ONLY_HEADER,
    USUAL,
    USUAL_HEADER,
    FrameError,
    Head,
    Header,
    peek,
    peek_start,
    read_header,
)

__all__ = ["HOLD", "LATER", "OBSERVE", "PASS", "TOLD", "WHOLE", "Door", "Outlet", "Pump", "widen"]

READ_BYTES = 1 << 16
PEEK_BYTES = 1 << 13
"""Enough for nearly every message; of a longer one the kernel moves the rest, so the less was read the better."""
PIPE_BYTES = 1 << 18
"""Linux counts a user's pipes by what they could hold, and grows none beyond 64 MB: room for fifty of us and more."""
QUIET_MS = 1
MAX_READS = 64
"""So often may something else be read before what waits is looked at, though no moment was quiet."""

MOVE_BYTES = 1 << 20
SPLICE: Callable[[int, int, int], int] | None = getattr(os, "splice", None)
"""Linux only."""

MAX_HELD_BYTES = 64 << 20
"""A frame above this is passed on unseen: holding it would cost memory that nobody expects of a relay."""

PASS, TOLD, LATER, OBSERVE, HOLD, WHOLE = range(6)
"""What a door wants with a message: nothing; to know, in a quiet moment after it has left, that it has; to see it then;
to see it as soon as it has left; to replace it; to say when it is whole. It sees them in their order."""
LAST_ID_BYTES = 64


class Door(Protocol):
    """What is done with one direction's messages. An exception ends framing for good, so doors guard themselves."""

    def at_most(self, frame: bytes) -> int:
        """PASS if nothing can be wanted with this message, OBSERVE if it need not be held, else WHOLE.

        Asked first, with id and method not looked for yet, and so is what costs an editor most.
        """

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        """PASS, TOLD, LATER or OBSERVE if id and method, as they stand on the wire, make that certain, else WHOLE.

        Asked before `admit`, for messages of the usual look: an editor waits for this, and for little else of ours.
        """

    def admit(self, head: Head) -> int:
        """What is wanted with a message, before any of it has left. WHOLE only if the head is not settled."""

    def observe(self, head: Head, body: bytes) -> None:
        """A message that has been forwarded; without its body if that was not wanted."""

    def replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        """The bytes to send instead of a held frame, possibly none; None leaves it as it is."""

    def missed(self, head: Head) -> None:
        """A message that was wanted, but is too large or has left already; it passes unseen."""

    def lost_framing(self) -> None:
        """From here on this direction is bytes without meaning."""


class Outlet:
    """Where a direction's bytes go; other threads put whole frames between those of the pump."""

    def __init__(self, fd: int, *, outlives: bool = False) -> None:
        self._fd = fd
        self._outlives = outlives
        """Whether a far side that is gone is replaced (`resume`) rather than the end."""
        self._lock = threading.Lock()
        self._is_inside_frame = False
        self._is_raw = False
        self._can_move = True
        self._waiting: list[bytes] = []
        self._is_suspended = False
        self._resumed = threading.Condition(self._lock)
        self.is_blocked = False
        """Whether a writer waits for `resume`."""

    def write(self, data: bytes, *, is_inside_frame: bool = False) -> None:
        """Write what the pump read; `is_inside_frame` if its last frame goes on."""
        with self._lock:
            if self._outlives:
                self._write_to_who_is_there(data)
            elif data:
                write_all(self._fd, data)
            self._is_inside_frame = is_inside_frame
            if self._waiting and not is_inside_frame:
                waiting, self._waiting = self._waiting, []
                write_all(self._fd, b"".join(waiting))

    def _write_to_who_is_there(self, data: bytes) -> None:
        """Should the far side be gone, wait for the next one."""
        while True:
            if not self._is_suspended:
                try:
                    write_all(self._fd, data)
                    return
                except BrokenPipeError:
                    self._is_suspended = True
            self.is_blocked = True
            self._resumed.wait()
            self.is_blocked = False

    def move(self, source: int, count: int) -> int | None:
        """Let the kernel move up to so many bytes of the frame under way; 0 at the end, None if it cannot here.

        Half the time of reading and writing them. It happens outside the lock, as nobody else writes within a frame.
        """
        if SPLICE is None or self._outlives or not self._can_move:
            return None
        while True:
            try:
                return SPLICE(source, self._fd, count)
            except BlockingIOError:
                # Whoever shares one of these with us has made it non-blocking.
                select.select([source], [], [])
                select.select([], [self._fd], [])
            except OSError as fault:
                if fault.errno != errno.EINVAL:
                    raise
                self._can_move = False  # Not a pipe, or a file that is appended to.
                return None

    def inject(self, frame: bytes) -> None:
        """Send a frame of our own, now or right after the frame that is under way; nothing once framing is lost."""
        with self._lock:
            if self._is_raw:
                return
            if self._is_inside_frame:
                self._waiting.append(frame)
            else:
                write_all(self._fd, frame)

    @property
    def is_inside_frame(self) -> bool:
        return self._is_inside_frame

    def suspend(self) -> None:
        """Let writers wait: the far side is being replaced."""
        with self._lock:
            self._is_suspended = True

    def resume(self, fd: int, first: bytes) -> None:
        """Go on with a new far side; `first` reaches it before anything that waits."""
        with self._lock:
            os.close(self._fd)
            self._fd = fd
            self._is_inside_frame = False
            write_all(fd, first)
            self._is_suspended = False
            self._resumed.notify_all()

    def go_raw(self) -> None:
        """No more frames of ours: nobody knows where one would fit."""
        with self._lock:
            self._is_raw = True
            self._waiting.clear()

    def close(self) -> None:
        """Tell the far side that nothing more comes."""
        with self._lock:
            self._is_raw = True
            os.close(self._fd)


class Pump:
    """Carries one direction until its source ends."""

    def __init__(self, source: int, outlet: Outlet, door: Door, *, drops_partial: bool = False) -> None:
        self._drops_partial = drops_partial
        """Half a frame at the end is not sent: another source will go on with whole ones."""
        self.is_idle = False
        """Waiting for its source, with nothing read that is not dealt with."""
        self._source = source
        self._outlet = outlet
        self._door = door
        self._room = memoryview(bytearray(PEEK_BYTES))
        """Read into, and copied from: `os.read` takes 64 KB from the heap for every message and gives back all but its
        bytes. What the evaluator has yet to take lies between the holes, and the heap grows (docs/design/0001)."""
        self._unsent = b""
        """Read, and not yet written; whatever goes wrong, these bytes go out next."""
        self._unseen: list[tuple[Head, bytes]] = []
        """Written, and not yet shown to the door."""
        self._reads = 0
        """Since something waits there."""
        self._readable = select.poll()
        self._readable.register(source, select.POLLIN)

    def run(self) -> None:
        """Forward until the source ends; OSError means that the far side is gone."""
        try:
            self._run_framed()
        except OSError:
            self._look()
            raise
        except Exception:
            # Not the base protocol, or a fault of ours: neither may cost the person their language server.
            self._unseen.clear()
            self._door.lost_framing()
            self._run_raw()

    def _run_framed(self) -> None:
        at_most = self._door.at_most
        while chunk := self._next():
            self._unsent = data = self._unsent + chunk if self._unsent else chunk
            # Nearly always one message, whole: of anything else nobody knows yet where a frame of ours would fit.
            header = USUAL_HEADER(data)
            if header and header.end() + int(header[1]) == len(data) and (most := at_most(data)) < HOLD:
                self._send(len(data))
                if most != PASS:
                    self._look_behind(data, header.end())
            elif not self._passed_at_a_glance():
                self._forward()
        self._look()
        if not self._drops_partial:
            self._send(len(self._unsent))

    def _next(self) -> bytes:
        if self._unseen:
            # Not right after the write: the kernel wakes who reads it on our processor, to wait there until we sleep.
            self._reads += 1
            if self._reads > MAX_READS or not self._readable.poll(QUIET_MS):
                self._look()
        self.is_idle = not self._unseen
        try:
            return self._room[: os.readv(self._source, (self._room,))].tobytes()
        except BlockingIOError:
            return read(self._source, READ_BYTES)
        finally:
            self.is_idle = False

    def _passed_at_a_glance(self) -> bool:
        """Send on what is at hand while it is messages of the usual look that need not wait; False if more is left.

        Nearly every message goes this way, or two of them together: a change, and what is asked after it. What runs
        here before the write is what we add to it: cold, after a pause between keystrokes, each step costs several
        times what a benchmark in a loop would show.
        """
        chunk = self._unsent
        size, at = len(chunk), 0
        passing: list[tuple[int, bytes | None, bytes | None, int, int]] = []
        while at < size and (match := USUAL(chunk, at)) is not None:
            length, _, token, method = match.groups()
            body = match.start(2)
            end = body + int(length)
            if match.end() > end:
                break  # A length that is wrong: what stands behind it is nobody's id or method.
            if token is None and method is None and end <= size:
                last = LAST_ID(chunk, max(body, end - LAST_ID_BYTES), end)
                token = last and last[1]
            wish = self._door.glance(token, method)
            if wish > OBSERVE or (end > size and wish > TOLD):
                break
            if wish != PASS:
                passing.append((wish, token, method, body, end))
            at = end
        if not at:
            # Most servers write the header by itself: we are awake before the body is there.
            return match is None and ONLY_HEADER(chunk) is not None
        if at > size:
            self._stream_rest(Header(body, end - body), at - size, None)
        else:
            self._send(at)
        is_urgent = False
        for wish, token, method, body, end in passing:
            seen = b"" if wish == TOLD else chunk[body:end]
            self._unseen.append((Head(token, (method or b"").decode("utf-8", "replace")), seen))
            is_urgent |= wish == OBSERVE
        if is_urgent:
            self._look()
        return at >= size

    def _look_behind(self, frame: bytes, body: int) -> None:
        """Find out what the door wants with a message that has left."""
        head = peek(frame, body)
        wish = self._door.admit(head)
        if wish >= HOLD:
            self._door.missed(head)
        elif wish != PASS:
            self._unseen.append((head, b"" if wish == TOLD else frame[body:]))
            if wish == OBSERVE:
                self._look()

    def _look(self) -> None:
        """Let the door look at what has left, each message once."""
        self._reads = 0
        while self._unseen:
            self._door.observe(*self._unseen.pop(0))

    def _run_raw(self) -> None:
        self._outlet.go_raw()
        self._send(len(self._unsent))
        while chunk := read(self._source, READ_BYTES):
            self._outlet.write(chunk)

    def _send(self, count: int) -> None:
        """Write the first bytes of `_unsent`."""
        data = self._unsent
        if count == len(data):
            self._unsent = b""
            self._outlet.write(data)
        elif count:
            self._unsent = data[count:]
            self._outlet.write(data[:count])

    def _forward(self) -> None:
        """Send on what can be sent of the bytes at hand."""
        door = self._door
        at = 0
        """Up to here `_unsent` is whole frames that pass."""
        passing: list[tuple[Head, bytes]] = []
        is_urgent = False
        try:
            while at < len(self._unsent) and (header := read_header(self._unsent, at)):
                end = header.body + header.length
                if end > len(self._unsent):
                    break
                head = peek(self._unsent, header.body, end)
                wish = door.admit(head)
                if wish in (TOLD, LATER, OBSERVE):
                    passing.append((head, b"" if wish == TOLD else self._unsent[header.body : end]))
                    is_urgent |= wish == OBSERVE
                elif wish >= HOLD:
                    self._pass_on(at, passing, is_urgent=True)
                    self._replace(head, end - at, header.body - at)
                    end = 0
                at = end
            else:
                header = None
        except FrameError:
            self._pass_on(at, passing, is_urgent=True)
            raise
        self._pass_on(at, passing, is_urgent=is_urgent)
        if header is not None:
            self._forward_partial(Header(header.body - at, header.length))

    def _pass_on(self, count: int, passing: list[tuple[Head, bytes]], *, is_urgent: bool) -> None:
        """Send the first bytes of `_unsent`; the `passing` messages in them are shown now, or in a quiet moment."""
        self._send(count)
        self._unseen += passing
        passing.clear()
        if is_urgent:
            self._look()

    def _replace(self, head: Head, frame_bytes: int, body_at: int) -> None:
        """Send what the door gives for the first frame of `_unsent`."""
        frame = self._unsent[:frame_bytes]
        instead = self._door.replace(head, frame, frame[body_at:])
        if instead is None:
            self._send(frame_bytes)
            return
        self._unsent = self._unsent[frame_bytes:]
        if instead:
            self._outlet.write(instead)

    def _forward_partial(self, header: Header) -> None:
        """Deal with the frame that `_unsent` begins with and does not yet hold to its end."""
        head = peek_start(self._unsent, header.body)
        if head is None:
            return  # Some more bytes will tell.
        wish = self._door.admit(head)
        missing = header.body + header.length - len(self._unsent)
        if wish > TOLD and header.length > MAX_HELD_BYTES:
            self._door.missed(head)
            wish = PASS
        self._look()
        if wish >= HOLD:
            self._await_rest(missing)
        else:
            self._stream_rest(header, missing, head if wish > TOLD else None)
            if wish == TOLD:
                self._unseen.append((head, b""))

    def _await_rest(self, missing: int) -> None:
        parts = [self._unsent]
        try:
            while missing and (chunk := read(self._source, min(missing, READ_BYTES))):
                parts.append(chunk)
                missing -= len(chunk)
        finally:
            self._unsent = b"".join(parts)
        if not missing:
            self._forward()

    def _stream_rest(self, header: Header, missing: int, observed: Head | None) -> None:
        parts = [self._unsent]
        self._unsent = b""
        self._outlet.write(parts[0], is_inside_frame=True)
        while missing and observed is None:
            moved = self._outlet.move(self._source, min(missing, MOVE_BYTES))
            if moved is None:
                break
            if not moved:
                return
            missing -= moved
            if not missing:
                self._outlet.write(b"")
        while missing:
            chunk = read(self._source, min(missing, READ_BYTES))
            if not chunk:
                return
            missing -= len(chunk)
            self._outlet.write(chunk, is_inside_frame=missing > 0)
            if observed is not None:
                parts.append(chunk)
        if observed is not None:
            self._door.observe(observed, b"".join(parts)[header.body :])


def widen(pipe: int) -> None:
    """Let a pipe hold a long answer whole: else who writes it waits for who reads, at every 64 KB. If it can be had."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return  # Not Linux, not a pipe, or a user with too much in pipes already.


def read(fd: int, count: int) -> bytes:
    """At least one byte, or none at the end."""
    while True:
        try:
            return os.read(fd, count)
        except BlockingIOError:
            # Whoever shares this pipe with us has made it non-blocking.
            select.select([fd], [], [])


def write_all(fd: int, data: bytes) -> None:
    try:
        written = os.write(fd, data)
    except BlockingIOError:
        written = 0
    rest = memoryview(data)[written:] if written < len(data) else b""
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
