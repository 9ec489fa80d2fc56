"""What one question after a pause takes longer through `cat` both ways, the least that Python can do, and the relay.

After a pause processors sleep and caches hold something else, so that each step costs several times what it does in the
loop of `bench relay`. The server computes for as long as quick ones do for a hover. Asked once more while something of
no importance keeps the processors awake, the same shows which part is waking up, that any process would add.
"""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.relay import CASES, Contestant, commands, evaluator
from bench.relay_real import TARGET, difference, ratio
from bench.report import Report

ROUNDS = 100
PAUSE_S = 0.15
COMPUTES_S = 0.002
SEED = 5
DIRECT = "direct"
COMMAND = "python -m bench relay_rest"

SERVER = textwrap.dedent(f"""
    import os, time
    answer = b'{{"contents":{{"kind":"markdown","value":"' + b'some words ' * 30 + b'"}}}}'
    while chunk := os.read(0, 1 << 16):
        end = time.perf_counter() + {COMPUTES_S}
        if (at := chunk.find(b'"id":')) < 0: continue
        while time.perf_counter() < end: pass
        token = chunk[at + 5:chunk.index(b',', at)]
        body = b'{{"jsonrpc":"2.0","id":%b,"result":%b}}' % (token, answer)
        os.write(1, b'Content-Length: %d\\r\\n\\r\\n%b' % (len(body), body))
""")
QUESTION = b"Content-Length: %d\r\n\r\n%b" % (len(CASES["hover"]), CASES["hover"])
AWAKE = textwrap.dedent("""
    import os, sys
    os.sched_setaffinity(0, {int(sys.argv[1])})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(10_000): pass
""")


def run(report: Report) -> None:
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, around in (("asleep", contextlib.nullcontext()), ("kept awake", kept_awake())):
            report.console.print(f"{ROUNDS} rounds, processors {label}", style="dim")
            with around:
                found = measure(folder)
            direct = found[DIRECT]
            for who, times in found.items():
                added = float(np.median(times - direct))
                told = [difference(direct / 1e3, times / 1e3), ratio(direct, times)] if who != DIRECT else ["-", "-"]
                least_ms = added / (TARGET - 1) / 1e3 if added > 0 and not who.startswith(DIRECT) else "-"
                rows.append([label if who == DIRECT else "", who, float(np.median(times) / 1e3), *told, least_ms])
    report.table(
        f"A question after {PAUSE_S * 1e3:.0f} ms of rest, to a server that computes for {COMPUTES_S * 1e3:.0f} ms",
        ["processors", "who", "p50, ms", "added, ms", "ratio", f"within {TARGET} from, ms"],
        rows,
        command=COMMAND,
        note=f"{ROUNDS} questions each, in an order drawn by lot. Medians of differences, ratios of medians; in "
        "brackets where 95 % of resampled runs lie. `least`: Python that only reads and writes. The last column: so "
        f"long an answer has to take for what is added to be {TARGET - 1:.0%} of it. Kept awake: a loop on each "
        "processor, in the class of the lowest priority.",
    )


def measure(folder: Path) -> dict[str, np.ndarray]:
    """Microseconds by contestant; the n-th of each are of one round."""
    server = folder / "rest.py"
    server.write_text(SERVER)
    chains = commands(server)
    chains = {
        DIRECT: chains[DIRECT],
        "direct again": chains[DIRECT],
        "cat": chains["cat"],
        "least": [sys.executable, "-m", "bench.carrier", *chains[DIRECT]],
        "codetrial": chains["codetrial"],
    }
    env = evaluator(folder, 0) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    draw = random.Random(SEED)
    contestants: list[Contestant] = []
    try:
        contestants += [Contestant(name, command, env) for name, command in chains.items()]
        times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
        for number in range(-3, ROUNDS):
            for contestant in draw.sample(contestants, len(contestants)):
                time.sleep(PAUSE_S)
                took = ask(contestant)
                if number >= 0:
                    times[contestant.name].append(took)
    finally:
        for contestant in contestants:
            contestant.close()
    return {name: np.array(values) for name, values in times.items()}


def ask(contestant: Contestant) -> float:
    """Microseconds of an answer that comes in one piece.

    Nothing else happens here: what is in Python's own code, and used here or by the server, would find the proxies in
    Python awake whose turn is next, as no editor does.
    """
    asked, answered = contestant.process.stdin, contestant.process.stdout
    assert asked is not None
    assert answered is not None
    to, back = asked.fileno(), answered.fileno()
    began = time.perf_counter_ns()
    os.write(to, QUESTION)
    os.read(back, 1 << 16)
    return (time.perf_counter_ns() - began) / 1e3


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    loops: list[subprocess.Popen[bytes]] = []
    try:
        for processor in os.sched_getaffinity(0):
            loops.append(subprocess.Popen([sys.executable, "-c", AWAKE, str(processor)]))
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
