"""What comes from a pull request, and what comes from a model, made harmless before it goes any further.

Text on its way to a model keeps every visible character, and shows the invisible ones. Text on its way to a page keeps
its words, its lists and its code, and loses whatever GitHub (or another bot that reads the raw comment) would act on.
"""

import re
from typing import NamedTuple

__all__ = ["Visible", "code_block", "inline_code", "make_visible", "plain_line", "redact", "safe_markdown"]

# Zero-width and bidirectional controls, fillers that render as nothing, tag characters and the C0/C1 controls: what a
# reader of the page does not see and a model does. Variation selectors are left alone, for emoji end with one.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)

_SECRETS = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|sk-[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?i:(?<=authorization: )(?:bearer|token|basic) \S+)",
    re.DOTALL,
)

# GitHub draws these instead of showing them; `suggestion` would even become a button that commits.
_DRAWN_LANGUAGES = frozenset({"suggestion", "mermaid", "geojson", "topojson", "stl", "math", "diff-suggestion"})

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
# A word with anything in it that GitHub turns into a link, a reference or a notification. Whole words are put into
# code, for nothing is linked there; a character reference such as `&#64;` would still be linked after rendering.
_ACTIVE_WORD = re.compile(
    r"\S*(?:@[\w\[-]|://|\bwww\.|\bmailto:|#\d|\bGH-\d|\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b)\S*", re.IGNORECASE
)


_ESCAPE_NEXT = "\0"
"""Stands for a backslash of ours until the text's own are escaped; no text has it, for it is invisible."""


class Visible(NamedTuple):
    text: str
    invisible: int
    """How many characters a reader would not have seen."""


def make_visible(text: str) -> Visible:
    """The text with each invisible character spelled out, such as `<U+202E>`."""
    visible, count = _INVISIBLE.subn(lambda match: f"<U+{ord(match[0]):04X}>", text)
    return Visible(visible, count)


def redact(text: str) -> str:
    """The text without anything shaped like a credential."""
    return _SECRETS.sub("[redacted]", text)


def plain_line(text: str, max_chars: int) -> str:
    """One line of prose for a heading or a list; no code spans, nothing active."""
    words = " ".join(_INVISIBLE.sub("", redact(text)).replace("`", "'").split())
    return _safe_prose(words if len(words) <= max_chars else words[: max_chars - 1].rstrip() + "…")


def safe_markdown(text: str, max_chars: int) -> str:
    """Prose and code of a model as Markdown that does nothing but look like itself."""
    text = _INVISIBLE.sub("", redact(text.replace("\r\n", "\n").replace("\r", "\n")))
    if len(text) > max_chars:
        text = text[: max_chars - 1].rstrip() + "…"
    parts: list[str] = []
    prose: list[str] = []
    lines = iter(text.split("\n"))
    for line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            prose.append(line)
            continue
        parts.append(_safe_paragraphs(prose))
        prose = []
        code = []
        for inner in lines:
            closing = _FENCE.match(inner)
            if closing and closing[1].startswith(fence[1]) and not closing[2].strip():
                break
            code.append(inner)
        parts.append(code_block("\n".join(code), _language(fence[2])))
    parts.append(_safe_paragraphs(prose))
    return "\n\n".join(stripped for part in parts if (stripped := part.strip("\n")).strip()).strip()


def code_block(code: str, language: str = "") -> str:
    """A fence longer than any run of backticks inside it, so that nothing breaks out."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def inline_code(text: str) -> str:
    """A file name or identifier as code, whatever stands in it."""
    content = " ".join(_INVISIBLE.sub("\ufffd", text).split())
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    ticks = "`" * (longest + 1)
    padding = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{ticks}{padding}{content}{padding}{ticks}" if content else "` `"


def _language(info: str) -> str:
    name = info.strip().split(" ")[0].lower()
    return name if re.fullmatch(r"[a-z0-9+#-]{1,20}", name) and name not in _DRAWN_LANGUAGES else ""


def _safe_paragraphs(lines: list[str]) -> str:
    text = "\n".join(_plain_start(line) for line in lines)
    parts: list[str] = []
    end = 0
    for span in _CODE_SPAN.finditer(text):
        parts.append(_safe_prose(text[end : span.start()]))
        parts.append(inline_code(span[2].replace(_ESCAPE_NEXT, "")))
        end = span.end()
    parts.append(_safe_prose(text[end:]))
    return "".join(parts)


def _plain_start(line: str) -> str:
    """Headings, rules, tables and the slash commands of other bots are text here; lists stay lists."""
    bare = line.lstrip()
    if bare.startswith(("#", "/", "=", "|", "+++")) or re.fullmatch(r"[-*_\s]{3,}", bare):
        return _ESCAPE_NEXT + bare if bare else bare
    return line if re.match(r" {0,8}(?:[-*]|\d+\.) ", line) else bare


def _safe_prose(text: str) -> str:
    parts: list[str] = []
    end = 0
    for word in _ACTIVE_WORD.finditer(text):
        parts.append(_escape(text[end : word.start()]))
        parts.append(inline_code(word[0].replace("`", "'").replace(_ESCAPE_NEXT, "")))
        end = word.end()
    parts.append(_escape(text[end:]))
    return "".join(parts)


def _escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A lone backtick could pair with one of ours further on, and a lone backslash would take the meaning from it.
    return re.sub(r"([\\\[\]$~`])", r"\\\1", text).replace(_ESCAPE_NEXT, "\\")
