"""Defects at known places: made wrong and noticed by tests, or mended later."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import git
import pytest

from analysis.history import History
from analysis.replay.defects import Case, Workshop, mutations
from analysis.replay.sandbox import Bubblewrap, Unprotected
from codetrial.errors import EvidenceError
from tests.analysis.replay.conftest import Commit

TESTS = ("python", "-m", "unittest", "-q")

TEST_FILE = """
import unittest
from shop import total

class TotalTest(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total(3, 0), 3)
        self.assertEqual(total(3, 5), 8)
"""
BEFORE = "def total(price, fee):\n    return price\n"
AFTER = "def total(price, fee):\n    if fee == 0:\n        return price\n    return price + fee\n"


@pytest.fixture
def shop(repository: Path, commit: Commit) -> Path:
    commit({"shop.py": BEFORE}, "Begin")
    commit({"shop.py": AFTER, "test_shop.py": TEST_FILE}, "Add the fee\n\nIt was forgotten.")
    return repository


@pytest.fixture
def workshop(shop: Path) -> Iterator[Workshop]:
    with History(shop) as history, Workshop(history, seed="0") as made:
        yield made


def test_every_defect_changes_one_token_of_an_added_line() -> None:
    before = "a = 1\nkept = a < 2\n"
    after = "a = 1\nkept = a < 2\nif a == 3 and kept:\n    print('x == y')  # a == b\n"
    found = list(mutations("m.py", before, after))
    assert Counter((m.line, m.operator) for m in found) == {(3, "negation"): 1, (3, "logic"): 1}
    for mutation in found:
        changed = [
            pair for pair in zip(after.split("\n"), mutation.text.split("\n"), strict=True) if pair[0] != pair[1]
        ]
        assert len(changed) == 1


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("x = a < b", "x = a <= b"),
        ("x = a >= b", "x = a > b"),
        ("x = a != b", "x = a == b"),
        ("x = a is not b", "x = a is b"),
        ("x = True", "x = False"),
        ("x = a + b", "x = a - b"),
        ("x = max(a, b)", "x = min(a, b)"),
        ("x = a[0]", "x = a[1]"),
    ],
)
def test_defects_are_mistakes_that_people_make(line: str, wrong: str) -> None:
    assert f"y = 7\n{wrong}\n" in {mutation.text for mutation in mutations("m.py", "y = 7\n", f"y = 7\n{line}\n")}


def test_code_without_a_grammar_is_left_alone() -> None:
    assert list(mutations("a.cbl", "", "IF A == B AND C\n")) == []


async def seeded(workshop: Workshop, tests: tuple[str, ...] = TESTS, limit_s: float = 30) -> tuple[Case, Case] | None:
    sandbox = Bubblewrap() if shutil.which("bwrap") else Unprotected()
    [commit] = workshop.changes(10)
    return await workshop.seeded(commit, tests=tests, sandbox=sandbox, limit_s=limit_s, tries=8)


async def test_a_defect_that_tests_notice_and_its_twin(workshop: Workshop) -> None:
    pair = await seeded(workshop)
    assert pair is not None
    mutant, twin = pair
    assert (mutant.title, mutant.description) == ("Add the fee", "It was forgotten.")
    assert mutant.defect is not None
    assert mutant.defect.path == "shop.py"
    with git.Repo(workshop.root) as repo:
        changed = repo.git.diff("--unified=0", twin.head, mutant.head).split("\n")
        assert repo.commit(twin.head).tree == repo.commit(twin.commit).tree
        assert {str(repo.commit(case.head).message) for case in pair} == {"Change\n"}
    assert len([line for line in changed if line.startswith(("+", "-")) and line[:3] not in ("+++", "---")]) == 2
    [hunk] = [line for line in changed if line.startswith("@@")]
    assert f"+{mutant.defect.lines[0]}" in hunk


async def test_the_same_seed_makes_the_same_defects(shop: Path) -> None:
    heads = []
    for _ in range(2):
        with History(shop) as history, Workshop(history, seed="3") as workshop:
            pair = await seeded(workshop)
            assert pair is not None
            heads.append(tuple(case.head for case in pair))
    assert heads[0] == heads[1]


async def test_the_persons_repository_is_only_read(shop: Path, workshop: Workshop) -> None:
    with git.Repo(shop) as repo:
        before = (repo.head.commit.hexsha, repo.git.status("--porcelain"), sorted(map(str, repo.refs)))
        await seeded(workshop)
        assert (repo.head.commit.hexsha, repo.git.status("--porcelain"), sorted(map(str, repo.refs))) == before


async def test_tests_that_fail_already_are_skipped_and_counted(workshop: Workshop) -> None:
    assert await seeded(workshop, ("python", "-c", "print('no such table'); raise SystemExit(3)")) is None
    assert dict(workshop.skipped) == {"tests fail before anything is changed (exit_3)": 1}
    assert workshop.complaint == "no such table"


async def test_tests_that_hang_are_skipped_and_counted(workshop: Workshop) -> None:
    assert await seeded(workshop, ("python", "-c", "import time; time.sleep(99)"), limit_s=1) is None
    assert dict(workshop.skipped) == {"tests fail before anything is changed (time_limit)": 1}


async def test_defects_that_no_test_notices_are_not_used(workshop: Workshop) -> None:
    assert await seeded(workshop, ("python", "-c", "pass")) is None
    assert workshop.skipped["no defect noticed by tests"] == 1
    assert workshop.skipped["defect that no test notices"] >= 1


async def test_tests_that_cannot_be_run_are_said(workshop: Workshop) -> None:
    [commit] = workshop.changes(10)
    with pytest.raises(EvidenceError, match="tests cannot be run"):
        await workshop.seeded(commit, tests=("no-such-runner",), sandbox=Unprotected(), limit_s=9, tries=1)


@pytest.mark.skipif(
    shutil.which("bwrap") is None,
    reason="the sandbox is Linux's bubblewrap: apt-get install bubblewrap, as .ci/run does",
)
async def test_tests_cannot_touch_the_clone_that_git_is_run_in(workshop: Workshop) -> None:
    code = "open('.git/config', 'a').write('[core]\\nfsmonitor = /bin/false\\n')"
    ran = await Bubblewrap().run(("python", "-c", code), workshop.root, limit_s=20)
    assert "Read-only" in ran.output


def test_a_later_fix_blames_the_change_that_broke_it(repository: Path, commit: Commit) -> None:
    commit({"a.py": "start = 1\n"}, "Begin")
    guilty = commit({"a.py": "start = 1\n\n\ndef half(n):\n    return n * 2\n"}, "Halve")
    commit({"b.py": "other = 1\n"}, "Something else")
    commit({"a.py": "# Numbers.\nstart = 1\n\n\ndef half(n):\n    return n * 2\n"}, "Say what it is")
    commit({"a.py": "# Numbers.\nstart = 1\n\n\ndef half(n):\n    return n / 2\n"}, "Fix half")
    with History(repository) as history, Workshop(history, seed="0") as workshop:
        [case] = workshop.blamed(5)
    assert case.commit == guilty
    assert case.defect is not None
    assert (case.defect.path, case.defect.lines, case.defect.kind) == ("a.py", (5,), "blamed")


def test_merges_are_preferred_where_there_are_any(shop: Path, commit: Commit) -> None:
    with git.Repo(shop) as repo:
        repo.git.checkout("-b", "side")
        commit({"side.py": "side = 1\n"}, "On the side")
        repo.git.checkout("main")
        repo.git.execute(
            [
                "git",
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "merge",
                "--no-ff",
                "-m",
                "Merge side",
                "side",
            ]
        )
        merge = repo.head.commit.hexsha
    with History(shop) as history, Workshop(history, seed="0") as workshop:
        assert [change.hexsha for change in workshop.changes(10)] == [merge]
