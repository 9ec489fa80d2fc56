"""The command as a whole: it starts light, and every part of it says what it does."""

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from codetrial import app as application

HEAVY = ("pygls", "lsprotocol", "httpx", "tree_sitter", "sqlite_utils", "git", "github", "numpy", "scipy", "matplotlib")


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path) or "codetrial", command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from walk(child, (*path, name))


def all_commands() -> list[tuple[str, click.Command]]:
    application.load_commands()
    return list(walk(application.app))


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import codetrial",
        "import codetrial.records, codetrial.errors, codetrial.paths",
        "from codetrial.app import app, load_commands; load_commands()",
    ],
)
def test_starting_the_command_imports_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement).isdisjoint(HEAVY)


def test_the_relay_starts_without_a_command_line_library() -> None:
    loaded = loaded_by("import lsp_proxy.relay.main")
    assert loaded.isdisjoint({*HEAVY, "click", "rich", "asyncio", "argparse", "codetrial", "analysis"})


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_command_and_option_says_what_it_does(name: str, command: click.Command) -> None:
    assert command.get_short_help_str(), f"{name} has no help"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"


def is_leaf(command: click.Command) -> bool:
    return not isinstance(command, click.Group) and not command.hidden


@pytest.mark.parametrize(("name", "command"), [(n, c) for n, c in all_commands() if is_leaf(c)])
def test_every_command_ends_its_help_with_an_example_to_paste(name: str, command: click.Command) -> None:
    help_text = (command.help or "") + (command.epilog or "")
    assert f"codetrial {name}" in help_text, f"`codetrial {name} --help` shows no example"


def test_a_known_error_is_a_sentence_and_an_exit_code() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "codetrial.cli", "report", "--store", "/nowhere/at/all.db"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "nothing has been recorded yet" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_listed_options_of_the_proxy_are_those_that_its_own_parser_takes() -> None:
    from lsp_proxy.commands import lsp
    from lsp_proxy.relay.main import CHOICES, USAGE, parse

    options = {option.opts[0]: option for option in lsp.params if isinstance(option, click.Option)}
    assert set(re.findall(r"--[a-z]+", USAGE)) == set(options)
    for name, option in options.items():
        value = next(iter(CHOICES.get(name[2:], ["x"])))
        assert getattr(parse([name] if option.is_flag else [f"{name}={value}"]), name[2:]) in (True, value)
        if isinstance(option.type, click.Choice):
            assert tuple(option.type.choices) == CHOICES[name[2:]]


NOTHING_FOR_SCRIPTS = {
    "arms fetch": "shows progress and ends with 0 or 1",
    "arms serve": "runs until it is stopped",
    "arms stop": "ends with 0 or 1",
    "init": "asks questions; what it writes is TOML",
    "trust": "ends with 0 or 1",
    "install": "writes an editor's own files; --print shows them",
    "uninstall": "gives an editor's own files back",
    "completion": "prints a script for the shell",
    "lsp": "speaks the language server protocol",
    "demo": "is for looking at; `codetrial report --json --store` has its numbers",
    "pause": "`codetrial status --json` says whether it worked",
    "resume": "`codetrial status --json` says whether it worked",
    "pr serve": "runs until it is stopped",
    "pr install": "what it writes is YAML",
    "pr seal": "ends with 0 or 1",
    "pr unseal": "ends with 0 or 1",
    "pr demo": "is for looking at",
    "watch": "is for looking at; `codetrial report --json` has its numbers",
    "explore": "runs until it is stopped",
}


@pytest.mark.parametrize(("name", "command"), [(n, c) for n, c in all_commands() if is_leaf(c) or n == "cost"])
def test_every_command_has_json_for_scripts_or_a_reason_why_not(name: str, command: click.Command) -> None:
    has_json = any("--json" in parameter.opts for parameter in command.params)
    assert has_json != (name in NOTHING_FOR_SCRIPTS)


OWN_WORDS = {
    "--arm": "whose suggestions to export, whose endpoint to load",
    "--check": "the arms after `init`, the scores in `rescore`",
    "--dry-run": "each names what it would do",
    "--html": "only the demo writes its page unasked",
    "--origin": "of what is typed (lsp), of what is read (report), of what is passed on (export, ship)",
    "--port": "each server has its own default",
    "--repository": "the folder to work in, or whose rows to delete (purge)",
    "--seed": "of the demo's edits, of a replay's places, of seeded defects",
    "--since": "sessions of a trial, commits of a history",
    "--store": "the demo has a database of its own; the proxy's parser knows no environment, its evaluator does",
    "--trial": "the last that was worked in; or all, where nothing is compared (audit, export)",
}
"""Flags that several commands explain in words of their own, and why. What kind of value they take is the same."""

OWN_KINDS = {
    "--config": "the proxy's own parser only passes it on",
    "--repository": "purge also takes a URL, owner/name or a hash",
    "--seed": "the demo's is a number",
    "--since": "sessions start at a moment, commits are chosen by day",
    "--store": "the proxy's own parser only passes it on",
}


def options_by_name() -> dict[str, list[click.Option]]:
    found: dict[str, list[click.Option]] = {}
    for _, command in all_commands():
        for option in command.params:
            if isinstance(option, click.Option):
                found.setdefault(option.opts[0], []).append(option)
    return found


def test_the_same_flag_is_explained_in_the_same_words_everywhere() -> None:
    assert {name for name, uses in options_by_name().items() if len({u.help for u in uses}) > 1} == set(OWN_WORDS)


def test_the_same_flag_takes_the_same_kind_of_value_everywhere() -> None:
    def kind(option: click.Option) -> tuple[str, bool, bool]:
        return option.type.to_info_dict()["name"], option.is_flag, option.multiple

    assert {name for name, uses in options_by_name().items() if len({*map(kind, uses)}) > 1} == set(OWN_KINDS)
