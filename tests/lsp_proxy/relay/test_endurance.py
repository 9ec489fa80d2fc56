"""Much traffic and many proxies: memory stays flat and nobody is lost."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.lsp_proxy.relay.conftest import REFLECTING, Evaluators, Open, Wire, frame, notification, request

URI = "file:///a.py"


def rss_kb(wire: Wire) -> int:
    status = Path(f"/proc/{wire.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.slow
def test_a_gigabyte_passes_without_growth(open_wire: Open) -> None:
    wire = open_wire(server=REFLECTING)
    body = b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 1_000_000 + b'"}'
    small = frame(b'{"jsonrpc":"2.0","method":"window/logMessage","params":{"message":"small"}}')
    block = frame(body) + small * 10

    def send(count: int) -> None:
        for _ in range(count):
            wire.send(block)

    def through(count: int) -> None:
        sender = threading.Thread(target=send, args=(count,))
        sender.start()
        for _ in range(count):
            assert wire.take(len(block)) == block
        sender.join()

    through(50)
    before = rss_kb(wire)
    through(1000)
    assert rss_kb(wire) - before < 1024


@pytest.mark.slow
def test_a_working_day_of_typing_leaves_memory_flat(open_wire: Open, evaluators: Evaluators) -> None:
    wire = open_wire()
    wire.initialize()
    bridge = evaluators.next()
    copies = {"changes": 0}

    def listen() -> None:
        while copies["changes"] < 60_000:
            copies["changes"] += bridge.message().get("method") == "textDocument/didChange"

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    text = "    value = function(argument)\n" * 10_000
    wire.send(
        notification(
            "textDocument/didOpen", textDocument={"uri": URI, "languageId": "python", "version": 1, "text": text}
        )
    )
    before = 0
    for version in range(2, 60_002):
        # A word grows and goes again, as when somebody types and deletes all day.
        grows = version % 20 < 10
        start = {"line": 5000, "character": version % 10 if grows else 9 - version % 10}
        end = start if grows else {"line": 5000, "character": start["character"] + 1}
        change: dict[str, Any] = {"range": {"start": start, "end": end}, "text": "x" if grows else ""}
        wire.send(
            notification(
                "textDocument/didChange", textDocument={"uri": URI, "version": version}, contentChanges=[change]
            )
        )
        if version % 500 == 0:
            wire.ask(request(version, "x", do={"result": "1"}))
        if version == 10_000:
            before = rss_kb(wire)
    listener.join(60)
    assert copies["changes"] == 60_000
    assert rss_kb(wire) - before < 2048


@pytest.mark.slow
def test_fifty_proxies_work_at_once(open_wire: Open) -> None:
    env = {"CODETRIAL_EVALUATOR": f'["{sys.executable}", "-c", "import time; time.sleep(60)"]'}
    wires = [open_wire(env=env) for _ in range(50)]
    for number, wire in enumerate(wires):
        assert "capabilities" in wire.initialize()["result"]
        assert wire.ask(request(number + 1, "x", do={"result": str(number)}))["result"] == number
    assert sum(map(rss_kb, wires)) / len(wires) < 16 * 1024
    for wire in wires:
        wire.send(notification("exit"))
    assert [wire.status() for wire in wires] == [0] * 50
