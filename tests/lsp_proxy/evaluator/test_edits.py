"""Places survive edits: checked against the plain way of doing it, on offsets into one string."""

from hypothesis import given
from hypothesis import strategies as st

from lsp_proxy.evaluator.edits import Edit, Point, Span, after, refine, rotate

TEXT = st.text(alphabet="ab (\n", max_size=40)
LINES = st.text(alphabet="ab (\r\n", max_size=40)


def point(text: str, offset: int) -> Point:
    return after(Point(0, 0), text[:offset])


def apply(text: str, edits: list[Edit]) -> str:
    for edit in edits:
        starts = [i for i in range(len(text) + 1) if point(text, i) == edit.start]
        start = starts[-1]
        assert text[start : start + len(edit.old)] == edit.old
        text = text[:start] + edit.new + text[start + len(edit.old) :]
    return text


@given(TEXT, TEXT, st.data())
def test_a_span_keeps_its_text_when_something_changes_elsewhere(text: str, new: str, data: st.DataObject) -> None:
    start, end, at, to = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 4)))
    span = Span(point(text, at), point(text, to))
    edit = Edit(point(text, start), point(text, end), text[start:end], new)
    if end < at:
        span.follow(edit)
        changed = text[:start] + new + text[end:]
        moved = len(new) - (end - start)
        assert (span.start, span.end) == (point(changed, at + moved), point(changed, to + moved))


@given(TEXT, TEXT, st.data())
def test_what_is_inserted_in_a_span_is_in_it(text: str, new: str, data: st.DataObject) -> None:
    start, at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 3)))
    span = Span(point(text, start), point(text, end))
    span.follow(Edit(point(text, at), point(text, at), "", new))
    changed = text[:at] + new + text[at:]
    assert (span.start, span.end) == (point(changed, start), point(changed, end + len(new)))


def test_what_is_inserted_behind_a_span_that_does_not_grow_is_not_in_it() -> None:
    span = Span(Point(0, 0), Point(0, 3), grows=False)
    span.follow(Edit(Point(0, 3), Point(0, 3), "", "xyz"))
    assert span.end == Point(0, 3)


def test_a_redo_fills_a_span_again_that_does_not_grow() -> None:
    span = Span(Point(0, 0), Point(0, 3), grows=False)
    span.follow(Edit(Point(0, 0), Point(0, 3), "abc", ""))
    span.follow(Edit(Point(0, 0), Point(0, 0), "", "abc"))
    assert (span.start, span.end) == (Point(0, 0), Point(0, 3))


def test_a_span_that_was_replaced_with_its_surroundings_is_swallowed() -> None:
    span = Span(Point(0, 2), Point(0, 3))
    span.follow(Edit(Point(0, 0), Point(0, 5), "abcde", "x"))
    assert span.is_swallowed


@given(LINES, LINES, LINES, LINES)
def test_refined_edits_make_the_same_text(head: str, old: str, new: str, tail: str) -> None:
    text = head + old + tail
    after = head + new + tail
    ends = [(text, len(head)), (text, len(head + old)), (after, len(head)), (after, len(head + new))]
    if any(content[max(0, at - 1) : at + 1] == "\r\n" for content, at in ends):
        return  # A change that cuts a line end in two is told as lost places before it comes here.
    edit = Edit(point(text, len(head)), point(text, len(head) + len(old)), old, new)
    assert apply(text, list(refine(edit))) == after


def test_a_formatted_text_keeps_the_places_that_were_not_touched() -> None:
    old, new = "def f( a ):\n  return g( a,1 )\n", "def f(a):\n    return g(a, 1)\n"
    at = old.index("return")
    span = Span(point(old, at), point(old, at + 6))
    for edit in refine(Edit(Point(0, 0), point(old, len(old)), old, new)):
        span.follow(edit)
    there = new.index("return")
    assert (span.start, span.end) == (point(new, there), point(new, there + 6))


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab", min_size=1, max_size=4), st.integers(0, 8))
def test_rotating_an_insertion_does_not_change_the_text(before: str, new: str, column: int) -> None:
    edit = Edit(Point(0, len(before)), Point(0, len(before)), "", new)
    wanted = min(column, len(before))
    moved = rotate(edit, before[wanted:], Point(0, wanted))
    assert before[: moved.start.column] + moved.new + before[moved.start.column :] == before + new
