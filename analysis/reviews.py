"""What became of review findings: each arm's posted ones against those that were held back.

A finding is acted on when its suggestion was committed or its lines were changed before its window closed. Lines change
anyway, so what an arm is worth is the share acted on among its posted findings minus that among its held-back ones, and
the arms are compared by that difference. Findings that both arms had are units of their own. The cluster is the pull
request. docs/design/0013-reviews-compared.md gives the reasons.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.queries import Evidence
from analysis.scope import table
from analysis.source import Source
from analysis.statistics import (
    Interval,
    SampleRatio,
    clusters_for_half_width,
    empirical_bernstein,
    sample_ratio,
)
from analysis.statistics.contrasts import Cell, Contrast, contrast
from codetrial.records import ArmLabel, Disposition, OutcomeClass

if TYPE_CHECKING:
    import ibis.expr.types as ir

__all__ = [
    "SHARED",
    "FindingUnit",
    "Rate",
    "Reviews",
    "gather_reviews",
    "net_contrast",
    "posted_minus_held_back",
    "rate",
    "split_of_findings",
    "with_ends",
]

ACTED_ON = (OutcomeClass.COMMITTED.value, OutcomeClass.CHANGED.value)
NOT_OBSERVED = OutcomeClass.UNKNOWN.value

SHARED = "both"
"""The stratum of findings that both arms had; the others are called as their arm."""

OUTSIDE = "outside_finding"
"""Incidents: what became of the remarks of other people and other bots on the same pull requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingUnit:
    """One finding as it was assigned; one that both arms had counts once."""

    pull: int
    """Index into `Reviews.pulls`."""
    stratum: str
    shown: str
    """`A` or `B`: posted in that arm's words; `none`: held back."""
    share_posted: float
    is_forced: bool
    """Posted by rule, whatever the draw: no part of the comparison."""
    is_near_posted: bool
    """Another one that was posted lies beside it: what people did there may be the answer to that one."""
    is_acted_on: bool | None
    """None: still open, or it could not be observed."""
    is_open: bool
    opened_at: str

    @property
    def is_posted(self) -> bool:
        return self.shown != "none"

    @property
    def is_compared(self) -> bool:
        """Whether it belongs to a rate of the comparison.

        Neighbours of posted findings are left out on both sides: of the held-back ones alone, those in dense places
        would be missing, where lines change more often anyway.
        """
        return self.is_acted_on is not None and not self.is_forced and not self.is_near_posted


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of findings acted on, with limits that may be looked at at any time."""

    acted_on: int
    findings: int
    limits: Interval | None
    """None: no finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """The findings of one review trial, and what was seen around them."""

    units: list[FindingUnit]
    pulls: int
    pulls_with_findings: int
    finished: list[int]
    """Pull requests whose findings have their final outcome, in the order in which they got it."""
    reviews: int
    """Heads that both arms were asked to review."""
    reviews_finished: int
    """Those of pull requests with no finding open; one that found nothing has cost as much as any."""
    signals: Mapping[ArmLabel, Mapping[str, int]]
    """By arm and kind, on how many findings it was seen: reactions, answers, resolutions."""
    outside: Mapping[str, Mapping[str, int]]
    """`people` and `bots`: what became of the lines that they remarked on."""

    def of(self, stratum: str) -> list[FindingUnit]:
        return [unit for unit in self.units if unit.stratum == stratum]


def gather_reviews(source: Source, evidence: Evidence) -> Reviews:
    """Read the findings of the trial and the origin that `evidence` is about."""
    scope = _scope(evidence)
    index = {identity: i for i, identity in enumerate(evidence.sessions.ids)}
    finals = {row["suggestion"]: row for row in _finals(source, scope)}
    units = _units(_findings(source, scope), finals, index)
    ended: dict[int, str] = {}
    for row in finals.values():
        if (pull := index.get(row["session"])) is not None:
            ended[pull] = max(ended.get(pull, ""), row["decided_at"])
    # A later head's findings reopen a pull request that an earlier look had finished.
    still_open = {unit.pull for unit in units if unit.is_open}
    finished = sorted((pull for pull in ended if pull not in still_open), key=lambda pull: (ended[pull], pull))
    heads = _heads(source, scope, index)
    return Reviews(
        units=units,
        pulls=len(evidence.sessions),
        pulls_with_findings=len({unit.pull for unit in units}),
        finished=finished,
        reviews=sum(heads.values()),
        reviews_finished=sum(n for pull, n in heads.items() if pull not in still_open),
        signals=_signals(source, scope),
        outside=_outside(source, scope),
    )


