"""Tables on the terminal and in bench/RESULTS.md, one section a benchmark."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "Spread", "spread"]

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the values of one series lie, in the unit they were given in."""

    count: int
    p50: float
    p95: float
    p99: float


def spread(values: Sequence[float]) -> Spread:
    """Median and upper percentiles (nearest rank) of at least one value."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Spread(len(ordered), statistics.median(ordered), rank(0.95), rank(0.99))


@dataclass
class Report:
    """What one benchmark found."""

    name: str
    console: Console = field(default_factory=Console)
    _parts: list[str] = field(default_factory=list)

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, command: str, note: str = ""
    ) -> None:
        """Print a table and keep it for RESULTS.md; `command` is what prints it again."""
        cells = [[_cell(value) for value in row] for row in rows]
        shown = Table(*columns, title=title, title_justify="left")
        for row in cells:
            shown.add_row(*row)
        self.console.print(shown)
        if note:
            self.console.print(note, style="dim")
        lines = [f"### {title}", "", f"`{command}`", "", _line(columns), _line(["---"] * len(columns))]
        lines += [_line(row) for row in cells]
        if note:
            lines += ["", note]
        self._parts.append("\n".join(lines))

    def write(self, path: Path = RESULTS) -> None:
        """Replace this benchmark's section in the results file; the others stay as they are."""
        body = "\n\n".join(self._parts)
        stamp = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}"
        section = f"## {self.name}\n\n{stamp}\n\n{body}\n"
        existing = (
            path.read_text() if path.exists() else "# Results\n\nWritten by `make bench`. Read ratios, not times.\n"
        )
        pattern = re.compile(rf"^## {re.escape(self.name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        if pattern.search(existing):
            updated = pattern.sub(lambda _: section + "\n", existing)
        else:
            updated = existing.rstrip() + "\n\n" + section
        path.write_text(updated.rstrip() + "\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    if found := re.search(r"model name\s*:\s*(.+)", info):
        model = found[1]
    return f"{os.cpu_count()} cores ({model}), {platform.system()}, CPython {platform.python_version()}"
