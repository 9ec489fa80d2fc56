"""What was recorded, as the statistics need it: sums per episode, counts per arm. Nothing here judges.

The unit is the assigned one. A figure per request is first summed to its episode, because the requests of one episode
share their assignment; nothing finer is ever compared between arms. Only one origin is read at a time: replays and
tests never mix with what people did.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.rollup import GONE, HORIZONS_S, KEPT, MILLIONTHS, SHOWN, STANDS, UNSEEN, Key, Rollup, read
from analysis.source import Source
from analysis.statistics import LOG_BIN, effective_size
from analysis.summing import ABANDONED
from codetrial.clock import now_utc, utc_text
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Disposition, Origin, Unit

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

SETTLING = timedelta(seconds=60)
"""After an episode's window has closed, its last outcome is decided within this time."""

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
    effective: float
    """How many independent ones those in the bins are worth: those of one session resemble each other."""


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
    return [_trial(row) for row in source.fetch("trials").rows()]


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
        last = source.fetch("last_sessions")
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
    moment = now or now_utc()
    facts = choose_trial(source, trial)
    if facts.assignment_unit not in set(Unit):
        raise EvidenceError(f"Trial {facts.id} assigns by {facts.assignment_unit!r}, which this version does not know.")
    own = [row for row in source.fetch("sessions").rows() if row["trial"] == facts.id]
    by_origin = Counter(row["origin"] for row in own)
    chosen = _choose_origin(by_origin, origin)
    kept = [row for row in own if row["origin"] == chosen and (since is None or row["started_at"] >= since)]
    sessions = _sessions(kept, moment)
    rollup = read(source, sessions.ids)
    position = {identity: i for i, identity in enumerate(sessions.ids)}
    place = np.array([position[identity] for identity in rollup.sessions], dtype=np.int64)
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
        episodes=_episodes(rollup, place, sessions, moment),
        pairs=_pairs(rollup, place),
        funnel={label: _funnel(rollup, label) for label in ArmLabel},
        latencies={label: _latencies(rollup, label) for label in ArmLabel},
        statuses={label: _counted(rollup, label, 1) for label in ArmLabel},
        errors={label: _counted(rollup, label, 2) for label in ArmLabel},
        attempts={label: _attempts(rollup, place, label) for label in ArmLabel},
        retention={label: _retention(rollup, label) for label in ArmLabel},
        strata=_strata(rollup),
        dispositions=_most_first(_totals(rollup.days, lambda key: key[0])),
        incidents={str(key[0]): n for key, n in sorted(rollup.incidents.items())},
        tasks_by_day=dict(
            sorted(_totals({k: n for k, n in rollup.days.items() if k[0] == ROUTED}, lambda key: key[1]).items())
        ),
    )


ROUTED = Disposition.ROUTED.value


def _choose_origin(by_origin: Mapping[str, int], wanted: Origin | None) -> Origin:
    if wanted is not None:
        return wanted
    for origin in Origin:
        if by_origin.get(origin):
            return origin
    return Origin.PERSON


def _arms(source: Source, trial: TrialFacts) -> Mapping[ArmLabel, ArmFacts]:
    found = {}
    for row in source.fetch("arms").rows():
        if row["trial"] != trial.id:
            continue
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


