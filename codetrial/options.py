"""What commands share: options that mean the same everywhere, the database they work on, and JSON for scripts.

Every package's subcommands take their options from here where they have the same ones; a test walks the command table.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

__all__ = [
    "ARM",
    "FILE",
    "budget_option",
    "concurrency_option",
    "config_option",
    "database",
    "echo_json",
    "html_option",
    "json_option",
    "origin_option",
    "sandbox_options",
    "store_option",
    "trial_option",
]

FILE = click.Path(path_type=Path, dir_okay=False)

ARM = click.Choice(["A", "B"], case_sensitive=False)

Decorator = Callable[[Any], Any]

config_option: Decorator = click.option(
    "--config", "config_file", type=FILE, help="This file instead of the codetrial.toml of the folder."
)
store_option: Decorator = click.option(
    "--store",
    type=FILE,
    envvar="CODETRIAL_STORE_PATH",
    show_envvar=True,
    help="The database; by default the one that codetrial.toml names, or codetrial.db in the data folder.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
html_option: Decorator = click.option("--html", "html_file", type=FILE, help="Write a page with charts here.")
trial_option: Decorator = click.option(
    "--trial", metavar="ID|NAME", help="Which trial; by default the one that was last worked in."
)
origin_option: Decorator = click.option(
    "--origin",
    type=click.Choice(["person", "replay", "test"]),
    help="Whose sessions. By default people's, or what there is if nobody has worked yet. Never mixed.",
)
budget_option: Decorator = click.option(
    "--budget",
    "budget_usd",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="Spend at most so much, both arms together.",
)

concurrency_option: Decorator = click.option(
    "--concurrency", type=click.IntRange(1, 256), default=4, help="So many at a time."
)


def sandbox_options(command: Any) -> Any:
    """For commands that run code which a model or a repository brings."""
    command = click.option(
        "--visible", multiple=True, type=click.Path(path_type=Path), help="A folder that the sandbox may read."
    )(command)
    return click.option(
        "--no-sandbox",
        is_flag=True,
        help="Run without a sandbox: only if you trust all that is run, models' code too.",
    )(command)


def database(store: Path | None, config_file: Path | None = None) -> Path:
    """The database of `--store`, or else the one that recording in this folder writes to.

    Raises:
        ConfigError: the configuration that would name it cannot be read.
    """
    if store is not None:
        return store
    from codetrial.config import load

    return load(Path.cwd(), config_file=config_file).store.database


def echo_json(content: Any) -> None:
    """Print one JSON document; a path or a date as its text, a limit that is not known (infinite) as null."""
    click.echo(json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content
