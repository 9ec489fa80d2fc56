"""The definitions around a line, read off their first lines and the indentation.

People keep these when brackets and keywords are still missing, so they hold where no tree does.
"""

import re

from codetrial.records import Enclosing

__all__ = ["CASELESS", "HEADS", "TEST_NAME", "enclosing_of"]

_TYPES = frozenset(
    {
        "actor", "class", "classdef", "concept", "enum", "extension", "impl", "interface", "mod", "module", "namespace",
        "object", "package", "program", "protected", "protocol", "record", "struct", "submodule", "task", "trait",
        "type", "union", "unit",
    }
)  # fmt: skip
"""Kinds of definitions whose body holds members."""

_METHOD_HEAD = r"(?:(?:public|private|protected|static|async|get|set|readonly|override|abstract)\s+)*\*?"
_MODIFIERS = r"(?:@\w+(?:\([^)]*\))?\s+)*(?:[a-z]\w*(?:\([\w:]*\))?\s+)*?"
_TYPED = (
    r"(?!(?:if|for|foreach|while|switch|catch|return|else|do|using|lock|synchronized|try|new|throw|case|delete)\b)"
    r"(?:[\w:<>,\[\]&*~@?. \t]+?[\s*&:])?(?P<typed>~?\w+)\s*\([^;=]*$"
)
_PATTERNS = {
    "ada": r"(?P<kind>procedure|function|(?:package|task|protected)(?:\s+body)?)\s+(?P<name>[\w.]+)",
    "c": r"(?:typedef\s+|static\s+)*(?P<kind>struct|union|enum)\s+(?P<name>\w+)[^;()=]*$|" + _TYPED,
    "cpp": r"(?:template\s*<.*>\s*)?(?:typedef\s+|static\s+|export\s+|inline\s+)*(?:enum\s+)?"
    r"(?P<kind>class|struct|union|enum|namespace)\s*(?P<name>[\w:]*)[^;()=]*$|" + _TYPED,
    "csharp": _MODIFIERS + r"(?P<kind>class|struct|interface|enum|record|namespace)\s+(?P<name>[\w.]+)|" + _TYPED,
    "fortran": r"(?!end)(?:[\w()=*]+\s+)*?(?P<kind>subroutine|function|module|program|submodule)\s+(?P<name>\w+)",
    "go": r"(?P<kind>func|type)\s+(?:\([^)]*\)\s*)?(?P<name>\w*)",
    "java": _MODIFIERS + r"(?P<kind>class|interface|enum|record)\s+(?P<name>\w+)|" + _TYPED,
    "javascript": r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
    r"(?P<kind>function|class|interface|enum|namespace)\b\s*\*?\s*(?P<name>[\w$]*)"
    r"|(?:export\s+)?(?:const|let|var)\s+(?P<arrow>[\w$]+)[^=]*=\s*(?:async\s*)?(?:function\b|\(.*=>|[\w$]+\s*=>)"
    r"|" + _METHOD_HEAD + r"(?!(?:if|for|while|switch|catch|with|function|return)\b)[\w$#]+\s*\([^;]*\)[^;=]*\{\s*$",
    "kotlin": _MODIFIERS + r"(?P<kind>fun|class|interface|object)\b\s*(?:<[^>]*>\s*)?(?P<name>`[^`]*`|[\w.]*)",
    "lua": r"(?:local\s+)?(?:[\w.]+\s*=\s*)?(?P<kind>function)\b\s*(?P<name>[\w.:]*)",
    "matlab": r"(?P<kind>function|classdef)\s+(?:[^=]*=\s*)?(?P<name>\w+)",
    "pascal": r"(?:class\s+)?(?P<kind>procedure|function|constructor|destructor)\s+(?P<name>[\w.]+)"
    r"|(?P<type>\w+)\s*=\s*(?:class|record|interface|object)\b",
    "php": _MODIFIERS + r"(?P<kind>function|class|interface|trait|enum)\s+&?(?P<name>\w+)",
    "python": r"(?:async\s+)?(?P<kind>def|class)\s+(?P<name>\w+)",
    "ruby": r"(?:private\s+)?(?P<kind>def|class|module)\s+(?P<name>[\w.:?!=]+)",
    "rust": r"(?:pub(?:\([^)]*\))?\s+)?(?:default\s+|const\s+|async\s+|unsafe\s+|extern\s+(?:\"\w+\"\s+)?)*"
    r"(?P<kind>fn|struct|enum|trait|impl|mod|union)\b\s*(?P<name>\w*)",
    "scala": _MODIFIERS + r"(?P<kind>def|class|trait|object)\s+(?P<name>[\w]+)",
    "shellscript": r"(?P<kind>function)\s+(?P<name>[\w:-]+)|(?P<arrow>[\w:-]+)\s*\(\)",
    "swift": _MODIFIERS + r"(?P<kind>func|class|struct|enum|protocol|extension|actor|init)\b\s*(?P<name>\w*)",
}
_PATTERNS["typescript"] = _PATTERNS["typescriptreact"] = _PATTERNS["javascript"]
CASELESS = frozenset({"ada", "cobol", "fortran", "pascal"})
HEADS = {
    language: re.compile(rf"[ \t]*(?:{pattern})", re.IGNORECASE if language in CASELESS else 0)
    for language, pattern in _PATTERNS.items()
}
"""The first line of a definition."""

