"""Everything the evaluator stores goes through here: one writer thread, texts as configured, faults counted."""

import json
from collections import Counter
from typing import Any, Literal

from analysis.store import Writer, WriterCounts, text_record
from codetrial.clock import now_ns, utc_text
from codetrial.ids import new_id
from codetrial.records import Incident, Record

__all__ = ["Recorder", "StoreText"]

StoreText = Literal["full", "hash", "none"]


class Recorder:
    """Puts records in the queue of the one writer thread; never waits and never raises."""

    def __init__(self, writer: Writer, session: str, store_text: StoreText) -> None:
        self._writer = writer
        self._session = session
        self._store_text = store_text
        self._counted: Counter[str] = Counter()

    def put(self, *records: Record) -> None:
        self._writer.offer(*records)

    def text(self, content: str) -> str | None:
        """The text's hash; the text itself is stored only if it may be, and None stands for it if not even that may."""
        if self._store_text == "none":
            return None
        record = text_record(content)
        if self._store_text == "full":
            self._writer.offer(record)
        return record.hash

    def incident(self, kind: str, *, count: int = 1, **detail: Any) -> None:
        self._writer.offer(
            Incident(
                id=new_id(),
                session=self._session,
                kind=kind,
                count=count,
                detail=json.dumps(detail, sort_keys=True) if detail else None,
                happened_ns=now_ns(),
                happened_at=utc_text(),
            )
        )

    def count(self, kind: str) -> None:
        """Note something that may happen at every keystroke: stored as one incident with a count, by `store_counts`."""
        self._counted[kind] += 1

    def store_counts(self) -> None:
        for kind, count in self._counted.items():
            self.incident(kind, count=count)
        self._counted.clear()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is durable. Blocks: call it in a thread."""
        before = self._writer.counts
        return self._writer.flush(timeout_s) and self._writer.counts.dropped == before.dropped

    @property
    def counts(self) -> WriterCounts:
        return self._writer.counts
