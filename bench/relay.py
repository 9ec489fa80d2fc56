"""What the relay adds to a message, beside other proxies, `cat` both ways and nothing at all, in turn in one run.

The server answers in a few microseconds, so that what stands between dominates; with a real one all of this drowns, as
the last table shows. The other proxies come with the dependency group `bench`.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.report import Report, Spread, spread
from lsp_proxy.relay.rewrite import merge

GAP_S = 0.002
"""Between messages, as between keystrokes and not as in a flood."""
BLOCK = 50
"""Messages to one contestant before the next one has its turn, so that all meet the same moods of the machine."""
BLOCKS = 20
STARTS = 15
COMMAND = "python -m bench relay"
PATIENCE_S = 10.0
"""What takes longer is not an answer."""
ENDS_WITHIN_S = 3.0
"""Not every proxy ends when its editor is gone."""
OURS = ("direct", "cat", "codetrial")
PEER_SHARE = 5
"""The slow get a fifth of the messages; at 100 ms each they would make up the whole run otherwise."""
LENGTH = re.compile(rb"Content-Length: ([0-9]+)")

SERVER = textwrap.dedent("""
    import os, re, sys
    HEAD = re.compile(rb'Content-Length: (\\d+)\\r\\n(?:[^\\r\\n]+\\r\\n)*\\r\\n')
    # Typed proxies write the keys in their own order, with spaces and with ids of their own.
    ID, METHOD = re.compile(rb'"id": ?(\\d+|"[^"]*")'), re.compile(rb'"method": ?"([^"]*)"')
    SIZE = re.compile(rb'"workDoneToken": ?"(\\d+)"')
    def frame(body): return b'Content-Length: %d\\r\\n\\r\\n%b' % (len(body), body)
    def write(data):
        data = memoryview(data)
        while data: data = data[os.write(1, data):]
    answers = {}
    # An empty provider is none to rassumfrassum.
    CAPABILITIES = b'{"capabilities":{"completionProvider":{"triggerCharacters":["."]},"hoverProvider":true}}'
    HOVER = b'{"contents":{"kind":"markdown","value":"some words about it"}}'
    def sized(size):
        if size not in answers:
            item = b'{"label":"candidate","kind":3,"detail":"some module","sortText":"aa"}'
            answers[size] = b'{"isIncomplete":false,"items":[' + b','.join([item] * max(1, size // len(item))) + b']}'
        return answers[size]
    data = b''
    while chunk := os.read(0, 1 << 16):
        data += chunk
        while (match := HEAD.match(data)) and len(data) >= match.end() + int(match[1]):
            end = match.end() + int(match[1])
            body, data = data[match.end():end], data[end:]
            token, method, size = ID.search(body), METHOD.search(body)[1], SIZE.search(body)
            if token:
                result = sized(int(size[1])) if size else HOVER
                if method == b'initialize': result = CAPABILITIES
                write(frame(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (token[1], result)))
            elif method != b'initialized':
                write(frame(b'{"jsonrpc":"2.0","method":"window/logMessage","params":{"type":4,"message":"heard"}}'))
""")

EVALUATOR = textwrap.dedent("""
    import socket, sys, time
    link = socket.socket(fileno=int(sys.argv[sys.argv.index("--link-fd") + 1]))
    while chunk := link.recv(1 << 16):
        end = time.thread_time() + float(sys.argv[1]) * chunk.count(b"didChange")
        while time.thread_time() < end: pass
""")


def environment() -> dict[str, str]:
    """Ours, but with compiled modules kept, as an installed package has them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class PeerError(Exception):
    """A contestant did not do its part; the message says what."""


class Contestant:
    """A running chain of processes with a server at its end."""

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self.failure: str | None = None
        """What it could not do; after that it is not asked again."""
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment() | (env or {}),
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        try:
            self.exchange(INITIALIZE)
            self.start_ms = (time.perf_counter() - began) * 1e3
            self.send(b'{"jsonrpc":"2.0","method":"initialized","params":{}}')
        except (PeerError, OSError) as fault:
            self.failure = f"initialize: {fault}"

    def send(self, body: bytes) -> None:
        rest = memoryview(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                if not select.select([], [self._in], [], PATIENCE_S)[1]:
                    raise PeerError("does not read") from None

    def exchange(self, body: bytes) -> float:
        """Microseconds from the first byte sent to the last byte of what comes back."""
        began = time.perf_counter_ns()
        self.send(body)
        data = self._read(1 << 16)
        while (head := data.find(b"\r\n\r\n")) < 0:
            data += self._read(1 << 16)
        [length] = LENGTH.findall(data[:head])
        missing = int(length) - (len(data) - head - 4)
        while missing > 0:
            missing -= len(self._read(min(missing, 1 << 16)))
        took = (time.perf_counter_ns() - began) / 1e3
        if missing or (b'"error"' in data[head : head + 200]):
            raise PeerError(f"says {data[head + 4 : head + 120].decode(errors='replace')!r}")
        return took

    def open(self, body: bytes) -> None:
        """Open the document that the cases are about."""
        try:
            if self.failure is None:
                self.exchange(body)
        except (PeerError, OSError) as fault:
            self.failure = f"didOpen: {fault}"

    def _read(self, count: int) -> bytes:
        if not select.select([self._out], [], [], PATIENCE_S)[0]:
            raise PeerError(f"no answer within {PATIENCE_S:.0f} s")
        if chunk := os.read(self._out, count):
            return chunk
        raise PeerError("ended")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()


def evaluator(folder: Path, busy_s: float) -> dict[str, str]:
    program = folder / "evaluator.py"
    program.write_text(EVALUATOR)
    return {
        "CODETRIAL_EVALUATOR": json.dumps([sys.executable, str(program), str(busy_s)]),
        "CODETRIAL_RUNTIME_DIR": str(folder / "run"),
    }


def commands(server: Path) -> dict[str, list[str]]:
    """Everything that is compared, by name; each ends in the same server."""
    alone = [sys.executable, str(server)]
    return {
        "direct": alone,
        "cat": ["sh", "-c", f"cat | {sys.executable} {server} | cat"],
        "codetrial": [str(beside("codetrial")), "lsp", "--", *alone],
    }


def peers(server: Path) -> dict[str, list[str]]:
    """Other proxies in front of the same server."""
    alone = [sys.executable, str(server)]
    return {
        "lsp-devtools agent": [str(beside("lsp-devtools")), "agent", "--", *alone],
        "rassumfrassum": [str(beside("rass")), "--log-level", "silent", "--quiet-server", "--", *alone],
        "pygls, typed": [sys.executable, "-m", "bench.typed_proxy", *alone],
    }


def beside(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).with_name(name)


@contextlib.contextmanager
def started(folder: Path, busy_s: float = 0.0, only: Sequence[str] = ()) -> Iterator[list[Contestant]]:
    server = folder / "server.py"
    server.write_text(SERVER)
    env = evaluator(folder, busy_s)
    contestants: list[Contestant] = []
    try:
        for name, command in (commands(server) | peers(server)).items():
            if not only or name in only:
                contestants.append(Contestant(name, command, env))
        yield contestants
    finally:
        for contestant in contestants:
            contestant.close()


def request(method: str, size: int | None = None) -> bytes:
    """What an editor asks; `size` is that of the answer, told where typed proxies leave it alone."""
    where = '"textDocument":{"uri":"file:///a.py"},"position":{"line":5000,"character":4}'
    told = "" if size is None else f',"workDoneToken":"{size}"'
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{where}{told}}}}}'.encode()


INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"processId":null,"rootUri":null,'
    b'"capabilities":{"textDocument":{},"workspace":{},"general":{}}}}'
)
"""rassumfrassum does not answer an editor without these three."""
OPEN = json.dumps(
    {
        "jsonrpc": "2.0",
        "method": "textDocument/didOpen",
        "params": {
            "textDocument": {
                "uri": "file:///a.py",
                "languageId": "python",
                "version": 1,
                "text": "    value = function(argument)\n" * 10_000,
            }
        },
    },
    separators=(",", ":"),
).encode()
CHANGE = (
    b'{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///a.py","version":2},'
    b'"contentChanges":[{"range":{"start":{"line":5000,"character":4},"end":{"line":5000,"character":4}},"text":"x"}]}}'
)
CASES = {
    "notification": b'{"jsonrpc":"2.0","method":"$/setTrace","params":{"value":"off"}}',
    "hover": request("textDocument/hover"),
    "completion 5 KB": request("textDocument/completion", 5_000),
    "completion 100 KB": request("textDocument/completion", 100_000),
    "completion 1 MB": request("textDocument/completion", 1_000_000),
    "didChange, 10,000 lines": CHANGE,
}


def visit(contestants: Sequence[Contestant], body: bytes, blocks: int) -> dict[str, Spread | str]:
    """What each took; a sentence for one that could not."""
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(blocks):
        for contestant in contestants:
            is_peer = contestant.name not in OURS
            for _ in range(0 if contestant.failure or (is_peer and number % PEER_SHARE) else BLOCK):
                time.sleep(GAP_S)
                try:
                    times[contestant.name].append(contestant.exchange(body))
                except (PeerError, OSError) as fault:
                    contestant.failure = str(fault)
                    break
    return {c.name: c.failure or spread(times[c.name]) for c in contestants}


def run(report: Report) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with started(folder) as contestants:
            for contestant in contestants:
                contestant.open(OPEN)
            traffic(report, contestants)
            rss = {c.name: c.rss_mb() for c in contestants if c.process.poll() is None and c.name != "cat"}
        start(report, folder, rss)
        busy(report, folder)
    splice(report)


