"""The router: neither arm disturbs the other, and every attempt has an answer."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from codetrial.arms import Answer, ArmDefinition, Prompt, build, define
from codetrial.clock import now_ns
from codetrial.config import Config, load
from codetrial.errors import ArmError, ConfigError, PrivacyError
from codetrial.records import ArmLabel, AttemptStatus
from codetrial.routing import BREAKER_FAILURES, Router
from tests.codetrial.streaming import Received, Script, StreamingServer, sse_stream

A, B = ArmLabel.A, ArmLabel.B
GOOD = Script(sse_stream({"choices": [{"text": "x", "finish_reason": "stop"}]}, "[DONE]"))
SLOW = Script([*sse_stream({"choices": [{"text": "x"}]}), 0.3, *sse_stream({"choices": [{"finish_reason": "stop"}]})])
SILENT = Script(sse_stream({"choices": [{"text": "so far"}]}), ending="hang")
BROKEN = Script([], 500)


def config_for(server: StreamingServer, **sections: Any) -> Config:
    def arm(label: str) -> dict[str, Any]:
        return {
            "api": "openai-completions",
            "url": f"{server.url}/{label}",
            "model": "m",
            "template": "prefix-only",
            "timeout_s": 5.0,
            **sections.get("arms", {}).get(label, {}),
        }

    rest = {name: values for name, values in sections.items() if name != "arms"}
    return load(Path("/nowhere"), overrides={"arms": {"a": arm("a"), "b": arm("b")}, **rest})


def by_arm(a: Script, b: Script) -> Callable[[Received], Script]:
    return lambda request: a if request.path.startswith("/a/") else b


@asynccontextmanager
async def routed(server: StreamingServer, **sections: Any) -> AsyncIterator[Router]:
    config = config_for(server, **sections)
    async with Router({label: build(config.arms[label], label) for label in ArmLabel}, config) as router:
        yield router


async def test_both_arms_get_the_same_prompt_and_answer(server: StreamingServer, prompt: Prompt) -> None:
    server.script = GOOD
    async with routed(server) as router:
        answers = await router.start(prompt).settled()
    assert {label: answer.status for label, answer in answers.items()} == {A: AttemptStatus.OK, B: AttemptStatus.OK}
    assert server.requests[0].body == server.requests[1].body


async def test_one_arms_answer_does_not_wait_for_the_other(server: StreamingServer, prompt: Prompt) -> None:
    server.script = by_arm(GOOD, SILENT)
    async with routed(server) as router:
        flight = router.start(prompt)
        assert (await asyncio.wait_for(flight.answers[A], 2)).status is AttemptStatus.OK
        assert not flight.answers[B].done()
        flight.stop()
        assert (await flight.answers[B]).status is AttemptStatus.CANCELLED


async def test_one_arms_failure_does_not_touch_the_other(server: StreamingServer, prompt: Prompt) -> None:
    server.script = by_arm(BROKEN, GOOD)
    async with routed(server) as router:
        answers = await router.start(prompt).settled()
    assert (answers[A].error_kind, answers[B].status) == ("http_500", AttemptStatus.OK)


async def test_withdrawn_request_lets_both_run_to_the_cap_and_then_closes_both(
    server: StreamingServer, prompt: Prompt
) -> None:
    server.script = by_arm(SLOW, SILENT)
    async with routed(server, editor={"shadow_cap_s": 1.0}) as router:
        started = now_ns()
        flight = router.start(prompt)
        flight.cancel()
        answers = await flight.settled()
        took_s = (now_ns() - started) / 1e9
    assert answers[A].status is AttemptStatus.OK  # It finished within the cap: recorded as what it is.
    assert answers[B].status is AttemptStatus.CANCELLED
    assert 0.9 < took_s < 2.0
    await asyncio.wait_for(server.client_left.wait(), 5)


async def test_cap_of_zero_closes_at_once(server: StreamingServer, prompt: Prompt) -> None:
    server.script = SILENT
    async with routed(server, editor={"shadow_cap_s": 0}) as router:
        flight = router.start(prompt)
        await asyncio.wait_for(server.client_served.wait(), 5)
        flight.cancel()
        answers = await asyncio.wait_for(flight.settled(), 2)
    assert {answer.status for answer in answers.values()} == {AttemptStatus.CANCELLED}


async def test_a_closed_attempt_keeps_what_had_arrived(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(sse_stream({"model": "m-7b", "choices": [{"text": "half an"}]}), ending="hang")
    async with routed(server, editor={"shadow_cap_s": 1.5}) as router:
        flight = router.start(prompt)
        flight.cancel()
        answers = await asyncio.wait_for(flight.settled(), 5)
    for answer in answers.values():
        assert (answer.status, answer.text, answer.model_returned) == (AttemptStatus.CANCELLED, "half an", "m-7b")
        assert answer.first_byte_ns is not None
        assert answer.end_ns is not None
        assert answer.end_ns > answer.first_byte_ns


async def test_leaving_the_router_ends_what_is_under_way(server: StreamingServer, prompt: Prompt) -> None:
    server.script = SILENT
    async with routed(server) as router:
        flight = router.start(prompt)
        await asyncio.wait_for(server.client_served.wait(), 5)
    assert {task.result().status for task in flight.answers.values()} == {AttemptStatus.CANCELLED}


async def test_each_arm_has_its_own_deadline(server: StreamingServer, prompt: Prompt) -> None:
    server.script = SILENT
    async with routed(server, arms={"a": {"timeout_s": 0.2}, "b": {"timeout_s": 0.6}}) as router:
        flight = router.start(prompt)
        answer = await asyncio.wait_for(flight.answers[A], 2)
        assert (answer.status, answer.text) == (AttemptStatus.TIMEOUT, "so far")
        assert not flight.answers[B].done()
        assert (await flight.answers[B]).status is AttemptStatus.TIMEOUT


async def test_staggered_arms_are_never_at_work_together_and_in_both_orders(
    server: StreamingServer, prompt: Prompt
) -> None:
    server.script = GOOD
    config = config_for(server, editor={"schedule": "staggered"})
    arms = {label: build(config.arms[label], label) for label in ArmLabel}
    async with Router(arms, config, order=random.Random(1)) as router:
        for _ in range(12):
            await router.start(prompt).settled()
    assert server.most_open_streams == 1
    assert {request.path[1] for request in server.requests[::2]} == {"a", "b"}


async def test_attempts_on_the_same_machine_are_counted(server: StreamingServer, prompt: Prompt) -> None:
    server.script = SLOW
    async with routed(server) as router:
        answers = await router.start(prompt).settled()
        assert sorted(answer.in_flight for answer in answers.values()) == [0, 1]
    async with routed(server, arms={"b": {"options": {"accelerator": "gpu-2"}}}) as router:
        answers = await router.start(prompt).settled()
        assert [answer.in_flight for answer in answers.values()] == [0, 0]


async def test_an_arm_that_keeps_failing_is_left_alone_and_that_is_recorded(
    server: StreamingServer, prompt: Prompt
) -> None:
    server.script = by_arm(BROKEN, GOOD)
    async with routed(server) as router:
        kinds = [(await router.start(prompt).settled())[A].error_kind for _ in range(BREAKER_FAILURES + 3)]
        other = (await router.start(prompt).settled())[B]
    assert kinds == ["http_500"] * BREAKER_FAILURES + ["circuit_open"] * 3
    assert other.status is AttemptStatus.OK


async def test_an_arm_that_asks_to_be_left_alone_is_left_alone(server: StreamingServer, prompt: Prompt) -> None:
    server.script = by_arm(Script([], 429, {"retry-after": "30"}), GOOD)
    async with routed(server) as router:
        assert (await router.start(prompt).settled())[A].error_kind == "http_429"
        assert (await router.start(prompt).settled())[A].error_kind == "circuit_open"


async def test_slow_answers_do_not_open_the_breaker(server: StreamingServer, prompt: Prompt) -> None:
    server.script = by_arm(SILENT, GOOD)
    async with routed(server, arms={"a": {"timeout_s": 0.02}}) as router:
        statuses = [(await router.start(prompt).settled())[A].status for _ in range(BREAKER_FAILURES + 2)]
    assert set(statuses) == {AttemptStatus.TIMEOUT}


async def test_nothing_is_retried_unless_asked_for(server: StreamingServer, prompt: Prompt) -> None:
    server.script = BROKEN
    async with routed(server) as router:
        await router.start(prompt).settled()
    assert len(server.requests) == 2


async def test_a_retry_is_recorded_and_counts_from_the_first_try(server: StreamingServer, prompt: Prompt) -> None:
    scripts = iter([BROKEN, GOOD])
    server.script = lambda request: next(scripts) if request.path.startswith("/a/") else GOOD
    async with routed(server, arms={"a": {"options": {"retries": 2}}}) as router:
        answer = (await router.start(prompt).settled())[A]
    assert (answer.status, answer.retries) == (AttemptStatus.OK, 1)
    assert answer.sent_ns is not None
    assert answer.end_ns is not None
    assert answer.end_ns - answer.sent_ns > 0.19e9


async def test_nothing_is_retried_once_text_has_come(server: StreamingServer, prompt: Prompt) -> None:
    server.script = Script(sse_stream({"choices": [{"text": "half"}]}), ending="abort")
    async with routed(server, arms={"a": {"options": {"retries": 2}}}) as router:
        answer = (await router.start(prompt).settled())[A]
    assert (answer.retries, answer.text) == (0, "half")


async def test_what_privacy_refuses_is_refused_for_both(server: StreamingServer, prompt: Prompt) -> None:
    async with routed(server, privacy={"a": {"exclude_languages": ["python"]}}) as router:
        answers = await router.start(prompt).settled()
    assert {answer.status for answer in answers.values()} == {AttemptStatus.REFUSED}
    assert {answer.error_kind for answer in answers.values()} == {"privacy"}
    assert server.requests == []


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [({"requests": 2}, 2), ({"tokens": 1}, 1)],
)
async def test_at_one_arms_limit_both_stop_together(
    server: StreamingServer, prompt: Prompt, limits: dict[str, int], allowed: int
) -> None:
    server.script = GOOD
    async with routed(server, budget={"a": limits}) as router:
        statuses = []
        for _ in range(4):
            answers = await router.start(prompt).settled()
            await asyncio.sleep(0.1)  # Accounting goes on behind the answer; here the order is what is tested.
            statuses.append({answer.status for answer in answers.values()})
    assert statuses == [{AttemptStatus.OK}] * allowed + [{AttemptStatus.OVER_BUDGET}] * (4 - allowed)
    assert len(server.requests) == 2 * allowed


async def test_budget_outlives_the_process(server: StreamingServer, prompt: Prompt) -> None:
    server.script = GOOD
    for status in (AttemptStatus.OK, AttemptStatus.OVER_BUDGET):
        async with routed(server, budget={"b": {"requests": 1}}) as router:
            assert (await router.start(prompt).settled())[A].status is status


async def test_many_requests_at_once_cannot_slip_under_the_limit(server: StreamingServer, prompt: Prompt) -> None:
    server.script = GOOD
    async with routed(server, budget={"a": {"requests": 3}}) as router:
        flights = [router.start(prompt) for _ in range(10)]
        await asyncio.sleep(0)
        late = [router.start(prompt) for _ in range(3)]
        statuses = [(await flight.settled())[A].status for flight in [*flights, *late]]
        # While the uses are being written down, nothing slips through either.
        statuses += [(await router.start(prompt).settled())[A].status for _ in range(10)]
    assert statuses == [AttemptStatus.OK] * 3 + [AttemptStatus.OVER_BUDGET] * 20


def test_a_budget_in_money_needs_a_known_price(server_free_config: Callable[..., Config]) -> None:
    config = server_free_config(budget={"a": {"usd": 1.0}})
    with pytest.raises(ConfigError, match="price of arm A"):
        Router({label: build(config.arms[label], label) for label in ArmLabel}, config)


@pytest.fixture
def server_free_config() -> Callable[..., Config]:
    class Nowhere(StreamingServer):
        url = "http://127.0.0.1:9"

    return lambda **sections: config_for(Nowhere(), **sections)


def test_forbidden_endpoint_stops_the_start(server_free_config: Callable[..., Config]) -> None:
    config = server_free_config(
        privacy={"self_hosted_only": True}, arms={"b": {"url": "https://api.example.com", "name": "hosted"}}
    )
    with pytest.raises(PrivacyError, match=r"api\.example\.com is neither this machine"):
        Router({label: build(config.arms[label], label) for label in ArmLabel}, config)


class Misbehaving:
    """An arm that breaks its contract in a chosen way."""

    def __init__(self, definition: ArmDefinition, how: str) -> None:
        self.definition = definition
        self.how = how

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        if self.how == "raises":
            raise RuntimeError("a fault of our own")
        await asyncio.sleep(60)
        raise AssertionError("never reached")

    async def prepare(self, root: str | None) -> None:
        raise ArmError("the thing is missing: install the thing")

    async def aclose(self) -> None:
        return


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [("raises", AttemptStatus.ERROR, "internal"), ("overruns", AttemptStatus.TIMEOUT, "overrun")],
)
async def test_an_arm_that_breaks_its_contract_is_still_an_answer(
    server: StreamingServer,
    prompt: Prompt,
    how: str,
    status: AttemptStatus,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.script = GOOD
    config = config_for(server, arms={"a": {"timeout_s": 0.1}})
    said: list[str] = []
    arms = {A: Misbehaving(define(config.arms.a, A), how), B: build(config.arms.b, B)}
    async with Router(arms, config, on_notice=said.append) as router:
        router.prepare()
        answers = await router.start(prompt).settled()
    assert (answers[A].status, answers[A].error_kind, answers[B].status) == (status, kind, AttemptStatus.OK)
    assert said == ["One of the two arms cannot answer: the thing is missing: install the thing"]


async def test_secrets_are_masked_before_anything_leaves_the_machine(prompt: Prompt) -> None:
    class Kept(Misbehaving):
        got: Prompt | None = None

        async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
            self.got = prompt
            return Answer(status=AttemptStatus.EMPTY, text="", sent_ns=now_ns())

    overrides = {
        "arms": {
            "a": {"api": "ngram"},
            "b": {"api": "openai-completions", "url": "https://x.example", "model": "m", "template": "prefix-only"},
        }
    }
    config = load(Path("/nowhere"), overrides=overrides)
    arms = {label: Kept(define(config.arms[label], label), "keeps") for label in ArmLabel}
    secret = "AKIA" + "IOSFODNN7EXAMPLE"
    async with Router(arms, config) as router:
        await router.start(
            Prompt(prefix=f"key = '{secret}'\nx = ", suffix="", path="a.py", language="python")
        ).settled()
    for arm in arms.values():
        assert arm.got is not None
        assert secret not in arm.got.prefix
        assert arm.got.prefix.endswith("\nx = ")
