"""What an evaluator finds in the store when it starts: open episodes, and what an earlier one left undecided."""

import json
from typing import Any

from analysis.store import Store
from codetrial.clock import now_ns, utc_text
from codetrial.ids import new_id
from codetrial.records import ArmLabel, Continuation, ContinuationState, Outcome, OutcomeClass, Shown
from lsp_proxy.evaluator.episodes import Episode
from lsp_proxy.evaluator.recorder import Recorder

__all__ = ["Resume"]

RESTARTED = "evaluator_restart"


class Resume:
    """Reads the store; what it finds undecided is settled without guessing."""

    def __init__(self, store: Store, trial: str) -> None:
        self._store = store
        self._trial = trial

    def open_episode(self, document: str, now: int) -> Episode | None:
        """The document's episode that another window, or an earlier evaluator, opened and that has not ended."""
        rows = self._store.rows(
            # Monotonic times begin again when the machine does, and old rows may look open: so the date counts too.
            "SELECT id, shown, is_sampled, opened_ns, closes_ns FROM assignment "
            "WHERE trial = :trial AND document = :document AND opened_ns <= :now AND closes_ns > :now "
            "AND julianday('now') - julianday(opened_at) <= (closes_ns - opened_ns) / 86400e9 + 1e-5 "
            "ORDER BY id DESC LIMIT 1",
            {"trial": self._trial, "document": document, "now": now},
        )
        if not rows:
            return None
        row = rows[0]
        return Episode(
            row["id"], document, Shown(row["shown"]), bool(row["is_sampled"]), row["opened_ns"], row["closes_ns"]
        )

    def settle(self, session: str, recorder: Recorder) -> None:
        """Decide what an earlier evaluator of this session was killed before deciding."""
        recorder.incident(RESTARTED)
        for row in self._undecided(session):
            taken = json.loads(row["taken"]) if row["taken"] else None
            recorder.put(
                Outcome(
                    id=f"o-{row['suggestion']}",
                    suggestion=row["suggestion"],
                    task=row["task"],
                    label=ArmLabel(row["label"]),
                    # A take was on record before; only whether it was deleted at once is not known.
                    outcome=OutcomeClass.ACCEPTED if taken else OutcomeClass.UNKNOWN,
                    rule=taken["rule"] if taken else RESTARTED,
                    accepted_chars=taken["chars"] if taken else None,
                    decided_ns=now_ns(),
                    decided_at=utc_text(),
                    detail=json.dumps({"recovered": True}),
                )
            )
        for row in self._unwatched(session):
            recorder.put(_censored(row))

    def _undecided(self, session: str) -> list[dict[str, Any]]:
        return self._store.rows(
            "SELECT x.suggestion, x.task, x.label, (SELECT i.detail FROM incident i WHERE i.session = t.session "
            " AND i.kind = 'taken' AND json_extract(i.detail, '$.suggestion') = x.suggestion "
            " ORDER BY i.id DESC LIMIT 1) AS taken "
            "FROM exposure x JOIN task t ON t.id = x.task "
            "WHERE t.session = ? AND NOT EXISTS (SELECT 1 FROM outcome o WHERE o.suggestion = x.suggestion)",
            [session],
        )

    def _unwatched(self, session: str) -> list[dict[str, Any]]:
        """Routed tasks and the horizons that others of the trial have but they have not."""
        return self._store.rows(
            "SELECT t.id AS task, h.horizon FROM task t "
            "JOIN (SELECT DISTINCT c.horizon FROM continuation c JOIN task u ON u.id = c.task "
            "      WHERE u.trial = :trial AND c.horizon NOT IN ('save', 'commit')) h "
            "WHERE t.session = :session AND t.disposition = 'routed' AND NOT EXISTS "
            "(SELECT 1 FROM continuation c WHERE c.task = t.id AND c.horizon = h.horizon)",
            {"session": session, "trial": self._trial},
        )


def _censored(row: dict[str, Any]) -> Continuation:
    return Continuation(
        id=new_id(),
        task=row["task"],
        horizon=row["horizon"],
        state=ContinuationState.CENSORED,
        reason=RESTARTED,
        text_hash=None,
        chars=None,
        taken_ns=now_ns(),
        taken_at=utc_text(),
    )
