"""Which trials a report is about: the editor's, the reviews', or both, where one configuration has led to both."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from analysis.queries import TrialFacts, trials
from analysis.source import Source
from codetrial.errors import EvidenceError
from codetrial.records import Unit

__all__ = ["DoorName", "Doors", "choose"]


class DoorName(StrEnum):
    COMPLETIONS = "completions"
    REVIEWS = "reviews"


class Doors(NamedTuple):
    completions: TrialFacts | None
    reviews: TrialFacts | None


def door_of(trial: TrialFacts) -> DoorName:
    return DoorName.REVIEWS if trial.assignment_unit == Unit.FINDING.value else DoorName.COMPLETIONS


NOTHING_YET = {
    DoorName.COMPLETIONS: "work with `codetrial lsp` in your editor, or run `codetrial demo`",
    DoorName.REVIEWS: "review a pull request with `codetrial pr review`, or run `codetrial pr demo`",
}


def choose(source: Source, *, trial: str | None = None, door: DoorName | None = None) -> Doors:
    """The trial of each door; by id, beginning of id or name, or else the one that was last worked in.

    Raises:
        EvidenceError: there is none, or the name fits several of one door.
    """
    known = trials(source)
    if not known:
        raise EvidenceError(f"{source.place} holds no trial yet: {NOTHING_YET[door or DoorName.COMPLETIONS]}.")
    fitting = [t for t in known if trial is None or trial in (t.id, t.name) or t.id.startswith(trial)]
    if trial is not None and not fitting:
        raise EvidenceError(f"--trial {trial!r} is not a trial here. Name one by its id: {_listed(known)}.")
    last = _last_sessions(source)
    wanted = list(DoorName) if door is None else [door]
    found = {name: _one(name, fitting, last, trial) for name in wanted}
    chosen = Doors(found.get(DoorName.COMPLETIONS), found.get(DoorName.REVIEWS))
    if chosen == (None, None):
        raise EvidenceError(
            f"{source.place} holds no trial of {wanted[0]} yet: {NOTHING_YET[wanted[0]]}. It holds: {_listed(known)}."
        )
    return chosen if None in chosen or trial is not None else _with_data(chosen, last)


def _last_sessions(source: Source) -> dict[str, str]:
    found = source.fetch("last_sessions")
    return dict(zip(found.strings("trial"), found.strings("last"), strict=True))


def _one(name: DoorName, fitting: list[TrialFacts], last: dict[str, str], wanted: str | None) -> TrialFacts | None:
    own = [t for t in fitting if door_of(t) is name]
    if wanted is not None and len(own) > 1:
        raise EvidenceError(f"--trial {wanted!r} fits several trials. Name one by its id: {_listed(own)}.")
    return max(own, key=lambda t: (last.get(t.id, ""), t.created_at), default=None)


def _with_data(both: Doors, last: dict[str, str]) -> Doors:
    """A door that nobody has gone through yet is left out, but not the only one."""
    started = [None if t is None else last.get(t.id) for t in both]
    if started[0] is None and started[1] is not None:
        return Doors(None, both.reviews)
    return both if started[1] is not None else Doors(both.completions, None)


def _listed(known: Iterable[TrialFacts]) -> str:
    return ", ".join(f"{t.id} ({t.name}, {door_of(t)}, since {t.created_at[:10]})" for t in known)
