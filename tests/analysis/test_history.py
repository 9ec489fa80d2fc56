"""Commits of real repositories, read as what somebody typed."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from git import Actor, Repo
from hypothesis import given
from hypothesis import strategies as st

from analysis import history as module
from analysis.history import Edit, FileChange, History, Release, Selection, build_from_releases, edits_between
from codetrial.errors import EvidenceError

DEVELOPER = Actor("A Developer", "developer@example.org")
BOB = Actor("Bob Example", "bob@example.org")


class Project:
    """A repository under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repo = Repo.init(root, initial_branch="main")
        self._day = 0

    def commit(self, message: str, author: Actor = DEVELOPER, **files: str | bytes | None) -> str:
        for name, content in files.items():
            path = self.root / name.replace("__", "/").replace("_dot_", ".")
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.repo.git.add("--all")
        self._day += 1
        when = datetime(2024, 1, self._day, 12, tzinfo=UTC)
        made = self.repo.index.commit(message, author=author, committer=author, author_date=when, commit_date=when)
        return made.hexsha


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    try:
        yield made
    finally:
        made.repo.close()


def replayed(before: str, edits: tuple[Edit, ...]) -> str:
    for edit in edits:
        before = edit.apply(before)
    return before


lines = st.lists(
    st.sampled_from(["\n", "a\n", "    b = 1\n", "    b = 2\n", "def f(x):\n", "x\r\n", "é🙂 y\n"]), max_size=12
)


@given(lines, lines, st.sampled_from(["", "end", "    b"]))
def test_edits_turn_the_old_text_into_the_new_one(old: list[str], new: list[str], end: str) -> None:
    before, after = "".join(old), "".join(new) + end
    assert replayed(before, edits_between(before, after)) == after


@given(lines, lines, st.sets(st.integers(0, 6)))
def test_some_of_the_edits_can_be_made_without_the_others(old: list[str], new: list[str], chosen: set[int]) -> None:
    before, after = "".join(old), "".join(new)
    whole = FileChange(path="a", language="python", before=before, after=after, edits=edits_between(before, after))
    part = whole.only(sorted(chosen))
    kept = [edit for number, edit in enumerate(whole.edits) if number in chosen]
    assert [(edit.removed, edit.inserted) for edit in part.edits] == [(edit.removed, edit.inserted) for edit in kept]
    assert replayed(before, part.edits) == part.after
    assert whole.only(range(len(whole.edits))) == whole


def test_a_changed_word_is_retyped_whole_and_alone() -> None:
    assert edits_between("a = total_of(rows)\n", "a = total_in(rows)\n") == (Edit(4, "total_of", "total_in"),)


def test_an_added_argument_is_all_that_is_typed() -> None:
    assert edits_between("run(a)\n", "run(a, b)\n") == (Edit(5, "", ", b"),)


def test_new_lines_are_typed_at_the_end_of_the_line_above() -> None:
    assert edits_between("a = 1\nc = 3\n", "a = 1\nb = 2\nc = 3\n") == (Edit(5, "", "\nb = 2"),)


def test_new_lines_keep_the_line_ends_of_the_file() -> None:
    assert edits_between("a\r\nc\r\n", "a\r\nb\r\nc\r\n") == (Edit(1, "", "\r\nb"),)


def test_an_inserted_function_begins_with_its_own_first_line() -> None:
    before = "def a():\n    return 1\n\ndef c():\n    return 1\n"
    after = "def a():\n    return 1\n\ndef b():\n    return 1\n\ndef c():\n    return 1\n"
    [edit] = edits_between(before, after)
    assert edit.inserted.strip().startswith("def b")


def test_changes_come_oldest_first_with_the_file_as_it_stood(project: Project) -> None:
    project.commit("Start", a_dot_py="one = 1\n")
    project.commit("Add two", a_dot_py="one = 1\ntwo = 2\n")
    project.commit("Add three", a_dot_py="one = 1\ntwo = 2\nthree = 3\n")
    with History(project.root) as history:
        changes = list(history.changes())
    assert [change.subject for change in changes] == ["Add two", "Add three"]
    [file] = changes[1].files
    assert (file.path, file.language, file.before) == ("a.py", "python", "one = 1\ntwo = 2\n")
    assert replayed(file.before, file.edits) == file.after


def test_selection_narrows_by_author_date_path_and_language(project: Project) -> None:
    project.commit("Start", a_dot_py="a = 1\n")
    project.commit("The developer's", DEVELOPER, a_dot_py="a = 2\n")
    project.commit("Bob's", BOB, a_dot_py="a = 3\n", docs__b_dot_md="text\n")
    project.commit("Late", DEVELOPER, lib__c_dot_py="c = 1\n", a_dot_py="a = 4\n")

    def subjects(**chosen: object) -> list[str]:
        with History(project.root) as history:
            return [change.subject for change in history.changes(Selection(**chosen))]  # type: ignore[arg-type]

    assert subjects(author="bob@") == ["Bob's"]
    assert subjects(since=datetime(2024, 1, 3, tzinfo=UTC)) == ["Bob's", "Late"]
    assert subjects(until=datetime(2024, 1, 3, tzinfo=UTC)) == ["The developer's"]
    assert subjects(paths=("lib/",)) == ["Late"]
    assert subjects(languages=("markdown",)) == ["Bob's"]
    assert subjects(max_commits=1) == ["Late"]


