"""The webhook server and its worker: nobody unsigned is heard, nothing is done twice, and kill -9 loses nothing."""

import hashlib
import hmac
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.testclient import TestClient

from codetrial.errors import ConfigError, ReviewError
from pr_bot.identity import Identity, webhook_secret
from pr_bot.server import create_app, work_of
from pr_bot.state import State
from pr_bot.work import Worker, do, only_worker
from tests.fakehub.hooks import deliver
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import finding

if TYPE_CHECKING:
    from httpx2 import Response

SAID = [finding(start_line=1, end_line=1, quote="x =", title="x should stay two", body="Callers rely on it.")]
SECRET = b"a secret of the webhook"
EXAMPLES = Path(__file__).parent / "payloads"


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def payload(action: str = "opened", number: int = 1, **extra: Any) -> bytes:
    return json.dumps(
        {"action": action, "number": number, "pull_request": {"number": number}, "sender": {"type": "User"},
         "repository": {"full_name": "octo/app"}, **extra}
    ).encode()  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    with TestClient(create_app(state, SECRET)) as opened:
        yield opened


def send(
    client: TestClient, body: bytes, delivery: str = "d-1", event: str = "pull_request", **headers: str
) -> "Response":
    signed = {"X-Hub-Signature-256": sign(body), "X-GitHub-Delivery": delivery, "X-GitHub-Event": event, **headers}
    return client.post("/webhook", content=body, headers=signed)


def jobs(state: State) -> list[tuple[str, str]]:
    return [(row["kind"], row["pull"]) for row in state.rows("SELECT kind, pull FROM job ORDER BY id")]


def test_a_signed_delivery_becomes_work(client: TestClient, state: State) -> None:
    assert send(client, payload()).status_code == 202
    assert jobs(state) == [("review", "octo/app#1")]


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "sha1=" + "0" * 40, sign(payload(), b"another secret here"), "sha256=\u00e9".encode().hex()],
)
def test_a_wrong_signature_is_refused_before_anything_is_parsed(
    client: TestClient, state: State, signature: str
) -> None:
    found = client.post("/webhook", content=b"{not json", headers={"X-Hub-Signature-256": signature})
    assert found.status_code == 401
    assert send(client, payload(), **{"X-Hub-Signature-256": signature}).status_code == 401
    assert jobs(state) == []


def test_the_signature_is_over_the_raw_bytes(client: TestClient) -> None:
    body = b'{ "action":"opened",  "number":1, "pull_request":{"number":1}, "repository":{"full_name":"octo/app"}}\n'
    assert send(client, body).status_code == 202


def test_signed_nonsense_is_named_and_not_retried_into_work(client: TestClient, state: State) -> None:
    assert send(client, b"{not json").status_code == 400
    assert send(client, b"[1, 2]", "d-2").status_code == 200
    assert send(client, b"[" * 100_000, "d-3").status_code == 400
    assert jobs(state) == []


def test_a_redelivery_is_known_by_its_id_and_by_its_body(client: TestClient, state: State) -> None:
    assert send(client, payload(), "d-1").json()["outcome"] == "accepted"
    assert send(client, payload(), "d-1").json()["outcome"] == "duplicate"
    assert send(client, payload(), "d-2").json()["outcome"] == "duplicate", "the id is not signed, the body is"
    assert send(client, payload(number=2), "").json()["outcome"] == "accepted", "the header may be missing"
    assert send(client, payload(number=2), "").json()["outcome"] == "duplicate"
    assert jobs(state) == [("review", "octo/app#1"), ("review", "octo/app#2")]


