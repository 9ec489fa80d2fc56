"""Places in COBOL, whose one packaged grammar hangs on text that is none: by columns, quotes and words."""

import re

from analysis.definitions import TEST_NAME
from codetrial.records import Enclosing, Place

__all__ = ["enclosing_in_cobol", "place_in_cobol"]

_IMPORT = re.compile(r".{0,7}\s*COPY\b", re.IGNORECASE)


def place_in_cobol(before: str) -> Place:
    """Where a cursor stands that has `before` in front of it."""
    line = re.split(r"[\r\n]", before)[-1]
    code = line.split("*>")[0]
    if line[6:7] in {"*", "/"} or code != line:
        return Place.COMMENT
    if code.count('"') % 2 or code.count("'") % 2:
        return Place.STRING
    if _IMPORT.match(line):
        return Place.IMPORT
    words = _words(line)
    if re.search(r"\bCALL\b.*\bUSING\b|\bFUNCTION\s+[\w-]+\s*\([^)]*$", line, re.IGNORECASE):
        return Place.ARGUMENT
    if words and re.fullmatch(r"(PROGRAM|CLASS|FUNCTION|METHOD)-ID\.?", words[0], re.IGNORECASE):
        return Place.SIGNATURE
    if re.search(r"\bPROCEDURE\s+DIVISION\b.*\bUSING\b", line, re.IGNORECASE):
        return Place.SIGNATURE
    if len(words) > 1 or (words and line[-1:].isspace()):
        return Place.EXPRESSION
    previous = next((text for text in reversed(before.split("\n")[:-1]) if _words(text)), "")
    is_open = re.search(
        r"\b(ELSE|THEN|DIVISION\.?|SECTION\.?)\s*$|^.{6}\s*(IF|EVALUATE|WHEN|PERFORM\s+(UNTIL|VARYING))\b",
        previous,
        re.IGNORECASE,
    )
    return Place.BLOCK if is_open or _PARAGRAPH.match(previous) else Place.STATEMENT


_PARAGRAPH = re.compile(
    r"[\s\d]{6}[ ]{1,4}([A-Z0-9][\w-]*)(\s+SECTION)?\.\s*$|([A-Z0-9][\w-]*)(\s+SECTION)?\.\s*$", re.I
)


def _words(line: str) -> list[str]:
    """Without the sequence area, which holds numbers or nothing in the fixed format."""
    is_fixed = not line[:6].strip(" 0123456789")
    code = line[6:] if is_fixed else line
    return [] if code[:1] in {"*", "/"} else code.split()


def enclosing_in_cobol(before: str) -> Enclosing | None:
    """The paragraph or section around the end of `before`; None if its name may lie above."""
    for line in reversed(before.split("\n")[:-1]):
        if re.search(r"\bDIVISION\b", line, re.IGNORECASE):
            return Enclosing.NONE
        if (found := _PARAGRAPH.match(line)) is not None:
            return Enclosing.TEST if TEST_NAME.match(found[1] or found[3]) else Enclosing.FUNCTION
    return None
