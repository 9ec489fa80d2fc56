"""Retention at commit, on real repositories; the independent computation uses difflib on the same histories."""

import difflib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import git
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.retention import measure, standing
from analysis.store import Store, text_record
from codetrial.errors import EvidenceError
from codetrial.pseudonyms import pseudonym_of_document
from codetrial.records import (
    ArmLabel,
    Continuation,
    ContinuationState,
    Disposition,
    Door,
    Outcome,
    OutcomeClass,
    Place,
    Suggestion,
    Task,
    Trial,
    Unit,
)

TEXT = "total = sum(price.value for price in prices)"
FILE = "def add(prices):\n    {}\n    return total\n"


def test_found_edited_and_gone() -> None:
    whole = standing(TEXT, FILE.format(TEXT), "python")
    assert whole is not None
    assert (whole.state, whole.share, whole.char_distance, whole.token_distance) == ("found", 1.0, 0, 0)
    renamed = standing(TEXT, FILE.format(TEXT.replace("price.value", "price.amount")), "python")
    assert renamed is not None
    assert (renamed.state, renamed.token_distance) == ("edited", 1)
    gone = standing(TEXT, "import os\n\nprint(os.environ)\n", "python")
    assert gone is not None
    assert (gone.state, gone.share) == ("gone", 0.0)


def test_a_text_that_moved_is_found() -> None:
    found = standing(TEXT, "x = 1\n" * 500 + TEXT + "\n", "python")
    assert found is not None
    assert found.state == "found"


def test_what_any_file_holds_is_not_measurable() -> None:
    assert standing("x)", "f(x)\n", "python") is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_in_any_file_is_between_gone_and_found(text: str, content: str) -> None:
    found = standing(text, content, "python")
    assert found is None or 0 <= found.share <= 1


def commit(repository: git.Repo, content: str, when: str) -> None:
    path = Path(str(repository.working_tree_dir)) / "sums.py"
    path.write_text(content)
    repository.index.add(["sums.py"])
    author = git.Actor("A", "a@example.org")
    date = f"{int(datetime.fromisoformat(when).timestamp())} +0000"
    repository.index.commit("change", author=author, committer=author, author_date=date, commit_date=date)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[git.Repo]:
    with git.Repo.init(tmp_path / "project") as repository:
        commit(repository, "x = 0\n", "2026-01-01T09:00:00+00:00")
        yield repository


@pytest.fixture
def store(tmp_path: Path, repository: git.Repo) -> Iterator[Store]:
    """A suggestion that was accepted at ten, and one task's continuation."""
    uri = (Path(str(repository.working_tree_dir)) / "sums.py").as_uri()
    at = "2026-01-01T10:00:00.000Z"
    text = text_record(TEXT)
    with Store(tmp_path / "codetrial.db") as store:
        store.append(
            Trial(
                id="t-1",
                name="n",
                manifest="{}",
                manifest_hash="h",
                seed="5eed",
                assignment_unit=Unit.EPISODE,
                primary_metric="acceptance",
                created_at=at,
            ),
            text,
            Task(
                id="k-1",
                trial="t-1",
                session="s-1",
                assignment=None,
                door=Door.EDITOR,
                disposition=Disposition.ROUTED,
                request_id="1",
                document=pseudonym_of_document("5eed", uri),
                document_version=1,
                language="python",
                place=Place.LINE_END,
                trigger=None,
                line=0,
                character=0,
                prefix_hash=None,
                suffix_hash=None,
                prefix_chars=0,
                suffix_chars=0,
                requested_ns=0,
                requested_at=at,
                routed_ns=0,
            ),
            Suggestion(
                id="g-1",
                attempt="p-1",
                task="k-1",
                label=ArmLabel.A,
                rank=0,
                raw_hash=text.hash,
                text_hash=text.hash,
                raw_chars=len(TEXT),
                chars=len(TEXT),
                lines=1,
                filters="[]",
                cut_version="1",
            ),
            Outcome(
                id="o-1",
                suggestion="g-1",
                task="k-1",
                label=ArmLabel.A,
                outcome=OutcomeClass.ACCEPTED,
                rule="command",
                accepted_chars=len(TEXT),
                decided_ns=0,
                decided_at=at,
                detail=None,
            ),
            Continuation(
                id="c-1",
                task="k-1",
                horizon="30s",
                state=ContinuationState.FOUND,
                reason=None,
                text_hash=text.hash,
                chars=len(TEXT),
                taken_ns=0,
                taken_at=at,
            ),
        )
        yield store


def shares(store: Store) -> dict[str, float | None]:
    rows = store.rows("SELECT horizon, value FROM score WHERE metric = 'kept_share' ORDER BY horizon")
    return {row["horizon"]: row["value"] for row in rows}


def test_what_was_taken_is_followed_through_the_commits_since(store: Store, repository: git.Repo) -> None:
    root = Path(str(repository.working_tree_dir))
    assert list(measure(store, root)) == []
    commit(repository, FILE.format(TEXT), "2026-01-01T11:00:00+00:00")
    commit(repository, "print(1)\n", "2026-01-01T12:00:00+00:00")
    store.append(*measure(store, root))
    assert shares(store) == {"commit": 1.0, "commit+1": 0.0}
    [continuation] = store.rows("SELECT * FROM continuation WHERE horizon = 'commit'")
    assert (continuation["state"], continuation["chars"]) == ("found", len(TEXT))
    assert list(measure(store, root)) == []


def test_a_commit_before_it_was_taken_does_not_count(store: Store, repository: git.Repo) -> None:
    commit(repository, FILE.format(TEXT), "2026-01-01T09:30:00+00:00")
    assert list(measure(store, Path(str(repository.working_tree_dir)))) == []


def test_outside_a_repository_is_a_sentence(store: Store, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(EvidenceError, match="is not in a git repository"):
        list(measure(store, tmp_path / "plain"))


LINES = st.lists(
    st.sampled_from([f"value_{n} = compute({n}, offset={n})" for n in range(12)]), min_size=3, max_size=8, unique=True
)


@given(LINES, st.sets(st.integers(0, 7)), LINES)
def test_shares_equal_what_difflib_counts_in_whole_lines(
    block: list[str], removed: set[int], around: list[str]
) -> None:
    """An independent computation: lines taken out of a block, and lines that are not its own around it."""
    left = [line for number, line in enumerate(block) if number not in removed]
    others = [line.replace("value", "other").replace("compute", "read") for line in around]
    content = "\n".join([*others, *left, *others]) + "\n"
    matcher = difflib.SequenceMatcher(None, block, content.split("\n"), autojunk=False)
    chars = [len("".join(line.split())) for line in block]
    kept = sum(sum(chars[m.a : m.a + m.size]) for m in matcher.get_matching_blocks()) / sum(chars)
    found = standing("\n".join(block), content, "plaintext")
    assert found is not None
    if kept >= 0.9:
        assert found.share >= kept
    if kept == 1:
        assert found.state == "found"
