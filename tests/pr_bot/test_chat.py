"""Each API of the providers through a review: asked as documented, understood, repaired once, and never trusted."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from codetrial.arms.base import Answer, Usage
from codetrial.config import ArmConfig
from codetrial.records import Api, AttemptStatus
from pr_bot import chat
from pr_bot.chat import ChatReviewer
from pr_bot.local import review_locally
from pr_bot.review import Review, ReviewPrompt, answer_schema, ask
from tests.pr_bot.conftest import WorkingCopy
from tests.pr_bot.models import finding

GOOD = json.dumps({"findings": [finding(start_line=2, end_line=2, quote="return 2", title="The caller expects one")]})
PROMPT = ReviewPrompt(system="You review.", user="A change.", nonce="0" * 32)
KEY = "key-of-the-arm-0123456789"


def _chat(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    usage = {"prompt_tokens": 90, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 64},
             "completion_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
    return {"model": "m-2026", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def _responses(text: str) -> dict[str, Any]:
    output = [{"type": "reasoning", "summary": []},
              {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]  # fmt: skip
    usage = {"input_tokens": 90, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 5,
             "output_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
    return {"object": "response", "model": "m-2026", "status": "completed", "output": output, "usage": usage}


def _anthropic(text: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = {"type": "tool_use", "id": "t", "name": "findings", "input": json.loads(text)}
    except ValueError:
        content = {"type": "text", "text": text}
    usage = {"input_tokens": 20, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 6, "output_tokens": 5}
    return {"type": "message", "model": "m-2026", "stop_reason": "tool_use", "content": [content], "usage": usage}


def _gemini(text: str) -> dict[str, Any]:
    parts = [{"text": "thinking", "thought": True}, {"text": text[:3]}, {"text": text[3:]}]
    usage = {"promptTokenCount": 90, "cachedContentTokenCount": 64, "candidatesTokenCount": 3, "thoughtsTokenCount": 2}
    return {"modelVersion": "m-2026", "usageMetadata": usage,
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}  # fmt: skip


@dataclass
class Spoken:
    api: Api
    answer: Callable[[str], dict[str, Any]]
    path: str
    key_header: tuple[str, str]
    schema: Callable[[Mapping[str, Any]], Any]
    """Where the request carries the JSON schema."""
    refusals: list[dict[str, Any]]
    cached: int = 64
    reasoning: int | None = 2


SPOKEN = {
    "chat": Spoken(
        Api.OPENAI_CHAT, _chat, "/v1/chat/completions", ("authorization", f"Bearer {KEY}"),
        lambda body: body["response_format"]["json_schema"]["schema"],
        [{**_chat(""), "choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]},
         {**_chat(""), "choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}],
    ),
    "responses": Spoken(
        Api.OPENAI_RESPONSES, _responses, "/v1/responses", ("authorization", f"Bearer {KEY}"),
        lambda body: body["text"]["format"]["schema"],
        [{**_responses(""), "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]},
         {**_responses(""), "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}],
    ),
    "anthropic": Spoken(
        Api.ANTHROPIC_MESSAGES, _anthropic, "/v1/messages", ("x-api-key", KEY),
        lambda body: body["tools"][0]["input_schema"],
        [{**_anthropic(""), "stop_reason": "refusal", "content": []}], reasoning=None,
    ),
    "gemini": Spoken(
        Api.GEMINI, _gemini, "/v1beta/models/some-model:generateContent", ("x-goog-api-key", KEY),
        lambda body: body["generationConfig"]["responseJsonSchema"],
        [{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 90}},
         {"candidates": [{"finishReason": "SAFETY"}]}],
    ),
}  # fmt: skip


@dataclass
class Provider:
    """A provider's server: what it answers is taken from the list, the last one for ever."""

    replies: list[bytes | dict[str, Any] | Callable[[Any], None]]
    status: int = 200
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def provider(*replies: bytes | dict[str, Any] | Callable[[Any], None], status: int = 200) -> Iterator[Provider]:
    served = Provider(list(replies), status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # The name that http.server calls.
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            reply = served.replies[min(len(served.asked), len(served.replies)) - 1]
            self.send_response(served.status)
            self.end_headers()
            if callable(reply):
                reply(self.wfile)
            else:
                self.wfile.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=sorted(SPOKEN))
def spoken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Spoken:
    monkeypatch.setenv("ARM_KEY", KEY)
    return SPOKEN[request.param]


def arm(spoken: Spoken, url: str, **more: Any) -> ArmConfig:
    return ArmConfig(api=spoken.api, model="some-model", url=url, key_env="ARM_KEY", max_tokens=900, **more)


def reviewed(spoken: Spoken, url: str, *, deadline_s: float = 20.0, **more: Any) -> Review:
    return asyncio.run(ask(ChatReviewer(arm(spoken, url, **more)), PROMPT, deadline_s=deadline_s, max_findings=20))


def test_an_api_is_asked_with_the_schema_and_understood(spoken: Spoken) -> None:
    with provider(spoken.answer(GOOD)) as served:
        review = reviewed(spoken, served.url, temperature=0.2)
    [(path, headers, body)] = served.asked
    assert path == spoken.path
    assert headers[spoken.key_header[0]] == spoken.key_header[1]
    assert spoken.schema(body) == answer_schema()
    assert "stream" not in body
    text = json.dumps(body)
    assert ("900" in text, "0.2" in text, "You review." in text, "A change." in text) == (True,) * 4
    assert KEY not in path + text
    assert [claim.title for claim in review.claims] == ["The caller expects one"]
    assert review.answer.usage == Usage(
        tokens_in=90, tokens_cached=spoken.cached, tokens_out=5, tokens_reasoning=spoken.reasoning
    )
    assert review.answer.model_returned == "m-2026"


