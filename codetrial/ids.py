"""Sortable ids that need no coordination between processes."""

import secrets
import threading

from ulid import ULID

__all__ = ["new_id"]

_RANDOM_BITS = 80
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A ULID: 26 characters that sort by time of creation, those of one process also within a millisecond.

    "Monotonicity" in the ULID specification: rows are read in the order of their ids, and what happens at once (a text
    that is taken, and the command that says so) is told apart by nothing else.
    """
    global _last
    with _lock:
        made = int(ULID())
        if made >> _RANDOM_BITS == _last >> _RANDOM_BITS:
            # By chance and not by one: a process that was forked a moment ago counts from the same last.
            made = max(made, _last + 1 + secrets.randbits(32))
        _last = made
    return str(ULID.from_int(made))
