"""Groups in the report: what they count, against the store and against the whole, and in every form."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from analysis.breakdown import Dimension
from analysis.report import make, schema
from analysis.report_commands import report as report_command
from analysis.source import SqliteSource
from analysis.store import Store
from tests.analysis.made_reviews import ReviewPlan, build_reviews, with_reviews
from tests.analysis.synthetic import Plan, Truth, build, with_

PLAN = with_(Plan(), sessions=40, developers=3, a=Truth(name="keen", acceptance=0.5))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("groups") / "codetrial.db", PLAN)


def run(store: Path, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(report_command, ["--store", str(store), *arguments])


def groups(store: Path, by: str, *arguments: str) -> list[dict[str, Any]]:
    done = run(store, "--by", by, "--json", *arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    jsonschema.validate(found, schema())
    rows: list[dict[str, Any]] = found["by"]["groups"]
    return rows


def test_groups_count_episodes_and_clusters_as_the_store_has_them(store: Path) -> None:
    with Store(store, readonly=True) as opened:
        wanted = opened.rows(
            """
            SELECT t.language, t.place, s.developer, count(DISTINCT s.id) AS sessions,
                   count(DISTINCT CASE WHEN a.shown = 'A' THEN a.id END) AS a,
                   count(DISTINCT CASE WHEN a.shown = 'B' THEN a.id END) AS b
            FROM task t JOIN assignment a ON a.id = t.assignment JOIN session s ON s.id = a.session GROUP BY 1, 2, 3
            """
        )
    found = {tuple(group["values"]): group for group in groups(store, "language,place,developer-hash")}
    assert set(found) == {(row["language"], row["place"], row["developer"]) for row in wanted}
    for row in wanted:
        group = found[row["language"], row["place"], row["developer"]]
        shown = group["episodes"]
        assert (group["sessions"], shown["A"], shown["B"]) == (row["sessions"], row["a"], row["b"])
        assert group["developers"] == 1


@pytest.mark.parametrize("metric", ["acceptance", "agreement", "kept_chars"])
def test_one_group_of_everything_is_the_whole(tmp_path: Path, metric: str) -> None:
    plan = with_(PLAN, developers=1, primary_metric=metric)
    source = SqliteSource(build(tmp_path / "codetrial.db", plan))
    found = make(source, now=plan.end, by=[Dimension.DEVELOPER])
    source.close()
    [group] = found["by"]["groups"]
    for name in ("mean_a", "mean_b"):
        assert group[name] == pytest.approx(found["primary"][name])
    assert group["interval"] == pytest.approx(found["primary"]["interval"])


def test_groups_without_an_interval_say_not_yet_in_every_form(tmp_path: Path) -> None:
    small = build(tmp_path / "codetrial.db", with_(Plan(), sessions=3))
    html = tmp_path / "page.html"
    terminal = run(small, "--by", "place", "--html", str(html)).output
    for text in (terminal, run(small, "--by", "place", "--markdown").output, html.read_text()):
        assert "not yet" in text
        assert "line start" in text
    assert "by place,line_start/acceptance,A-B," in run(small, "--by", "place", "--csv").output


def test_groups_are_those_since_a_date_and_blind(store: Path, tmp_path: Path) -> None:
    every, some = groups(store, "language"), groups(store, "language", "--since", "2026-03-12")
    assert 0 < sum(g["sessions"] for g in some) < sum(g["sessions"] for g in every)
    undecided = build(tmp_path / "codetrial.db", with_(PLAN, sessions=4))
    assert "keen" not in run(undecided, "--by", "language", "--blind", "--markdown").output


def test_something_else_to_group_by_is_a_sentence(store: Path, tmp_path: Path) -> None:
    done = run(store, "--by", "language,weather")
    assert "--by 'weather' is not something to group by" in str(done.exception)
    assert "language, place, developer-hash" in str(done.exception)
    reviews = build_reviews(tmp_path / "codetrial.db", with_reviews(ReviewPlan(), pulls=2))
    assert "this report is about reviews alone" in str(run(reviews, "--by", "language").exception)


def test_a_store_without_data_has_no_groups(tmp_path: Path) -> None:
    empty = build(tmp_path / "codetrial.db", with_(Plan(), sessions=0))
    assert groups(empty, "language,place") == []
    assert run(empty, "--by", "language").exit_code == 0
