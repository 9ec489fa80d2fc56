"""The few messages that leave other than they came, changed by insertion: every byte around the insertion stays.

Decoding and encoding again would lose what JSON libraries do not keep (1e400, the spelling of numbers, order of
duplicate keys), so a place is found and text is put there. All functions here are pure; ValueError means that the
message does not look as it must, and then the caller passes it on untouched.
"""

import json
import re
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

__all__ = [
    "ClientAbilities",
    "InitializeAnswer",
    "Offer",
    "abilities",
    "announce",
    "answer",
    "command_of",
    "initialize_answer",
    "inline_offer_of",
    "member",
    "merge",
    "named_id",
    "notification",
    "offer_of",
    "params_of",
    "quoted",
    "refusal",
    "resolved",
]

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")

_STRING = rb'"(?:[^"\\]|\\.)*+"'


@cache
def _items_pattern() -> re.Pattern[bytes]:
    """The place of the first item in the shapes that servers really answer in; compiled (5 ms) when first needed."""
    nested = rb"\{(?:[^{}\"]|" + _STRING + rb")*+\}"
    for _ in range(3):
        # A range within `itemDefaults.editRange` nests three deep.
        nested = rb"\{(?:[^{}\"]|" + _STRING + rb"|" + nested + rb")*+\}"
    return re.compile(
        rb'\s*\{\s*(?:"(?:jsonrpc|id)"\s*:\s*(?:[0-9-]+|' + _STRING + rb")\s*,\s*)*+"
        rb'"result"\s*:\s*(?:(null)\s*[,}]|(?:\{\s*(?:"[A-Za-z]+"\s*:\s*(?:true|false|null|'
        + nested
        + rb')\s*,\s*)*+"items"\s*:\s*)?\[\s*(\])?)'
    )


MAX_DECODED_BYTES = 1 << 18
"""An answer of an unusual shape is decoded to find its items up to this size, in 3 ms; a larger one passes unmerged."""


RUNS_COMMANDS_SILENTLY = frozenset({"Neovim"})
"""Clients that run items' commands without announcing `workspace/executeCommand`: Neovim 0.10 to 0.12 do."""


class ClientAbilities(NamedTuple):
    """What the editor said about itself that matters here."""

    has_inline: bool
    has_commands: bool
    """It runs the command of an item that is taken, if the server says that it knows the command."""
    name: str | None


class InitializeAnswer(NamedTuple):
    """What the server said about itself that matters here."""

    encoding: str
    has_inline: bool
    info: dict[str, Any]


class Offer(NamedTuple):
    """What the evaluator has for the editor: a menu item for any list, or the whole result of an inline completion."""

    item: bytes
    token: str | None


def abilities(initialize: bytes) -> ClientAbilities:
    """From the editor's `initialize` request."""
    params = json.loads(initialize)["params"]
    capabilities = params.get("capabilities") or {}
    info = params.get("clientInfo") or {}
    name = info.get("name")
    announces_commands = (capabilities.get("workspace") or {}).get("executeCommand") is not None
    return ClientAbilities(
        has_inline=(capabilities.get("textDocument") or {}).get("inlineCompletion") is not None,
        has_commands=announces_commands or name in RUNS_COMMANDS_SILENTLY,
        name=name,
    )


def initialize_answer(body: bytes) -> InitializeAnswer | None:
    """From the server's answer to `initialize`; None if it is an error."""
    result = json.loads(body).get("result")
    if not isinstance(result, dict):
        return None
    capabilities = result.get("capabilities") or {}
    # Old clangd says `offsetEncoding`, outside the capabilities and outside the protocol.
    encoding = capabilities.get("positionEncoding") or result.get("offsetEncoding") or "utf-16"
    info = result.get("serverInfo")
    return InitializeAnswer(
        encoding=str(encoding),
        has_inline=capabilities.get("inlineCompletionProvider") not in (None, False),
        info=info if isinstance(info, dict) else {},
    )


def member(text: str, at: int, *path: str) -> tuple[int, int] | None:
    """Where the value under these keys stands, from the object that starts at `at`; None if it is not there."""
    span = None
    for key in path:
        at = _skip(text, at)
        if text[at : at + 1] != "{":
            return None
        span = _members(text, at).get(key)
        if span is None:
            return None
        at = span[0]
    return span


