"""Small changes to settings files in JSON with comments: all that is not changed stays byte for byte.

The editors' own readers take comments and commas before a closing bracket, so these are no faults here either.
tree-sitter's grammar reads both and knows where everything is; `json` reads the values.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_json

from codetrial.errors import ProxyError

__all__ = ["REMOVE", "edited", "loads"]

REMOVE = object()
"""In place of a value: the key goes."""

Key = tuple[str, ...]

_BOM = "\ufeff"


def loads(text: str, path: Path) -> dict[str, Any]:
    """The settings, without comments; empty for an empty file.

    Raises:
        ProxyError: it is not JSON with comments, or no object.
    """
    root = _root(text, path)
    return {} if root is None else dict(_value(root))


def edited(text: str, edits: Sequence[tuple[Key, object]], path: Path) -> str:
    """The text with values set, added or (`REMOVE`) taken out at keys such as `("lsp", "pylsp", "binary")`."""
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    for key, value in edits:
        text = _removed(text, key, path) if value is REMOVE else _set(text, key, value, path)
    return mark + text


def _root(text: str, path: Path) -> tree_sitter.Node | None:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_json.language()))
    document = parser.parse(text.removeprefix(_BOM).encode()).root_node
    fault = _fault(document)
    values = [child for child in document.named_children if child.type not in {"comment", "ERROR"}]
    if fault is None and len(values) > 1:
        fault = values[1]
    if fault is None and values and values[0].type != "object":
        fault = values[0]
    if fault is not None:
        line = fault.start_point.row + 1
        raise ProxyError(f"Cannot read {path}: line {line} is no JSON. Mend it, then install again.")
    return values[0] if values else None


def _fault(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """The first place that is wrong; a comma before a closing bracket is not."""
    if not node.has_error:
        return None
    for child in node.children:
        if child.type == "ERROR" and child.text == b"," and _closes(child) and node.named_children[0] != child:
            continue
        if child.is_missing and node.type == "array" and _closes(child):
            continue
        if child.is_error or child.is_missing:
            return child
        if child.has_error and (found := _fault(child)) is not None:
            return found
    return None


def _closes(node: tree_sitter.Node) -> bool:
    """Whether nothing but remarks stands between it and the closing bracket."""
    following = node.next_sibling
    while following is not None and following.type == "comment":
        following = following.next_sibling
    return following is not None and following.type in {"]", "}"}


def _value(node: tree_sitter.Node) -> Any:
    match node.type:
        case "object":
            return {_name(pair): _value(_of(pair)) for pair in _pairs(node)}
        case "array":
            return [
                _value(child) for child in node.named_children if child.type not in _PASSED and not child.is_missing
            ]
        case _:
            return json.loads(node.text or b"null", strict=False)


_PASSED = frozenset({"comment", "ERROR"})


def _pairs(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    return [child for child in node.named_children if child.type == "pair"]


def _name(pair: tree_sitter.Node) -> str:
    key = pair.child_by_field_name("key")
    return str(json.loads(key.text or b'""', strict=False)) if key is not None else ""


def _of(pair: tree_sitter.Node) -> tree_sitter.Node:
    value = pair.child_by_field_name("value")
    if value is None:
        raise ProxyError("A key without a value: mend the file, then install again.")
    return value


def _pair(node: tree_sitter.Node, name: str) -> tree_sitter.Node | None:
    """The last of that name: the one that readers take."""
    return next((pair for pair in reversed(_pairs(node)) if _name(pair) == name), None)


def _set(text: str, key: Key, value: object, path: Path) -> str:
    node = _root(text, path)
    line_end = "\r\n" if "\r\n" in text else "\n"
    if node is None:
        space = "" if not text or text.endswith("\n") else line_end
        return f"{text}{space}{_dumped(_nested(key, value), '', '  ', line_end)}{line_end}"
    data = text.encode()
    step = _step(node, data)
    for depth, name in enumerate(key):
        pair = _pair(node, name)
        if pair is None:
            return _with_pair(data, node, name, _nested(key[depth + 1 :], value), step, line_end)
        if depth < len(key) - 1 and _of(pair).type == "object":
            node = _of(pair)
            continue
        new = _dumped(_nested(key[depth + 1 :], value), _indent(data, pair), step, line_end)
        return _spliced(data, _of(pair).start_byte, _of(pair).end_byte, new)
    return text


def _with_pair(data: bytes, node: tree_sitter.Node, name: str, value: object, step: str, line_end: str) -> str:
    pairs = _pairs(node)
    outer = _indent(data, node)
    if not pairs:
        inner = outer + step
        new = f"{inner}{json.dumps(name, ensure_ascii=False)}: {_dumped(value, inner, step, line_end)}"
        inside = data[node.start_byte + 1 : node.end_byte - 1].decode().rstrip()  # Comments, if anything.
        return _spliced(data, node.start_byte + 1, node.end_byte - 1, f"{inside}{line_end}{new}{line_end}{outer}")
    last = pairs[-1]
    is_on_one_line = node.start_point.row == last.start_point.row
    inner = outer if is_on_one_line else _indent(data, last)
    new = f"{json.dumps(name, ensure_ascii=False)}: {_dumped(value, inner, step, line_end)}"
    comma = next((child for child in node.children if child.start_byte >= last.end_byte and child.text == b","), None)
    place = last.end_byte if comma is None else comma.end_byte
    # A remark at the end of the line belongs to what stands before it.
    beside = [c for c in node.children if c.type == "comment" and c.start_point.row == last.end_point.row]
    after = max([place, *(remark.end_byte for remark in beside if remark.start_byte >= place)])
    new = (" " if is_on_one_line else line_end + inner) + new + ("," if comma is not None else "")
    text = data[:after].decode() + new + data[after:].decode()
    return text if comma is not None else _spliced(text.encode(), place, place, ",")


def _removed(text: str, key: Key, path: Path) -> str:
    node = _root(text, path)
    for name in key[:-1]:
        pair = None if node is None else _pair(node, name)
        node = None if pair is None else _of(pair)
    pair = None if node is None else _pair(node, key[-1])
    if node is None or pair is None:
        return text
    data = text.encode()
    commas = [child for child in node.children if child.text == b","]
    following = next((comma for comma in commas if comma.start_byte >= pair.end_byte), None)
    start, end = pair.start_byte, pair.end_byte if following is None else following.end_byte
    start = len(data[:start].rstrip(b" \t"))
    if data[:start].endswith(b"\n"):  # Alone at the start of its line: the line end before it goes too.
        start -= 2 if data[:start].endswith(b"\r\n") else 1
    data = data[:start] + data[end:]
    before = next((comma for comma in reversed(commas) if comma.end_byte <= pair.start_byte), None)
    if following is None and before is not None:
        data = data[: before.start_byte] + data[before.end_byte :]
    return data.decode()


def _nested(key: Key, value: object) -> object:
    for name in reversed(key):
        value = {name: value}
    return value


def _dumped(value: object, indent: str, step: str, line_end: str) -> str:
    """Objects over several lines, lists on one: as people write settings."""
    if isinstance(value, Mapping) and value:
        inner = indent + step
        pairs = (
            f"{inner}{json.dumps(k, ensure_ascii=False)}: {_dumped(v, inner, step, line_end)}" for k, v in value.items()
        )
        return f"{{{line_end}{f',{line_end}'.join(pairs)}{line_end}{indent}}}"
    return json.dumps(value, ensure_ascii=False)


def _indent(data: bytes, node: tree_sitter.Node) -> str:
    line = data[data.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte].decode()
    return line[: len(line) - len(line.lstrip())]


def _step(root: tree_sitter.Node, data: bytes) -> str:
    first = next(iter(_pairs(root)), None)
    if first is None or first.start_point.row == root.start_point.row:
        return "  "
    return _indent(data, first) or "  "


def _spliced(data: bytes, start: int, end: int, new: str) -> str:
    return data[:start].decode() + new + data[end:].decode()
