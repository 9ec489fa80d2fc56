"""Where the evidence is read from: one query, written once in Ibis, run on whatever holds the tables.

A query is an expression over unbound tables, or the name of one that was compiled beforehand; a source brings the
columns back. SQLite serves one person; Parquet files under DuckDB serve a team (docs/design/0012-queries-once.md).
"""

import dataclasses
import sqlite3
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from analysis.statements import hold, put, statement
from analysis.store import Store
from analysis.sums import SUMS
from codetrial.errors import EvidenceError, StoreError
from codetrial.records import Record

if TYPE_CHECKING:
    from analysis.statements import Query

__all__ = ["Columns", "Source", "SqliteSource", "column_types", "tables"]

Value = str | int | float | None


class Columns:
    """The columns of a result, by name: numbers as arrays, NaN where null; everything else as Python objects."""

    def __init__(self, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        self._columns = columns

    @classmethod
    def of_rows(cls, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Self:
        return cls.of_batches(names, [list(rows)])

    @classmethod
    def of_batches(cls, names: Sequence[str], batches: Iterable[Sequence[Sequence[Any]]]) -> Self:
        """Rows in pieces, each packed before the next is fetched: a row of Python objects is ten times its numbers."""
        packed: list[list[NDArray[Any]]] = [[] for _ in names]
        for batch in batches:
            for pieces, column in zip(packed, zip(*batch, strict=True), strict=False):
                pieces.append(_packed(column))
        return cls(
            {
                name: np.concatenate(pieces) if pieces else np.empty(0)
                for name, pieces in zip(names, packed, strict=True)
            }
        )

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def strings(self, name: str) -> list[str]:
        return [str(value) for value in self._columns[name]]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Floats, NaN where null."""
        column = self._columns[name]
        if isinstance(column, np.ma.MaskedArray):
            return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))
        return _floats(column)

    def counts(self, name: str) -> NDArray[np.int64]:
        """Integers, 0 where null (the sum of nothing)."""
        column = self._columns[name]
        if isinstance(column, np.ma.MaskedArray):
            return np.asarray(column.filled(0)).astype(np.int64)
        if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
            return column.astype(np.int64)
        return np.nan_to_num(_floats(column)).astype(np.int64)

    def rows(self) -> list[dict[str, Any]]:
        names = list(self._columns)
        values = [[_plain(value) for value in np.asarray(column, dtype=object)] for column in self._columns.values()]
        for i, column in enumerate(self._columns.values()):
            if isinstance(column, np.ma.MaskedArray):
                missing = np.ma.getmaskarray(column)
                values[i] = [None if gone else value for value, gone in zip(values[i], missing, strict=True)]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _packed(column: Sequence[Any]) -> NDArray[Any]:
    kinds = set(map(type, column)) - {type(None)}
    if kinds == {int} and None not in column:
        return np.array(column, dtype=np.int64)
    if kinds and kinds <= {int, float}:
        return _floats(column)
    found = np.empty(len(column), dtype=object)
    found[:] = column
    return found


def _floats(column: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return column.astype(np.float64)
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)


def _plain(value: Any) -> Any:
    """A Python value of a column that went through numpy."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


class Source(Protocol):
    """Something that holds the tables of the store."""

    @property
    def place(self) -> str:
        """What a person calls it, such as a path."""
        ...

    @property
    def is_fresh(self) -> bool:
        """Every row is to be read, whatever sums there are."""
        ...

    def fetch(self, query: "Query") -> Columns: ...

    def hold(self, name: str, query: "Query | None" = None) -> None:
        """Work a query out once, for those that build on it; the table is this source's own and ends with it.

        Args:
            query: By default the one of this name.
        """
        ...

    def put(self, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        """Hold a table of these columns, of whole numbers or of text."""
        ...

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
    if name in SUMS:
        return dict(SUMS[name])
    return {field.name: _ibis_type(field.type) for field in dataclasses.fields(tables[name])}


ROWS_AT_ONCE = 20_000


class SqliteSource:
    """One person's database, read only.

    Args:
        fresh: Read every row, whatever sums there are.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.is_fresh = fresh
        self._store = Store(path, readonly=True)
        self.place = str(path)
        # One state of the file for the whole report, whatever is written meanwhile.
        self._store.db.conn.execute("BEGIN")

    def fetch(self, query: "Query") -> Columns:
        try:
            cursor = self._execute(statement(query, "sqlite"))
            return Columns.of_batches([column[0] for column in cursor.description], self._batches(cursor))
        except sqlite3.Error as fault:
            raise self._explained(fault) from fault

    def hold(self, name: str, query: "Query | None" = None) -> None:
        try:
            hold(self._store.db.conn, name, statement(query if query is not None else name, "sqlite"))
        except sqlite3.Error as fault:
            raise self._explained(fault) from fault

    def put(self, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        lists = {key: column.tolist() if isinstance(column, np.ndarray) else column for key, column in columns.items()}
        put(self._store.db.conn, name, lists)

    def _execute(self, statement: str) -> sqlite3.Cursor:
        return self._store.db.conn.execute(statement)

    def _batches(self, cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
        while batch := cursor.fetchmany(ROWS_AT_ONCE):
            yield batch

    def _explained(self, fault: sqlite3.Error) -> Exception:
        if "no such table" in str(fault) or "no such column" in str(fault):
            return EvidenceError(
                f"{self.place} was written by an older codetrial ({fault}): open it once with this version "
                "(`codetrial lsp` or `codetrial demo` with --store), which brings it up to date."
            )
        return StoreError(f"Cannot read {self.place}: {fault}.")

    def close(self) -> None:
        self._store.close()
