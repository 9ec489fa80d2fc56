"""`codetrial lsp`: read the options, start the language server, and only then import what carries its traffic.

The server takes longer to start than we do, so everything after `start_server` costs the editor nothing. That is why
this module imports next to nothing, why the options have a parser of their own, and why they are not a dataclass.
"""

import os
import sys

__all__ = ["USAGE", "Options", "main", "parse"]

USAGE = (
    "usage: codetrial lsp [--config FILE] [--store FILE] [--origin person|replay|test]\n"
    "                     [--surface auto|inline|menu|none] [--log FILE] [--restart] [--off] -- SERVER [ARGUMENT ...]"
)
ORIGINS = ("person", "replay", "test")
SURFACES = ("auto", "inline", "menu", "none")
CHOICES = {"origin": ORIGINS, "surface": SURFACES}

SIGPIPE, SIGXFSZ = 13, 25
"""On every system that has them; the module `signal` takes 4 ms to say so, and the server would start later by that."""

EXIT_USAGE = 2
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
"""As a shell would say it, so that editors show what they always show."""


class Options:
    """What `codetrial lsp` was asked to do."""

    def __init__(self) -> None:
        self.config: str | None = None
        self.store: str | None = None
        self.origin = "person"
        self.surface = "auto"
        self.log: str | None = None
        """Where the evaluator writes its log; None is our own stderr."""
        self.off = False
        """Become the server, as if codetrial were not there."""
        self.restart = False
        """Start a crashed server again instead of ending with it."""
        self.server: list[str] = []
        """Empty: there is no language server, only suggestions."""


class UsageError(Exception):
    """The options cannot be understood; the message is for people."""


def parse(argv: list[str]) -> Options:
    """The options before `--`, and the server's command after it."""
    options = Options()
    words = list(argv)
    if "--" in words:
        cut = words.index("--")
        words, options.server = words[:cut], _at_home(words[cut + 1 :])
    while words:
        name, has_value, value = words.pop(0).partition("=")
        field = name.removeprefix("--")
        if name in ("--off", "--restart") and not has_value:
            setattr(options, field, True)
        elif name in ("--config", "--store", "--origin", "--surface", "--log"):
            if not has_value:
                if not words:
                    raise UsageError(f"{name} needs a value")
                value = words.pop(0)
            if field in CHOICES and value not in CHOICES[field]:
                raise UsageError(f"{name} is one of {', '.join(CHOICES[field])}, not {value!r}")
            setattr(options, field, value)
        elif not name.startswith("-"):
            raise UsageError(f"the language server's command goes after `--`: codetrial lsp -- {name} ...")
        else:
            raise UsageError(f"unknown option {name}")
    return options


def _at_home(command: list[str]) -> list[str]:
    """Emacs, coc and others know `~/` at the start of a server's command: behind us they see only our own name."""
    if command and command[0].startswith("~/"):
        return [os.path.expanduser(command[0]), *command[1:]]
    return command


def main(argv: list[str]) -> int:
    """Run the proxy until the language server ends; returns its exit status."""
    try:
        options = parse(argv)
    except UsageError as fault:
        return _fail(f"{fault}\n{USAGE}", EXIT_USAGE)
    is_off = options.off or os.environ.get("CODETRIAL_OFF", "") not in ("", "0")
    if is_off and not options.server:
        return _fail(f"--off needs a language server to become\n{USAGE}", EXIT_USAGE)
    try:
        if is_off:
            os.execvp(options.server[0], options.server)
        server, to_server, from_server = start_server(options.server or standalone())
    except FileNotFoundError:
        return _fail(not_found(options.server[0]), EXIT_NOT_FOUND)
    except PermissionError:
        return _fail(
            f"cannot start the language server {options.server[0]!r}: it may not be executed. "
            "Give it execute permission, or name another command.",
            EXIT_NOT_EXECUTABLE,
        )
    except OSError as fault:
        return _fail(f"cannot start the language server {options.server[0]!r}: {fault.strerror}.", EXIT_NOT_EXECUTABLE)
    from lsp_proxy.relay.relay import Relay

    return Relay(options, server, to_server, from_server).run()


def standalone() -> list[str]:
    """The command of a server without abilities, for an editor that has no other."""
    # -P: we run in the person's project, whose own modules must not stand in for ours.
    return [sys.executable, "-P", "-m", "lsp_proxy.relay.standalone"]


def start_server(command: list[str]) -> tuple[int, int, int]:
    """Process id, the pipe to its stdin, the pipe from its stdout; its stderr is ours, so nobody has to read it."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    try:
        pid = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs_in, 0), (os.POSIX_SPAWN_DUP2, theirs_out, 1)],
            setsigdef=[SIGPIPE, SIGXFSZ],  # Python ignores these; a server must not inherit that.
        )
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    return pid, ours_out, ours_in


def not_found(command: str) -> str:
    """What was looked for, and where."""
    if os.sep in command:
        looked = f"There is no {os.path.abspath(command)}"
    else:
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        looked = "Looked on PATH in:\n" + "\n".join(f"  {folder or '.'}" for folder in folders)
    return f"cannot start the language server {command!r}: not found. {looked}\nInstall it, or give its full path."


def _fail(message: str, status: int) -> int:
    print(f"codetrial: {message}", file=sys.stderr)
    return status