def test_a_base_url_with_its_version_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARM_KEY", KEY)
    for name in ("chat", "responses"):
        with provider(SPOKEN[name].answer(GOOD)) as served:
            reviewed(SPOKEN[name], f"{served.url}/v1/")
        assert served.asked[0][0] == SPOKEN[name].path


def test_one_malformed_answer_is_repaired_and_both_are_paid(spoken: Spoken) -> None:
    with provider(spoken.answer("I found: nothing, sorry"), spoken.answer(GOOD)) as served:
        review = reviewed(spoken, served.url)
    assert len(served.asked) == 2
    assert "Your answer was not usable" in json.dumps(served.asked[1][2])
    assert (review.answer.status, review.answer.retries) == (AttemptStatus.OK, 1)
    assert review.answer.usage.tokens_in == 180


def test_two_malformed_answers_are_a_failure_by_name(spoken: Spoken) -> None:
    with provider(spoken.answer("no")) as served:
        review = reviewed(spoken, served.url)
    assert len(served.asked) == 2
    assert (review.answer.status, review.answer.error_kind) == (AttemptStatus.ERROR, "bad_json")


def test_a_refusal_is_a_refusal_and_is_not_asked_again(spoken: Spoken) -> None:
    for refusal in spoken.refusals:
        with provider(refusal) as served:
            review = reviewed(spoken, served.url)
        assert review.answer.status is AttemptStatus.REFUSED, refusal
        assert len(served.asked) == 1


@pytest.mark.parametrize("reply", [b"", b"<html>", b"[]", b"null", b'{"error": {"message": "x"}}', b"[" * 100_000])
def test_a_reply_of_another_shape_is_named(spoken: Spoken, reply: bytes) -> None:
    with provider(reply) as served:
        review = reviewed(spoken, served.url)
    assert (review.answer.status, review.answer.error_kind) == (AttemptStatus.ERROR, "bad_response")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
def test_an_error_answer_has_its_status_and_never_the_key(spoken: Spoken, status: int) -> None:
    with provider(f"bad key {KEY}".encode(), status=status) as served:
        review = reviewed(spoken, served.url)
    assert (review.answer.error_kind, review.answer.http_status) == (f"http_{status}", status)
    assert KEY not in str(review.answer)


def test_an_endless_response_is_cut_off_without_filling_the_memory(spoken: Spoken) -> None:
    sent: list[int] = []

    def endless(out: Any) -> None:
        try:
            while len(sent) < 10_000:
                out.write(b"x" * 65_536)
                sent.append(1)
        except OSError:
            pass

    with provider(endless) as served:
        review = reviewed(spoken, served.url)
    assert review.answer.error_kind == "too_large"
    assert len(sent) * 65_536 < 8 * chat.MAX_RESPONSE_BYTES


def test_a_response_that_trickles_ends_at_the_deadline(spoken: Spoken) -> None:
    done = threading.Event()

    def trickle(out: Any) -> None:
        try:
            while not done.wait(0.05):
                out.write(b" ")
                out.flush()
        except OSError:
            pass

    with provider(trickle) as served:
        began = time.monotonic()
        review = reviewed(spoken, served.url, deadline_s=0.4)
        done.set()
    assert review.answer.status is AttemptStatus.TIMEOUT
    assert time.monotonic() - began < 5


def test_nobody_at_the_address_is_an_error_by_name(spoken: Spoken) -> None:
    with provider({}) as served:
        url = served.url
    answer: Answer = reviewed(spoken, url).answer
    assert (answer.status, answer.error_kind) == (AttemptStatus.ERROR, "connect")


@pytest.mark.parametrize("pair", [("chat", "responses"), ("anthropic", "gemini")])
def test_a_whole_review_with_two_providers_in_processes_of_their_own(
    working_copy: WorkingCopy, tmp_path: Path, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARM_KEY", KEY)
    working_copy.commit({"app.py": "def f():\n    return 1\n"})
    working_copy.commit({"app.py": "def f():\n    return 2\n"})
    a, b = (SPOKEN[name] for name in pair)
    with provider(a.answer("hm"), a.answer(GOOD)) as first, provider(b.answer(GOOD)) as second:
        path = tmp_path / "trial.toml"
        path.write_text("".join(
            f'[arms.{label}]\napi = "{one.api}"\nmodel = "some-model"\nurl = "{served.url}"\nkey_env = "ARM_KEY"\n'
            for label, one, served in (("a", a, first), ("b", b, second))
        ))  # fmt: skip
        result = json.loads(review_locally(working_copy.folder, "HEAD~1..HEAD", config_file=path, as_json=True))
    assert [(f["arm"], f["stratum"], f["start_line"]) for f in result["findings"]] == [
        ("A", "both", 2),
        ("B", "both", 2),
    ]
    assert {entry["status"] for entry in result["arms"].values()} == {"ok"}
    assert (len(first.asked), len(second.asked)) == (2, 1)


def test_only_this_machine_counts_as_this_machine(tmp_path: Path) -> None:
    from codetrial.config import load
    from codetrial.errors import PrivacyError
    from pr_bot.pulls import open_bot

    path = tmp_path / "trial.toml"
    path.write_text(
        "".join(f'[arms.{label}]\napi = "openai-chat"\nmodel = "m"\nurl = "http://localhost.evil.example/v1"\n'
                for label in ("a", "b"))
        + "[privacy]\nself_hosted_only = true\n"
    )  # fmt: skip
    with pytest.raises(PrivacyError):
        open_bot(load(tmp_path, config_file=path), database=tmp_path / "x.db")
