"""The proxy that one would write first, for the bench to compare with: a pygls server that asks a pygls client.

    python -m bench.typed_proxy SERVER ARGUMENT ...

Every message of the protocol is decoded into lsprotocol's types, handed over and encoded again.
"""

import sys
from collections.abc import Callable
from typing import Any

from lsprotocol import types
from pygls.client import JsonRPCClient
from pygls.protocol import JsonRPCProtocol, default_converter
from pygls.server import JsonRPCServer

__all__ = ["main"]


class TypedProtocol(JsonRPCProtocol):
    """The protocol's own types for its messages, and nothing built in that would answer before us."""

    def get_message_type(self, method: str) -> Any:
        return types.METHOD_TO_TYPES.get(method, (None,))[0]

    def get_result_type(self, method: str) -> Any:
        return types.METHOD_TO_TYPES.get(method, (None, None))[1]


def main(command: list[str]) -> None:
    """Serve on stdin and stdout until the editor says `exit`."""
    editor = JsonRPCServer(TypedProtocol, default_converter)
    server = JsonRPCClient(TypedProtocol, default_converter)
    is_started = False

    async def start() -> None:
        nonlocal is_started
        if not is_started:
            is_started = True
            await server.start_io(*command)

    def request(method: str, far: JsonRPCProtocol) -> Callable[[Any], Any]:
        async def ask(params: Any) -> Any:
            await start()
            return await far.send_request_async(method, params)

        return ask

    def notification(method: str, far: JsonRPCProtocol) -> Callable[[Any], Any]:
        async def tell(params: Any) -> None:
            await start()
            far.notify(method, params)
            if method == types.EXIT:
                editor.shutdown()  # type: ignore[no-untyped-call]

        return tell

    for method, (_, answer, *_rest) in types.METHOD_TO_TYPES.items():
        if method == types.CANCEL_REQUEST:
            continue  # pygls keeps that one for itself.
        handler = notification if answer is None else request
        editor.feature(method)(handler(method, server.protocol))
        server.feature(method)(handler(method, editor.protocol))
    editor.start_io()


if __name__ == "__main__":
    main(sys.argv[1:])
