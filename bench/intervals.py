"""False alarms and widths of every kind of interval, looked at 60 times; the long form of the tests' simulations."""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.guardrails import GUARDED
from analysis.published import share_limits
from analysis.statistics import (
    ALPHA,
    centred_ipw,
    cluster_ratio,
    cluster_sums,
    developers_in_general,
    effective_size,
    empirical_bernstein,
    kaplan_meier,
    look_times,
    sample_ratio,
)
from analysis.statistics.contrasts import Cell, contrast
from analysis.statistics.quantiles import rank_limits
from bench.report import Report

Misses = Callable[[np.random.Generator], bool]

RUNS = int(os.environ.get("CODETRIAL_BENCH_RUNS", "1000"))
LOOKS = 60


def run(report: Report) -> None:
    rows = []
    for case in CASES:
        generator = np.random.default_rng(11)
        share = sum(case.misses(generator) for _ in range(RUNS)) / RUNS
        error = 1.96 * math.sqrt(share * (1 - share) / RUNS)
        rows.append([case.name, case.shown_as, f"{case.promised:.2g}%", f"{share:.1%}", f"{error:.1%}"])
    report.table(
        f"How often an interval misses the truth at any of {LOOKS} looks",
        ["interval", "in the report", "promised at most", "misses", "+-"],
        rows,
        command="python -m bench intervals",
        note=f"{RUNS:,} simulated trials each. Rows without a place in the report are there for comparison.",
    )


def _fixed(generator: np.random.Generator) -> bool:
    x = _discordant(generator, 10_000)
    sizes = look_times(len(x), LOOKS)
    sizes = sizes[sizes > 30]
    means = (np.cumsum(x) / np.arange(1, len(x) + 1))[sizes - 1]
    return bool((np.abs(means) > 1.96 * math.sqrt(0.18) / np.sqrt(sizes)).any())


def _discordant(generator: np.random.Generator, size: int) -> np.ndarray:
    return np.where(generator.random(size) < 0.18, generator.choice((-1.0, 1.0), size), 0.0)


def _paired(generator: np.random.Generator) -> bool:
    found = empirical_bernstein(_discordant(generator, 10_000), value_range=2.0, looks=LOOKS)
    return bool(((found.lows > 0) | (found.highs < 0)).any())


def _assigned(generator: np.random.Generator) -> bool:
    size, effect = 10_000, 0.08
    u = generator.random(size)
    is_a, is_b = u < 0.45, (u >= 0.45) & (u < 0.9)
    outcome = generator.random(size) < np.where(is_a, 0.3 + effect, np.where(is_b, 0.3, 0.0))
    z = centred_ipw(outcome, is_a, is_b, np.full(size, 0.45), np.full(size, 0.45))
    found = empirical_bernstein(z, value_range=2 / 0.45, looks=LOOKS)
    return bool(((found.lows > effect) | (found.highs < effect)).any())


def _clustered(generator: np.random.Generator) -> bool:
    sizes = generator.integers(5, 60, 500)
    sums = generator.normal(0, 0.1, 500) * sizes + generator.normal(0, 0.4, 500) * np.sqrt(sizes)
    found = cluster_ratio(sums, sizes)
    return bool(((found.lows > 0) | (found.highs < 0)).any())


def _quantile(generator: np.random.Generator, p: float) -> bool:
    below = np.cumsum(generator.standard_normal(10_000) <= stats.norm.ppf(p))
    for n in look_times(10_000, LOOKS):
        low, high = rank_limits(p, int(n))
        if not low <= below[n - 1] <= high:
            return True
    return False