_ENDS_WITHOUT_INDENT = frozenset({"ada", "fortran", "matlab", "pascal"})
"""Bodies may stand as far left as their heads: there an `end` as far left closes it."""

TEST_NAME = re.compile(r"test|should_|it_|bench(mark)?[_A-Z]|fuzz[_A-Z]|spec_", re.IGNORECASE)
_TEST_TYPE = re.compile(r"tests?(case|suite)?($|_)|\w*(Tests?|TestCase|TestSuite|Spec|_tests?)$|Test[A-Z_]")
_TEST_CALL = {
    "javascript": re.compile(r"\s*(it|test|describe|context|suite|bench)(\.\w+)*(\(.*\))?\s*\("),
    "lua": re.compile(r"\s*(it|describe|context)\s*\("),
    "ruby": re.compile(r"\s*(RSpec\.)?(it|describe|context|specify|test|scenario|feature)\b.*\bdo\b"),
    "cpp": re.compile(r"\s*(TEST|TEST_F|TEST_P|TYPED_TEST|TEST_CASE|SECTION|BOOST_AUTO_TEST_CASE)\s*\("),
    "c": re.compile(r"\s*(TEST|TEST_F|START_TEST|Test)\s*\("),
    "kotlin": re.compile(r"\s*(test|describe|context|should|it)\s*\(\s*\"|\s*\"[^\"]*\"\s*(should)?\s*\{"),
    "scala": re.compile(r"\s*(test|it|describe)\s*\(|\s*(it|\".*\")\s*(should|must|in)\b"),
    "shellscript": re.compile(r"\s*@test\b"),
}
_TEST_CALL["typescript"] = _TEST_CALL["typescriptreact"] = _TEST_CALL["javascript"]
_TEST_MARK = re.compile(
    r"\s*(@(\w*\.)?\w*Test\b|@pytest\b|\[(Fact|Theory|Test|TestMethod|TestCase)\b|#\[(\w+::)*test\b|#\[cfg\(test\)\])"
)
MARK_LINES = 4
"""Annotations stand so near above a head."""

HEAD_CHARS = 300
"""Of a line that may be a head; the expressions below are not made for the single line of a minified file."""


def enclosing_of(before: str, language: str, *, is_whole: bool) -> Enclosing | None:
    """What encloses the end of `before`; None if not known: its head may lie above, unless `before` is whole."""
    pattern = HEADS.get(language)
    if pattern is None:
        return None
    *above, line = before.split("\n")
    found: list[Enclosing] = []
    at_left = _enclosing_heads(above, line, pattern, language, found)
    if Enclosing.TEST in found:
        return Enclosing.TEST
    if found:
        is_member = found[0] is Enclosing.FUNCTION and Enclosing.CLASS in found[1:2]
        return Enclosing.METHOD if is_member else found[0]
    return Enclosing.NONE if is_whole or at_left else None


def _enclosing_heads(
    above: list[str], line: str, pattern: re.Pattern[str], language: str, found: list[Enclosing]
) -> bool:
    """Gather the definitions around a line, the innermost first; True if the left margin was reached."""
    indent = _indent(line) if line.strip() else len(line.expandtabs(4))
    needs_less = language not in _ENDS_WITHOUT_INDENT
    may_equal = not needs_less
    closed: set[int] = set()
    for number in range(len(above) - 1, -1, -1):
        text = above[number]
        stripped = text.strip()
        if not stripped or (stripped[0] in "#%" and language in {"c", "cpp", "csharp", "matlab"}):
            continue
        own = _indent(text)
        if needs_less and own >= indent and not (may_equal and own == indent):
            continue
        if not needs_less and re.match(r"end\b", stripped, re.IGNORECASE):
            closed.add(own)
            continue
        kind = _kind_of(text, above[max(0, number - MARK_LINES) : number], pattern, language)
        if kind is not None and own in closed:
            closed.discard(own)
        elif kind is not None and (needs_less or own <= indent):
            found.append(kind)
            may_equal = False
            indent = own
        elif needs_less:
            # A closing bracket or a lone brace ends a head that began as far left, on a line above.
            may_equal = stripped[0] in ")]}{" or stripped in {"begin", "is"} or (may_equal and own == indent)
            indent = own
        if needs_less and indent == 0 and not may_equal:
            return True
    return False


def _indent(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


def _kind_of(line: str, above: list[str], pattern: re.Pattern[str], language: str) -> Enclosing | None:
    line = line[:HEAD_CHARS]
    call = _TEST_CALL.get(language)
    if call is not None and call.match(line):
        return Enclosing.TEST
    head = pattern.match(line)
    if head is None:
        return None
    groups = head.groupdict()
    kind = (groups.get("kind") or ("class" if groups.get("type") else "")).lower().split(" ")[0]
    name = next((groups[key] for key in ("name", "arrow", "typed", "type") if groups.get(key)), "")
    is_type = kind in _TYPES
    if any(_TEST_MARK.match(text) for text in above[-MARK_LINES:] if _is_mark(text)):
        return Enclosing.TEST
    if (_TEST_TYPE if is_type else TEST_NAME).match(name.rpartition(".")[2].strip("`")):
        return Enclosing.TEST
    if language == "go" and re.match(r"func\s*\(", line):
        return Enclosing.METHOD
    return Enclosing.CLASS if is_type else Enclosing.FUNCTION


def _is_mark(line: str) -> bool:
    return line.lstrip()[:1] in {"@", "[", "#"}
