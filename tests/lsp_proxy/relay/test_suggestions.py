"""What the relay adds to the traffic, and that it adds nothing when the evaluator is slow, dead or wrong."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from codetrial import paths
from lsp_proxy.relay import state
from lsp_proxy.relay.main import Options
from lsp_proxy.relay.relay import Relay
from tests.lsp_proxy.relay.conftest import Bridge, Evaluators, Open, Wire, frame, notification, request, wait_until

ITEM = {"label": "ours", "data": {"codetrial": "t1"}}
URI = "file:///a.py"
INLINE = "textDocument/inlineCompletion"
COMPLETION = "textDocument/completion"


def opened(text: str, version: int = 1) -> dict[str, Any]:
    return notification(
        "textDocument/didOpen",
        textDocument={"uri": URI, "languageId": "python", "version": version, "text": text},
    )


def typed(character: int, text: str, version: int) -> dict[str, Any]:
    at = {"line": 0, "character": character}
    return notification(
        "textDocument/didChange",
        textDocument={"uri": URI, "version": version},
        contentChanges=[{"range": {"start": at, "end": at}, "text": text}],
    )


@pytest.fixture
def menu(open_wire: Open, evaluators: Evaluators) -> tuple[Wire, Bridge]:
    """An editor with completion menus only, and its evaluator; the relay waits long enough for a test to answer."""
    wire = open_wire()
    wire.initialize(commands=True)
    bridge = evaluators.next()
    bridge.hear("codetrial/session")
    bridge.say(notification("codetrial/settings", surface="menu", mergeBudgetMs=20_000, inlineDeadlineMs=5000))
    settle(bridge, wire)
    return wire, bridge


@pytest.fixture
def inline(open_wire: Open, evaluators: Evaluators) -> tuple[Wire, Bridge]:
    """An editor with inline completions, and its evaluator."""
    wire = open_wire()
    wire.initialize(inline=True, commands=True)
    bridge = evaluators.next()
    bridge.hear("codetrial/session")
    settle(bridge, wire)
    return wire, bridge


def settle(bridge: Bridge, wire: Wire) -> None:
    """Make sure that what the evaluator said has been read: a notice comes back through the editor."""
    bridge.say(notification("codetrial/notice", level="info", message=f"settled {time.monotonic_ns()}"))
    assert wire.message()["method"] == "window/showMessage"


def complete(wire: Wire, bridge: Bridge, result: str = '{"isIncomplete":false,"items":[{"label":"x"}]}') -> Any:
    wire.send(request(7, COMPLETION, do={"result": result}))
    asked = bridge.hear(COMPLETION)
    bridge.answer(asked, {"isIncomplete": False, "items": [ITEM]})
    return wire.message()["result"]


# The initialize answer


def test_inline_completion_is_announced_only_to_an_editor_that_knows_it(open_wire: Open) -> None:
    for knows in (True, False):
        capabilities = open_wire().initialize(inline=knows)["result"]["capabilities"]
        assert capabilities == {"completionProvider": {}} | ({"inlineCompletionProvider": True} if knows else {})


def test_a_server_with_inline_completions_of_its_own_is_left_alone(open_wire: Open, evaluators: Evaluators) -> None:
    wire = open_wire()
    answer = '{"capabilities":{"inlineCompletionProvider":{"vendor":1.50}}}'
    wire.initialize(inline=True, answer=answer)
    assert evaluators.next().hear("codetrial/session")["params"]["surface"] == "none"
    assert wire.ask(request(1, INLINE, do={"result": '["theirs"]'}))["result"] == ["theirs"]


def test_the_rest_of_the_initialize_answer_keeps_its_bytes(open_wire: Open) -> None:
    wire = open_wire()
    answer = '{ "capabilities" : {"a":1e400,"a":2,"executeCommandProvider":{"commands":["x"]}}, "vendor":[1.50] }'
    said = {"capabilities": {"workspace": {"executeCommand": {}}}, "initializationOptions": {"answer": answer}}
    wire.send(request(1, "initialize", **said))
    body = wire.frame().decode()
    head, _, tail = answer.partition('["x"')
    assert f'"result":{head}["codetrial.accepted.' in body
    assert body.endswith(f'","x"{tail}}}')


def test_commands_are_added_only_for_an_editor_that_runs_them(open_wire: Open) -> None:
    names = set()
    for answer in ('{"capabilities":{}}', '{"capabilities":{"executeCommandProvider":{"commands":[]}}}'):
        result = open_wire().initialize(commands=True, answer=answer)["result"]
        [name] = result["capabilities"]["executeCommandProvider"]["commands"]
        names.add(name)
    assert len(names) == 2  # Editors register commands for all their servers in one place.
    assert open_wire().initialize(answer='{"capabilities":{}}')["result"] == {"capabilities": {}}


@pytest.mark.parametrize(
    ("answer", "encoding"),
    [
        ('{"capabilities":{"positionEncoding":"utf-8"}}', "utf-8"),
        ('{"capabilities":{},"offsetEncoding":"utf-32"}', "utf-32"),
        ('{"capabilities":{}}', "utf-16"),
    ],
)
def test_the_evaluator_learns_the_position_encoding(
    open_wire: Open, evaluators: Evaluators, answer: str, encoding: str
) -> None:
    open_wire().initialize(answer=answer)
    assert evaluators.next().hear("codetrial/session")["params"]["positionEncoding"] == encoding


def test_an_unknown_position_encoding_switches_us_off(open_wire: Open) -> None:
    wire = open_wire()
    answer = '{"capabilities":{"positionEncoding":"utf-7"}}'
    assert wire.initialize(inline=True, answer=answer)["result"] == json.loads(answer)
    assert "utf-7" in wire.message()["params"]["message"]
    assert wire.ask(request(1, "x", do={"result": "1"}))["result"] == 1


@pytest.mark.parametrize("answer", ["{}", '{ "capabilities" : null }', '{"capabilities":[]}', "[1e400]", "5"])
def test_an_initialize_answer_of_no_known_shape_passes_as_it_is(open_wire: Open, answer: str) -> None:
    wire = open_wire()
    asked = b'{"id":1,"jsonrpc":"2.0","method":"initialize","params":{"processId":4711,"vendor":1.50,%b}}' % (
        b'"capabilities":{"textDocument":{"inlineCompletion":{}},"workspace":{"executeCommand":{}}},'
        b'"initializationOptions":{"answer":%b}' % json.dumps(answer).encode()
    )
    wire.send(frame(asked))
    assert wire.frame() == frame(b'{"jsonrpc":"2.0","id":1,"result":%b}' % answer.encode())
    assert wire.ask(request(2, INLINE, do={"result": "[]"}))["result"] == []
    # The process that a server watches is the editor's, not ours.
    assert wire.received_by_server().startswith(frame(asked))


def test_a_refused_initialize_passes_and_the_next_one_counts(open_wire: Open) -> None:
    wire = open_wire()
    wire.send(request(1, "initialize", initializationOptions={"answer": "null"}))
    assert wire.message()["result"] is None
    assert "inlineCompletionProvider" in wire.initialize(inline=True)["result"]["capabilities"]


# What the evaluator is told


def test_the_evaluator_gets_copies_of_what_it_needs_as_the_editor_wrote_them(
    open_wire: Open, evaluators: Evaluators
) -> None:
    wire = open_wire("--origin", "test")
    wire.initialize(inline=True)
    bridge = evaluators.next()
    assert bridge.message()["method"] == "initialize"
    session = bridge.message()
    assert (session["method"], session["params"]["origin"]) == ("codetrial/session", "test")
    assert bridge.message()["method"] == "initialized"
    messages = [
        b'{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":"u","text":"\\u00e9","x":1e400}}}',
        b'{"params":{"textDocument":{"uri":"u","version":2},"contentChanges":[]},"method":"textDocument\\/didChange"}',
        b'{"jsonrpc":"2.0","method":"textDocument/didSave","params":{"textDocument":{"uri":"u"}}}',
        b'{"jsonrpc":"2.0","id":"a","method":"textDocument/completion","params":{}}',
        b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"a"}}',
        b'{"jsonrpc":"2.0","method":"textDocument/didClose","params":{"textDocument":{"uri":"u"}}}',
        b'{"jsonrpc":"2.0","method":"notebookDocument/didOpen","params":{}}',
        b'{"jsonrpc":"2.0","id":9,"method":"shutdown"}',
    ]
    ignored = b'{"jsonrpc":"2.0","method":"textDocument/willSave","params":{}}'
    for body in messages:
        wire.send(frame(ignored), frame(body))
        assert bridge.frame() == frame(body)


def test_an_evaluator_that_starts_late_gets_every_document_as_it_stands(
    open_wire: Open, evaluators: Evaluators
) -> None:
    wire = open_wire()
    wire.initialize()
    first = evaluators.next()
    wire.send(opened("ac"), typed(1, "b", 2))
    assert first.hear("textDocument/didChange")["params"]["textDocument"]["version"] == 2
    first.kill()
    second = evaluators.next()
    session = second.hear("codetrial/session")
    assert (session["params"]["generation"], session["params"]["restarts"]) == (2, 1)
    document = second.hear("textDocument/didOpen")["params"]["textDocument"]
    assert document == {"uri": URI, "languageId": "python", "version": 2, "text": "abc"}
    wire.send(typed(3, "d", 3))
    assert second.hear("textDocument/didChange")["params"]["textDocument"]["version"] == 3


# The menu


@pytest.mark.parametrize(
    ("theirs", "merged"),
    [
        ("null", {"isIncomplete": True, "items": ["ours"]}),
        ("[]", ["ours"]),
        ('[ {"label":"x"} ]', ["ours", "x"]),
        ('{"items":[{"label":"x"}],"isIncomplete":true}', {"items": ["ours", "x"], "isIncomplete": True}),
        ('{"isIncomplete":false,"items":[ ]}', {"isIncomplete": False, "items": ["ours"]}),
        (
            '{"isIncomplete":false,"itemDefaults":{"commitCharacters":["[","}"],"editRange":'
            '{"insert":{"start":{"line":0}},"replace":{}}},"items":[{"label":"x"}]}',
            {"items": ["ours", "x"]},
        ),
        ('{"vendor":["items",{"items":[]}],"items":[{"label":"x"}]}', {"items": ["ours", "x"]}),
        ('{"isIncomplete":false,"applyKind":{"data":2},"items":[{"label":"x"}]}', {"items": ["ours", "x"]}),
    ],
)
def test_our_item_joins_whatever_shape_the_server_answers_in(
    menu: tuple[Wire, Bridge], theirs: str, merged: Any
) -> None:
    result = complete(*menu, theirs)
    items = result["items"] if isinstance(result, dict) else result
    labels = [item["label"] for item in items]
    if isinstance(merged, dict):
        assert labels == merged["items"]
        assert all(result[key] == value for key, value in merged.items() if key != "items")
    else:
        assert labels == merged
    # Defaults of the server's list must not change what our item does.
    assert items[0] == ITEM | {"insertTextFormat": 1, "insertTextMode": 1, "commitCharacters": []}


def test_the_evaluator_hears_that_its_item_went_out(menu: tuple[Wire, Bridge]) -> None:
    complete(*menu)
    told = menu[1].hear("codetrial/delivered")["params"]
    assert (told["id"], told["delivered"], told["reason"], told["token"]) == (7, True, None, "t1")
    assert 0 <= time.monotonic_ns() - told["tNs"] < 10e9


def test_an_evaluator_faster_than_the_server_is_merged_when_the_server_answers(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"answer": False}))
    bridge.answer(bridge.hear(COMPLETION), [ITEM])
    settle(bridge, wire)
    late = frame(b'{"jsonrpc":"2.0","id":8,"result":[]}').decode()
    wire.send(notification("x", do={"first": late}))
    assert [item["label"] for item in wire.message()["result"]] == ["ours"]


def test_nothing_to_offer_leaves_the_bytes_alone_and_is_not_reported(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    nothings: list[Any] = [None, [], {"isIncomplete": False, "items": []}]
    for nothing in nothings:
        wire.send(request(8, COMPLETION, do={"result": '{ "items":[1e400] }'}))
        bridge.answer(bridge.hear(COMPLETION), nothing)
        assert wire.frame() == frame(b'{"jsonrpc":"2.0","id":8,"result":{ "items":[1e400] }}')
    assert bridge.is_quiet()


def test_a_late_suggestion_does_not_hold_the_answer_and_is_told_so(open_wire: Open, evaluators: Evaluators) -> None:
    wire = open_wire()
    wire.initialize()
    bridge = evaluators.next()
    bridge.hear("initialized")
    settle(bridge, wire)
    wire.send(request(8, COMPLETION, do={"result": "[]"}))
    asked = bridge.hear(COMPLETION)
    assert wire.frame() == frame(b'{"jsonrpc":"2.0","id":8,"result":[]}')
    told = bridge.hear("codetrial/delivered")["params"]
    assert (told["id"], told["delivered"], told["reason"]) == (8, False, "late")
    bridge.answer(asked, [ITEM])
    assert wire.is_quiet()


@pytest.mark.parametrize("is_server_first", [True, False])
def test_nobody_waits_for_an_evaluator_that_says_it_will_be_late(
    menu: tuple[Wire, Bridge], is_server_first: bool
) -> None:
    wire, bridge = menu
    began = time.monotonic()
    wire.send(request(8, COMPLETION, do={"result": "[]", "answer": is_server_first}))
    asked = bridge.hear(COMPLETION)
    if is_server_first:
        assert wire.ask(request(9, "x", do={"result": "1"}))["result"] == 1
    bridge.say(notification("codetrial/later", id=8))
    if not is_server_first:
        settle(bridge, wire)
        wire.send(notification("x", do={"first": frame(b'{"jsonrpc":"2.0","id":8,"result":[]}').decode()}))
    assert wire.message() == {"jsonrpc": "2.0", "id": 8, "result": []}
    assert time.monotonic() - began < 10  # The budget of this test is twice as long.
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "late"
    bridge.answer(asked, [ITEM])
    settle(bridge, wire)


def test_a_long_answer_that_nobody_waits_for_streams_on(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"answer": False}))
    bridge.hear(COMPLETION)
    bridge.say(notification("codetrial/later", id=8))
    settle(bridge, wire)
    answer = frame(b'{"jsonrpc":"2.0","id":8,"result":[%b]}' % (b'{"label":"x"},' * 9_999 + b'{"label":"x"}'))
    wire.send(notification("x", do={"first": answer[:70_000].decode()}))
    assert wire.take(70_000) == answer[:70_000]  # Its end has not been written yet.
    wire.send(notification("x", do={"first": answer[70_000:].decode()}))
    assert wire.take(len(answer) - 70_000) == answer[70_000:]
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "late"


def test_later_completions_wait_only_once_something_is_ready(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"result": "[]"}))
    bridge.hear(COMPLETION)
    bridge.say(notification("codetrial/later", id=8))
    assert wire.message()["id"] == 8
    assert wire.ask(request(9, COMPLETION, do={"result": "[]"}))["result"] == []  # Though nobody has said anything.
    bridge.hear(COMPLETION)
    bridge.say(notification("codetrial/ready"))
    settle(bridge, wire)
    wire.send(request(10, COMPLETION, do={"result": "[]"}))
    bridge.answer(bridge.hear(COMPLETION), [ITEM])
    assert [item["label"] for item in wire.message()["result"]] == ["ours"]


def test_one_that_was_late_and_still_beats_the_server_is_merged(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"answer": False}))
    asked = bridge.hear(COMPLETION)
    bridge.say(notification("codetrial/later", id=8))
    bridge.answer(asked, [ITEM])
    settle(bridge, wire)
    wire.send(notification("x", do={"first": frame(b'{"jsonrpc":"2.0","id":8,"result":[]}').decode()}))
    assert [item["label"] for item in wire.message()["result"]] == ["ours"]


def test_a_cancelled_completion_gets_the_servers_own_answer(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"result": "[]"}))
    asked = bridge.hear(COMPLETION)
    wire.send(notification("$/cancelRequest", id=8))
    assert wire.message() == {"jsonrpc": "2.0", "id": 8, "result": []}
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "cancelled"
    bridge.answer(asked, [ITEM])
    assert frame(notification("$/cancelRequest", id=8)) in wire.received_by_server()


def test_partial_results_are_not_merged(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, partialResultToken=5, do={"result": "[]"}))
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "partial_result"
    assert wire.message()["result"] == []


def test_an_error_of_the_server_stays_an_error(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"error": '{"code":-32603,"message":"no"}'}))
    bridge.answer(bridge.hear(COMPLETION), [ITEM])
    assert wire.message() == {"jsonrpc": "2.0", "id": 8, "error": {"code": -32603, "message": "no"}}
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "unmergeable"


@pytest.mark.parametrize("token", [1, "1", "", "é", 9007199254740993, -4])
def test_requests_are_told_apart_by_their_ids_as_written(menu: tuple[Wire, Bridge], token: Any) -> None:
    wire, bridge = menu
    other = "1" if token == 1 else 1
    wire.send(request(token, COMPLETION, do={"result": "[]"}))
    asked = bridge.hear(COMPLETION)
    bridge.answer({"id": other}, [{"label": "for somebody else"}])
    bridge.answer(asked, [ITEM])
    answer = wire.message()
    assert (answer["id"], [item["label"] for item in answer["result"]]) == (token, ["ours"])


def test_the_server_numbers_and_cancels_its_own_requests(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    theirs = request(8, "workspace/configuration", items=[])
    withdrawn = notification("$/cancelRequest", id=8)
    first = (frame(theirs) + frame(withdrawn)).decode()
    wire.send(request(8, COMPLETION, workDoneToken=8, do={"answer": False, "first": first}))
    assert [wire.message(), wire.message()] == [theirs, withdrawn]
    answered = {"jsonrpc": "2.0", "id": 8, "result": [None]}
    wire.send(answered)
    # Ours of the same number is still open, and gets its answer and our item.
    bridge.answer(bridge.hear(COMPLETION), [ITEM])
    settle(bridge, wire)
    wire.send(notification("x", do={"first": frame(b'{"jsonrpc":"2.0","id":8,"result":[]}').decode()}))
    assert [item["label"] for item in wire.message()["result"]] == ["ours"]
    assert frame(answered) in wire.received_by_server()


def test_other_messages_pass_while_an_answer_is_kept(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"result": "[]"}), request(9, "x", do={"result": "1"}))
    assert wire.message()["id"] == 9
    bridge.answer(bridge.hear(COMPLETION), [ITEM])
    assert wire.message()["id"] == 8


def test_our_item_is_resolved_here_and_theirs_by_the_server(menu: tuple[Wire, Bridge]) -> None:
    wire, _ = menu
    [ours, _theirs] = complete(*menu)["items"]
    assert wire.ask(request(10, "completionItem/resolve", **ours))["result"] == ours
    foreign = {"label": "y", "data": {"codetrial": "not ours"}, "do": {"result": '"theirs"'}}
    assert wire.ask(request(11, "completionItem/resolve", **foreign))["result"] == "theirs"
    assert b'"id": 10' not in wire.received_by_server()


def test_our_command_confirms_to_the_evaluator_and_others_reach_the_server(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    wire.send(request(20, "initialize", capabilities={"workspace": {"executeCommand": {}}}))
    [command] = wire.message()["result"]["capabilities"]["executeCommandProvider"]["commands"]
    assert wire.ask(request(10, "workspace/executeCommand", command=command, arguments=["t1"]))["result"] is None
    assert bridge.hear("workspace/executeCommand")["params"]["arguments"] == ["t1"]
    theirs = request(11, "workspace/executeCommand", command="theirs", arguments=[command], do={"result": "1"})
    assert wire.ask(theirs)["result"] == 1


# Inline


def test_an_inline_completion_is_answered_by_the_evaluator_byte_for_byte(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    wire.send(request("i", INLINE, position={}))
    asked = bridge.hear(INLINE)
    result = b'{"items":[{"insertText":"x = 1","command":{"title":"","command":"c","arguments":["t2"]}}]}'
    bridge.say(frame(b'{"id":"i","jsonrpc":"2.0","result":%b}' % result))
    assert wire.frame() == frame(b'{"jsonrpc":"2.0","id":"i","result":%b}' % result)
    told = bridge.hear("codetrial/delivered")["params"]
    assert (told["id"], told["delivered"], told["token"]) == (asked["id"], True, "t2")
    assert INLINE.encode() not in wire.received_by_server()


def test_an_inline_completion_nobody_answers_is_null_at_its_deadline(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    bridge.say(notification("codetrial/settings", surface="inline", mergeBudgetMs=0, inlineDeadlineMs=100))
    settle(bridge, wire)
    began = time.monotonic()
    assert wire.ask(request(1, INLINE))["result"] is None
    assert 0.1 <= time.monotonic() - began < 5
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "late"
    # It has let a whole deadline pass: nobody waits for it until it speaks again.
    began = time.monotonic()
    assert wire.ask(request(2, INLINE))["result"] is None
    assert time.monotonic() - began < 0.09
    settle(bridge, wire)
    wire.send(request(3, INLINE))
    while (asked := bridge.hear(INLINE))["id"] != 3:
        pass
    bridge.answer(asked, {"items": [{"insertText": "x"}]})
    assert wire.message()["result"] == {"items": [{"insertText": "x"}]}


def test_an_evaluator_that_is_still_starting_is_not_waited_for(open_wire: Open, evaluators: Evaluators) -> None:
    wire = open_wire()
    wire.initialize(inline=True)
    bridge = evaluators.next()
    bridge.hear("initialized")
    began = time.monotonic()
    assert wire.ask(request(1, INLINE))["result"] is None
    assert time.monotonic() - began < 4
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "bypassed"


def test_a_cancelled_inline_completion_is_answered_as_cancelled(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    wire.send(request(1, INLINE))
    asked = bridge.hear(INLINE)
    wire.send(notification("$/cancelRequest", id=1))
    assert wire.message()["error"]["code"] == -32800
    bridge.answer(asked, {"items": [{"insertText": "late"}]})
    assert b"cancelRequest" not in wire.received_by_server()


def test_a_server_that_takes_inline_completions_over_later_gets_them(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    registration = {"id": "r1", "method": INLINE, "registerOptions": {"documentSelector": [{"language": "python"}]}}

    def changes(method: str, **params: Any) -> None:
        """The server registers or unregisters, and the editor agrees."""
        wire.send(notification("x", do={"first": frame(request("s1", method, **params)).decode()}))
        assert wire.message() == request("s1", method, **params)
        wire.send({"jsonrpc": "2.0", "id": "s1", "result": None})

    changes("client/registerCapability", registrations=[{"id": "other", "method": "textDocument/hover"}, registration])
    theirs = '{"items":[{"insertText":"theirs"}]}'
    assert wire.ask(request(1, INLINE, do={"result": theirs}))["result"] == json.loads(theirs)
    asked = bridge.hear(INLINE)
    told = bridge.hear("codetrial/delivered")["params"]
    assert (told["id"], told["delivered"], told["reason"]) == (1, False, "bypassed")
    bridge.answer(asked, {"items": [{"insertText": "ours"}]})
    changes("client/unregisterCapability", unregisterations=[{"id": "other", "method": "textDocument/hover"}])
    assert wire.ask(request(2, INLINE, do={"result": theirs}))["result"] == json.loads(theirs)
    changes("client/unregisterCapability", unregisterations=[{"id": "r1", "method": INLINE}])
    wire.send(request(3, INLINE, do={"result": theirs}))
    while (asked := bridge.hear(INLINE))["id"] != 3:
        pass
    bridge.answer(asked, {"items": [{"insertText": "ours"}]})
    assert wire.message()["result"] == {"items": [{"insertText": "ours"}]}


def test_a_completion_registered_later_is_merged_like_any_other(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    registration = {"id": "r1", "method": COMPLETION, "registerOptions": {"triggerCharacters": ["@"]}}
    asked = request("s1", "client/registerCapability", registrations=[registration])
    wire.send(notification("x", do={"first": frame(asked).decode()}))
    assert wire.message() == asked
    answered = {"jsonrpc": "2.0", "id": "s1", "result": None}
    wire.send(answered)
    assert [item["label"] for item in complete(wire, bridge)["items"]] == ["ours", "x"]
    assert frame(answered) in wire.received_by_server()


def test_a_superseded_request_is_told_once_and_not_as_passed_by(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    large = "[" + "1," * 100_000 + "1]"
    first = frame(b'{"jsonrpc":"2.0","id":8,"result":%b}' % large.encode()).decode()
    wire.send(request(8, COMPLETION, do={"answer": False}))
    asked = bridge.hear(COMPLETION)
    # The evaluator's "nothing, there is a newer one" comes while half of the server's answer is here.
    wire.send(notification("x", do={"first": first[:100_000]}))
    assert wire.is_quiet()
    bridge.answer(asked, None)
    assert bridge.is_quiet()
    wire.send(notification("x", do={"first": first[100_000:]}))
    assert wire.frame() == first.encode()
    assert bridge.is_quiet()


# An evaluator in trouble


def test_a_killed_evaluator_costs_one_message_and_comes_back(menu: tuple[Wire, Bridge], evaluators: Evaluators) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"result": "[]"}))
    bridge.hear(COMPLETION)
    bridge.kill()
    messages = [wire.message(), wire.message()]
    assert {"jsonrpc": "2.0", "id": 8, "result": []} in messages
    [shown] = [m["params"]["message"] for m in messages if m.get("method") == "window/showMessage"]
    assert "evaluator ended (signal 9)" in shown
    wire.send(opened("ab"))
    again = evaluators.next()
    assert again.hear("codetrial/gap")["params"]["dropped"] >= 1
    assert again.hear("textDocument/didOpen")["params"]["textDocument"]["text"] == "ab"
    again.kill()
    wait_until(lambda: not Path(f"/proc/{again.pid}").exists())
    wire.send(request(9, "x", do={"result": "1"}))
    assert wire.message() == {"jsonrpc": "2.0", "id": 9, "result": 1}


def test_an_inline_completion_is_answered_when_its_evaluator_dies(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    wire.send(request(1, INLINE))
    bridge.hear(INLINE)
    bridge.kill()
    while (answer := wire.message()).get("id") != 1:
        pass
    assert answer["result"] is None
    assert wire.ask(request(2, INLINE))["result"] is None


def test_a_stopped_evaluator_is_not_waited_for_and_is_killed_at_the_end(inline: tuple[Wire, Bridge]) -> None:
    wire, bridge = inline
    wire.send(request(1, INLINE))
    bridge.hear(INLINE)
    began = time.monotonic()
    bridge.kill(signal.SIGSTOP)
    assert wire.message()["result"] is None
    assert time.monotonic() - began < 2
    wire.ask(request(2, "shutdown"))
    wire.send(notification("exit"))
    assert wire.status() == 0
    wait_until(lambda: not Path(f"/proc/{bridge.pid}").exists() or "Z" in Path(f"/proc/{bridge.pid}/stat").read_text())


def test_a_full_queue_drops_copies_and_ends_in_the_whole_text(open_wire: Open, evaluators: Evaluators) -> None:
    wire = open_wire()
    wire.initialize()
    bridge = evaluators.next()
    bridge.hear("initialized")
    bridge.kill(signal.SIGSTOP)
    text = "x" * 1_000_000
    wire.send(opened(text))
    for version in range(2, 14):
        wire.send(
            notification(
                "textDocument/didChange",
                textDocument={"uri": URI, "version": version},
                contentChanges=[{"text": f"{version} {text}"}],
            )
        )
    wire.send(typed(0, "é", 14))
    assert wire.ask(request(1, "x", do={"result": "1"}))["result"] == 1
    bridge.kill(signal.SIGCONT)
    gap = bridge.hear("codetrial/gap")["params"]
    assert gap["dropped"] >= 2
    document = bridge.hear("textDocument/didOpen")["params"]["textDocument"]
    assert (document["version"], document["text"]) == (14, f"é13 {text}")
    wire.send(typed(0, "y", 15))
    assert bridge.hear("textDocument/didChange")["params"]["textDocument"]["version"] == 15


@pytest.mark.parametrize(
    "wrong",
    [5, "x", {"items": 5}, [{"no": "label"}], [ITEM, ITEM], {"itmes": []}, [None], [[]]],
    ids=range(8),
)
def test_a_wrong_answer_is_not_passed_on(menu: tuple[Wire, Bridge], wrong: Any) -> None:
    wire, bridge = menu
    wire.send(request(8, COMPLETION, do={"result": "[1]"}))
    bridge.answer(bridge.hear(COMPLETION), wrong)
    assert wire.frame() == frame(b'{"jsonrpc":"2.0","id":8,"result":[1]}')
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "unmergeable"


@pytest.mark.parametrize("wrong", [5, "x", {"items": 5}, [5], {"items": [{"text": 1}]}], ids=range(5))
def test_a_wrong_inline_answer_becomes_null(inline: tuple[Wire, Bridge], wrong: Any) -> None:
    wire, bridge = inline
    wire.send(request(1, INLINE))
    bridge.answer(bridge.hear(INLINE), wrong)
    assert wire.message() == {"jsonrpc": "2.0", "id": 1, "result": None}


def test_a_second_answer_and_one_to_nothing_are_ignored(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    complete(wire, bridge)
    bridge.answer({"id": 7}, [ITEM])
    bridge.answer({"id": "never asked"}, [ITEM])
    bridge.say(request(1, "window/workDoneProgress/create"), notification("window/logMessage", message="x"))
    settle(bridge, wire)


def test_three_faults_switch_us_off_and_the_traffic_goes_on(menu: tuple[Wire, Bridge]) -> None:
    wire, bridge = menu
    for _ in range(2):
        wire.send(request(8, COMPLETION, do={"result": "[1]"}))
        bridge.answer(bridge.hear(COMPLETION), 5)
        assert wire.message()["result"] == [1]
    wire.send(request(8, COMPLETION, do={"result": "[1]"}))
    bridge.answer(bridge.hear(COMPLETION), 5)
    # The evaluator may be wrong before or after the server has answered, so what we say comes first or last.
    told, answered = sorted([wire.message(), wire.message()], key=lambda message: "result" in message)
    assert answered["result"] == [1]
    assert (told["method"], "switched itself off" in told["params"]["message"]) == ("window/logMessage", True)
    assert wire.ask(request(9, COMPLETION, do={"result": "[2]"}))["result"] == [2]


def test_hooks_that_take_long_are_faults_too() -> None:
    read, write = os.pipe()
    relay = Relay(Options(), 0, write, -1)
    try:

        def burn() -> str:
            end = time.thread_time() + 0.06
            while time.thread_time() < end:
                pass
            return "done"

        assert [relay.guarded(burn, "otherwise") for _ in range(2)] == ["done"] * 2
        assert not relay.is_bypassed
        relay.guarded(burn, "otherwise")
        assert relay.is_bypassed
    finally:
        for fd in (read, write, relay._wake_in, relay._wake_out):
            os.close(fd)


def test_an_evaluator_that_talks_rubbish_is_ended(inline: tuple[Wire, Bridge], evaluators: Evaluators) -> None:
    wire, bridge = inline
    bridge.say(b"this is no frame\n")
    assert "evaluator ended" in wire.message()["params"]["message"]
    evaluators.next().hear("codetrial/session")


def test_one_that_cannot_be_started_is_said_once(open_wire: Open) -> None:
    wire = open_wire(env={"CODETRIAL_EVALUATOR": '["/no/such/program"]'})
    wire.initialize()
    assert "cannot start its evaluator" in wire.message()["params"]["message"]
    assert wire.ask(request(1, "x", do={"result": "1"}))["result"] == 1


def test_an_unwritable_log_does_not_matter_to_the_editor(open_wire: Open, tmp_path: Path) -> None:
    wire = open_wire("--log", str(tmp_path / "no" / "such" / "folder" / "log"))
    wire.initialize()
    assert "cannot start its evaluator" in wire.message()["params"]["message"]
    assert wire.ask(request(1, "x", do={"result": "1"}))["result"] == 1


# Pausing


def test_a_pause_takes_effect_within_a_second_and_so_does_its_end(
    inline: tuple[Wire, Bridge], runtime_dir: Path
) -> None:
    wire, bridge = inline
    runtime_dir.mkdir(exist_ok=True)
    (runtime_dir / "paused.json").write_text('{"until": null}')
    began = time.monotonic()
    assert bridge.hear("codetrial/paused")["params"] == {"paused": True}
    assert time.monotonic() - began < 1
    assert wire.ask(request(1, INLINE))["result"] is None
    assert bridge.hear(INLINE)["id"] == 1  # Still counted.
    assert bridge.hear("codetrial/delivered")["params"]["reason"] == "bypassed"
    (runtime_dir / "paused.json").write_text(json.dumps({"until": time.time() - 1}))
    assert bridge.hear("codetrial/paused")["params"] == {"paused": False}
    wire.send(request(2, INLINE))
    bridge.answer(bridge.hear(INLINE), {"items": [{"insertText": "x"}]})
    assert wire.message()["result"] == {"items": [{"insertText": "x"}]}


def test_a_pause_file_that_cannot_be_read_as_json_means_silence(tmp_path: Path) -> None:
    assert not state.is_paused(str(tmp_path))
    for content in ("", "{}", "[]", '{"until": "soon"}'):
        (tmp_path / "paused.json").write_text(content)
        assert state.is_paused(str(tmp_path))


def test_a_running_proxy_shows_its_state_and_takes_it_away(inline: tuple[Wire, Bridge], runtime_dir: Path) -> None:
    wire, bridge = inline
    path = runtime_dir / "proxies" / f"{wire.process.pid}.json"
    expected = {"surface": "inline", "evaluator_pid": bridge.pid, "is_paused": False}
    wait_until(lambda: path.exists() and expected.items() <= json.loads(path.read_text()).items())
    wire.send(notification("exit"))
    assert wire.status() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    "env",
    [
        {"CODETRIAL_RUNTIME_DIR": "/r"},
        {"CODETRIAL_DATA_DIR": "/d"},
        {"XDG_DATA_HOME": "/x"},
        {"XDG_DATA_HOME": ""},
        {},
    ],
)
def test_the_runtime_folder_is_the_one_that_the_command_line_uses(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CODETRIAL_RUNTIME_DIR", "CODETRIAL_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert state.runtime_dir() == os.fspath(paths.runtime_dir())
