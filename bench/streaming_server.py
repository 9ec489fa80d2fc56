"""A streaming completion server in a process of its own, as fast as a model would be at most."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["streaming_server"]

EVENTS = 20


def _chunk(content: object) -> bytes:
    data = content if isinstance(content, str) else json.dumps(content)
    body = f"data: {data}\n\n".encode()
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


async def _serve(pause_s: float) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                length = 0
                while (line := await reader.readline()).strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                await reader.readexactly(length)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for _ in range(EVENTS):
                    writer.write(_chunk({"model": "m", "choices": [{"text": "token "}]}))
                    if pause_s:
                        await writer.drain()
                        await asyncio.sleep(pause_s)
                usage = {"prompt_tokens": 100, "completion_tokens": EVENTS}
                writer.write(_chunk({"choices": [{"text": "", "finish_reason": "stop"}], "usage": usage}))
                writer.write(_chunk("[DONE]") + b"0\r\n\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(stream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def streaming_server(*, pause_s: float = 0.0) -> Iterator[str]:
    """The base URL of a running server that pauses so long between its events."""
    process = subprocess.Popen([sys.executable, __file__, str(pause_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
