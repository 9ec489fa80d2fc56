"""What became of each finding, posted or held back, until some days after the merge.

GitHub sends no event for reactions, so everything is polled; webhooks only make it fresher. The same eyes look at
findings that were posted and at those that were held back: how often lines change that nobody commented on is the
baseline, and only what is above it counts as acted on. Each signal is written down when it is first seen, and when it
is taken back; a final outcome follows when the window closes, and an open pull request has none yet.
"""

import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from analysis.syntax import enclosing_function, language_of
from codetrial.clock import now_ns, now_utc, utc_text
from codetrial.ids import new_id
from codetrial.pseudonyms import hashed, pseudonym_of_author
from codetrial.records import ArmLabel, Outcome, OutcomeClass, Record
from pr_bot.git import GitError, Repository
from pr_bot.github import Api, GitHubError, Missing, Pull, RateLimited, pull_of
from pr_bot.lines import Fate, Tracked, line_hashes, track
from pr_bot.pulls import Bot
from pr_bot.render import last_marker
from pr_bot.source import Source

__all__ = ["Collected", "collect", "reply_kind"]

logger = logging.getLogger(__name__)

MAX_COMMITS = 50
"""Commits of one pull request that are searched for a suggestion; later ones are seen through the head."""

SWEEP = 3
"""Threads resolved by one person between two looks, with none left open: a clearing out, not an answer to each."""

THREADS_QUERY = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      reviewThreads(first: 50, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes {
          id isResolved isOutdated path line subjectType
          resolvedBy { login databaseId }
          comments(first: 50) {
            nodes {
              databaseId body isMinimized minimizedReason createdAt
              author { __typename login }
              reactions(first: 50) { nodes { content createdAt user { login databaseId } } }
            }
          }
        }
      }
    }
  }
}
"""

_POSITIVE = frozenset({"+1", "heart", "rocket", "hooray", "laugh"})
_NEGATIVE = frozenset({"-1", "confused"})


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


class Comment(NamedTuple):
    id: int
    author: str
    author_is_bot: bool
    body: str
    minimized: str | None
    """Why it was hidden; None if it was not."""
    reactions: tuple[tuple[str, str], ...]
    """(who, what)."""


class Threads(NamedTuple):
    found: list["Thread"]
    is_complete: bool
    """False: GitHub could not give some of them just now, so a comment that is not there may still exist."""


class Thread(NamedTuple):
    is_resolved: bool
    resolved_by: str | None
    path: str
    line: int | None
    comments: tuple[Comment, ...]
    """The first is the finding, or somebody else's remark."""


def collect(
    bot: Bot, api: Api, repository: str | None = None, *, number: int | None = None, now: datetime | None = None
) -> Collected:
    """Look at every pull request whose window is open: of all repositories, of one, or one alone."""
    moment = now or now_utc()
    total = Collected()
    calls_before = api.calls
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
    threads = _threads(api, pull) if findings or is_changed else None
    if threads is not None:
        _write(bot, _thread_signals(bot, api, pull, findings, threads), total)
        _note_outside(bot, pull, findings, threads.found)
    is_over = _is_over(pull, moment, bot.settings.window_days)
    fates: dict[str, str] = {}
    if findings and (is_changed or is_over or _head_is_new(bot, pull)):
        fates = _line_signals(bot, api, pull, findings, total, is_over=is_over)
        bot.state.note(pull.key, "head", pull.head_sha)
    if is_over:
        _write(bot, _finals(bot, pull.key, fates, "merged" if pull.merged_at else "closed"), total)
        _write(bot, _outside_incidents(bot, api, pull), total)
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


def _write(bot: Bot, rows: Iterable[Record], total: Collected) -> None:
    found = list(rows)
    if found:
        bot.store.append(*found)
        total.signals += len(found)


# --- threads: reactions, answers, resolution ---------------------------------------------------------------------


