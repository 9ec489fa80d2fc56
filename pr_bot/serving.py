"""`codetrial pr serve`: the webhook server here, the worker in another process, and somebody who minds both."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from codetrial.paths import data_dir
from pr_bot.identity import Identity, webhook_secret
from pr_bot.server import create_app
from pr_bot.state import State

__all__ = ["WorkerProcess", "serve"]

logger = logging.getLogger(__name__)

RESTART_PAUSE_S = 1.0
MAX_RESTART_PAUSE_S = 60.0
STEADY_S = 60.0
"""A worker that lived so long was not ended by what it begins with."""
STOP_S = 30.0
"""Longer than any single step at GitHub; what is not done by then is done again after the next start."""


class WorkerProcess:
    """The worker, started again whenever it ends."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="worker-watch")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join()

    def _watch(self) -> None:
        pause = RESTART_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            # Nothing is ever written: the pipe is there to close when this process ends, by whatever means.
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            code = self._process.wait()
            if self._stopping.is_set():
                return
            pause = RESTART_PAUSE_S if time.monotonic() - began > STEADY_S else min(MAX_RESTART_PAUSE_S, pause * 2)
            logger.error("the worker ended with %s; starting it again in %.0f s", code, pause)
            self._stopping.wait(pause)


def serve(*, host: str, port: int, threads: int, config_file: Path | None, database: Path | None) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: the secret or the identity is missing; nothing is served then.
    """
    secret = webhook_secret()
    Identity().close()  # A wrong identity should be seen now, not at the first pull request.
    state = State(data_dir() / "pull-requests.db", is_receiver=True)
    command = [sys.executable, "-P", "-m", "codetrial.cli", "-v", "pr", "work", "--while-stdin-is-open"]
    command += ["--threads", str(threads)]
    if config_file is not None:
        command += ["--config", str(config_file)]
    if database is not None:
        command += ["--store", str(database)]
    worker = WorkerProcess(command)
    worker.start()
    try:
        uvicorn.run(create_app(state, secret), host=host, port=port, log_level="warning", server_header=False)
    finally:
        worker.stop()
        state.close()
