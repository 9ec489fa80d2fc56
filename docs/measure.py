"""Measures the house as docs/design/0020-the-house-measured.md shows it.

python docs/measure.py             print the table
python docs/measure.py --long      and the functions that do not fit on a screen
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("codetrial", "lsp_proxy", "pr_bot", "analysis")
SCREEN_LINES = 45


class Function(NamedTuple):
    place: str
    lines: int


class Figures(NamedTuple):
    """Of one package."""

    files: list[int]
    """Lines of each."""
    functions: list[Function]
    comments: int
    code_lines: int
    """Neither blank nor comment."""


def figures(folder: Path) -> Figures:
    found = Figures([], [], 0, 0)
    comments = code_lines = 0
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.files.append(text.count("\n"))
        found.functions.extend(functions(path, ast.parse(text)))
        blank = sum(not line.strip() for line in text.splitlines())
        alone = sum(line.lstrip().startswith("#") for line in text.splitlines())
        comments += sum(
            token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline)
        )
        code_lines += text.count("\n") - blank - alone
    return found._replace(comments=comments, code_lines=code_lines)


def functions(path: Path, tree: ast.AST) -> Iterator[Function]:
    """From `def`, without decorators, to the last line; parameters count, as they have to be read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Function(place, (node.end_lineno or node.lineno) - node.lineno + 1)


def imports(path: Path, modules: frozenset[str]) -> set[str]:
    """The modules of the house that this one imports when it is imported itself; later and for types does not count."""
    waiting: list[ast.AST] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` names the module; what remains comes from the package itself.
            found |= inner & modules or {node.module}
        waiting.extend(ast.iter_child_nodes(node))
    return found & modules


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles() -> list[list[str]]:
    """Modules of which each imports, by way of others, itself."""
    paths = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    modules = frozenset(paths)
    arrows = {name: imports(path, modules) - {name} for name, path in paths.items()}
    reach = {name: reachable(name, arrows) for name in arrows}
    tied = {frozenset(other for other in reach[name] if name in reach[other]) for name in arrows if name in reach[name]}
    return sorted(sorted(circle) for circle in tied)


def reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(arrows[name])
    return seen


def mocks_and_tests() -> tuple[int, int]:
    """Uses of `unittest.mock` and of monkeypatched attributes; environment variables and folders are no mocks."""
    mocks = tests = 0
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                tests += 1
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                mocks += called.endswith(("Mock", "mock.patch", "monkeypatch.setattr"))
    return mocks, tests


def spread(numbers: Sequence[int]) -> str:
    return f"{median(numbers):.0f} / {quantiles(numbers, n=10)[-1]:.0f} / {max(numbers)}"


def table(measured: dict[str, Figures]) -> Iterable[str]:
    yield "| room | files | lines of a file | functions | lines of a function | over a screen | comments per 100 lines |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in measured.items():
        lengths = [function.lines for function in found.functions]
        long = sum(lines > SCREEN_LINES for lines in lengths)
        comments = 100 * found.comments / found.code_lines
        yield (
            f"| `{name}` | {len(found.files)} | {spread(found.files)} | {len(lengths):,} | {spread(lengths)} "
            f"| {long} | {comments:.1f} |"
        )


def main() -> None:
    measured = {name: figures(ROOT / name) for name in (*PACKAGES, "tests", "bench")}
    print(*table(measured), sep="\n")
    print(f"\nLengths are median / nine in ten / longest; a screen has {SCREEN_LINES} lines.")
    tied = circles()
    print(f"Import circles: {len(tied)}" + "".join(f"\n  {', '.join(circle)}" for circle in tied))
    mocks, tests = mocks_and_tests()
    print(
        f"Tests: {tests:,} functions; attributes replaced by mocks: {mocks}, {100 * mocks / tests:.1f} per 100 tests."
    )
    if "--long" in sys.argv[1:]:
        long = [f for name in PACKAGES for f in measured[name].functions if f.lines > SCREEN_LINES]
        print(*(f"{f.lines:>4}  {f.place}" for f in sorted(long, key=lambda f: -f.lines)), sep="\n")


if __name__ == "__main__":
    main()
