"""The real worker, killed wherever it hurts: every pull request is reviewed, and nobody is told anything twice."""

import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from analysis.store import Store
from codetrial.paths import data_dir
from pr_bot.server import create_app
from pr_bot.state import State
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import ModelServer, finding, serve_model
from tests.pr_bot.test_server import SECRET, payload, send

PULLS = 6
PATIENCE_S = 60.0
SAID = json.dumps({"findings": [finding(start_line=1, end_line=1, quote="x =", title="x should stay one")]})


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with serve_model(lambda _body: SAID) as served:
        yield served


@pytest.fixture
def worker(scene: Scene, model: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a worker with all that it needs, as `codetrial pr serve` starts it."""
    monkeypatch.setenv("GITHUB_TOKEN", scene.hub.token("codetrial[bot]"))
    monkeypatch.setenv("GITHUB_API_URL", scene.hub.url)
    arms = "".join(f'[arms.{a}]\napi = "openai-chat"\nmodel = "{a}"\nurl = "{model.url}"\n' for a in "ab")
    (tmp_path / "trial.toml").write_text(f'[trial]\nseed = "ab"\n{arms}[review]\npost_share = 1.0\n')
    command = [sys.executable, "-P", "-m", "codetrial.cli", "pr", "work", "--config", str(tmp_path / "trial.toml")]
    return [*command, "--store", str(tmp_path / "store.db")]


def wait_for(what: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if what():
            return
        pause.wait(0.01)
    raise AssertionError("nothing happened")


def posts(scene: Scene) -> int:
    return sum(call.method == "POST" and call.path.endswith("/reviews") for call in scene.hub.calls)


@pytest.mark.timeout(240)
def test_a_worker_killed_in_the_middle_of_its_work_does_each_review_once(
    scene: Scene, model: ModelServer, worker: list[str], tmp_path: Path
) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 1\n"})
    pulls = [scene.hub.open_pull(repo, {"app.py": f"x = {n + 2}\n"}) for n in range(PULLS)]
    with State(data_dir() / "pull-requests.db") as state, TestClient(create_app(state, SECRET)) as client:
        for number, copy in itertools.product(range(1, PULLS + 1), range(2)):
            assert send(client, payload(number=number), f"d-{number}-{copy}").status_code in (200, 202)
        # While a model is asked, and as soon as GitHub has a review that the worker has not heard of.
        moments: list[Callable[[], Any]] = [lambda: len(model.requests), lambda: posts(scene)]
        for moment in [*moments, *moments]:
            running, before = subprocess.Popen(worker), moment()
            wait_for(lambda moment=moment, before=before: moment() > before)  # type: ignore[misc]
            running.kill()
            running.wait()
        running = subprocess.Popen(worker)
        wait_for(lambda: set(state.counts()) == {"done"} and all(pull.reviews for pull in pulls))
        running.terminate()
        assert running.wait(60) == 0
    assert [len(pull.reviews) for pull in pulls] == [1] * PULLS, "none lost, none twice"
    assert [len(pull.comments) for pull in pulls] == [1] * PULLS
    with Store(tmp_path / "store.db", readonly=True) as store:
        exposed = Counter(row["suggestion"] for row in store.rows("SELECT suggestion FROM exposure"))
        tasks = store.rows("SELECT count(DISTINCT session) AS pulls FROM task")[0]["pulls"]
    assert (len(exposed), set(exposed.values()), tasks) == (PULLS, {1}, PULLS)
