"""Who works where, as git and the system say."""

import getpass
import logging
from pathlib import Path
from typing import NamedTuple

from codetrial.pseudonyms import pseudonym_of_repository

__all__ = ["Repository", "login", "repository_of"]

logger = logging.getLogger(__name__)


class Repository(NamedTuple):
    root: Path | None
    """Its working folder; None outside a repository."""
    name: str | None
    """For privacy rules and prompts."""
    identity: str | None
    """Hash of where it comes from."""
    email: str | None


def repository_of(folder: Path) -> Repository:
    """The git repository around a folder. Without git, or outside a repository, everything is None."""
    try:
        import git  # A tenth of a second, and not needed before the first session begins.

        repository = git.Repo(folder, search_parent_directories=True)
    except Exception as fault:
        # GitPython raises ImportError when git itself is missing, and its own errors outside a repository.
        logger.debug("no repository around %s: %s", folder, fault)
        return Repository(None, None, None, None)
    try:
        with repository, repository.config_reader() as settings:
            email = str(settings.get_value("user", "email", default="")) or None
            root = Path(repository.working_tree_dir) if repository.working_tree_dir else None
            origin = next((url for remote in repository.remotes for url in remote.urls), str(root))
    except Exception as fault:
        logger.warning("the repository around %s cannot be read: %s", folder, fault)
        return Repository(None, None, None, None)
    name = origin.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return Repository(root, name, pseudonym_of_repository(origin), email)


def login() -> str:
    """What the system calls who works here, for want of an e-mail address."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
