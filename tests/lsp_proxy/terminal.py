"""A terminal (tmux) for editors that need one, and pictures of what it shows for docs/editors."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

__all__ = ["Terminal", "keep_picture", "terminal"]

COLUMNS, ROWS = 100, 24

# The format without its fonts from the web: a reader's own monospaced font will do.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code", "DejaVu Sans Mono"
)


class Terminal:
    """A tmux session on a server of its own."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, timeout=20, check=True).stdout

    def end(self) -> None:
        """Whatever still runs; nothing, if the editor has ended by itself."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=20, check=False)

    def keys(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def write(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def coloured(self) -> str:
        return self.run("capture-pane", "-p", "-e")


@contextmanager
def terminal(folder: Path, project: Path, environment: Mapping[str, str], *command: str) -> Iterator[Terminal]:
    assert shutil.which("tmux"), "tmux is missing: run tests/editors/install.sh as root"
    made = Terminal(folder / "tmux")
    keep = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    shell = ["env", *(f"{name}={value}" for name, value in keep.items() if name.isidentifier()), *command]
    made.run("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(project), *shell)
    try:
        yield made
    finally:
        made.end()


def keep_picture(name: str, title: str, shown: Terminal) -> None:
    """Draw the screen as NAME.svg where CODETRIAL_CAPTURES says, if it does."""
    folder = os.environ.get("CODETRIAL_CAPTURES")
    if not folder:
        return
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(shown.coloured()), no_wrap=True, end="")
    svg = console.export_svg(title=title, theme=DIMMED_MONOKAI, code_format=_FORMAT, unique_id=re.sub(r"\W", "-", name))
    Path(folder, f"{name}.svg").write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")
