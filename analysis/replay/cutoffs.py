"""Until when a model's training data may reach: commits after that cannot have been learnt by heart.

What is published is used as published. Where only the release is known, it is the bound: nobody trains on the future.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from codetrial.arms.base import ArmDefinition
from codetrial.records import Api

__all__ = ["Cutoff", "cutoff_of"]

Basis = Literal["never trained", "stated", "published", "release", "unknown"]


@dataclass(frozen=True, slots=True)
class Cutoff:
    at: datetime | None
    """None: unknown, or there is none because nothing was trained."""
    basis: Basis

    def describe(self) -> str:
        if self.at is None:
            return self.basis
        how = {"release": "released", "published": "training data until", "stated": "stated:"}[self.basis]
        return f"{how} {self.at:%Y-%m-%d}"


_PUBLISHED: tuple[tuple[str, str], ...] = (
    # Anthropic, models overview: training data cut-off.
    (r"claude-(sonnet|haiku)-4-5", "2025-07-31"),
    (r"claude-(opus|sonnet)-4", "2025-03-31"),
    (r"claude-3-7-sonnet", "2024-11-30"),
    (r"claude-3-5-haiku", "2024-07-31"),
    # OpenAI, model pages: knowledge cut-off.
    (r"gpt-5-(mini|nano)", "2024-05-31"),
    (r"gpt-5$", "2024-09-30"),
    (r"gpt-4\.1", "2024-06-01"),
    (r"gpt-4o", "2023-10-01"),
    # Google, model pages: knowledge cut-off.
    (r"gemini-2\.5", "2025-01-31"),
)

_RELEASED: tuple[tuple[str, str], ...] = (
    (r"smollm2", "2024-11-02"),
    (r"qwen2\.5-coder", "2024-11-12"),
    (r"starcoder2", "2024-02-28"),
    (r"deepseek-coder-v2", "2024-06-17"),
    (r"gemma-?3", "2025-03-12"),
)
"""Open weights whose makers publish no cut-off: the day the last size of the family came out."""

_DATED = re.compile(r"[-_.@](20)?(2[3-9])-?(0[1-9]|1[0-2])-?([0-3]\d)?$")
"""Identifiers that end in their release, such as `codestral-2508` or `claude-...-20250929`."""


def cutoff_of(definition: ArmDefinition, stated: datetime | None = None) -> Cutoff:
    """The cut-off of an arm; `stated` by the person who runs it wins."""
    if stated is not None:
        return Cutoff(stated, "stated")
    if definition.api is Api.NGRAM:
        return Cutoff(None, "never trained")
    model = (definition.model or definition.url or "").lower()
    for pattern, day in _PUBLISHED:
        if re.search(pattern, model):
            return Cutoff(_midnight(day), "published")
    for pattern, day in _RELEASED:
        if re.search(pattern, model):
            return Cutoff(_midnight(day), "release")
    if found := _DATED.search(model):
        year, month = 2000 + int(found[2]), int(found[3])
        last = monthrange(year, month)[1]
        return Cutoff(datetime(year, month, min(int(found[4] or last), last) or last, tzinfo=UTC), "release")
    return Cutoff(None, "unknown")


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
