"""The pull-request door's subcommands, by section of the command map."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from codetrial.options import budget_option, config_option, echo_json, json_option, sandbox_options, store_option

__all__ = ["commands"]


@click.group(epilog="Try it without GitHub:  codetrial pr review --local main..HEAD")
def pr() -> None:
    """Review pull requests with both arms, and learn whose findings developers act on."""


@pr.command(
    epilog="""\b
Examples:
  codetrial pr review --local main..HEAD             commits here, without GitHub
  GITHUB_TOKEN=... codetrial pr review owner/repo#12   one pull request
  GITHUB_TOKEN=... codetrial pr review owner/repo      every open one that has no review yet"""
)
@click.argument("pull_request", required=False, metavar="[OWNER/REPO[#NUMBER]]")
@click.option(
    "--local", metavar="BASE..HEAD", help="Review commits here, without GitHub, and print what both arms say."
)
@click.option(
    "--repository", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="For --local: where."
)
@json_option
@config_option
@store_option
def review(
    pull_request: str | None,
    local: str | None,
    repository: Path,
    as_json: bool,
    config_file: Path | None,
    store: Path | None,
) -> None:
    """Review a pull request, all open ones of a repository, or with --local commits here without GitHub."""
    if (pull_request is None) == (local is None):
        raise click.UsageError("Name a pull request such as owner/repo#12, or a range with --local main..HEAD.")
    if local is not None:
        from pr_bot.local import review_locally

        click.echo(review_locally(repository, local, config_file=config_file, as_json=as_json))
        return
    from pr_bot.running import review_once

    done = review_once(pull_request or "", config_file=config_file, database=store)
    if as_json:
        echo_json([{"result": entry.result, "detail": entry.detail} for entry in done])
    else:
        click.echo("\n".join(entry.detail for entry in done) or "No open pull request waits for a review.")
    if any(entry.result == "failed" for entry in done):
        raise SystemExit(1)


@pr.command(epilog="Example:  CODETRIAL_WEBHOOK_SECRET=... codetrial pr serve --port 8080")
@click.option("--host", default="127.0.0.1", help="Address to listen on; put a TLS proxy in front of it.")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--threads", default=2, type=click.IntRange(1, 32), help="Pull requests worked on at once.")
@config_option
@store_option
def serve(host: str, port: int, threads: int, config_file: Path | None, store: Path | None) -> None:
    """Receive a GitHub App's webhooks and review what they announce."""
    from pr_bot.serving import serve as run

    run(host=host, port=port, threads=threads, config_file=config_file, database=store)


@pr.command(hidden=True, epilog="Example:  codetrial pr work")
@click.option("--threads", default=2, type=click.IntRange(1, 32), help="Pull requests worked on at once.")
@click.option("--while-stdin-is-open", is_flag=True, help="End when standard input ends, as it does with the server.")
@config_option
@store_option
def work(threads: int, while_stdin_is_open: bool, config_file: Path | None, store: Path | None) -> None:
    """Work off what the webhook server has accepted; `codetrial pr serve` starts this itself."""
    from pr_bot.running import work_until_stopped

    work_until_stopped(
        threads=threads, while_stdin_is_open=while_stdin_is_open, config_file=config_file, database=store
    )


@pr.command(epilog="Example, every hour:  codetrial pr collect owner/repo")
@click.argument("repository", required=False, metavar="[OWNER/REPO]")
@json_option
@config_option
@store_option
def collect(repository: str | None, as_json: bool, config_file: Path | None, store: Path | None) -> None:
    """See what became of the findings of all pull requests whose window is open."""
    from pr_bot.running import collect_once, collected_text

    done = collect_once(repository, config_file=config_file, database=store)
    if as_json:
        echo_json(dataclasses.asdict(done))
    else:
        click.echo(collected_text(done))


