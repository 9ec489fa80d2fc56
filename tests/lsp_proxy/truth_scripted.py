"""The behaviours of `truth` in the scripted editor, over the real proxy."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsp_proxy.editor_client import Document, EditorClient, EditorProfile, Pending, Replacement, RequestFailedError
from lsp_proxy.typist import ITEM_MARK
from tests.lsp_proxy.truth import DECIDED_S, Case, Session, Tally, compare, perform, plan, session_in


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