def announce(body: bytes, *, with_inline: bool, command: str | None) -> bytes:
    """The server's `initialize` answer with our abilities added; the same bytes if there is nothing to add."""
    text = body.decode()
    capabilities = member(text, 0, "result", "capabilities")
    if capabilities is None or text[capabilities[0]] != "{":
        raise ValueError("no capabilities")
    changes = []
    if with_inline:
        changes.append(_with_member(text, capabilities[0], "inlineCompletionProvider", "true"))
    if command is not None:
        changes.append(_with_command(text, capabilities[0], json.dumps(command)))
    for start, end, replacement in sorted(changes, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text.encode()


def _with_command(text: str, at: int, command: str) -> tuple[int, int, str]:
    provider = member(text, at, "executeCommandProvider")
    if provider is None or text[provider[0]] != "{":
        return _with_member(text, at, "executeCommandProvider", f'{{"commands":[{command}]}}')
    commands = member(text, provider[0], "commands")
    if commands is None or text[commands[0]] != "[":
        return _with_member(text, provider[0], "commands", f"[{command}]")
    inside = commands[0] + 1
    return inside, inside, command if text[_skip(text, inside)] == "]" else command + ","


def _with_member(text: str, at: int, key: str, value: str) -> tuple[int, int, str]:
    """The change that gives the object at `at` this member, in place of one that says null or false."""
    if (span := member(text, at, key)) is not None:
        return *span, value
    inside = at + 1
    comma = "" if text[_skip(text, inside)] == "}" else ","
    return inside, inside, f'"{key}":{value}{comma}'


def _members(text: str, at: int) -> dict[str, tuple[int, int]]:
    """Spans of the values of the object that starts at `at`; of a key that occurs twice the last one counts."""
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":" or not isinstance(key, str):
            raise ValueError("not an object")
        start = _skip(text, at + 1)
        _, end = _DECODER.raw_decode(text, start)
        spans[key] = (start, end)
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "}":
            raise ValueError("not an object")
    return spans


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def merge(body: bytes, item: bytes) -> bytes:
    """The server's completion answer with our item first; whether the list is complete stays the server's word."""
    if match := _items_pattern().match(body):
        if match[1]:
            # An editor asks again after an answer without items; a complete list of one would stop it.
            return body[: match.start(1)] + b'{"isIncomplete":true,"items":[' + item + b"]}" + body[match.end(1) :]
        at = match.start(2) if match[2] else match.end()
        return body[:at] + item + (b"" if match[2] else b",") + body[at:]
    if len(body) > MAX_DECODED_BYTES:
        raise ValueError("an unusual shape, and large")
    text = body.decode()
    result = member(text, 0, "result")
    if result is None:
        raise ValueError("no result")
    if text.startswith("null", result[0]):
        return _spliced(text, *result, '{"isIncomplete":true,"items":[' + item.decode() + "]}")
    items = result if text[result[0]] == "[" else member(text, result[0], "items")
    if items is None or text[items[0]] != "[":
        raise ValueError("no items")
    inside = items[0] + 1
    is_empty = text[_skip(text, inside)] == "]"
    return _spliced(text, inside, inside, item.decode() + ("" if is_empty else ","))


def _spliced(text: str, start: int, end: int, new: str) -> bytes:
    return (text[:start] + new + text[end:]).encode()


def offer_of(body: bytes) -> Offer | None:
    """The evaluator's answer to a completion; None if it offers nothing, ValueError if it is not what it must be.

    A list's `itemDefaults` would apply to our item too, so the item says for itself what they could change.
    """
    result = json.loads(body).get("result")
    if result is None:
        return None
    items = result["items"] if isinstance(result, dict) else result
    if not isinstance(items, list) or len(items) > 1:
        raise ValueError("not a list of at most one item")
    if not items:
        return None
    [item] = items
    if not isinstance(item, dict) or not isinstance(item.get("label"), str):
        raise ValueError("not a completion item")
    item.setdefault("insertTextFormat", 1)
    item.setdefault("insertTextMode", 1)
    item.setdefault("commitCharacters", [])
    item.setdefault("data", {})
    return Offer(json.dumps(item, ensure_ascii=False, allow_nan=False).encode(), _token(item["data"]))


def inline_offer_of(body: bytes) -> Offer | None:
    """The evaluator's result for an inline completion as it stands; None if it offers nothing.

    ValueError if no editor could read it.
    """
    text = body.decode()
    message = json.loads(text)
    result = message.get("result")
    items = result.get("items") if isinstance(result, dict) else result
    if not items:
        return None
    if not isinstance(items, list) or not all(isinstance(item, dict) and "insertText" in item for item in items):
        raise ValueError("not inline completion items")
    span = member(text, 0, "result")
    return Offer(text[slice(*span)].encode(), _inline_token(items[0])) if span else None


def _inline_token(item: dict[str, Any]) -> str | None:
    """An inline item has no `data` by the protocol, so its command may name it as well."""
    if (token := _token(item.get("data"))) is not None:
        return token
    arguments = (item.get("command") or {}).get("arguments") or [None]
    return arguments[0] if isinstance(arguments[0], str) else None


def resolved(body: bytes, tokens: Collection[str]) -> bytes | None:
    """The result of resolving an item of ours, which has all its fields already; None for any other item."""
    text = body.decode()
    span = member(text, 0, "params")
    if span is None:
        return None
    item = json.loads(text[slice(*span)])
    if not isinstance(item, dict) or _token(item.get("data")) not in tokens:
        return None
    return text[slice(*span)].encode()


def _token(data: Any) -> str | None:
    token = data.get("codetrial") if isinstance(data, dict) else None
    return token if isinstance(token, str) else None


def params_of(body: bytes) -> dict[str, Any]:
    """The parameters of a message of ours; ValueError if they are not named."""
    params = json.loads(body).get("params")
    if not isinstance(params, dict):
        raise ValueError("no parameters")
    return params


def command_of(body: bytes) -> str | None:
    """The command that a `workspace/executeCommand` names."""
    params = json.loads(body).get("params")
    command = params.get("command") if isinstance(params, dict) else None
    return command if isinstance(command, str) else None


def named_id(body: bytes) -> bytes | None:
    """The id that a `$/cancelRequest` names, or a `codetrial/later`, as a token."""
    text = body.decode()
    span = member(text, 0, "params", "id")
    return text[slice(*span)].encode() if span else None


def answer(token: bytes, result: bytes) -> bytes:
    """The body that answers a request."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (token, result)


def refusal(token: bytes, code: int, message: str) -> bytes:
    """The body that answers a request with an error."""
    error = json.dumps({"code": code, "message": message}).encode()
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (token, error)


def quoted(text: str) -> bytes:
    return json.dumps(text).encode()


def notification(method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}, separators=(",", ":")).encode()
