"""From what a person calls somebody, or a repository, to the pseudonyms that the store knows them by.

The doors store hashes only. Whoever holds the trial's seed and a name can make the hash again, which is how one's own
rows are found; nobody can go the other way.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from analysis.store import Store
from codetrial.errors import EvidenceError
from codetrial.pseudonyms import (
    pseudonym_of_author,
    pseudonym_of_developer,
    pseudonym_of_repository,
    pseudonym_of_reviewed_repository,
)

__all__ = ["developers_of", "repositories_of"]

ME = "me"

MIN_PREFIX = 4
"""Shorter beginnings of a pseudonym fit somebody by chance."""

_REMOTE = re.compile(r"[/:]([^/:]+/[^/]+?)(?:\.git)?/?$")


def developers_of(store: Store, named: str) -> tuple[str, ...]:
    """The pseudonyms of one person: `me`, a git e-mail address, a GitHub login, or the beginning of a pseudonym.

    Raises:
        EvidenceError: nobody in the store is called so, or several are.
    """
    names = _own_names() if named == ME else [named]
    made = {digest for seed in _seeds(store) for name in names for digest in _developer(seed, name)}
    known = _known(store, "developer")
    return _chosen(known, made, named, "developer", "an e-mail address as in `git config user.email`, a login, or `me`")


def repositories_of(store: Store, named: str) -> tuple[str, ...]:
    """The hashes of one repository: a folder, a remote's URL, `owner/name`, or the beginning of a hash.

    Raises:
        EvidenceError: no repository in the store is called so, or several are.
    """
    places = [named, *_places(named)]
    made = {pseudonym_of_repository(place) for place in places}
    made |= {pseudonym_of_reviewed_repository(seed, place) for seed in _seeds(store) for place in places}
    known = _known(store, "repository")
    return _chosen(known, made, named, "repository", "its folder, its remote's URL, or owner/name")


def _chosen(known: list[str], made: Iterable[str], named: str, what: str, ways: str) -> tuple[str, ...]:
    found = sorted(set(known) & set(made))
    if not found:
        found = [one for one in known if len(named) >= MIN_PREFIX and one.startswith(named)]
        if len(found) > 1:
            raise EvidenceError(f"--{what} {named!r} fits several: {', '.join(found)}. Give more of it.")
    if not found:
        raise EvidenceError(
            f"No {what} in the store is {named!r}. Name it by {ways}, or by the pseudonym that `codetrial inspect` "
            f"shows; stored: {', '.join(known[:10]) or 'none'}{' and more' if len(known) > 10 else ''}."
        )
    return tuple(found)


def _known(store: Store, column: str) -> list[str]:
    rows = store.rows(f"SELECT DISTINCT {column} AS name FROM session WHERE {column} IS NOT NULL ORDER BY 1")
    return [str(row["name"]) for row in rows]


def _seeds(store: Store) -> list[str]:
    return [str(row["seed"]) for row in store.rows("SELECT seed FROM trial")]


def _developer(seed: str, name: str) -> tuple[str, str]:
    """As the editor's door makes it, and as the pull request's does."""
    return pseudonym_of_developer(seed, name), pseudonym_of_author(seed, name)


def _own_names() -> list[str]:
    import getpass

    import git

    with git.Git().custom_environment():
        try:
            email = git.Git().config("user.email", get=True)
        except git.GitCommandError:
            email = ""
    return [name for name in (email.strip(), getpass.getuser()) if name]


def _places(named: str) -> list[str]:
    """What else the repository around a folder, or behind a URL, is called."""
    url = _remote(Path(named)) if Path(named).is_dir() else named
    found = _REMOTE.search(url)
    return [url, found[1]] if found else [url]


def _remote(folder: Path) -> str:
    import git

    try:
        with git.Repo(folder, search_parent_directories=True) as repository:
            urls = [url for remote in repository.remotes for url in remote.urls]
            return urls[0] if urls else str(Path(repository.working_tree_dir or folder))
    except git.InvalidGitRepositoryError:
        raise EvidenceError(f"{folder} lies in no git repository.") from None