@pr.command(epilog="Example:  codetrial pr install --action acme/codetrial@0123456789abcdef0123456789abcdef01234567")
@click.option(
    "--repository", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to write it."
)
@click.option(
    "--action", required=True, metavar="OWNER/REPO@SHA", help="The action to use, pinned to a full commit id."
)
@click.option(
    "--key", "keys", multiple=True, metavar="NAME", help="A secret of the repository that an arm's key_env names."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def install(repository: Path, action: str, keys: tuple[str, ...], overwrite: bool) -> None:
    """Write the workflow that reviews pull requests and collects what became of the findings."""
    from pr_bot.workflow import install as write

    click.echo(
        f"Wrote {write(repository, action, keys=keys, force=overwrite)}. Commit it to the default branch to start."
    )


@pr.command(epilog="Example:  CODETRIAL_SALT=... codetrial pr unseal store.sealed trial/")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
def unseal(file: Path, folder: Path) -> None:
    """Open a store that the GitHub Action has sealed, with the secret CODETRIAL_SALT of that repository."""
    from pr_bot.sealing import secret_of_the_environment, unseal

    unseal(file, folder, secret_of_the_environment())
    click.echo(f"Opened {file}; the store is {folder / 'codetrial.db'}.")


@pr.command(epilog="Example:  CODETRIAL_SALT=... codetrial pr seal trial/ store.sealed")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def seal(folder: Path, file: Path) -> None:
    """Close a store, so that it can lie where others read it: what the GitHub Action does after each run."""
    from pr_bot.sealing import seal, secret_of_the_environment

    seal(folder, file, secret_of_the_environment())
    click.echo(f"Sealed {folder} into {file}.")


@pr.command(epilog="Example:  codetrial pr demo --repository . --keep demo/")
@click.option("--repository", type=click.Path(path_type=Path, file_okay=False), default=Path(),
              help="Review the last merge of this repository.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Leave the page and the database here.")
@click.option("--local-models", is_flag=True, help="Ask the local model (codetrial arms fetch) instead of scripts.")
@config_option
def demo(repository: Path, keep: Path | None, local_models: bool, config_file: Path | None) -> None:
    """Watch a whole review without GitHub: open, review, post, react, collect, and a page to look at."""
    from pr_bot.demo import run

    click.echo(run(repository, keep=keep, config_file=config_file, has_local_models=local_models))


@pr.command(epilog="Example:  codetrial pr replay . --tests 'python -m pytest -q -x' --changes 20")
@click.argument("repository", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--tests", metavar="COMMAND", help="Runs the repository's tests; needed to seed defects.")
@click.option("--changes", type=click.IntRange(1), default=20, help="At most so many changes to seed a defect in.")
@click.option("--blamed", type=click.IntRange(0), default=0, help="And so many that a later fix had to mend.")
@click.option("--time-limit", type=click.FloatRange(1), default=300.0, help="Seconds for one run of the tests.")
@click.option("--seed", default="0", help="The same seed takes the same changes and defects.")
@budget_option
@sandbox_options
@json_option
@config_option
@store_option
def replay(
    repository: Path,
    tests: str | None,
    changes: int,
    blamed: int,
    time_limit: float,
    seed: str,
    budget_usd: float | None,
    visible: tuple[Path, ...],
    no_sandbox: bool,
    as_json: bool,
    config_file: Path | None,
    store: Path | None,
) -> None:
    """Let both arms review changes of the past in which the place of a defect is known, and count what they find."""
    if tests is None and not blamed:
        raise click.UsageError("Name the command that runs the tests with --tests, or ask for --blamed changes.")
    from pr_bot.replay import run

    run(
        repository, tests=tests, changes=changes, blamed=blamed, limit_s=time_limit, seed=seed, budget_usd=budget_usd,
        visible=visible, without_sandbox=no_sandbox, as_json=as_json, config_file=config_file, database=store,
    )  # fmt: skip


commands: Mapping[str, Sequence[click.Command]] = {"Run": (pr,)}