def _threads(api: Api, pull: Pull) -> Threads:
    owner, _, name = pull.repository.partition("/")
    found: list[Thread] = []
    is_complete = True
    after: str | None = None
    while True:
        data = api.graphql(THREADS_QUERY, {"owner": owner, "name": name, "number": pull.number, "after": after})
        page = ((data.get("repository") or {}).get("pullRequest") or {}).get("reviewThreads")
        if page is None:
            return Threads(found, False)
        # A thread that failed is null in an answer that is otherwise good.
        is_complete &= all(node is not None and (node.get("comments") or {}).get("nodes") for node in page["nodes"])
        found.extend(_thread(node) for node in page["nodes"] if node is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return Threads(found, is_complete)
        after = page["pageInfo"]["endCursor"]


def _thread(node: Mapping[str, Any]) -> Thread:
    comments = (node.get("comments") or {}).get("nodes") or []
    resolver = node.get("resolvedBy")
    return Thread(
        is_resolved=bool(node.get("isResolved")),
        resolved_by=None if resolver is None else str(resolver["login"]),
        path=node.get("path") or "",
        line=node.get("line"),
        comments=tuple(_comment(comment) for comment in comments if comment is not None),
    )


def _comment(node: Mapping[str, Any]) -> Comment:
    author = node.get("author") or {}
    reactions = ((node.get("reactions") or {}).get("nodes")) or []
    return Comment(
        id=int(node["databaseId"]),
        author=author.get("login") or "ghost",
        author_is_bot=author.get("__typename") == "Bot",
        body=node.get("body") or "",
        minimized=(node.get("minimizedReason") or "hidden") if node.get("isMinimized") else None,
        reactions=tuple(
            ((reaction.get("user") or {}).get("login") or "ghost", reaction["content"])
            for reaction in reactions
            if reaction is not None
        ),
    )


def _thread_signals(bot: Bot, api: Api, pull: Pull, findings: list[sqlite3.Row], threads: Threads) -> Iterator[Outcome]:
    by_comment = {row["comment"]: row for row in findings if row["comment"] is not None}
    own_ids = set(by_comment)
    sweepers = _sweepers(threads.found)
    present = {comment.id for thread in threads.found for comment in thread.comments}
    for thread in threads.found:
        if not thread.comments or thread.comments[0].id not in by_comment:
            continue
        row = by_comment[thread.comments[0].id]
        yield from _reaction_signals(bot, api, pull, row, thread.comments[0])
        yield from _resolve_signals(bot, row, thread, sweepers)
        yield from _reply_signals(bot, row, thread.comments[1:])
        hidden = thread.comments[0].minimized
        yield from _changed(bot, row, "minimised", hidden, OutcomeClass.DISMISSED, hidden)
    if threads.is_complete:
        for comment in own_ids - present:
            yield from _changed(
                bot, by_comment[comment], "deleted", "deleted", OutcomeClass.DISMISSED, "comment deleted"
            )


def _sweepers(threads: list[Thread]) -> frozenset[str]:
    """Who resolved everything there was: repositories that require it for merging make people do so."""
    resolved = Counter(thread.resolved_by for thread in threads if thread.is_resolved)
    if any(not thread.is_resolved for thread in threads):
        return frozenset()
    return frozenset(name for name, count in resolved.items() if name is not None and count >= SWEEP)


def _reaction_signals(bot: Bot, api: Api, pull: Pull, row: sqlite3.Row, comment: Comment) -> Iterator[Outcome]:
    """Each reaction of a person once, and its withdrawal; the bot's own and the other bots' are not evidence."""
    rollup = json.dumps(sorted(comment.reactions))
    if (bot.state.seen(row["id"], "rollup") or "[]") == rollup:
        return
    # GraphQL does not say whether who reacted is a person; this does, and is asked only when something changed.
    listed = api.reactions(pull, comment.id)
    now = {f"{hashed(bot.trial.trial.seed, who)[:12]}:{what}" for who, is_bot, what in listed if not is_bot}
    before = set(json.loads(bot.state.seen(row["id"], "reactions") or "[]"))
    bot.state.note(row["id"], "rollup", rollup)
    bot.state.note(row["id"], "reactions", json.dumps(sorted(now)))
    for entry in sorted(now - before):
        what = entry.partition(":")[2]
        kind = "positive" if what in _POSITIVE else "negative" if what in _NEGATIVE else "neutral"
        yield _outcome(row, OutcomeClass.REACTED, f"reaction_{kind}", what)
    for entry in sorted(before - now):
        yield _outcome(row, OutcomeClass.REACTED, "reaction_withdrawn", entry.partition(":")[2])


def _resolve_signals(bot: Bot, row: sqlite3.Row, thread: Thread, sweepers: frozenset[str]) -> Iterator[Outcome]:
    """Resolution counts only with who did it; GitHub keeps no time for it, so ours is when it was seen."""
    value = None
    if thread.is_resolved:
        who = thread.resolved_by
        is_bot = who is None or who.endswith("[bot]") or who in _known_bots(thread)
        value = "bot" if is_bot else "sweep" if who in sweepers else "person"
    yield from _changed(bot, row, "resolved", value, OutcomeClass.RESOLVED, value)


def _known_bots(thread: Thread) -> set[str]:
    """GraphQL tells a resolver's login without its kind; the authors beside it have one."""
    return {comment.author for comment in thread.comments if comment.author_is_bot}


def _reply_signals(bot: Bot, row: sqlite3.Row, replies: Iterable[Comment]) -> Iterator[Outcome]:
    for reply in replies:
        if reply.author_is_bot or bot.state.seen(row["id"], f"reply:{reply.id}"):
            continue
        kind = reply_kind(reply.body)
        bot.state.note(row["id"], f"reply:{reply.id}", kind)
        yield _outcome(row, OutcomeClass.REPLIED, f"reply_{kind}", None)


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


def _changed(
    bot: Bot, row: sqlite3.Row, signal: str, value: str | None, outcome: OutcomeClass, detail: str | None
) -> Iterator[Outcome]:
    """An outcome where a signal is new or has been taken back since the last look."""
    before = bot.state.seen(row["id"], signal) or None
    if before == value:
        return
    bot.state.note(row["id"], signal, value or "")
    rule = f"{signal}_undone" if value is None else signal if signal == value else f"{signal}_{value}"
    yield _outcome(row, outcome, rule.lower(), detail)


def _outcome(row: sqlite3.Row, outcome: OutcomeClass, rule: str, detail: str | None) -> Outcome:
    return Outcome(
        id=new_id(),
        suggestion=row["id"],
        task=row["task"],
        label=ArmLabel(row["label"]),
        outcome=outcome,
        rule=rule,
        accepted_chars=None,
        decided_ns=now_ns(),
        decided_at=utc_text(),
        detail=detail,
    )


# --- lines: what the code itself says ------------------------------------------------------------------------------


class _Files:
    """Texts of several commits of one repository, each read once."""

    def __init__(self, repository: Repository, pull: Pull) -> None:
        self._repository = repository
        self._base = _base_before_the_merge(repository, pull)
        self._merge_bases: dict[str, str] = {}
        self._sources: dict[str, Source] = {}
        self._names: dict[tuple[str, str], dict[str, str]] = {}

    def text(self, commit: str, path: str) -> str | None:
        if commit not in self._sources:
            self._sources[commit] = Source(self._repository, commit)
        return self._sources[commit].text(path)

    def merge_base(self, commit: str, reviewed: str) -> str:
        """Where the base's history and a commit's part, before any merge; `reviewed` is the one at the review."""
        if commit not in self._merge_bases:
            self._merge_bases[commit] = self._repository.merge_base(self._base, commit)
        found = self._merge_bases[commit]
        # Merged, and how the base was before is not known here: it holds the commit itself, and tells nothing.
        return reviewed if found == commit else found

    def name_in(self, old: str, new: str, path: str) -> str:
        """What a file of one commit is called in another."""
        if (old, new) not in self._names:
            out = self._repository.data("diff", "--raw", "-z", "--find-renames", "--diff-filter=R", old, new)
            parts = out.decode("utf-8", "replace").split("\0")
            self._names[old, new] = {
                parts[at + 1]: parts[at + 2] for at in range(0, len(parts) - 2, 3) if parts[at].startswith(":")
            }
        return self._names[old, new].get(path, path)


def _line_signals(
    bot: Bot, api: Api, pull: Pull, findings: list[sqlite3.Row], total: Collected, *, is_over: bool
) -> dict[str, str]:
    """What happened to each finding's lines; by finding id, the fate that the final outcome rests on."""
    repository = bot.fetch(api, pull)
    if not repository.has_commit(pull.head_sha):
        raise GitError(f"The head of {pull.key} could not be fetched.")
    needs_base = pull.merge_commit is not None and not repository.has_commit(pull.merge_commit)
    tip = _base_tip(repository, api, pull) if pull.merged_at and (is_over or needs_base) else None
    files = _Files(repository, pull)
    fates: dict[str, str] = {}
    for row in findings:
        if row["start_line"] is None or row["side"] != "RIGHT" or not repository.has_commit(row["head"]):
            fates[row["id"]] = "unknown"
            continue
        signals, fate = _of_one(bot, repository, files, pull, row, tip if is_over else None)
        fates[row["id"]] = fate
        _write(bot, signals, total)
    return fates


def _of_one(
    bot: Bot, repository: Repository, files: _Files, pull: Pull, row: sqlite3.Row, tip: str | None
) -> tuple[list[Outcome], str]:
    signals: list[Outcome] = []
    committed = bot.state.seen(row["id"], "committed") or _committed(repository, files, pull, row)
    signals.extend(_changed(bot, row, "committed", committed, OutcomeClass.COMMITTED, committed))
    fate = _fate(repository, files, pull, row, pull.head_sha)
    changed = fate if fate in (Fate.CHANGED, Fate.REFORMATTED, Fate.FILE_GONE, Fate.BASE_CHANGED) else None
    kind = OutcomeClass.CHANGED if fate is Fate.CHANGED else OutcomeClass.UNKNOWN
    signals.extend(_changed(bot, row, "lines", None if changed is None else changed.value, kind, None))
    function = _function_changed(files, pull, row)
    signals.extend(_changed(bot, row, "function", "changed" if function else None, OutcomeClass.CHANGED, "weak"))
    if committed:
        return signals, "committed"
    if fate is Fate.UNTOUCHED and tip is not None and _changed_after_merge(files, pull, row, tip):
        signals.extend(_changed(bot, row, "after_merge", "changed", OutcomeClass.CHANGED, None))
        return signals, "changed_after_merge"
    return signals, fate.value


def _fate(repository: Repository, files: _Files, pull: Pull, row: sqlite3.Row, commit: str) -> Fate:
    return _track(repository, files, pull, row, commit).fate


def _track(repository: Repository, files: _Files, pull: Pull, row: sqlite3.Row, commit: str) -> Tracked:
    reviewed = files.text(row["head"], row["path"])
    if reviewed is None:
        return track("", None, 1, 1)
    now_path = files.name_in(row["head"], commit, row["path"])
    merge_base = files.merge_base(commit, row["merge_base"])
    old_base = files.text(row["merge_base"], files.name_in(row["head"], row["merge_base"], row["path"]))
    new_base = files.text(merge_base, files.name_in(row["head"], merge_base, row["path"]))
    return track(
        reviewed, files.text(commit, now_path), row["start_line"], row["end_line"], old_base=old_base, new_base=new_base
    )


def _committed(repository: Repository, files: _Files, pull: Pull, row: sqlite3.Row) -> str | None:
    """How a suggestion was taken over: by its text, the only proof, and with what GitHub writes beside it."""
    if row["suggestion"] is None:
        return None
    wanted = json.loads(row["suggestion"])
    before = line_hashes(files.text(row["head"], row["path"]) or "")
    if _holds(_around(before, row["start_line"], row["end_line"], len(wanted)), wanted):
        return None  # It stands there already, beside the flagged lines: finding it later would prove nothing.
    for commit in [*_later_commits(repository, row["head"], pull.head_sha), pull.head_sha]:
        place = _track(repository, files, pull, row, commit)
        if place.start_line is None or place.end_line is None:
            continue
        now = line_hashes(files.text(commit, files.name_in(row["head"], commit, row["path"])) or "")
        if _holds(_around(now, place.start_line, place.end_line, len(wanted)), wanted):
            return "with_trailer" if _is_button(repository, commit) else "content"
    return None


def _around(lines: list[str], start: int, end: int, margin: int) -> list[str]:
    """A region with as many lines beside it as a suggestion has: one may keep the flagged line and add to it."""
    return lines[max(0, start - 1 - margin) : end + margin]


def _later_commits(repository: Repository, reviewed: str, head: str) -> list[str]:
    """The pull request's own commits since the review, oldest first; none after a forced push."""
    if reviewed == head or repository.merge_base(reviewed, head) != reviewed:
        return []
    out = repository.text("rev-list", "--reverse", "--no-merges", "--first-parent", f"{reviewed}..{head}")
    return out.split()[:MAX_COMMITS]


def _holds(region: list[str], wanted: list[str]) -> bool:
    return any(region[at : at + len(wanted)] == wanted for at in range(len(region) - len(wanted) + 1))


def _is_button(repository: Repository, commit: str) -> bool:
    """Whether the commit looks like GitHub's own: its committer, and the reviewer as co-author or the usual subject."""
    committer, _, message = repository.text("log", "-1", "--format=%ce%n%B", commit).partition("\n")
    is_usual = re.match(r"Apply suggestions? from |Update \S+\s*$", message.split("\n")[0]) is not None
    return committer == "noreply@github.com" and ("co-authored-by:" in message.lower() or is_usual)


def _function_changed(files: _Files, pull: Pull, row: sqlite3.Row) -> bool:
    """Whether the function around the finding reads differently now; unknown counts as no signal, not as no change."""
    before = files.text(row["head"], row["path"])
    path = files.name_in(row["head"], pull.head_sha, row["path"])
    now = files.text(pull.head_sha, path)
    if before is None or now is None or before == now:
        return False
    language = language_of(row["path"])
    found = enclosing_function(before, row["end_line"] - 1, language)
    if found is None or found.name is None:
        return False
    old = _squeezed(before.split("\n")[found.start_line : found.end_line + 1])
    head = before.split("\n")[found.start_line].strip()
    places = [at for at, line in enumerate(now.split("\n")) if line.strip() == head]
    if len(places) != 1:
        return False
    again = enclosing_function(now, places[0], language)
    return again is not None and _squeezed(now.split("\n")[again.start_line : again.end_line + 1]) != old


def _squeezed(lines: list[str]) -> str:
    return "".join("".join(lines).split())


def _base_before_the_merge(repository: Repository, pull: Pull) -> str:
    """The base as the author had it: after the merge the branch holds the author's own lines as well."""
    if pull.merge_commit is None or not repository.has_commit(pull.merge_commit):
        return pull.base_sha
    try:
        return repository.commit(f"{pull.merge_commit}^1")
    except GitError:
        return pull.base_sha


def _base_tip(repository: Repository, api: Api, pull: Pull) -> str | None:
    reference = f"refs/remotes/origin/{pull.base_ref}"
    try:
        repository.fetch(pull.clone_url, [f"+refs/heads/{pull.base_ref}:{reference}"])
        return repository.commit(reference)
    except GitError as fault:
        logger.info("%s: %s", pull.key, fault)
        return None


def _changed_after_merge(files: _Files, pull: Pull, row: sqlite3.Row, tip: str) -> bool:
    """Whether the lines were changed on the base branch within the days after the merge."""
    reviewed = files.text(row["head"], row["path"])
    if reviewed is None:
        return False
    now = files.text(tip, files.name_in(row["head"], tip, row["path"]))
    return now is not None and track(reviewed, now, row["start_line"], row["end_line"]).fate is Fate.CHANGED


# --- the end of the window -----------------------------------------------------------------------------------------

_FINAL = {
    "committed": OutcomeClass.COMMITTED,
    "changed": OutcomeClass.CHANGED,
    "changed_after_merge": OutcomeClass.CHANGED,
    "untouched": OutcomeClass.NOT_TAKEN,
    "reformatted": OutcomeClass.NOT_TAKEN,
}


def _finals(bot: Bot, key: str, fates: Mapping[str, str], how: str) -> Iterator[Outcome]:
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
        bot.state.note(row["id"], "final", outcome)
        yield _outcome(row, outcome, f"final_{how}_{fate}", json.dumps(detail, sort_keys=True))


# --- outside arms: everybody else's remarks ------------------------------------------------------------------------


def _note_outside(bot: Bot, pull: Pull, findings: list[sqlite3.Row], threads: list[Thread]) -> None:
    """Remember where other people and other bots commented, so that their remarks get the same look at the end."""
    own = {row["comment"] for row in findings}
    for thread in threads:
        if not thread.comments or thread.comments[0].id in own or thread.line is None:
            continue
        first = thread.comments[0]
        if last_marker(first.body) is not None or bot.state.seen(f"outside:{first.id}", "place"):
            continue
        place = {
            "pull": pull.key, "head": pull.head_sha, "base": pull.base_sha, "path": thread.path, "line": thread.line,
            "is_bot": first.author_is_bot, "author": pseudonym_of_author(bot.trial.trial.seed, first.author),
        }  # fmt: skip
        bot.state.note(f"outside:{first.id}", "place", json.dumps(place))


def _outside_incidents(bot: Bot, api: Api, pull: Pull) -> Iterator[Record]:
    rows = bot.state.rows("SELECT finding, value FROM seen WHERE finding LIKE 'outside:%' AND signal = 'place'")
    places = [place for row in rows if (place := json.loads(row["value"]))["pull"] == pull.key]
    if not places:
        return
    repository = bot.fetch(api, pull)
    files = _Files(repository, pull)
    for place in places:
        reviewed = files.text(place["head"], place["path"])
        now = files.text(pull.head_sha, files.name_in(place["head"], pull.head_sha, place["path"]))
        fate = "unknown" if reviewed is None else track(reviewed, now, place["line"], place["line"]).fate.value
        detail = {"author": place["author"], "is_bot": place["is_bot"], "fate": fate}
        yield bot.incident(pull, "outside_finding", 1, detail)
