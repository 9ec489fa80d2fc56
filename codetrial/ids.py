"""Sortable ids that need no coordination between processes."""

from ulid import ULID

__all__ = ["new_id"]


def new_id() -> str:
    """A ULID: 26 characters that sort by time of creation."""
    return str(ULID())
