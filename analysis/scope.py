"""Tables of the store in queries, and which of their rows count. Ibis is loaded when the first query is built."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.rollup import AGREEMENT, AGREEMENT_HORIZON
from analysis.source import column_types
from codetrial.records import ArmLabel, Origin, OutcomeClass

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["TAKEN", "Scope", "held", "table", "with_agreement"]

TAKEN = (OutcomeClass.ACCEPTED.value, OutcomeClass.PARTLY_ACCEPTED.value)

WITHHELD = ("refused", "over_budget")
"""Privacy rules and a spent budget stop both arms together: neither was asked."""


def table(name: str) -> "ir.Table":
    """The unbound table of this name, with the columns of its record."""
    import ibis

    return ibis.table(ibis.schema(column_types(name)), name=name)


def held(name: str, expression: "ir.Table") -> "ir.Table":
    """The unbound table of a result that a source holds."""
    import ibis

    return ibis.table(expression.schema(), name=name)


@dataclass(frozen=True, slots=True)
class Scope:
    """The sessions that count, for queries that read single rows of all of them."""

    trial: str
    origin: Origin
    since: str | None

    def sessions(self) -> "ir.Table":
        session = table("session")
        chosen = (session.trial == self.trial) & (session.origin == self.origin.value)
        if self.since is not None:
            chosen &= session.started_at >= self.since
        return session.filter(chosen).select(scoped=session.id)

    def of_sessions(self, rows: "ir.Table") -> "ir.Table":
        """Rows of a table with a `session` column, of these sessions only."""
        chosen = self.sessions()
        return rows.semi_join(chosen, rows.session == chosen.scoped)

    def of_tasks(self, rows: "ir.Table") -> "ir.Table":
        """Rows of a table with a `task` column, of these sessions only."""
        tasks = self.of_sessions(table("task").select("id", "session"))
        tasks = tasks.select(scoped=tasks.id)
        return rows.semi_join(tasks, rows.task == tasks.scoped)


def with_agreement(tasks: "ir.Table") -> "ir.Table":
    """Routed tasks (with a column `task_id`) and how far each arm agrees with what was written: `value_A`, `value_B`.

    Silence agrees with nothing, 0 (docs/design/0014-silence-counts.md): otherwise an arm would be judged on the
    requests that it chose to answer. A task counts if both arms were asked and its place was seen at the horizon.
    """
    c, p, s = table("continuation"), table("attempt"), table("score")
    c = c.filter((c.horizon == AGREEMENT_HORIZON) & c.chars.notnull()).select(seen=c.task)
    found = tasks.inner_join(c, tasks.task_id == c.seen).drop("seen")
    p = p.filter(~p.status.isin(WITHHELD))
    s = s.filter((s.metric == AGREEMENT) & (s.horizon == AGREEMENT_HORIZON) & s.value.notnull())
    for label in ArmLabel:
        asked = p.filter(p.label == label.value).select(asked=p.task)
        found = found.inner_join(asked, found.task_id == asked.asked).drop("asked")
        scored = s.filter(s.label == label.value).select(scored=s.task, value=s.value)
        found = found.left_join(scored, found.task_id == scored.scored).drop("scored")
        found = found.mutate(value=found.value.fill_null(0.0)).rename({f"value_{label.value}": "value"})
    return found
