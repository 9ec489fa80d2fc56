"""Measures of completion that others have published, by their own definitions, from what the store holds.

They stand beside codetrial's own figures so that these can be compared with what is in print; the verdict never uses
them. Each carries its numerator, its denominator and where its definition comes from, because the same name means
different things in different places: acceptance of 5 % and of 30 % have been reported of like systems, by denominators.

    car               taken / offered for at least 750 ms           Sourcegraph, "Cody analytics" (CAR)
    wcar              taken characters / characters so offered      the same (weighted CAR)
    rocc              completed characters / all written            Semenkin et al. 2024, arXiv:2405.08704
    unchanged         taken and standing without any change         Ziegler et al. 2022, arXiv:2205.06537
    mostly_unchanged  the same, changed by less than 33 %           the same

Where ours differ: an editor does not say how long a suggestion was on display, so it is counted from its delivery to
the next change of the document, and one that was taken or typed along counts as read. The ratio of completed code
counts our suggestions alone, neither the language server's own items nor what other assistants insert.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.scope import Scope, table
from analysis.source import Source
from analysis.statistics.sequences import MIN_CLUSTERS, Interval, cluster_ratio
from codetrial.records import ArmLabel, Origin, OutcomeClass

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["Measure", "Outside", "outside", "published"]

READ_MS = 750.0
"""What is gone sooner was not read: Cody's own threshold."""

CHANGED = 0.33
"""Edit distance by length from which on a text is not mostly unchanged any more."""

HORIZONS = ("30s", "120s", "300s", "600s", "commit")

TAKEN = (OutcomeClass.ACCEPTED.value, OutcomeClass.PARTLY_ACCEPTED.value)

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure of one arm."""

    name: str
    label: ArmLabel
    horizon: str | None
    part: float
    whole: float
    value: float | None
    """None: nothing to divide by."""
    low: float | None
    high: float | None
    """Anytime-valid 95 % interval over whole sessions; None with too few of them."""
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What other assistants (and pastes) put in at once, and what was left of it at one horizon."""

    horizon: str
    insertions: int
    """All that were noticed, whether followed or not."""
    states: Mapping[str, int]
    """How many were found, moved, edited, gone, censored or unknown."""
    mean_kept: float | None
    """Mean share that stands, among those looked at."""


def outside(source: Source, trial: str, origin: Origin, since: str | None = None) -> list[Outside]:
    """Retention of text from outside the trial, by horizon; empty where incidents come without their details."""
    scope = Scope(trial, origin, since)
    i = scope.of_sessions(table("incident"))
    i = i.filter(i.kind.isin(("outside_insertion", "outside_kept"))).select("kind", "count", "detail")
    rows = source.fetch(i).rows()
    insertions = sum(int(row["count"]) for row in rows if row["kind"] == "outside_insertion")
    looked = [json.loads(row["detail"]) for row in rows if row["kind"] == "outside_kept" and row["detail"]]
    found = []
    for horizon in (*HORIZONS[:-1], "save"):
        there = [look for look in looked if look["horizon"] == horizon]
        shares = [look["kept_share"] for look in there if look["kept_share"] is not None]
        if there:
            found.append(
                Outside(
                    horizon=horizon,
                    insertions=insertions,
                    states=dict(Counter(look["state"] for look in there)),
                    mean_kept=sum(shares) / len(shares) if shares else None,
                )
            )
    return found


def published(source: Source, trial: str, origin: Origin, since: str | None = None) -> list[Measure]:
    """Every measure of both arms, over the episodes that showed the arm."""
    scope = Scope(trial, origin, since)
    order = _sessions(source, scope)
    found: list[Measure] = []
    offered = source.fetch(_offered(scope)).rows()
    found += _measures("car", offered, order, "taken", "read")
    found += _measures("wcar", offered, order, "taken_chars", "read_chars")
    found += _measures("rocc", source.fetch(_written(scope)).rows(), order, "completed", "written")
    kept = source.fetch(_kept(scope)).rows()
    for horizon in HORIZONS:
        there = [row for row in kept if row["horizon"] == horizon]
        found += _measures("unchanged", there, order, "unchanged", "seen", horizon)
        found += _measures("mostly_unchanged", there, order, "mostly", "seen", horizon)
    return found


def _measures(
    name: str, rows: list[Row], order: Mapping[str, int], part: str, whole: str, horizon: str | None = None
) -> Iterator[Measure]:
    for label in ArmLabel:
        own = sorted((row for row in rows if row["label"] == label.value), key=lambda row: order[str(row["session"])])
        parts = np.array([float(str(row[part] or 0)) for row in own])
        wholes = np.array([float(str(row[whole] or 0)) for row in own])
        counts = wholes > 0
        interval = share_limits(parts[counts], wholes[counts])
        yield Measure(
            name=name,
            label=label,
            horizon=horizon,
            part=float(parts[counts].sum()),
            whole=float(wholes.sum()),
            value=float(parts[counts].sum() / wholes.sum()) if counts.any() else None,
            low=None if interval is None else max(0.0, interval.low),
            high=None if interval is None else min(1.0, interval.high),
            sessions=int(counts.sum()),
        )


