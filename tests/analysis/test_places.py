"""Golden places over every language with a grammar, and over COBOL, which is read by its columns."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import places
from analysis.places import place_of, surroundings
from analysis.syntax import _GRAMMARS, slow_parses
from codetrial.records import Enclosing, LinePart, Place

GOLDEN: dict[str, list[tuple[str, Place]]] = {
    "ada": [
        ("with |\n", Place.IMPORT),
        ("procedure P (A : Integer; |) is\nbegin\n   null;\nend P;\n", Place.SIGNATURE),
        ("procedure P is\nbegin\n   |\nend P;\n", Place.BLOCK),
        ("procedure P is\nbegin\n   Put (A, |);\nend P;\n", Place.ARGUMENT),
        ("procedure P is\nbegin\n   X := 1;\n   |\nend P;\n", Place.STATEMENT),
    ],
    "c": [
        ("int main() { printf(|", Place.ARGUMENT),
        ("#include |\n", Place.IMPORT),
        ("int add(int a, |", Place.SIGNATURE),
        ("int add(int a, int b)\n{\n    |\n}\n", Place.BLOCK),
        ("int f() {\n  int x = 1;\n  |\n}\n", Place.STATEMENT),
        ("/** Doc| */\nint f();", Place.DOCSTRING),
        ("int x = |;\n", Place.EXPRESSION),
        ("struct |", Place.SIGNATURE),
    ],
    "cobol": [
        ("       MOVE |\n", Place.EXPRESSION),
        ("000100* why |\n", Place.COMMENT),
        ('           DISPLAY "HEL|LO".\n', Place.STRING),
        ("       COPY |\n", Place.IMPORT),
        ("       MAIN-PARA.\n           |\n", Place.BLOCK),
        ("       MAIN-PARA.\n           MOVE 1 TO X.\n           DIS|\n", Place.STATEMENT),
        ('           CALL "SUB" USING |\n', Place.ARGUMENT),
        ("       PROGRAM-ID. |\n", Place.SIGNATURE),
    ],
    "cpp": [
        ("std::|\n", Place.MEMBER),
        ("TEST(A, B) {\n  |\n}\n", Place.TEST),
        ("std::vector<int> v{1, |};\n", Place.EXPRESSION),
        ("void A::f(int a, |) {}", Place.SIGNATURE),
    ],
    "csharp": [
        ("class A { void F() { Go(a, |); } }\n", Place.ARGUMENT),
        ("class A {\n  /// <summary>|\n  void F() {}\n}", Place.DOCSTRING),
        ("class A {\n  public int F(int a, |)\n  { }\n}", Place.SIGNATURE),
        ("class A {\n    void F()\n    {\n        |\n    }\n}", Place.BLOCK),
    ],
    "css": [
        ("a { color: |\n}", Place.LINE_END),
        ("@import |", Place.IMPORT),
    ],
    "elixir": [
        ("x = |\n", Place.UNKNOWN),
    ],
    "fortran": [
        ("program p\n  use |\n", Place.IMPORT),
        ("program p\n  ! why |\nend program\n", Place.COMMENT),
        ("program p\n  call solve(a, |\nend program\n", Place.ARGUMENT),
        ("subroutine f(a, |)\nend subroutine\n", Place.SIGNATURE),
        ("program p\n  x = 1\n  |\nend program\n", Place.STATEMENT),
        ("program p\n  do i = 1, 3\n    |\n  end do\nend program\n", Place.BLOCK),
        ("program p\n  x = |\nend program\n", Place.EXPRESSION),
        ("!> Adds |\nsubroutine f()\nend subroutine\n", Place.DOCSTRING),
    ],
    "go": [
        ("func f() { x := a.|\n", Place.MEMBER),
        ("func TestX(t *testing.T) {\n\tx := 1\n\t|\n}\n", Place.TEST),
        ("// Do does |\nfunc Do() {}\n", Place.DOCSTRING),
        ("func (a *A) Do(x int, |) {\n}", Place.SIGNATURE),
        ("func f() {\n\t|\n}", Place.BLOCK),
        ("x := []int{1, |}", Place.EXPRESSION),
        ("return |\n", Place.EXPRESSION),
    ],
    "html": [
        ("<p>\n|\n</p>", Place.LINE_START),
        ("<!-- a | -->", Place.COMMENT),
    ],
    "java": [
        ("// what |\n", Place.COMMENT),
        ("class A { public int foo(int a, |", Place.SIGNATURE),
        ("class A {\n  @Test\n  void adds() {\n    |\n  }\n}", Place.TEST),
        ("class A {\n  void f() {\n    int x = 1;\n    |\n  }\n}", Place.STATEMENT),
        ("class A {\n  void f() {\n    foo(new B(|));\n  }\n}", Place.ARGUMENT),
    ],
    "javascript": [
        ("function f(a, |) {}\n", Place.SIGNATURE),
        ("const f = (a, b) => {\n  |\n}\n", Place.BLOCK),
        ("foo(function () {\n  a();\n  |\n})", Place.STATEMENT),
        ("const x = {\n  a: 1,\n  |\n}\n", Place.EXPRESSION),
        ("/** Retu| */\nfunction f() {}", Place.DOCSTRING),
        ("it('adds', () => {\n  |\n})\n", Place.TEST),
        ("if (a) {\n  |\n}", Place.BLOCK),
        ("return |\n", Place.EXPRESSION),
        ("class A {\n  foo(a, |) {}\n}", Place.SIGNATURE),
    ],
    "json": [
        ('{"a": "|"}', Place.STRING),
        ('{"a": |}', Place.MID_LINE),
    ],
    "kotlin": [
        ("fun f() { go(a, |) }\n", Place.ARGUMENT),
        ("fun f(a: Int, |) {}\n", Place.SIGNATURE),
        ("class A {\n    @Test\n    fun adds() {\n        val x = 1\n        |\n    }\n}\n", Place.TEST),
        ("fun f() {\n    |\n}\n", Place.BLOCK),
    ],
    "lua": [
        ("local x = require |\n", Place.IMPORT),
        ("function f(a, |)\nend\n", Place.SIGNATURE),
        ("function f()\n  |\nend\n", Place.BLOCK),
        ("local t = { a = 1, | }\n", Place.EXPRESSION),
        ("if x then\n  y = 1\n  |\nend\n", Place.STATEMENT),
    ],
    "matlab": [
        ("y = sum(a, |)\n", Place.ARGUMENT),
        ("% why |\n", Place.COMMENT),
        ("function y = f(a, |)\nend\n", Place.SIGNATURE),
        ("function y = f(a)\n% F adds |\ny = a;\nend\n", Place.DOCSTRING),
        ("function y = f(a)\n|\nend\n", Place.BLOCK),
        ("x = [1, |];\n", Place.EXPRESSION),
        ("x = 1;\n|\n", Place.STATEMENT),
        ("x = 'ab|c';\n", Place.STRING),
    ],
    "pascal": [
        ("uses |\n", Place.IMPORT),
        ("procedure P(A: Integer; |);\nbegin\nend;\n", Place.SIGNATURE),
        ("procedure P;\nbegin\n  |\nend;\n", Place.BLOCK),
        ("procedure P;\nbegin\n  Go(a, |);\nend;\n", Place.ARGUMENT),
    ],
    "php": [
        ("<?php f($a, |);\n", Place.ARGUMENT),
        ("<?php\nfunction f($a, |) {}\n", Place.SIGNATURE),
        ("<?php\nfunction f() {\n  |\n}\n", Place.BLOCK),
        ("<?php\n/** Doc| */\nfunction f() {}\n", Place.DOCSTRING),
    ],
    "python": [
        ("x = foo(a, |)\n", Place.ARGUMENT),
        ("x = foo(a, |\n", Place.ARGUMENT),
        ("def f(|):\n    pass\n", Place.SIGNATURE),
        ("def f(a, |", Place.SIGNATURE),
        ("import o|\n", Place.IMPORT),
        ("from a.b import |\n", Place.IMPORT),
        ("# why th|\n", Place.COMMENT),
        ("x = 'ab|c'\n", Place.STRING),
        ("x = f'ab{y|}c'\n", Place.EXPRESSION),
        ("os.pa|\n", Place.MEMBER),
        ("x = 3.|\n", Place.EXPRESSION),
        ("x = |\n", Place.EXPRESSION),
        ("def f():\n    |\n", Place.BLOCK),
        ("x = | + 1\n", Place.EXPRESSION),
        ("x = 'abc'|\n", Place.EXPRESSION),
        ("x = [1, |]\n", Place.EXPRESSION),
        ("if (a|\n", Place.EXPRESSION),
        ("x = {\n  'a': 1,\n  |\n}\n", Place.EXPRESSION),
        ("foo(\n    a,\n    |\n", Place.ARGUMENT),
        ("x = 1\nre|\n", Place.STATEMENT),
        ("def f():\n    x = 1\n    |\n    return x\n", Place.STATEMENT),
        ("def test_a():\n    x = 1\n    |\n", Place.TEST),
        ("class TestA:\n    def helper(self):\n        |\n", Place.TEST),
        ('def f():\n    """Ret|\n    x = 1\n', Place.DOCSTRING),
        ('def f():\n    """Ret|urn"""\n    x = 1\n', Place.DOCSTRING),
        ('"""Mod|"""\n', Place.DOCSTRING),
        ('x = """Mod|"""\n', Place.STRING),
        ("class A(|):\n", Place.SIGNATURE),
        ("for x in |\n", Place.EXPRESSION),
        ("return |\n", Place.EXPRESSION),
        ("@app.get(|)\ndef f(): pass\n", Place.ARGUMENT),
        ("x = 'ab|\n", Place.STRING),
        ("def f(a) -> |:\n  pass\n", Place.SIGNATURE),
        ("x: int = |\n", Place.EXPRESSION),
        ("async def f(|", Place.SIGNATURE),
        ("|", Place.STATEMENT),
        ("print(a)\n|", Place.STATEMENT),
    ],
    "ruby": [
        ("def f(a, |)\nend\n", Place.SIGNATURE),
        ("def f\n  |\nend\n", Place.BLOCK),
        ("it 'adds' do\n  x = 1\n  |\nend\n", Place.TEST),
        ("puts(a, |)\n", Place.ARGUMENT),
        ("# Adds |\ndef add\nend\n", Place.DOCSTRING),
        ("x = 1\n|\n", Place.STATEMENT),
    ],
    "rust": [
        ("let v = Vec::|", Place.MEMBER),
        ("/// Does |\nfn f() {}\n", Place.DOCSTRING),
        ("fn f(a: i32, |) {}\n", Place.SIGNATURE),
        ("fn f() {\n    let x = 1;\n    |\n}\n", Place.STATEMENT),
        ("#[test]\nfn adds() {\n    |\n}\n", Place.TEST),
        ("fn f() {\n    let p = Point { x: 1, | };\n}", Place.EXPRESSION),
        ('fn f() {\n    println!("{}", |);\n}', Place.ARGUMENT),
    ],
    "scala": [
        ("// why |\n", Place.COMMENT),
        ("def f(a: Int, |) = 1\n", Place.SIGNATURE),
        ("object A {\n  def f() = {\n    |\n  }\n}\n", Place.BLOCK),
        ("val x = go(a, |)\n", Place.ARGUMENT),
    ],
    "shellscript": [
        ("if a; then\n  |\nfi\n", Place.BLOCK),
        ("f() {\n  |\n}\n", Place.BLOCK),
        ("x=1\n|\n", Place.STATEMENT),
        ("# why |\nx=1\n", Place.COMMENT),
        ('echo "a|"\n', Place.STRING),
    ],
    "swift": [
        ("import |\n", Place.IMPORT),
        ("func f(a: Int, |) {}\n", Place.SIGNATURE),
        ("func f() {\n    let x = |\n}\n", Place.EXPRESSION),
        ("func f() {\n    go(a, |)\n}\n", Place.ARGUMENT),
    ],
    "toml": [
        ("a = |\n", Place.LINE_END),
    ],
    "typescript": [
        ("foo(a, |);\n", Place.ARGUMENT),
        ("interface A {\n  x: |\n}", Place.EXPRESSION),
        ("export class A extends |", Place.SIGNATURE),
    ],
    "typescriptreact": [
        ("const a = <div>|</div>", Place.EXPRESSION),
    ],
    "yaml": [
        ("a: |\n", Place.LINE_END),
        ("# a |\nb: 1", Place.COMMENT),
    ],
}
"""The bar is the cursor."""

