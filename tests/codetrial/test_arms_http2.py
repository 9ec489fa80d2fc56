"""HTTP/2 over TLS against a real server, with a certificate that only the test's own authority has signed."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config as ServerConfig

from codetrial.arms import Answer, Prompt, build
from codetrial.config import ArmConfig
from codetrial.records import Api, ArmLabel, AttemptStatus
from tests.codetrial.streaming import sse

AT_ONCE = 20


class Completions:
    """An ASGI application that streams two events, and notes how it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.versions: list[str] = []
        self.connections: set[tuple[str, int]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.versions.append(scope["http_version"])
        self.connections.add(tuple(scope["client"]))
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for text, reason in (("a + ", None), ("b", "stop")):
            body = sse({"choices": [{"text": text, "finish_reason": reason}]})
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": sse("[DONE]")})


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the authority's certificate, and one for localhost that it signed."""
    folder = tmp_path_factory.mktemp("tls")
    own = trustme.CA()
    own.cert_pem.write_to_path(folder / "authority.pem")
    issued = own.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return folder


@pytest.fixture
async def server(authority: Path) -> AsyncIterator[Completions]:
    app = Completions()
    # Listening before the server runs: whoever connects waits in the queue, and nobody has to wait for readiness.
    listener = socket.create_server(("127.0.0.1", 0))
    app.url = f"https://localhost:{listener.getsockname()[1]}"
    config = ServerConfig()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(authority / "certificate.pem"), str(authority / "key.pem")
    config.errorlog = None
    config.graceful_timeout = 1.0
    over = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=over.wait))
    yield app
    over.set()
    await serving


async def ask(url: str, prompt: Prompt, *, times: int, at_once: bool = False, **options: Any) -> list[Answer]:
    content: dict[str, Any] = {
        "api": Api.OPENAI_COMPLETIONS,
        "url": url,
        "model": "m",
        "template": "prefix-only",
        "options": options,
    }
    arm = build(ArmConfig(**content), ArmLabel.A)
    try:
        first = await arm.answer(prompt, deadline_s=10)
        if at_once:
            rest = await asyncio.gather(*(arm.answer(prompt, deadline_s=10) for _ in range(times - 1)))
        else:
            rest = [await arm.answer(prompt, deadline_s=10) for _ in range(times - 1)]
        return [first, *rest]
    finally:
        await arm.aclose()


@pytest.fixture
def trusted(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "authority.pem"))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("at_once", [False, True])
async def test_attempts_share_one_http2_connection(server: Completions, prompt: Prompt, at_once: bool) -> None:
    answers = await ask(server.url, prompt, times=AT_ONCE, at_once=at_once)
    assert {(answer.status, answer.text) for answer in answers} == {(AttemptStatus.OK, "a + b")}
    assert server.versions == ["2"] * AT_ONCE
    assert len(server.connections) == 1


@pytest.mark.usefixtures("trusted")
async def test_http2_can_be_switched_off(server: Completions, prompt: Prompt) -> None:
    answers = await ask(server.url, prompt, times=3, http2=False)
    assert {answer.status for answer in answers} == {AttemptStatus.OK}
    assert server.versions == ["1.1"] * 3
    assert len(server.connections) == 1


async def test_an_authority_that_nobody_vouches_for_is_a_tls_error(server: Completions, prompt: Prompt) -> None:
    [answer] = await ask(server.url, prompt, times=1)
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "tls")
    assert server.versions == []
