"""`codetrial demo`: the whole path with real parts and a scripted developer, from an empty machine to a report.

The arms, the proxy, the language server, the commits and the typing are real; the developer is not. What is recorded is
labelled as a replay everywhere and lies in a database of its own.
"""

import asyncio
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from analysis.history import Change, FileChange, History, Release, Selection, build_from_releases
from analysis.store import Store
from codetrial.arms import local
from codetrial.errors import EvidenceError, ProxyError
from codetrial.paths import cache_dir
from codetrial.records import Origin
from lsp_proxy.editor_client import INLINE_EDITOR, MENU_EDITOR, EditorClient, EditorProfile
from lsp_proxy.typist import Deed, Habits, Pace, TruthLog, Typist, pick_edits

__all__ = ["CONFIG", "DemoOptions", "DemoResult", "language_server", "proxy_command", "run", "type_history"]

MODEL = "smollm2"

RELEASES = tuple(
    Release("sqlite-utils", version)
    for version in ("3.20", "3.21", "3.22", "3.22.1", "3.23", "3.24", "3.25", "3.25.1", "3.26", "3.27", "3.28")
)
"""Small, pure Python, Apache-2.0, and each release changed a few functions: commits such as people make."""

TIME_SCALE = 12
"""A replay does not wait minutes to see what became of a line."""

CONFIG = f"""\
# Written by `codetrial demo`. A repository n-gram arm against SmolLM2-135M: a trade-off to look at, no recommendation.
[trial]
name = "demo"
# More of nothing than a trial of people would spend: a few minutes must show the control group too.
shares = {{ a = 0.35, b = 0.35, none = 0.30 }}

[editor]
# A replay does not wait minutes to see what became of a line.
time_scale = {TIME_SCALE}
# The local model has one slot: what nobody waits for any longer must not keep it from what is asked next.
shadow_cap_s = 3
"""

LANGUAGES = ("python",)
MIN_EDIT_CHARS = 8
MAX_EDIT_CHARS = 400
CHARS_PER_FILE = 180
FILES_PER_COMMIT = 2
"""Small bites of many commits: each is a session, and the report's clusters are sessions."""

PATIENCE_S = 2.5
LOOK_UP = 0.15
DEBOUNCE_S = 0.2
"""A developer who looks up seldom and waits long: the local model needs a second on one core, and has one slot."""

READY_S = 20.0
"""For the evaluator to start, on a machine that has much else to do."""

