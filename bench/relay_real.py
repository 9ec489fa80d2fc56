"""Hovers and completions while typing, of six real language servers: each server asked itself, and through a proxy.

The proxy is `cat` both ways, or `codetrial lsp` with its real evaluator and two arms that answer as a model streams;
its suggestions go into the menu, where a completion could be made to wait. Who is asked next is drawn by lot. The files
are small: in a larger project a server takes longer, and what stands between does not.
"""

import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pygls

from bench.evaluator import CONFIG
from bench.live_server import LiveServer
from bench.report import Report
from bench.streaming_server import streaming_server
from tests.lsp_proxy.relay.test_real_servers import CAPABILITIES, SERVERS, command_of

ROUNDS = int(os.environ.get("CODETRIAL_BENCH_ROUNDS", "40"))
NAMES = os.environ.get("CODETRIAL_BENCH_SERVERS", ",".join(SERVERS)).split(",")
GIVEN = ("CODETRIAL_BENCH_ROUNDS", "CODETRIAL_BENCH_SERVERS")
COMMAND = " ".join(
    [*(f"{name}={os.environ[name]}" for name in GIVEN if name in os.environ), "python -m bench relay_real"]
)
SEED = 5
KEY_S = 0.12
"""Between keys; the debounce is as long, so that arms are asked now and then."""
PAUSE_S = 0.25
"""Before a hover."""
LOADED_S = 4.0
"""For what servers do after they have started, each in its way and most without a word."""
TOKEN_S = 0.02
RESAMPLES = 1000
WARMING_ROUNDS = 3
"""Servers compile, fill caches and grow for a while; so does ours."""
TARGET = 1.03
COPIES = 100

CURSOR = "\N{FULL BLOCK}"
HOVER, TYPING = "hover", "completion"
ITSELF, AGAIN, THROUGH = "itself", "itself again", "through"
CHAINS = {"cat": [ITSELF, THROUGH], "codetrial": [ITSELF, AGAIN, THROUGH]}
"""What stands before a server, and the ways in which that one is asked."""

Floats = npt.NDArray[np.float64]

CPP = f"""#include <algorithm>
#include <map>
#include <string>
#include <vector>

struct pair_of_words {{ std::string first; std::string second; }};

std::string sum(const pair_of_words& words) {{
  return words.first + words.second;
}}

void longest(std::vector<std::string>& words) {{
  words.{CURSOR}
}}
"""
TYPESCRIPT = f"""export function join(first: string, second: string) {{
  return first + second;
}}

export function title(): HTMLElement {{
  const element = document.createElement('h1');
  element.{CURSOR}
  return element;
}}
"""
GO = f"""package main

import (
	"net/http"
	"strings"
)

func handle(answer http.ResponseWriter, request *http.Request) {{
	println(strings.ToUpper(request.URL.Path))
	request.{CURSOR}
}}

func main() {{
	http.HandleFunc("/", handle)
}}
"""
RUST = f"""struct Pair {{
    first: u32,
    perhaps: u32,
}}

fn sum(pair: Pair) -> u32 {{
    pair.first + pair.{CURSOR}
}}

fn main() {{
    sum(Pair {{ first: 1, perhaps: 2 }});
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A file, where somebody types in it, and what; they hover over the word before it."""

    file: str
    language: str
    content: str
    typed: str
    filler: str = ""
    """A definition that follows a hundred times, numbered."""
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        more = [self.filler.replace("NUMBER", str(number)) for number in range(COPIES)] if self.filler else []
        return "\n".join([self.content.replace(CURSOR, ""), *more])

    @property
    def at(self) -> tuple[int, int]:
        before, _, _ = self.content.partition(CURSOR)
        return before.count("\n"), len(before) - before.rfind("\n") - 1


PYGLS = Path(pygls.__file__).parent
PYTHON = Work(
    file="protocol/json_rpc.py",
    language="python",
    content=(PYGLS / "protocol" / "json_rpc.py")
    .read_text()
    .replace("        self._server = server\n", f"        self._server = server\n        self.{CURSOR}\n", 1),
    typed="_se",
    beside={str(path.relative_to(PYGLS)): path.read_text() for path in PYGLS.rglob("*.py")},
)
WORK = {
    "basedpyright": PYTHON,
    "pylsp": PYTHON,
    "clangd": Work(
        file="main.cpp",
        language="cpp",
        content=CPP,
        typed="pus",
        filler="int fill_NUMBER(const std::vector<int>& values) {\n"
        "  return values.empty() ? NUMBER : *std::max_element(values.begin(), values.end());\n}\n",
    ),
    "typescript": Work(
        file="main.ts",
        language="typescript",
        content=TYPESCRIPT,
        typed="app",
        filler="export function fillNUMBER(words: string[]): string {\n"
        "  return words.map((word) => join(word, 'NUMBER').toUpperCase()).join();\n}\n",
    ),
    "gopls": Work(
        file="main.go",
        language="go",
        content=GO,
        typed="Pos",
        filler='func fillNUMBER(words []string) string {\n\treturn strings.ToUpper(strings.Join(words, "NUMBER"))\n}\n',
        beside={"go.mod": "module example.com/a\n"},
    ),
    "rust-analyzer": Work(
        file="main.rs",
        language="rust",
        content=RUST,
        typed="per",
        filler="fn fill_NUMBER(pair: Pair) -> u32 {\n    pair.first * NUMBER + pair.perhaps\n}\n",
        beside={"rust-project.json": '{"crates":[{"root_module":"main.rs","edition":"2021","deps":[]}]}'},
    ),
}

