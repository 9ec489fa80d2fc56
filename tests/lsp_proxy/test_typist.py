"""The scripted editor against a real language server that knows the right answer, or does not."""

import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.history import FileChange, edits_between
from codetrial.errors import ProxyError
from lsp_proxy.editor_client import (
    INLINE_EDITOR,
    MENU_EDITOR,
    Document,
    EditorClient,
    EditorProfile,
    RequestFailedError,
    ServerEndedError,
)
from lsp_proxy.typist import Deed, Habits, Pace, TruthLog, Typist, leading_part, next_stroke, pick_edits

SERVER = Path(__file__).with_name("scripted_server.py")
BRISK = Pace(speed=40, patience_s=1.0, spread=0.1, debounce_s=0.001)
OBEDIENT = Habits(take=1, take_part=1, undo=0, delete=0, take_other=0)
BEFORE = "# naïve 🙂 file\nimport os\n\n\ndef first():\n    return 1\n"
AFTER = (
    "# naïve 🙂 file\nimport os\nimport sys\n\n\ndef first(argument=2):\n    total = argument + 1\n    return total\n"
)

Start = Callable[..., AbstractAsyncContextManager[EditorClient]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts an editor with the scripted server behind it."""

    @asynccontextmanager
    async def started(
        mode: str, profile: EditorProfile = INLINE_EDITOR, after: str = AFTER
    ) -> AsyncIterator[EditorClient]:
        (tmp_path / "after.txt").write_bytes(after.encode())
        command = [sys.executable, str(SERVER), str(tmp_path / "after.txt"), mode]
        async with EditorClient.started(
            command, root=tmp_path, profile=profile, settings={"scripted": {"loud": True}}
        ) as editor:
            yield editor

    return started


def change(before: str = BEFORE, after: str = AFTER) -> FileChange:
    return FileChange(path="a.py", language="python", before=before, after=after, edits=edits_between(before, after))


async def typed(editor: EditorClient, habits: Habits = OBEDIENT, file: FileChange | None = None) -> Typist:
    typist = Typist(editor=editor, rng=random.Random(7), pace=BRISK, habits=habits)
    assert await typist.make(file or change())
    return typist


@pytest.mark.parametrize("profile", [INLINE_EDITOR, MENU_EDITOR], ids=lambda p: p.name)
@pytest.mark.parametrize("mode", ["right", "wrong", "half", "none", "error"])
async def test_whatever_is_suggested_the_commit_is_typed_and_the_server_sees_the_same_text(
    start: Start, tmp_path: Path, mode: str, profile: EditorProfile
) -> None:
    habits = Habits(take=0.5, take_part=0.5, undo=0.2, delete=0.2, take_other=0.5)
    async with start(mode, profile) as editor:
        await typed(editor, habits)
    assert (tmp_path / "a.py").read_text() == AFTER
    assert (tmp_path / "after.seen").read_text() == AFTER


async def test_a_right_suggestion_is_taken_and_its_command_is_run(start: Start, tmp_path: Path) -> None:
    async with start("right") as editor:
        typist = await typed(editor)
    taken = [entry for entry in typist.truth.entries if entry.deed is Deed.TAKE]
    assert taken
    assert all(entry.taken and AFTER.count(entry.taken) for entry in taken)
    assert (tmp_path / "after.taken").read_text().split("\n")[:-1] == [entry.suggestion for entry in taken]


async def test_of_a_half_right_suggestion_the_right_lines_are_taken(start: Start) -> None:
    async with start("half") as editor:
        typist = await typed(editor)
    assert typist.truth.count(Deed.TAKE_LINE) > 0
    assert typist.truth.count(Deed.TAKE) == 0


async def test_a_wrong_suggestion_is_ignored(start: Start) -> None:
    async with start("wrong") as editor:
        typist = await typed(editor)
    assert {entry.deed for entry in typist.truth.entries} <= {Deed.IGNORE, Deed.LEAVE, Deed.SUPERSEDED}
    assert typist.shown > 0


async def test_who_never_takes_types_right_suggestions_through(start: Start) -> None:
    async with start("right") as editor:
        typist = await typed(editor, Habits(take=0, take_part=0, undo=0, delete=0))
    assert typist.truth.count(Deed.TYPE_THROUGH) > 0
    assert typist.truth.count(Deed.TAKE, Deed.TAKE_LINE, Deed.TAKE_WORD) == 0


async def test_a_menu_item_of_the_proxy_is_taken_from_the_menu(start: Start) -> None:
    async with start("right", MENU_EDITOR) as editor:
        typist = await typed(editor)
    assert typist.truth.count(Deed.TAKE) > 0


async def test_the_same_seed_types_the_same_edits() -> None:
    file = change()
    one, two = (pick_edits(file, random.Random(3), min_chars=1, max_chars=99, total_chars=60) for _ in range(2))
    assert one == two
    assert one.typed_chars <= 60


async def test_time_up_ends_the_typing_with_the_file_saved(start: Start, tmp_path: Path) -> None:
    strokes = 0

    def count(chars: int) -> None:
        nonlocal strokes
        strokes += 1

    async with start("none") as editor:
        typist = Typist(
            editor=editor, rng=random.Random(7), pace=BRISK, on_typed=count, is_time_up=lambda: strokes >= 5
        )
        assert not await typist.make(change())
    assert strokes == 5
    assert (tmp_path / "after.seen").read_text() == (tmp_path / "a.py").read_text() != AFTER


async def test_the_truth_is_written_as_it_happens(start: Start, tmp_path: Path) -> None:
    truth = TruthLog(tmp_path / "truth.jsonl")
    async with start("right") as editor:
        await Typist(editor=editor, rng=random.Random(7), pace=BRISK, habits=OBEDIENT, truth=truth).make(change())
    rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(row["deed"], row["request_ids"]) for row in rows] == [
        (entry.deed, list(entry.request_ids)) for entry in truth.entries
    ]


async def test_the_editor_answers_what_servers_ask(start: Start) -> None:
    async with start("none", MENU_EDITOR) as editor:
        while not editor.messages:
            await editor.request("textDocument/completion", await _somewhere(editor))
        assert editor.messages == ["settings: {'loud': True}"]
        assert editor.trigger_characters == {".", "@"}


async def _somewhere(editor: EditorClient) -> dict[str, object]:
    document = await editor.open(editor.root / "b.py", "python", "x = 1\n")
    return {"textDocument": {"uri": document.uri}, "position": {"line": 0, "character": 0}}


async def test_an_error_answer_is_an_error_and_not_an_empty_list(start: Start) -> None:
    async with start("error") as editor:
        with pytest.raises(RequestFailedError, match="scripted to fail"):
            await editor.request(
                "textDocument/inlineCompletion", (await _somewhere(editor)) | {"context": {"triggerKind": 2}}
            )


async def test_a_server_that_dies_ends_the_wait(start: Start) -> None:
    async with start("none") as editor:
        pending = await editor.start_request("scripted/die", {})
        with pytest.raises((ServerEndedError, RequestFailedError)):
            await editor.answer_of(pending)


async def test_a_missing_server_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProxyError, match="Cannot start 'no-such-server'"):
        async with EditorClient.started(["no-such-server"], root=tmp_path):
            pass


@pytest.mark.parametrize(
    ("suggestion", "meant", "part"),
    [
        ("value)", "value)\n", (Deed.TAKE, "value)")),
        ("value", "values)", None),
        ("total + 1\n    return x", "total + 1\n    return y", (Deed.TAKE_LINE, "total + 1")),
        ("total + one", "total + two", (Deed.TAKE_WORD, "total +")),
        ("to + one", "to - one", None),
        ("  ", "  x", None),
        ("", "x", None),
    ],
)
def test_a_part_is_whole_lines_or_whole_words(suggestion: str, meant: str, part: object) -> None:
    assert leading_part(suggestion, meant) == part


@given(st.text(alphabet="ab \n\r\t(🙂é", max_size=30))
def test_strokes_make_up_the_text(text: str) -> None:
    strokes, rest = [], text
    while rest:
        strokes.append(next_stroke(rest))
        rest = rest[len(strokes[-1]) :]
    assert "".join(strokes) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@given(text=st.text(alphabet="ab\n🙂é", max_size=30), data=st.data())
def test_positions_and_offsets_agree_in_every_encoding(encoding: str, text: str, data: st.DataObject) -> None:
    document = Document(Path("/a.py"), "python", text, encoding)
    offset = data.draw(st.integers(0, len(text)))
    position = document.position(offset)
    assert document.offset(position) == offset
    width = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    line = text[:offset].rpartition("\n")[2]
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    assert position == {"line": text[:offset].count("\n"), "character": len(line.encode(width)) // unit}
