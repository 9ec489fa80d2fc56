"""Checks what is stored against what the design promises, without trusting the code that wrote it.

Every assignment is drawn again from the trial's seed and compared with its row; shares are tested; and each promise
that rows can break (one outcome per suggestion, nothing shown in a control episode, no arm asked before its episode
was assigned) is a query that must find nothing.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from analysis.statistics.checks import SampleRatio, sample_ratio
from analysis.store import Store
from codetrial.assignment import Propensities, draw
from codetrial.errors import EvidenceError
from codetrial.records import Shown, Unit

__all__ = ["Audit", "Finding", "audit", "lines", "trials"]

EXAMPLES = 5
"""Ids named with a finding: enough to look one up."""


class Finding(NamedTuple):
    """A promise that some rows break."""

    promise: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What one trial's rows say about how it was run."""

    trial: str
    name: str
    assignments: int
    """Drawn again and compared."""
    decided: int
    """Assigned by a stated rule instead of the plain draw (`reason`)."""
    ratio: SampleRatio | None
    """Of the sampled episodes; None without any."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What the evidence must account for, though nothing is wrong with it."""

    @property
    def is_sound(self) -> bool:
        return not self.findings and not (self.ratio is not None and self.ratio.is_mismatch)


_AS_DRAWN = "every assignment is what the seed draws for it"
_REPEATABLE = "the manifest says with which shares and which sample assignments are drawn"

_WITHOUT_EXPOSURE = (
    "outcome o JOIN task t ON t.id = o.task WHERE t.trial = :trial AND t.door = 'editor' "
    "AND NOT EXISTS (SELECT 1 FROM exposure x WHERE x.suggestion = o.suggestion)"
)
_HAS_DROPPED = "EXISTS (SELECT 1 FROM session_end e WHERE e.session = t.session AND e.dropped_events > 0)"
"""The exposure may be among what a full queue or disk has cost; that is counted, and breaks no promise."""

_PROMISES = (
    (
        "every suggestion has one outcome at most",
        "SELECT o.suggestion FROM outcome o JOIN task t ON t.id = o.task WHERE t.trial = :trial AND t.door = 'editor' "
        "GROUP BY o.suggestion HAVING count(*) > 1",
    ),
    (
        "an outcome in the editor belongs to something that was offered",
        f"SELECT o.id FROM {_WITHOUT_EXPOSURE} AND NOT {_HAS_DROPPED}",
    ),
    (
        "nothing is offered in a control episode, and never by the arm that is not shown",
        "SELECT x.id FROM exposure x JOIN task t ON t.id = x.task JOIN assignment a ON a.id = t.assignment "
        "WHERE t.trial = :trial AND a.shown <> x.label",
    ),
    (
        "nothing is asked in an episode that was sampled out",
        "SELECT t.id FROM task t JOIN assignment a ON a.id = t.assignment "
        "WHERE t.trial = :trial AND a.is_sampled = 0 AND t.disposition = 'routed'",
    ),
    (
        "an episode is assigned before any arm is asked",
        "SELECT p.id FROM attempt p JOIN task t ON t.id = p.task JOIN assignment a ON a.id = t.assignment "
        "WHERE t.trial = :trial AND p.sent_ns < a.opened_ns",
    ),
    (
        "every request lies within its episode",
        "SELECT t.id FROM task t JOIN assignment a ON a.id = t.assignment WHERE t.trial = :trial "
        "AND (t.requested_ns < a.opened_ns OR t.requested_ns >= a.closes_ns)",
    ),
    (
        "every routed request names its episode",
        "SELECT t.id FROM task t WHERE t.trial = :trial AND t.disposition = 'routed' AND t.door = 'editor' "
        "AND NOT EXISTS (SELECT 1 FROM assignment a WHERE a.id = t.assignment)",
    ),
    (
        "no arm has two attempts at one request in the editor",
        "SELECT p.task FROM attempt p JOIN task t ON t.id = p.task WHERE t.trial = :trial AND t.door = 'editor' "
        "GROUP BY p.task, p.label HAVING count(*) > 1",
    ),
    (
        "an attempt says whether its arm is the shown one",
        "SELECT p.id FROM attempt p JOIN task t ON t.id = p.task JOIN assignment a ON a.id = t.assignment "
        "WHERE t.trial = :trial AND p.is_shown <> (a.shown = p.label)",
    ),
)

_NOTES = (
    (
        "{n} routed requests miss an arm's attempt (a kill while it was under way)",
        "SELECT count(*) AS n FROM task t WHERE t.trial = :trial AND t.disposition = 'routed' AND t.door = 'editor' "
        "AND (SELECT count(*) FROM attempt p WHERE p.task = t.id) < 2",
    ),
    (
        "{n} sessions have no end (killed, or still running): their open horizons are censored",
        "SELECT count(*) AS n FROM session s WHERE s.trial = :trial "
        "AND NOT EXISTS (SELECT 1 FROM session_end e WHERE e.session = s.id)",
    ),
    (
        "{n} offered suggestions have no outcome (a kill before it was final, or a running session)",
        "SELECT count(*) AS n FROM exposure x JOIN task t ON t.id = x.task WHERE t.trial = :trial "
        "AND t.door = 'editor' AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.suggestion = x.suggestion)",
    ),
    (
        "{n} events were dropped by a full queue or disk",
        "SELECT coalesce(sum(e.dropped_events), 0) AS n FROM session_end e JOIN session s ON s.id = e.session "
        "WHERE s.trial = :trial",
    ),
    (
        "{n} outcomes have lost their exposure, in sessions that dropped events",
        f"SELECT count(*) AS n FROM {_WITHOUT_EXPOSURE} AND {_HAS_DROPPED}",
    ),
    (
        "{n} copies were lost between relay and evaluator",
        "SELECT coalesce(sum(i.count), 0) AS n FROM incident i JOIN session s ON s.id = i.session "
        "WHERE s.trial = :trial AND i.kind = 'gap'",
    ),
    (
        "{n} faults of codetrial itself were counted",
        "SELECT coalesce(sum(i.count), 0) AS n FROM incident i JOIN session s ON s.id = i.session "
        "WHERE s.trial = :trial AND i.kind LIKE 'fault%'",
    ),
)


