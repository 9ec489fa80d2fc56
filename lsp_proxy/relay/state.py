"""Small files through which `codetrial status` and `codetrial pause` reach running proxies.

In the runtime folder, `paused.json` holds `{"until": seconds since the epoch, or null}`; while it is there and not
over, no proxy shows anything. `proxies/<pid>.json` says what each running proxy does. A proxy that cannot read or write
here works as if nobody had asked: this is a convenience, and the traffic does not depend on it.
"""

import contextlib
import json
import os
import sys
import time
from typing import Any

__all__ = ["StateFile", "is_paused", "runtime_dir"]


def runtime_dir() -> str:
    """The same folder as `codetrial.paths.runtime_dir`, which costs more start-up time than it may here."""
    if override := os.environ.get("CODETRIAL_RUNTIME_DIR"):
        return override
    if data := os.environ.get("CODETRIAL_DATA_DIR"):
        return os.path.join(data, "run")
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME", "").strip() or os.path.expanduser("~/.local/share")
    return os.path.join(base, "codetrial", "run")


def is_paused(folder: str) -> bool:
    """Whether a person has asked for silence now. A file that cannot be understood means yes: something was asked."""
    try:
        with open(os.path.join(folder, "paused.json"), encoding="utf-8") as file:
            until = json.load(file)["until"]
        return until is None or time.time() < until
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        return True


class StateFile:
    """This proxy's own file; `write` with what changed, `remove` at the end."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "proxies", f"{os.getpid()}.json")
        self._known: dict[str, Any] = {"pid": os.getpid()}

    def write(self, **changes: Any) -> None:
        """Replace the file in one step, so that a reader never sees half of it."""
        if all(self._known.get(key, self) == value for key, value in changes.items()):
            return
        self._known.update(changes)
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path + ".new", "w", encoding="utf-8") as file:
                json.dump(self._known, file)
            os.replace(self._path + ".new", self._path)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
