"""The worker: takes jobs from the state file and does them, several pull requests at once, each of them one at a time.

A process of its own beside the server, so that a review never delays an acknowledgement. It may be killed at any
moment: a job that was begun is done again, and every step of a job first looks at what already stands.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from codetrial.errors import CodetrialError, ReviewError
from pr_bot.collecting import collect
from pr_bot.findings import marker_id
from pr_bot.github import Api, Forbidden, GitHubError, Missing, RateLimited, Refused
from pr_bot.identity import Identity
from pr_bot.pulls import Bot
from pr_bot.render import last_marker, with_marker
from pr_bot.state import Job, State

__all__ = ["Worker", "do", "only_worker"]

logger = logging.getLogger(__name__)

IDLE_S = 0.25
"""How often an idle worker looks for work; a query of microseconds."""

COLLECT_EVERY_S = 1_800.0
"""Two looks an hour cost 500 open pull requests a fifth of the hourly limit."""

MAY_COMMAND = frozenset({"admin", "maintain", "write"})

EXPLANATION = (
    "This repository compares two reviewers. Both read each change and get the same diff; what they find is checked "
    "against the diff, some of it is posted and some is held back by lot, and what happens to the flagged lines is "
    "counted for both. Comments do not say who wrote them. A person with write access can say `review`, `pause`, "
    "`resume` or `explain` after this bot's name."
)


@contextmanager
def only_worker(path: Path) -> Iterator[None]:
    """Hold the place of the one worker of a state file; it is free again when the process ends, however it ends.

    Raises:
        ReviewError: another worker runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            raise ReviewError(f"Another worker already works on {path.parent}: end it first.") from fault
        yield


class Worker:
    """A few threads over one state file, each with a bot of its own.

    Args:
        open_bot: Makes a bot; called once in each thread, for SQLite and HTTP connections belong to one.
    """

    def __init__(
        self, state: State, open_bot: Callable[[], Bot], identify: Callable[[], Identity], *, threads: int = 2
    ) -> None:
        self._state = state
        self._open_bot, self._identify = open_bot, identify
        self._stopping = threading.Event()
        self.has_failed = False
        self._threads = [threading.Thread(target=self._run, args=(n,), name=f"worker-{n}") for n in range(threads)]

    def start(self) -> None:
        # The lock says that no other worker lives, so whatever is marked as running was cut off.
        released = self._state.release("")
        if released:
            logger.info("%d jobs were cut off and are done again", released)
        for thread in self._threads:
            thread.start()
        logger.info("%d threads are at work", len(self._threads))

    def ask_to_stop(self) -> None:
        """Safe to call from a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Let each thread finish its job, then end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait(self) -> None:
        self._stopping.wait()

    def _run(self, number: int) -> None:
        try:
            self._work(number)
        except Exception:
            # A thread that is gone would only be seen by its work not being done: end, and be started again.
            logger.exception("a thread of the worker ended; ending the worker")
            self.has_failed = True
            self._stopping.set()

    def _work(self, number: int) -> None:
        bot, identity = self._open_bot(), self._identify()
        name = f"{os.getpid()}-{number}"
        look_at = 0.0
        try:
            while not self._stopping.is_set():
                # One thread is enough to notice that time has passed; reactions come without any event.
                if number == 0 and self._state.now() >= look_at:
                    look_at = self._state.now() + COLLECT_EVERY_S
                    self._state.schedule_collecting()
                    self._state.schedule_sweeps()
                    self._state.prune()
                job = self._state.claim(name)
                if job is None:
                    self._stopping.wait(IDLE_S)
                    continue
                do(self._state, job, bot, identity)
        finally:
            identity.close()
            bot.close()


def do(state: State, job: Job, bot: Bot, identity: Identity) -> None:
    """Do one job and write down how it ended; nothing that goes wrong in it ends the worker."""
    api: Api | None = None
    try:
        if job.kind in ("review", "collect", "sweep") and state.is_superseded(job):
            state.finish(job, state="superseded")
            return
        api = identity.api(job.payload.get("installation"), job.payload["repository"])
        detail = _sweep(state, job, bot, api) if job.kind == "sweep" else _act(job, bot, api)
    except RateLimited as fault:
        logger.warning("job %d (delivery %s): %s", job.id, job.delivery, fault)
        _retry(state, job, bot, api, str(fault), after_s=fault.retry_after_s)
    except (Forbidden, Missing, Refused) as fault:
        # The same request would be answered the same way.
        logger.warning("job %d (delivery %s) given up: %s", job.id, job.delivery, fault)
        state.finish(job, state="failed", error=str(fault))
        if job.kind == "sweep" and not isinstance(fault, Refused):
            state.forget_repository(job.pull)  # Gone, or the App is not installed there any more.
    except (GitHubError, CodetrialError) as fault:
        is_kept = _retry(state, job, bot, api, str(fault))
        word = "is tried again" if is_kept else "given up"
        logger.warning("job %d (delivery %s) %s: %s", job.id, job.delivery, word, fault)
    except Exception:
        logger.exception("job %d (delivery %s) failed", job.id, job.delivery)
        _retry(state, job, bot, api, "an error of codetrial itself; its log says more")
    else:
        state.remember_installation(job.pull, job.payload.get("installation"))
        logger.info("job %d (delivery %s): %s", job.id, job.delivery, detail)
        state.finish(job)


def _retry(state: State, job: Job, bot: Bot, api: Api | None, why: str, *, after_s: float | None = None) -> bool:
    """Put the job back; where it has been tried often enough a person is told on the pull request."""
    is_kept = state.retry(job, why, after_s=after_s)
    if not is_kept and api is not None and job.kind in ("review", "command"):
        bot.give_up(api, job.payload["repository"], job.payload["number"], why)
    return is_kept


def _sweep(state: State, job: Job, bot: Bot, api: Api) -> str:
    """Queue the reviews that no delivery asked for: GitHub does not repeat a delivery that failed."""
    need = {"repository": job.payload["repository"], "installation": job.payload.get("installation")}
    missed = bot.missed(api, job.payload["repository"])
    queued = sum(state.put_missed(pull.key, {**need, "number": pull.number}) for pull in missed)
    return f"{job.pull}: {queued} pull requests that no delivery told of"


def _act(job: Job, bot: Bot, api: Api) -> str:
    repository, number = job.payload["repository"], job.payload["number"]
    if job.kind == "review":
        return bot.review(api, repository, number).detail
    if job.kind == "collect":
        done = collect(bot, api, repository, number=number)
        return f"{done.pulls} pull requests, {done.signals} signals"
    return _command(job, bot, api)


def _command(job: Job, bot: Bot, api: Api) -> str:
    repository, number, verb = job.payload["repository"], job.payload["number"], job.payload["verb"]
    if api.permission(repository, job.payload["who"]) not in MAY_COMMAND:
        return f"{job.payload['who']} has no write access to {repository}; ignored."
    pull = api.pull(repository, number)
    if verb == "review":
        bot.pause(pull, paused=False)
        return bot.review(api, repository, number, is_asked=True).detail
    if verb in ("pause", "resume"):
        bot.pause(pull, paused=verb == "pause")
        return f"{pull.key}: {verb}d"
    marker = marker_id(bot.trial.trial.seed, f"explain:{pull.key}:{job.payload['comment']}")
    if any(last_marker(body) == marker for body in api.issue_comments(pull)):
        return f"{pull.key}: explained before"
    api.comment(pull, with_marker(EXPLANATION, marker))
    return f"{pull.key}: explained"
