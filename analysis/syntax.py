"""What tree-sitter knows about a piece of code: its language, its tokens, where the cursor stands, what is broken.

Code at a cursor is unfinished and a window is cut out of a file, so nothing here trusts the shape of the tree more than
it must: comments, strings and imports are read off the tree, everything else off its leaves. A language without a
grammar gives "unknown" and lexical tokens, and all that follows still works.
"""

import re
import time
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import NamedTuple

import tree_sitter

from codetrial.records import Place

__all__ = [
    "Definition",
    "enclosing_function",
    "error_count",
    "is_supported",
    "language_of",
    "place_of",
    "slow_parses",
    "tokens",
]

PARSE_LIMIT_S = 0.25
"""A window of 4,000 characters takes 0.7 ms; what takes so much longer would hold up every other request."""

WINDOW_BEFORE = 2_500
WINDOW_AFTER = 1_000
"""Characters around the cursor that decide its place: some sixty lines, half a millisecond to parse."""


class _Grammar(NamedTuple):
    module: str
    function: str = "language"


_GRAMMARS = {
    "ada": _Grammar("tree_sitter_ada"),
    "c": _Grammar("tree_sitter_c"),
    "cpp": _Grammar("tree_sitter_cpp"),
    "csharp": _Grammar("tree_sitter_c_sharp"),
    "css": _Grammar("tree_sitter_css"),
    "fortran": _Grammar("tree_sitter_fortran"),
    "go": _Grammar("tree_sitter_go"),
    "html": _Grammar("tree_sitter_html"),
    "java": _Grammar("tree_sitter_java"),
    "javascript": _Grammar("tree_sitter_javascript"),
    "json": _Grammar("tree_sitter_json"),
    "kotlin": _Grammar("tree_sitter_kotlin"),
    "lua": _Grammar("tree_sitter_lua"),
    "matlab": _Grammar("tree_sitter_matlab"),
    "pascal": _Grammar("tree_sitter_pascal"),
    "php": _Grammar("tree_sitter_php", "language_php"),
    "python": _Grammar("tree_sitter_python"),
    "ruby": _Grammar("tree_sitter_ruby"),
    "rust": _Grammar("tree_sitter_rust"),
    "scala": _Grammar("tree_sitter_scala"),
    "shellscript": _Grammar("tree_sitter_bash"),
    "swift": _Grammar("tree_sitter_swift"),
    "toml": _Grammar("tree_sitter_toml"),
    "typescript": _Grammar("tree_sitter_typescript", "language_typescript"),
    "typescriptreact": _Grammar("tree_sitter_typescript", "language_tsx"),
    "yaml": _Grammar("tree_sitter_yaml"),
}

_ALIASES = {
    "bash": "shellscript",
    "c#": "csharp",
    "cs": "csharp",
    "delphi": "pascal",
    "fortran-modern": "fortran",
    "fortran77": "fortran",
    "fortranfreeform": "fortran",
    "fortranfixedform": "fortran",
    "objectpascal": "pascal",
    "c++": "cpp",
    "cuda-cpp": "cpp",
    "javascriptreact": "javascript",
    "js": "javascript",
    "jsonc": "json",
    "jsx": "javascript",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "scss": "css",
    "sh": "shellscript",
    "ts": "typescript",
    "tsx": "typescriptreact",
    "zsh": "shellscript",
}
"""What editors call a language besides its LSP identifier."""

