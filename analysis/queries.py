"""What was recorded, as the statistics need it: sums per episode, counts per arm. Nothing here judges.

The unit is the assigned one. A figure per request is first summed to its episode, because the requests of one episode
share their assignment; nothing finer is ever compared between arms. Only one origin is read at a time: replays and
tests never mix with what people did.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from analysis.source import Columns, Source, table
from analysis.statistics import LOG_BIN
from codetrial.clock import utc_text
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Disposition, Origin, OutcomeClass, Unit

__all__ = [
    "HORIZONS_S",
    "KEPT",
    "ArmFacts",
    "AttemptSums",
    "Episodes",
    "Evidence",
    "Latencies",
    "Pairs",
    "Retention",
    "Sessions",
    "Stratum",
    "TrialFacts",
    "choose_trial",
    "gather",
    "trials",
]

HORIZONS_S = (30, 120, 300, 600)

AGREEMENT = "first_line_similarity"
AGREEMENT_HORIZON = "30s"

KEPT = 0.5
"""A text of which less than this share still stands counts as gone."""

TAKEN = (OutcomeClass.ACCEPTED.value, OutcomeClass.PARTLY_ACCEPTED.value)

SETTLING = timedelta(seconds=60)
"""After an episode's window has closed, its last outcome is decided within this time."""

ABANDONED = timedelta(hours=24)
"""A session without an end counts as closed this long after it started: it was cut off."""

