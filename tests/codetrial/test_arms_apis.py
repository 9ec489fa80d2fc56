"""Each API against a server that streams exactly as its provider documents: request, text, usage, ends and refusals.

These servers are ours. `docs/arms.md` says which APIs were also run against the real thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from codetrial.arms import Answer, Prompt, Snippet, Usage, build
from codetrial.config import ArmConfig
from codetrial.errors import ConfigError
from codetrial.records import Api, ArmLabel, AttemptStatus
from tests.codetrial.streaming import JSON, NDJSON, SSE, Script, StreamingServer, ndjson, sse, sse_stream


async def ask(server: StreamingServer, prompt: Prompt, **settings: Any) -> Answer:
    content: dict[str, Any] = {"url": server.url, "model": "the-model", **settings}
    arm = build(ArmConfig(**content), ArmLabel.A)
    try:
        return await arm.answer(prompt, deadline_s=5)
    finally:
        await arm.aclose()


@dataclass
class Spoken:
    """One API's good answer, as the provider writes it, and what must be understood."""

    settings: dict[str, Any]
    parts: Sequence[bytes]
    path: str
    usage: Usage
    headers: dict[str, str] = field(default_factory=lambda: dict(SSE))
    text: str = "a + b"
    finish_reason: str = "stop"
    model: str = "the-model-2026"
    body: dict[str, Any] = field(default_factory=dict)
    """What the request must contain, at its top level."""


def chat_chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "the-model-2026", "choices": [choice], **more}


OPENAI_USAGE = {
    "prompt_tokens": 90,
    "completion_tokens": 5,
    "total_tokens": 95,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2},
}

