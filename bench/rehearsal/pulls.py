"""A week of pull requests at a stand-in for GitHub: the real bot by webhooks, and scripted people who answer it."""

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from analysis.history import History
from bench.rehearsal.calendar import Calendar
from bench.rehearsal.desk import rows_of, until
from bench.rehearsal.ledger import Ledger
from bench.rehearsal.reviewer import Reviewers, Said
from bench.rehearsal.script import Script
from codetrial.errors import ProxyError, ReviewError
from codetrial.records import ArmLabel
from tests.fakehub.hub import Hub
from tests.fakehub.state import Comment, Pull, Repo

__all__ = ["Week", "compare_pulls"]

SMALLEST, LARGEST = 25, 700
"""Characters of change do not matter here, lines do: of added lines in the one file that a pull request changes."""
BOT = "codetrial[bot]"
REVIEWED_S = 90.0
LOG_LINES = 20
_TITLE = re.compile(r"Line (\d+) wants a second look")


class Plan(NamedTuple):
    """One pull request: a file of a real project as it was, and as later releases made it."""

    repository: str
    path: str
    before: str
    after: str

    @property
    def title(self) -> str:
        return f"Bring {self.path} of {self.repository} up to date"


@dataclass(slots=True)
class Answered:
    """What people did about one pull request; by flagged line."""

    plan: Plan
    number: int
    head: str = ""
    said: set[Said] = field(default_factory=set)
    posted: set[int] = field(default_factory=set)
    folded: set[int] = field(default_factory=set)
    committed: set[int] = field(default_factory=set)
    by_hand: set[int] = field(default_factory=set)
    signals: Counter[str] = field(default_factory=Counter)
    reviews: int = 0
    """Of the first head, that the pull request shows: more than one would be too many."""

    def outcome_of(self, line: int) -> str:
        return "committed" if line in self.committed else "changed" if line in self.by_hand else "not_taken"


def plans(histories: Sequence[History], each: int) -> list[Plan]:
    """Files of both projects with a change of a size that people review, no two the same."""
    return [plan for history in histories for plan in _plans(history, each)]


def _plans(history: History, each: int) -> Iterator[Plan]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=history.root, check=True, capture_output=True, text=True).stdout

    first, last = git("rev-list", "--max-parents=0", "HEAD").strip(), git("rev-parse", "HEAD").strip()
    found = 0
    for row in git("diff", "--numstat", "--no-renames", "--diff-filter=M", first, last, "--", "*.py").splitlines():
        added, _, path = row.split("\t")
        if SMALLEST <= int(added) <= LARGEST and found < each:
            found += 1
            yield Plan(f"team/{history.root.name}", path, git("show", f"{first}:{path}"), git("show", f"{last}:{path}"))