SETTLE_S = 4.0
"""Before the editor closes: until what was typed last has been looked at again (30 s / time_scale, and some)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    repository: Path | None
    """None: the repository built from releases."""
    minutes: float
    speed: float
    seed: int | None
    """None: another one each time, so that a second run adds other edits."""
    store: Path
    html: Path
    surface: str
    """`inline` or `menu`."""
    truth: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    sessions: int
    chars: int
    asked: int
    shown: int
    was_interrupted: bool


def language_server() -> list[str]:
    """basedpyright: beside this Python, or on PATH.

    Raises:
        ProxyError: it is in neither place.
    """
    beside = Path(sys.executable).with_name("basedpyright-langserver")
    found = str(beside) if beside.exists() else shutil.which("basedpyright-langserver")
    if found is None:
        raise ProxyError("There is no basedpyright-langserver here or on PATH: pip install basedpyright.")
    return [found, "--stdio"]


def proxy_command(server: Sequence[str], *, config: Path, store: Path, log: Path | None = None) -> list[str]:
    """`codetrial lsp` in front of a language server, as an editor would be told to start it."""
    # -P: an editor starts it in the project's folder, whose own modules must not stand in for ours.
    command = [sys.executable, "-P", "-m", "codetrial.cli", "lsp", "--origin", "replay"]
    command += ["--config", str(config), "--store", str(store)]
    if log is not None:
        command += ["--log", str(log)]
    return [*command, "--", *server]


def run(options: DemoOptions, console: Console) -> DemoResult:
    """Type for some minutes. Ctrl-C ends it early and orderly.

    Raises:
        CodetrialError: a part is missing; says which one, and the mend.
    """
    server = language_server()
    local.check_installed(local.find(MODEL))
    _check_writable(options.store)
    with _history(options.repository, console) as history:
        changes = list(history.changes(Selection(languages=LANGUAGES, max_commits=200)))
        if not changes:
            raise EvidenceError(f"{history.root} has no commit with Python to type: name another repository.")
        lease = local.Lease(MODEL)
        try:
            with console.status(f"Starting {local.find(MODEL).title} on this machine"):
                local.ensure_running(MODEL)
            config = _write_config()
            console.print(
                f"A scripted developer types from {_count(len(changes), 'commit')} of [bold]{history.root.name}[/] "
                f"through the proxy and {Path(server[0]).name}, for at most {options.minutes:g} min. "
                "Ctrl-C ends it earlier; the report comes all the same."
            )
            log = options.store.with_name(f"{options.store.stem}.evaluator.log")
            command = proxy_command(server, config=config, store=options.store, log=log)
            return type_history(command, history, changes, options, console)
        finally:
            lease.release()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


@contextmanager
def _history(repository: Path | None, console: Console) -> Iterator[History]:
    if repository is None:
        repository = _default_repository(console)
    with History(repository) as history:
        yield history


def _default_repository(console: Console) -> Path:
    folder = cache_dir() / "demo" / RELEASES[0].package
    if not (folder / ".git").exists():
        with console.status("Building a repository from releases") as status:
            build_from_releases(
                folder, RELEASES, progress=lambda n, r: status.update(f"Commit {n + 1} of {len(RELEASES)}: {r}")
            )
    return folder


def _write_config() -> Path:
    """The same at every run: the same manifest, so the same trial, and runs add up."""
    path = cache_dir() / "demo" / "codetrial.toml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CONFIG, encoding="utf-8")
    except OSError as fault:
        raise ProxyError(f"Cannot write {path}: {fault.strerror}. Set CODETRIAL_CACHE_DIR.") from fault
    return path


def _check_writable(store: Path) -> None:
    """Early: in the proxy an unusable database would be a message in an editor that nobody watches here."""
    Store(store).close()


def _count_sessions(path: Path) -> int:
    with Store(path, readonly=True) as store:
        return int(store.rows("SELECT count(*) AS n FROM session")[0]["n"])


def type_history(
    command: Sequence[str], history: History, changes: Sequence[Change], options: DemoOptions, console: Console
) -> DemoResult:
    """Type bites of the changes, one session each, until they or the minutes run out."""
    rng = random.Random(options.seed if options.seed is not None else random.SystemRandom().getrandbits(32))
    run = _Run(list(command), history, options, rng, console)
    was_interrupted = False
    try:
        asyncio.run(run.through(changes))
    except KeyboardInterrupt:
        was_interrupted = True
    return DemoResult(
        sessions=run.sessions, chars=run.chars, asked=run.asked, shown=run.shown, was_interrupted=was_interrupted
    )


class _Run:
    """One run of the typist over a history, with its progress bar."""

    def __init__(
        self, command: list[str], history: History, options: DemoOptions, rng: random.Random, console: Console
    ) -> None:
        self._command = command
        self._history = history
        self._options = options
        self._rng = rng
        self._console = console
        self._profile: EditorProfile = INLINE_EDITOR if options.surface == "inline" else MENU_EDITOR
        self._truth = TruthLog(options.truth)
        self._folder = cache_dir() / "demo" / "work" / history.root.name
        self._messages: set[str] = set()
        self._sessions_before = _count_sessions(options.store)
        self.sessions = self.chars = self.asked = self.shown = 0

    async def through(self, changes: Sequence[Change]) -> None:
        limit_s = self._options.minutes * 60
        self._end_at = time.monotonic() + limit_s
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[shown]} shown, {task.fields[taken]} taken"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        ) as progress:
            self._bar: TaskID = progress.add_task("starting", total=limit_s, shown=0, taken=0)
            self._progress = progress
            ticking = asyncio.create_task(self._tick(), name="progress")
            try:
                while self._has_time():
                    before = self.sessions
                    for change in self._spread(changes):
                        if self._has_time():
                            await self._one(change)
                    if self.sessions == before:
                        break  # Nothing in these commits is of a size to type.
            finally:
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)
            progress.update(self._bar, completed=limit_s, description="done")

    def _has_time(self) -> bool:
        """For a session that is worth starting."""
        return time.monotonic() < self._end_at - 2 * SETTLE_S

    def _spread(self, changes: Sequence[Change]) -> list[Change]:
        """A sample over the whole history, oldest first, as large as the time allows at most."""
        most = max(1, int(self._options.minutes * 60 / SETTLE_S))
        chosen = changes if len(changes) <= most else self._rng.sample(list(changes), most)
        order = {change.commit: number for number, change in enumerate(changes)}
        return sorted(chosen, key=lambda change: order[change.commit])

    async def _one(self, change: Change) -> None:
        files = self._bites(change)
        if not files or change.parent is None:
            return
        await asyncio.to_thread(self._history.checkout, self._folder, change.parent)
        self._progress.update(self._bar, description=change.subject[:32])
        async with EditorClient.started(self._command, root=self._folder, profile=self._profile) as editor:
            self.sessions += 1
            await self._until_recording()
            typist = Typist(
                editor=editor,
                rng=self._rng,
                pace=Pace(
                    speed=self._options.speed,
                    time_scale=TIME_SCALE,
                    patience_s=PATIENCE_S,
                    look_up=LOOK_UP,
                    debounce_s=DEBOUNCE_S,
                ),
                habits=Habits(),
                truth=self._truth,
                on_typed=self._note_typed,
                is_time_up=lambda: time.monotonic() >= self._end_at - SETTLE_S,
            )
            try:
                for file in files:
                    if not await typist.make(file):
                        break
                await asyncio.sleep(SETTLE_S)
            finally:
                self.asked += typist.asked
                self.shown += typist.shown
                self._tell(editor.messages)

    async def _until_recording(self) -> None:
        """Wait until the evaluator has opened this session: people's editors stay open for hours, ours for seconds."""
        deadline = min(time.monotonic() + READY_S, self._end_at)
        while time.monotonic() < deadline:
            if await asyncio.to_thread(_count_sessions, self._options.store) >= self.sessions + self._sessions_before:
                return
            await asyncio.sleep(0.1)

    def _bites(self, change: Change) -> list[FileChange]:
        files = [
            pick_edits(file, self._rng, min_chars=MIN_EDIT_CHARS, max_chars=MAX_EDIT_CHARS, total_chars=CHARS_PER_FILE)
            for file in change.files
        ]
        files = [file for file in files if file.edits]
        return self._rng.sample(files, min(len(files), FILES_PER_COMMIT))

    def _note_typed(self, chars: int) -> None:
        self.chars += chars

    def _tell(self, messages: Sequence[str]) -> None:
        """What the proxy had to say to the person, each once."""
        for message in messages:
            if message not in self._messages:
                self._messages.add(message)
                self._console.print(f"[yellow]{message}[/]")

    async def _tick(self) -> None:
        while True:
            limit_s = self._options.minutes * 60
            elapsed_s = limit_s - (self._end_at - time.monotonic())
            taken = self._truth.count(Deed.TAKE, Deed.TAKE_LINE, Deed.TAKE_WORD)
            shown = len(self._truth.entries) - self._truth.count(Deed.TAKE_OTHER)
            self._progress.update(self._bar, completed=min(limit_s, elapsed_s), shown=shown, taken=taken)
            await asyncio.sleep(0.25)


def report(options: DemoOptions, result: DemoResult, console: Console) -> None:
    """Say what was typed, then what `codetrial report` says about everything in the database."""
    from analysis.report import make, write_html
    from analysis.report.terminal import render
    from analysis.source import SqliteSource

    console.print(
        f"{'Interrupted: ' if result.was_interrupted else ''}typed {result.chars} characters in "
        f"{_count(result.sessions, 'session')}, asked {result.asked} times, saw {_count(result.shown, 'suggestion')}."
    )
    source = SqliteSource(options.store)
    try:
        found = make(source, origin=Origin.REPLAY)
    finally:
        source.close()
    write_html(found, options.html)
    render(found, console)
    console.print(f"\nPage: {options.html}\nDatabase: {options.store} (codetrial report --store {options.store})")
