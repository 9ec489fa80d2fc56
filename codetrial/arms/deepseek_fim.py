"""DeepSeek's `/beta/completions`: the one hosted OpenAI-style endpoint that really honours `suffix`."""

from typing import Any, ClassVar

from codetrial.arms.base import Prompt
from codetrial.arms.openai_completions import OpenAICompletions
from codetrial.arms.wire import Call
from codetrial.records import Api

__all__ = ["DeepSeekFim"]


class DeepSeekFim(OpenAICompletions):
    api: ClassVar[Api] = Api.DEEPSEEK_FIM
    default_url: ClassVar[str | None] = "https://api.deepseek.com"
    default_key_env: ClassVar[str | None] = "DEEPSEEK_API_KEY"
    needs_template: ClassVar[bool] = False
    max_stops: ClassVar[int | None] = 16
    """A longer list is answered with 400."""

    def call(self, prompt: Prompt) -> Call:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt.prefix,
            "suffix": prompt.suffix,
            "max_tokens": self.config.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.sampling,
        }
        if self.stops:
            body["stop"] = list(self.stops)
        return Call(path="/beta/completions", body=body)
