"""A pump writes what it reads, however the bytes are cut, and shows its door every message exactly once."""

import fcntl
import itertools
import os
import sys
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_proxy.relay.frames import LAST_ID, USUAL, USUAL_HEADER, Head, peek, read_header
from lsp_proxy.relay.pump import HOLD, LATER, MAX_READS, OBSERVE, PASS, PEEK_BYTES, TOLD, WHOLE, Outlet, Pump, widen
from tests.lsp_proxy.relay.conftest import frame
from tests.lsp_proxy.relay.test_transparency import BROKEN, ODD_BODIES, ODD_FRAMES


class Watching:
    """A door that wants everything in one way, changes nothing, and remembers what it was shown."""

    def __init__(self, wish: int, at_most_wish: int = WHOLE) -> None:
        self.wish = wish
        self.at_most_wish = at_most_wish
        self.bodies: list[bytes] = []
        self.lost = 0
        self.missed_count = 0

    def at_most(self, frame: bytes) -> int:
        return self.at_most_wish

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        return self.wish

    def admit(self, head: Head) -> int:
        return WHOLE if self.wish == WHOLE and not head.is_settled else min(self.wish, HOLD)

    def observe(self, head: Head, body: bytes) -> None:
        self.bodies.append(body)

    def replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        self.bodies.append(body)
        return None

    def missed(self, head: Head) -> None:
        assert self.at_most_wish < HOLD, "nothing here is that large"
        self.missed_count += 1

    def lost_framing(self) -> None:
        self.lost += 1


def pumped(chunks: Sequence[bytes], door: Watching) -> bytes:
    """What comes out of a pump for these chunks, each read on its own."""
    source, feed = os.pipe()
    drain, target = os.pipe()
    out: list[bytes] = []

    def collect() -> None:
        while chunk := os.read(drain, 1 << 16):
            out.append(chunk)

    pump = Pump(source, Outlet(target), door)
    collector, runner = threading.Thread(target=collect), threading.Thread(target=pump.run)
    collector.start()
    runner.start()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(feed, rest) :]
        while unread(source) and runner.is_alive():
            os.sched_yield()
    os.close(feed)
    runner.join(10)
    os.close(target)
    collector.join(10)
    os.close(source)
    os.close(drain)
    return b"".join(out)


def unread(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(n % (len(data) + 1) for n in at)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


FRAMES = st.one_of(
    st.sampled_from([body for body in ODD_BODIES if len(body) < 100_000]).map(frame),
    st.sampled_from(ODD_FRAMES),
    st.binary(max_size=300).map(frame),
)
WISHES = st.sampled_from([PASS, TOLD, LATER, OBSERVE, HOLD, WHOLE])


@settings(deadline=None, max_examples=150)
@given(
    st.lists(FRAMES, max_size=8),
    st.lists(st.integers(0, 1 << 20), max_size=12),
    WISHES,
    st.sampled_from([OBSERVE, WHOLE]),
)
def test_frames_cut_anywhere_come_out_whole_and_are_seen_once(
    frames: list[bytes], cuts: list[int], wish: int, at_most: int
) -> None:
    door = Watching(wish, at_most)
    data = b"".join(frames)
    assert pumped(cut(data, cuts), door) == data
    assert door.lost == 0
    bodies = [b"" if wish == TOLD else f[f.index(b"\r\n\r\n") + 4 :] for f in frames]
    if at_most < HOLD <= wish:  # Against its own word, so what has left can only be missed.
        assert len(door.bodies) + door.missed_count == len(frames)
    else:
        assert door.bodies == ([] if wish == PASS else bodies)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.one_of(FRAMES, st.sampled_from(BROKEN), st.binary(max_size=200)), max_size=6),
    st.lists(st.integers(0, 1 << 20), max_size=12),
    WISHES,
    st.sampled_from([PASS, OBSERVE, WHOLE]),
)
def test_any_bytes_come_out_as_they_went_in(pieces: list[bytes], cuts: list[int], wish: int, at_most: int) -> None:
    data = b"".join(pieces)
    assert pumped(cut(data, cuts), Watching(wish, at_most)) == data


@settings(deadline=None, max_examples=150)
@given(st.lists(FRAMES, max_size=8))
def test_a_whole_frame_that_nothing_can_be_wanted_with_is_not_asked_about(frames: list[bytes]) -> None:
    door = Watching(OBSERVE, PASS)
    assert pumped(frames, door) == b"".join(frames)
    whole = [f for f in frames if len(f) <= PEEK_BYTES and USUAL_HEADER(f)]
    assert len(door.bodies) <= len(frames) - len(whole)


