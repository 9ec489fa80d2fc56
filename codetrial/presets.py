"""Arms that people compare, ready to paste: what `codetrial init` offers and writes.

Hosted model ids are checked against the price list by a test, so that an outdated one is noticed when that list is
renewed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from codetrial.config import nearest
from codetrial.errors import ConfigError
from codetrial.records import Api

__all__ = ["CURSOR", "PRESETS", "Preset", "choose", "render"]

CURSOR = "cursor"
VLLM = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One arm, and what a person should know before using it."""

    name: str
    title: str
    api: Api
    note: str
    url: str | None = None
    model: str | None = None
    template: str | None = None
    key_env: str | None = None
    max_tokens: int = 64
    temperature: float | str = 0.0
    stops: tuple[str, ...] = ()
    prefix_chars: int | None = None
    suffix_chars: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


_SELF_HOSTED = "Serve it with vLLM, llama.cpp, LM Studio or the like, and set url and model to what the server says."

_ALL = (
    Preset(
        name="ngram",
        title="Repository n-gram (built in)",
        api=Api.NGRAM,
        note="Instant, needs nothing, and is silent when it does not know. A baseline.",
    ),
    Preset(
        name="smollm2",
        title="SmolLM2-135M (local)",
        api=Api.OPENAI_COMPLETIONS,
        url="local:smollm2",
        model="smollm2-135m-instruct",
        template="prefix-only",
        max_tokens=24,
        stops=("\n\n",),
        prefix_chars=320,
        suffix_chars=0,
        note="Runs here after `codetrial arms fetch smollm2`. A demonstration: nobody should write code with it.",
    ),
    Preset(
        name="gemma3-270m",
        title="Gemma 3 270M (local)",
        api=Api.OPENAI_COMPLETIONS,
        url="local:gemma3-270m",
        model="gemma3-270m",
        template="prefix-only",
        max_tokens=24,
        stops=("\n\n",),
        prefix_chars=320,
        suffix_chars=0,
        note="Runs here after `codetrial arms fetch gemma3-270m`. The Gemma Terms of Use apply. A demonstration.",
    ),
    Preset(
        name="deepseek-coder",
        title="DeepSeek Coder (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="deepseek-ai/deepseek-coder-6.7b-base",
        template="deepseek-coder",
        note=_SELF_HOSTED,
    ),
    Preset(
        name="deepseek",
        title="DeepSeek V4 Flash (hosted)",
        api=Api.DEEPSEEK_FIM,
        model="deepseek-v4-flash",
        key_env="DEEPSEEK_API_KEY",
        note="Its prices depend on the hour; each request is counted at its own.",
    ),
    Preset(
        name="qwen-coder",
        title="Qwen2.5-Coder (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="Qwen/Qwen2.5-Coder-7B",
        template="qwen2.5-coder",
        note=_SELF_HOSTED + " The base model infills better than the instruct model.",
    ),
    Preset(
        name="qwen3-coder",
        title="Qwen3-Coder 30B-A3B (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="Qwen/Qwen3-Coder-30B-A3B-Instruct",
        template="qwen3-coder",
        note=_SELF_HOSTED + " Its README uses the chat form: api openai-chat with template qwen3-coder-chat.",
    ),
    Preset(
        name="qwen3-coder-hosted",
        title="Qwen3-Coder (OpenRouter)",
        api=Api.OPENAI_CHAT,
        url="https://openrouter.ai/api",
        model="qwen/qwen3-coder",
        key_env="OPENROUTER_API_KEY",
        max_tokens=256,
        note="Asked as a chat model, by the snippet method.",
    ),
    Preset(
        name="starcoder2",
        title="StarCoder 2 (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="bigcode/starcoder2-7b",
        template="starcoder2",
        note=_SELF_HOSTED,
    ),
    Preset(
        name="codellama",
        title="CodeLlama (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="codellama/CodeLlama-7b-hf",
        template="codellama",
        note=_SELF_HOSTED + " Only the 7B and 13B base and instruct models were trained to infill.",
    ),
    Preset(
        name="codestral",
        title="Codestral (Mistral's API)",
        api=Api.MISTRAL_FIM,
        model="codestral-2508",
        key_env="MISTRAL_API_KEY",
        note="A key of codestral.mistral.ai is another one: set url and key_env to that host's.",
    ),
    Preset(
        name="codestral-self-hosted",
        title="Codestral 22B (self-hosted)",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="mistralai/Codestral-22B-v0.1",
        template="codestral",
        note=_SELF_HOSTED + " Mind its licence: the weights are for research and testing.",
    ),
    Preset(
        name="ollama",
        title="Qwen2.5-Coder 1.5B (Ollama)",
        api=Api.OLLAMA_GENERATE,
        model="qwen2.5-coder:1.5b-base",
        template="qwen2.5-coder",
        note="`ollama pull` the model first. codetrial sends raw prompts, so template must be the model's own.",
    ),
    Preset(
        name="copilot",
        title="GitHub Copilot",
        api=Api.COPILOT,
        note="Needs the npm package @github/copilot-language-server, a signed-in seat, and terms that allow it. "
        "It reports neither its model nor tokens; write the seat's price in [arms.x.price].",
    ),
    Preset(
        name="claude",
        title="Claude Haiku",
        api=Api.ANTHROPIC_MESSAGES,
        model="claude-haiku-5-5",
        key_env="ANTHROPIC_API_KEY",
        max_tokens=256,
        temperature="default",
        note="Asked as a chat model, by the snippet method. claude-sonnet-5-5 is stronger, slower and dearer.",
    ),
    Preset(
        name="gpt",
        title="GPT-5.4 mini",
        api=Api.OPENAI_RESPONSES,
        model="gpt-5.4-mini",
        key_env="OPENAI_API_KEY",
        max_tokens=512,
        temperature="default",
        options={"reasoning_effort": "low"},
        note="Asked as a chat model, by the snippet method. Reasoning tokens cost time and money and are recorded.",
    ),
    Preset(
        name="gemini",
        title="Gemini Flash",
        api=Api.GEMINI,
        model="gemini-3.8-flash",
        key_env="GEMINI_API_KEY",
        max_tokens=512,
        note="Asked as a chat model, by the snippet method. Thinking tokens count against max_tokens.",
    ),
    Preset(
        name="base",
        title="Base model",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="base-model",
        template="qwen2.5-coder",
        note="Beside `fine-tune`: same server, same template, same windows; only the model differs.",
    ),
    Preset(
        name="fine-tune",
        title="Fine-tune",
        api=Api.OPENAI_COMPLETIONS,
        url=VLLM,
        model="fine-tuned-model",
        template="qwen2.5-coder",
        note="Beside `base`. Judge it on code written after its training data ends.",
    ),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}

