"""The same comparison for parts of the data: by language, by place of the cursor, by developer, or by any of these.

The unit stays the assigned one: within a group, a figure is summed to its episode first. What comes later in an episode
can depend on what was shown, so a place is not an assignment; and many groups are many chances to be misled. It is
exploratory throughout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.effects import Metric, limits_of, units_of_episodes, units_of_pairs
from analysis.queries import SETTLING, Episodes, Evidence, Pairs
from analysis.rollup import HORIZONS_S
from analysis.scope import TAKEN, Scope, held, table, with_agreement
from analysis.source import Columns, Source
from analysis.statistics import Interval
from codetrial.errors import EvidenceError
from codetrial.records import Disposition, Shown, Unit

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = ["Breakdown", "Dimension", "Group", "break_down", "dimensions"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNKNOWN = "unknown"


class Dimension(StrEnum):
    LANGUAGE = "language"
    PLACE = "place"
    DEVELOPER = "developer-hash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    values: tuple[str, ...]
    """One for each dimension, in their order."""
    sessions: int
    closed_sessions: int
    developers: int
    episodes_a: int
    episodes_b: int
    episodes_none: int
    mean_a: float | None
    mean_b: float | None
    interval: Interval | None
    """None: not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    dimensions: tuple[Dimension, ...]
    metric: Metric
    groups: list[Group]
    """The largest first."""


def dimensions(text: str) -> tuple[Dimension, ...]:
    """From `language,place,developer-hash`, in any combination.

    Raises:
        EvidenceError: one is not known.
    """
    found: dict[Dimension, None] = {}
    for word in (part.strip() for part in text.split(",")):
        name = Dimension.DEVELOPER if word == "developer" else word
        if name not in list(Dimension):
            known = ", ".join(Dimension)
            raise EvidenceError(f"--by {word!r} is not something to group by. Known, and to be combined: {known}.")
        found[Dimension(name)] = None
    return tuple(found)


