"""What people say to posted findings: reactions, answers, resolution, hiding. With its history; never an acceptance."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator

from codetrial.pseudonyms import hashed
from codetrial.records import OutcomeClass
from pr_bot.github import Api, Pull
from pr_bot.pulls import Bot
from pr_bot.signals import Signal, changed, outcome_of
from pr_bot.threads import Comment, Opening, Thread, Threads

__all__ = ["reception", "reply_kind"]

SWEEP = 3
"""Threads resolved by one person between two looks, with none left open: a clearing out, not an answer to each."""

_POSITIVE = frozenset({"+1", "heart", "rocket", "hooray", "laugh"})
_NEGATIVE = frozenset({"-1", "confused"})


def reception(bot: Bot, api: Api, pull: Pull, findings: list[sqlite3.Row], threads: Threads) -> Iterator[Signal]:
    """What people said to the findings since the last look, and what they took back."""
    by_comment = {row["comment"]: row for row in findings if row["comment"] is not None}
    sweepers = _sweepers(threads.found)
    for thread in threads.found:
        if (row := by_comment.get(thread.id)) is None:
            continue
        yield from _reaction_signals(bot, api, pull, row, thread.opening)
        yield from _resolve_signals(bot, row, thread, sweepers)
        yield from _reply_signals(bot, row, thread.replies)
        hidden = thread.opening.minimized
        yield from changed(bot.state, row, "minimised", hidden, OutcomeClass.DISMISSED, hidden)
    if threads.is_complete:
        for comment in set(by_comment) - {thread.id for thread in threads.found}:
            row = by_comment[comment]
            yield from changed(bot.state, row, "deleted", "deleted", OutcomeClass.DISMISSED, "comment deleted")


def _sweepers(threads: list[Thread]) -> frozenset[str]:
    """Who resolved everything there was: repositories that require it for merging make people do so."""
    resolved = Counter(thread.resolved_by for thread in threads if thread.is_resolved)
    if any(not thread.is_resolved for thread in threads):
        return frozenset()
    return frozenset(name for name, count in resolved.items() if name is not None and count >= SWEEP)


def _reaction_signals(bot: Bot, api: Api, pull: Pull, row: sqlite3.Row, opening: Opening) -> Iterator[Signal]:
    """Each reaction of a person once, and its withdrawal; the bot's own and the other bots' are not evidence."""
    rollup = json.dumps(sorted(opening.reactions))
    if (bot.state.seen(row["id"], "rollup") or "[]") == rollup:
        return
    # GraphQL does not say whether who reacted is a person; this does, and is asked only when something changed.
    listed = api.reactions(pull, opening.comment.id)
    now = {f"{hashed(bot.trial.trial.seed, who)[:12]}:{what}" for who, is_bot, what in listed if not is_bot}
    before = set(json.loads(bot.state.seen(row["id"], "reactions") or "[]"))
    new = [(_kind(what), what) for entry in sorted(now - before) if (what := entry.partition(":")[2])]
    gone = [("withdrawn", entry.partition(":")[2]) for entry in sorted(before - now)]
    yield Signal(
        row["id"],
        {"rollup": rollup, "reactions": json.dumps(sorted(now))},
        tuple(outcome_of(row, OutcomeClass.REACTED, f"reaction_{kind}", what) for kind, what in [*new, *gone]),
    )


def _kind(reaction: str) -> str:
    return "positive" if reaction in _POSITIVE else "negative" if reaction in _NEGATIVE else "neutral"


def _resolve_signals(bot: Bot, row: sqlite3.Row, thread: Thread, sweepers: frozenset[str]) -> Iterator[Signal]:
    """Resolution counts only with who did it; GitHub keeps no time for it, so ours is when it was seen."""
    value = None
    if thread.is_resolved:
        who = thread.resolved_by
        is_bot = who is None or who.endswith("[bot]") or who in _known_bots(thread)
        value = "bot" if is_bot else "sweep" if who in sweepers else "person"
    yield from changed(bot.state, row, "resolved", value, OutcomeClass.RESOLVED, value)


def _known_bots(thread: Thread) -> set[str]:
    """GraphQL tells a resolver's login without its kind; the authors beside it have one."""
    return {comment.author for comment in (thread.opening.comment, *thread.replies) if comment.author_is_bot}


def _reply_signals(bot: Bot, row: sqlite3.Row, replies: Iterable[Comment]) -> Iterator[Signal]:
    for reply in replies:
        if reply.author_is_bot or bot.state.seen(row["id"], f"reply:{reply.id}"):
            continue
        kind = reply_kind(reply.body)
        said = outcome_of(row, OutcomeClass.REPLIED, f"reply_{kind}", None)
        yield Signal(row["id"], {f"reply:{reply.id}": kind}, (said,))


_AGREES = re.compile(
    r"\b(good (catch|point|find)|nice catch|thanks?|thank you|fixed|done|agreed?|you'?re right|will (fix|do)|"
    r"makes sense|great catch|applied|addressed|true)\b",
    re.IGNORECASE,
)
_REFUTES = re.compile(
    r"\b(false positive|not (true|right|correct|an? (issue|problem|bug)|needed|relevant)|wrong|incorrect|disagree|"
    r"intentional|on purpose|by design|won'?t fix|wontfix|no,|nope|irrelevant|hallucinat\w+|doesn'?t apply)\b",
    re.IGNORECASE,
)


def reply_kind(text: str) -> str:
    """`agree`, `refute`, `ask` or `other`; a refusal wins, for polite ones begin with thanks."""
    own = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">"))
    if _REFUTES.search(own):
        return "refute"
    if _AGREES.search(own):
        return "agree"
    return "ask" if "?" in own else "other"
