"""Where GitHub takes a comment and where it does not; its description says nothing of that."""

import re
from collections.abc import Mapping
from typing import Any

from .state import Pull, Repo, Rule

__all__ = ["check_place"]


def check_place(repo: Repo, pull: Pull, entry: Mapping[str, Any], commit: str) -> None:
    """What GitHub refuses in a comment, with its message; one bad comment refuses the whole review."""
    hunks = repo.commentable(pull, commit).get(entry["path"])
    if hunks is None:
        raise Rule(422, "Unprocessable Entity", ["Path could not be resolved"])
    if entry.get("subject_type") == "file":
        return
    side, line = entry.get("side", "RIGHT"), entry.get("line")
    if side not in ("LEFT", "RIGHT"):
        raise Rule(422, "Unprocessable Entity", ["Side is invalid"])
    holding = [hunk for hunk in hunks if line in hunk[side]]
    if not holding:
        raise Rule(422, "Unprocessable Entity", ["Line could not be resolved"])
    start = entry.get("start_line")
    if start is not None:
        if start >= line:
            raise Rule(422, "Unprocessable Entity", ["Start line must precede the end line."])
        if start not in holding[0][entry.get("start_side", side)]:
            raise Rule(422, "Unprocessable Entity", ["Start line must be part of the same hunk as the line."])
    if re.search(r"^`{3,}suggestion", entry["body"], re.MULTILINE) and side == "LEFT":
        raise Rule(422, "Unprocessable Entity", ["Suggestions cannot be made on deleted lines"])
