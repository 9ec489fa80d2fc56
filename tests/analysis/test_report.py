"""Reports of trials whose truth is known, on a real database: what they say, and what they refuse to say."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from analysis.queries import gather
from analysis.report import make, schema, write_html
from analysis.report.html import page
from analysis.report.markdown import to_markdown
from analysis.report.table import to_csv
from analysis.report.terminal import to_text
from analysis.report_commands import report as report_command
from analysis.source import SqliteSource
from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError
from codetrial.records import Origin
from tests.analysis.synthetic import START, Plan, Truth, build, trial_of, with_

BETTER = with_(Plan(), sessions=90, episodes=15, a=Truth(name="keen", acceptance=0.5))


def report_of(path: Path, plan: Plan, **options: Any) -> dict[str, Any]:
    source = SqliteSource(path)
    try:
        return make(source, now=plan.end, **options)
    finally:
        source.close()


def made(tmp_path: Path, plan: Plan, **options: Any) -> dict[str, Any]:
    return report_of(build(tmp_path / "codetrial.db", plan), plan, **options)


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = build(tmp_path_factory.mktemp("decided") / "codetrial.db", BETTER)
    return path, report_of(path, BETTER)


def all_forms(report: dict[str, Any]) -> list[str]:
    return [to_text(report), page(report), to_markdown(report), to_csv(report)]


def test_a_better_arm_wins_and_is_named(decided: tuple[Path, dict[str, Any]]) -> None:
    report = decided[1]
    assert report["verdict"]["decision"] == "win"
    assert report["verdict"]["winner"] == "A"
    assert report["verdict"]["sentence"].startswith("keen wins: its suggestions are taken in ")


def test_the_first_line_of_the_terminal_report_is_the_verdict(decided: tuple[Path, dict[str, Any]]) -> None:
    report = decided[1]
    assert to_text(report).splitlines()[0] == report["verdict"]["sentence"]


def test_the_numbers_follow_the_published_schema(decided: tuple[Path, dict[str, Any]]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads(json.dumps(decided[1], allow_nan=False)), schema())


def test_every_request_of_a_shown_episode_is_in_the_funnel(decided: tuple[Path, dict[str, Any]]) -> None:
    path, report = decided
    with Store(path, readonly=True) as store:
        [row] = store.rows(
            "SELECT count(*) AS n FROM task t JOIN assignment a ON a.id = t.assignment WHERE a.shown = 'A'"
        )
        [taken] = store.rows("SELECT count(*) AS n FROM outcome WHERE outcome = 'accepted' AND label = 'A'")
    steps = {step["step"]: step["count"] for step in report["arms"]["A"]["funnel"]}
    assert steps["assigned"] == row["n"]
    assert steps["accepted"] == taken["n"]
    assert list(steps.values()) == sorted(steps.values(), reverse=True)


def test_few_data_are_not_yet_a_verdict_and_say_how_long(tmp_path: Path) -> None:
    report = made(tmp_path, Plan())
    assert report["verdict"]["decision"] == "not_yet"
    assert re.search(r"about [\d,]+ more days at the present pace", report["verdict"]["sentence"])


def test_no_winner_before_thirty_finished_sessions(tmp_path: Path) -> None:
    plan = with_(Plan(), sessions=20, episodes=80, a=Truth(name="keen", acceptance=0.6))
    report = made(tmp_path, plan)
    assert report["primary"]["interval"]["low"] > 0
    assert report["verdict"]["decision"] == "not_yet"
    assert report["verdict"]["reasons"] == ["A decision needs 30 finished sessions; there are 20."]


def test_alike_arms_tie_within_the_margin(tmp_path: Path) -> None:
    plan = with_(Plan(), sessions=60, episodes=25, margins=(("acceptance", 0.15),))
    assert made(tmp_path, plan)["verdict"]["decision"] == "tie"


def test_proven_harm_takes_a_win_away(tmp_path: Path) -> None:
    plan = with_(BETTER, a=Truth(name="keen", acceptance=0.8, median_ms=600))
    report = made(tmp_path, plan)
    assert report["verdict"]["decision"] == "conflict"
    assert "95th percentile of latency" in report["verdict"]["sentence"]


def test_shadow_mode_is_decided_by_agreement(tmp_path: Path) -> None:
    plan = with_(
        Plan(),
        mode="shadow",
        sessions=60,
        episodes=25,
        a=Truth(name="a", agreement=0.8),
        b=Truth(name="b", agreement=0.5),
    )
    report = made(tmp_path, plan)
    assert report["primary"]["name"] == "agreement"
    assert report["verdict"]["winner"] == "A"
    assert report["arms"]["A"]["funnel"][0]["count"] == 0


def test_an_empty_store_says_that_nothing_is_recorded(tmp_path: Path) -> None:
    Store(tmp_path / "codetrial.db").close()
    with pytest.raises(EvidenceError, match="holds no trial yet"):
        report_of(tmp_path / "codetrial.db", Plan())


def test_a_trial_without_sessions_is_unknown_in_every_form(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), sessions=0))
    assert report["verdict"]["sentence"] == "Not yet: No episode has been recorded yet."
    assert report["primary"]["interval"] is None
    jsonschema.validate(report, schema())
    for text in all_forms(report):
        assert "nan" not in text.lower().replace("finance", "")
        assert "+0.0 points (" not in text


def test_one_arm_that_never_answers_is_named_and_has_no_latency(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), b=Truth(name="dead", failure=1.0)))
    assert report["arms"]["B"]["latency_ms"]["p95"] is None
    assert "Arm dead never answered: all 1,440 attempts ended in error." in report["verdict"]["warnings"]
    assert len(all_forms(report)) == 4


def test_an_arm_does_not_gain_by_keeping_silent(tmp_path: Path) -> None:
    """Silent half of the time and right when it speaks, against one that always speaks: silence agrees with nothing."""
    plan = with_(
        Plan(), mode="shadow", none_share=1.0, primary_metric="agreement",
        a=Truth(name="choosy", agreement=0.8, silence=0.5, failure=0.0),
        b=Truth(name="steady", agreement=0.6, silence=0.0, failure=0.0),
    )  # fmt: skip
    effect = made(tmp_path, plan)["effects"]["agreement"]
    assert effect["interval"]["estimate"] == pytest.approx(0.4 - 0.6, abs=0.05)


def test_without_none_shown_episodes_agreement_is_unknown(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), none_share=0.0, primary_metric="agreement"))
    assert report["effects"]["agreement"]["interval"] is None
    assert "No request has been routed in an episode that shows nothing" in report["verdict"]["sentence"]


def test_without_continuations_nothing_is_kept_and_nothing_is_guessed(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), continuations=False, primary_metric="agreement"))
    assert "in none of them were both arms scored" in report["verdict"]["sentence"]
    assert [p["survival"] for p in report["arms"]["A"]["retention"]] == [None] * 4


def test_unknown_prices_stay_unknown(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), a=Truth(name="a", cost_nanousd=None)))
    assert report["arms"]["A"]["cost"]["trial_usd"] is None
    assert report["arms"]["B"]["cost"]["trial_usd"] is not None
    assert "a: the price of 1,440 of 1,440 attempts is unknown." in to_text(report, width=200)


def test_a_free_arm_costs_nothing_which_is_known(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), a=Truth(name="a", cost_nanousd=0)))
    assert report["arms"]["A"]["cost"]["per_1000_completions_usd"] == 0
    assert "$0" in to_text(report)


def test_replays_are_never_mixed_with_people_and_are_labelled(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=5))
    build(path, with_(Plan(), sessions=7, origin=Origin.REPLAY))
    people = report_of(path, Plan())
    replay = report_of(path, Plan(), origin=Origin.REPLAY)
    assert (people["origin"], people["size"]["sessions"], people["banner"]) == ("person", 5, None)
    assert people["trial"]["sessions_of_other_origins"] == {"replay": 7}
    assert (replay["origin"], replay["size"]["sessions"]) == ("replay", 7)
    assert replay["verdict"]["sentence"].startswith("Not yet, in this replay: ")
    for text in (to_text(replay, width=300), page(replay), to_markdown(replay)):
        assert "not evidence" in text


def test_a_replay_promises_no_days(tmp_path: Path) -> None:
    report = made(tmp_path, with_(Plan(), origin=Origin.REPLAY))
    assert report["forecast"]["more_days"] is None
    assert "days" not in report["verdict"]["sentence"]


def test_two_trials_in_one_store_are_not_pooled(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=4))
    other = with_(Plan(), sessions=6, name="second", days=25)
    build(path, other)
    assert report_of(path, other)["trial"]["name"] == "second"
    first = report_of(path, other, trial="completions")
    assert (first["size"]["sessions"], first["size"]["episodes"]) == (4, 48)
    assert first["arms"]["A"]["attempts"] == 144
    assert first["trial"]["other_trials_in_store"] == 1
    with pytest.raises(EvidenceError, match="is not a trial here"):
        report_of(path, other, trial="third")


def test_a_changed_manifest_is_two_trials_and_asks_which(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=2))
    build(path, with_(Plan(), sessions=2, none_share=0.2))
    with pytest.raises(EvidenceError, match="fits several trials"):
        report_of(path, Plan(), trial="completions")


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=2))
    with Store(path) as store:
        store.db.execute("""UPDATE trial SET manifest = replace(manifest, '0.03', '0.5')""")
    assert any("does not match its hash" in text for text in report_of(path, Plan())["verdict"]["warnings"])


def test_a_half_written_trial_names_the_missing_arm(tmp_path: Path) -> None:
    trial, arms = trial_of(Plan())
    with Store(tmp_path / "codetrial.db") as store:
        store.append(trial, next(iter(arms.values())))
    with pytest.raises(EvidenceError, match="lacks arm B"):
        report_of(tmp_path / "codetrial.db", Plan())


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "codetrial.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\x00" * 50)
    with pytest.raises(StoreError, match="not a healthy codetrial database"):
        report_of(path, Plan())


def test_sessions_cut_off_count_as_closed_after_a_day_and_are_told(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=3, ends=False, days=3))
    later = make(SqliteSource(path), now=START + timedelta(days=10))
    assert later["size"]["closed_sessions"] == 3
    assert any("3 sessions ended without saying so" in text for text in later["verdict"]["warnings"])


def test_open_episodes_wait_for_all_arms_alike(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=1, ends=False, days=1))
    begun = START + timedelta(days=0.1)
    during = make(SqliteSource(path), now=begun + timedelta(seconds=70 * 5 + 30))
    assert during["size"]["episodes"] == 4
    assert during["size"]["open_episodes"] == 8


def test_a_clock_that_jumped_is_told(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=2))
    with Store(path) as store:
        store.db.execute("UPDATE assignment SET opened_at = '2001-01-01T00:00:00.000Z' WHERE id LIKE '%00003'")
    report = report_of(path, Plan())
    assert any("a clock was set" in text for text in report["verdict"]["warnings"])


def test_uneven_assignment_stops_every_verdict(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", BETTER)
    with Store(path) as store:
        store.db.execute("UPDATE assignment SET is_sampled = 0 WHERE shown = 'B' AND id LIKE '%1'")
        store.db.execute("UPDATE assignment SET is_sampled = 0 WHERE shown = 'B' AND id LIKE '%2'")
    report = report_of(path, BETTER)
    assert report["sample_ratio"]["is_mismatch"]
    assert report["verdict"]["decision"] == "not_yet"


def test_only_sessions_since_a_date_count(decided: tuple[Path, dict[str, Any]]) -> None:
    path, whole = decided
    part = report_of(path, BETTER, since="2026-03-12T00:00:00.000Z")
    assert 0 < part["size"]["sessions"] < whole["size"]["sessions"]
    assert 0 < part["arms"]["A"]["attempts"] < whole["arms"]["A"]["attempts"]


def test_names_stay_hidden_until_it_is_decided(tmp_path: Path, decided: tuple[Path, dict[str, Any]]) -> None:
    open_trial = made(tmp_path, Plan(), blind=True)
    for text in [*all_forms(open_trial), json.dumps(open_trial)]:
        assert "codestral" not in text
    assert report_of(decided[0], BETTER, blind=True)["arms"]["A"]["name"] == "keen"


def test_ten_developers_are_needed_for_developers_in_general(
    decided: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert decided[1]["primary"]["developers_in_general"] is None
    assert decided[1]["primary"]["developers_in_general_refused"] == "needs 10 developers, has 4"
    many = made(tmp_path, with_(BETTER, developers=15))["primary"]["developers_in_general"]
    assert many["developers"] == 15
    assert many["low"] > 0


def test_hostile_names_do_not_break_out_of_any_form(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>|*x*"
    report = made(tmp_path, with_(Plan(), sessions=3, a=Truth(name=name), name="</title><b>"))
    assert "<script>" not in page(report)
    assert "</title><b>" not in page(report)
    assert "\\|" in to_markdown(report)


def test_the_page_is_whole_and_asks_for_nothing(decided: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    write_html(decided[1], tmp_path / "out" / "report.html")
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("<svg role=") == 4
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']https?:""", text)
    assert len(text) < 1_500_000
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_page_that_cannot_be_written_is_a_sentence(decided: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match="Name another place with --html"):
        write_html(decided[1], tmp_path / "file" / "report.html")


