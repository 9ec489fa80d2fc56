"""OpenAI's Responses API, also on Azure. It has no stop sequences; `store: false` keeps nothing at the provider."""

from collections.abc import Mapping
from typing import Any, ClassVar

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.openai_chat import ChatWire, openai_headers, openai_path
from codetrial.arms.wire import Call, Delta, WireError, number, text_of
from codetrial.records import Api

__all__ = ["OpenAIResponses"]


class OpenAIResponses(ChatWire):
    api: ClassVar[Api] = Api.OPENAI_RESPONSES
    default_url: ClassVar[str | None] = "https://api.openai.com"
    default_key_env: ClassVar[str | None] = "OPENAI_API_KEY"
    max_stops: ClassVar[int | None] = 0
    known_options: ClassVar[tuple[str, ...]] = ("api_version", "auth", "reasoning_effort")

    def headers(self, key: str | None) -> Mapping[str, str]:
        return openai_headers(self.config, key)

    def call(self, prompt: Prompt) -> Call:
        system, user = self.ask(prompt)
        body: dict[str, Any] = {
            "model": self.model,
            "instructions": system,
            "input": user,
            "max_output_tokens": self.config.max_tokens,
            "stream": True,
            "store": False,
            **self.sampling,
        }
        if "reasoning_effort" in self.config.options:
            body["reasoning"] = {"effort": self.config.options["reasoning_effort"]}
        return Call(path=openai_path(self.config, "responses"), body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        kind = event.get("type", name)
        if kind == "response.output_text.delta":
            return Delta(text=text_of(event.get("delta")))
        if kind == "response.refusal.delta":
            return Delta(is_refusal=True)
        if kind == "error":
            raise WireError("server_error", str(event.get("message") or event.get("error") or "unknown"))
        response = event.get("response")
        if kind in ("response.completed", "response.incomplete", "response.failed") and isinstance(response, Mapping):
            return self._end(kind, response)
        if event.get("object") == "response":
            return self._whole(event)
        return Delta()

    def _end(self, kind: str, response: Mapping[str, Any]) -> Delta:
        if kind == "response.failed":
            error = response.get("error") or {}
            raise WireError("server_error", str(error.get("message") or error))
        reason = "stop"
        if kind == "response.incomplete":
            reason = str((response.get("incomplete_details") or {}).get("reason") or "incomplete")
        return Delta(usage=_usage(response), finish_reason=reason, model=response.get("model"), is_last=True)

    def _whole(self, response: Mapping[str, Any]) -> Delta:
        """An answer that was not streamed."""
        parts = [part for item in response.get("output") or [] for part in item.get("content") or []]
        return Delta(
            text="".join(text_of(part.get("text")) for part in parts if part.get("type") == "output_text"),
            usage=_usage(response),
            finish_reason=text_of(response.get("status")) or "stop",
            model=response.get("model"),
            is_refusal=any(part.get("type") == "refusal" for part in parts),
            is_last=True,
        )


def _usage(response: Mapping[str, Any]) -> Usage | None:
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return None
    return Usage(
        tokens_in=number(usage.get("input_tokens")),
        tokens_cached=number((usage.get("input_tokens_details") or {}).get("cached_tokens")),
        tokens_out=number(usage.get("output_tokens")),
        tokens_reasoning=number((usage.get("output_tokens_details") or {}).get("reasoning_tokens")),
    )
