"""Cursors inside a word: ask from the word's beginning, and take only answers that begin with what is typed.

A model sees tokens, and half a word is seldom one that it was trained on: after `json.loa` it seldom says `ds`.
With `options.heal` the typed part of the word is left out of the prompt and must come back at the head of the answer;
an answer that begins otherwise is no answer. It belongs to the arm, and to its fingerprint.
"""

import re
from dataclasses import dataclass, replace

from codetrial.arms.base import Prompt

__all__ = ["METHOD", "Healed", "heal"]

METHOD = "heal@1"

_STUB = re.compile(r"[^\W\d]\w*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """A prompt as it is sent, and the part of a word that was left out of it."""

    prompt: Prompt
    stub: str

    def rest(self, text: str) -> str:
        """What the answer adds to the typed part; "" if it contradicts it."""
        if not self.stub:
            return text
        return text[len(self.stub) :] if text.startswith(self.stub) else ""


def heal(prompt: Prompt, *, is_on: bool) -> Healed:
    found = _STUB.search(prompt.prefix) if is_on else None
    if found is None:
        return Healed(prompt=prompt, stub="")
    return Healed(prompt=replace(prompt, prefix=prompt.prefix[: found.start()]), stub=found[0])