FAILED = ("timeout", "error", "refused", "cancelled", "over_budget")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFacts:
    label: ArmLabel
    name: str
    fingerprint: str
    is_self_hosted: bool
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    id: str
    name: str
    manifest: Mapping[str, Any]
    manifest_hash: str
    is_manifest_intact: bool
    """False: the stored manifest is not the one whose hash was stored; somebody edited it."""
    assignment_unit: str
    primary_metric: str
    created_at: str
    seed: str

    @property
    def settings(self) -> Mapping[str, Any]:
        found = self.manifest.get("trial")
        return found if isinstance(found, Mapping) else {}

    @property
    def is_shadow(self) -> bool:
        return self.settings.get("mode") == "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Columns, one entry a session, in the order in which they closed (open ones last)."""

    ids: list[str]
    developer: Integers
    """Index into `developers`."""
    developers: list[str]
    is_closed: Flags
    is_cut_off: Flags
    """Closed without saying so: killed, or a power cut."""
    started: NDArray[np.datetime64]
    repositories: int
    dropped_events: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """Columns, one entry an episode that can have no further outcome, in the order of assignment."""

    session: Integers
    """Index into Sessions."""
    opened: NDArray[np.datetime64]
    is_a: Flags
    is_b: Flags
    share_a: Floats
    share_b: Floats
    share_none: Floats
    tasks: Integers
    accepted: Integers
    """Suggestions taken, whole or in part."""
    accepted_chars: Integers
    kept_chars: Floats
    """Of the accepted characters, those that still stood at the longest horizon that was observed."""
    unsettled: int
    """Episodes left out because their window is still open; all arms alike."""
    clock_jumps: int
    """Episodes that opened before their session or in the future: the clock was set."""

    def __len__(self) -> int:
        return len(self.session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Columns, one entry an episode that showed nothing and in which both arms could be scored."""

    session: Integers
    opened: NDArray[np.datetime64]
    a: Floats
    """Mean agreement of arm A with what was then written."""
    b: Floats
    requests: Integers
    """Requests behind the means."""
    none_shown_requests: int
    """All routed requests of episodes that showed nothing, scored or not."""

    def __len__(self) -> int:
        return len(self.session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Milliseconds from sending to the last byte, in bins; answers from our own cache stay out."""

    bins: Integers
    counts: Integers
    cut_off: int
    """Attempts that never ended by themselves: at least as slow as when they were given up, so not in the bins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSums:
    """Sums per session of one arm's attempts."""

    session: Integers
    attempts: Integers
    failed: Integers
    known_cost_nanousd: Integers
    priced: Integers
    """Attempts whose cost is known."""
    tokens_in: Integers
    tokens_out: Integers
    busy_ms: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Accepted suggestions of one arm by what was seen of them at each horizon."""

    accepted: int
    at_risk: tuple[int, ...]
    gone: tuple[int, ...]
    censored: tuple[int, ...]
    mean_kept: tuple[float | None, ...]
    """Mean share of the characters that stand, among those looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    label: ArmLabel
    language: str
    place: str
    offered: int
    accepted: int
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a report is made of, for one trial and one origin."""

    place: str
    trial: TrialFacts
    arms: Mapping[ArmLabel, ArmFacts]
    origin: Origin
    now: datetime
    since: str | None
    other_trials: int
    other_origins: Mapping[str, int]
    """Sessions of the same trial that this report leaves out, by origin."""
    sessions: Sessions
    episodes: Episodes
    pairs: Pairs
    funnel: Mapping[ArmLabel, Mapping[str, int]]
    latencies: Mapping[ArmLabel, Latencies]
    statuses: Mapping[ArmLabel, Mapping[str, int]]
    errors: Mapping[ArmLabel, Mapping[str, int]]
    attempts: Mapping[ArmLabel, AttemptSums]
    retention: Mapping[ArmLabel, Retention]
    strata: list[Stratum]
    dispositions: Mapping[str, int]
    incidents: Mapping[str, int]
    tasks_by_day: Mapping[str, int]
    findings: Mapping[ArmLabel, Mapping[str, int]] = field(default_factory=dict)

    @property
    def days(self) -> float:
        """Days from the first episode to the last."""
        if not len(self.episodes):
            return 0.0
        return float((self.episodes.opened.max() - self.episodes.opened.min()) / np.timedelta64(1, "D"))

    @property
    def days_ago(self) -> float:
        """Days from the first episode to now."""
        if not len(self.episodes):
            return 0.0
        elapsed = np.datetime64(self.now.replace(tzinfo=None), "ms") - self.episodes.opened.min()
        return max(0.0, float(elapsed / np.timedelta64(1, "D")))


def trials(source: Source) -> list[TrialFacts]:
    """All trials of the store, oldest first."""
    found = source.fetch(table("trial").order_by(["created_at", "id"]))
    return [_trial(row) for row in found.rows()]


def _trial(row: Mapping[str, Any]) -> TrialFacts:
    try:
        manifest = json.loads(row["manifest"])
    except ValueError:
        manifest = {}
    digest = hashlib.sha256(row["manifest"].encode()).hexdigest()
    return TrialFacts(
        id=row["id"],
        name=row["name"],
        manifest=manifest if isinstance(manifest, dict) else {},
        manifest_hash=row["manifest_hash"],
        is_manifest_intact=digest == row["manifest_hash"],
        assignment_unit=row["assignment_unit"],
        primary_metric=row["primary_metric"],
        created_at=row["created_at"],
        seed=row["seed"],
    )


def choose_trial(source: Source, wanted: str | None) -> TrialFacts:
    """The trial by id, beginning of id, or name; without one, the trial whose session started last.

    Raises:
        EvidenceError: there is none, or the name fits several.
    """
    known = trials(source)
    if not known:
        raise EvidenceError(
            f"{source.place} holds no trial yet: work with `codetrial lsp` in your editor, or run `codetrial demo`."
        )
    if wanted is None:
        session = table("session")
        last = source.fetch(session.group_by("trial").aggregate(last=session.started_at.max()))
        started = dict(zip(last.strings("trial"), last.strings("last"), strict=True))
        return max(known, key=lambda trial: (started.get(trial.id, ""), trial.created_at))
    fitting = [t for t in known if wanted in (t.id, t.name) or t.id.startswith(wanted)]
    if len(fitting) != 1:
        names = ", ".join(f"{t.id} ({t.name}, since {t.created_at[:10]})" for t in fitting or known)
        problem = "fits several trials" if fitting else "is not a trial here"
        raise EvidenceError(f"--trial {wanted!r} {problem}. Name one by its id: {names}.")
    return fitting[0]


def gather(
    source: Source,
    *,
    trial: str | None = None,
    origin: Origin | None = None,
    since: str | None = None,
    now: datetime | None = None,
) -> Evidence:
    """Read everything that a report needs.

    Args:
        origin: Whose behaviour. Without one, `person` if any person's session exists, else what there is.
        since: Leave out sessions that started before this ISO date or time.
        now: For tests and for reports of the past.

    Raises:
        EvidenceError: no such trial, or no session of that origin.
    """
    moment = now or datetime.now(UTC)
    facts = choose_trial(source, trial)
    if facts.assignment_unit not in set(Unit):
        raise EvidenceError(f"Trial {facts.id} assigns by {facts.assignment_unit!r}, which this version does not know.")
    everyone = _session_rows(source)
    own = [row for row in everyone if row["trial"] == facts.id]
    by_origin = Counter(row["origin"] for row in own)
    chosen = _choose_origin(by_origin, origin)
    kept = [row for row in own if row["origin"] == chosen and (since is None or row["started_at"] >= since)]
    scope = _Scope(facts.id, chosen, since, is_everything=len(kept) == len(everyone))
    sessions = _sessions(kept, moment)
    index = {identity: i for i, identity in enumerate(sessions.ids)}
    reader = _Reader(source, scope, sessions, index, moment)
    return Evidence(
        place=source.place,
        trial=facts,
        arms=_arms(source, facts),
        origin=chosen,
        now=moment,
        since=since,
        other_trials=len(trials(source)) - 1,
        other_origins={name: n for name, n in sorted(by_origin.items()) if name != chosen},
        sessions=sessions,
        episodes=reader.episodes(),
        pairs=reader.pairs(),
        funnel=reader.funnel(),
        latencies=reader.latencies(),
        statuses=reader.counted("status"),
        errors=reader.counted("error_kind"),
        attempts=reader.attempts(),
        retention=reader.retention(),
        strata=reader.strata(),
        dispositions=reader.dispositions(),
        incidents=reader.incidents(),
        tasks_by_day=reader.tasks_by_day(),
    )


def _choose_origin(by_origin: Mapping[str, int], wanted: Origin | None) -> Origin:
    if wanted is not None:
        return wanted
    for origin in Origin:
        if by_origin.get(origin):
            return origin
    return Origin.PERSON


def _arms(source: Source, trial: TrialFacts) -> Mapping[ArmLabel, ArmFacts]:
    arm = table("arm")
    rows = source.fetch(arm.filter(arm.trial == trial.id)).rows()
    found = {}
    for row in rows:
        try:
            definition = json.loads(row["definition"])
        except ValueError:
            definition = {}
        label = ArmLabel(row["label"])
        found[label] = ArmFacts(
            label=label,
            name=row["name"],
            fingerprint=row["fingerprint"],
            is_self_hosted=bool(row["is_self_hosted"]),
            definition=definition,
        )
    missing = [label.value for label in ArmLabel if label not in found]
    if missing:
        raise EvidenceError(
            f"Trial {trial.id} in {source.place} lacks arm {' and '.join(missing)}: the file is half written. "
            "Start the trial's door once more; it stores its arms first."
        )
    return found


def _session_rows(source: Source) -> list[dict[str, Any]]:
    session, end = table("session"), table("session_end")
    ends = end.select(ended=end.session, ended_at=end.ended_at, dropped=end.dropped_events)
    joined = session.left_join(ends, session.id == ends.ended)
    columns = ["id", "trial", "origin", "door", "developer", "repository", "started_at", "ended_at", "dropped"]
    return source.fetch(joined.select(columns)).rows()


def _moments(texts: list[str]) -> NDArray[np.datetime64]:
    """ISO texts in UTC as instants; numpy knows no zone and wants no Z."""
    return np.array([text.removesuffix("Z") for text in texts], dtype="datetime64[ms]")


def _sessions(rows: list[dict[str, Any]], now: datetime) -> Sessions:
    stale = utc_text(now - ABANDONED)

    def closed_at(row: Mapping[str, Any]) -> str | None:
        if row["ended_at"] is not None:
            return str(row["ended_at"])
        return str(row["started_at"]) if row["started_at"] < stale else None

    ordered = sorted(rows, key=lambda row: (closed_at(row) is None, closed_at(row) or row["started_at"], row["id"]))
    developers = sorted({str(row["developer"]) for row in ordered})
    position = {name: i for i, name in enumerate(developers)}
    return Sessions(
        ids=[row["id"] for row in ordered],
        developer=np.array([position[row["developer"]] for row in ordered], dtype=np.int64),
        developers=developers,
        is_closed=np.array([closed_at(row) is not None for row in ordered], dtype=bool),
        is_cut_off=np.array([row["ended_at"] is None and closed_at(row) is not None for row in ordered], dtype=bool),
        started=_moments([row["started_at"] for row in ordered]),
        repositories=len({row["repository"] for row in ordered if row["repository"] is not None}),
        dropped_events=sum(int(row["dropped"] or 0) for row in ordered),
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    """The sessions that count."""

    trial: str
    origin: Origin
    since: str | None
    is_everything: bool
    """True: the store holds nothing else, so that no query needs a join to find out."""

    def sessions(self) -> ir.Table:
        session = table("session")
        chosen = (session.trial == self.trial) & (session.origin == self.origin.value)
        if self.since is not None:
            chosen &= session.started_at >= self.since
        return session.filter(chosen).select(scoped=session.id)

    def of_sessions(self, rows: ir.Table) -> ir.Table:
        """Rows of a table with a `session` column, of these sessions only."""
        if self.is_everything:
            return rows
        chosen = self.sessions()
        return rows.semi_join(chosen, rows.session == chosen.scoped)

    def of_tasks(self, rows: ir.Table) -> ir.Table:
        """Rows of a table with a `task` column, of these sessions only."""
        if self.is_everything:
            return rows
        tasks = self.of_sessions(table("task"))
        tasks = tasks.select(scoped=tasks.id)
        return rows.semi_join(tasks, rows.task == tasks.scoped)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Columns, one entry a taken suggestion."""

    label: NDArray[np.str_]
    assignment: list[str]
    chars: Integers
    shares: list[Floats]
    """Per horizon, NaN where nobody looked."""
    kept_chars: Floats
    """At the longest horizon that was looked at."""


class _Reader:
    def __init__(
        self, source: Source, scope: _Scope, sessions: Sessions, index: Mapping[str, int], now: datetime
    ) -> None:
        self._source = source
        self._scope = scope
        self._sessions = sessions
        self._index = index
        self._now = now

    def _fetch(self, expression: ir.Table) -> Columns:
        return self._source.fetch(expression)

    def _tasks(self) -> ir.Table:
        tasks = self._scope.of_sessions(table("task"))
        return tasks.filter(tasks.assignment.notnull())

    def _assigned(self) -> ir.Table:
        rows = self._scope.of_sessions(table("assignment"))
        return rows.filter((rows.unit == Unit.EPISODE.value) & (rows.is_sampled == 1))

    def episodes(self) -> Episodes:
        a = self._assigned()
        rows = self._fetch(
            a.select(
                "id",
                "session",
                "shown",
                "propensity_a",
                "propensity_b",
                "propensity_none",
                "opened_at",
                window_ns=(a.closes_ns - a.opened_ns).fill_null(0),
            ).order_by(["opened_at", "id"])
        )
        ids = rows.strings("id")
        session = np.array([self._index[s] for s in rows.strings("session")], dtype=np.int64)
        opened = _moments(rows.strings("opened_at"))
        now = np.datetime64(self._now.replace(tzinfo=None), "ms")
        waits = rows.counts("window_ns") // 1_000_000 + int(SETTLING.total_seconds() * 1000)
        is_over = opened + waits.astype("timedelta64[ms]") <= now
        if len(ids):
            is_over |= self._sessions.is_closed[session]
        shown = np.array(rows.strings("shown"), dtype=object)
        position = {identity: i for i, identity in enumerate(ids)}
        sums = self._taken_sums(position)
        started = self._sessions.started[session] if len(ids) else opened
        slack = np.timedelta64(1, "s")
        jumped = (opened + slack < started) | (opened > now + slack)
        return Episodes(
            session=session[is_over],
            opened=opened[is_over],
            is_a=(shown == "A")[is_over],
            is_b=(shown == "B")[is_over],
            share_a=rows.numbers("propensity_a")[is_over],
            share_b=rows.numbers("propensity_b")[is_over],
            share_none=rows.numbers("propensity_none")[is_over],
            tasks=self._task_counts(position)[is_over],
            accepted=sums["accepted"].astype(np.int64)[is_over],
            accepted_chars=sums["chars"].astype(np.int64)[is_over],
            kept_chars=sums["kept"][is_over],
            unsettled=int((~is_over).sum()),
            clock_jumps=int(jumped.sum()),
        )

    def _task_counts(self, position: Mapping[str, int]) -> Integers:
        tasks = self._tasks()
        found = self._fetch(tasks.group_by("assignment").aggregate(n=tasks.count()))
        counts = np.zeros(len(position), dtype=np.int64)
        for assignment, n in zip(found.strings("assignment"), found.counts("n"), strict=True):
            if (i := position.get(assignment)) is not None:
                counts[i] = n
        return counts

    def _taken(self) -> ir.Table:
        """Taken suggestions with the episode they belong to."""
        o, t = table("outcome"), self._tasks()
        o = o.filter(o.outcome.isin(TAKEN)).select("suggestion", "task", "label", chars=o.accepted_chars.fill_null(0))
        t = t.select(task_id=t.id, assignment=t.assignment, session=t.session)
        return o.inner_join(t, o.task == t.task_id).select("suggestion", "label", "chars", "assignment")

    def _kept_shares(self) -> ir.Table:
        """One row a taken suggestion: the share that stands at each horizon, null where nobody looked."""
        taken, s = self._taken(), table("score")
        s = s.filter((s.metric == "kept_share") & s.value.notnull())
        s = s.select(of=s.suggestion, horizon=s.horizon, value=s.value)
        joined = taken.left_join(s, taken.suggestion == s.of)
        at = {
            f"kept_{h}": ibis.cases((joined.horizon == f"{h}s", joined.value), else_=ibis.null("float64")).max()
            for h in HORIZONS_S
        }
        return joined.group_by(["suggestion", "label", "assignment", "chars"]).aggregate(**at)

    @cached_property
    def _kept(self) -> "_Kept":
        """The taken suggestions, read once: sums, funnel and retention all come from them."""
        k = self._kept_shares()
        found = self._fetch(k.select("label", "assignment", "chars", *(f"kept_{h}" for h in HORIZONS_S)))
        shares = [found.numbers(f"kept_{h}") for h in HORIZONS_S]
        latest = shares[-1].copy()
        for earlier in reversed(shares[:-1]):
            latest = np.where(np.isnan(latest), earlier, latest)
        return _Kept(
            label=np.array(found.strings("label")),
            assignment=found.strings("assignment"),
            chars=found.counts("chars"),
            shares=shares,
            kept_chars=np.nan_to_num(latest * found.counts("chars")),
        )

    def _taken_sums(self, position: Mapping[str, int]) -> Mapping[str, Floats]:
        kept = self._kept
        at = np.array([position.get(assignment, -1) for assignment in kept.assignment], dtype=np.int64)
        known = at >= 0
        size = len(position)
        return {
            "accepted": np.bincount(at[known], minlength=size).astype(np.float64),
            "chars": np.bincount(at[known], kept.chars[known], size).astype(np.float64),
            "kept": np.bincount(at[known], kept.kept_chars[known], size).astype(np.float64),
        }

    def pairs(self) -> Pairs:
        e = self._assigned()
        e = e.filter(e.shown == "none").select(episode=e.id, session=e.session, opened_at=e.opened_at)
        t = table("task")
        t = t.filter(t.disposition == Disposition.ROUTED.value).select(task_id=t.id, assignment=t.assignment)
        routed = e.inner_join(t, e.episode == t.assignment).select("episode", "session", "opened_at", "task_id")
        s = table("score")
        s = s.filter((s.metric == AGREEMENT) & (s.horizon == AGREEMENT_HORIZON) & s.value.notnull())
        a, b = (
            s.filter(s.label == label.value).select(**{f"task_{label.value}": s.task, f"value_{label.value}": s.value})
            for label in ArmLabel
        )
        scored = routed.inner_join(a, routed.task_id == a.task_A)
        scored = scored.inner_join(b, scored.task_id == b.task_B)
        found = self._fetch(
            scored.group_by(["episode", "session", "opened_at"])
            .aggregate(a=scored.value_A.mean(), b=scored.value_B.mean(), n=scored.count())
            .order_by(["opened_at", "episode"])
        )
        all_routed = self._fetch(routed.aggregate(n=routed.count()))
        return Pairs(
            session=np.array([self._index[i] for i in found.strings("session")], dtype=np.int64),
            opened=_moments(found.strings("opened_at")),
            a=found.numbers("a"),
            b=found.numbers("b"),
            requests=found.counts("n"),
            none_shown_requests=int(all_routed.counts("n")[0]),
        )

    def funnel(self) -> Mapping[ArmLabel, Mapping[str, int]]:
        """Requests of the episodes that show each arm, from assigned to kept."""
        e = self._assigned()
        e = e.filter(e.shown != "none").select(episode=e.id, shown=e.shown)
        t = self._tasks()
        t = t.select(task_id=t.id, assignment=t.assignment, disposition=t.disposition)
        own = t.inner_join(e, t.assignment == e.episode)
        asked = own.disposition.isin((Disposition.ROUTED.value, Disposition.REUSED.value))
        requests = self._by_label(
            own.group_by("shown").aggregate(assigned=own.count(), routed=ibis.cases((asked, 1), else_=0).sum()), "shown"
        )
        p = self._scope.of_tasks(table("attempt"))
        p = p.filter((p.is_shown == 1) & (p.status == "ok"))
        answered = self._by_label(p.group_by("label").aggregate(answered=p.count()), "label")
        x = self._scope.of_tasks(table("exposure"))
        shown = self._by_label(x.group_by("label").aggregate(shown=x.task.nunique()), "label")
        kept = self._kept
        taken = {}
        for label in ArmLabel:
            after_30 = kept.shares[0][kept.label == label.value]
            taken[label] = {
                "accepted": len(after_30),
                "kept": int((after_30 >= KEPT).sum()),
                "looked_at": int((~np.isnan(after_30)).sum()),
            }
        empty = dict.fromkeys(("assigned", "routed", "answered", "shown", "accepted", "kept", "looked_at"), 0)
        return {
            label: empty
            | requests.get(label, {})
            | answered.get(label, {})
            | shown.get(label, {})
            | taken.get(label, {})
            for label in ArmLabel
        }

    def _by_label(self, expression: ir.Table, key: str) -> dict[ArmLabel, dict[str, int]]:
        rows = self._fetch(expression).rows()
        return {
            ArmLabel(row[key]): {name: int(value or 0) for name, value in row.items() if name != key} for row in rows
        }

    @cached_property
    def _scan(self) -> list[dict[str, Any]]:
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
            is_cut_off=ibis.cases((is_cut_off, 1), else_=0),
        )
        keys = ["label", "status", "error_kind", "bin", "is_cut_off"]
        return self._fetch(marked.group_by(keys).aggregate(n=marked.count())).rows()

    def latencies(self) -> Mapping[ArmLabel, Latencies]:
        found = {}
        for label in ArmLabel:
            own = [row for row in self._scan if row["label"] == label.value]
            bins: Counter[int] = Counter()
            for row in own:
                if row["bin"] is not None:
                    bins[int(row["bin"])] += int(row["n"])
            ordered = sorted(bins)
            found[label] = Latencies(
                bins=np.array(ordered, dtype=np.int64),
                counts=np.array([bins[index] for index in ordered], dtype=np.int64),
                cut_off=sum(int(row["n"]) for row in own if row["is_cut_off"]),
            )
        return found

    def counted(self, column: str) -> Mapping[ArmLabel, Mapping[str, int]]:
        """Attempts per arm by status or kind of error, most first."""
        counts: dict[ArmLabel, Counter[str]] = {label: Counter() for label in ArmLabel}
        for row in self._scan:
            if row[column] is not None:
                counts[ArmLabel(row["label"])][row[column]] += int(row["n"])
        return {label: dict(found.most_common()) for label, found in counts.items()}

    def attempts(self) -> Mapping[ArmLabel, AttemptSums]:
        p, t = table("attempt"), self._scope.of_sessions(table("task"))
        t = t.select(task_id=t.id, session=t.session)
        own = p.inner_join(t, p.task == t.task_id)
        found = self._fetch(
            own.group_by(["session", "label"]).aggregate(
                attempts=own.count(),
                failed=ibis.cases((own.status.isin(FAILED), 1), else_=0).sum(),
                cost=own.cost_nanousd.sum(),
                priced=own.cost_nanousd.count(),
                tokens_in=own.tokens_in.sum(),
                tokens_out=own.tokens_out.sum(),
                busy_ms=own.latency_ms.sum(),
            )
        )
        labels = np.array(found.strings("label"), dtype=object)
        session = np.array([self._index[i] for i in found.strings("session")], dtype=np.int64)

        def of(label: ArmLabel, name: str) -> Integers:
            of_label: Integers = found.counts(name)[labels == label.value]
            return of_label

        return {
            label: AttemptSums(
                session=session[labels == label.value],
                attempts=of(label, "attempts"),
                failed=of(label, "failed"),
                known_cost_nanousd=of(label, "cost"),
                priced=of(label, "priced"),
                tokens_in=of(label, "tokens_in"),
                tokens_out=of(label, "tokens_out"),
                busy_ms=np.nan_to_num(found.numbers("busy_ms")[labels == label.value]),
            )
            for label in ArmLabel
        }

    def retention(self) -> Mapping[ArmLabel, Retention]:
        kept = self._kept
        return {label: _retention([share[kept.label == label.value] for share in kept.shares]) for label in ArmLabel}

    def strata(self) -> list[Stratum]:
        o, t = table("outcome"), self._tasks()
        t = t.select(task_id=t.id, session=t.session, language=t.language.fill_null("unknown"), place=t.place)
        own = o.inner_join(t, o.task == t.task_id)
        found = self._fetch(
            own.group_by(["label", "language", "place"]).aggregate(
                offered=own.count(),
                accepted=ibis.cases((own.outcome.isin(TAKEN), 1), else_=0).sum(),
                sessions=own.session.nunique(),
            )
        )
        return [
            Stratum(
                label=ArmLabel(row["label"]),
                language=row["language"],
                place=row["place"],
                offered=int(row["offered"]),
                accepted=int(row["accepted"]),
                sessions=int(row["sessions"]),
            )
            for row in sorted(
                found.rows(), key=lambda row: (-row["offered"], row["language"], row["place"], row["label"])
            )
        ]

    def dispositions(self) -> Mapping[str, int]:
        t = self._scope.of_sessions(table("task"))
        rows = self._fetch(t.group_by("disposition").aggregate(n=t.count())).rows()
        return {row["disposition"]: int(row["n"]) for row in sorted(rows, key=lambda row: -row["n"])}

    def incidents(self) -> Mapping[str, int]:
        i = self._scope.of_sessions(table("incident"))
        rows = self._fetch(i.group_by("kind").aggregate(n=i["count"].sum())).rows()
        return {row["kind"]: int(row["n"] or 0) for row in sorted(rows, key=lambda row: row["kind"])}

    def tasks_by_day(self) -> Mapping[str, int]:
        t = self._scope.of_sessions(table("task"))
        t = t.filter(t.disposition == Disposition.ROUTED.value).mutate(day=t.requested_at.substr(0, 10))
        rows = self._fetch(t.group_by("day").aggregate(n=t.count())).rows()
        return {row["day"]: int(row["n"]) for row in sorted(rows, key=lambda row: row["day"])}


def _retention(shares: list[Floats]) -> Retention:
    """Counts for Kaplan and Meier. A text seen gone stays gone; one not looked at any more is censored from there."""
    at_risk, gone, censored = [], [], []
    size = len(shares[0])
    still = np.ones(size, dtype=bool)
    for i, share in enumerate(shares):
        # Seen at a later horizon means not lost from sight here.
        seen_later = ~np.isnan(np.array(shares[i:])).all(axis=0) if size else np.zeros(0, dtype=bool)
        censored.append(int((still & ~seen_later).sum()))
        still &= seen_later
        at_risk.append(int(still.sum()))
        lost = still & (share < KEPT)
        gone.append(int(lost.sum()))
        still &= ~lost
    return Retention(
        accepted=size,
        at_risk=tuple(at_risk),
        gone=tuple(gone),
        censored=tuple(censored),
        mean_kept=tuple(None if np.isnan(share).all() else float(np.nanmean(share)) for share in shares),
    )
