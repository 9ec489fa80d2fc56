"""Where a cursor stands: its place by syntax, its part of the line, and the definition around it.

Code at a cursor is unfinished, and a window is cut out of a file, so nothing here trusts the shape of the tree more
than it must. Comments and strings are read off the tree; brackets and the beginning of the statement off its leaves,
backwards and only as far as needed; the definitions around off the indentation, which people keep when brackets and
keywords are still missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import tree_sitter

from analysis.cobol import enclosing_in_cobol, place_in_cobol
from analysis.definitions import CASELESS, HEADS, enclosing_of
from analysis.syntax import encode, is_prose, is_supported, parse
from codetrial.records import Enclosing, LinePart, Place

__all__ = ["Surroundings", "place_of", "surroundings"]

WINDOW_BEFORE = 2_500
WINDOW_AFTER = 1_000
"""Characters around the cursor that decide its place: some sixty lines, half a millisecond to parse."""


class Surroundings(NamedTuple):
    place: Place
    line_part: LinePart
    enclosing: Enclosing | None
    """None: not known, because its head may lie outside of what was looked at."""


def place_of(prefix: str, suffix: str, language: str) -> Place:
    """Where the cursor between `prefix` and `suffix` stands, by syntax."""
    return surroundings(prefix, suffix, language).place


def surroundings(prefix: str, suffix: str, language: str) -> Surroundings:
    """All that is known about the cursor between `prefix` and `suffix`."""
    part = _line_part(prefix, suffix)
    if language != "cobol" and not is_supported(language):
        return Surroundings(Place.UNKNOWN, part, None)
    near = _with_line_feeds(prefix[-2 * WINDOW_BEFORE :])
    before, after = _tail_of_lines(near, WINDOW_BEFORE), _with_line_feeds(suffix[:WINDOW_AFTER])
    is_whole = len(prefix) <= 2 * WINDOW_BEFORE and len(before) == len(near)
    if language == "cobol":
        place, enclosing = place_in_cobol(before), enclosing_in_cobol(before)
    else:
        place, enclosing = _place(before, after, language), enclosing_of(before, language, is_whole=is_whole)
    if place is _FALLBACK:
        place = _BY_LINE[part]
    if enclosing is Enclosing.TEST and place in (Place.STATEMENT, Place.BLOCK):
        place = Place.TEST
    return Surroundings(place, part, enclosing)


_FALLBACK = Place.LINE_END
_BY_LINE = {LinePart.START: Place.LINE_START, LinePart.END: Place.LINE_END, LinePart.MID: Place.MID_LINE}


def _line_part(prefix: str, suffix: str) -> LinePart:
    if re.split(r"[\r\n]", suffix, maxsplit=1)[0].strip():
        return LinePart.MID
    return LinePart.END if re.split(r"[\r\n]", prefix[-WINDOW_BEFORE:])[-1].strip() else LinePart.START


def _with_line_feeds(text: str) -> str:
    """Editors end lines with carriage returns too, which not all grammars know."""
    return re.sub(r"\r\n?", "\n", text) if "\r" in text else text


def _tail_of_lines(text: str, limit: int) -> str:
    """The last `limit` characters, from the start of a line on where there is one."""
    if len(text) <= limit:
        return text
    tail = text[-limit:]
    _, newline, rest = tail.partition("\n")
    return rest if newline else tail


# --- What the languages call things ---


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DATA = frozenset({"css", "html", "json", "toml", "yaml"})
"""Languages without statements: only prose, imports and the part of the line are told apart."""

_IMPORT = {
    "ada": re.compile(r"\s*(with|use)\b", re.IGNORECASE),
    "c": re.compile(r"\s*#\s*include\b"),
    "cpp": re.compile(r"\s*(#\s*include|import|using)\b"),
    "csharp": re.compile(r"\s*(global\s+)?using\b(?!\s*\()"),
    "css": re.compile(r"\s*@import\b"),
    "fortran": re.compile(r"\s*(use|include|import)\b", re.IGNORECASE),
    "go": re.compile(r"\s*import\b"),
    "java": re.compile(r"\s*import\b"),
    "javascript": re.compile(r"\s*(import\b|(const|let|var)\b[^=]*=\s*require\()"),
    "kotlin": re.compile(r"\s*import\b"),
    "lua": re.compile(r"\s*(local\s+\w+\s*=\s*)?require\b"),
    "matlab": re.compile(r"\s*import\b"),
    "pascal": re.compile(r"\s*uses\b", re.IGNORECASE),
    "php": re.compile(r"\s*(use|require|require_once|include|include_once)\b"),
    "python": re.compile(r"\s*(import|from)\s"),
    "ruby": re.compile(r"\s*(require|require_relative|load)\b"),
    "rust": re.compile(r"\s*(pub\s+)?(use|extern\s+crate)\b"),
    "scala": re.compile(r"\s*import\b"),
    "shellscript": re.compile(r"\s*(source|\.)\s"),
    "swift": re.compile(r"\s*import\b"),
    "typescript": re.compile(r"\s*(import|export\s+(\*|\{))"),
    "typescriptreact": re.compile(r"\s*(import|export\s+(\*|\{))"),
}
"""By line and not by node: an import is mostly asked for while it does not parse yet."""

_MEMBER = re.compile(r"(?:[\w)\]}\"'?!]\s*\??\.|->|::)[^\W\d]?\w*$")
_NUMBER_DOT = re.compile(r"(?<![\w)\]])\d[\d_]*\.\w*$")

_DEFINES = {
    "ada": "function package procedure protected task",
    "c": "struct union enum",
    "cpp": "class struct union enum namespace template concept",
    "csharp": "class struct interface enum record namespace delegate",
    "fortran": "subroutine function module program interface submodule",
    "go": "func type",
    "java": "class interface enum record",
    "javascript": "function class",
    "kotlin": "fun class interface object typealias",
    "lua": "function",
    "matlab": "function classdef",
    "pascal": "procedure function constructor destructor program unit",
    "php": "function class interface trait enum fn",
    "python": "def class",
    "ruby": "def class module",
    "rust": "fn struct enum trait impl mod union",
    "scala": "def class trait object",
    "shellscript": "function",
    "swift": "func class struct enum protocol extension init actor",
    "typescript": "function class interface enum namespace type",
}
_DEFINES["typescriptreact"] = _DEFINES["typescript"]
_DEFINING = {language: frozenset(words.split()) for language, words in _DEFINES.items()}
"""Words that begin the head of a definition."""

_TYPED_HEADS = frozenset({"c", "cpp", "csharp", "java"})
"""Languages in which a function's head has no word of its own: `int f(`, `public void f(`."""

