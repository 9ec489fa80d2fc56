"""False alarms and widths of every kind of interval, looked at 60 times; the long form of the tests' simulations."""

import math
import os
from collections.abc import Callable

import numpy as np
from scipy import stats

from analysis.statistics import centred_ipw, cluster_ratio, empirical_bernstein, kaplan_meier, look_times
from analysis.statistics.quantiles import rank_limits
from bench.report import Report

RUNS = int(os.environ.get("CODETRIAL_BENCH_RUNS", "1000"))
LOOKS = 60


def run(report: Report) -> None:
    cases: list[tuple[str, Callable[[np.random.Generator], bool]]] = [
        ("fixed 95% interval, for comparison", _fixed),
        ("empirical-Bernstein, paired, no effect", _paired),
        ("empirical-Bernstein, by assignment, 8 points", _assigned),
        ("asymptotic over sessions that differ", _clustered),
        ("median, beta-binomial", lambda generator: _quantile(generator, 0.5)),
        ("95th percentile, beta-binomial", lambda generator: _quantile(generator, 0.95)),
        ("retention, four horizons", _retention),
    ]
    rows = []
    for name, misses in cases:
        generator = np.random.default_rng(11)
        share = sum(misses(generator) for _ in range(RUNS)) / RUNS
        rows.append([name, f"{share:.1%}", f"{1.96 * math.sqrt(share * (1 - share) / RUNS):.1%}"])
    report.table(
        f"How often an interval misses the truth at any of {LOOKS} looks",
        ["interval", "misses", "+-"],
        rows,
        command="python -m bench intervals",
        note=f"{RUNS:,} simulated trials each; promised are 5% at most.",
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


HAZARDS = np.array([0.15, 0.1, 0.05, 0.05])


def _retention(generator: np.random.Generator) -> bool:
    lost = generator.random((3000, 4)) < HAZARDS
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