def share_limits(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> Interval | None:
    """Limits of a share over sessions; None until MIN_CLUSTERS of them have some of it and as many lack some.

    A share that is nearly nothing or nearly everything rests on a few sessions. Without that condition the limits of
    one of 2% missed it in 29% of simulated trials (`python -m bench intervals`).
    """
    if min(int((parts > 0).sum()), int((parts < wholes).sum())) < MIN_CLUSTERS:
        return None
    return cluster_ratio(parts, wholes).last


def _sessions(source: Source, scope: Scope) -> Mapping[str, int]:
    """Sessions by when they began: a sequence must not be ordered by what came of them."""
    s = table("session")
    s = s.semi_join(scope.sessions(), s.id == scope.sessions().scoped).select("id", "started_at")
    rows = source.fetch(s.order_by(["started_at", "id"]))
    return {identity: number for number, identity in enumerate(rows.strings("id"))}


def _tasks(scope: Scope) -> "ir.Table":
    t = scope.of_sessions(table("task"))
    return t.select(
        task_id=t.id, session=t.session, assignment=t.assignment, routed_ns=t.routed_ns, typed=t.typed_chars
    )


def _one(condition: "ir.BooleanValue") -> "ir.Value":
    return condition.ifelse(1, 0)


def _offered(scope: Scope) -> "ir.Table":
    x, o, g, c = table("exposure"), table("outcome"), table("suggestion"), table("continuation")
    x = x.select(of=x.suggestion, task=x.task, label=x.label, offered_ns=x.offered_ns)
    o = o.select(decided=o.suggestion, outcome=o.outcome, decided_ns=o.decided_ns, taken_chars=o.accepted_chars)
    g = g.select(suggestion_id=g.id, chars=g.chars)
    c = c.filter(c.next_change_ms.notnull()).select(changed=c.task, next_change_ms=c.next_change_ms)
    t = _tasks(scope)
    all_of = x.inner_join(o, x.of == o.decided)
    all_of = all_of.inner_join(g, all_of.of == g.suggestion_id)
    all_of = all_of.inner_join(t, all_of.task == t.task_id)
    all_of = all_of.left_join(c, all_of.task == c.changed)
    is_taken = all_of.outcome.isin(TAKEN)
    until_change_ms = all_of.next_change_ms - (all_of.offered_ns - all_of.routed_ns) / 1e6
    was_typed_along = (all_of.outcome == OutcomeClass.TYPED_THROUGH.value) & (
        (all_of.decided_ns - all_of.offered_ns) / 1e6 >= READ_MS
    )
    is_read = is_taken | all_of.next_change_ms.isnull() | (until_change_ms >= READ_MS) | was_typed_along
    return all_of.group_by(["session", "label"]).aggregate(
        taken=_one(is_taken).sum(),
        read=_one(is_read).sum(),
        taken_chars=is_taken.ifelse(all_of.taken_chars.fill_null(0), 0).sum(),
        read_chars=is_read.ifelse(all_of.chars, 0).sum(),
    )


def _written(scope: Scope) -> "ir.Table":
    """Per session and shown arm; without a count of what was typed (older files) there is no denominator."""
    e, o, t = table("assignment"), table("outcome"), _tasks(scope)
    e = e.filter(e.shown != "none").select(episode=e.id, label=e.shown)
    o = o.filter(o.outcome.isin(TAKEN)).group_by("task").aggregate(taken_chars=o.accepted_chars.fill_null(0).sum())
    o = o.select(taken_task=o.task, taken_chars=o.taken_chars)
    t = t.filter(t.typed.notnull())
    own = t.inner_join(e, t.assignment == e.episode)
    own = own.left_join(o, own.task_id == o.taken_task)
    completed = own.taken_chars.fill_null(0).sum()
    return own.group_by(["session", "label"]).aggregate(completed=completed, written=completed + own.typed.sum())


def _kept(scope: Scope) -> "ir.Table":
    s, g, t = table("score"), table("suggestion"), _tasks(scope)
    s = s.filter((s.metric == "kept_char_distance") & s.value.notnull() & s.horizon.isin(HORIZONS))
    s = s.select(of=s.suggestion, task=s.task, label=s.label, horizon=s.horizon, distance=s.value)
    g = g.select(suggestion_id=g.id, chars=g.chars)
    own = s.inner_join(g, s.of == g.suggestion_id)
    own = own.inner_join(t, own.task == t.task_id)
    return own.group_by(["session", "label", "horizon"]).aggregate(
        seen=own.count(),
        unchanged=_one(own.distance == 0).sum(),
        mostly=_one(own.distance < CHANGED * own.chars).sum(),
    )
