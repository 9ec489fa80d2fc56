"""Real sessions with damage done to them: what comes out is what goes in, whatever that is.

The sessions of `sessions/` were recorded from real servers (see record.py); hypothesis damages them.
"""

import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsp_proxy.relay.doors import EditorDoor, ServerDoor
from lsp_proxy.relay.main import Options
from lsp_proxy.relay.pump import Outlet, Pump
from lsp_proxy.relay.relay import Relay
from tests.lsp_proxy.relay.conftest import Open, Stream, Wire, recorded
from tests.lsp_proxy.relay.test_real_servers import SERVERS, command_of

SESSIONS = Path(__file__).with_name("sessions")
NAMES = sorted({path.stem for path in SESSIONS.iterdir()})


def frames(data: bytes) -> list[bytes]:
    """Each with its header."""
    found = []
    while data:
        at = data.index(b"\r\n\r\n") + 4
        [length] = re.findall(rb"Content-Length: ([0-9]+)", data[:at])
        found.append(data[: at + int(length)])
        data = data[at + int(length) :]
    return found


BYTES = st.integers(0, 1 << 20)
HEADERS = [
    b"Content-Length: -5\r\n\r\n",
    b"Content-Length: 0\r\n\r\n",
    b"Content-Length: 99999999\r\n\r\n",
    b"Content-Length: 999999999999999999999\r\n\r\n",
    b"content-length:  7\r\n\r\n",
    b"Content-Length: 1e1\r\n\r\n",
    b"Content-Type: text\r\n\r\n",
    b"\r\n\r\n",
    b"A stray line\n",
    b"",
]


@st.composite
def damaged(draw: st.DrawFn, speaker: str) -> bytes:
    """A session with some accidents: frames lost, doubled, swapped, cut; headers exchanged; bits turned."""
    parts = frames((SESSIONS / f"{draw(st.sampled_from(NAMES))}.{speaker}").read_bytes())
    for _ in range(draw(st.integers(0, 3))):
        at, other = draw(st.integers(0, len(parts) - 1)), draw(st.integers(0, len(parts) - 1))
        accident = draw(st.sampled_from(["lose", "double", "swap", "cut", "header", "bits", "foreign"]))
        if accident == "lose" and len(parts) > 1:
            del parts[at]
        elif accident == "double":
            parts.insert(other, parts[at])
        elif accident == "swap":
            parts[at], parts[other] = parts[other], parts[at]
        elif accident == "cut":
            parts[at] = parts[at][: draw(BYTES) % (len(parts[at]) + 1)]
        elif accident == "header":
            body = parts[at].partition(b"\r\n\r\n")[2]
            parts[at] = draw(st.sampled_from(HEADERS)) + body
        elif accident == "bits" and parts[at]:
            flipped = bytearray(parts[at])
            flipped[draw(BYTES) % len(flipped)] ^= 1 << draw(st.integers(0, 7))
            parts[at] = bytes(flipped)
        elif accident == "foreign":
            parts.insert(at, draw(st.binary(max_size=40)))
    return b"".join(parts)


class Rig:
    """A relay's two directions on pipes, with its real doors, and nobody at the ends but the test."""

    def __init__(self) -> None:
        self._to_server = os.pipe()
        self._to_editor = os.pipe()
        self.relay = Relay(Options(), 0, self._to_server[1], -1)
        self.relay.to_editor = Outlet(self._to_editor[1])
        # An evaluator that listens and has said that it will be late: every completion goes through the ledger.
        ours, self._evaluator = socket.socketpair()
        self.relay.link.attach(ours, b"{}")
        self.relay._has_spoken = True
        self.relay.ledger.waits = False

    def carry(self, said: bytes, heard: bytes) -> tuple[bytes, bytes]:
        """What the server gets of what the editor says, then what the editor gets of what the server says."""
        received = self._through(said, self.relay.to_server, EditorDoor(self.relay), self._to_server)
        shown = self._through(heard, self.relay.to_editor, ServerDoor(self.relay), self._to_editor)
        return received, shown

    @staticmethod
    def _through(data: bytes, outlet: Outlet, door: Any, pipe: tuple[int, int]) -> bytes:
        source, feed = os.pipe()
        collected: list[bytes] = []

        def write() -> None:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(feed, rest) :]
            os.close(feed)

        def collect() -> None:
            while chunk := os.read(pipe[0], 1 << 16):
                collected.append(chunk)
            os.close(pipe[0])

        threads = [threading.Thread(target=write, daemon=True), threading.Thread(target=collect, daemon=True)]
        for thread in threads:
            thread.start()
        Pump(source, outlet, door).run()
        outlet.close()
        for thread in threads:
            thread.join(10)
        os.close(source)
        return b"".join(collected)

    def close(self) -> None:
        self.relay.link.detach()
        self._evaluator.close()
        for fd in (self.relay._wake_in, self.relay._wake_out):
            os.close(fd)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(damaged("editor"), damaged("server"))
