"""What is to happen: who types when, which fault strikes whom, and how the days lie in the calendar."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

__all__ = ["Developer", "Fault", "Script", "Sitting"]


class Fault(StrEnum):
    """What goes wrong in a sitting."""

    NONE = "none"
    EVALUATOR_KILLED = "evaluator killed"
    """kill -9 in the middle of the typing; the relay starts another."""
    RELAY_KILLED = "relay killed"
    """kill -9 of what the editor talks to; the evaluator is left alone and must end by itself."""
    ALL_KILLED = "relay and evaluator killed"
    """kill -9 of both at once, as when a machine goes off: nobody is left to write a last row."""
    MODEL_HANGS = "model hangs"
    """Arm B takes requests and never answers."""
    MODEL_SLOW = "model slow"
    """Arm A answers seconds late."""
    DISK_FULL = "disk full"
    """The developer's disk is full for a while."""
    CLOCK_JUMP = "clock jump"
    """The wall clock goes back an hour and then forward by six, in the middle of the typing."""


class Editor(StrEnum):
    INLINE = "inline"
    MENU = "menu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Developer:
    name: str
    repository: int
    """Which of the two."""
    editor: Editor

    @property
    def address(self) -> str:
        return f"{self.name}@team.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """One developer at the keyboard: an editor from start to end."""

    developer: Developer
    day: int
    """From 0, in working days."""
    fault: Fault = Fault.NONE

    @property
    def name(self) -> str:
        return f"{self.developer.name}-{self.day}"


TEAM = (
    Developer(name="first", repository=0, editor=Editor.INLINE),
    Developer(name="second", repository=0, editor=Editor.INLINE),
    Developer(name="third", repository=1, editor=Editor.INLINE),
    Developer(name="fourth", repository=1, editor=Editor.MENU),
    Developer(name="fifth", repository=0, editor=Editor.INLINE),
)

FAULTS = {
    ("first", 0): Fault.EVALUATOR_KILLED,
    ("second", 0): Fault.ALL_KILLED,
    ("third", 0): Fault.MODEL_HANGS,
    ("fifth", 0): Fault.CLOCK_JUMP,
    ("second", 1): Fault.DISK_FULL,
    ("first", 2): Fault.MODEL_SLOW,
    ("third", 3): Fault.RELAY_KILLED,
    ("fourth", 4): Fault.EVALUATOR_KILLED,
    ("fifth", 5): Fault.DISK_FULL,
    ("first", 6): Fault.CLOCK_JUMP,
    ("third", 6): Fault.ALL_KILLED,
    ("second", 7): Fault.EVALUATOR_KILLED,
    ("fourth", 8): Fault.MODEL_HANGS,
}
QUICK_FAULTS = {**FAULTS, ("fourth", 0): Fault.DISK_FULL}

DAY_BEGINS_HOUR = 9
LASTS_DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A fortnight that ends today."""

    today: datetime
    days: int
    """Of work; ten are two weeks."""
    sitting_s: float
    """Of typing."""
    pulls: int
    """Pull requests in each repository."""
    faults: dict[tuple[str, int], Fault]

    @classmethod
    def whole(cls) -> "Script":
        return cls(today=datetime.now(UTC), days=10, sitting_s=16.0, pulls=4, faults=FAULTS)

    @classmethod
    def quick(cls) -> "Script":
        return cls(today=datetime.now(UTC), days=1, sitting_s=15.0, pulls=2, faults=QUICK_FAULTS)

    def sittings(self) -> list[Sitting]:
        return [
            Sitting(developer=who, day=day, fault=self.faults.get((who.name, day), Fault.NONE))
            for day in range(self.days)
            for who in TEAM
        ]

    def morning(self, day: int) -> datetime:
        """Of a working day: five, a weekend, five; the last day of the fortnight is today."""
        first = (self.today - timedelta(days=LASTS_DAYS)).replace(hour=DAY_BEGINS_HOUR, minute=0, second=0)
        return first + timedelta(days=day + 2 * (day // 5))
