"""How long a trial must run, and what to do instead."""

import asyncio
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.cost import Hosting
from analysis.replay.book import Book
from analysis.replay.cursors import CursorKind, CursorTask
from analysis.replay.paired import Replays, load_paired
from analysis.replay.plan import Assumptions, Plan, make_plan
from analysis.replay.start import CLIENT
from codetrial.arms.base import Answer, Prompt
from codetrial.config import default
from codetrial.errors import EvidenceError
from codetrial.manifest import freeze
from codetrial.prices import Cost
from codetrial.records import ArmLabel, AttemptStatus, Place, Record

TRUTH = "value = compute(one, two)"
NOTHING = {ArmLabel.A: False, ArmLabel.B: False}
MINE = {ArmLabel.A: True, ArmLabel.B: False}


def cursor(number: int, commits: int) -> CursorTask:
    return CursorTask(
        key=f"k{number}",
        commit=f"{number % commits:040x}",
        parent="p",
        path=f"f{number % 7}.py",
        language="python",
        kind=CursorKind.HUNK_START,
        trigger=None,
        place=Place.LINE_START,
        line=1,
        character=0,
        prefix="x = 1\n",
        suffix="",
        written=TRUTH,
    )


async def recorded(
    folder: Path, *, a: float, b: float, tasks: int = 400, commits: int = 80, usd: float = 0.001
) -> Replays:
    """A store with a replay in which each arm was right so often; the records are written as by a replay."""
    config = default()
    trial, rows = freeze(config)
    draw = random.Random(7)
    prompt = Prompt(prefix="x = 1\n", suffix="", path="f.py", language="python")
    book = Book(folder / "r.db", trial, rows, client=CLIENT, repository=None)
    records: list[Record] = []
    for number in range(tasks):
        answers = {
            label: Answer(
                status=AttemptStatus.OK,
                text=TRUTH if draw.random() < share else "zzz",
                sent_ns=0,
                end_ns=1_000_000,
            )
            for label, share in ((ArmLabel.A, a), (ArmLabel.B, b))
        }
        costs = {ArmLabel.A: Cost(0, "in process"), ArmLabel.B: Cost(int(usd * 1e9), "configured")}
        task = cursor(number, commits)
        records += book.completion(task, prompt, answers, costs, max_lines=8, requested_ns=0)
    await book.add(records)
    book.close("finished")
    return Replays(folder / "r.db", trial.id, client=CLIENT)


def planned(replays: Replays, **more: object) -> Plan:
    assumptions = replace(Assumptions(developers=20), **more)  # type: ignore[arg-type]  # Checked by the dataclass.
    return make_plan(replays, assumptions, self_hosted=NOTHING)


async def test_intervals_are_over_commits(tmp_path: Path) -> None:
    await recorded(tmp_path, a=0.6, b=0.3)
    paired = load_paired(tmp_path / "r.db", freeze(default())[0].id, client=CLIENT)
    assert (paired.tasks, paired.commits, paired.files) == (400, 80, 7)
    first = paired.metrics[0]
    assert first.over_commits is not None
    assert first.over_commits.low < first.a - first.b < first.over_commits.high
    assert first.over_commits.excludes(0.0)
    assert first.over_files is None  # Seven files are too few.
    assert first.better_a + first.equal + first.better_b == 400


async def test_more_developers_and_larger_differences_take_fewer_days(tmp_path: Path) -> None:
    replays = await recorded(tmp_path, a=0.6, b=0.55)
    alone, team = planned(replays, developers=1), planned(replays, developers=20)
    for one, many in zip(alone.durations, team.durations, strict=True):
        assert one.agreement_days is not None
        assert many.agreement_days is not None
        assert one.agreement_days == pytest.approx(20 * many.agreement_days)
    days = [d.agreement_days or 0 for d in team.durations if d.none_share == 0.1]
    assert days == sorted(days, reverse=True)
    by_share = [d.agreement_days or 0 for d in team.durations if d.difference == 0.03]
    assert by_share == sorted(by_share, reverse=True)


async def test_acceptance_needs_what_was_simulated(tmp_path: Path) -> None:
    """30,961 shown units for 2 points at 29 % acceptance, shares .45, no design effect: an independent simulation."""
    replays = await recorded(tmp_path, a=0.6, b=0.55)
    plan = planned(replays, developers=1, episodes_per_day=1.0, session_effect=1.0)
    [row] = [d for d in plan.durations if d.difference == 0.02 and d.none_share == 0.1]
    assert row.acceptance_days == pytest.approx(30_961, rel=0.25)
    [shadow] = [d for d in plan.durations if d.difference == 0.02 and d.none_share == 1.0]
    assert shadow.acceptance_days is None


async def test_one_developer_is_told_not_to_wait_for_one_point(tmp_path: Path) -> None:
    replays = await recorded(tmp_path, a=0.6, b=0.55)
    plan = planned(replays, developers=1, difference=0.001, episodes_per_day=20.0)
    assert (plan.advice, plan.none_share, plan.days, plan.trial_usd) == ("do not start yet", None, None, None)


async def test_the_trial_pays_both_arms(tmp_path: Path) -> None:
    plan = planned(await recorded(tmp_path, a=0.6, b=0.55, usd=0.001), developers=10)
    assert plan.advice == "start the trial"
    assert plan.days is not None
    assert plan.trial_usd == pytest.approx(0.001 * 10 * 200 * 5 * plan.days)
    assert plan.month_usd[ArmLabel.B] == pytest.approx(0.001 * plan.requests_per_month)


HOSTING = Hosting(gpu_usd_per_hour=2.5, completions_per_s=13.0)


@pytest.mark.parametrize(
    ("a", "b", "usd", "developers", "advice"),
    [
        (0.2, 0.8, 0.001, 20, "use the general model"),
        (0.6, 0.6, 0.0002, 5, "do not self-host at this volume"),
        (0.9, 0.4, 0.02, 500, "self-host"),
    ],
)
async def test_advice_follows_the_numbers(
    tmp_path: Path, a: float, b: float, usd: float, developers: int, advice: str
) -> None:
    replays = await recorded(tmp_path, a=a, b=b, usd=usd)
    assumptions = Assumptions(developers=developers, hosting=HOSTING)
    plan = make_plan(replays, assumptions, self_hosted=MINE)
    assert plan.advice == advice
    assert len(plan.hosting) > 5
    assert any("a month" in reason for reason in plan.reasons)


async def test_too_little_replay_is_said_with_the_mend(tmp_path: Path) -> None:
    replays = await recorded(tmp_path, a=0.6, b=0.5, tasks=20, commits=10)
    with pytest.raises(EvidenceError, match=r"at least 30 commits.*there are 10.*codetrial replay"):
        planned(replays)


async def test_arms_that_never_differ_give_no_plan(tmp_path: Path) -> None:
    replays = await recorded(tmp_path, a=1.0, b=1.0)
    with pytest.raises(EvidenceError, match="equally well"):
        planned(replays)


def test_the_command_end_to_end(tmp_path: Path) -> None:
    asyncio.run(recorded(tmp_path, a=0.6, b=0.5))
    command = [sys.executable, "-m", "codetrial.cli", "plan", "--developers", "12", "--store", str(tmp_path / "r.db")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["assumptions"]["developers"] == 12
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "working days until decided" in shown.stdout