@dataclass(slots=True, kw_only=True)
class Week:
    """The stand-in, the bot's processes and the people."""

    folder: Path
    config: Path
    script: Script
    calendar: Calendar
    reviewers: Reviewers
    hub: Hub
    answered: list[Answered] = field(default_factory=list)
    kills: int = 0
    port: int = 0
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    _server: "subprocess.Popen[bytes] | None" = None

    @property
    def store(self) -> Path:
        return self.folder / "bot.db"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CODETRIAL_DATA_DIR": str(self.folder / "data"), "CODETRIAL_CACHE_DIR": str(self.folder / "cache"),
            "CODETRIAL_USER_CONFIG": str(self.folder / "none.toml"), "CODETRIAL_WEBHOOK_SECRET": self.secret,
            "GITHUB_API_URL": self.hub.url, "GITHUB_TOKEN": self.hub.token(BOT), **self.calendar.environment(),
        }  # fmt: skip

    async def play(self, planned: Sequence[Plan]) -> None:
        """Open, review, answer and merge all, over the working days of the first week; look again at the end."""
        repos = {name: self._repository(name, planned) for name in dict.fromkeys(plan.repository for plan in planned)}
        self._move(0)
        with self._bot():
            self.hub.hook(f"http://127.0.0.1:{self.port}/webhook", self.secret)
            for number, plan in enumerate(planned):
                self._move(min(4, number * 5 // len(planned)))
                try:
                    await self._one(number, plan, repos[plan.repository])
                except ProxyError as fault:
                    raise ProxyError(f"{fault}\nThe bot said last:\n{self._said_last()}") from fault
        self.calendar.set(self.script.today)
        self.hub.clock.ahead = self.calendar.ahead
        self.run("pr", "collect")

    def run(self, *arguments: str) -> str:
        """The bot's command line."""
        command = [sys.executable, "-P", "-m", "codetrial.cli", *arguments]
        command += ["--config", str(self.config), "--store", str(self.store)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ReviewError(f"codetrial {' '.join(arguments)} failed: {done.stderr}")
        return done.stdout

    def _repository(self, name: str, planned: Sequence[Plan]) -> Repo:
        return self.hub.repository(name, {plan.path: plan.before for plan in planned if plan.repository == name})

    def _move(self, day: int) -> None:
        """The bot's processes and the stand-in read the same clock."""
        self.calendar.set(self.script.morning(day))
        self.hub.clock.ahead = self.calendar.ahead

    @contextmanager
    def _bot(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-P", "-m", "codetrial.cli", "pr", "serve", "--port", str(self.port), "--config",
                   str(self.config), "--store", str(self.store)]  # fmt: skip
        with (self.folder / "bot.log").open("wb") as log:
            self._server = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)
        try:
            yield
        finally:
            self._server.terminate()
            self._server.wait()

    async def _one(self, number: int, plan: Plan, repo: Repo) -> None:
        await until(lambda: self._asks("health"), "the bot answers")
        kind = number % 4
        await self._order_fault(kind, plan)
        pull = await asyncio.to_thread(self.hub.open_pull, repo, {plan.path: plan.after}, title=plan.title)
        answered = Answered(plan, pull.number, head=pull.head)
        self.answered.append(answered)
        if kind == 0:
            await self._kill_worker(plan)
        await until(lambda: self._bots(pull), f"a review of {plan.title}", REVIEWED_S)
        await self._idle()
        answered.said = set(self.reviewers.said.get(plan.title, set()))
        answered.reviews = len(self._bots(pull))
        await asyncio.to_thread(self._people, repo, pull, answered)
        await self._idle()
        await asyncio.to_thread(self.hub.merge, repo, pull)
        await self._idle()

    async def _order_fault(self, kind: int, plan: Plan) -> None:
        """By turns: the worker is killed; GitHub fails; arm A hangs; GitHub loses its own answer."""
        if kind == 0:
            self.reviewers.waits[plan.title] = threading.Event()
        elif kind == 1:
            self.hub.fail("POST", r"/pulls/\d+/reviews$", 502, times=2)
        elif kind == 2:
            self.reviewers.hangs.add((plan.title, ArmLabel.A))
        else:
            self.hub.fail("POST", r"/pulls/\d+/reviews$", 502, times=1, after=True)

    async def _kill_worker(self, plan: Plan) -> None:
        """While the reviewers are being asked."""
        await until(self.reviewers.reached.is_set, "the reviewers are asked")
        self.reviewers.reached.clear()
        assert self._server is not None
        for worker in _children(self._server.pid, b"work"):
            os.kill(worker, signal.SIGKILL)
            self.kills += 1
        self.reviewers.waits.pop(plan.title).set()

    def _bots(self, pull: Pull) -> list[Any]:
        return [review for review in pull.reviews if review.user.login == BOT]

    async def _idle(self) -> None:
        """Until the worker has nothing left to do."""

        def is_idle() -> bool:
            counts = dict(re.findall(r'codetrial_jobs\{state="(\w+)"\} (\d+)', self._asks("metrics")))
            return bool(counts) and not int(counts.get("queued", 0)) and not int(counts.get("running", 0))

        await until(is_idle, "the worker is idle", REVIEWED_S)

    def _said_last(self) -> str:
        return "\n".join((self.folder / "bot.log").read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _asks(self, path: str) -> str:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    # --- people ------------------------------------------------------------------------------------------------

    def _people(self, repo: Repo, pull: Pull, answered: Answered) -> None:
        """Each posted finding is treated in turn in one of six ways; of the others, every second line is rewritten."""
        own = [c for c in pull.comments if c.user.login == BOT and c.in_reply_to is None and c.line is not None]
        answered.posted = {int(comment.original_line or 0) for comment in own}
        # What is over the cap of an arm stands in the review's own text, where nobody answers it.
        answered.folded = {int(line) for review in self._bots(pull) for line in _TITLE.findall(review.body)}
        for number, comment in enumerate(sorted(own, key=lambda c: c.original_line or 0)):
            self._treat(number % 6, repo, pull, comment, answered)
        held_back = sorted({said.line for said in answered.said} - answered.posted - answered.folded)
        answered.by_hand |= set(held_back[::2])
        if answered.by_hand:
            lines = (repo.text(pull.head, answered.plan.path) or "").split("\n")
            for line in answered.by_hand:
                lines[line - 1] += "  # by hand"
            self.hub.push(repo, pull, {answered.plan.path: "\n".join(lines)}, message="Rework some lines")

    def _treat(self, way: int, repo: Repo, pull: Pull, comment: Comment, answered: Answered) -> None:
        line = int(comment.original_line or 0)
        if way in (0, 3) and "```suggestion" in comment.body:
            self.hub.commit_suggestion(repo, pull, comment)
            answered.committed.add(line)
        elif way in (0, 1):
            answered.by_hand.add(line)
        elif way == 2:
            self.hub.react(comment, "+1", by="reviewer")
            answered.signals["reaction_positive"] += 1
        elif way == 4:
            self.hub.reply(repo, pull, comment, "This is intentional.", by="author")
            answered.signals["reply_refute"] += 1
        elif way == 5:
            self.hub.resolve(repo, pull, comment, by="author")
            answered.signals["resolved_person"] += 1


def _children(parent: int, word: bytes) -> list[int]:
    found = []
    for thread in Path(f"/proc/{parent}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with suppress(OSError):
                if word in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def compare_pulls(week: Week, ledger: Ledger) -> None:
    """What people did beside what the bot made of it."""
    part = "reviews"
    findings = rows_of(
        week.store,
        "SELECT f.id, s.label, f.start_line, t.request_id AS head, a.shown FROM finding f "
        "JOIN suggestion s ON s.id = f.id JOIN task t ON t.id = f.task LEFT JOIN assignment a ON a.id = f.assignment",
    )
    by_head = {one.head: one for one in week.answered}
    said = {(one.head, said.label.value, said.line) for one in week.answered for said in one.said}
    found = {(row["head"], row["label"], row["start_line"]) for row in findings}
    ledger.equal(part, "findings that the reviewers gave are findings", said, found)
    posted = {(one.head, line) for one in week.answered for line in one.posted | one.folded}
    shown = {(row["head"], row["start_line"]) for row in findings if row["shown"] in ("A", "B")}
    ledger.equal(part, "findings that people could see were to be posted", posted, shown)
    ledger.equal(part, "pull requests with one review of their first head", len(week.answered),
                 sum(one.reviews == 1 for one in week.answered))  # fmt: skip
    ledger.holds(part, "workers killed in the middle of a review", week.kills > 0, week.kills, week.kills)
    outcomes = rows_of(week.store, "SELECT suggestion, outcome FROM outcome WHERE rule LIKE 'final%'")
    final = {row["suggestion"]: row["outcome"] for row in outcomes}
    ledger.equal(part, "final outcomes, one a finding", len(findings), len(outcomes))
    for name in ("committed", "changed", "not_taken"):
        expected = {key for key in found if key[0] in by_head and by_head[key[0]].outcome_of(key[2]) == name}
        read = {(row["head"], row["label"], row["start_line"]) for row in findings if final.get(row["id"]) == name}
        ledger.equal(part, f"... {name}", expected, read)
        for head, label, line in sorted(expected ^ read):
            ledger.differ(f"finding of {label} at line {line} of {by_head[head].plan.path}: "
                          f"{by_head[head].outcome_of(line)} by the script")  # fmt: skip
    by_rule = rows_of(week.store, "SELECT rule, count(DISTINCT suggestion) AS n FROM outcome GROUP BY rule")
    signals = Counter({row["rule"]: row["n"] for row in by_rule})
    for name in ("reaction_positive", "reply_refute", "resolved_person"):
        ledger.equal(part, f"... {name}", sum(one.signals[name] for one in week.answered), signals[name])
    attempts = rows_of(
        week.store, "SELECT p.label, p.status, t.request_id AS head FROM attempt p JOIN task t ON t.id = p.task"
    )
    titles = {one.head: one.plan.title for one in week.answered}
    hung = [row for row in attempts if (titles.get(row["head"]), ArmLabel(row["label"])) in week.reviewers.hangs]
    timed_out = sum(row["status"] == "timeout" for row in hung)
    ledger.equal(part, "attempts of an arm that hung are timeouts", len(week.reviewers.hangs), timed_out)
