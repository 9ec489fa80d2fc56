"""What the commands do with GitHub: one review, one collection, or working until told to stop."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from codetrial.config import Config, load
from codetrial.errors import ReviewError
from codetrial.paths import data_dir, default_database
from pr_bot.collecting import collect
from pr_bot.identity import Identity
from pr_bot.pulls import Bot, Done, open_bot
from pr_bot.state import State
from pr_bot.work import Worker, only_worker

__all__ = ["collect_once", "database_of", "review_once", "work_until_stopped"]

_PULL_REQUEST = re.compile(r"^([\w.-]+/[\w.-]+)#(\d{1,10})$")


def database_of(config: Config, database: Path | None) -> Path:
    if database is not None:
        return database
    return Path(config.store.path).expanduser() if config.store.path else default_database()


@contextmanager
def _bot(config_file: Path | None, database: Path | None) -> Iterator[Bot]:
    config = load(Path.cwd(), config_file=config_file)
    with closing(open_bot(config, database=database_of(config, database))) as bot:
        yield bot


def review_once(pull_request: str, *, config_file: Path | None, database: Path | None) -> Done:
    """Review a pull request named `owner/repo#12`.

    Raises:
        ReviewError: that is no pull request's name, or GitHub does not do what is asked.
    """
    match = _PULL_REQUEST.match(pull_request)
    if match is None:
        raise ReviewError(f"{pull_request!r} names no pull request: write owner/repo#12.")
    with closing(Identity()) as identity, _bot(config_file, database) as bot:
        return bot.review(identity.api(), match[1], int(match[2]))


def collect_once(repository: str | None, *, config_file: Path | None, database: Path | None) -> str:
    with closing(Identity()) as identity, _bot(config_file, database) as bot:
        done = collect(bot, identity.api(), repository)
    return (
        f"{done.pulls} pull requests looked at ({done.unchanged} unchanged), {done.signals} new signals, "
        f"{done.finished} windows closed, {done.calls} requests, {done.failed} not reached."
    )


NICENESS = 10
"""Of the worker and the arms' processes: GitHub waits for the server's answer, and nobody for a review's."""


def work_until_stopped(*, threads: int, config_file: Path | None, database: Path | None) -> None:
    os.nice(NICENESS)
    config = load(Path.cwd(), config_file=config_file)
    place = database_of(config, database)
    path = data_dir() / "pull-requests.db"
    with only_worker(path.with_suffix(".lock")), State(path) as state:
        worker = Worker(state, lambda: open_bot(config, database=place), Identity, threads=threads)

        def stop(_number: int, _frame: FrameType | None) -> None:
            worker.ask_to_stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker.start()
        worker.wait()
        worker.stop()
    if worker.has_failed:
        raise ReviewError("The worker ended because one of its threads failed; its log says why.")
