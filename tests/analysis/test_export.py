"""What leaves for training: only what people decided, only what rules allow, and never the same place on both sides."""

import json
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analysis.data_commands import export as command
from analysis.export import SPLITS, Exported, Form, Order, SplitBy, export
from analysis.purge import Choice, purge
from analysis.store import Store
from codetrial.config import ArmRules, PrivacyConfig
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Origin, OutcomeClass, Shown
from tests.analysis.recorded import PRIVACY, START, Asked, Work, record

FIM = Order(origin=Origin.PERSON, form=Form.FIM)
PAIRS = Order(origin=Origin.PERSON, form=Form.PREFERENCE)
NOT_TAKEN = OutcomeClass.NOT_TAKEN
DEFAULT = PrivacyConfig()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "codetrial.db"


def keep(database: Path, *works: Work) -> None:
    with Store(database) as store:
        for work in works:
            store.append(*record(work))


def run(database: Path, order: Order = FIM, privacy: PrivacyConfig = DEFAULT, name: str = "out") -> Exported:
    with Store(database, readonly=True) as store:
        return export(store, database.parent / name, order, privacy)


def lines(done: Exported) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [json.loads(line) for line in (done.folder / f"{name}.jsonl").read_text().splitlines()] for name in SPLITS
    }


def everything(done: Exported) -> list[dict[str, Any]]:
    return [row for rows in lines(done).values() for row in rows]


def many(sessions: int, **changes: Any) -> list[Work]:
    """Sessions a day apart, each with two requests of their own."""
    return [
        Work(
            session=f"s{n:03d}",
            asked=tuple(
                Asked(prefix=f"def f{n}_{i}():\n    return ", at=START + timedelta(days=n, minutes=i)) for i in range(2)
            ),
            **{name: value(n) for name, value in changes.items()},
        )
        for n in range(sessions)
    ]


def test_fim_rows_are_what_was_accepted_and_what_was_rejected(database: Path) -> None:
    keep(database, Work(asked=(Asked(), Asked(prefix="x = ", a="1", outcome=NOT_TAKEN, written="2"))))
    rows = everything(run(database))
    assert [(row["prefix"], row["middle"], row["suffix"], row["is_accepted"]) for row in rows] == [
        ("def add(a, b):\n    return ", "a + b", "\n\nprint(add(1, 2))\n", True),
        ("x = ", "1", "\n\nprint(add(1, 2))\n", False),
    ]


def test_a_preference_is_what_was_written_instead_of_a_rejected_suggestion(database: Path) -> None:
    keep(database, Work(asked=(Asked(), Asked(prefix="x = ", a="1", outcome=NOT_TAKEN, written="2"))))
    [row] = everything(run(database, PAIRS))
    assert (row["prefix"], row["chosen"], row["rejected"], row["basis"]) == ("x = ", "2", "1", "written_instead")
    assert row["provenance"]["written_at_horizon"] == "120s"


def test_a_text_that_nobody_saw_is_no_rejection_unless_asked_for_by_its_name(database: Path) -> None:
    keep(database, Work())
    assert everything(run(database, PAIRS)) == []
    [row] = everything(run(database, replace(PAIRS, with_unseen=True), name="guesses"))
    assert (row["chosen"], row["rejected"], row["basis"]) == ("a + b", "a - b", "accepted_over_unseen")


@pytest.mark.parametrize(
    "outcome", [OutcomeClass.UNKNOWN, OutcomeClass.TYPED_THROUGH, OutcomeClass.PARTLY_ACCEPTED, None]
)
def test_what_is_neither_a_yes_nor_a_no_is_not_exported(database: Path, outcome: OutcomeClass | None) -> None:
    keep(database, Work(asked=(Asked(outcome=outcome), Asked(prefix="y"))))
    assert [row["prefix"] for row in everything(run(database))] == ["y"]


def test_every_row_says_where_it_comes_from(database: Path) -> None:
    keep(database, Work(session="s1"))
    [row] = everything(run(database))
    found = row["provenance"]
    assert (found["session"], found["developer"], found["repository"]) == ("s1", "dev-anna", "repo-one")
    assert (found["arm"], found["model"], found["propensity"]) == ("A", "codestral-2508", 0.45)
    assert found["kept_share"] == {"600s": 1.0}
    assert {"trial", "manifest_hash", "task", "suggestion", "origin", "requested_at", "rule", "cut_version"} <= {*found}
    about = json.loads((database.parent / "out" / "about.json").read_text())
    assert about["rows"] == {"train": 1, "validation": 0, "test": 0}


