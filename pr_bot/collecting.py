"""What became of each finding, posted or held back, until some days after the merge.

GitHub sends no event for reactions, so everything is polled; webhooks only make it fresher. The same eyes look at
findings that were posted and at those that were held back: how often lines change that nobody commented on is the
baseline, and only what is above it counts as acted on. Each signal is written down when it is first seen, and when it
is taken back; a final outcome follows when the window closes, and an open pull request has none yet.
"""

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from codetrial.clock import now_utc
from codetrial.records import OutcomeClass
from pr_bot.fates import follow
from pr_bot.git import GitError
from pr_bot.github import Api, GitHubError, Missing, Pull, RateLimited, pull_of
from pr_bot.outside import note_outside, outside_incidents
from pr_bot.pulls import Bot
from pr_bot.reception import reception
from pr_bot.signals import Signal, hand_over, keep, outcome_of
from pr_bot.threads import threads

__all__ = ["Collected", "collect"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Collected:
    """What one collection did."""

    pulls: int = 0
    unchanged: int = 0
    signals: int = 0
    finished: int = 0
    calls: int = 0
    """Requests that count against GitHub's hourly limit."""
    failed: int = 0


def collect(
    bot: Bot, api: Api, repository: str | None = None, *, number: int | None = None, now: datetime | None = None
) -> Collected:
    """Look at every pull request whose window is open: of all repositories, of one, or one alone."""
    moment = now or now_utc()
    total = Collected()
    calls_before = api.calls
    hand_over(bot.state, bot.store)
    rows = bot.state.rows(
        "SELECT * FROM pull WHERE NOT is_finished AND (? IS NULL OR repository = ?) ORDER BY key",
        repository,
        repository,
    )
    for row in rows:
        total.pulls += 1
        try:
            _collect_one(bot, api, row, moment, total)
        except Missing as fault:
            # Gone for good: what was seen until now is all there will ever be.
            logger.warning("%s", fault)
            _write(bot, _finals(bot, row["key"], {}, "gone"), total)
            _finish(bot, row["key"], total)
        except RateLimited:
            raise  # Asking on would only make the pause longer; what was seen so far is kept.
        except (GitHubError, GitError) as fault:
            logger.warning("%s: %s", row["key"], fault)
            total.failed += 1
    total.calls = api.calls - calls_before
    return total


def _collect_one(bot: Bot, api: Api, row: sqlite3.Row, moment: datetime, total: Collected) -> None:
    pull, is_changed = _read_pull(bot, api, row)
    findings = bot.state.rows("SELECT * FROM finding WHERE pull = ? ORDER BY id", pull.key)
    total.unchanged += not is_changed
    found = threads(api, pull) if findings or is_changed else None
    if found is not None:
        _write(bot, reception(bot, api, pull, findings, found), total)
        note_outside(bot, pull, findings, found.found)
    is_over = _is_over(pull, moment, bot.settings.window_days)
    fates: dict[str, str] = {}
    if findings and (is_changed or is_over or _head_is_new(bot, pull)):
        for finding, followed in follow(bot, api, pull, findings, is_over=is_over):
            _write(bot, followed.signals, total)
            fates[finding] = followed.fate
        bot.state.note(pull.key, "head", pull.head_sha)
    if is_over:
        _write(bot, _finals(bot, pull.key, fates, "merged" if pull.merged_at else "closed"), total)
        bot.store.append(*outside_incidents(bot, api, pull))
        _finish(bot, pull.key, total)


def _read_pull(bot: Bot, api: Api, row: sqlite3.Row) -> tuple[Pull, bool]:
    path = f"/repos/{row['repository']}/pulls/{row['number']}"
    cached = bot.state.cached(path)
    fetched = api.conditional(path, cached[0] if cached else None)
    raw = fetched.data if fetched.is_changed else (cached[1] if cached else {})
    if fetched.is_changed and fetched.etag:
        kept = {name: raw.get(name) for name in _KEPT}
        bot.state.cache(path, fetched.etag, kept)
    return pull_of(row["repository"], raw), fetched.is_changed


_KEPT = ("number", "title", "body", "user", "state", "draft", "head", "base", "merged_at", "closed_at", "updated_at",
         "merge_commit_sha")  # fmt: skip


def _head_is_new(bot: Bot, pull: Pull) -> bool:
    return bot.state.seen(pull.key, "head") != pull.head_sha


def _is_over(pull: Pull, moment: datetime, window_days: float) -> bool:
    ended = pull.merged_at or pull.closed_at
    return ended is not None and moment >= datetime.fromisoformat(ended) + timedelta(days=window_days)


def _finish(bot: Bot, key: str, total: Collected) -> None:
    with bot.state.transaction() as db:
        db.execute("UPDATE pull SET is_finished = 1 WHERE key = ?", (key,))
    total.finished += 1


def _write(bot: Bot, signals: Iterable[Signal], total: Collected) -> None:
    total.signals += keep(bot.state, signals)
    hand_over(bot.state, bot.store)


_FINAL = {
    "committed": OutcomeClass.COMMITTED,
    "changed": OutcomeClass.CHANGED,
    "changed_after_merge": OutcomeClass.CHANGED,
    "untouched": OutcomeClass.NOT_TAKEN,
    "reformatted": OutcomeClass.NOT_TAKEN,
}


def _finals(bot: Bot, key: str, fates: Mapping[str, str], how: str) -> Iterator[Signal]:
    """One final outcome per finding, of held-back ones too; what could not be observed is unknown, which is not no."""
    for row in bot.state.rows("SELECT * FROM finding WHERE pull = ? ORDER BY id", key):
        if bot.state.seen(row["id"], "final"):
            continue
        fate = fates.get(row["id"], "unknown")
        outcome = _FINAL.get(fate, OutcomeClass.UNKNOWN)
        if outcome is OutcomeClass.NOT_TAKEN:
            if row["is_posted"] and (bot.state.seen(row["id"], "minimised") or bot.state.seen(row["id"], "deleted")):
                outcome = OutcomeClass.DISMISSED
            elif how != "merged":
                outcome = OutcomeClass.UNKNOWN  # Given up as a whole: nobody decided about this finding.
        detail = {
            "ended": how,
            "fate": fate,
            "is_posted": bool(row["is_posted"]),
            "is_inline": row["comment"] is not None,
            "near_posted": bool(row["near_posted"]),
            "stratum": row["stratum"],
            "assignment": row["assignment"],
        }
        final = outcome_of(row, outcome, f"final_{how}_{fate}", json.dumps(detail, sort_keys=True))
        yield Signal(row["id"], {"final": outcome}, (final,))
