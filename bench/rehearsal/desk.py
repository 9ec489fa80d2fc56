"""A developer's desk: a data folder, a clone, the team's configuration, and sittings at it."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.history import Change, FileChange, History
from bench.rehearsal.account import Sat, WatchedEditor
from bench.rehearsal.calendar import Calendar
from bench.rehearsal.faults import Scene, strike
from bench.rehearsal.models import KEY_VARIABLE, Switchboard
from bench.rehearsal.script import Developer, Editor, Fault, Script, Sitting
from codetrial.errors import ProxyError
from codetrial.records import ArmLabel
from lsp_proxy.demo import language_server, proxy_command
from lsp_proxy.editor_client import INLINE_EDITOR, MENU_EDITOR
from lsp_proxy.typist import Habits, Pace, Typist, pick_edits

__all__ = ["CONFIG", "TIME_SCALE", "Desk", "rows_of", "until"]

TIME_SCALE = 12
"""A replay does not wait minutes to see what became of a line."""

CONFIG = """\
# The rehearsal's team: one file for all, so one trial.
[trial]
name = "rehearsal"
seed = "5eed5eed5eed5eed5eed5eed5eed5eed"
shares = {{ a = 0.40, b = 0.40, none = 0.20 }}

[arms.a]
name = "SmolLM2-135M"
api = "openai-completions"
url = "{urls[A]}"
model = "smollm2-135m-instruct"
{arm}
[arms.b]
name = "Gemma 3 270M"
api = "openai-completions"
url = "{urls[B]}"
model = "gemma3-270m"
{arm}
[review]
post_share = 0.6
timeout_s = 15
[review.arms.a]
api = "openai-chat"
url = "{reviewers}"
model = "reviewer-a"
[review.arms.b]
api = "openai-chat"
url = "{reviewers}"
model = "reviewer-b"

[editor]
time_scale = {scale}
inline_deadline_ms = 9000
shadow_cap_s = 8
"""

ARM = """\
template = "prefix-only"
max_tokens = 24
stops = ["\\n\\n"]
prefix_chars = 320
suffix_chars = 0
timeout_s = 8
key_env = "{key}"
"""

MIN_EDIT_CHARS, MAX_EDIT_CHARS, CHARS_PER_FILE = 8, 400, 400
READY_S = 60.0
"""For an evaluator to start, at the lowest priority on a machine that has much else to do."""
SETTLE_S = 30.0 / TIME_SCALE + 1.5
"""After the typing, until what was typed last has been looked at again."""
PACE = Pace(speed=1.5, time_scale=TIME_SCALE, patience_s=8.0, look_up=0.3, debounce_s=0.15)
HABITS = Habits(take=0.9, take_part=0.8, undo=0.05, delete=0.05, take_other=0.2)


def write_config(folder: Path, urls: dict[ArmLabel, str], reviewers: str) -> Path:
    path = folder / "codetrial.toml"
    path.write_text(CONFIG.format(urls=urls, reviewers=reviewers, scale=TIME_SCALE, arm=ARM.format(key=KEY_VARIABLE)))
    return path


def rows_of(store: Path, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """A query of the rehearsal's own, by SQLite alone."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, parameters)]


async def until(holds: Callable[[], Any], what: str, within_s: float = READY_S) -> Any:
    """Wait for what another process does; no event crosses from there.

    Raises:
        ProxyError: it did not happen in time.
    """
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise ProxyError(f"The rehearsal waited {within_s:.0f} s in vain: {what}.")
        await asyncio.sleep(0.05)
    return found