def test_only_the_origin_that_was_named_is_exported(database: Path) -> None:
    keep(database, Work(), Work(origin=Origin.REPLAY, asked=(Asked(prefix="replayed"),)))
    assert [row["provenance"]["origin"] for row in everything(run(database))] == ["person"]
    with pytest.raises(
        EvidenceError, match=r"no accepted or rejected.*origin test.*1 of origin person, 1 of origin rep"
    ):
        run(database, replace(FIM, origin=Origin.TEST), name="tests")


def test_the_command_wants_the_origin_said(database: Path) -> None:
    keep(database, Work())
    result = CliRunner().invoke(command, [str(database.parent / "x"), "--store", str(database)])
    assert result.exit_code == 2
    assert "--origin" in result.output


@pytest.mark.parametrize("store_text", ["hash", "none"])
def test_without_stored_texts_it_refuses_in_a_sentence_and_writes_nothing(database: Path, store_text: str) -> None:
    keep(database, Work(store_text=store_text))
    with pytest.raises(EvidenceError, match=r'holds 1 decided suggestions.*not their texts.*store_text = "full"'):
        run(database)
    assert not (database.parent / "out").exists()


def test_after_the_texts_were_purged_it_refuses(database: Path) -> None:
    keep(database, Work())
    purge(database, Choice(text_only=True))
    with pytest.raises(EvidenceError, match="texts were purged"):
        run(database)


def test_rows_without_texts_among_others_are_counted_not_dropped_silently(database: Path) -> None:
    keep(database, Work(), Work(store_text="hash", asked=(Asked(prefix="never stored"),)))
    done = run(database)
    assert len(everything(done)) == 1
    assert done.left_out == {"texts were deleted since": 1}


def test_an_excluded_language_stays_out(database: Path) -> None:
    keep(database, Work(asked=(Asked(), Asked(prefix="q", language="sql"))))
    for privacy in (PrivacyConfig(exclude_languages=("SQL",)), PrivacyConfig(b=ArmRules(exclude_languages=("sql",)))):
        done = run(database, privacy=privacy, name=f"out{privacy.b.exclude_languages}")
        assert [row["provenance"]["language"] for row in everything(done)] == ["python"]
        assert done.left_out == {"the language sql is excluded": 1}


@pytest.mark.parametrize(
    "privacy",
    [
        PrivacyConfig(exclude_paths=("secret/**",)),
        PrivacyConfig(exclude_repositories=("payroll",)),
        PrivacyConfig(a=ArmRules(exclude_paths=("secret/**",))),
    ],
)
def test_a_rule_that_is_newer_than_the_recording_fails_closed(database: Path, privacy: PrivacyConfig) -> None:
    keep(database, Work())
    with pytest.raises(EvidenceError, match="changed after recording"):
        run(database, privacy=privacy)


def test_a_rule_that_held_while_recording_is_no_hindrance(database: Path) -> None:
    keep(database, Work(privacy={**PRIVACY, "exclude_paths": ["secret/**", "keys/"]}))
    assert everything(run(database, privacy=PrivacyConfig(exclude_paths=("secret/**",))))


def test_an_exception_that_is_withdrawn_fails_closed(database: Path) -> None:
    keep(database, Work(privacy={**PRIVACY, "exclude_paths": ["secret/**", "!secret/ok.py"]}))
    with pytest.raises(EvidenceError, match="changed after recording"):
        run(database, privacy=PrivacyConfig(exclude_paths=("secret/**",)))


def test_secrets_are_masked_in_every_text(database: Path) -> None:
    key = "AKIAIOSFODNN7EXAMPLE"
    asked = Asked(
        prefix=f"key = '{key}'\n", suffix=f"\n# {key}", a=f"use('{key}')", outcome=NOT_TAKEN, written=f"{key}!"
    )
    keep(database, Work(asked=(asked,)))
    for order, name in ((FIM, "fim"), (PAIRS, "pairs")):
        done = run(database, order, name=name)
        assert len(everything(done)) == 1
        assert not any(key in file.read_text() for file in done.folder.iterdir())
    assert (
        key
        in (run(database, privacy=PrivacyConfig(scrub_secrets=False), name="raw").folder / "train.jsonl").read_text()
    )


