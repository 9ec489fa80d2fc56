"""Every engine gives the same report from shipped files as SQLite gives from the store."""

from pathlib import Path
from typing import Any

import pytest

from analysis.engines import open_shipped
from analysis.report import make
from analysis.ship import ship
from analysis.source import SqliteSource
from codetrial.errors import EvidenceError
from codetrial.records import Origin
from tests.analysis.synthetic import Plan, Truth, build, with_

PLAN = with_(
    Plan(),
    sessions=35,
    developers=11,
    a=Truth(name="a", acceptance=0.4, failure=0.05),
    b=Truth(name="b", cost_nanousd=None),
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("team")
    store = build(folder / "codetrial.db", PLAN)
    build(store, with_(PLAN, origin=Origin.REPLAY, sessions=3))
    build(store, with_(PLAN, name="other", sessions=3, days=2))
    ship(store, str(folder / "lake"), origin=None)
    return store, folder / "lake"


def report_from(shipped: Path, engine: str, **options: Any) -> dict[str, Any]:
    source = open_shipped(str(shipped), engine)
    try:
        return make(source, now=PLAN.end, **options)
    finally:
        source.close()


def assert_same(found: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted.keys() - {"store"}:
            assert_same(found[key], wanted[key], f"{where}/{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert_same(mine, theirs, f"{where}/{i}")
    elif isinstance(wanted, float):
        # Sums of floats depend on their order in the last digits.
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12), where
    else:
        assert found == wanted, where


ENGINES = ["duckdb", "clickhouse", pytest.param("spark", marks=pytest.mark.slow)]


@pytest.mark.filterwarnings("ignore")  # Engines warn about their own dependencies.
@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_gives_the_numbers_of_sqlite(shipped: tuple[Path, Path], engine: str) -> None:
    wanted = make(SqliteSource(shipped[0]), now=PLAN.end, trial="completions")
    assert_same(report_from(shipped[1], engine, trial="completions"), wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_keeps_origins_apart(shipped: tuple[Path, Path], engine: str) -> None:
    wanted = make(SqliteSource(shipped[0]), now=PLAN.end, trial="completions", origin=Origin.REPLAY)
    assert_same(report_from(shipped[1], engine, trial="completions", origin=Origin.REPLAY), wanted)
    assert wanted["size"]["sessions"] == 3


def test_a_place_where_nothing_was_shipped_says_how(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"run `codetrial ship .*` first"):
        open_shipped(str(tmp_path))


def test_an_unknown_file_system_is_a_sentence() -> None:
    with pytest.raises(EvidenceError, match="Cannot use 'nowhere://bucket'"):
        open_shipped("nowhere://bucket")
