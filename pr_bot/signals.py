"""What was seen of a finding, on its way into the store.

That something has been seen stands in the bot's own file, what it means in the store. So both go into the bot's file
first, in one transaction, and from there into the store: a process that is killed in between loses nothing, and what it
hands over twice is one row.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from analysis.store import Store
from codetrial.clock import now_ns, utc_text
from codetrial.ids import new_id
from codetrial.records import ArmLabel, Outcome, OutcomeClass
from pr_bot.state import State

__all__ = ["Signal", "changed", "hand_over", "keep", "outcome_of"]


class Signal(NamedTuple):
    finding: str
    notes: Mapping[str, str]
    """What has been seen, so that the next look does not see it as new."""
    outcomes: tuple[Outcome, ...]


def changed(
    state: State, row: sqlite3.Row, name: str, value: str | None, outcome: OutcomeClass, detail: str | None
) -> Iterator[Signal]:
    """A signal where something is new, or has been taken back, since the last look."""
    before = state.seen(row["id"], name) or None
    if before == value:
        return
    rule = f"{name}_undone" if value is None else name if name == value else f"{name}_{value}"
    yield Signal(row["id"], {name: value or ""}, (outcome_of(row, outcome, rule.lower(), detail),))


def outcome_of(row: sqlite3.Row, outcome: OutcomeClass, rule: str, detail: str | None) -> Outcome:
    """An outcome of a finding, given by its row of the bot's own file."""
    return Outcome(
        id=new_id(),
        suggestion=row["id"],
        task=row["task"],
        label=ArmLabel(row["label"]),
        outcome=outcome,
        rule=rule,
        accepted_chars=None,
        decided_ns=now_ns(),
        decided_at=utc_text(),
        detail=detail,
    )


def keep(state: State, signals: Iterable[Signal]) -> int:
    """Note what was seen and lay out what it means, all or nothing; how many outcomes that were."""
    found = list(signals)
    outcomes = [outcome for signal in found for outcome in signal.outcomes]
    if found:
        with state.transaction() as db:
            for signal in found:
                for name, value in signal.notes.items():
                    db.execute(
                        "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (signal.finding, name, value, state.now())
                    )
            db.executemany(
                "INSERT INTO outbox VALUES (?, ?)",
                [(outcome.id, msgspec.json.encode(outcome).decode()) for outcome in outcomes],
            )
    return len(outcomes)


def hand_over(state: State, store: Store) -> None:
    """Bring what is laid out into the store, also what a killed process left behind."""
    rows = state.rows("SELECT id, outcome FROM outbox ORDER BY id")
    if rows:
        store.append(*(msgspec.json.decode(row["outcome"], type=Outcome) for row in rows))
        with state.transaction() as db:
            db.executemany("DELETE FROM outbox WHERE id = ?", [(row["id"],) for row in rows])
