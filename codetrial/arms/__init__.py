"""The models of a trial, one module per API spoken."""

from collections.abc import Mapping
from typing import Any

from codetrial.arms.base import Answer, Arm, ArmDefinition, Preparable, Prompt, Snippet, Usage
from codetrial.config import ArmConfig, nearest
from codetrial.errors import ConfigError
from codetrial.records import Api, ArmLabel

__all__ = ["Answer", "Arm", "ArmDefinition", "Preparable", "Prompt", "Snippet", "Usage", "build", "define"]

_OPTIONS: Mapping[Api, tuple[str, ...]] = {
    Api.NGRAM: ("accelerator", "retries"),
    Api.COPILOT: ("accelerator", "command", "retries"),
    Api.COMMAND: ("accelerator", "command", "retries"),
}
"""The APIs that are not carried by HTTP, and the options that each has."""


def define(
    config: ArmConfig, label: ArmLabel, *, templates: Mapping[str, Mapping[str, Any]] | None = None
) -> ArmDefinition:
    """The arm as it would really be used, provider limits applied; opens nothing.

    Raises:
        ConfigError: the arm cannot be used as written; says what is missing.
    """
    if config.api not in _OPTIONS:
        from codetrial.arms.http import define_http

        return define_http(config, label, templates or {})
    options = {key: value for key, value in config.options.items() if key not in ("accelerator", "retries")}
    if config.api is not Api.NGRAM:
        options["command"] = list(_command(config, label))
    _refuse_unknown_options(config, label)
    return ArmDefinition(
        label=label,
        name=config.title,
        api=config.api,
        url=None,
        model=config.model or ("ngram@1" if config.api is Api.NGRAM else None),
        template=None,
        stops=config.stops if config.api is Api.COMMAND else (),
        max_tokens=config.max_tokens,
        sampling={},
        post_processing=(),
        key_env=None,
        # What a program does with its input is not visible: only its owner can say that it keeps it here.
        is_self_hosted=config.api is Api.NGRAM or bool(config.self_hosted),
        options=options,
    )


def build(config: ArmConfig, label: ArmLabel, *, templates: Mapping[str, Mapping[str, Any]] | None = None) -> Arm:
    """An arm that can be asked. Connects to nothing yet.

    Raises:
        ConfigError: as for `define`.
    """
    if config.api is Api.NGRAM:
        from codetrial.arms.ngram import NgramArm

        return NgramArm(define(config, label))
    if config.api is Api.COMMAND:
        from codetrial.arms.command import CommandArm

        return CommandArm(define(config, label), _command(config, label))
    if config.api is Api.COPILOT:
        from codetrial.arms.copilot import CopilotArm

        return CopilotArm(define(config, label), _command(config, label))
    from codetrial.arms.http import build_http

    return build_http(config, label, templates or {})


def _command(config: ArmConfig, label: ArmLabel) -> tuple[str, ...]:
    command = config.options.get("command")
    if command is None and config.api is Api.COPILOT:
        from codetrial.arms.copilot import DEFAULT_COMMAND

        return DEFAULT_COMMAND
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise ConfigError(
            f"[arms.{label.lower()}.options] needs `command`, a list of words with the program first, "
            'such as command = ["python", "my_arm.py"].'
        )
    return tuple(command)


def _refuse_unknown_options(config: ArmConfig, label: ArmLabel) -> None:
    known = _OPTIONS[config.api]
    for key in config.options:
        if key not in known:
            where = f"[arms.{label.lower()}.options] has no key {key!r} for api = {config.api.value!r}."
            raise ConfigError(where + nearest(key, known))
