"""A pull request from its number to a posted review, and everything that can stop it on the way."""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from analysis.store import Store
from codetrial.clock import now_ns, utc_text
from codetrial.config import ArmConfig, Config
from codetrial.errors import ConfigError
from codetrial.ids import new_id
from codetrial.paths import cache_dir, data_dir
from codetrial.pseudonyms import hashed
from codetrial.records import ArmLabel, AttemptStatus, Exposure, Incident, Origin, Session, Surface, Text
from pr_bot.diff import Diff, Side, local_diff
from pr_bot.findings import Earlier, PostedAt, marker_id, place_key, word_hashes
from pr_bot.git import GitError, Repository
from pr_bot.github import Api, Forbidden, GitHubError, Missing, Pull, Refused
from pr_bot.guard import Guard
from pr_bot.isolated import IsolatedReviewer
from pr_bot.lines import line_hashes
from pr_bot.posting import Draft, Posted, draft_review, post_review, report_state, show_quietly
from pr_bot.recording import ReviewTrial, freeze_reviews, review_records, session_record
from pr_bot.render import markers
from pr_bot.review import Reviewer
from pr_bot.reviewing import Change, Reviewed, members, review_change
from pr_bot.settings import REPOSITORY_FILE, ReviewSettings, repository_settings, review_arms, settings
from pr_bot.state import State

__all__ = ["Bot", "Done", "Result", "open_bot"]

logger = logging.getLogger(__name__)


class Result(StrEnum):
    POSTED = "posted"
    NOTHING_TO_POST = "nothing_to_post"
    """Reviewed; the check says so."""
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    result: Result
    detail: str
    """A sentence for the log and for the person who asked."""


