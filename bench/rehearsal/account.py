"""What really happened, written down by those who did it; nothing here is read from codetrial."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.rehearsal.script import Sitting
from codetrial.clock import now_ns
from codetrial.records import ArmLabel
from lsp_proxy.editor_client import EditorClient, Pending
from lsp_proxy.typist import ITEM_MARK, TruthEntry

__all__ = ["Kill", "Sat", "Snapshot", "WatchedEditor"]

OURS = {"textDocument/inlineCompletion": True, "textDocument/completion": False}
"""Requests that codetrial answers, by whether they are inline."""


class WatchedEditor(EditorClient):
    """The scripted editor, with a list of what went over the wire."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.sent_ns: dict[int, int] = {}
        """Completion requests, by id."""
        self.offered: set[int] = set()
        """Requests whose answer held a suggestion of ours; also when nobody waited for it any more."""
        self._inline: dict[int, bool] = {}

    async def start_request(self, method: str, params: Any) -> Pending:
        is_completion = method in OURS and OURS[method] == self.asks_inline
        if is_completion:
            self.sent_ns[self._next_id + 1] = now_ns()
            self._inline[self._next_id + 1] = OURS[method]
        return await super().start_request(method, params)

    def _settle(self, message: dict[str, Any]) -> None:
        if message["id"] in self._inline and _has_ours(message.get("result"), is_inline=self._inline[message["id"]]):
            self.offered.add(message["id"])
        super()._settle(message)


def _has_ours(answer: Any, *, is_inline: bool) -> bool:
    items = answer if isinstance(answer, list) else (answer or {}).get("items") or []
    return bool(items) if is_inline else any(ITEM_MARK in (item.get("data") or {}) for item in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Rows that were on disk when somebody looked: whatever happens then, they must stay."""

    rows: frozenset[tuple[str, str]]
    """(table, id)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A fault that strikes at a moment, or lasts from one to another."""

    begins_ns: int
    ends_ns: int | None = None


@dataclass(slots=True, kw_only=True)
class Sat:
    """One sitting as it was."""

    sitting: Sitting
    session: str
    """Only to find the rows that belong to it."""
    sent_ns: dict[int, int] = field(default_factory=dict)
    offered: set[int] = field(default_factory=set)
    deeds: list[TruthEntry] = field(default_factory=list)
    asked: Counter[ArmLabel] = field(default_factory=Counter)
    """Requests that reached each model."""
    chars: int = 0
    fault: Kill | None = None
    told: list[str] = field(default_factory=list)
    """What the proxy said to the person."""
