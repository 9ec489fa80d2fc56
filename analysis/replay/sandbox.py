"""Running what a model wrote, or a repository's own tests, where neither can do harm.

Under bubblewrap: no network, no processes of ours in sight, nothing of the disk but the system's programs, the folder
in hand and what is named; the end of the sandbox is the end of everything it started, whatever that forked.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codetrial.errors import EvidenceError

__all__ = ["NOT_FOUND", "Bubblewrap", "Ran", "Sandbox", "Unprotected", "open_sandbox"]

OUTPUT_CHARS = 4_000
"""Of the end of what a command printed: enough for a person to see why it failed."""

FILE_BYTES = 256 * 2**20
"""No file may grow beyond this: an endless print must not fill the disk."""

MEMORY_BYTES = 4 * 2**30
"""Of writable memory of each process; what is merely reserved, as Node and Java do, does not count."""

PROCESSES = 1024
"""And threads, in one sandbox: more than any test suite needs, fewer than hurt. Linux does not hold root to it."""

PROBE_S = 20.0
SANDBOX_END_S = 5.0
"""After its first process has been killed; bubblewrap follows within milliseconds."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl")
BWRAP = "bwrap"
NOT_FOUND = 127
"""As shells say it."""
PLACE = "/task"
"""Where the folder appears inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended."""

    exit_code: int | None
    """None: it was ended at the time limit."""
    output: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.exit_code == 0

    @property
    def reason(self) -> str:
        if self.exit_code is None:
            return "time_limit"
        return "passed" if self.passed else f"exit_{self.exit_code}"


class Sandbox(Protocol):
    """Somewhere to run a command."""

    async def run(self, command: Sequence[str], folder: Path, *, limit_s: float) -> Ran:
        """Run it in a folder that it may change, until it ends or the limit; nothing it started is left then."""
        ...


class Bubblewrap:
    """Args:
    visible: Folders that may be read besides the system's, such as a project's virtual environment.
    """

    def __init__(self, visible: Sequence[Path] = ()) -> None:
        self._visible = [*_python_folders(), *visible]

    async def run(self, command: Sequence[str], folder: Path, *, limit_s: float) -> Ran:
        return await _run([*self._wrap(folder), *command], folder, limit_s, _environment(PLACE))

    def _wrap(self, folder: Path) -> list[str]:
        words = [BWRAP, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        for name in SYSTEM:
            path = Path(name)
            if path.is_symlink():
                words += ["--symlink", str(path.readlink()), name]
            elif path.exists():
                words += ["--ro-bind", name, name]
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for path in self._visible:
            words += ["--ro-bind-try", str(path), str(path)]
        words += ["--bind", str(folder), PLACE]
        # We run git there afterwards, outside: a hook or a setting that a test leaves behind would be run by us.
        words += ["--ro-bind-try", str(folder / ".git"), f"{PLACE}/.git"]
        words += ["--chdir", PLACE, "--"]
        # Set inside, where Linux counts a user's processes apart: outside it would count the person's own.
        return [*words, "prlimit", f"--nproc={PROCESSES}"] if shutil.which("prlimit") else words


class Unprotected:
    """No sandbox: only for those who said that they trust what is run. Still limited, and ended as a group."""

    async def run(self, command: Sequence[str], folder: Path, *, limit_s: float) -> Ran:
        return await _run(list(command), folder, limit_s, _environment(str(folder)))


def _python_folders() -> list[Path]:
    """Where this Python and its packages live: checks are mostly written in it."""
    folders = [Path(sys.prefix), Path(sys.base_prefix)]
    return [folder for folder in dict.fromkeys(folders) if not str(folder).startswith(("/usr/bin", "/bin"))]


def _environment(home: str) -> Mapping[str, str]:
    """Nothing of ours: keys of models live in the environment."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}


async def open_sandbox(*, without: bool = False, visible: Sequence[Path] = ()) -> Sandbox:
    """A sandbox that was seen working.

    Args:
        without: The person said that no sandbox is needed.

    Raises:
        EvidenceError: there is none here; says how to get one, and how to do without.
    """
    if without:
        return Unprotected()
    mend = "install bubblewrap (for instance `apt install bubblewrap`), or pass --no-sandbox if you trust what is run"
    if shutil.which(BWRAP) is None:
        raise EvidenceError(f"Code by models is only run in a sandbox, and there is no `bwrap` on PATH: {mend}.")
    sandbox = Bubblewrap(visible)
    with tempfile.TemporaryDirectory(prefix="codetrial-probe-") as folder:
        ran = await sandbox.run([sys.executable, "-c", "print(1)"], Path(folder), limit_s=PROBE_S)
    if not ran.passed:
        said = ran.output.strip().splitlines()[-1:] or [ran.reason]
        raise EvidenceError(f"bubblewrap does not work here ({said[0]}): {mend}.")
    return sandbox


def _limits(limit_s: float) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = int(limit_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # Of each process; the clock ends them all.


async def _run(command: Sequence[str], folder: Path, limit_s: float, environment: Mapping[str, str]) -> Ran:
    started = time.monotonic()
    # A file and not a pipe: a child that was left behind would hold a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=lambda: _limits(limit_s),
            )
        except OSError as fault:
            return Ran(exit_code=NOT_FOUND, output=f"{command[0]}: {fault.strerror}", seconds=0.0)
        try:
            await asyncio.wait_for(process.wait(), limit_s)
            exit_code = process.returncode
        except TimeoutError:
            exit_code = None
        finally:
            await _end(process, is_wrapped=command[0] == BWRAP)
        seconds = time.monotonic() - started
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 4 * OUTPUT_CHARS))
        text = output.read().decode("utf-8", "replace")
    if exit_code == 1 and text.startswith(f"{BWRAP}: execvp"):
        exit_code = NOT_FOUND  # Else a missing program would look like a check that fails.
    return Ran(exit_code=exit_code, output=text[-OUTPUT_CHARS:], seconds=seconds)


async def _end(process: asyncio.subprocess.Process, *, is_wrapped: bool) -> None:
    """End everything that it started, and wait until it is gone.

    Bubblewrap's child is the first process of the sandbox: only when all others in there are dead does it go, and
    bubblewrap after it. Ended from the outside in, they would still be dying when we return.
    """
    if process.returncode is None and is_wrapped:
        for child in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), SANDBOX_END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []  # It has ended, or this is not Linux.
