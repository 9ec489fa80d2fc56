"""The click application behind `codetrial`: a map of sections, whose commands each package brings."""

import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module

import click

from codetrial import __version__
from codetrial.errors import CodetrialError

__all__ = ["SECTIONS", "app", "load_commands", "run"]

SECTIONS = ("Set up", "Run", "Look", "Share")

PROVIDERS = ("codetrial.commands", "lsp_proxy.commands", "analysis.commands", "pr_bot.commands")
"""Modules with a `commands`. Named here, for all four are one distribution: to look up its entry points would take a
third of the time in which `codetrial --help` must answer (docs/design/0021-the-command-line-starts-quickly.md)."""


class SectionedGroup(click.Group):
    """Lists commands by what a person wants to do, not by which package brings them."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]  # Passed through as click documents them.
        self._sections: dict[str, list[str]] = {name: [] for name in SECTIONS}

    def add_section(self, section: str, commands: Sequence[click.Command]) -> None:
        for command in commands:
            self.add_command(command)
            self._sections[section].append(str(command.name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in self._sections.items():
            shown = [c for n in names if (c := self.get_command(ctx, n)) is not None and not c.hidden]
            if shown:
                with formatter.section(section):
                    formatter.write_dl([(str(c.name), c.get_short_help_str(90)) for c in shown])


@click.group(
    cls=SectionedGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    epilog="Start here:  codetrial demo",
)
@click.version_option(__version__, prog_name="codetrial")
@click.option("--verbose", "-v", count=True, help="Log more to stderr; twice for debugging.")
@click.pass_context
def app(ctx: click.Context, verbose: int) -> None:
    """A blinded trial of two code models where your developers work: in the editor and in pull requests."""
    ctx.obj = verbose
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    # stdout belongs to output that scripts read (and in the proxy to the protocol): logs go to stderr.
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


@cache
def load_commands() -> None:
    """Add what the packages provide; once, however often it is asked for."""
    for name in PROVIDERS:
        provided: Mapping[str, Sequence[click.Command]] = import_module(name).commands
        for section, commands in provided.items():
            app.add_section(section, commands)


def run() -> None:
    """Run the command line; people see a sentence and an exit code, never a traceback."""
    load_commands()
    try:
        app(standalone_mode=True)
    except CodetrialError as fault:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        click.echo(f"codetrial: {fault}", err=True)
        sys.exit(fault.exit_code)
