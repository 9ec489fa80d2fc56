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
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import click

from analysis.report import schema
from codetrial import app as application
from codetrial import config, errors, records
from codetrial.records import Record
from pr_bot import settings

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


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _lines() -> dict[str, int]:
    return {node.name: node.lineno for node in _tree(records).body if isinstance(node, ast.ClassDef)}


def _comments(class_name: str, module: ModuleType = records) -> dict[str, str]:
    """What is written beneath each field, which Python itself throws away."""
    [body] = [node.body for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == class_name]
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


def configuration() -> str:
    """Every section of codetrial.toml with its keys, defaults and meanings."""
    sections: list[tuple[str, type, ModuleType]] = [
        ("[trial]", config.TrialConfig, config),
        ("[trial.shares]", config.Shares, config),
        ("[arms.a], [arms.b]", config.ArmConfig, config),
        ("[arms.a.price], [arms.b.price]", config.PriceConfig, config),
        ("[editor]", config.EditorConfig, config),
        ("[privacy]", config.PrivacyConfig, config),
        ("[privacy.a], [privacy.b]", config.ArmRules, config),
        ("[store]", config.StoreConfig, config),
        ("[budget.a], [budget.b]", config.Limits, config),
        ("[review]", settings.ReviewSettings, settings),
    ]
    return "\n".join(line for title, kind, module in sections for line in _keys(title, kind, module)).rstrip() + "\n"


def _keys(title: str, kind: type, module: ModuleType) -> Iterator[str]:
    yield f"## {title.replace('[', '`[').replace(']', ']`')}"
    yield ""
    own = kind.__doc__ if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(") else None
    yield from _paragraph(own)
    yield from ("| key | holds | default | meaning |", "|---|---|---|---|")
    comments = _comments(kind.__name__, module)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        meaning = _cell(comments.get(field.name, ""))
        yield f"| `{field.name}` | {_kind(hints[field.name])} | {_default(field)} | {meaning} |"
    yield ""


def _kind(hint: Any) -> str:
    """A type as a person would say it; None is the default's business."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{member}`" for member in members)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_kind(member) for member in members if member is not type(None)))
    if origin is tuple:
        return f"list of {_kind(members[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return "table"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(f"`{member}`" for member in hint)
    if dataclasses.is_dataclass(hint):
        return "table, see below"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[hint]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "" if field.default_factory is not dataclasses.MISSING else "must be given"
    if field.default is None:
        return "not set"
    if isinstance(field.default, tuple):
        inner = ", ".join(map(_toml, field.default[:4])) + (", ..." if len(field.default) > 4 else "")
        return f"`[{inner}]`"
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def commands() -> str:
    """Every command with its help, as it prints it."""
    application.load_commands()
    lines = [line for name, command in sorted(application.app.commands.items()) for line in _command(name, command, "##")]
    return "\n".join(lines).rstrip() + "\n"


HELP_WIDTH = 100


def _command(path: str, command: click.Command, level: str) -> Iterator[str]:
    if command.hidden:
        return
    # Wide enough for a page, whatever the terminal; the settings are those that `codetrial` itself has.
    settings_of_app = {**application.app.context_settings, "terminal_width": HELP_WIDTH, **command.context_settings}
    context = click.Context(command, info_name=f"codetrial {path}", **settings_of_app)
    yield from (f"{level} codetrial {path}", "", "```text")
    yield from (line.rstrip() for line in command.get_help(context).splitlines())
    yield from ("```", "")
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from _command(f"{path} {name}", child, level + "#")


def exit_codes() -> str:
    """What each of our errors ends a command with."""
    lines = ["| error | status | when |", "|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if kind is not errors.CodetrialError:
            lines.append(f"| `{name}` | {kind.exit_code} | {_cell(kind.__doc__)} |")
    return "\n".join(lines) + "\n"


def report_schema() -> str:
    """The parts of the JSON that a report prints, as its published schema gives them."""
    found = schema()
    lines = [f"`{found['$id']}`: {found['description']}", ""]
    lines += _object("The report", found)
    for name, definition in found["$defs"].items():
        if definition.get("type") == "object" and "properties" in definition:
            lines += _object(name, definition)
    return "\n".join(lines).rstrip() + "\n"


def _object(title: str, definition: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", "| key | holds |", "|---|---|")
    required = definition.get("required", ())
    for key, value in definition["properties"].items():
        yield f"| `{key}` | {_cell(_shape(value))}{'' if key in required else '; may be absent'} |"
    yield ""


def _shape(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        target = schema()["$defs"][name]
        is_linked = target.get("type") == "object" and "properties" in target
        return f"[{name}](#{name.lower()})" if is_linked else _shape(target)
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " or ".join("null" if word is None else f"`{word}`" for word in value["enum"])
    if found := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(_shape(each) for each in found)
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_shape(value['items'])}" if "items" in value else "list"
    if kind == "object":
        return "object with " + ", ".join(f"`{key}`" for key in value["properties"]) if "properties" in value else "object"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


PARTS = {
    "data.md": {"dictionary": dictionary},
    "configuration.md": {"configuration": configuration},
    "commands.md": {"commands": commands, "exit codes": exit_codes},
    "report-schema.md": {"report schema": report_schema},
}


def fill(text: str, page: str, name: str, content: str) -> str:
    """The page's text with other content between the markers of that name."""
    begin, end = BEGIN.format(name), END.format(name)
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise SystemExit(f"docs/{page} lacks the markers of {name}: {begin} ... {end}")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def generate(page: str, text: str) -> str:
    """The page with its generated parts as the code is now."""
    for name, make in PARTS[page].items():
        text = fill(text, page, name, make())
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