@dataclass(slots=True, kw_only=True)
class Desk:
    """One developer with everything of their own."""

    developer: Developer
    folder: Path
    script: Script
    history: History
    changes: Sequence[Change]
    config: Path
    library: Path
    """Moves the clock."""
    runtime: Path
    """Shared: on a real team each machine has model servers of its own, here all have two cores."""
    board: Switchboard
    rng: random.Random
    stored: set[tuple[str, str]] = field(default_factory=set)
    """Rows that were seen on disk."""
    _next: int = 0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def store(self) -> Path:
        return self.data / "codetrial.db"

    @property
    def work(self) -> Path:
        return self.folder / "work" / self.history.root.name

    def environment(self, sitting: str, calendar: Calendar) -> dict[str, str]:
        return {
            "CODETRIAL_DATA_DIR": str(self.data),
            "CODETRIAL_RUNTIME_DIR": str(self.runtime),
            "CODETRIAL_USER_CONFIG": str(self.folder / "none.toml"),
            KEY_VARIABLE: sitting,
            **calendar.environment(),
        }

    async def sit(self, sitting: Sitting) -> Sat:
        """Type for a while, on the sitting's day, with its fault."""
        calendar = Calendar(self.library, self.folder / f"clock-{sitting.day}")
        calendar.set(self.script.morning(sitting.day))
        change = self._change()
        await asyncio.to_thread(self._check_out, change)
        before = self._sessions()
        profile = INLINE_EDITOR if self.developer.editor is Editor.INLINE else MENU_EDITOR
        log = self.folder / "evaluator.log"
        command = proxy_command(language_server(), config=self.config, store=self.store, log=log)
        environment = self.environment(sitting.name, calendar)
        async with WatchedEditor.started(command, root=self.work, profile=profile, environment=environment) as editor:
            assert isinstance(editor, WatchedEditor)
            [session] = await until(lambda: self._sessions() - before, f"{sitting.name} is recorded")
            scene = Scene(self, sitting, editor, calendar, session)
            typist = await self._type(editor, change, scene)
        sat = Sat(sitting=sitting, session=session, sent_ns=editor.sent_ns, offered=editor.offered,
                  deeds=typist.truth.entries, fault=scene.struck, told=editor.messages)  # fmt: skip
        if sitting.fault is not Fault.ALL_KILLED:
            await until(lambda: self._has_ended(session), f"the session of {sitting.name} ends")
        sat.asked.update({label: self.board.asked[sitting.name, label] for label in ArmLabel})
        self.note_stored()
        return sat

    async def _type(self, editor: WatchedEditor, change: Change, scene: Scene) -> Typist:
        """Type until the time is up, and the fault is over as well."""
        ends = time.monotonic() + self.script.sitting_s
        typist = Typist(
            editor=editor, rng=self.rng, pace=PACE, habits=HABITS,
            is_time_up=lambda: time.monotonic() > ends and striking.done(),
        )  # fmt: skip
        striking = asyncio.create_task(strike(scene, self.script.sitting_s), name="fault")
        try:
            while not typist.is_time_up():
                await typist.make(self._bite(change))
            await asyncio.sleep(SETTLE_S)
        except ProxyError:
            if scene.sitting.fault not in (Fault.RELAY_KILLED, Fault.ALL_KILLED):
                raise
        finally:
            await striking
        return typist

    def _change(self) -> Change:
        """The next commit with enough to type, again from the first after the last."""
        for _ in self.changes:
            change = self.changes[self._next % len(self.changes)]
            self._next += 1
            sizes = [len(edit.inserted.strip()) for file in change.files for edit in file.edits]
            if change.parent is not None and sum(MIN_EDIT_CHARS <= size <= MAX_EDIT_CHARS for size in sizes) >= 3:
                return change
        raise ProxyError(f"{self.history.root} has no commit worth typing.")

    def _check_out(self, change: Change) -> None:
        from git import Repo

        assert change.parent is not None
        self.history.checkout(self.work, change.parent)
        with Repo(self.work) as clone, clone.config_writer() as settings:
            settings.set_value("user", "email", self.developer.address)

    def _bite(self, change: Change) -> FileChange:
        """Some edits of one file, drawn anew each time."""
        for file in self.rng.sample(change.files, len(change.files)):
            bite = pick_edits(
                file, self.rng, min_chars=MIN_EDIT_CHARS, max_chars=MAX_EDIT_CHARS, total_chars=CHARS_PER_FILE
            )
            if bite.edits:
                return bite
        raise ProxyError(f"{change.commit} of {self.history.root} has no edit of a size to type.")

    def _sessions(self) -> set[str]:
        return {row["id"] for row in self._rows("SELECT id FROM session")}

    def _has_ended(self, session: str) -> bool:
        return bool(self._rows("SELECT 1 FROM session_end WHERE session = ?", [session]))

    def has_restarted(self, session: str) -> bool:
        sql = "SELECT 1 FROM incident WHERE session = ? AND kind = 'evaluator_restart'"
        return bool(self._rows(sql, [session]))

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Nothing while the file is being made."""
        try:
            return rows_of(self.store, sql, parameters)
        except sqlite3.OperationalError:
            return []

    def note_stored(self) -> None:
        """Remember every row that is on disk now."""
        for table in ("session", "session_end", "assignment", "task", "attempt", "suggestion", "exposure", "outcome",
                      "continuation", "score", "incident"):  # fmt: skip
            key = "session" if table == "session_end" else "id"
            self.stored |= {(table, row["id"]) for row in self._rows(f"SELECT {key} AS id FROM {table}")}
