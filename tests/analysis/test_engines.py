"""Every engine gives the same report from shipped files as SQLite gives from the store."""

import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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


def report_from(shipped: Path, engine: str, *, fresh: bool = False, **options: Any) -> dict[str, Any]:
    source = open_shipped(str(shipped), engine, fresh=fresh)
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


ENGINES = ["duckdb", "clickhouse", pytest.param("spark", marks=[pytest.mark.slow, pytest.mark.timeout(400)])]


@pytest.mark.filterwarnings("ignore")  # Engines warn about their own dependencies.
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fresh", [False, True], ids=["sums", "rows"])
def test_each_engine_gives_the_numbers_of_sqlite(shipped: tuple[Path, Path], engine: str, fresh: bool) -> None:
    wanted = make(SqliteSource(shipped[0], fresh=True), now=PLAN.end, trial="completions")
    assert_same(report_from(shipped[1], engine, fresh=fresh, trial="completions"), wanted)


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


def test_files_of_an_earlier_version_lack_columns_and_are_read_all_the_same(
    shipped: tuple[Path, Path], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(shipped[1], lake)
    for file in sorted((lake / "task").rglob("*.parquet"))[::2]:
        content = pq.ParquetFile(file).read()
        pq.write_table(content.drop_columns(["line_part", "enclosing", "typed_chars"]), file)
    wanted = report_from(shipped[1], "duckdb", trial="completions")
    assert_same(report_from(lake, "duckdb", trial="completions"), wanted)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_half_written_file_is_a_sentence(shipped: tuple[Path, Path], tmp_path: Path, damage: Any) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(shipped[1], lake)
    file = min((lake / "attempt").rglob("*.parquet"))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(EvidenceError, match=r"cannot be read: .*run `codetrial ship` again where"):
        report_from(lake, "duckdb", trial="completions")


def test_two_trials_in_one_place_are_kept_apart_and_a_short_name_asks_which(shipped: tuple[Path, Path]) -> None:
    assert report_from(shipped[1], "duckdb", trial="other")["size"]["sessions"] == 3
    assert report_from(shipped[1], "duckdb", trial="other")["trial"]["other_trials_in_store"] == 1
    with pytest.raises(EvidenceError, match=r"is not a trial here\. Name one by its id"):
        report_from(shipped[1], "duckdb", trial="nobody")


def test_a_clock_that_jumped_and_an_edited_manifest_are_told_from_shipped_files_too(tmp_path: Path) -> None:
    store = build(tmp_path / "codetrial.db", with_(PLAN, sessions=12, developers=2, episodes=3))
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE assignment SET opened_at = '2020-01-01T00:00:00.000Z' WHERE rowid = 5")
        connection.execute("UPDATE trial SET manifest = replace(manifest, 'completions', 'completed')")
    ship(store, str(tmp_path / "lake"), origin=None)
    warnings = " ".join(report_from(tmp_path / "lake", "duckdb")["verdict"]["warnings"])
    assert "1 episodes have impossible times: a clock was set" in warnings
    assert "does not match its hash" in warnings


def test_an_engine_that_is_not_installed_names_the_extra(
    shipped: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine, module in (("duckdb", "duckdb"), ("clickhouse", "chdb.session"), ("spark", "pyspark.sql")):
        monkeypatch.setitem(sys.modules, module, None)
        extra = "parquet" if engine == "duckdb" else engine
        with pytest.raises(EvidenceError, match=rf"pip install 'codetrial\[{extra}\]'"):
            open_shipped(str(shipped[1]), engine)


@pytest.mark.parametrize(("memory", "said"), [("1KB", "CODETRIAL_DUCKDB_MEMORY"), ("much", "which is no size")])
def test_too_little_memory_is_said_with_what_to_set(
    shipped: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, memory: str, said: str
) -> None:
    monkeypatch.setenv("CODETRIAL_DUCKDB_MEMORY", memory)
    with pytest.raises(EvidenceError, match=said):
        report_from(shipped[1], "duckdb")
