"""Neovim's own interface over its pipes: one request at a time costs a fraction of a millisecond."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack

ANSWER_S = 30.0
EXIT_S = 10.0
REQUEST, RESPONSE = 0, 1


class NeovimError(Exception):
    """Neovim answered with an error."""


class NeovimRpc:
    """A Neovim without a screen, embedded as a graphical front end would."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next = 0

    @classmethod
    @asynccontextmanager
    async def started(cls, program: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator["NeovimRpc"]:
        process = await asyncio.create_subprocess_exec(
            program, "--embed", "--headless",
            cwd=folder, env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        neovim = cls(process)
        reader = asyncio.create_task(neovim._read(), name="neovim reads")
        try:
            yield neovim
        finally:
            await neovim._leave()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Ask and wait.

        Raises:
            NeovimError: Neovim said no.
            TimeoutError: no answer within `ANSWER_S`; it may be waiting for a key.
        """
        self._next += 1
        number, answer = self._next, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(msgpack.packb([REQUEST, number, method, list(arguments)]))
        await self._process.stdin.drain()
        async with asyncio.timeout(ANSWER_S):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        unpacker = msgpack.Unpacker(strict_map_key=False)
        while data := await self._process.stdout.read(1 << 16):
            unpacker.feed(data)
            for message in unpacker:
                if message[0] != RESPONSE:
                    continue
                _, number, error, result = message
                answer = self._waiting.pop(number)
                if answer.done():
                    continue
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(NeovimError(str(error)))

    async def _leave(self) -> None:
        """As `:qa!` does, so that language servers are told to end."""
        if self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(msgpack.packb([REQUEST, 0, "nvim_command", ["qa!"]]))
            self._waiting[0] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._process.wait(), EXIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