@dataclass(slots=True, kw_only=True)
class Bot:
    """What a review needs besides GitHub: the trial, the store, the bot's own state and the arms."""

    config: Config
    settings: ReviewSettings
    trial: ReviewTrial
    arms: Mapping[ArmLabel, ArmConfig]
    guard: Guard
    store: Store
    state: State
    mirrors: Path
    origin: Origin = Origin.PERSON
    sleep: Callable[[float], None] = time.sleep
    checks: dict[str, int] = field(default_factory=dict)
    """Checks that this process has opened and not finished, by our id for them: not to be looked for again."""
    make_reviewer: Callable[[ArmConfig], Reviewer] = field(default=IsolatedReviewer)

    def close(self) -> None:
        self.store.close()
        self.state.close()

    # --- one review --------------------------------------------------------------------------------------------

    def review(self, api: Api, repository: str, number: int, *, is_asked: bool = False) -> Done:
        """Review the head of a pull request once, however often this is called.

        Args:
            is_asked: A person asked for it: drafts and paused pull requests are then reviewed as well, and where there
                is nothing to say they are told so.

        Raises:
            GitHubError: something that another try may mend.
        """
        pull = api.pull(repository, number)
        self._remember(pull)
        if why := self._why_not(pull, is_asked=is_asked):
            return Done(result=Result.SKIPPED, detail=f"{pull.key}: {why}")
        pending = self.state.rows("SELECT draft FROM head WHERE pull = ? AND sha = ?", pull.key, pull.head_sha)
        try:
            if pending:
                # A review of this head was finished and not posted: a killed worker, or GitHub was away.
                draft = msgspec.json.decode(pending[0]["draft"], type=Draft)
                return self._post(api, pull, draft, is_asked=is_asked)
            return self._review_afresh(api, pull, is_asked=is_asked)
        except (ConfigError, GitError) as fault:
            self._tell(api, pull, "Not reviewed", str(fault))
            return Done(result=Result.FAILED, detail=f"{pull.key}: {fault}")
        except (Forbidden, Missing, Refused) as fault:
            # Another try would end the same way, so a person is told where they look.
            self._tell(api, pull, "Not reviewed", str(fault))
            raise

    def give_up(self, api: Api, repository: str, number: int, why: str) -> None:
        """Show on the pull request that no further try will be made, if that can be shown at all."""
        try:
            self._tell(api, api.pull(repository, number), "Not reviewed", f"Given up: {why}")
        except GitHubError as fault:
            logger.info("%s#%d: %s", repository, number, fault)

    def missed(self, api: Api, repository: str) -> list[Pull]:
        """Open pull requests whose head should have been reviewed and was not: the event or the run got lost."""
        found = []
        for pull in api.open_pulls(repository):
            self._remember(pull)
            if self._why_not(pull, is_asked=False) is None:
                found.append(pull)
        return found

    def pause(self, pull: Pull, *, paused: bool) -> None:
        """Stop or resume reviewing the pushes to a pull request."""
        self._remember(pull)
        with self.state.transaction() as db:
            db.execute("UPDATE pull SET is_paused = ? WHERE key = ?", (paused, pull.key))

    def _why_not(self, pull: Pull, *, is_asked: bool) -> str | None:
        if pull.state != "open":
            return "it is closed."
        if pull.author_is_bot:
            return f"{pull.author} is a bot."
        if pull.author in self.settings.authors_ignored:
            return f"pull requests of {pull.author} are not reviewed."
        if not is_asked and pull.is_draft:
            return "it is a draft."
        [row] = self.state.rows("SELECT is_paused FROM pull WHERE key = ?", pull.key)
        if not is_asked and row["is_paused"]:
            return "reviews are paused here; `@codetrial review` asks for one."
        heads = self.state.rows("SELECT sha, posted FROM head WHERE pull = ?", pull.key)
        if any(head["sha"] == pull.head_sha and head["posted"] is not None for head in heads):
            return "this head has been reviewed."
        if len(heads) >= self.settings.max_reviews_per_pull:
            return f"it has had {len(heads)} reviews, the most that max_reviews_per_pull allows."
        return None

    def _review_afresh(self, api: Api, pull: Pull, *, is_asked: bool) -> Done:
        repository = self.fetch(api, pull)
        own, wants = repository_settings(self._base_text(api, repository, pull, REPOSITORY_FILE), self.settings)
        if not wants:
            return Done(result=Result.SKIPPED, detail=f"{pull.key}: {REPOSITORY_FILE} switches reviews off.")
        diff = self.guard.exclude(self._diff(api, repository, pull), pull.repository)
        if not diff.files:
            self._tell(api, pull, "Nothing to review", "The change has no lines that can be reviewed.")
            return Done(result=Result.SKIPPED, detail=f"{pull.key}: the change is empty.")
        change = Change(
            title=pull.title,
            description=pull.body,
            diff=diff,
            guidelines=self._base_text(api, repository, pull, own.guidelines) or "",
        )
        run = marker_id(self.trial.trial.seed, f"{pull.key}@{pull.head_sha}")
        self._tell(api, pull, "Reviewing", "The review is under way.", is_finished=False)
        reviewed = asyncio.run(
            review_change(
                change,
                repository=repository,
                reviewers={label: self.make_reviewer(arm) for label, arm in self.arms.items()},
                settings=own,
                trial=self.trial.trial,
                guard=self.guard,
                is_shadow=self.trial.is_shadow,
                earlier=self._earlier(pull),
            )
        )
        draft = self._record(pull, reviewed, run)
        failed = [review for review in reviewed.reviews.values() if not _has_answered(review.answer.status)]
        if len(failed) == len(ArmLabel):
            # Nothing to compare and nothing to post; the attempts are recorded as what they are.
            return self._give_up(api, pull, reviewed)
        return self._post(api, pull, draft, is_asked=is_asked)

    def _give_up(self, api: Api, pull: Pull, reviewed: Reviewed) -> Done:
        answers = [review.answer for review in reviewed.reviews.values()]
        kinds = ", ".join(sorted({str(answer.error_kind) for answer in answers}))
        # An arm's own words could tell which one it is; a budget's are ours.
        why = str(answers[0].error) if kinds == "over_budget" else f"no answer could be used ({kinds})"
        self._tell(api, pull, "Not reviewed", f"Not reviewed: {why}. A new push will be reviewed again.")
        self._mark_posted(pull, Posted(review=None, comments={}, how="none"))
        return Done(result=Result.FAILED, detail=f"{pull.key}: no arm gave a usable answer ({kinds}).")

    # --- the change --------------------------------------------------------------------------------------------

    def fetch(self, api: Api, pull: Pull) -> Repository:
        """The repository's objects on this machine, with the base and the head of the pull request."""
        folder = self.mirrors / f"{hashed(pull.clone_url)[:32]}.git"
        repository = Repository.create_bare(folder, extra_config=api.git_config())
        if _has_both(repository, pull):
            return repository
        by_name = [
            f"+refs/heads/{pull.base_ref}:refs/remotes/origin/{pull.base_ref}",
            f"+refs/pull/{pull.number}/head:refs/pull/{pull.number}/head",
        ]
        # A base branch that was deleted, or moved since we asked, still has its commit at GitHub.
        by_commit = [
            f"+{pull.base_sha}:refs/codetrial/{pull.number}/base",
            f"+{pull.head_sha}:refs/codetrial/{pull.number}/head",
        ]
        for wanted in (by_name, by_commit):
            try:
                repository.fetch(pull.clone_url, wanted)
            except GitError as fault:
                logger.warning("%s: %s", pull.key, fault)
            if _has_both(repository, pull):
                return repository
        logger.warning("%s: reading the change from the API instead", pull.key)
        return repository

    def _diff(self, api: Api, repository: Repository, pull: Pull) -> Diff:
        if _has_both(repository, pull):
            return local_diff(repository, pull.base_sha, pull.head_sha)
        return api.files(pull)

    def _base_text(self, api: Api, repository: Repository, pull: Pull, path: str) -> str | None:
        """A file of the base branch; never of the head, which a stranger may have written."""
        if repository.has_commit(pull.base_sha):
            data = repository.blob(pull.base_sha, path)
            return None if data is None else data.decode("utf-8", "replace")
        return api.file_text(pull.repository, path, pull.base_sha)

    def _earlier(self, pull: Pull) -> Sequence[Earlier]:
        rows = self.state.rows(
            "SELECT place_key, words, is_posted, head, path, start_line, end_line, side FROM finding WHERE pull = ?",
            pull.key,
        )
        return [Earlier(row["place_key"], frozenset(json.loads(row["words"])), _posted_at(row)) for row in rows]

    # --- keeping -----------------------------------------------------------------------------------------------

    def session(self, pull: Pull) -> Session:
        return session_record(
            self.trial.trial, repository=pull.repository, number=str(pull.number), author=pull.author,
            origin=self.origin, client="github",
        )  # fmt: skip

    def _remember(self, pull: Pull) -> None:
        with self.state.transaction() as db:
            db.execute(
                """
                INSERT INTO pull (key, repository, number, state, merged_at, closed_at, base_sha, session, clone_url,
                                  base_ref, head_sha)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET state = excluded.state, merged_at = excluded.merged_at,
                    closed_at = excluded.closed_at, base_sha = excluded.base_sha, head_sha = excluded.head_sha
                """,
                (pull.key, pull.repository, pull.number, pull.state, pull.merged_at, pull.closed_at, pull.base_sha,
                 self.session(pull).id, pull.clone_url, pull.base_ref, pull.head_sha),
            )  # fmt: skip

    def _record(self, pull: Pull, reviewed: Reviewed, run: str) -> Draft:
        """Everything about the review on disk, before anybody sees any of it."""
        seed = self.trial.trial.seed
        costs = {label: self.guard.cost(label, review.answer) for label, review in reviewed.reviews.items()}
        rows = review_records(reviewed, self.trial, self.session(pull), costs)
        if self.config.store.store_text != "full":
            rows = [row for row in rows if not isinstance(row, Text)]
        self.store.append(*rows)
        draft = draft_review(
            reviewed.plan, commit=pull.head_sha, marker=run, seed=seed, coverage=reviewed.packed.coverage,
            notices=reviewed.notices, told_before=tuple(json.loads(self.state.seen(pull.key, "notices") or "[]")),
        )  # fmt: skip
        posted = [*reviewed.plan.inline, *reviewed.plan.folded]
        ranks = {finding.id: rank for rank, finding in enumerate(posted)}
        with self.state.transaction() as db:
            for member, entry in members(reviewed):
                anchor = member.anchor
                db.execute(
                    "INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (member.id, pull.key, reviewed.task, member.label, entry.group.id, entry.group.stratum,
                     pull.head_sha, reviewed.change.diff.merge_base, anchor.path, anchor.side, anchor.start_line,
                     anchor.end_line, anchor.kind, place_key(anchor.path, anchor),
                     json.dumps(sorted(word_hashes(member))),
                     None if member.suggestion is None else json.dumps(line_hashes(member.suggestion)),
                     marker_id(seed, member.id), member.id in ranks, ranks.get(member.id),
                     member.id in reviewed.near_posted, None, self.state.now()),
                )  # fmt: skip
            db.execute(
                "INSERT INTO head VALUES (?, ?, ?, ?, ?, NULL, ?)",
                (pull.key, pull.head_sha, reviewed.task, run, msgspec.json.encode(draft).decode(), self.state.now()),
            )
        return draft

    # --- posting -----------------------------------------------------------------------------------------------

    def _post(self, api: Api, pull: Pull, draft: Draft, *, is_asked: bool) -> Done:
        if not draft.has_news and not is_asked and (shown := self._show_quietly(api, pull, draft)) is not None:
            self._mark_posted(pull, shown)
            return Done(result=Result.NOTHING_TO_POST, detail=f"{pull.key}: nothing to post ({shown.how}).")
        try:
            posted = post_review(api, pull, draft, sleep=self.sleep)
        except Refused:
            now = api.pull(pull.repository, pull.number)
            if (now.head_sha, now.state) == (pull.head_sha, pull.state):
                raise
            # Pushed over or closed while the arms read: what they found is recorded, and nobody is shown it. Forgotten
            # here, so that the review of the new head does not take it for a repetition.
            self.store.append(self.incident(pull, "overtaken", 1, {"state": now.state}))
            with self.state.transaction() as db:
                db.execute("DELETE FROM finding WHERE pull = ? AND head = ?", (pull.key, pull.head_sha))
            self._mark_posted(pull, Posted(review=None, comments={}, how="none"))
            return Done(result=Result.SKIPPED, detail=f"{pull.key}: its head changed during the review.")
        self._expose(pull, posted, draft)
        self._mark_posted(pull, posted)
        self.state.note(pull.key, "notices", json.dumps(draft.notices))
        self._tell(api, pull, "Reviewed", _summary(posted, draft))
        return Done(result=Result.POSTED, detail=f"{pull.key}: {len(draft.comments)} comments ({posted.how}).")

    def _show_quietly(self, api: Api, pull: Pull, draft: Draft) -> Posted | None:
        """Without a review, which would be a message to everybody at each push; None: it takes one, the first time."""
        shown = show_quietly(
            api, pull, draft, run=self._check_id(pull), known=self.checks.pop(self._check_id(pull), None)
        )
        if shown is None and self.state.rows("SELECT 1 FROM head WHERE pull = ? AND posted IS NOT NULL", pull.key):
            shown = Posted(review=None, comments={}, how="none")
        return shown

    def _expose(self, pull: Pull, posted: Posted, draft: Draft) -> None:
        """What people can really see, by the ids that GitHub gave it."""
        rows = self.state.rows(
            "SELECT id, task, label, rank, marker FROM finding WHERE pull = ? AND head = ? AND is_posted ORDER BY rank",
            pull.key, pull.head_sha,
        )  # fmt: skip
        if posted.how in ("check", "summary", "none"):
            self.store.append(self.incident(pull, "shown_elsewhere", len(rows), {"how": posted.how}))
            return
        body = draft.body_alone if posted.how == "body" else draft.body
        visible = {*posted.comments, *markers(body)}
        with self.state.transaction() as db:
            for row in rows:
                db.execute(
                    "UPDATE finding SET comment = ? WHERE id = ?", (posted.comments.get(row["marker"]), row["id"])
                )
        exposures = [
            Exposure(
                id=f"x-{row['id']}",
                suggestion=row["id"],
                task=row["task"],
                label=ArmLabel(row["label"]),
                surface=Surface.REVIEW_COMMENT,
                rank=row["rank"],
                offered_ns=now_ns(),
                offered_at=utc_text(),
            )
            for row in rows
            if row["marker"] in visible
        ]
        if exposures:
            self.store.append(*exposures)
        if len(exposures) < len(rows):
            self.store.append(self.incident(pull, "did_not_fit", len(rows) - len(exposures), {}))

    def _mark_posted(self, pull: Pull, posted: Posted) -> None:
        with self.state.transaction() as db:
            # The draft holds code; once it stands at GitHub it is not needed here.
            db.execute(
                "UPDATE head SET posted = ?, draft = NULL WHERE pull = ? AND sha = ?",
                (msgspec.json.encode(posted).decode(), pull.key, pull.head_sha),
            )

    def incident(self, pull: Pull, kind: str, count: int, detail: Mapping[str, object]) -> Incident:
        return Incident(
            id=new_id(), session=self.session(pull).id, kind=kind, count=count,
            detail=json.dumps(dict(detail)), happened_ns=now_ns(), happened_at=utc_text(),
        )  # fmt: skip

    def _check_id(self, pull: Pull) -> str:
        return marker_id(self.trial.trial.seed, f"check:{pull.key}@{pull.head_sha}")

    def _tell(self, api: Api, pull: Pull, title: str, summary: str, *, is_finished: bool = True) -> None:
        """Show the state where a person looks. Without the permission for it, the log must do."""
        run = self._check_id(pull)
        known = self.checks.pop(run, None)
        try:
            check = report_state(
                api, pull, run=run, title=title, summary=summary, conclusion="neutral" if is_finished else None,
                known=known,
            )  # fmt: skip
            if not is_finished:
                self.checks[run] = check
        except GitHubError as fault:
            logger.info("%s: %s (%s)", pull.key, title, fault)


