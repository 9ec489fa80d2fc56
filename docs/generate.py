"""Writes the parts of the documentation that are read off the code, between markers that say so.

    python docs/generate.py            write them
    python docs/generate.py --check    only say whether they are what the code says; ends with 1 if not
"""

import ast
import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from codetrial import records
from codetrial.records import Record

DOCS = Path(__file__).parent
BEGIN, END = "<!-- generated: {} -->", "<!-- end of generated: {} -->"


def kinds() -> list[type[Record]]:
    """The records in the order of the module, which is the order in which a reader meets them."""
    classes = [getattr(records, name) for name in records.__all__]
    found = [c for c in classes if isinstance(c, type) and issubclass(c, Record) and c is not Record]
    return sorted(found, key=lambda kind: _lines()[kind.__name__])


def words() -> list[type[StrEnum]]:
    classes = [getattr(records, name) for name in records.__all__]
    found = [c for c in classes if isinstance(c, type) and issubclass(c, StrEnum)]
    return sorted(found, key=lambda kind: _lines()[kind.__name__])


def _tree() -> ast.Module:
    return ast.parse(inspect.getsource(records))


def _lines() -> dict[str, int]:
    return {node.name: node.lineno for node in _tree().body if isinstance(node, ast.ClassDef)}


def _comments(class_name: str) -> dict[str, str]:
    """What is written beneath each field, which Python itself throws away."""
    [body] = [node.body for node in _tree().body if isinstance(node, ast.ClassDef) and node.name == class_name]
    found: dict[str, str] = {}
    for node, after in pairwise(body):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name):
                found[target.id] = inspect.cleandoc(after.value.value)
    return found


def dictionary() -> str:
    """The tables of the store, one section each, and the words that their columns hold."""
    parts = [part for kind in kinds() for part in _table(kind)]
    parts += ["## Words in the columns", ""]
    for word in words():
        parts += [f"### {word.__name__}", "", *_paragraph(word.__doc__), *_members(word), ""]
    return "\n".join(parts).rstrip() + "\n"


def _table(kind: type[Record]) -> Iterator[str]:
    yield from (f"### `{kind.table}`", "", *_paragraph(kind.__doc__))
    yield from ("| column | holds | meaning |", "|---|---|---|")
    comments = _comments(kind.__name__)
    for field in dataclasses.fields(kind):
        yield f"| `{field.name}` | {_holds(field.type)} | {_cell(comments.get(field.name) or _by_name(field.name))} |"
    yield ""


def _paragraph(text: str | None) -> tuple[str, ...]:
    # An enumeration without a docstring inherits one that says nothing about it.
    if not text or text == StrEnum.__doc__:
        return ()
    return (" ".join(inspect.cleandoc(text).split()), "")


def _holds(annotation: Any) -> str:
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    [kind] = [member for member in members if member is not type(None)]
    name = {str: "text", int: "integer", float: "number", bool: "0 or 1"}.get(kind)
    shown = name or f"[{kind.__name__}](#{kind.__name__.lower()})"
    return f"{shown}, or null" if len(members) > 1 else shown


_NAMES = (
    (r".*_ns", "Monotonic nanoseconds; only differences within one session mean anything."),
    (r".*_at", "UTC, ISO 8601."),
    (r".*_ms", "Milliseconds."),
    (r".*_hash", "Hash of a text; the text itself is in `text`, if it is stored."),
    (r"id", "Key."),
    (r"trial|session|task|attempt|suggestion|assignment|arm", "Key of a row in the table of that name."),
)


def _by_name(name: str) -> str:
    """What a column means by the store's rules for names, where nothing more is written beneath it."""
    return next((meaning for pattern, meaning in _NAMES if re.fullmatch(pattern, name)), "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _members(word: type[StrEnum]) -> Iterator[str]:
    comments = _comments(word.__name__)
    for member in word:
        meaning = comments.get(member.name)
        yield f"- `{member.value}`{': ' + _cell(meaning) if meaning else ''}"


PARTS = {"data.md": {"dictionary": dictionary}}


def generate(page: str, text: str) -> str:
    """The page with its generated parts as the code is now."""
    for name, make in PARTS[page].items():
        begin, end = BEGIN.format(name), END.format(name)
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise SystemExit(f"docs/{page} lacks the markers of {name}: {begin} ... {end}")
        text = f"{before}{begin}\n\n{make()}\n{end}{after}"
    return text


def main(arguments: list[str]) -> int:
    stale = []
    for page in PARTS:
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        fresh = generate(page, text)
        if fresh != text:
            stale.append(page)
            if "--check" not in arguments:
                path.write_text(fresh, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"Not what the code says: {', '.join(stale)}. Run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
