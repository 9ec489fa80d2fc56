"""Small recordings with texts, written through the store as the editor's door writes them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from analysis.scores import SCORER_VERSION
from analysis.store import text_record
from codetrial.clock import utc_text
from codetrial.ids import new_id
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
    Incident,
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
    Text,
    Trial,
    Unit,
)

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECOND_NS = 1_000_000_000

PRIVACY = {"exclude_languages": [], "exclude_paths": [], "exclude_repositories": [], "scrub_secrets": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a recording, and what came of it."""

    prefix: str = "def add(a, b):\n    return "
    suffix: str = "\n\nprint(add(1, 2))\n"
    a: str | None = "a + b"
    """Arm A's text after the cut; None: it failed."""
    b: str | None = "a - b"
    raw_tail: str = "\n\n\ndef sub"
    """What the cut took away of both."""
    shown: Shown = Shown.A
    outcome: OutcomeClass | None = OutcomeClass.ACCEPTED
    """None: nothing reached the editor."""
    written: str | None = "a + b"
    """What stood there at 30 and 120 s; None: the document was closed."""
    kept: float = 1.0
    """Share of an accepted text that stood at 600 s."""
    language: str = "python"
    at: datetime = START


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One session: whose, where, and what was asked."""

    asked: tuple[Asked, ...] = (Asked(),)
    developer: str = "dev-anna"
    repository: str | None = "repo-one"
    origin: Origin = Origin.PERSON
    is_over: bool = True
    store_text: str = "full"
    trial: str = "completions"
    seed: str = "5eed"
    model_a: str = "codestral-2508"
    privacy: dict[str, object] = field(default_factory=lambda: dict(PRIVACY))
    session: str = field(default_factory=lambda: f"s{new_id()}")

    def ago(self, **by: float) -> "Work":
        """The same work, begun so long before now."""
        start = datetime.now(UTC) - timedelta(**by)
        return dataclasses.replace(
            self, asked=tuple(dataclasses.replace(one, at=start + (one.at - START)) for one in self.asked)
        )


def trial_of(work: Work) -> tuple[Trial, dict[ArmLabel, ArmRow]]:
    names = {ArmLabel.A: work.model_a, ArmLabel.B: "qwen2.5-coder-7b"}
    manifest = json.dumps(
        {
            "format": 1,
            "trial": {"name": work.trial, "mode": "shown", "primary_metric": "acceptance", "margins": {}},
            "arms": {label: {"name": name} for label, name in names.items()},
            "privacy": work.privacy,
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    trial = Trial(
        id=f"t-{digest[:20]}",
        name=work.trial,
        manifest=manifest,
        manifest_hash=digest,
        seed=work.seed,
        assignment_unit=Unit.EPISODE,
        primary_metric="acceptance",
        created_at=utc_text(START),
    )
    arms = {
        label: ArmRow(
            id=f"{trial.id}-{label}",
            trial=trial.id,
            label=label,
            name=name,
            fingerprint=f"print-{name}",
            definition=json.dumps({"model": name, "url": "http://10.0.0.7:8080"}),
            is_self_hosted=label is ArmLabel.B,
        )
        for label, name in names.items()
    }
    return trial, arms


class _Ids:
    """Ids that look like ULIDs; the same work always has the same."""

    def __init__(self, session: str) -> None:
        self._tail = hashlib.sha256(session.encode()).hexdigest()[:18].upper()
        self._number = count()

    def __call__(self) -> str:
        return f"01{next(self._number):06d}{self._tail}"


def record(work: Work) -> list[Record]:
    """All rows of one session, in the order in which a store would get them."""
    rows = list(_session(work, _Ids(work.session)))
    return [row for row in rows if work.store_text == "full" or not isinstance(row, Text)]


def _session(work: Work, new: _Ids) -> Iterator[Record]:
    trial, arms = trial_of(work)
    begin = work.asked[0].at if work.asked else START
    yield trial
    yield from arms.values()
    yield Session(
        id=work.session,
        trial=trial.id,
        door=Door.EDITOR,
        origin=work.origin,
        developer=work.developer,
        client_name="Neovim",
        client_version="0.11",
        server_name="basedpyright",
        surface=Surface.INLINE,
        position_encoding="utf-16",
        repository=work.repository,
        codetrial_version="0.1.0",
        started_ns=SECOND_NS,
        started_at=utc_text(begin),
    )
    for number, asked in enumerate(work.asked):
        yield from _asked(new, work, trial, arms, number, asked)
    if work.is_over:
        end = max((asked.at for asked in work.asked), default=START) + timedelta(seconds=700)
        yield SessionEnd(
            session=work.session,
            reason="exit",
            dropped_events=0,
            ended_ns=SECOND_NS * (1 + int((end - begin).total_seconds())),
            ended_at=utc_text(end),
        )


def _asked(
    new: _Ids, work: Work, trial: Trial, arms: dict[ArmLabel, ArmRow], number: int, asked: Asked
) -> Iterator[Record]:
    episode, task = new(), new()
    at_ns = SECOND_NS * (2 + int((asked.at - work.asked[0].at).total_seconds()))
    yield Assignment(
        id=episode,
        trial=trial.id,
        session=work.session,
        unit=Unit.EPISODE,
        document="doc",
        shown=asked.shown,
        propensity_a=0.45,
        propensity_b=0.45,
        propensity_none=0.1,
        is_sampled=True,
        reason=None,
        opened_ns=at_ns,
        opened_at=utc_text(asked.at),
        closes_ns=at_ns + 60 * SECOND_NS,
    )
    prefix, suffix = text_record(asked.prefix), text_record(asked.suffix)
    yield from (prefix, suffix)
    yield Task(
        id=task,
        trial=trial.id,
        session=work.session,
        assignment=episode,
        door=Door.EDITOR,
        disposition=Disposition.ROUTED,
        request_id=str(number),
        document="doc",
        document_version=3,
        language=asked.language,
        place=Place.LINE_END,
        trigger="automatic",
        line=1,
        character=11,
        prefix_hash=None if work.store_text == "none" else prefix.hash,
        suffix_hash=None if work.store_text == "none" else suffix.hash,
        prefix_chars=len(asked.prefix),
        suffix_chars=len(asked.suffix),
        requested_ns=at_ns,
        requested_at=utc_text(asked.at),
        routed_ns=at_ns + SECOND_NS // 8,
    )
    for label, text in ((ArmLabel.A, asked.a), (ArmLabel.B, asked.b)):
        yield from _attempt(new, work, asked, arms[label], task, at_ns, text)
    yield from _continuations(new, work, asked, task, at_ns)


def _attempt(
    new: _Ids, work: Work, asked: Asked, arm: ArmRow, task: str, at_ns: int, text: str | None
) -> Iterator[Record]:
    attempt, is_shown = new(), asked.shown.value == arm.label.value
    yield Attempt(
        id=attempt,
        task=task,
        arm=arm.id,
        label=arm.label,
        is_shown=is_shown,
        status=AttemptStatus.ERROR if text is None else AttemptStatus.OK,
        error_kind="http_500" if text is None else None,
        error="The server at models.example failed." if text is None else None,
        sent_ns=at_ns + SECOND_NS // 8,
        first_byte_ms=None if text is None else 80.0,
        first_line_ms=None if text is None else 95.5,
        latency_ms=120.25,
        censored_at_ms=None,
        http_status=500 if text is None else 200,
        model_returned=arm.name,
        finish_reason="stop",
        tokens_in=400,
        tokens_cached=None,
        tokens_out=5,
        tokens_reasoning=None,
        cost_nanousd=120_000,
        cost_basis="price list",
        is_cache_hit=False,
        retries=0,
        in_flight=1,
        server_timings=None,
    )
    if text is None:
        return
    raw, cut = text_record(text + asked.raw_tail), text_record(text)
    suggestion = new()
    is_hashed = work.store_text != "none"
    yield from (raw, cut)
    yield Suggestion(
        id=suggestion,
        attempt=attempt,
        task=task,
        label=arm.label,
        rank=0,
        raw_hash=raw.hash if is_hashed else "",
        text_hash=cut.hash if is_hashed else "",
        raw_chars=len(raw.content),
        chars=len(cut.content),
        lines=cut.content.count("\n") + 1,
        filters='["dedent"]',
        cut_version="1",
    )
    if asked.written is not None:
        yield _score(new, suggestion, task, arm.label, "30s", "first_line_exact", float(text == asked.written))
    if is_shown and asked.outcome is not None:
        yield from _offer(new, work, asked, suggestion, task, arm.label, at_ns, text)


def _score(new: _Ids, suggestion: str, task: str, label: ArmLabel, horizon: str, metric: str, value: float) -> Score:
    return Score(
        id=new(),
        suggestion=suggestion,
        task=task,
        label=label,
        horizon=horizon,
        metric=metric,
        value=value,
        reason=None,
        scorer_version=SCORER_VERSION,
    )


def _offer(
    new: _Ids, work: Work, asked: Asked, suggestion: str, task: str, label: ArmLabel, at_ns: int, text: str
) -> Iterator[Record]:
    assert asked.outcome is not None
    yield Exposure(
        id=f"x-{suggestion}",
        suggestion=suggestion,
        task=task,
        label=label,
        surface=Surface.INLINE,
        rank=0,
        offered_ns=at_ns + SECOND_NS // 4,
        offered_at=utc_text(asked.at),
    )
    is_taken = asked.outcome is OutcomeClass.ACCEPTED
    yield Outcome(
        id=f"o-{suggestion}",
        suggestion=suggestion,
        task=task,
        label=label,
        outcome=asked.outcome,
        rule="command" if is_taken else "diverged",
        accepted_chars=len(text) if is_taken else None,
        decided_ns=at_ns + SECOND_NS,
        decided_at=utc_text(asked.at + timedelta(seconds=1)),
        detail=None,
    )
    if is_taken:
        detail = json.dumps({"chars": len(text), "rule": "command", "suggestion": suggestion})
        yield Incident(
            id=new(),
            session=work.session,
            kind="taken",
            count=1,
            detail=detail,
            happened_ns=at_ns + SECOND_NS,
            happened_at=utc_text(asked.at),
        )
        if asked.written is not None:
            yield _score(new, suggestion, task, label, "600s", "kept_share", asked.kept)


def _continuations(new: _Ids, work: Work, asked: Asked, task: str, at_ns: int) -> Iterator[Record]:
    written = None if asked.written is None else text_record(asked.written)
    for seconds in (30, 120):
        if written is not None:
            yield written
        yield Continuation(
            id=new(),
            task=task,
            horizon=f"{seconds}s",
            state=ContinuationState.CENSORED if written is None else ContinuationState.FOUND,
            reason="closed" if written is None else None,
            text_hash=None if written is None or work.store_text == "none" else written.hash,
            chars=None if written is None else len(written.content),
            taken_ns=at_ns + seconds * SECOND_NS,
            taken_at=utc_text(asked.at + timedelta(seconds=seconds)),
        )
