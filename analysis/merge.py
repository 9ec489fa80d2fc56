"""Join databases: rows are immutable and their ids unique, so merging is inserting what is not there yet."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from analysis.source import column_types, tables
from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    rows: int
    sessions: int
    warnings: list[str] = field(default_factory=list)


def merge(into: Path, source: Path, *, text: bool = False) -> Merged:
    """Copy what `into` lacks from `source`, all or nothing.

    Raises:
        EvidenceError: both are the same file.
        StoreError: one of them cannot be read or written, or is of a newer version.
    """
    if into.resolve() == source.resolve():
        raise EvidenceError(f"{into} cannot be merged into itself.")
    # Opening brings an older file up to date and refuses a newer one, so the columns agree.
    with closing(Store(source)):
        pass
    with closing(Store(into)) as target:
        connection = target.db.conn
        connection.execute("ATTACH DATABASE ? AS other", [str(source)])
        warnings = _warnings(target)
        counts = {}
        try:
            connection.execute("BEGIN IMMEDIATE")
            for table in tables:
                if table == "text" and not text:
                    continue
                names = ", ".join(f'"{name}"' for name in column_types(table))
                cursor = connection.execute(
                    f'INSERT INTO main."{table}" ({names}) SELECT {names} FROM other."{table}" WHERE true '
                    "ON CONFLICT DO NOTHING"
                )
                counts[table] = cursor.rowcount
            connection.execute("COMMIT")
        except sqlite3.Error as fault:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"Cannot merge {source} into {into}: {fault}.") from fault
    return Merged(rows=sum(counts.values()), sessions=counts["session"], warnings=warnings)


def _warnings(target: Store) -> list[str]:
    seeds = target.rows(
        "SELECT mine.name FROM main.trial mine JOIN other.trial theirs "
        "ON theirs.id = mine.id AND theirs.seed <> mine.seed"
    )
    return [
        f"Trial {row['name']!r} was drawn from another seed there, so its assignments cannot be audited from this "
        "file, and a person who works on both machines counts as two developers. Put one [trial] seed into the team's "
        "codetrial.toml."
        for row in seeds
    ]
