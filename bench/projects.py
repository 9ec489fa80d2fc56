"""What real language servers are asked about: in six projects the three files, and where somebody types in them.

pygls, zod, Arrow's C++ for Python, Go's encoding/xml and regex-syntax: code that people work on, in files of 400 to
5,900 lines. `bench/projects.sh` fetches what does not come with the benchmark's Python or with gopls.
"""

import os
import random
import re
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from codetrial.paths import cache_dir

__all__ = ["PROJECTS", "Place", "Project", "words"]

CURSOR = "\N{FULL BLOCK}"
_WORD = re.compile(r"\b[A-Za-z_]\w{3,}\b")
_COMMENT = ("#", "//", "/*", "*", '"""')


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where somebody types in a file."""

    file: str
    after: str
    """A line of the file; the first such line counts."""
    line: str
    """What stands behind it, in a line of its own, up to the cursor."""
    typed: str

    def in_text(self, text: str) -> str:
        """The file with that line in it."""
        return text.replace(f"{self.after}\n", f"{self.after}\n{self.line}\n", 1)

    def cursor(self, text: str) -> tuple[int, int]:
        """Line and character, both from 0, in the file with that line in it."""
        return text.split("\n").index(self.after) + 1, len(self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Files that belong together.

    Args:
        language: The files' language id.
        source: Gives the folder they come from; AssertionError says how to get it.
        places: Where somebody types, in a file each.
        only: Which files are copied, as a glob pattern.
        beside: Gives further files by name, for the server's sake.
    """

    language: str
    source: Callable[[], Path]
    places: tuple[Place, ...]
    only: str = "**/*"
    beside: Callable[[], Mapping[str, str]] = dict

    def copy(self, folder: Path) -> None:
        """Put it there, with the line to type in."""
        source = self.source()
        for path in source.glob(self.only):
            if path.is_file():
                target = folder / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        for place in self.places:
            path = folder / place.file
            path.write_text(place.in_text(path.read_text()))
        for name, text in self.beside().items():
            (folder / name).write_text(text)


def words(text: str, draw: random.Random) -> list[tuple[int, int]]:
    """Where words of the code stand (line and character, from 0), in an order drawn by lot."""
    found = [
        (number, match.start())
        for number, line in enumerate(text.split("\n"))
        if not line.lstrip().startswith(_COMMENT)
        for match in _WORD.finditer(line)
    ]
    draw.shuffle(found)
    return found


def fetched(name: str) -> Path:
    """A project from `bench/projects.sh`."""
    path = Path(os.environ.get("CODETRIAL_PROJECTS", cache_dir() / "projects")) / name
    assert path.exists(), f"{path} is missing: run bench/projects.sh"
    return path


def package(name: str) -> Path:
    """An installed Python package's folder."""
    spec = find_spec(name)
    assert spec is not None, f"the package {name} is missing"
    return Path(str(spec.origin)).parent


def go_library() -> Path:
    editors = Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors"))
    found = sorted(editors.glob("gopls/usr/share/go-*/src/encoding/xml"))
    assert found, f"{editors} has no Go library: run tests/editors/servers.sh"
    return found[-1]


def arrow_flags() -> dict[str, str]:
    folders = [package("pyarrow") / "include", package("numpy") / "_core" / "include", sysconfig.get_path("include")]
    return {"compile_flags.txt": "\n".join(["-std=c++20", "-I.", *(f"-I{folder}" for folder in folders)])}


def typescript_options() -> dict[str, str]:
    options = '{"target":"es2022","module":"esnext","moduleResolution":"bundler","strict":true}'
    return {"tsconfig.json": f'{{"compilerOptions":{options},"exclude":["**/tests"]}}'}


def rust_project() -> dict[str, str]:
    crate = '{"root_module":"src/lib.rs","edition":"2018","deps":[],"cfg":["feature=\\"unicode\\""]}'
    return {"rust-project.json": f'{{"sysroot_src":"{fetched("rust-library")}","crates":[{crate}]}}'}


PYTHON = Project(
    language="python",
    source=lambda: package("pygls"),
    only="**/*.py",
    places=(
        Place(
            file="lsp/_base_client.py",
            after="        super().__init__(protocol_cls, converter_factory)",
            line="        self.",
            typed="text",
        ),
        Place(file="protocol/json_rpc.py", after="        self._server = server", line="        self.", typed="_sen"),
        Place(file="capabilities.py", after="            save = False", line="        self.", typed="clie"),
    ),
)
PROJECTS = {
    "basedpyright": PYTHON,
    "pylsp": PYTHON,
    "clangd": Project(
        language="cpp",
        source=lambda: package("pyarrow") / "src",
        beside=arrow_flags,
        places=(
            Place(
                file="arrow/python/arrow_to_pandas.cc",
                after="  Status CheckNotZeroCopyOnly(const ChunkedArray& data) {",
                line="    data.",
                typed="leng",
            ),
            Place(
                file="arrow/python/python_to_arrow.cc",
                after="  static Result<Decimal128> Convert(const Decimal128Type* type, const O&, I obj) {",
                line="    type->",
                typed="byte",
            ),
            Place(
                file="arrow/python/numpy_to_arrow.cc",
                after="  Status PushArray(const std::shared_ptr<ArrayData>& data) {",
                line="    data->",
                typed="buff",
            ),
        ),
    ),
    "typescript": Project(
        language="typescript",
        source=lambda: fetched("zod") / "src",
        beside=typescript_options,
        places=(
            Place(
                file="v4/core/schemas.ts",
                after="export function isValidBase64(data: string): boolean {",
                line="  data.",
                typed="repl",
            ),
            Place(
                file="v3/types.ts",
                after="  _parse(input: ParseInput): ParseReturnType<string> {",
                line="    this.",
                typed="_def",
            ),
            Place(
                file="v4/classic/schemas.ts",
                after="export function string(params?: string | core.$ZodStringParams): ZodString {",
                line="  core.",
                typed="_str",
            ),
        ),
    ),
    "gopls": Project(
        language="go",
        source=go_library,
        only="[!.]*[a-z].go",
        beside=lambda: {"go.mod": "module example.com/xml\n"},
        places=(
            Place(file="xml.go", after="func (d *Decoder) popEOF() bool {", line="\td.", typed="push"),
            Place(file="marshal.go", after="func (enc *Encoder) Flush() error {", line="\tenc.", typed="Enco"),
            Place(file="read.go", after="func (d *Decoder) Skip() error {", line="\td.", typed="unma"),
        ),
    ),
    "rust-analyzer": Project(
        language="rust",
        source=lambda: fetched("regex-syntax"),
        beside=rust_project,
        places=(
            Place(
                file="src/ast/parse.rs",
                after="    fn pop_class_op(&self, rhs: ast::ClassSet) -> ast::ClassSet {",
                line="        self.",
                typed="pars",
            ),
            Place(
                file="src/hir/translate.rs",
                after="    fn hir_literal(&self, lit: &ast::Literal) -> Result<Hir> {",
                line="        self.",
                typed="hir_",
            ),
            Place(
                file="src/hir/mod.rs",
                after="    pub fn is_always_utf8(&self) -> bool {",
                line="        self.",
                typed="is_a",
            ),
        ),
    ),
}