CURSOR_NOTE = """\
# Cursor has no API, so it cannot be an arm. It can be observed in its own editor: codetrial's proxy runs there in
# front of your language server, shows nothing itself, and records what is inserted that it did not suggest, and how
# much of that is kept. Both arms below answer in the shadow on the same requests, and the report has a row for Cursor.
# Start Cursor in this project after `codetrial install vscode`; Cursor reads the same settings as VS Code."""


def choose(name: str, *, model: str | None = None, url: str | None = None) -> Preset:
    """A preset by its name, with another model or address if given.

    Raises:
        ConfigError: there is none of that name; names the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {name!r}.{nearest(name, [*PRESETS, CURSOR])}")
    preset = PRESETS[name]
    return replace(preset, model=model or preset.model, url=url or preset.url)


def render(a: Preset, b: Preset, *, observes_cursor: bool = False) -> str:
    """A commented `codetrial.toml`."""
    mode = "shadow" if observes_cursor else "shown"
    cursor = [CURSOR_NOTE, ""] if observes_cursor else []
    lines = [
        "# codetrial: a blinded trial of two code models in this project. docs/arms.md explains every key.",
        *cursor,
        "[trial]",
        f'name = "{a.name} or {b.name}"',
        f'mode = "{mode}"  # "shadow" shows nothing and judges both by what you write anyway',
        "shares = { a = 0.45, b = 0.45, none = 0.10 }",
        "",
        *_arm("a", a),
        *_arm("b", b),
        "[privacy]",
        "# self_hosted_only = true  # refuse to start on an endpoint that is not yours",
        '# exclude_paths = ["secrets/", "*.generated.*"]',
        "scrub_secrets = true",
        "",
        "# At an arm's daily limit both arms stop together.",
        "# [budget.a]",
        "# requests = 2000",
        "# usd = 1.0",
        "",
    ]
    return "\n".join(lines)


def _arm(label: str, preset: Preset) -> list[str]:
    values: dict[str, Any] = {
        "name": preset.title,
        "api": preset.api.value,
        "url": preset.url,
        "model": preset.model,
        "template": preset.template,
        "key_env": preset.key_env,
        "max_tokens": preset.max_tokens,
        "temperature": preset.temperature if preset.temperature != 0.0 else None,
        "stops": list(preset.stops) or None,
        "prefix_chars": preset.prefix_chars,
        "suffix_chars": preset.suffix_chars,
    }
    comments = {"key_env": "  # the variable's name; the key itself stays in the environment"}
    lines = [f"# {preset.note}", f"[arms.{label}]"]
    lines += [f"{key} = {_toml(value)}{comments.get(key, '')}" for key, value in values.items() if value is not None]
    if preset.options:
        lines += [f"[arms.{label}.options]", *(f"{key} = {_toml(value)}" for key, value in preset.options.items())]
    return [*lines, ""]


def _toml(value: Any) -> str:
    """JSON's strings, numbers and lists are TOML's."""
    return json.dumps(value, ensure_ascii=False)
