"""The real evaluator process behind a scripted relay, with two real arms; what counts is what the database says."""

import resource
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Store
from analysis.sums import VERSION
from tests.codetrial.streaming import Script, StreamingServer
from tests.lsp_proxy.evaluator.conftest import Start, says
from tests.lsp_proxy.evaluator.relay_end import COMMAND, RelayEnd

URI = "file:///project/sums.py"
TEXT = "def add(total):\n    x = \n"


def rows(end: RelayEnd, sql: str) -> list[dict[str, Any]]:
    with Store(end.store, readonly=True) as store:
        return store.rows(sql)


async def offered(end: RelayEnd) -> tuple[int, dict[str, Any]]:
    """Open, ask behind `x = `, and say that the answer reached the editor."""
    end.open(URI, TEXT)
    request, answer = end.ask_inline(URI, 1, 8)
    [item] = (await answer)["items"]
    end.delivered(request, item["command"]["arguments"][0])
    return request, item


async def test_a_shown_suggestion_that_is_accepted_leaves_every_row(start: Start) -> None:
    async with start() as end:
        await end.begin()
        _, item = await offered(end)
        assert item["insertText"] == "total + 1"
        assert item["command"]["command"] == COMMAND
        end.insert(URI, 1, 8, item["insertText"])
        await end.accept(item["command"]["arguments"][0])
        assert await end.end() == 0
        assert [(r["outcome"], r["rule"], r["accepted_chars"]) for r in rows(end, "SELECT * FROM outcome")] == [
            ("accepted", "command", 9)
        ]
        [task] = rows(end, "SELECT * FROM task")
        assert (task["disposition"], task["place"], task["language"]) == ("routed", "expression", "python")
        [assignment] = rows(end, "SELECT * FROM assignment")
        assert (assignment["shown"], assignment["propensity_a"]) == ("A", 1.0)
        assert assignment["id"] == task["assignment"]
        attempts = {r["label"]: r for r in rows(end, "SELECT * FROM attempt")}
        assert (attempts["A"]["status"], attempts["A"]["is_shown"], attempts["A"]["tokens_in"]) == ("ok", 1, 7)
        assert attempts["B"]["is_shown"] == 0
        [exposure] = rows(end, "SELECT * FROM exposure")
        assert (exposure["label"], exposure["surface"]) == ("A", "inline")
        [session] = rows(end, "SELECT * FROM session")
        assert (session["origin"], session["client_name"], session["surface"]) == ("test", "scripted", "inline")
        assert [r["reason"] for r in rows(end, "SELECT * FROM session_end")] == ["exit"]


async def test_a_session_that_has_ended_is_summed_up(start: Start) -> None:
    """By the evaluator itself, when nobody waits for it any more: a report then need not read its rows."""
    async with start() as end:
        await end.begin()
        _, item = await offered(end)
        end.insert(URI, 1, 8, item["insertText"])
        await end.accept(item["command"]["arguments"][0])
        assert await end.end() == 0
        [session] = rows(end, "SELECT id FROM session")
        [summed] = rows(end, "SELECT session, version, attempts_A, attempts_B FROM session_sum")
        assert summed == {"session": session["id"], "version": VERSION, "attempts_A": 1, "attempts_B": 1}
        [episode] = rows(end, "SELECT shown, tasks, accepted, accepted_chars FROM episode_sum")
        assert episode == {"shown": 1, "tasks": 1, "accepted": 1, "accepted_chars": 9}


async def test_nothing_is_shown_in_a_control_episode_and_both_arms_are_scored(start: Start) -> None:
    # Not faster than life: on a busy machine what is typed would come after the horizon.
    async with start(a=0.0, none=1.0) as end:
        await end.begin()
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is None
        end.insert(URI, 1, 8, "total + 1")
        await wait_for_rows(end, "SELECT * FROM continuation WHERE horizon = '2s'")
        await end.end()
        scored = rows(end, "SELECT label, metric, value FROM score WHERE horizon = '2s' AND label = 'A'")
        assert {r["metric"]: r["value"] for r in scored}["first_line_exact"] == 1.0
        assert rows(end, "SELECT * FROM exposure") == []
        [first, *_] = rows(end, "SELECT * FROM continuation WHERE horizon = '2s'")
        assert (first["state"], first["chars"]) == ("found", 9)


async def test_an_answer_that_did_not_reach_the_editor_is_no_exposure(start: Start) -> None:
    async with start() as end:
        await end.begin()
        end.open(URI, TEXT)
        request, answer = end.ask_inline(URI, 1, 8)
        [item] = (await answer)["items"]
        end.delivered(request, item["command"]["arguments"][0], was_delivered=False, reason="late")
        await end.end()
        assert rows(end, "SELECT * FROM exposure") == []
        assert rows(end, "SELECT * FROM outcome") == []
        assert [r["count"] for r in rows(end, "SELECT * FROM incident WHERE kind = 'undelivered_late'")] == [1]


