"""`codetrial completion`: the scripts work in the real shells."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent

PATIENCE_S = 60.0
"""For a shell that starts Python to answer; on a busy machine that takes seconds."""


def environment(home: Path) -> dict[str, str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "dumb", "CODETRIAL_DATA_DIR": str(home / "data")}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} itself has to complete: apt-get install {name}, as .ci/run does")
    return found


def test_bash_offers_commands_options_and_values(tmp_path: Path) -> None:
    script = """
    eval "$(codetrial completion bash)"
    offered() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _codetrial_completion codetrial
        echo "${COMPREPLY[@]}"
    }
    offered codetrial re
    offered codetrial report --door ''
    offered codetrial arms ch
    offered codetrial rescore --ch
    """
    run = subprocess.run(
        [shell("bash"), "--norc", "-c", script],
        capture_output=True, text=True, env=environment(tmp_path), timeout=2 * PATIENCE_S,
    )  # fmt: skip
    assert run.stderr == ""
    commands, doors, below_arms, options = (line.split() for line in run.stdout.splitlines())
    assert set(commands) == {"replay", "report", "rescore", "resume", "retention"}
    assert doors == ["completions", "reviews"]
    assert below_arms == ["check"]
    assert options == ["--check"]


def test_fish_offers_commands_and_values(tmp_path: Path) -> None:
    script = "codetrial completion fish | source; complete -C 'codetrial res'; complete -C 'codetrial report --door '"
    run = subprocess.run(
        [shell("fish"), "--no-config", "-c", script],
        capture_output=True, text=True, env=environment(tmp_path), timeout=2 * PATIENCE_S,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in run.stdout.splitlines()] == ["rescore", "resume", "completions", "reviews"]


@pytest.mark.parametrize(
    ("name", "start", "prepare"),
    [
        ("bash", ["--norc", "-i"], 'eval "$(codetrial completion bash)"'),
        ("zsh", ["-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(codetrial completion zsh)"'),
    ],
)
def test_tab_completes_at_the_prompt(name: str, start: list[str], prepare: str, tmp_path: Path) -> None:
    program = shell(name)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(program, [name, *start], environment(tmp_path))
    try:
        os.write(terminal, f"PS1='ready> '; {prepare}; echo pre''pared\n".encode())
        read_until(terminal, "prepared\r")
        os.write(terminal, b"codetrial resc\t")
        read_until(terminal, "codetrial rescore")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, expected: str) -> None:
    seen, until = "", time.monotonic() + PATIENCE_S
    while expected not in seen:
        readable, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        assert readable, f"{expected!r} did not come: {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")