def traffic(report: Report, contestants: Sequence[Contestant]) -> None:
    rows: list[list[object]] = []
    for case, body in CASES.items():
        found = visit(contestants, body, BLOCKS if "1 MB" not in case else BLOCKS // 4)
        direct, cat = found["direct"], found["cat"]
        assert isinstance(direct, Spread)
        assert isinstance(cat, Spread)
        for who, s in found.items():
            label = case if who == "direct" else ""
            if isinstance(s, str):
                rows.append([label, who, s, "-", "-", "-", "-", "-"])
                continue
            added50, added95 = s.p50 - direct.p50, s.p95 - direct.p95
            is_proxy = who not in ("direct", "cat") and cat.p50 > direct.p50
            by_cat = added50 / (cat.p50 - direct.p50) if is_proxy else "-"
            rows.append([label, who, s.p50, s.p95, added50, added95, s.p50 / direct.p50, by_cat])
    report.table(
        f"A message and what comes back, {GAP_S * 1e3:.0f} ms apart, microseconds",
        ["case", "who", "p50", "p95", "added p50", "added p95", "ratio p50", "times what cat adds"],
        rows,
        command=COMMAND,
        note="Target: at most 3 times what cat adds up to 5 KB, at most 1.5 times above, and 15 % of direct at 1 MB. "
        f"Other proxies get one message in {PEER_SHARE}; what one could not do is said in its row, and ends its part.",
    )


def start(report: Report, folder: Path, rss_mb: Mapping[str, float]) -> None:
    times: dict[str, list[float]] = {}
    server = folder / "server.py"
    for number in range(STARTS):
        for name, command in (commands(server) | peers(server)).items():
            if name not in OURS and number % PEER_SHARE:
                continue
            contestant = Contestant(name, command, evaluator(folder, 0))
            if contestant.failure is None:
                times.setdefault(name, []).append(contestant.start_ms)
            contestant.close()
    direct = median(times["direct"])
    report.table(
        "Start to initialize answer, ms, and memory after the traffic above, MB",
        ["who", "p50", "p95", "added p50", "memory"],
        [
            [name, spread(t).p50, spread(t).p95, spread(t).p50 - direct, rss_mb.get(name, "-")]
            for name, t in times.items()
        ],
        command=COMMAND,
        note="Target: at most 50 ms more than direct, at most 16 MB.",
    )


def busy(report: Report, folder: Path) -> None:
    """Hovers between changes, each of which keeps the evaluator busy for 15 ms; both kinds of relay see the same."""
    times: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        relays = []
        for label, busy_s in (("idle evaluator", 0.0), ("busy evaluator", 0.015)):
            place = folder / label
            place.mkdir()
            [relay] = stack.enter_context(started(place, busy_s, only=["codetrial"]))
            relay.name = label
            relay.exchange(OPEN)
            relays.append(relay)
        for _ in range(BLOCKS):
            for relay in relays:
                for _ in range(BLOCK):
                    relay.exchange(CHANGE)
                    time.sleep(GAP_S)
                    times.setdefault(relay.name, []).append(relay.exchange(CASES["hover"]))
    idle = spread(times["idle evaluator"])
    report.table(
        "Hovers through the relay while the evaluator burns 15 ms for every change, microseconds",
        ["evaluator", "p50", "p95", "ratio p95"],
        [[name, spread(t).p50, spread(t).p95, spread(t).p95 / idle.p95] for name, t in times.items()],
        command=COMMAND,
        note="Target: p95 at most 1.3 times that beside an idle evaluator.",
    )


def splice(report: Report) -> None:
    item = json.dumps({"label": "ours", "textEdit": {"newText": "x" * 200}}).encode()
    rows: list[list[object]] = []
    for size, name in ((5_000, "5 KB"), (100_000, "100 KB"), (1_000_000, "1 MB")):
        one = b'{"label":"candidate","kind":3,"detail":"some module"}'
        items = b",".join([one] * (size // len(one)))
        usual = b'{"jsonrpc":"2.0","id":1,"result":{"isIncomplete":false,"items":[%b]}}' % items
        odd = b'{"jsonrpc":"2.0","id":1,"result":{"vendor":[1],"items":[%b]}}' % items
        row: list[object] = [name]
        for body in (usual, odd):
            row.append(merge_us(body, item))
        rows.append(row)
    report.table(
        "Putting one item into a completion answer, microseconds, median of 100",
        ["answer", "usual shape", "unusual shape"],
        rows,
        command=COMMAND,
        note="Target: 50 us at 5 KB and 1 ms at 1 MB; unusual shapes above 256 KB pass unmerged.",
    )


def merge_us(body: bytes, item: bytes) -> object:
    times = []
    for _ in range(100):
        began = time.perf_counter_ns()
        try:
            merge(body, item)
        except ValueError:
            return "unmerged"
        times.append((time.perf_counter_ns() - began) / 1e3)
    return median(times)
