"""What goes through comes out: the same bytes and the same ends, whatever the neighbours do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lsp_proxy.relay.conftest import (
    PROXY,
    REFLECTING,
    SCRIPTED,
    Evaluators,
    Open,
    Wire,
    frame,
    notification,
    request,
    wait_until,
)

ODD_BODIES = [
    b'{"jsonrpc":"2.0","id":1,"method":"textDocument/hover","params":{"x":1e400,"y":2147483648,"z":-1}}',
    b'{"jsonrpc":"2.0","id":"1","method":"textDocument/hover","params":null}',
    b'{"jsonrpc":"2.0","id":9007199254740993,"method":"textDocument/completion","params":{"a":1.0,"a":2}}',
    b'{"jsonrpc":"2.0","id":"","method":"textDocument/completion","params":{}}',
    b'{"jsonrpc":"2.0","id":"\\u00e9","method":"completionItem/resolve","params":{"data":{"codetrial":"x"}}}',
    b'{"params":{"method":"nested","id":3},"method":"textDocument\\/completion","id":4,"jsonrpc":"2.0"}',
    b'{"method":"workspace/executeCommand","jsonrpc":"2.0","params":{"command":"theirs"},"id":5}',
    b'{ "id" : 6 , "result" : { "jsonrpc" : "2.0", "kind" : "html" } }',
    b'{"result":[1,2],"id":7,"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","id":8,"error":{"code":-32601,"message":"no"}}',
    b'{"jsonrpc":"2.0","id":null,"result":null}',
    b'{"jsonrpc":"2.0","method":"initialized"}',
    b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}}',
    b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":1,"value":[{"vendor":true}]}}',
    b'{"jsonrpc":"2.0","method":"copilot/didFocus","params":{"foo-bar":1,"class":2}}',
    b'{"jsonrpc":"2.0","method":"textDocument/didChange","params":"not an object"}',
    b'{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":1,"text":[]}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"textDocument/inlineCompletion","params":{}}',
    b'[{"jsonrpc":"2.0","id":10,"method":"a"},{"jsonrpc":"2.0","method":"b"}]',
    b"{not json at all",
    b'"\xff\xfe\x00 bytes that are not UTF-8"',
    b'{"jsonrpc":"2.0","method":"deep","params":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"",
    b"   ",
    json.dumps({"jsonrpc": "2.0", "id": 11, "method": "x", "params": {"text": "é😀" * 50_000}}).encode(),
    b'{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"x":"' + b"a" * 700_000 + b'"}}',
    b'{"params":{"x":"' + b"b" * 2_000_000 + b'"},"method":"textDocument/didChange","jsonrpc":"2.0"}',
]

ODD_FRAMES = [
    b"content-length: 2\r\n\r\n{}",
    b"Content-Length:2\r\n\r\n{}",
    b"CONTENT-LENGTH:   2  \r\n\r\n{}",
    b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
    b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}",
    b"Content-Length: 2\r\nX-Vendor: \xff\xfe\r\n\r\n{}",
]

BROKEN = [
    b"no header here, only text\nand more\n",
    b"Content-Length: -5\r\n\r\n{}",
    b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    b"Content-Length: 1e3\r\n\r\n{}",
    b"Content-Length:\r\n\r\n{}",
    b"X-Other: 2\r\n\r\n{}",
    b"Content-Length: 2\n\n{}",
    b"\r\n\r\n\r\n",
    b"Content-Length: 2",
    b"Content-Length: 200\r\n\r\n{half of it",
    b"Content-Length: 999999999999\r\n\r\n{the rest never comes",
    b"A" * 20_000,
    bytes(range(256)) * 4,
]


def test_every_message_passes_byte_for_byte_both_ways(open_wire: Open) -> None:
    sent = b"".join(map(frame, ODD_BODIES)) + b"".join(ODD_FRAMES)
    wire = open_wire(server=REFLECTING)
    wire.send_meanwhile(sent)
    assert wire.take(len(sent)) == sent
    wire.hang_up()
    assert (wire.rest(), wire.status()) == (b"", 7)


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_messages_in_a_session_under_way_reach_the_server_as_they_are(open_wire: Open, body: bytes) -> None:
    wire = open_wire()
    wire.initialize()
    wire.send(frame(body))
    assert frame(body) in wire.received_by_server()


@pytest.mark.parametrize("before", [b"", frame(b'{"jsonrpc":"2.0","method":"x"}')], ids=["first", "later"])
@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_what_is_not_the_protocol_passes_as_bytes(open_wire: Open, before: bytes, data: bytes) -> None:
    wire = open_wire(server=REFLECTING)
    wire.send(before + data, frame(b'{"jsonrpc":"2.0","method":"after"}'))
    wire.hang_up()
    assert wire.rest() == before + data + frame(b'{"jsonrpc":"2.0","method":"after"}')
    assert wire.status() == 7


def test_a_stray_print_of_the_server_does_not_stop_the_session(open_wire: Open) -> None:
    wire = open_wire()
    wire.initialize()
    # When this is answered `initialized` has been sent on, and before the next is sent on it has been looked at.
    wire.ask(request(0, "x", do={"result": "0"}))
    wire.send(request(1, "x", do={"first": "Warning: a plugin prints\n", "result": "1"}))
    assert "switched itself off" in wire.message()["params"]["message"]
    expected = b"Warning: a plugin prints\n" + frame(b'{"jsonrpc":"2.0","id":1,"result":1}')
    assert wire.take(len(expected)) == expected
    assert wire.ask(request(2, "x", do={"result": "2"}))["result"] == 2


def test_a_megabyte_on_stderr_blocks_nobody_and_arrives(open_wire: Open, tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        wire = open_wire(stderr=stderr)
        wire.initialize()
        assert wire.ask(request(1, "x", do={"stderr": 1 << 20, "result": "1"}))["result"] == 1
    assert log.read_bytes().count(b"x") == 1 << 20


@pytest.mark.parametrize("do", [{"exit": 0}, {"exit": 3}, {"kill": signal.SIGSEGV}, {"kill": signal.SIGKILL}])
def test_a_server_that_ends_ends_us_the_same_way_while_the_editor_listens(open_wire: Open, do: dict[str, int]) -> None:
    statuses = []
    for direct in (True, False):
        wire = open_wire(direct=direct)
        wire.initialize()
        wire.send(request(1, "x", do=do | {"first": "Content-Length: 3\r\n\r\nend"}))
        assert wire.rest() == b"Content-Length: 3\r\n\r\nend"
        statuses.append(wire.status())
    assert statuses[0] == statuses[1]


def test_exit_ends_us_though_the_editor_keeps_stdin_open(open_wire: Open) -> None:
    wire = open_wire()
    wire.initialize()
    wire.ask(request(1, "shutdown"))
    wire.send(notification("exit"))
    assert wire.status() == 0


def test_an_editor_that_vanishes_takes_a_deaf_server_with_it(open_wire: Open) -> None:
    deaf = "import os, signal, time; os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    wire = open_wire(server=[sys.executable, "-c", deaf])
    pid = int(wire.line())
    wire.hang_up()
    assert wire.status() == -signal.SIGTERM
    assert not is_alive(pid)


def test_a_server_deaf_to_sigterm_too_is_killed(open_wire: Open) -> None:
    deaf = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    )
    wire = open_wire(server=[sys.executable, "-c", deaf])
    pid = int(wire.line())
    wire.process.terminate()
    assert wire.status() == -signal.SIGKILL
    assert not is_alive(pid)


def test_kill_of_the_proxy_leaves_no_server_behind(open_wire: Open) -> None:
    tells_pid = "import os; os.write(1, b'%d\\n' % os.getpid()); os.read(0, 1)"
    wire = open_wire(server=[sys.executable, "-c", tells_pid])
    pid = int(wire.line())
    wire.process.kill()
    wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROXY, *arguments], env=os.environ | env, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def test_a_missing_server_is_named_with_where_it_was_looked_for() -> None:
    for options in ([], ["--off"]):
        done = run(*options, "--", "no-such-server", "--stdio", PATH="/usr/nowhere:/usr/bin")
        assert done.returncode == 127
        assert done.stdout == ""
        assert "'no-such-server': not found" in done.stderr
        assert "  /usr/nowhere\n  /usr/bin\n" in done.stderr


@pytest.mark.parametrize("options", [[], ["--off"]])
def test_a_server_in_the_home_is_found_as_the_editor_would_find_it(options: list[str], tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text('#!/bin/sh\necho "~/$1" >&2\n')
    program.chmod(0o755)
    done = run(*options, "--", "~/server", "~/x", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "~/~/x\n")


def test_a_missing_file_and_one_that_may_not_run_are_told_apart(tmp_path: Path) -> None:
    program = tmp_path / "server"
    done = run("--", str(program))
    assert (done.returncode, f"There is no {program}" in done.stderr) == (127, True)
    program.write_text("#!/bin/sh\n")
    done = run("--", str(program))
    assert (done.returncode, "may not be executed" in done.stderr) == (126, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["pylsp"], "goes after `--`: codetrial lsp -- pylsp"),
        (["--surfaec", "menu", "--", "x"], "unknown option --surfaec"),
        (["--surface", "ghost", "--", "x"], "--surface is one of auto, inline, menu, none, not 'ghost'"),
        (["--config", "--", "x"], "--config needs a value"),
        (["--off"], "needs a language server to become"),
    ],
)
def test_options_that_cannot_be_understood_are_refused_with_the_usage(arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "usage: codetrial lsp" in done.stderr


@pytest.mark.parametrize(("options", "env"), [(["--off"], {}), ([], {"CODETRIAL_OFF": "1"})])
def test_off_becomes_the_server_itself(options: list[str], env: dict[str, str]) -> None:
    process = subprocess.Popen(
        [*PROXY, *options, "--", sys.executable, "-c", "import os; print(os.getpid())"],
        env=os.environ | env,
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate(timeout=30)
    assert (int(out), process.returncode) == (process.pid, 0)


def test_without_a_server_there_is_one_that_lets_the_editor_ask(evaluators: Evaluators) -> None:
    wire = Wire(PROXY, evaluators.env)
    try:
        result = wire.initialize(inline=True)["result"]
        assert result["serverInfo"]["name"] == "codetrial"
        assert result["capabilities"]["inlineCompletionProvider"] is True
        assert wire.ask(request(1, "textDocument/hover"))["error"]["code"] == -32601
        assert wire.ask(request(2, "shutdown"))["result"] is None
        wire.send(notification("exit"))
        assert wire.status() == 0
    finally:
        wire.close()


def test_the_server_does_not_inherit_that_we_ignore_signals(open_wire: Open) -> None:
    shows = ["grep", "SigIgn", "/proc/self/status"]
    ours = int(subprocess.run(shows, capture_output=True, check=True).stdout.split()[1], 16)
    ignored = int(open_wire(server=shows).rest().split()[1], 16)
    # glibc's spawn ignores its own 32 and 33; a program sees the first 31, of which nohup ignores one for all of us.
    assert ignored & 0x7FFF_FFFF == ours & 0x7FFF_FFFF


def test_a_frame_of_100_megabytes_passes_without_being_kept(open_wire: Open) -> None:
    size = 100 << 20
    counts = f"print('ready', flush=True); import os\nn = 0\nwhile n < {size}: n += len(os.read(0, 1 << 20))\nprint(n)"
    wire = open_wire(server=[sys.executable, "-c", counts])
    assert wire.line() == b"ready"
    wire.send(b"Content-Length: %d\r\n\r\n" % size)
    block = b'{"jsonrpc":"2.0","method":"textDocument/didChange","params":"' + b"x" * ((1 << 20) - 61)
    for _ in range(100):
        wire.send(block)
    peak = next(line for line in Path(f"/proc/{wire.process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 24_000
    assert int(wire.line()) >= size


def test_the_scripted_server_alone_says_the_same_as_behind_the_proxy(open_wire: Open) -> None:
    script = [
        request(n, method, do={"result": result})
        for n, (method, result) in enumerate(
            [("textDocument/hover", '{"x":1e400}'), ("textDocument/completion", '{"isIncomplete":true,"items":[ ]}')], 1
        )
    ]
    heard = []
    for direct in (True, False):
        wire = open_wire(direct=direct, server=SCRIPTED)
        wire.initialize()
        wire.send(*script)
        heard.append([wire.frame() for _ in script])
    assert heard[0] == heard[1]
