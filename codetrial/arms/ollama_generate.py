"""Ollama's own `/api/generate`, always `raw`: the template is ours.

Its `suffix` field works only where the model's packaged template happens to use it, and refuses base models where a raw
prompt works. The answer is lines of JSON; durations are nanoseconds.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.wire import Call, Delta, Wire, WireError, number, text_of
from codetrial.records import Api

__all__ = ["OllamaGenerate"]

_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


class OllamaGenerate(Wire):
    api: ClassVar[Api] = Api.OLLAMA_GENERATE
    default_url: ClassVar[str | None] = "http://127.0.0.1:11434"
    framing: ClassVar[Literal["sse", "ndjson"]] = "ndjson"
    needs_template: ClassVar[bool] = True
    known_options: ClassVar[tuple[str, ...]] = ("keep_alive", "num_ctx")

    def call(self, prompt: Prompt) -> Call:
        assert self.template is not None  # `needs_template`
        options: dict[str, Any] = {"num_predict": self.config.max_tokens, **self.sampling}
        if self.stops:
            options["stop"] = list(self.stops)
        if "num_ctx" in self.config.options:
            options["num_ctx"] = self.config.options["num_ctx"]
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": self.template.render(prompt),
            "raw": True,
            "stream": True,
            # Between completions a person thinks; loading the model again would look like a slow model.
            "keep_alive": self.config.options.get("keep_alive", "30m"),
            "options": options,
        }
        return Call(path="/api/generate", body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        if event.get("error"):
            raise WireError("server_error", str(event["error"]))
        is_last = event.get("done") is True
        usage = None
        if is_last:
            usage = Usage(tokens_in=number(event.get("prompt_eval_count")), tokens_out=number(event.get("eval_count")))
        return Delta(
            text=text_of(event.get("response")),
            usage=usage,
            finish_reason=text_of(event.get("done_reason")) or "stop" if is_last else None,
            model=event.get("model") if is_last else None,
            timings={key: event[key] for key in _DURATIONS if key in event} if is_last else None,
            is_last=is_last,
        )
