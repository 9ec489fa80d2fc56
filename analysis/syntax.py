"""What tree-sitter knows about a piece of code: its language, its tokens, its functions, what is broken.

A language without a grammar gives "unknown" and lexical tokens, and all that follows still works.
"""

import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import NamedTuple

import tree_sitter

__all__ = [
    "Definition",
    "Leaf",
    "enclosing_function",
    "encode",
    "error_count",
    "is_prose",
    "is_supported",
    "language_of",
    "leaves_of",
    "parse",
    "slow_parses",
    "tokens",
]

LEAVES_OF = 16
"""Texts whose leaves are kept: two suggestions and a continuation are compared in several ways, one after the other."""

PARSE_LIMIT_S = 0.25
"""A window of 4,000 characters takes 0.7 ms; what takes so much longer would hold up every other request."""


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

_WORD = re.compile(r"\w+|[^\w\s]")

_counts = {"slow_parses": 0}


class Definition(NamedTuple):
    """A function or method; lines from 0, both inclusive."""

    name: str | None
    start_line: int
    end_line: int


class Leaf(NamedTuple):
    """The smallest piece that a grammar knows."""

    text: str
    type: str
    """What the grammar calls it; "" for what error recovery left out."""
    is_named: bool
    """False for keywords and marks."""


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
    return _parser(language) is not None


def tokens(text: str, language: str) -> list[str]:
    """The text's tokens without white space: the grammar's leaves, words and marks where there is none.

    Joined they are the text without its white space, whatever the parser made of it; strings and comments are split
    into words, or one changed word would count as one changed string.
    """
    leaves = leaves_of(text, language)
    if leaves is None:
        return _WORD.findall(encode(text).decode())
    found: list[str] = []
    for leaf in leaves:
        # Error recovery may skip text without a leaf for it: then that has no type.
        is_whole = leaf.type and not is_prose(leaf.type, leaf.text)
        found += [leaf.text] if is_whole else _WORD.findall(leaf.text)
    return found


@lru_cache(maxsize=LEAVES_OF)
def leaves_of(text: str, language: str) -> Sequence[Leaf] | None:
    """The text in its grammar's smallest pieces, without the white space between them; None if it was not parsed."""
    data = encode(text)
    tree = parse(data, language)
    if tree is None:
        return None
    found: list[Leaf] = []
    at = 0
    for node in _leaf_nodes(tree.root_node):
        found.append(Leaf(data[at : node.start_byte].decode(), "", is_named=False))
        found.append(Leaf(data[node.start_byte : node.end_byte].decode(), node.type, is_named=node.is_named))
        at = node.end_byte
    found.append(Leaf(data[at:].decode(), "", is_named=False))
    return [leaf for leaf in found if leaf.text and not leaf.text.isspace()]


def error_count(text: str, language: str) -> int | None:
    """How many error and missing nodes the text parses to; None without a grammar, or if parsing took too long."""
    tree = parse(encode(text), language)
    if tree is None:
        return None
    return sum(1 for node in _faulty(tree.root_node) if node.is_error or node.is_missing)


def enclosing_function(text: str, line: int, language: str) -> Definition | None:
    """The innermost function around a line (from 0); None at the top level or without a grammar."""
    data = encode(text)
    tree = parse(data, language)
    if tree is None:
        return None
    found: Definition | None = None
    node: tree_sitter.Node | None = tree.root_node
    while node is not None:
        if node.is_named and node.type in _FUNCTIONS:
            name = node.child_by_field_name("name")
            title = data[name.start_byte : name.end_byte].decode() if name is not None else None
            found = Definition(title, node.start_point.row, node.end_point.row)
        node = next(
            (c for c in node.children if c.start_point.row <= line <= c.end_point.row and _reaches(c, line)), None
        )
    return found


def _reaches(node: tree_sitter.Node, line: int) -> bool:
    """A node that ends at column 0 does not stand on that line."""
    return node.end_point.row > line or node.end_point.column > 0


def encode(text: str) -> bytes:
    """As grammars read it; lone surrogates become question marks, so that places stay where they are."""
    return text.encode("utf-8", "replace")


@lru_cache(maxsize=32)
def _parser(language: str) -> tree_sitter.Parser | None:
    grammar = _GRAMMARS.get(language)
    if grammar is None:
        return None
    try:
        module = import_module(grammar.module)
    except ModuleNotFoundError:
        return None  # Pascal's is an extra, for the sake of its licence: docs/licences.md.
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, grammar.function)()))


def parse(data: bytes, language: str) -> tree_sitter.Tree | None:
    """The tree, whole or with errors; None without a grammar, or if it took too long, which is counted.

    A node's own `text` is not to be had from it; `data` and the node's span have it.
    """
    parser = _parser(language)
    if parser is None:
        return None
    # Of this thread's own work: on a busy machine a parse may wait longer than it takes.
    deadline_s = time.thread_time() + PARSE_LIMIT_S
    try:
        # Only the callback form can be stopped. One call hands over everything: each call is a trip through Python.
        return parser.parse(_Reader(data), progress_callback=lambda _offset, _error: time.thread_time() > deadline_s)
    except ValueError:  # How the binding says that it was stopped.
        parser.reset()
        _counts["slow_parses"] += 1
        return None
    finally:
        for piece in _pieces:
            piece.clear()


_pieces: list[bytearray] = []


class _Reader:
    """Hands a text to the parser in buffers that are used again for the next one.

    py-tree-sitter 0.26 never lets go of an object that its callback gave it, some ten a parse. New ones would be a
    document's worth of memory at every keystroke; emptied ones still 700 bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._used = 0

    def __call__(self, offset: int, _point: object) -> bytearray:
        if self._used == len(_pieces):
            _pieces.append(bytearray())
        piece = _pieces[self._used]
        piece[:] = self._data[offset:]
        self._used += 1
        return piece


def _faulty(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """The nodes with an error in them or below: of code that parses, none."""
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        yield node
        # What no token begins with is an error node that has no error in it.
        stack.extend(child for child in node.children if child.has_error or child.is_error or child.is_missing)


def _leaf_nodes(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.child_count:
            stack.extend(reversed(node.children))
        elif node.end_byte > node.start_byte:
            yield node


def is_prose(kind: str, piece: str) -> bool:
    """Whether a leaf is words and not code: a comment, a string, the text of a page."""
    return "comment" in kind or "string" in kind or "text" in kind or any(c.isspace() for c in piece)
