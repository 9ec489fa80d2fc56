"""Hours of typing from real commits, replayed faster than they would last, through the whole proxy."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

from analysis.history import FileChange, History, Selection
from analysis.store import Store
from lsp_proxy.demo import language_server, proxy_command
from lsp_proxy.editor_client import INLINE_EDITOR, EditorClient
from lsp_proxy.typist import Habits, Pace, Typist
from tests.codetrial.streaming import Received, Script, StreamingServer
from tests.lsp_proxy.served_arm import configuration, says
from tests.lsp_proxy.truth import READY_S, until

SAMPLES = 20
"""Of memory, however long the session is."""
WARM_HOURS = 1.0
"""Until then modules load, pools fill and every kind of row has been written once."""

PATIENCE_S = 0.2
"""How long the typist really waits for a suggestion: a model does not answer sooner because time is short."""


class Memory(NamedTuple):
    """What the two processes held at a time, in megabytes."""

    hours: float
    evaluator_mb: float
    relay_mb: float


@dataclass(frozen=True, kw_only=True)
class LongSession:
    hours: float
    wall_s: float
    keys: int
    offered: int
    decided: int
    twice: int
    """Suggestions with more than one outcome."""
    lost: int
    """Records that the writer dropped, and faults of ours."""
    memory: Sequence[Memory]

    def growth_mb_an_hour(self) -> Memory:
        """The slopes of both, by least squares over what came after `WARM_HOURS`; `hours` is what they rest on."""
        warm = [sample for sample in self.memory if sample.hours >= min(WARM_HOURS, self.hours / 4)]
        hours = [sample.hours for sample in warm]
        evaluator = linear_regression(hours, [sample.evaluator_mb for sample in warm]).slope
        relay = linear_regression(hours, [sample.relay_mb for sample in warm]).slope
        return Memory(hours[-1] - hours[0], evaluator, relay)


class Author:
    """A model that knows what the commit goes on to say, and mostly says it."""

    def __init__(self) -> None:
        self.after = ""
        self._chance = random.Random(5)

    def __call__(self, request: Received) -> Script:
        tail = request.body["prompt"][-120:]
        at = self.after.find(tail)
        text = "" if at < 0 else self.after[at + len(tail) :].split("\n", 1)[0]
        if self._chance.random() < 0.3:
            text = "nobody_wanted(this)"
        return says(text)


async def replay(folder: Path, repository: Path, *, hours: float, speed: float, seed: int = 3) -> LongSession:
    """Type for so many hours of the typist's time."""
    author = Author()
    store, config = folder / "long.db", folder / "codetrial.toml"
    work = folder / "work"
    work.mkdir(parents=True)
    environment = {"CODETRIAL_DATA_DIR": str(folder / "own"), "CODETRIAL_USER_CONFIG": str(folder / "none.toml")}
    lasts_s = hours * 3600 / speed
    memory: list[Memory] = []
    keys = 0

    processes: tuple[int, int] | None = None

    def typed(chars: int) -> None:
        nonlocal keys
        keys += max(0, chars)
        hours_gone = (time.monotonic() - began) * speed / 3600
        if processes is not None and hours_gone >= hours * len(memory) / SAMPLES:
            evaluator, relay = processes
            memory.append(Memory(hours_gone, _resident_mb(evaluator), _resident_mb(relay)))

    async with StreamingServer() as server:
        server.script = author
        config.write_text(
            configuration(
                server.url,
                name="long",
                shares=(0.45, 0.45, 0.1),
                editor={"time_scale": speed},
                store_text="hash",
                serves_both=True,
            )
        )
        command = proxy_command(language_server(), config=config, store=store, log=folder / "evaluator.log")
        async with EditorClient.started(command, root=work, profile=INLINE_EDITOR, environment=environment) as editor:

            async def has_begun() -> bool:
                return store.exists() and bool(_rows(store, "SELECT 1 FROM session"))

            await until(has_begun, READY_S)
            processes = _evaluator_of(editor.process.pid), editor.process.pid
            began = time.monotonic()
            typist = Typist(
                editor=editor,
                rng=random.Random(seed),
                pace=Pace(speed=speed, patience_s=PATIENCE_S, debounce_s=0.075 / speed),
                habits=Habits(),
                on_typed=typed,
                is_time_up=lambda: time.monotonic() - began > lasts_s,
            )
            with History(repository) as history:
                files = [file for change in history.changes(Selection(languages=("python",))) for file in change.files]
            number = 0
            while time.monotonic() - began <= lasts_s:
                file: FileChange = files[number % len(files)]
                author.after = file.after
                (work / file.path).parent.mkdir(parents=True, exist_ok=True)
                await typist.make(file)
                number += 1
            wall_s = time.monotonic() - began
            await editor.shut_down()

    async def has_ended() -> bool:
        return bool(_rows(store, "SELECT 1 FROM session_end"))

    await until(has_ended, READY_S)
    counts = _rows(
        store,
        "SELECT (SELECT count(*) FROM exposure) AS offered, (SELECT count(*) FROM outcome) AS outcomes, "
        "(SELECT count(DISTINCT suggestion) FROM outcome) AS decided, "
        "(SELECT sum(dropped_events) FROM session_end) AS dropped, "
        "(SELECT coalesce(sum(count), 0) FROM incident WHERE kind LIKE 'fault%' OR kind = 'gap') AS faults",
    )[0]
    return LongSession(
        hours=wall_s * speed / 3600,
        wall_s=wall_s,
        keys=keys,
        offered=counts["offered"],
        decided=counts["decided"],
        twice=counts["outcomes"] - counts["decided"],
        lost=(counts["dropped"] or 0) + counts["faults"],
        memory=memory,
    )


def _rows(path: Path, sql: str) -> list[dict[str, int]]:
    with Store(path, readonly=True) as store:
        has_session = store.rows("SELECT 1 FROM sqlite_master WHERE name = 'session'")
        return store.rows(sql) if has_session else []


def _evaluator_of(relay: int) -> int:
    for entry in Path("/proc").iterdir():
        is_child = entry.name.isdigit() and f"\nPPid:\t{relay}\n" in (entry / "status").read_text()
        if is_child and b"lsp_proxy.evaluator" in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise ProcessLookupError("the relay has no evaluator")


def _resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