_NO_TYPE = _words(
    "return new throw await yield else case delete sizeof typeof goto co_await co_return co_yield import "
    "package using if for while switch catch do try lock in is as not and or out ref var"
)
"""Words before a name and a parenthesis that make it a call."""

_CONTROL = _words(
    "if for while switch catch return in and or not elif elseif elsif match with until unless case when "
    "await yield using lock foreach synchronized throw typeof sizeof do else"
)
_CALLEE = re.compile(r"[\w)\]>!?]$")

_BLOCK_WORDS = _words("then do begin else try finally ensure repeat loop is record private declare except generate")
"""Words that open a block when nothing follows them on their line."""

_OPENS = {
    "ada": re.compile(r"\s*(begin|else|loop|declare|record|private|exception|.*\b(is|then|loop)\s*$|.*=>\s*$)", re.I),
    "fortran": re.compile(
        r"\s*((\w+\s+)*(subroutine|function|program|module|interface)\b|(\w+\s*:\s*)?do\b|.*\bthen\s*$|else|contains|"
        r"select\b|case\b|where\b|type\b(?!\s*\())",
        re.IGNORECASE,
    ),
    "lua": re.compile(r".*\b(then|do|else|repeat)\s*$|.*\bfunction\b[^()]*\([^()]*\)\s*$"),
    "matlab": re.compile(
        r"\s*(function|if|elseif|else|for|parfor|while|switch|case|otherwise|try|catch|classdef|methods|properties)\b"
    ),
    "pascal": re.compile(r"\s*(begin|repeat|try|except|finally|.*\b(begin|then|do|else|of|repeat|try)\s*$)", re.I),
    "ruby": re.compile(
        r"\s*(def|class|module|if|unless|else|elsif|while|until|case|when|for|begin|rescue|ensure)\b(?!.*\bend\s*$)"
        r"|.*\bdo(\s*\|[^|]*\|)?\s*$"
    ),
    "shellscript": re.compile(r".*(\b(then|do|else|in)|[{(])\s*$|\s*[^()\s]+\)\s*$"),
}
"""Lines after which a block begins, where neither a brace nor a colon says so."""

