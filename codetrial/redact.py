"""Nothing secret leaves in a message: keys and passwords are masked before a text is shown, logged or stored."""

import re

from codetrial.keys import find_key

__all__ = ["MASK", "redact"]

MASK = "[redacted]"
MAX_CHARS = 400
"""An error is a sentence; a provider's whole HTML page is not."""
_MIN_SECRET_CHARS = 6
"""Shorter values of key variables (such as `none`) are placeholders, and would mask ordinary words."""

_PATTERNS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"),
    re.compile(r"(?i)([?&](?:api[_-]?key|key|token|access_token|sig|signature)=)[^&\s\"']+"),
    re.compile(r"(?i)(\"?(?:x-)?(?:goog-)?api[-_]?key\"?\s*[:=]\s*\"?)[^\s\"',}]{6,}"),
    re.compile(r"(://[^/\s:@]*:)[^@\s/]+(?=@)"),
    re.compile(r"\b(sk|pk|rk|xai|gsk|hf|ghp|gho|ghu|ghs|ghr|github_pat|glpat|key|AIza)[-_]?[A-Za-z0-9_*.-]{12,}"),
)


def redact(text: str, *, key_envs: tuple[str, ...] = ()) -> str:
    """The text with every known or likely secret masked, on one line, and bounded in length.

    Args:
        key_envs: Names of keys whose values must not appear.
    """
    for name in key_envs:
        value = find_key(name) or ""
        if len(value) >= _MIN_SECRET_CHARS:
            text = text.replace(value, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: (found[1] if found[0] != found[1] else "") + MASK, text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
