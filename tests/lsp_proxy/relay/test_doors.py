"""What a door wants to hold it does not let leave before it has looked."""

import os
from collections.abc import Iterator

import pytest

from lsp_proxy.relay.doors import EditorDoor, ServerDoor
from lsp_proxy.relay.frames import Head, encode, peek
from lsp_proxy.relay.main import Options
from lsp_proxy.relay.pump import HOLD
from lsp_proxy.relay.relay import Relay


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


def opened(relay: Relay) -> EditorDoor:
    door = EditorDoor(relay)
    body = b'{"jsonrpc":"2.0","method":"initialized","params":{}}'
    assert not door.lets_pass(encode(body)), "the answer to `initialize` may not even have come"
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
    is_free = door.lets_pass(encode(b"{}") + encode(body))
    if door.admit(peek(body)) >= HOLD or method == b"textDocument/completion":
        assert not is_free
    else:
        assert is_free is not is_awaited


ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{}}'
REGISTRATION = b'{"jsonrpc":"2.0","id":1,"method":"client/registerCapability","params":{}}'


def test_what_the_server_says(relay: Relay) -> None:
    door = ServerDoor(relay)
    assert door.lets_pass(encode(ANSWER))
    assert not door.lets_pass(encode(REGISTRATION))
    relay.ledger.expect_menu(b"7")
    assert not door.lets_pass(encode(ANSWER))
    relay.ledger.forget(b"7", "cancelled")
    relay.initialize_key = b"7"
    assert not door.lets_pass(encode(ANSWER))


def test_where_ids_have_to_be_remembered_nothing_leaves_unseen() -> None:
    options = Options()
    options.restart = True
    relay = Relay(options, 0, -1, -1)
    assert not opened(relay).lets_pass(encode(ANSWER))
    assert not ServerDoor(relay).lets_pass(encode(ANSWER))
    for fd in (relay._wake_in, relay._wake_out):
        os.close(fd)


def test_an_answer_that_left_before_its_question_is_not_sent_again(relay: Relay) -> None:
    door = ServerDoor(relay)
    relay.ledger.expect_menu(b"7")
    door.missed(Head(b"7", None))
    assert not len(relay.ledger)
