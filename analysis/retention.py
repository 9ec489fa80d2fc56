"""What of a taken suggestion is in the commits that followed, and what of a continuation.

The editor's anchors end with the session; what is committed later can only be looked for. A text is found whole, or as
the stretch of whole lines that is nearest to it; texts too short to be told from chance are not measurable, which is
not "gone". Every figure is measured against a file as some commit has it, so that it can be computed again.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from analysis.scores import MOSTLY_KEPT, SCORER_VERSION, Kept, kept_share, kept_state, retained
from analysis.store import Store, text_record
from analysis.syntax import language_of, tokens
from codetrial.clock import utc_text
from codetrial.errors import EvidenceError
from codetrial.pseudonyms import pseudonym_of_document
from codetrial.records import ArmLabel, Continuation, ContinuationState, Record, Score

if TYPE_CHECKING:
    from git import Commit, Repo

__all__ = ["LATER_COMMITS", "Followed", "Found", "Standing", "measure", "most_alike", "standing"]

LATER_COMMITS = (0, 1, 5, 20)
"""Looked at: the first commit of the file after the suggestion was taken, and so many of its commits later."""

SHORTEST_TOKENS = 4
"""A text of fewer tokens occurs in any file of some length."""

EXACT_CELLS = 40_000_000
"""Characters of text times characters of file that are searched exactly: a quarter of a second."""

SHORTEST_MOVED_LINE = 12
"""A text is looked for in other files by its longest line, if that has so many characters."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a text stands in a file."""

    state: Kept
    share: float
    """Of its characters, in whole tokens, that are still there."""
    char_distance: int
    token_distance: int
    text: str
    """The stretch of the file that was compared."""


def standing(text: str, content: str, language: str) -> Standing | None:
    """How `text` stands in a file's content; None if it is too short to be looked for."""
    wanted = tokens(text, language)
    if len(wanted) < SHORTEST_TOKENS:
        return None
    found = text if text in content else most_alike(text, content)
    share = kept_share(text, found, language)
    if share is None:
        return None
    if share < MOSTLY_KEPT:
        found, share = "", 0.0
    return Standing(
        kept_state(share),
        share,
        Levenshtein.distance(text, found),
        Levenshtein.distance(wanted, tokens(found, language)),
        found,
    )


