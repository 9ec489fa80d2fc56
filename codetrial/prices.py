"""What an attempt cost, in integer nano-dollars. Unknown is None, never zero.

Order: the arm's own `[arms.x.price]`, then genai-prices at the time of the request (some prices depend on the hour). A
self-hosted arm is never given a provider's price for a model that happens to have the same name.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import NamedTuple

from codetrial.arms.base import Answer, ArmDefinition, Usage
from codetrial.clock import now_utc
from codetrial.config import PriceConfig
from codetrial.records import Api, AttemptStatus

__all__ = ["UNKNOWN", "Cost", "cost_of", "is_priced", "warm_up"]

NANO = Decimal(10) ** 9
MILLION = Decimal(10) ** 6

_PROVIDERS: Mapping[Api, str] = {
    Api.MISTRAL_FIM: "mistral",
    Api.DEEPSEEK_FIM: "deepseek",
    Api.ANTHROPIC_MESSAGES: "anthropic",
    Api.GEMINI: "google",
}
"""APIs that only one provider speaks; for the others the address tells."""


class Cost(NamedTuple):
    nanousd: int | None
    basis: str | None
    """Where the figure comes from, such as `genai-prices deepseek/deepseek-chat` or `configured per token`."""


UNKNOWN = Cost(None, None)


def cost_of(definition: ArmDefinition, price: PriceConfig | None, answer: Answer, *, when: datetime) -> Cost:
    """The cost of one attempt; unknown where the price or the usage is.

    Args:
        when: When it was sent, UTC.
    """
    if answer.sent_ns is None:
        return Cost(0, "not sent")
    if definition.api is Api.NGRAM:
        return Cost(0, "in process")
    if price is not None:
        configured = _configured(price, answer)
        if configured is not None:
            return configured
    if definition.is_self_hosted or definition.api in (Api.COPILOT, Api.COMMAND):
        return UNKNOWN
    return _listed(definition, price or PriceConfig(), answer, when)


def _configured(price: PriceConfig, answer: Answer) -> Cost | None:
    """By what the user wrote; None if they wrote no price that applies."""
    if price.seat_usd_per_month is not None:
        return Cost(None, "seat")  # Divided by use in the report.
    if price.machine_usd_per_hour is not None and answer.sent_ns is not None and answer.end_ns is not None:
        seconds = Decimal(answer.end_ns - answer.sent_ns) / NANO
        return Cost(_nano(Decimal(str(price.machine_usd_per_hour)) * seconds / 3600), "machine time")
    per_token = price.input_usd_per_million is not None or price.output_usd_per_million is not None
    if not per_token and price.request_usd is None:
        return None
    total = Decimal(str(price.request_usd or 0))
    if per_token:
        usage = answer.usage
        if usage.tokens_in is None or usage.tokens_out is None:
            return Cost(None, "configured per token, usage not reported")
        rate_in = Decimal(str(price.input_usd_per_million or 0))
        cached = usage.tokens_cached or 0
        rate_cached = rate_in if price.cached_usd_per_million is None else Decimal(str(price.cached_usd_per_million))
        total += rate_in * (usage.tokens_in - cached) / MILLION + rate_cached * cached / MILLION
        total += Decimal(str(price.output_usd_per_million or 0)) * usage.tokens_out / MILLION
    return Cost(_nano(total), "configured per token" if per_token else "configured per request")


def _listed(definition: ArmDefinition, price: PriceConfig, answer: Answer, when: datetime) -> Cost:
    usage = answer.usage
    if usage.tokens_in is None or usage.tokens_out is None:
        return UNKNOWN
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    provider = price.provider or _PROVIDERS.get(definition.api)
    counted = Counted(
        input_tokens=usage.tokens_in, cache_read_tokens=usage.tokens_cached, output_tokens=usage.tokens_out
    )
    for model in dict.fromkeys((price.model, definition.model, answer.model_returned)):
        if model is None:
            continue
        try:
            if provider is not None:
                found = calc_price(counted, model, provider_id=provider, genai_request_timestamp=when)
            else:
                found = calc_price(counted, model, provider_api_url=definition.url, genai_request_timestamp=when)
        except (LookupError, ValueError):
            continue  # Not in the list, or the usage contradicts itself: unknown.
        return Cost(_nano(found.total_price), f"genai-prices {_version()} {found.provider.id}/{found.model.id}")
    return UNKNOWN


def _nano(usd: Decimal) -> int:
    return int((usd * NANO).to_integral_value(ROUND_HALF_EVEN))


@lru_cache(maxsize=1)
def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")


def warm_up() -> None:
    """Load the price list; it takes a fifth of a second, so not when the first answer arrives."""
    import genai_prices  # noqa: F401  # Imported for its effect.

    _version()


def is_priced(definition: ArmDefinition, price: PriceConfig | None) -> bool:
    """True if an ordinary answer of this arm would have a known cost."""
    probe = Answer(
        status=AttemptStatus.OK,
        text="x",
        sent_ns=0,
        end_ns=1,
        usage=Usage(tokens_in=100, tokens_cached=0, tokens_out=10),
        model_returned=definition.model,
    )
    return cost_of(definition, price, probe, when=now_utc()).nanousd is not None
