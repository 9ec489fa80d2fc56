"""Arms behind processes: a program of the user's own, and Copilot's server. The neighbours are real programs."""

import asyncio
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codetrial.arms import Arm, Prompt, Usage, build
from codetrial.arms.copilot import CopilotArm
from codetrial.config import ArmConfig
from codetrial.errors import ArmError, ConfigError
from codetrial.records import Api, ArmLabel, AttemptStatus

Program = Callable[[str], list[str]]

ECHO = """
    import json, sys
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("cancel"):
            print("cancelled", request["id"], file=sys.stderr, flush=True)
            continue
        number = request["id"]
        print(json.dumps({"id": number, "text": request["prefix"][::-1]}), flush=True)
        print(json.dumps({"id": number, "text": "\\nsecond"}), flush=True)
        print(json.dumps({"id": number, "done": True, "finish_reason": "stop", "model": "mine-1",
                          "usage": {"tokens_in": 3, "tokens_out": 2}}), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def write(source: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        return [sys.executable, str(path)]

    return write


@asynccontextmanager
async def arm_of(command: list[str], api: Api = Api.COMMAND) -> AsyncIterator[Arm]:
    arm = build(ArmConfig(api=api, options={"command": command}), ArmLabel.A)
    try:
        yield arm
    finally:
        await arm.aclose()


async def test_a_program_is_asked_in_a_line_and_answers_in_lines(program: Program, prompt: Prompt) -> None:
    async with arm_of(program(ECHO)) as arm:
        answer = await arm.answer(prompt, deadline_s=10)
    assert (answer.status, answer.text) == (AttemptStatus.OK, prompt.prefix[::-1] + "\nsecond")
    assert (answer.finish_reason, answer.model_returned) == ("stop", "mine-1")
    assert answer.usage == Usage(tokens_in=3, tokens_out=2)
    assert answer.first_line_ns is not None


async def test_a_program_serves_many_requests_in_one_run(program: Program) -> None:
    async with arm_of(program(ECHO)) as arm:
        prompts = [Prompt(prefix=f"p{i:02}", suffix="", path="a", language="text") for i in range(20)]
        answers = await asyncio.gather(*(arm.answer(prompt, deadline_s=10) for prompt in prompts))
    assert [answer.text.split("\n")[0] for answer in answers] == [prompt.prefix[::-1] for prompt in prompts]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("input()", "program_ended"),
        ("print('no json', flush=True); input()", "bad_stream"),
        ("print('[1]', flush=True); input()", "bad_stream"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush(); input()", "invalid_utf8"),
        ("print('x' * 2_000_000, flush=True); input()", "bad_stream"),
        ('input(); print(\'{"id": 1, "error": "out of cheese"}\', flush=True); input()', "program_error"),
        (
            "import json\ninput()\nwhile True: print(json.dumps({'id': 1, 'text': 'x' * 9000}), flush=True)",
            "too_large",
        ),
    ],
)
async def test_whatever_a_program_does_has_a_typed_status(
    program: Program, prompt: Prompt, source: str, kind: str
) -> None:
    async with arm_of(program(source)) as arm:
        answer = await arm.answer(prompt, deadline_s=10)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, kind)


async def test_a_silent_program_is_a_timeout(program: Program, prompt: Prompt) -> None:
    async with arm_of(program("import time; time.sleep(60)")) as arm:
        answer = await arm.answer(prompt, deadline_s=0.3)
    assert (answer.status, answer.error_kind) == (AttemptStatus.TIMEOUT, "deadline")


async def test_a_program_that_ended_is_started_again(program: Program, prompt: Prompt) -> None:
    once = ECHO + "        sys.exit()\n"
    async with arm_of(program(once)) as arm:
        assert (await arm.answer(prompt, deadline_s=10)).status is AttemptStatus.OK
        statuses = [(await arm.answer(prompt, deadline_s=10)).status for _ in range(3)]
    assert AttemptStatus.OK in statuses


async def test_a_program_that_is_not_there_is_named(prompt: Prompt) -> None:
    async with arm_of(["/nowhere/at-all"]) as arm:
        answer = await arm.answer(prompt, deadline_s=5)
    assert answer.error_kind == "not_ready"
    assert "'/nowhere/at-all'" in (answer.error or "")


def test_a_command_is_a_list_of_words() -> None:
    with pytest.raises(ConfigError, match="a list of words"):
        build(ArmConfig(api=Api.COMMAND, options={"command": "python x.py"}), ArmLabel.A)


# Copilot

COPILOT = """
    import json, sys

    def read():
        length = 0
        while (line := sys.stdin.buffer.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(sys.stdin.buffer.read(length)) if length else None

    def send(message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        sys.stdout.buffer.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
        sys.stdout.buffer.flush()

    text, seen = {}, []
    send({"method": "didChangeStatus", "params": {"kind": "Normal", "message": ""}})
    send({"id": "s1", "method": "workspace/configuration", "params": {"items": [{}, {}]}})
    while (message := read()) is not None:
        method, params = message.get("method"), message.get("params")
        seen.append(method)
        if method == "initialize":
            assert params["initializationOptions"]["editorPluginInfo"]["name"]
            send({"id": message["id"], "result": {"serverInfo": {"name": "fake", "version": "9.9"}}})
        elif method == "checkStatus":
            send({"id": message["id"], "result": {"status": STATUS}})
        elif method == "textDocument/didOpen":
            text[params["textDocument"]["uri"]] = params["textDocument"]["text"]
        elif method == "textDocument/didChange":
            text[params["textDocument"]["uri"]] = params["contentChanges"][0]["text"]
        elif method == "textDocument/inlineCompletion":
            if STATUS != "OK":
                send({"id": message["id"], "error": {"code": 1000, "message": "Not authenticated: NotSignedIn"}})
                continue
            at = params["position"]
            line = text[params["textDocument"]["uri"]].split("\\n")[at["line"]]
            item = {"insertText": line[:at["character"]] + "a + b",
                    "range": {"start": {"line": at["line"], "character": 0}, "end": at},
                    "command": {"command": "github.copilot.didAcceptCompletionItem", "arguments": ["x"]}}
            send({"id": message["id"], "result": {"items": [item]}})
        elif method == "shutdown":
            open(SEEN, "w").write("\\n".join(str(m) for m in seen))
            send({"id": message["id"], "result": None})
        elif method == "exit":
            break
"""


def copilot_script(tmp_path: Path, status: str) -> str:
    return f"STATUS, SEEN = {status!r}, {str(tmp_path / 'seen')!r}\n" + textwrap.dedent(COPILOT)


async def test_copilots_item_is_understood_and_nothing_is_reported_back(
    program: Program, tmp_path: Path, prompt: Prompt
) -> None:
    async with arm_of(program(copilot_script(tmp_path, "OK")), Api.COPILOT) as arm:
        assert isinstance(arm, CopilotArm)
        await arm.prepare(None)
        first = await arm.answer(prompt, deadline_s=10)
        emoji = Prompt(prefix="# 😀\ns = '😀'; return ", suffix="", path="sums.py", language="python")
        second = await arm.answer(emoji, deadline_s=10)
    assert (first.status, first.text, second.text) == (AttemptStatus.OK, "a + b", "a + b")
    assert first.model_returned == "copilot-language-server@9.9"
    assert first.usage == Usage()
    seen = (tmp_path / "seen").read_text().split("\n")
    assert seen.count("textDocument/didOpen") == 1
    assert seen.count("textDocument/didChange") == 1
    reports = {
        "textDocument/didShowCompletion",
        "textDocument/didPartiallyAcceptCompletion",
        "workspace/executeCommand",
    }
    assert reports.isdisjoint(seen)


async def test_copilot_without_an_account_says_how_to_sign_in(program: Program, tmp_path: Path, prompt: Prompt) -> None:
    async with arm_of(program(copilot_script(tmp_path, "NotSignedIn")), Api.COPILOT) as arm:
        assert isinstance(arm, CopilotArm)
        with pytest.raises(ArmError, match="not signed in"):
            await arm.prepare(None)
        answer = await arm.answer(prompt, deadline_s=10)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "not_signed_in")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; sys.exit('this needs a newer node')", "this needs a newer node"),
        ("print('Content-Length: nonsense\\n', flush=True); input()", "handshake"),
        ("print('Content-Length: 99999999999\\n', flush=True); input()", "handshake"),
    ],
)
async def test_a_server_that_cannot_start_is_said_with_its_own_reason(
    program: Program, prompt: Prompt, source: str, reason: str
) -> None:
    async with arm_of(program(source), Api.COPILOT) as arm:
        answer = await arm.answer(prompt, deadline_s=10)
    assert answer.error_kind == "not_ready"
    assert reason in (answer.error or "")


COPILOT_PACKAGE = "@github/copilot-language-server-linux-x64"


@pytest.fixture(scope="module")
def real_copilot(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The real server from its package, in a network namespace without a network: it would send telemetry."""
    folder = tmp_path_factory.mktemp("copilot")
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", f"{COPILOT_PACKAGE}@1.539.0"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=240,
    )
    binary = folder / "node_modules" / COPILOT_PACKAGE / "copilot-language-server"
    return ["unshare", "--net", "--map-root-user", str(binary), "--stdio"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("npm") is None or shutil.which("unshare") is None,
    reason="GitHub's own server, which only npm has, cut off from the network by Linux's unshare: apt-get install npm",
)
async def test_the_real_copilot_server_is_started_and_says_that_nobody_is_signed_in(
    real_copilot: list[str], prompt: Prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # Not the account of whoever runs the tests.
    monkeypatch.setenv("HOME", str(tmp_path))
    async with arm_of(real_copilot, Api.COPILOT) as arm:
        assert isinstance(arm, CopilotArm)
        with pytest.raises(ArmError, match="Sign in once"):
            await arm.prepare(None)
        answer = await arm.answer(prompt, deadline_s=30)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "not_signed_in")
