"""Both arms asked, for real: streaming servers, the n-gram arm, a real store, real kills."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.history import History, Selection
from analysis.replay import start
from analysis.replay.book import Book
from analysis.replay.roots import Roots
from analysis.replay.run import Outcome, refuse_unpriced, run
from analysis.store import Store
from codetrial.arms import build, define
from codetrial.arms.base import Answer, ArmDefinition, Prompt
from codetrial.clock import now_ns
from codetrial.config import Config, load
from codetrial.errors import ConfigError, EvidenceError
from codetrial.manifest import freeze
from codetrial.records import Api, ArmLabel, AttemptStatus
from tests.analysis.replay.conftest import Commit
from tests.codetrial.streaming import Script, StreamingServer, sse

QUIET = Console(quiet=True)

DONE = sse("[DONE]")


def said(text: str) -> list[bytes]:
    return [
        sse({"choices": [{"text": text, "finish_reason": None}]}),
        sse(
            {"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"prompt_tokens": 90, "completion_tokens": 9}}
        ),
        DONE,
    ]


def served(url: str, tmp_path: Path, extra: str = "") -> Path:
    """A configuration: the n-gram arm against a model behind a server of ours."""
    path = tmp_path / "codetrial.toml"
    path.write_text(
        f"""
        [arms.a]
        api = "ngram"
        [arms.b]
        api = "openai-completions"
        url = "{url}/v1"
        model = "fake-1"
        template = "prefix-only"
        timeout_s = 5
        [arms.b.price]
        request_usd = 0.01
        {extra}
        """
    )
    return path


@pytest.fixture
async def answering(server: StreamingServer) -> StreamingServer:
    server.script = Script(parts=said("total = item.price"))
    return server


async def replayed(
    folder: Path, config: Config, store: Path, *, tasks: int = 20, budget_usd: float | None = None, concurrency: int = 4
) -> Outcome:
    """What `start.replay` does, inside the loop that the server runs in."""
    trial, rows = freeze(config)
    with History(folder) as history:
        prepared = start.prepare(history, config, options(folder, tasks=tasks))
        arms = {label: build(config.arms[label], label, templates=config.templates) for label in ArmLabel}
        book = Book(store, trial, rows, client=start.CLIENT, repository="r" * 32)
        roots = Roots(history, list(arms.values()))
        try:
            return await run(
                prepared.chosen.tasks,
                arms=arms,
                config=config,
                book=book,
                roots=roots,
                repository="shop",
                concurrency=concurrency,
                budget_usd=budget_usd,
                first_pause_s=0.01,
            )
        finally:
            roots.close()
            book.close("finished")


def options(folder: Path, **more: Any) -> start.Options:
    return start.Options(repository=folder, selection=Selection(), **more)


def rows(store: Path, sql: str) -> list[dict[str, Any]]:
    with Store(store, readonly=True) as opened:
        return opened.rows(sql)


async def test_every_task_is_stored_whole(answering: StreamingServer, busy_repository: Path, tmp_path: Path) -> None:
    config, store = load(tmp_path, config_file=served(answering.url, tmp_path)), tmp_path / "r.db"
    outcome = await replayed(busy_repository, config, store)
    assert (outcome.asked, outcome.already_done, outcome.stopped) == (20, 0, None)
    assert outcome.spent_usd == pytest.approx(0.20)
    assert rows(store, "SELECT DISTINCT origin, door FROM session") == [{"origin": "replay", "door": "replay"}]
    assert rows(store, "SELECT count(*) AS n FROM task")[0]["n"] == 20
    assert rows(store, "SELECT label, count(*) AS n FROM attempt GROUP BY label ORDER BY label") == [
        {"label": "A", "n": 20},
        {"label": "B", "n": 20},
    ]
    assert rows(store, "SELECT DISTINCT horizon, state FROM continuation") == [{"horizon": "commit", "state": "found"}]
    spoke = rows(store, "SELECT id FROM suggestion WHERE chars > 0")
    assert len({row["suggestion"] for row in rows(store, "SELECT suggestion FROM score")}) == len(spoke)
    [end] = rows(store, "SELECT reason FROM session_end")
    assert end["reason"] == "finished"


async def test_scores_are_against_what_was_written(
    server: StreamingServer, repository: Path, commit: Commit, tmp_path: Path
) -> None:
    server.script = Script(parts=said("return price * count"))
    commit({"a.py": "def total(price, count):\n    pass\n"}, "Begin")
    commit({"a.py": "def total(price, count):\n    return price * count\n"}, "Write it")
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    await replayed(repository, config, store, tasks=100)
    sql = (
        "SELECT t.trigger, s.value FROM score s JOIN task t ON t.id = s.task "
        "WHERE s.label = 'B' AND s.metric = 'first_line_exact'"
    )
    values = {row["trigger"]: row["value"] for row in rows(store, sql)}
    assert values["hunk_start"] == 1.0
    assert values["mid_line"] == 0.0


async def test_a_second_run_asks_nothing_twice(
    answering: StreamingServer, busy_repository: Path, tmp_path: Path
) -> None:
    config, store = load(tmp_path, config_file=served(answering.url, tmp_path)), tmp_path / "r.db"
    await replayed(busy_repository, config, store, tasks=12)
    asked = len(answering.requests)
    outcome = await replayed(busy_repository, config, store, tasks=30)
    assert (outcome.asked, outcome.already_done) == (18, 12)
    assert len(answering.requests) == asked + 18
    assert rows(store, "SELECT count(*) AS n FROM attempt")[0]["n"] == 60


def test_a_kill_loses_only_what_was_in_flight(busy_repository: Path, tmp_path: Path) -> None:
    counter = tmp_path / "asked"
    script = tmp_path / "arm.py"
    script.write_text(_SLOW_ARM.format(counter=str(counter)))
    config = tmp_path / "codetrial.toml"
    config.write_text(
        '[arms.a]\napi = "ngram"\n[arms.b]\napi = "openai-completions"\nurl = "http://127.0.0.1:PORT/v1"\n'
        'model = "m"\ntemplate = "prefix-only"\n'
    )
    server = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        config.write_text(config.read_text().replace("PORT", port))
        store = tmp_path / "r.db"
        command = [sys.executable, "-m", "codetrial.cli", "replay", str(busy_repository), "--config", str(config)]
        command += ["--store", str(store), "--tasks", "60", "--concurrency", "4"]
        victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in server.stdout:  # One line a request.
            if int(line) == 25:
                break
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.wait(20) == -signal.SIGKILL
        kept = stored(store)
        assert kept >= 25 - 2 * 4
        again = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
        assert f"done before {kept}" in again.stderr.replace("\n", " ")
        assert stored(store) == 60
        assert rows(store, "SELECT count(*) AS n FROM attempt")[0]["n"] == 120
    finally:
        server.kill()
        server.communicate()


def stored(store: Path) -> int:
    connection = sqlite3.connect(store)
    try:
        return int(connection.execute("SELECT count(*) FROM task").fetchone()[0])
    finally:
        connection.close()


_SLOW_ARM = """
import json, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
count, lock = 0, threading.Lock()
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        global count
        self.rfile.read(int(self.headers["content-length"]))
        with lock:
            count += 1
            print(count, flush=True)
        time.sleep(0.02)
        body = b'data: ' + json.dumps({{"choices": [{{"text": "total", "finish_reason": "stop"}}]}}).encode()
        body += b'\\n\\ndata: [DONE]\\n\\n'
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def test_the_budget_is_kept(answering: StreamingServer, busy_repository: Path, tmp_path: Path) -> None:
    config, store = load(tmp_path, config_file=served(answering.url, tmp_path)), tmp_path / "r.db"
    outcome = await replayed(busy_repository, config, store, tasks=40, budget_usd=0.105, concurrency=8)
    assert outcome.stopped is not None
    assert "budget" in outcome.stopped
    assert (outcome.asked, len(answering.requests)) == (10, 10)
    more = await replayed(busy_repository, config, store, tasks=40)
    assert (more.asked, more.already_done) == (30, 10)


