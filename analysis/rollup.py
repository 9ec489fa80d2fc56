"""What sessions recorded, summed up: episodes as columns, everything else as counts that add up.

An engine works out one row an episode; nothing finer ever reaches Python. Rollups of different sessions add up to the
rollup of all of them, so what is finished can be kept and only new sessions are read again (analysis/kept.py).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from analysis.source import Columns, Source, table
from analysis.statistics import LOG_BIN
from codetrial.records import ArmLabel, Disposition, Origin, OutcomeClass, Unit

__all__ = [
    "AGREEMENT",
    "AGREEMENT_HORIZON",
    "COUNTERS",
    "EPISODE_COLUMNS",
    "GONE",
    "HORIZONS_S",
    "KEPT",
    "MILLIONTHS",
    "PAIR_COLUMNS",
    "SHOWN",
    "STANDS",
    "UNSEEN",
    "Key",
    "Rollup",
    "Scope",
    "read",
    "with_agreement",
]

HORIZONS_S = (30, 120, 300, 600)

AGREEMENT = "first_line_similarity"
AGREEMENT_HORIZON = "30s"

KEPT = 0.5
"""A text of which less than this share still stands counts as gone."""

TAKEN = (OutcomeClass.ACCEPTED.value, OutcomeClass.PARTLY_ACCEPTED.value)

WITHHELD = ("refused", "over_budget")
"""Privacy rules and a spent budget stop both arms together: neither was asked."""

FAILED = ("timeout", "error", "refused", "cancelled", "over_budget")

ASKED = (Disposition.ROUTED.value, Disposition.REUSED.value)

SHOWN = {"none": 0, "A": 1, "B": 2}

UNSEEN, GONE, STANDS = 0, 1, 2
"""What was seen of a taken text at a horizon."""

MILLIONTHS = 1_000_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Key = tuple[str | int | None, ...]


def with_agreement(tasks: ir.Table) -> ir.Table:
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


@dataclass(frozen=True, slots=True)
class Scope:
    """The sessions that count."""

    trial: str
    origin: Origin
    since: str | None
    is_everything: bool
    """True: the store holds nothing else, so that no query needs a join to find out."""
    only: tuple[str, ...] | None = None
    """These of them, by id."""

    def sessions(self) -> ir.Table:
        session = table("session")
        chosen = (session.trial == self.trial) & (session.origin == self.origin.value)
        if self.since is not None:
            chosen &= session.started_at >= self.since
        if self.only is not None:
            chosen &= session.id.isin(self.only)
        return session.filter(chosen).select(scoped=session.id)

    def of_sessions(self, rows: ir.Table) -> ir.Table:
        """Rows of a table with a `session` column, of these sessions only."""
        if self.is_everything:
            return rows
        if self.only is not None:
            return rows.filter(rows.session.isin(self.only))
        chosen = self.sessions()
        return rows.semi_join(chosen, rows.session == chosen.scoped)

    def of_tasks(self, rows: ir.Table) -> ir.Table:
        """Rows of a table with a `task` column, of these sessions only."""
        if self.is_everything:
            return rows
        tasks = self.of_sessions(table("task").select("id", "session"))
        tasks = tasks.select(scoped=tasks.id)
        return rows.semi_join(tasks, rows.task == tasks.scoped)


def _no_integers() -> Integers:
    return np.empty(0, dtype=np.int64)


def _no_floats() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """Sums over sessions. Times are milliseconds since 1970; `session` columns point into `sessions`."""

    sessions: tuple[str, ...] = ()
    """In order of id."""

    # One entry an episode, by time, session and id.
    session: Integers = field(default_factory=_no_integers)
    opened_ms: Integers = field(default_factory=_no_integers)
    window_ms: Integers = field(default_factory=_no_integers)
    shown: Integers = field(default_factory=_no_integers)
    """As in SHOWN."""
    share_a: Floats = field(default_factory=_no_floats)
    share_b: Floats = field(default_factory=_no_floats)
    share_none: Floats = field(default_factory=_no_floats)
    tasks: Integers = field(default_factory=_no_integers)
    asked: Integers = field(default_factory=_no_integers)
    """Requests that were sent, or answered with what had been fetched before."""
    routed: Integers = field(default_factory=_no_integers)
    accepted: Integers = field(default_factory=_no_integers)
    accepted_chars: Integers = field(default_factory=_no_integers)
    kept_chars: Floats = field(default_factory=_no_floats)

    # One entry an episode that showed nothing and in which both arms were scored.
    pair_session: Integers = field(default_factory=_no_integers)
    pair_opened_ms: Integers = field(default_factory=_no_integers)
    pair_a: Floats = field(default_factory=_no_floats)
    pair_b: Floats = field(default_factory=_no_floats)
    pair_requests: Integers = field(default_factory=_no_integers)

    # One entry a session with attempts, arm by arm.
    attempts: Mapping[str, Integers] = field(default_factory=dict)

    # Counts by what they are counted by.
    scan: Mapping[Key, int] = field(default_factory=dict)
    """Attempts by arm, status, kind of error, bin of latency, and whether they were cut off."""
    answered: Mapping[Key, int] = field(default_factory=dict)
    """Attempts that answered and were shown, by arm."""
    exposed: Mapping[Key, int] = field(default_factory=dict)
    """Requests that showed something, by arm."""
    stands: Mapping[Key, int] = field(default_factory=dict)
    """Taken suggestions by arm and by what was seen at each horizon."""
    stands_shares: Mapping[Key, float] = field(default_factory=dict)
    """Sums of the shares that stand, by arm and horizon."""
    offered: Mapping[Key, int] = field(default_factory=dict)
    """Outcomes by arm, language and place."""
    offered_taken: Mapping[Key, int] = field(default_factory=dict)
    offered_sessions: Mapping[Key, int] = field(default_factory=dict)
    days: Mapping[Key, int] = field(default_factory=dict)
    """Requests by disposition and day."""
    incidents: Mapping[Key, int] = field(default_factory=dict)

    def __add__(self, other: Self) -> "Rollup":
        """Both together; no session may be in both."""
        if not self.sessions or not other.sessions:
            return self if self.sessions else other
        sessions = tuple(sorted({*self.sessions, *other.sessions}))
        if len(sessions) != len(self.sessions) + len(other.sessions):
            raise ValueError("a session is in both")
        position = {identity: i for i, identity in enumerate(sessions)}
        moved = [np.array([position[s] for s in part.sessions], dtype=np.int64) for part in (self, other)]
        columns: dict[str, Any] = {"sessions": sessions}
        for prefix, names in (("", EPISODE_COLUMNS), ("pair_", PAIR_COLUMNS)):
            joined = {name: np.concatenate((getattr(self, name), getattr(other, name))) for name in names}
            session = np.concatenate(
                [to[getattr(part, f"{prefix}session")] for to, part in zip(moved, (self, other), strict=True)]
            )
            # Stable: within a session and a millisecond both parts are in order already.
            order = np.lexsort((session, joined[f"{prefix}opened_ms"]))
            columns |= {name: values[order] for name, values in joined.items()}
            columns[f"{prefix}session"] = session[order]
        columns["attempts"] = _joined_attempts(self, other, moved)
        for name in COUNTERS:
            columns[name] = _summed(getattr(self, name), getattr(other, name))
        return Rollup(**columns)

    def __sub__(self, other: Self) -> "Rollup":
        """Without some of its sessions, whose rollup `other` is."""
        gone = set(other.sessions)
        sessions = tuple(identity for identity in self.sessions if identity not in gone)
        place = {identity: i for i, identity in enumerate(sessions)}
        moved = np.array([place.get(identity, -1) for identity in self.sessions], dtype=np.int64)
        columns: dict[str, Any] = {"sessions": sessions}
        for session, names in (("session", EPISODE_COLUMNS), ("pair_session", PAIR_COLUMNS)):
            stays = moved[getattr(self, session)] >= 0
            columns |= {name: getattr(self, name)[stays] for name in names}
            columns[session] = moved[getattr(self, session)[stays]]
        if self.attempts:
            stays = moved[self.attempts["session"]] >= 0
            columns["attempts"] = {name: values[stays] for name, values in self.attempts.items()}
            columns["attempts"]["session"] = moved[columns["attempts"]["session"]]
        for name in COUNTERS:
            taken = getattr(other, name)
            left = {key: n - taken.get(key, 0) for key, n in getattr(self, name).items()}
            # What nobody has is not there; a sum of shares may be zero and still be known.
            columns[name] = (
                left
                if name in ("stands_shares", "offered_taken", "answered")
                else {key: n for key, n in left.items() if n}
            )
        return Rollup(**columns)


EPISODE_COLUMNS = (
    "opened_ms",
    "window_ms",
    "shown",
    "share_a",
    "share_b",
    "share_none",
    "tasks",
    "asked",
    "routed",
    "accepted",
    "accepted_chars",
    "kept_chars",
)
PAIR_COLUMNS = ("pair_opened_ms", "pair_a", "pair_b", "pair_requests")
COUNTERS = tuple(
    f.name
    for f in fields(Rollup)
    if f.name not in ("sessions", "session", "pair_session", "attempts", *EPISODE_COLUMNS, *PAIR_COLUMNS)
)


def _joined_attempts(a: Rollup, b: Rollup, moved: Sequence[Integers]) -> Mapping[str, Integers]:
    if not a.attempts or not b.attempts:
        part, to = (a, moved[0]) if a.attempts else (b, moved[1])
        return {name: to[values] if name == "session" else values for name, values in part.attempts.items()}
    return {
        name: np.concatenate(
            [
                to[part.attempts[name]] if name == "session" else part.attempts[name]
                for to, part in zip(moved, (a, b), strict=True)
            ]
        )
        for name in a.attempts
    }


def _summed(a: Mapping[Key, Any], b: Mapping[Key, Any]) -> Mapping[Key, Any]:
    found = dict(a)
    for key, n in b.items():
        found[key] = found.get(key, 0) + n
    return found


def read(source: Source, scope: Scope, everyone: Iterable[str], chosen: Iterable[str]) -> Rollup:
    """Have the engine sum up what these sessions recorded.

    Args:
        everyone: Ids of all sessions of the store, whatever their trial.
        chosen: Ids of those that `scope` admits.
    """
    return _Reader(source, scope, sorted(everyone), tuple(sorted(chosen))).rollup()


def _stamp(text: ir.StringColumn) -> ir.Column:
    """A stored time as a number of digits, 20260302090000000: an engine sends numbers faster than text."""
    digits = text.substr(0, 4)
    for start, size in ((5, 2), (8, 2), (11, 2), (14, 2), (17, 2), (20, 3)):
        digits = digits.concat(text.substr(start, size))
    return digits.cast("int64")


def _milliseconds(stamps: Integers) -> Integers:
    """Milliseconds since 1970 of such numbers; one without milliseconds has 14 digits."""
    v = np.where(stamps < 10**14, stamps * 1000, stamps)
    v, ms = np.divmod(v, 1000)
    v, second = np.divmod(v, 100)
    v, minute = np.divmod(v, 100)
    v, hour = np.divmod(v, 100)
    v, day = np.divmod(v, 100)
    year, month = np.divmod(v, 100)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + day - 1
    return np.asarray(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + ms, dtype=np.int64)


def _if(condition: ir.BooleanColumn) -> ir.Column:
    return ibis.cases((condition, 1), else_=0)


class _Reader:
    def __init__(self, source: Source, scope: Scope, everyone: Sequence[str], chosen: tuple[str, ...]) -> None:
        self._source = source
        self._scope = scope
        self._chosen = chosen
        # The engine numbers all sessions of the store by id; here they get their place among the chosen.
        position = {identity: i for i, identity in enumerate(chosen)}
        self._place = np.array([position.get(identity, -1) for identity in everyone], dtype=np.int64)

    def rollup(self) -> Rollup:
        return Rollup(
            sessions=self._chosen,
            **self._episodes(),
            **self._pairs(),
            attempts=self._attempts(),
            **self._scan(),
            exposed=self._exposed(),
            **self._strata(),
            days=self._days(),
            incidents=self._incidents(),
        )

    def _fetch(self, expression: ir.Table) -> Columns:
        return self._source.fetch(expression)

    def _numbered(self) -> ir.Table:
        """All sessions with their number by id, from 0: numbers travel faster than names."""
        session = table("session")
        return session.select(number_of=session.id, number=ibis.row_number().over(order_by=session.id))

    def _sessions(self, found: Columns) -> Integers:
        numbers = found.counts("number")
        return self._place[numbers] if len(numbers) else numbers

    def _tasks(self, *columns: str) -> ir.Table:
        tasks = table("task").select("id", "session", "assignment", *columns)
        tasks = self._scope.of_sessions(tasks)
        return tasks.filter(tasks.assignment.notnull())

    def _assigned(self) -> ir.Table:
        rows = self._scope.of_sessions(table("assignment"))
        return rows.filter((rows.unit == Unit.EPISODE.value) & (rows.is_sampled == 1))

    def _taken(self) -> ir.Table:
        """Held: one row a taken suggestion with its episode and the share that stands at each horizon."""
        o, t, s = table("outcome"), self._tasks(), table("score")
        o = o.filter(o.outcome.isin(TAKEN)).select("id", "suggestion", "task", "label", chars=o.accepted_chars)
        t = t.select(task_id=t.id, assignment=t.assignment)
        taken = o.inner_join(t, o.task == t.task_id).select("id", "suggestion", "task", "label", "chars", "assignment")
        s = s.filter((s.metric == "kept_share") & s.value.notnull())
        s = s.select(of=s.suggestion, of_task=s.task, horizon=s.horizon, value=s.value)
        # The task says nothing new, but it is what scores are found by.
        joined = taken.left_join(s, [taken.task == s.of_task, taken.suggestion == s.of])
        at = {
            f"kept_{h}": ibis.cases((joined.horizon == f"{h}s", joined.value), else_=ibis.null("float64")).max()
            for h in HORIZONS_S
        }
        shares = joined.group_by("id").aggregate(
            label=joined.label.max(), assignment=joined.assignment.max(), chars=joined.chars.max().fill_null(0), **at
        )
        latest = ibis.coalesce(*(shares[f"kept_{h}"] for h in reversed(HORIZONS_S)))
        return self._source.hold("codetrial_taken", shares.mutate(stands=(latest * shares.chars).fill_null(0.0)))

    def _episodes(self) -> dict[str, Any]:
        a, n, taken = self._assigned(), self._numbered(), self._taken()
        t = self._tasks("disposition")
        t = t.group_by("assignment").aggregate(
            tasks=t.count(),
            asked=_if(t.disposition.isin(ASKED)).sum(),
            routed=_if(t.disposition == Disposition.ROUTED.value).sum(),
        )
        k = taken.group_by("assignment").aggregate(
            accepted=taken.count(), accepted_chars=taken.chars.sum(), kept_chars=taken.stands.sum()
        )
        t, k = t.rename(task_episode="assignment"), k.rename(taken_episode="assignment")
        e = a.inner_join(n, a.session == n.number_of)
        e = e.left_join(t, e.id == t.task_episode)
        e = e.left_join(k, e.id == k.taken_episode)
        e = e.order_by([e.opened_at, e.session, e.id])
        found = self._fetch(
            e.select(
                "number",
                "tasks",
                "asked",
                "routed",
                "accepted",
                "accepted_chars",
                "kept_chars",
                opened=_stamp(e.opened_at),
                window_ms=((e.closes_ns - e.opened_ns).fill_null(0) / 1_000_000).floor().cast("int64"),
                shown=ibis.cases((e.shown == "A", 1), (e.shown == "B", 2), else_=0),
                share_a=e.propensity_a,
                share_b=e.propensity_b,
                share_none=e.propensity_none,
            )
        )
        whole = ("window_ms", "shown", "tasks", "asked", "routed", "accepted", "accepted_chars")
        return {
            "session": self._sessions(found),
            "opened_ms": _milliseconds(found.counts("opened")),
            **{name: found.counts(name) for name in whole},
            **{name: found.numbers(name) for name in ("share_a", "share_b", "share_none")},
            "kept_chars": np.nan_to_num(found.numbers("kept_chars")),
            **self._stands(taken),
        }

    def _stands(self, taken: ir.Table) -> dict[str, Any]:
        states = {
            f"state_{h}": ibis.cases(
                (taken[f"kept_{h}"].isnull(), UNSEEN), (taken[f"kept_{h}"] < KEPT, GONE), else_=STANDS
            )
            for h in HORIZONS_S
        }
        marked = taken.mutate(**states)
        sums = {f"sum_{h}": marked[f"kept_{h}"].sum() for h in HORIZONS_S}
        rows = self._fetch(marked.group_by(["label", *states]).aggregate(n=marked.count(), **sums)).rows()
        shares: dict[Key, float] = defaultdict(float)
        for row in rows:
            for h in HORIZONS_S:
                shares[row["label"], h] += row[f"sum_{h}"] or 0
        return {
            "stands": {(row["label"], *(int(row[state]) for state in states)): int(row["n"]) for row in rows},
            "stands_shares": dict(shares),
        }

    def _pairs(self) -> dict[str, Any]:
        e, n = self._assigned(), self._numbered()
        e = e.filter(e.shown == "none")
        e = e.inner_join(n, e.session == n.number_of).select("number", "opened_at", "session", episode=e.id)
        t = table("task")
        t = t.filter(t.disposition == Disposition.ROUTED.value).select(task_id=t.id, assignment=t.assignment)
        routed = e.inner_join(t, e.episode == t.assignment)
        # Held, because SQLite knows no sizes and would begin with the scores.
        routed = self._source.hold("codetrial_routed", routed)
        scored = with_agreement(routed)
        sums = scored.group_by("episode").aggregate(
            number=scored.number.max(),
            opened_at=scored.opened_at.max(),
            session=scored.session.max(),
            a=scored.value_A.mean(),
            b=scored.value_B.mean(),
            n=scored.count(),
        )
        sums = sums.order_by([sums.opened_at, sums.session, sums.episode])
        found = self._fetch(sums.select("number", "a", "b", "n", opened=_stamp(sums.opened_at)))
        return {
            "pair_session": self._sessions(found),
            "pair_opened_ms": _milliseconds(found.counts("opened")),
            "pair_a": found.numbers("a"),
            "pair_b": found.numbers("b"),
            "pair_requests": found.counts("n"),
        }

    def _attempts(self) -> Mapping[str, Integers]:
        t, n, p = self._scope.of_sessions(table("task").select("id", "session")), self._numbered(), table("attempt")
        t = t.select(task_id=t.id, session=t.session)
        own = t.inner_join(p, p.task == t.task_id)
        sums = {}
        is_timed = own.latency_ms.notnull() & (own.is_cache_hit == 0)
        # In millionths and whole, so that a sum does not depend on its order.
        log = (own.latency_ms.clip(lower=1e-3).ln() * MILLIONTHS).round().cast("int64")
        for label in ArmLabel:
            mine = own.label == label.value
            for name, value in (
                ("attempts", 1),
                ("failed", _if(own.status.isin(FAILED))),
                ("cost", own.cost_nanousd),
                ("priced", _if(own.cost_nanousd.notnull())),
                ("tokens_in", own.tokens_in),
                ("tokens_out", own.tokens_out),
                ("timed", _if(is_timed)),
                ("log_latency", ibis.cases((is_timed, log), else_=0)),
            ):
                sums[f"{name}_{label.value}"] = ibis.cases((mine, value), else_=0).sum()
        by_session = own.group_by("session").aggregate(**sums)
        found = self._fetch(by_session.inner_join(n, by_session.session == n.number_of).select("number", *sums))
        return {"session": self._sessions(found)} | {name: found.counts(name) for name in sums}

    def _scan(self) -> dict[str, Any]:
        """All attempts in one pass, counted by everything that is counted."""
        p = self._scope.of_tasks(table("attempt"))
        is_timed = p.latency_ms.notnull() & (p.is_cache_hit == 0)
        binned = (p.latency_ms.clip(lower=1e-3).ln() / LOG_BIN).floor().cast("int64")
        # A refusal or a spent budget never started, so it is neither fast nor slow.
        is_cut_off = p.latency_ms.isnull() & p.sent_ns.notnull() & (p.is_cache_hit == 0)
        marked = p.select(
            "label",
            "status",
            "error_kind",
            bin=ibis.cases((is_timed, binned), else_=ibis.null("int64")),
            is_cut_off=_if(is_cut_off),
            is_answer=_if((p.is_shown == 1) & (p.status == "ok")),
        )
        keys = ["label", "status", "error_kind", "bin", "is_cut_off"]
        grouped = marked.group_by(keys).aggregate(n=marked.count(), answered=marked.is_answer.sum())
        scan: Counter[Key] = Counter()
        answered: Counter[Key] = Counter()
        for row in self._fetch(grouped).rows():
            latency = None if row["bin"] is None else int(row["bin"])
            scan[row["label"], row["status"], row["error_kind"], latency, int(row["is_cut_off"])] += int(row["n"])
            answered[row["label"],] += int(row["answered"])
        return {"scan": dict(scan), "answered": dict(answered)}

    def _exposed(self) -> Mapping[Key, int]:
        x = self._scope.of_tasks(table("exposure"))
        rows = self._fetch(x.group_by("label").aggregate(n=x.task.nunique())).rows()
        return {(row["label"],): int(row["n"]) for row in rows}

    def _strata(self) -> dict[str, Any]:
        o, t = table("outcome"), self._tasks("language", "place")
        t = t.select(task_id=t.id, session=t.session, language=t.language.fill_null("unknown"), place=t.place)
        own = o.inner_join(t, o.task == t.task_id)
        rows = self._fetch(
            own.group_by(["label", "language", "place"]).aggregate(
                offered=own.count(), accepted=_if(own.outcome.isin(TAKEN)).sum(), sessions=own.session.nunique()
            )
        ).rows()
        keys = [(row["label"], row["language"], row["place"]) for row in rows]
        return {
            name: {key: int(row[column]) for key, row in zip(keys, rows, strict=True)}
            for name, column in (
                ("offered", "offered"),
                ("offered_taken", "accepted"),
                ("offered_sessions", "sessions"),
            )
        }

    def _days(self) -> Mapping[Key, int]:
        t = self._scope.of_sessions(table("task").select("session", "disposition", "requested_at"))
        t = t.select("disposition", day=t.requested_at.substr(0, 10))
        rows = self._fetch(t.group_by(["disposition", "day"]).aggregate(n=t.count())).rows()
        return {(row["disposition"], row["day"]): int(row["n"]) for row in rows}

    def _incidents(self) -> Mapping[Key, int]:
        i = self._scope.of_sessions(table("incident"))
        rows = self._fetch(i.group_by("kind").aggregate(n=i["count"].sum())).rows()
        return {(row["kind"],): int(row["n"] or 0) for row in rows}
