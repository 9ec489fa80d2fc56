"""One review from a change to a plan, with no GitHub in it: the core that all three ways in share."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.syntax import language_of
from codetrial.arms.base import Answer
from codetrial.clock import now_ns, utc_text
from codetrial.ids import new_id
from codetrial.records import ArmLabel, AttemptStatus, Trial
from pr_bot.diff import Diff
from pr_bot.findings import Assigned, Earlier, Placed, Plan, assign, deduplicate, place, plan, without_earlier
from pr_bot.git import Repository
from pr_bot.guarding import Guard
from pr_bot.neighbours import near_posted
from pr_bot.packing import Packed, pack
from pr_bot.review import Material, Review, Reviewer, ReviewPrompt, ask, build_prompt
from pr_bot.settings import ReviewSettings
from pr_bot.source import Source, check_suggestion

__all__ = ["Change", "Reviewed", "language_of_change", "review_change"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be reviewed."""

    title: str
    description: str
    diff: Diff
    guidelines: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A finished review of both arms; nothing of it has been posted."""

    task: str
    change: Change
    packed: Packed
    prompt: ReviewPrompt
    reviews: Mapping[ArmLabel, Review]
    assigned: tuple[Assigned, ...]
    plan: Plan
    near_posted: frozenset[str]
    """Findings beside which another posted one lies: not compared."""
    repeated: int
    """Findings that an earlier review of this pull request had already; neither posted nor counted again."""
    requested_ns: int
    requested_at: str
    routed_ns: int

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know of the review besides its findings; never anything about an arm."""
        notices = []
        if self.prompt.invisible:
            notices.append(
                f"This change contains {self.prompt.invisible} invisible or bidirectional control characters: "
                "what you see may not be what runs."
            )
        return tuple(notices)


async def review_change(
    change: Change,
    *,
    repository: Repository,
    reviewers: Mapping[ArmLabel, Reviewer],
    settings: ReviewSettings,
    trial: Trial,
    guard: Guard | None = None,
    is_shadow: bool = False,
    earlier: Sequence[Earlier] = (),
) -> Reviewed:
    """Ask both arms the same and decide what would be posted.

    Args:
        guard: Masks secrets and watches the money; without one nothing is counted and nothing masked.
    """
    requested_ns, requested_at = now_ns(), utc_text()
    task = new_id()
    source = Source(repository, change.diff.head)
    packed, prompt = await asyncio.to_thread(_prepare, change, source, settings)
    routed_ns = now_ns()
    if guard is not None:
        prompt = replace(prompt, user=await asyncio.to_thread(guard.mask, prompt.user))
    reviews = await _ask_both(reviewers, prompt, settings, guard)
    return await asyncio.to_thread(
        _decide, task, change, source, packed, prompt, reviews, settings, trial, is_shadow, earlier,
        (requested_ns, requested_at, routed_ns),
    )  # fmt: skip


def _prepare(change: Change, source: Source, settings: ReviewSettings) -> tuple[Packed, ReviewPrompt]:
    packed = pack(change.diff, max_chars=settings.max_prompt_chars, ignore=settings.ignore, context=source.context)
    material = Material(title=change.title, description=change.description, packed=packed, guidelines=change.guidelines)
    return packed, build_prompt(material)


async def _ask_both(
    reviewers: Mapping[ArmLabel, Reviewer], prompt: ReviewPrompt, settings: ReviewSettings, guard: Guard | None
) -> dict[ArmLabel, Review]:
    refusal = None if guard is None else await guard.refusal(prompt)
    if refusal is not None:
        # Both or neither: an arm that reviews alone would be compared with nothing.
        refused = Answer(
            status=AttemptStatus.OVER_BUDGET, text="", sent_ns=None, error_kind="over_budget", error=refusal
        )
        return {label: Review(answer=refused, claims=()) for label in reviewers}
    if guard is not None:
        guard.begin()
    async with asyncio.TaskGroup() as tasks:
        asked = {
            label: tasks.create_task(
                ask(reviewer, prompt, deadline_s=settings.timeout_s, max_findings=settings.max_findings),
                name=f"review-{label}",
            )
            for label, reviewer in reviewers.items()
        }
    reviews = {label: task.result() for label, task in asked.items()}
    if guard is not None:
        for label, review in reviews.items():
            await guard.end(label, review.answer)
    return reviews


def _decide(
    task: str,
    change: Change,
    source: Source,
    packed: Packed,
    prompt: ReviewPrompt,
    reviews: Mapping[ArmLabel, Review],
    settings: ReviewSettings,
    trial: Trial,
    is_shadow: bool,
    earlier: Sequence[Earlier],
    times: tuple[int, str, int],
) -> Reviewed:
    found = [finding for label, review in reviews.items() for finding in place(change.diff, review.claims, label)]
    fresh = [check_suggestion(finding, source) for finding in without_earlier(found, earlier)]
    assigned = assign(deduplicate(fresh), seed=trial.seed, settings=settings, is_shadow=is_shadow)
    functions = {finding.id: source.function_name(finding.anchor) for finding in fresh}
    standing = source.now_at(entry.posted_at for entry in earlier if entry.posted_at is not None)
    requested_ns, requested_at, routed_ns = times
    return Reviewed(
        task=task,
        change=change,
        packed=packed,
        prompt=prompt,
        reviews=reviews,
        assigned=tuple(assigned),
        plan=plan(assigned, seed=trial.seed, task=task, max_inline=settings.max_inline),
        near_posted=near_posted(assigned, functions, standing),
        repeated=len(found) - len(fresh),
        requested_ns=requested_ns,
        requested_at=requested_at,
        routed_ns=routed_ns,
    )


def language_of_change(reviewed: Reviewed) -> str | None:
    """The language with the most changed lines."""
    weight: dict[str, int] = {}
    for entry in reviewed.packed.shown:
        language = language_of(entry.path)
        weight[language] = weight.get(language, 0) + entry.changed
    return max(weight, key=lambda language: weight[language]) if weight else None


def members(reviewed: Reviewed) -> list[tuple[Placed, Assigned]]:
    """Each arm's every finding with the assignment it shares."""
    return [(member, entry) for entry in reviewed.assigned for member in entry.group.members]
