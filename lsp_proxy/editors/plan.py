"""What an installation changes, decided before anything is written: so that it can be shown, backed up and undone.

Undoing gives back the very bytes that were there, as long as the file is as the installation left it; where the person
has changed it since, what is ours is taken out of it and the rest stays as it is.
"""

import contextlib
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from codetrial.clock import now_utc
from codetrial.errors import ProxyError
from codetrial.paths import data_dir

__all__ = [
    "Block",
    "Change",
    "Plan",
    "WholeFile",
    "Wrapping",
    "applied",
    "apply",
    "codetrial_command",
    "quoted",
    "read",
    "require",
    "run",
    "undo",
    "undoable",
    "unwrapped",
    "wrapped",
]

OPENS = "codetrial: begin"
CLOSES = "codetrial: end"
OURS = frozenset({"codetrial", "codetrial.exe", "codetrial.cli"})
RECORD = "installed.json"
COMMAND_S = 180.0
"""Installing an extension takes seconds; some editors start themselves for it."""


def codetrial_command() -> list[str]:
    """How an editor starts us: by full path, since editors are often started without the shell's PATH."""
    beside = Path(sys.executable).with_name("codetrial")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("codetrial")
    return [found] if found else [sys.executable, "-P", "-m", "codetrial.cli"]


def wrapped(command: Sequence[str]) -> list[str]:
    """A server's command with the proxy before it. What is wrapped already keeps the options that it was given."""
    inner = unwrapped(command)
    if inner is None:
        return [*codetrial_command(), "lsp", "--", *command]
    before = list(command)[: len(command) - len(inner)]
    return [*codetrial_command(), *before[before.index("lsp") :], *inner]


