"""A language server without a language, for an editor that wants suggestions where it has no server.

It keeps open what an editor needs in order to ask: document changes and completion requests. The relay in front of it
adds the suggestions, exactly as it does for any other server.
"""

import json
import os
import sys
from typing import Any

from lsp_proxy.relay.frames import FrameReader, encode

__all__ = ["main"]

METHOD_NOT_FOUND = -32601

CAPABILITIES = {
    "textDocumentSync": {"openClose": True, "change": 2, "save": {"includeText": False}},
    "completionProvider": {"triggerCharacters": ["."]},
}
RESULTS: dict[str, Any] = {
    "initialize": {"capabilities": CAPABILITIES, "serverInfo": {"name": "codetrial"}},
    "textDocument/completion": None,
    "shutdown": None,
}


def main() -> int:
    """Serve until `exit`; the status is 0 only after `shutdown`, as the protocol wants it."""
    reader = FrameReader()
    was_shut_down = False
    while chunk := os.read(0, 1 << 16):
        for body in reader.feed(chunk):
            message = json.loads(body)
            method, token = message.get("method"), message.get("id")
            if method == "exit":
                return 0 if was_shut_down else 1
            was_shut_down = was_shut_down or method == "shutdown"
            if method is not None and token is not None:
                _answer(token, method)
    return 1


def _answer(token: Any, method: str) -> None:
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": token}
    if method in RESULTS:
        answer["result"] = RESULTS[method]
    else:
        answer["error"] = {"code": METHOD_NOT_FOUND, "message": f"no {method}"}
    rest = memoryview(encode(json.dumps(answer).encode()))
    while rest:
        rest = rest[os.write(1, rest) :]


if __name__ == "__main__":
    sys.exit(main())