def test_a_finer_unit_than_the_assigned_one_never_enters(decided: tuple[Path, dict[str, Any]]) -> None:
    evidence = gather(SqliteSource(decided[0]), now=BETTER.end)
    assert len(evidence.episodes) == BETTER.sessions * BETTER.episodes
    assert decided[1]["primary"]["units"] == len(evidence.episodes)
    assert decided[1]["effects"]["agreement"]["units"] <= int((~evidence.episodes.is_a & ~evidence.episodes.is_b).sum())


def test_the_command_prints_each_form(decided: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    runner = CliRunner()
    store = ["--store", str(decided[0])]
    assert "keen wins" in runner.invoke(report_command, store, catch_exceptions=False).output
    as_json = runner.invoke(report_command, [*store, "--json"], catch_exceptions=False).output
    jsonschema.validate(json.loads(as_json), schema())
    assert runner.invoke(report_command, [*store, "--markdown"], catch_exceptions=False).output.startswith(
        "**keen wins"
    )
    assert runner.invoke(report_command, [*store, "--csv"], catch_exceptions=False).output.startswith("section,metric")
    assert json.loads(runner.invoke(report_command, ["--schema"], catch_exceptions=False).output) == schema()
    html = tmp_path / "r.html"
    runner.invoke(report_command, [*store, "--html", str(html)], catch_exceptions=False)
    assert html.read_text().startswith("<!doctype html>")
    wrong = runner.invoke(report_command, [*store, "--since", "yesterday"])
    assert "is not a date such as 2026-03-01" in wrong.output
    assert runner.invoke(report_command, [*store, "--json", "--csv"]).exit_code == 2


def test_now_defaults_to_now(decided: tuple[Path, dict[str, Any]]) -> None:
    report = make(SqliteSource(decided[0]))
    assert report["made_at"][:4] == f"{datetime.now(UTC):%Y}"


def test_measures_by_published_definitions_are_in_every_form_when_asked_for(tmp_path: Path) -> None:
    store, written = build(tmp_path / "codetrial.db", Plan()), tmp_path / "r.html"

    def shown(*words: str) -> str:
        done = CliRunner().invoke(report_command, ["--store", str(store), *words])
        assert done.exit_code == 0, done.output
        return done.output

    found = json.loads(shown("--published", "--json", "--html", str(written)))
    jsonschema.validate(found, schema())
    measures = {(m["name"], m["arm"]): m for m in found["published"]["measures"] if m["horizon"] is None}
    car = measures["car", "A"]
    assert 0 < car["low"] < car["value"] < car["high"] < 1
    assert car["value"] == car["part"] / car["whole"]
    assert "(CAR)" in written.read_text()
    assert "(CAR)" in shown("--published")
    assert "(CAR)" in shown("--published", "--markdown")
    assert "published,car,A," in shown("--published", "--csv")
    assert json.loads(shown("--json"))["published"] is None
