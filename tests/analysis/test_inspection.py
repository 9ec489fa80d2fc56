"""Looking at one request: whole, by the beginning of its id, and without unblinding anybody."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from analysis import inspection
from analysis.data_commands import inspect as command
from analysis.reading import select
from analysis.source import tables
from analysis.store import Store
from codetrial.errors import EvidenceError
from codetrial.records import OutcomeClass, Record, Shown, Task
from tests.analysis.recorded import Asked, Work, record


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "codetrial.db"


def shown_text(database: Path, wanted: str = "last", *, with_names: bool = False, width: int = 130) -> str:
    console = Console(width=width, record=True, file=(database.parent / "out").open("w"))
    with Store(database, readonly=True) as store:
        inspection.show(inspection.inspect(store, wanted), console, with_names=with_names)
    console.file.close()
    return console.export_text()


def keep(database: Path, *works: Work) -> list[Record]:
    rows = [row for work in works for row in record(work)]
    with Store(database) as store:
        store.append(*rows)
    return rows


def tasks(rows: list[Record]) -> list[str]:
    return [row.id for row in rows if isinstance(row, Task)]


@pytest.mark.parametrize("kind", tables.values(), ids=tables)
def test_rows_read_back_are_the_records_that_were_written(kind: type[Record], database: Path) -> None:
    rows = list(dict.fromkeys(keep(database, Work())))
    with Store(database, readonly=True) as store:
        assert select(store, kind) == [row for row in rows if isinstance(row, kind)]


def test_a_request_shows_everything_that_was_recorded_of_it(database: Path) -> None:
    keep(database, Work())
    text = shown_text(database)
    for word in (
        *("Episode", "A (drawn with probability 0.45)", "number 1 of 1", "python", "line 2, column 12", "125.0 ms"),
        *("120.2 ms", "HTTP 200", "$0.0001200", "a + b", "a - b", "def sub", "cut by dedent", "inline, rank 0"),
        *(
            "accepted (rule command, 5 characters)",
            "first_line_exact",
            "kept_share",
            "taken",
            "basedpyright",
            "dev-anna",
        ),
    ):
        assert word in text


def test_both_arms_stand_side_by_side(database: Path) -> None:
    keep(database, Work())
    line = next(line for line in shown_text(database).splitlines() if "a + b" in line and "a - b" in line)
    assert line.index("a + b") < line.index("a - b")


def test_neither_text_nor_json_tells_which_model_an_arm_is_unless_asked(database: Path) -> None:
    keep(database, Work(asked=(Asked(b=None),)))
    with Store(database, readonly=True) as store:
        seen = inspection.inspect(store, "last")
    blind = (shown_text(database), inspection.as_json(seen, with_names=False))
    for output in blind:
        assert not any(word in output for word in ("codestral", "qwen", "models.example", "10.0.0.7"))
    assert "codestral-2508" in shown_text(database, with_names=True)
    assert "models.example" in inspection.as_json(seen, with_names=True)


def test_json_holds_every_row_of_the_request(database: Path) -> None:
    rows = keep(database, Work())
    result = CliRunner().invoke(command, ["last", "--json", "--names", "--store", str(database)])
    content = json.loads(result.output)
    assert content["prefix"] == "def add(a, b):\n    return "
    assert [answer["offered"][0]["text"] for answer in content["answers"]] == ["a + b", "a - b"]
    assert [row["continuation"]["horizon"] for row in content["continuations"]] == ["30s", "120s"]
    ids = {row.id for row in rows if hasattr(row, "id")}
    assert [row_id for row_id in ids if row_id not in result.output] == []


def test_a_text_that_was_not_stored_is_said_to_be_missing_not_empty(database: Path) -> None:
    keep(database, Work(store_text="hash"))
    text = shown_text(database)
    assert "not stored" in text
    assert "(empty)" not in text
    assert "accepted" in text


def test_nothing_in_a_text_can_command_the_terminal(database: Path) -> None:
    keep(database, Work(asked=(Asked(a="x = '\x1b[2J\x1b]0;owned\x07'\r\u202eevil [bold]b[/bold]"),)))
    text = shown_text(database)
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    assert "␛[2J" in text
    assert "[bold]b[/bold]" in text


def test_a_request_that_reached_no_arm_says_why(database: Path) -> None:
    keep(database, Work(asked=(Asked(a=None, b=None, shown=Shown.NONE, outcome=None, written=None),)))
    text = shown_text(database)
    assert "http_500" in text
    assert "censored (closed)" in text


def test_a_beginning_of_an_id_is_enough_in_any_case(database: Path) -> None:
    [task] = tasks(keep(database, Work()))
    with Store(database, readonly=True) as store:
        assert inspection.find_task(store, task[:24].lower()) == task
        assert inspection.find_task(store, task) == task


def test_a_beginning_that_fits_several_requests_names_some(database: Path) -> None:
    ids = tasks(keep(database, Work(asked=(Asked(),) * 7)))
    with Store(database, readonly=True) as store, pytest.raises(EvidenceError, match=r"fits several.*and more") as told:
        inspection.find_task(store, "0")
    assert sum(task in str(told.value) for task in ids) == 5


@pytest.mark.parametrize("wanted", ["nothing-like-it", "%", "'", ""])
def test_what_fits_no_request_or_too_many_is_a_sentence(database: Path, wanted: str) -> None:
    keep(database, Work(asked=(Asked(), Asked())))
    with Store(database, readonly=True) as store, pytest.raises(EvidenceError):
        inspection.find_task(store, wanted)


def test_an_empty_database_is_told_what_to_do(database: Path) -> None:
    with Store(database) as store, pytest.raises(EvidenceError, match=r"holds no request yet.*codetrial demo"):
        inspection.inspect(store, "last")


def test_a_half_written_request_is_shown_as_far_as_it_goes(database: Path) -> None:
    rows = keep(database, Work())
    with Store(database) as store:
        store.db.execute("DELETE FROM assignment")
        store.db.execute("DELETE FROM session")
        store.db.execute("DELETE FROM suggestion")
    assert f"Request {tasks(rows)[0]}" in shown_text(database)
    assert "its row is missing" in shown_text(database)


def test_the_outcome_of_an_unfinished_offer_is_absent_not_guessed(database: Path) -> None:
    keep(database, Work(asked=(Asked(outcome=OutcomeClass.NOT_TAKEN, written="sum([a, b])"),)))
    text = shown_text(database)
    assert "not_taken (rule diverged)" in text
    assert "sum([a, b])" in text
