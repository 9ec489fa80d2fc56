"""`--restart`: a language server that crashes comes back, and the editor hardly notices."""

import json
import signal
from typing import Any

import pytest

from tests.lsp_proxy.relay.conftest import REFLECTING, Evaluators, Open, Wire, frame, notification, request

URI = "file:///a.py"
CRASH = {"kill": signal.SIGKILL, "answer": False}


@pytest.fixture
def wire(open_wire: Open, evaluators: Evaluators) -> Wire:
    """An editor whose proxy restarts the server, with one open document and one notebook."""
    wire = open_wire("--restart")
    wire.initialize()
    evaluators.next()
    at = {"line": 0, "character": 1}
    wire.send(
        notification(
            "textDocument/didOpen", textDocument={"uri": URI, "languageId": "python", "version": 1, "text": "ac"}
        ),
        notification(
            "textDocument/didChange",
            textDocument={"uri": URI, "version": 2},
            contentChanges=[{"range": {"start": at, "end": at}, "text": "b"}],
        ),
        notification(
            "notebookDocument/didOpen",
            notebookDocument={"uri": "nb", "notebookType": "j", "version": 1, "cells": [{"kind": 2, "document": "c"}]},
            cellTextDocuments=[{"uri": "c", "languageId": "python", "version": 1, "text": "cell"}],
        ),
    )
    return wire


def bodies(received: bytes) -> list[dict[str, Any]]:
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.rpartition(b" ")[2])
        found.append(json.loads(rest[:length]))
        received = rest[length:]
    return found


def crash(wire: Wire, token: int = 50, **do: Any) -> list[dict[str, Any]]:
    """Let the server die at a request; gives what the editor hears up to the message about it."""
    wire.send(request(token, "x", do=CRASH | do))
    heard = [wire.message()]
    while heard[-1].get("method") != "window/showMessage":
        heard.append(wire.message())
    return heard


def test_the_new_server_knows_what_the_old_one_knew(wire: Wire) -> None:
    crash(wire)
    messages = bodies(wire.received_by_server())
    assert [m["method"] for m in messages[:4]] == [
        "initialize",
        "initialized",
        "notebookDocument/didOpen",
        "textDocument/didOpen",
    ]
    assert messages[2]["params"]["cellTextDocuments"][0]["text"] == "cell"
    assert messages[3]["params"]["textDocument"] == {
        "uri": URI,
        "languageId": "python",
        "version": 2,
        "text": "abc",
    }
    assert len(messages) == 5


def test_requests_that_died_with_it_are_answered_once(wire: Wire) -> None:
    wire.send(request("waits", "y", do={"answer": False}))
    heard = crash(wire)
    assert {m["id"]: m["error"]["code"] for m in heard if "error" in m} == {"waits": -32801, 50: -32801}
    assert wire.ask(request(1, "x", do={"result": "1"}))["result"] == 1


def test_messages_sent_while_it_is_away_arrive_after_the_replay(wire: Wire) -> None:
    at = {"line": 0, "character": 3}
    change = notification(
        "textDocument/didChange",
        textDocument={"uri": URI, "version": 3},
        contentChanges=[{"range": {"start": at, "end": at}, "text": "d"}],
    )
    wire.send(request(50, "x", do=CRASH), change, request("after", "x", do={"result": "1"}))
    while (answer := wire.message()).get("id") != "after":
        pass
    messages = bodies(wire.received_by_server())
    text = next(m for m in messages if m["method"] == "textDocument/didOpen")["params"]["textDocument"]
    changes = [m for m in messages if m["method"] == "textDocument/didChange"]
    # Either the change is in the replayed text, or it follows it: never both, never neither.
    assert (text["text"], len(changes)) in {("abcd", 0), ("abc", 1)}
    assert answer.get("result") == 1 or answer["error"]["code"] == -32801


def test_what_it_had_registered_is_unregistered_and_late_answers_do_not_reach_the_new_one(wire: Wire) -> None:
    registration = {"id": "r1", "method": "textDocument/completion"}
    register = frame(request(0, "client/registerCapability", registrations=[registration])).decode()
    wire.send(notification("x", do={"first": register}))
    assert wire.message()["method"] == "client/registerCapability"
    heard = crash(wire)
    [unregister] = [m for m in heard if m.get("method") == "client/unregisterCapability"]
    assert unregister["params"] == {"unregisterations": [registration]}
    wire.send({"jsonrpc": "2.0", "id": 0, "result": None}, {"jsonrpc": "2.0", "id": unregister["id"], "result": None})
    assert not [m for m in bodies(wire.received_by_server()) if "method" not in m]


def test_a_server_that_keeps_crashing_ends_us_with_its_status(wire: Wire) -> None:
    for token in (50, 51, 52):
        wire.send(request(token, "x", do={"exit": 3}))
        while wire.message().get("id") != token:
            pass
        assert wire.ask(request("back", "x", do={"result": "1"}))["result"] == 1
    wire.send(request(53, "x", do={"exit": 3}))
    assert wire.status() == 3


def test_an_answer_cut_in_half_ends_us_as_nothing_would_fit_behind_it(wire: Wire) -> None:
    wire.send(
        request(
            50,
            "x",
            do=CRASH | {"first": 'Content-Length: 300000\r\n\r\n{"jsonrpc":"2.0","id":9,"result":"' + "z" * 200_000},
        )
    )
    assert len(wire.rest()) > 100_000
    assert wire.status() == -signal.SIGKILL


def test_a_server_that_was_asked_to_exit_is_not_started_again(wire: Wire) -> None:
    wire.ask(request(1, "shutdown"))
    wire.send(notification("exit"))
    assert wire.status() == 0


def test_with_restart_too_every_byte_passes(open_wire: Open) -> None:
    data = b"".join(
        frame(body)
        for body in (
            b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1e400}}',
            b'{"result":[1],"id":"b","jsonrpc":"2.0"}',
            b'{"params":"' + b"x" * 300_000 + b'","method":"c","id":2,"jsonrpc":"2.0"}',
        )
    )
    wire = open_wire("--restart", server=REFLECTING)
    wire.send_meanwhile(data)
    assert wire.take(len(data)) == data
