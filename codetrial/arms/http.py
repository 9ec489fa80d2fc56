"""Carries every API over HTTP alike: one client, bounded streams, one clock, typed failures.

Whatever a server does, an answer comes back within its deadline: 100 MB, bytes that are no UTF-8, a stream that never
ends, a cut connection and a TLS failure each have their own `error_kind`.
"""

import asyncio
import codecs
import ipaddress
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import httpx
from httpx_sse import EventSource, SSEError

from codetrial.arms.base import Answer, ArmDefinition, Prompt, Usage, keep_partial
from codetrial.arms.healing import METHOD as HEALING
from codetrial.arms.healing import heal
from codetrial.arms.wire import Delta, Wire, WireError
from codetrial.clock import now_ns, now_utc
from codetrial.config import ArmConfig
from codetrial.errors import ArmError, ConfigError
from codetrial.keys import find_key
from codetrial.records import Api, ArmLabel, AttemptStatus
from codetrial.redact import redact

__all__ = ["HttpArm", "build_http", "define_http", "is_private_host"]

logger = logging.getLogger(__name__)

MAX_BYTES = 4_000_000
"""Far above any completion (64 tokens in 300-byte events are 20 KB), far below what would hurt an editor."""
MAX_ERROR_BYTES = 8_192
CONNECT_S = 5.0
"""A server that does not even accept within this will not answer a keystroke."""
DRAIN_S = 0.25
"""After the last event: time to read to the end of the stream, so that the connection can be used again."""
KEEPALIVE_S = 90.0
"""Longer than people pause between completions; a new TLS connection costs more than a small model's answer."""
LOCAL_SCHEME = "local:"

_REFUSALS = frozenset({"content_filter", "refusal", "safety", "recitation", "prohibited_content", "blocklist", "spii"})

_WIRES: Mapping[Api, tuple[str, str]] = {
    Api.OPENAI_COMPLETIONS: ("openai_completions", "OpenAICompletions"),
    Api.LLAMACPP_INFILL: ("llamacpp_infill", "LlamaCppInfill"),
    Api.OLLAMA_GENERATE: ("ollama_generate", "OllamaGenerate"),
    Api.MISTRAL_FIM: ("mistral_fim", "MistralFim"),
    Api.DEEPSEEK_FIM: ("deepseek_fim", "DeepSeekFim"),
    Api.OPENAI_CHAT: ("openai_chat", "OpenAIChat"),
    Api.OPENAI_RESPONSES: ("openai_responses", "OpenAIResponses"),
    Api.ANTHROPIC_MESSAGES: ("anthropic_messages", "AnthropicMessages"),
    Api.GEMINI: ("gemini", "Gemini"),
}


