"""A disk of a developer's own that is small enough to be filled."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["small_disk"]

SIZE_MB = 48


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system there, if this user may; whether it is one. What is on it stays in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "codetrial-rehearsal", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            saved = folder.with_name(f"{folder.name}.saved")
            shutil.copytree(folder, saved)
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            folder.rmdir()
            saved.rename(folder)