def most_alike(text: str, content: str) -> str:
    """The stretch of whole lines with the least edit distance to a text.

    Sellers' dynamic programme (1980), a row for each character of the text over the whole content: it begins for free
    at any line's start and ends at any line's end. Each cell carries where its alignment began.
    """
    import numpy as np  # The evaluator needs this module's names only, and should start quickly.

    if len(text) * len(content) > EXACT_CELLS:
        content = _around_best_match(text, content)
    characters = np.frombuffer(content.encode("utf-32-le", "replace"), dtype=np.uint32)
    breaks = np.nonzero(characters == ord("\n"))[0]
    size = len(characters) + 1
    # Cost and beginning in one number, so that one minimum keeps both.
    step = np.arange(size, dtype=np.int64) * size
    row = np.full(size, np.iinfo(np.int64).max // 2, dtype=np.int64)
    starts = np.concatenate(([0], breaks + 1))
    row[starts] = starts
    row = np.minimum.accumulate(row - step) + step
    for character in text.encode("utf-32-le", "replace").decode("utf-32-le"):
        following = row + size
        np.minimum(following[1:], row[:-1] + size * (characters != ord(character)), out=following[1:])
        row = np.minimum.accumulate(following - step) + step
    ends = np.append(breaks, size - 1)
    end = ends[np.argmin(row[ends])]
    return content[int(row[end] % size) : int(end)]


def _around_best_match(text: str, content: str) -> str:
    """Whole lines around the best local match, for files in which an exact search would take seconds."""
    match = fuzz.partial_ratio_alignment(text, content)
    if match is None:
        return ""
    reach = EXACT_CELLS // (2 * len(text))
    start = content.rfind("\n", 0, max(0, match.dest_start - reach)) + 1
    end = content.find("\n", min(len(content), match.dest_end + reach))
    return content[start : len(content) if end < 0 else end]


def measure(store: Store, root: Path) -> Iterator[Record]:
    """Scores and continuations at commit, for every suggestion of this repository, as far as they are not stored yet.

    Only texts that were stored can be looked for (`store_text = "full"`). Run it again when there are more commits.

    Raises:
        EvidenceError: `root` is not a git repository.
    """
    import git  # Costs a tenth of a second, and only this command needs it here.

    try:
        repository = git.Repo(root, search_parent_directories=True)
    except git.InvalidGitRepositoryError as fault:
        raise EvidenceError(f"{root} is not in a git repository: retention at commit needs one.") from fault
    with repository:
        if not repository.head.is_valid():
            return
        folder = Path(repository.working_tree_dir or root)
        for trial in store.rows("SELECT id, seed, created_at FROM trial"):
            followed = Followed(repository)
            paths = followed.paths_since(trial["created_at"])
            documents = {pseudonym_of_document(trial["seed"], (folder / path).as_uri()): path for path in paths}
            for row in _taken(store, trial["id"]):
                if (path := documents.get(row["document"])) is not None:
                    yield from _scores(row, path, followed)
            for row in _written(store, trial["id"]):
                if (path := documents.get(row["document"])) is not None:
                    yield from _continuations(row, path, followed)


@dataclass(frozen=True, slots=True)
class Found:
    """How a text stands in a commit."""

    state: ContinuationState
    reason: str | None
    standing: Standing | None
    """None: not looked for, see `reason`."""
    path: str


class Followed:
    """A repository in which texts are looked for, with what was asked of it once."""

    def __init__(self, repository: "Repo") -> None:
        self._repository = repository
        self._commits = lru_cache(maxsize=4_096)(self._read_commits)
        self._content = lru_cache(maxsize=64)(self._read_content)

    def paths_since(self, moment: str) -> set[str]:
        """The files that are there, and those that were and are renamed or deleted by now."""
        there = self._repository.git.ls_files("-z").split("\0")
        since = int(datetime.fromisoformat(moment).timestamp()) - 1
        were = self._repository.git.log(f"--since={since}", "--format=", "--name-only", "-z").split("\0")
        return {str(path).strip("\n") for path in (*there, *were)} - {""}

    def commits_since(self, path: str, since: str) -> Sequence["Commit"]:
        """The commits that changed a file after a moment, oldest first."""
        moment = datetime.fromisoformat(since).astimezone(UTC)
        # Git knows whole seconds: a commit in the same second may hold the text already.
        whole = int(moment.timestamp())
        return [commit for commit in self._commits(path) if commit.committed_date >= whole]

    def find(self, text: str, path: str, commit: "Commit", before: "Commit | None") -> Found:
        """How a text that was put into `path` stands in a commit.

        Args:
            before: The last commit without it. Files that held the same text already do not count as where it went.
        """
        language = language_of(path)
        content = self._content(commit.hexsha, path)
        found = None if content is None else standing(text, content, language)
        if content is not None and found is None:
            return Found(ContinuationState.UNKNOWN, "too_short_to_find", None, path)
        if found is None or found.state == "gone":
            for other in self._holders(text, path, commit, before):
                moved = standing(text, self._content(commit.hexsha, other) or "", language)
                if moved is not None and moved.state == "found":
                    return Found(ContinuationState.MOVED, None, moved, other)
        if found is None:
            return Found(ContinuationState.UNKNOWN, "file_gone", None, path)
        return Found(ContinuationState(found.state), None, found, path)

    def _holders(self, text: str, path: str, commit: "Commit", before: "Commit | None") -> list[str]:
        line = max((line.strip() for line in text.splitlines()), key=len, default="")
        if len(line) < SHORTEST_MOVED_LINE:
            return []
        old = set(self._grep(line, before)) if before is not None else set()
        return [other for other in self._grep(line, commit) if other != path and other not in old]

    def _grep(self, line: str, commit: "Commit") -> list[str]:
        from git import GitCommandError

        try:
            found = self._repository.git.grep("-z", "-l", "-I", "--fixed-strings", "-e", line, commit.hexsha)
        except GitCommandError as fault:
            if fault.status == 1:  # Nothing found.
                return []
            raise
        return [name.partition(":")[2] for name in str(found).split("\0") if name]

    def _read_commits(self, path: str) -> Sequence["Commit"]:
        identifiers = self._repository.git.rev_list("HEAD", "--", path).split()
        return sorted(map(self._repository.commit, identifiers), key=lambda commit: commit.committed_date)

    def _read_content(self, commit: str, path: str) -> str | None:
        try:
            data: bytes = (self._repository.commit(commit).tree / path).data_stream.read()
        except KeyError:
            return None
        return data.decode("utf-8", "replace")


def _taken(store: Store, trial: str) -> list[dict[str, Any]]:
    rows = store.rows(
        "SELECT o.suggestion, o.task, o.label, o.decided_at AS since, x.content, t.document "
        "FROM outcome o JOIN task t ON t.id = o.task JOIN suggestion g ON g.id = o.suggestion "
        "JOIN text x ON x.hash = g.text_hash WHERE t.trial = ? AND o.outcome = 'accepted'",
        [trial],
    )
    stored = _stored(store, "SELECT suggestion AS of, horizon FROM score WHERE horizon LIKE 'commit%'")
    return [row | {"stored": stored.get(row["suggestion"], frozenset())} for row in rows]


def _written(store: Store, trial: str) -> list[dict[str, Any]]:
    """What each task's place said when it was last seen, and when it was first seen."""
    rows = store.rows(
        "SELECT c.task, c.taken_at AS since, x.content, t.document FROM continuation c JOIN task t ON t.id = c.task "
        "JOIN text x ON x.hash = c.text_hash WHERE t.trial = ? AND c.horizon NOT LIKE 'commit%' ORDER BY c.id",
        [trial],
    )
    firsts = {row["task"]: row["content"] for row in reversed(rows)}
    lasts = {row["task"]: row for row in rows}
    stored = _stored(store, "SELECT task AS of, horizon FROM continuation WHERE horizon LIKE 'commit%'")
    return [
        row | {"first": firsts[task], "stored": stored.get(task, frozenset())}
        for task, row in lasts.items()
        if row["content"].strip()
    ]


def _stored(store: Store, query: str) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in store.rows(query):
        found[row["of"]].add(row["horizon"])
    return {of: frozenset(horizons) for of, horizons in found.items()}


def _looks(row: dict[str, Any], path: str, followed: Followed) -> Iterator[tuple[str, "Commit", Found]]:
    """Each horizon that there is a commit for by now and that is not stored yet."""
    if _horizon(LATER_COMMITS[-1]) in row["stored"]:
        return
    commits = followed.commits_since(path, row["since"])
    before = commits[0].parents[0] if commits and commits[0].parents else None
    for later in LATER_COMMITS:
        if later < len(commits) and _horizon(later) not in row["stored"]:
            yield _horizon(later), commits[later], followed.find(row["content"], path, commits[later], before)


def _horizon(later: int) -> str:
    return "commit" if later == 0 else f"commit+{later}"


def _scores(row: dict[str, Any], path: str, followed: Followed) -> Iterator[Record]:
    for horizon, _, found in _looks(row, path, followed):
        stands = found.standing
        values = {
            "kept_share": None if stands is None else stands.share,
            "kept_char_distance": None if stands is None else float(stands.char_distance),
            "kept_token_distance": None if stands is None else float(stands.token_distance),
        }
        for metric, value in values.items():
            # The id is made from what was measured, so that measuring twice adds nothing.
            yield Score(
                id=f"r-{row['suggestion']}-{horizon}-{metric}",
                suggestion=row["suggestion"],
                task=row["task"],
                label=ArmLabel(row["label"]),
                horizon=horizon,
                metric=metric,
                value=value,
                reason=found.reason or found.state.value,
                scorer_version=SCORER_VERSION,
            )


def _continuations(row: dict[str, Any], path: str, followed: Followed) -> Iterator[Record]:
    for horizon, commit, found in _looks(row, path, followed):
        stands = found.standing
        text = None if stands is None or stands.state == "gone" else text_record(stands.text)
        if text is not None:
            yield text
        left = None if stands is None else retained(row["first"], stands.text, language_of(path))
        yield Continuation(
            id=f"r-{row['task']}-{horizon}",
            task=row["task"],
            horizon=horizon,
            state=found.state,
            reason=found.reason,
            text_hash=None if text is None else text.hash,
            chars=None if text is None else len(text.content),
            taken_ns=0,
            taken_at=utc_text(commit.committed_datetime),
            kept_share=None if left is None else left.share,
            char_distance=None if left is None else left.char_distance,
            token_distance=None if left is None else left.token_distance,
        )
