"""Episodes end by the clock: what depends on it, and why."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from analysis.store import Store
from codetrial.assignment import Propensities, draw
from codetrial.clock import now_ns
from codetrial.records import Assignment, Shown, Trial, Unit
from lsp_proxy.evaluator.episodes import Episode, Episodes
from lsp_proxy.evaluator.resume import Resume

SECOND = 1_000_000_000
HALVES = Propensities(0.5, 0.5, 0.0)
TRIAL = Trial(
    id="t-1",
    name="test",
    manifest="{}",
    manifest_hash="h",
    seed="5eed",
    assignment_unit=Unit.EPISODE,
    primary_metric="acceptance",
    created_at="2026-01-01T00:00:00.000Z",
)


def episodes(
    stored: list[Assignment],
    *,
    shares: Propensities = HALVES,
    sample: float = 1.0,
    find: Callable[[str, int], Episode | None] = lambda _document, _now: None,
) -> Episodes:
    return Episodes(
        trial=TRIAL, session="s-1", shares=shares, sample=sample, episode_s=60, put=stored.append, find=find
    )


def test_all_requests_within_the_time_share_an_episode_and_the_next_opens_another() -> None:
    stored: list[Assignment] = []
    unit = episodes(stored)
    first = unit.current("d", 0)
    assert unit.current("d", 60 * SECOND - 1) is first
    assert unit.current("d", 60 * SECOND) is not first
    assert [a.closes_ns for a in stored] == [60 * SECOND, 120 * SECOND]


def test_an_episode_opens_with_a_request_and_not_when_the_last_one_ended() -> None:
    stored: list[Assignment] = []
    unit = episodes(stored)
    unit.current("d", 0)
    assert unit.current("d", 1_000 * SECOND).opened_ns == 1_000 * SECOND


def test_each_document_has_its_own() -> None:
    stored: list[Assignment] = []
    unit = episodes(stored)
    assert unit.current("d", 0) is not unit.current("e", 0)


def test_the_assignment_is_stored_before_anybody_gets_it() -> None:
    stored: list[Assignment] = []
    episode = episodes(stored).current("d", 5)
    [row] = stored
    drawn = draw(TRIAL.seed, episode.id, HALVES, 1.0)
    assert (row.id, row.shown, row.propensity_a) == (episode.id, drawn.shown, 0.5)
    assert (episode.shown, episode.is_sampled) == (drawn.shown, drawn.is_sampled)


def test_an_assignment_that_may_be_lost_is_put_again_as_it_was_while_its_episode_is_open() -> None:
    stored: list[Assignment] = []
    unit = episodes(stored)
    episode = unit.current("d", 0)
    unit.put_again(episode)
    assert stored == [stored[0]] * 2
    unit.current("d", 60 * SECOND)
    unit.put_again(episode)
    assert len(stored) == 3


def test_an_episode_of_another_window_is_joined(tmp_path: Path) -> None:
    with Store(tmp_path / "codetrial.db") as store:
        now = now_ns()
        here = episodes([], find=Resume(store, "t-1").open_episode)
        there = Episodes(
            trial=TRIAL,
            session="s-2",
            shares=HALVES,
            sample=1.0,
            episode_s=60,
            put=store.append,
            find=Resume(store, "t-1").open_episode,
        )
        opened = there.current("d", now)
        assert here.current("d", now + SECOND) == opened
        assert here.current("d", now + 61 * SECOND) != opened
        assert here.current("other", now + SECOND) != opened


# Why the end must not depend on what is taken.

RATE_A, RATE_B = 0.5, 0.2
"""Acceptance in an easy stretch of work; a fifth of it in a hard one."""
HARD = 0.2
TRUTH = (1 + HARD) / 2 * (RATE_A - RATE_B)
"""Easy and hard stretches are as long, and each arm would answer the same requests."""


class Estimate(NamedTuple):
    difference: float
    standard_error: float


def estimate(assign: Callable[[int, bool], tuple[str, Shown]], requests: int) -> Estimate:
    """Acceptance per request of A minus B, clustered by episode, in a developer's stream of requests.

    Args:
        assign: Episode and arm of a request at this time, told whether the request before was accepted.
    """
    chance = random.Random(7)
    by_episode: dict[tuple[str, Shown], list[int]] = defaultdict(lambda: [0, 0])
    was_accepted, is_easy, now = False, True, 0
    for _ in range(requests):
        now += 5 * SECOND
        if chance.random() < 1 / 40:
            is_easy = not is_easy
        episode, shown = assign(now, was_accepted)
        rate = (RATE_A if shown is Shown.A else RATE_B) * (1 if is_easy else HARD)
        was_accepted = chance.random() < rate
        by_episode[episode, shown][0] += was_accepted
        by_episode[episode, shown][1] += 1
    means, variance = [], 0.0
    for arm in (Shown.A, Shown.B):
        sums = [pair for (_, shown), pair in by_episode.items() if shown is arm]
        taken, asked = sum(t for t, _ in sums), sum(n for _, n in sums)
        means.append(taken / asked)
        variance += sum((t - means[-1] * n) ** 2 for t, n in sums) / asked**2
    return Estimate(means[0] - means[1], math.sqrt(variance))


def by_the_clock() -> Callable[[int, bool], tuple[str, Shown]]:
    unit = episodes([])

    def assign(now: int, _: bool) -> tuple[str, Shown]:
        episode = unit.current("d", now)
        return episode.id, episode.shown

    return assign


def by_acceptance() -> Callable[[int, bool], tuple[str, Shown]]:
    """As it must not be: a new episode, and a new draw, after each acceptance."""
    unit = [episodes([])]

    def assign(now: int, was_accepted: bool) -> tuple[str, Shown]:
        if was_accepted:
            unit[0] = episodes([])
        episode = unit[0].current("d", now)
        return episode.id, episode.shown

    return assign


def test_episodes_that_end_by_the_clock_estimate_the_truth_and_ends_by_acceptance_do_not() -> None:
    clock = estimate(by_the_clock(), 120_000)
    taken = estimate(by_acceptance(), 120_000)
    assert abs(clock.difference - TRUTH) < 5 * clock.standard_error
    assert abs(taken.difference - TRUTH) > 5 * taken.standard_error, (clock, taken, TRUTH)