@pytest.mark.parametrize(
    ("event", "body", "kinds"),
    [
        ("ping", b'{"zen": "x"}', []),
        ("star", payload(), []),
        ("pull_request", payload("labeled"), []),
        ("pull_request", payload("closed"), ["collect"]),
        ("pull_request", payload("closed", sender={"type": "Bot"}), ["collect"]),
        ("pull_request", payload("synchronize", sender={"type": "Bot"}), []),
        ("pull_request_review_thread", payload("resolved"), ["collect"]),
        ("pull_request_review_comment", payload("created", sender={"type": "Bot"}), []),
        ("pull_request", payload(repository=None), []),
        ("pull_request", payload(pull_request={"number": "1"}), []),
    ],
)
def test_only_what_people_do_to_pull_requests_is_work(event: str, body: bytes, kinds: list[str]) -> None:
    assert [kind for kind, _, _ in work_of(event, json.loads(body))] == kinds


@pytest.mark.parametrize(
    ("body", "verb"),
    [
        ("@codetrial review", "review"), ("@codetrial pause ", "pause"), ("  @codetrial explain\n", "explain"),
        ("please @codetrial review", None), ("@codetrial review --model=x", None), ("@codetrial approve", None),
        ("@codetrial review\n@codetrial pause", None), ("`@codetrial review`", None), ("@CODETRIAL review", None),
        ("@codetrial --arms.a.url=http://evil/", None), ("", None),
    ],
)  # fmt: skip
def test_verbs_stand_alone_and_take_no_settings(body: str, verb: str | None) -> None:
    said = {"action": "created", "comment": {"body": body, "id": 5, "user": {"login": "author"}},
            "issue": {"number": 1, "pull_request": {}}, "repository": {"full_name": "octo/app"}}  # fmt: skip
    said["issue"]["pull_request"] = {"url": "x"}  # type: ignore[index]
    assert [need["verb"] for _, _, need in work_of("issue_comment", said)] == ([verb] if verb else [])
    assert work_of("issue_comment", {**said, "action": "edited"}) == []
    assert work_of("issue_comment", {**said, "issue": {"number": 1}}) == [], "an issue is no pull request"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_githubs_own_examples_are_understood(client: TestClient, state: State, example: Path) -> None:
    event, _, _ = example.stem.partition(".")
    assert send(client, example.read_bytes(), event=event).status_code in (200, 202)


def test_health_and_metrics_answer(client: TestClient) -> None:
    send(client, payload())
    assert client.get("/health").json() == {"status": "ok"}
    text = client.get("/metrics").text
    assert 'codetrial_deliveries_total{outcome="accepted"} 1' in text
    assert 'codetrial_jobs{state="queued"} 1' in text