def unwrapped(command: Sequence[str]) -> list[str] | None:
    """The server's own command within a wrapped one, whichever installation of ours wrapped it; None if none did."""
    words = list(command)
    starts = [index for index, word in enumerate(words[1:], 1) if word == "lsp" and Path(words[index - 1]).name in OURS]
    if not starts or "--" not in words[starts[0] :]:
        return None
    return words[words.index("--", starts[0]) + 1 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """A file that is ours alone."""

    path: Path
    content: str
    is_program: bool = False

    def result(self) -> str:
        return self.content

    def undone(self) -> str | None:
        text = read(self.path)
        return text if text and "codetrial" not in text else None  # A person's file of the same name is not ours.


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Marked lines at the end of a file that belongs to the person; the rest of it stays byte for byte."""

    path: Path
    comment: str
    """What begins a comment in this language."""
    content: str

    def result(self) -> str:
        rest = self._rest()
        space = "" if not rest or rest.endswith("\n") else "\n"
        return f"{rest}{space}{self.comment} {OPENS}\n{self.content.rstrip()}\n{self.comment} {CLOSES}\n"

    def undone(self) -> str | None:
        return self._rest() or None

    def _rest(self) -> str:
        text = read(self.path)
        start, end = text.find(f"{self.comment} {OPENS}\n"), text.find(f"{self.comment} {CLOSES}\n")
        if start < 0 or end < start:
            return text
        return text[:start] + text[end + len(f"{self.comment} {CLOSES}\n") :]


class Change(Protocol):
    """One file, as it will be and as it would be without us."""

    @property
    def path(self) -> Path: ...

    def result(self) -> str | None:
        """The whole content after installing; None if there is nothing to write."""
        ...

    def undone(self) -> str | None:
        """The whole content without us, byte for byte as it is if nothing in it is ours; None: no file."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """A change that puts us before the commands in a person's file."""

    def wrapped(self) -> list[list[str]]:
        """Those that are in the file now, ours included."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that installing in one editor does."""

    editor: str
    changes: tuple[Change, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    """Programs of the editor itself to run, such as the one that installs an extension."""
    undo_commands: tuple[tuple[str, ...], ...] = ()
    has_run: bool = True
    """Whether what the programs do is done, as far as can be seen without starting them."""
    advice: tuple[str, ...] = field(default=())
    """What the person should know or still has to do."""

    def described(self) -> Iterator[str]:
        """What is still to be done, a line each."""
        for change in self.changes:
            content = change.result()
            if content is not None and _bytes(change.path) != content.encode():
                yield f"{_verb(change)} {change.path}"
        for command in self.commands:
            yield f"run {shlex.join(command)}"


def _verb(change: Change) -> str:
    if isinstance(change, WholeFile):
        return "write"
    return "add a marked block to" if isinstance(change, Block) else "put codetrial before the servers' commands in"


def apply(plan: Plan) -> list[Path]:
    """Write everything, with a copy of what was there; the copies' paths.

    Raises:
        ProxyError: a file cannot be written; those before it are, and `undo` takes them back.
    """
    copies = []
    record = _Record(plan.editor)
    for change in plan.changes:
        content, before = change.result(), _bytes(change.path)
        if content is None or before == content.encode():
            continue
        if before is not None:
            copies.append(_back_up(change.path, plan.editor))
        if not record.is_as_left(change.path, before):  # Otherwise what was there before the first time still counts.
            original = change.undone()
            record.keep(change.path, None if before is None or original is None else original.encode())
            record.makes(change.path, _missing_folders(change.path))
        _write(change.path, content, is_program=isinstance(change, WholeFile) and change.is_program)
        record.left(change.path, content.encode())
    return copies


def undo(plan: Plan) -> list[Path]:
    """Take back what `apply` of this plan wrote, and nothing that the person has written since."""
    changed = []
    folders = []
    record = _Record(plan.editor)
    for change in plan.changes:
        before = _bytes(change.path)
        folders += record.made(change.path)
        if before is not None:
            left = change.undone()
            after = None if left is None else left.encode()
            if record.is_as_left(change.path, before):
                after = record.original(change.path)
            if after is None:
                change.path.unlink()
            elif after != before:
                _write_bytes(change.path, after)
            if after != before:
                changed.append(change.path)
        record.forget(change.path)
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # The person has put something there since.
            folder.rmdir()
    return changed


def undoable(plan: Plan) -> list[Path]:
    """The files in which something is ours now."""
    return [change.path for change in plan.changes if change.path.exists() and change.undone() != read(change.path)]


def require(plan: Plan) -> None:
    """See that the editor's own programs are there, before anything is written.

    Raises:
        ProxyError: one is not.
    """
    for command in plan.commands:
        if shutil.which(command[0]) is None:
            raise ProxyError(
                f"There is no `{command[0]}` on PATH, which is how {plan.editor} installs extensions. Put it there "
                "(in VS Code: `Shell Command: Install 'code' command in PATH`), or install by hand: "
                f"Extensions, Install from VSIX, {command[2]}."
            )


def run(command: Sequence[str]) -> str:
    """Run a program of the editor's; what it said.

    Raises:
        ProxyError: it failed, or did not end.
    """
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise ProxyError(f"Cannot run `{shlex.join(command)}`: {fault}. Run it by hand to see why.") from fault
    if process.returncode:
        said = (process.stderr or process.stdout).strip()
        raise ProxyError(f"`{shlex.join(command)}` failed with status {process.returncode}: {said}")
    return process.stdout.strip()


def applied(plan: Plan) -> bool:
    """Whether everything is as the plan would make it."""
    results = [(change.path, change.result()) for change in plan.changes]
    written = [(path, content) for path, content in results if content is not None]
    return plan.has_run and bool(written) and all(path.exists() and read(path) == content for path, content in written)


class _Record:
    """What each file was before we touched it, and what we left: in our own data folder, beside the copies."""

    def __init__(self, editor: str) -> None:
        self._folder = data_dir() / "backups" / editor
        try:
            self._files: dict[str, dict[str, Any]] = json.loads((self._folder / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            self._files = {}  # Lost or never there: then what is ours is taken out of the files as they are.

    def is_as_left(self, path: Path, content: bytes | None) -> bool:
        entry = self._files.get(str(path))
        if entry is None or content is None or entry.get("left") != _digest(content):
            return False
        return entry["original"] is None or (self._folder / entry["original"]).exists()

    def original(self, path: Path) -> bytes | None:
        name: str | None = self._files[str(path)]["original"]
        return None if name is None else (self._folder / name).read_bytes()

    def keep(self, path: Path, content: bytes | None) -> None:
        name = None if content is None else f"original-{_digest(content)[:16]}-{path.name}"
        if content is not None and name is not None:
            _write_bytes(self._folder / name, content)
        self._files[str(path)] = {"original": name, "left": None, "folders": list(map(str, self.made(path)))}

    def makes(self, path: Path, folders: Sequence[Path]) -> None:
        self._files[str(path)]["folders"] += map(str, folders)

    def made(self, path: Path) -> list[Path]:
        """The folders that were made for the file: an uninstallation leaves none of them empty."""
        return [Path(folder) for folder in self._files.get(str(path), {}).get("folders", [])]

    def left(self, path: Path, content: bytes) -> None:
        self._files[str(path)]["left"] = _digest(content)
        self._save()

    def forget(self, path: Path) -> None:
        if self._files.pop(str(path), None) is not None:
            self._save()

    def _save(self) -> None:
        _write(self._folder / RECORD, json.dumps(self._files, indent=1))


def _missing_folders(path: Path) -> list[Path]:
    return [folder for folder in path.parents if not folder.exists()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> str:
    """The file's text, with its line ends as they are; empty if there is none.

    Raises:
        ProxyError: it cannot be read, or is not UTF-8.
    """
    try:
        return (_bytes(path) or b"").decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ProxyError(f"Cannot read {path}: {fault}. Nothing was changed there.") from fault


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise ProxyError(f"Cannot read {path}: {fault.strerror}. Nothing was changed there.") from fault


def _write(path: Path, content: str, *, is_program: bool = False) -> None:
    _write_bytes(path, content.encode("utf-8"), is_program=is_program)


def _write_bytes(path: Path, content: bytes, *, is_program: bool = False) -> None:
    target = path.resolve()  # Dotfiles are often links into a repository: keep the link.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.codetrial-new")
        draft.write_bytes(content)
        if target.exists():
            shutil.copymode(target, draft)
        if is_program:
            draft.chmod(0o755)
        draft.replace(target)
    except OSError as fault:
        raise ProxyError(f"Cannot write {path}: {fault.strerror}. Check its permissions.") from fault


def _back_up(path: Path, editor: str) -> Path:
    folder = data_dir() / "backups" / editor
    copy = folder / f"{now_utc():%Y%m%dT%H%M%S%f}-{path.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    except OSError as fault:
        raise ProxyError(f"Cannot keep a copy of {path} in {folder}: {fault.strerror}. Nothing was changed.") from fault
    return copy


def quoted(words: Sequence[str]) -> str:
    """A list of strings as JSON writes it, which Lua's and TOML's readers understand too."""
    return ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
