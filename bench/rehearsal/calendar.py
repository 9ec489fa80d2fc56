"""Wall time of other processes, moved by a small library that stands between them and the C library.

codetrial has no seam for this and needs none: the code that runs is the code that ships. Only wall time moves;
durations are measured by the monotonic clock, which stays.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from codetrial.errors import ProxyError

__all__ = ["Calendar", "build_library"]

SOURCE = Path(__file__).with_name("wall_clock.c")


def build_library(folder: Path) -> Path:
    """Compile it into a folder.

    Raises:
        ProxyError: there is no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise ProxyError("The rehearsal moves the clock by a library of its own: apt-get install gcc libc6-dev.")
    library = folder / "wall_clock.so"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass(slots=True)
class Calendar:
    """A clock that processes can be started under, and that may jump while they run."""

    library: Path
    file: Path
    ahead: timedelta = field(default_factory=timedelta)

    def set(self, moment: datetime) -> None:
        """Make it this moment now; time goes on from there."""
        self.ahead = moment - datetime.now(UTC)
        self._write()

    def jump(self, by: timedelta) -> None:
        self.ahead += by
        self._write()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(f"{self.ahead.total_seconds():+.0f}\n")
        draft.replace(self.file)

    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self.library), "CODETRIAL_REHEARSAL_CLOCK": str(self.file)}
