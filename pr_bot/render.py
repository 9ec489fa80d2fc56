"""One renderer for both arms: nothing of how a comment looks may tell which arm wrote it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pr_bot.diff import Side
from pr_bot.findings import Placed
from pr_bot.hygiene import code_block, inline_code, plain_line, redact, safe_markdown
from pr_bot.packing import Coverage

__all__ = ["MAX_BODY_CHARS", "finding_text", "last_marker", "markers", "review_body", "with_marker"]

MAX_BODY_CHARS = 60_000
"""GitHub refuses 65,536; the difference is for what it counts otherwise than we do."""

MAX_TITLE_CHARS = 140
MAX_TEXT_CHARS = 1_500
"""Both arms alike: length would tell them apart."""
MAX_SUGGESTION_CHARS = 6_000

_MARKER = re.compile(r"<!-- codetrial:1:([0-9a-f]{24}) -->")
_LABELS = {"critical": "Critical", "major": "Major", "minor": "Minor", "nit": "Nit"}


def finding_text(finding: Placed) -> str:
    """A finding as Markdown, without its marker: what is posted, and what is stored as the suggestion's text."""
    claim = finding.claim
    parts = [f"**{plain_line(claim.title, MAX_TITLE_CHARS)}**", safe_markdown(claim.body, MAX_TEXT_CHARS)]
    if finding.suggestion is not None:
        parts.append(code_block(finding.suggestion, "suggestion"))
    elif claim.suggestion and claim.suggestion.strip():
        parts.append(f"Suggested ({finding.suggestion_note or 'not applied'}):")
        parts.append(code_block(redact(claim.suggestion)[:MAX_SUGGESTION_CHARS].strip("\n")))
    parts.append(f"<sub>{_LABELS[claim.severity]} · {claim.category}</sub>")
    return "\n\n".join(part for part in parts if part)


def with_marker(text: str, marker: str) -> str:
    """The text with its opaque id in the last line, after everything that a model or a stranger wrote."""
    return f"{text}\n\n<!-- codetrial:1:{marker} -->"


def last_marker(body: str) -> str | None:
    """The id a comment carries. Only the last line counts: what stands before it may be somebody's imitation."""
    last = body.rstrip().rsplit("\n", 1)[-1].strip()
    match = _MARKER.fullmatch(last)
    return match[1] if match else None


def markers(body: str) -> list[str]:
    """Every id that stands alone in a line: a review's body carries those of its folded findings."""
    return [match[1] for line in body.splitlines() if (match := _MARKER.fullmatch(line.strip()))]


_JOINED = str.maketrans({"@": "@&#8288;", "#": "#&#8288;"})


class Folded(NamedTuple):
    finding: Placed
    marker: str


def review_body(
    *, inline: int, folded: Sequence[Folded], coverage: Coverage, notices: Sequence[str], marker: str
) -> str:
    """The body of the one review: what it covers, what had no line of its own, and the review's marker."""
    total = inline + len(folded)
    # Not "no findings": some may have been held back.
    parts = ["No comments on this change." if total == 0 else f"{total} finding{'s' if total != 1 else ''}."]
    parts.extend(notices)
    parts.append(_coverage_text(coverage))
    tail = with_marker("", marker)
    room = MAX_BODY_CHARS - sum(len(part) + 2 for part in parts) - len(tail) - 200
    left_out = 0
    for entry in folded:
        text = _folded_text(entry)
        if len(text) > room:
            left_out += 1
            continue
        room -= len(text) + 2
        parts.append(text)
    if left_out:
        parts.append(f"{left_out} more did not fit.")
    return "\n\n".join(part for part in parts if part) + tail


def _folded_text(entry: Folded) -> str:
    anchor = entry.finding.anchor
    place = inline_code(anchor.path)
    if anchor.end_line is not None:
        side = " (old)" if anchor.side is Side.LEFT else ""
        place += f" line {anchor.end_line}{side}"
    text = with_marker(finding_text(entry.finding), entry.marker)
    return f"<details><summary>{place_summary(place)}</summary>\n\n{text}\n\n</details>"


def place_summary(place: str) -> str:
    """Markdown is not read inside a summary, so the place goes there as escaped text."""
    bare = place.replace("`", "")
    escaped = bare.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub links names and numbers even here; a word joiner between sign and word keeps it from seeing them.
    return escaped.translate(_JOINED)


def _coverage_text(coverage: Coverage) -> str:
    if coverage.is_complete:
        return f"Reviewed all {coverage.changed_lines} changed lines."
    names = [f"{inline_code(path)} ({reason})" for path, reason in coverage.left_out if reason != "ignored"]
    names.extend(f"{inline_code(path)} (in part)" for path in coverage.partly)
    listed = ", ".join(names[:15]) + (f" and {len(names) - 15} more" if len(names) > 15 else "")
    return f"Reviewed {coverage.shown_lines} of {coverage.changed_lines} changed lines. Not reviewed: {listed}."
