"""The one canonical cut: what of an arm's raw answer would be shown. The door applies it to both arms alike.

Stops sent to a server differ by provider (four here, sixteen there, none for whitespace), so where an answer ends must
be decided after receipt, by us, or the arms would be compared by their plumbing. Every filter only shortens: the cut
text is always a prefix of the raw text with its line ends made `\\n`. Raw text and the names of the filters that acted
are stored, so that a faulty filter can be scored again rather than lost.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["CUT_VERSION", "Cut", "cut"]

CUT_VERSION = "1"

LOOP_LINES = 3
"""The same line three times is a model going round; twice occurs in honest code."""

OVERLAP_CHARS = 8
"""A shared piece this long before the cursor's suffix is an echo; a shorter one must be all that is left there."""

_SENTINEL = re.compile(
    r"<\|(?:endoftext|end_of_text|fim_\w+|file_sep(?:arator)?|repo_name|im_start|im_end|eot_id|EOT|cursor)\|>"
    r"|<\|code_\w+\|>"
    r"|<｜[^｜>]{1,40}｜>|<fim_\w+>|<file_sep>|<EOT>|<MID>|<end_of_turn>|<eos>|</s>|\[(?:PREFIX|SUFFIX|MIDDLE)\]"
)
_CLOSERS = frozenset(")]}>\"'`;,:")
_PAIRS = {")": "(", "]": "[", "}": "{"}


class Cut(NamedTuple):
    text: str
    """Empty if nothing worth showing remains."""
    filters: tuple[str, ...]
    """The filters that shortened it, in order."""


class _Around(NamedTuple):
    indent: int
    """Columns of white space before the cursor's line."""
    rest: str
    """What follows the cursor on its line."""
    following: str
    """The first line below that is not blank."""
    max_lines: int


def cut(raw: str, *, prefix: str, suffix: str, language: str, max_lines: int) -> Cut:
    """Cut an arm's answer to what fits between `prefix` and `suffix`.

    Args:
        raw: As the arm returned it, after its own declared repairs.
        language: LSP identifier; where indentation is no structure, a smaller one ends nothing.
        max_lines: The trial's limit, counted after everything else.
    """
    around = _look_around(prefix, suffix, max_lines)
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    acted: list[str] = []
    for name, shorten in _FILTERS:
        if name == "scope" and language in _FREE_FORM:
            continue
        shorter = shorten(text, around)
        if shorter != text:
            acted.append(name)
            text = shorter
    return Cut(text, tuple(acted))


_FREE_FORM = frozenset({"markdown", "plaintext", "restructuredtext", "cobol", "fortran", "unknown"})


def _look_around(prefix: str, suffix: str, max_lines: int) -> _Around:
    line = re.split(r"[\r\n]", prefix)[-1]
    rest, *below = re.split(r"\r\n|\r|\n", suffix)
    following = next((text.strip() for text in below if text.strip()), "")
    return _Around(_indent(line), rest, following, max_lines)


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())


def _sentinel(text: str, _: _Around) -> str:
    """Special tokens that a server passed on as text: nothing after one was meant for a person."""
    found = _SENTINEL.search(text)
    return text[: found.start()] if found else text


def _mid_line(text: str, around: _Around) -> str:
    """With code to the right of the cursor, more than one line would push it away from where it belongs."""
    if not around.rest.strip() or set(around.rest.strip()) <= _CLOSERS:
        return text
    return text.partition("\n")[0]


def _repeats_following(text: str, around: _Around) -> str:
    """Stop where the line below the cursor begins again."""
    if len(around.following) < 2 or set(around.following) <= _CLOSERS | {" "}:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], start=1):
        if line.strip() == around.following:
            return "\n".join(lines[:number])
    return text


def _scope(text: str, around: _Around) -> str:
    """Stop where the block of the cursor's line ends."""
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], start=1):
        if line.strip() and _indent(line) < around.indent:
            return "\n".join(lines[:number])
    return text


def _loop(text: str, _: _Around) -> str:
    lines = text.split("\n")
    seen = 1
    for number in range(1, len(lines)):
        seen = seen + 1 if lines[number].strip() and lines[number] == lines[number - 1] else 1
        if seen == LOOP_LINES:
            return "\n".join(lines[: number - LOOP_LINES + 2])
    return text


def _max_lines(text: str, around: _Around) -> str:
    return "\n".join(text.split("\n")[: around.max_lines])


def _suffix_overlap(text: str, around: _Around) -> str:
    """Take off the end what already stands to the right of the cursor."""
    rest = around.rest.rstrip()
    body = text.rstrip()
    for size in range(min(len(rest), len(body)), 0, -1):
        shared = rest[:size]
        if not shared.strip() or not body.endswith(shared):
            continue
        if set(shared.strip()) <= _CLOSERS:
            surplus = _surplus_closers(body)
            return body[:-size] if surplus > 0 or not set(shared) & set(_PAIRS) else text
        if size == len(rest) or size >= OVERLAP_CHARS:
            return body[:-size]
    return text


def _surplus_closers(text: str) -> int:
    """Closing brackets that nothing in the text opened."""
    waiting: list[str] = []
    surplus = 0
    for character in text:
        if character in _PAIRS.values():
            waiting.append(character)
        elif character in _PAIRS:
            if waiting and waiting[-1] == _PAIRS[character]:
                waiting.pop()
            else:
                surplus += 1
    return surplus


def _trailing_space(text: str, _: _Around) -> str:
    return text.rstrip()


_FILTERS: tuple[tuple[str, Callable[[str, _Around], str]], ...] = (
    ("sentinel", _sentinel),
    ("mid_line", _mid_line),
    ("repeats_following", _repeats_following),
    ("scope", _scope),
    ("loop", _loop),
    ("max_lines", _max_lines),
    ("suffix_overlap", _suffix_overlap),
    ("trailing_space", _trailing_space),
)
"""The line limit comes after all that takes whole lines away, so that both arms get as many lines of their own."""
