"""The real evaluator in trouble, seen from the editor: typing goes on, one sentence says so, and it comes back."""

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Store
from tests.lsp_proxy.relay.conftest import PROXY, SCRIPTED, Wire, frame, notification, request, wait_until

INLINE = "textDocument/inlineCompletion"
EVALUATOR = [sys.executable, "-P", "-m", "lsp_proxy.evaluator"]
REPEATED = "def total_of(numbers, offset):\n    result = sum(numbers) + offset\n    return result\n"
TEXT = f"import earlier\n\n\n{REPEATED.splitlines(keepends=True)[0]}    result = \n"
CONFIG = """
[trial]
name = "trouble"
seed = "5eed"
shares = { a = 1.0, b = 0.0, none = 0.0 }
[arms.a]
api = "ngram"
[arms.b]
api = "openai-completions"
url = "http://127.0.0.1:9/v1"
model = "nobody is there"
template = "prefix-only"
[editor]
debounce_ms = 5
"""


class Desk:
    """Somebody who types into one file and looks at what happens."""

    def __init__(
        self,
        folder: Path,
        *,
        trial: str = CONFIG,
        evaluator: Sequence[str] = EVALUATOR,
        before: Sequence[str] = (),
        store: Path | None = None,
    ) -> None:
        """`before` stands before the proxy's command, `store` is the database's folder."""
        self.store = (store or folder) / "store.db"
        self.log = folder / "evaluator.log"
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "earlier.py").write_text(REPEATED)
        config = folder / "codetrial.toml"
        config.write_text(trial)
        env = {
            "CODETRIAL_DATA_DIR": str(folder / "data"),
            "CODETRIAL_USER_CONFIG": str(folder / "none"),
            "CODETRIAL_EVALUATOR": json.dumps(list(evaluator)),
        }
        options = ["--config", str(config), "--store", str(self.store), "--log", str(self.log), "--origin", "test"]
        self.wire = Wire([*before, *PROXY, *options, "--", *SCRIPTED], env)
        self.uri = (self.project / "now.py").as_uri()
        self.version = 1
        self.sent = b""
        self.shown: list[str] = []
        """What has popped up."""
        self._id = 0
        self.ask("initialize", processId=None, rootUri=self.project.as_uri(), capabilities=ABILITIES)
        self.say(notification("initialized"))
        item = {"uri": self.uri, "languageId": "python", "version": 1, "text": TEXT}
        self.say(notification("textDocument/didOpen", textDocument=item))

    def say(self, message: dict[str, Any]) -> None:
        if message["method"] != INLINE:
            self.sent += frame(message)
        self.wire.send(message)

    def ask(self, method: str, **params: Any) -> Any:
        self._id += 1
        self.say(request(self._id, method, **params))
        while (message := self.wire.message()).get("id") != self._id:
            if message["method"] == "window/showMessage":
                self.shown.append(message["params"]["message"])
        return message["result"]

    def key(self, line: int = 0, text: str = "x") -> float:
        """Press a key and look something up; gives the seconds until the language server has answered."""
        at = {"line": line, "character": 0}
        return self.change({"range": {"start": at, "end": at}, "text": text})

    def change(self, change: dict[str, Any]) -> float:
        self.version += 1
        document = {"uri": self.uri, "version": self.version}
        began = time.monotonic()
        self.say(notification("textDocument/didChange", textDocument=document, contentChanges=[change]))
        assert self.ask("textDocument/hover", do={"result": str(self.version)}) == self.version
        return time.monotonic() - began

    def suggestion(self) -> str | None:
        """What is suggested after `result = `."""
        where = {"line": 4, "character": 13}
        answer = self.ask(INLINE, textDocument={"uri": self.uri}, position=where, context={"triggerKind": 2})
        return answer["items"][0]["insertText"] if answer else None

    def until_suggested(self) -> None:
        wait_until(lambda: self.suggestion() is not None)

    def evaluators(self) -> list[int]:
        path = Path(f"/proc/{self.wire.process.pid}/task")
        children = " ".join((task / "children").read_text() for task in path.iterdir()).split()
        return [int(pid) for pid in children if b"--link-fd" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def received(self) -> bytes:
        """Everything that the language server has read, this question taken away."""
        data = self.wire.received_by_server()
        return data[: data.rindex(b"Content-Length: ")]

    def finish(self) -> None:
        """Whatever happened, the server has got every byte that the editor said, and ends as always."""
        while self.wire.is_quiet() is False:
            message = self.wire.message()
            if message.get("method") == "window/showMessage":
                self.shown.append(message["params"]["message"])
        assert self.received() == self.sent
        self.wire.send(notification("exit"))
        assert self.wire.status() == 0

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with Store(self.store, readonly=True) as store:
            return store.rows(sql, [])


ABILITIES: dict[str, Any] = {"textDocument": {"inlineCompletion": {}}}
Sit = Callable[..., Desk]


@pytest.fixture
def sit(tmp_path: Path) -> Iterator[Sit]:
    desks: list[Desk] = []

    def down(name: str = "desk", **more: Any) -> Desk:
        folder = tmp_path / name
        folder.mkdir()
        desks.append(Desk(folder, **more))
        return desks[-1]

    try:
        yield down
    finally:
        for desk in desks:
            desk.wire.close()


pytestmark = pytest.mark.slow


def test_killed_it_comes_back_three_times_and_records_what_it_missed(sit: Sit) -> None:
    desk = sit()
    killed: set[int] = set()
    for _ in range(4):
        desk.until_suggested()
        [pid] = desk.evaluators()
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not desk.evaluators())
        assert desk.key() < 2
    assert len(killed) == 4
    # The fourth was the last one.
    assert desk.suggestion() is None
    [shown] = desk.shown
    assert "evaluator ended (signal 9). It is started again; your language server is not affected" in shown
    gaps = desk.rows("SELECT count FROM incident WHERE kind = 'gap'")
    assert len(gaps) == 3, "one for each time that it was away and came back"
    assert all(gap["count"] >= 1 for gap in gaps)
    desk.finish()
    assert len(desk.shown) == 1


