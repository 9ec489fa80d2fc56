"""Trials whose truth is known, written into a real database through the store itself."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    Continuation,
    ContinuationState,
    Disposition,
    Door,
    Exposure,
    Origin,
    Outcome,
    OutcomeClass,
    Place,
    Record,
    Score,
    Session,
    SessionEnd,
    Shown,
    Suggestion,
    Surface,
    Task,
    Trial,
    Unit,
)

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

NS = 1_000_000_000

LANGUAGES = ("python", "typescript", "go", "rust")
PLACES = (Place.LINE_START, Place.MEMBER, Place.ARGUMENT, Place.LINE_END, Place.COMMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One arm as it really is."""

    name: str
    acceptance: float = 0.25
    """Chance that a shown suggestion is taken."""
    agreement: float = 0.55
    median_ms: float = 250.0
    failure: float = 0.01
    silence: float = 0.05
    kept: float = 0.85
    cost_nanousd: int | None = 450_000
    is_self_hosted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A trial to make up."""

    a: Truth = Truth(name="codestral-2508")
    b: Truth = Truth(name="qwen2.5-coder-7b", is_self_hosted=True)
    sessions: int = 40
    developers: int = 4
    episodes: int = 12
    """Per session."""
    tasks: int = 3
    """Per episode."""
    none_share: float = 0.10
    days: int = 20
    origin: Origin = Origin.PERSON
    name: str = "completions"
    primary_metric: str = "acceptance"
    mode: str = "shown"
    margins: tuple[tuple[str, float], ...] = (("acceptance", 0.03), ("agreement", 0.03))
    seed: int = 1
    ends: bool = True
    """False: sessions are cut off without an end."""
    continuations: bool = True
    seat_usd: tuple[float | None, float | None] = (None, None)
    """Of A and B: what a developer's seat costs a month."""

    @property
    def end(self) -> datetime:
        return START + timedelta(days=self.days)


def build(path: Path, plan: Plan = Plan()) -> Path:
    """Write the trial; several plans may go into one file."""
    with Store(path) as store:
        batch: list[Record] = []
        for record in records(plan):
            batch.append(record)
            if len(batch) >= 5000:
                store.append(*_in_table_order(batch))
                batch.clear()
        if batch:
            store.append(*_in_table_order(batch))
    return path


def _in_table_order(batch: list[Record]) -> list[Record]:
    """Long runs of one table are inserted at once, which is ten times faster than row by row."""
    return sorted(batch, key=lambda record: record.table)


