"""A language server that does what its requests say, so that each test shows the whole conversation.

`initialize` is answered with `params.initializationOptions.answer` as raw JSON text if that is given. Elsewhere
`params.do` may hold: `result` (raw JSON text of the result), `error`, `first` (raw bytes in latin-1, written before the
answer), `stderr` (so many bytes), `exit` (status), `kill` (signal), `answer` false. `test/received` is answered with
all bytes read so far, in latin-1.
"""

import json
import os
import re
import sys
from typing import Any

LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


def write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def respond(token: object, result: str) -> None:
    write(frame(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (json.dumps(token).encode(), result.encode())))


def handle(message: dict[str, Any], received: bytes) -> None:
    method, token, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method == "exit":
        os._exit(0)
    if method == "initialize":
        options = params.get("initializationOptions") or {}
        respond(token, options.get("answer", '{"capabilities":{"completionProvider":{}}}'))
        return
    if method == "test/received":
        respond(token, json.dumps(received.decode("latin-1")))
        return
    do = params.get("do", {}) if isinstance(params, dict) else {}
    write(do.get("first", "").encode("latin-1"))
    if "stderr" in do:
        sys.stderr.write("x" * do["stderr"])
        sys.stderr.flush()
    if "exit" in do:
        os._exit(do["exit"])
    if "kill" in do:
        os.kill(os.getpid(), do["kill"])
    if token is not None and method is not None and do.get("answer", True):
        if "error" in do:
            body = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (json.dumps(token).encode(), do["error"].encode())
            write(frame(body))
        else:
            respond(token, do.get("result", "null"))


def main() -> None:
    data = received = b""
    while chunk := os.read(0, 1 << 16):
        data += chunk
        received += chunk
        while (end := data.find(b"\r\n\r\n")) >= 0 and (match := LENGTH.search(data[:end])):
            body_end = end + 4 + int(match[1])
            if len(data) < body_end:
                break
            body, data = data[end + 4 : body_end], data[body_end:]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict):
                handle(message, received)


main()
