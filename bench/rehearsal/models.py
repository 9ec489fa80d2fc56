"""The two local models, and a man in the middle who counts what each developer's editor asks of them.

Every sitting has a key of its own, so a request can be attributed without asking codetrial. On order a request is held
back for ever or for some seconds: the models themselves know nothing of it.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from codetrial.arms import local
from codetrial.records import ArmLabel

__all__ = ["KEY_VARIABLE", "MODELS", "Switchboard", "models"]

MODELS = {ArmLabel.A: "smollm2", ArmLabel.B: "gemma3-270m"}
KEY_VARIABLE = "CODETRIAL_REHEARSAL_KEY"

_KEY = re.compile(rb"(?im)^authorization: *bearer +([^\r\n]+)")
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")


@contextmanager
def models() -> Iterator[dict[ArmLabel, local.Running]]:
    """Both models on servers of codetrial's own, as long as this lasts."""
    leases = [local.Lease(name) for name in MODELS.values()]
    try:
        yield {label: local.ensure_running(name) for label, name in MODELS.items()}
    finally:
        for lease in leases:
            lease.release()


@dataclass(slots=True)
class Switchboard:
    """Stands before both models; `asked` is the account of what came by."""

    models: dict[ArmLabel, local.Running]
    asked: Counter[tuple[str, ArmLabel]] = field(default_factory=Counter)
    """Requests by sitting and arm."""
    hangs: set[tuple[str, ArmLabel]] = field(default_factory=set)
    delay_s: dict[tuple[str, ArmLabel], float] = field(default_factory=dict)
    urls: dict[ArmLabel, str] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        for label in self.models:

            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, label: ArmLabel = label) -> None:
                await self._take(label, reader, writer)

            server = await asyncio.start_server(take, "127.0.0.1", 0)
            self._servers.append(server)
            self.urls[label] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _take(self, label: ArmLabel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            await self._carry(label, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # Either side has hung up.
        finally:
            self._calls.discard(call)
            writer.close()

    async def _carry(self, label: ArmLabel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests are read whole, answers flow as they come; either end ends both."""
        host, _, port = self.models[label].url.removeprefix("http://").partition(":")
        upstream, onward = await asyncio.open_connection(host, int(port))
        try:
            held = asyncio.Event()
            asking = asyncio.create_task(self._asking(label, reader, onward, held))
            answering = asyncio.create_task(_answering(upstream, writer))
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if held.is_set():
                await asking  # The model has closed an idle connection; whoever hangs does not notice.
            for side in (asking, answering):
                side.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
        finally:
            onward.close()

    async def _asking(
        self, label: ArmLabel, reader: asyncio.StreamReader, onward: asyncio.StreamWriter, held: asyncio.Event
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            key = _KEY.search(head)
            sitting = key[1].decode() if key else ""
            if head.startswith(b"POST"):
                self.asked[sitting, label] += 1
            if (sitting, label) in self.hangs:
                held.set()
                await reader.read()  # Until whoever asked has had enough.
                return
            await asyncio.sleep(self.delay_s.get((sitting, label), 0.0))
            onward.write(_KEY.sub(b"authorization: Bearer " + self.models[label].key.encode(), head) + body)
            await onward.drain()


async def _answering(upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await upstream.read(1 << 16):
            writer.write(data)
            await writer.drain()
