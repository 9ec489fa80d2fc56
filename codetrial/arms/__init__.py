"""The models of a trial, one module per API spoken."""

from collections.abc import Mapping
from typing import Any

from codetrial.arms.base import Answer, Arm, ArmDefinition, Prompt, Snippet, Usage
from codetrial.config import ArmConfig
from codetrial.records import Api, ArmLabel

__all__ = ["Answer", "Arm", "ArmDefinition", "Prompt", "Snippet", "Usage", "build", "define"]


def define(
    config: ArmConfig, label: ArmLabel, *, templates: Mapping[str, Mapping[str, Any]] | None = None
) -> ArmDefinition:
    """The arm as it would really be used, provider limits applied; opens nothing.

    Raises:
        ConfigError: the arm cannot be used as written; says what is missing.
    """
    if config.api is Api.NGRAM:
        return ArmDefinition(
            label=label,
            name=config.title,
            api=config.api,
            url=None,
            model="ngram@1",
            template=None,
            stops=(),
            max_tokens=config.max_tokens,
            sampling={},
            post_processing=(),
            key_env=None,
            is_self_hosted=True,
            options=dict(config.options),
        )
    from codetrial.arms.http import define_http

    return define_http(config, label, templates or {})


def build(config: ArmConfig, label: ArmLabel, *, templates: Mapping[str, Mapping[str, Any]] | None = None) -> Arm:
    """An arm that can be asked. Connects to nothing yet.

    Raises:
        ConfigError: as for `define`.
    """
    if config.api is Api.NGRAM:
        from codetrial.arms.ngram import NgramArm

        return NgramArm(define(config, label))
    from codetrial.arms.http import build_http

    return build_http(config, label, templates or {})
