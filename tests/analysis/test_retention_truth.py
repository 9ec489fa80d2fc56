"""Retention on real histories against computations that share nothing with it.

What git's own diffs say was added in a commit is taken for an accepted text. Where it stands in a later commit is read
off `git blame --reverse`; how far that is from the text, off a textbook edit distance and off every stretch of lines
that there is. The histories are releases of packages and, in a clone, this repository.
"""

import difflib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import git
import pytest
from rapidfuzz.distance import Levenshtein

from analysis.history import Release, build_from_releases
from analysis.retention import Followed, Found, most_alike, standing
from analysis.syntax import tokens
from codetrial.records import ArmLabel, ContinuationState
from lsp_proxy.evaluator.continuations import Sight, Suggested, Watch, look
from lsp_proxy.evaluator.documents import Documents
from lsp_proxy.evaluator.edits import Edit, Point, Span

URI = "file:///a.py"
MOST_LINES = 12
PER_COMMIT = 25

HISTORIES = {
    "click": ("8.0.0", "8.0.4", "8.1.0", "8.1.3", "8.1.7", "8.2.0"),
    "packaging": ("21.0", "21.3", "22.0", "23.0", "23.2", "24.0", "24.2"),
    "sqlite-utils": ("3.30", "3.33", "3.35", "3.36", "3.37", "3.38"),
}


@dataclass(frozen=True)
class Added:
    """Lines that a commit added, and where git says they are in a later one."""

    text: str
    path: str
    commit: str
    later: str
    before: str
    """The file as the commit left it."""
    after: str
    start: int
    """First line, from 1."""
    alive: int
    lines: int
    between: str | None
    """What stands between the neighbours of the text, if both of them are alive: there is no doubt about the place."""

    @property
    def is_whole(self) -> bool:
        return self.alive == self.lines and self.between == self.text


def run(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout


def shown(root: Path, commit: str, path: str) -> str | None:
    try:
        return run(root, "show", f"{commit}:{path}")
    except subprocess.CalledProcessError:
        return None


def additions(root: Path, commits: Sequence[str]) -> Iterator[Added]:
    for number in range(1, len(commits) - 1):
        for later in sorted({commits[number + 1], commits[-1]}):
            found = (added for place in hunks(root, commits, number) if (added := follow(root, *place, later)))
            yield from (added for added, _ in zip(found, range(PER_COMMIT), strict=False))


def hunks(root: Path, commits: Sequence[str], number: int) -> Iterator[tuple[str, str, int, int]]:
    path = None
    for line in run(
        root, "diff", "-U0", "--no-renames", commits[number - 1], commits[number], "--", "*.py"
    ).splitlines():
        if line.startswith("+++ "):
            path = None if line == "+++ /dev/null" else line[6:]
        hunk = re.match(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@", line)
        if hunk and path is not None and 1 <= int(hunk[2] or 1) <= MOST_LINES:
            yield commits[number], path, int(hunk[1]), int(hunk[2] or 1)


def follow(root: Path, commit: str, path: str, start: int, count: int, later: str) -> Added | None:
    before, after = shown(root, commit, path), shown(root, later, path)
    if before is None or after is None or before == after:
        return None
    lines, new = before.split("\n"), after.split("\n")
    text = "\n".join(lines[start - 1 : start - 1 + count])
    if len(tokens(text, "python")) < 4:
        return None
    low, high = max(1, start - 1), min(len(lines) - 1, start + count)
    blamed = run(root, "blame", "--reverse", "-s", "-p", f"-L{low},{high}", f"{commit}..{later}", "--", path)
    heads = (re.match(r"([0-9a-f]{40}) (\d+) (\d+)", line) for line in blamed.splitlines())
    alive = {int(head[3]): int(head[2]) for head in heads if head and head[1] == later}
    neighbours = alive.get(start - 1), alive.get(start + count)
    is_certain = neighbours[0] is not None and neighbours[1] is not None
    between = "\n".join(new[neighbours[0] : neighbours[1] - 1]) if is_certain else None  # type: ignore[operator]
    return Added(
        text=text,
        path=path,
        commit=commit,
        later=later,
        before=before,
        after=after,
        start=start,
        alive=sum(number in alive for number in range(start, start + count)),
        lines=count,
        between=between,
    )


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Wagner and Fischer, as in the textbook."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        previous, row = row, [i]
        for j, theirs in enumerate(other, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (mine != theirs)))
    return row[-1]


def nearest_stretch(text: str, content: str) -> int:
    """The least distance over every stretch of lines, one by one."""
    lines = content.split("\n")
    best = len(text)
    for first in range(len(lines)):
        stretch = ""
        for last in range(first, len(lines)):
            stretch = lines[last] if last == first else f"{stretch}\n{lines[last]}"
            if len(stretch) > len(text) + best:
                break
            best = min(best, Levenshtein.distance(text, stretch, score_cutoff=best))
    return best


class Anchor:
    """What the editor's door does with an anchor: follows it through each change."""

    def __init__(self, added: Added) -> None:
        lines = added.text.split("\n")
        start = Point(added.start - 1, 0)
        end = Point(added.start - 2 + added.lines, len(lines[-1]))
        self.watch = Watch(
            uri=URI,
            task="t",
            language="python",
            span=Span(start, end, grows=False),
            context="",
            opened_ns=0,
            taken=Suggested("g", added.text),
            taken_label=ArmLabel.A,
        )

    def changed(self, uri: str, edits: Sequence[Edit], **_: bool) -> None:
        for edit in edits:
            self.watch.follow(edit)

    def settled(self, uri: str) -> None: ...

    def lost(self, uri: str, reason: str) -> None:
        raise AssertionError(reason)

    def closed(self, uri: str) -> None: ...

    def hints(self, uri: str) -> Sequence[Point]:
        return []


def anchored(added: Added) -> Sight:
    """Where an anchor is after the file became what the later commit has, in one change."""
    anchor = Anchor(added)
    documents = Documents(anchor)
    item = {"uri": URI, "version": 1, "languageId": "python", "text": added.before}
    documents.apply("textDocument/didOpen", {"textDocument": item})
    change = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [{"text": added.after}]}
    documents.apply("textDocument/didChange", change)
    view = documents.view(URI)
    assert view is not None
    return look(anchor.watch, view)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("histories")
    found = {
        name: build_from_releases(folder / name, [Release(name, version) for version in versions])
        for name, versions in HISTORIES.items()
    }
    here = Path(__file__).parents[2]
    if (here / ".git").exists() and len(run(here, "rev-list", "HEAD").split()) > 50:
        found["codetrial"] = here
    return found


