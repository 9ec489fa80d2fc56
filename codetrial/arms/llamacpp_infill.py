"""llama.cpp's `/infill`: the server builds the prompt from the fill-in-the-middle tokens that its model names.

A model without such tokens answers 501, which is a refusal to guess and is passed on as an error with the mend.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.openai_completions import openai_error
from codetrial.arms.wire import Call, Delta, Wire, number, text_of
from codetrial.records import Api

__all__ = ["LlamaCppInfill"]


class LlamaCppInfill(Wire):
    api: ClassVar[Api] = Api.LLAMACPP_INFILL
    default_url: ClassVar[str | None] = "http://127.0.0.1:8080"

    @property
    def model(self) -> str:
        # The server serves what it was started with and ignores the field.
        return self.config.model or "as loaded"

    def call(self, prompt: Prompt) -> Call:
        body: dict[str, Any] = {
            "input_prefix": prompt.prefix,
            "input_suffix": prompt.suffix,
            "n_predict": self.config.max_tokens,
            "stream": True,
            "cache_prompt": True,
            **self.sampling,
        }
        if prompt.snippets:
            body["input_extra"] = [{"filename": s.path, "text": s.text} for s in prompt.snippets]
        if self.stops:
            body["stop"] = list(self.stops)
        return Call(path="/infill", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        openai_error(event)
        is_last = event.get("stop") is True
        timings = event.get("timings")
        timings = timings if isinstance(timings, Mapping) else None
        usage = None
        if is_last:
            cached = number((timings or {}).get("cache_n"))
            evaluated = number(event.get("tokens_evaluated"))
            usage = Usage(tokens_in=evaluated, tokens_cached=cached, tokens_out=number(event.get("tokens_predicted")))
        return Delta(
            text=text_of(event.get("content")),
            usage=usage,
            finish_reason=text_of(event.get("stop_type")) or "stop" if is_last else None,
            model=event.get("model") if is_last else None,
            timings=timings,
            is_last=is_last,
        )
