"""Which files commits changed, many commits to one git process: a process for each costs more than all that is read."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from codetrial.errors import EvidenceError

__all__ = ["ChangedFile", "changed_files"]

COMMITS_AT_ONCE = 200
"""What git says of so many is some hundred kilobytes; and whoever stops early has not waited for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One file of one commit, as git's raw format has it."""

    path: str
    """The new name if it was renamed."""
    modes: tuple[int, int]
    """Before and after; 0 where there is no file."""
    blobs: tuple[str, str]
    """Object ids before and after; zeros where there is no file."""

    @property
    def is_new(self) -> bool:
        return self.modes[0] == 0

    @property
    def is_deleted(self) -> bool:
        return self.modes[1] == 0


def changed_files(folder: Path, commits: Sequence[str]) -> Iterator[tuple[ChangedFile, ...]]:
    """For each commit, in this order, what it changed against its only parent; renames are followed.

    Raises:
        EvidenceError: git could not read them.
    """
    waiting = iter(commits)
    while batch := list(islice(waiting, COMMITS_AT_ONCE)):
        found = _read(folder, batch)
        yield from (tuple(found.get(commit, ())) for commit in batch)


def _read(folder: Path, commits: Sequence[str]) -> dict[str, list[ChangedFile]]:
    command = ["git", "-C", str(folder), "diff-tree", "--stdin", "-r", "-M", "--raw", "-z", "--abbrev=40", "--no-color"]
    ran = subprocess.run(
        command, input="".join(f"{commit}\n" for commit in commits).encode(), capture_output=True, check=False
    )
    if ran.returncode:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise EvidenceError(f"git could not read {folder}: {said[-1] if said else ran.returncode}")
    found: dict[str, list[ChangedFile]] = {}
    files: list[ChangedFile] = []
    fields = iter(ran.stdout.decode("utf-8", "replace").split("\0"))
    for field in fields:
        if field.startswith(":"):
            files.append(_file(field, fields))
        elif field:
            files = found.setdefault(field, [])
    return found


def _file(head: str, fields: Iterator[str]) -> ChangedFile:
    """`:100644 100644 <blob> <blob> R086`, then the path, or of a rename or copy the old and the new one."""
    old_mode, new_mode, old_blob, new_blob, status = head[1:].split()
    path = next(fields)
    if status[0] in "RC":
        path = next(fields)
    return ChangedFile(path=path, modes=(int(old_mode, 8), int(new_mode, 8)), blobs=(old_blob, new_blob))
