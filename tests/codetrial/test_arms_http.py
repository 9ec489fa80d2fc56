"""What carries every API: timings, failures, bounds and cancellation, against a real local server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from codetrial.arms import Answer, Prompt, build, define
from codetrial.arms.http import MAX_BYTES, HttpArm
from codetrial.config import ArmConfig
from codetrial.errors import ArmError, ConfigError
from codetrial.records import Api, ArmLabel, AttemptStatus
from tests.codetrial.streaming import JSON, SSE, Script, StreamingServer, sse, sse_stream


@asynccontextmanager
async def arm_at(url: str, **settings: Any) -> AsyncIterator[HttpArm]:
    content: dict[str, Any] = {
        "api": Api.OPENAI_COMPLETIONS,
        "url": url,
        "model": "m",
        "template": "prefix-only",
        "stops": ("\n\n",),
        **settings,
    }
    arm = build(ArmConfig(**content), ArmLabel.A)
    assert isinstance(arm, HttpArm)
    try:
        yield arm
    finally:
        await arm.aclose()


async def ask(url: str, prompt: Prompt, *, deadline_s: float = 5.0, **settings: Any) -> Answer:
    async with arm_at(url, **settings) as arm:
        return await arm.answer(prompt, deadline_s=deadline_s)


def text_event(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"model": "m-7b", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}


def times(answer: Answer) -> list[int]:
    found = [answer.sent_ns, answer.first_byte_ns, answer.first_line_ns, answer.end_ns]
    return [moment for moment in found if moment is not None]


USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8}},
}


async def test_a_streamed_answer_has_text_timings_usage_and_the_model_that_answered(
    server: StreamingServer, prompt: Prompt
) -> None:
    server.script = Script([*sse_stream(text_event("a + b\n"), text_event("x", "stop"), USAGE, "[DONE]")])
    answer = await ask(server.url, prompt)
    assert (answer.status, answer.text, answer.finish_reason) == (AttemptStatus.OK, "a + b\nx", "stop")
    assert (answer.usage.tokens_in, answer.usage.tokens_cached, answer.usage.tokens_out) == (12, 8, 3)
    assert (answer.model_returned, answer.http_status) == ("m-7b", 200)
    sent, first_byte, first_line, end = times(answer)
    assert sent < first_byte <= first_line <= end


async def test_first_byte_is_of_the_text_and_first_line_of_its_first_line_break(
    server: StreamingServer, prompt: Prompt
) -> None:
    role = {"choices": [{"text": "", "finish_reason": None}]}
    server.script = Script(
        [sse(role), 0.08, sse(text_event("a")), 0.08, sse(text_event("b\n")), 0.08, sse(text_event("c", "stop"))]
    )
    answer = await ask(server.url, prompt)
    sent, first_byte, first_line, end = times(answer)
    assert min(first_byte - sent, first_line - first_byte, end - first_line) > 70e6


async def test_request_carries_template_stops_and_sampling(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(sse_stream(text_event("x", "stop")))
    await ask(server.url, prompt, template="qwen2.5-coder", max_tokens=9, temperature=0.25)
    [request] = server.requests
    assert request.path == "/v1/completions"
    assert request.body["prompt"] == f"<|fim_prefix|>{prompt.prefix}<|fim_suffix|>{prompt.suffix}<|fim_middle|>"
    assert (request.body["max_tokens"], request.body["temperature"]) == (9, 0.25)
    assert request.body["stop"][0] == "\n\n"
    assert "<|file_sep|>" in request.body["stop"]
    assert "suffix" not in request.body


@pytest.mark.parametrize(
    ("script", "status", "kind"),
    [
        (Script(sse_stream(text_event("", "stop"))), AttemptStatus.EMPTY, None),
        (Script(sse_stream(text_event("x", "something_new"))), AttemptStatus.OK, None),
        (Script(sse_stream(text_event("x", "content_filter"))), AttemptStatus.REFUSED, None),
        (Script([b'{"error": {"message": "bad key"}}'], 401, JSON), AttemptStatus.ERROR, "http_401"),
        (Script([b"not found"], 404, {}), AttemptStatus.ERROR, "http_404"),
        (Script([b'{"error": "slow down"}'], 429, JSON), AttemptStatus.ERROR, "http_429"),
        (Script([b"<html>oops</html>"], 503, {}), AttemptStatus.ERROR, "http_503"),
        (Script([], 302, {"location": "http://127.0.0.1:1/"}), AttemptStatus.ERROR, "http_302"),
        (Script([sse(text_event("a")), sse({"error": {"message": "crash"}})]), AttemptStatus.ERROR, "server_error"),
        (Script([sse(text_event("a"))], ending="abort"), AttemptStatus.ERROR, "cut_stream"),
        (Script([sse(text_event("a"))]), AttemptStatus.ERROR, "cut_stream"),
        (Script(sse_stream(text_event("a"), "[DONE]")), AttemptStatus.ERROR, "interrupted"),
        (Script([sse("{not json")]), AttemptStatus.ERROR, "bad_stream"),
        (Script([sse("[1]")]), AttemptStatus.ERROR, "bad_stream"),
        (Script([sse({"choices": [7]})]), AttemptStatus.ERROR, "bad_stream"),
        (Script([b"<html>"], 200, {"content-type": "text/html"}), AttemptStatus.ERROR, "bad_stream"),
        (Script([sse(text_event("a")), b"data: \xff\xfe\n\n"]), AttemptStatus.ERROR, "invalid_utf8"),
        (Script([b"\x1f\x8b"], 200, {**SSE, "content-encoding": "gzip"}), AttemptStatus.ERROR, "bad_stream"),
        (Script([], 200, {"content-type": "application/json"}), AttemptStatus.ERROR, "cut_stream"),
    ],
)
async def test_whatever_a_server_does_has_a_typed_status(
    server: StreamingServer, prompt: Prompt, script: Script, status: AttemptStatus, kind: str | None
) -> None:
    server.script = script
    answer = await ask(server.url, prompt)
    assert (answer.status, answer.error_kind) == (status, kind)
    assert answer.end_ns is not None
    if kind is not None:
        assert answer.error


async def test_text_before_a_failure_is_kept(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script([sse(text_event("half ")), sse(text_event("an answer"))], ending="abort")
    answer = await ask(server.url, prompt)
    assert (answer.status, answer.text) == (AttemptStatus.ERROR, "half an answer")


async def test_a_server_that_does_not_stream_is_still_read(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script([b'{"model": "m", "choices": [{"text": "a + b", "finish_reason": "stop"}]}'], 200, JSON)
    answer = await ask(server.url, prompt)
    assert (answer.status, answer.text) == (AttemptStatus.OK, "a + b")


async def test_a_silent_server_is_a_timeout_at_its_deadline(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script([sse(text_event("so far"))], ending="hang")
    started = asyncio.get_running_loop().time()
    answer = await ask(server.url, prompt, deadline_s=0.3)
    assert asyncio.get_running_loop().time() - started < 1.0
    assert (answer.status, answer.text, answer.error_kind) == (AttemptStatus.TIMEOUT, "so far", "deadline")


async def test_a_stream_without_end_is_cut_off(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script([sse(text_event("again and "))], ending="forever")
    answer = await ask(server.url, prompt, deadline_s=20.0)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "too_large")
    await asyncio.wait_for(server.client_left.wait(), 5)


async def test_a_hundred_megabytes_are_not_taken(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(b"data: " + b"x" * 1_000_000 for _ in range(100))
    answer = await ask(server.url, prompt, deadline_s=20.0)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "too_large")
    assert len(answer.text) <= MAX_BYTES


async def test_cancelling_closes_the_stream_at_the_server(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script([sse(text_event("a"))], ending="hang")
    async with arm_at(server.url) as arm:
        asked = asyncio.create_task(arm.answer(prompt, deadline_s=30))
        await asyncio.wait_for(server.client_served.wait(), 5)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.wait_for(server.client_left.wait(), 5)


async def test_connections_are_used_again(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(sse_stream(text_event("x", "stop"), "[DONE]"))
    async with arm_at(server.url) as arm:
        for _ in range(5):
            assert (await arm.answer(prompt, deadline_s=5)).status is AttemptStatus.OK
    assert (len(server.requests), server.connections) == (5, 1)


async def test_nobody_listening_is_said_with_the_address(prompt: Prompt) -> None:
    answer = await ask("http://127.0.0.1:9", prompt)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "connect")
    assert "http://127.0.0.1:9" in (answer.error or "")


async def test_a_failing_handshake_is_a_tls_error(prompt: Prompt) -> None:
    async def answer_in_clear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_clear, "127.0.0.1", 0) as clear:
        answer = await ask(f"https://127.0.0.1:{clear.sockets[0].getsockname()[1]}", prompt)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "tls")


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)])
async def test_retry_after_is_read_in_both_its_forms(
    server: StreamingServer, prompt: Prompt, value: str, seconds: float | None
) -> None:
    server.script = Script([b"{}"], 429, {"retry-after": value})
    assert (await ask(server.url, prompt)).retry_after_s == seconds


async def test_a_missing_key_is_named_and_nothing_is_sent(
    server: StreamingServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    async with arm_at(server.url, key_env="MY_KEY") as arm:
        with pytest.raises(ArmError, match="MY_KEY is not set"):
            await arm.prepare(None)
        answer = await arm.answer(prompt, deadline_s=5)
    assert (answer.status, answer.error_kind, server.requests) == (AttemptStatus.ERROR, "not_ready", [])


async def test_a_key_goes_to_the_server_and_nowhere_else(
    server: StreamingServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cr3t-value-of-key")
    server.script = Script([b'{"error": {"message": "invalid key s3cr3t-value-of-key"}}'], 401, JSON)
    caplog.set_level(logging.DEBUG)
    async with arm_at(server.url, key_env="MY_KEY") as arm:
        answer = await arm.answer(prompt, deadline_s=5)
        said = repr(answer) + repr(arm.definition) + arm.definition.canonical()
    assert server.requests[0].headers["authorization"] == "Bearer s3cr3t-value-of-key"
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("codetrial"))
    assert "s3cr3t" not in said + ours
    assert "Check the key in MY_KEY" in (answer.error or "")
    assert len([r for r in caplog.records if r.name.startswith("codetrial")]) == 1


async def test_half_a_character_of_the_editor_is_sent_without_failing(server: StreamingServer) -> None:
    server.script = Script(sse_stream(text_event("x", "stop")))
    half = Prompt(prefix="a = '\ud83d", suffix="", path="a.py", language="python")
    assert (await ask(server.url, half)).status is AttemptStatus.OK


async def test_shorter_windows_of_an_arm_begin_with_a_whole_line(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(sse_stream(text_event("x", "stop")))
    await ask(server.url, prompt, prefix_chars=14, suffix_chars=0, template="prefix-only")
    assert server.requests[0].body["prompt"] == "    return "


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"template": None}, "needs `template`"),
        ({"template": "qwen-2.5-coder"}, "Did you mean 'qwen2.5-coder'?"),
        ({"model": None}, "needs `model`"),
        ({"url": "ftp://x"}, "must begin with http"),
        ({"url": "https://me:secret@host/"}, "must not contain a password"),
        ({"url": "local:smolm"}, "Did you mean 'smollm2'?"),
        ({"options": {"retrys": 1}}, "Did you mean 'retries'?"),
    ],
)
def test_an_arm_that_cannot_work_is_refused_with_the_mend(settings: dict[str, Any], said: str) -> None:
    content: dict[str, Any] = {"api": Api.OPENAI_COMPLETIONS, "url": "http://h", "model": "m", "template": "codellama"}
    with pytest.raises(ConfigError) as raised:
        build(ArmConfig(**(content | settings)), ArmLabel.B)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_a_connection_that_the_server_has_closed_costs_no_attempt(prompt: Prompt) -> None:
    """Some servers close a kept connection just as it is used again."""
    served = 0
    handlers: list[asyncio.Task[None]] = []

    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        task = asyncio.current_task()
        assert task is not None
        handlers.append(task)
        data = b"".join(sse_stream(text_event("x", "stop"), "[DONE]"))
        for answers in (True, False):
            if not await reader.readline():
                break
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            await reader.readexactly(length)
            if answers:
                served += 1
                head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        writer.close()

    closing = await asyncio.start_server(one_each, "127.0.0.1", 0)
    async with closing, arm_at(f"http://127.0.0.1:{closing.sockets[0].getsockname()[1]}") as arm:
        answers = [await arm.answer(prompt, deadline_s=5) for _ in range(4)]
    await asyncio.wait_for(asyncio.gather(*handlers), 5)
    assert [answer.status for answer in answers] == [AttemptStatus.OK] * 4
    assert [answer.retries for answer in answers] == [0, 1, 1, 1]
    assert served == 4


@pytest.mark.parametrize(
    ("prefix", "said", "sent", "kept"),
    [
        ("    return json.loa", "loads(text)", "    return json.", "ds(text)"),
        ("    return json.loa", "dumps(text)", "    return json.", ""),
        ("    return json.", "loads(text)", "    return json.", "loads(text)"),
        ("x = 12", "34", "x = 12", "34"),
    ],
)
async def test_a_cursor_inside_a_word_is_healed_where_the_arm_says_so(
    server: StreamingServer, prefix: str, said: str, sent: str, kept: str
) -> None:
    server.script = Script(sse_stream(text_event(said, "stop")))
    inside = Prompt(prefix=prefix, suffix="", path="a.py", language="python")
    answer = await ask(server.url, inside, options={"heal": True})
    assert (server.requests[0].body["prompt"], answer.text) == (sent, kept)
    assert answer.status is (AttemptStatus.OK if kept else AttemptStatus.EMPTY)
    plain = await ask(server.url, inside)
    assert (server.requests[1].body["prompt"], plain.text) == (prefix, said)


def test_healing_is_a_part_of_the_arm() -> None:
    content: dict[str, Any] = {"api": Api.OPENAI_COMPLETIONS, "url": "http://h", "model": "m", "template": "codellama"}
    plain = define(ArmConfig(**content), ArmLabel.A)
    healing = define(ArmConfig(**content, options={"heal": True}), ArmLabel.A)
    assert healing.post_processing == ("heal@1",)
    assert healing.fingerprint != plain.fingerprint
