"""Anthropic's `/v1/messages`. No prefill: newer models refuse it, as they do stops of white space alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.openai_chat import ChatWire
from codetrial.arms.wire import Call, Delta, WireError, number, text_of
from codetrial.records import Api

__all__ = ["AnthropicMessages"]

VERSION = "2023-06-01"


class AnthropicMessages(ChatWire):
    api: ClassVar[Api] = Api.ANTHROPIC_MESSAGES
    default_url: ClassVar[str | None] = "https://api.anthropic.com"
    default_key_env: ClassVar[str | None] = "ANTHROPIC_API_KEY"

    def accepts_stop(self, stop: str) -> bool:
        return bool(stop.strip())

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    def call(self, prompt: Prompt) -> Call:
        system, user = self.ask(prompt)
        body: dict[str, Any] = {
            "model": self.model,
            "system": system,
            "messages": [{"role": "user", "content": user}],
            "max_tokens": self.config.max_tokens,
            "stream": True,
            **self.sampling,
        }
        if self.stops:
            body["stop_sequences"] = list(self.stops)
        return Call(path="/v1/messages", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        kind = event.get("type", name)
        if kind == "error":
            error = event.get("error") or {}
            raise WireError(text_of(error.get("type")) or "server_error", str(error.get("message") or error))
        if kind == "message_start":
            message = event.get("message") or {}
            return Delta(usage=_usage(message.get("usage")), model=message.get("model"))
        if kind == "content_block_delta":
            delta = event.get("delta") or {}
            return Delta(text=text_of(delta.get("text")) if delta.get("type") == "text_delta" else "")
        if kind == "message_delta":
            reason = (event.get("delta") or {}).get("stop_reason")
            return Delta(usage=_usage(event.get("usage")), finish_reason=reason, is_refusal=reason == "refusal")
        if kind == "message_stop":
            return Delta(is_last=True)
        if kind == "message":
            blocks = event.get("content") or []
            reason = event.get("stop_reason")
            return Delta(
                text="".join(text_of(b.get("text")) for b in blocks if b.get("type") == "text"),
                usage=_usage(event.get("usage")),
                finish_reason=reason,
                model=event.get("model"),
                is_refusal=reason == "refusal",
                is_last=True,
            )
        return Delta()  # `ping`, block starts and stops, and kinds that come later.


def _usage(usage: Any) -> Usage | None:
    """Anthropic counts cached and newly cached input apart; our input is all of it."""
    if not isinstance(usage, Mapping):
        return None
    fresh = number(usage.get("input_tokens"))
    read = number(usage.get("cache_read_input_tokens"))
    written = number(usage.get("cache_creation_input_tokens"))
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return Usage(tokens_in=total, tokens_cached=read, tokens_out=number(usage.get("output_tokens")))
