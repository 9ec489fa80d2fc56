"""Gemini's `streamGenerateContent`, as server-sent events."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.openai_chat import ChatWire
from codetrial.arms.openai_completions import openai_error
from codetrial.arms.wire import Call, Delta, number, text_of
from codetrial.records import Api

__all__ = ["Gemini"]


class Gemini(ChatWire):
    api: ClassVar[Api] = Api.GEMINI
    default_url: ClassVar[str | None] = "https://generativelanguage.googleapis.com"
    default_key_env: ClassVar[str | None] = "GEMINI_API_KEY"
    max_stops: ClassVar[int | None] = 5
    known_options: ClassVar[tuple[str, ...]] = ("thinking_budget",)

    def headers(self, key: str | None) -> Mapping[str, str]:
        # Never in the URL, where the provider's examples put it: URLs end up in logs.
        return {"x-goog-api-key": key} if key else {}

    def call(self, prompt: Prompt) -> Call:
        system, user = self.ask(prompt)
        generation: dict[str, Any] = {"maxOutputTokens": self.config.max_tokens, **self.sampling}
        if self.stops:
            generation["stopSequences"] = list(self.stops)
        if "thinking_budget" in self.config.options:
            generation["thinkingConfig"] = {"thinkingBudget": self.config.options["thinking_budget"]}
        body = {
            "systemInstruction": {"parts": [{"text": system}]},
            "contents": [{"role": "user", "parts": [{"text": user}]}],
            "generationConfig": generation,
        }
        return Call(path=f"/v1beta/models/{quote(self.model)}:streamGenerateContent?alt=sse", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        openai_error(event)
        candidates = event.get("candidates") or [{}]
        candidate = candidates[0]
        parts = (candidate.get("content") or {}).get("parts") or []
        blocked = (event.get("promptFeedback") or {}).get("blockReason")
        return Delta(
            text="".join(text_of(part.get("text")) for part in parts if not part.get("thought")),
            usage=_usage(event.get("usageMetadata")),
            finish_reason=candidate.get("finishReason") or blocked,
            model=event.get("modelVersion"),
            is_refusal=bool(blocked),
        )


def _usage(usage: Any) -> Usage | None:
    """Thinking is counted apart from the candidates; our output is both, since both are paid."""
    if not isinstance(usage, Mapping):
        return None
    candidates = number(usage.get("candidatesTokenCount"))
    thoughts = number(usage.get("thoughtsTokenCount"))
    return Usage(
        tokens_in=number(usage.get("promptTokenCount")),
        tokens_cached=number(usage.get("cachedContentTokenCount")),
        tokens_out=None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0),
        tokens_reasoning=thoughts,
    )