def trials(store: Store) -> list[str]:
    """The ids of the stored trials, oldest first."""
    return [row["id"] for row in store.rows("SELECT id FROM trial ORDER BY created_at, id")]


def audit(store: Store, trial: str) -> Audit:
    """Check one trial.

    Raises:
        EvidenceError: there is no such trial in this store.
    """
    rows = store.rows("SELECT * FROM trial WHERE id = ?", [trial])
    if not rows:
        known = ", ".join(trials(store)) or "none"
        raise EvidenceError(f"There is no trial {trial} in {store.path}. Known: {known}.")
    chances = _episode_chances(rows[0]["manifest"])
    assignments = store.rows("SELECT * FROM assignment WHERE trial = ? ORDER BY id", [trial])
    foreign = {row["session"] for row in store.rows("SELECT session FROM incident WHERE kind = 'other_seed'")}
    own = [row for row in assignments if row["session"] not in foreign]
    # What an episode's chances should have been is in the manifest; a finding's depend on who found it.
    mute = [row["id"] for row in own if row["unit"] == Unit.EPISODE] if chances is None else []
    silent = set(mute)
    wrong = [row["id"] for row in own if row["id"] not in silent and not _is_as_drawn(row, rows[0]["seed"], chances)]
    findings = list(_broken(store, trial))
    if mute:
        findings.insert(0, Finding(_REPEATABLE, len(mute), tuple(mute[:EXAMPLES])))
    if wrong:
        findings.insert(0, Finding(_AS_DRAWN, len(wrong), tuple(wrong[:EXAMPLES])))
    notes = []
    if len(own) < len(assignments):
        notes.append(
            f"{len(assignments) - len(own)} assignments were merged from a database with another seed and were not "
            "drawn again: audit that database itself"
        )
    for text, sql in _NOTES:
        if count := store.rows(sql, {"trial": trial})[0]["n"]:
            notes.append(text.format(n=count))
    return Audit(
        trial=trial,
        name=rows[0]["name"],
        assignments=len(assignments),
        decided=sum(row["reason"] is not None for row in assignments),
        ratio=_ratio(assignments),
        findings=tuple(findings),
        notes=tuple(notes),
    )


def lines(found: Audit) -> Iterator[str]:
    """The audit for a person."""
    yield f"{found.name} ({found.trial}): {'sound' if found.is_sound else 'NOT SOUND'}"
    broken = {finding.promise: finding.rows for finding in found.findings}
    verdict = "NOT all as stored" if _AS_DRAWN in broken else "all as stored"
    drawn = found.assignments - broken.get(_REPEATABLE, 0)
    yield f"  {drawn} assignments drawn again, {verdict}; {found.decided} decided by a stated rule"
    if found.ratio is not None:
        counts = " / ".join(map(str, found.ratio.counts))
        expected = " / ".join(f"{number:.1f}" for number in found.ratio.expected)
        mark = "MISMATCH" if found.ratio.is_mismatch else "as it should be"
        yield f"  episodes showing A / B / none: {counts}, expected {expected}: {mark}"
    for finding in found.findings:
        yield f"  BROKEN in {finding.rows} rows: {finding.promise} (such as {', '.join(finding.examples)})"
    for note in found.notes:
        yield f"  note: {note}"


def _is_as_drawn(row: dict[str, Any], seed: str, chances: tuple[Propensities, float] | None) -> bool:
    stored = Propensities(row["propensity_a"], row["propensity_b"], row["propensity_none"])
    is_episode = row["unit"] == Unit.EPISODE
    shares, sample = chances if chances is not None and is_episode else (stored, 1.0)
    drawn = draw(seed, row["id"], shares, sample)
    if drawn.shown != row["shown"] or drawn.propensities != stored:
        return False
    return not is_episode or drawn.is_sampled == bool(row["is_sampled"])


def _episode_chances(manifest: str) -> tuple[Propensities, float] | None:
    """Shares, and the share of episodes that is evaluated at all; None if the manifest does not say."""
    try:
        trial = json.loads(manifest)["trial"]
        shares = {"a": 0.0, "b": 0.0, "none": 1.0} if trial["mode"] == "shadow" else trial["shares"]
        return Propensities(*(float(shares[name]) for name in ("a", "b", "none"))), float(trial["sample"])
    except (ValueError, KeyError, TypeError):
        return None


def _ratio(assignments: Sequence[dict[str, Any]]) -> SampleRatio | None:
    episodes = [row for row in assignments if row["unit"] == Unit.EPISODE and row["is_sampled"]]
    if not episodes:
        return None
    counts = [sum(row["shown"] == shown for row in episodes) for shown in (Shown.A, Shown.B, Shown.NONE)]
    first = episodes[0]
    return sample_ratio(counts, (first["propensity_a"], first["propensity_b"], first["propensity_none"]))


def _broken(store: Store, trial: str) -> Iterator[Finding]:
    for promise, sql in _PROMISES:
        rows = store.rows(sql, {"trial": trial})
        if rows:
            yield Finding(promise, len(rows), tuple(str(next(iter(row.values()))) for row in rows[:EXAMPLES]))
