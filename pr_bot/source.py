"""The files of one commit as the review needs them: lines, functions, and what a suggestion would make of them."""

from collections.abc import Iterable
from dataclasses import replace

from analysis.syntax import Definition, enclosing_function, error_count, language_of
from pr_bot.anchors import Anchor, AnchorKind
from pr_bot.diff import FileDiff, Hunk, Side
from pr_bot.findings import Placed, PostedAt, with_suggestion
from pr_bot.git import Repository
from pr_bot.hygiene import redact
from pr_bot.lines import track
from pr_bot.neighbours import Spot

__all__ = ["Source", "apply", "check_suggestion"]

MAX_FILE_BYTES = 1_000_000
"""Larger files are data; parsing them would cost more than a context is worth."""

MAX_CONTEXT_LINES = 60
"""A longer function is shown by its head alone: the rest of the budget belongs to the diff."""


class Source:
    """Blobs of one commit, each read and decoded once."""

    def __init__(self, repository: Repository, commit: str) -> None:
        self.commit = commit
        self._repository = repository
        # Where git could not fetch, the change came from the API, and there is nothing here to read.
        self._is_here = repository.has_commit(commit)
        self._texts: dict[str, str | None] = {}
        self._functions: dict[tuple[str, int], Definition | None] = {}

    def text(self, path: str) -> str | None:
        """The file's text; None if it is no regular file, too large, or not UTF-8."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> str | None:
        data = self._repository.blob(self.commit, path) if self._is_here else None
        if data is None or len(data) > MAX_FILE_BYTES:
            return None
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def function(self, path: str, line: int) -> Definition | None:
        """The function around a line (from 1)."""
        key = (path, line)
        if key not in self._functions:
            text = self.text(path)
            self._functions[key] = None if text is None else enclosing_function(text, line - 1, language_of(path))
        return self._functions[key]

    def function_name(self, anchor: Anchor) -> str | None:
        """The enclosing function's name and place, equal for two findings in one function."""
        if anchor.end_line is None or anchor.side is Side.LEFT:
            return None
        found = self.function(anchor.path, anchor.end_line)
        return None if found is None else f"{found.name}:{found.start_line}"

    def now_at(self, posted: Iterable[PostedAt]) -> list[Spot]:
        """Where findings that were posted at earlier heads stand in this one; a lost place counts as the whole file."""
        before: dict[str, Source] = {}
        found = []
        for place in posted:
            source = before.setdefault(place.head, Source(self._repository, place.head))
            reviewed = source.text(place.path)
            anchor = Anchor(kind=AnchorKind.FILE, path=place.path)
            if reviewed is not None and place.start_line is not None and place.end_line is not None:
                now = track(reviewed, self.text(place.path), place.start_line, place.end_line)
                if now.start_line is not None:
                    anchor = replace(anchor, kind=AnchorKind.EXACT, start_line=now.start_line, end_line=now.end_line)
            found.append(Spot(anchor, self.function_name(anchor)))
        return found

    def context(self, entry: FileDiff, hunk: Hunk) -> str:
        """The function that a hunk lies in, where the hunk does not show its head anyway."""
        numbers = [line.new for line in hunk.lines if line.new is not None]
        if not numbers:
            return ""
        found = self.function(entry.path, numbers[len(numbers) // 2])
        text = self.text(entry.path)
        if found is None or text is None or found.start_line + 1 >= numbers[0]:
            return ""
        lines = text.split("\n")[found.start_line : found.end_line + 1][:MAX_CONTEXT_LINES]
        body = "\n".join(f"{f'R{found.start_line + 1 + offset}':>7}   {line}" for offset, line in enumerate(lines))
        return f"## {entry.path} (unchanged surroundings, for reading only)\n{body}"


def check_suggestion(finding: Placed, source: Source) -> Placed:
    """The finding with its suggestion if that applies, parses and changes something; else with the reason why not."""
    wanted = finding.claim.suggestion
    if wanted is None or not wanted.strip():
        return with_suggestion(finding, None, None)
    anchor = finding.anchor
    replacement = _unfenced(wanted)
    if redact(replacement) != replacement:
        return with_suggestion(finding, None, "it holds a secret")
    if not anchor.is_inline or anchor.side is Side.LEFT:
        return with_suggestion(finding, None, "not on lines of the new file")
    if anchor.kind is not AnchorKind.EXACT:
        return with_suggestion(finding, None, "its lines were found by their text")
    before = source.text(anchor.path)
    if before is None or anchor.start_line is None or anchor.end_line is None:
        return with_suggestion(finding, None, "the file is not text")
    after = apply(before, anchor.start_line, anchor.end_line, replacement)
    if after is None:
        return with_suggestion(finding, None, "the lines are not in the file")
    if _squeezed(after) == _squeezed(before):
        return with_suggestion(finding, None, "it changes nothing")
    language = language_of(anchor.path)
    errors_before, errors_after = error_count(before, language), error_count(after, language)
    if errors_before is None or errors_after is None:
        return with_suggestion(finding, None, "its syntax could not be checked")
    if errors_after > errors_before:
        return with_suggestion(finding, None, "it would not parse")
    return with_suggestion(finding, replacement, None)


def apply(text: str, start_line: int, end_line: int, replacement: str) -> str | None:
    """The text with lines `start_line` to `end_line` (from 1) replaced; None if it has no such lines."""
    lines = text.split("\n")
    if not 1 <= start_line <= end_line <= len(lines):
        return None
    # Git shows a carriage return as part of the line, and GitHub keeps a file's line ends.
    end = "\r" if lines[end_line - 1].endswith("\r") else ""
    new = [line.removesuffix("\r") + end for line in replacement.split("\n")]
    return "\n".join([*lines[: start_line - 1], *new, *lines[end_line:]])


def _unfenced(text: str) -> str:
    """The code alone: models like to put a fence around it, and a last newline would add an empty line."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    if len(lines) >= 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(lines)


def _squeezed(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n")]
