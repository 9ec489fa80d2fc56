"""What the commands do with GitHub: one review, one collection, or working until told to stop."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from codetrial.config import load
from codetrial.errors import ReviewError
from codetrial.paths import data_dir
from pr_bot.collecting import Collected, collect
from pr_bot.github import Api, GitHubError, Pull, RateLimited
from pr_bot.identity import Identity
from pr_bot.pulls import Bot, Done, Result, open_bot
from pr_bot.state import State
from pr_bot.work import Worker, only_worker

__all__ = ["collect_once", "collected_text", "review_once", "work_until_stopped"]

_NAME = re.compile(r"^([\w.-]+/[\w.-]+)(?:#(\d{1,10}))?$")


@contextmanager
def _bot(config_file: Path | None, database: Path | None) -> Iterator[Bot]:
    config = load(Path.cwd(), config_file=config_file)
    with closing(open_bot(config, database=database or config.store.database)) as bot:
        yield bot


def review_once(name: str, *, config_file: Path | None, database: Path | None) -> list[Done]:
    """Review the pull request `owner/repo#12`, or of `owner/repo` every open one whose head has no review.

    Raises:
        ReviewError: that is neither's name, or GitHub does not do what is asked.
    """
    match = _NAME.match(name)
    if match is None:
        raise ReviewError(f"{name!r} names no pull request: write owner/repo#12, or owner/repo for all open ones.")
    with closing(Identity()) as identity, _bot(config_file, database) as bot:
        api = identity.api()
        if match[2] is not None:
            return [bot.review(api, match[1], int(match[2]))]
        return [_review_or_fail(bot, api, pull) for pull in bot.missed(api, match[1])]


def _review_or_fail(bot: Bot, api: Api, pull: Pull) -> Done:
    """One of several: what stops it does not stop the others, but for a limit, which would stop them all."""
    try:
        return bot.review(api, pull.repository, pull.number)
    except RateLimited:
        raise
    except GitHubError as fault:
        return Done(result=Result.FAILED, detail=f"{pull.key}: {fault}")


def collect_once(repository: str | None, *, config_file: Path | None, database: Path | None) -> Collected:
    with closing(Identity()) as identity, _bot(config_file, database) as bot:
        return collect(bot, identity.api(), repository)


def collected_text(done: Collected) -> str:
    return (
        f"{done.pulls} pull requests looked at ({done.unchanged} unchanged), {done.signals} new signals, "
        f"{done.finished} windows closed, {done.calls} requests, {done.failed} not reached."
    )


NICENESS = 10
"""Of the worker and the arms' processes: GitHub waits for the server's answer, and nobody for a review's."""


def work_until_stopped(
    *, threads: int, while_stdin_is_open: bool = False, config_file: Path | None, database: Path | None
) -> None:
    """Work until a signal says to stop, or until standard input ends, whose other end the server holds."""
    os.nice(NICENESS)
    config = load(Path.cwd(), config_file=config_file)
    place = database or config.store.database
    path = data_dir() / "pull-requests.db"
    with only_worker(path.with_suffix(".lock")), State(path) as state:
        worker = Worker(state, lambda: open_bot(config, database=place), Identity, threads=threads)

        def stop(_number: int, _frame: FrameType | None) -> None:
            worker.ask_to_stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker.start()
        if while_stdin_is_open:
            # A server killed by force tells nobody; but its end of the pipe closes.
            threading.Thread(target=_stop_with_stdin, args=(worker,), name="server-watch", daemon=True).start()
        worker.wait()
        worker.stop()
    if worker.has_failed:
        raise ReviewError("The worker ended because one of its threads failed; its log says why.")


def _stop_with_stdin(worker: Worker) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    worker.ask_to_stop()
