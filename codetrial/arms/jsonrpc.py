"""A small JSON-RPC client over a process's stdio, for a language server that is asked rather than proxied.

pygls is not used here: it refuses answers whose capabilities it does not know, and this server has methods of its own.
"""

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from codetrial.redact import redact

__all__ = ["RpcClient", "RpcClosed", "RpcError"]

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 8_000_000
END_S = 3.0


class RpcError(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class RpcClosed(Exception):  # noqa: N818  # An ending, which the caller words for its own situation.
    """The server's process has ended, or writes no valid messages any more."""


class RpcClient:
    """One running server.

    Args:
        on_request: Answers what the server asks; what it returns is the result.
        on_notification: Told of what the server announces.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        on_request: Callable[[str, Any], Any],
        on_notification: Callable[[str, Any], None],
    ) -> None:
        self._process = process
        self._on_request = on_request
        self._on_notification = on_notification
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._said: deque[str] = deque(maxlen=3)
        self._tasks = [
            asyncio.create_task(self._read(), name="language server's messages"),
            asyncio.create_task(self._log(), name="language server's log"),
        ]

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None and not self._tasks[0].done()

    @property
    def last_words(self) -> str:
        """What the server wrote to stderr last: often the only reason it gives for ending."""
        return redact(" ".join(self._said))

    async def request(self, method: str, params: Any) -> Any:
        """The result of a request; cancelling sends `$/cancelRequest`.

        Raises:
            RpcError: the server answered with an error.
            RpcClosed: it has ended.
        """
        if not self.is_alive:
            raise RpcClosed
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send({"id": number, "method": method, "params": params})
            return await future
        except asyncio.CancelledError:
            if self.is_alive:
                with contextlib.suppress(RpcClosed):
                    self._write({"method": "$/cancelRequest", "params": {"id": number}})
            raise
        finally:
            del self._waiting[number]

    async def notify(self, method: str, params: Any) -> None:
        await self._send({"method": method, "params": params})

    async def close(self) -> None:
        """Ask the server to end, and end it if it does not."""
        if self.is_alive:
            with contextlib.suppress(TimeoutError, RpcError, RpcClosed):
                async with asyncio.timeout(END_S):
                    await self.request("shutdown", None)
                    await self.notify("exit", None)
                    await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, message: Mapping[str, Any]) -> None:
        self._write(message)
        assert self._process.stdin is not None
        try:
            await self._process.stdin.drain()
        except ConnectionError as fault:
            raise RpcClosed from fault

    def _write(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        except (ConnectionError, RuntimeError) as fault:
            raise RpcClosed from fault

    async def _read(self) -> None:
        try:
            while (message := await self._message()) is not None:
                await self._take(message)
        except (ValueError, asyncio.IncompleteReadError, RpcClosed) as fault:
            logger.info("the language server's messages ended: %s", redact(str(fault)))
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(RpcClosed())

    async def _message(self) -> Mapping[str, Any] | None:
        reader = self._process.stdout
        assert reader is not None
        length = None
        while line := await reader.readline():
            if not line.strip():
                break
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        else:
            return None
        if length is None or not 0 <= length <= MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes")
        content = json.loads(await reader.readexactly(length))
        if not isinstance(content, Mapping):
            raise ValueError("a message that is no object")
        return content

    async def _take(self, message: Mapping[str, Any]) -> None:
        method = message.get("method")
        if method is not None and "id" in message:
            result = self._on_request(method, message.get("params"))
            await self._send({"id": message["id"], "result": result})
        elif method is not None:
            self._on_notification(method, message.get("params"))
        else:
            future = self._waiting.get(message.get("id", -1))
            if future is None or future.done():
                return
            error = message.get("error")
            if error is None:
                future.set_result(message.get("result"))
            else:
                future.set_exception(RpcError(int(error.get("code", 0)), str(error.get("message", ""))))

    async def _log(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # A line beyond the limit: no more logging from this run of it.
            while line := await self._process.stderr.readline():
                text = line.decode("utf-8", "replace").strip()
                self._said.append(text)
                logger.debug("language server: %s", redact(text))