def _sessions(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Episodes of sessions that differ: their session, and which arm each shows."""
    session = np.repeat(np.arange(count), generator.integers(4, 30, count))
    drawn = generator.random(len(session))
    return session, drawn < 0.45, (drawn >= 0.45) & (drawn < 0.9)


def _by_assignment(
    outcome: np.ndarray, session: np.ndarray, is_a: np.ndarray, is_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shares = np.full(len(session), 0.45)
    values = centred_ipw(outcome, is_a, is_b, shares, shares)
    return values, *cluster_sums(values, session)


def _deciding(generator: np.random.Generator) -> bool:
    effect = 0.05
    session, is_a, is_b = _sessions(generator, 300)
    base = generator.beta(3, 7, 300)[session]
    taken = generator.random(len(session)) < np.where(is_a, np.minimum(base + effect, 1), np.where(is_b, base, 0))
    truth = np.cumsum(np.minimum(base + effect, 1) - base)
    values, sums, sizes = _by_assignment(taken.astype(np.float64), session, is_a, is_b)
    exact = empirical_bernstein(values, value_range=2 / 0.45, looks=LOOKS)
    over_sessions = cluster_ratio(sums, sizes)
    ends = np.cumsum(sizes).astype(np.int64)
    for size, low, high in zip(exact.sizes, exact.lows, exact.highs, strict=True):
        # The hull at this look: the last session that has ended by now.
        closed = int(np.searchsorted(ends, size, side="right"))
        at = int(np.searchsorted(over_sessions.sizes, closed, side="right")) - 1
        if at >= 0:
            low, high = min(low, over_sessions.lows[at]), max(high, over_sessions.highs[at])
        if not low <= truth[size - 1] / size <= high:
            return True
    return False


def _kept_chars(generator: np.random.Generator) -> bool:
    session, is_a, is_b = _sessions(generator, 300)
    mood = np.exp(generator.normal(0, 0.4, 300))[session]
    taken = (generator.random(len(session)) < 0.3) & (is_a | is_b)
    chars = taken * np.exp(generator.normal(3.3, 0.9, len(session))) * mood
    _, sums, sizes = _by_assignment(chars, session, is_a, is_b)
    found = cluster_ratio(sums, sizes)
    return bool(((found.lows > 0) | (found.highs < 0)).any())


def _failures(generator: np.random.Generator, rate: float, outage: float = 0.0, excess: float = 0.0) -> bool:
    """Both arms fail now and then, in some sessions one of them nearly always; B more often by `excess`."""
    tried = generator.integers(10, 60, 300)
    usual = generator.beta(1, 1 / rate - 1, 300)
    a, b = (np.where(generator.random(300) < outage, 0.9, np.minimum(usual + more, 1)) for more in (excess, 0.0))
    difference = generator.binomial(tried, a) - generator.binomial(tried, b)
    found = cluster_ratio(difference, tried, alpha=ALPHA / GUARDED)
    truth = excess * (1 - outage)
    return bool(((found.lows > truth) | (found.highs < truth)).any())


def _share(generator: np.random.Generator, rate: float) -> bool:
    """Taken of those offered, session by session: a share of its own, not a difference."""
    offered = generator.integers(1, 40, 300)
    taken = generator.binomial(offered, generator.beta(4 * rate, 4 * (1 - rate), 300)).astype(float)
    for k in look_times(300, LOOKS):
        found = share_limits(taken[:k], offered[:k].astype(float))
        if found is not None and found.excludes(rate):
            return True
    return False


def _findings(generator: np.random.Generator) -> bool:
    """The share of findings acted on, in pull requests that differ, looked at after each finding."""
    pull = np.repeat(np.arange(300), generator.integers(1, 6, 300))
    hits = generator.random(len(pull)) < generator.beta(2, 6, 300)[pull]
    found = empirical_bernstein(hits, value_range=1.0, start=0.5, looks=LOOKS)
    return bool(((found.lows > 0.25) | (found.highs < 0.25)).any())


def _first_week(generator: np.random.Generator) -> bool:
    x = _discordant(generator, 10_000)
    parts = (empirical_bernstein(part, value_range=2.0, looks=LOOKS) for part in (x[:2500], x[2500:]))
    return any(bool(((found.lows > 0) | (found.highs < 0)).any()) for found in parts)


def _developers(generator: np.random.Generator, kind: str, count: int) -> bool:
    people = generator.normal(0, 0.03, count)
    for look in range(1, 7):
        seen = people + generator.normal(0, 0.05 / math.sqrt(look), count)
        claim = developers_in_general(seen, look=look, seed=look)
        if claim is not None and getattr(claim, kind).excludes(0.0):
            return True
    return False


def _contrast(generator: np.random.Generator, signs: tuple[float, ...], mean: float) -> bool:
    cells = []
    rate = generator.beta(8 * mean, 8 * (1 - mean), 300)
    for sign in signs:
        weights = generator.integers(0, 4, 300).astype(np.float64)
        hits = generator.binomial(weights.astype(np.int64), rate).astype(np.float64)
        cells.append(Cell(sign, hits, weights, weights))
    found = contrast(cells).sequence
    return bool(((found.lows > 0) | (found.highs < 0)).any())


def _ratio(generator: np.random.Generator) -> bool:
    shares = (0.45, 0.45, 0.10)
    draws = np.cumsum(generator.multinomial(50, shares, LOOKS), axis=0)
    return any(sample_ratio([int(n) for n in row], shares).is_mismatch for row in draws)


LATENCY_SPREAD, SESSION_SPREAD = 0.5, 0.3
"""Of the logarithm, within a session and between sessions (a network, a time of day, a load)."""


def _session_quantile(
    generator: np.random.Generator, p: float, *, naive: bool = False, alpha: float = ALPHA / 2
) -> bool:
    """Over sessions, looked at whenever some more have ended, with the limits that the report shows."""
    sizes = generator.integers(5, 75, 200)
    session = np.repeat(np.arange(200), sizes)
    x = generator.normal(0, SESSION_SPREAD, 200)[session] + generator.normal(0, LATENCY_SPREAD, len(session))
    below = x <= stats.norm.ppf(p) * math.hypot(LATENCY_SPREAD, SESSION_SPREAD)
    sums, squares, hits = (np.bincount(session, values, 200) for values in (x, x * x, below))
    for k in look_times(200, LOOKS):
        n = int(sizes[:k].sum())
        worth = n if naive else max(1, int(effective_size(sizes[:k], sums[:k], float(squares[:k].sum()))))
        least, most = rank_limits(p, worth, alpha=alpha)
        if not math.floor(least * n / worth) <= hits[:k].sum() <= math.ceil(most * n / worth):
            return True
    return False


def _naive_median(generator: np.random.Generator) -> bool:
    return _session_quantile(generator, 0.5, naive=True, alpha=ALPHA)


HAZARDS = np.array([0.15, 0.1, 0.05, 0.05])


def _session_retention(generator: np.random.Generator) -> bool:
    """Three taken texts a session; how much people rewrite differs by session."""
    hazards = np.repeat(generator.beta(HAZARDS * 8, (1 - HAZARDS) * 8, (1000, 4)), 3, axis=0)
    return _misses_retention(generator.random((3000, 4)) < hazards)


def _retention(generator: np.random.Generator) -> bool:
    return _misses_retention(generator.random((3000, 4)) < HAZARDS)


def _misses_retention(lost: np.ndarray) -> bool:
    at = np.where(lost.any(axis=1), lost.argmax(axis=1), 4)
    truth = np.cumprod(1 - HAZARDS)
    for n in look_times(3000, LOOKS // 3):
        risk = [int((at[:n] >= j).sum()) for j in range(4)]
        gone = [int((at[:n] == j).sum()) for j in range(4)]
        points = kaplan_meier((30, 120, 300, 600), risk, gone, (0, 0, 0, 0))
        for point, true in zip(points, truth, strict=True):
            if point.low is not None and point.high is not None and not point.low <= true <= point.high:
                return True
    return False


class Case(NamedTuple):
    name: str
    shown_as: str
    misses: Misses
    promised: float = 5.0
    """Percent."""


CASES = (
    Case("fixed 95%", "", _fixed),
    Case("empirical-Bernstein, paired, no effect", "effect over episodes", _paired),
    Case("empirical-Bernstein, by assignment, 8 points", "effect over episodes", _assigned),
    Case("asymptotic, sessions that differ", "effect over sessions", _clustered),
    Case("both together, by assignment, sessions that differ", "verdict, groups of --by", _deciding),
    Case("asymptotic, by assignment, lengths that differ", "kept characters", _kept_chars),
    Case("empirical-Bernstein, both parts", "first week and later", _first_week),
    Case("t at planned looks, 20 developers", "developers in general", partial(_developers, kind="interval", count=20)),
    Case("t at planned looks, 10 developers", "developers in general", partial(_developers, kind="interval", count=10)),
    Case("wild bootstrap, 20 developers", "beside it, in JSON", partial(_developers, kind="bootstrap", count=20)),
    Case("wild bootstrap, 10 developers", "beside it, in JSON", partial(_developers, kind="bootstrap", count=10)),
    Case("asymptotic, 2% fail", "failures", partial(_failures, rate=0.02), 5 / GUARDED),
    Case("asymptotic, 0.2% fail", "failures", partial(_failures, rate=0.002), 5 / GUARDED),
    Case("asymptotic, A fails 1 point more", "failures", partial(_failures, rate=0.002, excess=0.01), 5 / GUARDED),
    Case("asymptotic, outages of 1% of sessions", "failures", partial(_failures, rate=0.01, outage=0.01), 5 / GUARDED),
    Case("asymptotic, share of 30%", "published measures", partial(_share, rate=0.3)),
    Case("asymptotic, share of 2%", "published measures", partial(_share, rate=0.02)),
    Case("asymptotic, share of 98%", "published measures", partial(_share, rate=0.98)),
    Case("empirical-Bernstein, pull requests that differ", "findings acted on", _findings),
    Case("contrast of two rates of 25%", "posted minus held back", partial(_contrast, signs=(1, -1), mean=0.25)),
    Case("contrast of two rates of 3%", "posted minus held back", partial(_contrast, signs=(1, -1), mean=0.03)),
    Case("contrast of four rates of 25%", "reviews' verdict", partial(_contrast, signs=(1, -1, -1, 1), mean=0.25)),
    Case("contrast of four rates of 3%", "reviews' verdict", partial(_contrast, signs=(1, -1, -1, 1), mean=0.03)),
    Case("alarm", "sample ratio", _ratio, 0.1),
    Case("median, independent", "", partial(_quantile, p=0.5)),
    Case("95th percentile, independent", "", partial(_quantile, p=0.95)),
    Case("median, sessions that differ", "latency, one arm", partial(_session_quantile, p=0.5), 2.5),
    Case("95th percentile, sessions that differ", "latency, one arm", partial(_session_quantile, p=0.95), 2.5),
    Case("the same as a guardrail", "latency, one arm", partial(_session_quantile, p=0.95, alpha=ALPHA / 6), 5 / 6),
    Case("median, sessions that differ, taken as independent", "", _naive_median),
    Case("Kaplan-Meier, four horizons", "retention", _retention),
    Case("Kaplan-Meier, sessions that differ", "retention", _session_retention),
)