def test_a_split_by_time_trains_on_the_past_and_never_cuts_a_session(database: Path) -> None:
    keep(database, *many(20))
    split = lines(run(database))
    assert {name: len(rows) for name, rows in split.items()} == {"train": 32, "validation": 4, "test": 4}
    latest = [max(row["provenance"]["requested_at"] for row in split[name]) for name in SPLITS]
    assert latest == sorted(latest)
    sessions = [{row["provenance"]["session"] for row in split[name]} for name in SPLITS]
    assert not sessions[0] & sessions[1]
    assert not sessions[1] & sessions[2]


@pytest.mark.parametrize("by", [SplitBy.REPOSITORY, SplitBy.DEVELOPER])
def test_a_split_by_whom_or_where_shares_nobody(database: Path, by: SplitBy) -> None:
    keep(database, *many(30, **{by.value: lambda n: f"{by.value}-{n % 10}"}))
    split = lines(run(database, replace(FIM, split_by=(by,))))
    groups = [{row["provenance"][by.value] for row in split[name]} for name in SPLITS]
    assert [len(group) for group in groups] == [8, 1, 1]
    assert len(set.union(*groups)) == 10


def test_splits_by_several_leave_out_what_straddles_them(database: Path) -> None:
    keep(database, *many(30, developer=lambda n: f"d{n % 5}", repository=lambda n: f"r{n % 6}"))
    done = run(database, replace(FIM, split_by=(SplitBy.DEVELOPER, SplitBy.REPOSITORY)))
    split = lines(done)
    for key in ("developer", "repository"):
        groups = [{row["provenance"][key] for row in split[name]} for name in SPLITS]
        assert not groups[0] & groups[2]
        assert not groups[0] & groups[1]
    assert sum(map(len, split.values())) + sum(done.left_out.values()) == 60


def test_one_developer_cannot_be_split_by_developer_and_that_is_said(database: Path) -> None:
    keep(database, *many(4))
    done = run(database, replace(FIM, split_by=(SplitBy.DEVELOPER,)))
    assert done.notes == ["Only 1 developer to split by: some splits are empty."]


def test_a_place_that_was_trained_on_is_not_tested_on(database: Path) -> None:
    same = [Work(session=f"s{n}", asked=(Asked(at=START + timedelta(days=n), a=f"a + {n}"),)) for n in range(10)]
    keep(database, *same)
    done = run(database)
    assert [len(rows) for rows in lines(done).values()] == [8, 0, 0]
    assert done.left_out == {
        "of validation, with a place that is in an earlier split": 1,
        "of test, with a place that is in an earlier split": 1,
    }


def test_the_same_row_is_written_once(database: Path) -> None:
    keep(database, Work(asked=(Asked(), Asked())))
    done = run(database)
    assert len(everything(done)) == 1
    assert done.left_out == {"the same as another row": 1}


def test_what_was_accepted_but_not_kept_can_be_left_out(database: Path) -> None:
    asked = (Asked(), Asked(prefix="p", kept=0.2), Asked(prefix="q", written=None))
    keep(database, Work(asked=asked))
    done = run(database, replace(FIM, min_kept=0.5))
    assert [row["prefix"] for row in everything(done)] == ["def add(a, b):\n    return "]
    assert done.left_out == {"accepted, but not seen to be kept": 2}


def test_one_arm_alone_can_be_exported(database: Path) -> None:
    keep(database, Work(asked=(Asked(), Asked(prefix="p", shown=Shown.B))))
    rows = everything(run(database, replace(FIM, arm=ArmLabel.B)))
    assert [row["middle"] for row in rows] == ["a - b"]


def test_a_folder_with_files_is_refused_and_files_are_the_owners_alone(database: Path) -> None:
    keep(database, Work())
    done = run(database)
    assert {stat.S_IMODE(file.stat().st_mode) for file in done.folder.iterdir()} == {0o600}
    with pytest.raises(EvidenceError, match="not an empty folder"):
        run(database)


def test_the_command_says_what_was_written_and_what_was_left_out(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(database.parent)
    monkeypatch.setenv("CODETRIAL_USER_CONFIG", str(database.parent / "none.toml"))
    keep(database, Work(asked=(Asked(), Asked())))
    result = CliRunner().invoke(command, ["pairs", "--origin", "person", "--store", str(database)])
    assert result.exit_code == 0, result.output
    assert "1 rows  pairs/train.jsonl" in result.output
    assert "1 left out: the same as another row" in result.output
    wrong = CliRunner().invoke(command, ["p", "--origin", "person", "--store", str(database), "--shares", "1,1,1"])
    assert wrong.exit_code == 2
