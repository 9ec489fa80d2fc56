"""The evidence's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence

import click

from analysis.audit_commands import audit, rescore, retention
from analysis.cost_commands import cost
from analysis.data_commands import export, inspect, merge, purge, ship
from analysis.replay import commands as before
from analysis.report_commands import explore, report, watch

__all__ = ["commands"]

commands: Mapping[str, Sequence[click.Command]] = {
    "Run": before.commands,
    "Look": (report, watch, explore, cost, inspect, audit, retention, rescore),
    "Share": (export, ship, merge, purge),
}
