"""The editor door's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence

import click

__all__ = ["commands"]

commands: Mapping[str, Sequence[click.Command]] = {}