async def test_a_newer_request_supersedes_one_that_still_waits(start: Start) -> None:
    async with start() as end:
        await end.begin()
        end.open(URI, TEXT)
        first = end.ask_inline(URI, 1, 8)[1]
        end.insert(URI, 1, 8, "t")
        second = end.ask_inline(URI, 1, 9)[1]
        assert await first is None
        assert await second is not None
        await end.end()
        assert [r["disposition"] for r in rows(end, "SELECT * FROM task ORDER BY id")] == ["superseded", "routed"]


async def test_typing_along_a_suggestion_is_answered_from_it(start: Start, model: StreamingServer) -> None:
    async with start() as end:
        await end.begin()
        await offered(end)
        end.insert(URI, 1, 8, "to")
        _, answer = end.ask_inline(URI, 1, 10)
        [item] = (await answer)["items"]
        assert item["insertText"] == "tal + 1"
        await end.end()
        assert [r["disposition"] for r in rows(end, "SELECT * FROM task ORDER BY id")] == ["routed", "reused"]
        assert len(rows(end, "SELECT * FROM attempt")) == 2
        assert len(model.requests) == 1


FAULT_IN_PLACES = """
from lsp_proxy.evaluator import requests

real = requests.surroundings

def surroundings(prefix, *more):
    if prefix.endswith("x = to"):
        raise RuntimeError("no place today")
    return real(prefix, *more)

requests.surroundings = surroundings
"""


async def test_a_reused_suggestion_that_cannot_be_recorded_costs_its_own_record_only(start: Start) -> None:
    async with start(startup=FAULT_IN_PLACES) as end:
        await end.begin()
        await offered(end)
        for typed, at, rest in (("to", 8, "tal + 1"), ("t", 10, "al + 1")):
            end.insert(URI, 1, at, typed)
            _, answer = end.ask_inline(URI, 1, at + len(typed))
            [item] = (await answer)["items"]
            assert item["insertText"] == rest
            await end.synchronised()
        assert await end.end() == 0
        assert [r["prefix_chars"] for r in rows(end, "SELECT * FROM task WHERE disposition = 'reused'")] == [27]
        assert [r["count"] for r in rows(end, "SELECT * FROM incident WHERE kind = 'fault_answer'")] == [1]
        assert [r["reason"] for r in rows(end, "SELECT * FROM session_end")] == ["exit"]


async def test_a_withdrawn_request_is_recorded_and_its_attempts_run_on(start: Start, model: StreamingServer) -> None:
    model.script = Script(parts=[says("total")[0], 0.5, *says("total")[1:]])
    async with start() as end:
        await end.begin()
        end.open(URI, TEXT)
        request, answer = end.ask_inline(URI, 1, 8)
        await model.client_served.wait()
        end.notify("$/cancelRequest", {"id": request})
        assert (await answer)["code"] == -32800
        await wait_for_rows(end, "SELECT * FROM attempt WHERE label = 'A'")
        await end.end()
        [attempt] = rows(end, "SELECT * FROM attempt WHERE label = 'A'")
        assert attempt["status"] == "ok"
        assert attempt["latency_ms"] > 400
        assert rows(end, "SELECT * FROM exposure") == []


async def test_a_failing_arm_is_a_row_and_nothing_is_shown_instead(start: Start, model: StreamingServer) -> None:
    model.script = Script(status=500, headers={}, parts=[b"broken"])
    async with start() as end:
        await end.begin()
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is None
        await end.end()
        [attempt] = rows(end, "SELECT * FROM attempt WHERE label = 'A'")
        assert (attempt["status"], attempt["http_status"]) == ("error", 500)


async def test_kill_loses_nothing_that_was_acknowledged(start: Start) -> None:
    end = start()
    async with end:
        await end.begin()
        _, item = await offered(end)
        end.insert(URI, 1, 8, item["insertText"])
        await end.accept(item["command"]["arguments"][0])
        await wait_for_rows(end, "SELECT * FROM incident WHERE kind = 'taken' AND detail LIKE '%command%'")
        await end.kill()
    assert len(rows(end, "SELECT * FROM exposure")) == 1
    async with start() as again:
        await again.begin(generation=2)
        await again.end()
    assert [(r["outcome"], r["rule"]) for r in rows(end, "SELECT * FROM outcome")] == [("accepted", "command")]