def test_suspended_it_is_not_waited_for_and_goes_on_where_it_missed_something(sit: Sit) -> None:
    desk = sit()
    desk.until_suggested()
    [pid] = desk.evaluators()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    assert desk.suggestion() is None
    assert time.monotonic() - began < 3
    for number in range(12):
        assert desk.change({"text": f"{TEXT}# {number} {'x' * 1_000_000}"}) < 3
    os.kill(pid, signal.SIGCONT)
    desk.until_suggested()
    assert desk.evaluators() == [pid]
    wait_until(lambda: bool(desk.rows("SELECT * FROM incident WHERE kind = 'gap'")))
    desk.finish()
    assert desk.shown == []


def test_one_that_eats_all_processors_costs_the_editor_nothing_to_speak_of(sit: Sit) -> None:
    hog = "import os\nfor _ in range(2): os.fork()\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    idle = sit("idle", evaluator=[sys.executable, "-c", "import time; time.sleep(60)"])
    busy = sit("busy", evaluator=[sys.executable, "-c", hog])
    wait_until(lambda: len(busy.evaluators()) > 0)
    alone, beside = zip(*((idle.key(), busy.key()) for _ in range(200)), strict=True)
    for desk in (idle, busy):
        desk.finish()
    # Four processes that never sleep want both processors; they yield to everybody.
    assert statistics.median(beside) < 3 * statistics.median(alone) + 0.002


def test_it_stands_behind_everybody_who_wants_the_processor(sit: Sit) -> None:
    desk = sit()
    desk.until_suggested()
    [pid] = desk.evaluators()
    threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
    assert os.sched_getscheduler(desk.wire.process.pid) == os.SCHED_OTHER
    desk.finish()


@pytest.mark.parametrize("trial", ["[trial\n", CONFIG + "debonce_ms = 3\n", CONFIG.replace("ngram", "no such API")])
def test_a_bad_configuration_is_said_once(sit: Sit, trial: str) -> None:
    desk = sit(trial=trial)
    wait_until(lambda: desk.key() < 2 and bool(desk.shown))
    assert desk.suggestion() is None
    assert "codetrial is not evaluating" in desk.shown[0]
    desk.finish()
    assert len(desk.shown) == 1


