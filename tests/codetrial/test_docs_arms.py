"""docs/arms.md says what is so: its examples load, and every API, key and template stands in it."""

import dataclasses
import re
from pathlib import Path

import pytest

from codetrial.arms import define
from codetrial.arms.local import MODELS
from codetrial.arms.templates import TEMPLATES
from codetrial.config import ArmConfig, PriceConfig, load
from codetrial.records import Api, ArmLabel

TEXT = (Path(__file__).parents[2] / "docs" / "arms.md").read_text(encoding="utf-8")
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.M)
]
EXAMPLES = [block.strip() for block in BLOCKS if "[arms.a]" in block or "[templates" in block]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(example: str, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    if "[arms.a]" not in example:
        example += '\n[arms.a]\napi = "openai-completions"\nmodel = "m"\ntemplate = "mine"'
    (tmp_path / "codetrial.toml").write_text(example + '\n[arms.b]\napi = "ngram"\n', encoding="utf-8")
    config = load(tmp_path)
    assert define(config.arms.a, ArmLabel.A, templates=config.templates).fingerprint


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("api", Api)
def test_every_api_says_what_it_was_verified_against(api: Api) -> None:
    assert re.search(rf"^\| `{api.value}` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize(
    "key", [f.name for f in dataclasses.fields(ArmConfig)] + [f.name for f in dataclasses.fields(PriceConfig)]
)
def test_every_key_is_explained(key: str) -> None:
    assert f"`{key}`" in TEXT or f"[arms.x.{key}]" in TEXT


@pytest.mark.parametrize("name", [*MODELS, *(set(TEMPLATES) - {"prefix-only", "codeqwen1.5", "starcoder"})])
def test_every_local_model_and_template_is_named(name: str) -> None:
    assert name in TEXT
