"""Where the evidence is read from: one query, written once in Ibis, run on whatever holds the tables.

A query is an expression over unbound tables; a source compiles it to its own dialect and brings the columns back.
SQLite serves one person; Parquet files under DuckDB serve a team (docs/design/0012-queries-once.md).
"""

import dataclasses
import sqlite3
import types
import typing
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError
from codetrial.records import Record

__all__ = ["Columns", "Source", "SqliteSource", "column_types", "table", "tables"]

Value = str | int | float | None


class Columns:
    """The columns of a result, by name."""

    def __init__(self, names: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
        self._columns = dict(zip(names, columns, strict=True))

    @classmethod
    def of_rows(cls, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Self:
        return cls(names, list(zip(*rows, strict=True)) if rows else [()] * len(names))

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def objects(self, name: str) -> list[Any]:
        """Python values, None where null."""
        return list(self._columns[name])

    def strings(self, name: str) -> list[str]:
        return [str(value) for value in self._columns[name]]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Floats, NaN where null."""
        return np.array([np.nan if v is None else v for v in self._columns[name]], dtype=np.float64)

    def counts(self, name: str) -> NDArray[np.int64]:
        """Integers, 0 where null (the sum of nothing)."""
        return np.array([0 if v is None else int(v) for v in self._columns[name]], dtype=np.int64)

    def rows(self) -> list[dict[str, Any]]:
        names = list(self._columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*self._columns.values(), strict=True)]


class Source(Protocol):
    """Something that holds the tables of the store."""

    @property
    def place(self) -> str:
        """What a person calls it, such as a path."""
        ...

    def fetch(self, expression: ir.Table) -> Columns: ...

    def close(self) -> None: ...


def _ibis_type(annotation: Any) -> str:
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    [kind] = [member for member in members if member is not type(None)]
    if issubclass(kind, StrEnum) or kind is str:
        return "string"
    # Booleans are integers in SQLite, and stay so everywhere.
    return "float64" if kind is float else "int64"


tables = {kind.table: kind for kind in Record.__subclasses__()}


def column_types(name: str) -> dict[str, str]:
    """Column names of a table with `string`, `int64` or `float64`, in order."""
    return {field.name: _ibis_type(field.type) for field in dataclasses.fields(tables[name])}


def table(name: str) -> ir.Table:
    """The unbound table of this name, with the columns of its record."""
    return ibis.table(ibis.schema(column_types(name)), name=name)


class SqliteSource:
    """One person's database, read only."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path, readonly=True)
        self.place = str(path)

    def fetch(self, expression: ir.Table) -> Columns:
        statement = str(ibis.to_sql(expression, dialect="sqlite"))
        try:
            cursor = self._store.db.conn.execute(statement)
            rows = cursor.fetchall()
        except sqlite3.Error as fault:
            if "no such table" in str(fault) or "no such column" in str(fault):
                raise EvidenceError(
                    f"{self.place} was written by an older codetrial ({fault}): open it once with this version "
                    "(`codetrial lsp` or `codetrial demo` with --store), which brings it up to date."
                ) from fault
            raise StoreError(f"Cannot read {self.place}: {fault}.") from fault
        return Columns.of_rows([column[0] for column in cursor.description], rows)

    def close(self) -> None:
        self._store.close()