def _totals(counts: Mapping[Key, int], by: Callable[[Key], Any]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for key, n in counts.items():
        found[str(by(key))] += n
    return dict(found)


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _instants(milliseconds: Integers) -> NDArray[np.datetime64]:
    return milliseconds.astype("datetime64[ms]")


def _episodes(rollup: Rollup, place: Integers, sessions: Sessions, moment: datetime) -> Episodes:
    session, opened = place[rollup.session], _instants(rollup.opened_ms)
    now = np.datetime64(moment.replace(tzinfo=None), "ms")
    waits = rollup.window_ms + int(SETTLING.total_seconds() * 1000)
    is_over = opened + waits.astype("timedelta64[ms]") <= now
    is_over |= sessions.is_closed[session]
    slack = np.timedelta64(1, "s")
    jumped = (opened + slack < sessions.started[session]) | (opened > now + slack)
    return Episodes(
        session=session[is_over],
        opened=opened[is_over],
        is_a=(rollup.shown == SHOWN["A"])[is_over],
        is_b=(rollup.shown == SHOWN["B"])[is_over],
        share_a=rollup.share_a[is_over],
        share_b=rollup.share_b[is_over],
        share_none=rollup.share_none[is_over],
        tasks=rollup.tasks[is_over],
        accepted=rollup.accepted[is_over],
        accepted_chars=rollup.accepted_chars[is_over],
        kept_chars=rollup.kept_chars[is_over],
        unsettled=int((~is_over).sum()),
        clock_jumps=int(jumped.sum()),
    )


def _pairs(rollup: Rollup, place: Integers) -> Pairs:
    scored = rollup.pair_requests > 0
    return Pairs(
        session=place[rollup.session[scored]],
        opened=_instants(rollup.opened_ms[scored]),
        a=rollup.pair_a[scored],
        b=rollup.pair_b[scored],
        requests=rollup.pair_requests[scored],
        none_shown_requests=int(rollup.routed[rollup.shown == SHOWN["none"]].sum()),
    )


def _funnel(rollup: Rollup, label: ArmLabel) -> Mapping[str, int]:
    """Requests of the episodes that show this arm, from assigned to kept."""
    shown = rollup.shown == SHOWN[label.value]
    own = {key: n for key, n in rollup.stands.items() if key[0] == label.value}
    return {
        "assigned": int(rollup.tasks[shown].sum()),
        "routed": int(rollup.asked[shown].sum()),
        "answered": rollup.answered.get((label.value,), 0),
        "shown": rollup.exposed.get((label.value,), 0),
        "accepted": sum(own.values()),
        "kept": sum(n for key, n in own.items() if key[1] == STANDS),
        "looked_at": sum(n for key, n in own.items() if key[1] != UNSEEN),
    }


def _latencies(rollup: Rollup, label: ArmLabel) -> Latencies:
    bins: Counter[int] = Counter()
    cut_off = 0
    for (arm, _, _, index, is_cut_off), n in rollup.scan.items():
        if arm == label.value:
            cut_off += n if is_cut_off else 0
            if index is not None:
                bins[int(index)] += n
    ordered = np.array(sorted(bins), dtype=np.int64)
    counts = np.array([bins[index] for index in sorted(bins)], dtype=np.int64)
    middles = (ordered + 0.5) * LOG_BIN
    return Latencies(
        bins=ordered,
        counts=counts,
        cut_off=cut_off,
        effective=effective_size(
            rollup.attempts[f"timed_{label.value}"],
            rollup.attempts[f"log_latency_{label.value}"] / MILLIONTHS,
            float((counts * middles**2).sum()),
        ),
    )


def _counted(rollup: Rollup, label: ArmLabel, part: int) -> Mapping[str, int]:
    """Attempts of one arm by a part of the key: status or kind of error, most first."""
    own = {key: n for key, n in rollup.scan.items() if key[0] == label.value and key[part] is not None}
    return _most_first(_totals(own, lambda key: key[part]))


def _attempts(rollup: Rollup, place: Integers, label: ArmLabel) -> AttemptSums:
    columns = rollup.attempts
    own = columns[f"attempts_{label.value}"] > 0

    def of(name: str) -> Integers:
        found: Integers = columns[f"{name}_{label.value}"][own]
        return found

    return AttemptSums(
        session=place[columns["session"][own]],
        attempts=of("attempts"),
        failed=of("failed"),
        known_cost_nanousd=of("cost"),
        priced=of("priced"),
        tokens_in=of("tokens_in"),
        tokens_out=of("tokens_out"),
    )


def _strata(rollup: Rollup) -> list[Stratum]:
    found = [
        Stratum(
            label=ArmLabel(str(label)),
            language=str(language),
            place=str(place),
            offered=n,
            accepted=rollup.offered_taken[label, language, place],
            sessions=rollup.offered_sessions[label, language, place],
        )
        for (label, language, place), n in rollup.offered.items()
    ]
    return sorted(found, key=lambda s: (-s.offered, s.language, s.place, s.label.value))


def _retention(rollup: Rollup, label: ArmLabel) -> Retention:
    """Counts for Kaplan and Meier. A text seen gone stays gone; one not looked at any more is censored from there."""
    at_risk, gone, censored, looked_at = ([0] * len(HORIZONS_S) for _ in range(4))
    own = {key[1:]: n for key, n in rollup.stands.items() if key[0] == label.value}
    for states, n in own.items():
        for i, state in enumerate(states):
            looked_at[i] += n if state != UNSEEN else 0
        for i, state in enumerate(states):
            # Seen at a later horizon means not lost from sight here.
            if all(later == UNSEEN for later in states[i:]):
                censored[i] += n
                break
            at_risk[i] += n
            if state == GONE:
                gone[i] += n
                break
    return Retention(
        accepted=sum(own.values()),
        at_risk=tuple(at_risk),
        gone=tuple(gone),
        censored=tuple(censored),
        mean_kept=tuple(
            rollup.stands_shares.get((label.value, horizon), 0.0) / n if n else None
            for horizon, n in zip(HORIZONS_S, looked_at, strict=True)
        ),
    )
