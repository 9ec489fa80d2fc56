"""A small HTTP server that streams what a test tells it to, byte by byte as real providers do, faults included."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

__all__ = ["Received", "Script", "StreamingServer", "ndjson", "sse", "sse_stream"]

SSE = {"content-type": "text/event-stream; charset=utf-8"}
NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}


def sse(content: Any, event: str | None = None) -> bytes:
    data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {data}\n\n".encode()


def ndjson(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def sse_stream(*events: Any) -> list[bytes]:
    return [sse(event) for event in events]


@dataclass
class Script:
    """What the server does with one request."""

    parts: Iterable[bytes | float] = ()
    """Bytes to send as they are, and seconds to wait between them."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: dict(SSE))
    ending: Literal["complete", "abort", "hang", "forever"] = "complete"
    """`abort` cuts the connection, `hang` goes silent, `forever` repeats the last part without end."""


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: Any


class StreamingServer:
    """Serves on 127.0.0.1; `script` may be replaced at any time, or be a function of the request."""

    def __init__(self) -> None:
        self.script: Script | Callable[[Received], Script] = Script()
        self.requests: list[Received] = []
        self.connections = 0
        self.open_streams = 0
        self.most_open_streams = 0
        self.client_served = asyncio.Event()
        """Set when the first part of a script has been sent."""
        self.client_left = asyncio.Event()
        """Set when a client closes before its script has ended."""
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            while (request := await self._request(reader)) is not None:
                self.requests.append(request)
                script = self.script(request) if callable(self.script) else self.script
                if not await self._play(script, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_left.set()
        except asyncio.CancelledError:
            pass  # The test is over.
        finally:
            self._serving.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Received | None:
        line = await reader.readline()
        if not line:
            return None
        headers = {}
        while (header := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Received(line.split()[1].decode(), headers, json.loads(body) if body else None)

    async def _play(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True if the connection can serve another request."""
        left = asyncio.ensure_future(reader.read(1))
        self.open_streams += 1
        is_open = True
        self.most_open_streams = max(self.most_open_streams, self.open_streams)
        try:
            head = f"HTTP/1.1 {script.status} Status\r\ntransfer-encoding: chunked\r\n"
            writer.write((head + "".join(f"{k}: {v}\r\n" for k, v in script.headers.items()) + "\r\n").encode())
            last = b""
            for part in script.parts:
                if isinstance(part, float):
                    await asyncio.wait({left}, timeout=part)
                else:
                    last = part
                    await self._send(writer, part)
                    self.client_served.set()
                if left.done():
                    self.client_left.set()
                    return False
            if script.ending == "abort":
                await writer.drain()
                writer.transport.abort()
                return False
            if script.ending == "hang":
                await left
                self.client_left.set()
                return False
            while script.ending == "forever":
                await self._send(writer, last)
                await asyncio.sleep(0)
                if left.done():
                    self.client_left.set()
                    return False
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            self.open_streams -= 1
            is_open = False
            return await self._next_request(left, reader)
        finally:
            self.open_streams -= is_open
            if not left.done():
                left.cancel()
                await asyncio.wait({left})

    async def _next_request(self, left: "asyncio.Future[bytes]", reader: asyncio.StreamReader) -> bool:
        first = await left
        if not first:
            return False
        # The byte belongs to the next request: put it back in front.
        reader._buffer[:0] = first  # type: ignore[attr-defined]  # StreamReader has no public way to peek.
        return True

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