def _posted_at(row: sqlite3.Row) -> PostedAt | None:
    if not row["is_posted"]:
        return None
    is_new = row["side"] == Side.RIGHT  # A line of the old file has no place in a later head.
    return PostedAt(
        row["head"], row["path"], row["start_line"] if is_new else None, row["end_line"] if is_new else None
    )


def _has_both(repository: Repository, pull: Pull) -> bool:
    return repository.has_commit(pull.head_sha) and repository.has_commit(pull.base_sha)


def _has_answered(status: AttemptStatus) -> bool:
    return status in (AttemptStatus.OK, AttemptStatus.EMPTY)


def _summary(posted: Posted, draft: Draft) -> str:
    how = {"body": " GitHub refused their lines, so they stand in the review's text."}.get(posted.how, "")
    return f"{len(draft.comments)} comments on lines.{how}"


def open_bot(config: Config, *, database: Path, origin: Origin = Origin.PERSON) -> Bot:
    """The bot as the configuration has it.

    Raises:
        ConfigError: an arm cannot review.
        StoreError: the store cannot be opened.
    """
    own = settings(config)
    arms = review_arms(config, own)
    trial = freeze_reviews(config, own, arms)
    return Bot(
        config=config,
        settings=own,
        trial=trial,
        arms=arms,
        guard=Guard(config, trial, own),
        store=Store(database),
        state=State(data_dir() / "pull-requests.db"),
        mirrors=cache_dir() / "pull-requests",
        origin=origin,
    )
