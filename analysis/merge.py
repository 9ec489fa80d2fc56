"""Join databases: rows are immutable and their ids unique, so merging is inserting what is not there yet.

Only the same trial can be joined: one manifest, byte for byte. Developers stay the pseudonyms that their own database
gave them. Sessions of a database with another seed are marked by an incident: what was drawn with which probability is
in each row, so they count like all others, but their draws cannot be repeated from the seed that is here.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.source import column_types, tables
from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError

__all__ = ["OTHER_SEED", "Merged", "merge"]


OTHER_SEED = "other_seed"
"""The kind of incident that marks a session whose assignments were drawn from another seed than this file's."""

_MARK = """
INSERT INTO main.incident (id, session, kind, count, detail, happened_ns, happened_at)
SELECT 'other-seed-' || s.id, s.id, ?, 1, NULL, s.started_ns, s.started_at
FROM other.session s JOIN other.trial theirs ON theirs.id = s.trial JOIN main.trial mine ON mine.id = theirs.id
WHERE mine.seed <> theirs.seed ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    rows: int
    sessions: int
    warnings: list[str] = field(default_factory=list)


def merge(into: Path, source: Path, *, text: bool = False, other_trials: bool = False) -> Merged:
    """Copy what `into` lacks from `source`, all or nothing.

    Args:
        other_trials: Take along trials that have a name in common with one here but another manifest; the report keeps
            them apart.

    Raises:
        EvidenceError: both are the same file, or their trials are not the same.
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
        _require_same_trials(target, source, other_trials=other_trials)
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
            connection.execute(_MARK, [OTHER_SEED])
            connection.execute("COMMIT")
        except sqlite3.Error as fault:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"Cannot merge {source} into {into}: {fault}.") from fault
    return Merged(rows=sum(counts.values()), sessions=counts["session"], warnings=warnings)


def _require_same_trials(target: Store, source: Path, *, other_trials: bool) -> None:
    ours = {row["id"]: row for row in target.rows("SELECT * FROM main.trial")}
    for theirs in target.rows("SELECT * FROM other.trial ORDER BY id"):
        here = ours.get(theirs["id"])
        is_intact = hashlib.sha256(theirs["manifest"].encode()).hexdigest() == theirs["manifest_hash"]
        if not is_intact or (here is not None and here["manifest"] != theirs["manifest"]):
            raise EvidenceError(
                f"{source}: the manifest of trial {theirs['name']!r} ({theirs['id']}) is not the one that was frozen. "
                "Rows recorded under another manifest cannot be joined; use that person's untouched database."
            )
        # One codetrial.toml makes two trials of one name, one for each door: they differ in what is assigned.
        same = (theirs["name"], theirs["assignment_unit"])
        namesake = next((row for row in ours.values() if (row["name"], row["assignment_unit"]) == same), None)
        if here is None and namesake is not None and not other_trials:
            places = ", ".join(_differences(_json(namesake), _json(theirs)))
            raise EvidenceError(
                f"{source} ran trial {theirs['name']!r} under another manifest than here; different: {places}. "
                "One trial needs one codetrial.toml. --other-trials keeps both, side by side and apart."
            )


def _json(trial: dict[str, Any]) -> Any:
    return json.loads(trial["manifest"])


def _differences(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two manifests differ, as `arms.A.model`."""
    if not (isinstance(mine, dict) and isinstance(theirs, dict)):
        if mine != theirs:
            yield path or "everything"
        return
    for key in sorted({*mine, *theirs}):
        yield from _differences(mine.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))


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