def trial_of(plan: Plan) -> tuple[Trial, dict[ArmLabel, ArmRow]]:
    none = 1.0 if plan.mode == "shadow" else plan.none_share
    manifest = json.dumps(
        {
            "format": 1,
            "trial": {
                "name": plan.name,
                "mode": plan.mode,
                "shares": {"a": (1 - none) / 2, "b": (1 - none) / 2, "none": none},
                "episode_s": 60.0,
                "primary_metric": plan.primary_metric,
                "margins": dict(plan.margins),
            },
            "arms": {"A": {"name": plan.a.name}, "B": {"name": plan.b.name}},
            "prices": dict(zip("AB", ({"seat_usd_per_month": usd} for usd in plan.seat_usd), strict=True)),
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    trial = Trial(
        id=f"t-{digest[:20]}",
        name=plan.name,
        manifest=manifest,
        manifest_hash=digest,
        seed="5eed",
        assignment_unit=Unit.EPISODE,
        primary_metric=plan.primary_metric,
        created_at=utc_text(START),
    )
    arms = {
        label: ArmRow(
            id=f"{trial.id}-{label}",
            trial=trial.id,
            label=label,
            name=truth.name,
            fingerprint=f"print{label}",
            definition=json.dumps({"model": truth.name, "api": "openai-completions"}),
            is_self_hosted=truth.is_self_hosted,
        )
        for label, truth in ((ArmLabel.A, plan.a), (ArmLabel.B, plan.b))
    }
    return trial, arms


def records(plan: Plan) -> Iterator[Record]:
    """All records of the trial, in the order in which a store would get them."""
    trial, arms = trial_of(plan)
    yield trial
    yield from arms.values()
    generator = np.random.default_rng(plan.seed)
    for number in range(plan.sessions):
        yield from _session(plan, trial, arms, number, generator)


def _session(
    plan: Plan, trial: Trial, arms: dict[ArmLabel, ArmRow], number: int, generator: np.random.Generator
) -> Iterator[Record]:
    key = f"{plan.seed:02d}{plan.origin.value[0]}{number:06d}{trial.id[2:6]}"
    begin = START + timedelta(days=plan.days * (number + 0.1) / plan.sessions)
    begin_ns = int((begin - START).total_seconds() * NS) + NS
    yield Session(
        id=f"s{key}",
        trial=trial.id,
        door=Door.EDITOR,
        origin=plan.origin,
        developer=f"dev{number % plan.developers:03d}",
        client_name="Neovim",
        client_version="0.11",
        server_name="basedpyright",
        surface=Surface.INLINE,
        position_encoding="utf-16",
        repository=f"repo{number % 3}",
        codetrial_version="0.1.0",
        started_ns=begin_ns,
        started_at=utc_text(begin),
    )
    for episode in range(plan.episodes):
        yield from _episode(plan, trial, arms, key, begin + timedelta(seconds=70 * episode), episode, generator)
    if plan.ends:
        end = begin + timedelta(seconds=70 * plan.episodes + 700)
        yield SessionEnd(
            session=f"s{key}",
            reason="exit",
            dropped_events=0,
            ended_ns=begin_ns + int((end - begin).total_seconds() * NS),
            ended_at=utc_text(end),
        )


def _episode(
    plan: Plan,
    trial: Trial,
    arms: dict[ArmLabel, ArmRow],
    key: str,
    opened: datetime,
    number: int,
    generator: np.random.Generator,
) -> Iterator[Record]:
    none = 1.0 if plan.mode == "shadow" else plan.none_share
    share = (1 - none) / 2
    drawn = generator.random()
    shown = Shown.A if drawn < share else Shown.B if drawn < 2 * share else Shown.NONE
    opened_ns = int((opened - START).total_seconds() * NS) + NS
    identity = f"e{key}{number:05d}"
    yield Assignment(
        id=identity,
        trial=trial.id,
        session=f"s{key}",
        unit=Unit.EPISODE,
        document=f"doc{number % 5}",
        shown=shown,
        propensity_a=share,
        propensity_b=share,
        propensity_none=none,
        is_sampled=True,
        reason=None,
        opened_ns=opened_ns,
        opened_at=utc_text(opened),
        closes_ns=opened_ns + 60 * NS,
    )
    for index in range(plan.tasks):
        moment = opened + timedelta(seconds=index * 55 / max(1, plan.tasks))
        yield from _task(plan, trial, arms, key, f"{key}{number:05d}{index:03d}", identity, shown, moment, generator)


def _task(
    plan: Plan,
    trial: Trial,
    arms: dict[ArmLabel, ArmRow],
    key: str,
    name: str,
    episode: str,
    shown: Shown,
    moment: datetime,
    generator: np.random.Generator,
) -> Iterator[Record]:
    at_ns = int((moment - START).total_seconds() * NS) + NS
    task = f"k{name}"
    yield Task(
        id=task,
        trial=trial.id,
        session=f"s{key}",
        assignment=episode,
        door=Door.EDITOR,
        disposition=Disposition.ROUTED,
        request_id=name,
        document="doc",
        document_version=1,
        language=LANGUAGES[min(int(generator.exponential(1.2)), 3)],
        place=PLACES[int(generator.integers(len(PLACES)))],
        trigger="automatic",
        line=10,
        character=4,
        prefix_hash=None,
        suffix_hash=None,
        prefix_chars=1200,
        suffix_chars=300,
        requested_ns=at_ns,
        requested_at=utc_text(moment),
        routed_ns=at_ns + NS // 8,
    )
    for label, truth in ((ArmLabel.A, plan.a), (ArmLabel.B, plan.b)):
        is_shown = shown.value == label.value
        yield from _attempt(plan, truth, arms[label].id, label, task, is_shown, moment, at_ns, generator)
    if plan.continuations:
        yield Continuation(
            id=f"c{name}30",
            task=task,
            horizon="30s",
            state=ContinuationState.FOUND,
            reason=None,
            text_hash=None,
            chars=40,
            taken_ns=at_ns + 30 * NS,
            taken_at=utc_text(moment + timedelta(seconds=30)),
        )


def _attempt(
    plan: Plan,
    truth: Truth,
    arm: str,
    label: ArmLabel,
    task: str,
    is_shown: bool,
    moment: datetime,
    at_ns: int,
    generator: np.random.Generator,
) -> Iterator[Record]:
    failed, silent = generator.random() < truth.failure, generator.random() < truth.silence
    status = AttemptStatus.ERROR if failed else AttemptStatus.EMPTY if silent else AttemptStatus.OK
    latency = float(truth.median_ms * np.exp(generator.normal(0, 0.5)))
    identity = f"{task}{label}"
    yield Attempt(
        id=f"a{identity}",
        task=task,
        arm=arm,
        label=label,
        is_shown=is_shown,
        status=status,
        error_kind="http_500" if failed else None,
        error="The server failed." if failed else None,
        sent_ns=at_ns + NS // 8,
        first_byte_ms=None if failed else latency * 0.6,
        first_line_ms=None if failed else latency * 0.8,
        latency_ms=None if failed else latency,
        censored_at_ms=None,
        http_status=500 if failed else 200,
        model_returned=truth.name,
        finish_reason="stop",
        tokens_in=1500,
        tokens_cached=0,
        tokens_out=0 if failed else 40,
        tokens_reasoning=None,
        cost_nanousd=truth.cost_nanousd,
        cost_basis="configured per token",
        is_cache_hit=False,
        retries=0,
        in_flight=0,
        server_timings=None,
    )
    if status is not AttemptStatus.OK:
        return
    chars = int(generator.integers(8, 90))
    suggestion = f"g{identity}"
    yield Suggestion(
        id=suggestion,
        attempt=f"a{identity}",
        task=task,
        label=label,
        rank=0,
        raw_hash="h",
        text_hash="h",
        raw_chars=chars,
        chars=chars,
        lines=1,
        filters="[]",
        cut_version="1",
    )
    if plan.continuations:
        agreement = float(np.clip(generator.normal(truth.agreement, 0.3), 0, 1))
        yield _score(suggestion, task, label, "30s", "first_line_similarity", agreement)
    if is_shown:
        yield from _offer(plan, truth, suggestion, task, label, chars, moment, at_ns, latency, generator)


def _score(suggestion: str, task: str, label: ArmLabel, horizon: str, metric: str, value: float) -> Score:
    return Score(
        id=f"{suggestion}{horizon}{metric[:2]}",
        suggestion=suggestion,
        task=task,
        label=label,
        horizon=horizon,
        metric=metric,
        value=value,
        reason=None,
        scorer_version="1",
    )


def _offer(
    plan: Plan,
    truth: Truth,
    suggestion: str,
    task: str,
    label: ArmLabel,
    chars: int,
    moment: datetime,
    at_ns: int,
    latency: float,
    generator: np.random.Generator,
) -> Iterator[Record]:
    yield Exposure(
        id=f"x{suggestion}",
        suggestion=suggestion,
        task=task,
        label=label,
        surface=Surface.INLINE,
        rank=0,
        offered_ns=at_ns + int(latency * 1e6),
        offered_at=utc_text(moment),
    )
    # A late suggestion is taken less often: the developer has typed on.
    chance = truth.acceptance * min(1.0, 2.0 * np.exp(-latency / 1000))
    is_taken = generator.random() < chance
    yield Outcome(
        id=f"o{suggestion}",
        suggestion=suggestion,
        task=task,
        label=label,
        outcome=OutcomeClass.ACCEPTED if is_taken else OutcomeClass.NOT_TAKEN,
        rule="whole_insertion" if is_taken else "diverged",
        accepted_chars=chars if is_taken else None,
        decided_ns=at_ns + 2 * NS,
        decided_at=utc_text(moment + timedelta(seconds=2)),
        detail=None,
    )
    if is_taken and plan.continuations:
        share = 1.0
        for horizon in (30, 120, 300, 600):
            if generator.random() > truth.kept ** (1 / 4):
                share = 0.0
            if generator.random() < 0.05:
                return  # The document was closed: censored from here.
            yield _score(suggestion, task, label, f"{horizon}s", "kept_share", share)


def with_(plan: Plan, **changes: object) -> Plan:
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]  # The names are the plan's own.