def break_down(source: Source, evidence: Evidence, metric: Metric, by: Sequence[Dimension]) -> Breakdown:
    """Each group's comparison on one metric."""
    rows = _pairs(source, evidence) if metric.is_paired else _episodes(source, evidence)
    members: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(_keys(rows, evidence, by)):
        if rows.is_over[i]:
            members.setdefault(key, []).append(i)
    groups = [_group(evidence, metric, values, rows, np.array(own, dtype=np.int64)) for values, own in members.items()]
    groups.sort(key=lambda g: (-(g.episodes_a + g.episodes_b + g.episodes_none), g.values))
    return Breakdown(dimensions=tuple(by), metric=metric, groups=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Columns, one entry an episode, language and place, in order of assignment."""

    episode: list[str]
    session: Integers
    opened: NDArray[np.datetime64]
    language: list[str]
    place: list[str]
    shown: NDArray[np.str_]
    is_over: NDArray[np.bool_]
    """Whether the episode can have no further outcome."""
    figures: Mapping[str, Floats]


def _keys(rows: _Rows, evidence: Evidence, by: Sequence[Dimension]) -> list[tuple[str, ...]]:
    def column(name: Dimension) -> list[str]:
        if name is Dimension.DEVELOPER:
            return [evidence.sessions.developers[i] for i in evidence.sessions.developer[rows.session]]
        return rows.language if name is Dimension.LANGUAGE else rows.place

    return list(zip(*(column(name) for name in by), strict=True))


def _group(evidence: Evidence, metric: Metric, values: tuple[str, ...], rows: _Rows, chosen: Integers) -> Group:
    """One group; rows of one episode are joined here."""
    first, inverse = _joined([rows.episode[i] for i in chosen])
    at = chosen[first]
    own, opened, shown = rows.session[at], rows.opened[at], rows.shown[at]

    def total(name: str) -> Floats:
        return np.bincount(inverse, rows.figures[name][chosen]).astype(np.float64)

    if metric.is_paired:
        n = total("n")
        pairs = Pairs(
            session=own,
            opened=opened,
            a=total("sum_a") / n,
            b=total("sum_b") / n,
            requests=n.astype(np.int64),
            none_shown_requests=int(n.sum()),
        )
        units = units_of_pairs(pairs)
    else:
        episodes = Episodes(
            session=own,
            opened=opened,
            is_a=shown == Shown.A.value,
            is_b=shown == Shown.B.value,
            share_a=rows.figures["propensity_a"][at],
            share_b=rows.figures["propensity_b"][at],
            share_none=rows.figures["propensity_none"][at],
            tasks=total("tasks").astype(np.int64),
            accepted=total("taken").astype(np.int64),
            accepted_chars=total("chars").astype(np.int64),
            kept_chars=total("kept"),
            unsettled=0,
            clock_jumps=0,
        )
        units = units_of_episodes(episodes, metric)
    sessions = np.unique(own)
    return Group(
        values=values,
        sessions=len(sessions),
        closed_sessions=int(evidence.sessions.is_closed[sessions].sum()),
        developers=len(np.unique(evidence.sessions.developer[sessions])),
        episodes_a=int((shown == Shown.A.value).sum()),
        episodes_b=int((shown == Shown.B.value).sum()),
        episodes_none=int((shown == Shown.NONE.value).sum()),
        mean_a=units.mean_a,
        mean_b=units.mean_b,
        interval=limits_of(evidence, metric, units).interval,
    )


def _joined(episodes: list[str]) -> tuple[Integers, Integers]:
    """The first row of each episode, in their order, and which of these each row belongs to."""
    seen: dict[str, int] = {}
    first: list[int] = []
    inverse = np.empty(len(episodes), dtype=np.int64)
    for i, name in enumerate(episodes):
        if name not in seen:
            seen[name] = len(first)
            first.append(i)
        inverse[i] = seen[name]
    return np.array(first, dtype=np.int64), inverse


# Reading: one row an episode, language and place.


def _scope(evidence: Evidence) -> Scope:
    return Scope(evidence.trial.id, evidence.origin, evidence.since)


def _assigned(evidence: Evidence) -> "ir.Table":
    rows = _scope(evidence).of_sessions(table("assignment"))
    rows = rows.filter((rows.unit == Unit.EPISODE.value) & (rows.is_sampled == 1))
    return rows.select(
        "session", "shown", "propensity_a", "propensity_b", "propensity_none", "opened_at", episode=rows.id,
        window_ms=(rows.closes_ns - rows.opened_ns).fill_null(0) // 1_000_000,
    )  # fmt: skip


def _tasks(evidence: Evidence) -> "ir.Table":
    t = _scope(evidence).of_sessions(table("task"))
    t = t.filter(t.assignment.notnull())
    return t.select(
        task_id=t.id, of=t.assignment, disposition=t.disposition, language=t.language.fill_null(UNKNOWN), place=t.place
    )


def _kept(evidence: Evidence) -> "ir.Table":
    """One row a task of which something was taken: how many suggestions, characters, and those that stayed."""
    o = _scope(evidence).of_tasks(table("outcome"))
    o = o.filter(o.outcome.isin(TAKEN)).select("suggestion", task=o.task, chars=o.accepted_chars.fill_null(0))
    s = table("score")
    s = s.filter((s.metric == "kept_share") & s.value.notnull()).select(
        of=s.suggestion, horizon=s.horizon, value=s.value
    )
    joined = o.left_join(s, o.suggestion == s.of)
    at = {f"kept_{h}": (joined.horizon == f"{h}s").ifelse(joined.value, None).max() for h in HORIZONS_S}
    each = joined.group_by(["suggestion", "task", "chars"]).aggregate(**at)
    latest, *earlier = (each[f"kept_{h}"] for h in reversed(HORIZONS_S))
    last = latest.coalesce(*earlier)
    each = each.mutate(kept=each.chars * last)
    return each.group_by("task").aggregate(taken=each.count(), chars=each.chars.sum(), kept=each.kept.sum())


EPISODE = ["episode", "session", "opened_at"]
ASSIGNED = [*EPISODE, "shown", "propensity_a", "propensity_b", "propensity_none", "window_ms"]


def _episodes(source: Source, evidence: Evidence) -> _Rows:
    e, t, k = _assigned(evidence), _tasks(evidence), _kept(evidence)
    own = e.inner_join(t, e.episode == t.of)
    own = own.left_join(k, own.task_id == k.task)
    grouped = own.group_by([*ASSIGNED, "language", "place"]).aggregate(
        tasks=own.count(), taken=own.taken.sum(), chars=own.chars.sum(), kept=own.kept.sum()
    )
    figures = ("propensity_a", "propensity_b", "propensity_none", "window_ms", "tasks", "taken", "chars", "kept")
    return _rows(source.fetch(grouped.order_by(IN_ORDER)), figures, evidence)


IN_ORDER = ["opened_at", "episode", "language", "place"]


def _rows(found: Columns, figures: Iterable[str], evidence: Evidence) -> _Rows:
    index = {identity: i for i, identity in enumerate(evidence.sessions.ids)}
    session = np.array([index[name] for name in found.strings("session")], dtype=np.int64)
    opened = np.array([text.removesuffix("Z") for text in found.strings("opened_at")], dtype="datetime64[ms]")
    sums = {name: np.nan_to_num(found.numbers(name)) for name in figures}
    is_over = np.ones(len(session), dtype=bool)
    if "window_ms" in sums:
        now = np.datetime64(evidence.now.replace(tzinfo=None), "ms")
        waits = sums["window_ms"].astype(np.int64) + int(SETTLING / timedelta(milliseconds=1))
        is_over = (opened + waits.astype("timedelta64[ms]") <= now) | evidence.sessions.is_closed[session]
    return _Rows(
        episode=found.strings("episode"),
        session=session,
        opened=opened,
        language=found.strings("language"),
        place=found.strings("place"),
        shown=np.array(found.strings("shown")),
        is_over=is_over,
        figures=sums,
    )


def _pairs(source: Source, evidence: Evidence) -> _Rows:
    e, t = _assigned(evidence), _tasks(evidence)
    e = e.filter(e.shown == Shown.NONE.value).select(*EPISODE, "shown")
    t = t.filter(t.disposition == Disposition.ROUTED.value)
    own = e.inner_join(t, e.episode == t.of)
    source.hold("grouped", own)
    own = with_agreement(held("grouped", own))
    grouped = own.group_by([*EPISODE, "shown", "language", "place"]).aggregate(
        sum_a=own.value_A.sum(), sum_b=own.value_B.sum(), n=own.count()
    )
    return _rows(source.fetch(grouped.order_by(IN_ORDER)), ("sum_a", "sum_b", "n"), evidence)
