"""One arm's answer as the row that every door stores of it."""

import json

from codetrial.arms.base import Answer
from codetrial.prices import Cost
from codetrial.records import ArmRow, Attempt, AttemptStatus
from codetrial.redact import redact

__all__ = ["attempt_row", "elapsed_ms"]

_ENDED_BY_ITSELF = (AttemptStatus.OK, AttemptStatus.EMPTY, AttemptStatus.ERROR, AttemptStatus.REFUSED)
"""The others were cut off: what they took is a lower bound, stored as censored and not as a latency."""


def attempt_row(
    arm: ArmRow, task: str, answer: Answer, cost: Cost, *, identity: str, is_shown: bool, is_empty: bool = False
) -> Attempt:
    """An attempt's row.

    Args:
        is_shown: The lot fell on this arm; not that anything reached a person's eyes.
        is_empty: The arm said something, and nothing was left of it after the cut.
    """
    took_ms = elapsed_ms(answer.sent_ns, answer.end_ns)
    has_ended = answer.status in _ENDED_BY_ITSELF
    timings = answer.server_timings
    return Attempt(
        id=identity,
        task=task,
        arm=arm.id,
        label=arm.label,
        is_shown=is_shown,
        status=AttemptStatus.EMPTY if is_empty else answer.status,
        error_kind=answer.error_kind,
        error=None if answer.error is None else redact(answer.error),
        sent_ns=answer.sent_ns,
        first_byte_ms=elapsed_ms(answer.sent_ns, answer.first_byte_ns),
        first_line_ms=elapsed_ms(answer.sent_ns, answer.first_line_ns),
        latency_ms=took_ms if has_ended else None,
        censored_at_ms=None if has_ended else took_ms,
        http_status=answer.http_status,
        model_returned=answer.model_returned,
        finish_reason=answer.finish_reason,
        tokens_in=answer.usage.tokens_in,
        tokens_cached=answer.usage.tokens_cached,
        tokens_out=answer.usage.tokens_out,
        tokens_reasoning=answer.usage.tokens_reasoning,
        cost_nanousd=cost.nanousd,
        cost_basis=cost.basis,
        is_cache_hit=answer.is_cache_hit,
        retries=answer.retries,
        in_flight=answer.in_flight,
        server_timings=None if timings is None else json.dumps(dict(timings), sort_keys=True),
    )


def elapsed_ms(start_ns: int | None, end_ns: int | None) -> float | None:
    """None if either moment is unknown."""
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / 1e6
