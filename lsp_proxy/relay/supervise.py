"""The evaluator's process: started late, at the lowest priority, and again a few times when it dies."""

import contextlib
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from lsp_proxy.relay.main import Options

if TYPE_CHECKING:
    import socket

__all__ = ["Ended", "Evaluator"]

NICENESS = 19
"""An editor starts 300 ms later when the evaluator's imports compete with its language server on two cores."""
IDLE: int | None = getattr(os, "SCHED_IDLE", None)
"""Linux only. Whoever wakes takes the processor from such a process at once; one that is only nice keeps it until its
slice is over, for which the server waited, time and again, when a large file was parsed (docs/design/0023)."""
RESTART_AFTER_S = (1.0, 4.0, 15.0)
SOUND_AFTER_S = 600.0
"""An evaluator that ran so long has earned all its restarts back."""


class Ended(NamedTuple):
    """How a process ended, as people say it."""

    how: str


class Evaluator:
    """One evaluator at a time; `due_ns` is when the next one may be started, None if none will be."""

    def __init__(self, options: Options, session: str) -> None:
        self._options = options
        self._session = session
        self._pid: int | None = None
        self._started_ns = 0
        self._failures = 0
        self._is_stopped = False
        self.connection: socket.socket | None = None
        self.generation = 0
        self.due_ns: int | None = None

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has suspended it (SIGSTOP): it will not answer until it is continued."""
        return self._is_stopped

    def start(self) -> "socket.socket":
        """Start it and give our end of the link; OSError if the machine refuses."""
        import socket  # Only now: by this time the editor has its server.

        ours, theirs = socket.socketpair()
        try:
            self._pid = self._spawn(theirs)
        except OSError:
            ours.close()
            self._fail()
            raise
        finally:
            theirs.close()
        self.generation += 1
        self._started_ns = time.monotonic_ns()
        self._is_stopped = False
        self.due_ns = None
        self.connection = ours
        return ours

    def _spawn(self, theirs: "socket.socket") -> int:
        fd = theirs.fileno()
        os.set_inheritable(fd, True)
        command = [*_command(), "--link-fd", str(fd), "--options", self._options_json()]
        null = os.devnull
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int] | tuple[int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0),
        ]
        if self._options.log is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            actions.append((os.POSIX_SPAWN_OPEN, 2, self._options.log, flags, 0o600))
        pid = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=actions,
            setpgroup=0,  # Ctrl-C or the editor's kill of our group must not cost what it has yet to write.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        with contextlib.suppress(OSError):  # It has ended already, or may not.
            os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
            if IDLE is not None:
                os.sched_setscheduler(pid, IDLE, os.sched_param(0))
        return pid

    def _options_json(self) -> str:
        options = self._options
        return json.dumps(
            {
                "config": options.config,
                "store": options.store,
                "origin": options.origin,
                "root": os.getcwd(),
                "log": options.log,
                "session": self._session,
            }
        )

    def reap(self) -> Ended | None:
        """Look at it without waiting; how it ended, if it has."""
        if self._pid is None:
            return None
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | getattr(os, "WCONTINUED", 0))
        except ChildProcessError:
            return self._end(Ended("it ended unseen"))
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            self._is_stopped = True
            return None
        if os.WIFCONTINUED(status):
            self._is_stopped = False
            return None
        code = os.waitstatus_to_exitcode(status)
        return self._end(Ended(f"exit status {code}" if code >= 0 else f"signal {-code}"))

    def _end(self, how: Ended) -> Ended:
        self._pid = None
        self.connection = None
        if time.monotonic_ns() - self._started_ns > SOUND_AFTER_S * 1e9:
            self._failures = 0
        self._fail()
        return how

    def _fail(self) -> None:
        if self._failures < len(RESTART_AFTER_S):
            self.due_ns = time.monotonic_ns() + int(RESTART_AFTER_S[self._failures] * 1e9)
        else:
            self.due_ns = None
        self._failures += 1

    def kill(self) -> None:
        """End it now: it has closed its link, or is suspended while we end."""
        if self._pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)


def _command() -> list[str]:
    if override := os.environ.get("CODETRIAL_EVALUATOR"):
        return [str(word) for word in json.loads(override)]
    # -P: we run in the person's project, whose own modules must not stand in for ours.
    return [sys.executable, "-P", "-m", "lsp_proxy.evaluator"]
