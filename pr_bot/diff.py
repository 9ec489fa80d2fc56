"""A change as a list of files, hunks and numbered lines of both sides.

Own parser, because a review must not lose a line: the libraries at hand split at form feeds and lone carriage returns
as well as at newlines, which shifts every number behind them, or refuse headers that leave out their counts.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from codetrial.errors import ReviewError

if TYPE_CHECKING:
    from pr_bot.git import Repository

__all__ = ["Change", "Diff", "FileDiff", "Hunk", "Line", "Side", "local_diff", "numbered", "parse", "parse_patch"]

MAX_DIFF_BYTES = 32 * 1024 * 1024
"""Beyond this a change is generated or vendored; it is refused with a sentence instead of filling the memory."""

CONTEXT_LINES = 3
"""As GitHub shows them: only lines in these hunks can carry a comment."""


class Side(StrEnum):
    LEFT = "LEFT"
    """The old file: deleted lines only."""
    RIGHT = "RIGHT"
    """The new file: added lines and the context around them."""


class Change(StrEnum):
    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    RENAMED = "renamed"
    COPIED = "copied"
    MODE = "mode"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a hunk; `old` is None for an added line, `new` for a deleted one."""

    old: int | None
    new: int | None
    text: str

    @property
    def side(self) -> Side:
        """The side a comment on this line belongs to."""
        return Side.LEFT if self.new is None else Side.RIGHT

    @property
    def is_change(self) -> bool:
        return self.old is None or self.new is None

    def number(self, side: Side) -> int | None:
        """Its number on that side if a comment may be anchored there: context counts for the right side only."""
        if side is Side.RIGHT:
            return self.new
        return self.old if self.new is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    header: str
    """What git prints after the second `@@`: the line it takes for the function's head."""
    lines: tuple[Line, ...]

    @property
    def changed(self) -> int:
        return sum(line.is_change for line in self.lines)

    def numbers(self, side: Side) -> frozenset[int]:
        """The line numbers in this hunk that a comment on that side may name."""
        return frozenset(number for line in self.lines if (number := line.number(side)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    path: str
    """In the new tree; in the old one if it was deleted."""
    old_path: str
    change: Change
    hunks: tuple[Hunk, ...] = ()
    is_binary: bool = False
    is_submodule: bool = False
    is_symlink: bool = False

    @property
    def changed(self) -> int:
        return sum(hunk.changed for hunk in self.hunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A whole change: from where the histories part to the head."""

    merge_base: str
    head: str
    files: tuple[FileDiff, ...]
    missing: tuple[tuple[str, str], ...] = ()
    """Files whose lines could not be had, each with the reason: they count against the stated coverage."""

    def file(self, path: str) -> FileDiff | None:
        """The file of that name; a renamed one also by its old name."""
        for entry in self.files:
            if entry.path == path:
                return entry
        renamed = [entry for entry in self.files if entry.old_path == path]
        return renamed[0] if len(renamed) == 1 else None


def local_diff(repository: "Repository", base: str, head: str) -> Diff:
    """The change between the merge base of two revisions and the second of them, by local git.

    Raises:
        ReviewError: a revision is missing here, or the change is larger than MAX_DIFF_BYTES.
    """
    base_commit, head_commit = repository.commit(base), repository.commit(head)
    merge_base = repository.merge_base(base_commit, head_commit)
    raw = repository.data(
        "diff", "--patch", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "--find-renames",
        f"--unified={CONTEXT_LINES}", "--diff-algorithm=histogram", "--ignore-submodules=none", "--submodule=short",
        "--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", merge_base, head_commit, "--",
    )  # fmt: skip
    if len(raw) > MAX_DIFF_BYTES:
        raise ReviewError(
            f"The change is {len(raw) // 1024 // 1024} MiB of diff, more than the {MAX_DIFF_BYTES // 1024 // 1024} MiB "
            "that one review takes: split it, or exclude generated files with `ignore`."
        )
    return Diff(merge_base=merge_base, head=head_commit, files=tuple(parse(raw.decode("utf-8", "replace"))))


_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$", re.DOTALL)
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_OCTAL = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')


def parse(text: str) -> Iterator[FileDiff]:
    """The files of a `git diff`."""
    header: list[str] = []
    body: list[str] = []
    for line in text.split("\n"):
        # A line of a hunk starts with a blank, a sign or a backslash, so this prefix cannot stand inside one.
        if line.startswith("diff --git "):
            if header:
                yield _file(header, body)
            header, body = [line], []
        elif body or line.startswith("@@ "):
            body.append(line)
        elif header:
            header.append(line)
    if header:
        yield _file(header, body)


def parse_patch(path: str, old_path: str, change: Change, patch: str) -> FileDiff:
    """A file from the `patch` field of GitHub's files endpoint: hunks without git's header."""
    return FileDiff(path=path, old_path=old_path, change=change, hunks=tuple(_hunks(patch.split("\n"))))


def _file(header: list[str], body: list[str]) -> FileDiff:
    entry = FileDiff(path="", old_path="", change=Change.MODIFIED, hunks=tuple(_hunks(body)))
    for line in header[1:]:
        entry = _with_header_line(entry, line)
    if not entry.path or not entry.old_path:
        old, new = _paths_of_first_line(header[0])
        entry = replace(entry, old_path=entry.old_path or old, path=entry.path or new)
    if entry.change is Change.DELETED:
        entry = replace(entry, path=entry.old_path)
    elif entry.change is Change.ADDED:
        entry = replace(entry, old_path=entry.path)
    return entry


def _with_header_line(entry: FileDiff, line: str) -> FileDiff:
    key, _, value = line.partition(" ")
    words = line.split(" ")
    if key in ("---", "+++"):
        # git ends a name with a space in it with a tab here.
        name = _unquote(value.removesuffix("\t"))
        if name == "/dev/null":
            return entry
        name = name[2:]
        return replace(entry, old_path=name) if key == "---" else replace(entry, path=name)
    if line.startswith(("rename from ", "copy from ")):
        return replace(entry, old_path=_unquote(line.split(" from ", 1)[1]))
    if line.startswith(("rename to ", "copy to ")):
        change = Change.RENAMED if key == "rename" else Change.COPIED
        return replace(entry, path=_unquote(line.split(" to ", 1)[1]), change=change)
    if line.startswith(("new file mode ", "deleted file mode ")):
        change = Change.ADDED if key == "new" else Change.DELETED
        return _with_mode(replace(entry, change=change), words[-1])
    if line.startswith("old mode ") and entry.change is Change.MODIFIED and not entry.hunks:
        return replace(entry, change=Change.MODE)
    if key == "index" and len(words) == 3:
        return _with_mode(entry, words[2])
    if line.startswith(("Binary files ", "GIT binary patch")):
        return replace(entry, is_binary=True)
    return entry


def _with_mode(entry: FileDiff, mode: str) -> FileDiff:
    return replace(entry, is_submodule=mode == "160000", is_symlink=mode == "120000")


def _paths_of_first_line(line: str) -> tuple[str, str]:
    """The two names of `diff --git A B`, where no other header line has them (binary files, changes of mode)."""
    rest = line.removeprefix("diff --git ")
    if rest.startswith('"'):
        end = re.match(r'"(?:\\.|[^"\\])*"', rest)
        old = rest[: end.end()] if end else rest
        return _unquote(old)[2:], _unquote(rest[len(old) + 1 :])[2:]
    if rest.endswith('"'):
        old, _, new = rest.partition(' "')
        return old[2:], _unquote('"' + new)[2:]
    # Without a rename both names are equal, so the blank in the middle parts them whatever blanks they hold.
    middle = len(rest) // 2
    return rest[2:middle], rest[middle + 3 :]


def _unquote(name: str) -> str:
    """A path as git quotes it in C style, as text; bytes that are not UTF-8 become U+FFFD."""
    if not (len(name) >= 2 and name[0] == name[-1] == '"'):
        return name

    def byte(match: re.Match[bytes]) -> bytes:
        code = match[1].decode()
        return bytes([int(code, 8) & 255 if len(code) == 3 else _ESCAPES[code]])

    return _OCTAL.sub(byte, name[1:-1].encode()).decode("utf-8", "replace")


def _hunks(lines: Iterable[str]) -> Iterator[Hunk]:
    header: str | None = None
    gathered: list[Line] = []
    old = new = old_left = new_left = 0
    for text in lines:
        if header is not None and (old_left > 0 or new_left > 0):
            sign, content = text[:1], text[1:]
            if sign == "\\":
                continue
            if sign == "+":
                gathered.append(Line(None, new, content))
            elif sign == "-":
                gathered.append(Line(old, None, content))
            else:
                gathered.append(Line(old, new, content))
            if sign != "+":
                old, old_left = old + 1, old_left - 1
            if sign != "-":
                new, new_left = new + 1, new_left - 1
            continue
        match = _HUNK.match(text)
        if match is None:
            continue
        if header is not None:
            yield Hunk(header=header, lines=tuple(gathered))
        # A count that is left out means one line; `-0,0` starts a file, and its zero is no line.
        old, old_left = int(match[1]), int(match[2] if match[2] is not None else 1)
        new, new_left = int(match[3]), int(match[4] if match[4] is not None else 1)
        header, gathered = match[5], []
    if header is not None:
        yield Hunk(header=header, lines=tuple(gathered))


def numbered(entry: FileDiff, hunks: Iterable[Hunk] | None = None) -> str:
    """A file's hunks as both arms read them: each line with its side and its number there.

    `R12` is line 12 of the new file, `L9` line 9 of the old one; a context line can be named by its `R` number.
    """
    title = f"## {entry.path}" if entry.old_path == entry.path else f"## {entry.path} (was {entry.old_path})"
    parts = [f"{title} [{entry.change}]"]
    for hunk in entry.hunks if hunks is None else hunks:
        parts.append(f"@@ {hunk.header}".rstrip())
        parts.extend(_numbered_line(line) for line in hunk.lines)
    return "\n".join(parts)


def _numbered_line(line: Line) -> str:
    if line.new is None:
        return f"{f'L{line.old}':>7} - {line.text}"
    return f"{f'R{line.new}':>7} {'+' if line.old is None else ' '} {line.text}"
