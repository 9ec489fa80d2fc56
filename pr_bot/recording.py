"""A review as records of the store: task, attempts, suggestions, findings and their assignments.

Written before anything is posted, so that no reception can have touched an assignment.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping

from analysis.store import text_record
from codetrial import __version__
from codetrial.arms import define
from codetrial.arms.base import ArmDefinition
from codetrial.attempts import attempt_row
from codetrial.clock import now_ns, utc_text
from codetrial.config import ArmConfig, Config
from codetrial.ids import new_id
from codetrial.manifest import frozen
from codetrial.prices import Cost
from codetrial.pseudonyms import hashed, pseudonym_of_author, pseudonym_of_reviewed_repository
from codetrial.records import (
    ArmLabel,
    ArmRow,
    Assignment,
    Attempt,
    Disposition,
    Door,
    Finding,
    Incident,
    Origin,
    Place,
    Record,
    Session,
    Suggestion,
    Surface,
    Task,
    Trial,
    Unit,
)
from pr_bot.findings import Assigned, Placed, fingerprint
from pr_bot.render import finding_text
from pr_bot.review import PROMPT_VERSION, Review
from pr_bot.reviewing import Reviewed, language_of_change, members
from pr_bot.settings import ReviewSettings

__all__ = ["ReviewTrial", "freeze_reviews", "review_records", "session_record"]

RENDER_VERSION = "review-render-1"

PRIMARY_METRIC = "acted_on"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTrial:
    """The trial as reviews run it: the same arms, assigned finding by finding."""

    trial: Trial
    arms: Mapping[ArmLabel, ArmRow]
    definitions: Mapping[ArmLabel, ArmDefinition]
    is_shadow: bool


def freeze_reviews(config: Config, settings: ReviewSettings, arms: Mapping[ArmLabel, ArmConfig]) -> ReviewTrial:
    """The review trial as records: the same configuration always gives the same trial.

    It is a row of its own because its unit and its arms differ: a model that reviews has another prompt and another
    length than the same model completing, and an arm is a model as it is really used.
    """
    definitions = {label: _definition(arm, label) for label, arm in arms.items()}
    manifest = {
        "format": 1,
        "door": Door.PULL_REQUEST,
        "assignment_unit": Unit.FINDING,
        "primary_metric": PRIMARY_METRIC,
        "trial": {"name": config.trial.name, "mode": config.trial.mode, "margins": dict(config.trial.margins)},
        "privacy": dataclasses.asdict(config.privacy),
        "prompt": PROMPT_VERSION,
        "arms": {label: json.loads(definition.canonical()) for label, definition in definitions.items()},
        "review": dataclasses.asdict(settings),
    }
    made = frozen(config, manifest, definitions, assignment_unit=Unit.FINDING, primary_metric=PRIMARY_METRIC)
    rows = {row.label: row for row in made.arms}
    return ReviewTrial(trial=made.trial, arms=rows, definitions=definitions, is_shadow=config.trial.mode == "shadow")


def _definition(arm: ArmConfig, label: ArmLabel) -> ArmDefinition:
    """The arm as completions would define it, host rules included, with what reviews do otherwise."""
    return dataclasses.replace(define(arm, label), template=PROMPT_VERSION, stops=(), post_processing=("one_repair",))


def session_record(trial: Trial, *, repository: str, number: str, author: str, origin: Origin, client: str) -> Session:
    """One pull request; its id follows from the pull request, so that every head of it joins the same cluster."""
    return Session(
        id=f"pr-{hashed(trial.id, repository, number)[:24]}",
        trial=trial.id,
        door=Door.PULL_REQUEST,
        origin=origin,
        developer=pseudonym_of_author(trial.seed, author),
        client_name=client,
        client_version=None,
        server_name=None,
        surface=Surface.REVIEW_COMMENT,
        position_encoding=None,
        repository=pseudonym_of_reviewed_repository(trial.seed, repository),
        codetrial_version=__version__,
        started_ns=now_ns(),
        started_at=utc_text(),
    )


def review_records(
    reviewed: Reviewed, trial: ReviewTrial, session: Session, costs: Mapping[ArmLabel, Cost]
) -> list[Record]:
    """Everything there is to know before posting, in an order that satisfies the store's references."""
    document = hashed(session.id)[:32]
    rows: list[Record] = [trial.trial, *trial.arms.values(), session]
    rows.extend(_assignments(reviewed, trial.trial, session, document))
    rows.append(_task(reviewed, trial.trial, session, document))
    attempts = {
        label: _attempt(review, reviewed, trial.arms[label], costs[label]) for label, review in reviewed.reviews.items()
    }
    rows.extend(attempts.values())
    ranks: dict[ArmLabel, int] = dict.fromkeys(ArmLabel, 0)
    for member, entry in members(reviewed):
        rows.extend(_finding(member, entry, reviewed.task, attempts[member.label].id, ranks[member.label], trial.trial))
        ranks[member.label] += 1
    rows.extend(_incidents(reviewed, session))
    return rows


