"""A repository's `codetrial.toml` may send code somewhere or start a program: not before the person has agreed to it.

Whoever clones a repository runs its configuration by opening a file in an editor. So a file that was found in a project
(rather than named, or the user's own), and that has an arm which is not wholly on this machine, counts only after
`codetrial trust`; when its content changes, it is asked for again. `codetrial init` trusts what it writes.
"""

import hashlib
from pathlib import Path

from codetrial.arms.base import ArmDefinition
from codetrial.config import Config
from codetrial.errors import ConfigError
from codetrial.paths import data_dir
from codetrial.privacy import is_on_this_machine

__all__ = ["grant", "is_trusted", "require"]


def _register() -> Path:
    return data_dir() / "trusted"


def _mark(path: Path) -> str:
    """Place and content: the same content elsewhere is another decision."""
    return hashlib.sha256(str(path.resolve()).encode() + b"\0" + path.read_bytes()).hexdigest()


def is_trusted(path: Path) -> bool:
    try:
        return _mark(path) in _register().read_text(encoding="ascii").split()
    except OSError:
        return False


def grant(path: Path) -> None:
    """Remember that the person agreed to this file as it is now.

    Raises:
        ConfigError: it cannot be read, or the agreement cannot be kept.
    """
    try:
        mark = _mark(path)
        _register().parent.mkdir(parents=True, exist_ok=True)
        with _register().open("a", encoding="ascii") as out:
            out.write(mark + "\n")
    except OSError as fault:
        raise ConfigError(f"Cannot remember the trust in {path}: {fault.strerror} ({fault.filename}).") from fault


def require(config: Config, definitions: "tuple[ArmDefinition, ...]") -> None:
    """Refuse a found project file that reaches beyond this machine and was not agreed to.

    Raises:
        ConfigError: says which file, what it would do, and how to agree.
    """
    path = config.project_file
    if path is None or is_trusted(path):
        return
    for definition in definitions:
        if not is_on_this_machine(definition):
            what = (
                f"sends code to {definition.url}" if definition.url else f"starts the program of api {definition.api}"
            )
            raise ConfigError(
                f"{path} came with this project, and its arm {definition.label} {what}. "
                f"Read it, and if you agree run: codetrial trust {path}"
            )
