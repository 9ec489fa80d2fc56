"""Defects at known places in real changes: what two reviewers can be measured against without asking anybody.

seeded    one token of an added line is changed, and the repository's own tests notice; the unchanged change is its twin
blamed    a later fix changed lines that this change had added, so something was wrong there
A seeded defect is certain and small; a blamed one is real, and known only as well as the fix's subject says.
"""

import hashlib
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from analysis.history import History, edits_between
from analysis.places import place_of
from analysis.replay.folders import working_folder
from analysis.replay.sandbox import NOT_FOUND, Ran, Sandbox
from analysis.syntax import is_supported, language_of
from codetrial.errors import EvidenceError
from codetrial.records import Place

if TYPE_CHECKING:
    from git import Commit, Repo

__all__ = ["Case", "Defect", "Mutation", "Workshop", "mutations"]

COMPLAINT_LINES = 3
MAX_FILE_BYTES = 400_000
MAX_FILES = 30
"""In one change; what touches more was a move or a release."""

IDENTITY = ("-c", "user.name=codetrial", "-c", "user.email=codetrial@localhost")

_FIX = re.compile(r"\b(fix(e[sd])?|bug(fix)?|regression|revert)\b", re.IGNORECASE)

_OPERATORS: tuple[tuple[str, str, str], ...] = (
    ("boundary", r"(?<![<>=!-])<(?![<=>-])", "<="),
    ("boundary", r"(?<![<>=!-])>(?![<=>])", ">="),
    ("boundary", r"<=(?!=|>)", "<"),
    ("boundary", r"(?<![=])>=(?!=)", ">"),
    ("negation", r"(?<![=!<>])==(?!=)", "!="),
    ("negation", r"!=(?!=)", "=="),
    ("negation", r"\bis not\b", "is"),
    ("negation", r"\bnot in\b", "in"),
    ("negation", r"\bif not ", "if "),
    ("logic", r"\band\b", "or"),
    ("logic", r"\bor\b", "and"),
    ("logic", r"&&", "||"),
    ("logic", r"\|\|", "&&"),
    ("constant", r"\bTrue\b", "False"),
    ("constant", r"\bFalse\b", "True"),
    ("constant", r"\btrue\b", "false"),
    ("constant", r"\bfalse\b", "true"),
    ("arithmetic", r"(?<=[\w)\]] )\+(?= [\w(\[])", "-"),
    ("arithmetic", r"(?<=[\w)\]] )-(?= [\w(\[])", "+"),
    ("off by one", r"(?<![\w.])0(?![\w.])", "1"),
    ("off by one", r"(?<![\w.])1(?![\w.])", "2"),
    ("wrong function", r"\bmin(?=\()", "max"),
    ("wrong function", r"\bmax(?=\()", "min"),
)
"""Mistakes as people make them, each of one token, so that nothing but the defect differs from the twin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One token of one line made wrong."""

    path: str
    line: int
    """From 1, in the new file."""
    operator: str
    text: str
    """The whole file with the defect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Where something is known to be wrong."""

    path: str
    lines: tuple[int, ...]
    """From 1, in the new file."""
    kind: str
    """The operator of a seeded defect, or `blamed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A change to review. Commits exist in the workshop's clone; title and description are the real ones."""

    commit: str
    """The real change: cases of one change form a cluster."""
    base: str
    head: str
    title: str
    description: str
    defect: Defect | None
    """None: the twin, in which nothing was made wrong."""


_NO_CODE = (Place.STRING, Place.COMMENT, Place.DOCSTRING, Place.IMPORT)


def mutations(path: str, before: str, after: str) -> Iterator[Mutation]:
    """Every one-token defect in the lines that a change added; strings, comments and imports stay as they are."""
    language = language_of(path)
    if not is_supported(language):
        return
    starts = [0]
    for line in after.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for number in sorted(_added_lines(before, after)):
        text = after[starts[number] : starts[number + 1] - 1]
        for operator, pattern, wrong in _OPERATORS:
            for found in re.finditer(pattern, text):
                at, end = starts[number] + found.start(), starts[number] + found.end()
                if place_of(after[:at], after[at:], language) in _NO_CODE:
                    continue
                yield Mutation(path=path, line=number + 1, operator=operator, text=after[:at] + wrong + after[end:])


