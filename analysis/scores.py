"""Measures of one suggestion against what was written instead, or of what was taken against what is left of it.

Pure and versioned: from the stored texts every score can be computed again. A value of None means "not measurable" and
is never to be read as zero. All measures but `saved_chars` lie in [0, 1] and 1 is best.

    first_line_exact        the first line that is not blank is the same, but for white space at its ends
    first_line_similarity   of the same two lines, 1 - Levenshtein distance / length of the longer
    prefix_chars_share      share of the suggestion's characters up to the first that differs
    token_similarity        1 - token edit distance / longer length, against the best beginning of the continuation
    prefix_tokens_share     the same, counted in whole tokens
    saved_chars             how many characters that is: keystrokes that the suggestion would have saved
    identifier_recall       share of the continuation's names, in the lines that the suggestion covers, that it has
    kept_share              share of the accepted characters that still stand, counted in whole tokens
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from rapidfuzz.distance import LCSseq, Levenshtein

from analysis.names import caseless, names, words
from analysis.syntax import error_count, tokens

__all__ = [
    "MOSTLY_KEPT",
    "SCORER_VERSION",
    "Kept",
    "Retained",
    "kept_share",
    "kept_state",
    "properties",
    "retained",
    "score",
]

SCORER_VERSION = "2"
"""1 took keywords and the words of comments and strings for names."""

MOSTLY_KEPT = 0.5
"""Below half of its tokens a text counts as gone: published retention measures draw the line at the same half."""

TOKENS_LIMIT = 2_000
"""Per text; a suggestion has some hundred, and the distance grows with the product of both."""

Kept = Literal["found", "edited", "gone"]


class Retained(NamedTuple):
    """What is left of a text."""

    share: float | None
    """As `kept_share`; None if the text has no token."""
    char_distance: int
    """Levenshtein distance in characters: published retention measures divide it by the longer length."""
    token_distance: int


def score(suggestion: str, continuation: str | None, language: str) -> Mapping[str, float | None]:
    """All agreement measures; each None if there is no continuation to compare with, or nothing was suggested."""
    if continuation is None or not suggestion.strip():
        return dict.fromkeys(_MEASURES)
    suggested, written = _tokens(suggestion, language), _tokens(continuation, language)
    saved = _common_prefix(suggestion, continuation)
    return {
        "first_line_exact": float(_first_line(suggestion) == _first_line(continuation)),
        "first_line_similarity": Levenshtein.normalized_similarity(_first_line(suggestion), _first_line(continuation)),
        "prefix_chars_share": saved / len(suggestion),
        "prefix_tokens_share": _common_prefix(suggested, written) / len(suggested),
        "saved_chars": float(saved),
        "token_similarity": _token_similarity(suggested, written),
        "identifier_recall": _identifier_recall(suggestion, continuation, language),
    }


def properties(
    suggestion: str, *, prefix: str, suffix: str, language: str, elsewhere: str = ""
) -> Mapping[str, float | None]:
    """What a suggestion would do at its place, whatever is written later.

    errors_after          error nodes in the text around with it; without it there were so many less `parse_change`
    parse_change          error nodes with it minus without it: below zero it mends, above zero it breaks
    brackets_balanced     1 if it closes exactly what it opens
    repeats_following     1 if one of its lines is the line that follows the cursor
    unknown_identifiers   names it uses that occur nowhere in the text around, nor elsewhere in the file

    Args:
        elsewhere: The rest of the file, or all of it; a name that only a comment there has counts as known.
    """
    if not suggestion.strip():
        return dict.fromkeys(_PROPERTIES)
    before = _errors_around(prefix + suffix, language)
    after = error_count(prefix + suggestion + suffix, language)
    following = next((line.strip() for line in suffix.split("\n")[1:] if line.strip()), None)
    new = names(suggestion, language) - words(prefix, language) - words(suffix, language)
    elsewhere = caseless(elsewhere, language) if new else ""
    unknown = {name for name in new if not _occurs(name, elsewhere)}
    return {
        "errors_after": None if after is None else float(after),
        "parse_change": None if before is None or after is None else float(after - before),
        "brackets_balanced": float(_is_balanced(tokens(suggestion, language))),
        "repeats_following": float(following in [line.strip() for line in suggestion.split("\n")]),
        "unknown_identifiers": float(len(unknown)),
    }


@lru_cache(maxsize=4)
def _errors_around(text: str, language: str) -> int | None:
    """Both arms are asked about the same text, one right after the other."""
    return error_count(text, language)


_IN_A_WORD = re.compile(r"\w")


def _occurs(name: str, text: str) -> bool:
    """As a whole word. What stands before is looked at afterwards: a pattern that begins with a name is searched for
    twenty times as fast as one that begins with an assertion.
    """
    found = re.finditer(rf"{re.escape(name)}(?!\w)", text)
    return any(not _IN_A_WORD.match(text[max(0, match.start() - 1) : match.start()]) for match in found)


_PROPERTIES = ("errors_after", "parse_change", "brackets_balanced", "repeats_following", "unknown_identifiers")


_MEASURES = (
    "first_line_exact",
    "first_line_similarity",
    "prefix_chars_share",
    "prefix_tokens_share",
    "saved_chars",
    "token_similarity",
    "identifier_recall",
)


def kept_share(accepted: str, standing: str | None, language: str) -> float | None:
    """How much of an accepted text still stands, by characters of whole tokens; None if it could not be looked at.

    Tokens and not characters: between any two texts of some length about half of the characters can be matched.
    """
    if standing is None:
        return None
    mine = tokens(accepted, language)[:TOKENS_LIMIT]
    total = sum(map(len, mine))
    if not total:
        return None
    theirs = tokens(standing, language)[: 2 * TOKENS_LIMIT]
    blocks = LCSseq.opcodes(mine, theirs)
    kept = sum(sum(map(len, mine[b.src_start : b.src_end])) for b in blocks if b.tag == "equal")
    return kept / total


def retained(accepted: str, standing: str, language: str) -> Retained:
    """How far what stands now is from what stood there; "" stands where nothing is left."""
    mine, theirs = tokens(accepted, language)[:TOKENS_LIMIT], tokens(standing, language)[: 2 * TOKENS_LIMIT]
    return Retained(
        kept_share(accepted, standing, language),
        Levenshtein.distance(accepted, standing),
        Levenshtein.distance(mine, theirs),
    )


def kept_state(share: float) -> Kept:
    """Found whole, edited, or gone."""
    if share >= 1:
        return "found"
    return "edited" if share >= MOSTLY_KEPT else "gone"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()), "")


def _identifier_recall(suggestion: str, continuation: str, language: str) -> float | None:
    """Over as many lines as the suggestion has; None if nothing was named there."""
    covered = "\n".join(continuation.split("\n")[: suggestion.count("\n") + 1])
    wanted = names(covered, language)
    return len(wanted & names(suggestion, language)) / len(wanted) if wanted else None


@lru_cache(maxsize=8)
def _tokens(text: str, language: str) -> tuple[str, ...]:
    """One scoring looks at both of its texts twice, and both arms are scored against the same one."""
    return tuple(tokens(text, language))


def _is_balanced(pieces: Sequence[str]) -> bool:
    waiting: list[str] = []
    for piece in pieces:
        if piece in _OPENERS:
            waiting.append(_OPENERS[piece])
        elif piece in _OPENERS.values() and (not waiting or waiting.pop() != piece):
            return False
    return not waiting


_OPENERS = {"(": ")", "[": "]", "{": "}"}


def _common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return min(len(one), len(other))


def _token_similarity(suggested: Sequence[str], written: Sequence[str]) -> float | None:
    """Best over all beginnings of what was written: people write on after the place that was suggested for."""
    suggested = suggested[:TOKENS_LIMIT]
    if not suggested:
        return None
    # A beginning twice as long as the suggestion costs at least half of its length: it can only tie, never win.
    longest = min(len(written), 2 * len(suggested))
    return max(
        (Levenshtein.normalized_similarity(suggested, written[:end]) for end in range(1, longest + 1)), default=0.0
    )
