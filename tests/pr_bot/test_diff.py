"""Diffs from real git: every line has its number, on its side, under its true name."""

from pathlib import Path

import pytest

from codetrial.errors import ReviewError
from pr_bot import diff as diffs
from pr_bot.diff import Change, Diff, Line, Side, local_diff, numbered, parse, parse_patch
from pr_bot.git import GitError, Repository
from tests.pr_bot.conftest import WorkingCopy


def change(copy: WorkingCopy, before: dict[str, str | bytes | None], after: dict[str, str | bytes | None]) -> Diff:
    base = copy.commit(before)
    return local_diff(copy.repository, base, copy.commit(after))


def test_context_counts_for_the_right_side_and_deletions_for_the_left(working_copy: WorkingCopy) -> None:
    [entry] = change(working_copy, {"a.py": "one\ntwo\nthree\n"}, {"a.py": "one\n2\nthree\nfour\n"}).files
    [hunk] = entry.hunks
    assert hunk.lines == (Line(1, 1, "one"), Line(2, None, "two"), Line(None, 2, "2"), Line(3, 3, "three"),
                          Line(None, 4, "four"))  # fmt: skip
    assert hunk.numbers(Side.RIGHT) == {1, 2, 3, 4}
    assert hunk.numbers(Side.LEFT) == {2}


