"""Who, where and what, as the store knows them: enough to cluster by, not enough to name anybody.

Whoever holds a trial's seed and a name can make the pseudonym again, which is how one's own rows are found; nobody can
go the other way. The formulas are part of the stored data: a changed one would make strangers of the same people.
"""

import hashlib
from urllib.parse import unquote

__all__ = [
    "hashed",
    "pseudonym_of_author",
    "pseudonym_of_developer",
    "pseudonym_of_document",
    "pseudonym_of_repository",
    "pseudonym_of_reviewed_repository",
]

PERSON_DIGITS = 16
PLACE_DIGITS = 32


def hashed(*parts: str) -> str:
    """SHA-256 of texts, told apart by a byte that none of them holds; half a surrogate in one is no error."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def pseudonym_of_developer(seed: str, name: str) -> str:
    """Who types in an editor, by e-mail address: the same within a trial, and another in the next."""
    return hashed(f"{seed}/{name}")[:PERSON_DIGITS]


def pseudonym_of_author(seed: str, login: str) -> str:
    """Whose pull request or reaction it is, by the forge's login. Not that person's pseudonym in an editor."""
    return hashed(seed, login)[:PERSON_DIGITS]


def pseudonym_of_document(seed: str, uri: str) -> str:
    """A file that is edited. Editors differ in what they percent-encode, so it is the decoded URI that counts."""
    return hashed(f"{seed}/{unquote(uri, errors='surrogateescape')}")[:PLACE_DIGITS]


def pseudonym_of_repository(origin: str) -> str:
    """The repository that is worked in, by its remote's URL, or its folder: one for all trials and machines."""
    return hashed(origin)[:PLACE_DIGITS]


def pseudonym_of_reviewed_repository(seed: str, name: str) -> str:
    """The repository of a pull request, by owner/name."""
    return hashed(seed, name)[:PERSON_DIGITS]
