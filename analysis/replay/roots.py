"""The repository as it stood before each commit, for the arms that read it.

An arm that looks things up in the repository would find the very lines it is asked for, if it saw a later state. So it
gets the parent of the task's commit, in a folder of ours that shares the objects with the repository.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.history import History
from analysis.replay.folders import working_folder
from codetrial.arms.base import Arm, Preparable
from codetrial.records import Api

__all__ = ["Roots", "readers"]

SLOTS = 2
"""Folders at a time: while the last tasks of one commit are answered, the next commit is made ready."""

READERS = (Api.NGRAM, Api.COMMAND, Api.COPILOT)
"""The APIs that may read the repository by themselves."""


def readers(arms: Sequence[Arm]) -> list[Arm]:
    """The arms for which a repository must be laid out."""
    return [arm for arm in arms if arm.definition.api in READERS]


@dataclass(slots=True)
class _Slot:
    folder: Path
    revision: str | None = None
    users: int = 0


class Roots:
    """Lays out revisions for as long as tasks use them. Without arms that read, it gives None and touches nothing."""

    def __init__(self, history: History, arms: Sequence[Arm]) -> None:
        self._history = history
        self._readers = readers(arms)
        self._folder = working_folder("replay")
        self._slots = [_Slot(self._folder / f"{number}" / history.root.name) for number in range(SLOTS)]
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def at(self, revision: str) -> AsyncIterator[str | None]:
        """A folder with this revision; it stays so until the block ends."""
        if not self._readers:
            yield None
            return
        slot = await self._enter(revision)
        try:
            yield str(slot.folder)
        finally:
            async with self._changed:
                slot.users -= 1
                self._changed.notify_all()

    async def _enter(self, revision: str) -> _Slot:
        async with self._changed:
            while True:
                slot = next((s for s in self._slots if s.revision == revision), None)
                if slot is None:
                    slot = next((s for s in self._slots if not s.users), None)
                    if slot is not None:
                        # Under the lock: nobody may enter a folder that is being laid out.
                        await self._lay_out(slot, revision)
                if slot is not None:
                    slot.users += 1
                    return slot
                await self._changed.wait()

    async def _lay_out(self, slot: _Slot, revision: str) -> None:
        slot.revision = None
        slot.folder.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._history.checkout, slot.folder, revision)
        for arm in self._readers:
            if isinstance(arm, Preparable):
                await arm.prepare(str(slot.folder))
        slot.revision = revision

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