_EXTENSIONS = {
    ".adb": "ada",
    ".ads": "ada",
    ".f03": "fortran",
    ".f08": "fortran",
    ".f95": "fortran",
    ".pas": "pascal",
    ".bash": "shellscript",
    ".c": "c",
    ".cbl": "cobol",
    ".cc": "cpp",
    ".cjs": "javascript",
    ".cob": "cobol",
    ".cpp": "cpp",
    ".cpy": "cobol",
    ".cs": "csharp",
    ".css": "css",
    ".cxx": "cpp",
    ".f": "fortran",
    ".f90": "fortran",
    ".for": "fortran",
    ".go": "go",
    ".h": "c",
    ".hpp": "cpp",
    ".htm": "html",
    ".html": "html",
    ".java": "java",
    ".js": "javascript",
    ".json": "json",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".lua": "lua",
    ".m": "matlab",
    ".md": "markdown",
    ".mjs": "javascript",
    ".php": "php",
    ".pl": "perl",
    ".py": "python",
    ".pyi": "python",
    ".rb": "ruby",
    ".rs": "rust",
    ".rst": "restructuredtext",
    ".scala": "scala",
    ".sh": "shellscript",
    ".sql": "sql",
    ".swift": "swift",
    ".toml": "toml",
    ".ts": "typescript",
    ".tsx": "typescriptreact",
    ".txt": "plaintext",
    ".yaml": "yaml",
    ".yml": "yaml",
}

_FUNCTIONS = frozenset(
    {
        "arrow_function",
        "constructor_declaration",
        "function",
        "function_declaration",
        "function_definition",
        "function_expression",
        "function_item",
        "func_literal",
        "generator_function_declaration",
        "lambda_expression",
        "method",
        "method_declaration",
        "method_definition",
        "singleton_method",
        "subprogram_body",
        "subroutine",
    }
)
"""Node types of the grammars above that are a function or method with a body."""

_IMPORT_LINE = {
    "ada": re.compile(r"\s*(with|use)\b", re.IGNORECASE),
    "cobol": re.compile(r".{0,7}\s*COPY\b", re.IGNORECASE),
    "csharp": re.compile(r"\s*(global\s+)?using\b(?!\s*\()"),
    "fortran": re.compile(r"\s*(use|include|import)\b", re.IGNORECASE),
    "kotlin": re.compile(r"\s*import\b"),
    "lua": re.compile(r"\s*(local\s+\w+\s*=\s*)?require\b"),
    "matlab": re.compile(r"\s*import\b"),
    "pascal": re.compile(r"\s*uses\b", re.IGNORECASE),
    "php": re.compile(r"\s*(use|require|require_once|include|include_once)\b"),
    "scala": re.compile(r"\s*import\b"),
    "swift": re.compile(r"\s*import\b"),
    "c": re.compile(r"\s*#\s*include\b"),
    "cpp": re.compile(r"\s*(#\s*include|import|using)\b"),
    "css": re.compile(r"\s*@import\b"),
    "go": re.compile(r"\s*import\b"),
    "java": re.compile(r"\s*import\b"),
    "javascript": re.compile(r"\s*(import\b|(const|let|var)\b[^=]*=\s*require\()"),
    "python": re.compile(r"\s*(import|from)\s"),
    "ruby": re.compile(r"\s*(require|require_relative|load)\b"),
    "rust": re.compile(r"\s*(pub\s+)?(use|extern\s+crate)\b"),
    "shellscript": re.compile(r"\s*(source|\.)\s"),
    "typescript": re.compile(r"\s*(import|export\s+(\*|\{))"),
    "typescriptreact": re.compile(r"\s*(import|export\s+(\*|\{))"),
}
"""By line and not by node: an import is mostly asked for while it does not parse yet."""

_MEMBER = re.compile(r"(?:[\w)\]}\"'?!]\s*\??\.|->|::)[^\W\d]?\w*$")
_NUMBER_DOT = re.compile(r"(?<![\w)\]])\d[\d_]*\.\w*$")
_WORD = re.compile(r"\w+|[^\w\s]")
_CALLEE = re.compile(r"[\w)\]>!?]$")
_DEFINES = frozenset({"def", "func", "fn", "function", "class", "struct", "sub", "macro"})
_CONTROL = frozenset(
    {"if", "for", "while", "switch", "catch", "return", "in", "and", "or", "not", "elif", "match", "with"}
)

_counts = {"slow_parses": 0}


class Definition(NamedTuple):
    """A function or method; lines from 0, both inclusive."""

    name: str | None
    start_line: int
    end_line: int


class _Leaf(NamedTuple):
    start: int
    end: int
    type: str


def slow_parses() -> int:
    """How many parses this process gave up: part of what the evidence must account for."""
    return _counts["slow_parses"]


