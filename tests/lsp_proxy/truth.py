"""Behaviours towards suggestions on real code, in real editors: what was really done, to compare outcomes with.

Each case is a file as a real commit found it, up to the middle of what the commit then wrote; an arm suggests the rest.
A behaviour takes it, a part of it, types it, throws it away: the script knows. A case has a file of its own: its
outcome can wait its ten seconds while the next cases go on.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from analysis.cut import cut
from analysis.history import Edit, History, Selection
from analysis.store import Store
from codetrial.config import EditorConfig
from codetrial.pseudonyms import pseudonym_of_document
from lsp_proxy.demo import language_server, proxy_command
from lsp_proxy.editor_client import Document, EditorClient, EditorProfile, Pending, Replacement, RequestFailedError
from lsp_proxy.typist import ITEM_MARK
from tests.codetrial.streaming import Received, Script, StreamingServer
from tests.lsp_proxy.neovim_rpc import NeovimRpc
from tests.lsp_proxy.served_arm import configuration, says

DECIDED_S = 12.0
"""What was taken counts when it still stands after ten seconds."""

READY_S = 60.0
"""On a busy machine the evaluator, at low priority, takes its time to start."""

SHOWN_S = 15.0
"""A suggestion that has not appeared by then will not."""

OTHER = "other_thing(12345)"
"""What is typed by somebody who wants something else."""


@dataclass(frozen=True)
class Case:
    name: str
    before: str
    """Up to the cursor, which stands at its line's end."""
    suggestion: str
    after: str

    @property
    def is_one_line(self) -> bool:
        return "\n" not in self.suggestion


SUGGESTION_CHARS = range(14, 91)
MAX_LINES = EditorConfig().max_lines
PER_EDIT = 4
"""Places taken from one edit: a new file has hundreds."""


def cases(repository: Path, wanted: int, seed: int) -> list[Case]:
    """Places in real commits at which somebody wrote one to four lines of Python."""
    chance = random.Random(seed)
    found: list[Case] = []
    with History(repository) as history:
        for change in history.changes(Selection(languages=("python",))):
            for file in change.files:
                text = file.before
                for edit in file.edits:
                    found += _cases_of(text, edit, chance)
                    text = edit.apply(text)
    if len(found) < wanted:
        raise ValueError(f"{repository} has {len(found)} places to type at, not {wanted}")
    return [replace(case, name=f"case_{n:04d}.py") for n, case in enumerate(chance.sample(found, wanted))]


