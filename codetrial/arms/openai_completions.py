"""OpenAI-compatible `/v1/completions` (llama.cpp, vLLM, SGLang, TGI, LM Studio, Ollama's /v1): the template is ours.

The endpoint's own `suffix` is never used: llama.cpp ignores it silently and vLLM refuses it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.wire import Call, Delta, Wire, WireError, number, text_of
from codetrial.records import Api

__all__ = ["OpenAICompletions", "openai_error", "openai_usage"]


def openai_usage(event: Mapping[str, Any]) -> Usage | None:
    """The `usage` object of OpenAI's form, as many servers copy it."""
    usage = event.get("usage")
    if not isinstance(usage, Mapping):
        return None
    details_in = usage.get("prompt_tokens_details")
    details_out = usage.get("completion_tokens_details")
    cached = details_in.get("cached_tokens") if isinstance(details_in, Mapping) else None
    if cached is None:
        cached = usage.get("prompt_cache_hit_tokens")  # DeepSeek's name for it.
    return Usage(
        tokens_in=number(usage.get("prompt_tokens")),
        tokens_cached=number(cached),
        tokens_out=number(usage.get("completion_tokens")),
        tokens_reasoning=number(details_out.get("reasoning_tokens")) if isinstance(details_out, Mapping) else None,
    )


def openai_error(event: Mapping[str, Any]) -> None:
    """Raise what the server reports inside a stream that began with 200."""
    error = event.get("error")
    if error:
        message = error.get("message") if isinstance(error, Mapping) else error
        raise WireError("server_error", str(message))


class OpenAICompletions(Wire):
    api: ClassVar[Api] = Api.OPENAI_COMPLETIONS
    default_url: ClassVar[str | None] = "http://127.0.0.1:8080"
    needs_template: ClassVar[bool] = True

    def call(self, prompt: Prompt) -> Call:
        assert self.template is not None  # `needs_template`
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": self.template.render(prompt),
            "max_tokens": self.config.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.sampling,
        }
        if self.stops:
            body["stop"] = list(self.stops)
        return Call(path="/v1/completions", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        openai_error(event)
        choices = event.get("choices") or [{}]
        choice = choices[0]
        timings = event.get("timings")
        return Delta(
            text=text_of(choice.get("text")),
            usage=openai_usage(event),
            finish_reason=choice.get("finish_reason"),
            model=event.get("model"),
            timings=timings if isinstance(timings, Mapping) else None,
        )