_DOC_COMMENT = re.compile(r"/\*\*(?!/)|/\*!|//[/!](?!/)|!>|!<|!!|---(?!-)|\(\*\*(?!\))|\{!")
_DOCUMENTED_BY_POSITION = frozenset({"ada", "go", "lua", "pascal", "ruby", "shellscript"})
"""Languages in which any comment right above a definition documents it."""

_CONTINUES = _words(
    ", ( [ = + - * / % & | && || < ? . ! == != <= >= += -= *= /= := <- << ... \\ and or not in && || ?? ?: .."
)
"""Tokens after which a line goes on."""

_APOSTROPHE_QUOTES = _words(
    "javascript lua matlab pascal php python ruby shellscript typescript typescriptreact fortran"
)

# --- The place ---


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int


class _Window:
    """The text around the cursor, parsed."""

    def __init__(self, before: str, after: str, language: str) -> None:
        self.before = before
        self.after = after
        self.language = language
        self.data = encode(before)
        self._source = self.data + encode(after)
        self.tree = parse(self._source, language)
        self.line = before.rpartition("\n")[2]

    def text_of(self, node: tree_sitter.Node) -> bytes:
        return self._source[node.start_byte : node.end_byte]


@dataclass(frozen=True, slots=True)
class _Statement:
    """What stands between the beginning of the statement, or the bracket around it, and the cursor."""

    tokens: list[_Token]
    """In order; brackets that are closed again are left out with what they hold, but for a `()`."""
    opener: _Token | None
    """The token before the first of these; None at the beginning of the text."""
    bracket: str | None
    """The opener, if it is a bracket."""
    head: list[str]
    """What stands before that bracket in its own statement."""


def _place(before: str, after: str, language: str) -> Place:
    window = _Window(before, after, language)
    if window.tree is None:
        return Place.UNKNOWN
    root = window.tree.root_node
    if (prose := _prose(window, root)) is not None:
        return prose
    pattern = _IMPORT.get(window.language)
    if pattern is not None and pattern.match(window.line):
        return Place.IMPORT
    if window.language in _DATA:
        return _FALLBACK
    if _MEMBER.search(window.line) and not _NUMBER_DOT.search(window.line):
        return Place.MEMBER
    if (listed := _list_around(window, root, len(window.data))) is not None:
        return listed
    return _by_tokens(window, root)


def _by_tokens(window: _Window, root: tree_sitter.Node) -> Place:
    found = _statement(window, root)
    if found.bracket == "(":
        return _in_parentheses(found.head, window.language)
    if found.bracket == "[" or (found.bracket == "{" and _is_literal(found.head, window.language)):
        return Place.EXPRESSION
    if not found.tokens or (len(found.tokens) == 1 and _touches(found.tokens[0], window)):
        return Place.BLOCK if _opens_block(window, found) else Place.STATEMENT
    words = [token.text for token in found.tokens]
    return Place.SIGNATURE if _is_head(words, window.language) else Place.EXPRESSION