class _FaultError(Exception):
    """A failed attempt, with its stable kind."""

    def __init__(self, kind: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Trace:
    """What has been seen of an answer so far."""

    sent_ns: int | None = None
    first_byte_ns: int | None = None
    first_line_ns: int | None = None
    end_ns: int | None = None
    parts: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    model: str | None = None
    timings: dict[str, Any] = field(default_factory=dict)
    http_status: int | None = None
    is_refusal: bool = False
    is_complete: bool = False
    """It said why it ended, or that it ended as it should."""
    is_done: bool = False
    """`[DONE]` came, which alone does not say that the answer is whole."""
    reconnects: int = 0

    def add(self, delta: Delta) -> None:
        now = now_ns()
        self.end_ns = now
        if delta.text:
            if self.first_byte_ns is None:
                self.first_byte_ns = now
            self.parts.append(delta.text)
            # A leading line break ends no line: the first line is the first one with something on it.
            if self.first_line_ns is None and "\n" in delta.text and "\n" in "".join(self.parts).lstrip():
                self.first_line_ns = now
        if delta.usage is not None:
            self.usage = _joined(self.usage, delta.usage)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.model = delta.model or self.model
        self.timings.update(delta.timings or {})
        self.is_refusal |= delta.is_refusal or (delta.finish_reason or "").lower() in _REFUSALS
        self.is_complete |= delta.is_last or delta.finish_reason is not None

    def answer(self, status: AttemptStatus, text: str, fault: _FaultError | None = None) -> Answer:
        first_line_ns = self.first_line_ns
        if first_line_ns is None and status is AttemptStatus.OK:
            first_line_ns = self.end_ns  # One line without a break is complete when the answer is.
        return Answer(
            status=status,
            text=text,
            sent_ns=self.sent_ns,
            first_byte_ns=self.first_byte_ns,
            first_line_ns=first_line_ns,
            end_ns=self.end_ns if fault is None and self.end_ns is not None else now_ns(),
            usage=self.usage,
            finish_reason=self.finish_reason,
            model_returned=self.model,
            http_status=self.http_status,
            error_kind=fault.kind if fault else None,
            error=str(fault) if fault else None,
            retries=self.reconnects,
            server_timings=self.timings or None,
            retry_after_s=fault.retry_after_s if fault else None,
        )


def _joined(old: Usage, new: Usage) -> Usage:
    """Providers report input and output tokens in different events; what is known stays known."""
    return Usage(
        tokens_in=new.tokens_in if new.tokens_in is not None else old.tokens_in,
        tokens_cached=new.tokens_cached if new.tokens_cached is not None else old.tokens_cached,
        tokens_out=new.tokens_out if new.tokens_out is not None else old.tokens_out,
        tokens_reasoning=new.tokens_reasoning if new.tokens_reasoning is not None else old.tokens_reasoning,
    )


class _Guarded(httpx.AsyncByteStream):
    """A response's bytes, bounded and checked: the readers above would grow without end, or replace bad bytes."""

    def __init__(self, stream: httpx.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        async for chunk in self._stream:
            seen += len(chunk)
            if seen > self._limit:
                raise _FaultError("too_large", f"The answer is larger than {self._limit} bytes; it was cut off.")
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as fault:
                raise _FaultError("invalid_utf8", "The answer is not UTF-8.") from fault
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class HttpArm:
    """An arm behind HTTP. One object, one connection pool, for all requests of a process."""

    def __init__(self, definition: ArmDefinition, wire: Wire) -> None:
        self._definition = definition
        self._wire = wire
        self._local = (definition.url or "").removeprefix(LOCAL_SCHEME) if _is_local(definition.url) else None
        self._base_url: str | None = None if self._local is not None else (definition.url or "").rstrip("/")
        self._local_key: str | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._lease: Any = None
        is_loopback = self._local is not None or _host_is_loopback(definition.url)
        self._client = httpx.AsyncClient(
            http2=bool(wire.config.options.get("http2", True)),
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE_S),
            headers={"accept-encoding": "identity", "user-agent": "codetrial"},
            # A proxy of the environment must not carry what goes to this machine, or see it. An authority of one's own
            # in SSL_CERT_FILE counts all the same.
            trust_env=not is_loopback,
            verify=httpx.create_ssl_context(),
            follow_redirects=False,
        )

    @property
    def definition(self) -> ArmDefinition:
        return self._definition

    @property
    def wire(self) -> Wire:
        return self._wire

    async def base_url(self) -> str:
        """Where requests go; starts codetrial's own server if that is what the arm uses.

        Raises:
            ArmError: the local server cannot be started.
        """
        if self._base_url is None:
            assert self._local is not None
            async with self._starting:
                if self._base_url is None:
                    from codetrial.arms import local

                    self._lease = self._lease or local.Lease(self._local)
                    running = await asyncio.to_thread(local.ensure_running, self._local)
                    self._base_url, self._local_key = running.url, running.key
        return self._base_url

    async def prepare(self, root: str | None) -> None:
        await asyncio.to_thread(self._key)  # A keyring may have to be opened.
        await self.base_url()

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        trace = _Trace()
        healed = heal(_windowed(prompt, self._wire.config), is_on=self._wire.heals)
        fault: _FaultError | None
        try:
            async with asyncio.timeout(deadline_s):
                await self._ask(healed.prompt, trace)
            text = healed.rest(self._wire.finish("".join(trace.parts), healed.prompt))
            if trace.is_refusal:
                return trace.answer(AttemptStatus.REFUSED, text)
            return trace.answer(AttemptStatus.OK if text.strip() else AttemptStatus.EMPTY, text)
        except asyncio.CancelledError:
            keep_partial(trace.answer(AttemptStatus.CANCELLED, "".join(trace.parts)))
            raise
        except TimeoutError:
            fault = _FaultError("deadline", f"No complete answer within {deadline_s:g} s.")
            return trace.answer(AttemptStatus.TIMEOUT, "".join(trace.parts), fault)
        except httpx.TimeoutException:
            fault = _FaultError(
                "connect_timeout", f"{self._place()} did not accept a connection within {CONNECT_S:g} s."
            )
            return trace.answer(AttemptStatus.TIMEOUT, "".join(trace.parts), fault)
        except _FaultError as raised:
            fault = raised
        except WireError as raised:
            fault = _FaultError(raised.kind, self._redacted(str(raised)))
        except ArmError as raised:
            fault = _FaultError("not_ready", self._redacted(str(raised)))
        except (httpx.HTTPError, httpx.InvalidURL, SSEError, ssl.SSLError) as raised:
            fault = self._transport_fault(raised)
        # The request object, and with it the prompt, is in the exception's chain: log the sentence alone.
        logger.info("arm %s: %s: %s", self._definition.label, fault.kind, fault)
        return trace.answer(AttemptStatus.ERROR, "".join(trace.parts), fault)

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    async def _ask(self, prompt: Prompt, trace: _Trace) -> None:
        url = await self.base_url()
        call = self._wire.call(prompt)
        options = self._wire.config.options
        headers = {**self._wire.headers(self._key()), **options.get("headers", {}), "content-type": "application/json"}
        body = {**call.body, **options.get("body", {})}
        # Lone surrogates (half a character in the editor's UTF-16) cannot be sent; they become "?".
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        target = url + options.get("path", call.path)
        trace.sent_ns = now_ns()
        try:
            await self._send(target, content, headers, trace)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # Servers close idle connections when they like (llama.cpp's after seconds), sometimes just as one is used
            # again. Nothing has come yet, so asking once more on a fresh connection changes nothing but the time.
            if trace.http_status is not None:
                raise
            trace.reconnects += 1
            await self._send(target, content, headers, trace)
        if trace.is_done and not trace.is_complete:
            # llama-cpp-python's server does this to an answer when the next request comes. Half an answer taken for a
            # whole one would make the arm that is asked second look better than the other.
            raise _FaultError("interrupted", "The server ended its answer without a finish reason: it was interrupted.")
        if not trace.is_complete:
            raise _FaultError("cut_stream", "The connection ended before the answer was complete.")

    async def _send(self, url: str, content: bytes, headers: Mapping[str, str], trace: _Trace) -> None:
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            trace.http_status = response.status_code
            if not response.is_success:
                raise await self._status_fault(response)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _FaultError("bad_stream", "The server compressed its answer although it was asked not to.")
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Guarded(response.stream, MAX_BYTES)
            try:
                await self._read(response, trace)
            except httpx.HTTPError:
                if not trace.is_complete:
                    raise  # Otherwise the text is whole, and only the connection's end is missing.

    async def _read(self, response: httpx.Response, trace: _Trace) -> None:
        events = _events(response, self._wire)
        async for name, data in events:
            if data == "[DONE]":
                trace.is_done = True
            else:
                trace.add(self._delta(_parsed(data), name))
                if not trace.is_complete or not self._ends_at_finish():
                    continue
            break
        else:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                async for _ in events:
                    pass
        except (TimeoutError, httpx.HTTPError):
            pass  # The answer is whole; only the connection cannot be used again.

    def _delta(self, event: Mapping[str, Any], name: str) -> Delta:
        try:
            return self._wire.read(event, name)
        except (AttributeError, IndexError, KeyError, TypeError) as fault:
            raise _FaultError(
                "bad_stream", "The server sent an event of a form that this API does not have."
            ) from fault

    def _ends_at_finish(self) -> bool:
        """NDJSON says itself which line is the last; in SSE the usage may follow the finish reason."""
        return self._wire.framing == "ndjson"

    def _key(self) -> str | None:
        if self._local is not None:
            return self._local_key
        name = self._definition.key_env
        if name is None:
            return None
        key = find_key(name)
        if not key:
            raise ArmError(
                f"Arm {self._definition.label} ({self._definition.name}): the environment variable {name} is not set. "
                f"Export the key as {name}, or store it with `keyring set codetrial {name}`."
            )
        return key

    def _place(self) -> str:
        if self._local is not None:
            return f"the local server of {self._local}"
        parts = urlsplit(self._definition.url or "")
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def _redacted(self, text: str) -> str:
        return redact(text, key_envs=(self._definition.key_env,) if self._definition.key_env else ())

    def _transport_fault(self, raised: Exception) -> _FaultError:
        cause: BaseException | None = raised
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return _FaultError("tls", self._redacted(f"TLS with {self._place()} failed: {cause.reason or cause}."))
            if isinstance(cause, _FaultError):
                return cause
            cause = cause.__cause__ or cause.__context__
        if isinstance(raised, httpx.ConnectError):
            if self._local is not None:
                self._base_url = None  # It died: the next question starts it again.
            return _FaultError(
                "connect", self._redacted(f"Cannot reach {self._place()}: {raised}. Is the server running?")
            )
        if isinstance(raised, SSEError):
            return _FaultError("bad_stream", "The server did not answer with an event stream.")
        if self._local is not None:
            self._base_url = None
        return _FaultError("cut_stream", self._redacted(f"The connection to {self._place()} broke: {raised!r}."))

    async def _status_fault(self, response: httpx.Response) -> _FaultError:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Guarded(response.stream, MAX_ERROR_BYTES)
        try:
            body = (await response.aread()).decode("utf-8", "replace")
        except (_FaultError, httpx.HTTPError):
            body = ""
        message = f"{self._place()} answered {response.status_code}: {_message(body) or response.reason_phrase}."
        hint = _HINTS.get(response.status_code)
        if hint:
            message += " " + hint.format(key_env=self._definition.key_env or "key_env")
        return _FaultError(
            f"http_{response.status_code}",
            self._redacted(message),
            retry_after_s=_retry_after(response.headers.get("retry-after")),
        )


_HINTS = {
    401: "Check the key in {key_env}.",
    403: "The key in {key_env} may not use this model.",
    404: "Check url and model.",
    501: "This model cannot fill in the middle: use openai-completions with a template instead.",
}


def _windowed(prompt: Prompt, config: ArmConfig) -> Prompt:
    """The prompt with the arm's own, shorter windows."""
    if config.prefix_chars is None and config.suffix_chars is None:
        return prompt
    prefix, suffix = prompt.prefix, prompt.suffix
    if config.prefix_chars is not None and len(prefix) > config.prefix_chars:
        prefix = prefix[-config.prefix_chars :]
        # Begin with a whole line, unless the window is a part of one line.
        prefix = prefix[prefix.find("\n") + 1 :] or prefix
    if config.suffix_chars is not None:
        suffix = suffix[: config.suffix_chars]
    return Prompt(
        prefix=prefix,
        suffix=suffix,
        path=prompt.path,
        language=prompt.language,
        repository=prompt.repository,
        root=prompt.root,
        snippets=prompt.snippets,
    )


async def _events(response: httpx.Response, wire: Wire) -> AsyncIterator[tuple[str, str]]:
    """(event name, data) pairs, whatever framing the server chose."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        async for sse in EventSource(response).aiter_sse():
            if sse.data:
                yield sse.event, sse.data
    elif wire.framing == "ndjson" or kind in ("application/x-ndjson", "application/jsonlines"):
        buffer = ""
        # Not aiter_lines: it also breaks at U+2028 and the like, which JSON strings may contain.
        async for chunk in response.aiter_text():
            *lines, buffer = (buffer + chunk).split("\n")
            for line in lines:
                if line.strip():
                    yield "", line
        if buffer.strip():
            yield "", buffer
    else:
        body = (await response.aread()).decode("utf-8", "strict")
        if body.strip():
            yield "", body


def _parsed(data: str) -> Mapping[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise _FaultError("bad_stream", "The server sent an event that is not JSON.") from fault
    if not isinstance(event, Mapping):
        raise _FaultError("bad_stream", "The server sent an event that is no JSON object.")
    return event


def _message(body: str) -> str:
    """The sentence inside an error body, whichever of the usual forms it has."""
    try:
        content = json.loads(body)
    except ValueError:
        return body.strip()
    error = content.get("error", content) if isinstance(content, Mapping) else content
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error
    return str(error).strip().rstrip(".")


def _retry_after(value: str | None) -> float | None:
    """Seconds, or an HTTP date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - now_utc()).total_seconds())