async def test_the_daily_budget_of_the_configuration_ends_it_too(
    answering: StreamingServer, busy_repository: Path, tmp_path: Path
) -> None:
    path = served(answering.url, tmp_path, "[budget.b]\n        requests = 5")
    outcome = await replayed(busy_repository, load(tmp_path, config_file=path), tmp_path / "r.db", concurrency=1)
    assert outcome.asked == 5
    assert "of today" in (outcome.stopped or "")


def test_a_budget_in_money_needs_prices(tmp_path: Path) -> None:
    path = tmp_path / "codetrial.toml"
    path.write_text(
        '[arms.a]\napi = "ngram"\n[arms.b]\napi = "openai-completions"\nurl = "https://models.example/v1"\n'
        'model = "nobody-knows"\ntemplate = "prefix-only"\n'
    )
    config = load(tmp_path, config_file=path)
    with pytest.raises(ConfigError, match=r"price of arm B \(nobody-knows\) is not known"):
        refuse_unpriced({label: define(config.arms[label], label, templates={}) for label in ArmLabel}, config)


async def test_an_arm_that_is_away_for_a_moment_is_asked_again(
    server: StreamingServer, busy_repository: Path, tmp_path: Path
) -> None:
    good, bad = Script(parts=said("x")), Script(status=503)
    server.script = lambda _: bad if len(server.requests) <= 3 else good
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    outcome = await replayed(busy_repository, config, store, tasks=10)
    assert (outcome.asked, outcome.stopped) == (10, None)
    assert rows(store, "SELECT count(*) AS n FROM attempt WHERE status = 'error'")[0]["n"] == 0


@pytest.mark.parametrize("status", [401, 404])
async def test_a_wrong_key_or_address_ends_it_at_once(
    server: StreamingServer, busy_repository: Path, tmp_path: Path, status: int
) -> None:
    server.script = Script(status=status)
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    outcome = await replayed(busy_repository, config, store, tasks=10, concurrency=1)
    assert len(server.requests) == 1
    assert "arm B (fake-1) cannot be reached" in (outcome.stopped or "")
    assert stored(store) == 0


