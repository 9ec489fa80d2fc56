"""Fill-in-the-middle templates: the exact bytes that each family of models was trained on.

Most differences "model A against B" in the wild are wrong sentinels, so a template is named explicitly, versioned, and
never guessed from a model's name. `docs/arms.md` says where each form comes from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codetrial.arms.base import Prompt
from codetrial.config import nearest
from codetrial.errors import ConfigError

__all__ = ["TEMPLATES", "Template", "find"]

_PLACE = re.compile(r"\{(prefix|suffix|path|repository|snippets|text)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How a prompt becomes one string.

    `prompt` holds `{prefix}` and `{suffix}`, and may hold `{path}`, `{repository}` and `{snippets}`. With snippets
    `prompt_with_snippets` is used where the family has a cross-file form; each snippet is rendered by `snippet`.
    """

    name: str
    version: int = 1
    prompt: str
    stops: tuple[str, ...] = ()
    """Beyond the end-of-sequence token: what shows that the model has left the hole."""
    prompt_with_snippets: str | None = None
    snippet: str = ""
    system: str | None = None
    """For a template that goes into the user's turn of a chat; None for raw prompts."""
    sentinels: tuple[str, ...] = ()
    """Special tokens; where the user's own code contains one it is broken up, or it would end the prompt."""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    def render(self, prompt: Prompt) -> str:
        """The prompt as one string. Placeholders are replaced in one pass: code may contain `{prefix}` itself."""
        with_snippets = self.prompt_with_snippets is not None and bool(prompt.snippets)
        outline = self.prompt_with_snippets if with_snippets and self.prompt_with_snippets else self.prompt
        snippets = "".join(
            _fill(self.snippet, {"path": snippet.path, "text": self._safe(snippet.text)})
            for snippet in prompt.snippets
            if with_snippets
        )
        return _fill(
            outline,
            {
                "prefix": self._safe(prompt.prefix),
                "suffix": self._safe(prompt.suffix),
                "path": prompt.path,
                "repository": prompt.repository or "repository",
                "snippets": snippets,
            },
        )

    def _safe(self, code: str) -> str:
        for sentinel in self.sentinels:
            if sentinel in code:
                code = code.replace(sentinel, f"{sentinel[:1]} {sentinel[1:]}")
        return code


def _fill(outline: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), outline)


_QWEN = (
    "<|endoftext|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|im_start|>",
    "<|im_end|>",
)
# Full-width bars (U+FF5C) and lower-one-eighth blocks (U+2581): with ASCII characters they are ordinary text.
_DEEPSEEK = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<｜end▁of▁sentence｜>", "<|EOT|>")
_STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>")
_CODEGEMMA = (
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|file_separator|>",
    "<end_of_turn>",
    "<eos>",
)
_GRANITE = ("<|end_of_text|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
_CODELLAMA = ("<PRE>", "<SUF>", "<MID>", "<EOT>")
_CODESTRAL = ("[PREFIX]", "[SUFFIX]", "[MIDDLE]")
_BARS = "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"
_PLAIN = "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"

_ALL = (
    Template(name="prefix-only", prompt="{prefix}"),
    Template(
        name="deepseek-coder",
        prompt="<｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>",
        stops=_DEEPSEEK,
        sentinels=_DEEPSEEK,
    ),
    Template(
        name="qwen2.5-coder",
        prompt=_BARS,
        stops=_QWEN,
        sentinels=_QWEN,
        prompt_with_snippets="<|repo_name|>{repository}\n{snippets}<|file_sep|>{path}\n" + _BARS,
        snippet="<|file_sep|>{path}\n{text}\n",
    ),
    Template(
        name="qwen3-coder",
        prompt=_BARS,
        stops=_QWEN,
        sentinels=_QWEN,
        prompt_with_snippets="<|repo_name|>{repository}\n{snippets}<|file_sep|>{path}\n" + _BARS,
        snippet="<|file_sep|>{path}\n{text}\n",
    ),
    Template(
        name="qwen3-coder-chat",
        prompt=_BARS,
        stops=_QWEN,
        sentinels=_QWEN,
        system="You are a code completion assistant.",
    ),
    Template(name="codeqwen1.5", prompt=_PLAIN, stops=_STARCODER, sentinels=_STARCODER),
    Template(name="starcoder", prompt=_PLAIN, stops=_STARCODER, sentinels=_STARCODER),
    Template(
        name="starcoder2",
        prompt=_PLAIN,
        stops=(*_STARCODER[:3], "<file_sep>", "<|endoftext|>"),
        sentinels=(*_STARCODER, "<file_sep>", "<repo_name>"),
        prompt_with_snippets="<repo_name>{repository}{snippets}<file_sep>{path}\n" + _PLAIN,
        snippet="<file_sep>{path}\n{text}",
    ),
    # The spaces belong to the format: one after <PRE>, one before <SUF>, none after it, one before <MID>.
    Template(name="codellama", prompt="<PRE> {prefix} <SUF>{suffix} <MID>", stops=_CODELLAMA, sentinels=_CODELLAMA),
    # Suffix first, unlike the others.
    Template(
        name="codestral",
        prompt="[SUFFIX]{suffix}[PREFIX]{prefix}",
        stops=("[PREFIX]", "[SUFFIX]"),
        sentinels=_CODESTRAL,
        prompt_with_snippets="[SUFFIX]{suffix}[PREFIX]{snippets}+++++ {path}\n{prefix}",
        snippet="+++++ {path}\n{text}\n\n",
    ),
    Template(
        name="codegemma",
        prompt=_BARS,
        stops=_CODEGEMMA,
        sentinels=_CODEGEMMA,
        prompt_with_snippets="{snippets}" + _BARS,
        snippet="{path}\n{text}<|file_separator|>",
    ),
    Template(name="granite", prompt=_BARS, stops=_GRANITE, sentinels=_GRANITE),
)

TEMPLATES: Mapping[str, Template] = {template.name: template for template in _ALL}


def find(name: str, own: Mapping[str, Mapping[str, Any]]) -> Template:
    """A template by its name; the user's own `[templates.<name>]` come first.

    Raises:
        ConfigError: the name is unknown (the nearest is named), or an own template is not usable.
    """
    if name in own:
        return _own(name, own[name])
    if name not in TEMPLATES:
        raise ConfigError(f"There is no template {name!r}.{nearest(name, [*own, *TEMPLATES])}")
    return TEMPLATES[name]


def _own(name: str, values: Mapping[str, Any]) -> Template:
    known = ("version", "prompt", "stops", "prompt_with_snippets", "snippet", "system", "sentinels")
    for key in values:
        if key not in known:
            raise ConfigError(f"[templates.{name}] has no key {key!r}.{nearest(key, known)}")
    content = dict(values)
    for key in ("stops", "sentinels"):
        value = content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise ConfigError(f"[templates.{name}] {key} must be a list of non-empty strings.")
        content[key] = tuple(value)
    for key in ("prompt", "prompt_with_snippets", "snippet", "system"):
        if not isinstance(content.get(key, ""), str):
            raise ConfigError(f"[templates.{name}] {key} must be a string.")
    if not isinstance(content.get("version", 1), int):
        raise ConfigError(f"[templates.{name}] version must be a whole number.")
    if "{prefix}" not in content.get("prompt", ""):
        raise ConfigError(f"[templates.{name}] prompt must contain {{prefix}}, and {{suffix}} to fill in the middle.")
    return Template(name=name, **content)
