import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.scores import kept_share, kept_state, properties, score

CODE = st.text(alphabet="abc ().=\n", max_size=60)
WRITTEN = CODE.filter(lambda text: bool(text.strip()))


@given(WRITTEN, CODE)
def test_every_measure_lies_between_zero_and_one(suggestion: str, continuation: str) -> None:
    scores = dict(score(suggestion, continuation, "python"))
    assert 0 <= (scores.pop("saved_chars") or 0) <= len(suggestion)
    assert all(value is None or 0 <= value <= 1 for value in scores.values())


@given(WRITTEN)
def test_what_was_written_word_for_word_scores_one(suggestion: str) -> None:
    scores = dict(score(suggestion, suggestion, "python"))
    assert scores.pop("saved_chars") == len(suggestion)
    assert set(scores.values()) <= {1.0, None}
    assert kept_share(suggestion, suggestion, "python") == 1.0


@given(WRITTEN, CODE)
def test_writing_on_afterwards_takes_nothing_away(suggestion: str, later: str) -> None:
    scores = score(suggestion, f"{suggestion}\n{later}", "plaintext")
    assert scores["first_line_exact"] == 1.0
    assert scores["prefix_chars_share"] == 1.0
    assert scores["token_similarity"] == 1.0


def test_no_continuation_is_not_zero() -> None:
    assert set(score("x", None, "python").values()) == {None}
    assert kept_share("x", None, "python") is None


def test_nothing_written_is_zero() -> None:
    scores = dict(score("x = 1", "", "python"))
    assert scores.pop("identifier_recall") is None
    assert set(scores.values()) == {0.0}


def test_identifier_recall_looks_at_the_lines_that_the_suggestion_covers() -> None:
    assert score("a + b", "a + c\nd\n", "python")["identifier_recall"] == 0.5
    assert score("if a:", "if a:\n    b()\n", "python")["identifier_recall"] == 1.0


@pytest.mark.parametrize(
    ("suggestion", "expected"),
    [
        ("a)", {"parse_change": -1.0, "brackets_balanced": 0.0, "repeats_following": 0.0, "unknown_identifiers": 0.0}),
        ("b, [", {"brackets_balanced": 0.0, "unknown_identifiers": 1.0}),
        ("[a]) or g(a)\nreturn a", {"repeats_following": 1.0}),
    ],
)
def test_properties_of_a_suggestion_at_its_place(suggestion: str, expected: dict[str, float]) -> None:
    found = properties(suggestion, prefix="a = 1\nx = f(", suffix="\nreturn a\n", language="python")
    assert {name: found[name] for name in expected} == expected


def test_without_a_grammar_only_parsing_is_not_measurable() -> None:
    found = properties("x)", prefix="f(", suffix="\n", language="unknown")
    assert {name for name, value in found.items() if value is None} == {"parse_change", "errors_after"}


def test_a_name_known_elsewhere_in_the_file_is_known() -> None:
    around = {"prefix": "x = ", "suffix": "\n", "language": "python"}
    assert properties("load(path)", **around)["unknown_identifiers"] == 2.0
    assert (
        properties("load(path)", **around, elsewhere="def load(file): ...\nxpath = 1\n")["unknown_identifiers"] == 1.0
    )


def test_looking_for_names_in_a_long_file_is_quick() -> None:
    elsewhere = "    value_1 = compute(value, offset=1)  # 1\n" * 10_000
    started = time.process_time()
    for _ in range(20):
        properties("total(missing, val)", prefix="x = ", suffix="\n", language="python", elsewhere=elsewhere)
    assert (time.process_time() - started) / 20 < 0.02


def test_error_nodes_before_and_after_can_both_be_told() -> None:
    found = properties("a)", prefix="x = f(", suffix="\n", language="python")
    assert (found["errors_after"], found["parse_change"]) == (0.0, -1.0)


def test_a_published_distance() -> None:
    # kitten -> sitting takes three edits and the longer word has seven letters.
    assert score("kitten", "sitting", "plaintext")["first_line_similarity"] == pytest.approx(1 - 3 / 7)


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert score("\n    return x\n", "\n\n        return x  # why\n", "python")["first_line_exact"] == 0.0
    assert score("\n    return x\n", "\n        return x\n", "python")["first_line_exact"] == 1.0


def test_token_similarity_ignores_layout() -> None:
    assert score("f(a,b)", "f(a, b)\n", "python")["token_similarity"] == 1.0


def test_token_similarity_counts_tokens() -> None:
    # f ( a ) against f ( b ): one of four tokens differs.
    assert score("f(a)", "f(b)", "python")["token_similarity"] == 0.75


def test_kept_counts_characters_of_whole_tokens() -> None:
    # `total` (5) and `=` (1) stand, `price` (5) was renamed.
    assert kept_share("total = price", "total = cost", "python") == pytest.approx(6 / 11)


@given(CODE.filter(lambda text: bool(text.strip())), CODE, CODE)
def test_text_around_an_accepted_one_does_not_change_what_is_kept(accepted: str, before: str, after: str) -> None:
    assert kept_share(accepted, f"{before}\n{accepted}\n{after}", "plaintext") == 1.0


@pytest.mark.parametrize(("share", "state"), [(1.0, "found"), (0.6, "edited"), (0.5, "edited"), (0.4, "gone")])
def test_state_of_what_was_kept(share: float, state: str) -> None:
    assert kept_state(share) == state
