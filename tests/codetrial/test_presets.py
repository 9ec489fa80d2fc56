"""`codetrial init`: what it writes is a configuration that loads, with models that exist."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from codetrial.arms import define
from codetrial.commands import init
from codetrial.config import ArmConfig, load
from codetrial.errors import ConfigError
from codetrial.presets import PRESETS, choose, render
from codetrial.prices import is_priced
from codetrial.records import Api, ArmLabel

HOSTED = [p.name for p in PRESETS.values() if p.key_env is not None]


def run(*arguments: str, folder: Path) -> tuple[int, str, Path]:
    path = folder / "codetrial.toml"
    result = CliRunner().invoke(init, [*arguments, "--output", str(path)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output, path


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_written_loaded_and_defined_as_it_says(name: str, tmp_path: Path) -> None:
    code, _, path = run("--a", name, "--b", "ngram", "--no-check", folder=tmp_path)
    assert code == 0
    config = load(tmp_path, config_file=path)
    preset = PRESETS[name]
    arm = define(config.arms.a, ArmLabel.A)
    assert (arm.api, arm.name) == (preset.api, preset.title)
    assert (config.arms.a.model, config.arms.a.url, config.arms.a.key_env) == (preset.model, preset.url, preset.key_env)
    assert arm.options.get("prefix_chars") == preset.prefix_chars


@pytest.mark.parametrize("name", HOSTED)
def test_hosted_models_are_in_the_price_list(name: str) -> None:
    preset = PRESETS[name]
    config = ArmConfig(api=preset.api, url=preset.url, model=preset.model, template=preset.template)
    assert is_priced(define(config, ArmLabel.A), None)


def test_the_models_that_people_compare_are_all_there() -> None:
    wanted = {"deepseek-coder", "deepseek", "qwen-coder", "starcoder2", "codellama", "codestral", "copilot", "claude"}
    assert wanted | {"codestral-self-hosted", "gpt", "gemini", "base", "fine-tune"} <= set(PRESETS)


def test_fine_tune_and_base_differ_in_the_model_alone() -> None:
    base, tuned = PRESETS["base"], PRESETS["fine-tune"]
    assert (base.api, base.url, base.template, base.max_tokens) == (
        tuned.api,
        tuned.url,
        tuned.template,
        tuned.max_tokens,
    )
    assert base.model != tuned.model


def test_cursor_is_observed_and_nothing_is_shown(tmp_path: Path) -> None:
    code, _, path = run("--a", "cursor", "--b", "qwen-coder", "--no-check", folder=tmp_path)
    config = load(tmp_path, config_file=path)
    assert (code, config.trial.mode, config.arms.a.api) == (0, "shadow", Api.NGRAM)
    assert "Cursor has no API" in path.read_text()


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    run("--a", "ngram", "--b", "smollm2", "--no-check", folder=tmp_path)
    with pytest.raises(ConfigError, match="--overwrite"):
        run("--a", "ngram", "--b", "codestral", "--no-check", folder=tmp_path)
    code, _, path = run("--a", "ngram", "--b", "codestral", "--no-check", "--overwrite", folder=tmp_path)
    assert code == 0
    assert "mistral-fim" in path.read_text()


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'codestral'"):
        run("--a", "codestrl", "--b", "ngram", "--no-check", folder=tmp_path)


def test_presets_are_asked_for_when_they_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "codetrial.toml"
    result = CliRunner().invoke(init, ["--no-check", "--output", str(path)], input="ngram\nstarcoder2\n")
    assert result.exit_code == 0
    assert "starcoder2" in path.read_text()


def test_check_ends_with_1_and_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    code, output, path = run("--a", "ngram", "--b", "codestral", folder=tmp_path)
    assert code == 1
    assert "MISTRAL_API_KEY is not set" in " ".join(output.split())
    assert path.exists()


def test_another_model_and_address_can_be_named() -> None:
    text = render(choose("qwen-coder", model='my "model"', url="http://10.0.0.2:8000"), choose("ngram"))
    assert 'model = "my \\"model\\""' in text
    assert 'url = "http://10.0.0.2:8000"' in text
