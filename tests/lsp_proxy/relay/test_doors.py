"""What a door wants to hold it does not let leave before it has looked."""

import os
import threading
from collections.abc import Iterator

import pytest

from lsp_proxy.relay.doors import EditorDoor, ServerDoor
from lsp_proxy.relay.frames import Head, encode, peek
from lsp_proxy.relay.main import Options
from lsp_proxy.relay.pump import HOLD, PASS, Door, Outlet, Pump
from lsp_proxy.relay.relay import Relay
from tests.lsp_proxy.relay.test_pump import unread


@pytest.fixture
def relay() -> Iterator[Relay]:
    """After `initialize`, with everything on offer that could be."""
    relay = Relay(Options(), 0, -1, -1)
    relay.has_announced_inline = True
    relay.command = "codetrial.accepted.1"
    relay.ledger.tokens["codetrial-1"] = None
    yield relay
    relay.link.detach()
    for fd in (relay._wake_in, relay._wake_out):
        os.close(fd)


def lets_pass(door: Door, data: bytes) -> bool:
    return door.at_most(data) < HOLD


def opened(relay: Relay) -> EditorDoor:
    door = EditorDoor(relay)
    body = b'{"jsonrpc":"2.0","method":"initialized","params":{}}'
    assert not lets_pass(door, encode(body)), "the answer to `initialize` may not even have come"
    door.observe(peek(body), body)
    return door


REQUESTS = [
    b"textDocument/completion",
    b"textDocument/inlineCompletion",
    b"completionItem/resolve",
    b"workspace/executeCommand",
    b"$/cancelRequest",
    b"textDocument/hover",
    b"textDocument/didChange",
    b"shutdown",
]


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("is_awaited", [False, True])
def test_what_the_editor_says(relay: Relay, method: bytes, is_awaited: bool) -> None:
    door = opened(relay)
    relay.surface = "menu"
    if is_awaited:
        relay.ledger.expect_menu(b"7")
    body = b'{"jsonrpc":"2.0","id":8,"method":"%b","params":{"id":7}}' % method
    is_free = lets_pass(door, encode(b"{}") + encode(body))
    if door.admit(peek(body)) >= HOLD or method == b"textDocument/completion":
        assert not is_free
    else:
        assert is_free is not is_awaited


ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{}}'
REGISTRATION = b'{"jsonrpc":"2.0","id":1,"method":"client/registerCapability","params":{}}'


def test_what_the_server_says(relay: Relay) -> None:
    door = ServerDoor(relay)
    assert lets_pass(door, encode(ANSWER))
    assert not lets_pass(door, encode(REGISTRATION))
    relay.ledger.expect_menu(b"7")
    assert not lets_pass(door, encode(ANSWER))
    relay.ledger.forget(b"7", "cancelled")
    relay.initialize_key = b"7"
    assert not lets_pass(door, encode(ANSWER))


def test_where_ids_have_to_be_remembered_nothing_leaves_unseen() -> None:
    options = Options()
    options.restart = True
    relay = Relay(options, 0, -1, -1)
    assert not lets_pass(opened(relay), encode(ANSWER))
    assert not lets_pass(ServerDoor(relay), encode(ANSWER))
    for fd in (relay._wake_in, relay._wake_out):
        os.close(fd)


def test_an_id_that_is_used_again_at_once_is_not_taken_for_the_answer_that_has_left(relay: Relay) -> None:
    """An editor that is quicker than we are: it has the answer, and asks again, before we go on."""
    source, feed = os.pipe()
    drain, target = os.pipe()

    class Asked(Outlet):
        def write(self, data: bytes, *, is_inside_frame: bool = False) -> None:
            super().write(data, is_inside_frame=is_inside_frame)
            if data:
                relay.ledger.expect_menu(b"7")

    outlet = Asked(target)
    os.write(feed, encode(ANSWER))
    os.close(feed)
    Pump(source, outlet, ServerDoor(relay)).run()
    assert os.read(drain, 1 << 16) == encode(ANSWER)
    assert b"7" in relay.ledger
    outlet.close()
    for fd in (source, drain):
        os.close(fd)


def test_a_second_initialize_leaves_its_answer_alone(relay: Relay) -> None:
    door = opened(relay)
    head = Head(b"2", "initialize")
    assert door.admit(head) == HOLD
    door.missed(head)
    assert ServerDoor(relay).at_most(encode(ANSWER)) == PASS


@pytest.mark.parametrize("method", ["textDocument/inlineCompletion", "workspace/executeCommand"])
def test_what_may_be_ours_is_held_wherever_its_method_stands(relay: Relay, method: str) -> None:
    source, feed = os.pipe()
    drain, target = os.pipe()
    params = b'{"command":"%b"}' % (relay.command or "").encode()
    body = b'{"jsonrpc":"2.0","params":%b,"method":"%b","id":3}' % (params, method.encode())
    door, frame = opened(relay), encode(body)
    cut = frame.index(b'},"method"') + 1

    def feed_it() -> None:
        os.write(feed, frame[:cut])
        while unread(source):
            os.sched_yield()
        os.write(feed, frame[cut:])
        os.close(feed)

    feeder = threading.Thread(target=feed_it)
    feeder.start()
    outlet = Outlet(target)
    relay.to_editor = Outlet(os.dup(target))
    Pump(source, outlet, door).run()
    feeder.join()
    got = os.read(drain, 1 << 16)
    assert got.endswith(b'{"jsonrpc":"2.0","id":3,"result":null}'), got
    assert b'"method"' not in got
    relay.to_editor.close()
    outlet.close()
    for fd in (source, drain):
        os.close(fd)
