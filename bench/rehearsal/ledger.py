"""The table at the end: what should be, what is, and whether they agree."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    part: str
    claim: str
    scripted: str
    recorded: str
    holds: bool | None
    """None: could not be tried here, and why stands beside it."""


@dataclass(slots=True)
class Ledger:
    entries: list[Entry] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    """Each disagreement with what is known of it."""

    def equal(self, part: str, claim: str, scripted: Any, recorded: Any) -> None:
        self.holds(part, claim, scripted == recorded, scripted, recorded)

    def holds(self, part: str, claim: str, holds: bool, scripted: Any, recorded: Any) -> None:
        self.entries.append(
            Entry(part=part, claim=claim, scripted=_told(scripted), recorded=_told(recorded), holds=bool(holds))
        )

    def untried(self, part: str, claim: str, why: str) -> None:
        self.entries.append(Entry(part=part, claim=claim, scripted="", recorded=why, holds=None))

    def differ(self, text: str) -> None:
        self.differences.append(text)

    @property
    def failed(self) -> int:
        return sum(entry.holds is False for entry in self.entries)

    def show(self, console: Console) -> None:
        table = Table("part", "claim", "scripted", "recorded", "", expand=False)
        words = {True: "[green]agrees[/]", False: "[bold red]DIFFERS[/]", None: "[yellow]not tried[/]"}
        part = None
        for entry in self.entries:
            if part is not None and entry.part != part:
                table.add_section()
            table.add_row("" if entry.part == part else entry.part, entry.claim, entry.scripted, entry.recorded,
                          words[entry.holds])  # fmt: skip
            part = entry.part
        console.print(table)
        for text in self.differences:
            console.print(f"- {text}", markup=False, highlight=False)

    def markdown(self) -> str:
        lines = ["| part | claim | scripted | recorded | |", "|---|---|---|---|---|"]
        words = {True: "agrees", False: "**differs**", None: "not tried"}
        lines += [f"| {e.part} | {e.claim} | {e.scripted} | {e.recorded} | {words[e.holds]} |" for e in self.entries]
        return "\n".join([*lines, "", *(f"- {text}" for text in self.differences)]) + "\n"


def _told(value: Any) -> str:
    if isinstance(value, Collection) and not isinstance(value, str):
        return str(len(value))
    return str(value)
