"""Hovers and completions while typing, of six real language servers: each server asked itself, and through a proxy.

The proxy is `cat` both ways, the least that Python can do (`bench.carrier`), or `codetrial lsp` with its real evaluator
and two arms that answer as a model streams; its suggestions go into the menu, where a completion could be made to wait.
What is worked on are real projects (`bench.projects`). Who is asked next is drawn by lot.
"""

import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.evaluator import CONFIG
from bench.live_server import LiveServer
from bench.projects import PROJECTS, Place, words
from bench.report import Report
from bench.streaming_server import streaming_server
from tests.lsp_proxy.relay.test_real_servers import CAPABILITIES, SERVERS, command_of

ROUNDS = int(os.environ.get("CODETRIAL_BENCH_ROUNDS", "15"))
NAMES = os.environ.get("CODETRIAL_BENCH_SERVERS", ",".join(SERVERS)).split(",")
GIVEN = ("CODETRIAL_BENCH_ROUNDS", "CODETRIAL_BENCH_SERVERS")
COMMAND = " ".join(
    [*(f"{name}={os.environ[name]}" for name in GIVEN if name in os.environ), "python -m bench relay_real"]
)
SEED = 5
KEY_S = 0.12
"""Between keys; the debounce is as long, so that arms are asked now and then."""
PAUSE_S = 0.25
"""Before the first hover; in between it is as long as between keys."""
LOADED_S = 5.0
"""For what servers do after they have started, each in its way and most without a word."""
HOVERS, WORDS = 4, 12
"""In a visit, out of so many that the server knows."""
TOKEN_S = 0.02
RESAMPLES = 1000
WARMING_ROUNDS = 3
"""Servers compile, fill caches and grow for a while; so does ours."""
TARGET = 1.03
HOVER, TYPING = "hover", "completion"
ITSELF, AGAIN, THROUGH = "itself", "itself again", "through"
OURS = "codetrial"
CHAINS = {"cat": [ITSELF, THROUGH], "least": [ITSELF, THROUGH], OURS: [ITSELF, AGAIN, THROUGH]}
"""What stands before a server, and the ways in which that one is asked."""

Floats = npt.NDArray[np.float64]

Times = dict[str, dict[str, list[float]]]
"""Milliseconds by operation and by way; the n-th of each way belong together."""


def run(report: Report) -> None:
    ratios: list[list[object]] = []
    differences: list[list[object]] = []
    for server in NAMES:
        try:
            command = command_of(server)
            PROJECTS[server].source(), PROJECTS[server].beside()
        except AssertionError as missing:
            report.console.print(f"left out: {missing}")
            continue
        found: dict[str, Times] = {}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, streaming_server(pause_s=TOKEN_S) as url:
            for chain in CHAINS:
                report.console.print(f"{server} behind {chain}, {rounds(chain)} rounds", style="dim")
                found[chain] = measure(server, command, chain, Path(name), url)
        for operation in (HOVER, TYPING):
            times = {
                chain: {way: np.array(values) for way, values in of[operation].items()} for chain, of in found.items()
            }
            asked = {"itself again": (times[OURS][ITSELF], times[OURS][AGAIN])}
            asked |= {chain: (times[chain][ITSELF], times[chain][THROUGH]) for chain in CHAINS}
            itself = times[OURS][ITSELF]
            begun: list[object] = [server, operation, len(itself), float(np.median(itself))]
            ratios.append([*begun, *(ratio(*pairs) for pairs in asked.values())])
            share = difference(*asked[OURS], unit=float(np.median(itself)) / 100)
            differences.append([*begun, *(difference(*pairs) for pairs in asked.values()), share])
    columns = ["server", "operation", "times", "itself, ms", "itself again", *CHAINS]
    report.table(
        "Real language servers: medians through what stands before them, by that of the same server asked itself",
        columns,
        ratios,
        command=COMMAND,
        note=f"Completions from the key on. Target: at most {TARGET}. In brackets where 95 % of resampled runs lie. "
        "`itself again`: so far two equal things differ. `least`: Python that only reads and writes.",
    )
    report.table(
        "The same, question by question: how many ms longer one takes than the same one asked of the server itself",
        [*columns, "codetrial, % of itself"],
        differences,
        command=COMMAND,
        note="Median of the differences of answers to one question in one visit, and its last column by the median of "
        "the server itself: the target is at most 3.",
    )


