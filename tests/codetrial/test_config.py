"""The configuration: where values come from, what a wrong one is told, and what is frozen."""

import json
from pathlib import Path

import pytest

from codetrial.config import Config, load
from codetrial.errors import ConfigError
from codetrial.manifest import freeze
from codetrial.records import Api, ArmLabel


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(tmp_path / "user" / "codetrial.toml"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "codetrial.toml"
    path.write_text(text, encoding="utf-8")
    return path


ARMS = """
[arms.a]
api = "ngram"
[arms.b]
api = "openai-completions"
url = "http://127.0.0.1:9"
model = "m"
template = "qwen2.5-coder"
key_env = "SOME_KEY"
"""


def test_without_any_file_the_embedded_pair_is_used(project: Path) -> None:
    config = load(project)
    assert (config.arms.a.api, config.arms.b.url) == (Api.NGRAM, "local:smollm2")
    assert config.sources == ()


def test_project_lies_over_user_environment_over_both_and_flags_over_all(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "user", "[editor]\ndebounce_ms = 1\nmax_lines = 1\nprefix_chars = 1\nsuffix_chars = 1")
    write(project, "[editor]\nmax_lines = 2\nprefix_chars = 2\nsuffix_chars = 2")
    monkeypatch.setenv("CODETRIAL_EDITOR_PREFIX_CHARS", "3")
    monkeypatch.setenv("CODETRIAL_EDITOR_SUFFIX_CHARS", "3")
    editor = load(project, overrides={"editor": {"suffix_chars": 4}}).editor
    assert (editor.debounce_ms, editor.max_lines, editor.prefix_chars, editor.suffix_chars) == (1, 2, 3, 4)


def test_project_file_is_found_from_a_folder_below_but_not_above_the_repository(project: Path) -> None:
    write(project.parent, "[trial]\nname = 'outside'")
    inner = project / "src" / "deep"
    inner.mkdir(parents=True)
    assert load(inner).trial.name == "trial"
    write(project, "[trial]\nname = 'inside'")
    assert load(inner).trial.name == "inside"


def test_environment_reaches_nested_tables(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRIAL_ARMS_B_MAX_TOKENS", "7")
    monkeypatch.setenv("CODETRIAL_BUDGET_A_REQUESTS", "9")
    monkeypatch.setenv("CODETRIAL_TRIAL_SHARES", "{a = 0.2, b = 0.2, none = 0.6}")
    config = load(project)
    assert (config.arms.b.max_tokens, config.budget.a.requests, config.trial.shares.none) == (7, 9, 0.6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[editr]\nmax_lines = 1", "Did you mean 'editor'?"),
        ("[editor]\nmaxlines = 1", "Did you mean 'max_lines'?"),
        ("[trial.shares]\nnon = 1", "[trial.shares] has no key 'non'. Did you mean 'none'?"),
        ("[editor]\nmax_lines = 'x'", "editor.max_lines: Expected `int`, got `str`"),
        ("[editor]\nmax_lines = 0", "editor.max_lines: Expected `int` >= 1"),
        ("[trial.shares]\na = 0.9", "must sum to 1"),
        ("[trial]\nseed = 'xyz'", "hexadecimal"),
        ("[arms.a]\napi = 'ngram'", "[arms.b] is missing"),
        ("[arms.a]\napi = 'ngram'\n[arms.b]\napi = 'olama-generate'", "Did you mean 'ollama-generate'?"),
        ("[arms.a]\nmodel = 'x'\n[arms.b]\napi = 'ngram'", "[arms.a] needs `api`"),
        (
            "[arms.a]\napi = 'ngram'\n[arms.b]\napi = 'ngram'\nprice = {inptu_usd_per_million = 1}",
            "Did you mean 'input_",
        ),
        ("[trial\n", "not valid TOML"),
        ("trial = 3", "must be a table"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_mend(project: Path, text: str, said: str) -> None:
    path = write(project, text)
    with pytest.raises(ConfigError) as raised:
        load(project)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_pasted_key_is_refused_and_not_repeated(project: Path) -> None:
    write(project, ARMS.replace("SOME_KEY", "sk-abc-123456"))
    with pytest.raises(ConfigError) as raised:
        load(project)
    assert "key_env" in str(raised.value)
    assert "sk-abc" not in str(raised.value)


def test_named_file_must_exist(project: Path) -> None:
    with pytest.raises(ConfigError, match="codetrial init"):
        load(project, config_file=project / "absent.toml")


def test_same_configuration_freezes_to_the_same_trial(project: Path) -> None:
    write(project, ARMS)
    (trial, arms), (again, arms_again) = freeze(load(project)), freeze(load(project))
    assert (trial.id, trial.manifest, trial.seed) == (again.id, again.manifest, again.seed)
    assert arms == arms_again
    assert [arm.label for arm in arms] == [ArmLabel.A, ArmLabel.B]


def test_what_could_change_a_result_changes_the_trial_and_what_could_not_does_not(project: Path) -> None:
    def frozen(**sections: dict[str, object]) -> str:
        return freeze(load(project, overrides=sections))[0].id

    write(project, ARMS)
    assert frozen() == frozen(budget={"a": {"requests": 3}}) == frozen(store={"store_text": "none"})
    assert frozen() != frozen(editor={"debounce_ms": 121})
    assert frozen() != frozen(arms={"b": {"stops": ["\n"]}})


def test_manifest_names_the_key_but_never_holds_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, ARMS)
    monkeypatch.setenv("SOME_KEY", "very-secret-value")
    config = load(project)
    trial, arms = freeze(config)
    assert "SOME_KEY" in trial.manifest
    assert "very-secret-value" not in trial.manifest + repr(config) + repr(arms)
    assert json.loads(trial.manifest)["arms"]["B"]["template"] == "qwen2.5-coder@1"


def test_seed_without_one_depends_on_this_machine_salt(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seed(config: Config) -> str:
        return freeze(config)[0].seed

    config = load(project)
    here = seed(config)
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path / "other"))
    assert here != seed(config)
    assert seed(load(project, overrides={"trial": {"seed": "abcd"}})) == "abcd"


PRICES = '[m]\ninput_usd_per_million = 1.5\n["other/model"]\nrequest_usd = 1.0'


def test_own_price_list_is_used_by_model_and_frozen_with_the_trial(project: Path, tmp_path: Path) -> None:
    write(project, ARMS)
    without = freeze(load(project))[0].id
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "prices.toml").write_text(PRICES)
    config = load(project)
    assert config.arms.a.price is None
    assert config.arms.b.price is not None
    assert config.arms.b.price.input_usd_per_million == 1.5
    assert freeze(config)[0].id != without


def test_own_price_of_the_arm_comes_before_the_list(project: Path, tmp_path: Path) -> None:
    write(project, ARMS + "price = { request_usd = 2.0 }")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "prices.toml").write_text(PRICES)
    price = load(project).arms.b.price
    assert price is not None
    assert (price.request_usd, price.input_usd_per_million) == (2.0, None)


def test_mistake_in_the_price_list_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "prices.toml").write_text("[m]\ninput_usd_per_milion = 1")
    with pytest.raises(ConfigError, match=r"prices\.toml.*Did you mean 'input_usd_per_million'"):
        load(project)


def test_shadow_mode_shows_nothing(project: Path) -> None:
    shares = load(project, overrides={"trial": {"mode": "shadow"}}).trial.effective_shares
    assert (shares.a, shares.b, shares.none) == (0.0, 0.0, 1.0)


def test_a_primary_metric_that_no_verdict_knows_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "codetrial.toml").write_text('[trial]\nprimary_metric = "acceptence"\n')
    with pytest.raises(ConfigError, match=r"there is no metric 'acceptence'\. Did you mean 'acceptance'"):
        load(tmp_path)
    (tmp_path / "codetrial.toml").write_text('[trial]\nprimary_metric = "x"\n')
    with pytest.raises(ConfigError, match=r"Known: acceptance, agreement, kept_chars, acted_on\."):
        load(tmp_path)
