"""What an arm is asked, what it answers, and the one interface between them."""

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from codetrial.canonical import canonical_json
from codetrial.records import Api, ArmLabel, AttemptStatus

__all__ = [
    "Answer",
    "Arm",
    "ArmDefinition",
    "Preparable",
    "Prompt",
    "Snippet",
    "Usage",
    "keep_partial",
    "partial_answers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of another file given as context, the same one to both arms."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A completion task as both arms get it: the same windows, the same context, the same budget."""

    prefix: str
    """Text before the cursor, a window that ends at the cursor."""
    suffix: str
    path: str
    """Relative to the repository's root, with `/`; what a cross-file template names."""
    language: str
    """LSP language id, such as `python`."""
    repository: str | None = None
    """Name for templates that have a place for it."""
    root: str | None = None
    """Folder of the repository on this machine; only local arms (n-gram) may read it, it never enters a prompt."""
    snippets: tuple[Snippet, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider itself reports them; None where it does not."""

    tokens_in: int | None = None
    """All input tokens, the cached ones included."""
    tokens_cached: int | None = None
    tokens_out: int | None = None
    tokens_reasoning: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One arm's whole answer to one prompt. Failures are answers too: an arm never raises for one."""

    status: AttemptStatus
    text: str
    """Raw, before the canonical cut; what had arrived if it was cut off."""
    sent_ns: int | None
    first_byte_ns: int | None = None
    """First byte of generated text, not of the headers."""
    first_line_ns: int | None = None
    """First complete line of generated text."""
    end_ns: int | None = None
    """Last byte, or when it was given up."""
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    model_returned: str | None = None
    http_status: int | None = None
    error_kind: str | None = None
    """Short and stable, such as `connect`, `http_429`, `bad_stream`, `invalid_utf8`."""
    error: str | None = None
    """A sentence for a person, redacted."""
    is_cache_hit: bool = False
    retries: int = 0
    in_flight: int = 0
    server_timings: Mapping[str, Any] | None = None
    retry_after_s: float | None = None
    """How long the server asked to be left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDefinition:
    """An arm as it is really used: everything that could change its answers. Holds no secret."""

    label: ArmLabel
    name: str
    api: Api
    url: str | None
    model: str | None
    template: str | None
    """Name of the fill-in-the-middle template, with its version, or None where the server applies one."""
    stops: tuple[str, ...]
    """As really sent, after the provider's limits."""
    max_tokens: int
    sampling: Mapping[str, Any]
    post_processing: tuple[str, ...]
    """The arm's own repairs before the canonical cut, named and versioned."""
    key_env: str | None
    """Name of the environment variable that holds the key; never its value."""
    is_self_hosted: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    def canonical(self) -> str:
        """Canonical JSON, as it is stored."""
        return canonical_json(asdict(self))

    @property
    def fingerprint(self) -> str:
        """Hash of all that could change an answer; the label and the key's name are not part of that."""
        content = asdict(self)
        del content["label"], content["key_env"], content["name"]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


partial_answers: ContextVar[list[Answer] | None] = ContextVar("partial_answers", default=None)
"""Where an attempt that is being cancelled leaves what it has: its task ends without a result."""


def keep_partial(answer: Answer) -> None:
    """Leave what had arrived for whoever cancelled the attempt, if they want it."""
    kept = partial_answers.get()
    if kept is not None:
        kept.append(answer)


class Arm(Protocol):
    """A model that can be asked. One object serves all requests of a process."""

    @property
    def definition(self) -> ArmDefinition: ...

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        """Ask once. Returns within `deadline_s`, whatever the server does.

        Cancelling the task closes the stream, so that the server stops generating, leaves what had arrived with
        `keep_partial`, and re-raises. Everything else, errors and refusals included, comes back as an Answer with its
        status.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and helper processes."""
        ...


@runtime_checkable
class Preparable(Protocol):
    """An arm that has something to do before its first question: an index, a server, a key to look for."""

    async def prepare(self, root: str | None) -> None:
        """Get ready.

        Raises:
            CodetrialError: it cannot be asked at all as things stand; says what is missing and the mend.
        """
        ...
