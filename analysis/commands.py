"""The evidence's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

__all__ = ["commands"]


@click.command(epilog="Example:  codetrial audit")
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path),
    envvar="CODETRIAL_STORE",
    show_envvar=True,
    help="Database to check; codetrial.db in the data directory.",
)
@click.option("--trial", help="Only this trial; all that are stored by default.")
def audit(database: Path | None, trial: str | None) -> None:
    """Draw every assignment again from its seed, and check what is stored against the rules of the experiment."""
    from analysis import audit as auditing
    from analysis.store import Store
    from codetrial.paths import default_database

    with Store(database or default_database(), readonly=True) as store:
        audits = [auditing.audit(store, name) for name in ([trial] if trial else auditing.trials(store))]
    if not audits:
        click.echo("No trial is stored yet.")
    for found in audits:
        click.echo("\n".join(auditing.lines(found)))
    if not all(found.is_sound for found in audits):
        raise SystemExit(1)


commands: Mapping[str, Sequence[click.Command]] = {"Look": [audit]}