def language_of(path: str, language_id: str | None = None) -> str:
    """The LSP identifier of a document's language; "unknown" if neither the editor nor the name tells."""
    if language_id:
        known = language_id.strip().lower()
        return _ALIASES.get(known, known)
    return _EXTENSIONS.get(PurePosixPath(path).suffix.lower(), "unknown")


def is_supported(language: str) -> bool:
    """Whether there is a grammar for it; without one, tokens are lexical and errors are not counted."""
    return language in _GRAMMARS


def tokens(text: str, language: str) -> list[str]:
    """The text's tokens without white space: the grammar's leaves, words and marks where there is none.

    Joined they are the text without its white space, whatever the parser made of it; strings and comments are split
    into words, or one changed word would count as one changed string.
    """
    data = _encode(text)
    tree = _parse(data, language)
    if tree is None:
        return _WORD.findall(data.decode())
    found: list[str] = []
    at = 0
    for leaf in _leaves(tree.root_node):
        # Error recovery may skip bytes without a leaf for them.
        found += _WORD.findall(data[at : leaf.start].decode())
        piece = data[leaf.start : leaf.end].decode()
        found += _WORD.findall(piece) if _is_prose(leaf.type, piece) else ["".join(piece.split())]
        at = leaf.end
    found += _WORD.findall(data[at:].decode())
    return [token for token in found if token]


def error_count(text: str, language: str) -> int | None:
    """How many error and missing nodes the text parses to; None without a grammar, or if parsing took too long."""
    tree = _parse(_encode(text), language)
    if tree is None:
        return None
    return sum(1 for node in _walk(tree.root_node) if node.is_error or node.is_missing)


def place_of(prefix: str, suffix: str, language: str) -> Place:
    """Where the cursor between `prefix` and `suffix` stands."""
    if language == "cobol":
        return _place_in_cobol(prefix, suffix)
    if not is_supported(language):
        return Place.UNKNOWN
    before = _tail_of_lines(prefix, WINDOW_BEFORE)
    after = suffix[:WINDOW_AFTER]
    data = _encode(before)
    tree = _parse(data + _encode(after), language)
    if tree is None:
        return Place.UNKNOWN
    if (prose := _prose_at(tree.root_node, len(data))) is not None:
        return prose
    line = before.rpartition("\n")[2]
    if (pattern := _IMPORT_LINE.get(language)) is not None and pattern.match(line):
        return Place.IMPORT
    if _MEMBER.search(line) and not _NUMBER_DOT.search(line):
        return Place.MEMBER
    if _is_argument(tree.root_node, data):
        return Place.ARGUMENT
    rest = re.split(r"[\r\n]", after, maxsplit=1)[0]
    if rest.strip():
        return Place.MID_LINE
    return Place.LINE_END if line.strip() else Place.LINE_START


def _place_in_cobol(prefix: str, suffix: str) -> Place:
    """By columns and quotes: the one packaged grammar of COBOL hangs on text that is none."""
    line = re.split(r"[\r\n]", prefix)[-1]
    code = line.split("*>")[0]
    if line[6:7] in {"*", "/"} or code != line:
        return Place.COMMENT
    if code.count('"') % 2 or code.count("'") % 2:
        return Place.STRING
    if _IMPORT_LINE["cobol"].match(line):
        return Place.IMPORT
    if re.split(r"[\r\n]", suffix, maxsplit=1)[0].strip():
        return Place.MID_LINE
    return Place.LINE_END if line[6:].strip() else Place.LINE_START


def enclosing_function(text: str, line: int, language: str) -> Definition | None:
    """The innermost function around a line (from 0); None at the top level or without a grammar."""
    tree = _parse(_encode(text), language)
    if tree is None:
        return None
    found: Definition | None = None
    node: tree_sitter.Node | None = tree.root_node
    while node is not None:
        if node.is_named and node.type in _FUNCTIONS:
            name = node.child_by_field_name("name")
            title = name.text.decode() if name is not None and name.text is not None else None
            found = Definition(title, node.start_point.row, node.end_point.row)
        node = next(
            (c for c in node.children if c.start_point.row <= line <= c.end_point.row and _reaches(c, line)), None
        )
    return found


