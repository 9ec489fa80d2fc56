"""Behaviours towards suggestions on real code, in real editors: what was really done, to compare outcomes with.

Each case is a file as a real commit found it, up to the middle of what the commit then wrote; an arm suggests the rest.
A behaviour takes it, a part of it, types it, throws it away: the script knows. A case has a file of its own: its
outcome can wait its ten seconds while the next cases go on.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from analysis.cut import cut
from analysis.history import Edit, History, Selection
from analysis.store import Store
from codetrial.config import EditorConfig
from codetrial.pseudonyms import pseudonym_of_document
from lsp_proxy.demo import language_server, proxy_command
from tests.codetrial.streaming import Received, Script, StreamingServer
from tests.lsp_proxy.served_arm import configuration, says

__all__ = [
    "BEHAVIOURS",
    "DECIDED_S",
    "READY_S",
    "SHOWN_S",
    "Case",
    "Session",
    "Tally",
    "cases",
    "compare",
    "perform",
    "plan",
    "session_in",
    "until",
]

DECIDED_S = 12.0
"""What was taken counts when it still stands after ten seconds."""

READY_S = 60.0
"""On a busy machine the evaluator, at low priority, takes its time to start."""

SHOWN_S = 15.0
"""A suggestion that has not appeared by then will not."""

OTHER = "other_thing(12345)"
"""What is typed by somebody who wants something else."""


@dataclass(frozen=True)
class Case:
    name: str
    before: str
    """Up to the cursor, which stands at its line's end."""
    suggestion: str
    after: str

    @property
    def is_one_line(self) -> bool:
        return "\n" not in self.suggestion


SUGGESTION_CHARS = range(14, 91)
MAX_LINES = EditorConfig().max_lines
PER_EDIT = 4
"""Places taken from one edit: a new file has hundreds."""


def cases(repository: Path, wanted: int, seed: int) -> list[Case]:
    """Places in real commits at which somebody wrote one to four lines of Python."""
    chance = random.Random(seed)
    found: list[Case] = []
    with History(repository) as history:
        for change in history.changes(Selection(languages=("python",))):
            for file in change.files:
                text = file.before
                for edit in file.edits:
                    found += _cases_of(text, edit, chance)
                    text = edit.apply(text)
    if len(found) < wanted:
        raise ValueError(f"{repository} has {len(found)} places to type at, not {wanted}")
    return [replace(case, name=f"case_{n:04d}.py") for n, case in enumerate(chance.sample(found, wanted))]


