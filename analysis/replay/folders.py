"""Working folders that a killed run cannot leave behind for good."""

import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["working_folder"]


def working_folder(purpose: str) -> Path:
    """A new folder of this process; what killed runs of the same user left behind is removed first.

    The process id stands in the name: clones of large repositories must not pile up in the temporary folder after
    kill -9, and those of other running processes must not be touched.
    """
    for left in Path(tempfile.gettempdir()).glob(f"codetrial-{purpose}-*"):
        pid = left.name.removeprefix(f"codetrial-{purpose}-").partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"codetrial-{purpose}-{os.getpid()}-"))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
