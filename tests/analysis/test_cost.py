"""Costs against sums done by hand, break-even against its own definition, and the probe on a real arm."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from analysis.cost import Hosting, arm_costs, break_even, monthly_usd, requests_per_month, sensitivity
from analysis.cost_commands import cost
from analysis.cost_report import probe, sample_prompts
from analysis.queries import Evidence, gather
from analysis.report import schema
from analysis.report_commands import report
from analysis.source import SqliteSource
from codetrial.arms import build as build_arm
from codetrial.config import ArmConfig, load
from codetrial.records import Api, ArmLabel
from tests.analysis.synthetic import Plan, Truth, build, with_
from tests.codetrial.streaming import Script, StreamingServer, sse, sse_stream

PLAN = with_(Plan(), sessions=20, b=Truth(name="own", cost_nanousd=None, is_self_hosted=True))

HOSTING = Hosting(gpu_usd_per_hour=2.5, completions_per_s=13.2)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cost") / "codetrial.db", PLAN)


@pytest.fixture(scope="module")
def evidence(database: Path) -> Evidence:
    return gather(SqliteSource(database), now=PLAN.end)


def test_costs_are_the_sums_done_by_hand(evidence: Evidence) -> None:
    found = arm_costs(evidence)[ArmLabel.A]
    each = 450_000e-9
    assert found.measured_usd == pytest.approx(720 * each)
    assert found.per_1000_completions_usd == pytest.approx(0.45)
    chosen = evidence.episodes.is_a
    asked, taken = evidence.funnel[ArmLabel.A]["routed"], evidence.episodes.accepted_chars[chosen].sum()
    assert found.per_1000_accepted_chars_usd == pytest.approx(each * asked / taken * 1000)
    monthly = requests_per_month(evidence)
    assert monthly == pytest.approx(720 / len(evidence.tasks_by_day) * 22)
    assert found.per_month_usd == pytest.approx(each * (monthly or 0))


def test_an_unknown_price_is_unknown_everywhere(evidence: Evidence) -> None:
    found = arm_costs(evidence)[ArmLabel.B]
    assert found.measured_usd is None
    assert found.per_kept_1000_chars_usd is None
    assert found.per_month_usd is None


@given(
    gpu=st.floats(0.1, 20),
    speed=st.floats(0.5, 100),
    replicas=st.integers(1, 8),
    operations=st.floats(0, 20_000),
    price=st.floats(0.01, 20),
)
def test_from_the_break_even_on_self_hosting_costs_no_more(
    gpu: float, speed: float, replicas: int, operations: float, price: float
) -> None:
    hosting = Hosting(
        gpu_usd_per_hour=gpu, completions_per_s=speed, replicas=replicas, operations_usd_per_month=operations
    )
    found = break_even(hosting, api_usd_per_1000=price, completions=1000)
    if found.completions_per_month is None:
        return
    at = found.completions_per_month * 1.000001
    below = found.completions_per_month * 0.9
    assert found.api_usd_per_month == pytest.approx(found.completions_per_month * price / 1000)
    # A step of the staircase may begin just there; half a step on is inside it.
    assert monthly_usd(hosting, at)[1] <= at * price / 1000 * 1.001 or monthly_usd(hosting, at)[0] > hosting.replicas
    assert monthly_usd(hosting, below)[1] >= below * price / 1000 * 0.999 or found.gpus > hosting.replicas


def test_a_cheap_api_is_never_beaten_by_idle_machines() -> None:
    assert break_even(HOSTING, api_usd_per_1000=0.05, completions=100_000).completions_per_month is None
    assert break_even(HOSTING, api_usd_per_1000=0.0, completions=100_000).completions_per_month is None


def test_a_dear_api_is_beaten_at_the_price_of_two_machines() -> None:
    found = break_even(HOSTING, api_usd_per_1000=5.10, completions=100_000)
    assert found.per_month_usd == pytest.approx(2 * 2.5 * 730)
    assert found.api_usd_per_month == pytest.approx(3650)


def test_sensitivity_changes_one_assumption_at_a_time() -> None:
    rows = sensitivity(HOSTING, api_usd_per_1000=5.10, completions=100_000)
    assert rows[0].hosting == HOSTING
    for row in rows[1:]:
        changed = [n for n in HOSTING.__dataclass_fields__ if getattr(row.hosting, n) != getattr(HOSTING, n)]
        assert len(changed) == 1
    assert replace(HOSTING, replicas=1) in [row.hosting for row in rows]


async def test_the_probe_measures_a_real_arm(tmp_path: Path) -> None:
    arm = build_arm(load(tmp_path).arms[ArmLabel.A], ArmLabel.A)
    try:
        found = await probe(arm, sample_prompts(6), concurrency=3)
    finally:
        await arm.aclose()
    assert found.requests == 6
    assert found.failed == 0
    assert found.completions_per_s > 0


def test_sample_prompts_differ_and_are_nobodys_own_code() -> None:
    found = sample_prompts(20)
    assert len({prompt.prefix for prompt in found}) == 20
    assert all(len(prompt.prefix) == 3000 for prompt in found)


def test_the_command_says_what_is_unknown_and_what_it_assumes(database: Path) -> None:
    runner, store = CliRunner(), ["--store", str(database)]
    plain = runner.invoke(cost, store, catch_exceptions=False).output
    assert "own: the price of 720 attempts is unknown." in plain
    own = ["--gpu-usd", "2.5", "--per-second", "13.2"]
    found = json.loads(runner.invoke(cost, [*store, *own, "--json"], catch_exceptions=False).output)
    assert found["break_even"]["against"] == "codestral-2508"
    assert found["trial_usd"] is None
    assert found["reviews"] is None
    assert "never" in runner.invoke(cost, [*store, *own], catch_exceptions=False).output
    assert runner.invoke(cost, [*store, "--gpu-usd", "2.5"]).exit_code == 2
    refused = runner.invoke(cost, [*store, *own, "--against", "B"])
    assert "there is nothing to compare" in str(refused.exception)


SEATS = with_(
    Plan(),
    sessions=20,
    a=Truth(name="copilot", cost_nanousd=None),
    b=Truth(name="own", cost_nanousd=0, is_self_hosted=True),
    seat_usd=(19.0, None),
)


@pytest.fixture(scope="module")
def with_seats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("seats") / "codetrial.db", SEATS)


def test_a_seat_is_shared_by_its_use(with_seats: Path) -> None:
    evidence = gather(SqliteSource(with_seats), now=SEATS.end)
    found = arm_costs(evidence)[ArmLabel.A]
    monthly = requests_per_month(evidence)
    assert monthly is not None
    assert (found.seats, found.per_month_usd) == (4, 4 * 19.0)
    assert found.per_1000_completions_usd == pytest.approx(4 * 19.0 / monthly * 1000)
    assert found.measured_usd == pytest.approx(4 * 19.0 * evidence.days / (365.25 / 12))
    kept = evidence.episodes.kept_chars[evidence.episodes.is_a].sum()
    asked = evidence.funnel[ArmLabel.A]["routed"]
    assert found.per_kept_1000_chars_usd == pytest.approx(4 * 19.0 / monthly * asked / kept * 1000)


def test_against_seats_the_break_even_is_a_number_of_developers(with_seats: Path) -> None:
    own = ["--store", str(with_seats), "--gpu-usd", "0.5", "--per-second", "50", "--replicas", "1", "--json"]
    found = json.loads(CliRunner().invoke(cost, own, catch_exceptions=False).output)["break_even"]
    first = found["rows"][0]
    assert found["seat_usd_per_month"] == 19.0
    assert first["developers"] == math.ceil(0.5 * 730 / 19)
    assert first["api_usd_per_month"] == first["developers"] * 19.0


def test_the_cost_page_draws_the_break_even_with_its_table(database: Path, tmp_path: Path) -> None:
    html = tmp_path / "cost.html"
    own = ["--gpu-usd", "0.002", "--per-second", "13.2", "--html", str(html)]
    done = CliRunner().invoke(cost, ["--store", str(database), *own], catch_exceptions=False)
    assert f"The page: {html}" in done.output
    text = html.read_text()
    assert 'aria-labelledby="even-title even-desc"' in text
    assert text.count("<tr") >= 12
    assert "half the GPU price" in text
    assert "Cheaper from" in text


def test_the_report_shows_the_same_break_even(database: Path) -> None:
    own = ["--store", str(database), "--gpu-usd", "2.5", "--per-second", "13.2", "--json"]
    by_cost = json.loads(CliRunner().invoke(cost, own, catch_exceptions=False).output)["break_even"]
    reported = json.loads(CliRunner().invoke(report, own, catch_exceptions=False).output)
    assert reported["break_even"] == by_cost
    jsonschema.validate(reported, schema())


async def test_the_probe_measures_a_server_that_streams() -> None:
    """Eight requests, two at a time, each a tenth of a second: so many a second, and tokens as the server tells."""
    async with StreamingServer() as server:
        chunk = {"choices": [{"index": 0, "text": "return 1", "finish_reason": None}]}
        last = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 700, "completion_tokens": 4, "total_tokens": 704}}
        server.script = Script([sse(chunk), 0.1, *sse_stream(last, usage, "[DONE]")])
        config = ArmConfig(api=Api.OPENAI_COMPLETIONS, url=f"{server.url}/v1", model="m", template="qwen2.5-coder")
        arm = build_arm(config, ArmLabel.A)
        try:
            found = await probe(arm, sample_prompts(8), concurrency=2)
        finally:
            await arm.aclose()
    assert (found.requests, found.failed, found.concurrency) == (8, 0, 2)
    assert server.most_open_streams == 2
    assert found.latency_p50_ms is not None
    assert found.latency_p50_ms >= 100
    assert found.completions_per_s == pytest.approx(8 / found.seconds)
    assert found.tokens_in_per_s == pytest.approx(8 * 700 / found.seconds)


async def test_the_probe_counts_what_failed() -> None:
    async with StreamingServer() as server:
        server.script = Script([b"no"], status=500)
        config = ArmConfig(api=Api.OPENAI_COMPLETIONS, url=f"{server.url}/v1", model="m", template="qwen2.5-coder")
        arm = build_arm(config, ArmLabel.A)
        try:
            found = await probe(arm, sample_prompts(3), concurrency=1)
        finally:
            await arm.aclose()
    assert (found.failed, found.completions_per_s, found.latency_p50_ms) == (3, 0.0, None)
