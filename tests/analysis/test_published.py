"""Published measures against counts made by hand."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from analysis.engines import open_shipped
from analysis.published import Measure, outside, published, share_limits
from analysis.ship import ship
from analysis.source import Source, SqliteSource
from analysis.statistics import look_times
from analysis.store import Store
from codetrial.records import ArmLabel, Continuation, Incident, Origin, OutcomeClass, Record, Score, Shown, Task
from tests.analysis.recorded import START, Asked, Work, record, trial_of

MISSED = OutcomeClass.NOT_TAKEN
WORK = Work(
    session="s-1",
    asked=(
        Asked(a="a + b"),
        Asked(a="total(a, b)", outcome=MISSED, at=START + timedelta(seconds=100)),
        Asked(a="a", outcome=MISSED, at=START + timedelta(seconds=200)),
        Asked(b="a - b", shown=Shown.B, outcome=MISSED, at=START + timedelta(seconds=300)),
        Asked(shown=Shown.NONE, outcome=None, at=START + timedelta(seconds=400)),
    ),
)
"""Arm A offers 5, 11 and 1 characters and has the 5 taken; arm B offers 5."""

UNTIL_CHANGE_MS = (300.0, 2_000.0, 400.0, 5_000.0, 100.0)
"""From asking to the next change; offered 125 ms after asking. The third was not read."""

TYPED = (10, 4, 1, 7, 30)


def rows() -> Iterator[Record]:
    tasks: list[str] = []
    for row in record(WORK):
        if isinstance(row, Task):
            row = dataclasses.replace(row, typed_chars=TYPED[len(tasks)])
            tasks.append(row.id)
        if isinstance(row, Continuation) and row.horizon == "30s":
            row = dataclasses.replace(row, next_change_ms=UNTIL_CHANGE_MS[tasks.index(row.task)])
        yield row
        if isinstance(row, Score) and row.metric == "kept_share":
            for horizon, distance in (("30s", 0.0), ("600s", 1.0)):
                yield dataclasses.replace(
                    row, id=f"k-{horizon}", metric="kept_char_distance", horizon=horizon, value=distance
                )


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SqliteSource]:
    with Store(tmp_path / "codetrial.db") as store:
        store.append(*rows())
    source = SqliteSource(tmp_path / "codetrial.db")
    yield source
    source.close()


Key = tuple[str, ArmLabel, str | None]


def found(source: Source) -> dict[Key, Measure]:
    measures = published(source, trial_of(WORK)[0].id, Origin.PERSON)
    return {(measure.name, measure.label, measure.horizon): measure for measure in measures}


@pytest.fixture(scope="module")
def measures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Key, Measure]:
    path = tmp_path_factory.mktemp("published") / "codetrial.db"
    with Store(path) as store:
        store.append(*rows())
    source = SqliteSource(path)
    try:
        return found(source)
    finally:
        source.close()


@pytest.mark.parametrize(
    ("name", "label", "horizon", "part", "whole"),
    [
        ("car", ArmLabel.A, None, 1, 2),
        ("car", ArmLabel.B, None, 0, 1),
        ("wcar", ArmLabel.A, None, 5, 16),
        ("wcar", ArmLabel.B, None, 0, 5),
        ("rocc", ArmLabel.A, None, 5, 5 + 10 + 4 + 1),
        ("rocc", ArmLabel.B, None, 0, 7),
        ("unchanged", ArmLabel.A, "30s", 1, 1),
        ("unchanged", ArmLabel.A, "600s", 0, 1),
        ("mostly_unchanged", ArmLabel.A, "600s", 1, 1),
    ],
)
def test_measures_by_hand(
    measures: Mapping[Key, Measure], name: str, label: ArmLabel, horizon: str | None, part: float, whole: float
) -> None:
    measure = measures[name, label, horizon]
    assert (measure.part, measure.whole, measure.value) == (part, whole, part / whole)
    assert measure.low is None  # One session tells nothing about its spread.


def test_nothing_to_divide_by_is_no_number(measures: Mapping[Key, Measure]) -> None:
    measure = measures["unchanged", ArmLabel.B, "30s"]
    assert (measure.value, measure.whole, measure.low, measure.sessions) == (None, 0.0, None, 0)


def test_many_sessions_have_an_interval_around_the_value(tmp_path: Path) -> None:
    with Store(tmp_path / "codetrial.db") as store:
        for number in range(120):
            outcome = OutcomeClass.ACCEPTED if number % 4 == 0 else MISSED
            store.append(*record(Work(session=f"s-{number}", asked=(Asked(outcome=outcome),) * 3)))
    source = SqliteSource(tmp_path / "codetrial.db")
    car = found(source)["car", ArmLabel.A, None]
    source.close()
    assert car.value == 0.25
    assert car.sessions == 120
    assert car.low is not None
    assert car.high is not None
    assert 0 <= car.low < 0.25 < car.high <= 1


def test_a_rare_share_has_no_limits_yet() -> None:
    taken = np.zeros(200)
    taken[:29] = 1.0
    assert share_limits(taken, np.full(200, 10.0)) is None
    taken[29] = 1.0
    assert share_limits(taken, np.full(200, 10.0)) is not None


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.98])
def test_limits_of_a_share_cover_under_peeking(rate: float) -> None:
    generator = np.random.default_rng(3)
    misses = 0
    for _ in range(200):
        offered = generator.integers(1, 40, 300).astype(np.float64)
        taken = generator.binomial(offered.astype(np.int64), generator.beta(4 * rate, 4 * (1 - rate), 300))
        looks = (share_limits(taken[:k].astype(np.float64), offered[:k]) for k in look_times(300, 30))
        misses += any(limits is not None and limits.excludes(rate) for limits in looks)
    assert misses / 200 <= 0.085  # At most 5 %, and what 200 trials leave open.


def test_outside_insertions_have_their_own_row(source: SqliteSource, tmp_path: Path) -> None:
    def incident(number: int, kind: str, detail: str) -> Incident:
        return Incident(
            id=f"i-{number}", session="s-1", kind=kind, count=1, detail=detail, happened_ns=number, happened_at="x"
        )

    with Store(tmp_path / "codetrial.db") as store:
        store.append(
            incident(1, "outside_insertion", '{"insertion": "a", "chars": 20}'),
            incident(2, "outside_kept", '{"insertion": "a", "horizon": "30s", "state": "found", "kept_share": 1.0}'),
            incident(3, "outside_insertion", '{"insertion": "b", "chars": 20}'),
            incident(
                4, "outside_kept", '{"insertion": "b", "horizon": "30s", "state": "censored", "kept_share": null}'
            ),
        )
    [row] = outside(source, trial_of(WORK)[0].id, Origin.PERSON)
    assert (row.horizon, row.insertions, row.mean_kept) == ("30s", 2, 1.0)
    assert row.states == {"found": 1, "censored": 1}


def test_a_file_of_before_the_finer_places_opens_and_says_nothing_about_them(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with Store(path) as store:
        store.append(*record(WORK))
        for name, column in OLDER:
            store.db.execute(f"ALTER TABLE {name} DROP COLUMN {column}")
        store.db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm004_finer_places_and_distances'")
    with Store(path) as store:
        assert {row["line_part"] for row in store.rows("SELECT line_part FROM task")} == {None}
        assert {row["place"] for row in store.rows("SELECT place FROM task")} == {"line_end"}
    source = SqliteSource(path)
    measure = found(source)["rocc", ArmLabel.A, None]
    source.close()
    assert (measure.value, measure.whole) == (None, 0.0)


OLDER = [
    *(("task", name) for name in ("line_part", "enclosing", "typed_chars")),
    *(("continuation", name) for name in ("kept_share", "char_distance", "token_distance", "next_change_ms")),
]


def test_a_teams_parquet_files_give_the_same_measures(source: SqliteSource, tmp_path: Path) -> None:
    ship(tmp_path / "codetrial.db", str(tmp_path / "team"), origin=Origin.PERSON)
    shipped = open_shipped(str(tmp_path / "team"), "duckdb")
    try:
        assert found(shipped) == found(source)
    finally:
        shipped.close()
