"""What sessions recorded, summed up: episodes as columns, everything else as counts that add up.

Nothing finer than an episode ever reaches Python. What the store has sums of is read from those; only the other
sessions are worked out from single rows, by the engine, into the same shape (analysis/expressions.py), so that both are
one reading. The report's numbers do not depend on which it was.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.source import Columns, Source
from analysis.statements import DETAILS
from analysis.sums import MEASURED, VERSION
from codetrial.records import ArmLabel

__all__ = [
    "AGREEMENT",
    "AGREEMENT_HORIZON",
    "GONE",
    "HORIZONS_S",
    "KEPT",
    "MILLIONTHS",
    "SHOWN",
    "STANDS",
    "UNSEEN",
    "Key",
    "Rollup",
    "read",
]

HORIZONS_S = (30, 120, 300, 600)

AGREEMENT = "first_line_similarity"
AGREEMENT_HORIZON = "30s"

KEPT = 0.5
"""A text of which less than this share still stands counts as gone."""

SHOWN = {"none": 0, "A": 1, "B": 2}

UNSEEN, GONE, STANDS = 0, 1, 2
"""What was seen of a taken text at a horizon."""

MILLIONTHS = 1_000_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Key = tuple[str | int | None, ...]


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
    pair_a: Floats = field(default_factory=_no_floats)
    """Mean agreement of arm A, in episodes that showed nothing and in which both arms were scored."""
    pair_b: Floats = field(default_factory=_no_floats)
    pair_requests: Integers = field(default_factory=_no_integers)
    """Requests behind the means; 0 in other episodes."""

    # One entry a session, arm by arm.
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


def read(source: Source, chosen: Iterable[str]) -> Rollup:
    """The rollup of these sessions."""
    sessions = tuple(sorted(chosen))
    summed, has_others = _summed(source, sessions)
    parts = []
    if len(summed.ids):
        if has_others:
            source.put("chosen_sum", {"sum": summed.ids})
        parts.append(_part(source, "some" if has_others else "all", summed))
    missing = np.setdiff1d(np.arange(len(sessions)), summed.numbers)
    if len(missing):
        source.put("chosen", {"session": [sessions[i] for i in missing], "number": missing})
        for name in DETAILS:
            source.hold(f"details_{name}")
        parts.append(_part(source, "new", _Summed(missing, missing)))
    return _joined(sessions, parts, source.fetch("lone_incidents"))


@dataclass(frozen=True, slots=True)
class _Summed:
    ids: Integers
    """Of sums, ascending."""
    numbers: Integers
    """The sessions that they are of, in the same order."""


def _summed(source: Source, sessions: Sequence[str]) -> tuple[_Summed, bool]:
    """The sums that there are of these sessions, and whether there are others that must not be read with them."""
    if source.is_fresh:
        return _Summed(_no_integers(), _no_integers()), False
    found = source.fetch("summed")
    number = {identity: i for i, identity in enumerate(sessions)}
    newest: dict[int, tuple[str, int]] = {}
    columns = (found.counts("version"), found.strings("session"), found.strings("made_at"), found.counts("id"))
    for version, session, made_at, identity in zip(*columns, strict=True):
        if version == VERSION and (at := number.get(session)) is not None:
            # Shipped files hold the sums of before a late row came, and those of after.
            newest[at] = max(newest.get(at, ("", 0)), (made_at, int(identity)))
    ids = np.array([identity for _, identity in newest.values()], dtype=np.int64)
    numbers = np.array(list(newest), dtype=np.int64)
    order = np.argsort(ids)
    return _Summed(ids[order], numbers[order]), len(ids) != len(found)


class _Part:
    """What one reading brought."""

    def __init__(self, sessions: Columns, episodes: Columns, scan: list[Any], counts: list[Any], of: _Summed) -> None:
        self.sessions, self.episodes, self.scan, self.counts = sessions, episodes, scan, counts
        self._of = of

    def numbers(self, rows: Columns) -> Integers:
        found: Integers = self._of.numbers[np.searchsorted(self._of.ids, rows.counts("sum"))]
        return found


def _part(source: Source, origin: str, of: _Summed) -> _Part:
    sessions, episodes = (source.fetch(f"{origin}_{name}") for name in ("session", "episode"))
    scan, counts = (source.fetch(f"{origin}_{name}").rows() for name in ("attempt", "count"))
    return _Part(sessions, episodes, scan, counts, of)


_WHOLE = ("window_ms", "shown", "tasks", "asked", "routed", "accepted", "accepted_chars", "pair_requests")
_REAL = ("share_a", "share_b", "share_none", "kept_chars", "pair_a", "pair_b")


def _joined(sessions: tuple[str, ...], parts: Sequence[_Part], lone: Columns) -> Rollup:
    return Rollup(
        sessions=sessions,
        **_episodes(parts),
        attempts=_attempts(parts),
        **_scan(parts),
        **_counts(parts, lone),
    )


def _concatenated(columns: Iterable[NDArray[Any]]) -> NDArray[Any]:
    found = list(columns)
    return np.concatenate(found) if found else _no_integers()


def _episodes(parts: Sequence[_Part]) -> dict[str, Any]:
    session = _concatenated(part.numbers(part.episodes) for part in parts)
    opened = _milliseconds(_concatenated(part.episodes.counts("opened") for part in parts))
    position = _concatenated(part.episodes.counts("position") for part in parts)
    order = np.lexsort((position, session, opened))
    whole = {name: _concatenated(part.episodes.counts(name) for part in parts)[order] for name in _WHOLE}
    real = {name: _concatenated(part.episodes.numbers(name) for part in parts)[order] for name in _REAL}
    return {"session": session[order], "opened_ms": opened[order], **whole, **real}


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


def _attempts(parts: Sequence[_Part]) -> Mapping[str, Integers]:
    session = _concatenated(part.numbers(part.sessions) for part in parts)
    order = np.argsort(session)
    names = [f"{name}_{label.value}" for label in ArmLabel for name in MEASURED]
    found = {name: _concatenated(part.sessions.counts(name) for part in parts)[order] for name in names}
    return {"session": session[order], **found}


def _scan(parts: Sequence[_Part]) -> dict[str, Any]:
    scan: defaultdict[Key, int] = defaultdict(int)
    answered: defaultdict[Key, int] = defaultdict(int)
    for row in (row for part in parts for row in part.scan):
        latency = None if row["bin"] is None else int(row["bin"])
        scan[row["label"], row["status"], row["error_kind"], latency, int(row["is_cut_off"])] += int(row["n"])
        answered[row["label"],] += int(row["answered"])
    return {"scan": dict(scan), "answered": dict(answered)}


def _counts(parts: Sequence[_Part], lone: Columns) -> dict[str, Any]:
    found: defaultdict[str, defaultdict[Key, Any]] = defaultdict(lambda: defaultdict(int))
    for row in (row for part in parts for row in part.counts):
        label, key, other, n = row["label"], row["key"], row["other"], int(row["n"])
        match row["name"]:
            case "exposed":
                found["exposed"][label,] += n
            case "offered":
                for name, value in (
                    ("offered", n),
                    ("offered_taken", row["total"]),
                    ("offered_sessions", row["sessions"]),
                ):
                    found[name][label, key, other] += int(value)
            case "stands":
                found["stands"][label, *map(int, key)] += n
            case "share":
                found["stands_shares"][label, int(key)] += float(row["total"])
            case "day":
                found["days"][key, other] += n
            case "incident":
                found["incidents"][key,] += n
    for row in lone.rows():
        found["incidents"][row["kind"],] += int(row["n"] or 0)
    names = ("exposed", "offered", "offered_taken", "offered_sessions", "stands", "stands_shares", "days", "incidents")
    return {name: dict(found[name]) for name in names}