SPOKEN = {
    "openai-chat": Spoken(
        settings={"api": Api.OPENAI_CHAT, "stops": ("1", "2", "3", "4", "5")},
        parts=sse_stream(
            chat_chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
            chat_chunk({"content": "<snippet>\n    return a"}),
            chat_chunk({"content": " + b\n</snippet>"}),
            chat_chunk({}, "stop"),
            {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": OPENAI_USAGE},
            "[DONE]",
        ),
        path="/v1/chat/completions",
        usage=Usage(tokens_in=90, tokens_cached=64, tokens_out=5, tokens_reasoning=2),
        body={"stop": ["1", "2", "3", "4"], "stream": True, "stream_options": {"include_usage": True}},
    ),
    "openai-responses": Spoken(
        settings={"api": Api.OPENAI_RESPONSES, "options": {"reasoning_effort": "minimal"}, "temperature": "default"},
        parts=[
            sse({"type": "response.created", "response": {"status": "in_progress"}}, "response.created"),
            sse({"type": "response.output_item.added", "item": {"type": "reasoning"}}),
            sse(
                {"type": "response.output_text.delta", "delta": "a +", "output_index": 1}, "response.output_text.delta"
            ),
            sse({"type": "response.output_text.delta", "delta": " b", "output_index": 1}),
            sse({"type": "response.output_text.done", "text": "a + b"}),
            sse(
                {
                    "type": "response.completed",
                    "response": {
                        "status": "completed",
                        "model": "the-model-2026",
                        "usage": {
                            "input_tokens": 90,
                            "input_tokens_details": {"cached_tokens": 0},
                            "output_tokens": 9,
                            "output_tokens_details": {"reasoning_tokens": 4},
                        },
                    },
                }
            ),
        ],
        path="/v1/responses",
        usage=Usage(tokens_in=90, tokens_cached=0, tokens_out=9, tokens_reasoning=4),
        body={"store": False, "reasoning": {"effort": "minimal"}, "max_output_tokens": 64},
    ),
    "anthropic": Spoken(
        settings={"api": Api.ANTHROPIC_MESSAGES, "stops": ("\n\n", "END")},
        parts=[
            sse(
                {
                    "type": "message_start",
                    "message": {
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "model": "the-model-2026",
                        "content": [],
                        "stop_reason": None,
                        "usage": {
                            "input_tokens": 20,
                            "cache_creation_input_tokens": 10,
                            "cache_read_input_tokens": 70,
                            "output_tokens": 1,
                        },
                    },
                },
                "message_start",
            ),
            sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            sse({"type": "ping"}, "ping"),
            sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a +"}}),
            sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " b"}}),
            sse({"type": "content_block_stop", "index": 0}),
            sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
            sse({"type": "message_stop"}, "message_stop"),
        ],
        path="/v1/messages",
        usage=Usage(tokens_in=100, tokens_cached=70, tokens_out=7),
        finish_reason="end_turn",
        body={"stop_sequences": ["END"], "max_tokens": 64, "stream": True},
    ),
    "gemini": Spoken(
        settings={"api": Api.GEMINI, "options": {"thinking_budget": 0}},
        parts=sse_stream(
            {
                "candidates": [{"content": {"role": "model", "parts": [{"text": "hm", "thought": True}]}, "index": 0}],
                "usageMetadata": {"promptTokenCount": 80},
            },
            {"candidates": [{"content": {"role": "model", "parts": [{"text": "a + "}, {"text": "b"}]}, "index": 0}]},
            {
                "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {
                    "promptTokenCount": 80,
                    "cachedContentTokenCount": 16,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 3,
                    "totalTokenCount": 88,
                },
                "modelVersion": "the-model-2026",
            },
        ),
        path="/v1beta/models/the-model:streamGenerateContent?alt=sse",
        usage=Usage(tokens_in=80, tokens_cached=16, tokens_out=8, tokens_reasoning=3),
        finish_reason="STOP",
        body={
            "generationConfig": {
                "maxOutputTokens": 64,
                "temperature": 0.0,
                "thinkingConfig": {"thinkingBudget": 0},
            }
        },
    ),
    "mistral-fim": Spoken(
        settings={"api": Api.MISTRAL_FIM},
        parts=sse_stream(
            chat_chunk({"role": "assistant", "content": "a + "}),
            chat_chunk({"content": "b"}, "stop", usage={"prompt_tokens": 30, "completion_tokens": 3}),
            "[DONE]",
        ),
        path="/v1/fim/completions",
        usage=Usage(tokens_in=30, tokens_out=3),
        body={"prompt": "def add(a, b):\n    return ", "suffix": "\n\nprint(add(1, 2))\n"},
    ),
    "deepseek-fim": Spoken(
        settings={"api": Api.DEEPSEEK_FIM, "stops": tuple(f"s{i}" for i in range(20))},
        parts=sse_stream(
            {
                "model": "the-model-2026",
                "choices": [{"index": 0, "text": "a + b", "finish_reason": None}],
                "usage": None,
            },
            {"model": "the-model-2026", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": None},
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 40,
                    "prompt_cache_hit_tokens": 32,
                    "prompt_cache_miss_tokens": 8,
                    "completion_tokens": 4,
                },
            },
            "[DONE]",
        ),
        path="/beta/completions",
        usage=Usage(tokens_in=40, tokens_cached=32, tokens_out=4),
        body={"suffix": "\n\nprint(add(1, 2))\n", "stop": [f"s{i}" for i in range(16)]},
    ),
    "ollama": Spoken(
        settings={"api": Api.OLLAMA_GENERATE, "template": "codegemma", "options": {"num_ctx": 2048}},
        parts=[
            ndjson(
                {"model": "the-model-2026", "created_at": "2026-01-01T00:00:00Z", "response": "a + ", "done": False}
            ),
            # A raw U+2028 inside a string is legal JSON and must not end the line.
            ndjson({"model": "the-model-2026", "response": "b\u2028", "done": False}),
            ndjson(
                {
                    "model": "the-model-2026",
                    "response": "",
                    "done": True,
                    "done_reason": "stop",
                    "total_duration": 500,
                    "load_duration": 100,
                    "prompt_eval_count": 25,
                    "prompt_eval_duration": 200,
                    "eval_count": 4,
                    "eval_duration": 200,
                }
            ),
        ],
        headers=dict(NDJSON),
        path="/api/generate",
        text="a + b\u2028",
        usage=Usage(tokens_in=25, tokens_out=4),
        body={"raw": True, "stream": True},
    ),
    "llamacpp-infill": Spoken(
        settings={"api": Api.LLAMACPP_INFILL},
        parts=sse_stream(
            {"content": "a + ", "stop": False, "tokens_predicted": 1},
            {"content": "b", "stop": False},
            {
                "content": "",
                "stop": True,
                "model": "the-model-2026",
                "stop_type": "eos",
                "tokens_evaluated": 33,
                "tokens_predicted": 4,
                "timings": {"cache_n": 20, "prompt_n": 13, "prompt_ms": 50.0, "predicted_ms": 70.0},
            },
        ),
        path="/infill",
        usage=Usage(tokens_in=33, tokens_cached=20, tokens_out=4),
        finish_reason="eos",
        body={"input_prefix": "def add(a, b):\n    return ", "cache_prompt": True},
    ),
}