def _is_local(url: str | None) -> bool:
    return url is not None and url.startswith(LOCAL_SCHEME)


def _host_is_loopback(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_private_host(url: str | None) -> bool:
    """True for codetrial's own server, loopback, and addresses of private networks. Names are not resolved."""
    if _is_local(url):
        return True
    host = urlsplit(url or "").hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _host_is_loopback(url)
    return address.is_loopback or address.is_private


def _wire(config: ArmConfig, label: ArmLabel, templates: Mapping[str, Mapping[str, Any]]) -> Wire:
    module, name = _WIRES[config.api]
    kind: type[Wire] = getattr(import_module(f"codetrial.arms.{module}"), name)
    return kind(config, f"arms.{label.lower()}", templates)


def _url(config: ArmConfig, wire: Wire) -> str:
    url = config.url or wire.default_url
    if url is None:
        raise ConfigError(f"[{wire.place}] needs `url`.")
    if _is_local(url):
        from codetrial.arms import local

        local.find(url.removeprefix(LOCAL_SCHEME))
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"[{wire.place}] url must begin with http://, https:// or local:, not {redact(url)!r}.")
    if parts.username or parts.password:
        raise ConfigError(f"[{wire.place}] url must not contain a password: use key_env.")
    return url.rstrip("/")


def define_http(config: ArmConfig, label: ArmLabel, templates: Mapping[str, Mapping[str, Any]]) -> ArmDefinition:
    return _define(config, label, _wire(config, label, templates))