def with_ends(evidence: Evidence, reviews: Reviews) -> Evidence:
    """The evidence with pull requests closed when their findings are final; they have no other end."""
    closed = np.zeros(len(evidence.sessions), dtype=bool)
    closed[reviews.finished] = True
    none = np.zeros(len(evidence.sessions), dtype=bool)
    return replace(evidence, sessions=replace(evidence.sessions, is_closed=closed, is_cut_off=none))


# Reading.


def _scope(evidence: Evidence) -> "ir.Table":
    session = table("session")
    chosen = (session.trial == evidence.trial.id) & (session.origin == evidence.origin.value)
    if evidence.since is not None:
        chosen &= session.started_at >= evidence.since
    return session.filter(chosen).select(scoped=session.id)


def _tasks(scope: "ir.Table") -> "ir.Table":
    task = table("task")
    joined = scope.inner_join(task, scope.scoped == task.session)
    return joined.select(task_id=joined.id, session=joined.scoped, disposition=joined.disposition)


def _findings(source: Source, scope: "ir.Table") -> list[dict[str, Any]]:
    finding, task, suggestion = table("finding"), _tasks(scope), table("suggestion")
    suggestion = suggestion.select(of=suggestion.id, label=suggestion.label)
    own = finding.inner_join(task, finding.task == task.task_id)
    own = own.inner_join(suggestion, own.id == suggestion.of)
    # In order: limits are a sequence's, and findings of one review were drawn at the same time.
    found = source.fetch(own.select("id", "label", "stratum", "assignment", "session").order_by("id")).rows()
    assignment = table("assignment")
    drawn = scope.inner_join(assignment, scope.scoped == assignment.session)
    columns = ["id", "shown", "propensity_none", "reason", "opened_at"]
    draws = {row["id"]: row for row in source.fetch(drawn.select(columns)).rows()}
    return [{**row, "draw": draws.get(row["assignment"] or row["id"])} for row in found]


def _finals(source: Source, scope: "ir.Table") -> list[dict[str, Any]]:
    own = _outcomes(scope)
    own = own.filter(own.rule.startswith("final_"))
    columns = ["suggestion", "session", "outcome", "decided_at", "detail"]
    # In order: what is final later, after a pull request was opened again, goes before.
    return source.fetch(own.select(columns).order_by(["decided_at", "suggestion"])).rows()


def _outcomes(scope: "ir.Table") -> "ir.Table":
    outcome, task = table("outcome"), _tasks(scope)
    return outcome.inner_join(task, outcome.task == task.task_id)


def _heads(source: Source, scope: "ir.Table", index: Mapping[str, int]) -> Counter[int]:
    task = _tasks(scope)
    routed = task.filter(task.disposition == Disposition.ROUTED.value)
    rows = source.fetch(routed.group_by("session").aggregate(n=routed.count())).rows()
    return Counter({index[row["session"]]: int(row["n"]) for row in rows if row["session"] in index})


def _signals(source: Source, scope: "ir.Table") -> Mapping[ArmLabel, Mapping[str, int]]:
    own = _outcomes(scope)
    own = own.filter(~own.rule.startswith("final_"))
    rows = source.fetch(own.group_by(["label", "rule"]).aggregate(n=own.suggestion.nunique())).rows()
    found: dict[ArmLabel, dict[str, int]] = {label: {} for label in ArmLabel}
    for row in rows:
        # Why it was hidden is a detail: `minimised_outdated`, `minimised_off_topic`.
        kind = "minimised" if row["rule"].startswith("minimised_") else str(row["rule"])
        counts = found[ArmLabel(row["label"])]
        counts[kind] = counts.get(kind, 0) + int(row["n"])
    return found


def _outside(source: Source, scope: "ir.Table") -> Mapping[str, Mapping[str, int]]:
    incident = table("incident")
    own = scope.inner_join(incident, scope.scoped == incident.session)
    rows = source.fetch(own.filter(own.kind == OUTSIDE).select("detail")).rows()
    found = {who: {"remarks": 0, "acted_on": 0, "not_observed": 0} for who in ("people", "bots")}
    for row in rows:
        detail = _json(row["detail"])
        counts = found["bots" if detail.get("is_bot") else "people"]
        counts["remarks"] += 1
        counts["acted_on"] += detail.get("fate") == "changed"
        counts["not_observed"] += detail.get("fate") == "unknown"
    return found