async def test_what_an_arm_answers_badly_is_stored(
    server: StreamingServer, busy_repository: Path, tmp_path: Path
) -> None:
    server.script = Script(status=400)
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    outcome = await replayed(busy_repository, config, store, tasks=3, concurrency=1)
    assert outcome.statuses[ArmLabel.B, AttemptStatus.ERROR] + outcome.statuses[ArmLabel.B, AttemptStatus.REFUSED] == 3
    assert stored(store) == 3


async def test_privacy_rules_hold(answering: StreamingServer, busy_repository: Path, tmp_path: Path) -> None:
    path = served(answering.url, tmp_path, '[privacy]\n        exclude_paths = ["shop.py"]')
    outcome = await replayed(busy_repository, load(tmp_path, config_file=path), tmp_path / "r.db")
    assert (outcome.asked, outcome.excluded) == (0, 20)
    assert answering.requests == []


class Looking:
    """An arm that reads its repository, as the n-gram arm does, and notes what it sees."""

    def __init__(self, definition: ArmDefinition) -> None:
        self._definition = definition
        self.seen: list[tuple[Prompt, str]] = []

    @property
    def definition(self) -> ArmDefinition:
        return self._definition

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        assert prompt.root is not None
        self.seen.append((prompt, (Path(prompt.root) / prompt.path).read_text()))
        return Answer(status=AttemptStatus.OK, text="x", sent_ns=now_ns(), end_ns=now_ns())

    async def aclose(self) -> None:
        pass


async def test_arms_see_the_repository_as_it_stood_before_the_commit(busy_repository: Path, tmp_path: Path) -> None:
    config = load(tmp_path)
    config_a = build(config.arms.a, ArmLabel.A).definition
    assert config_a.api is Api.NGRAM
    arms = {label: Looking(config_a) for label in ArmLabel}
    trial, arm_rows = freeze(config)
    with History(busy_repository) as history:
        prepared = start.prepare(history, config, options(busy_repository, tasks=40))
        book = Book(tmp_path / "r.db", trial, arm_rows, client=start.CLIENT, repository=None)
        roots = Roots(history, list(arms.values()))
        outcome = await run(
            prepared.chosen.tasks, arms=arms, config=config, book=book, roots=roots, repository=None, concurrency=6
        )
        before = {c.files[0].after: c.files[0].before for c in history.changes()}
        roots.close()
        book.close("finished")
    assert outcome.asked == 40
    assert len({text for _, text in arms[ArmLabel.A].seen}) > 10
    for prompt, text in arms[ArmLabel.A].seen:
        # The file on disk is what it was before: nothing that was typed in this commit.
        assert text in before.values()
        assert prompt.suffix.strip() == "" or prompt.suffix.strip() in text


def test_nothing_after_the_cut_off_is_said_with_the_mend(busy_repository: Path, tmp_path: Path) -> None:
    path = tmp_path / "codetrial.toml"
    path.write_text(
        '[arms.a]\napi = "ngram"\n[arms.b]\napi = "openai-completions"\nurl = "http://127.0.0.1:1/v1"\n'
        'model = "claude-sonnet-4-5"\ntemplate = "prefix-only"\n'
    )
    with (
        History(busy_repository) as history,
        pytest.raises(EvidenceError, match=r"no commit after 2025-07-31.*--since"),
    ):
        start.prepare(history, load(tmp_path, config_file=path), options(busy_repository))


def test_a_shallow_clone_is_named(busy_repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{busy_repository}", str(clone)], check=True)
    with History(clone) as history, pytest.raises(EvidenceError, match=r"shallow.*--unshallow"):
        start.prepare(history, load(tmp_path), options(clone))


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on(repository: Path, commit: Commit, tmp_path: Path) -> None:
    commit({"a.py": "x = 1\n"}, "Begin")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    commit(
        {
            "a.py": "x = 1\nwonder = x + 1\n",
            "logo.png": b"\x89PNG\0\0",
            "huge.py": "y = 1\n" * 100_000,
            "latin.py": "name = 'é'\n".encode("latin-1"),
            "weights.bin": pointer,
        },
        "All sorts",
    )
    with History(repository) as history:
        prepared = start.prepare(history, load(tmp_path), options(repository))
    assert {task.path for task in prepared.chosen.tasks} == {"a.py"}
    assert start.describe(prepared.skipped) == (
        "1 first commits, 1 huge files, 1 files that are not UTF-8, 1 binary files, 1 Git LFS pointers"
    )


def test_the_command_end_to_end(busy_repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "codetrial.toml"
    config.write_text('[arms.a]\napi = "ngram"\n[arms.b]\napi = "ngram"\nmax_tokens = 3\n')
    command = [sys.executable, "-m", "codetrial.cli", "replay", str(busy_repository), "--config", str(config)]
    command += ["--store", str(tmp_path / "r.db"), "--tasks", "60", "--since", "2025-06-05"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Asked 60" in done.stderr
    assert "first line alike" in done.stdout
    assert "A - B over" in done.stdout
    missing = subprocess.run([*command[:4], str(tmp_path / "nowhere")], capture_output=True, text=True, timeout=60)
    assert missing.returncode != 0
    assert "Traceback" not in missing.stderr