class Choosy(Watching):
    """A door that wants each message in another way."""

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        return (LATER, OBSERVE, HOLD)[len(method or b"") % 3]

    def admit(self, head: Head) -> int:
        return self.glance(None, (head.method or "").encode()) if head.is_settled else WHOLE


@settings(deadline=None, max_examples=100)
@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_what_is_seen_late_is_seen_before_what_came_after_it(frames: list[bytes], cuts: list[int]) -> None:
    door, data = Choosy(LATER), b"".join(frames)
    assert pumped(cut(data, cuts), door) == data
    assert door.bodies == [f[f.index(b"\r\n\r\n") + 4 :] for f in frames]


class Counting(Watching):
    """A door that looks at the first message only, and remembers how many had come by the time it saw it."""

    def __init__(self) -> None:
        super().__init__(PASS)
        self.asked = self.seen_after = 0

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        self.asked += 1
        return LATER if method == b"a/b" else PASS

    def observe(self, head: Head, body: bytes) -> None:
        self.seen_after = self.asked


def test_what_waits_is_looked_at_though_no_moment_is_quiet() -> None:
    body = b'{"jsonrpc":"2.0","method":"a/b","params":"%b"}'
    first = frame(body % (b"x" * (PEEK_BYTES - len(frame(body % (b"x" * 8_000))) + 8_000)))
    assert len(first) == PEEK_BYTES, "one read"
    # Of each of these the beginning is read and the rest moved: one read again.
    others = frame(b'{"jsonrpc":"2.0","method":"a/c","params":"%b"}' % (b"x" * 20_000)) * 1_000
    door = Counting()
    assert pumped([first + others], door) == first + others
    assert door.asked == 1_001
    assert 1 <= door.seen_after <= MAX_READS + 2


SESSIONS = sorted((Path(__file__).parent / "sessions").iterdir())


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.name)
def test_what_a_glance_tells_of_a_real_session_is_so(session: Path) -> None:
    data, at = session.read_bytes(), 0
    seen = missed = 0
    while at < len(data):
        header = read_header(data, at)
        assert header is not None
        end = header.body + header.length
        head = peek(data, header.body, end)
        if (match := USUAL(data[at:end])) is None:
            missed += 1
        else:
            seen += 1
            length, _, token, method = match.groups()
            assert (int(length), at + match.start(2)) == (header.length, header.body)
            assert head.method == (method.decode() if method else None)
            last = LAST_ID(data[at:end])
            assert head.id == (token or (last[1] if last and method is None else head.id))
        at = end
    assert missed <= 1 + seen // 20, "so many take the long way"


class CountingTheLongWay(Watching):
    """A door that lets everything pass, and counts what was told at a glance and what was not."""

    short = long = 0

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        self.short += 1
        return PASS

    def admit(self, head: Head) -> int:
        self.long += 1
        return PASS


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.name)
def test_neither_a_header_by_itself_nor_two_messages_at_once_take_the_long_way(session: Path) -> None:
    data, at = session.read_bytes(), 0
    apart: list[bytes] = []
    while header := read_header(data, at) if at < len(data) else None:
        end = header.body + header.length
        apart += [data[at : header.body], data[header.body : end]]
        at = end
    unusual = sum(USUAL(b"".join(apart[first : first + 2])) is None for first in range(0, len(apart), 2))
    together = [b"".join(apart[first : first + 4]) for first in range(0, len(apart), 4)]
    # Of two that are longer than a read, the second one's beginning may be cut where it tells nothing yet.
    for pieces in (apart, [piece for piece in together if len(piece) <= PEEK_BYTES]):
        door = CountingTheLongWay(PASS)
        assert pumped(pieces, door) == b"".join(pieces)
        assert door.long <= 2 * unusual, "one that does takes its neighbour along"


def test_what_stands_behind_a_message_that_ends_too_soon_is_not_read_as_its_own() -> None:
    door = CountingTheLongWay(PASS)
    data = b'Content-Length: 20\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"a/b","params":1}'
    assert pumped([data], door) == data
    assert (door.short, door.long, door.lost) == (0, 1, 1)


@pytest.mark.parametrize("size", [10, 200_000])
def test_of_what_is_only_told_no_body_is_kept(size: int) -> None:
    door = Watching(TOLD)
    body = b"[" + b"1," * size + b"1]"
    answers = [
        b'{"id":1,"jsonrpc":"2.0","result":%b}' % body,  # As clangd writes them.
        b'{"jsonrpc": "2.0", "id": "2", "result": %b}' % body,
        b'{"jsonrpc":"2.0","id":3,"error":%b}' % body,
    ]
    data = b"".join(frame(answer) for answer in answers)
    with_type = frame(answers[1]).replace(
        b"\r\n\r\n", b"\r\nContent-Type: application/vscode-jsonrpc; charset=utf8\r\n\r\n", 1
    )
    assert pumped([data, with_type], door) == data + with_type
    assert door.bodies == [b""] * 4


