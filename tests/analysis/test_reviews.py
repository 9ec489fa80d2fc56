"""The review door in the report: trials whose truth is known, on a real database, through the command."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from analysis.report import make, schema
from analysis.report.html import page
from analysis.report_commands import report as report_command
from analysis.ship import ship
from analysis.source import SqliteSource
from analysis.statistics.contrasts import Cell, contrast
from analysis.store import Store
from codetrial.records import AttemptStatus
from tests.analysis.made_reviews import Reviewer, ReviewPlan, build_reviews, with_reviews
from tests.analysis.synthetic import Plan, build, with_

BETTER = with_reviews(
    ReviewPlan(), pulls=240, a=Reviewer(name="keen", anyway=0.1, posted=0.75), shared=0.2, post_share=0.6
)


def run(store: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(report_command, ["--store", str(store), *arguments])


def said(store: Path, *arguments: str) -> dict[str, Any]:
    done = run(store, "--json", *arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    jsonschema.validate(found, schema())
    return found


def reviews_of(tmp_path: Path, plan: ReviewPlan, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = said(build_reviews(tmp_path / "codetrial.db", plan), *arguments)["reviews"]
    return found


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_reviews(tmp_path_factory.mktemp("reviews") / "codetrial.db", BETTER)


def test_the_arm_whose_findings_people_act_on_because_they_are_posted_wins(better: Path) -> None:
    found = said(better, "--door", "reviews")["reviews"]
    assert found["verdict"]["sentence"].startswith("keen wins: posting its findings makes developers act on ")
    assert found["arms"]["A"]["own"]["net"]["interval"]["low"] > 0.4
    interval = found["primary"]["interval"]
    assert interval["low"] < 0.55 < interval["high"]


def test_rates_are_counts_of_final_outcomes_and_shared_findings_stand_apart(better: Path) -> None:
    found = said(better)["reviews"]
    with Store(better, readonly=True) as store:
        counts = store.rows(
            """
            SELECT f.stratum, a.shown = 'none' AS held, count(*) AS n, sum(o.outcome = 'changed') AS acted
            FROM finding f JOIN assignment a ON a.id = f.assignment JOIN outcome o ON o.suggestion = f.id
            WHERE o.rule LIKE 'final_%' AND f.id LIKE '%-0' GROUP BY 1, 2
            """
        )
    for row in counts:
        if row["stratum"] != "both":
            rate = found["arms"][row["stratum"]]["own"]["held_back" if row["held"] else "posted"]
            assert (rate["findings"], rate["acted_on"]) == (row["n"], row["acted"])
    both = [row for row in counts if row["stratum"] == "both"]
    shared = found["shared"]
    assert shared["findings"] == sum(row["n"] for row in both) > 0, "a finding that both had counts once"
    spoken = shared["in_words_of"]
    assert spoken["A"]["findings"] + spoken["B"]["findings"] == shared["posted"]["findings"]


def test_all_forms_show_the_comparison_costs_and_reactions(better: Path, tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    forms = [run(better, "--markdown").output, run(better, "--html", str(html)).output, html.read_text()]
    for text in forms:
        squeezed = " ".join(text.split())
        for wanted in ("Posted minus held back", "keen wins", "Held back", "liked", "Cost per finding acted on"):
            assert wanted in squeezed
    assert "reviews acted_on,posted minus held back,A-B," in run(better, "--csv").output
    assert html.read_text().count("<svg role=") == 2


def test_costs_per_finding_acted_on_are_the_sums_done_by_hand(better: Path) -> None:
    found = said(better)["reviews"]
    cost = found["arms"]["A"]["cost"]
    assert cost["per_review_usd"] == pytest.approx(0.02)
    assert cost["trial_usd"] == pytest.approx(240 * 0.02)
    own, shared = found["arms"]["A"]["own"], found["shared"]
    acted = own["findings"] * own["posted"]["rate"] + shared["findings"] * shared["posted"]["rate"]
    because = own["findings"] * own["net"]["estimate"] + shared["findings"] * shared["net"]["estimate"]
    assert cost["per_finding_acted_on_usd"] == pytest.approx(240 * 0.02 / acted)
    assert cost["per_finding_acted_on_because_posted_usd"] == pytest.approx(240 * 0.02 / because)


def test_arms_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    found = reviews_of(tmp_path, with_reviews(ReviewPlan(), pulls=120))
    assert found["verdict"]["decision"] == "not_yet"
    assert "more day" in found["verdict"]["sentence"]
    interval = found["primary"]["interval"]
    assert interval["low"] < 0 < interval["high"]


def test_a_wide_margin_makes_a_tie(tmp_path: Path) -> None:
    plan = with_reviews(ReviewPlan(), pulls=200, post_share=0.5, margins=(("acted_on", 0.6),))
    assert reviews_of(tmp_path, plan)["verdict"]["decision"] == "tie"


def test_below_thirty_finished_pull_requests_nothing_is_decided(tmp_path: Path) -> None:
    found = reviews_of(tmp_path, with_reviews(BETTER, pulls=29))
    assert (
        found["verdict"]["sentence"]
        == "Not yet: 29 of 29 pull requests with findings are finished; a comparison needs 30."
    )
    assert found["primary"]["interval"] is None
    assert found["arms"]["A"]["own"]["net"]["refused"] == "needs 30 finished pull requests, has 29"


def test_open_pull_requests_are_counted_and_wait(tmp_path: Path) -> None:
    found = reviews_of(tmp_path, with_reviews(ReviewPlan(), pulls=50, unfinished=10))
    assert found["size"]["finished_pull_requests"] <= 40
    assert found["size"]["open_findings"] > 0
    own = found["arms"]["A"]["own"]
    assert own["findings"] == own["open"] + own["posted"]["findings"] + own["held_back"]["findings"]


def test_what_is_no_control_or_was_not_drawn_is_left_out_and_told(tmp_path: Path) -> None:
    found = reviews_of(tmp_path, with_reviews(ReviewPlan(), forced=0.2, near=0.3, unknown=0.1, pulls=80))
    own = found["arms"]["A"]["own"]
    for name in ("posted_by_rule", "beside_posted", "not_observed"):
        assert own[name] > 0
    compared = own["posted"]["findings"] + own["held_back"]["findings"]
    assert compared < own["findings"] - own["posted_by_rule"] - own["beside_posted"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"post_share": 1.0}, "no finding is held back, so there is nothing to compare with"),
        ({"forced": 1.0}, "every finding so far was posted by rule"),
        ({"mode": "shadow"}, "in shadow mode, so no finding is posted"),
        ({"pulls": 0}, "no pull request has been reviewed yet"),
        ({"a": Reviewer(name="a", findings=0), "b": Reviewer(name="b", findings=0), "shared": 0.0},
         "no review has found anything yet"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_says_why(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    store = build_reviews(tmp_path / "codetrial.db", with_reviews(ReviewPlan(), **changes))
    assert sentence in " ".join(run(store, "--door", "reviews").output.split())
    assert "nan" not in run(store, "--csv").output


def test_an_arm_that_never_answers_is_named(tmp_path: Path) -> None:
    dead = Reviewer(name="dead", findings=0, status=AttemptStatus.TIMEOUT, cost_nanousd=None)
    found = reviews_of(tmp_path, with_reviews(ReviewPlan(), b=dead, shared=0.0))
    assert "Arm dead never answered: all 40 attempts ended in timeout." in found["verdict"]["warnings"]
    assert found["arms"]["B"]["cost"]["per_review_usd"] is None
    assert found["verdict"]["decision"] == "not_yet"


def test_proven_slowness_is_a_price(tmp_path: Path) -> None:
    slow = Reviewer(name="keen", anyway=0.1, posted=0.75, median_ms=90_000)
    found = reviews_of(tmp_path, with_reviews(BETTER, a=slow, b=Reviewer(name="plain", median_ms=2_000)))
    assert found["verdict"]["decision"] == "conflict"


def test_findings_lost_from_one_side_stop_the_verdict(tmp_path: Path) -> None:
    path = build_reviews(tmp_path / "codetrial.db", BETTER)
    with Store(path) as store:
        store.db.execute("UPDATE assignment SET propensity_none = 0.1, propensity_a = 0.9 WHERE propensity_a > 0")
    found = said(path)["reviews"]
    assert found["split"]["is_mismatch"]
    assert found["verdict"]["decision"] == "not_yet"


def test_both_doors_stand_in_one_report_and_each_can_stand_alone(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=4))
    build_reviews(path, with_reviews(ReviewPlan(), pulls=5))
    both = said(path)
    assert (both["door"], both["trial"]["name"], both["reviews"]["trial"]["name"]) == ("both", "completions", "reviews")
    assert both["trial"]["other_trials_in_store"] == 0
    assert "Reviews" in run(path).output
    assert said(path, "--door", "completions")["reviews"] is None
    alone = said(path, "--door", "reviews")
    assert (alone["door"], alone["trial"]["name"]) == ("reviews", "reviews")
    assert "arms" not in alone
    assert said(path, "--trial", "reviews")["door"] == "reviews"


def test_a_door_without_a_trial_is_a_sentence(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=2))
    done = run(path, "--door", "reviews")
    assert "holds no trial of reviews yet" in str(done.exception)
    assert "codetrial pr demo" in str(done.exception)


def test_names_stay_hidden_at_both_doors_until_both_are_decided(tmp_path: Path, better: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=3))
    build_reviews(path, BETTER)
    text = run(path, "--blind", "--json").output
    for name in ("keen", "codestral", "qwen"):
        assert name not in text
    assert "keen wins" in run(better, "--blind", "--markdown").output


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    store = build_reviews(tmp_path / "codetrial.db", with_reviews(ReviewPlan(), a=Reviewer(name="<script>|*x*")))
    source = SqliteSource(store)
    assert "<script>|" not in page(make(source))
    source.close()
    assert "\\<script>\\|" in run(store, "--markdown").output


def made_up(generator: np.random.Generator, pulls: int, net: float, per_pull: float) -> list[Cell]:
    """Two arms with the same effect, whose findings hang together within a pull request."""
    cells = []
    moods = generator.normal(0, 0.2, pulls)
    for arm in (1.0, -1.0):
        tables = {True: np.zeros((2, pulls)), False: np.zeros((2, pulls))}
        for pull in range(pulls):
            for _ in range(generator.poisson(per_pull)):
                is_posted = bool(generator.random() < 0.8)
                hit = generator.random() < np.clip(0.15 + moods[pull] + net * is_posted, 0, 1)
                tables[is_posted][:, pull] += (hit, 1)
        for is_posted, sign in ((True, arm), (False, -arm)):
            hits, weights = tables[is_posted]
            cells.append(Cell(sign, hits, weights, weights))
    return cells


@pytest.mark.parametrize("per_pull", [0.8, 2.5])
def test_the_interval_rarely_leaves_out_the_truth_however_often_it_is_looked_at(per_pull: float) -> None:
    generator = np.random.default_rng(7)
    misses = 0
    for _ in range(60):
        sequence = contrast(made_up(generator, 90, 0.1, per_pull)).sequence
        misses += bool(((sequence.lows > 0) | (sequence.highs < 0)).any())
    assert misses <= 3, "5 % of 60, at a look after every pull request"


def test_rates_that_never_vary_give_no_interval_of_no_width() -> None:
    none, some = np.zeros(40), np.ones(40)
    found = contrast([Cell(1.0, none, some, some), Cell(-1.0, none, some, some)])
    assert found.last is not None
    assert found.last.high - found.last.low > 0.1
    assert contrast([Cell(1.0, none, some, some), Cell(-1.0, none, none, none)]).last is None


def test_shipped_reviews_give_the_same_numbers(tmp_path: Path) -> None:
    plan = with_reviews(ReviewPlan(), pulls=45, forced=0.1, near=0.4, unknown=0.1)
    store = build_reviews(tmp_path / "codetrial.db", plan)
    ship(store, str(tmp_path / "lake"))
    here = said(store)["reviews"]
    done = CliRunner().invoke(report_command, ["--from", str(tmp_path / "lake"), "--json"], catch_exceptions=False)
    there = json.loads(done.output)["reviews"]
    assert here["arms"]["A"]["own"]["beside_posted"] > 0
    assert here["outside"]["bots"] == {"remarks": 1, "acted_on": 1, "not_observed": 0}
    assert there == here
