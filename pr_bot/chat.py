"""The arms as chat models: one request, one JSON answer, four APIs.

Reviews do not stream. Nobody watches them arrive, and half a JSON object is of no use.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from codetrial.arms.base import Answer, Usage
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


@dataclass(frozen=True, slots=True)
class _ChatApi:
    base_url: str
    call: Callable[[ArmConfig, ReviewPrompt, str], _Call]
    read: Callable[[Mapping[str, Any]], _Reply]


def _openai_chat(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    body = {
        "model": arm.model,
        "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        # Newer models of OpenAI refuse `max_tokens`, most other servers know nothing else.
        arm.options.get("max_tokens_field", "max_tokens"): arm.max_tokens,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "findings", "strict": True, "schema": answer_schema()},
        },
        **_temperature(arm),
        **_extra(arm),
    }
    return _Call("/chat/completions", {"Authorization": f"Bearer {key}"} if key else {}, body)


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
    )


def _openai_responses(arm: ArmConfig, prompt: ReviewPrompt, key: str) -> _Call:
    body = {
        "model": arm.model,
        "instructions": prompt.system,
        "input": prompt.user,
        "max_output_tokens": arm.max_tokens,
        "store": False,
        "text": {"format": {"type": "json_schema", "name": "findings", "strict": True, "schema": answer_schema()}},
        **_temperature(arm),
        **_extra(arm),
    }
    return _Call("/responses", {"Authorization": f"Bearer {key}"}, body)


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
    return _Call("/messages", {"x-api-key": key, "anthropic-version": "2023-06-01"}, body)


def _read_anthropic(reply: Mapping[str, Any]) -> _Reply:
    usage = reply.get("usage") or {}
    called = [part["input"] for part in reply["content"] if part.get("type") == "tool_use"]
    said = "".join(part.get("text", "") for part in reply["content"] if part.get("type") == "text")
    fresh, read, written = (
        usage.get(name) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    return _Reply(
        text=httpx.Response(200, json=called[0]).text if called else said,
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
            **_temperature(arm),
        },
        **_extra(arm),
    }
    return _Call(f"/models/{arm.model}:generateContent", {"x-goog-api-key": key}, body)


def _read_gemini(reply: Mapping[str, Any]) -> _Reply:
    [candidate, *_] = reply["candidates"]
    parts = (candidate.get("content") or {}).get("parts") or []
    usage = reply.get("usageMetadata") or {}
    return _Reply(
        text="".join(part.get("text", "") for part in parts if not part.get("thought")),
        usage=Usage(
            tokens_in=usage.get("promptTokenCount"),
            tokens_cached=usage.get("cachedContentTokenCount"),
            tokens_out=usage.get("candidatesTokenCount"),
            tokens_reasoning=usage.get("thoughtsTokenCount"),
        ),
        finish_reason=candidate.get("finishReason"),
        model=reply.get("modelVersion"),
    )


def _temperature(arm: ArmConfig) -> dict[str, Any]:
    return {} if arm.temperature == "default" else {"temperature": arm.temperature}


def _extra(arm: ArmConfig) -> Mapping[str, Any]:
    extra = arm.options.get("body", {})
    return extra if isinstance(extra, Mapping) else {}


CHAT_APIS: Mapping[Api, _ChatApi] = {
    Api.OPENAI_CHAT: _ChatApi("https://api.openai.com/v1", _openai_chat, _read_openai_chat),
    Api.OPENAI_RESPONSES: _ChatApi("https://api.openai.com/v1", _openai_responses, _read_openai_responses),
    Api.ANTHROPIC_MESSAGES: _ChatApi("https://api.anthropic.com/v1", _anthropic, _read_anthropic),
    Api.GEMINI: _ChatApi("https://generativelanguage.googleapis.com/v1beta", _gemini, _read_gemini),
}


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
        url = (self._arm.url or self._api.base_url).rstrip("/") + call.path
        sent_ns = now_ns()
        timeout = httpx.Timeout(deadline_s, connect=min(CONNECT_TIMEOUT_S, deadline_s))
        try:
            # Reading the authorities' certificates takes as long as a short prompt; without TLS there is none to check.
            async with httpx.AsyncClient(
                timeout=timeout, follow_redirects=False, verify=not url.startswith("http://")
            ) as client:
                response = await client.post(url, headers=call.headers, json=call.body)
        except httpx.TimeoutException:
            return self._failure(sent_ns, AttemptStatus.TIMEOUT, "timeout", f"No answer within {deadline_s:.0f} s.")
        except httpx.HTTPError as fault:
            return self._failure(sent_ns, AttemptStatus.ERROR, "connect", str(fault) or type(fault).__name__)
        return self._read(response, sent_ns)

    def _read(self, response: httpx.Response, sent_ns: int) -> Answer:
        code = response.status_code
        if code != 200:
            text = response.text[:300]
            return self._failure(sent_ns, AttemptStatus.ERROR, f"http_{code}", f"HTTP {code}: {text}", code)
        if len(response.content) > MAX_RESPONSE_BYTES:
            return self._failure(sent_ns, AttemptStatus.ERROR, "too_large", "Its response is larger than 4 MiB.", code)
        try:
            reply = self._api.read(response.json())
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            text = f"Its response has not the API's shape ({type(fault).__name__})."
            return self._failure(sent_ns, AttemptStatus.ERROR, "bad_response", text, code)
        return Answer(
            status=AttemptStatus.OK,
            text=reply.text,
            sent_ns=sent_ns,
            end_ns=now_ns(),
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            model_returned=reply.model,
            http_status=code,
        )

    def _failure(
        self, sent_ns: int, status: AttemptStatus, kind: str, error: str, http_status: int | None = None
    ) -> Answer:
        text = redact(error.replace(self._key, "[key]") if self._key else error)
        return Answer(
            status=status, text="", sent_ns=sent_ns, end_ns=now_ns(), error_kind=kind, error=text,
            http_status=http_status,
        )  # fmt: skip