class Failing(Watching):
    """A door with a fault in it."""

    def observe(self, head: Head, body: bytes) -> None:
        raise RuntimeError("a fault of ours")

    def replace(self, head: Head, frame: bytes, body: bytes) -> bytes | None:
        raise RuntimeError("a fault of ours")


class FailingAtAGlance(Watching):
    """A door with a fault where a message has not left yet."""

    def glance(self, token: bytes | None, method: bytes | None) -> int:
        raise RuntimeError("a fault of ours")

    def admit(self, head: Head) -> int:
        raise RuntimeError("a fault of ours")


@settings(deadline=None, max_examples=50)
@given(st.lists(FRAMES, min_size=1, max_size=5), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_a_fault_of_ours_costs_no_byte(frames: list[bytes], cuts: list[int]) -> None:
    left = (Failing(LATER, OBSERVE), Failing(OBSERVE, OBSERVE))
    for door in (Failing(LATER), Failing(OBSERVE), Failing(HOLD), FailingAtAGlance(PASS), *left):
        data = b"".join(frames)
        assert pumped(cut(data, cuts), door) == data
        assert door.lost == 1


def test_a_frame_of_ours_waits_for_the_end_of_the_one_under_way() -> None:
    drain, target = os.pipe()
    outlet = Outlet(target)
    outlet.write(b"Content-Length: 4\r\n\r\nab", is_inside_frame=True)
    outlet.inject(frame(b"ours"))
    outlet.write(b"cd")
    outlet.inject(frame(b"more"))
    assert os.read(drain, 1 << 16) == frame(b"abcd") + frame(b"ours") + frame(b"more")
    outlet.go_raw()
    outlet.inject(frame(b"never"))
    outlet.close()
    assert os.read(drain, 1 << 16) == b""
    os.close(drain)


class Telling(Watching):
    """A door that says that it is lost."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(PASS, PASS)
        self.outlet = outlet

    def lost_framing(self) -> None:
        self.outlet.inject(frame(b"lost"))


def test_there_is_room_for_a_word_before_a_stray_print_between_frames() -> None:
    source, feed = os.pipe()
    drain, target = os.pipe()
    outlet = Outlet(target)
    first, rest = frame(b"{}"), b"Warning: a plugin prints\n" + frame(b"{}")
    os.write(feed, first + rest)
    os.close(feed)
    Pump(source, outlet, Telling(outlet)).run()
    outlet.close()
    assert os.read(drain, 1 << 16) == first + frame(b"lost") + rest
    os.close(source)
    os.close(drain)


LARGE = frame(b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 300_000 + b'"}')


def carried(data: bytes, target: int, outlet: Outlet) -> None:
    source, feed = os.pipe()

    def write() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(feed, rest) :]
        os.close(feed)

    writer = threading.Thread(target=write)
    writer.start()
    Pump(source, outlet, Watching(PASS)).run()
    writer.join(10)
    os.close(source)
    os.close(target)


@pytest.mark.parametrize("how", [os.O_TRUNC, os.O_APPEND])
def test_a_large_message_arrives_whole_where_the_kernel_cannot_move_it(tmp_path: Path, how: int) -> None:
    # A file that is appended to: the kernel refuses, and the bytes are read and written.
    path = tmp_path / "out"
    target = os.open(path, os.O_WRONLY | os.O_CREAT | how)
    carried(LARGE + frame(b"{}") + LARGE, target, Outlet(target))
    assert path.read_bytes() == LARGE + frame(b"{}") + LARGE


def test_a_frame_of_ours_waits_for_one_that_the_kernel_moves() -> None:
    drain, target = os.pipe()
    outlet = Outlet(target)
    runner = threading.Thread(target=carried, args=(LARGE, target, outlet))
    runner.start()
    # The pipe is full of the first part, so that the large frame is under way.
    assert os.read(drain, 1) == LARGE[:1]
    while not outlet.is_inside_frame:
        time.sleep(0.001)
    outlet.inject(frame(b"ours"))
    data = LARGE[:1]
    while chunk := os.read(drain, 1 << 16):
        data += chunk
    runner.join(10)
    os.close(drain)
    assert data == LARGE + frame(b"ours")


def test_a_pipe_takes_a_long_answer_whole_and_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    drain, target = os.pipe()
    answer = b"x" * 200_000
    os.set_blocking(target, False)
    assert os.write(target, answer) < len(answer)
    widen(target)
    assert fcntl.fcntl(drain, fcntl.F_GETPIPE_SZ) >= len(answer)
    with (tmp_path / "log").open("wb") as file:
        widen(file.fileno())
        file.write(answer)
    os.close(drain)
    os.close(target)
