"""The repository n-gram arm: what came after these tokens the last time, in this repository?

Longest-suffix match over the repository's text files and the text around the cursor: instant, silent when it does not
know, and nothing leaves the process. The index is built in a thread and bounded: a huge repository costs no more than
a large one.
"""

import asyncio
import logging
import re
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from codetrial.arms.base import Answer, ArmDefinition, Prompt
from codetrial.clock import now_ns
from codetrial.records import AttemptStatus

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["NgramArm"]

logger = logging.getLogger(__name__)

VERSION = "ngram@1"

MIN_ORDER = 2
"""Silent below: a single matching token says next to nothing."""
MAX_ORDER = 24
MAX_FILES = 5_000
MAX_FILE_BYTES = 400_000
"""Larger text files are data or generated."""
MAX_TOKENS = 2_000_000
"""About 40 MB of index."""
MAX_CANDIDATES = 2_000
REFRESH_S = 120.0
"""An index older than this is built again beside the old one, when somebody asks."""

_TOKEN = re.compile(r"\n|[ \t\f\v\r]+|\w+|[^\w\s]")
_NEWLINE = "\n"
_END = "\0"
"""Stands between texts; no text that is indexed contains it."""


class _Token(NamedTuple):
    space: str
    """White space before it on its line (for the first token of a line: the indentation)."""
    word: str


def _tokens(text: str) -> Iterator[_Token]:
    space = ""
    for found in _TOKEN.finditer(text):
        word = found[0]
        if word.isspace() and word != _NEWLINE:
            space = word
            continue
        yield _Token("" if word == _NEWLINE else space, word)
        space = ""


@dataclass
class _Index:
    """Token ids of all files in one array; positions sorted by bigram, so that a look-up is two binary searches."""

    words: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    stream: "array[int]" = field(default_factory=lambda: array("I"))
    spaces: "array[int]" = field(default_factory=lambda: array("I"))
    built_at_s: float = 0.0
    _keys: "NDArray[np.uint64] | None" = None
    _order: "NDArray[np.int64] | None" = None

    def add(self, text: str) -> None:
        for token in _tokens(text):
            self.stream.append(self._id(token.word))
            self.spaces.append(self._id(token.space))
        self.stream.append(self._id(_END))  # No match runs over the end of a file.
        self.spaces.append(self._id(""))

    def _id(self, word: str) -> int:
        known = self.ids.get(word)
        if known is None:
            known = self.ids[word] = len(self.words)
            self.words.append(word)
        return known

    def seal(self) -> None:
        import numpy as np

        stream = np.frombuffer(self.stream, dtype=np.uint32).astype(np.uint64)
        keys = (stream[:-1] << np.uint64(32)) | stream[1:]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self.built_at_s = time.monotonic()

    def after(self, context: Sequence[int]) -> tuple[int, list[int]]:
        """Longest order at which the context's end occurs, and the positions just after it."""
        if len(context) < MIN_ORDER:
            return 0, []
        # What ends a text is followed by nothing; the end of the context itself is such a place.
        end = self.ids.get(_END)
        positions = [p for p in self._after_bigram(context[-2], context[-1]) if self.stream[p] != end]
        order = MIN_ORDER
        while positions and order < min(MAX_ORDER, len(context)):
            wanted = context[-order - 1]
            longer = [p for p in positions if p - order - 1 >= 0 and self.stream[p - order - 1] == wanted]
            if not longer:
                break
            positions, order = longer, order + 1
        return (order, positions) if positions else (0, [])

    def _after_bigram(self, first: int, second: int) -> list[int]:
        if self._keys is None or self._order is None:
            # Not sealed: the text at hand, about a thousand tokens.
            stream = self.stream
            return [i + 1 for i in range(1, len(stream)) if stream[i] == second and stream[i - 1] == first]
        import numpy as np

        key = np.uint64((first << 32) | second)
        low = int(np.searchsorted(self._keys, key, "left"))
        high = int(np.searchsorted(self._keys, key, "right"))
        return [int(p) + 2 for p in self._order[max(low, high - MAX_CANDIDATES) : high]]


class NgramArm:
    """Answers from what the repository already says. Reads files below `prompt.root` only; sends nothing anywhere."""

    def __init__(self, definition: ArmDefinition) -> None:
        self._definition = definition
        self._indexes: dict[str, _Index] = {}
        self._builds: dict[str, asyncio.Task[None]] = {}

    @property
    def definition(self) -> ArmDefinition:
        return self._definition

    async def prepare(self, root: str | None) -> None:
        """Build the index before the first question."""
        if root is not None:
            self._start_build(root)
            await asyncio.shield(self._builds[root])

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        sent_ns = now_ns()
        if prompt.root is not None:
            index = self._indexes.get(prompt.root)
            if index is None or time.monotonic() - index.built_at_s > REFRESH_S:
                self._start_build(prompt.root)
        index = self._indexes.get(prompt.root or "")
        text = complete(prompt, index, max_tokens=self._definition.max_tokens)
        end_ns = now_ns()
        return Answer(
            status=AttemptStatus.OK if text.strip() else AttemptStatus.EMPTY,
            text=text,
            sent_ns=sent_ns,
            first_byte_ns=end_ns if text else None,
            first_line_ns=end_ns if text else None,
            end_ns=end_ns,
            finish_reason="stop" if text else "unknown_context",
            model_returned=VERSION,
        )

    async def aclose(self) -> None:
        for build in self._builds.values():
            build.cancel()
        await asyncio.gather(*self._builds.values(), return_exceptions=True)

    def _start_build(self, root: str) -> None:
        running = self._builds.get(root)
        if running is None or running.done():
            self._builds[root] = asyncio.create_task(self._build(root), name=f"ngram index of {root}")

    async def _build(self, root: str) -> None:
        try:
            self._indexes[root] = await asyncio.to_thread(build_index, Path(root))
        except Exception:
            # The arm then knows the text around the cursor only; the editor must not notice.
            logger.exception("the n-gram index of %s could not be built", root)