def _added_lines(before: str, after: str) -> set[int]:
    """Numbers from 0 of the lines of `after` with anything typed in them."""
    lines: set[int] = set()
    for edit in edits_between(before, after):
        body = edit.inserted.rstrip()
        skipped = len(edit.inserted) - len(edit.inserted.lstrip())
        if body:
            first = after.count("\n", 0, edit.offset + skipped)
            lines.update(range(first, first + body.count("\n", skipped) + 1))
    return lines


class Workshop:
    """A clone of its own in which changes are taken apart; the person's repository is only read.

    Args:
        skipped: counted by reason while cases are made.
    """

    def __init__(self, history: History, *, seed: str) -> None:
        import git

        self.skipped: Counter[str] = Counter()
        self.complaint = ""
        """The end of what the tests printed when they failed by themselves, the first time."""
        self._history = history
        self._seed = seed
        self._folder = working_folder("reviews")
        self.root = self._folder / history.root.name
        history.checkout(self.root, "HEAD")
        self._repo: Repo = git.Repo(self.root)

    def close(self) -> None:
        self._repo.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def changes(self, limit: int) -> list["Commit"]:
        """Merges of the main line, or its commits where nothing was merged, in an order drawn from the seed."""
        main_line = [self._repo.commit(name) for name in self._repo.git.rev_list("--first-parent", "HEAD").split()]
        with_parent = [commit for commit in main_line if commit.parents]
        merges = [commit for commit in with_parent if len(commit.parents) > 1]
        chosen = merges or with_parent
        if not chosen:
            raise EvidenceError(f"{self._history.root} has a single commit: there is no change to review.")
        return sorted(chosen, key=lambda commit: _order(self._seed, commit.hexsha))[:limit]

    async def seeded(
        self, commit: "Commit", *, tests: Sequence[str], sandbox: Sandbox, limit_s: float, tries: int
    ) -> tuple[Case, Case] | None:
        """A change with one defect that its tests notice, and its twin; None if there is none, and that is counted.

        Raises:
            EvidenceError: the tests cannot be run at all.
        """
        files = self._files(commit)
        found = [mutation for path, (before, after) in files.items() for mutation in mutations(path, before, after)]
        found = [mutation for mutation in found if not _is_test(mutation.path)]
        if not found:
            self.skipped["nothing to make wrong"] += 1
            return None
        random.Random(_order(self._seed, commit.hexsha)).shuffle(found)
        self._history.checkout(self.root, commit.hexsha)
        healthy = await self._tested(tests, sandbox, limit_s)
        if not healthy.passed:
            self.skipped[f"tests fail before anything is changed ({healthy.reason})"] += 1
            self.complaint = self.complaint or "\n".join(healthy.output.strip().splitlines()[-COMPLAINT_LINES:])
            return None
        for mutation in found[:tries]:
            # Anew each time: what the tests left behind, links out of the folder included, must not be written through.
            self._history.checkout(self.root, commit.hexsha)
            (self.root / mutation.path).write_bytes(mutation.text.encode())
            ran = await self._tested(tests, sandbox, limit_s)
            if ran.exit_code not in (None, 0):
                self._history.checkout(self.root, commit.hexsha)
                (self.root / mutation.path).write_bytes(mutation.text.encode())
                head = self._commit_tree(commit, mutation.path)
                self._history.checkout(self.root, commit.hexsha)
                defect = Defect(path=mutation.path, lines=(mutation.line,), kind=mutation.operator)
                twin = self._case(commit, self._commit_tree(commit, None), None)
                return replace(twin, head=head, defect=defect), twin
            self.skipped["time limit with a defect" if ran.exit_code is None else "defect that no test notices"] += 1
        self.skipped["no defect noticed by tests"] += 1
        return None

    def blamed(self, limit: int) -> list[Case]:
        """Changes whose added lines a later fix had to change, newest fixes first."""
        cases: dict[str, Case] = {}
        for name in self._repo.git.rev_list("--no-merges", "HEAD").split():
            fix = self._repo.commit(name)
            if len(cases) >= limit:
                break
            if not fix.parents or not _FIX.search(str(fix.summary)):
                continue
            for path, (before, after) in self._files(fix).items():
                if not before or _is_test(path):
                    continue
                for number in sorted(_changed_old_lines(before, after)):
                    self._blame(fix, path, number, cases)
        return list(cases.values())[:limit]

    def _blame(self, fix: "Commit", path: str, number: int, cases: dict[str, Case]) -> None:
        import git

        try:
            said = self._repo.git.blame(
                "--porcelain", "-w", "-L", f"{number + 1},+1", fix.parents[0].hexsha, "--", path
            )
        except git.exc.GitCommandError:
            self.skipped["lines that git cannot blame"] += 1
            return
        sha, line = said.split("\n", 1)[0].split()[:2]
        old_path = next((row[9:] for row in said.split("\n") if row.startswith("filename ")), path)
        commit = self._repo.commit(sha)
        if not commit.parents:
            self.skipped["lines of the first commit"] += 1
            return
        known = cases.get(sha)
        if known is None:
            defect = Defect(path=old_path, lines=(int(line),), kind="blamed")
            cases[sha] = self._case(commit, self._commit_tree(commit, None), defect)
        elif known.defect is not None and known.defect.path == old_path:
            lines = tuple(sorted({*known.defect.lines, int(line)}))
            cases[sha] = replace(known, defect=replace(known.defect, lines=lines))

    async def _tested(self, tests: Sequence[str], sandbox: Sandbox, limit_s: float) -> Ran:
        ran = await sandbox.run(tests, self.root, limit_s=limit_s)
        if ran.exit_code == NOT_FOUND:
            raise EvidenceError(f"The tests cannot be run: {ran.output.strip()[-300:]}")
        return ran

    def _files(self, commit: "Commit") -> dict[str, tuple[str, str]]:
        """What the change did to each readable file."""
        files = {}
        for diff in commit.parents[0].diff(commit):
            if diff.b_path is None or diff.deleted_file or diff.b_blob is None or diff.b_blob.size > MAX_FILE_BYTES:
                continue
            try:
                after = diff.b_blob.data_stream.read().decode()
                before = "" if diff.new_file or diff.a_blob is None else diff.a_blob.data_stream.read().decode()
            except (UnicodeDecodeError, ValueError):
                self.skipped["files that cannot be read"] += 1
                continue
            files[diff.b_path] = (before, after)
        if len(files) > MAX_FILES:
            self.skipped["changes of too many files"] += 1
            return {}
        return files

    def _commit_tree(self, commit: "Commit", mutated: str | None) -> str:
        """The change as one commit on its base. Mutant and twin differ in nothing but the defect."""
        git = self._repo.git
        git.read_tree(commit.tree.hexsha)
        if mutated is not None:
            blob = git.hash_object("-w", "--no-filters", "--", mutated)
            mode = git.ls_tree(commit.hexsha, "--", mutated).split()[0]
            git.update_index("--cacheinfo", f"{mode},{blob},{mutated}")
        tree = git.write_tree()
        date = {"GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z"}
        with git.custom_environment(**date):
            made = git.execute(["git", *IDENTITY, "commit-tree", tree, "-p", commit.parents[0].hexsha, "-m", "Change"])
        return str(made).strip()

    def _case(self, commit: "Commit", head: str, defect: Defect | None) -> Case:
        title, _, description = str(commit.message).strip().partition("\n")
        return Case(
            commit=commit.hexsha,
            base=commit.parents[0].hexsha,
            head=head,
            title=title,
            description=description.strip(),
            defect=defect,
        )


def _changed_old_lines(before: str, after: str) -> set[int]:
    """Numbers from 0 of the lines of `before` that went or were changed."""
    lines: set[int] = set()
    shift = 0
    for edit in edits_between(before, after):
        at = edit.offset - shift
        if edit.removed.strip():
            first = before.count("\n", 0, at)
            lines.update(range(first, first + edit.removed.rstrip("\n").count("\n") + 1))
        shift += len(edit.inserted) - len(edit.removed)
    return lines


def _is_test(path: str) -> bool:
    """A defect in a test is noticed by that test, which says nothing about reviewing."""
    return re.search(r"(^|/)(tests?|spec)/|(^|/)(test_|conftest)|[._-](test|spec)\.", path) is not None


def _order(seed: str, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()
