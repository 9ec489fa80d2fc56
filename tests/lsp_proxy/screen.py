"""A screen without a monitor (Xvfb) for editors that draw windows: keys go in with xdotool, pictures come out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageGrab

__all__ = ["Screen", "screen"]

WIDTH, HEIGHT = 1100, 620


class Screen:
    """An X server of its own."""

    def __init__(self, display: str) -> None:
        self.display = display

    def _xdotool(self, *arguments: str) -> str:
        """What it says; nothing if it found no window, which it calls a failure."""
        found = subprocess.run(
            ["xdotool", *arguments],
            env=os.environ | {"DISPLAY": self.display},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return found.stdout.strip()

    def window(self, title: str) -> str | None:
        """A visible window with these words in its title."""
        return next(iter(self._xdotool("search", "--onlyvisible", "--name", title).split()), None)

    def fill_with(self, window: str) -> None:
        self._xdotool("windowsize", "--sync", window, str(WIDTH), str(HEIGHT))

    def focus(self, window: str) -> bool:
        """Whether keys go to this window; no window manager is there to see to that."""
        self._xdotool("windowfocus", window)
        return self._xdotool("getwindowfocus") == window

    def click(self, x: int, y: int) -> None:
        self._xdotool("mousemove", str(x), str(y), "click", "1")

    def keys(self, *keys: str) -> None:
        self._xdotool("key", *keys)

    def write(self, text: str) -> None:
        self._xdotool("type", text)

    def picture(self) -> Image.Image:
        return ImageGrab.grab(xdisplay=self.display)

    def keep_picture(self, name: str) -> None:
        """Write NAME.png where CODETRIAL_CAPTURES says, if it does."""
        if folder := os.environ.get("CODETRIAL_CAPTURES"):
            self.picture().save(Path(folder, f"{name}.png"), optimize=True)


@contextmanager
def screen() -> Iterator[Screen]:
    assert shutil.which("Xvfb"), "Xvfb is missing: run tests/editors/install.sh as root"
    told, tells = os.pipe()
    # It takes the first free number, and says which once it can be used.
    command = ["Xvfb", "-displayfd", str(tells), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[tells], stderr=subprocess.DEVNULL)
    os.close(tells)
    try:
        with os.fdopen(told) as number:
            yield Screen(f":{number.readline().strip()}")
    finally:
        process.terminate()
        process.wait(20)
