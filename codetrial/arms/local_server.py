"""The process of one local model: llama.cpp's own HTTP server, on 127.0.0.1, one thread, one slot.

Run by `codetrial arms serve` and on demand. A failure is one sentence that begins with `codetrial:`; the process that
started it reads it from the log.
"""

import argparse
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

from codetrial.arms import local
from codetrial.errors import ArmError, CodetrialError

__all__ = ["main", "serve"]

IDLE_S = 20.0
"""After the last lease: long enough that a restarted editor finds the model still loaded."""
TICK_S = 2.0
HOST = "127.0.0.1"


def serve(
    name: str, *, port: int, stays: bool = False, on_ready: Callable[[local.Running], None] | None = None
) -> None:
    """Serve a model until nobody needs it (or, with `stays`, until a signal).

    Raises:
        ArmError: the extra or the weights are missing, the port is taken, or the model does not load.
    """
    weights = local.find(name)
    local.check_installed(weights)
    # llama.cpp would end the process without a word that a person understands.
    port = _free_port(port)
    import xllamacpp

    key = secrets.token_hex(16)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights.path)
    settings.model_alias = {name}
    settings.n_ctx = weights.context
    settings.hostnames = [HOST]
    settings.port = port
    settings.api_keys = [key]
    # More threads than idle cores make llama.cpp's spin barrier collapse, and the editor needs a core too.
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.n_parallel = 1
    settings.n_threads_http = 2
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        server = xllamacpp.Server(settings)
    except Exception as fault:
        raise ArmError(f"The local server of {name} could not load {weights.path}: {fault}") from fault
    state = local.Running(model=name, pid=os.getpid(), url=f"http://{HOST}:{port}", key=key)
    local.publish(state)
    if on_ready is not None:
        on_ready(state)
    try:
        _wait(name, ending, stays=stays)
    finally:
        local.withdraw(name)
        del server


def _wait(name: str, ending: threading.Event, *, stays: bool) -> None:
    leases = local.LastLease(name)
    idle_s = 0.0
    while not ending.wait(TICK_S):
        if stays:
            continue
        if not leases.take_if_unused():
            idle_s = 0.0
            continue
        idle_s += TICK_S
        if idle_s >= IDLE_S:
            return
        leases.give_back()


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            raise ArmError(
                f"Port {port} of {HOST} is taken: name another with --port, or 0 for any free one."
            ) from fault
        return int(probe.getsockname()[1])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="codetrial.arms.local_server")
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args(arguments)
    try:
        serve(chosen.model, port=chosen.port)
    except CodetrialError as fault:
        sys.stderr.write(f"\ncodetrial: {fault}\n")
        return 1
    sys.stdout.flush()
    # The server's threads must not outlive the decision to end.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
