"""A review's rows, and files that were written before a column was there."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from analysis.schema import migrations
from analysis.store import Store
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import finding

BEFORE = "def mean(values):\n    return sum(values) / len(values)\n"
AFTER = "def mean(values):\n    total = 0\n    for v in values:\n        total =+ v\n    return total / len(values)\n"


def test_both_members_of_a_shared_finding_name_the_one_draw(scene: Scene) -> None:
    same = finding(start_line=4, end_line=4, quote="total =+ v", title="Assigns instead of adding",
                   body="Only the last value is kept.")  # fmt: skip
    other = finding(start_line=5, end_line=5, quote="return total", title="Division by zero", body="Empty lists raise.")
    scene.hub.open_pull(scene.hub.repository("octo/app", {"app.py": BEFORE}), {"app.py": AFTER})
    with closing(scene.bot([same], [same, other])) as bot, scene.api() as api:
        bot.review(api, "octo/app", 1)
        rows = bot.store.rows(
            "SELECT f.stratum, f.assignment, a.id FROM finding f JOIN assignment a ON a.id = f.assignment"
        )
    by_stratum = {(row["stratum"], row["assignment"]) for row in rows}
    assert len(rows) == 3
    assert sorted(stratum for stratum, _ in by_stratum) == ["B", "both"]


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A file as it was before findings named their assignment."""
    path = tmp_path / "older.db"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE finding DROP COLUMN assignment")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm003_finding_assignment'")
        db.commit()
    return path


@pytest.mark.parametrize("readonly", [False, True])
def test_an_older_file_opens_and_has_the_column_then(older: Path, readonly: bool) -> None:
    with Store(older, readonly=readonly) as store:
        assert store.rows("SELECT assignment FROM finding") == []
        assert not migrations.pending(store.db)


def test_an_older_file_that_may_not_be_written_is_read_as_it_is(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Store) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(Store, "_migrate", refuse)
    with Store(older, readonly=True) as store:
        assert store.rows("SELECT stratum FROM finding") == []


def test_somebody_elses_database_is_not_made_ours_by_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
        db.commit()
    with Store(path, readonly=True) as store:
        assert store.db.table_names() == ["t"]
