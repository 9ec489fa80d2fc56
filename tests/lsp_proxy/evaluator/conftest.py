"""Fixtures of the evaluator's tests: folders of their own, a model server, and a started evaluator."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.codetrial.streaming import Received, Script, StreamingServer, sse_stream
from tests.lsp_proxy.evaluator.relay_end import RelayEnd

CONFIG = """
[trial]
name = "test"
seed = "{seed}"
episode_s = 60
shares = {{ a = {a}, b = {b}, none = {none} }}

[arms.a]
api = "openai-completions"
url = "{url}"
model = "one"
template = "prefix-only"

[arms.b]
api = "ngram"

[editor]
debounce_ms = 20
time_scale = {scale}
horizons_s = [1, 2]

[store]
store_text = "{store_text}"
"""

Start = Callable[..., RelayEnd]


def says(*texts: str) -> list[bytes]:
    """An answer of /v1/completions in these pieces."""
    return sse_stream(
        *({"choices": [{"text": text, "index": 0, "finish_reason": None}]} for text in texts),
        {
            "choices": [{"text": "", "index": 0, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        },
        "[DONE]",
    )


@pytest.fixture
async def model() -> AsyncIterator[StreamingServer]:
    async with StreamingServer() as running:
        running.script = Script(parts=says("total", " + 1\n"))
        yield running


@pytest.fixture
def start(tmp_path: Path, model: StreamingServer) -> Start:
    """Starts an evaluator on `tmp_path / "project"`, its store beside it."""

    def starting(
        *,
        a: float = 1.0,
        b: float = 0.0,
        none: float = 0.0,
        scale: float = 1.0,
        store_text: str = "full",
        session: str = "s-1",
        config: str | None = None,
        startup: str | None = None,
    ) -> RelayEnd:
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        file = project / "codetrial.toml"
        file.write_text(
            config
            or CONFIG.format(
                seed="5eed", a=a, b=b, none=none, url=f"{model.url}/v1", scale=scale, store_text=store_text
            )
        )
        environment = {
            "CODETRIAL_DATA_DIR": str(tmp_path / "data"),
            "CODETRIAL_USER_CONFIG": str(tmp_path / "user.toml"),
        }
        if startup is not None:
            # Python runs this before anything else: how a fault gets into a process of its own.
            (tmp_path / "sitecustomize.py").write_text(startup)
            environment["PYTHONPATH"] = str(tmp_path)
        return RelayEnd(project, store=tmp_path / "codetrial.db", config=file, environment=environment, session=session)

    return starting


__all__ = ["Received", "Script", "Start", "says"]
