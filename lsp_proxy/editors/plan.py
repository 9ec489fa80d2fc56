"""What an installation changes, decided before anything is written: so that it can be shown, backed up and undone."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from codetrial.clock import now_utc
from codetrial.errors import ProxyError
from codetrial.paths import data_dir

__all__ = ["Block", "Change", "Plan", "WholeFile", "applied", "apply", "codetrial_command", "quoted", "undo"]

OPENS = "codetrial: begin"
CLOSES = "codetrial: end"


def codetrial_command() -> list[str]:
    """How an editor starts us: by full path, since editors are often started without the shell's PATH."""
    beside = Path(sys.executable).with_name("codetrial")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("codetrial")
    return [found] if found else [sys.executable, "-P", "-m", "codetrial.cli"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """A file that is ours alone."""

    path: Path
    content: str

    def result(self) -> str:
        return self.content

    def undone(self) -> str | None:
        return None


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
        text = _read(self.path)
        start, end = text.find(f"{self.comment} {OPENS}\n"), text.find(f"{self.comment} {CLOSES}\n")
        if start < 0 or end < start:
            return text
        return text[:start] + text[end + len(f"{self.comment} {CLOSES}\n") :]


class Change(Protocol):
    """One file, as it will be and as it would be without us."""

    @property
    def path(self) -> Path: ...

    def result(self) -> str:
        """The whole content after installing."""
        ...

    def undone(self) -> str | None:
        """The whole content after uninstalling; None if there should be no file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that installing in one editor does."""

    editor: str
    changes: tuple[Change, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    """Programs of the editor itself to run, such as the one that installs an extension."""
    undo_commands: tuple[tuple[str, ...], ...] = ()
    advice: tuple[str, ...] = field(default=())
    """What the person should know or still has to do."""

    def described(self) -> Iterator[str]:
        for change in self.changes:
            verb = "write" if isinstance(change, WholeFile) else "add a marked block to"
            yield f"{verb} {change.path}"
        for command in self.commands:
            yield f"run {shlex.join(command)}"


def apply(plan: Plan) -> list[Path]:
    """Write everything, with a copy of what was there; the copies' paths.

    Raises:
        ProxyError: a file cannot be written; those before it are, and `undo` takes them back.
    """
    copies = []
    for change in plan.changes:
        content = change.result()
        if change.path.exists() and _read(change.path) != content:
            copies.append(_back_up(change.path, plan.editor))
        _write(change.path, content)
    return copies


def undo(plan: Plan) -> list[Path]:
    """Take back what `apply` of this plan wrote, and nothing that the person has written since."""
    changed = []
    for change in plan.changes:
        if not change.path.exists():
            continue
        left = change.undone()
        if left == _read(change.path):
            continue
        if left is None:
            change.path.unlink()
        else:
            _write(change.path, left)
        changed.append(change.path)
    return changed


def applied(plan: Plan) -> bool:
    """Whether the files are as the plan would make them."""
    return all(change.path.exists() and _read(change.path) == change.result() for change in plan.changes)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as fault:
        raise ProxyError(f"Cannot read {path}: {fault}. Nothing was changed there.") from fault


def _write(path: Path, content: str) -> None:
    target = path.resolve()  # Dotfiles are often links into a repository: keep the link.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.codetrial-new")
        draft.write_bytes(content.encode("utf-8"))
        if target.exists():
            shutil.copymode(target, draft)
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
