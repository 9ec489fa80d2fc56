"""Two reviewers that flag what the script wants flagged, and write down what they said.

Real small models cannot review (docs/replay.md), so the week of pull requests would have nothing to act on. These are
real HTTP servers behind the real chat API; what they say is a function of the diff alone.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any, NamedTuple

from codetrial.records import ArmLabel

__all__ = ["Reviewers", "Said"]

_LINE = re.compile(r"^\s*R(\d+) \+ (.*)$")
_FILE = re.compile(r"^## (\S.*?)(?: \(was .*\))? \[\w+\]$")
_TITLE = re.compile(r"^----- BEGIN TITLE \w+ -----\n(.*)$", re.MULTILINE)

APART = 9
"""Lines between two findings: further than anything that would join them or make one the other's neighbour."""
MOST = 14
"""Findings in one pull request, all arms."""
MIN_CHARS = 12
HANG_S = 30.0
"""Longer than the time limit of a review here."""


class Said(NamedTuple):
    """One finding of one arm."""

    label: ArmLabel
    path: str
    line: int


@dataclass(slots=True)
class Reviewers:
    """What both answer, by the pull request's title; later heads of it get no further findings."""

    said: dict[str, set[Said]] = field(default_factory=dict)
    hangs: set[tuple[str, ArmLabel]] = field(default_factory=set)
    waits: dict[str, threading.Event] = field(default_factory=dict)
    """By title: arm B answers only when somebody allows it to."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Somebody waits."""
    url: str = ""
    _first: dict[str, int] = field(default_factory=dict)

    def answer(self, model: str, prompt: str) -> str:
        label = ArmLabel(model.rpartition("-")[2].upper())
        found = _TITLE.search(prompt)
        title = found[1].strip() if found else ""
        if (title, label) in self.hangs:
            threading.Event().wait(HANG_S)
            return json.dumps({"findings": []})
        if label is ArmLabel.B and title in self.waits:
            self.reached.set()
            self.waits[title].wait(HANG_S)
        diff = prompt.partition("----- BEGIN DIFF")[2].partition("\n")[2].partition("----- END DIFF")[0]
        if self._first.setdefault(title, hash(diff)) != hash(diff):
            return json.dumps({"findings": []})
        findings = [finding for labels, finding in _flagged(diff) if label in labels]
        self.said.setdefault(title, set()).update(Said(label, f["path"], f["start_line"]) for f in findings)
        return json.dumps({"findings": findings})

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="reviewers")
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _flagged(diff: str) -> Iterator[tuple[frozenset[ArmLabel], Mapping[str, Any]]]:
    """Some added lines, far apart, in turn for A, for B and for both; every other one with a suggestion."""
    turns = cycle([{ArmLabel.A}, {ArmLabel.B}, {ArmLabel.A, ArmLabel.B}])
    path, last, count = "", -APART, 0
    for text in diff.split("\n"):
        if (head := _FILE.match(text)) is not None:
            path, last = head[1], -APART
        added = _LINE.match(text)
        if added is None or count >= MOST:
            continue
        line, content = int(added[1]), added[2]
        if line - last < APART or len(content.strip()) < MIN_CHARS or content.rstrip().endswith("\\"):
            continue
        last, count = line, count + 1
        yield frozenset(next(turns)), {
            "path": path, "side": "RIGHT", "start_line": line, "end_line": line, "quote": content,
            "severity": "minor", "category": "maintainability", "title": f"Line {line} wants a second look",
            "body": f"What {line} does is not obvious from its neighbours.",
            "suggestion": f"{content}  # noted" if count % 2 else None,
        }  # fmt: skip


def _handler(reviewers: Reviewers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # The name that http.server calls.
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = reviewers.answer(body["model"], body["messages"][1]["content"])
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 1000, "completion_tokens": len(text) // 4}
            reply = {"model": body["model"], "usage": usage,
                     "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
            content = json.dumps(reply).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:
                pass  # Whoever asked was killed, or had enough.

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Nothing: the table at the end says it all."""

    return Handler