CASES = [(language, code, place) for language, cases in GOLDEN.items() for code, place in cases]


@pytest.mark.parametrize(("language", "code", "place"), CASES)
def test_place(language: str, code: str, place: Place) -> None:
    prefix, suffix = code.split("|", 1)
    assert place_of(prefix, suffix, language) is place


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_places_do_not_depend_on_how_lines_end(end: str) -> None:
    for language, code, _ in CASES:
        prefix, suffix = code.split("|", 1)
        expected = surroundings(prefix, suffix, language)
        assert surroundings(prefix.replace("\n", end), suffix.replace("\n", end), language) == expected


def test_every_grammar_has_golden_places() -> None:
    assert set(GOLDEN) == {*_GRAMMARS, "cobol", "elixir"}


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("x = 1\n    |\ny", LinePart.START),
        ("x = |\n", LinePart.END),
        ("x = |  \r\ny", LinePart.END),
        ("f(|)", LinePart.MID),
        ("|x", LinePart.MID),
    ],
)
def test_part_of_the_line_is_known_in_any_language(code: str, part: LinePart) -> None:
    prefix, suffix = code.split("|")
    assert surroundings(prefix, suffix, "elixir").line_part is part
    assert surroundings(prefix, suffix, "python").line_part is part


@pytest.mark.parametrize(
    ("language", "code", "enclosing"),
    [
        ("python", "x = 1\n|", Enclosing.NONE),
        ("python", "def f():\n    if x:\n        |", Enclosing.FUNCTION),
        ("python", "class A:\n    def f(\n        self,\n    ):\n        |", Enclosing.METHOD),
        ("python", "class A:\n    x = |", Enclosing.CLASS),
        ("python", "class TestA:\n    def f(self):\n        y = |", Enclosing.TEST),
        ("python", "def f():\n    pass\n\n|", Enclosing.NONE),
        ("javascript", "const f = (a) => {\n  return |", Enclosing.FUNCTION),
        ("javascript", "class A {\n  run(a) {\n    |\n  }\n}", Enclosing.METHOD),
        ("typescript", "describe('a', () => {\n  const x = |", Enclosing.TEST),
        ("c", "int f(int a)\n{\n    return |", Enclosing.FUNCTION),
        ("java", "class A {\n    int f() {\n        return |", Enclosing.METHOD),
        ("java", "class ATest {\n    int f() {\n        return |", Enclosing.TEST),
        ("go", "func (a *A) Do() {\n\treturn |", Enclosing.METHOD),
        ("rust", "impl A {\n    fn f(&self) {\n        |", Enclosing.METHOD),
        ("ruby", "module A\n  def f\n    |", Enclosing.METHOD),
        ("matlab", "function y = f(x)\ny = |", Enclosing.FUNCTION),
        ("matlab", "function y = f(x)\ny = 1;\nend\n|", Enclosing.NONE),
        ("fortran", "module m\ncontains\nsubroutine f\nx = |", Enclosing.METHOD),
        ("pascal", "procedure P;\nbegin\n  |", Enclosing.FUNCTION),
        ("cobol", "       MAIN-PARA.\n           |", Enclosing.FUNCTION),
        ("yaml", "a: |", None),
        ("elixir", "def f do\n  |", None),
    ],
)
def test_enclosing_definition(language: str, code: str, enclosing: Enclosing | None) -> None:
    prefix, suffix = code.split("|")
    assert surroundings(prefix, suffix, language).enclosing is enclosing


