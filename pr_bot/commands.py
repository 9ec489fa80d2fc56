"""The pull-request door's subcommands, by section of the command map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

__all__ = ["commands"]


@click.group()
def pr() -> None:
    """Review pull requests with both arms, and learn whose findings developers act on."""


_config = click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help="Use this codetrial.toml."
)


@pr.command(epilog="For example:  codetrial pr review --local main..HEAD")
@click.argument("pull_request", required=False, metavar="[OWNER/REPO#NUMBER]")
@click.option(
    "--local", metavar="BASE..HEAD", help="Review commits of the repository here and print what both arms say."
)
@click.option(
    "--repository", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="For --local: where."
)
@click.option("--json", "as_json", is_flag=True, help="For --local: print JSON instead of text.")
@_config
def review(
    pull_request: str | None, local: str | None, repository: Path, as_json: bool, config_file: Path | None
) -> None:
    """Review one pull request, or with --local any range of commits without GitHub."""
    if (pull_request is None) == (local is None):
        raise click.UsageError("Name a pull request such as owner/repo#12, or a range with --local main..HEAD.")
    if local is not None:
        from pr_bot.local import review_locally

        click.echo(review_locally(repository, local, config_file=config_file, as_json=as_json))


commands: Mapping[str, Sequence[click.Command]] = {"Run": (pr,)}
