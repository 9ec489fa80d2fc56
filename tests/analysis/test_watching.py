"""The live view and the ready questions, on a real database."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.report_commands import explore, watch
from analysis.store import Store
from analysis.watching import QUESTIONS, datasette_metadata
from tests.analysis.made_reviews import ReviewPlan, build_reviews, with_reviews
from tests.analysis.synthetic import Plan, build, with_


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("watching") / "codetrial.db", with_(Plan(), sessions=5))


def test_the_live_view_is_blind_and_begins_with_the_verdict(database: Path) -> None:
    arguments = ["--store", str(database), "--rounds", "1"]
    text = CliRunner().invoke(watch, arguments, catch_exceptions=False).output
    assert "Not yet: Arm A minus Arm B" in " ".join(text.split())
    assert "codestral" not in text
    assert "codestral-2508" in CliRunner().invoke(watch, [*arguments, "--names"], catch_exceptions=False).output


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_ready_question_can_be_answered(database: Path, name: str) -> None:
    with Store(database, readonly=True) as store:
        store.rows(QUESTIONS[name][1], {"origin": "person"})


def test_the_questions_belong_to_the_database_by_name(database: Path) -> None:
    assert list(datasette_metadata(database)["databases"]) == ["codetrial"]


def test_exploring_nothing_is_a_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(explore, ["--store", str(tmp_path / "none.db")])
    assert "No database at" in str(result.exception) or "needs Datasette" in str(result.exception)


def test_the_live_view_shows_reviews_too_and_alone(tmp_path: Path) -> None:
    alone = build_reviews(tmp_path / "codetrial.db", with_reviews(ReviewPlan(), pulls=4))
    arguments = ["--store", str(alone), "--rounds", "1"]
    text = CliRunner().invoke(watch, arguments, catch_exceptions=False).output
    assert "Posted minus held back" in text
    assert "Requests in its episodes" not in text
    build(alone, with_(Plan(), sessions=2))
    both = CliRunner().invoke(watch, arguments, catch_exceptions=False).output
    assert "Posted minus held back" in both
    assert "Requests in its episodes" in both
