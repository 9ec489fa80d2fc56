"""The `[review]` table of codetrial.toml, and what a repository may add to it from its base branch."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import msgspec

from codetrial.config import ArmConfig, Config
from codetrial.errors import ConfigError
from codetrial.records import Api, ArmLabel
from pr_bot.packing import DEFAULT_IGNORE

__all__ = ["REPOSITORY_FILE", "RepositorySettings", "ReviewSettings", "repository_settings", "review_arms", "settings"]

REPOSITORY_FILE = ".codetrial/review.toml"
"""Read from the base branch only: a pull request must not choose how it is reviewed."""

MAX_FILE_CHARS = 20_000

T = TypeVar("T")

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
FewComments = Annotated[int, msgspec.Meta(ge=1, le=15)]
"""Of one arm; two arms' thirty are what GitHub takes in one review without calling it abuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    post_share: Share = 0.8
    """Share of the findings that are posted; the others are held back and watched, the control group."""
    always_post: tuple[str, ...] = ("critical/security",)
    """`severity` or `severity/category` that is posted whatever the draw says; each such decision is recorded."""
    max_inline: FewComments = 8
    """Comments on lines per arm and review; what is over is folded into the body."""
    max_findings: AtLeastOne = 20
    """Findings taken from one arm's answer, the gravest first."""
    max_prompt_chars: AtLeastOne = 48_000
    """Budget of the diff in the prompt, the same text for both arms; about 16,000 tokens."""
    max_tokens: AtLeastOne = 4_000
    """Of an arm's answer."""
    timeout_s: Positive = 180.0
    max_usd: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Of one review and arm, by the price list; estimated before asking, and over it neither arm is asked."""
    max_reviews_per_pull: AtLeastOne = 10
    """Pushes after these are not reviewed: a pull request that is pushed to all day must not cost without end."""
    window_days: Positive = 7.0
    """How long after the merge a finding is still watched."""
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    guidelines: str = ".codetrial/guidelines.md"
    """A file of the base branch that both arms are shown."""
    authors_ignored: tuple[str, ...] = ()
    """Logins whose pull requests are not reviewed; bots never are."""
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`[review.arms.a]`: what differs from `[arms.a]` for reviews, such as a chat model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositorySettings:
    """What a repository may say: less work and fewer comments, never more."""

    ignore: tuple[str, ...] = ()
    guidelines: str | None = None
    max_inline: FewComments | None = None
    enabled: bool = True


def settings(config: Config) -> ReviewSettings:
    """The checked `[review]` table.

    Raises:
        ConfigError: a key is unknown or has the wrong type.
    """
    return _convert(ReviewSettings, config.review, "[review]")


def repository_settings(text: str | None, own: ReviewSettings) -> tuple[ReviewSettings, bool]:
    """The operator's settings with what the repository's file on the base branch says; and whether it wants reviews.

    Raises:
        ConfigError: the file is not TOML, or says what it may not.
    """
    if text is None:
        return own, True
    if len(text) > MAX_FILE_CHARS:
        raise ConfigError(f"{REPOSITORY_FILE} is longer than {MAX_FILE_CHARS} characters.")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{REPOSITORY_FILE} is not valid TOML: {fault}.") from fault
    said = _convert(RepositorySettings, table, REPOSITORY_FILE)
    merged = replace(
        own,
        ignore=(*own.ignore, *said.ignore),
        guidelines=said.guidelines or own.guidelines,
        max_inline=min(own.max_inline, said.max_inline or own.max_inline),
    )
    return merged, said.enabled


_CHAT_OF: Mapping[Api, Api] = {Api.OPENAI_COMPLETIONS: Api.OPENAI_CHAT, Api.LLAMACPP_INFILL: Api.OPENAI_CHAT}
"""Servers of these APIs answer chats at the same address."""

_REVIEWERS = (Api.OPENAI_CHAT, Api.OPENAI_RESPONSES, Api.ANTHROPIC_MESSAGES, Api.GEMINI)


def review_arms(config: Config, own: ReviewSettings) -> dict[ArmLabel, ArmConfig]:
    """Both arms as they review: the trial's arms, spoken to as chat models.

    Raises:
        ConfigError: an arm cannot review (the n-gram arm knows no sentences), or `[review.arms]` is wrong.
    """
    for label in own.arms:
        if label not in ("a", "b"):
            raise ConfigError(f"[review.arms] has {label!r}; a trial compares exactly two arms, a and b.")
    return {label: _review_arm(config.arms[label], own, label) for label in ArmLabel}


def _review_arm(base: ArmConfig, own: ReviewSettings, label: ArmLabel) -> ArmConfig:
    place = f"[review.arms.{label.lower()}]"
    said = dict(own.arms.get(label.lower(), {}))
    known = {f.name: getattr(base, f.name) for f in dataclasses.fields(ArmConfig)}
    _refuse_unknown(said, list(known), place)
    if "api" in said:
        # Another API has its own options, address and limits; nothing of the completion arm fits it.
        known = {"name": base.name}
    # A completion's length, stops, template and time limit say nothing about a review.
    known = {**known, "max_tokens": own.max_tokens, "timeout_s": own.timeout_s, "stops": (), "template": None}
    arm = _from(ArmConfig, {**known, **said}, place)
    arm = replace(arm, api=_CHAT_OF.get(arm.api, arm.api), prefix_chars=None, suffix_chars=None)
    if arm.api not in _REVIEWERS:
        raise ConfigError(
            f"Arm {label} speaks {arm.api}, which cannot review: name a chat model in {place} "
            f"(api = one of {', '.join(_REVIEWERS)})."
        )
    return arm


def _convert(kind: type[T], table: Mapping[str, Any], place: str) -> T:
    _refuse_unknown(table, [f.name for f in dataclasses.fields(kind)], place)  # type: ignore[arg-type]
    return _from(kind, table, place)


def _from(kind: type[T], table: Mapping[str, Any], place: str) -> T:
    try:
        return msgspec.convert(table, kind, from_attributes=True)
    except msgspec.ValidationError as fault:
        raise ConfigError(f"{place}: {fault}.") from fault


def _refuse_unknown(table: Mapping[str, Any], known: list[str], place: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
            raise ConfigError(f"{place} has no setting {key!r}.{hint}")
