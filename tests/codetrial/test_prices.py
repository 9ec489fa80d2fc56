"""What an attempt costs: integers, at the time of the request, and unknown when it is unknown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from codetrial.arms import Answer, Usage, define
from codetrial.config import ArmConfig, PriceConfig
from codetrial.prices import UNKNOWN, Cost, cost_of, is_priced
from codetrial.records import Api, ArmLabel, AttemptStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


def answer(**usage: Any) -> Answer:
    counted = Usage(**({"tokens_in": 1_000_000, "tokens_out": 1_000_000} | usage))
    return Answer(status=AttemptStatus.OK, text="x", sent_ns=0, end_ns=1_800_000_000_000, usage=counted)


def cost(api: Api, model: str | None, price: PriceConfig | None = None, **more: Any) -> Cost:
    when = more.pop("when", NOON)
    settings: dict[str, Any] = {"template": "qwen2.5-coder"} if api is Api.OPENAI_COMPLETIONS else {}
    definition = define(ArmConfig(api=api, model=model, **settings, **more.pop("arm", {})), ArmLabel.A)
    return cost_of(definition, price, answer(**more), when=when)


@pytest.mark.parametrize(
    ("api", "model", "usd"),
    [
        (Api.MISTRAL_FIM, "codestral-latest", 1.2),
        (Api.ANTHROPIC_MESSAGES, "claude-haiku-4-5", 6.0),
        (Api.OPENAI_CHAT, "gpt-5-mini", 2.25),
        (Api.GEMINI, "gemini-2.5-flash", 2.8),
    ],
)
def test_listed_price_of_a_million_tokens_each_way(api: Api, model: str, usd: float) -> None:
    found = cost(api, model)
    assert found.nanousd == round(usd * 1e9)
    assert (found.basis or "").startswith("genai-prices ")


def test_cached_input_is_cheaper_and_is_part_of_the_input() -> None:
    full = cost(Api.OPENAI_CHAT, "gpt-5-mini").nanousd
    cached = cost(Api.OPENAI_CHAT, "gpt-5-mini", tokens_cached=1_000_000).nanousd
    assert full is not None
    assert cached is not None
    assert cached < full


def test_price_that_depends_on_the_hour_is_that_of_the_request() -> None:
    day = cost(Api.DEEPSEEK_FIM, "deepseek-chat", when=datetime(2025, 6, 2, 12, 0, tzinfo=UTC))
    night = cost(Api.DEEPSEEK_FIM, "deepseek-chat", when=datetime(2025, 6, 2, 20, 0, tzinfo=UTC))
    assert day.nanousd is not None
    assert night.nanousd is not None
    assert night.nanousd < day.nanousd


@pytest.mark.parametrize(
    ("api", "model", "more"),
    [
        (Api.MISTRAL_FIM, "no-such-model", {}),
        (Api.MISTRAL_FIM, "codestral-latest", {"tokens_out": None}),
        (Api.OPENAI_COMPLETIONS, "gpt-5", {"arm": {"url": "http://10.0.0.1:8000"}}),
        (Api.OPENAI_COMPLETIONS, "deepseek-chat", {"arm": {"url": "https://unknown.example"}}),
    ],
)
def test_unknown_is_unknown_and_never_zero(api: Api, model: str, more: dict[str, Any]) -> None:
    assert cost(api, model, **more) == UNKNOWN


def test_written_prices_come_first() -> None:
    price = PriceConfig(input_usd_per_million=1.0, cached_usd_per_million=0.25, output_usd_per_million=2.0)
    found = cost(Api.MISTRAL_FIM, "codestral-latest", price, tokens_cached=400_000)
    assert found == Cost(2_700_000_000, "configured per token")


def test_price_per_request_needs_no_usage() -> None:
    found = cost(Api.MISTRAL_FIM, "codestral-latest", PriceConfig(request_usd=0.002), tokens_in=None, tokens_out=None)
    assert found == Cost(2_000_000, "configured per request")


def test_own_machine_costs_its_measured_seconds() -> None:
    found = cost(Api.OPENAI_COMPLETIONS, "m", PriceConfig(machine_usd_per_hour=2.0), arm={"url": "http://127.0.0.1:1"})
    assert found == Cost(1_000_000_000, "machine time")  # Half an hour.


def test_a_seat_has_no_price_per_request() -> None:
    assert cost(Api.MISTRAL_FIM, "codestral-latest", PriceConfig(seat_usd_per_month=19.0)) == Cost(None, "seat")


def test_what_was_not_sent_and_what_runs_in_process_cost_nothing() -> None:
    ngram = define(ArmConfig(api=Api.NGRAM), ArmLabel.A)
    hosted = define(ArmConfig(api=Api.MISTRAL_FIM, model="codestral-latest"), ArmLabel.B)
    unsent = Answer(status=AttemptStatus.REFUSED, text="", sent_ns=None)
    assert cost_of(ngram, None, answer(), when=NOON).nanousd == 0
    assert cost_of(hosted, None, unsent, when=NOON).nanousd == 0


def test_whether_a_price_is_known_can_be_asked_before() -> None:
    assert is_priced(define(ArmConfig(api=Api.MISTRAL_FIM, model="codestral-latest"), ArmLabel.A), None)
    assert not is_priced(define(ArmConfig(api=Api.MISTRAL_FIM, model="nope"), ArmLabel.A), None)