async def test_no_arm_is_asked_while_the_disk_refuses_its_assignment_and_nothing_is_lost(start: Start) -> None:
    async with start() as end:
        await end.begin()
        await end.synchronised()
        wal = end.store.with_name(f"{end.store.name}-wal")
        _, unlimited = resource.prlimit(end.process.pid, resource.RLIMIT_FSIZE)
        # What is there already may be written again; nothing grows.
        resource.prlimit(end.process.pid, resource.RLIMIT_FSIZE, (min(wal.stat().st_size, 4096), unlimited))
        end.open(URI, TEXT)
        _, answer = end.ask_inline(URI, 1, 8)
        assert await answer is None
        resource.prlimit(end.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        _, answer = end.ask_inline(URI, 1, 8)
        assert (await answer)["items"]
        await end.end()
    [assignment] = rows(end, "SELECT * FROM assignment")
    asked = rows(end, "SELECT * FROM task WHERE disposition = 'routed'")
    assert [task["assignment"] for task in asked] == [assignment["id"]]
    assert rows(end, "SELECT * FROM task WHERE disposition = 'paused'")[0]["assignment"] == assignment["id"]
    assert rows(end, "SELECT * FROM session_end")[0]["dropped_events"] == 0


async def test_an_episode_goes_on_after_a_restart(start: Start) -> None:
    end = start()
    async with end:
        await end.begin()
        await offered(end)
        await end.synchronised()
        await end.kill()
    async with start() as again:
        await again.begin(generation=2)
        await offered(again)
        await again.end()
    assert len(rows(end, "SELECT * FROM assignment")) == 1
    assert len(rows(end, "SELECT DISTINCT assignment FROM task")) == 1


@pytest.mark.parametrize(
    ("store_text", "texts", "hashes"), [("full", True, True), ("hash", False, True), ("none", False, False)]
)
async def test_texts_are_stored_as_configured(start: Start, store_text: str, *, texts: bool, hashes: bool) -> None:
    async with start(store_text=store_text) as end:
        await end.begin()
        await offered(end)
        await end.end()
        assert bool(rows(end, "SELECT * FROM text")) is texts
        [task] = rows(end, "SELECT * FROM task")
        assert (task["prefix_hash"] is not None) is hashes
        assert "total + 1" not in end.store.read_bytes().decode("latin-1") or texts


async def test_a_paused_session_asks_nobody_and_opens_no_episode(start: Start, model: StreamingServer) -> None:
    async with start() as end:
        await end.begin()
        end.notify("codetrial/paused", {"paused": True})
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is None
        end.notify("codetrial/paused", {"paused": False})
        assert await end.ask_inline(URI, 1, 8)[1] is not None
        await end.end()
        assert [r["disposition"] for r in rows(end, "SELECT * FROM task ORDER BY id")] == ["paused", "routed"]
        assert len(rows(end, "SELECT * FROM assignment")) == len(model.requests) == 1


async def test_a_forbidden_document_is_counted_and_leaves_no_text(start: Start, model: StreamingServer) -> None:
    async with start() as end:
        await end.begin()
        uri = "file:///project/.env"
        end.open(uri, "KEY=abc\n", language="plaintext")
        assert await end.ask_inline(uri, 0, 4)[1] is None
        await end.end()
        assert [r["disposition"] for r in rows(end, "SELECT * FROM task")] == ["excluded"]
        assert rows(end, "SELECT * FROM text") == []
        assert model.requests == []


async def test_a_typo_in_the_configuration_is_told_and_answered_with_nothing(start: Start, tmp_path: Path) -> None:
    async with start(config="[trial]\nnmae = 'x'\n") as end:
        await end.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        end.notify("codetrial/session", {"session": "s-1", "surface": "inline", "acceptCommand": COMMAND})
        assert "nmae" in (await end.notified("codetrial/notice"))["message"]
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is None
        assert await end.end() == 2


async def test_messages_that_no_protocol_allows_are_survived(start: Start) -> None:
    async with start() as end:
        await end.begin()
        end.notify("textDocument/didChange", {"textDocument": {"uri": "file:///never.py"}, "contentChanges": [{}]})
        end.notify("textDocument/didChange", {"contentChanges": 3})
        end.notify("textDocument/didOpen", None)
        end.open(URI, TEXT)
        end.insert(URI, 4294967295, 2147483648, "x")
        end.notify("codetrial/delivered", {"token": 3})
        assert await end.ask_inline(URI, 99, 0)[1] is None
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is not None
        await end.end()
        kinds = {r["kind"] for r in rows(end, "SELECT * FROM incident")}
        assert {"request_in_unknown_document", "document_never_opened"} <= kinds or "request_beyond_the_end" in kinds


async def test_invalid_utf8_makes_a_document_unknown_until_its_next_full_text(start: Start) -> None:
    async with start() as end:
        await end.begin()
        end.open(URI, TEXT)
        end.insert(URI, 0, 0, "# \udcff\n")
        assert await end.ask_inline(URI, 1, 8)[1] is None
        end.open(URI, TEXT)
        assert await end.ask_inline(URI, 1, 8)[1] is not None
        end.open("file:///project/other.py", "x = '\udcff'\n")
        assert await end.ask_inline("file:///project/other.py", 0, 4)[1] is None
        await end.end()
        kinds = {r["kind"]: r["count"] for r in rows(end, "SELECT * FROM incident")}
        assert kinds["document_impossible_change"] == 1
        assert kinds["request_in_unknown_document"] == 2


async def wait_for_rows(end: RelayEnd, sql: str) -> None:
    """Until the evaluator's clock has made the row durable; the test's own time limit ends a wait for nothing."""
    while not rows(end, sql):
        await end.synchronised()
