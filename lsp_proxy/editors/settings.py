"""Settings files in JSON with comments, as several editors have them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsp_proxy.editors.jsonc import edited, loads
from lsp_proxy.editors.plan import read, unwrapped

__all__ = ["Edit", "Settings", "section", "words", "wrapped_in"]

Edit = tuple[tuple[str, ...], object]
"""Where, and the new value (or `jsonc.REMOVE`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Some values in a person's settings file; everything else in it stays byte for byte."""

    path: Path
    wrap: Callable[[Mapping[str, Any]], Iterable[Edit]]
    """What makes its servers start behind us; wrapped ones are named again, with the same or a newer command."""
    unwrap: Callable[[Mapping[str, Any]], Iterable[Edit]]
    """What takes that back; nothing if nothing is ours."""

    def result(self) -> str | None:
        text = read(self.path)
        edits = list(self.wrap(loads(text, self.path)))
        return self._changed(text, edits) if edits else None

    def undone(self) -> str | None:
        text = read(self.path)
        return self._changed(text, list(self.unwrap(loads(text, self.path))))

    def wrapped(self) -> list[list[str]]:
        """The commands in the file now that start behind us."""
        return list(wrapped_in(loads(read(self.path), self.path)))

    def _changed(self, text: str, edits: Sequence[Edit]) -> str:
        config = loads(text, self.path)
        return edited(text, [(key, value) for key, value in edits if _at(config, key) != value], self.path)


def _at(config: object, key: Sequence[str]) -> object:
    for name in key:
        if not isinstance(config, Mapping) or name not in config:
            return None
        config = config[name]
    return config


def wrapped_in(value: object) -> Iterator[list[str]]:
    """Every command that starts behind us: a list, a line, or a program with its arguments beside it."""
    if isinstance(value, Mapping):
        for program, arguments in (("command", "args"), ("path", "arguments")):
            first = value.get(program)
            if isinstance(first, str):
                command = [first, *map(str, value.get(arguments) or [])] if arguments in value else first.split()
                if unwrapped(command) is not None:
                    yield command
        for inner in value.values():
            yield from wrapped_in(inner)
    elif isinstance(value, list):
        command = words(value) or []
        if unwrapped(command) is not None:
            yield command
        for inner in value:
            yield from wrapped_in(inner)


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within the settings; an empty one where there is none, or something else."""
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def words(value: object) -> list[str] | None:
    """A command as a list of strings; None if it is none."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return list(value)
    return None
