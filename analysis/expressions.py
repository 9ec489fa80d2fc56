"""The report's queries, written once in Ibis over unbound tables (docs/design/0012-queries-once.md).

Each has a name under which a source finds its statement, compiled beforehand for SQLite and DuckDB (`python -m
analysis.expressions` writes them; a test holds them), so that neither a report nor an evaluator has to load Ibis. A
query may build on the results of others that the source holds: `chosen` names sessions and gives each a number,
`details_*` are sums worked out from single rows, and `*_sum` are the sums that the store has (analysis/sums.py).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import ibis
import ibis.expr.types as ir

from analysis.rollup import GONE, HORIZONS_S, KEPT, MILLIONTHS, STANDS, UNSEEN
from analysis.scope import TAKEN, held, table, with_agreement
from analysis.statistics.quantiles import LOG_BIN
from analysis.sums import MEASURED, SUMS
from codetrial.records import ArmLabel, Disposition, Unit

__all__ = ["COMPILED", "QUERIES", "sql"]

FAILED = ("timeout", "error", "refused", "cancelled", "over_budget")

ASKED = (Disposition.ROUTED.value, Disposition.REUSED.value)

QUERIES: dict[str, Callable[[], ir.Table]] = {}


def query(function: Callable[[], ir.Table]) -> Callable[[], ir.Table]:
    QUERIES[function.__name__.lstrip("_")] = function
    return function


def _held(function: Callable[[], ir.Table]) -> ir.Table:
    return held(function.__name__, function())


def _if(condition: ir.BooleanColumn) -> ir.Column:
    return ibis.cases((condition, 1), else_=0)


def _union(*parts: ir.Table) -> ir.Table:
    return ibis.union(*parts)


# What there is: trials, arms, sessions.


@query
def trials() -> ir.Table:
    return table("trial").order_by(["created_at", "id"])


@query
def arms() -> ir.Table:
    return table("arm").order_by("id")


@query
def last_sessions() -> ir.Table:
    session = table("session")
    return session.group_by("trial").aggregate(last=session.started_at.max())


@query
def sessions() -> ir.Table:
    session, end = table("session"), table("session_end")
    ends = end.select(ended=end.session, ended_at=end.ended_at, dropped=end.dropped_events)
    joined = session.left_join(ends, session.id == ends.ended)
    return joined.select(
        "id", "trial", "origin", "door", "developer", "repository", "started_at", "ended_at", "dropped"
    )


@query
def lone_incidents() -> ir.Table:
    """Incidents of no session, such as a door that could not start one."""
    i = table("incident")
    i = i.filter(i.session.isnull())
    return i.group_by("kind").aggregate(n=i["count"].sum())


@query
def summed() -> ir.Table:
    return table("session_sum").select("id", "session", "version", "made_at")


# From single rows to sums, of the sessions in `chosen`.


def chosen() -> ir.Table:
    return ibis.table({"session": "string", "number": "int64"}, name="chosen")


@query
def details_task() -> ir.Table:
    t, c = table("task"), chosen().rename(whose="session")
    own = t.inner_join(c, t.session == c.whose)
    return own.select(
        "number",
        "assignment",
        "disposition",
        "place",
        task_id=own.id,
        language=own.language.fill_null("unknown"),
        day=own.requested_at.substr(0, 10),
    )


def _assigned_tasks() -> ir.Table:
    t = _held(details_task)
    return t.filter(t.assignment.notnull())


@query
def details_taken() -> ir.Table:
    """One row a taken suggestion with its episode and the share that stands at each horizon."""
    o, t, s = table("outcome"), _assigned_tasks(), table("score")
    o = o.filter(o.outcome.isin(TAKEN)).select("id", "suggestion", "task", "label", chars=o.accepted_chars)
    t = t.select("task_id", "number", "assignment")
    taken = o.inner_join(t, o.task == t.task_id)
    s = s.filter((s.metric == "kept_share") & s.value.notnull())
    s = s.select(of=s.suggestion, of_task=s.task, horizon=s.horizon, value=s.value)
    # The task says nothing new, but it is what scores are found by.
    joined = taken.left_join(s, [taken.task == s.of_task, taken.suggestion == s.of])
    at = {
        f"kept_{h}": ibis.cases((joined.horizon == f"{h}s", joined.value), else_=ibis.null("float64")).max()
        for h in HORIZONS_S
    }
    shares = joined.group_by("id").aggregate(
        number=joined.number.max(),
        label=joined.label.max(),
        assignment=joined.assignment.max(),
        chars=joined.chars.max().fill_null(0),
        **at,
    )
    latest = ibis.coalesce(*(shares[f"kept_{h}"] for h in reversed(HORIZONS_S)))
    return shares.mutate(stands=(latest * shares.chars).fill_null(0.0))


def _assigned() -> ir.Table:
    rows, c = table("assignment"), chosen().rename(whose="session")
    rows = rows.filter((rows.unit == Unit.EPISODE.value) & (rows.is_sampled == 1))
    return rows.inner_join(c, rows.session == c.whose)


@query
def details_routed() -> ir.Table:
    """Routed requests of episodes that showed nothing. Held: SQLite knows no sizes and would begin elsewhere."""
    e, t = _assigned(), _held(details_task)
    e = e.filter(e.shown == "none").select(episode=e.id)
    t = t.filter(t.disposition == Disposition.ROUTED.value).select("task_id", "assignment")
    return e.inner_join(t, e.episode == t.assignment).drop("assignment")


@query
def details_pair() -> ir.Table:
    """The mean agreements of each episode that showed nothing."""
    scored = with_agreement(_held(details_routed))
    return scored.group_by("episode").aggregate(
        pair_a=scored.value_A.mean(), pair_b=scored.value_B.mean(), pair_requests=scored.count()
    )


def _stamp(text: ir.StringColumn) -> ir.Column:
    """A stored time as a number of digits, 20260302090000000: an engine sends numbers faster than text."""
    digits = text.substr(0, 4)
    for start, size in ((5, 2), (8, 2), (11, 2), (14, 2), (17, 2), (20, 3)):
        digits = digits.concat(text.substr(start, size))
    return digits.cast("int64")


@query
def details_episode() -> ir.Table:
    e, t, k, p = _assigned(), _assigned_tasks(), _held(details_taken), _held(details_pair)
    t = t.group_by("assignment").aggregate(
        tasks=t.count(),
        asked=_if(t.disposition.isin(ASKED)).sum(),
        routed=_if(t.disposition == Disposition.ROUTED.value).sum(),
    )
    k = k.group_by("assignment").aggregate(accepted=k.count(), accepted_chars=k.chars.sum(), kept_chars=k.stands.sum())
    e = e.mutate(position=ibis.row_number().over(group_by=e.number, order_by=[e.opened_at, e.id]))
    t, k, p = (
        t.rename(task_episode="assignment"),
        k.rename(taken_episode="assignment"),
        p.rename(pair_episode="episode"),
    )
    e = e.left_join(t, e.id == t.task_episode)
    e = e.left_join(k, e.id == k.taken_episode)
    e = e.left_join(p, e.id == p.pair_episode)
    counted = ("tasks", "asked", "routed", "accepted", "accepted_chars")
    return e.select(
        "number",
        "position",
        "pair_a",
        "pair_b",
        "pair_requests",
        **{name: e[name].fill_null(0) for name in counted},
        kept_chars=e.kept_chars.fill_null(0.0),
        opened=_stamp(e.opened_at),
        window_ms=((e.closes_ns - e.opened_ns).fill_null(0) / 1_000_000).floor().cast("int64"),
        shown=ibis.cases((e.shown == "A", 1), (e.shown == "B", 2), else_=0),
        share_a=e.propensity_a,
        share_b=e.propensity_b,
        share_none=e.propensity_none,
    )


@query
def details_attempt() -> ir.Table:
    """All attempts in one pass, by everything that they are counted by."""
    p, t = table("attempt"), _held(details_task).select("task_id", "number")
    own = t.inner_join(p, t.task_id == p.task)
    is_timed = own.latency_ms.notnull() & (own.is_cache_hit == 0)
    logarithm = own.latency_ms.clip(lower=1e-3).ln()
    # A refusal or a spent budget never started, so it is neither fast nor slow.
    is_cut_off = own.latency_ms.isnull() & own.sent_ns.notnull() & (own.is_cache_hit == 0)
    own = own.select(
        "number",
        "label",
        "status",
        "error_kind",
        "cost_nanousd",
        "tokens_in",
        "tokens_out",
        bin=ibis.cases((is_timed, (logarithm / LOG_BIN).floor().cast("int64")), else_=ibis.null("int64")),
        # In millionths and whole, so that a sum does not depend on its order.
        log=ibis.cases((is_timed, (logarithm * MILLIONTHS).round().cast("int64")), else_=0),
        is_cut_off=_if(is_cut_off),
        is_answer=_if((own.is_shown == 1) & (own.status == "ok")),
    )
    keys = ["number", "label", "status", "error_kind", "bin", "is_cut_off"]
    return own.group_by(keys).aggregate(
        n=own.count(),
        answered=own.is_answer.sum(),
        cost=own.cost_nanousd.sum().fill_null(0),
        priced=own.cost_nanousd.count(),
        tokens_in=own.tokens_in.sum().fill_null(0),
        tokens_out=own.tokens_out.sum().fill_null(0),
        log_latency=own.log.sum(),
    )


@query
def details_session() -> ir.Table:
    p, c = _held(details_attempt), chosen().select("number")
    p = p.mutate(
        attempts=p.n,
        failed=ibis.cases((p.status.isin(FAILED), p.n), else_=0),
        timed=ibis.cases((p.bin.notnull(), p.n), else_=0),
    )
    sums = {
        f"{name}_{label.value}": ibis.cases((p.label == label.value, p[name]), else_=0).sum()
        for label in ArmLabel
        for name in MEASURED
    }
    by_session = p.group_by("number").aggregate(**sums).rename(counted="number")
    joined = c.left_join(by_session, c.number == by_session.counted)
    return joined.select("number", **{name: joined[name].fill_null(0) for name in sums})


def _count(
    rows: ir.Table,
    name: str,
    *,
    label: ir.Value | None = None,
    key: ir.Value | None = None,
    other: ir.Value | None = None,
    total: ir.Value | float = 0.0,
) -> ir.Table:
    """Rows with `number` and `n`, under a name."""
    blank = ibis.null("string")
    return rows.select(
        number=rows.number,
        name=ibis.literal(name),
        label=blank if label is None else label,
        key=blank if key is None else key,
        other=blank if other is None else other,
        n=rows.n.cast("int64"),
        total=ibis.literal(total) if isinstance(total, float) else total.cast("float64"),
    )


def _exposed() -> ir.Table:
    x, t = table("exposure"), _held(details_task).select("task_id", "number")
    own = t.inner_join(x, t.task_id == x.task)
    rows = own.group_by(["number", "label"]).aggregate(n=own.task.nunique())
    return _count(rows, "exposed", label=rows.label)


def _offered() -> ir.Table:
    o, t = table("outcome"), _assigned_tasks().select("task_id", "number", "language", "place")
    own = t.inner_join(o, t.task_id == o.task)
    rows = own.group_by(["number", "label", "language", "place"]).aggregate(
        n=own.count(), taken=_if(own.outcome.isin(TAKEN)).sum()
    )
    return _count(rows, "offered", label=rows.label, key=rows.language, other=rows.place, total=rows.taken)


def _stands() -> ir.Table:
    taken = _held(details_taken)
    states = [
        ibis.cases(
            (taken[f"kept_{h}"].isnull(), str(UNSEEN)), (taken[f"kept_{h}"] < KEPT, str(GONE)), else_=str(STANDS)
        )
        for h in HORIZONS_S
    ]
    marked = taken.select("number", "label", state=states[0].concat(*states[1:]))
    rows = marked.group_by(["number", "label", "state"]).aggregate(n=marked.count())
    return _count(rows, "stands", label=rows.label, key=rows.state)


def _share(horizon: int) -> ir.Table:
    taken = _held(details_taken)
    share = taken[f"kept_{horizon}"]
    rows = taken.group_by(["number", "label"]).aggregate(n=share.count(), stands=share.sum().fill_null(0.0))
    return _count(rows, "share", label=rows.label, key=ibis.literal(str(horizon)), total=rows.stands)


def _days() -> ir.Table:
    t = _held(details_task)
    rows = t.group_by(["number", "disposition", "day"]).aggregate(n=t.count())
    return _count(rows, "day", key=rows.disposition, other=rows.day)


def _incidents() -> ir.Table:
    i, c = table("incident"), chosen().rename(whose="session")
    own = i.inner_join(c, i.session == c.whose)
    rows = own.group_by(["number", "kind"]).aggregate(n=own["count"].sum())
    return _count(rows, "incident", key=rows.kind)


@query
def details_count() -> ir.Table:
    shares = [_share(horizon) for horizon in HORIZONS_S]
    return _union(_exposed(), _offered(), _stands(), *shares, _days(), _incidents())


# From sums to what a report needs: of all that the store has, of those in `chosen_sum`, or of those just worked out.


def _details(name: str) -> ir.Table:
    rows = held(f"details_{name}", QUERIES[f"details_{name}"]())
    return rows.rename(sum="number")


def _stored(name: str) -> ir.Table:
    rows = table(f"{name}_sum")
    return rows.rename(sum="id") if name == "session" else rows


def _some(name: str) -> ir.Table:
    rows, wanted = _stored(name), ibis.table({"sum": "int64"}, name="chosen_sum")
    return rows.semi_join(wanted, "sum")


def _episodes(rows: ir.Table) -> ir.Table:
    return rows.select(*SUMS["episode_sum"])


def _sessions(rows: ir.Table) -> ir.Table:
    return rows.select("sum", *(name for name in SUMS["session_sum"] if name.endswith(("_A", "_B"))))


def _scan(rows: ir.Table) -> ir.Table:
    keys = ["label", "status", "error_kind", "bin", "is_cut_off"]
    return rows.group_by(keys).aggregate(n=rows.n.sum(), answered=rows.answered.sum())


def _counts(rows: ir.Table) -> ir.Table:
    keys = ["name", "label", "key", "other"]
    return rows.group_by(keys).aggregate(n=rows.n.sum(), total=rows.total.sum(), sessions=rows.count())


def _read(read: Callable[[ir.Table], ir.Table], of: Callable[[str], ir.Table], name: str) -> ir.Table:
    return read(of(name))


def _reading(origin: str, of: Callable[[str], ir.Table]) -> None:
    for name, read in (("session", _sessions), ("episode", _episodes), ("attempt", _scan), ("count", _counts)):
        QUERIES[f"{origin}_{name}"] = partial(_read, read, of, name)


_reading("all", _stored)
_reading("some", _some)
_reading("new", _details)


# Compiled beforehand.

COMPILED = ("sqlite", "duckdb")


def sql(expression: ir.Table, dialect: str) -> str:
    return str(ibis.to_sql(expression, dialect=dialect))


def main() -> None:
    """Write the statements of each dialect beside this module."""
    for dialect in COMPILED:
        texts = [f"-- {name}\n{sql(build(), dialect)}\n" for name, build in sorted(QUERIES.items())]
        (Path(__file__).parent / "compiled" / f"{dialect}.sql").write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
