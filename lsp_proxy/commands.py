"""The editor door's subcommands, by section of the command map."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codetrial.options import FILE, config_option, echo_json, json_option
from lsp_proxy.editors import EDITORS

if TYPE_CHECKING:
    from lsp_proxy.control import Pause

__all__ = ["commands"]


@click.command(epilog="Example:  codetrial lsp -- basedpyright-langserver --stdio")
@click.option("--config", metavar="FILE", help="This file instead of the codetrial.toml of the folder.")
@click.option("--store", metavar="FILE", help="Database to add to; the configured one by default.")
@click.option("--surface", type=click.Choice(["auto", "inline", "menu", "none"]), help="Where suggestions appear.")
@click.option("--origin", type=click.Choice(["person", "replay", "test"]), help="Who types; only people are evidence.")
@click.option("--log", metavar="FILE", help="Where the evaluator's messages go; to the editor's log by default.")
@click.option("--restart", is_flag=True, help="Start a crashed language server again instead of ending with it.")
@click.option("--off", is_flag=True, help="Become the language server itself; CODETRIAL_OFF=1 does the same.")
@click.argument("server", nargs=-1)
def lsp(**_: object) -> None:
    """Stand between an editor and its language server SERVER; without one, answer for codetrial alone.

    Everything passes through untouched. Real completion requests are put to both arms as well; one arm's suggestion, or
    none, is shown.
    """
    # Only to be listed and to explain itself: `codetrial.cli` goes straight to the relay, before click is imported.
    raise click.UsageError("Run it as `codetrial lsp`.")


@click.command(epilog="Example:  codetrial demo --minutes 2")
@click.argument("repository", type=click.Path(path_type=Path), required=False)
@click.option("--minutes", type=click.FloatRange(0.2, 240), default=3.5, help="Type for at most so long.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 100), default=4.0, help="How many times faster than a person types."
)
@click.option("--surface", type=click.Choice(["inline", "menu"]), default="inline", help="Where suggestions appear.")
@click.option("--seed", type=int, help="Draw the same edits again; another draw each time by default.")
@click.option("--store", type=FILE, help="Database to add to; demo.db in the data directory.")
@click.option("--html", type=FILE, help="Where the page goes; demo.html beside the database.")
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
    report(options, run(options, Console(stderr=True)), Console())


@click.command(epilog="Example:  codetrial status")
@json_option
def status(as_json: bool) -> None:
    """Show the running proxies, and whether suggestions are paused."""
    import dataclasses

    from lsp_proxy import control

    running, pause_now = control.proxies(), control.paused()
    if as_json:
        content = {
            "paused": None if pause_now is None else {"until": pause_now.until},
            "proxies": [dataclasses.asdict(proxy) | {"state": proxy.state} for proxy in running],
        }
        echo_json(content)
        return
    if pause_now is not None:
        click.echo(f"Paused {_until(pause_now)}. `codetrial resume` ends it.")
    if not running:
        click.echo("No proxy is running. `codetrial install EDITOR` puts one in front of your language servers.")
    for proxy in running:
        click.echo(
            f"{proxy.editor or 'an editor'} > {proxy.server} in {proxy.root} (process {proxy.pid}): {proxy.state}"
        )


def _until(pause_now: "Pause") -> str:
    return "until you resume" if pause_now.until is None else f"until {pause_now.until.astimezone():%H:%M:%S}"


@click.command(epilog="Example:  codetrial pause --for 1h")
@click.option("--for", "length", metavar="TIME", help="Such as 30m or 1h30m; without it until `codetrial resume`.")
def pause(length: str | None) -> None:
    """Show nothing and ask no arm, in all running editors within a second. Language servers go on as ever."""
    from lsp_proxy import control

    until = control.pause(None if length is None else control.read_duration(length))
    click.echo(f"Paused {_until(until)}.")


@click.command(epilog="Example:  codetrial resume")
def resume() -> None:
    """End a pause."""
    from lsp_proxy import control

    click.echo("Suggestions may appear again." if control.resume() else "Nothing was paused.")


def _editor_argument(function: Callable[..., None]) -> Callable[..., None]:
    return click.argument("editor", type=click.Choice(list(EDITORS)))(function)


@click.command(epilog="Example:  codetrial install neovim --dry-run")
@_editor_argument
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--print", "show", is_flag=True, help="Print the files as they would be, and write nothing.")
def install(editor: str, dry_run: bool, show: bool) -> None:
    """Put codetrial in front of the language servers that an editor is set up to use."""
    from lsp_proxy.editors import plan_for
    from lsp_proxy.editors.plan import apply, require, run

    plan = plan_for(editor)
    if show:
        for change in plan.changes:
            if (content := change.result()) is not None:
                click.echo(f"{change.path}\n\n{content}")
        return
    steps = list(plan.described())
    if all(change.result() is None for change in plan.changes):
        click.echo(f"{EDITORS[editor]}: no language server is set up there, and none of those known is on PATH.")
    elif not steps:
        click.echo(f"{EDITORS[editor]}: codetrial is there already, and everything is as it should be.")
    for sentence in steps:
        click.echo(f"Would {sentence}" if dry_run else f"{sentence[0].upper()}{sentence[1:]}")
    if dry_run:
        return
    require(plan)
    for copy in apply(plan):
        click.echo(f"The file as it was: {copy}")
    for command in plan.commands:
        run(command)
    for sentence in plan.advice:
        click.echo(sentence)


@click.command(epilog="Example:  codetrial uninstall neovim")
@_editor_argument
@click.option("--dry-run", is_flag=True, help="Say what would be changed, and change nothing.")
def uninstall(editor: str, dry_run: bool) -> None:
    """Take back what `codetrial install` wrote for an editor; the rest of its files stays as it is."""
    from lsp_proxy.editors import plan_for
    from lsp_proxy.editors.plan import run, undo, undoable

    plan = plan_for(editor)
    if dry_run:
        for path in undoable(plan):
            click.echo(f"Would take back {path}")
        for command in plan.undo_commands:
            click.echo(f"Would run {shlex.join(command)}")
        return
    changed = undo(plan)
    for path in changed:
        click.echo(f"{'Restored' if path.exists() else 'Removed'} {path}")
    if not changed and not (plan.undo_commands and plan.has_run):
        click.echo(f"codetrial was not installed in {editor}.")
        return
    for command in plan.undo_commands:
        click.echo(f"Run {shlex.join(command)}")
        run(command)


@click.command(epilog="Example:  codetrial doctor")
@config_option
@click.option("--quick", is_flag=True, help="Leave out the session that is tried from end to end, which takes seconds.")
@json_option
def doctor(config_file: Path | None, quick: bool, as_json: bool) -> None:
    """Check the whole chain, from the editor to the database, and say how to mend what is wrong.

    Ends with 1 if something is.
    """
    from lsp_proxy.doctor import Grade, examine

    marks = {Grade.FINE: " ok  ", Grade.NOTE: "note ", Grade.WRONG: "wrong"}
    findings = []
    for finding in examine(Path.cwd(), config_file=config_file, is_quick=quick):
        findings.append({"grade": finding.grade, "what": finding.what})
        if not as_json:
            click.echo(f"{marks[finding.grade]} {finding.what}")
    if as_json:
        echo_json(findings)
    if any(finding["grade"] is Grade.WRONG for finding in findings):
        raise SystemExit(1)


commands: Mapping[str, Sequence[click.Command]] = {
    "Set up": [install, uninstall, doctor],
    "Run": [lsp, demo, status, pause, resume],
}
