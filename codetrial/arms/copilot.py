"""The Copilot language server as an arm: a process of its own, into which the documents are mirrored.

Opt-in, because a subscription's terms must allow it. It is never told that something was shown or accepted: most of
what it answers here never reaches a person, and false reports would feed its ranking. Its process is this arm's alone,
since a newer request makes the server cancel the older one. It reports no tokens and no model: it costs a seat, and is
named by its version.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from codetrial import __version__
from codetrial.arms.base import Answer, ArmDefinition, Prompt
from codetrial.arms.jsonrpc import RpcClient, RpcClosed, RpcError
from codetrial.clock import now_ns
from codetrial.errors import ArmError
from codetrial.records import AttemptStatus
from codetrial.redact import redact

__all__ = ["DEFAULT_COMMAND", "SIGN_IN", "CopilotArm"]

logger = logging.getLogger(__name__)

DEFAULT_COMMAND = ("copilot-language-server", "--stdio")
START_S = 20.0
"""Its start takes a second or two; a cold disk more."""
NOT_SIGNED_IN = 1000
MAX_LINE_BYTES = 1_000_000

SIGN_IN = (
    "GitHub Copilot is not signed in. Sign in once with an editor's Copilot plugin, or with "
    "`copilot-language-server` itself (its `signIn` request); the arm then uses the same account."
)


class CopilotArm:
    """An arm behind `@github/copilot-language-server`."""

    def __init__(self, definition: ArmDefinition, command: tuple[str, ...]) -> None:
        self._definition = definition
        self._command = command
        self._client: RpcClient | None = None
        self._version: str | None = None
        self._starting = asyncio.Lock()
        self._documents: dict[str, int] = {}
        """Version of each mirrored document, by URI."""
        self._focused: str | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def definition(self) -> ArmDefinition:
        return self._definition

    async def prepare(self, root: str | None) -> None:
        """Start it and ask whether somebody is signed in.

        Raises:
            ArmError: it cannot be started, or nobody is signed in.
        """
        client = await self._running()
        try:
            async with asyncio.timeout(START_S):
                status = await client.request("checkStatus", {})
        except (RpcError, RpcClosed, TimeoutError) as fault:
            raise ArmError(f"The Copilot language server does not answer: {redact(str(fault))}") from fault
        if isinstance(status, dict) and status.get("status") in ("NotSignedIn", "NotAuthorized"):
            raise ArmError(SIGN_IN)

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        sent_ns: int | None = None
        fault: tuple[str, str]
        try:
            async with asyncio.timeout(deadline_s):
                client = await self._running()
                # A second request would cancel the first one inside the server.
                async with self._one_at_a_time:
                    uri = await self._mirror(client, prompt)
                    sent_ns = now_ns()
                    result = await client.request("textDocument/inlineCompletion", self._params(uri, prompt))
            text = _text(result, prompt)
            end_ns = now_ns()
            has_text = bool(text.strip())
            return Answer(
                status=AttemptStatus.OK if has_text else AttemptStatus.EMPTY,
                text=text,
                sent_ns=sent_ns,
                # The protocol does not stream: the whole text comes at once.
                first_byte_ns=end_ns if has_text else None,
                first_line_ns=end_ns if has_text else None,
                end_ns=end_ns,
                model_returned=f"copilot-language-server@{self._version}",
            )
        except TimeoutError:
            return self._failed(AttemptStatus.TIMEOUT, sent_ns, "deadline", f"No answer within {deadline_s:g} s.")
        except RpcError as raised:
            fault = ("not_signed_in", SIGN_IN) if raised.code == NOT_SIGNED_IN else ("server_error", str(raised))
        except RpcClosed:
            fault = ("program_ended", "The Copilot language server ended before it had answered.")
        except ArmError as raised:
            fault = ("not_ready", str(raised))
        logger.info("arm %s: %s: %s", self._definition.label, *fault)
        return self._failed(AttemptStatus.ERROR, sent_ns, *fault)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _failed(self, status: AttemptStatus, sent_ns: int | None, kind: str, message: str) -> Answer:
        return Answer(status=status, text="", sent_ns=sent_ns, end_ns=now_ns(), error_kind=kind, error=redact(message))

    async def _running(self) -> RpcClient:
        async with self._starting:
            if self._client is None or not self._client.is_alive:
                if self._client is not None:
                    await self._client.close()
                self._client = await self._start()
            return self._client

    async def _start(self) -> RpcClient:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
            )
        except OSError as fault:
            raise ArmError(
                f"Cannot start {self._command[0]!r}: {fault.strerror}. Install it with "
                "`npm install -g @github/copilot-language-server`, or name it in options.command."
            ) from fault
        client = RpcClient(process, on_request=_reply, on_notification=self._told)
        self._documents.clear()
        self._focused = None
        try:
            async with asyncio.timeout(START_S):
                await self._handshake(client)
        except (RpcError, RpcClosed, TimeoutError) as fault:
            await client.close()
            reason = client.last_words or redact(str(fault)) or "it gave no reason"
            raise ArmError(f"{self._command[0]!r} did not complete the handshake: {reason}") from fault
        except BaseException:
            await client.close()
            raise
        return client

    async def _handshake(self, client: RpcClient) -> None:
        result = await client.request(
            "initialize",
            {
                "processId": None,
                "capabilities": {"textDocument": {"inlineCompletion": {}}, "workspace": {"configuration": True}},
                "workspaceFolders": None,
                "rootUri": None,
                "initializationOptions": {
                    "editorInfo": {"name": "codetrial", "version": __version__},
                    "editorPluginInfo": {"name": "codetrial", "version": __version__},
                },
            },
        )
        info = result.get("serverInfo") if isinstance(result, dict) else None
        self._version = str(info.get("version")) if isinstance(info, dict) else None
        await client.notify("initialized", {})
        # Shadow requests are no one's behaviour: they must not be reported as such.
        await client.notify("workspace/didChangeConfiguration", {"settings": {"telemetry": {"telemetryLevel": "off"}}})

    async def _mirror(self, client: RpcClient, prompt: Prompt) -> str:
        path = Path(prompt.root or "/codetrial") / prompt.path
        uri = path.as_uri() if path.is_absolute() else Path("/codetrial", path.name).as_uri()
        text = prompt.prefix + prompt.suffix
        version = self._documents.get(uri, 0) + 1
        if version == 1:
            document = {"uri": uri, "languageId": prompt.language, "version": version, "text": text}
            await client.notify("textDocument/didOpen", {"textDocument": document})
        else:
            change = {"textDocument": {"uri": uri, "version": version}, "contentChanges": [{"text": text}]}
            await client.notify("textDocument/didChange", change)
        self._documents[uri] = version
        if self._focused != uri:
            await client.notify("textDocument/didFocus", {"textDocument": {"uri": uri}})
            self._focused = uri
        return uri

    def _params(self, uri: str, prompt: Prompt) -> dict[str, Any]:
        current = prompt.prefix.rpartition("\n")[2]
        return {
            "textDocument": {"uri": uri, "version": self._documents[uri]},
            "position": {"line": prompt.prefix.count("\n"), "character": _utf16(current)},
            "context": {"triggerKind": 2},
            "formattingOptions": {"tabSize": 4, "insertSpaces": True},
        }

    def _told(self, method: str, params: Any) -> None:
        if method == "didChangeStatus" and isinstance(params, dict):
            logger.debug("copilot: %s %s", params.get("kind"), redact(str(params.get("message"))))


def _reply(method: str, params: Any) -> Any:
    """The server's own requests: no configuration beyond the default, no windows, no documents to show."""
    if method == "workspace/configuration" and isinstance(params, dict):
        return [None for _ in params.get("items", [])]
    if method == "window/showDocument":
        return {"success": False}
    return None


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text(result: Any, prompt: Prompt) -> str:
    """The first item's text beyond the cursor: its range begins at or before it and repeats what stands there."""
    items = result.get("items") if isinstance(result, dict) else result
    if not items or not isinstance(items[0], dict):
        return ""
    inserted = items[0].get("insertText")
    text = inserted.get("value", "") if isinstance(inserted, dict) else str(inserted or "")
    start = ((items[0].get("range") or {}).get("start") or {}).get("character")
    current = prompt.prefix.rpartition("\n")[2]
    if not isinstance(start, int):
        return text
    units = current.encode("utf-16-le", "surrogatepass")
    replaced = units[2 * start :].decode("utf-16-le", "surrogatepass")
    text = text.removeprefix(replaced)
    # An item that replaces to the end of the line repeats what stands after the cursor there.
    rest = prompt.suffix.partition("\n")[0]
    return text.removesuffix(rest) if rest and text.endswith(rest) else text
