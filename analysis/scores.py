"""Measures of one suggestion against what was written instead, or of what was taken against what is left of it.

Pure and versioned: from the stored texts every score can be computed again. A value of None means "not measurable" and
is never to be read as zero. All measures lie in [0, 1] and 1 is best.

    first_line_exact        the first line that is not blank is the same, but for white space at its ends
    first_line_similarity   of the same two lines, 1 - Levenshtein distance / length of the longer
    prefix_chars_share      share of the suggestion's characters up to the first that differs
    token_similarity        1 - token edit distance / longer length, against the best beginning of the continuation
    kept_share              share of the accepted characters that still stand, counted in whole tokens
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from rapidfuzz.distance import LCSseq, Levenshtein

from analysis.syntax import tokens

__all__ = ["SCORER_VERSION", "Kept", "kept_share", "kept_state", "score"]

SCORER_VERSION = "1"

MOSTLY_KEPT = 0.5
"""Below half of its tokens a text counts as gone: published retention measures draw the line at the same half."""

TOKENS_LIMIT = 2_000
"""Per text; a suggestion has some hundred, and the distance grows with the product of both."""

Kept = Literal["found", "edited", "gone"]


def score(suggestion: str, continuation: str | None, language: str) -> Mapping[str, float | None]:
    """All agreement measures; each None if there is no continuation to compare with, or nothing was suggested."""
    if continuation is None or not suggestion.strip():
        return dict.fromkeys(_MEASURES)
    return {
        "first_line_exact": float(_first_line(suggestion) == _first_line(continuation)),
        "first_line_similarity": Levenshtein.normalized_similarity(_first_line(suggestion), _first_line(continuation)),
        "prefix_chars_share": _common_prefix(suggestion, continuation) / len(suggestion),
        "token_similarity": _token_similarity(tokens(suggestion, language), tokens(continuation, language)),
    }


_MEASURES = ("first_line_exact", "first_line_similarity", "prefix_chars_share", "token_similarity")


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


def kept_state(share: float) -> Kept:
    """Found whole, edited, or gone."""
    if share >= 1:
        return "found"
    return "edited" if share >= MOSTLY_KEPT else "gone"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()), "")


def _common_prefix(one: str, other: str) -> int:
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
