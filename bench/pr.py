"""What the pull-request door costs besides its models (four minutes).

Against the stand-in for GitHub and a model server that answers at once, both in this process; what is measured runs in
processes of its own, so that time and memory are the bot's alone.
"""

import hashlib
import hmac
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
from github import Auth

from bench.report import Report
from codetrial.config import load
from codetrial.records import Origin
from pr_bot.collecting import collect
from pr_bot.github import Api
from pr_bot.pulls import Bot, open_bot
from pr_bot.state import State
from tests.fakehub.hub import Hub
from tests.pr_bot.models import finding, serve_model

SECRET = "a secret of the bench"
ROOT = Path(__file__).parents[1]


def configuration(folder: Path, url: str, extra: str = "") -> Path:
    path = folder / "trial.toml"
    arms = "".join(f'[arms.{label}]\napi = "openai-chat"\nmodel = "{label}"\nurl = "{url}"\n' for label in ("a", "b"))
    path.write_text(f'[trial]\nseed = "ab"\n{arms}[review]\npost_share = 1.0\nmax_reviews_per_pull = 100\n{extra}')
    return path


def change(lines: int) -> dict[str, str | bytes | None]:
    """A change of so many added lines, in files of some hundred."""
    size = 250
    body = "".join(f"def f_{n}(x):\n    return x + {n}\n\n\n" for n in range(size // 4))
    return {f"pkg/m_{part}.py": f"# {part}\n{body}" for part in range(max(1, lines // size))}


Row = tuple[str, str, str]
"""What, measured, target."""


def bench_reviews() -> list[Row]:
    rows: list[Row] = []
    found = [
        finding(path="pkg/m_0.py", start_line=3, end_line=3, quote="return x + 0", title=f"Defect {word} of many kinds",
                body=f"Reason {word * 6}")
        for word in "abcdefgh"
    ]  # fmt: skip
    for lines, limit_s in ((400, 1.5), (10_000, 10.0)):
        times, spent, peaks = [], [], []
        for _ in range(3):
            with (
                tempfile.TemporaryDirectory() as scratch,
                Hub(Path(scratch) / "hub") as hub,
                serve_model(found) as model,
            ):
                folder = Path(scratch)
                hub.open_pull(hub.repository("octo/app", {"README.md": "x\n"}), change(lines))
                config = str(configuration(folder, model.url))
                token = hub.token("codetrial[bot]")
                command = [sys.executable, "-m", "bench.pr_child", hub.url, token, config, "1", scratch]
                own = environment(folder)
                result = json.loads(subprocess.run(command, cwd=ROOT, env=own, check=True, capture_output=True).stdout)
                times.append(result["seconds"])
                spent.append(result["cpu_seconds"])
                peaks.append(result["peak_mb"])
        median = sorted(times)[1]
        rows.append((f"review of {lines:,} lines, median of 3", f"{median:.2f} s", f"{limit_s} s"))
        rows.append(("of the processor, with start, git and both arms' processes", f"{sorted(spent)[1]:.2f} s", ""))
        rows.append((f"its memory, {lines:,} lines", f"{max(peaks):.0f} MB", "150 MB"))
    return rows


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "CODETRIAL_DATA_DIR": str(folder / "data"), "CODETRIAL_CACHE_DIR": str(folder / "cache"),
            "CODETRIAL_USER_CONFIG": str(folder / "none.toml")}  # fmt: skip


def signed(body: bytes, delivery: str, event: str = "pull_request") -> dict[str, str]:
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": delivery, "X-GitHub-Event": event}


def payload(number: int, action: str = "opened", repository: str = "octo/app") -> bytes:
    return json.dumps({"action": action, "pull_request": {"number": number}, "sender": {"type": "User"},
                       "repository": {"full_name": repository}}).encode()  # fmt: skip


def bench_acknowledgement() -> list[Row]:
    """Acknowledgements while eight reviews run, through the real command with its worker."""

    def slowly(_body: dict[str, object]) -> str:
        time.sleep(8.0)
        return json.dumps({"findings": []})

    with tempfile.TemporaryDirectory() as scratch, Hub(Path(scratch) / "hub") as hub, serve_model(slowly) as model:
        folder = Path(scratch)
        repo = hub.repository("octo/app", {"README.md": "x\n"})
        for _ in range(8):
            hub.open_pull(repo, change(400))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        own = {**environment(folder), "GITHUB_TOKEN": hub.token("codetrial[bot]"), "GITHUB_API_URL": hub.url,
               "CODETRIAL_WEBHOOK_SECRET": SECRET}  # fmt: skip
        command = [sys.executable, "-m", "codetrial.cli", "pr", "serve", "--port", str(port), "--threads", "8",
                   "--config", str(configuration(folder, model.url)), "--store", str(folder / "store.db")]  # fmt: skip
        server = subprocess.Popen(command, cwd=folder, env=own, stderr=subprocess.DEVNULL)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                wait_until_up(client)
                for number in range(1, 9):
                    body = payload(number)
                    client.post("/webhook", content=body, headers=signed(body, f"r-{number}"))
                wait_for_requests(model.requests, 1)
                # In a process of its own: this one is busy being GitHub and the models.
                sender = [sys.executable, "-m", "bench.pr_client", f"http://127.0.0.1:{port}", SECRET, "500"]
                took = sorted(json.loads(subprocess.run(sender, cwd=ROOT, check=True, capture_output=True).stdout))
                metrics = client.get("/metrics").text
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    running = re.findall(r'codetrial_jobs\{state="running"\} (\d+)', metrics)
    name = f"acknowledged while {running[0] if running else 0} of 8 reviews still run"
    return [(f"{name}: p50", f"{took[250]:.1f} ms", ""), (f"{name}: p99", f"{took[495]:.1f} ms", "50 ms")]


def wait_until_up(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def wait_for_requests(requests: list[dict[str, object]], count: int) -> None:
    for _ in range(600):
        if len(requests) >= count:
            return
        time.sleep(0.05)
    raise SystemExit("no review was started")


def bench_deliveries(total: int = 5_000) -> list[Row]:
    """Every delivery twice, in random order, with the worker killed every thousand."""
    from starlette.testclient import TestClient

    from pr_bot.server import create_app
    from tests.pr_bot.test_server import KILLED

    order = [number for number in range(total) for _ in range(2)]
    random.Random(1).shuffle(order)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "state.db"
        script = [sys.executable, "-c", KILLED, str(path)]
        with State(path) as state, TestClient(create_app(state, SECRET.encode())) as client:
            worker = subprocess.Popen(script, cwd=ROOT)
            began = time.perf_counter()
            for place, number in enumerate(order):
                body = payload(number)
                client.post("/webhook", content=body, headers=signed(body, f"d-{number}")).raise_for_status()
                if place % 1000 == 999:
                    worker.kill()
                    worker.wait()
                    worker = subprocess.Popen(script, cwd=ROOT)
            elapsed = time.perf_counter() - began
            worker.wait()
            subprocess.run(script, cwd=ROOT, check=True)
            counts = {row["value"]: row["n"] for row in
                      state.rows("SELECT value, count(*) AS n FROM counter GROUP BY value")}  # fmt: skip
            done = state.counts()
    more = sum(n for value, n in counts.items() if value != 1)
    what = f"{len(order):,} deliveries, each twice, worker killed {len(order) // 1000} times"
    once = f"once {counts.get(1, 0):,}, more often {more}, lost {total - sum(counts.values())}"
    return [
        (f"{what}: processed", once, f"once {total:,}"),
        ("deliveries accepted", f"{len(order) / elapsed:.0f} per second", ""),
        ("jobs at the end", str(done), f"{total:,} done"),
    ]


def bench_collecting(pulls: int = 500) -> list[Row]:
    """Open pull requests with a posted finding each, looked at once more when little has changed."""
    with tempfile.TemporaryDirectory() as scratch, Hub(Path(scratch) / "hub") as hub:
        folder = Path(scratch)
        os.environ.update(environment(folder))
        hub.limit = 1_000_000
        repo = hub.repository("octo/app", {"app.py": "x = 1\n"})
        config = load(folder, config_file=configuration(folder, "http://127.0.0.1:1/v1"))
        bot = open_bot(config, database=folder / "store.db", origin=Origin.TEST)
        with closing(bot), Api(Auth.Token(hub.token("codetrial[bot]")), url=hub.url, pace_s=0) as api:
            first = hub.open_pull(repo, {"app.py": "x = 2\n"})
            for _ in range(pulls - 1):
                hub.open_pull(repo, {}, head=first.head)
            for number in range(1, pulls + 1):
                plant(bot.state, f"octo/app#{number}", number, first.head)
            looks = [look(hub, bot, api) for _ in range(2)]
            for pull in repo.pulls.values():
                hub.review_by(repo, pull, [{"path": "app.py", "line": 1, "body": "hm"}], by="reviewer")
                pull.title, pull.updated_at = "Another title", hub.clock.text()
            looks.append(look(hub, bot, api))
    names = ("the first look", "nothing new", "all of them changed")
    return [
        (f"{pulls} open pull requests, {name}: of the hour's REST requests, GraphQL points", f"{rest:,}, {points:,}",
         "5,000, 5,000")
        for name, (rest, points, _) in zip(names, looks, strict=True)
    ] + [("a look with nothing new, on this machine, stand-in included", f"{looks[1][2]:.0f} s", "")]  # fmt: skip


def look(hub: Hub, bot: Bot, api: Api) -> tuple[int, int, float]:
    """REST requests, points and seconds of a collection."""
    used, points, began = hub.used, hub.points, time.perf_counter()
    collect(bot, api)
    return hub.used - used, hub.points - points, time.perf_counter() - began


def plant(state: State, key: str, number: int, head: str) -> None:
    with state.transaction() as db:
        db.execute("INSERT INTO pull (key, repository, number) VALUES (?, 'octo/app', ?)", (key, number))
        place = ("app.py", "RIGHT", 1, 1, "exact", "k", "[]", None, "m", 1, 0, 0, None, 0.0)
        values = (f"f{number}", key, "t", "A", f"f{number}", "A", head, head, *place)
        db.execute(f"INSERT INTO finding VALUES ({', '.join('?' * len(values))})", values)
        db.execute("INSERT INTO seen VALUES (?, 'head', ?, 0)", (key, head))


def run(report: Report) -> None:
    rows = [*bench_reviews(), *bench_acknowledgement(), *bench_deliveries(), *bench_collecting()]
    report.table(
        "The pull-request door", ("what", "measured", "target"), rows, command="python -m bench pr",
        note="Models answer at once; GitHub is the stand-in of the tests, in another process than what is measured.",
    )  # fmt: skip