def _assignments(reviewed: Reviewed, trial: Trial, session: Session, document: str) -> Iterator[Assignment]:
    for entry in reviewed.assigned:
        yield Assignment(
            id=entry.group.id,
            trial=trial.id,
            session=session.id,
            unit=Unit.FINDING,
            document=document,
            shown=entry.shown,
            propensity_a=entry.propensities.a,
            propensity_b=entry.propensities.b,
            propensity_none=entry.propensities.none,
            is_sampled=True,
            reason=entry.reason,
            opened_ns=now_ns(),
            opened_at=utc_text(),
            closes_ns=None,
        )


def _task(reviewed: Reviewed, trial: Trial, session: Session, document: str) -> Task:
    return Task(
        id=reviewed.task,
        trial=trial.id,
        session=session.id,
        assignment=None,
        door=Door.PULL_REQUEST,
        disposition=Disposition.ROUTED,
        request_id=reviewed.change.diff.head,
        document=document,
        document_version=None,
        language=language_of_change(reviewed),
        place=Place.UNKNOWN,
        trigger=None,
        line=None,
        character=None,
        prefix_hash=text_record(reviewed.packed.text).hash,
        suffix_hash=None,
        prefix_chars=len(reviewed.prompt.system) + len(reviewed.prompt.user),
        suffix_chars=None,
        requested_ns=reviewed.requested_ns,
        requested_at=reviewed.requested_at,
        routed_ns=reviewed.routed_ns,
    )


def _attempt(review: Review, reviewed: Reviewed, arm: ArmRow, cost: Cost) -> Attempt:
    answer = review.answer
    shown = any(entry.shown.value == arm.label.value for entry in reviewed.assigned)
    # The first line of a JSON answer says nothing about when a person could read.
    return attempt_row(
        arm, reviewed.task, dataclasses.replace(answer, first_line_ns=None), cost, identity=new_id(), is_shown=shown
    )


def _finding(member: Placed, entry: Assigned, task: str, attempt: str, rank: int, trial: Trial) -> Iterator[Record]:
    text = text_record(finding_text(member))
    raw = text_record(member.claim.body)
    yield text
    yield Suggestion(
        id=member.id,
        attempt=attempt,
        task=task,
        label=member.label,
        rank=rank,
        raw_hash=raw.hash,
        text_hash=text.hash,
        raw_chars=len(member.claim.body),
        chars=len(text.content),
        lines=text.content.count("\n") + 1,
        filters=json.dumps([member.suggestion_note] if member.suggestion_note else []),
        cut_version=RENDER_VERSION,
    )
    anchor = member.anchor
    yield Finding(
        id=member.id,
        task=task,
        path_hash=hashed(trial.seed, anchor.path)[:32],
        side=anchor.side,
        start_line=anchor.start_line,
        end_line=anchor.end_line,
        anchor=anchor.kind,
        severity=member.claim.severity,
        category=member.claim.category,
        fingerprint=fingerprint(member),
        stratum=entry.group.stratum,
        assignment=entry.group.id,
    )


def _incidents(reviewed: Reviewed, session: Session) -> Iterator[Incident]:
    coverage = reviewed.packed.coverage
    detail = {"task": reviewed.task, "changed_lines": coverage.changed_lines, "shown_lines": coverage.shown_lines}
    counts = {
        "review_coverage": 0 if coverage.is_complete else coverage.changed_lines - coverage.shown_lines,
        "repeated_finding": reviewed.repeated,
        "unusable_finding": sum(review.dropped for review in reviewed.reviews.values()),
        "invisible_characters": reviewed.prompt.invisible,
    }
    for kind, count in counts.items():
        if count:
            yield Incident(
                id=new_id(), session=session.id, kind=kind, count=count,
                detail=json.dumps(detail), happened_ns=now_ns(), happened_at=utc_text(),
            )  # fmt: skip