def commits_of(root: Path, most: int = 8) -> list[str]:
    """Some commits of a history, evenly spread."""
    every = run(root, "rev-list", "--reverse", "--first-parent", "HEAD").split()
    return every[:: max(1, len(every) // most)]


def gone_too(text: str, stretch: str) -> bool:
    """Whether difflib finds little in common either; it may prefer fewer tokens that are longer, hence the margin."""
    mine, theirs = tokens(text, "python"), tokens(stretch, "python")
    blocks = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    kept = sum(sum(map(len, mine[block.a : block.a + block.size])) for block in blocks)
    return kept < 0.6 * sum(map(len, mine))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_distances_at_commit_equal_those_of_every_stretch_and_of_git(histories: dict[str, Path]) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    disagreed = 0
    for name, root in histories.items():
        for added in additions(root, commits_of(root)):
            found = standing(added.text, added.after, "python")
            assert found is not None
            seen[name, found.state] += 1
            if added.is_whole:
                assert (found.state, found.share, found.char_distance, found.token_distance) == ("found", 1.0, 0, 0)
            if found.state == "gone":
                nearest = most_alike(added.text, added.after)
                assert found.char_distance == len(added.text)
                assert edit_distance(added.text, nearest) == nearest_stretch(added.text, added.after)
                assert gone_too(added.text, nearest)
                # One line that a formatter made seven of: a stretch elsewhere is nearer by its characters.
                disagreed += added.between is not None and not gone_too(added.text, added.between)
                continue
            assert found.char_distance == edit_distance(added.text, found.text)
            mine, theirs = tokens(added.text, "python"), tokens(found.text, "python")
            assert found.token_distance == edit_distance(mine, theirs)
            least = nearest_stretch(added.text, added.after)
            if f"\n{found.text}\n" in f"\n{added.after}\n":
                assert found.char_distance == least
            else:
                # Rewrapped: it stands within lines, where it is nearer than any stretch of whole ones.
                assert found.text in added.after
                assert found.char_distance < least
            if added.between is not None:
                assert found.char_distance <= edit_distance(added.text, added.between)
    print(dict(seen), disagreed)
    assert disagreed <= 0.01 * sum(seen.values())
    assert {name for name, _ in seen} == set(histories)
    assert sum(seen.values()) >= 300


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_anchors_in_the_editor_stand_where_git_says(histories: dict[str, Path]) -> None:
    """Also over a leap from release to release in one change, which leaves far more to guess than a person's edits."""
    agreed: Counter[tuple[str, bool]] = Counter()
    for name, root in histories.items():
        for added in additions(root, commits_of(root)):
            if added.between is None:
                continue
            sight = anchored(added)
            is_equal = Levenshtein.distance(added.text, sight.text) == edit_distance(added.text, added.between)
            agreed[name, is_equal] += 1
            if added.is_whole:
                agreed["whole", is_equal] += 1
    print(dict(agreed))
    assert agreed["whole", True] >= 0.97 * (agreed["whole", True] + agreed["whole", False])
    right = sum(agreed[name, True] for name in histories)
    wrong = sum(agreed[name, False] for name in histories)
    assert right >= 0.95 * (right + wrong)


def test_a_small_history_agrees_with_git_line_by_line(tmp_path: Path) -> None:
    """The same comparison on a history that needs no network."""
    body = [f"value_{number} = compute({number}, offset={number * 7})" for number in range(30)]
    added = ["total = sum(value_3, value_4)", "print(total, file=report)", "report.close(total)"]
    versions = [
        body,
        [*body[:10], *added, *body[10:]],
        ["import os", *body[:5], "x = 1", *body[5:10], *added, *body[10:]],
        ["import os", *body[:10], added[0], added[1].replace("total", "amount"), added[2], *body[10:]],
        ["import os", *body[:10], *body[10:]],
    ]
    root = tmp_path / "small"
    author = git.Actor("A", "a@example.org")
    with git.Repo.init(root) as repository:
        for number, lines in enumerate(versions):
            (root / "a.py").write_text("\n".join(lines) + "\n")
            repository.index.add(["a.py"])
            repository.index.commit(f"change {number}", author=author, committer=author)
        commits = run(root, "rev-list", "--reverse", "HEAD").split()
        expected = [(2, "found"), (3, "edited"), (4, "gone")]
        for number, state in expected:
            place = follow(root, commits[1], "a.py", 11, 3, commits[number])
            assert place is not None
            assert place.text == "\n".join(added)
            assert place.between is not None
            followed = Followed(repository)
            later, before = repository.commit(commits[number]), repository.commit(commits[0])
            found: Found = followed.find(place.text, "a.py", later, before)
            assert found.state is ContinuationState(state)
            assert found.standing is not None
            assert found.standing.char_distance == edit_distance(place.text, place.between)
            sight = anchored(place)
            assert sight.state is found.state
            # Of a deletion next to its like, a whole-text change does not tell which of both went.
            assert sight.text == place.between or (state == "gone" and sight.text == ")")


def test_a_text_that_went_to_another_file_has_moved(tmp_path: Path) -> None:
    text = "total = sum(price.value for price in prices)\nprint(total, file=report)"
    root = tmp_path / "moving"
    author = git.Actor("A", "a@example.org")
    with git.Repo.init(root) as repository:
        for files in (
            {"a.py": "x = 1\n", "twin.py": "y = 2\n"},
            {"a.py": f"x = 1\n{text}\n", "twin.py": "y = 2\n"},
            {"a.py": "x = 1\n", "b.py": f"import a\n\n{text}\n", "twin.py": "y = 2\n"},
        ):
            for name, content in files.items():
                (root / name).write_text(content)
            repository.index.add(list(files))
            repository.index.commit("change", author=author, committer=author)
        first, _, last = (repository.commit(c) for c in run(root, "rev-list", "--reverse", "HEAD").split())
        found = Followed(repository).find(text, "a.py", last, first)
        assert (found.state, found.path) == (ContinuationState.MOVED, "b.py")
        # A file that held it before is no place where it went.
        twin = Followed(repository).find(text, "a.py", last, last)
        assert twin.state is ContinuationState.GONE
