"""What one API looks like on the wire, apart from how it is carried.

A wire is pure: it turns a prompt into a request's body and an event of the stream into a delta. Connections, deadlines,
bounds and clocks are `codetrial.arms.http`'s, the same for every API, so that no arm is measured differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from codetrial.arms.base import Prompt, Usage
from codetrial.arms.templates import Template, find
from codetrial.config import ArmConfig, nearest
from codetrial.errors import ConfigError
from codetrial.records import Api

__all__ = ["Call", "Delta", "Wire", "WireError", "number", "text_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, without what the carrier adds."""

    path: str
    """Appended to the base URL."""
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one event of a stream says. None means that it says nothing about it."""

    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    timings: Mapping[str, Any] | None = None
    is_refusal: bool = False
    is_last: bool = False


class WireError(Exception):
    """The server reported a failure inside its stream."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Wire:
    """Base of all APIs over HTTP: how a configuration becomes a definition, and the defaults most of them share."""

    api: ClassVar[Api]
    default_url: ClassVar[str | None] = None
    framing: ClassVar[Literal["sse", "ndjson"]] = "sse"
    needs_template: ClassVar[bool] = False
    max_stops: ClassVar[int | None] = None
    """The provider refuses or cuts a longer list; what is sent is part of the fingerprint."""
    known_options: ClassVar[tuple[str, ...]] = ()
    default_key_env: ClassVar[str | None] = None

    def __init__(self, config: ArmConfig, place: str, templates: Mapping[str, Mapping[str, Any]]) -> None:
        self.config = config
        self.place = place
        """Where the arm stands in the configuration, for messages: `arms.a`."""
        for key in config.options:
            if key not in (*self.known_options, *CARRIER_OPTIONS):
                raise ConfigError(
                    f"[{place}.options] has no key {key!r} for api = {self.api.value!r}."
                    f"{nearest(key, [*self.known_options, *CARRIER_OPTIONS])}"
                )
        self.template = self._find_template(templates)
        self.stops = self._stops()

    def _find_template(self, templates: Mapping[str, Mapping[str, Any]]) -> Template | None:
        if self.config.template is None:
            if self.needs_template:
                raise ConfigError(
                    f"[{self.place}] needs `template`: {self.api.value} takes a bare prompt, and a guessed template "
                    "makes a good model answer garbage. `codetrial arms list --templates` lists them."
                )
            return None
        return find(self.config.template, templates)

    def _stops(self) -> tuple[str, ...]:
        """Configured stops first: where the provider limits the list, the template's own go over board."""
        wanted = [*self.config.stops, *(self.template.stops if self.template else ())]
        unique = tuple(dict.fromkeys(stop for stop in wanted if self.accepts_stop(stop)))
        return unique if self.max_stops is None else unique[: self.max_stops]

    def accepts_stop(self, stop: str) -> bool:
        return bool(stop)

    @property
    def model(self) -> str:
        if self.config.model is None:
            raise ConfigError(f"[{self.place}] needs `model`.")
        return self.config.model

    @property
    def sampling(self) -> Mapping[str, Any]:
        return {} if self.config.temperature == "default" else {"temperature": self.config.temperature}

    @property
    def heals(self) -> bool:
        """Whether a cursor inside a word is moved to the word's beginning; see `codetrial.arms.healing`."""
        return bool(self.config.options.get("heal", False))

    @property
    def post_processing(self) -> tuple[str, ...]:
        return ()

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def call(self, prompt: Prompt) -> Call:
        raise TypeError(f"{type(self).__name__} says nothing about its request")

    def read(self, event: Mapping[str, Any], name: str) -> Delta:
        """One event of the stream, or the whole answer of a server that did not stream.

        Raises:
            WireError: the server reports a failure.
        """
        raise TypeError(f"{type(self).__name__} says nothing about its answer")

    def finish(self, text: str, prompt: Prompt) -> str:
        """The arm's own repairs, each named in `post_processing`; the canonical cut comes later, for all arms alike."""
        return text


CARRIER_OPTIONS = ("accelerator", "body", "headers", "heal", "http2", "path", "retries")
"""Options that every API over HTTP has: what is added to each request, retries, which machine does the work."""


def number(value: Any) -> int | None:
    """A count as a server reports it; None for what is no whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_of(value: Any) -> str:
    """A piece of text as a server reports it; null and absent are no text."""
    return value if isinstance(value, str) else ""
