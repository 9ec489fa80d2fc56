"""A model server for tests: real HTTP, scripted answers, and a memory of what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["ModelServer", "finding", "serve_model"]

Script = Callable[[dict[str, Any]], str]


def finding(**values: Any) -> dict[str, Any]:
    """A finding of the right shape, with what a test does not care for filled in."""
    return {
        "path": "app.py", "side": "RIGHT", "start_line": 1, "end_line": 1, "quote": "", "severity": "major",
        "category": "bug", "title": "Something is wrong", "body": "It breaks.", "suggestion": None,
        **values,
    }  # fmt: skip


@dataclass
class ModelServer:
    """Speaks OpenAI's chat API; `script` turns the request's body into the answer's text."""

    script: Script
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    url: str = ""

    def respond(self, body: dict[str, Any]) -> tuple[int, bytes]:
        self.requests.append(body)
        if self.status != 200:
            return self.status, b'{"error": {"message": "scripted failure"}}'
        reply = {
            "id": "x", "object": "chat.completion", "model": body.get("model"),
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": self.script(body)}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        }  # fmt: skip
        return 200, json.dumps(reply).encode()


@contextmanager
def serve_model(script: Script | list[dict[str, Any]]) -> Iterator[ModelServer]:
    """A server on a free port. A list of findings is a script that always reports them."""
    if isinstance(script, list):
        fixed = json.dumps({"findings": script})
        model = ModelServer(lambda _body: fixed)
    else:
        model = ModelServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # The name that http.server calls.
            length = int(self.headers["Content-Length"])
            model.headers.append(dict(self.headers))
            status, content = model.respond(json.loads(self.rfile.read(length)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="model-server")
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