def _touches(token: _Token, window: _Window) -> bool:
    return token.end == len(window.data) and (token.text[-1].isalnum() or token.text[-1] == "_")


def _in_parentheses(words: list[str], language: str) -> Place:
    """Inside a parenthesis that `words` stand before, in the same statement."""
    callee = words[-1] if words else ""
    if _is_head(words, language) or callee in _DEFINING.get(language, ()):
        return Place.SIGNATURE
    if language in _TYPED_HEADS and _is_typed_head(words):
        return Place.SIGNATURE
    is_call = bool(_CALLEE.search(callee)) and callee.lower() not in _CONTROL
    return Place.ARGUMENT if is_call else Place.EXPRESSION


def _is_head(words: list[str], language: str) -> bool:
    """Whether these words are the beginning of a definition that has not come to its body."""
    folded = [word.lower() for word in words] if language in CASELESS else words
    if "end" in folded[:1] or not _DEFINING.get(language, frozenset()) & set(folded[:6]):
        return False
    return not {"=", ":=", "=>", "is", "begin", "then"} & set(folded) and not (
        language == "python" and words[-1] == ":"
    )


def _is_typed_head(words: list[str]) -> bool:
    """`static int f` before a parenthesis is a head; `return f`, `a.f` and `x = f` are not."""
    if len(words) < 2 or not (words[-2][-1].isalnum() or words[-2] in {"_", "*", "&", ">", "]", "()"}):
        return False
    return all(re.fullmatch(r"\w+|[*&<>,\[\]~@?.]|::|\(\)", word) and word not in _NO_TYPE for word in words)


_BLOCKS_HAVE_VALUES = frozenset({"kotlin", "rust", "scala", "swift"})


def _is_literal(words: list[str], language: str) -> bool:
    """Whether a brace after `words` begins a value and not a block."""
    if language in {"python", "lua", "matlab"}:
        return True
    last = words[-1] if words else ""
    if last in {"=", "(", ",", "[", ":", "return", "?", "&&", "||", "in", "??", "from", "import", "export"}:
        return language not in _BLOCKS_HAVE_VALUES or (language == "rust" and last != "=")
    return (
        language not in _BLOCKS_HAVE_VALUES - {"rust"}
        and "=" in words
        and words[0] not in _CONTROL
        and last not in {"=>", "->", ")", "()", "do", "else"}
    )


def _opens_block(window: _Window, found: _Statement) -> bool:
    """Whether nothing but the opening of a block stands before the statement."""
    if found.opener is None:
        return False
    word = found.opener.text.lower()
    if word == "{" or (window.language == "python" and word == ":") or word in _BLOCK_WORDS:
        return True
    pattern = _OPENS.get(window.language)
    if pattern is None:
        return False
    line = window.data[: found.opener.end].rpartition(b"\n")[2].decode("utf-8", "replace")
    return bool(pattern.match(line))


def _statement(window: _Window, root: tree_sitter.Node) -> _Statement:
    """Read backwards to where the statement begins or to the bracket around it, then that bracket's own head."""
    tokens = _tokens_backwards(root, window.data)
    found, opener = _read(tokens, window, None)
    if opener is None or opener.text not in _OPENING:
        return _Statement(found, opener, None, [])
    head, _ = _read(tokens, window, opener)
    return _Statement(found, opener, opener.text, [token.text for token in head])


_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def _read(tokens: Iterator[_Token], window: _Window, later: _Token | None) -> tuple[list[_Token], _Token | None]:
    """Tokens back to where a statement begins, and what stands before them."""
    taken: list[_Token] = []
    depth = 0
    for token in tokens:
        if depth == 0 and (token.text in _OPENING or _begins_after(token, later, window)):
            return taken[::-1], token
        if token.text in _CLOSING:
            depth += 1
        elif token.text in _OPENING:
            depth -= 1
            if depth == 0:
                taken.append(_Token("()", token.start, token.end))
        elif depth == 0:
            taken.append(token)
        later = token
    return taken[::-1], None


