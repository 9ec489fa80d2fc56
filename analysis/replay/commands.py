"""The commands of what comes before a trial; everything heavy is imported when one is run."""

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analysis.cost_commands import gpu_options
from codetrial.options import (
    ARM,
    budget_option,
    concurrency_option,
    config_option,
    echo_json,
    html_option,
    json_option,
    sandbox_options,
    store_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.replay.solving import Solved
    from codetrial.records import ArmLabel

__all__ = ["commands"]

_T = TypeVar("_T")

_DAY = click.DateTime(["%Y-%m-%d"])


def _history_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which part of a history; the same for every command that reads one."""
    for option in reversed(
        (
            click.option(
                "--since", type=_DAY, help="Commits from this day on; by default after the training cut-offs."
            ),
            click.option("--until", type=_DAY, help="Commits before this day."),
            click.option("--author", help="Only commits of authors whose name or address contains this."),
            click.option("--language", "languages", multiple=True, help="Only this language; may be repeated."),
            click.option("--path", "paths", multiple=True, help="Only these files, gitignore-style; may be repeated."),
            click.option("--revision", default="HEAD", help="The history of this branch, tag or commit."),
            click.option("--commits", "max_commits", type=click.IntRange(1), help="At most the newest so many."),
        )
    ):
        command = option(command)
    return command


def _selection(
    *,
    since: datetime | None,
    until: datetime | None,
    author: str | None,
    languages: Sequence[str],
    paths: Sequence[str],
    revision: str,
    max_commits: int | None,
) -> Any:
    from analysis.history import Selection

    return Selection(
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
        author=author,
        languages=tuple(languages),
        paths=tuple(paths),
        revision=revision,
        max_commits=max_commits,
    )


def _cutoffs(stated: Sequence[str]) -> "dict[ArmLabel, datetime]":
    from codetrial.records import ArmLabel

    found = {}
    for text in stated:
        label, _, day = text.partition("=")
        try:
            found[ArmLabel(label.upper())] = datetime.fromisoformat(day).replace(tzinfo=UTC)
        except ValueError as fault:
            raise click.BadParameter(f"{text!r} is not like A=2025-01-31.", param_hint="--cutoff") from fault
    return found


class _Replay(click.Command):
    """With --reviews another command, of the pull requests' door, with options of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if "--reviews" not in args:
            return super().make_context(info_name, args, parent, **extra)
        command: click.Command = _way("reviews")
        args.remove("--reviews")
        return command.make_context(f"{info_name} --reviews", args, parent, **extra)


def _way(name: str) -> Any:
    """What another package brings for `codetrial replay`; this one knows no door."""
    from importlib.metadata import entry_points

    from codetrial.errors import ConfigError

    found = entry_points(group="codetrial.replays", name=name)
    if not found:
        raise ConfigError(f"`codetrial replay --{name}` is not installed here. Install codetrial again.")
    return next(iter(found)).load()


@click.command(
    cls=_Replay,
    epilog="Example:  codetrial replay . --tasks 300 --budget 2;  codetrial replay --reviews . --blamed 20",
)
@click.argument("repository", type=click.Path(path_type=Path), default=Path())
@click.option("--tasks", type=click.IntRange(1, 100_000), default=200, help="At most so many places.")
@click.option("--per-file", type=click.IntRange(1, 100), default=4, help="At most so many in one file of one commit.")
@click.option("--seed", default="0", help="The same seed draws the same places; more tasks add to them.")
@_history_options
@click.option(
    "--cutoff", "cutoffs", multiple=True, metavar="ARM=DAY", help="An arm's training cut-off, if you know it."
)
@concurrency_option
@budget_option
@click.option(
    "--write-tasks", "listing", type=click.Path(path_type=Path, dir_okay=False), help="Write the tasks here (JSONL)."
)
@click.option("--dry-run", is_flag=True, help="Choose the tasks and stop; nobody is asked.")
@click.option(
    "--through-proxy", is_flag=True, help="Ask as an editor does: through the proxy, with a real language server."
)
@click.option(
    "--server", metavar="COMMAND", help="That server, such as 'pylsp'; what is installed for the language by default."
)
@click.option("--reviews", is_flag=True, help="Completions are not asked for, but reviews of changes with a defect.")
@json_option
@config_option
@store_option
def replay(
    repository: Path,
    tasks: int,
    per_file: int,
    seed: str,
    cutoffs: tuple[str, ...],
    concurrency: int,
    budget_usd: float | None,
    listing: Path | None,
    dry_run: bool,
    through_proxy: bool,
    server: str | None,
    reviews: bool,
    as_json: bool,
    config_file: Path | None,
    store: Path | None,
    **selection: Any,
) -> None:
    """Ask both arms for what was really written in REPOSITORY's history, and compare.

    The tasks are places where a cursor really was. What is done is stored at once: stop at any time, and the same
    command goes on from there. `codetrial replay --reviews --help` has the options of reviews.
    """
    import shlex

    from rich.console import Console

    from analysis.history import History
    from analysis.replay import start
    from analysis.replay.paired import print_paired
    from codetrial.config import load

    if server is not None and not through_proxy:
        raise click.UsageError("--server is for --through-proxy.")
    config = load(repository, config_file=config_file)
    options = start.Options(
        repository=repository,
        selection=_selection(**selection),
        tasks=tasks,
        per_file=per_file,
        seed=seed,
        concurrency=concurrency,
        budget_usd=budget_usd,
        cutoffs=_cutoffs(cutoffs),
        store=store,
    )
    notes = Console(stderr=True)
    with History(repository) as history:
        prepared = start.prepare(history, config, options)
        start.tell(prepared, config, notes)
        if listing is not None:
            lines = "".join(task.canonical() + "\n" for task in prepared.chosen.tasks)
            listing.write_bytes(lines.encode("utf-8", "replace"))
        if dry_run:
            return
        if through_proxy:
            done = start.replay_through(
                _way("through-proxy"), history, config, options, prepared, notes,
                config_file=config_file, server=shlex.split(server or ""),
            )  # fmt: skip
        else:
            done = start.replay(history, config, options, prepared, notes)
    start.tell_outcome(done, notes)
    if as_json:
        echo_json(done.paired.as_json())
    else:
        print_paired(done.paired, Console())
    if done.outcome.stopped is not None:
        raise SystemExit(3)


@click.command(epilog="Example:  codetrial tasks our-tasks/ --samples 5 --html tasks.html")
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--samples", type=click.IntRange(1, 200), default=1, help="So many answers of each arm to each task.")
@click.option("--k", "ks", type=click.IntRange(1), multiple=True, help="pass@k for this k; 1 and --samples by default.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many tasks.")
@click.option("--max-tokens", type=click.IntRange(1), default=512, help="Room for an answer.")
@click.option("--timeout", type=click.FloatRange(1), default=60.0, help="Seconds for an answer.")
@concurrency_option
@budget_option
@sandbox_options
@html_option
@json_option
@config_option
@store_option
def tasks(
    place: Path,
    samples: int,
    ks: tuple[int, ...],
    limit: int | None,
    max_tokens: int,
    timeout: float,
    concurrency: int,
    budget_usd: float | None,
    no_sandbox: bool,
    visible: tuple[Path, ...],
    html_file: Path | None,
    as_json: bool,
    config_file: Path | None,
    store: Path | None,
) -> None:
    """Let both arms solve coding tasks of your own, and run each task's check on what they wrote.

    PLACE is a folder with one TOML file a task (`prompt`, `check`, and more: docs/replay.md), or JSON lines in the form
    of HumanEval, MBPP or LiveCodeBench.
    """
    from rich.console import Console

    from analysis.replay.cutoffs import cutoff_of
    from analysis.replay.passing import load_passing, load_published, print_passing, write_page
    from analysis.replay.problems import load_problems
    from analysis.replay.sandbox import open_sandbox
    from analysis.replay.solving import Settings, solve
    from codetrial.arms import define
    from codetrial.config import load
    from codetrial.records import ArmLabel

    config = load(Path(), config_file=config_file)
    problems = load_problems(place)[:limit]
    published = load_published(place)
    settings = Settings(
        samples=samples, max_tokens=max_tokens, timeout_s=timeout, concurrency=concurrency, budget_usd=budget_usd
    )
    notes = Console(stderr=True)
    path = store or config.store.database

    async def work(on_start: Callable[[int, int], None], on_done: Callable[[], None]) -> "Solved":
        sandbox = await open_sandbox(without=no_sandbox, visible=visible)
        return await solve(problems, config, settings, sandbox=sandbox, store=path, on_start=on_start, on_done=on_done)

    solved = _shown("solving", work, notes)
    cutoffs = {label: cutoff_of(define(config.arms[label], label, templates=config.templates)) for label in ArmLabel}
    passing = load_passing(
        path,
        solved.trial,
        problems,
        ks=ks or tuple(dict.fromkeys((1, samples))),
        cutoffs={label: cutoff.at for label, cutoff in cutoffs.items() if cutoff.basis != "never trained"},
        published=published,
    )
    if html_file is not None:
        write_page(passing, html_file)
    if as_json:
        echo_json(passing.as_json())
    else:
        print_passing(passing, Console())
    notes.print(
        f"Asked {solved.asked}, done before {solved.already_done}; ${solved.spent_usd:.4f} spent.", highlight=False
    )
    if solved.stopped is not None:
        notes.print(f"Stopped early: {solved.stopped}. The same command goes on from here.", markup=False)
        raise SystemExit(3)


def _shown(
    title: str,
    work: Callable[[Callable[[int, int], None], Callable[[], None]], Coroutine[Any, Any, _T]],
    notes: "Console",
) -> _T:
    """Run it with a bar that says how far it is, where somebody looks.

    Args:
        work: Gets what to call with the number done and the total, and what to call for each one more.
    """
    import asyncio

    from rich.progress import Progress

    with Progress(console=notes, disable=not notes.is_terminal) as progress:
        bar = progress.add_task(title, total=None)
        begun = work(
            lambda done, total: progress.update(bar, completed=done, total=total), lambda: progress.advance(bar)
        )
        return asyncio.run(begun)


@click.command(epilog="Example:  codetrial plan --developers 20 --difference 2")
@click.option("--developers", type=click.IntRange(1), required=True, help="How many take part.")
@click.option("--difference", type=click.FloatRange(0.1, 100), default=3.0, help="Smallest that matters, in points.")
@click.option(
    "--episodes-per-day", type=click.FloatRange(1), default=200.0, help="Minutes with completions, a developer-day."
)
@click.option(
    "--requests-per-episode", type=click.FloatRange(1), default=5.0, help="Completion requests in such a minute."
)
@click.option("--acceptance", type=click.FloatRange(0.01, 0.99), default=0.29, help="Share of those with one accepted.")
@gpu_options
@json_option
@config_option
@store_option
def plan(
    developers: int,
    difference: float,
    episodes_per_day: float,
    requests_per_episode: float,
    acceptance: float,
    gpu_usd: float | None,
    per_second: float | None,
    replicas: int,
    operations_usd: float,
    as_json: bool,
    config_file: Path | None,
    store: Path | None,
) -> None:
    """Say how long a live trial must run, with which shares, and what it and each arm will cost.

    Reads what `codetrial replay` stored for the same two arms.
    """

    from rich.console import Console

    from analysis.cost import Hosting
    from analysis.replay.paired import Replays
    from analysis.replay.plan import Assumptions, make_plan, print_plan
    from analysis.replay.start import CLIENT
    from codetrial.config import load
    from codetrial.manifest import freeze

    config = load(Path(), config_file=config_file)
    trial, arms = freeze(config)
    replays = Replays(store or config.store.database, trial.id, client=CLIENT)
    if (gpu_usd is None) != (per_second is None):
        raise click.UsageError("--gpu-usd and --per-second belong together: what a GPU costs and what it does.")
    hosting = None
    if gpu_usd is not None and per_second is not None:
        hosting = Hosting(
            gpu_usd_per_hour=gpu_usd,
            completions_per_s=per_second,
            replicas=replicas,
            operations_usd_per_month=operations_usd,
        )
    made = make_plan(
        replays,
        Assumptions(
            developers=developers,
            difference=difference / 100,
            episodes_per_day=episodes_per_day,
            requests_per_episode=requests_per_episode,
            acceptance=acceptance,
            hosting=hosting,
        ),
        self_hosted={arm.label: arm.is_self_hosted for arm in arms},
    )
    if as_json:
        echo_json(made.as_json())
    else:
        print_plan(made, Console())


@click.command(epilog="Example:  codetrial pilot . --base B --examples data/")
@click.argument("repository", type=click.Path(path_type=Path), default=Path())
@click.option("--base", type=ARM, default="B", help="The arm that a fine-tune would start from.")
@click.option("--split-at", type=_DAY, help="First day of the test data; by default the newest fifth.")
@click.option("--examples", type=click.Path(path_type=Path, file_okay=False), help="Write train and test data here.")
@click.option(
    "--export", "exported", type=click.Path(path_type=Path, file_okay=False),
    help="Count what people decided in a trial too: a folder that `codetrial export` wrote.",
)  # fmt: skip
@click.option("--trained-until", type=_DAY, help="Last day of a fine-tune's training data; needs --compare.")
@click.option(
    "--compare",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TOML",
    help="A configuration whose arm A is the fine-tune; may be repeated.",
)
@click.option("--difference", type=click.FloatRange(0.1, 100), default=3.0, help="Smallest that matters, in points.")
@_history_options
@config_option
@store_option
@json_option
def pilot(
    repository: Path,
    base: str,
    split_at: datetime | None,
    examples: Path | None,
    exported: Path | None,
    trained_until: datetime | None,
    compare: tuple[Path, ...],
    difference: float,
    config_file: Path | None,
    store: Path | None,
    as_json: bool,
    **selection: Any,
) -> None:
    """Say whether a fine-tune is worth trying: how much there is to learn from, and where the base falls short.

    With --compare and --trained-until: whether one that exists is better than its base, and than its base with a good
    prompt, on commits that it cannot have learnt. Run `codetrial replay` for each configuration first.
    """
    if bool(compare) != (trained_until is not None):
        raise click.UsageError("--compare and --trained-until belong together.")

    from rich.console import Console

    from analysis.history import History
    from analysis.replay import pilot as piloting
    from analysis.replay.cursors import Windows
    from analysis.replay.paired import Replays
    from analysis.replay.start import CLIENT
    from codetrial.config import load
    from codetrial.manifest import freeze
    from codetrial.records import ArmLabel

    config = load(repository, config_file=config_file)
    decided = [] if exported is None else piloting.count_export(exported)
    path = store or config.store.database
    trial, _ = freeze(config)
    windows = Windows(prefix_chars=config.editor.prefix_chars, suffix_chars=config.editor.suffix_chars)
    with History(repository) as history:
        changes = piloting.read_changes(history, _selection(**selection))
        parts = piloting.split(changes, at=split_at and split_at.replace(tzinfo=UTC))
        written = None
        if examples is not None:
            written = piloting.write_split(parts, examples, windows=windows, seed="0", per_file=20)
        comparisons = []
        if trained_until is not None:
            # The whole last day belongs to the training data.
            until = trained_until.replace(tzinfo=UTC, hour=23, minute=59, second=59)
            trials = [freeze(load(repository, config_file=other))[0] for other in compare]
            replays = [Replays(path, trial.id, client=CLIENT) for trial in trials]
            comparisons = [piloting.compare(each, history, trained_until=until) for each in replays]
        found, name = [], base
        if path.exists():
            own = Replays(path, trial.id, client=CLIENT)
            found, name = piloting.gaps(own, base=ArmLabel(base)), own.arm(ArmLabel(base)).name
    made = piloting.Pilot(
        data=tuple(piloting.count_data(changes)),
        split=parts,
        written=written,
        decided=tuple(decided),
        base=name,
        gaps=tuple(found),
        comparisons=tuple(comparisons),
        difference=difference / 100,
    )
    if as_json:
        echo_json(made.as_json())
    else:
        piloting.print_pilot(made, Console())


commands: Sequence[click.Command] = [replay, tasks, plan, pilot]