@pytest.mark.parametrize("name", SPOKEN)
async def test_api_is_asked_and_understood_as_documented(server: StreamingServer, prompt: Prompt, name: str) -> None:
    spoken = SPOKEN[name]
    server.script = Script(spoken.parts, headers=spoken.headers)
    answer = await ask(server, prompt, **spoken.settings)
    assert (answer.status, answer.error) == (AttemptStatus.OK, None)
    assert answer.text == spoken.text
    assert (answer.usage, answer.finish_reason, answer.model_returned) == (
        spoken.usage,
        spoken.finish_reason,
        spoken.model,
    )
    [request] = server.requests
    assert request.path == spoken.path
    assert request.body | spoken.body == request.body


@pytest.mark.parametrize("name", SPOKEN)
async def test_api_has_a_typed_status_for_a_stream_cut_in_the_middle(
    server: StreamingServer, prompt: Prompt, name: str
) -> None:
    spoken = SPOKEN[name]
    server.script = Script([*spoken.parts[:2], spoken.parts[2][:-9]], headers=spoken.headers, ending="abort")
    answer = await ask(server, prompt, **spoken.settings)
    # Their second chunk says how it ended: the text is whole, only what follows it is missing.
    expected = AttemptStatus.OK if name in ("mistral-fim", "deepseek-fim") else AttemptStatus.ERROR
    assert answer.status is expected, answer


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_api_has_a_typed_status_for_an_error_answer(
    server: StreamingServer, prompt: Prompt, name: str, status: int
) -> None:
    server.script = Script([b'{"error": {"message": "no"}, "type": "error"}'], status, {**JSON, "retry-after": "3"})
    answer = await ask(server, prompt, **SPOKEN[name].settings)
    assert (answer.status, answer.error_kind, answer.retry_after_s) == (AttemptStatus.ERROR, f"http_{status}", 3.0)


REFUSALS: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "openai-chat": (
        {"api": Api.OPENAI_CHAT},
        sse_stream(chat_chunk({"refusal": "I cannot"}), chat_chunk({}, "stop"), "[DONE]"),
    ),
    "openai-chat filter": ({"api": Api.OPENAI_CHAT}, sse_stream(chat_chunk({}, "content_filter"), "[DONE]")),
    "responses": (
        {"api": Api.OPENAI_RESPONSES},
        sse_stream(
            {"type": "response.refusal.delta", "delta": "no"},
            {"type": "response.completed", "response": {"status": "completed"}},
        ),
    ),
    "anthropic": (
        {"api": Api.ANTHROPIC_MESSAGES},
        sse_stream({"type": "message_delta", "delta": {"stop_reason": "refusal"}}, {"type": "message_stop"}),
    ),
    "gemini prompt": ({"api": Api.GEMINI}, sse_stream({"promptFeedback": {"blockReason": "SAFETY"}})),
    "gemini answer": ({"api": Api.GEMINI}, sse_stream({"candidates": [{"finishReason": "RECITATION"}]})),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_refused_and_neither_empty_nor_error(
    server: StreamingServer, prompt: Prompt, name: str
) -> None:
    settings, parts = REFUSALS[name]
    server.script = Script(parts)
    assert (await ask(server, prompt, **settings)).status is AttemptStatus.REFUSED


