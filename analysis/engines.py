"""Engines for what `codetrial ship` wrote: DuckDB in this process, ClickHouse's engine, or Spark.

Each gives the tables of the store the same names and columns, so that every query of the report runs unchanged.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.ship import Destination
from analysis.source import Columns, Source, column_types, tables
from analysis.statements import Query, statement
from analysis.sums import SUMS
from codetrial.errors import EvidenceError

__all__ = ["ENGINES", "open_shipped"]

DUCKDB_MEMORY = "800MB"
"""Beyond this DuckDB spills to disk instead of growing, where it can; `CODETRIAL_DUCKDB_MEMORY` says otherwise."""


def _files(destination: Destination) -> dict[str, list[str]]:
    done = destination.batches("done")
    if not done:
        raise EvidenceError(
            f"{destination.url} holds nothing complete yet: run `codetrial ship {destination.url}` first."
        )
    return {table: destination.parquet(table, done) for table in (*tables, *SUMS)}


def _unreadable(place: str, fault: Exception) -> EvidenceError:
    """What an engine says of a file that is cut short, damaged, or gone; its first line names the file."""
    reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
    return EvidenceError(
        f"What was shipped to {place} cannot be read: {reason[:300]} If a file there is damaged or cut short, delete "
        "its batch's mark below _done and run `codetrial ship` again where it came from, which writes it anew."
    )


def _is_local(destination: Destination) -> bool:
    protocol = destination.files.protocol
    return "file" in (protocol if isinstance(protocol, tuple) else (protocol,))


def _empty(table: str, kinds: dict[str, str]) -> str:
    columns = ", ".join(
        f"CAST(NULL AS {kinds[kind]}) AS {_quoted(name, kinds)}" for name, kind in column_types(table).items()
    )
    return f"SELECT {columns} WHERE 1 = 0"


def _quoted(name: str, kinds: dict[str, str]) -> str:
    mark = kinds["quote"]
    return f"{mark}{name}{mark}"


class DuckDbSource:
    """A team's Parquet files under DuckDB."""

    def __init__(self, destination: Destination, *, fresh: bool = False) -> None:
        import duckdb

        self.is_fresh = fresh
        self.place = destination.url
        files = _files(destination)
        self._connection = duckdb.connect()
        self._memory = os.environ.get("CODETRIAL_DUCKDB_MEMORY") or DUCKDB_MEMORY
        try:
            self._connection.execute("SET memory_limit = $1", [self._memory])
        except duckdb.Error as fault:
            raise EvidenceError(
                f"CODETRIAL_DUCKDB_MEMORY is {self._memory!r}, which is no size. Write for instance 2GB."
            ) from fault
        # Order is asked for where it matters; keeping it elsewhere costs memory.
        self._connection.execute("SET preserve_insertion_order = false")
        prefix = ""
        if not _is_local(destination):
            self._connection.register_filesystem(destination.files)
            prefix = f"{destination.files.protocol if isinstance(destination.files.protocol, str) else destination.files.protocol[0]}://"
        kinds = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE", "quote": '"'}
        for table, paths in files.items():
            if paths:
                listed = ", ".join("'" + (prefix + path).replace("'", "''") + "'" for path in paths)
                read = f"read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
                body = f"SELECT {self._columns(table, read, kinds)} FROM {read}"
                if table in ("trial", "arm"):
                    # Every batch brings its trial along.
                    body = f"SELECT DISTINCT ON (id) * FROM ({body})"
            else:
                body = _empty(table, kinds)
            self._connection.execute(f'CREATE VIEW "{table}" AS {body}')

    def _columns(self, table: str, read: str, kinds: dict[str, str]) -> str:
        """The columns of a table; one that no file has, because an earlier version wrote them all, is null."""
        there = {row[0] for row in self.run(f"DESCRIBE SELECT * FROM {read}").fetchall()}
        return ", ".join(
            f'"{name}"' if name in there else f'CAST(NULL AS {kinds[kind]}) AS "{name}"'
            for name, kind in column_types(table).items()
        )

    def run(self, statement: str) -> Any:
        """Any statement, in DuckDB's words."""
        import duckdb

        try:
            return self._connection.execute(statement)
        except duckdb.OutOfMemoryException as fault:
            raise EvidenceError(
                f"Reading {self.place} takes DuckDB more than {self._memory} of memory. "
                "Allow it more by CODETRIAL_DUCKDB_MEMORY (2GB, for instance), or report less with --since."
            ) from fault
        except duckdb.Error as fault:
            raise _unreadable(self.place, fault) from fault

    def fetch(self, query: Query) -> Columns:
        return Columns(self.run(statement(query, "duckdb")).fetchnumpy())

    def hold(self, name: str, query: "Query | None" = None) -> None:
        self.run(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {statement(query or name, "duckdb")}')

    def put(self, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        import pyarrow as pa

        self._connection.register("putting", pa.table(dict(columns)))
        self.run(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM putting')
        self._connection.unregister("putting")

    def close(self) -> None:
        self._connection.close()


def _untyped(function: Any) -> Any:
    """A function of a package without types, so that calling it is not an error of ours."""
    return function


def _is_whole(column: Sequence[Any] | NDArray[Any]) -> bool:
    """Whether a column is one of whole numbers, not of text."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "iu"


def _plain(column: Sequence[Any] | NDArray[Any]) -> Sequence[Any]:
    """As Python values."""
    return column.tolist() if isinstance(column, np.ndarray) else column


def _literal(value: int | str) -> str:
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return str(value) if isinstance(value, int) else f"'{escaped}'"


class ClickHouseSource:
    """The same files under ClickHouse's engine inside this process (chdb); a server runs the same statements."""

    def __init__(self, destination: Destination, *, fresh: bool = False) -> None:
        import chdb.session as chdb_session

        self.is_fresh = fresh
        if not _is_local(destination):
            raise EvidenceError("--engine clickhouse reads local folders only; use duckdb for object storage.")
        self.place = destination.url
        self._session: Any = _untyped(chdb_session.Session)()
        self._session.query("CREATE DATABASE IF NOT EXISTS evidence ENGINE = Atomic")
        self._session.query("USE evidence")
        kinds = {"string": "Nullable(String)", "int64": "Nullable(Int64)", "float64": "Nullable(Float64)", "quote": "`"}
        for table, paths in _files(destination).items():
            structure = ", ".join(f"`{name}` {kinds[kind]}" for name, kind in column_types(table).items())
            if paths:
                # Alternatives in braces may hold no slash, so the folders stand as wildcards and the files by name.
                names = sorted({path.rsplit("/", 1)[1] for path in paths})
                folders = "/".join("*" for _ in paths[0].removeprefix(destination.root).split("/")[2:-1])
                listed = "{" + ",".join(names) + "}" if len(names) > 1 else names[0]
                pattern = f"{destination.root}/{table}/{folders}/{listed}"
                body = f"SELECT * FROM file('{pattern}', 'Parquet', '{structure}')"
                if table in ("trial", "arm"):
                    body += " LIMIT 1 BY id"
            else:
                body = _empty(table, kinds)
            self._session.query(f"CREATE OR REPLACE VIEW `{table}` AS {body}")

    def fetch(self, query: Query) -> Columns:
        import json

        # Left joins must give nulls as in every other engine, not ClickHouse's default values.
        settings = "SETTINGS join_use_nulls = 1, output_format_json_quote_64bit_integers = 0"
        try:
            answer = json.loads(str(self._session.query(f"{statement(query, 'clickhouse')} {settings}", "JSONCompact")))
        except RuntimeError as fault:
            raise _unreadable(self.place, fault) from fault
        return Columns.of_rows([column["name"] for column in answer["meta"]], answer["data"])

    def hold(self, name: str, query: "Query | None" = None) -> None:
        # ClickHouse counts without a sign, and a union of such counts with other whole numbers cannot be added up.
        counts = r'("t\d+"\."n") AS "n"'
        body = re.sub(counts, r'toInt64(\g<1>) AS "n"', statement(query or name, "clickhouse"))
        made = f"CREATE OR REPLACE TABLE `{name}` ENGINE = Memory"
        try:
            self._session.query(f"{made} AS {body} SETTINGS join_use_nulls = 1")
        except RuntimeError as fault:
            raise _unreadable(self.place, fault) from fault

    def put(self, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        kinds = {key: "Int64" if _is_whole(column) else "String" for key, column in columns.items()}
        typed = ", ".join(f"`{key}` {kind}" for key, kind in kinds.items())
        self._session.query(f"CREATE OR REPLACE TABLE `{name}` ({typed}) ENGINE = Memory")
        rows = zip(*(_plain(column) for column in columns.values()), strict=True)
        values = ", ".join("(" + ", ".join(_literal(value) for value in row) + ")" for row in rows)
        self._session.query(f"INSERT INTO `{name}` VALUES {values}")

    def close(self) -> None:
        self._session.close()


class SparkSource:
    """The same files under Spark, for a company that has it anyway."""

    def __init__(self, destination: Destination, *, fresh: bool = False) -> None:
        from pyspark.sql import SparkSession

        self.place = destination.url
        self.is_fresh = fresh
        builder = SparkSession.builder.appName("codetrial").config("spark.sql.ansi.enabled", "false")
        if "SPARK_REMOTE" not in os.environ:
            builder = builder.master(os.environ.get("SPARK_MASTER", "local[2]")).config("spark.ui.enabled", "false")
            builder = builder.config("spark.sql.shuffle.partitions", "8")
        self._spark = builder.getOrCreate()
        kinds = {"string": "STRING", "int64": "BIGINT", "float64": "DOUBLE", "quote": "`"}
        for table, paths in _files(destination).items():
            if paths:
                # Spark would open every file of every table to find out what is stated here; what a file lacks is null.
                typed = ", ".join(f"`{name}` {kinds[kind]}" for name, kind in column_types(table).items())
                frame = self._spark.read.schema(typed).parquet(*paths)
                if table in ("trial", "arm"):
                    frame = frame.dropDuplicates(["id"])
            else:
                frame = self._spark.sql(_empty(table, kinds))
            frame.createOrReplaceTempView(table)

    def fetch(self, query: Query) -> Columns:
        frame = self._spark.sql(statement(query, "databricks"))
        return Columns.of_rows(frame.columns, [tuple(row) for row in frame.collect()])

    def hold(self, name: str, query: "Query | None" = None) -> None:
        self._spark.sql(statement(query or name, "databricks")).cache().createOrReplaceTempView(name)

    def put(self, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        typed = ", ".join(f"{key} {'BIGINT' if _is_whole(column) else 'STRING'}" for key, column in columns.items())
        rows = list(zip(*(_plain(column) for column in columns.values()), strict=True))
        self._spark.createDataFrame(rows, typed).createOrReplaceTempView(name)

    def close(self) -> None:
        self._spark.stop()


class _Engine(Protocol):
    def __call__(self, destination: Destination, *, fresh: bool) -> Source: ...


ENGINES: dict[str, tuple[_Engine, str]] = {
    "duckdb": (DuckDbSource, "'codetrial[parquet]'"),
    "clickhouse": (ClickHouseSource, "'codetrial[clickhouse]'"),
    "spark": (SparkSource, "'codetrial[spark]'"),
}


def open_shipped(url: str, engine: str = "duckdb", *, fresh: bool = False) -> Source:
    """Open what was shipped.

    Args:
        fresh: Read every row, whatever sums there are.

    Raises:
        EvidenceError: the engine is not installed, or nothing complete is there.
    """
    kind, package = ENGINES[engine]
    try:
        opened: Any = kind(Destination(url), fresh=fresh)
    except ImportError as fault:
        raise EvidenceError(f"--engine {engine} needs `pip install {package}` ({fault}).") from fault
    return opened  # type: ignore[no-any-return]
