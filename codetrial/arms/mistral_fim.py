"""Mistral's `/v1/fim/completions`, on api.mistral.ai or codestral.mistral.ai (each host has keys of its own)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from codetrial.arms.base import Prompt
from codetrial.arms.openai_completions import openai_error, openai_usage
from codetrial.arms.wire import Call, Delta, Wire, text_of
from codetrial.records import Api

__all__ = ["MistralFim"]


class MistralFim(Wire):
    api: ClassVar[Api] = Api.MISTRAL_FIM
    default_url: ClassVar[str | None] = "https://api.mistral.ai"
    default_key_env: ClassVar[str | None] = "MISTRAL_API_KEY"

    def call(self, prompt: Prompt) -> Call:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt.prefix,
            "suffix": prompt.suffix,
            "max_tokens": self.config.max_tokens,
            "stream": True,
            **self.sampling,
        }
        if self.stops:
            body["stop"] = list(self.stops)
        return Call(path="/v1/fim/completions", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        openai_error(event)
        choices = event.get("choices") or [{}]
        choice = choices[0]
        piece = choice.get("delta") or choice.get("message") or {}
        return Delta(
            text=text_of(piece.get("content")),
            usage=openai_usage(event),
            finish_reason=choice.get("finish_reason"),
            model=event.get("model"),
        )