def build_index(root: Path) -> _Index:
    """Index the text files of a repository, git's ignore rules respected."""
    started = time.monotonic()
    index = _Index()
    files = 0
    for path in _text_files(root):
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                continue
            data = path.read_bytes()
        except OSError:
            continue  # Deleted or unreadable since it was listed.
        if b"\0" in data[:4096]:
            continue
        index.add(data.decode("utf-8", "replace"))
        files += 1
        if files >= MAX_FILES or len(index.stream) >= MAX_TOKENS:
            logger.warning("n-gram index of %s stops at %d files, %d tokens", root, files, len(index.stream))
            break
        time.sleep(0)  # Give the event loop the interpreter between files.
    if len(index.stream) > 1:
        index.seal()
    logger.info("n-gram index of %s: %d files, %.2f s", root, files, time.monotonic() - started)
    return index


def _text_files(root: Path) -> Iterator[Path]:
    import git

    try:
        with git.Repo(root, search_parent_directories=True) as repository:
            listing = repository.git.ls_files("--cached", "--others", "--exclude-standard", "-z", "--", str(root))
            top = Path(repository.working_dir)
        for name in sorted(set(listing.split("\0"))):
            if name:
                yield top / name
    except git.exc.GitError:
        yield from _walk(root)


def _walk(root: Path) -> Iterator[Path]:
    """Without git: every file that the folder's own .gitignore does not name, hidden folders left out."""
    import pathspec

    ignore = root / ".gitignore"
    lines = ignore.read_text(encoding="utf-8", errors="replace").splitlines() if ignore.is_file() else []
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    for folder, folders, names in root.walk() if hasattr(root, "walk") else _os_walk(root):
        relative = folder.relative_to(root)
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and not spec.match_file(f"{(relative / f).as_posix()}/")
        )
        for name in sorted(names):
            if not spec.match_file((relative / name).as_posix()):
                yield folder / name


def _os_walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    import os  # Path.walk came with Python 3.12.

    for folder, folders, names in os.walk(root):
        yield Path(folder), folders, names


def complete(prompt: Prompt, index: _Index | None, *, max_tokens: int) -> str:
    """The continuation by the longest match; "" where nothing of order two or more is known.

    A cursor inside a word matches on the tokens before that word and keeps only continuations that begin with it.
    """
    stub_match = re.search(r"\w+$", prompt.prefix)
    stub = stub_match[0] if stub_match else ""
    before = prompt.prefix[: len(prompt.prefix) - len(stub)]
    near = _Index()
    near.add(before)
    context = [near.words[i] for i in near.stream[:-1]][-MAX_ORDER:]
    near.add(prompt.suffix)
    best: tuple[int, _Index, list[int]] = (0, near, [])
    for source in (near, index):
        if source is None:
            continue
        known = [source.ids[word] for word in _known_tail(context, source.ids)]
        order, positions = source.after(known)
        positions = [p for p in positions if _begins_with(source, p, stub)]
        # At equal order the file at hand knows better than the repository.
        if positions and order > best[0]:
            best = (order, source, positions)
    order, source, positions = best
    if not positions:
        return ""
    return _follow(source, positions, stub, prompt.prefix, max_tokens)


def _known_tail(context: Sequence[str], ids: dict[str, int]) -> Sequence[str]:
    """The longest end of the context whose words all occur in the index."""
    start = len(context)
    while start and context[start - 1] in ids:
        start -= 1
    return context[start:]


def _begins_with(source: _Index, position: int, stub: str) -> bool:
    word = source.words[source.stream[position]]
    return word not in (_NEWLINE, _END) and word.startswith(stub) if stub else word != _END


def _follow(source: _Index, positions: list[int], stub: str, prefix: str, max_tokens: int) -> str:
    """Copy token by token along the majority of the matches; beyond the line only while two or more agree."""
    out: list[str] = []
    indent_here = re.match(r"[ \t]*", prefix[prefix.rfind("\n") + 1 :])
    indent_shift = _indent_shift(source, positions[-1], indent_here[0] if indent_here else "")
    at_line_start = not prefix.rpartition("\n")[2].strip() and not stub
    for step in range(max_tokens):
        votes = Counter(source.stream[p + step] for p in positions if p + step < len(source.stream))
        if not votes:
            break
        top, support = votes.most_common(1)[0]
        word = source.words[top]
        if word == _END or (word == _NEWLINE and out and support < 2):
            break
        positions = [p for p in positions if p + step < len(source.stream) and source.stream[p + step] == top]
        space = source.words[source.spaces[positions[-1] + step]]
        if step == 0:
            word, space = word[len(stub) :], "" if stub or at_line_start or prefix.endswith((" ", "\t")) else space
        elif out and out[-1].endswith(_NEWLINE) and word != _NEWLINE:
            space = _shifted(space, indent_shift)
        out.append(space + word)
    return "".join(out).rstrip()


def _indent_shift(source: _Index, position: int, indent_here: str) -> int:
    """How much deeper the cursor's line stands than the matched one, in characters."""
    start = position
    newline = source.ids.get(_NEWLINE)
    while start > 0 and source.stream[start - 1] != newline:
        start -= 1
    return len(indent_here) - len(source.words[source.spaces[start]])


def _shifted(space: str, shift: int) -> str:
    if shift >= 0:
        return space + (space[:1] or " ") * shift
    return space[: max(0, len(space) + shift)]
