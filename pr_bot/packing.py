"""What of a change goes into the prompt: the riskiest first, the same for both arms, and said aloud.

A review that silently saw a part of the change reads as "no issues" for the rest, so the coverage is part of the
result.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePosixPath

import pathspec

from pr_bot.diff import Change, Diff, FileDiff, Hunk, numbered

__all__ = ["DEFAULT_IGNORE", "Coverage", "Packed", "pack"]

DEFAULT_IGNORE = (
    "*.lock", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "go.sum", "*.min.js", "*.min.css", "*.map",
    "*.snap", "*.svg", "*.pb.go", "*_pb2.py", "*_pb2_grpc.py", "*.generated.*", "vendor/", "node_modules/",
    "third_party/", "dist/", "__snapshots__/",
)  # fmt: skip
"""Files that nobody writes by hand."""

_PROSE = frozenset({".md", ".rst", ".txt", ".adoc"})
_SETTINGS = frozenset({".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".xml", ".csv", ".tsv"})

MAX_LINE_CHARS = 500
"""Longer lines are data or minified: their rest is cut, with a mark that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the change the arms were shown; the same for both."""

    changed_lines: int
    shown_lines: int
    partly: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """Files that were not shown, each with the reason."""

    @property
    def is_complete(self) -> bool:
        return not self.partly and all(reason == "ignored" for _, reason in self.left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    text: str
    coverage: Coverage
    shown: tuple[FileDiff, ...]
    """The files with only the hunks that were shown."""


def pack(
    diff: Diff,
    *,
    max_chars: int,
    ignore: Sequence[str] = DEFAULT_IGNORE,
    context: Callable[[FileDiff, Hunk], str] | None = None,
) -> Packed:
    """Fill the budget hunk by hunk, riskiest file first.

    Args:
        max_chars: Budget in characters; models count tokens differently, and both arms must get the same text.
        context: Gives the enclosing function of a hunk, or nothing; added where the budget allows.
    """
    ignored = pathspec.GitIgnoreSpec.from_lines(ignore)
    left_out = list(diff.missing)
    parts: list[str] = []
    partly: list[str] = []
    shown: list[FileDiff] = []
    left_chars = max_chars
    for entry in sorted(diff.files, key=_risk):
        if reason := _why_not(entry, ignored):
            left_out.append((entry.path, reason))
            continue
        hunks, text = _fit(entry, left_chars)
        if not hunks:
            left_out.append((entry.path, "too large"))
            continue
        if sum(hunk.changed for hunk in hunks) < entry.changed:
            partly.append(entry.path)
        left_chars -= len(text)
        parts.append(text)
        shown.append(_with_hunks(entry, hunks))
    if context is not None:
        parts.extend(_contexts(shown, context, left_chars))
    counted = [entry for entry in diff.files if _why_not(entry, ignored) != "ignored"]
    coverage = Coverage(
        changed_lines=sum(entry.changed for entry in counted),
        shown_lines=sum(entry.changed for entry in shown),
        partly=tuple(partly),
        left_out=tuple(left_out),
    )
    return Packed(text="\n\n".join(parts), coverage=coverage, shown=tuple(shown))


def _risk(entry: FileDiff) -> tuple[int, int, str]:
    """Code before tests before settings before prose; among equals the larger change first."""
    path = PurePosixPath(entry.path)
    if path.suffix in _PROSE:
        kind = 3
    elif path.suffix in _SETTINGS:
        kind = 2
    elif any(part in ("test", "tests", "spec", "__tests__") for part in path.parts) or path.name.startswith("test_"):
        kind = 1
    else:
        kind = 0
    return kind, -entry.changed, entry.path


def _why_not(entry: FileDiff, ignored: pathspec.GitIgnoreSpec) -> str | None:
    if ignored.match_file(entry.path):
        return "ignored"
    if entry.is_submodule:
        return "submodule"
    if entry.is_binary:
        return "binary"
    if not entry.hunks:
        return "renamed only" if entry.change in (Change.RENAMED, Change.COPIED) else "no lines"
    return None


MIN_PART_CHARS = 1_500
"""Less of a hunk than this helps nobody; the budget is better spent on a smaller file."""


def _fit(entry: FileDiff, max_chars: int) -> tuple[tuple[Hunk, ...], str]:
    """The hunks, the last of them perhaps only in part, that the budget holds."""
    chosen: tuple[Hunk, ...] = ()
    text = ""
    left = max_chars - len(entry.path) - 40
    for hunk in entry.hunks:
        left -= len(hunk.header) + 4
        sizes = [min(len(line.text), MAX_LINE_CHARS) + 12 for line in hunk.lines]
        if sum(sizes) <= left:
            chosen = (*chosen, hunk)
            left -= sum(sizes)
            continue
        if left >= MIN_PART_CHARS:
            # A new file is one hunk: without this, everything large and new would go unseen.
            fitting = sum(1 for total in accumulate(sizes) if total <= left)
            chosen = (*chosen, Hunk(header=hunk.header, lines=hunk.lines[:fitting]))
        break
    if chosen:
        text = "\n".join(_shorten(line) for line in numbered(entry, chosen).split("\n"))
    return chosen, text


def _shorten(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARS else line[:MAX_LINE_CHARS] + " [line cut here]"


def _with_hunks(entry: FileDiff, hunks: tuple[Hunk, ...]) -> FileDiff:
    return FileDiff(path=entry.path, old_path=entry.old_path, change=entry.change, hunks=hunks)


def _contexts(shown: Iterable[FileDiff], context: Callable[[FileDiff, Hunk], str], left_chars: int) -> Iterable[str]:
    for entry in shown:
        for hunk in entry.hunks:
            text = context(entry, hunk)
            if text and len(text) <= left_chars:
                left_chars -= len(text)
                yield text