def test_a_damaged_session_passes_as_it_is(said: bytes, heard: bytes) -> None:
    rig = Rig()
    try:
        # The editor of the recordings knows inline completions and commands; one that does not gets nothing added.
        poor = said.replace(b"inlineCompletion", b"somethingElse!!!").replace(b'"executeCommand"', b'"somethingElse!"')
        received, shown = rig.carry(poor, heard)
    finally:
        rig.close()
    assert received == poor
    # What we say ourselves (that we have switched ourselves off) stands between frames, and nothing is missing.
    assert OURS.sub(b"", shown) == heard


OURS = re.compile(
    rb'Content-Length: [0-9]+\r\n\r\n\{"jsonrpc":"2\.0","method":"window/logMessage",'
    rb'"params":\{"type":4,"message":"codetrial has switched itself off[^"]*"\}\}'
)


ALONE_S = 15.0
"""A server that has not ended so long after its editor is not going to."""


@pytest.mark.slow
@pytest.mark.timeout(600)
# clangd is left out: without the recorded folder it crashes now and then, alone too, and writes a report for minutes.
@pytest.mark.parametrize("name", [name for name in SERVERS if name != "clangd"])
def test_a_real_server_meets_the_same_end(open_wire: Open, tmp_path: Path, name: str) -> None:
    session = (SESSIONS / f"{name}.editor").read_bytes()
    whole = frames(session)
    ends = {
        "half a frame": b"".join(whole[:3]) + whole[3][:60],
        "a negative length": b"".join(whole[:3]) + b"Content-Length: -5\r\n\r\n{}",
        "a huge length": b"".join(whole[:3]) + b"Content-Length: 99999999999\r\n\r\n{}" + b"".join(whole[3:]),
        "no header": b"".join(whole[:2]) + b"some words\n" + b"".join(whole[2:]),
        "not JSON": b"".join(whole[:3]) + b"Content-Length: 5\r\n\r\n{not!" + b"".join(whole[3:]),
        "no initialize": b"".join(whole[1:]),
        "twice everything": b"".join(whole[:2]) + session,
        "bytes": bytes(range(256)) * 20,
    }
    for kind, data in ends.items():
        results = []
        for is_direct in (True, False):
            folder = tmp_path / f"{kind} {'direct' if is_direct else 'proxied'}"
            wire = open_wire(server=recorded(command_of(name), folder), direct=is_direct, stderr=subprocess.DEVNULL)
            threading.Thread(target=drain, args=(wire,), daemon=True).start()
            try:
                wire.send(data)
                wire.hang_up()
            except BrokenPipeError:
                pass  # It has ended before it had heard everything.
            results.append((end_of(wire), (folder / "read").read_bytes()))
        (direct, read), (proxied, read_proxied) = results
        # One that never ends when its editor is gone is ended by the proxy.
        assert proxied == (-signal.SIGTERM if direct is None else direct), kind
        # A server that ends in the middle has read more or less of it, by chance.
        assert data.startswith(read), kind
        assert data.startswith(read_proxied), kind


def end_of(wire: Wire) -> int | None:
    """The status; None if it lives on without an editor."""
    try:
        return wire.process.wait(ALONE_S)
    except subprocess.TimeoutExpired:
        wire.process.kill()
        return None


def drain(stream: Stream) -> None:
    try:
        stream.rest()
    except (OSError, ValueError, TimeoutError):
        return
