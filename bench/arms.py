"""What routing adds to an attempt, what a thousand attempts at once cost, and two real local models side by side."""

import asyncio
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from analysis.store import Writer
from bench.report import Report, spread
from bench.streaming_server import streaming_server
from codetrial.arms import Prompt, build, local
from codetrial.arms.check import Speed, check
from codetrial.attempts import attempt_row
from codetrial.config import Config, load
from codetrial.ids import new_id
from codetrial.manifest import freeze
from codetrial.records import ArmLabel, ArmRow, Attempt
from codetrial.routing import Flight, Router

ATTEMPTS = 500
AT_ONCE = 1000
ROUNDS = 5
PROMPT = Prompt(
    prefix="import json\n\n\ndef load(path):\n    " * 20,
    suffix="\n    return value\n" * 10,
    path="a.py",
    language="python",
)
COMMAND = "python -m bench arms"


def config_for(url: str, **settings: Any) -> Config:
    arm = {"api": "openai-completions", "url": url, "model": "m", "template": "qwen2.5-coder", "timeout_s": 60.0}
    return load(Path("/nowhere"), overrides={"arms": {"a": dict(arm), "b": dict(arm)}, **settings})


def record(router: Router, flight: Flight, arm: ArmRow) -> Attempt:
    """The attempt as the editor's door records it."""
    label = arm.label
    answer = flight.answers[label].result()
    cost = router.cost(label, answer, when=flight.started_at)
    return attempt_row(arm, "t", answer, cost, identity=new_id(), is_shown=label is ArmLabel.A)


async def overhead_ms(url: str, writer: Writer) -> list[float]:
    """Last event read by the arm to the attempt offered to the store's writer, both arms asked each time."""
    config = config_for(url)
    _, arms = freeze(config)
    taken: list[float] = []

    async def one(router: Router, flight: Flight, arm: ArmRow) -> None:
        answer = await flight.answers[arm.label]
        writer.offer(record(router, flight, arm))
        assert answer.end_ns is not None
        taken.append((time.monotonic_ns() - answer.end_ns) / 1e6)

    async with Router({label: build(config.arms[label], label) for label in ArmLabel}, config) as router:
        for _ in range(ATTEMPTS):
            flight = router.start(PROMPT)
            await asyncio.gather(*(one(router, flight, arm) for arm in arms))
    return taken[20:]  # The first ones connect.


def resident_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return pages * resource.getpagesize() / 1e6


async def many_at_once(url: str) -> list[tuple[int, float, Counter[str], float]]:
    """Per round: attempts, seconds, statuses, and memory held afterwards."""
    config = config_for(url)
    rounds = []
    async with Router({label: build(config.arms[label], label) for label in ArmLabel}, config) as router:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            flights = [router.start(PROMPT) for _ in range(AT_ONCE // 2)]
            statuses: Counter[str] = Counter()
            for flight in flights:
                statuses.update(answer.status.value for answer in (await flight.settled()).values())
            rounds.append((AT_ONCE, time.perf_counter() - started, statuses, resident_mb()))
    return rounds


def _speed(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["-", "-"]
    first = "-" if speed.first_token_ms is None else f"{speed.first_token_ms:.0f}"
    return [first, "-" if speed.tokens_per_s is None else f"{speed.tokens_per_s:.0f}"]


def real_pair() -> Config:
    def arm(name: str) -> dict[str, Any]:
        base = {"api": "openai-completions", "url": f"local:{name}", "model": name, "template": "prefix-only"}
        return {**base, "max_tokens": 24, "timeout_s": 60.0}

    return load(Path("/nowhere"), overrides={"arms": {"a": arm("smollm2"), "b": arm("gemma3-270m")}})


def run(report: Report) -> None:
    with (
        streaming_server(pause_s=0.002) as url,
        tempfile.TemporaryDirectory() as folder,
        Writer(Path(folder) / "x.db") as writer,
    ):
        taken = spread(asyncio.run(overhead_ms(url, writer)))
    report.table(
        "Routing overhead: the arm's last byte to the recorded attempt, ms",
        ["attempts", "p50", "p95", "p99", "target p95"],
        [[taken.count, taken.p50, taken.p95, taken.p99, "2"]],
        command=COMMAND,
    )
    with streaming_server(pause_s=0.05) as url:
        rounds = asyncio.run(many_at_once(url))
    report.table(
        f"{AT_ONCE} attempts at once, {ROUNDS} times in one process",
        ["round", "attempts", "seconds", "statuses", "memory after, MB"],
        [
            [number, count, seconds, ", ".join(f"{k} {v}" for k, v in statuses.items()), memory]
            for number, (count, seconds, statuses, memory) in enumerate(rounds, 1)
        ],
        command=COMMAND,
        note="Each stream takes at least 1 s at the server.",
    )
    if all(local.find(name).path.is_file() for name in ("smollm2", "gemma3-270m")):
        reports = asyncio.run(check(real_pair()))
        report.table(
            "Two real local models, one thread each, through `arms check`",
            [
                "arm",
                "probes right",
                "first token alone, ms",
                "tokens/s alone",
                "first token together, ms",
                "tokens/s together",
            ],
            [[r.definition.name, f"{r.right} of {r.asked}", *_speed(r.alone), *_speed(r.together)] for r in reports],
            command=COMMAND,
        )
    else:
        report.console.print("Real models left out: codetrial arms fetch smollm2; codetrial arms fetch gemma3-270m")