def _reaches(node: tree_sitter.Node, line: int) -> bool:
    """A node that ends at column 0 does not stand on that line."""
    return node.end_point.row > line or node.end_point.column > 0


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@lru_cache(maxsize=32)
def _parser(language: str) -> tree_sitter.Parser | None:
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        return None
    module = import_module(grammar.module)
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, grammar.function)()))


def _parse(data: bytes, language: str) -> tree_sitter.Tree | None:
    parser = _parser(language)
    if parser is None:
        return None
    deadline = time.monotonic() + PARSE_LIMIT_S
    try:
        # Only the callback form can be stopped. One call hands over everything: each call is a trip through Python.
        return parser.parse(
            lambda offset, _: data[offset:], progress_callback=lambda _offset, _error: time.monotonic() > deadline
        )
    except ValueError:  # How the binding says that it was stopped.
        parser.reset()
        _counts["slow_parses"] += 1
        return None


def _walk(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _leaves(root: tree_sitter.Node) -> Iterator[_Leaf]:
    for node in _walk(root):
        if node.child_count == 0 and node.end_byte > node.start_byte:
            yield _Leaf(node.start_byte, node.end_byte, node.type)


def _is_prose(kind: str, piece: str) -> bool:
    return "comment" in kind or "string" in kind or "text" in kind or any(c.isspace() for c in piece)


def _prose_at(root: tree_sitter.Node, offset: int) -> Place | None:
    """COMMENT or STRING if the cursor at this byte is inside one, not at its outer edge."""
    node: tree_sitter.Node | None = root.descendant_for_byte_range(max(0, offset - 1), offset)
    at_end = root.descendant_for_byte_range(max(0, offset - 1), max(0, offset - 1))
    # A line comment reaches up to the line break: a cursor at its very end is still in it.
    if at_end and "comment" in at_end.type and not (at_end.text or b"").endswith(b"*/"):
        return Place.COMMENT
    while node is not None:
        inside = node.start_byte < offset < node.end_byte
        if inside and "comment" in node.type:
            return Place.COMMENT
        if inside and node.type in {"interpolation", "template_substitution", "string_interpolation"}:
            return None
        if inside and ("string" in node.type or node.type in {"char_literal", "heredoc_body", "raw_text"}):
            return Place.STRING
        node = node.parent
    return None


def _is_argument(root: tree_sitter.Node, before: bytes) -> bool:
    """Whether the nearest bracket that is open before the cursor is a call's parenthesis."""
    depth = 0
    marks = _marks_backwards(root, before)
    for mark in marks:
        if mark in {")", "]", "}"}:
            depth += 1
        elif mark in {"(", "[", "{"}:
            depth -= 1
        if depth < 0:
            return mark == "(" and _is_call(next(marks, ""), next(marks, ""))
    return False


def _marks_backwards(root: tree_sitter.Node, before: bytes) -> Iterator[str]:
    """Tokens before the cursor, the last first, without what strings and comments say; read only as far as asked."""
    at = len(before)
    stack = [root]
    while stack:
        node = stack.pop()
        if node.start_byte >= at:
            continue
        if node.child_count:
            stack.extend(node.children)
            continue
        # Error recovery may skip bytes without a leaf for them.
        yield from reversed(_WORD.findall(before[min(node.end_byte, at) : at].decode("utf-8", "replace")))
        if not _is_prose(node.type, ""):
            yield before[node.start_byte : min(node.end_byte, at)].decode("utf-8", "replace")
        at = node.start_byte
    yield from reversed(_WORD.findall(before[:at].decode("utf-8", "replace")))


def _is_call(callee: str, before: str) -> bool:
    return bool(_CALLEE.search(callee)) and callee not in _CONTROL and before not in _DEFINES


def _tail_of_lines(text: str, limit: int) -> str:
    """The last `limit` characters, from the start of a line on where there is one."""
    if len(text) <= limit:
        return text
    tail = text[-limit:]
    _, newline, rest = tail.partition("\n")
    return rest if newline else tail
