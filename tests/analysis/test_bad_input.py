"""What `codetrial report` says of a store that is not as it should be: a clear sentence, and what can be shown."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analysis.cost_commands import cost as cost_command
from analysis.report_commands import report as report_command
from analysis.store import Store
from codetrial.errors import CodetrialError
from tests.analysis.made_reviews import Reviewer, ReviewPlan, build_reviews, with_reviews
from tests.analysis.synthetic import Plan, Truth, build, trial_of, with_

SMALL = with_(Plan(), sessions=4)


def refusal(store: Path, *arguments: str) -> str:
    """The sentence with which the command ends; not an unforeseen fault."""
    done = CliRunner().invoke(report_command, ["--store", str(store), *arguments])
    assert isinstance(done.exception, CodetrialError), done.output
    return str(done.exception)


def report(store: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(report_command, ["--store", str(store), "--json", *arguments])
    assert done.exit_code == 0, done.exception
    found: dict[str, Any] = json.loads(done.output)
    narrow = [path for path, low, high in limits(found) if low >= high]
    assert not narrow, "an interval of no width claims to know everything"
    return found


def limits(found: Any, path: str = "") -> Iterator[tuple[str, float, float]]:
    """All intervals of a report."""
    if isinstance(found, dict):
        low, high = found.get("low"), found.get("high")
        if isinstance(low, int | float) and isinstance(high, int | float):
            yield path, low, high
        for name, value in found.items():
            yield from limits(value, f"{path}.{name}")
    elif isinstance(found, list):
        for i, value in enumerate(found):
            yield from limits(value, f"{path}[{i}]")


def test_people_see_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "codetrial.cli", "report", "--store", str(tmp_path / "none.db")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith(f"codetrial: No database at {tmp_path / 'none.db'}: nothing has been recorded yet")
    assert "Traceback" not in done.stderr


def test_a_database_of_a_newer_version_says_so(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    with Store(path) as store:
        store.db.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
                         ("codetrial", "m999_more", "2030-01-01"))  # fmt: skip
    assert "was written by a newer codetrial (it has m999_more): upgrade" in refusal(path)


def test_a_database_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = build_reviews(tmp_path / "codetrial.db", with_reviews(ReviewPlan(), pulls=6))
    before = report(path)
    with Store(path) as store:
        store.db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm003_finding_assignment'")
        store.db.execute("ALTER TABLE finding DROP COLUMN assignment")
    after = report(path)
    # What both arms had was drawn once, and only the column said by which draw.
    assert after["reviews"]["arms"]["A"]["own"] == before["reviews"]["arms"]["A"]["own"]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_half_written_file_is_a_sentence(tmp_path: Path, share: float) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    with Store(path) as store:
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "not a healthy codetrial database" in refusal(path)


def test_another_programs_database_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    import sqlite3

    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE thing (id INTEGER)")
    other.close()
    assert str(path) in refusal(path)


def test_a_trial_without_its_second_arm_is_half_written(tmp_path: Path) -> None:
    trial, arms = trial_of(SMALL)
    with Store(tmp_path / "codetrial.db") as store:
        store.append(trial, next(iter(arms.values())))
    assert "lacks arm B" in refusal(tmp_path / "codetrial.db")


def test_two_trials_are_never_pooled_and_one_is_asked_for_by_id(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    build(path, with_(SMALL, none_share=0.3, sessions=3))
    found = report(path)
    assert found["trial"]["other_trials_in_store"] == 1
    assert found["size"]["sessions"] in (3, 4)
    sentence = refusal(path, "--trial", "completions")
    assert "fits several trials. Name one by its id: " in sentence
    assert "is not a trial here" in refusal(path, "--trial", "other")


def test_a_changed_manifest_is_told(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    with Store(path) as store:
        store.db.execute("UPDATE trial SET manifest = replace(manifest, '0.03', '0.5')")
    [warning] = [text for text in report(path)["verdict"]["warnings"] if "manifest" in text]
    assert warning == "The stored manifest does not match its hash: it was changed after the trial began."


def test_a_manifest_that_is_no_json_still_gives_what_does_not_need_it(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    with Store(path) as store:
        store.db.execute("UPDATE trial SET manifest = substr(manifest, 1, 40)")
    found = report(path)
    assert found["arms"]["A"]["attempts"] > 0
    assert not found["primary"]["is_margin_frozen"]


def test_a_unit_finer_than_the_assigned_one_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    with Store(path) as store:
        store.db.execute("UPDATE trial SET assignment_unit = 'request'")
    assert "assigns by 'request', which this version does not know" in refusal(path)


def test_a_metric_of_another_version_decides_nothing(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", with_(Plan(), sessions=60, a=Truth(name="keen", acceptance=0.7)))
    with Store(path) as store:
        store.db.execute("UPDATE trial SET primary_metric = 'joy'")
    found = report(path)
    assert found["verdict"]["decision"] == "not_yet"
    assert "'joy' is not known to this version" in found["verdict"]["reasons"][0]


def test_clocks_that_jump_are_told_and_nothing_is_dropped(tmp_path: Path) -> None:
    path = build(tmp_path / "codetrial.db", SMALL)
    before = report(path)["size"]["episodes"]
    with Store(path) as store:
        store.db.execute("UPDATE assignment SET opened_at = '2001-01-01T00:00:00.000Z' WHERE id LIKE '%00001'")
        store.db.execute("UPDATE session SET started_at = '2099-01-01T00:00:00.000Z' WHERE id LIKE '%000002%'")
    found = report(path)
    assert any("a clock was set" in text for text in found["verdict"]["warnings"])
    assert found["size"]["episodes"] == before


def test_no_data_at_all_is_unknown_everywhere(tmp_path: Path) -> None:
    Store(tmp_path / "new.db").close()
    assert "holds no trial yet: work with `codetrial lsp`" in refusal(tmp_path / "new.db")
    assert "holds no trial yet: review a pull request" in refusal(tmp_path / "new.db", "--door", "reviews")
    found = report(build(tmp_path / "codetrial.db", with_(Plan(), sessions=0)))
    assert found["verdict"]["sentence"] == "Not yet: No episode has been recorded yet."
    assert found["primary"]["interval"] is None


def test_nothing_since_a_date_is_said(tmp_path: Path) -> None:
    found = report(build(tmp_path / "codetrial.db", SMALL), "--since", "2027-01-01")
    assert found["size"]["sessions"] == 0
    assert found["verdict"]["decision"] == "not_yet"


def test_one_developer_is_no_claim_about_others(tmp_path: Path) -> None:
    found = report(build(tmp_path / "codetrial.db", with_(Plan(), developers=1)))
    assert found["primary"]["developers_in_general_refused"] == "needs 10 developers, has 1"
    assert found["primary"]["interval"] is not None


def test_one_episode_of_one_session_has_the_widest_interval(tmp_path: Path) -> None:
    report(build(tmp_path / "codetrial.db", with_(Plan(), sessions=1, episodes=1, tasks=1)))


def test_arms_that_always_fail_are_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    dead = Truth(name="dead", failure=1.0, acceptance=0.0)
    found = report(build(tmp_path / "codetrial.db", with_(Plan(), a=dead, b=Truth(name="gone", failure=1.0))))
    told = [text for text in found["verdict"]["warnings"] if "never answered" in text]
    assert len(told) == 2
    assert found["arms"]["A"]["latency_ms"]["p95"] is None
    assert found["verdict"]["decision"] == "not_yet"


def test_arms_that_nobody_ever_takes_have_an_interval_of_some_width(tmp_path: Path) -> None:
    never = with_(Plan(), sessions=60, a=Truth(name="a", acceptance=0.0), b=Truth(name="b", acceptance=0.0))
    found = report(build(tmp_path / "codetrial.db", never))
    assert found["primary"]["interval"]["high"] > 0.01
    assert found["verdict"]["decision"] == "not_yet"


def test_an_amount_that_was_always_zero_has_no_interval(tmp_path: Path) -> None:
    """Thirty sessions without a kept character do not say that a hundredth of one is the most there can be."""
    silent = Truth(name="silent", failure=1.0)
    plan = with_(Plan(), sessions=32, episodes=4, a=silent, b=silent, primary_metric="kept_chars")
    found = report(build(tmp_path / "codetrial.db", plan))
    kept = found["effects"]["kept_chars"]
    assert (kept["mean_a"], kept["mean_b"], kept["clusters"]) == (0, 0, 32)
    assert kept["interval"] is kept["over_sessions"] is None
    assert found["verdict"]["sentence"] == "Not yet: No text of either arm has been kept yet."


def test_findings_that_nobody_ever_acts_on_have_an_interval_of_some_width(tmp_path: Path) -> None:
    idle = Reviewer(name="idle", anyway=0.0, posted=0.0)
    plan = with_reviews(ReviewPlan(), pulls=80, a=idle, b=Reviewer(name="other", anyway=0.0, posted=0.0))
    found = report(build_reviews(tmp_path / "codetrial.db", plan))["reviews"]
    assert found["primary"]["interval"]["high"] > 0.1
    assert found["verdict"]["decision"] == "not_yet"


def test_missing_prices_are_unknown_in_the_report_and_in_costs(tmp_path: Path) -> None:
    free = Truth(name="a", cost_nanousd=None)
    path = build(tmp_path / "codetrial.db", with_(SMALL, a=free, b=Truth(name="b", cost_nanousd=None)))
    found = report(path)
    assert {found["arms"][label]["cost"]["trial_usd"] for label in ("A", "B")} == {None}
    told = CliRunner().invoke(cost_command, ["--store", str(path)]).output
    assert "The trial so far, both arms: unknown" in told
    done = CliRunner().invoke(cost_command, ["--store", str(path), "--gpu-usd", "2", "--per-second", "5"])
    assert "there is nothing to compare a machine with" in str(done.exception)
