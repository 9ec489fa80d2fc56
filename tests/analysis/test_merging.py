"""Databases of several developers become one: once, whole, and of one and the same trial."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.data_commands import merge as command
from analysis.merge import merge
from analysis.queries import gather
from analysis.source import SqliteSource, tables
from analysis.store import Store
from codetrial.errors import EvidenceError, StoreError
from tests.analysis.made_reviews import ReviewPlan, build_reviews
from tests.analysis.recorded import Asked, Work, record


def keep(path: Path, *works: Work) -> Path:
    with Store(path) as store:
        for work in works:
            store.append(*record(work))
    return path


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = {name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=str) for name in tables}
    connection.close()
    return found


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    return keep(tmp_path / "anna.db", Work(session="s1", developer="anna"), Work(session="s2", developer="anna"))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return keep(tmp_path / "bert.db", Work(session="s3", developer="bert", asked=(Asked(a="sum((a, b))"),)))


@pytest.fixture
def team(tmp_path: Path) -> Path:
    return tmp_path / "team.db"


def test_the_sum_of_two_databases_is_what_one_would_have_recorded(
    anna: Path, bert: Path, team: Path, tmp_path: Path
) -> None:
    for source in (anna, bert):
        merge(team, source, text=True)
    together = keep(
        tmp_path / "together.db",
        Work(session="s1", developer="anna"),
        Work(session="s2", developer="anna"),
        Work(session="s3", developer="bert", asked=(Asked(a="sum((a, b))"),)),
    )
    assert content(team) == content(together)


def test_the_report_sees_every_developer(anna: Path, bert: Path, team: Path) -> None:
    for source in (anna, bert):
        merge(team, source)
    evidence = SqliteSource(team)
    try:
        found = gather(evidence)
    finally:
        evidence.close()
    assert found.sessions.developers == ["anna", "bert"]
    assert found.other_trials == 0


def test_merging_again_changes_nothing(anna: Path, team: Path) -> None:
    first = merge(team, anna)
    before = content(team)
    second = merge(team, anna)
    assert content(team) == before
    assert (first.sessions, second.sessions, second.rows) == (2, 0, 0)


def test_what_was_recorded_since_comes_with_the_next_merge(anna: Path, team: Path) -> None:
    merge(team, anna)
    keep(anna, Work(session="s9", developer="anna"))
    assert merge(team, anna).sessions == 1


def test_texts_come_along_only_when_asked_for(anna: Path, team: Path) -> None:
    merge(team, anna)
    assert content(team)["text"] == []
    merge(team, anna, text=True)
    assert content(team)["text"] == content(anna)["text"]


def test_the_source_is_left_as_it_is(anna: Path, team: Path) -> None:
    before = content(anna)
    merge(team, anna)
    assert content(anna) == before


def test_the_same_trial_under_another_manifest_is_refused_and_says_what_differs(
    anna: Path, team: Path, tmp_path: Path
) -> None:
    other = keep(tmp_path / "other.db", Work(model_a="gpt-5-codex", developer="cleo"))
    merge(team, anna)
    before = content(team)
    with pytest.raises(EvidenceError, match=r"another manifest than here; different: arms\.A\.name\."):
        merge(team, other)
    assert content(team) == before
    merge(team, other, other_trials=True)
    assert len(content(team)["trial"]) == 2


def test_a_trial_of_another_name_comes_along(anna: Path, team: Path, tmp_path: Path) -> None:
    merge(team, anna)
    merge(team, keep(tmp_path / "other.db", Work(trial="reviews")))
    assert len(content(team)["trial"]) == 2


def test_both_doors_of_one_configuration_are_joined_though_they_share_a_name(
    anna: Path, team: Path, tmp_path: Path
) -> None:
    merge(team, anna)
    name = content(team)["trial"][0][1]
    merge(team, build_reviews(tmp_path / "bot.db", ReviewPlan(name=str(name), pulls=2)))
    assert [row[1] for row in content(team)["trial"]] == [name, name]
    other = build_reviews(tmp_path / "other.db", ReviewPlan(name=str(name), pulls=2, seed=7))
    with pytest.raises(EvidenceError, match="another manifest"):
        merge(team, other)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_manifest_that_was_changed_afterwards_is_refused(anna: Path, bert: Path, team: Path, is_known: bool) -> None:
    if is_known:
        merge(team, anna)
    with Store(bert) as store:
        store.db.execute("UPDATE trial SET manifest = replace(manifest, 'codestral', 'kodestral')")
    with pytest.raises(EvidenceError, match="is not the one that was frozen"):
        merge(team, bert)


def test_another_seed_is_told_because_assignments_cannot_be_drawn_again(anna: Path, team: Path, tmp_path: Path) -> None:
    merge(team, anna)
    other = keep(tmp_path / "other.db", Work(seed="0ther", developer="cleo"))
    [warning] = merge(team, other).warnings
    assert "another seed" in warning
    assert merge(team, anna).warnings == []


def test_sessions_of_another_seed_are_marked_and_count_all_the_same(anna: Path, team: Path, tmp_path: Path) -> None:
    merge(team, anna)
    other = keep(tmp_path / "other.db", Work(session="s-cleo", seed="0ther", developer="cleo"))
    merge(team, other)
    merge(team, other)
    with Store(team) as store:
        assert store.rows("SELECT session, count FROM incident WHERE kind = 'other_seed'") == [
            {"session": "s-cleo", "count": 1}
        ]
    source = SqliteSource(team)
    try:
        found = gather(source)
    finally:
        source.close()
    assert "cleo" in found.sessions.developers
    assert len(found.sessions.developers) == 2
    assert found.incidents["other_seed"] == 1


def test_a_file_cannot_be_merged_into_itself(anna: Path) -> None:
    with pytest.raises(EvidenceError, match="into itself"):
        merge(anna, anna)


def test_a_damaged_source_leaves_the_target_as_it_was(anna: Path, bert: Path, team: Path) -> None:
    merge(team, anna)
    before = content(team)
    data = bytearray(bert.read_bytes())
    data[4096 * 3 :] = b"\x5a" * (len(data) - 4096 * 3)
    bert.write_bytes(data)
    with pytest.raises(StoreError):
        merge(team, bert)
    assert content(team) == before


def test_the_command_merges_several_and_says_what_was_new(anna: Path, bert: Path, team: Path) -> None:
    shutil.copy(anna, copy := anna.with_name("copy.db"))
    result = CliRunner().invoke(command, [str(team), str(anna), str(bert), str(copy)])
    assert result.exit_code == 0, result.output
    assert "2 new sessions" in result.output
    assert "1 new sessions" in result.output
    assert "0 new sessions" in result.output
