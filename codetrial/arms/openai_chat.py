"""OpenAI-compatible chat completions: OpenAI, Azure, and every server that copies the form.

Without a template the model is asked by the snippet method; with a chat template (`qwen3-coder-chat`) its own
fill-in-the-middle string goes into the user's turn.
"""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from codetrial.arms import chat_infill
from codetrial.arms.base import Prompt
from codetrial.arms.openai_completions import openai_error, openai_usage
from codetrial.arms.templates import Template
from codetrial.arms.wire import Call, Delta, Wire, text_of
from codetrial.config import ArmConfig
from codetrial.errors import ConfigError
from codetrial.records import Api

__all__ = ["ChatWire", "OpenAIChat", "openai_headers", "openai_path"]


class ChatWire(Wire):
    """What all chat APIs share: the messages, and taking the completion out of the answer."""

    def __init__(self, config: ArmConfig, place: str, templates: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(config, place, templates)
        if self.template is not None and self.template.system is None:
            raise ConfigError(
                f"[{place}] template {self.template.name!r} is for raw prompts; through a chat its tokens are ordinary "
                "text. Leave template out, or use openai-completions."
            )

    def ask(self, prompt: Prompt) -> chat_infill.Messages:
        if isinstance(self.template, Template):
            return chat_infill.Messages(self.template.system or "", self.template.render(prompt))
        return chat_infill.messages(prompt)

    @property
    def post_processing(self) -> tuple[str, ...]:
        return () if self.template else (chat_infill.METHOD,)

    def finish(self, text: str, prompt: Prompt) -> str:
        return text if self.template else chat_infill.extract(text, prompt)


def openai_headers(config: ArmConfig, key: str | None) -> Mapping[str, str]:
    """Azure wants its key in a header of its own."""
    if key is None:
        return {}
    is_azure = (urlsplit(config.url or "").hostname or "").endswith((".azure.com", ".azure-api.net"))
    style = config.options.get("auth", "api-key" if is_azure else "bearer")
    return {"api-key": key} if style == "api-key" else {"authorization": f"Bearer {key}"}


def openai_path(config: ArmConfig, end: str) -> str:
    """`/v1/...`, unless the base URL has it already (`.../openai/v1`) or names an Azure deployment."""
    path = urlsplit(config.url or "").path.rstrip("/")
    version = config.options.get("api_version")
    query = f"?api-version={version}" if version else ""
    has_root = path.endswith("/v1") or "/deployments/" in path
    return f"{'' if has_root else '/v1'}/{end}{query}"


class OpenAIChat(ChatWire):
    api: ClassVar[Api] = Api.OPENAI_CHAT
    default_url: ClassVar[str | None] = "https://api.openai.com"
    default_key_env: ClassVar[str | None] = "OPENAI_API_KEY"
    max_stops: ClassVar[int | None] = 4
    known_options: ClassVar[tuple[str, ...]] = ("api_version", "auth", "max_tokens_field")

    def headers(self, key: str | None) -> Mapping[str, str]:
        return openai_headers(self.config, key)

    def call(self, prompt: Prompt) -> Call:
        system, user = self.ask(prompt)
        is_openai = self.config.url is None or (urlsplit(self.config.url).hostname or "").endswith(
            ("openai.com", ".azure.com")
        )
        # OpenAI's reasoning models refuse the old name; many copies do not know the new one.
        field = self.config.options.get("max_tokens_field", "max_completion_tokens" if is_openai else "max_tokens")
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            field: self.config.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.sampling,
        }
        if self.stops:
            body["stop"] = list(self.stops)
        return Call(path=openai_path(self.config, "chat/completions"), body=body)

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        openai_error(event)
        choices = event.get("choices") or [{}]
        choice = choices[0]
        piece = choice.get("delta") or choice.get("message") or {}
        timings = event.get("timings")
        return Delta(
            text=text_of(piece.get("content")),
            usage=openai_usage(event),
            finish_reason=choice.get("finish_reason"),
            model=event.get("model"),
            timings=timings if isinstance(timings, Mapping) else None,
            is_refusal=bool(piece.get("refusal")),
        )
