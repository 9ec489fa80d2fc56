"""The configuration: built once, then passed down.

Defaults < the user's file < the project's file < environment < flags.

`load` reads it, `codetrial.manifest.freeze` turns it into the trial's manifest and records. Keys of models are named by
their environment variable; their values never come near a configuration, a record or a `repr`.
"""

import dataclasses
import difflib
import os
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from codetrial.errors import ConfigError
from codetrial.paths import config_file as user_config_file
from codetrial.paths import default_database
from codetrial.records import Api, ArmLabel

__all__ = [
    "PRIMARY_METRICS",
    "ArmConfig",
    "ArmRules",
    "ArmsConfig",
    "BudgetConfig",
    "Config",
    "EditorConfig",
    "Limits",
    "PriceConfig",
    "PrivacyConfig",
    "Shares",
    "StoreConfig",
    "TrialConfig",
    "default",
    "load",
    "nearest",
]

FILE_NAME = "codetrial.toml"
PRIMARY_METRICS = ("acceptance", "agreement", "kept_chars", "acted_on")
"""What a verdict can be about; a test holds this list and the verdict's together."""
ENVIRONMENT_PREFIX = "CODETRIAL_"

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How often an episode shows A, B, or nothing; they sum to one."""

    a: Share = 0.45
    b: Share = 0.45
    none: Share = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    name: str = "trial"
    seed: str | None = None
    """Hexadecimal. Without one, it is made from the manifest and a salt of this machine, and stored with the trial."""
    mode: Literal["shown", "shadow"] = "shown"
    """`shadow`: nothing is ever shown; both arms are judged by what was written anyway."""
    shares: Shares = field(default_factory=Shares)
    episode_s: Positive = 60.0
    """An episode ends by the clock alone, whatever is shown or taken."""
    sample: Share = 1.0
    """Share of the episodes that are evaluated at all; bounds the cost."""
    primary_metric: str = "acceptance"
    """What decides: `acceptance`, `agreement` or `kept_chars`; reviews are always decided by `acted_on`."""
    force: bool = False
    """Start even on an arm whose last `codetrial arms check` found garbage; the manifest records it."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """By metric: the smallest difference that would change anybody's decision."""

    @property
    def effective_shares(self) -> Shares:
        return Shares(a=0.0, b=0.0, none=1.0) if self.mode == "shadow" else self.shares


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceConfig:
    """What an arm costs, where the price list does not know it. Unknown stays unknown: it is never counted as zero."""

    input_usd_per_million: float | None = None
    cached_usd_per_million: float | None = None
    """Input tokens that the provider had cached; without it they cost as much as any."""
    output_usd_per_million: float | None = None
    request_usd: float | None = None
    machine_usd_per_hour: float | None = None
    """For self-hosted arms: measured seconds of an attempt times this."""
    seat_usd_per_month: float | None = None
    """For arms paid by seat; divided by use in the report, not per request."""
    provider: str | None = None
    """Provider id in genai-prices, where the endpoint does not tell."""
    model: str | None = None
    """Model id in genai-prices, where it is not the one sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmConfig:
    """One arm as a person writes it."""

    api: Api
    name: str | None = None
    """For people, in the report; never shown beside a suggestion."""
    url: str | None = None
    """Base URL; `local:<model>` means codetrial's own llama.cpp server, started on demand."""
    model: str | None = None
    template: str | None = None
    """Fill-in-the-middle template; must be named for every API that takes a bare prompt."""
    max_tokens: AtLeastOne = 64
    stops: tuple[str, ...] = ()
    temperature: float | Literal["default"] = 0.0
    """`default` sends none: some models refuse the field."""
    timeout_s: Positive = 10.0
    key_env: str | None = None
    """Name of the environment variable that holds the key."""
    self_hosted: bool | None = None
    """None: judged by the address (loopback and private networks are)."""
    prefix_chars: AtLeastOne | None = None
    """Send less of the text before the cursor than `[editor] prefix_chars`; part of the arm's fingerprint."""
    suffix_chars: Count | None = None
    price: PriceConfig | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only this API knows; see docs/arms.md."""

    @property
    def title(self) -> str:
        return self.name or self.model or self.api.value


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmsConfig:
    a: ArmConfig
    b: ArmConfig

    def __getitem__(self, label: ArmLabel) -> ArmConfig:
        return self.a if label is ArmLabel.A else self.b


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorConfig:
    surface: Literal["auto", "inline", "menu", "none"] = "auto"
    debounce_ms: Count = 120
    """The same for both arms; an editor that asks at every keystroke would drown them."""
    inline_deadline_ms: AtLeastOne = 5000
    merge_budget_ms: Count = 20
    """How long the language server's own completion answer may wait for a suggestion."""
    prefix_chars: AtLeastOne = 3000
    suffix_chars: Count = 1000
    max_lines: AtLeastOne = 8
    schedule: Literal["together", "staggered"] = "together"
    """`staggered`, in random order, where both arms share one accelerator."""
    shadow_cap_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """How long attempts may run on after the editor has withdrawn its request; 0 closes them at once."""
    horizons_s: tuple[AtLeastOne, ...] = (30, 120, 300, 600)
    time_scale: Positive = 1.0
    """For replays and tests only: episodes, debounce, horizons and all waiting for outcomes are divided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRules:
    """What one arm must not see. A task forbidden to one arm is refused for both, so that pairs stay fair."""

    exclude_paths: tuple[str, ...] = ()
    exclude_languages: tuple[str, ...] = ()
    exclude_repositories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyConfig:
    self_hosted_only: bool = False
    allow_hosts: tuple[str, ...] = ()
    """Hosts that count as self-hosted: names, `*.example.com`, or networks such as `10.0.0.0/8`."""
    exclude_paths: tuple[str, ...] = ()
    """gitignore-style, relative to the repository's root."""
    exclude_languages: tuple[str, ...] = ()
    exclude_repositories: tuple[str, ...] = ()
    """Names, with `*` allowed."""
    scrub_secrets: bool = True
    a: ArmRules = field(default_factory=ArmRules)
    b: ArmRules = field(default_factory=ArmRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    path: str | None = None
    store_text: Literal["full", "hash", "none"] = "full"

    @property
    def database(self) -> Path:
        """The file that everything is recorded in, for whoever is not told another."""
        return Path(self.path).expanduser() if self.path else default_database()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one arm and one day (UTC). At any limit of either arm both stop together."""

    requests: Count | None = None
    tokens: Count | None = None
    usd: Annotated[float, msgspec.Meta(ge=0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    a: Limits = field(default_factory=Limits)
    b: Limits = field(default_factory=Limits)

    def __getitem__(self, label: ArmLabel) -> Limits:
        return self.a if label is ArmLabel.A else self.b


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a run needs to know."""

    trial: TrialConfig
    arms: ArmsConfig
    editor: EditorConfig = field(default_factory=EditorConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    review: Mapping[str, Any] = field(default_factory=dict)
    """Read and checked by the pull request's door, frozen into the manifest with the rest."""
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fill-in-the-middle templates of the user's own, by name."""
    sources: tuple[Path, ...] = ()
    """The files that were read, lowest first; empty means the embedded default pair."""
    project_file: Path | None = None
    """The one that was found in the project, which somebody else may have written; see `codetrial.trust`."""


EMBEDDED_ARMS: Mapping[str, Any] = {
    "a": {"name": "repository n-gram", "api": "ngram"},
    "b": {
        "name": "SmolLM2-135M (local)",
        "api": "openai-completions",
        "url": "local:smollm2",
        "model": "smollm2-135m-instruct",
        "template": "prefix-only",
        "max_tokens": 24,
        "stops": ["\n\n"],
        # Reading the prompt dominates on one core (about 150 tokens/s): some 100 tokens keep an answer below a second.
        "prefix_chars": 320,
        "suffix_chars": 0,
    },
}
"""A demonstration of a trade-off that needs no key and no network; nobody should write code with it."""

_SECTIONS: Mapping[str, type] = {
    "trial": TrialConfig,
    "arms": ArmsConfig,
    "editor": EditorConfig,
    "privacy": PrivacyConfig,
    "store": StoreConfig,
    "budget": BudgetConfig,
}
_FREE_SECTIONS = ("review", "templates")


def nearest(word: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    """A clause that names the nearest known word, or all of them: ` Did you mean 'model'?`."""
    choices = list(known)
    found = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else f" Known: {', '.join(choices)}."


def default() -> Config:
    """The embedded pair: the repository n-gram arm against SmolLM2-135M on a local server."""
    return _convert({"arms": EMBEDDED_ARMS}, "the embedded default", ())


def load(
    project_dir: Path, *, config_file: Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """The configuration that holds for a project.

    Args:
        project_dir: Where `codetrial.toml` is looked for: there, then upwards to the repository's root.
        config_file: This file instead of the project's; it must exist.
        overrides: Values from flags, by section.

    Raises:
        ConfigError: a file cannot be read, a key is unknown or has the wrong type; names file and key, and the mend.
    """
    found = None if config_file is not None else _find(project_dir)
    sources = [path for path in (user_config_file(), config_file or found) if path is not None]
    if config_file is not None and not config_file.is_file():
        raise ConfigError(f"There is no configuration at {config_file}. Write one with `codetrial init`.")
    sources = [path for path in sources if path.is_file()]
    merged: dict[str, Any] = {}
    for path in sources:
        _merge(merged, _read(path))
    origin = " + ".join(str(path) for path in sources) or "the embedded default"
    uses_embedded = "arms" not in merged
    for section, values in _environment():
        _merge(merged.setdefault(section, {}), values)
        origin += " + environment"
    for section, flags in (overrides or {}).items():
        _merge(merged.setdefault(section, {}), dict(flags))
    if uses_embedded:
        _lay_under(merged.setdefault("arms", {}))
    config = dataclasses.replace(_convert(merged, origin, tuple(sources)), project_file=found)
    return _with_own_prices(config)


def _with_own_prices(config: Config) -> Config:
    """Prices of the user's own list, `prices.toml` beside the user's configuration, by model id.

    They enter the manifest with the arm, so that a later change of the list does not change a running trial's costs.
    """
    path = user_config_file().with_name("prices.toml")
    if not path.is_file():
        return config
    listed = {model: _section(PriceConfig, prices, model, str(path)) for model, prices in _read(path).items()}
    arms = {
        label.lower(): arm if arm.price is not None else dataclasses.replace(arm, price=listed.get(arm.model or ""))
        for label in ArmLabel
        for arm in (config.arms[label],)
    }
    return dataclasses.replace(config, arms=ArmsConfig(**arms))


def _lay_under(arms: dict[str, Any]) -> None:
    """The embedded pair under what environment and flags say; an arm that names its own `api` is another arm."""
    for label, embedded in EMBEDDED_ARMS.items():
        over = arms.get(label, {})
        if isinstance(over, Mapping) and "api" not in over:
            arms[label] = {**embedded, **over}


def _find(project_dir: Path) -> Path | None:
    here = project_dir.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        if (folder / ".git").exists():
            return None
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"Cannot read {path}: {fault.strerror}. Check its permissions.") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path} is not UTF-8 text (byte {fault.start}). Save it as UTF-8.") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path} is not valid TOML: {fault}.") from fault


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _environment() -> Iterator[tuple[str, dict[str, Any]]]:
    """`CODETRIAL_EDITOR_DEBOUNCE_MS=200`, `CODETRIAL_ARMS_A_URL=...`: section, key; values as TOML or bare text."""
    for name, text in sorted(os.environ.items()):
        words = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("_", 1)
        if not name.startswith(ENVIRONMENT_PREFIX) or len(words) != 2 or words[0] not in _SECTIONS:
            continue
        section, key = words
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        values: dict[str, Any] = {key: value}
        for outer in ("arms", "budget", "privacy"):
            if section == outer and key[:2] in ("a_", "b_"):
                values = {key[0]: {key[2:]: value}}
        yield section, values


def _convert(merged: Mapping[str, Any], origin: str, sources: tuple[Path, ...]) -> Config:
    tables: dict[str, Any] = dict(merged)
    _refuse_unknown(tables, [*_SECTIONS, *_FREE_SECTIONS], "", origin)
    for name, value in tables.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{origin}: [{name}] must be a table, not {value!r}.")
    arms: dict[str, Any] = dict(tables.get("arms", {}))
    for label in ("a", "b"):
        if label not in arms:
            raise ConfigError(f"{origin}: [arms.{label}] is missing; a trial compares exactly two arms.")
        if isinstance(arms[label], Mapping) and "api" not in arms[label]:
            raise ConfigError(f"{origin}: [arms.{label}] needs `api`, one of: {', '.join(Api)}.")
    parts = {name: _section(kind, tables.get(name, {}), name, origin) for name, kind in _SECTIONS.items()}
    free = {name: tables.get(name, {}) for name in _FREE_SECTIONS}
    config = Config(**parts, **free, sources=sources)
    _check(config, origin)
    return config


def _section(kind: type, values: Mapping[str, Any], path: str, origin: str) -> Any:
    _walk(kind, values, path, origin)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as fault:
        message, _, place = str(fault).partition(" - at `$")
        where = path + place.rstrip("`").replace("[...]", "")
        raise ConfigError(f"{origin}: {where}: {message}.") from fault


def _walk(kind: type, values: Any, path: str, origin: str) -> None:
    """Refuse unknown keys, nested tables included, before types are looked at: a typo is the commoner mistake."""
    if not isinstance(values, Mapping):
        return
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    _refuse_unknown(values, list(fields), path, origin)
    for name, value in values.items():
        inner = fields[name]
        candidates = [inner, *getattr(inner, "__args__", ())]
        for candidate in candidates:
            if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
                _walk(candidate, value, f"{path}.{name}", origin)
    if kind is ArmConfig and isinstance(api := values.get("api"), str) and api not in list(Api):
        raise ConfigError(f"{origin}: {path}.api: there is no API {api!r}.{nearest(api, [a.value for a in Api])}")


def _refuse_unknown(values: Mapping[str, Any], known: list[str], path: str, origin: str) -> None:
    for key in values:
        if key not in known:
            where = f"[{path}] has no key {key!r}" if path else f"there is no section [{key}]"
            raise ConfigError(f"{origin}: {where}.{nearest(key, known)}")


def _check(config: Config, origin: str) -> None:
    shares = config.trial.shares
    total = shares.a + shares.b + shares.none
    if abs(total - 1) > 1e-9:
        raise ConfigError(f"{origin}: trial.shares must sum to 1, not {total:g}.")
    metric = config.trial.primary_metric
    if metric not in PRIMARY_METRICS:
        raise ConfigError(
            f"{origin}: trial.primary_metric: there is no metric {metric!r}.{nearest(metric, PRIMARY_METRICS)}"
        )
    seed = config.trial.seed
    if seed is not None and (not seed or any(c not in "0123456789abcdefABCDEF" for c in seed)):
        raise ConfigError(f"{origin}: trial.seed must be hexadecimal, for example {secrets.token_hex(8)!r}.")
    for label in ArmLabel:
        arm = config.arms[label]
        if arm.key_env is not None and not arm.key_env.replace("_", "").isalnum():
            # The value is not repeated: somebody may have pasted the key itself.
            raise ConfigError(
                f"{origin}: arms.{label.lower()}.key_env must be the name of an environment variable, not the key."
            )
