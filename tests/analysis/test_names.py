"""Names in code, in languages with a grammar and without."""

import pytest

from analysis.names import names
from analysis.scores import properties, score


@pytest.mark.parametrize(
    ("language", "code", "found"),
    [
        (
            "python",
            "for x in load(path):  # all of them\n    print('a word', self.y, None)",
            "x load path print self y",
        ),
        ("python", "price.value for price in prices)", "price value prices"),
        ("typescript", "const x: Price = await this.load(true)", "x Price load"),
        ("javascript", "return `a ${name} b`", "name"),
        ("java", 'private final int total = sum("a b");', "total sum"),
        ("c", "#define LIMIT 3\nstruct point p = {.x = 1};", "LIMIT point p x"),
        ("go", "func (a *A) Do(x int) error { return nil }", "a A Do x int error"),
        ("rust", "let mut v: Vec<u8> = make(&other);", "v Vec make other"),
        ("fortran", "Call Solve(A, total) ! why\n", "solve a total"),
        ("pascal", "Total := Sum(Prices);", "total sum prices"),
        ("matlab", "y = sum(A, 2); % all", "y sum A"),
        ("cobol", '000100     MOVE WS-TOTAL TO OUT-LINE *> why\n           DISPLAY "THE END".', "ws-total out-line"),
        ("cobol", "000100* a comment\n000200     COMPUTE X = Y + 3.", "x y"),
        ("elixir", "x = load(path)", "x load path"),
    ],
)
def test_names(language: str, code: str, found: str) -> None:
    assert names(code, language) == set(found.split())


@pytest.mark.parametrize(
    ("language", "prefix", "suggestion", "unknown"),
    [
        ("python", "x = ", "compute(1)  # nobody knows these words", 1),
        ("javascript", "x = ", "new Thing()", 1),
        ("fortran", "integer :: TOTAL\n", "total = Other", 1),
        ("cobol", "       01 WS-TOTAL PIC 9.\n           ", "ADD 1 TO ws-total GIVING WS-SUM.", 1),
        ("matlab", "total = 1;\n", "Total = total;", 1),
    ],
)
def test_a_name_is_unknown_if_nothing_around_has_it(language: str, prefix: str, suggestion: str, unknown: int) -> None:
    found = properties(suggestion, prefix=prefix, suffix="\n", language=language)
    assert found["unknown_identifiers"] == unknown


def test_recall_is_of_names_and_not_of_the_words_in_a_comment() -> None:
    assert score("load(path)", "load(path)  # as they all do", "python")["identifier_recall"] == 1.0
    assert score("# as they do", "# as they all do", "python")["identifier_recall"] is None