def test_a_definition_that_begins_before_the_window_is_not_known() -> None:
    assert surroundings("def f():\n" + "    x = 1\n" * 1_000 + "    ", "", "python").enclosing is None


LANGUAGES = st.sampled_from([*_GRAMMARS, "cobol", "unknown"])
PIECES = st.lists(
    st.sampled_from([*"(){}[];:,.\"'`#/*-=\n \t\r", "def f", "class A", '"""', "//", "end", "é", "\ud800", "\u2028"]),
    max_size=30,
).map("".join)


@given(PIECES, PIECES, LANGUAGES)
def test_any_cursor_has_a_place(prefix: str, suffix: str, language: str) -> None:
    found = surroundings(prefix, suffix, language)
    assert isinstance(found.place, Place)
    assert isinstance(found.line_part, LinePart)


def test_a_cursor_in_ten_thousand_lines_costs_at_most_three_milliseconds() -> None:
    block = GOLDEN_BLOCK * 1_700
    assert block.count("\n") >= 10_000
    surroundings(block, block, "python")
    started = time.process_time()
    for at in range(0, 50_000, 500):
        surroundings(block[: len(block) // 2 + at], block[len(block) // 2 + at :], "python")
    assert (time.process_time() - started) / 100 <= 0.003


GOLDEN_BLOCK = '''
def compute(value, offset=0):
    """Add an offset to a value."""
    # Nothing to see here.
    found = [other for other in range(value) if other > offset]
    return max(found, default=value) + offset
'''


@pytest.mark.parametrize("language", sorted(_GRAMMARS))
@pytest.mark.parametrize("piece", ["a b<T> f(x.y::"])
def test_a_single_endless_line_costs_no_more_than_its_parse(language: str, piece: str) -> None:
    line = piece * 5_000
    places.surroundings(line, line, language)
    started = time.process_time()
    places.surroundings(line, line, language)
    places.surroundings(f"{line}\n    ", "", language)
    assert time.process_time() - started < 0.6


def test_a_parse_that_is_given_up_leaves_the_place_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.syntax.PARSE_LIMIT_S", -1.0)
    before = slow_parses()
    found = surroundings("def f():\n    x = f(1)\n" * 100 + "    ", "", "python")
    assert found == (Place.UNKNOWN, LinePart.START, Enclosing.FUNCTION)
    assert slow_parses() > before


def test_a_window_is_all_that_is_read() -> None:
    far = "x = (\n" * 10_000
    assert places.place_of(far + "y = 1\n" * 1_000, "", "python") is Place.STATEMENT