FAILURES: dict[str, tuple[dict[str, Any], Script, str]] = {
    "anthropic overloaded": (
        {"api": Api.ANTHROPIC_MESSAGES},
        Script([sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")]),
        "overloaded_error",
    ),
    "responses failed": (
        {"api": Api.OPENAI_RESPONSES},
        Script(sse_stream({"type": "response.failed", "response": {"error": {"code": "x", "message": "failed"}}})),
        "server_error",
    ),
    "responses error": (
        {"api": Api.OPENAI_RESPONSES},
        Script(sse_stream({"type": "error", "code": "x", "message": "failed"})),
        "server_error",
    ),
    "ollama error line": (
        {"api": Api.OLLAMA_GENERATE, "template": "starcoder2"},
        Script([ndjson({"response": "a"}), ndjson({"error": "model runner crashed"})], headers=dict(NDJSON)),
        "server_error",
    ),
    "gemini error": ({"api": Api.GEMINI}, Script(sse_stream({"error": {"code": 500, "message": "x"}})), "server_error"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_inside_a_stream_that_began_well_is_an_error(
    server: StreamingServer, prompt: Prompt, name: str
) -> None:
    settings, script, kind = FAILURES[name]
    server.script = script
    answer = await ask(server, prompt, **settings)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, kind)


async def test_a_model_without_infill_tokens_is_told_what_to_do_instead(
    server: StreamingServer, prompt: Prompt
) -> None:
    body = (
        b'{"error": {"code": 501, "message": "Infill is not supported by this model", "type": "not_supported_error"}}'
    )
    server.script = Script([body], 501, JSON)
    answer = await ask(server, prompt, api=Api.LLAMACPP_INFILL)
    assert answer.error_kind == "http_501"
    assert "use openai-completions with a template" in (answer.error or "")


@pytest.mark.parametrize(
    ("base", "options", "path", "header"),
    [
        ("", {}, "/v1/chat/completions", "authorization"),
        ("/v1", {}, "/v1/chat/completions", "authorization"),
        ("/openai/v1", {"auth": "api-key"}, "/openai/v1/chat/completions", "api-key"),
        (
            "/openai/deployments/d",
            {"auth": "api-key", "api_version": "2024-10-21"},
            "/openai/deployments/d/chat/completions?api-version=2024-10-21",
            "api-key",
        ),
    ],
)
async def test_openai_and_azure_base_urls(
    server: StreamingServer,
    prompt: Prompt,
    monkeypatch: pytest.MonkeyPatch,
    base: str,
    options: dict[str, Any],
    path: str,
    header: str,
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-123456")
    server.script = Script(SPOKEN["openai-chat"].parts)
    await ask(server, prompt, api=Api.OPENAI_CHAT, url=server.url + base, options=options, key_env="SOME_KEY")
    assert server.requests[0].path == path
    assert "k-123456" in server.requests[0].headers[header]


@pytest.mark.parametrize(("api", "header"), [(Api.ANTHROPIC_MESSAGES, "x-api-key"), (Api.GEMINI, "x-goog-api-key")])
async def test_key_travels_in_a_header_and_never_in_the_url(
    server: StreamingServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch, api: Api, header: str
) -> None:
    monkeypatch.setenv("SOME_KEY", "k-123456")
    server.script = Script(sse_stream({"candidates": [{"finishReason": "STOP"}]}, {"type": "message_stop"}))
    await ask(server, prompt, api=api, key_env="SOME_KEY")
    assert server.requests[0].headers[header] == "k-123456"
    assert "k-123456" not in server.requests[0].path


async def test_chat_form_of_a_family_puts_its_string_into_the_users_turn(
    server: StreamingServer, prompt: Prompt
) -> None:
    server.script = Script(sse_stream(chat_chunk({"content": "a + b"}, "stop"), "[DONE]"))
    answer = await ask(server, prompt, api=Api.OPENAI_CHAT, template="qwen3-coder-chat")
    system, user = server.requests[0].body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].startswith("<|fim_prefix|>def add")
    assert answer.text == "a + b"


def test_raw_template_through_a_chat_is_refused() -> None:
    with pytest.raises(ConfigError, match="raw prompts"):
        build(ArmConfig(api=Api.OPENAI_CHAT, model="m", template="qwen2.5-coder"), ArmLabel.A)


async def test_snippets_reach_apis_that_have_a_place_for_them(server: StreamingServer) -> None:
    prompt = Prompt(
        prefix="x", suffix="", path="a.py", language="python", snippets=(Snippet(path="b.py", text="CONTEXT"),)
    )
    server.script = Script(SPOKEN["llamacpp-infill"].parts)
    await ask(server, prompt, api=Api.LLAMACPP_INFILL)
    assert server.requests[0].body["input_extra"] == [{"filename": "b.py", "text": "CONTEXT"}]
    server.script = Script(SPOKEN["openai-chat"].parts)
    await ask(server, prompt, api=Api.OPENAI_CHAT)
    assert "CONTEXT" in server.requests[1].body["messages"][1]["content"]


@pytest.mark.parametrize(
    ("api", "stops", "sent"),
    [
        (Api.OPENAI_CHAT, ("a", "b", "c", "d", "e"), ("a", "b", "c", "d")),
        (Api.GEMINI, ("a", "b", "c", "d", "e", "f"), ("a", "b", "c", "d", "e")),
        (Api.ANTHROPIC_MESSAGES, ("\n\n", " ", "x"), ("x",)),
        (Api.OPENAI_RESPONSES, ("a",), ()),
    ],
)
def test_a_providers_limit_on_stops_is_applied_in_the_open(
    api: Api, stops: tuple[str, ...], sent: tuple[str, ...]
) -> None:
    arm = build(ArmConfig(api=api, model="m", stops=stops), ArmLabel.A)
    other = build(ArmConfig(api=api, model="m", stops=("z",)), ArmLabel.A)
    assert arm.definition.stops == sent
    if sent:
        assert arm.definition.fingerprint != other.definition.fingerprint
