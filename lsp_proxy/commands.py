"""The editor door's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

__all__ = ["commands"]


@click.command(epilog="Example:  codetrial demo --minutes 2")
@click.argument("repository", type=click.Path(path_type=Path), required=False)
@click.option("--minutes", type=click.FloatRange(0.2, 240), default=3.5, help="Type for at most so long.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 100), default=4.0, help="How many times faster than a person types."
)
@click.option("--surface", type=click.Choice(["inline", "menu"]), default="inline", help="Where suggestions appear.")
@click.option("--seed", type=int, help="Draw the same edits again; another draw each time by default.")
@click.option("--store", type=click.Path(path_type=Path), help="Database to add to; demo.db in the data directory.")
@click.option("--html", type=click.Path(path_type=Path), help="Where the page goes; demo.html beside the database.")
@click.option("--truth", type=click.Path(path_type=Path), help="Write what the typist really did, as JSON lines.")
def demo(
    repository: Path | None,
    minutes: float,
    speed: float,
    surface: str,
    seed: int | None,
    store: Path | None,
    html: Path | None,
    truth: Path | None,
) -> None:
    """Watch the whole thing work: a scripted developer types real commits through the proxy, then the report.

    REPOSITORY is a git repository of yours with Python in it (its files are not touched). Without it one is built from
    successive releases of a small package. Needs no key; nothing leaves this machine.
    """
    from rich.console import Console

    from codetrial.paths import data_dir
    from lsp_proxy.demo import DemoOptions, report, run

    database = store or data_dir() / "demo.db"
    options = DemoOptions(
        repository=repository,
        minutes=minutes,
        speed=speed,
        seed=seed,
        store=database,
        html=html or database.with_suffix(".html"),
        surface=surface,
        truth=truth,
    )
    console = Console(stderr=True)
    report(options, run(options, console), console)


commands: Mapping[str, Sequence[click.Command]] = {"Run": [demo]}
