"""How fast a history becomes tasks, and what a replay adds to the time that the arms take."""

import asyncio
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from analysis.history import History, Release, Selection, build_from_releases
from analysis.replay import start
from analysis.replay.book import Book
from analysis.replay.cursors import CursorTask, Windows, choose
from analysis.replay.roots import Roots
from analysis.replay.run import run as run_tasks
from bench.report import Report, spread
from codetrial.arms import build
from codetrial.arms.base import Arm, Prompt
from codetrial.config import Config, load
from codetrial.manifest import freeze
from codetrial.paths import cache_dir
from codetrial.records import ArmLabel
from codetrial.routing import Router

TASKS = 1_000
CONCURRENCY = 8
ROUNDS = 3

RELEASES = tuple(
    Release("sqlite-utils", version)
    for version in ("3.20", "3.21", "3.22", "3.22.1", "3.23", "3.24", "3.25", "3.25.1", "3.26", "3.27", "3.28")
)

SERVER = textwrap.dedent("""
    import asyncio, json
    PARTS = [{"choices": [{"text": "self.total + 1", "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 900, "completion_tokens": 5}}]
    BODY = b"".join(b"data: " + json.dumps(p).encode() + b"\\n\\n" for p in PARTS) + b"data: [DONE]\\n\\n"
    HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\ncontent-length: %d\\r\\n\\r\\n"
    ANSWER = HEAD % len(BODY) + BODY
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\\r\\n\\r\\n")
                [size] = [int(l[15:]) for l in head.split(b"\\r\\n") if l.lower().startswith(b"content-length:")]
                await reader.readexactly(size)
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()
    asyncio.run(main())
""")


def typical_history(folder: Path) -> Path:
    """Commits as people make them: real files of a real package, each commit one change in one place."""
    package = build_from_releases(cache_dir() / "replay-bench", RELEASES)
    target = folder / "typical"
    first: dict[str, str] = {}
    states: list[tuple[str, str]] = []
    with History(package) as history:
        for change in history.changes(Selection(with_new_files=False, max_typed_chars=200_000)):
            for file in change.files:
                first.setdefault(file.path, file.before)
                text = file.before
                for edit in file.edits:
                    text = edit.apply(text)
                    states.append((file.path, text))
    stream = _commit(0, first)
    for number, (path, text) in enumerate(states, start=1):
        stream += _commit(number, {path: text})
    subprocess.run(["git", "init", "-q", "-b", "main", str(target)], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=target, input=stream, check=True)
    return target


def _commit(number: int, files: Mapping[str, str]) -> bytes:
    stream = f"commit refs/heads/main\ncommitter A <a@example.org> {1_700_000_000 + number * 3600} +0000\n".encode()
    stream += b"data 6\nChange\n"
    for path, text in files.items():
        data = text.encode()
        stream += f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
    return stream


def extraction(folder: Path) -> tuple[int, int, float]:
    """Commits and places read, and commits a minute."""
    started = time.perf_counter()
    with History(folder) as history:
        chosen = choose(
            history.changes(),
            seed="0",
            limit=TASKS,
            per_file=4,
            windows=Windows(prefix_chars=3000, suffix_chars=1000),
        )
    return chosen.commits, chosen.places, chosen.commits / (time.perf_counter() - started) * 60


def configuration(folder: Path, port: int) -> Config:
    arm = f'api = "openai-completions"\nurl = "http://127.0.0.1:{port}/v1"\nmodel = "m"\ntemplate = "prefix-only"\n'
    path = folder / "codetrial.toml"
    path.write_text(f"[arms.a]\n{arm}[arms.b]\n{arm}")
    return load(folder, config_file=path)


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float
    """Of this process; the server has one of its own."""


@contextmanager
def measured(costs: list[Cost]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    costs.append(Cost(time.perf_counter() - wall, time.process_time() - cpu))


def drawn(folder: Path, config: Config) -> Sequence[CursorTask]:
    with History(folder) as history:
        options = start.Options(repository=folder, selection=Selection(), tasks=TASKS)
        return start.prepare(history, config, options).chosen.tasks


def arms_of(config: Config) -> Mapping[ArmLabel, Arm]:
    return {label: build(config.arms[label], label, templates=config.templates) for label in ArmLabel}


def replayed(folder: Path, tasks: Sequence[CursorTask], config: Config, store: Path, costs: list[Cost]) -> None:
    trial, rows = freeze(config)
    arms = arms_of(config)
    with History(folder) as history:
        book = Book(store, trial, rows, client=start.CLIENT, repository=None)
        roots = Roots(history, list(arms.values()))
        with measured(costs):
            outcome = asyncio.run(
                run_tasks(
                    tasks,
                    arms=arms,
                    config=config,
                    book=book,
                    roots=roots,
                    repository="bench",
                    concurrency=CONCURRENCY,
                )
            )
        assert outcome.asked == TASKS
        roots.close()
        book.close("finished")


async def arms_alone(tasks: Sequence[CursorTask], config: Config, costs: list[Cost]) -> None:
    """The same prompts through router and arms, as many at once; nothing is cut, scored or stored."""
    queue = iter(tasks)

    async def worker(router: Router) -> None:
        for task in queue:
            prompt = Prompt(prefix=task.prefix, suffix=task.suffix, path=task.path, language=task.language)
            await router.start(prompt).settled()

    with measured(costs):
        async with Router(arms_of(config), config) as router:
            await asyncio.gather(*(worker(router) for _ in range(CONCURRENCY)))


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = typical_history(folder)
        rounds = [extraction(history) for _ in range(ROUNDS)]
        report.table(
            "History read and tasks drawn, median of 3 rounds",
            ["commits", "places", "commits a minute"],
            [[rounds[0][0], rounds[0][1], spread([rate for _, _, rate in rounds]).p50]],
            command="python -m bench replay",
            note="Target: at least 2,000 commits a minute. Files of a real package, one change in one place a commit.",
        )
        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            config = configuration(folder, port)
            tasks = drawn(history, config)
            alone: list[Cost] = []
            whole: list[Cost] = []
            for number in range(ROUNDS):
                asyncio.run(arms_alone(tasks, config, alone))
                replayed(history, tasks, config, folder / f"{number}.db", whole)
        finally:
            server.kill()
            server.wait()
        rows = [(name, *_per_task(costs)) for name, costs in (("arms alone", alone), ("replay", whole))]
        rows.append(("added by the replay", rows[1][1] - rows[0][1], rows[1][2] - rows[0][2]))
        report.table(
            f"{TASKS:,} tasks, both arms, a local streaming server, {CONCURRENCY} at once, median of {ROUNDS} rounds",
            ["way", "ms a task", "CPU ms a task"],
            rows,
            command="python -m bench replay",
            note="Target: at most 3 ms a task added. The replay cuts, scores and stores; arms alone only ask.",
        )


def _per_task(costs: Sequence[Cost]) -> tuple[float, float]:
    wall, cpu = (spread([cost[part] for cost in costs]).p50 for part in (0, 1))
    return wall / TASKS * 1e3, cpu / TASKS * 1e3