@pytest.mark.parametrize(
    "name",
    ["with space.py", 'quo"te.py', "tab\there.py", "back\\slash.py", "ünïcode.py", "new\nline.py", "a b/c d.py",
     "日本語.py", "-dash.py", "$(touch x).py", "`id`.py", " lead.py", "a/b/a b.py"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["text", "binary", "mode", "renamed"])
def test_every_file_name_comes_out_as_it_went_in(working_copy: WorkingCopy, name: str, kind: str) -> None:
    text = "".join(f"line {number}\n" for number in range(30))
    if kind == "renamed":
        base = working_copy.commit({"old name.py": text})
        head = working_copy.commit({"old name.py": None, name: text + "more\n"})
    else:
        base = working_copy.commit({name: b"\0\1" if kind == "binary" else text})
        if kind == "mode":
            (working_copy.folder / name).chmod(0o755)
        head = working_copy.commit({} if kind == "mode" else {name: b"\0\2" if kind == "binary" else text + "more\n"})
    [entry] = local_diff(working_copy.repository, base, head).files
    assert entry.path == name
    assert entry.is_binary == (kind == "binary")
    assert entry.old_path == ("old name.py" if kind == "renamed" else name)


def test_a_name_that_is_not_utf8_does_not_stop_the_review(working_copy: WorkingCopy) -> None:
    base = working_copy.commit({"a": "x\n"})
    (working_copy.folder / "b").write_text("y\n")
    (working_copy.folder / "b").rename(Path(bytes(working_copy.folder).decode()) / "caf\udce9.py")
    [entry] = local_diff(working_copy.repository, base, working_copy.commit({})).files
    assert entry.path == "caf\ufffd.py"


def test_headers_without_counts_mean_one_line() -> None:
    [entry] = parse("diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+only\n")
    assert entry.change is Change.ADDED
    assert entry.hunks[0].lines == (Line(None, 1, "only"),)
    assert parse_patch("x", "x", Change.MODIFIED, "@@ -3 +3 @@ def f():\n-a\n+b").hunks[0].lines == (
        Line(3, None, "a"), Line(None, 3, "b"))  # fmt: skip


def test_the_note_about_a_missing_newline_is_no_line(working_copy: WorkingCopy) -> None:
    [entry] = change(working_copy, {"a": "one\ntwo"}, {"a": "one\n2"}).files
    assert [line.text for line in entry.hunks[0].lines] == ["one", "two", "2"]


def test_form_feeds_and_carriage_returns_do_not_shift_numbers(working_copy: WorkingCopy) -> None:
    [entry] = change(
        working_copy, {"a": "a\fb\x0bc\x85\nd\r\ne\u2028f\n"}, {"a": "a\fb\x0bc\x85\nd\r\ne\u2028f\ng\n"}
    ).files
    assert entry.hunks[0].lines[-1] == Line(None, 4, "g")


def test_text_that_looks_like_a_diff_stays_text(working_copy: WorkingCopy) -> None:
    trap = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n"
    [entry] = change(working_copy, {"a": trap}, {"a": trap + "- -- a/y\n" + trap}).files
    assert entry.path == "a"
    assert len(entry.hunks) == 1
    assert entry.changed == 5


def test_removed_lines_that_look_like_headers_stay_lines(working_copy: WorkingCopy) -> None:
    [entry] = change(working_copy, {"a.sql": "-- a/b\nselect\n"}, {"a.sql": "++ b/c\nselect\n"}).files
    assert (entry.path, [line.text for line in entry.hunks[0].lines]) == ("a.sql", ["-- a/b", "++ b/c", "select"])


def test_deletions_links_and_submodules_are_named_as_such(working_copy: WorkingCopy) -> None:
    base = working_copy.commit({"gone.py": "x\n", "keep": "k\n"})
    (working_copy.folder / "link").symlink_to("/etc/passwd")
    working_copy.commit({"gone.py": None})
    working_copy.git("update-index", "--add", "--cacheinfo", f"160000,{base},module")
    working_copy.git("commit", "--quiet", "-m", "Add a submodule")
    diff = local_diff(working_copy.repository, base, "HEAD")
    kinds = {entry.path: (entry.change, entry.is_symlink, entry.is_submodule) for entry in diff.files}
    assert kinds == {
        "gone.py": (Change.DELETED, False, False),
        "link": (Change.ADDED, True, False),
        "module": (Change.ADDED, False, True),
    }
    assert working_copy.repository.blob(diff.head, "link") is None
    assert working_copy.repository.blob(diff.head, "module") is None
    assert working_copy.repository.blob(diff.head, "keep") == b"k\n"


def test_the_change_starts_where_the_histories_part_not_at_the_base(working_copy: WorkingCopy) -> None:
    start = working_copy.commit({"a": "1\n", "b": "1\n"})
    working_copy.git("checkout", "--quiet", "-b", "topic")
    head = working_copy.commit({"a": "2\n"})
    working_copy.git("checkout", "--quiet", "main")
    base = working_copy.commit({"b": "2\n"})
    diff = local_diff(working_copy.repository, base, head)
    assert (diff.merge_base, [entry.path for entry in diff.files]) == (start, ["a"])


def test_more_than_three_hundred_files_are_no_limit_to_local_git(working_copy: WorkingCopy) -> None:
    files: dict[str, str | bytes | None] = {f"d/{number}.py": f"x = {number}\n" for number in range(350)}
    assert len(change(working_copy, {"a": "1"}, files).files) == 350


def test_a_monstrous_change_is_refused_with_the_mend(
    working_copy: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffs, "MAX_DIFF_BYTES", 100)
    with pytest.raises(ReviewError, match="split it"):
        change(working_copy, {"a": "1\n"}, {"a": "2\n" * 200})


def test_programs_named_in_the_repository_are_not_run(working_copy: WorkingCopy, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "core.pager"):
        working_copy.git("config", key, str(trap))
    base = working_copy.commit({"a.py": "1\n", ".gitattributes": "* diff=evil filter=evil\n"})
    ran = tmp_path / "ran"
    ran.unlink(missing_ok=True)
    assert local_diff(working_copy.repository, base, working_copy.commit({"a.py": "2\n"})).files
    ran.unlink(missing_ok=True)
    local_diff(working_copy.repository, base, "HEAD")
    assert not ran.exists()


def test_a_revision_cannot_be_an_option(working_copy: WorkingCopy) -> None:
    working_copy.commit({"a": "1\n"})
    with pytest.raises(GitError, match="not a revision"):
        local_diff(working_copy.repository, "--output=x", "HEAD")


def test_a_folder_outside_git_is_named(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not in a git repository"):
        Repository.open(tmp_path)


def test_the_numbered_diff_tags_each_line_with_its_side(working_copy: WorkingCopy) -> None:
    [entry] = change(working_copy, {"a.py": "def f():\n    return 1\n"}, {"a.py": "def f():\n    return 2\n"}).files
    assert numbered(entry).splitlines() == [
        "## a.py [modified]",
        "@@",
        "     R1   def f():",
        "     L2 -     return 1",
        "     R2 +     return 2",
    ]