def rounds(chain: str) -> int:
    """Of ours there are twice as many: it is what has to be told apart from nothing."""
    return ROUNDS * 2 if chain == OURS else ROUNDS


def measure(server: str, command: Sequence[str], chain: str, folder: Path, url: str) -> Times:
    """Ask a server itself and through what is before it; no other one runs, whose work would be in the way."""
    project, root = PROJECTS[server], folder / chain
    project.copy(root)
    (root / "codetrial.toml").write_text(CONFIG.format(url=url, scale=1))
    proxy = [str(Path(sys.executable).with_name("codetrial")), "lsp", "--origin", "test", "--surface", "menu"]
    commands = {
        "cat": ["sh", "-c", f"cat | {shlex.join(command)} | cat"],
        "least": [sys.executable, "-m", "bench.carrier", *command],
        "codetrial": [*proxy, "--store", str(folder / "events.db"), "--", *command],
    }
    live = LiveServer(
        commands[chain],
        root,
        capabilities=CAPABILITIES,
        options=SERVERS[server][1].options,
        env={
            "CODETRIAL_DATA_DIR": str(folder / "data"),
            "CODETRIAL_USER_CONFIG": str(folder / "none"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
    )
    try:
        spots = [Spot(live, place, root, project.language) for place in project.places]
        time.sleep(LOADED_S)
        live.rest()
        draw = random.Random(SEED)
        for spot in spots:
            spot.find_words(draw)
        ways = CHAINS[chain]
        found: Times = {operation: {way: [] for way in ways} for operation in (HOVER, TYPING)}
        for number in range(-WARMING_ROUNDS, rounds(chain)):
            spot = spots[number % len(spots)]
            hovered = draw.sample(spot.words, HOVERS)
            for way in draw.sample(ways, len(ways)):
                live.rest()
                with nullcontext() if way == THROUGH else live.around():
                    times = spot.visit(hovered)
                for operation in found if number >= 0 else ():
                    found[operation][way] += times[operation]
        return found
    finally:
        live.close()


class Spot:
    """A file that a server has open, and what somebody does there."""

    def __init__(self, live: LiveServer, place: Place, root: Path, language: str) -> None:
        self._live = live
        self._text = (root / place.file).read_text()
        self._document = live.open(place.file, language)
        self._cursor = place.cursor(self._text)
        self._typed = place.typed
        self.words: list[tuple[int, int]] = []
        """Which the server has something to say about."""
        live.ask("textDocument/documentSymbol", textDocument=self._document)

    def find_words(self, draw: random.Random) -> None:
        for at in words(self._text, draw):
            if self._live.ask_at("textDocument/hover", self._document, *at):
                self.words.append(at)
            if len(self.words) == WORDS:
                return

    def visit(self, hovered: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
        """Hover over words, type, and take back what was typed; milliseconds of each answer."""
        live, document = self._live, self._document
        times: dict[str, list[float]] = {HOVER: [], TYPING: []}
        time.sleep(PAUSE_S)
        for at in hovered:
            live.rest()
            time.sleep(KEY_S)
            began = time.perf_counter()
            live.ask_at("textDocument/hover", document, *at)
            times[HOVER].append((time.perf_counter() - began) * 1e3)
        line, begin = self._cursor
        for character, letter in enumerate(self._typed, begin):
            live.rest()
            time.sleep(KEY_S)
            # From the key on: the server has the change to work on, and whoever carries it may be held up by that.
            began = time.perf_counter()
            live.change(document, (line, character), (line, character), letter)
            live.ask_at("textDocument/completion", document, line, character + 1)
            times[TYPING].append((time.perf_counter() - began) * 1e3)
        live.rest()
        live.change(document, (line, begin), (line, begin + len(self._typed)), "")
        live.rest()
        return times


def ratio(base: Floats, values: Floats) -> str:
    """Of medians, with its percentile bootstrap interval over the pairs."""
    drawn = resampled(len(base))
    found = np.median(values[drawn], axis=1) / np.median(base[drawn], axis=1)
    return told(f"{np.median(values) / np.median(base):.3f}", found)


def difference(base: Floats, values: Floats, unit: float = 1.0) -> str:
    """The median of the pairs' differences, with its percentile bootstrap interval."""
    found = (values - base) / unit
    return told(f"{np.median(found):.2f}", np.median(found[resampled(len(base))], axis=1))


def resampled(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))


def told(value: str, found: Floats) -> str:
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{value} ({low:.2f} to {high:.2f})"