def _json(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _units(
    rows: Iterable[Mapping[str, Any]], finals: Mapping[str, Mapping[str, Any]], index: Mapping[str, int]
) -> list[FindingUnit]:
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["draw"] is not None and row["session"] in index:
            members.setdefault(row["draw"]["id"], []).append(row)
    units = [_unit(group, finals, index) for group in members.values()]
    return sorted(units, key=lambda unit: (unit.opened_at, unit.pull))


def _unit(
    members: list[Mapping[str, Any]], finals: Mapping[str, Mapping[str, Any]], index: Mapping[str, int]
) -> FindingUnit:
    draw = members[0]["draw"]
    shown = str(draw["shown"])
    # Of a finding that both arms had, the member whose words stand there; held back, the one that gave the draw its id.
    chosen = next(
        (m for m in members if m["label"] == shown or (shown == "none" and m["id"] == draw["id"])), members[0]
    )
    final = finals.get(chosen["id"])
    outcome = None if final is None else str(final["outcome"])
    details = [_json(finals[m["id"]]["detail"]) for m in members if m["id"] in finals]
    return FindingUnit(
        pull=index[chosen["session"]],
        stratum=str(chosen["stratum"]),
        shown=shown,
        share_posted=1 - float(draw["propensity_none"]),
        is_forced=draw["reason"] is not None,
        is_near_posted=any(detail.get("near_posted") for detail in details),
        is_acted_on=None if outcome is None or outcome == NOT_OBSERVED else outcome in ACTED_ON,
        is_open=final is None,
        opened_at=str(draw["opened_at"]),
    )


# Rates and their differences.


def rate(units: Iterable[FindingUnit]) -> Rate:
    """The share acted on; its limits hold for these findings at any time, whatever hangs together among them."""
    hits = [float(bool(unit.is_acted_on)) for unit in units if unit.is_acted_on is not None]
    found = empirical_bernstein(hits, value_range=1.0, start=0.5, looks=1).last
    limits = None if found is None else Interval(found.estimate, max(0.0, found.low), min(1.0, found.high))
    return Rate(acted_on=int(sum(hits)), findings=len(hits), limits=limits)


def posted_minus_held_back(reviews: Reviews, stratum: str) -> Contrast:
    """How much more often findings of one stratum are acted on because they are posted."""
    return contrast([*_net_cells(reviews, stratum, 1.0)])


def net_contrast(reviews: Reviews) -> Contrast:
    """Posted minus held back of arm A, minus the same of arm B."""
    return contrast([*_net_cells(reviews, "A", 1.0), *_net_cells(reviews, "B", -1.0)])


def _net_cells(reviews: Reviews, stratum: str, sign: float) -> tuple[Cell, Cell]:
    own = [unit for unit in reviews.of(stratum) if unit.is_compared]
    return (
        _cell(reviews, [unit for unit in own if unit.is_posted], sign, lambda unit: unit.share_posted),
        _cell(reviews, [unit for unit in own if not unit.is_posted], -sign, lambda unit: 1 - unit.share_posted),
    )


def _cell(reviews: Reviews, units: list[FindingUnit], sign: float, propensity: Callable[[FindingUnit], float]) -> Cell:
    place = {pull: i for i, pull in enumerate(reviews.finished)}
    known = [unit for unit in units if unit.pull in place and propensity(unit) > 0]
    at = np.array([place[unit.pull] for unit in known], dtype=np.int64)
    weights = np.array([1 / propensity(unit) for unit in known])
    hits = np.array([float(bool(unit.is_acted_on)) for unit in known])
    size = len(reviews.finished)
    return Cell(
        sign,
        np.bincount(at, weights * hits, size).astype(np.float64),
        np.bincount(at, weights, size).astype(np.float64),
        np.bincount(at, weights**2, size).astype(np.float64),
    )


def split_of_findings(reviews: Reviews) -> SampleRatio:
    """Whether findings were posted and held back in the shares that were asked for."""
    drawn = [unit for unit in reviews.units if not unit.is_forced]
    posted = sum(unit.is_posted for unit in drawn)
    share = float(np.mean([unit.share_posted for unit in drawn])) if drawn else 0.5
    return sample_ratio([posted, len(drawn) - posted], (share, 1 - share))


def more_pulls_for(target: float, found: Contrast, clusters: int) -> int | None:
    """Finished pull requests still needed until the interval is this narrow; None: not in this way."""
    if found.deviation is None or target <= 0:
        return None
    needed = clusters_for_half_width(target, found.deviation)
    return None if needed is None else max(0, needed - clusters)
