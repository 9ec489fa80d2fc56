"""What a report says about an arm in the same words whichever door it answers at."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.guardrails import Guardrail
from analysis.queries import Latencies
from analysis.statistics import ALPHA, bin_edges, quantile

__all__ = ["guardrail_numbers", "latency_numbers"]

Json = dict[str, Any]

LATENCY_POINTS = 120


def latency_numbers(latencies: Latencies) -> Json:
    """Quantiles with their limits, and the curve."""
    _, highs = bin_edges(latencies.bins)
    return {f"p{p}": _quantile(latencies, p / 100) for p in (50, 95)} | {
        "timed": int(latencies.counts.sum()),
        "not_timed": latencies.cut_off,
        "ecdf": _ecdf(highs, latencies.counts),
    }


def _quantile(latencies: Latencies, p: float) -> Json | None:
    lows, highs = bin_edges(latencies.bins)
    found = quantile(lows, highs, latencies.counts, p, alpha=ALPHA / 2, effective=latencies.effective)
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _ecdf(highs: Any, counts: Any) -> list[list[float]]:
    """Points (milliseconds, share at or below), few enough for a page."""
    if not len(counts):
        return []
    shares = np.cumsum(counts) / counts.sum()
    chosen = np.unique(np.linspace(0, len(shares) - 1, LATENCY_POINTS).round().astype(int))
    return [[round(float(highs[i]), 2), round(float(shares[i]), 5)] for i in chosen]


def guardrail_numbers(guardrails: Iterable[Guardrail]) -> list[Json]:
    return [
        {
            "name": g.name,
            "title": g.title,
            "a": g.a,
            "b": g.b,
            "margin": g.margin,
            "harms": g.harms.value if g.harms else None,
            "note": g.note,
        }
        for g in guardrails
    ]
