"""The arms as chat models: one request, one JSON answer, four APIs.

Reviews do not stream. Nobody watches them arrive, and half a JSON object is of no use. Addresses, keys and options mean
what they mean for completions, so that one `[arms.a]` serves both doors.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from codetrial.arms.anthropic_messages import VERSION, AnthropicMessages
from codetrial.arms.base import Answer, Usage
from codetrial.arms.gemini import Gemini
from codetrial.arms.openai_chat import ChatWire, OpenAIChat, openai_headers, openai_path
from codetrial.arms.openai_responses import OpenAIResponses
from codetrial.clock import now_ns
from codetrial.config import ArmConfig
from codetrial.errors import ConfigError
from codetrial.records import Api, AttemptStatus
from pr_bot.hygiene import redact
from pr_bot.review import ReviewPrompt, answer_schema

__all__ = ["CHAT_APIS", "ChatReviewer"]

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Call:
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Reply:
    text: str
    usage: Usage
    finish_reason: str | None
    model: str | None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class _ChatApi:
    wire: type[ChatWire]
    call: Callable[[ArmConfig, ReviewPrompt, str], _Call]
    read: Callable[[Mapping[str, Any]], _Reply]


def _openai_chat(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    host = urlsplit(arm.url or "").hostname
    is_openai = host is None or host.endswith(("openai.com", ".azure.com"))
    body = {
        "model": arm.model,
        "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        # OpenAI's reasoning models refuse the old name; many copies do not know the new one.
        arm.options.get("max_tokens_field", "max_completion_tokens" if is_openai else "max_tokens"): arm.max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "findings", "strict": True, "schema": answer_schema()},
        },
        **_temperature(arm),
        **_extra(arm),
    }
    return _Call(openai_path(arm, "chat/completions"), openai_headers(arm, key or None), body)


def _read_openai_chat(reply: Mapping[str, Any]) -> _Reply:
    [choice, *_] = reply["choices"]
    usage = reply.get("usage") or {}
    return _Reply(
        text=choice["message"].get("content") or "",
        usage=Usage(
            tokens_in=usage.get("prompt_tokens"),
            tokens_cached=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            tokens_out=usage.get("completion_tokens"),
            tokens_reasoning=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
        ),
        finish_reason=choice.get("finish_reason"),
        model=reply.get("model"),
        is_refusal=bool(choice["message"].get("refusal")),
    )


def _openai_responses(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    body = {
        "model": arm.model,
        "instructions": prompt.system,
        "input": prompt.user,
        "max_output_tokens": arm.max_tokens,
        "store": False,
        "text": {"format": {"type": "json_schema", "name": "findings", "strict": True, "schema": answer_schema()}},
        **({"reasoning": {"effort": effort}} if (effort := arm.options.get("reasoning_effort")) else {}),
        **_temperature(arm),
        **_extra(arm),
    }
    return _Call(openai_path(arm, "responses"), openai_headers(arm, key or None), body)


def _read_openai_responses(reply: Mapping[str, Any]) -> _Reply:
    parts = [part for item in reply["output"] if item.get("type") == "message" for part in item["content"]]
    usage = reply.get("usage") or {}
    return _Reply(
        text="".join(part.get("text", "") for part in parts if part.get("type") == "output_text"),
        usage=Usage(
            tokens_in=usage.get("input_tokens"),
            tokens_cached=(usage.get("input_tokens_details") or {}).get("cached_tokens"),
            tokens_out=usage.get("output_tokens"),
            tokens_reasoning=(usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
        ),
        finish_reason=(reply.get("incomplete_details") or {}).get("reason") or reply.get("status"),
        model=reply.get("model"),
        is_refusal=any(part.get("type") == "refusal" for part in parts),
    )


def _anthropic(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    body = {
        "model": arm.model,
        "system": prompt.system,
        "messages": [{"role": "user", "content": prompt.user}],
        "max_tokens": arm.max_tokens,
        # The tool is never run: it is this API's way to ask for JSON of a given shape.
        "tools": [{"name": "findings", "description": "Report the findings.", "input_schema": answer_schema()}],
        "tool_choice": {"type": "tool", "name": "findings"},
        **_temperature(arm),
        **_extra(arm),
    }
    return _Call("/v1/messages", {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}, body)


def _read_anthropic(reply: Mapping[str, Any]) -> _Reply:
    usage = reply.get("usage") or {}
    called = [part["input"] for part in reply["content"] if part.get("type") == "tool_use"]
    said = "".join(part.get("text", "") for part in reply["content"] if part.get("type") == "text")
    fresh, read, written = (
        usage.get(name) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    return _Reply(
        text=json.dumps(called[0]) if called else said,
        usage=Usage(
            # This provider counts cached tokens apart; everywhere else they are part of the input.
            tokens_in=None if fresh is None else fresh + (read or 0) + (written or 0),
            tokens_cached=read,
            tokens_out=usage.get("output_tokens"),
        ),
        finish_reason=reply.get("stop_reason"),
        model=reply.get("model"),
    )


def _gemini(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    body = {
        "systemInstruction": {"parts": [{"text": prompt.system}]},
        "contents": [{"role": "user", "parts": [{"text": prompt.user}]}],
        "generationConfig": {
            "maxOutputTokens": arm.max_tokens,
            "responseMimeType": "application/json",
            "responseJsonSchema": answer_schema(),
            **(
                {"thinkingConfig": {"thinkingBudget": arm.options["thinking_budget"]}}
                if "thinking_budget" in arm.options
                else {}
            ),
            **_temperature(arm),
        },
        **_extra(arm),
    }
    path = f"/v1beta/models/{quote(arm.model or '')}:generateContent"
    return _Call(path, {"x-goog-api-key": key} if key else {}, body)


def _read_gemini(reply: Mapping[str, Any]) -> _Reply:
    blocked = (reply.get("promptFeedback") or {}).get("blockReason")
    # A question that is blocked has no candidates at all.
    [candidate, *_] = [{"finishReason": blocked}] if blocked else reply["candidates"]
    parts = (candidate.get("content") or {}).get("parts") or []
    usage = reply.get("usageMetadata") or {}
    said, thought = usage.get("candidatesTokenCount"), usage.get("thoughtsTokenCount")
    return _Reply(
        text="".join(part.get("text", "") for part in parts if not part.get("thought")),
        usage=Usage(
            tokens_in=usage.get("promptTokenCount"),
            tokens_cached=usage.get("cachedContentTokenCount"),
            # Thinking is counted apart, and paid.
            tokens_out=None if said is None and thought is None else (said or 0) + (thought or 0),
            tokens_reasoning=thought,
        ),
        finish_reason=candidate.get("finishReason"),
        model=reply.get("modelVersion"),
        is_refusal=bool(blocked),
    )


def _temperature(arm: ArmConfig) -> dict[str, Any]:
    return {} if arm.temperature == "default" else {"temperature": arm.temperature}


def _extra(arm: ArmConfig) -> Mapping[str, Any]:
    extra = arm.options.get("body", {})
    return extra if isinstance(extra, Mapping) else {}


CHAT_APIS: Mapping[Api, _ChatApi] = {
    Api.OPENAI_CHAT: _ChatApi(OpenAIChat, _openai_chat, _read_openai_chat),
    Api.OPENAI_RESPONSES: _ChatApi(OpenAIResponses, _openai_responses, _read_openai_responses),
    Api.ANTHROPIC_MESSAGES: _ChatApi(AnthropicMessages, _anthropic, _read_anthropic),
    Api.GEMINI: _ChatApi(Gemini, _gemini, _read_gemini),
}

_REFUSALS = frozenset({"content_filter", "refusal", "safety", "recitation", "prohibited_content", "blocklist", "spii"})
"""How the providers say that a model or a filter would not answer; asked again it would refuse again."""


_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class _TooLargeError(Exception):
    pass


class ChatReviewer:
    """An arm that reviews over HTTP.

    Raises:
        ConfigError: its key is not in the environment.
    """

    def __init__(self, arm: ArmConfig) -> None:
        self._arm = arm
        self._api = CHAT_APIS[arm.api]
        self._key = os.environ.get(arm.key_env, "") if arm.key_env else ""
        if arm.key_env and not self._key:
            raise ConfigError(f"The arm {arm.title!r} needs its key in the environment variable {arm.key_env}.")

    async def review(self, prompt: ReviewPrompt, *, deadline_s: float) -> Answer:
        call = self._api.call(self._arm, prompt, self._key)
        url = (self._arm.url or self._api.wire.default_url or "").rstrip("/")
        sent_ns = now_ns()
        try:
            # httpx counts the time between two pieces: a server that trickles would keep a worker for ever.
            async with asyncio.timeout(deadline_s):
                code, content = await self._post(url, call, deadline_s)
        except (httpx.TimeoutException, TimeoutError):
            return self._failure(sent_ns, AttemptStatus.TIMEOUT, "timeout", f"No answer within {deadline_s:.0f} s.")
        except _TooLargeError:
            return self._failure(sent_ns, AttemptStatus.ERROR, "too_large", "Its response is larger than 4 MiB.", 200)
        except httpx.HTTPError as fault:
            return self._failure(sent_ns, AttemptStatus.ERROR, "connect", str(fault) or type(fault).__name__)
        return self._read(code, content, sent_ns)

    async def _post(self, url: str, call: _Call, deadline_s: float) -> tuple[int, bytes]:
        timeout = httpx.Timeout(deadline_s, connect=min(CONNECT_TIMEOUT_S, deadline_s))
        parts: list[bytes] = []
        size = 0
        is_plain = url.startswith("http://")
        async with (
            httpx.AsyncClient(
                timeout=timeout,
                follow_redirects=False,
                # A proxy of the environment must not carry what goes to this machine, or see it.
                trust_env=urlsplit(url).hostname not in _THIS_MACHINE,
                # Reading the authorities' certificates takes as long as a short prompt; without TLS none is checked.
                verify=False if is_plain else httpx.create_ssl_context(),
            ) as client,
            client.stream(
                "POST", url + call.path, headers={**call.headers, **self._arm.options.get("headers", {})},
                json=call.body,
            ) as response,
        ):  # fmt: skip
            async for part in response.aiter_bytes():
                size += len(part)
                if size > MAX_RESPONSE_BYTES:
                    raise _TooLargeError
                parts.append(part)
            return response.status_code, b"".join(parts)

    def _read(self, code: int, content: bytes, sent_ns: int) -> Answer:
        if code != 200:
            text = content.decode("utf-8", "replace")[:300]
            return self._failure(sent_ns, AttemptStatus.ERROR, f"http_{code}", f"HTTP {code}: {text}", code)
        try:
            reply = self._api.read(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            text = f"Its response has not the API's shape ({type(fault).__name__})."
            return self._failure(sent_ns, AttemptStatus.ERROR, "bad_response", text, code)
        is_refusal = reply.is_refusal or (reply.finish_reason or "").lower() in _REFUSALS
        return Answer(
            status=AttemptStatus.REFUSED if is_refusal else AttemptStatus.OK,
            text="" if is_refusal else reply.text,
            sent_ns=sent_ns,
            end_ns=now_ns(),
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            model_returned=reply.model,
            http_status=code,
            error_kind="refusal" if is_refusal else None,
            error="The model would not review this." if is_refusal else None,
        )

    def _failure(
        self, sent_ns: int, status: AttemptStatus, kind: str, error: str, http_status: int | None = None
    ) -> Answer:
        text = redact(error.replace(self._key, "[key]") if self._key else error)
        return Answer(
            status=status, text="", sent_ns=sent_ns, end_ns=now_ns(), error_kind=kind, error=text,
            http_status=http_status,
        )  # fmt: skip
