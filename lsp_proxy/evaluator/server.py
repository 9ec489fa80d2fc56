"""The evaluator as an ordinary pygls language server.

It differs from one in three ways. Document messages are taken as plain dictionaries: the typed structures refuse whole
messages for one odd value. pygls' own copy of the documents is not used: it costs milliseconds per keystroke in long
files and splits lines where the protocol does not. A message that cannot be structured costs nothing but itself.
"""

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter
from pygls.protocol.json_rpc import JsonRPCNotification, JsonRPCRequestMessage
from pygls.protocol.language_server import lsp_method

from codetrial import __version__
from codetrial.records import Surface
from lsp_proxy.evaluator.session import EvaluatorSession

__all__ = ["EvaluatorServer"]

logger = logging.getLogger(__name__)

DOCUMENT_METHODS = (
    types.TEXT_DOCUMENT_DID_OPEN,
    types.TEXT_DOCUMENT_DID_CHANGE,
    types.TEXT_DOCUMENT_DID_CLOSE,
    types.TEXT_DOCUMENT_DID_SAVE,
    types.NOTEBOOK_DOCUMENT_DID_OPEN,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE,
    types.NOTEBOOK_DOCUMENT_DID_SAVE,
)
_PLAIN = frozenset(
    {
        *DOCUMENT_METHODS,
        types.TEXT_DOCUMENT_COMPLETION,
        types.TEXT_DOCUMENT_INLINE_COMPLETION,
        types.WORKSPACE_EXECUTE_COMMAND,
        types.CANCEL_REQUEST,
    }
)

Begin = Callable[[types.InitializeParams, Mapping[str, Any] | None], EvaluatorSession | None]
"""Begins a session, given what the relay says about it, or None without a relay."""


class _Protocol(LanguageServerProtocol):
    """pygls' protocol without its copies of documents, lenient where the editor is."""

    _server: "EvaluatorServer"

    def structure_message(self, data: dict[str, Any]) -> Any:
        if "jsonrpc" not in data:
            return data
        method = data.get("method")
        if method is None or not (method in _PLAIN or str(method).startswith("codetrial/")):
            try:
                return super().structure_message(data)
            except JsonRpcException:
                logger.warning("%s is not shaped as the protocol says; taken as it is", method)
        if method is None:
            return data
        params = data.get("params") or {}
        if method == types.INITIALIZE:
            params = types.InitializeParams(capabilities=types.ClientCapabilities())
        if "id" in data:
            return JsonRPCRequestMessage(id=data["id"], method=method, jsonrpc="2.0", params=params)
        return JsonRPCNotification(method=method, jsonrpc="2.0", params=params)

    def handle_message(self, message: Any) -> None:
        method = getattr(message, "method", None)
        if method == types.CANCEL_REQUEST:
            wire_id = message.params.get("id")
            self._server.with_session(lambda session: session.cancelled(wire_id))
            if wire_id in self._request_futures:
                self._handle_cancel_notification(wire_id)
            return
        if method in DOCUMENT_METHODS and not hasattr(message, "id") and not self._shutdown:
            # At every keystroke: a context, a future, a random id and three checks against protocols cost pygls more
            # than what the handler does. Its own copies of the documents are not made this way either.
            self.fm.features[method](message.params)
            return
        super().handle_message(message)

    def _execute_handler(self, msg_id: Any, *arguments: Any, **named: Any) -> None:
        super()._execute_handler(msg_id, *arguments, **named)
        # pygls takes the future of a request out when it answers, and those of notifications never.
        if (future := self._request_futures.get(msg_id)) is not None:
            future.add_done_callback(lambda _: self._request_futures.pop(msg_id, None))

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(self, params: Any) -> Generator[Any, Any, Any]:
        """Only our own command reaches us, whatever it is called in this process."""
        arguments = params.get("arguments") or [None]
        self._server.with_session(lambda session: session.command(arguments[0]))
        yield from ()

    @lsp_method(types.SHUTDOWN)
    def lsp_shutdown(self, *args: Any) -> Generator[Any, Any, None]:
        """As in pygls, which cancels pending requests while it walks over them: each leaves the dictionary, and
        the walk ends in a traceback."""
        if (handler := self.fm.features.get(types.SHUTDOWN)) is not None:
            yield handler, args, None
        for wire_id, future in list(self._request_futures.items()):
            if wire_id != self.msg_id and not future.done():
                future.cancel()
        self._shutdown = True

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_: Any) -> Generator[Any, Any, None]:
        """End the reading loop: what is under way must still be recorded, so the process does not end here."""
        self._server.ending.set()
        yield from ()


