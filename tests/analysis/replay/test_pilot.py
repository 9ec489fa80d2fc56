"""Whether a fine-tune is worth it; and languages that nobody has a grammar for."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analysis.export import SPLITS, export
from analysis.history import History
from analysis.replay.cursors import Windows
from analysis.replay.paired import Replays
from analysis.replay.pilot import compare, count_data, count_export, gaps, split, write_split
from analysis.replay.start import CLIENT
from analysis.store import Store
from codetrial.config import load
from codetrial.errors import EvidenceError
from codetrial.manifest import freeze
from codetrial.records import ArmLabel
from tests.analysis.recorded import Asked, Work
from tests.analysis.replay.conftest import Commit
from tests.analysis.test_export import DEFAULT, FIM, NOT_TAKEN, keep, many

WINDOWS = Windows(prefix_chars=500, suffix_chars=200)
PAIR = '[arms.a]\napi = "ngram"\nname = "long"\n[arms.b]\napi = "ngram"\nname = "short"\nmax_tokens = 2\n'


def codetrial(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codetrial.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90)


@pytest.fixture
def replayed(busy_repository: Path, tmp_path: Path) -> Replays:
    config = tmp_path / "pair.toml"
    config.write_text(PAIR)
    done = codetrial(
        "replay", busy_repository, "--config", config, "--store", tmp_path / "r.db", "--tasks", "120", "--per-file", "3"
    )
    assert done.returncode == 0, done.stderr
    return Replays(tmp_path / "r.db", freeze(load(tmp_path, config_file=config))[0].id, client=CLIENT)


def test_training_data_ends_before_test_data_begins(busy_repository: Path, tmp_path: Path) -> None:
    with History(busy_repository) as history:
        parts = split(list(history.changes()))
    assert (len(parts.train), len(parts.test)) == (32, 8)
    counts = write_split(parts, tmp_path / "data", windows=WINDOWS, seed="0", per_file=5)
    examples = {name: (tmp_path / "data" / f"{name}.jsonl").read_text().splitlines() for name in ("train", "test")}
    assert {name: len(lines) for name, lines in examples.items()} == counts
    times = {name: [json.loads(line)["authored_at"] for line in lines] for name, lines in examples.items()}
    assert max(times["train"]) < min(times["test"])


def test_a_split_with_an_empty_side_is_refused(busy_repository: Path) -> None:
    with History(busy_repository) as history, pytest.raises(EvidenceError, match="0 after"):
        split(list(history.changes()), at=datetime(2030, 1, 1, tzinfo=UTC))


def test_data_is_counted_by_language(busy_repository: Path) -> None:
    with History(busy_repository) as history:
        [count] = count_data(history.changes())
    assert (count.language, count.commits, count.files) == ("python", 40, 1)


def test_gaps_are_between_the_base_and_the_other_arm(replayed: Replays) -> None:
    found = gaps(replayed, base=ArmLabel.B)
    assert (found[0].axis, found[0].tasks) == ("all", 120)
    columns = replayed.columns()
    assert found[0].other - found[0].base == pytest.approx((columns.a - columns.b).mean())


def test_a_comparison_on_what_was_learnt_is_refused(replayed: Replays, busy_repository: Path) -> None:
    with History(busy_repository) as history:
        late = compare(replayed, history, trained_until=datetime(2025, 6, 20, tzinfo=UTC))
        assert 0 < late.tasks < 120
        assert late.left_out == 120 - late.tasks
        with pytest.raises(EvidenceError, match=r"Refused: all 120 replayed tasks are older .* 2026-01-01"):
            compare(replayed, history, trained_until=datetime(2026, 1, 1, tzinfo=UTC))


def test_the_command_end_to_end(replayed: Replays, busy_repository: Path, tmp_path: Path) -> None:
    assert len(replayed) == 120
    common: list[str | Path] = ["--config", tmp_path / "pair.toml", "--store", tmp_path / "r.db"]
    done = codetrial(
        "pilot", busy_repository, *common, "--compare", tmp_path / "pair.toml", "--trained-until", "2025-06-04"
    )
    assert done.returncode == 0, done.stderr
    assert "commits to train on" in done.stdout
    assert "long - short" in done.stdout
    refused = codetrial(
        "pilot", busy_repository, *common, "--compare", tmp_path / "pair.toml", "--trained-until", "2026-06-04"
    )
    assert refused.returncode == 1
    assert "Refused" in refused.stderr
    assert "Traceback" not in refused.stderr


LEGACY = {
    "payroll.cbl": [
        "       PROCEDURE DIVISION.\n       MAIN-LOGIC.\n",
        "           MOVE ZERO TO WS-TOTAL\n           ADD WS-PAY TO WS-TOTAL\n           DISPLAY WS-TOTAL\n",
    ],
    "solver.f90": [
        "subroutine solve(a, n)\n  integer :: n\n",
        "  do i = 1, n\n    a(i) = a(i) * 2.0\n  end do\nend subroutine\n",
    ],
    "filter.m": ["function y = filt(x)\n", "  y = zeros(size(x));\n  y(1) = x(1);\nend\n"],
}


def test_legacy_languages_work_end_to_end(repository: Path, commit: Commit, tmp_path: Path) -> None:
    commit({name: parts[0] for name, parts in LEGACY.items()}, "Begin")
    commit({name: "".join(parts) for name, parts in LEGACY.items()}, "Write them")
    config, store = tmp_path / "pair.toml", tmp_path / "r.db"
    config.write_text(PAIR)
    done = codetrial("replay", repository, "--config", config, "--store", store, "--json", "--per-file", "20")
    assert done.returncode == 0, done.stderr
    replays = Replays(store, freeze(load(tmp_path, config_file=config))[0].id, client=CLIENT)
    assert set(replays.columns().language) == {"cobol", "fortran", "matlab"}
    assert json.loads(done.stdout)["tasks"] == len(replays)


def test_what_people_decided_is_counted_from_an_export(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    with pytest.raises(EvidenceError, match="is no export"):
        count_export(folder)
    keep(tmp_path / "r.db", *many(10))
    refused = tuple(Asked(prefix=f"def g{n}():\n    ", outcome=NOT_TAKEN) for n in range(4))
    keep(tmp_path / "r.db", Work(session="other", asked=refused))
    with Store(tmp_path / "r.db", readonly=True) as store:
        export(store, folder, FIM, DEFAULT)
    [count] = count_export(folder)
    written = sum(len((folder / f"{name}.jsonl").read_text().splitlines()) for name in SPLITS)
    assert count.language == "python"
    assert count.accepted + count.rejected == written
    assert count.rejected > 0
    assert count.train == len((folder / "train.jsonl").read_text().splitlines())
    (folder / "train.jsonl").write_text("{}\n")
    with pytest.raises(EvidenceError, match=r"train.jsonl, line 1"):
        count_export(folder)
