"""What the code itself says of a finding: committed, changed, moved, or still as it was, whatever people said to it."""

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from analysis.syntax import enclosing_function, language_of
from codetrial.records import OutcomeClass
from pr_bot.git import GitError, Repository
from pr_bot.github import Api, Pull
from pr_bot.lines import Fate, Tracked, line_hashes, track
from pr_bot.pulls import Bot
from pr_bot.signals import Signal, changed
from pr_bot.source import Source

__all__ = ["Files", "Followed", "follow"]

logger = logging.getLogger(__name__)

MAX_COMMITS = 50
"""Commits of one pull request that are searched for a suggestion; later ones are seen through the head."""


class Files:
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


class Followed(NamedTuple):
    signals: list[Signal]
    fate: str
    """What the final outcome rests on."""


def follow(
    bot: Bot, api: Api, pull: Pull, findings: list[sqlite3.Row], *, is_over: bool
) -> Iterator[tuple[str, Followed]]:
    """By finding id, what happened to each finding's lines."""
    repository = bot.fetch(api, pull)
    if not repository.has_commit(pull.head_sha):
        raise GitError(f"The head of {pull.key} could not be fetched.")
    needs_base = pull.merge_commit is not None and not repository.has_commit(pull.merge_commit)
    tip = _base_tip(repository, api, pull) if pull.merged_at and (is_over or needs_base) else None
    files = Files(repository, pull)
    for row in findings:
        is_lost = row["start_line"] is None or row["side"] != "RIGHT" or not repository.has_commit(row["head"])
        if is_lost:
            yield row["id"], Followed([], "unknown")
        else:
            yield row["id"], _of_one(bot, repository, files, pull, row, tip if is_over else None)


def _of_one(bot: Bot, repository: Repository, files: Files, pull: Pull, row: sqlite3.Row, tip: str | None) -> Followed:
    signals: list[Signal] = []
    committed = bot.state.seen(row["id"], "committed") or _committed(repository, files, pull, row)
    signals.extend(changed(bot.state, row, "committed", committed, OutcomeClass.COMMITTED, committed))
    fate = _fate(repository, files, pull, row, pull.head_sha)
    seen = fate.value if fate is not Fate.UNTOUCHED else None
    kind = OutcomeClass.CHANGED if fate is Fate.CHANGED else OutcomeClass.UNKNOWN
    signals.extend(changed(bot.state, row, "lines", seen, kind, None))
    function = _function_changed(files, pull, row)
    signals.extend(changed(bot.state, row, "function", "changed" if function else None, OutcomeClass.CHANGED, "weak"))
    if committed:
        return Followed(signals, "committed")
    if fate is Fate.UNTOUCHED and tip is not None and _changed_after_merge(files, pull, row, tip):
        signals.extend(changed(bot.state, row, "after_merge", "changed", OutcomeClass.CHANGED, None))
        return Followed(signals, "changed_after_merge")
    return Followed(signals, fate.value)


def _fate(repository: Repository, files: Files, pull: Pull, row: sqlite3.Row, commit: str) -> Fate:
    return _track(repository, files, pull, row, commit).fate


def _track(repository: Repository, files: Files, pull: Pull, row: sqlite3.Row, commit: str) -> Tracked:
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


def _committed(repository: Repository, files: Files, pull: Pull, row: sqlite3.Row) -> str | None:
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


def _function_changed(files: Files, pull: Pull, row: sqlite3.Row) -> bool:
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


def _changed_after_merge(files: Files, pull: Pull, row: sqlite3.Row, tip: str) -> bool:
    """Whether the lines were changed on the base branch within the days after the merge."""
    reviewed = files.text(row["head"], row["path"])
    if reviewed is None:
        return False
    now = files.text(tip, files.name_in(row["head"], tip, row["path"]))
    return now is not None and track(reviewed, now, row["start_line"], row["end_line"]).fate is Fate.CHANGED