class EvaluatorServer(LanguageServer):
    """Serves one editor, through the relay or alone.

    Args:
        begin: Makes the session once enough is known about the editor.
        has_relay: False: the session begins with `initialized`, since nobody else says more about it.
        accept_command: Advertised where there is no relay to do so.
    """

    protocol: _Protocol

    def __init__(self, begin: Begin, *, has_relay: bool, accept_command: str | None = None) -> None:
        super().__init__(
            name="codetrial",
            version=__version__,
            protocol_cls=_Protocol,
            converter_factory=default_converter,
        )
        self.ending = threading.Event()
        self.session: EvaluatorSession | None = None
        self._begin = begin
        self._has_relay = has_relay
        self._initialize: types.InitializeParams | None = None
        self._register()
        if accept_command is not None:
            self.command(accept_command)(lambda *_: None)

    def with_session(self, action: Callable[[EvaluatorSession], None]) -> None:
        if self.session is not None:
            action(self.session)

    def notice(self, level: str, message: str) -> None:
        """Tell the person, through the relay or directly."""
        if self._has_relay:
            self.protocol.notify("codetrial/notice", {"level": level, "message": message})
        else:
            kinds = {"error": types.MessageType.Error, "warning": types.MessageType.Warning}
            self.window_show_message(
                types.ShowMessageParams(type=kinds.get(level, types.MessageType.Info), message=message)
            )

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Nothing of ours may pop up in the editor for a message we could not read."""
        logger.warning("a message could not be handled: %s", error)

    def _register(self) -> None:
        for method in DOCUMENT_METHODS:
            self._register_document(method)
        # Functions, not methods: pygls marks what it registers.
        self.feature(types.INITIALIZE)(lambda params: self._initialized_with(params))
        self.feature(types.INITIALIZED)(lambda _params: self._without_relay())
        self.feature("codetrial/session")(lambda params: self._session(params))
        self.feature("codetrial/delivered")(lambda params: self.with_session(lambda session: session.delivered(params)))
        self.feature("codetrial/paused")(lambda params: self.with_session(lambda session: session.pause(params)))
        self.feature("codetrial/gap")(lambda params: self.with_session(lambda session: session.gap(params)))
        self.feature(types.SHUTDOWN)(lambda *_: self.with_session(lambda session: session.settle("shutdown")))
        self.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["."]))(
            self._completing(Surface.MENU)
        )
        self.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(
            self._completing(Surface.INLINE)
        )

    def _register_document(self, method: str) -> None:
        def handler(params: Any) -> None:
            self.with_session(lambda session: session.notification(method, params))

        self.feature(method)(handler)

    def _completing(self, asked: Surface) -> Callable[[Any], Generator[Any, Any, Any]]:
        def handler(params: Any) -> Generator[Any, Any, Any]:
            session = self.session
            if session is None or (wire_id := self.protocol.msg_id) is None:
                return None
            # Up to here pygls runs at once: the document must be read before the next change is.
            arrival = session.arrive(params, wire_id, asked)
            if arrival is None:
                return None
            if self._has_relay and not session.answers_soon(arrival):
                # Else the language server's answer would wait for ours, a merge budget at every keystroke.
                self.protocol.notify("codetrial/later", {"id": wire_id})
            answer = yield session.answer, (arrival,), None
            if self._has_relay and asked is Surface.MENU and answer is not None:
                self.protocol.notify("codetrial/ready", {})
            return answer

        return handler

    def _initialized_with(self, params: types.InitializeParams) -> None:
        self._initialize = params

    def _session(self, params: Mapping[str, Any]) -> None:
        if self._initialize is not None and self.session is None:
            self.session = self._begin(self._initialize, params)

    def _without_relay(self) -> None:
        if not self._has_relay and self._initialize is not None and self.session is None:
            self.session = self._begin(self._initialize, None)