def _cases_of(text: str, edit: Edit, chance: random.Random) -> Iterator[Case]:
    head, tail = text[: edit.offset], text[edit.offset + len(edit.removed) :]
    lines = edit.inserted.split("\n")
    rest = ("\n" if edit.inserted.endswith("\n") else "") + tail
    for first in chance.sample(range(len(lines)), min(PER_EDIT, len(lines))):
        core = "\n".join(lines[first : first + chance.choice([1, 1, 2, 3])])
        before = head + "".join(line + "\n" for line in lines[:first])
        indent = len(core) - len(core.lstrip())
        split = indent + min(7, max(2, (len(core) - indent) // 4))
        case = Case("", before + core[:split], core[split:], rest)
        is_at_a_line = (not head or head.endswith("\n") or first > 0) and (not rest or rest.startswith("\n"))
        if is_at_a_line and len(before) < 40_000 and _is_typable(core, case.suggestion) and _is_shown_whole(case):
            yield case


def _is_shown_whole(case: Case) -> bool:
    """Whether the cut leaves it as it is: a bracket that stands below already is not suggested again."""
    kept = cut(case.suggestion, prefix=case.before, suffix=case.after, language="python", max_lines=MAX_LINES)
    return kept.text == case.suggestion


def _is_typable(core: str, suggestion: str) -> bool:
    """Plain text without the blank lines and blanks at line ends that the cut takes away."""
    has_blanks = any(line != line.rstrip() or not line for line in core.split("\n"))
    is_plain = core.isascii() and "\t" not in core and not has_blanks
    return is_plain and len(suggestion) in SUGGESTION_CHARS and not suggestion[0].isspace()


class Oracle:
    """A model that says what the commit says, where it is asked at just that place, and elsewhere nothing."""

    def __init__(self, known: Sequence[Case]) -> None:
        self._known = {case.before[-150:]: case.suggestion for case in known}

    def __call__(self, request: Received) -> Script:
        text = self._known.get(request.body["prompt"][-150:], "")
        return says(text)


class Hands(Protocol):
    """What a person can do in an editor."""

    surface: str

    async def open(self, case: Case) -> bool:
        """Open the case's file and go to its place in it; True if the suggestion appeared."""
        ...

    async def take(self) -> None: ...
    async def take_part(self, part: str) -> None: ...
    async def type(self, text: str) -> None: ...
    async def backspace(self, chars: int) -> None: ...
    async def undo(self) -> None: ...
    async def redo(self) -> None: ...
    async def delete(self, text: str) -> None:
        """Select the text before the cursor and delete it."""
        ...

    async def reformat(self, change: Callable[[str], str]) -> None:
        """A formatter rewrites the document, which is then saved."""
        ...

    async def take_from_another(self, text: str) -> None:
        """Another source of completions offers a text at the cursor as well, and that is what is taken."""
        ...

    async def close(self) -> None: ...


@dataclass
class Session:
    """Everything around the hands."""

    folder: Path
    url: str
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    @property
    def store(self) -> Path:
        return self.folder / "truth.db"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def command(self) -> list[str]:
        config = self.folder / "codetrial.toml"
        config.write_text(configuration(self.url, name="truth", editor={"debounce_ms": 40, "merge_budget_ms": 2000}))
        return proxy_command(language_server(), config=config, store=self.store, log=self.folder / "evaluator.log")

    def environment(self) -> dict[str, str]:
        home = {"HOME": self.folder, "XDG_CONFIG_HOME": self.folder / "config", "XDG_DATA_HOME": self.folder / "data"}
        state = {"XDG_STATE_HOME": self.folder / "state", "XDG_CACHE_HOME": self.folder / "cache"}
        own = {"CODETRIAL_DATA_DIR": self.folder / "own", "CODETRIAL_USER_CONFIG": self.folder / "none.toml"}
        return {name: str(path) for name, path in (home | state | own).items()}

    def write(self, case: Case) -> Path:
        path = self.work / case.name
        path.write_text(case.before + case.after, encoding="utf-8")
        return path

    def pause(self, low_s: float = 0.3, high_s: float = 0.8) -> Awaitable[None]:
        return asyncio.sleep(self.chance.uniform(low_s, high_s))

    def key_gap_s(self) -> float:
        """Between two keys: a tenth of a second, now and then a burst."""
        return self.chance.choice([0.05, 0.07, 0.09, 0.11, 0.16])

    async def ready(self) -> None:
        """Wait for the evaluator, which starts after the language server."""

        async def has_begun() -> bool:
            return self.store.exists() and self._has_session()

        await until(has_begun, READY_S)

    async def over(self) -> None:
        """Wait for the evaluator's last row: the editor is gone before it."""

        async def has_ended() -> bool:
            return bool(self.rows("SELECT 1 FROM session_end"))

        await until(has_ended, READY_S)

    def _has_session(self) -> bool:
        has_table = self.rows("SELECT 1 FROM sqlite_master WHERE name = 'session'")
        return bool(has_table and self.rows("SELECT 1 FROM session"))

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with Store(self.store, readonly=True) as store:
            return store.rows(sql, parameters)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    """Wait for something that tells nobody when it happens.

    Raises:
        TimeoutError: it did not happen in time.
    """
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


Behaviour = Callable[[Hands, Session, Case], Awaitable[None]]


async def take_whole(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()


async def take_and_edit(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause()
    await hands.backspace(2)
    await hands.type("_x")


async def take_and_reformat(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause()
    await hands.reformat(lambda text: text.replace(" = ", "  =  ").replace(", ", ","))


async def take_undo_redo(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 1.0)
    await hands.undo()
    await session.pause(0.5, 1.0)
    await hands.redo()


def word_of(text: str) -> str:
    """What "take a word" would bring, four characters or more; "" if the text is one word."""
    for at in range(4, len(text)):
        before, after = text[at - 1], text[at]
        is_edge = not (before.isalnum() or before == "_") or not (after.isalnum() or after == "_")
        if is_edge and not before.isspace() and not after.isspace():
            return text[:at]
    return ""


async def take_word(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_part(word_of(case.suggestion))
    await session.pause(0.5, 1.0)
    await hands.type(OTHER)


async def take_line(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_part(case.suggestion.partition("\n")[0])
    await session.pause(0.5, 1.0)
    await hands.type("  # " + OTHER)


async def type_through(hands: Hands, session: Session, case: Case) -> None:
    await hands.type(case.suggestion)


async def take_and_delete(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 2.0)
    await hands.delete(case.suggestion)


async def take_and_undo(hands: Hands, session: Session, case: Case) -> None:
    await hands.take()
    await session.pause(0.5, 2.0)
    await hands.undo()


async def ignore(hands: Hands, session: Session, case: Case) -> None:
    await hands.type(OTHER)


async def leave(hands: Hands, session: Session, case: Case) -> None:
    await session.pause()
    await hands.close()


async def take_from_another(hands: Hands, session: Session, case: Case) -> None:
    await hands.take_from_another("another_assistant(wrote=this, at_once=True)")


BEHAVIOURS: Mapping[str, tuple[Behaviour, str]] = {
    "take whole": (take_whole, "accepted"),
    "take and edit": (take_and_edit, "accepted"),
    "take and reformat": (take_and_reformat, "accepted"),
    "take, undo, redo": (take_undo_redo, "accepted"),
    "take a word": (take_word, "partly_accepted"),
    "take a line": (take_line, "partly_accepted"),
    "type through": (type_through, "typed_through"),
    "take and delete": (take_and_delete, "not_taken"),
    "take and undo": (take_and_undo, "not_taken"),
    "ignore": (ignore, "not_taken"),
    "leave": (leave, "not_taken"),
    "outside assistant": (take_from_another, "not_taken"),
}
PARTS = frozenset({"take a word", "take a line"})
"""What no menu can do."""


def plan(known: Sequence[Case], each: int, *, has_parts: bool, one_line: bool) -> list[tuple[Case, str]]:
    """Which case is treated how: `each` cases for every behaviour that the editor can do."""
    left = [case for case in known if case.is_one_line or not one_line]
    planned: list[tuple[Case, str]] = []
    for name in BEHAVIOURS:
        if name in PARTS and not has_parts:
            continue
        fitting = [case for case in left if _fits(case, name)][:each]
        planned += [(case, name) for case in fitting]
        left = [case for case in left if case not in fitting]
    return planned


def _fits(case: Case, behaviour: str) -> bool:
    if behaviour == "take a line":
        return not case.is_one_line and len(case.suggestion.partition("\n")[0]) >= 4
    return behaviour != "take a word" or bool(word_of(case.suggestion))


@dataclass
class Tally:
    """What was done, beside what was read from it."""

    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    """Behaviour, outcome, rule; "none" where there is no outcome."""
    not_shown: int = 0
    offered: int = 0
    decided: int = 0
    outside_expected: int = 0
    outside_seen: int = 0
    outside_false: int = 0
    details: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.pairs += other.pairs
        self.details += other.details
        for name in ("not_shown", "offered", "decided", "outside_expected", "outside_seen", "outside_false"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def behaviours(self) -> dict[str, tuple[int, int]]:
        """How many cases of each there were, and how many of them were read right."""
        total = Counter(name for name, _, _ in self.pairs)
        right = Counter(name for name, got, _ in self.pairs if got == BEHAVIOURS[name][1])
        return {name: (total[name], right[name]) for name in BEHAVIOURS if total[name]}

    def classes(self) -> dict[str, "Counted"]:
        found = {}
        for wanted in dict.fromkeys(outcome for _, outcome in BEHAVIOURS.values()):
            truth = [got for name, got, _ in self.pairs if BEHAVIOURS[name][1] == wanted]
            hits = sum(got == wanted for got in truth)
            said = sum(got == wanted for _, got, _ in self.pairs)
            if truth:
                found[wanted] = Counted(len(truth), said, hits)
        return found


class Counted(NamedTuple):
    """One outcome class: how often it was done, how often it was said, and how often both."""

    done: int
    said: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.done


async def perform(hands: Hands, session: Session, planned: Sequence[tuple[Case, str]]) -> list[tuple[Case, str]]:
    """Do what is planned, one after the other; gives what was really done, without the cases where nothing appeared."""
    done = []
    for case, name in planned:
        if not await hands.open(case):
            continue
        await session.pause()
        await BEHAVIOURS[name][0](hands, session, case)
        done.append((case, name))
        await session.pause()
    return done


def compare(session: Session, planned: int, done: Sequence[tuple[Case, str]]) -> Tally:
    """What was done beside what the store says, once the session has ended."""
    [trial] = session.rows("SELECT seed FROM trial")
    rows = session.rows(
        "SELECT t.document, x.suggestion, o.outcome, o.rule, o.detail FROM exposure x JOIN task t ON t.id = x.task "
        "LEFT JOIN outcome o ON o.suggestion = x.suggestion ORDER BY x.offered_ns"
    )
    tally = Tally(not_shown=planned - len(done), offered=len(rows), decided=sum(r["outcome"] is not None for r in rows))
    for case, name in done:
        document = pseudonym_of_document(trial["seed"], (session.work / case.name).as_uri())
        [first, *_] = [row for row in rows if row["document"] == document] or [{}]
        tally.pairs.append((name, first.get("outcome") or "none", first.get("rule") or ""))
        if first.get("outcome") != BEHAVIOURS[name][1]:
            tally.details.append(f"{name}: {first} {case.suggestion!r} in {case.name}")
    outside = session.rows("SELECT sum(count) AS n FROM incident WHERE kind = 'outside_insertion'")
    tally.outside_expected = sum(name == "outside assistant" for _, name in done)
    seen = int(outside[0]["n"] or 0)
    tally.outside_seen, tally.outside_false = min(seen, tally.outside_expected), max(0, seen - tally.outside_expected)
    return tally


@asynccontextmanager
async def session_in(folder: Path, known: Sequence[Case]) -> AsyncIterator[Session]:
    async with StreamingServer() as server:
        server.script = Oracle(known)
        session = Session(folder, server.url)
        session.work.mkdir(parents=True, exist_ok=True)
        (session.work / ".git").mkdir(exist_ok=True)
        yield session


# The scripted editor, over the real proxy.


@dataclass(frozen=True, kw_only=True)
class Dialect(EditorProfile):
    """A scripted editor and what it does by itself."""

    closes_brackets: bool = False
    sends_whole_text: bool = False


SCRIPTED = {
    "inline, command": Dialect(name="scripted", version="1", shows_inline=True),
    "inline, no command": Dialect(name="scripted", version="1", shows_inline=True, runs_item_commands=False),
    "menu, no command": Dialect(name="scripted", version="1", shows_inline=False, runs_item_commands=False),
}


class ScriptedHands:
    """The scripted editor; several of them share one server, each with its own documents."""

    def __init__(self, editor: EditorClient, session: Session) -> None:
        self._editor = editor
        self._session = session
        self.surface = "inline" if editor.asks_inline else "menu"
        self._document: Document
        self._at = 0
        self._edit: Replacement | None = None
        self._command: Mapping[str, Any] | None = None
        self._pending: Pending | None = None
        self._texts: list[tuple[str, int]] = []

    async def open(self, case: Case) -> bool:
        path = self._session.write(case)
        self._document = await self._editor.open(path, "python", case.before + case.after)
        self._at = len(case.before)
        self._texts = []
        # A menu's suggestion that is late for one list comes with the next.
        for _ in range(3):
            if self._show(await self._ask()):
                return True
        return False

    async def _ask(self) -> Any:
        if self._editor.asks_inline:
            self._pending = await self._editor.start_inline(self._document, self._at)
        else:
            self._pending = await self._editor.start_completion(self._document, self._at)
        try:
            return await self._editor.answer_of(self._pending)
        except RequestFailedError:
            return None

    def _show(self, answer: Any) -> bool:
        items = answer if isinstance(answer, list) else (answer or {}).get("items") or []
        for item in items:
            if self._editor.asks_inline:
                self._edit = self._document.inline_edit_of(item, self._at)
            elif ITEM_MARK in (item.get("data") or {}):
                self._edit = self._document.edit_of(item, self._at, {})
            else:
                continue
            self._command = item.get("command")
            return True
        return False

    async def _change(self, start: int, end: int, text: str) -> None:
        self._texts.append((self._document.text, self._at))
        await self._editor.change(self._document, start, end, text)
        self._at = start + len(text)

    async def take(self) -> None:
        assert self._edit is not None
        await self._change(*self._edit)
        if self._command is not None:
            await self._editor.run_command(self._command)

    async def take_part(self, part: str) -> None:
        await self._change(self._at, self._at, part)

    async def type(self, text: str) -> None:
        for character in text:
            await asyncio.sleep(self._session.key_gap_s())
            await self._change(self._at, self._at, character)
            if self._editor.asks_inline:
                await self._ask_meanwhile()

    async def _ask_meanwhile(self) -> None:
        if self._pending is not None:
            await self._editor.cancel(self._pending)
        self._pending = await self._editor.start_inline(self._document, self._at)
        self._pending.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    async def backspace(self, chars: int) -> None:
        for _ in range(chars):
            await asyncio.sleep(self._session.key_gap_s())
            await self._change(self._at - 1, self._at, "")

    async def undo(self) -> None:
        before = self._document.text, self._at
        text, at = self._texts[-1]
        await self._become(text)
        self._texts[-1], self._at = before, at

    redo = undo

    async def _become(self, text: str) -> None:
        old = self._document.text
        head = next((i for i, (a, b) in enumerate(zip(old, text, strict=False)) if a != b), min(len(old), len(text)))
        tail = 0
        while tail < min(len(old), len(text)) - head and old[-1 - tail] == text[-1 - tail]:
            tail += 1
        await self._editor.change(self._document, head, len(old) - tail, text[head : len(text) - tail])

    async def delete(self, text: str) -> None:
        await self._change(self._at - len(text), self._at, "")

    async def reformat(self, change: Callable[[str], str]) -> None:
        await self._editor.change(self._document, 0, len(self._document.text), change(self._document.text))
        await self._editor.save(self._document)

    async def take_from_another(self, text: str) -> None:
        await self._change(self._at, self._at, text)

    async def close(self) -> None:
        await self._editor.close(self._document)


async def in_scripted_editor(
    folder: Path, profile: EditorProfile, known: Sequence[Case], each: int, *, at_once: int = 4
) -> Tally:
    """Every behaviour in the scripted editor, some documents at a time."""
    planned = plan(known, each, has_parts=profile.shows_inline, one_line=False)
    async with session_in(folder, known) as session:
        async with EditorClient.started(
            session.command(), root=session.work, profile=profile, environment=session.environment()
        ) as editor:
            await session.ready()
            shares = [planned[start::at_once] for start in range(at_once)]
            done = await asyncio.gather(*(perform(ScriptedHands(editor, session), session, s) for s in shares))
            await asyncio.sleep(DECIDED_S)
        await session.over()
        return compare(session, len(planned), [one for share in done for one in share])


# Neovim itself.

_INLINE = """
vim.o.swapfile = false
vim.o.hidden = true
vim.lsp.config('basedpyright', { cmd = %(command)s, filetypes = { 'python' }, root_markers = { '.git' } })
vim.lsp.enable('basedpyright')
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  if vim.lsp.inline_completion then vim.lsp.inline_completion.enable(true, { bufnr = args.buf }) end
end })
"""

_MENU = """
vim.o.swapfile = false
vim.o.hidden = true
vim.o.completeopt = 'menuone,noinsert'
vim.lsp.config('basedpyright', { cmd = %(command)s, filetypes = { 'python' }, root_markers = { '.git' } })
vim.lsp.enable('basedpyright')
"""

_MENU_COMMANDS = """
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  vim.lsp.completion.enable(true, args.data.client_id, args.buf, { autotrigger = false })
end })
"""

_GHOST = """
local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
return space and #vim.api.nvim_buf_get_extmarks(0, space, 0, -1, {}) > 0
"""

_ATTACHED = (
    "return #vim.lsp.get_clients({ bufnr = 0 }) > 0 and vim.lsp.get_clients({ bufnr = 0 })[1].initialized == true"
)

_TAKE = """
local part, runs = ...
return vim.lsp.inline_completion.get({ on_accept = function(item)
  if part ~= vim.NIL then item.insert_text = part end
  if not runs then item.command = nil end
  return item
end })
"""

_ANOTHER = """
local text = ...
local client = {
  request = function(method, params, callback)
    if method == 'initialize' then
      callback(nil, { capabilities = { inlineCompletionProvider = true } })
    elseif method == 'textDocument/inlineCompletion' then
      local range = { start = params.position, ['end'] = params.position }
      callback(nil, { items = { { insertText = text, range = range } } })
    else
      callback(nil, vim.NIL)
    end
    return true, 1
  end,
  notify = function() return true end,
  is_closing = function() return false end,
  terminate = function() end,
}
vim.lsp.start({ name = 'another', cmd = function() return client end }, { bufnr = 0 })
vim.schedule(function() vim.cmd('doautocmd CursorMovedI') end)
"""

_CHOOSE_ANOTHER = """
local space = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
local marks = vim.api.nvim_buf_get_extmarks(0, space, 0, -1, { details = true })
if vim.inspect(marks):find('another_assistant', 1, true) then return true end
vim.lsp.inline_completion.select()
return false
"""

_OFFERED = """
local at = -1
for index, item in ipairs(vim.fn.complete_info({ 'items' }).items) do
  local data = vim.tbl_get(item, 'user_data', 'nvim', 'lsp', 'completion_item', 'data')
  if at < 0 and type(data) == 'table' and data.codetrial then at = index - 1 end
end
return at
"""

_DELETE = """
local row, column, text = ...
local cursor = vim.api.nvim_win_get_cursor(0)
vim.api.nvim_buf_set_text(0, row, column, cursor[1] - 1, cursor[2], {})
"""

_FORMAT = """
local new = ...
local last = vim.api.nvim_buf_line_count(0)
local range = { start = { line = 0, character = 0 }, ['end'] = { line = last, character = 0 } }
vim.lsp.util.apply_text_edits({ { newText = new, range = range } }, vim.api.nvim_get_current_buf(), 'utf-16')
vim.cmd('silent write')
"""


class NeovimHands:
    """A running Neovim."""

    def __init__(self, neovim: NeovimRpc, session: Session, *, surface: str, runs_commands: bool) -> None:
        self.surface = surface
        self._neovim = neovim
        self._session = session
        self._runs_commands = runs_commands
        self._start = (0, 0)

    async def begin(self) -> None:
        """Start the language server with a file of no interest, and wait for the evaluator."""
        path = self._session.work / "first.py"
        path.write_text("pass\n")
        await self._neovim.call("nvim_command", f"silent edit {path}")
        await self._until(_ATTACHED, READY_S)
        await self._session.ready()
        if self.surface == "menu":
            # The first list of all takes the language server seconds.
            await self._keys("A<C-x><C-o>")
            await self._until("return vim.fn.pumvisible() == 1", READY_S)
            await self._close_menu()

    async def open(self, case: Case) -> bool:
        path = self._session.write(case)
        line = case.before.count("\n")
        column = len(case.before) - case.before.rfind("\n") - 1
        self._start = (line, column)
        await self._keys("<Esc>")
        await self._neovim.call("nvim_command", f"silent edit {path}")
        await self._until(_ATTACHED, READY_S)
        await self._neovim.call("nvim_win_set_cursor", 0, [line + 1, column])
        await self._keys("A")
        if self.surface == "inline":
            return await self._appears(_GHOST)
        for _ in range(3):
            await self._keys("<C-x><C-o>")
            if await self._appears(f"return (function() {_OFFERED} end)() >= 0", within_s=2.5):
                return True
            await self._close_menu()
        return False

    async def _close_menu(self) -> None:
        """Without a menu this key would copy a character from the line below."""
        if await self._lua("return vim.fn.pumvisible() == 1"):
            await self._keys("<C-e>")

    async def take(self) -> None:
        await self._take(None)

    async def take_part(self, part: str) -> None:
        await self._take(part)

    async def _take(self, part: str | None) -> None:
        before = await self._tick()
        if self.surface == "inline":
            assert await self._lua(_TAKE, part, self._runs_commands), "nothing to take"
        else:
            at = await self._lua(_OFFERED)
            await self._keys("<C-n>" * at + "<C-y>")

        async def is_there() -> bool:
            return await self._tick() != before

        await until(is_there, SHOWN_S)

    async def type(self, text: str) -> None:
        await self._close_menu()
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if number:
                await self._key("<CR>")
                line = await self._unindented(line)
            for character in line:
                await self._key("<LT>" if character == "<" else character)

    async def _unindented(self, line: str) -> str:
        """What is still to be typed after the editor has indented, backwards where it went too far."""
        has = await self._neovim.call("nvim_get_current_line")
        wanted = line[: len(line) - len(line.lstrip())]
        if len(has) > len(wanted):
            await self._key("<C-U>")
            return line
        return line[len(has) :]

    async def backspace(self, chars: int) -> None:
        for _ in range(chars):
            await self._key("<BS>")

    async def undo(self) -> None:
        await self._keys("<Esc>u")

    async def redo(self) -> None:
        await self._keys("<C-r>")

    async def delete(self, text: str) -> None:
        await self._lua(_DELETE, *self._start, text)

    async def reformat(self, change: Callable[[str], str]) -> None:
        lines = await self._neovim.call("nvim_buf_get_lines", 0, 0, -1, True)
        await self._lua(_FORMAT, change("\n".join(lines) + "\n"))

    async def take_from_another(self, text: str) -> None:
        before = await self._tick()
        if self.surface == "inline":
            await self._lua(_ANOTHER, text)
            await self._until(_CHOOSE_ANOTHER, SHOWN_S)
            await self._lua("vim.lsp.inline_completion.get()")
        else:
            await self._close_menu()
            # What a completion plug-in of another assistant does.
            await self._lua("vim.fn.complete(vim.fn.col('.'), { ... })", text)
            await self._until("return vim.fn.pumvisible() == 1", SHOWN_S)
            await self._keys("<C-y>")

        async def is_there() -> bool:
            return await self._tick() != before

        await until(is_there, SHOWN_S)

    async def close(self) -> None:
        await self._keys("<Esc>")
        await self._neovim.call("nvim_command", "silent bdelete!")

    async def _key(self, key: str) -> None:
        await asyncio.sleep(self._session.key_gap_s())
        await self._keys(key)

    async def _keys(self, keys: str) -> None:
        await self._neovim.call("nvim_input", keys)

    async def _lua(self, code: str, *arguments: Any) -> Any:
        return await self._neovim.call("nvim_exec_lua", code, list(arguments))

    async def _tick(self) -> int:
        return int(await self._lua("return vim.b.changedtick"))

    async def _appears(self, code: str, within_s: float = SHOWN_S) -> bool:
        try:
            await self._until(code, within_s)
        except TimeoutError:
            return False
        return True

    async def _until(self, code: str, within_s: float) -> None:
        async def holds() -> bool:
            return bool(await self._lua(code))

        await until(holds, within_s)


async def in_neovim(
    folder: Path,
    program: str,
    known: Sequence[Case],
    each: int,
    *,
    surface: str,
    runs_commands: bool,
    at_once: int = 1,
) -> Tally:
    """Every behaviour in Neovims without a screen, so many side by side."""
    planned = plan(known, each, has_parts=surface == "inline", one_line=surface == "menu")
    tally = Tally()
    tallies = await asyncio.gather(
        *(
            _in_one_neovim(
                folder / str(number),
                program,
                known,
                planned[number::at_once],
                surface=surface,
                runs_commands=runs_commands,
            )
            for number in range(at_once)
        )
    )
    for one in tallies:
        tally.add(one)
    return tally


async def _in_one_neovim(
    folder: Path,
    program: str,
    known: Sequence[Case],
    planned: Sequence[tuple[Case, str]],
    *,
    surface: str,
    runs_commands: bool,
) -> Tally:
    async with session_in(folder, known) as session:
        settings = folder / "config" / "nvim" / "init.lua"
        settings.parent.mkdir(parents=True, exist_ok=True)
        text = _INLINE if surface == "inline" else _MENU + (_MENU_COMMANDS if runs_commands else "")
        settings.write_text(text % {"command": "{ " + ", ".join(json.dumps(w) for w in session.command()) + " }"})
        async with NeovimRpc.started(program, session.work, session.environment()) as neovim:
            hands = NeovimHands(neovim, session, surface=surface, runs_commands=runs_commands)
            await hands.begin()
            done = await perform(hands, session, planned)
            await asyncio.sleep(DECIDED_S)
        await session.over()
        return compare(session, len(planned), done)


__all__ = [
    "BEHAVIOURS",
    "SCRIPTED",
    "Case",
    "Tally",
    "cases",
    "in_neovim",
    "in_scripted_editor",
]