def _begins_after(token: _Token, later: _Token | None, window: _Window) -> bool:
    """Whether a statement begins after `token`, `later` being the one behind it (None: the cursor)."""
    if token.text == ";":
        return "for" not in window.line
    gap = window.data[token.end : later.start if later is not None else len(window.data)]
    if b"\n" not in gap or token.text in _CONTINUES:
        return False
    if later is not None and later.text in _GOES_ON:
        return False
    return not (later is None and _closes_first(window.after))


_GOES_ON = frozenset([".", "?.", "{", "&&", "||", "+", "->"])
"""Tokens that go on with what stands on the line above."""


def _closes_first(after: str) -> bool:
    """Whether what follows closes a bracket that was opened before the cursor: its line is no statement's beginning."""
    return after.lstrip()[:1] in {")", "]"}


def _tokens_backwards(root: tree_sitter.Node, before: bytes) -> Iterator[_Token]:
    """Tokens before the cursor, the last first, without comments; read only as far as asked."""
    at = len(before)
    stack = [root]
    while stack:
        node = stack.pop()
        if node.start_byte >= at:
            continue
        if node.child_count:
            stack.extend(node.children)
            continue
        end = min(node.end_byte, at)
        # Error recovery may skip bytes without a leaf for them.
        yield from _lexed(before, end, at)
        at = node.start_byte
        if end <= at or "comment" in node.type:
            continue
        text = before[at:end].decode("utf-8", "replace")
        if is_prose(node.type, text):
            text = '""' if text.strip() else ""
        if text:
            yield _Token(text, at, end)
    yield from _lexed(before, 0, at)


_LEXED = re.compile(rb"\w+|[^\w\s]")


def _lexed(data: bytes, start: int, end: int) -> Iterator[_Token]:
    for found in reversed(list(_LEXED.finditer(data, start, end))):
        yield _Token(found[0].decode("utf-8", "replace"), found.start(), found.end())


_ARGUMENT_LISTS = _words(
    "argument_list arguments value_arguments call_arguments exprArgs actual_parameter_part token_tree"
)
_PARAMETER_LISTS = _words(
    "parameters formal_parameters parameter_list function_value_parameters class_parameters "
    "method_parameters formal_part declArgs function_arguments lambda_parameters type_parameters "
    "type_parameter_list"
)
_BODIES = re.compile(
    r"block|body|compound|statements|_list$|program|source_file|module|translation_unit|chunk|do_group"
)


def _list_around(window: _Window, root: tree_sitter.Node, offset: int) -> Place | None:
    """ARGUMENT or SIGNATURE where the tree is whole enough to show the list that the cursor is in."""
    node: tree_sitter.Node | None = root.descendant_for_byte_range(max(0, offset - 1), offset)
    while node is not None:
        if node.start_byte < offset < node.end_byte:
            if node.type in _PARAMETER_LISTS:
                return Place.SIGNATURE
            if node.type in _ARGUMENT_LISTS:
                if node.parent is not None and node.parent.type == "class_definition":
                    return Place.SIGNATURE
                return Place.ARGUMENT if window.text_of(node).startswith(b"(") else None
            if node.type == "ERROR" or "lambda" in node.type or _BODIES.search(node.type):
                return None
        node = node.parent
    return None


# --- Comments and strings ---


