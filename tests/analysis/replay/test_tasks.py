"""Coding tasks: read, answered by real arms, checked in a real sandbox, and counted without bias."""

import base64
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analysis.replay.folders import working_folder
from analysis.replay.passing import agreement, load_passing, load_published, pass_at_k, write_page
from analysis.replay.problems import Problem, load_problems, solution_text
from analysis.replay.sandbox import Bubblewrap, Unprotected, open_sandbox
from analysis.replay.solving import Settings, solve, task_config
from codetrial.config import load
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel
from tests.analysis.replay.test_run import said, served
from tests.codetrial.streaming import Script, StreamingServer

pytestmark = pytest.mark.timeout(90)

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None,
    reason="the sandbox is Linux's bubblewrap: apt-get install bubblewrap, as .ci/run does",
)


def python(code: str) -> list[str]:
    return ["python", "-c", code]


@needs_bubblewrap
async def test_a_check_sees_its_folder_and_no_network(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("hello")
    (tmp_path.parent / "secret.txt").write_text("secret")
    sandbox = await open_sandbox()
    ran = await sandbox.run(python("print(open('data.txt').read())"), tmp_path, limit_s=20)
    assert (ran.passed, ran.output.strip()) == (True, "hello")
    ran = await sandbox.run(python(f"open({str(tmp_path.parent / 'secret.txt')!r})"), tmp_path, limit_s=20)
    assert "FileNotFoundError" in ran.output
    ran = await sandbox.run(python("open('/usr/lib/mine', 'w')"), tmp_path, limit_s=20)
    assert "Read-only" in ran.output or "Permission" in ran.output
    connect = "import socket; socket.create_connection(('127.0.0.1', 22), 1)"
    ran = await sandbox.run(python(connect), tmp_path, limit_s=20)
    assert not ran.passed


@needs_bubblewrap
async def test_a_missing_program_is_told_apart_from_a_failing_one(tmp_path: Path) -> None:
    assert (await Bubblewrap().run(["no-such-program"], tmp_path, limit_s=20)).exit_code == 127
    assert (await Bubblewrap().run(["false"], tmp_path, limit_s=20)).exit_code == 1


@needs_bubblewrap
async def test_keys_of_models_are_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-1")
    for sandbox in (Bubblewrap(), Unprotected()):
        ran = await sandbox.run(python("import os; print(sorted(os.environ))"), tmp_path, limit_s=20)
        assert ran.passed
        assert "SOME_API_KEY" not in ran.output


FORKS = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        open(f"alive-{os.getpid()}", "w").close()
        time.sleep(600)
time.sleep(600)
"""


@needs_bubblewrap
async def test_a_check_that_forks_and_hangs_leaves_nothing_behind(tmp_path: Path) -> None:
    started = time.monotonic()
    marker = f"codetrial-test-{os.getpid()}"
    ran = await Bubblewrap().run(["python", "-c", f"# {marker}\n{FORKS}"], tmp_path, limit_s=3)
    assert (ran.exit_code, ran.reason) == (None, "time_limit")
    assert time.monotonic() - started < 15
    assert len(forked(tmp_path)) == 20
    assert not running(marker)


BOMB = "i=0; while [ $i -lt 3000 ]; do sleep 60 & i=$((i+1)); done; echo $i"


@needs_bubblewrap
def test_a_fork_bomb_runs_into_a_wall() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [*Bubblewrap()._wrap(Path(folder)), "sh", "-c", BOMB]
        if os.geteuid() == 0:  # Linux holds root to no such limit: as somebody else, who may not see our Python.
            Path(folder).chmod(0o777)
            bare = Bubblewrap()
            bare._visible = []
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            command += [*bare._wrap(Path(folder)), "sh", "-c", BOMB]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "annot fork" in ran.stderr
    assert "3000" not in ran.stdout


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import os; from analysis.replay import folders as f; print(f.working_folder('replay'), flush=True)"
    code += "; os._exit(9)"
    killed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    left, own = Path(killed.stdout.strip()), working_folder("replay")
    assert left.parent == tmp_path
    assert not left.exists()
    working_folder("replay")
    assert own.exists(), "a running process keeps its own"


def forked(folder: Path) -> list[Path]:
    return list(folder.glob("alive-*"))


def running(marker: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in path.read_text(errors="replace") and int(path.parent.name) != os.getpid():
                found.append(path.parent.name)
        except OSError:
            continue  # It ended just now.
    return found


async def test_without_a_sandbox_it_refuses_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvidenceError, match=r"no `bwrap` on PATH: install bubblewrap.*--no-sandbox"):
        await open_sandbox()
    assert isinstance(await open_sandbox(without=True), Unprotected)


async def test_unprotected_checks_end_at_the_limit_too(tmp_path: Path) -> None:
    ran = await Unprotected().run(python("import time; time.sleep(60)"), tmp_path, limit_s=0.5)
    assert ran.exit_code is None


async def test_endless_output_is_cut(tmp_path: Path) -> None:
    ran = await Unprotected().run(python("while True: print('x' * 100000)"), tmp_path, limit_s=20)
    assert not ran.passed
    assert len(ran.output) <= 4000


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 2, 1), (5, 2, 3), (10, 0, 4), (6, 6, 2), (7, 3, 7)])
def test_pass_at_k_is_the_share_of_all_draws_that_pass(samples: int, passed: int, k: int) -> None:
    marks = [True] * passed + [False] * (samples - passed)
    draws = list(itertools.combinations(marks, k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_agrees_with_the_published_form() -> None:
    n, c, k = 200, 37, 10
    published = 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))
    assert pass_at_k(n, c, k) == pytest.approx(published)
    assert pass_at_k(3, 1, 5) is None


ADD = '''prompt = """
def add(a, b):
"""
check = ["python", "-c", "from solution import add; assert add(2, 3) == 5"]
time_limit_s = 20
'''


def test_a_folder_of_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "add.toml").write_text(ADD)
    [problem] = load_problems(tmp_path)
    assert (problem.name, problem.language, problem.source) == ("add", "python", None)
    assert problem.prompt == "def add(a, b):\n"


@pytest.mark.parametrize(
    ("content", "said_so"),
    [
        ("prompt = 1", "needs `check`"),
        ("promt = 'x'\ncheck = 'true'", "Did you mean 'prompt'"),
        ("prompt = 'x'\ncheck = 'true'\n[files]\n'../x' = ''", "outside the task's folder"),
        ("prompt = ", "cannot be read as TOML"),
        ("prompt = 'x'\ncheck = 'true'\ntime_limit_s = 'soon'", "cannot be used"),
    ],
)
def test_a_bad_task_is_named_with_the_mend(tmp_path: Path, content: str, said_so: str) -> None:
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(EvidenceError, match=said_so) as raised:
        load_problems(tmp_path)
    assert "bad.toml" in str(raised.value)


HUMAN_EVAL = {
    "task_id": "HumanEval/x",
    "prompt": 'def twice(n):\n    """Twice n."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
MBPP = {"task_id": 7, "text": "Write twice.", "code": "x", "test_list": ["assert twice(2) == 4"]}
LIVE = {
    "question_id": "q1",
    "question_content": "Print twice\nthe number.",
    "contest_date": "2025-03-01T00:00:00",
    "starter_code": "",
    "public_test_cases": json.dumps([{"input": "2\n", "output": "4\n", "testtype": "stdin"}]),
    "private_test_cases": base64.b64encode(
        zlib.compress(json.dumps([{"input": "3\n", "output": "6\n", "testtype": "stdin"}]).encode())
    ).decode(),
}
LIVE_FUNCTION = {
    **LIVE,
    "question_id": "q2",
    "starter_code": "class Solution:\n    def twice(self, n: int) -> int:\n",
    "public_test_cases": [{"input": "2", "output": "4", "testtype": "functional"}],
    "private_test_cases": "",
    "metadata": json.dumps({"func_name": "twice"}),
}
ANSWERS = {
    "HumanEval/x": "    return 2 * n\n",
    "MBPP/7": "def twice(n):\n    return 2 * n\n",
    "LiveCodeBench/q1": "print(2 * int(input()))\n",
    "LiveCodeBench/q2": "        return 2 * n\n",
}


@pytest.fixture
def public(tmp_path: Path) -> list[Problem]:
    path = tmp_path / "public.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (HUMAN_EVAL, MBPP, LIVE, LIVE_FUNCTION)))
    return load_problems(path)


@needs_bubblewrap
async def test_imported_checks_accept_right_and_refuse_wrong_solutions(public: list[Problem], tmp_path: Path) -> None:
    assert [problem.name for problem in public] == list(ANSWERS)
    for problem in public:
        for number, (answer, is_right) in enumerate(
            [(ANSWERS[problem.name], True), (ANSWERS[problem.name].replace("2", "3"), False)]
        ):
            folder = tmp_path / f"{problem.name.replace('/', '-')}-{number}"
            folder.mkdir()
            for path, content in {**problem.files, problem.path: solution_text(problem, answer)}.items():
                (folder / path).write_text(content)
            ran = await Bubblewrap().run(problem.check, folder, limit_s=30)
            assert ran.passed is is_right, ran.output


def test_contamination_is_labelled_by_date(public: list[Problem]) -> None:
    cutoff = datetime(2024, 6, 1, tzinfo=UTC)
    notes = {problem.name: problem.contamination(cutoff) for problem in public}
    assert notes["HumanEval/x"] == "public since 2021-07-07, may be known by heart"
    assert notes["LiveCodeBench/q1"] == "public since 2025-03-01, after the cut-off"
    assert public[0].contamination(None) == "public, may be known by heart"


def test_pickled_cases_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    pickled = base64.b64encode(zlib.compress(b"\x80\x04\x95evil")).decode()
    path.write_text(json.dumps({**LIVE, "public_test_cases": "", "private_test_cases": pickled}))
    with pytest.raises(EvidenceError, match="line 1: no test cases that can be read"):
        load_problems(path)


def test_a_body_ends_with_its_function() -> None:
    problem = Problem(name="x", prompt="def f():\n")
    assert solution_text(problem, "    return 1\n\nprint(f())\n") == "def f():\n    return 1\n"
    assert solution_text(Problem(name="x", prompt="# Say hello\n"), "print(1)\nx = 2") == "# Say hello\nprint(1)\nx = 2"


@needs_bubblewrap
async def test_both_arms_are_asked_checked_and_counted(server: StreamingServer, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "add.toml").write_text(ADD)
    (folder / "sub.toml").write_text(ADD.replace("add", "sub"))
    (folder / "published.toml").write_text(
        '[[score]]\narm = "A"\nbenchmark = "MBPP"\nvalue = 0.2\nsource = "a page"\ndate = "2025-01-01"\n'
        '[[score]]\narm = "B"\nbenchmark = "MBPP"\nvalue = 0.6\nsource = "a page"\ndate = "2025-01-01"\n'
    )
    server.script = Script(parts=said("    return a + b\n\nprint(1)\n"))
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    problems, settings = load_problems(folder), Settings(samples=2)
    solved = await solve(problems, config, settings, sandbox=Bubblewrap(), store=store)
    assert (solved.asked, solved.stopped) == (4, None)
    again = await solve(problems, config, settings, sandbox=Bubblewrap(), store=store)
    assert (again.asked, again.already_done, again.trial) == (0, 4, solved.trial)
    assert {request.body["temperature"] for request in server.requests} == {0.6}
    cutoffs = {ArmLabel.B: None}
    passing = load_passing(
        store, solved.trial, problems, ks=(1, 2, 5), cutoffs=cutoffs, published=load_published(folder)
    )
    assert {name: both[ArmLabel.B].passed for name, both in passing.problems.items()} == {"add": 2, "sub": 2}
    assert passing.problems["add"][ArmLabel.A].reasons == ("empty", "empty")
    assert [rate.k for rate in passing.rates] == [1, 2]
    assert passing.rates[0].difference.low < -0.5 < 0 < passing.rates[0].difference.high
    assert passing.contamination == {"own": 2}
    assert agreement(passing) == [
        "MBPP: these tasks do not decide between the arms, so there is nothing to agree with."
    ]
    write_page(passing, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "return&nbsp;a&nbsp;+&nbsp;b" in page
    assert "<script" not in page


async def test_a_changed_task_is_asked_again(server: StreamingServer, tmp_path: Path) -> None:
    server.script = Script(parts=said("    return a + b\n"))
    config, store = load(tmp_path, config_file=served(server.url, tmp_path)), tmp_path / "r.db"
    first = Problem(name="add", prompt="def add(a, b):\n", check=("true",))
    mended = Problem(name="add", prompt="def add(a, b):\n", check=("false",))
    for problem in (first, mended):
        solved = await solve([problem], config, Settings(), sandbox=Unprotected(), store=store)
        assert solved.asked == 1
    passing = load_passing(store, solved.trial, [mended], ks=(1,), cutoffs={})
    assert passing.problems["add"][ArmLabel.B].passed == 0


async def test_a_check_that_cannot_run_is_said(server: StreamingServer, tmp_path: Path) -> None:
    server.script = Script(parts=said("    pass\n"))
    config = load(tmp_path, config_file=served(server.url, tmp_path))
    problem = Problem(name="odd", prompt="def f():\n", check=("no-such-program",))
    with pytest.raises(EvidenceError, match="check of task 'odd' cannot be run: no-such-program"):
        await solve([problem], config, Settings(), sandbox=Unprotected(), store=tmp_path / "r.db")


def test_arms_get_room_for_a_solution_and_another_trial(tmp_path: Path) -> None:
    config = load(tmp_path, config_file=served("http://127.0.0.1:1", tmp_path))
    roomy = task_config(config, Settings())
    assert (roomy.arms.b.max_tokens, roomy.arms.b.stops, roomy.trial.name) == (512, (), "trial: coding tasks")
    assert roomy.arms.b.temperature == 0


def test_a_published_figure_without_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "published.toml").write_text(
        '[[score]]\narm = "A"\nbenchmark = "MBPP"\nvalue = 0.2\ndate = "2025-01-01"'
    )
    with pytest.raises(EvidenceError, match="'source' is missing"):
        load_published(tmp_path)


@needs_bubblewrap
def test_the_command_end_to_end(tmp_path: Path) -> None:
    (tmp_path / "add.toml").write_text(ADD)
    (tmp_path / "codetrial.toml").write_text('[arms.a]\napi = "ngram"\n[arms.b]\napi = "ngram"\nmax_tokens = 3\n')
    command = [sys.executable, "-m", "codetrial.cli", "tasks", str(tmp_path / "add.toml"), "--json"]
    command += ["--config", str(tmp_path / "codetrial.toml"), "--store", str(tmp_path / "r.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"]["add"]["A"]["samples"] == 1