Times = dict[str, dict[str, list[float]]]
"""Milliseconds by operation and by way; the n-th of each way belong together."""


def run(report: Report) -> None:
    rows: list[list[object]] = []
    for server in NAMES:
        try:
            command = command_of(server)
        except AssertionError as missing:
            report.console.print(f"left out: {missing}")
            continue
        found: dict[str, Times] = {}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, streaming_server(pause_s=TOKEN_S) as url:
            for chain in CHAINS:
                report.console.print(f"{server} behind {chain}, {ROUNDS} rounds", style="dim")
                found[chain] = measure(server, command, chain, Path(name), url)
        for operation in (HOVER, TYPING):
            cat, ours = (found[chain][operation] for chain in CHAINS)
            itself = np.array(ours[ITSELF])
            added, ratio = compared(itself, np.array(ours[THROUGH]))
            through_cat = compared(np.array(cat[ITSELF]), np.array(cat[THROUGH]))[1]
            again = compared(itself, np.array(ours[AGAIN]))[1]
            rows.append([server, operation, len(itself), float(np.median(itself)), again, through_cat, ratio, added])
    report.table(
        "Real language servers: how much longer an answer takes through what stands before them",
        ["server", "operation", "times", "itself, ms", "itself again", "cat", "codetrial", "codetrial adds, ms"],
        rows,
        command=COMMAND,
        note=f"Completions from the key on. Target: at most {TARGET}. Ratios and differences of medians to "
        "the same server asked itself, in brackets where 95 % of resampled runs lie. `itself again`: so far two equal "
        "things differ.",
    )


def measure(server: str, command: Sequence[str], chain: str, folder: Path, url: str) -> Times:
    """Ask a server itself and through what is before it; no other one runs, whose work would be in the way."""
    work, root = WORK[server], folder / chain
    for file, text in {**work.beside, work.file: work.text, "codetrial.toml": CONFIG.format(url=url, scale=1)}.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    proxy = [str(Path(sys.executable).with_name("codetrial")), "lsp", "--origin", "test"]
    commands = {
        "cat": ["sh", "-c", f"cat | {shlex.join(command)} | cat"],
        "codetrial": [*proxy, "--store", str(folder / "events.db"), "--", *command],
    }
    live = LiveServer(
        commands[chain],
        root,
        work.file,
        work.language,
        capabilities=CAPABILITIES,
        options=SERVERS[server][1].options,
        env={"CODETRIAL_DATA_DIR": str(folder / "data"), "CODETRIAL_USER_CONFIG": str(folder / "none")},
    )
    try:
        live.ask("textDocument/documentSymbol", textDocument=live.document)
        time.sleep(LOADED_S)
        ways = CHAINS[chain]
        found: Times = {operation: {way: [] for way in ways} for operation in (HOVER, TYPING)}
        draw = random.Random(SEED)
        for number in range(-WARMING_ROUNDS, ROUNDS):
            for way in draw.sample(ways, len(ways)):
                live.rest()
                with nullcontext() if way == THROUGH else live.around():
                    times = type_and_take_back(live, work)
                for operation in found if number >= 0 else ():
                    found[operation][way] += times[operation]
        return found
    finally:
        live.close()


def type_and_take_back(live: LiveServer, work: Work) -> dict[str, list[float]]:
    time.sleep(PAUSE_S)
    live.rest()
    line, begin = work.at
    hovers, completions = [live.timed("textDocument/hover", line, begin - 2)], []
    for at, letter in enumerate(work.typed, begin):
        live.rest()
        time.sleep(KEY_S)
        # From the key on: the server has the change to work on first, and whoever carries it may be held up by that.
        began = time.perf_counter()
        live.change((line, at), (line, at), letter)
        live.timed("textDocument/completion", line, at + 1)
        completions.append((time.perf_counter() - began) * 1e3)
    live.rest()
    live.change((line, begin), (line, begin + len(work.typed)), "")
    live.rest()
    return {HOVER: hovers, TYPING: completions}


def compared(base: Floats, values: Floats) -> tuple[str, str]:
    """The difference of medians in ms and their ratio, each with its percentile bootstrap interval over the pairs."""
    draws = np.random.default_rng(SEED).integers(0, len(base), (RESAMPLES, len(base)))
    bases, others = np.median(base[draws], axis=1), np.median(values[draws], axis=1)

    def told(value: str, resampled: Floats) -> str:
        low, high = np.percentile(resampled, [2.5, 97.5])
        return f"{value} ({low:.2f} to {high:.2f})"

    one, other = float(np.median(base)), float(np.median(values))
    return told(f"{other - one:.2f}", others - bases), told(f"{other / one:.3f}", others / bases)
