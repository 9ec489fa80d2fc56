"""Which places of a history become tasks, and what stands around them."""

from pathlib import Path

import pytest

from analysis.history import Edit, History, Selection
from analysis.replay.cursors import Chosen, CursorKind, CursorTask, Windows, _spots, choose
from codetrial.records import Place
from tests.analysis.replay.conftest import Commit

WHOLE = Windows(prefix_chars=1_000_000, suffix_chars=1_000_000)


def drawn(folder: Path, *, seed: str = "0", limit: int = 10_000, per_file: int = 1000) -> Chosen:
    with History(folder) as history:
        return choose(history.changes(), seed=seed, limit=limit, per_file=per_file, windows=WHOLE)


def lines(chosen: Chosen) -> list[str]:
    return [task.canonical() for task in chosen.tasks]


def test_same_seed_gives_the_same_tasks_byte_for_byte(busy_repository: Path) -> None:
    first = lines(drawn(busy_repository, limit=50, per_file=3))
    assert len(first) == 50
    assert lines(drawn(busy_repository, limit=50, per_file=3)) == first
    assert lines(drawn(busy_repository, seed="1", limit=50, per_file=3)) != first


def test_more_tasks_keep_the_ones_there_were(busy_repository: Path) -> None:
    few, many = (set(lines(drawn(busy_repository, limit=limit, per_file=3))) for limit in (20, 60))
    assert few < many


def test_no_place_is_chosen_twice(busy_repository: Path) -> None:
    tasks = drawn(busy_repository).tasks
    assert len({task.key for task in tasks}) == len(tasks)


def test_what_was_written_leads_from_the_moment_to_the_commit(repository: Path, commit: Commit) -> None:
    before = "import os\n\n\ndef load(path):\n    return open(path)\n\n\ndef last():\n    pass\n"
    after = before.replace("return open(path)", "with open(path) as file:\n        return file.read()")
    commit({"a.py": before}, "Begin")
    commit({"a.py": after}, "Read it")
    tasks = drawn(repository).tasks
    assert len(tasks) > 5
    for task in tasks:
        assert task.prefix + task.written + task.suffix == after
        assert task.line == task.prefix.count("\n")
        assert task.character == len(task.prefix.split("\n")[-1])


def test_what_is_typed_later_is_not_there_yet(repository: Path, commit: Commit) -> None:
    before = "first = 1\nmiddle = 2\nkept = 3\nlast = 4\n"
    commit({"a.py": before}, "Begin")
    commit({"a.py": "first = 10000\nmiddle = 2\nkept = 3\nlast = 40000\n"}, "Change both ends")
    [early] = [task for task in drawn(repository).tasks if task.line == 0 and task.kind is CursorKind.HUNK_START]
    [late] = [task for task in drawn(repository).tasks if task.line == 3 and task.kind is CursorKind.HUNK_START]
    assert early.suffix == "\nmiddle = 2\nkept = 3\nlast = 4\n"
    assert late.prefix == "first = 10000\nmiddle = 2\nkept = 3\nlast = "
    assert late.suffix == "\n"


def kinds(inserted: str) -> dict[str, CursorKind]:
    return {inserted[: spot.typed]: spot.kind for spot in _spots(0, Edit(0, "", inserted))}


def test_every_kind_is_found_where_a_cursor_would_be() -> None:
    found = kinds("\n    value = thing.call(one)\n    return value")
    assert found["\n    "] is CursorKind.HUNK_START
    assert found["\n    value = thing."] is CursorKind.TRIGGER
    assert found["\n    value = thing.call("] is CursorKind.TRIGGER
    assert found["\n    value = "] is CursorKind.MID_LINE
    assert found["\n    value = thing.call(one)"] is CursorKind.LINE_END
    assert "\n    val" not in found


@pytest.mark.parametrize(
    ("inserted", "typed"), [("a->b()", "a->"), ("std::sort(x)", "std::"), ("@decorated", "@"), ("x[key]", "x[")]
)
def test_trigger_characters_of_several_languages(inserted: str, typed: str) -> None:
    assert kinds(inserted)[typed] is CursorKind.TRIGGER


def test_kinds_take_turns(busy_repository: Path) -> None:
    chosen = drawn(busy_repository, per_file=4).tasks
    by_commit: dict[str, list[CursorTask]] = {}
    for task in chosen:
        by_commit.setdefault(task.commit, []).append(task)
    assert {task.kind for tasks in by_commit.values() for task in tasks[:4]} == set(CursorKind)
    assert max(map(len, by_commit.values())) == 4


def test_windows_end_at_the_cursor(busy_repository: Path) -> None:
    with History(busy_repository) as history:
        small = Windows(prefix_chars=30, suffix_chars=7)
        chosen = choose(history.changes(), seed="0", limit=50, per_file=4, windows=small)
    whole = {task.key: task for task in drawn(busy_repository, per_file=4).tasks}
    for task in chosen.tasks:
        assert task.prefix == whole[task.key].prefix[-30:]
        assert task.suffix == whole[task.key].suffix[:7]


def test_nothing_to_write_is_no_task(repository: Path, commit: Commit) -> None:
    commit({"a.py": "x = 1\n"}, "Begin")
    commit({"a.py": "x = 12\n"}, "One character")
    assert drawn(repository).tasks == ()


def test_places_are_named_by_syntax(repository: Path, commit: Commit) -> None:
    commit({"a.py": "x = 1\n"}, "Begin")
    commit({"a.py": "x = 1\nimport collections\ny = collections.Counter(items)\n"}, "Count")
    places = {task.prefix.split("\n")[-1]: task.place for task in drawn(repository).tasks}
    assert places["import "] is Place.IMPORT
    assert places["y = collections."] is Place.MEMBER
    assert places["y = collections.Counter("] is Place.ARGUMENT


def test_carriage_returns_stay_as_they_are(repository: Path, commit: Commit) -> None:
    commit({"a.py": b"x = 1\r\n"}, "Begin")
    commit({"a.py": b"x = 1\r\ny = x + 1000\r\n"}, "More")
    tasks = drawn(repository).tasks
    assert tasks
    assert {task.prefix + task.written + task.suffix for task in tasks} == {"x = 1\r\ny = x + 1000\r\n"}


def test_a_selection_narrows_what_is_drawn(busy_repository: Path) -> None:
    with History(busy_repository) as history:
        chosen = choose(history.changes(Selection(max_commits=3)), seed="0", limit=100, per_file=10, windows=WHOLE)
    assert chosen.commits == 3
