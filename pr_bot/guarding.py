"""What a review asks before it sends anything; `pr_bot.guard` answers with the trial's rules."""

from typing import Protocol

from codetrial.arms.base import Answer
from codetrial.records import ArmLabel
from pr_bot.review import ReviewPrompt

__all__ = ["Guard"]


class Guard(Protocol):
    """Masks what must not be sent, and says when nothing may be."""

    def mask(self, text: str) -> str: ...

    async def refusal(self, prompt: ReviewPrompt) -> str | None: ...

    def begin(self) -> None: ...

    async def end(self, label: ArmLabel, answer: Answer) -> None: ...
