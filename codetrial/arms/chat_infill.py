"""Chat models as infillers, by the snippet method.

Chat models are poor at stopping exactly at a cursor, and good at writing a coherent piece of code. So they are asked
for a snippet that begins by repeating the line at the cursor and ends with the first line that follows it; the overlap
at both ends is then removed here. Copilot Arena found the idea (arXiv 2502.09328) and reports what it gains per model.
"""

import re
from typing import NamedTuple

from codetrial.arms.base import Prompt

__all__ = ["METHOD", "Messages", "extract", "messages"]

METHOD = "snippet@1"

SYSTEM = (
    "You complete code at a cursor inside a file. You get the text before the cursor and the text after it. "
    "Reply with one snippet between <snippet> and </snippet> and nothing else. The snippet starts by repeating the "
    "last line before the cursor exactly, indentation included, continues it with the code that is missing at the "
    "cursor, and ends by repeating the first line after the cursor exactly, if there is one. Write only what belongs "
    "at the cursor, usually one to a few lines. Do not explain, do not use code fences, do not repeat anything else."
)


class Messages(NamedTuple):
    system: str
    user: str


def messages(prompt: Prompt) -> Messages:
    """What a chat model is asked."""
    context = "".join(f'<file path="{s.path}">\n{s.text}\n</file>\n' for s in prompt.snippets)
    user = (
        f"{context}File: {prompt.path}\nLanguage: {prompt.language}\n"
        f"<before_cursor>\n{prompt.prefix}</before_cursor>\n<after_cursor>{prompt.suffix}\n</after_cursor>\n"
    )
    return Messages(SYSTEM, user)


_TAG = re.compile(r"<snippet>\n?(.*?)(?:\n?</snippet>|\Z)", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def extract(text: str, prompt: Prompt) -> str:
    """The text for the cursor: tags and fences off, then what repeats the text around the cursor."""
    if found := _TAG.search(text):
        text = found[1]
    if found := _FENCE.search(text):
        text = found[1].removesuffix("\n")
    return _without_tail(_without_head(text, prompt.prefix), prompt.suffix)


def _without_head(text: str, prefix: str) -> str:
    """Drop what the text repeats of the end of the prefix."""
    for size in range(min(len(text), len(prefix)), 0, -1):
        if prefix.endswith(text[:size]):
            return text[size:]
    # Models lose the indentation of the repeated line, and white space at its end: compare without it.
    before, _, current = prefix.rpartition("\n")
    if current.strip():
        return _after_line(text, current)
    previous = before.rstrip().rpartition("\n")[2]
    first, separator, rest = text.partition("\n")
    if previous.strip() and separator and first.strip() == previous.strip():
        text = rest
    # The cursor stands behind the indentation already.
    return text[len(current) :] if current and text.startswith(current) else text


def _after_line(text: str, current: str) -> str:
    stripped = text.lstrip()
    line = current.lstrip()
    if stripped.startswith(line):
        return stripped[len(line) :]
    if stripped.startswith(line.rstrip()):
        rest = stripped[len(line.rstrip()) :]
        return rest.lstrip(" \t") if current[-1:].isspace() else rest
    return text


def _without_tail(text: str, suffix: str) -> str:
    """Drop what the text repeats of the beginning of the suffix."""
    for size in range(min(len(text), len(suffix)), 0, -1):
        if suffix.startswith(text[-size:]):
            return text[:-size]
    following = next((line.strip() for line in suffix.split("\n") if line.strip()), "")
    head, separator, last = text.rstrip().rpartition("\n")
    if following and last.strip() == following:
        return head if separator else ""
    return text
