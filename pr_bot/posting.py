"""One review, posted once: whatever gets lost, what stands at GitHub is looked at before anything is tried again."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pr_bot.diff import Side
from pr_bot.findings import Placed, Plan, marker_id
from pr_bot.github import Api, Forbidden, GitHubError, Pull, RateLimited, Refused, ReviewComment, Unavailable
from pr_bot.packing import Coverage
from pr_bot.render import Folded, finding_text, last_marker, review_body, with_marker

__all__ = ["CHECK_NAME", "Draft", "Posted", "draft_review", "post_review", "report_state", "show_quietly"]

logger = logging.getLogger(__name__)

CHECK_NAME = "codetrial review"

TRIES = 3
MAX_PAUSE_S = 60.0
"""Longer waits belong to the queue, which does not hold a worker meanwhile."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A review as it will be posted; kept until it has been, so that a killed process posts this one and no other."""

    commit: str
    marker: str
    body: str
    comments: list[dict[str, Any]]
    body_alone: str
    """The same review with everything folded into the body, for where GitHub refuses its lines."""
    notices: tuple[str, ...] = ()
    has_news: bool = True
    """False: it says no more than that the change was read, which is no reason to send anybody a message."""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    review: int | None
    """None if it could only be shown in a check or in the workflow's summary."""
    comments: dict[str, int]
    """Comment ids by marker; folded findings have none."""
    how: str
    """`review`, `body` (lines were refused), `check`, `summary`, or `none`."""


def draft_review(
    planned: Plan,
    *,
    commit: str,
    marker: str,
    seed: str,
    coverage: Coverage,
    notices: tuple[str, ...],
    told_before: tuple[str, ...] = (),
) -> Draft:
    """The review as it will be posted.

    Args:
        told_before: Notices of earlier reviews of the pull request.
    """
    folded = [Folded(finding, marker_id(seed, finding.id)) for finding in planned.folded]
    everything = [*(Folded(finding, marker_id(seed, finding.id)) for finding in planned.inline), *folded]
    return Draft(
        commit=commit,
        marker=marker,
        body=review_body(inline=len(planned.inline), folded=folded, coverage=coverage, notices=notices, marker=marker),
        comments=[_comment(finding, marker_id(seed, finding.id)) for finding in planned.inline],
        body_alone=review_body(inline=0, folded=everything, coverage=coverage, notices=notices, marker=marker),
        notices=notices,
        has_news=bool(everything or set(notices) - set(told_before)),
    )


def _comment(finding: Placed, marker: str) -> dict[str, Any]:
    anchor = finding.anchor
    place: dict[str, Any] = {"path": anchor.path, "side": anchor.side.value, "line": anchor.end_line}
    # GitHub refuses a start that equals the end.
    if anchor.start_line != anchor.end_line:
        place |= {"start_line": anchor.start_line, "start_side": Side(anchor.side).value}
    return {**place, "body": with_marker(finding_text(finding), marker)}


def post_review(api: Api, pull: Pull, draft: Draft, *, sleep: Callable[[float], None] = time.sleep) -> Posted:
    """Post the review unless it stands already; fall back to a check, then to the workflow's summary.

    Raises:
        RateLimited: GitHub wants a longer pause than a worker should sleep; nothing was posted.
        Unavailable: no certainty after TRIES attempts; try again later, which will read back first.
    """
    try:
        return _post(api, pull, draft, sleep)
    except Forbidden as fault:
        logger.warning("%s; showing the review in a check instead", fault)
        return _show_elsewhere(api, pull, draft, fault)


def _post(api: Api, pull: Pull, draft: Draft, sleep: Callable[[float], None]) -> Posted:
    comments, body, how = draft.comments, draft.body, "review"
    last: GitHubError | None = None
    for attempt in range(TRIES):
        standing = _standing(api, pull, draft.marker)
        if standing is not None:
            return Posted(review=standing, comments=_ids(api.comments_of_review(pull, standing)), how=how)
        try:
            review = api.create_review(pull, commit=draft.commit, body=body, comments=comments)
        except RateLimited as fault:
            if fault.retry_after_s > MAX_PAUSE_S:
                raise
            last = fault
            sleep(fault.retry_after_s)
        except Unavailable as fault:
            # The answer was lost, perhaps not the review: the next round looks first.
            last = fault
            sleep(min(MAX_PAUSE_S, 2.0**attempt))
        except Refused as fault:
            if not comments:
                raise
            logger.warning("%s; folding all findings into the body", fault)
            last = fault
            comments, body, how = [], draft.body_alone, "body"
        else:
            return Posted(review=review, comments=_ids(api.comments_of_review(pull, review)), how=how)
    standing = _standing(api, pull, draft.marker)
    if standing is not None:
        return Posted(review=standing, comments=_ids(api.comments_of_review(pull, standing)), how=how)
    raise last or Unavailable(f"Posting the review of {pull.key} did not succeed.")


def _standing(api: Api, pull: Pull, marker: str) -> int | None:
    """The review with this marker, if it stands.

    A pending one that a killed bot left behind is removed, for it blocks every other review. With a person's own token
    it may be that person's draft, which is left alone: GitHub's refusal then says what is in the way.
    """
    found = None
    for entry in api.reviews(pull):
        if entry.state == "PENDING":
            if entry.author_is_bot or last_marker(entry.body) is not None:
                api.delete_pending(pull, entry.id)
        elif last_marker(entry.body) == marker:
            found = entry.id
    return found


def _ids(comments: list[ReviewComment]) -> dict[str, int]:
    return {marker: comment.id for comment in comments if (marker := last_marker(comment.body)) is not None}


def show_quietly(api: Api, pull: Pull, draft: Draft, *, run: str, known: int | None = None) -> Posted | None:
    """Say in the check, or on the workflow's own page, that the change was read; None where neither can be written.

    Raises:
        GitHubError: the check could be written, only not now.
    """
    try:
        report_state(api, pull, run=run, title="Reviewed", summary=draft.body, conclusion="neutral", known=known)
    except Forbidden:
        if not _on_the_workflows_page(draft.body):
            return None
        return Posted(review=None, comments={}, how="summary")
    return Posted(review=None, comments={}, how="check")


def _on_the_workflows_page(text: str) -> bool:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return False
    with Path(summary).open("a", encoding="utf-8") as page:
        page.write(f"## {CHECK_NAME}\n\n{text}\n")
    return True


def _show_elsewhere(api: Api, pull: Pull, draft: Draft, why: Forbidden) -> Posted:
    """Where comments are forbidden, as on a fork's read-only token: a check, or at least the workflow's own page."""
    try:
        report_state(api, pull, run=draft.marker, title="Review", summary=draft.body_alone, conclusion="neutral")
    except GitHubError as fault:
        if not _on_the_workflows_page(draft.body_alone):
            raise why from fault
        return Posted(review=None, comments={}, how="summary")
    return Posted(review=None, comments={}, how="check")


def report_state(
    api: Api, pull: Pull, *, run: str, title: str, summary: str, conclusion: str | None, known: int | None = None
) -> int:
    """Show where a person looks what the review is doing, or why there is none; `neutral`, so that it never blocks.

    Args:
        known: The check as this process has written it before; without it, it is looked for.
    """
    values: Mapping[str, Any] = {
        "name": CHECK_NAME,
        "external_id": run,
        "status": "in_progress" if conclusion is None else "completed",
        "output": {"title": title, "summary": summary[:60_000]},
        **({} if conclusion is None else {"conclusion": conclusion}),
    }
    return api.write_check(pull, known or api.check_run(pull, CHECK_NAME, run), values)