def _define(config: ArmConfig, label: ArmLabel, wire: Wire) -> ArmDefinition:
    url = _url(config, wire)
    options = {key: value for key, value in config.options.items() if key not in ("accelerator", "retries")}
    for key in ("prefix_chars", "suffix_chars"):
        if getattr(config, key) is not None:
            options[key] = getattr(config, key)
    return ArmDefinition(
        label=label,
        name=config.title,
        api=config.api,
        url=url,
        model=wire.model,
        template=wire.template.id if wire.template else None,
        stops=wire.stops,
        max_tokens=config.max_tokens,
        sampling=wire.sampling,
        post_processing=(*wire.post_processing, *([HEALING] if wire.heals else [])),
        key_env=config.key_env or _default_key_env(url, wire),
        is_self_hosted=config.self_hosted if config.self_hosted is not None else is_private_host(url),
        options=options,
    )


def _default_key_env(url: str, wire: Wire) -> str | None:
    """The provider's usual variable, for the provider's own host only: a key must not go to another one by default."""
    own = urlsplit(wire.default_url or "").hostname
    return wire.default_key_env if urlsplit(url).hostname == own else None


def build_http(config: ArmConfig, label: ArmLabel, templates: Mapping[str, Mapping[str, Any]]) -> HttpArm:
    wire = _wire(config, label, templates)
    return HttpArm(_define(config, label, wire), wire)