def _prose(window: _Window, root: tree_sitter.Node) -> Place | None:
    """COMMENT, DOCSTRING or STRING if the cursor is inside one, not at its outer edge."""
    offset = len(window.data)
    at_end = root.descendant_for_byte_range(max(0, offset - 1), max(0, offset - 1))
    # A line comment reaches up to the line break: a cursor at its very end is still in it.
    if at_end and "comment" in at_end.type and not window.text_of(at_end).endswith((b"*/", b"*)", b"}")):
        return _comment(window, at_end)
    node: tree_sitter.Node | None = root.descendant_for_byte_range(max(0, offset - 1), offset)
    while node is not None:
        inside = node.start_byte < offset < node.end_byte
        if inside and "comment" in node.type:
            return _comment(window, node)
        if inside and node.type in {"interpolation", "template_substitution", "string_interpolation"}:
            return None
        if inside and ("string" in node.type or node.type in {"char_literal", "heredoc_body", "raw_text"}):
            return _string(window, node)
        node = node.parent
    return _open_string(window)


def _comment(window: _Window, node: tree_sitter.Node) -> Place:
    text = window.text_of(node).decode("utf-8", "replace")
    while "comment" in node.type and node.parent is not None and "comment" in node.parent.type:
        node = node.parent
        text = window.text_of(node).decode("utf-8", "replace")
    if _DOC_COMMENT.match(text):
        return Place.DOCSTRING
    language = window.language
    if language == "matlab" and _follows_head(window, node.start_byte):
        return Place.DOCSTRING
    if language in _DOCUMENTED_BY_POSITION and _documents_next(window):
        return Place.DOCSTRING
    return Place.COMMENT


def _follows_head(window: _Window, start: int) -> bool:
    """MATLAB's help text: the comment lines right below a head."""
    lines = window.data[:start].decode("utf-8", "replace").split("\n")[:-1]
    while lines and lines[-1].lstrip().startswith("%"):
        lines.pop()
    return bool(lines) and bool(HEADS["matlab"].match(lines[-1]))


def _documents_next(window: _Window) -> bool:
    marks = {"ada": "--", "go": "//", "lua": "--", "pascal": "//", "ruby": "#", "shellscript": "#"}[window.language]
    for line in window.after.split("\n")[1:]:
        if not line.lstrip().startswith(marks):
            return bool(HEADS[window.language].match(line))
    return False


def _string(window: _Window, node: tree_sitter.Node) -> Place:
    while node.parent is not None and "string" in node.parent.type:
        node = node.parent
    if window.language == "python" and _documents(window, node.start_byte):
        return Place.DOCSTRING
    return Place.STRING


def _documents(window: _Window, start: int) -> bool:
    """Whether a string that begins there is the first thing in a module or body."""
    before = window.data[:start].decode("utf-8", "replace").rstrip()
    lines = [line for line in before.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return True
    if not lines[-1].rstrip().endswith(":"):
        return False
    # A head may go over several lines; its last one then begins with a bracket, or is indented more than the head.
    return any(HEADS["python"].match(line) for line in lines[-12:]) and not re.match(
        r"\s*(if|for|while|with|try|else|elif|except|finally|match|case)\b", lines[-1]
    )


def _open_string(window: _Window) -> Place | None:
    """A string that nothing closes yet, which parsers read as code."""
    if window.language == "python":
        for quotes in ('"""', "'''"):
            if window.before.count(quotes) % 2:
                start = len(encode(window.before[: window.before.rindex(quotes)]))
                return Place.DOCSTRING if _documents(window, start) else Place.STRING
    marks = "\"'`" if window.language in _APOSTROPHE_QUOTES else '"`'
    if window.language in {"ada", "kotlin", "c", "cpp", "rust", "java", "csharp", "swift", "scala"}:
        marks = '"'
    opened: str | None = None
    at = 0
    while at < len(window.line):
        character = window.line[at]
        if opened is None:
            is_transpose = (
                character == "'" and window.language == "matlab" and re.search(r"[\w)\]}'.]$", window.line[:at])
            )
            opened = character if character in marks and not is_transpose else None
        elif character == "\\":
            at += 1
        elif character == opened:
            opened = None
        at += 1
    # A template may hold code between its quotes, and go over lines: of it only the parser knows.
    return Place.STRING if opened not in (None, "`") and "{" not in window.line else None
