"""Review trials whose truth is known, written into a real database through the store itself."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from analysis.store import Store
from codetrial.clock import utc_text
from codetrial.records import (
    ArmLabel,
    ArmRow,
    Assignment,
    Attempt,
    AttemptStatus,
    Disposition,
    Door,
    Finding,
    Incident,
    Origin,
    Outcome,
    OutcomeClass,
    Place,
    Record,
    Session,
    Shown,
    Suggestion,
    Surface,
    Task,
    Trial,
    Unit,
)
from tests.analysis.synthetic import NS, START


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """One arm as it really is."""

    name: str
    findings: float = 2.0
    """Per review, of its own."""
    anyway: float = 0.2
    """Chance that the lines of a finding change though it is held back."""
    posted: float = 0.3
    """Chance that it is acted on if it is posted."""
    median_ms: float = 9_000.0
    cost_nanousd: int | None = 20_000_000
    status: AttemptStatus = AttemptStatus.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPlan:
    a: Reviewer = Reviewer(name="claude-haiku-4-5")
    b: Reviewer = Reviewer(name="qwen2.5-coder-7b", cost_nanousd=1_000_000)
    pulls: int = 40
    unfinished: int = 0
    """Of the pull requests, the last ones, which are still open."""
    shared: float = 0.5
    """Findings per review that both arms have."""
    post_share: float = 0.8
    forced: float = 0.0
    """Share posted by rule."""
    near: float = 0.0
    """Share beside which another posted one lies."""
    unknown: float = 0.0
    """Share whose lines could not be followed."""
    togetherness: float = 0.0
    """How much the findings of one pull request are taken or left together."""
    mode: str = "shown"
    margins: tuple[tuple[str, float], ...] = ()
    days: int = 30
    origin: Origin = Origin.PERSON
    name: str = "reviews"
    seed: int = 1


def with_reviews(plan: ReviewPlan, **changes: object) -> ReviewPlan:
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


def build_reviews(path: Path, plan: ReviewPlan = ReviewPlan()) -> Path:
    with Store(path) as store:
        store.append(*_records(plan))
    return path


def _records(plan: ReviewPlan) -> Iterator[Record]:
    manifest = json.dumps(
        {
            "door": "pull_request",
            "primary_metric": "acted_on",
            "trial": {"name": plan.name, "mode": plan.mode, "margins": dict(plan.margins)},
            "seed": plan.seed,
        }
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    trial = Trial(
        id=f"t-{digest[:20]}", name=plan.name, manifest=manifest, manifest_hash=digest, seed="5eed",
        assignment_unit=Unit.FINDING, primary_metric="acted_on", created_at=utc_text(START),
    )  # fmt: skip
    yield trial
    arms = {ArmLabel.A: plan.a, ArmLabel.B: plan.b}
    for label, arm in arms.items():
        yield ArmRow(
            id=f"{trial.id}-{label}", trial=trial.id, label=label, name=arm.name, fingerprint=f"review{label}",
            definition=json.dumps({"model": arm.name, "api": "openai-chat"}), is_self_hosted=label is ArmLabel.B,
        )  # fmt: skip
    generator = np.random.default_rng(plan.seed)
    for number in range(plan.pulls):
        yield from _pull(plan, trial, arms, number, generator)


def _pull(
    plan: ReviewPlan, trial: Trial, arms: dict[ArmLabel, Reviewer], number: int, generator: np.random.Generator
) -> Iterator[Record]:
    key = f"{trial.id[2:8]}{number:05d}"
    begun = START + timedelta(days=plan.days * number / max(1, plan.pulls))
    at, at_ns = utc_text(begun), int((begun - START).total_seconds() * NS) + NS
    session, task = f"pr-{key}", f"r{key}"
    yield Session(
        id=session, trial=trial.id, door=Door.PULL_REQUEST, origin=plan.origin, developer=f"author{number % 6}",
        client_name="github", client_version=None, server_name=None, surface=Surface.REVIEW_COMMENT,
        position_encoding=None, repository="repo", codetrial_version="0.1.0", started_ns=at_ns, started_at=at,
    )  # fmt: skip
    strata = [
        name
        for name, rate in (("A", plan.a.findings), ("B", plan.b.findings), ("both", plan.shared))
        for _ in range(generator.poisson(rate))
    ]
    mood = generator.normal(0, plan.togetherness) if plan.togetherness else 0.0
    entries = [_entry(plan, f"{key}{i:03d}", stratum, generator) for i, stratum in enumerate(strata)]
    for entry in entries:
        yield Assignment(
            id=f"{entry.key}-0", trial=trial.id, session=session, unit=Unit.FINDING, document=None,
            shown=entry.shown, propensity_a=entry.share_a, propensity_b=entry.share_b,
            propensity_none=1 - entry.share_a - entry.share_b, is_sampled=True, reason=entry.reason,
            opened_ns=at_ns, opened_at=at, closes_ns=None,
        )  # fmt: skip
    yield Task(
        id=task, trial=trial.id, session=session, assignment=None, door=Door.PULL_REQUEST,
        disposition=Disposition.ROUTED, request_id="head", document=None, document_version=None, language="python",
        place=Place.UNKNOWN, trigger=None, line=None, character=None, prefix_hash=None, suffix_hash=None,
        prefix_chars=9000, suffix_chars=None, requested_ns=at_ns, requested_at=at, routed_ns=at_ns,
    )  # fmt: skip
    for label, arm in arms.items():
        has_answer = arm.status is AttemptStatus.OK
        took_ms = float(arm.median_ms * np.exp(generator.normal(0, 0.3)))
        yield Attempt(
            id=f"{task}-{label}", task=task, arm=f"{trial.id}-{label}", label=label, is_shown=True, status=arm.status,
            error_kind=None if has_answer else "status", error=None, sent_ns=at_ns, first_byte_ms=None,
            first_line_ms=None, latency_ms=took_ms if has_answer else None,
            censored_at_ms=None, http_status=200, model_returned=arm.name, finish_reason="stop", tokens_in=3000,
            tokens_cached=0, tokens_out=400, tokens_reasoning=None, cost_nanousd=arm.cost_nanousd, cost_basis=None,
            is_cache_hit=False, retries=0, in_flight=0, server_timings=None,
        )  # fmt: skip
    finished = number < plan.pulls - plan.unfinished
    closed = utc_text(begun + timedelta(days=8))
    for entry in entries:
        members = list(ArmLabel) if entry.stratum == "both" else [ArmLabel(entry.stratum)]
        for rank, label in enumerate(members):
            identity = f"{entry.key}-{rank}"
            yield Suggestion(
                id=identity, attempt=f"{task}-{label}", task=task, label=label, rank=rank, raw_hash="r", text_hash="t",
                raw_chars=90, chars=90, lines=2, filters="[]", cut_version="1",
            )  # fmt: skip
            yield Finding(
                id=identity, task=task, path_hash="p", side="RIGHT", start_line=1, end_line=1, anchor="exact",
                severity="major", category="bug", fingerprint=identity, stratum=entry.stratum,
                assignment=f"{entry.key}-0",
            )  # fmt: skip
            is_posted = entry.shown.value == label.value
            if is_posted and generator.random() < 0.3:
                yield _outcome(identity, task, label, OutcomeClass.REACTED, "reaction_positive", None, at)
            if not finished:
                continue
            arm = arms[label]
            chance = float(np.clip((arm.posted if entry.shown is not Shown.NONE else arm.anyway) + mood, 0, 1))
            kind = OutcomeClass.CHANGED if generator.random() < chance else OutcomeClass.NOT_TAKEN
            if generator.random() < plan.unknown:
                kind = OutcomeClass.UNKNOWN
            detail = {"is_posted": is_posted, "near_posted": entry.is_near, "stratum": entry.stratum,
                      "assignment": f"{entry.key}-0", "fate": "changed", "ended": "merged"}  # fmt: skip
            yield _outcome(identity, task, label, kind, "final_merged_changed", json.dumps(detail), closed)
    if number == 0:
        yield Incident(
            id=f"i{key}", session=session, kind="outside_finding", count=1,
            detail=json.dumps({"author": "x", "is_bot": True, "fate": "changed"}), happened_ns=at_ns, happened_at=at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    key: str
    stratum: str
    shown: Shown
    share_a: float
    share_b: float
    reason: str | None
    is_near: bool


def _entry(plan: ReviewPlan, key: str, stratum: str, generator: np.random.Generator) -> _Entry:
    is_forced = generator.random() < plan.forced
    share = 1.0 if is_forced else 0.0 if plan.mode == "shadow" else plan.post_share
    parts = {"A": (share, 0.0), "B": (0.0, share), "both": (share / 2, share / 2)}[stratum]
    drawn = generator.random()
    shown = Shown.A if drawn < parts[0] else Shown.B if drawn < sum(parts) else Shown.NONE
    beside = generator.random() if shown is Shown.NONE or plan.near else 1.0
    return _Entry(
        key=key, stratum=stratum, shown=shown, share_a=parts[0], share_b=parts[1],
        reason="severity_override:critical/security" if is_forced else None, is_near=bool(beside < plan.near),
    )  # fmt: skip


def _outcome(
    suggestion: str, task: str, label: ArmLabel, kind: OutcomeClass, rule: str, detail: str | None, at: str
) -> Outcome:
    return Outcome(
        id=f"o{suggestion}{rule}", suggestion=suggestion, task=task, label=label, outcome=kind, rule=rule,
        accepted_chars=None, decided_ns=0, decided_at=at, detail=detail,
    )  # fmt: skip