def test_a_file_that_is_no_database_is_said_once(sit: Sit, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database " * 1000)
    desk = sit(store=tmp_path)
    wait_until(lambda: desk.key() < 2 and bool(desk.shown))
    assert desk.suggestion() is None
    assert "not a database" in desk.shown[0] or "codetrial is not evaluating" in desk.shown[0]
    desk.finish()
    assert len(desk.shown) == 1
    assert (tmp_path / "store.db").read_bytes() == b"this is no database " * 1000


def test_a_database_with_destroyed_pages_is_said_once(sit: Sit, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    desk = sit(store=tmp_path)
    wait_until(lambda: desk.key() < 2 and bool(desk.shown))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert desk.key() < 2
    desk.finish()
    assert len(desk.shown) == 1


@pytest.mark.parametrize("limit", ["disk", "file"])
def test_a_disk_that_fills_up_is_said_once_and_typing_goes_on(sit: Sit, tmp_path: Path, limit: str) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if limit == "disk":
        line = 'folder=$1; shift; mount -t tmpfs -o size=1200k tmpfs "$folder" && exec "$@"'
        desk = sit(before=["unshare", "--map-root-user", "--mount", "sh", "-c", line, "sh", str(place)], store=place)
    else:
        # In units of 512 bytes; only the evaluator is limited.
        desk = sit(evaluator=["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", *EVALUATOR], store=place)
    desk.until_suggested()
    for number in range(1000):
        # Every question is about another text, and all of it is kept.
        assert desk.key(line=3, text=f"{os.urandom(1500).hex()} = {number}\n") < 2
        desk.suggestion()
        if desk.shown:
            break
    else:
        pytest.fail("it never became full")
    for _ in range(50):
        assert desk.key() < 2
    desk.finish()
    assert len(desk.shown) == 1
    assert "disk" in desk.shown[0] or "full" in desk.shown[0]


def test_shut_down_with_questions_open_it_ends_without_a_traceback(sit: Sit) -> None:
    desk = sit()
    desk.until_suggested()
    [pid] = desk.evaluators()
    for number in range(20):
        where = {"line": number % 4, "character": 0}
        desk.say(request(f"open {number}", INLINE, textDocument={"uri": desk.uri}, position=where, context={}))
    desk.wire.ask(request("bye", "shutdown"))
    desk.wire.send(notification("exit"))
    assert desk.wire.status() == 0
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or is_over(pid))
    assert "Traceback" not in desk.log.read_text()


def is_over(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_pause_silences_two_running_proxies_within_a_second(
    sit: Sit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODETRIAL_RUNTIME_DIR", str(tmp_path / "run"))

    def codetrial(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "codetrial.cli", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def states() -> list[tuple[bool, str]]:
        return [(proxy["is_paused"], proxy["state"]) for proxy in json.loads(codetrial("status", "--json"))["proxies"]]

    desks = [sit("one"), sit("two")]
    for desk in desks:
        desk.until_suggested()
    wait_until(lambda: states() == [(False, "suggests in the text")] * 2)
    assert "Paused until you resume." in codetrial("pause")
    began = time.monotonic()
    wait_until(lambda: all(desk.suggestion() is None for desk in desks))
    assert time.monotonic() - began < 1
    assert states() == [(True, "paused")] * 2
    assert codetrial("status").startswith("Paused until you resume.")
    assert "Suggestions may appear again" in codetrial("resume")
    for desk in desks:
        desk.until_suggested()
    # A pause with an end ends by itself, in the proxies and in what is shown.
    codetrial("pause", "--for", "2s")
    wait_until(lambda: all(desk.suggestion() is None for desk in desks))
    for desk in desks:
        desk.until_suggested()
    wait_until(lambda: states() == [(False, "suggests in the text")] * 2)
    assert not codetrial("status").startswith("Paused")
    # A proxy that starts during a pause is silent from its first question on.
    codetrial("pause", "--for", "1h")
    late = sit("late")
    wait_until(lambda: (late.project.parent / "store.db").exists())
    assert late.suggestion() is None
    wait_until(lambda: [paused for paused, _ in states()] == [True] * 3)
    for desk in (*desks, late):
        desk.finish()
