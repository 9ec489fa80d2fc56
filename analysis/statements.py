"""Statements for an engine: compiled beforehand where they can be, so that nobody waits for a compiler.

The evaluator uses this module, so it imports nothing that is large.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["DETAILS", "Query", "hold", "put", "statement"]

Query: TypeAlias = "str | ir.Table"
"""The name of a query in analysis/expressions.py, or an expression."""

DETAILS = ("task", "taken", "routed", "pair", "episode", "attempt", "session", "count")
"""What is worked out of single rows (queries `details_*`), each built on those before it."""


def statement(query: Query, dialect: str) -> str:
    """The query in an engine's own words."""
    if isinstance(query, str) and (text := _compiled(dialect).get(query)) is not None:
        return text
    from analysis.expressions import QUERIES, sql  # Half a second, for those that need it.

    return sql(QUERIES[query]() if isinstance(query, str) else query, dialect)


@cache
def _compiled(dialect: str) -> Mapping[str, str]:
    """Statements by name, as analysis/expressions.py wrote them; none for a dialect that is compiled when used."""
    file = Path(__file__).parent / "compiled" / f"{dialect}.sql"
    texts = file.read_text(encoding="utf-8").split("-- ")[1:] if file.exists() else []
    return {name: body.strip() for name, _, body in (text.partition("\n") for text in texts)}


def hold(connection: sqlite3.Connection, name: str, select: str) -> None:
    """Make a temporary table of what a statement selects."""
    # Temporary tables are the connection's own, so a file that is open for reading only allows them.
    connection.execute(f'DROP TABLE IF EXISTS temp."{name}"')
    connection.execute(f'CREATE TEMP TABLE "{name}" AS {select}')
    # Without, SQLite takes every table for a million rows, and begins with the wrong one.
    connection.execute(f'ANALYZE temp."{name}"')


def put(connection: sqlite3.Connection, name: str, columns: Mapping[str, Sequence[int] | Sequence[str]]) -> None:
    """Make a temporary table of these columns; the first one is looked up."""
    kinds = ["INTEGER" if isinstance(column[0], int) else "TEXT" for column in columns.values()]
    typed = [f'"{column}" {kind}' for column, kind in zip(columns, kinds, strict=True)]
    connection.execute(f'DROP TABLE IF EXISTS temp."{name}"')
    connection.execute(f'CREATE TEMP TABLE "{name}" ({", ".join(typed)}, PRIMARY KEY ("{next(iter(columns))}"))')
    marks = ", ".join("?" * len(typed))
    connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', zip(*columns.values(), strict=True))
    connection.execute(f'ANALYZE temp."{name}"')
