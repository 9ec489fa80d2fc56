"""What a replay stores: each task whole, in one transaction, or not at all.

So a replay can be killed at any moment: a task whose row is there is done, everything else is asked again.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from analysis.cut import CUT_VERSION, Cut, cut
from analysis.replay.cursors import CursorTask
from analysis.scores import SCORER_VERSION, score
from analysis.store import Store, text_record
from codetrial import __version__
from codetrial.arms.base import Answer, Prompt
from codetrial.attempts import attempt_row
from codetrial.clock import now_ns, utc_text
from codetrial.ids import new_id
from codetrial.prices import Cost
from codetrial.pseudonyms import hashed, pseudonym_of_developer
from codetrial.records import (
    ArmLabel,
    ArmRow,
    AttemptStatus,
    Continuation,
    ContinuationState,
    Disposition,
    Door,
    Origin,
    Record,
    Score,
    Session,
    SessionEnd,
    Suggestion,
    Surface,
    Task,
    Text,
    Trial,
)

__all__ = ["HORIZON", "Book", "StoreText", "task_id"]

HORIZON = "commit"

StoreText = Literal["full", "hash", "none"]


def task_id(trial: str, key: str) -> str:
    """The same task of the same trial always has the same id: that is what a replay resumes by."""
    return f"r-{hashlib.sha256(f'{trial}/{key}'.encode()).hexdigest()[:24]}"


class Book:
    """Writes one replay into the store; one transaction a task, in a thread of its own."""

    def __init__(
        self,
        path: Path,
        trial: Trial,
        arms: Sequence[ArmRow],
        *,
        client: str,
        repository: str | None,
        store_text: StoreText = "full",
    ) -> None:
        self.trial = trial
        self.arms = {arm.label: arm for arm in arms}
        self.session = new_id()
        self.written = 0
        self._store = Store(path)
        self._store_text = store_text
        self._lock = asyncio.Lock()
        started_ns = now_ns()
        opening = Session(
            id=self.session,
            trial=trial.id,
            door=Door.REPLAY,
            origin=Origin.REPLAY,
            developer=pseudonym_of_developer(trial.seed, client),
            client_name=client,
            client_version=__version__,
            server_name=None,
            surface=Surface.NONE,
            position_encoding="utf-32",
            repository=repository,
            codetrial_version=__version__,
            started_ns=started_ns,
            started_at=utc_text(),
        )
        self._store.append(trial, *arms, opening)

    def done(self, tasks: Iterable[str]) -> set[str]:
        """Those of these task ids that are stored."""
        wanted = set(tasks)
        rows = self._store.rows("SELECT id FROM task WHERE trial = ?", [self.trial.id])
        return wanted & {row["id"] for row in rows}

    async def add(self, records: Sequence[Record]) -> None:
        """Durable when this returns."""
        if self._store_text != "full":
            records = [record for record in records if not isinstance(record, Text)]
        async with self._lock:
            await asyncio.to_thread(self._store.append, *records)
            self.written += 1

    def close(self, reason: str) -> None:
        end = SessionEnd(session=self.session, reason=reason, dropped_events=0, ended_ns=now_ns(), ended_at=utc_text())
        self._store.append(end)
        self._store.close()

    def completion(
        self,
        task: CursorTask,
        prompt: Prompt,
        answers: Mapping[ArmLabel, Answer],
        costs: Mapping[ArmLabel, Cost],
        *,
        max_lines: int,
        requested_ns: int,
    ) -> list[Record]:
        """Everything that one completion task leaves behind."""
        identity = task_id(self.trial.id, task.key)
        texts = _Texts(self._store_text)
        records: list[Record] = [
            Task(
                id=identity,
                trial=self.trial.id,
                session=self.session,
                assignment=None,
                door=Door.REPLAY,
                disposition=Disposition.ROUTED,
                request_id=task.commit,
                document=hashed(task.path)[:32],
                document_version=None,
                language=task.language,
                place=task.place,
                trigger=task.trigger or task.kind.value,
                line=task.line,
                character=task.character,
                prefix_hash=texts.hash(prompt.prefix),
                suffix_hash=texts.hash(prompt.suffix),
                prefix_chars=len(prompt.prefix),
                suffix_chars=len(prompt.suffix),
                requested_ns=requested_ns,
                requested_at=utc_text(),
                routed_ns=requested_ns,
            ),
            Continuation(
                id=f"{identity}-{HORIZON}",
                task=identity,
                horizon=HORIZON,
                state=ContinuationState.FOUND,
                reason=None,
                text_hash=texts.hash(task.written),
                chars=len(task.written),
                taken_ns=now_ns(),
                taken_at=utc_text(),
            ),
        ]
        for label, answer in answers.items():
            trimmed = cut(
                answer.text, prefix=prompt.prefix, suffix=prompt.suffix, language=task.language, max_lines=max_lines
            )
            records += self._attempt(identity, label, answer, costs[label], trimmed, texts)
            if answer.status is AttemptStatus.OK and trimmed.text:
                records += _scores(identity, label, trimmed.text, task)
        return [*texts.records, *records]

    def _attempt(
        self, task: str, label: ArmLabel, answer: Answer, cost: Cost, trimmed: Cut, texts: "_Texts"
    ) -> list[Record]:
        is_ok = answer.status is AttemptStatus.OK
        attempt = attempt_row(
            self.arms[label], task, answer, cost,
            identity=f"{task}-{label}", is_shown=False, is_empty=is_ok and not trimmed.text,
        )  # fmt: skip
        if not is_ok:
            return [attempt]
        suggestion = Suggestion(
            id=f"{task}-{label}-0",
            attempt=attempt.id,
            task=task,
            label=label,
            rank=0,
            raw_hash=texts.hash(answer.text) or "",
            text_hash=texts.hash(trimmed.text) or "",
            raw_chars=len(answer.text),
            chars=len(trimmed.text),
            lines=trimmed.text.count("\n") + 1 if trimmed.text else 0,
            filters=json.dumps(trimmed.filters),
            cut_version=CUT_VERSION,
        )
        return [attempt, suggestion]


class _Texts:
    """Hashes of texts, and the texts themselves where they may be kept."""

    def __init__(self, mode: StoreText) -> None:
        self.records: list[Text] = []
        self._mode = mode

    def hash(self, content: str) -> str | None:
        if self._mode == "none":
            return None
        record = text_record(content)
        self.records.append(record)
        return record.hash


def _scores(task: str, label: ArmLabel, suggestion: str, cursor: CursorTask) -> list[Record]:
    return [
        Score(
            id=f"{task}-{label}-{HORIZON}-{metric}",
            suggestion=f"{task}-{label}-0",
            task=task,
            label=label,
            horizon=HORIZON,
            metric=metric,
            value=value,
            reason=None if value is not None else "not_measurable",
            scorer_version=SCORER_VERSION,
        )
        for metric, value in score(suggestion, cursor.written, cursor.language).items()
    ]
