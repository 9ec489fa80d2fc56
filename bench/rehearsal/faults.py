"""Faults: each strikes in the middle of a sitting, is noted with its time, and is over before the sitting ends."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rehearsal.account import Kill, WatchedEditor
from bench.rehearsal.calendar import Calendar
from bench.rehearsal.script import Fault, Sitting
from codetrial.clock import now_ns
from codetrial.records import ArmLabel

if TYPE_CHECKING:
    from bench.rehearsal.desk import Desk

__all__ = ["BALLAST", "Scene", "strike"]

BALLAST = "ballast"
SLOW_S = 3.0
ASKED_BEFORE = 4
"""Requests after which a fault strikes: there must be something to lose."""


@dataclass(slots=True)
class Scene:
    """Where a fault strikes."""

    desk: "Desk"
    sitting: Sitting
    editor: WatchedEditor
    calendar: Calendar
    session: str
    struck: Kill | None = None


async def strike(scene: Scene, sitting_s: float) -> None:
    """Let the sitting's fault happen, once something has been asked or a third of the time is over."""
    act = _ACTS.get(scene.sitting.fault)
    if act is None:
        return
    if scene.sitting.fault not in (Fault.MODEL_HANGS, Fault.MODEL_SLOW):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sitting_s / 3):
                await _asked(scene, ASKED_BEFORE)
    await act(scene, sitting_s)


async def _kill_evaluator(scene: Scene, sitting_s: float) -> None:
    [evaluator] = _evaluators(scene.editor.process.pid)
    scene.desk.note_stored()
    os.kill(evaluator, signal.SIGKILL)
    began = now_ns()

    while not scene.desk.has_restarted(scene.session):  # noqa: ASYNC110  # No event crosses from another process.
        await asyncio.sleep(0.05)
    scene.struck = Kill(begins_ns=began)
    # Typing goes on for a while, so that the one who came back has something to record.
    await _asked(scene, len(scene.editor.sent_ns) + ASKED_BEFORE)


async def _kill_relay(scene: Scene, sitting_s: float) -> None:
    scene.desk.note_stored()
    scene.editor.process.kill()
    scene.struck = Kill(begins_ns=now_ns())


async def _kill_all(scene: Scene, sitting_s: float) -> None:
    found = _evaluators(scene.editor.process.pid)
    scene.desk.note_stored()
    # The evaluator first: it ends its session as soon as the relay is gone, and may be quicker than we are.
    for evaluator in found:
        os.kill(evaluator, signal.SIGKILL)
    scene.editor.process.kill()
    scene.struck = Kill(begins_ns=now_ns())


async def _hang(scene: Scene, sitting_s: float) -> None:
    scene.desk.board.hangs.add((scene.sitting.name, ArmLabel.B))
    scene.struck = Kill(begins_ns=now_ns())


async def _slow(scene: Scene, sitting_s: float) -> None:
    scene.desk.board.delay_s[scene.sitting.name, ArmLabel.A] = SLOW_S
    scene.struck = Kill(begins_ns=now_ns())


async def _fill_disk(scene: Scene, sitting_s: float) -> None:
    """Until not a page more fits, for a third of the sitting; then make room again."""
    ballast = scene.desk.data / BALLAST
    scene.desk.note_stored()
    began = now_ns()
    await asyncio.to_thread(_fill, ballast)
    await asyncio.sleep(max(6.0, sitting_s / 3))
    ballast.unlink()
    scene.struck = Kill(begins_ns=began, ends_ns=now_ns())


def _fill(ballast: Path) -> None:
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


async def _jump(scene: Scene, sitting_s: float) -> None:
    began = now_ns()
    scene.calendar.jump(timedelta(hours=-1))
    await asyncio.sleep(sitting_s / 4)
    scene.calendar.jump(timedelta(hours=6))
    await asyncio.sleep(sitting_s / 8)
    scene.struck = Kill(begins_ns=began, ends_ns=now_ns())


async def _asked(scene: Scene, requests: int) -> None:
    while len(scene.editor.sent_ns) < requests:  # noqa: ASYNC110  # The typist tells nobody.
        await asyncio.sleep(0.05)


_ACTS: dict[Fault, Callable[[Scene, float], Awaitable[None]]] = {
    Fault.EVALUATOR_KILLED: _kill_evaluator,
    Fault.RELAY_KILLED: _kill_relay,
    Fault.ALL_KILLED: _kill_all,
    Fault.MODEL_HANGS: _hang,
    Fault.MODEL_SLOW: _slow,
    Fault.DISK_FULL: _fill_disk,
    Fault.CLOCK_JUMP: _jump,
}


def _evaluators(relay: int) -> list[int]:
    """Process ids of the evaluators that a relay has started."""
    found = []
    for thread in Path(f"/proc/{relay}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with contextlib.suppress(OSError):
                if b"lsp_proxy.evaluator" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found
