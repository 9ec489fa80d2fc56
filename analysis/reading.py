"""Rows of the store turned back into the records they were written from."""

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from analysis.store import Store
from codetrial.records import Record

__all__ = ["read", "select"]

R = TypeVar("R", bound=Record)


def select(store: Store, kind: type[R], clause: str = "", parameters: Sequence[Any] | dict[str, Any] = ()) -> list[R]:
    """The records of one table.

    Args:
        clause: What follows `SELECT ... FROM <table>`, such as `WHERE task = ? ORDER BY label`.

    Raises:
        StoreError: as for `Store.rows`.
    """
    return [read(kind, row) for row in store.rows(f'SELECT * FROM "{kind.table}" {clause}', parameters)]


def read(kind: type[R], row: dict[str, Any]) -> R:
    """One row as its record."""
    return kind(**{name: convert(row[name]) for name, convert in _CONVERTERS[kind].items()})


def _converter(annotation: Any) -> Callable[[Any], Any]:
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    [target] = [member for member in members if member is not type(None)]
    if issubclass(target, StrEnum):
        return lambda value: _member(target, value)
    if target is bool:
        return lambda value: None if value is None else bool(value)
    return lambda value: value


def _member(target: type[StrEnum], value: str | None) -> str | None:
    """The enumeration's member; a word that this version does not know stays the word it is."""
    return next((member for member in target if member.value == value), value)


_CONVERTERS: dict[type[Record], dict[str, Callable[[Any], Any]]] = {
    kind: {field.name: _converter(field.type) for field in dataclasses.fields(kind)} for kind in Record.__subclasses__()
}