def test_what_nobody_typed_is_skipped_and_counted(project: Project) -> None:
    project.commit("Start", a_dot_py="a = 1\n", gone_dot_py="x = 1\n")
    (project.root / "link").symlink_to("a.py")
    project.commit(
        "Everything odd",
        picture_dot_bin=b"\0\1\2",
        latin_dot_py="é = 1\n".encode("latin-1"),
        big_dot_py="x = 1\n" * 2000,
        pointer_dot_dat="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        mac_dot_txt="a\rb\n",
        gone_dot_py=None,
        a_dot_py="a = 1\nb = 2\n",
    )
    with History(project.root) as history:
        [change] = history.changes(Selection(max_file_bytes=5000))
        assert [file.path for file in change.files] == ["a.py"]
        assert history.skipped == {
            "first_commit": 1,
            "binary_file": 1,
            "undecodable_file": 1,
            "huge_file": 1,
            "lfs_pointer": 1,
            "odd_line_ends": 1,
            "symlink": 1,
            "deleted_file": 1,
        }


def test_merges_and_submodules_are_skipped_and_counted(project: Project) -> None:
    first = project.commit("Start", a_dot_py="a = 1\n")
    project.repo.git.update_index("--add", "--cacheinfo", f"160000,{first},vendored")
    project.repo.git.commit("-m", "Pin the vendored project", env=_identity())
    project.repo.git.checkout("-b", "side", first)
    project.commit("Side", b_dot_py="b = 1\n")
    project.repo.git.checkout("main")
    project.repo.git.merge("side", "--no-ff", "-m", "Merge", env=_identity())
    with History(project.root) as history:
        assert [change.subject for change in history.changes()] == ["Side"]
        assert (history.skipped["merge"], history.skipped["submodule"]) == (1, 1)


def _identity() -> dict[str, str]:
    return {
        f"GIT_{who}_{what}": "developer@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }


def test_a_paste_is_not_typing(project: Project) -> None:
    project.commit("Start", a_dot_py="a = 1\n")
    project.commit("Vendor", b_dot_py="x = 1\n" * 1000)
    with History(project.root) as history:
        assert list(history.changes(Selection(max_typed_chars=1000))) == []
        assert history.skipped["pasted"] == 1


def test_a_shallow_clone_says_so_and_does_not_take_its_edge_for_new_files(project: Project, tmp_path: Path) -> None:
    for number in range(4):
        project.commit(f"Commit {number}", a_dot_py=f"a = {number}\n")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "2", project.root.as_uri(), str(clone)], check=True)
    with History(clone) as history:
        assert history.is_shallow
        assert [change.subject for change in history.changes()] == ["Commit 3"]
        assert history.skipped["shallow_boundary"] == 1


def test_checkout_leaves_the_person_s_own_files_alone(project: Project, tmp_path: Path) -> None:
    first = project.commit("Start", a_dot_py="a = 1\n")
    project.commit("Next", a_dot_py="a = 2\n")
    (project.root / "a.py").write_text("unsaved work\n")
    with History(project.root) as history:
        history.checkout(tmp_path / "work", first)
        (tmp_path / "work" / "left.py").write_text("x")
        history.checkout(tmp_path / "work", "main")
    assert (tmp_path / "work" / "a.py").read_text() == "a = 2\n"
    assert not (tmp_path / "work" / "left.py").exists()
    assert (project.root / "a.py").read_text() == "unsaved work\n"
    assert project.repo.active_branch.name == "main"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "There is no folder"),
        (lambda path: path.mkdir(), "is not a git repository"),
        (lambda path: Repo.init(path).close(), "has no commits yet"),
    ],
)
def test_what_is_not_a_history_is_said_in_a_sentence(tmp_path: Path, make: object, sentence: str) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(EvidenceError, match=sentence):
        History(tmp_path / "x")


def test_an_unknown_revision_is_said_in_a_sentence(project: Project) -> None:
    project.commit("Start", a_dot_py="a = 1\n")
    with History(project.root) as history, pytest.raises(EvidenceError, match="nowhere"):
        list(history.changes(Selection(revision="nowhere")))


def wheel(folder: Path, version: str, source: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"tiny_package-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(zipfile.ZipInfo("tiny/__init__.py", (2024, 1, 2, 3, 4, 6)), source)
        archive.writestr(f"tiny_package-{version}.dist-info/METADATA", f"Version: {version}\n")
        archive.writestr("../outside.py", "x = 1\n")


def test_releases_become_commits(tmp_path: Path) -> None:
    downloads = tmp_path / "repo.downloads"
    wheel(downloads, "1.0", "a = 1\n")
    wheel(downloads, "1.1", "a = 1\nb = 2\n")
    releases = [Release("tiny-package", "1.0"), Release("tiny-package", "1.1")]
    folder = build_from_releases(tmp_path / "repo", releases)
    with History(folder) as history:
        [change] = history.changes()
    assert change.subject == "tiny-package 1.1"
    assert change.authored_at == datetime(2024, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert [file.path for file in change.files] == ["tiny/__init__.py"]
    assert not (tmp_path / "outside.py").exists()
    assert build_from_releases(folder, [Release("never", "asked")]) == folder


def test_without_a_network_the_builder_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EvidenceError, match="codetrial demo PATH"):
        build_from_releases(tmp_path / "repo", [Release("tiny-package", "1.0")])
    assert not (tmp_path / "repo").exists()


def test_without_git_there_is_a_sentence(tmp_path: Path) -> None:
    script = f"from analysis.history import History; from pathlib import Path; History(Path({str(tmp_path)!r}))"
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(Path(module.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "EvidenceError: There is no `git` on PATH" in ran.stderr
