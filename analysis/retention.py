"""What of a taken suggestion is in the commits that followed, and what of a continuation.

The editor's anchors end with the session; what is committed later can only be looked for. A text is found whole, or as
the stretch of the file that is most like it; texts too short to be told from chance are not measurable, which is not
"gone". Every figure is measured against a file as some commit has it, so that it can be computed again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from analysis.scores import MOSTLY_KEPT, SCORER_VERSION, Kept, kept_share, kept_state
from analysis.store import Store, text_record
from analysis.syntax import language_of, tokens
from codetrial.clock import utc_text
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Continuation, ContinuationState, Record, Score

if TYPE_CHECKING:
    from git import Commit, Repo

__all__ = ["LATER_COMMITS", "Standing", "document_of", "measure", "standing"]

LATER_COMMITS = (0, 1, 5, 20)
"""Looked at: the first commit of the file after the suggestion was taken, and so many of its commits later."""

SHORTEST_TOKENS = 4
"""A text of fewer tokens occurs in any file of some length."""


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
    found = text if text in content else _most_alike(text, content)
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


def _most_alike(text: str, content: str) -> str:
    """The stretch of whole lines that holds the best local match."""
    match = fuzz.partial_ratio_alignment(text, content)
    if match is None or match.dest_end <= match.dest_start:
        return ""
    start = content.rfind("\n", 0, match.dest_start) + 1
    end = content.find("\n", match.dest_end)
    return content[start : len(content) if end < 0 else end]


def document_of(seed: str, uri: str, digits: int = 32) -> str:
    """A document's pseudonym in a trial, as the editor's door makes it."""
    return hashlib.sha256(f"{seed}/{uri}".encode("utf-8", "replace")).hexdigest()[:digits]


def measure(store: Store, root: Path) -> Iterator[Record]:
    """Scores and continuations at commit, for every suggestion of this repository that is not measured yet.

    Only texts that were stored can be looked for (`store_text = "full"`).

    Raises:
        EvidenceError: `root` is not a git repository.
    """
    import git  # Costs a tenth of a second, and only this command needs it here.

    try:
        repository = git.Repo(root, search_parent_directories=True)
    except git.InvalidGitRepositoryError as fault:
        raise EvidenceError(f"{root} is not in a git repository: retention at commit needs one.") from fault
    with repository:
        folder = Path(repository.working_tree_dir or root)
        paths = [str(path) for path in repository.git.ls_files("-z").split("\0") if path]
        for trial in store.rows("SELECT id, seed FROM trial"):
            documents = {document_of(trial["seed"], (folder / path).as_uri()): path for path in paths}
            for row in _taken(store, trial["id"]):
                if (path := documents.get(row["document"])) is not None:
                    yield from _scores(row, path, repository)
            for row in _written(store, trial["id"]):
                if (path := documents.get(row["document"])) is not None:
                    yield from _continuation(row, path, repository)


def _taken(store: Store, trial: str) -> list[dict[str, Any]]:
    return store.rows(
        "SELECT o.suggestion, o.task, o.label, o.decided_at AS since, x.content, t.document "
        "FROM outcome o JOIN task t ON t.id = o.task JOIN suggestion g ON g.id = o.suggestion "
        "JOIN text x ON x.hash = g.text_hash "
        "WHERE t.trial = ? AND o.outcome = 'accepted' AND NOT EXISTS (SELECT 1 FROM score s "
        " WHERE s.suggestion = o.suggestion AND s.horizon = 'commit')",
        [trial],
    )


def _written(store: Store, trial: str) -> list[dict[str, Any]]:
    """The last continuation of each task: what its place said when it was last seen."""
    return store.rows(
        "SELECT c.task, c.taken_at AS since, x.content, t.document FROM continuation c JOIN task t ON t.id = c.task "
        "JOIN text x ON x.hash = c.text_hash WHERE t.trial = ? AND c.id = (SELECT max(d.id) FROM continuation d "
        " WHERE d.task = c.task AND d.text_hash IS NOT NULL) "
        "AND NOT EXISTS (SELECT 1 FROM continuation d WHERE d.task = c.task AND d.horizon = 'commit')",
        [trial],
    )


def _scores(row: dict[str, Any], path: str, repository: "Repo") -> Iterator[Record]:
    commits = _commits_since(repository, path, row["since"])
    for later in LATER_COMMITS:
        if later >= len(commits):
            return
        content = _content(commits[later], path)
        found = None if content is None else standing(row["content"], content, language_of(path))
        horizon = "commit" if later == 0 else f"commit+{later}"
        reason = "file_gone" if content is None else "too_short_to_find"
        share = None if found is None else found.share
        values = {
            "kept_share": share,
            "kept_char_distance": None if found is None else float(found.char_distance),
            "kept_token_distance": None if found is None else float(found.token_distance),
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
                reason=None if value is not None else reason,
                scorer_version=SCORER_VERSION,
            )


def _continuation(row: dict[str, Any], path: str, repository: "Repo") -> Iterator[Record]:
    commits = _commits_since(repository, path, row["since"])
    if not commits:
        return
    content = _content(commits[0], path)
    found = None if content is None else standing(row["content"], content, language_of(path))
    text = None if found is None or found.state == "gone" else text_record(found.text)
    if text is not None:
        yield text
    yield Continuation(
        id=f"r-{row['task']}-commit",
        task=row["task"],
        horizon="commit",
        state=ContinuationState.UNKNOWN if found is None else ContinuationState(found.state),
        reason=("file_gone" if content is None else "too_short_to_find") if found is None else None,
        text_hash=None if text is None else text.hash,
        chars=None if text is None else len(text.content),
        taken_ns=0,
        taken_at=utc_text(commits[0].committed_datetime),
    )


def _commits_since(repository: "Repo", path: str, since: str) -> Sequence["Commit"]:
    """The commits that changed a file after a moment, oldest first."""
    moment = datetime.fromisoformat(since).astimezone(UTC)
    # Git knows whole seconds: a commit in the same second may hold the text already.
    whole = int(moment.timestamp())
    commits = repository.iter_commits(paths=path, max_count=max(LATER_COMMITS) * 10)
    return sorted((c for c in commits if c.committed_date >= whole), key=lambda c: c.committed_date)


def _content(commit: "Commit", path: str) -> str | None:
    try:
        data: bytes = (commit.tree / path).data_stream.read()
    except KeyError:
        return None
    return data.decode("utf-8", "replace")
