"""Real commits of a real repository as edits: the file as it stood, and what was then typed where, in order.

Git knows states, not keystrokes. Between two states this module takes the smallest line difference and narrows each
piece to the words that changed, which is the least that somebody must have typed. What cannot have been typed (merges,
binaries, generated giants) is skipped and counted, never silently.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pathspec

from analysis.changed_files import ChangedFile, changed_files
from analysis.syntax import language_of
from codetrial.errors import EvidenceError

if TYPE_CHECKING:
    from git import Commit, Repo

__all__ = ["Change", "Edit", "FileChange", "History", "Release", "Selection", "build_from_releases", "edits_between"]

LFS_HEADER = b"version https://git-lfs.github.com/spec/"
BINARY_PROBE_BYTES = 8000
"""Git's own rule: a NUL within so many bytes makes a file binary."""

SUBMODULE_MODE = 0o160000
SYMLINK_MODE = 0o120000

CONTENTS = 64
"""Files that are kept: none is larger than `max_file_bytes`, so some megabytes."""

ALIKE = 0.5
"""Lines less alike than this were written anew rather than changed."""

RELEASE_AUTHOR = "Release history"
RELEASE_ADDRESS = "releases@localhost"
PIP_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Edit:
    """One place where somebody typed: something goes, something comes."""

    offset: int
    """Characters from the start of the text as it stands once all earlier edits of the file are made."""
    removed: str
    inserted: str

    def apply(self, text: str) -> str:
        assert text.startswith(self.removed, self.offset)
        return text[: self.offset] + self.inserted + text[self.offset + len(self.removed) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What a commit did to one file."""

    path: str
    """Relative to the repository's root, with `/`; the new name if it was renamed."""
    language: str
    before: str
    """"" if the commit made the file."""
    after: str
    edits: tuple[Edit, ...]
    """In file order; made one after the other they turn `before` into `after`."""

    @property
    def typed_chars(self) -> int:
        return sum(len(edit.inserted) for edit in self.edits)

    def only(self, chosen: Sequence[int]) -> "FileChange":
        """The same change with some of its edits, by number; the others are not made at all.

        Making them silently would put text on the page that was written later than what is being typed.
        """
        kept: list[Edit] = []
        shift = 0
        for number, edit in enumerate(self.edits):
            if number in chosen:
                kept.append(replace(edit, offset=edit.offset + shift))
            else:
                shift += len(edit.removed) - len(edit.inserted)
        text = self.before
        for edit in kept:
            text = edit.apply(text)
        return replace(self, edits=tuple(kept), after=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One commit, as far as it can be typed."""

    commit: str
    parent: str | None
    author: str
    """Name only; addresses stay in the repository."""
    authored_at: datetime
    subject: str
    files: tuple[FileChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of a history to take. Every field narrows; the defaults take what a person could have typed."""

    since: datetime | None = None
    until: datetime | None = None
    author: str | None = None
    """Part of a name or address, in any case."""
    paths: tuple[str, ...] = ()
    """gitignore-style; empty takes all."""
    languages: tuple[str, ...] = ()
    revision: str = "HEAD"
    max_commits: int | None = None
    """The newest so many that are left after all other rules."""
    max_file_bytes: int = 400_000
    """What is bigger was generated."""
    max_typed_chars: int = 20_000
    """Per file; nobody types more than this into one file for one commit: it was moved or pasted."""
    with_new_files: bool = True


class History:
    """The commits of a repository. Read only: nothing in the repository changes.

    Raises:
        EvidenceError: there is no git, or no repository, or it has no commits; says which, and the mend.
    """

    def __init__(self, path: Path) -> None:
        self.skipped: Counter[str] = Counter()
        """How many commits and files were left out, by reason; grows while `changes` is read."""
        self._repo = _open(path)
        # What a commit leaves is what the next one begins with.
        self._content = lru_cache(maxsize=CONTENTS)(partial(_content, self._repo))
        with _translated(path):
            self._boundary = _boundary(self._repo)

    @property
    def is_shallow(self) -> bool:
        """True for a clone with `--depth`: what is older cannot be seen."""
        return bool(self._boundary)

    @property
    def root(self) -> Path:
        return Path(self._repo.working_tree_dir or self._repo.git_dir)

    def changes(self, selection: Selection | None = None) -> Iterator[Change]:
        """The selected commits, oldest first, each with at least one file that can be typed."""
        chosen = selection or Selection()
        spec = pathspec.GitIgnoreSpec.from_lines(chosen.paths) if chosen.paths else None
        found: list[Commit] = []
        with _translated(self.root):
            # Not iter_commits: broken off early, it leaves its process behind.
            for identifier in self._repo.git.rev_list(chosen.revision, "--").split():
                commit = self._repo.commit(identifier)
                if self._is_chosen(commit, chosen):
                    found.append(commit)
                if chosen.max_commits is not None and len(found) >= chosen.max_commits:
                    break
            found.reverse()
            changed = changed_files(Path(self._repo.git_dir), [commit.hexsha for commit in found])
            for commit, files in zip(found, changed, strict=True):
                change = self._change(commit, files, chosen, spec)
                if change is not None:
                    yield change

    def _is_chosen(self, commit: "Commit", chosen: Selection) -> bool:
        if len(commit.parents) > 1:
            self.skipped["merge"] += 1
            return False
        if commit.hexsha in self._boundary:
            self.skipped["shallow_boundary"] += 1  # It names parents that are not here: what it changed is unknown.
            return False
        if not commit.parents:
            self.skipped["first_commit"] += 1
            return False
        if (chosen.since and commit.authored_datetime < chosen.since) or (
            chosen.until and commit.authored_datetime >= chosen.until
        ):
            self.skipped["date"] += 1
            return False
        who = f"{commit.author.name or ''} {commit.author.email or ''}".lower()
        if chosen.author and chosen.author.lower() not in who:
            self.skipped["author"] += 1
            return False
        return True

    def _change(
        self,
        commit: "Commit",
        changed: Sequence[ChangedFile],
        chosen: Selection,
        spec: pathspec.GitIgnoreSpec | None,
    ) -> Change | None:
        [parent] = commit.parents
        files = []
        for one in changed:
            file = self._file(one, chosen, spec)
            if isinstance(file, str):
                self.skipped[file] += 1
            else:
                files.append(file)
        if not files:
            self.skipped["nothing_to_type"] += 1
            return None
        return Change(
            commit=commit.hexsha,
            parent=parent.hexsha,
            author=commit.author.name or "",
            authored_at=commit.authored_datetime.astimezone(UTC),
            subject=_text(commit.summary),
            files=tuple(files),
        )

    def _file(self, changed: ChangedFile, chosen: Selection, spec: pathspec.GitIgnoreSpec | None) -> FileChange | str:
        """The change of one file, or the reason why it is left out."""
        if changed.is_deleted:
            return "deleted_file"
        if changed.is_new and not chosen.with_new_files:
            return "new_file"
        if SUBMODULE_MODE in changed.modes:
            return "submodule"
        if SYMLINK_MODE in changed.modes:
            return "symlink"
        if spec is not None and not spec.match_file(changed.path):
            return "path"
        language = language_of(changed.path)
        if chosen.languages and language not in chosen.languages:
            return "language"
        before = "" if changed.is_new else self._content(changed.blobs[0], chosen.max_file_bytes)
        after = self._content(changed.blobs[1], chosen.max_file_bytes)
        for side in (before, after):
            if isinstance(side, _Unreadable):
                return side.reason
        assert isinstance(before, str)
        assert isinstance(after, str)
        edits = edits_between(before, after)
        if not any(edit.inserted.strip() for edit in edits):
            return "nothing_inserted"
        file = FileChange(path=changed.path, language=language, before=before, after=after, edits=edits)
        return file if file.typed_chars <= chosen.max_typed_chars else "pasted"

    def checkout(self, folder: Path, revision: str) -> None:
        """Put the files of a revision into `folder`, a clone of this repository that is made on first use.

        The clone shares the objects and nothing else: the person's own files, index and branches are never touched.

        Raises:
            EvidenceError: the folder cannot be written, or an object is missing.
        """
        from git import Repo

        with _translated(folder):
            if not (folder / ".git").exists():
                Repo.clone_from(str(self._repo.common_dir), str(folder), no_checkout=True, shared=True).close()
            with Repo(folder) as clone:
                clone.git.checkout("--force", "--detach", revision)
                clone.git.clean("-fdxq")

    def close(self) -> None:
        self._repo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str


def _content(repo: "Repo", blob: str, max_bytes: int) -> str | _Unreadable:
    """A file's text, asked for once: git says its size in front of it."""
    try:
        found = repo.odb.stream(bytes.fromhex(blob))
        if found.size > max_bytes:
            return _Unreadable("huge_file")
        data = found.read()
    except ValueError:
        return _Unreadable("missing_object")  # A partial clone that would have to fetch it.
    if data.startswith(LFS_HEADER):
        return _Unreadable("lfs_pointer")
    if b"\0" in data[:BINARY_PROBE_BYTES]:
        return _Unreadable("binary_file")
    try:
        text: str = data.decode("utf-8")
    except UnicodeDecodeError:
        return _Unreadable("undecodable_file")
    # A lone carriage return ends a line for editors but not for git: positions would differ.
    return _Unreadable("odd_line_ends") if re.search(r"\r(?!\n)", text) else text


def edits_between(before: str, after: str) -> tuple[Edit, ...]:
    """The least that must be typed to turn one text into the other, in file order."""
    from rapidfuzz.distance import Indel  # In C++: difflib took seconds for a long file with many equal lines.

    old, new = _lines(before), _lines(after)
    blocks: list[_Block] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            continue
        if blocks and blocks[-1].old_end == step.src_start and blocks[-1].new_end == step.dest_start:
            last = blocks.pop()
            blocks.append(_Block(last.old_start, step.src_end, last.new_start, step.dest_end))
        else:
            blocks.append(_Block(step.src_start, step.src_end, step.dest_start, step.dest_end))
    edits: list[Edit] = []
    starts = _starts(new)
    floor = 0  # Blocks slide up at most to the end of the block before.
    for block in blocks:
        slid = _slide(block, new, floor)
        floor = slid.new_end
        removed, inserted = old[slid.old_start : slid.old_end], new[slid.new_start : slid.new_end]
        # Everything before a block is already as in `after`, so its place is the one in `after`.
        edits.extend(_edits_of(removed, inserted, starts[slid.new_start], after))
    return tuple(edits)


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines [old_start, old_end) became lines [new_start, new_end)."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def _lines(text: str) -> list[str]:
    """With their ends. Not `splitlines`: form feeds and Unicode separators end no line in git or in an editor."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _starts(lines: Sequence[str]) -> list[int]:
    return list(accumulate(map(len, lines), initial=0))


def _slide(block: _Block, new: Sequence[str], floor: int) -> _Block:
    """A pure insertion that could stand higher up as well is taken where it begins least indented.

    The smallest difference is not unique: between two functions it may begin with the last line of the first one. Git
    has its indent heuristic for the same reason.
    """
    if block.old_start != block.old_end:
        return block
    best, best_indent = block, _indent(new[block.new_start])
    up = 0
    while block.new_start - up > floor and new[block.new_start - up - 1] == new[block.new_end - up - 1]:
        up += 1
        indent = _indent(new[block.new_start - up])
        if indent < best_indent:
            best_indent = indent
            best = _Block(block.old_start - up, block.old_end - up, block.new_start - up, block.new_end - up)
    return best


def _indent(line: str) -> int:
    """Leading white space; blank lines count as deepest, since nobody begins a thought with one."""
    stripped = line.lstrip()
    return len(line) - len(stripped) if stripped else sys.maxsize


def _edits_of(removed: Sequence[str], inserted: Sequence[str], offset: int, after: str) -> Iterator[Edit]:
    from rapidfuzz.distance import Indel

    pairs = list(zip(removed, inserted, strict=False))
    if len(removed) == len(inserted) and all(Indel.normalized_similarity(a, b) >= ALIKE for a, b in pairs):
        for old, new in pairs:
            if old != new:
                yield _narrowed(old, new, offset)
            offset += len(new)
        return
    old, new = "".join(removed), "".join(inserted)
    newline = "\r\n" if new.endswith("\r\n") else "\n"
    if not old and new.endswith(newline) and after.endswith(newline, 0, offset):
        # New lines are typed at the end of the line above: Enter first, then the line.
        yield Edit(offset - len(newline), "", newline + new[: -len(newline)])
    else:
        yield _narrowed(old, new, offset)


def _narrowed(old: str, new: str, offset: int) -> Edit:
    """Without what both have in common at their ends, in whole words: nobody changes the middle of a word."""
    limit = min(len(old), len(new))
    start = 0
    while start < limit and old[start] == new[start]:
        start += 1
    while start and _is_word(old[start - 1]) and (_is_word(old[start : start + 1]) or _is_word(new[start : start + 1])):
        start -= 1
    end = 0
    while end < limit - start and old[-end - 1] == new[-end - 1]:
        end += 1
    while end and _is_word(old[len(old) - end]) and _is_word_before(old, new, start, end):
        end -= 1
    return Edit(offset + start, old[start : len(old) - end], new[start : len(new) - end])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_word_before(old: str, new: str, start: int, end: int) -> bool:
    return any(len(text) - end > start and _is_word(text[len(text) - end - 1]) for text in (old, new))


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _open(path: Path) -> "Repo":
    try:
        import git
    except ImportError as fault:
        raise EvidenceError("There is no `git` on PATH: install it (for instance `apt install git`).") from fault
    try:
        repo = git.Repo(path, search_parent_directories=True)
    except git.exc.NoSuchPathError as fault:
        raise EvidenceError(f"There is no folder {path}.") from fault
    except git.exc.InvalidGitRepositoryError as fault:
        raise EvidenceError(f"{path} is not a git repository: name one, or run `git init` there.") from fault
    if not repo.head.is_valid():
        repo.close()
        raise EvidenceError(f"{path} has no commits yet: there is no history to read.")
    return repo


def _boundary(repo: "Repo") -> frozenset[str]:
    """The oldest commits of a shallow clone."""
    shallow = Path(repo.common_dir) / "shallow"
    return frozenset(shallow.read_text(encoding="ascii").split()) if shallow.is_file() else frozenset()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    import git

    try:
        yield
    except git.exc.GitCommandError as fault:
        said = _text(fault.stderr).strip().removeprefix("stderr: ").strip("'\n ").splitlines()
        raise EvidenceError(f"git could not read {path}: {said[-1] if said else fault.status}") from fault
    except OSError as fault:
        raise EvidenceError(f"Cannot use {fault.filename or path}: {fault.strerror}.") from fault


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a package in a registry."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def build_from_releases(
    folder: Path, releases: Sequence[Release], *, progress: Callable[[int, Release], None] | None = None
) -> Path:
    """A repository whose commits are the successive releases of a package, files as released.

    Packages are downloaded with pip and unpacked; nothing in them is executed. Does nothing if it is there already,
    and an interrupted build leaves nothing behind under `folder`.

    Raises:
        EvidenceError: no network, no such release, no git, or the folder cannot be written.
    """
    if (folder / ".git").exists():
        return folder
    try:
        from git import Actor, Repo
    except ImportError as fault:
        raise EvidenceError("There is no `git` on PATH: install it (for instance `apt install git`).") from fault
    downloads = folder.with_name(f"{folder.name}.downloads")
    draft = folder.with_name(f"{folder.name}.draft")
    with _translated(folder):
        downloads.mkdir(parents=True, exist_ok=True)
        _remove(draft)
        draft.mkdir()
        author = Actor(RELEASE_AUTHOR, RELEASE_ADDRESS)
        with Repo.init(draft, initial_branch="main") as repo:
            for number, release in enumerate(releases):
                if progress is not None:
                    progress(number, release)
                archive = _download(release, downloads)
                files = _files_of(archive)
                _replace_tree(draft, files.contents)
                repo.git.add("--all", "--force")  # The person's own ignore rules do not hold here.
                when = files.released_at
                repo.index.commit(
                    str(release), author=author, committer=author, author_date=when, commit_date=when, skip_hooks=True
                )
        draft.rename(folder)
        _remove(downloads)
    return folder


def _download(release: Release, folder: Path) -> Path:
    name = release.package.replace("-", "_")
    found = [p for p in folder.iterdir() if p.name.lower().startswith(f"{name}-{release.version}".lower())]
    if not found:
        command = [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{release.package}=={release.version}"]
        try:
            pip = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S)
        except subprocess.TimeoutExpired as fault:
            raise EvidenceError(
                f"pip did not get {release} within {PIP_TIMEOUT_S:.0f} s: check the network."
            ) from fault
        found = [p for p in folder.iterdir() if p.name.lower().startswith(f"{name}-{release.version}".lower())]
        if pip.returncode or not found:
            said = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")] or ["pip said nothing"]
            raise EvidenceError(
                f"pip could not download {release}: {said[0]} Check the network and pip's index settings, "
                "or name a repository of your own: `codetrial demo PATH`."
            )
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Released:
    contents: Mapping[str, bytes]
    released_at: datetime
    """The newest time stamp inside."""


def _files_of(archive: Path) -> _Released:
    """The text of a release by path. Names that would leave the folder are refused, metadata is left out."""
    contents: dict[str, bytes] = {}
    newest = datetime(1980, 1, 1, tzinfo=UTC)
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            path = PurePosixPath(member.filename)
            if member.is_dir() or path.is_absolute() or ".." in path.parts or path.parts[0].endswith(".dist-info"):
                continue
            contents[str(path)] = wheel.read(member)
            newest = max(newest, datetime(*member.date_time, tzinfo=UTC))
    if not contents:
        raise EvidenceError(f"{archive.name} holds no files: it cannot be a commit.")
    return _Released(contents=contents, released_at=newest)


def _replace_tree(root: Path, contents: Mapping[str, bytes]) -> None:
    for child in root.iterdir():
        if child.name != ".git":
            _remove(child)
    for name, data in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