def _cases_of(text: str, edit: Edit, chance: random.Random) -> Iterator[Case]:
    head, tail = text[: edit.offset], text[edit.offset + len(edit.removed) :]
    lines = edit.inserted.split("\n")
    rest = ("\n" if edit.inserted.endswith("\n") else "") + tail
    for first in chance.sample(range(len(lines)), min(PER_EDIT, len(lines))):
        core = "\n".join(lines[first : first + chance.choice([1, 1, 2, 3])])
        before = head + "".join(line + "\n" for line in lines[:first])
        indent = len(core) - len(core.lstrip())
        split = indent + min(7, max(2, (len(core) - indent) // 4))
        case = Case("", before + core[:split], core[split:], rest)
        is_at_a_line = (not head or head.endswith("\n") or first > 0) and (not rest or rest.startswith("\n"))
        if is_at_a_line and len(before) < 40_000 and _is_typable(core, case.suggestion) and _is_shown_whole(case):
            yield case


def _is_shown_whole(case: Case) -> bool:
    """Whether the cut leaves it as it is: a bracket that stands below already is not suggested again."""
    kept = cut(case.suggestion, prefix=case.before, suffix=case.after, language="python", max_lines=MAX_LINES)
    return kept.text == case.suggestion


def _is_typable(core: str, suggestion: str) -> bool:
    """Plain text without the blank lines and blanks at line ends that the cut takes away."""
    has_blanks = any(line != line.rstrip() or not line for line in core.split("\n"))
    is_plain = core.isascii() and "\t" not in core and not has_blanks
    return is_plain and len(suggestion) in SUGGESTION_CHARS and not suggestion[0].isspace()


class Oracle:
    """A model that says what the commit says, where it is asked at just that place, and elsewhere nothing."""

    def __init__(self, known: Sequence[Case]) -> None:
        self._known = {case.before[-150:]: case.suggestion for case in known}

    def __call__(self, request: Received) -> Script:
        text = self._known.get(request.body["prompt"][-150:], "")
        return says(text)


class Hands(Protocol):
    """What a person can do in an editor."""

    surface: str

    async def open(self, case: Case) -> bool:
        """Open the case's file and go to its place in it; True if the suggestion appeared."""
        ...

    async def take(self) -> None: ...
    async def take_part(self, part: str) -> None: ...
    async def type(self, text: str) -> None: ...
    async def backspace(self, chars: int) -> None: ...
    async def undo(self) -> None: ...
    async def redo(self) -> None: ...
    async def delete(self, text: str) -> None:
        """Select the text before the cursor and delete it."""
        ...

    async def reformat(self, change: Callable[[str], str]) -> None:
        """A formatter rewrites the document, which is then saved."""
        ...

    async def take_from_another(self, text: str) -> None:
        """Another source of completions offers a text at the cursor as well, and that is what is taken."""
        ...

    async def close(self) -> None: ...


@dataclass
class Session:
    """Everything around the hands."""

    folder: Path
    url: str
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    @property
    def store(self) -> Path:
        return self.folder / "truth.db"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def command(self) -> list[str]:
        config = self.folder / "codetrial.toml"
        config.write_text(configuration(self.url, name="truth", editor={"debounce_ms": 40, "merge_budget_ms": 2000}))
        return proxy_command(language_server(), config=config, store=self.store, log=self.folder / "evaluator.log")

    def environment(self) -> dict[str, str]:
        home = {"HOME": self.folder, "XDG_CONFIG_HOME": self.folder / "config", "XDG_DATA_HOME": self.folder / "data"}
        state = {"XDG_STATE_HOME": self.folder / "state", "XDG_CACHE_HOME": self.folder / "cache"}
        own = {"CODETRIAL_DATA_DIR": self.folder / "own", "CODETRIAL_USER_CONFIG": self.folder / "none.toml"}
        return {name: str(path) for name, path in (home | state | own).items()}

    def write(self, case: Case) -> Path:
        path = self.work / case.name
        path.write_text(case.before + case.after, encoding="utf-8")
        return path

    def pause(self, low_s: float = 0.3, high_s: float = 0.8) -> Awaitable[None]:
        return asyncio.sleep(self.chance.uniform(low_s, high_s))

    def key_gap_s(self) -> float:
        """Between two keys: a tenth of a second, now and then a burst."""
        return self.chance.choice([0.05, 0.07, 0.09, 0.11, 0.16])

    async def ready(self) -> None:
        """Wait for the evaluator, which starts after the language server."""

        async def has_begun() -> bool:
            return self.store.exists() and self._has_session()

        await until(has_begun, READY_S)

    async def over(self) -> None:
        """Wait for the evaluator's last row: the editor is gone before it."""

        async def has_ended() -> bool:
            return bool(self.rows("SELECT 1 FROM session_end"))

        await until(has_ended, READY_S)

    def _has_session(self) -> bool:
        has_table = self.rows("SELECT 1 FROM sqlite_master WHERE name = 'session'")
        return bool(has_table and self.rows("SELECT 1 FROM session"))

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with Store(self.store, readonly=True) as store:
            return store.rows(sql, parameters)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Wait for something that tells nobody when it happens.

    Raises:
        TimeoutError: it did not happen in time.
    """
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


Behaviour = Callable[[Hands, Session, Case], Awaitable[None]]


async def take_whole(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()


async def take_and_edit(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause()
    await hands.backspace(2)
    await hands.type("_x")


async def take_and_reformat(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause()
    await hands.reformat(lambda text: text.replace(" = ", "  =  ").replace(", ", ","))


async def take_undo_redo(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 1.0)
    await hands.undo()
    await session.pause(0.5, 1.0)
    await hands.redo()


def word_of(text: str) -> str:
    """What "take a word" would bring, four characters or more; "" if the text is one word."""
    for at in range(4, len(text)):
        before, after = text[at - 1], text[at]
        is_edge = not (before.isalnum() or before == "_") or not (after.isalnum() or after == "_")
        if is_edge and not before.isspace() and not after.isspace():
            return text[:at]
    return ""


async def take_word(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_part(word_of(case.suggestion))
    await session.pause(0.5, 1.0)
    await hands.type(OTHER)


async def take_line(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_part(case.suggestion.partition("\n")[0])
    await session.pause(0.5, 1.0)
    await hands.type("  # " + OTHER)


async def type_through(hands: Hands, session: Session, case: Case) -> None:
    await hands.type(case.suggestion)


async def take_and_delete(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 2.0)
    await hands.delete(case.suggestion)


async def take_and_undo(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 2.0)
    await hands.undo()


async def ignore(hands: Hands, session: Session, case: Case) -> None:
    await hands.type(OTHER)


async def leave(hands: Hands, session: Session, case: Case) -> None:
    await session.pause()
    await hands.close()


async def take_from_another(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_from_another("another_assistant(wrote=this, at_once=True)")


BEHAVIOURS: Mapping[str, tuple[Behaviour, str]] = {
    "take whole": (take_whole, "accepted"),
    "take and edit": (take_and_edit, "accepted"),
    "take and reformat": (take_and_reformat, "accepted"),
    "take, undo, redo": (take_undo_redo, "accepted"),
    "take a word": (take_word, "partly_accepted"),
    "take a line": (take_line, "partly_accepted"),
    "type through": (type_through, "typed_through"),
    "take and delete": (take_and_delete, "not_taken"),
    "take and undo": (take_and_undo, "not_taken"),
    "ignore": (ignore, "not_taken"),
    "leave": (leave, "not_taken"),
    "outside assistant": (take_from_another, "not_taken"),
}
PARTS = frozenset({"take a word", "take a line"})
"""What no menu can do."""


def plan(known: Sequence[Case], each: int, *, has_parts: bool, one_line: bool) -> list[tuple[Case, str]]:
    """Which case is treated how: `each` cases for every behaviour that the editor can do."""
    left = [case for case in known if case.is_one_line or not one_line]
    planned: list[tuple[Case, str]] = []
    for name in BEHAVIOURS:
        if name in PARTS and not has_parts:
            continue
        fitting = [case for case in left if _fits(case, name)][:each]
        planned += [(case, name) for case in fitting]
        left = [case for case in left if case not in fitting]
    return planned


def _fits(case: Case, behaviour: str) -> bool:
    if behaviour == "take a line":
        return not case.is_one_line and len(case.suggestion.partition("\n")[0]) >= 4
    return behaviour != "take a word" or bool(word_of(case.suggestion))


@dataclass
class Tally:
    """What was done, beside what was read from it."""

    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    """Behaviour, outcome, rule; "none" where there is no outcome."""
    not_shown: int = 0
    offered: int = 0
    decided: int = 0
    outside_expected: int = 0
    outside_seen: int = 0
    outside_false: int = 0
    details: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.pairs += other.pairs
        self.details += other.details
        for name in ("not_shown", "offered", "decided", "outside_expected", "outside_seen", "outside_false"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def behaviours(self) -> dict[str, tuple[int, int]]:
        """How many cases of each there were, and how many of them were read right."""
        total = Counter(name for name, _, _ in self.pairs)
        right = Counter(name for name, got, _ in self.pairs if got == BEHAVIOURS[name][1])
        return {name: (total[name], right[name]) for name in BEHAVIOURS if total[name]}

    def classes(self) -> dict[str, "Counted"]:
        found = {}
        for wanted in dict.fromkeys(outcome for _, outcome in BEHAVIOURS.values()):
            truth = [got for name, got, _ in self.pairs if BEHAVIOURS[name][1] == wanted]
            hits = sum(got == wanted for got in truth)
            said = sum(got == wanted for _, got, _ in self.pairs)
            if truth:
                found[wanted] = Counted(len(truth), said, hits)
        return found


class Counted(NamedTuple):
    """One outcome class: how often it was done, how often it was said, and how often both."""

    done: int
    said: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.done


async def perform(hands: Hands, session: Session, planned: Sequence[tuple[Case, str]]) -> list[tuple[Case, str]]:
    """Do what is planned, one after the other; gives what was really done, without the cases where nothing appeared."""
    done = []
    for case, name in planned:
        if not await hands.open(case):
            continue
        await session.pause()
        await BEHAVIOURS[name][0](hands, session, case)
        done.append((case, name))
        await session.pause()
    return done


def compare(session: Session, planned: int, done: Sequence[tuple[Case, str]]) -> Tally:
    """What was done beside what the store says, once the session has ended."""
    [trial] = session.rows("SELECT seed FROM trial")
    rows = session.rows(
        "SELECT t.document, x.suggestion, o.outcome, o.rule, o.detail FROM exposure x JOIN task t ON t.id = x.task "
        "LEFT JOIN outcome o ON o.suggestion = x.suggestion ORDER BY x.offered_ns"
    )
    tally = Tally(not_shown=planned - len(done), offered=len(rows), decided=sum(r["outcome"] is not None for r in rows))
    for case, name in done:
        document = pseudonym_of_document(trial["seed"], (session.work / case.name).as_uri())
        [first, *_] = [row for row in rows if row["document"] == document] or [{}]
        tally.pairs.append((name, first.get("outcome") or "none", first.get("rule") or ""))
        if first.get("outcome") != BEHAVIOURS[name][1]:
            tally.details.append(f"{name}: {first} {case.suggestion!r} in {case.name}")
    outside = session.rows("SELECT sum(count) AS n FROM incident WHERE kind = 'outside_insertion'")
    tally.outside_expected = sum(name == "outside assistant" for _, name in done)
    seen = int(outside[0]["n"] or 0)
    tally.outside_seen, tally.outside_false = min(seen, tally.outside_expected), max(0, seen - tally.outside_expected)
    return tally


@asynccontextmanager
async def session_in(folder: Path, known: Sequence[Case]) -> AsyncIterator[Session]:
    async with StreamingServer() as server:
        server.script = Oracle(known)
        session = Session(folder, server.url)
        session.work.mkdir(parents=True, exist_ok=True)
        (session.work / ".git").mkdir(exist_ok=True)
        yield session