def test_a_body_larger_than_githubs_is_cut_off(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from pr_bot import server

    monkeypatch.setattr(server, "MAX_BODY_BYTES", 10)
    assert send(client, payload()).status_code == 413


@pytest.mark.parametrize("secret", ["", "short"])
def test_there_is_no_server_without_a_secret(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRIAL_WEBHOOK_SECRET", secret)
    with pytest.raises(ConfigError, match="CODETRIAL_WEBHOOK_SECRET"):
        webhook_secret()


# --- the queue -------------------------------------------------------------------------------------------------------


def test_one_pull_request_is_never_worked_on_twice_at_once(state: State) -> None:
    for _ in range(2):
        state.put("review", "octo/app#1", {})
    state.put("review", "octo/app#2", {})
    first, second, third = state.claim("w1"), state.claim("w2"), state.claim("w3")
    assert first is not None
    assert second is not None
    assert (first.pull, second.pull, third) == ("octo/app#1", "octo/app#2", None)
    state.finish(first)
    again = state.claim("w1")
    assert again is not None
    assert again.pull == "octo/app#1"


def test_a_job_is_given_up_after_some_tries_and_says_why(state: State) -> None:
    state.put("review", "octo/app#1", {})
    for _ in range(8):
        job = state.claim("w")
        assert job is not None
        state.retry(job, "GitHub is away", after_s=0)
    assert state.claim("w") is None
    assert [(row["state"], row["error"]) for row in state.rows("SELECT state, error FROM job")] == [
        ("failed", "GitHub is away")
    ]


def test_what_was_finished_long_ago_is_forgotten_and_what_waits_is_not(state: State) -> None:
    need = {"repository": "octo/app", "number": 1}
    state.accept("old", "hash", "pull_request", [("review", "octo/app#1", need), ("review", "octo/app#2", need)])
    first = state.claim("w")
    assert first is not None
    state.finish(first)
    now = state.now
    state.now = lambda: now() + 31 * 86_400
    state.prune()
    assert state.counts() == {"queued": 1}
    assert state.rows("SELECT * FROM delivery") == []


def test_two_workers_cannot_share_a_state(tmp_path: Path) -> None:
    with (
        only_worker(tmp_path / "lock"),
        pytest.raises(ReviewError, match="Another worker"),
        only_worker(tmp_path / "lock"),
    ):
        pass


def test_the_worker_ends_with_a_server_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on, with the configuration of its time, beside every server that is started later."""
    monkeypatch.setenv("CODETRIAL_WEBHOOK_SECRET", SECRET.decode())
    monkeypatch.setenv("GITHUB_TOKEN", "a token that is never sent")
    monkeypatch.setenv("CODETRIAL_DATA_DIR", str(tmp_path))
    command = [sys.executable, "-P", "-m", "codetrial.cli", "pr", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        said = b""
        while b"at work" not in said:
            line = server.stderr.readline()
            assert line, said
            said += line
        server.kill()
        # The worker holds the same pipe: it closes when the last of the two is gone.
        server.stderr.read()


def test_a_new_state_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    faults: list[BaseException] = []
    start = threading.Barrier(8)

    def opening() -> None:
        start.wait()
        try:
            State(tmp_path / "fresh.db").close()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_thread_that_cannot_start_ends_the_worker_instead_of_idling(state: State) -> None:
    def fail() -> Any:
        raise OSError("no disk")

    worker = Worker(state, fail, lambda: Identity(pace_s=0), threads=2)
    worker.start()
    worker.wait()
    worker.stop()
    assert worker.has_failed


KILLED = """
import sys, time
from pathlib import Path
from pr_bot.state import State
state = State(Path(sys.argv[1]))
state.release("")
while (job := state.claim("w")) is not None:
    with state.transaction() as db:
        db.execute("INSERT INTO counter VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1", (f"{job.pull}",))
        state.finish_in(db, job)
"""


def test_deliveries_with_duplicates_in_any_order_survive_kill_9_each_processed_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    total = 300
    script = [sys.executable, "-c", KILLED, str(path)]
    with State(path) as state, TestClient(create_app(state, SECRET)) as client:
        order = [number for number in range(total) for _ in range(2)]
        order = order[::2] + order[1::2][::-1]
        worker = subprocess.Popen(script)
        kills = 0
        for place, number in enumerate(order):
            assert send(client, payload(number=number), f"d-{number}").status_code in (200, 202)
            if place % 100 == 99:
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                kills += 1
                worker = subprocess.Popen(script)
        worker.wait()
        subprocess.run(script, check=True)
        counts = state.rows("SELECT value, count(*) AS n FROM counter GROUP BY value")
        assert [(row["value"], row["n"]) for row in counts] == [(1, total)]
        assert state.counts() == {"done": total}
        assert kills == 6


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.fixture
def app(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """A GitHub App installed on octo/app; the installation's id."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(private)
    monkeypatch.setenv("CODETRIAL_APP_ID", "4711")
    monkeypatch.setenv("CODETRIAL_APP_KEY_FILE", str(tmp_path / "key.pem"))
    monkeypatch.setenv("GITHUB_API_URL", scene.hub.url)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    return scene.hub.app("4711", public.decode(), ["octo/app"])


class Served:
    """A real server on a real port, to which the stand-in for GitHub delivers."""

    def __init__(self, state: State) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/webhook"
        config = uvicorn.Config(create_app(state, SECRET), lifespan="off", log_level="warning", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> "Served":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


def work_off(scene: Scene, state: State, make: Callable[[], Any]) -> None:
    """Do everything that is queued, as the worker does."""
    with closing(make()) as bot, closing(Identity(pace_s=0)) as identity:
        while (job := state.claim("w")) is not None:
            do(state, job, bot, identity)


def test_from_a_push_to_a_posted_review_as_an_app(scene: Scene, app: int, state: State) -> None:
    said = [finding(start_line=2, end_line=2, quote="x = 3", title="x should stay two", body="Callers rely on it.")]
    with Served(state) as served:
        scene.hub.hook(served.url, SECRET.decode())
        repo = scene.hub.repository("octo/app", {"app.py": "# x\nx = 2\n"})
        repo.collaborators = {"author": "write", "mallory": "read"}
        pull = scene.hub.open_pull(repo, {"app.py": "# x\nx = 3\n"})
        assert scene.hub.deliveries[-1]["status_code"] == 202
        make = lambda: scene.bot(said, [])  # noqa: E731
        work_off(scene, state, make)
        assert [c.line for c in pull.comments] == [2]
        assert pull.comments[0].user.login == "codetrial[bot]"
        scene.hub.comment_on_pull(repo, pull, "@codetrial pause", by="mallory")
        scene.hub.comment_on_pull(repo, pull, "@codetrial explain", by="author")
        work_off(scene, state, make)
        assert any("compares two reviewers" in entry["body"] for entry in pull.issue_comments)
        scene.hub.comment_on_pull(repo, pull, "@codetrial pause", by="author")
        work_off(scene, state, make)
        scene.hub.push(repo, pull, {"app.py": "# x\nx = 4\n"})
        work_off(scene, state, make)
        assert len(pull.reviews) == 1, "paused"
        scene.hub.comment_on_pull(repo, pull, "@codetrial review", by="author")
        work_off(scene, state, make)
        assert len(pull.reviews) == 2
        scene.hub.merge(repo, pull)
        work_off(scene, state, make)
    assert set(state.counts()) == {"done"}


def test_a_burst_of_pushes_is_reviewed_once(scene: Scene, app: int, state: State) -> None:
    with Served(state) as served:
        scene.hub.hook(served.url, SECRET.decode())
        repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
        pull = scene.hub.open_pull(repo, {"app.py": "x = 3\n"})
        for number in range(4):
            scene.hub.push(repo, pull, {"app.py": f"x = {number + 10}\n"})
        work_off(scene, state, lambda: scene.bot(SAID, []))
    assert state.counts() == {"done": 1, "superseded": 4}
    assert len(pull.reviews) == 1


@pytest.mark.parametrize(
    ("spoil", "ends"),
    [
        (lambda scene, repo: setattr(repo, "is_deleted", True), "failed"),
        (
            lambda scene, repo: scene.hub.fail("GET", r"/pulls/1$", 403, times=9, message="Resource not accessible"),
            "failed",
        ),
        (
            lambda scene, repo: scene.hub.fail("GET", r"/pulls/1$", 429, times=9, headers={"Retry-After": "600"}),
            "queued",
        ),
        (lambda scene, repo: scene.hub.fail("GET", r"/pulls/1$", 404, times=9, message="Not Found"), "failed"),
    ],
    ids=["deleted", "revoked", "limited", "gone"],
)
def test_what_github_refuses_is_written_down_and_retried_only_where_that_helps(
    scene: Scene, app: int, state: State, spoil: Callable[[Scene, Any], None], ends: str
) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
    scene.hub.open_pull(repo, {"app.py": "x = 3\n"})
    state.put("review", "octo/app#1", {"repository": "octo/app", "number": 1, "installation": app})
    spoil(scene, repo)
    work_off(scene, state, lambda: scene.bot([], []))
    assert state.counts() == {ends: 1}
    assert state.rows("SELECT error FROM job")[0]["error"]


def test_the_threads_of_a_worker_take_jobs_and_end_when_asked(scene: Scene, app: int, state: State) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
    for number in range(1, 4):
        scene.hub.open_pull(repo, {"app.py": f"x = {number + 5}\n"})
        need = {"repository": "octo/app", "number": number, "installation": app}
        state.put("review", f"octo/app#{number}", need)
    worker = Worker(state, lambda: scene.bot([], []), lambda: Identity(pace_s=0), threads=2)
    worker.start()
    try:
        deadline = time.monotonic() + 30
        while state.counts() != {"done": 3} and time.monotonic() < deadline:
            threading.Event().wait(0.05)
    finally:
        worker.stop()
    assert state.counts() == {"done": 3}


# --- deliveries that never came, or came as they liked ---------------------------------------------------------------


def test_a_pull_request_of_which_no_delivery_told_is_found_and_reviewed_once(
    scene: Scene, app: int, state: State
) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
    told, untold, draft = (scene.hub.open_pull(repo, {"app.py": f"x = {n}\n"}, draft=n == 5) for n in (3, 4, 5))
    state.put("review", "octo/app#1", {"repository": "octo/app", "number": 1, "installation": app})
    make = lambda: scene.bot(SAID, [])  # noqa: E731
    work_off(scene, state, make)
    assert [len(pull.reviews) for pull in (told, untold, draft)] == [1, 0, 0]
    for _ in range(2):
        assert state.schedule_sweeps() == 1
        work_off(scene, state, make)
        assert [len(pull.reviews) for pull in (told, untold, draft)] == [1, 1, 0]
    repo.is_deleted = True
    state.schedule_sweeps()
    work_off(scene, state, make)
    assert state.schedule_sweeps() == 0, "a repository that is gone is not asked about for ever"


def test_an_installation_makes_its_open_pull_requests_known(client: TestClient, state: State) -> None:
    body = json.dumps({"action": "created", "installation": {"id": 7}, "sender": {"type": "User"},
                       "repositories": [{"full_name": "octo/app"}, {"full_name": "octo/lib"}]}).encode()  # fmt: skip
    assert send(client, body, event="installation").status_code == 202
    assert jobs(state) == [("sweep", "octo/app"), ("sweep", "octo/lib")]


def test_deliveries_late_doubled_and_in_any_order_come_to_the_same(scene: Scene, app: int, state: State) -> None:
    with Served(state) as served:
        hook = scene.hub.hook(served.url, SECRET.decode())
        hook.is_paused = True
        repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
        pull = scene.hub.open_pull(repo, {"app.py": "x = 3\n"}, is_fork=True)
        scene.hub.push(repo, pull, {"app.py": "x = 4\n"})
        other = scene.hub.open_pull(repo, {"app.py": "x = 9\n"})
        scene.hub.merge(repo, other)
        for event, delivery, data in [*reversed(hook.kept), *hook.kept]:
            deliver(scene.hub, hook, event, delivery, data)
        work_off(scene, state, lambda: scene.bot(SAID, []))
    assert [entry["status_code"] for entry in scene.hub.deliveries] == [202] * 4 + [200] * 4
    assert [review.commit_id for review in pull.reviews] == [pull.head]
    assert other.reviews == [], "closed before its opening was heard of"
    assert set(state.counts()) == {"done", "superseded"}


def test_a_token_is_asked_for_with_the_few_permissions_and_used_again(scene: Scene, app: int, state: State) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 2\n"})
    for number in (1, 2):
        scene.hub.open_pull(repo, {"app.py": f"x = {number + 2}\n"})
        state.put("review", f"octo/app#{number}", {"repository": "octo/app", "number": number, "installation": app})
    work_off(scene, state, lambda: scene.bot([], []))
    asked = [call for call in scene.hub.calls if call.path.endswith("/access_tokens")]
    assert len(asked) == 1
    [actor] = [actor for actor in scene.hub.actors.values() if actor.installation == app]
    assert actor.repositories == ["app"], "a token for the one repository"
    assert actor.permissions == {
        "contents": "read", "pull_requests": "write", "checks": "write", "issues": "write", "metadata": "read",
    }  # fmt: skip
