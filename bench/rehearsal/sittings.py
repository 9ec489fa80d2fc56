"""The sittings' own account beside the rows of their sessions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rehearsal.account import Sat
from bench.rehearsal.desk import Desk, rows_of
from bench.rehearsal.ledger import Ledger
from bench.rehearsal.script import Fault
from codetrial.records import ArmLabel
from lsp_proxy.typist import Deed, TruthEntry

__all__ = ["compare"]

LOSING = (Fault.EVALUATOR_KILLED, Fault.RELAY_KILLED, Fault.ALL_KILLED)
"""Faults that may cost observations; all others must cost none."""

QUEUED_NS = 1_500_000_000
"""What was asked so shortly before a kill may not have been on disk yet: a batch is 0.2 s, at the lowest priority."""

OUTCOME_OF = {
    Deed.TAKE: "accepted",
    Deed.TAKE_LINE: "partly_accepted",
    Deed.TAKE_WORD: "partly_accepted",
    Deed.TYPE_THROUGH: "typed_through",
    Deed.IGNORE: "not_taken",
    Deed.TAKE_AND_UNDO: "not_taken",
    Deed.TAKE_AND_DELETE: "not_taken",
}
"""Where the sitting ended, or another suggestion came, before anything was done, either outcome may be right."""

TAKING = (Deed.TAKE, Deed.TAKE_LINE, Deed.TAKE_WORD)
"""Whatever is done with the rest, should it be offered again, does not unmake what was taken."""


def compare(desks: Sequence[Desk], sat: Sequence[Sat], ledger: Ledger) -> None:
    stores = {desk.developer.name: desk.store for desk in desks}
    whole = [one for one in sat if one.sitting.fault not in LOSING]
    faulty = [one for one in sat if one.sitting.fault in LOSING]
    recorded = {one.sitting.name: _Recorded.read(stores[one.sitting.developer.name], one) for one in sat}
    _requests(whole, recorded, ledger)
    _losses(faulty, recorded, ledger)
    _offers(whole, recorded, ledger)
    _attempts(sat, recorded, ledger)
    _deeds(sat, recorded, ledger)
    _faults(sat, recorded, ledger)
    _kept(desks, ledger)


class _Recorded:
    """What the store says about one session."""

    def __init__(self, store: Path, session: str) -> None:
        self._store, self._session = store, session
        self.tasks = self.rows("SELECT * FROM task t WHERE t.session = ? ORDER BY t.requested_ns")
        self.by_request = {int(task["request_id"]): task for task in self.tasks}
        self.incidents: Counter[str] = Counter()
        for row in self.rows("SELECT kind, count FROM incident WHERE session = ?"):
            self.incidents[row["kind"]] += row["count"]
        self.ends = self.rows("SELECT * FROM session_end WHERE session = ?")
        self.attempts = self.rows("SELECT p.* FROM attempt p JOIN task t ON t.id = p.task WHERE t.session = ?")
        self.exposures = self.rows(
            "SELECT x.suggestion, t.request_id, t.assignment, x.offered_ns, w.content, o.outcome, o.rule "
            "FROM exposure x JOIN task t ON t.id = x.task JOIN suggestion s ON s.id = x.suggestion "
            "LEFT JOIN text w ON w.hash = s.text_hash LEFT JOIN outcome o ON o.suggestion = x.suggestion "
            "WHERE t.session = ? ORDER BY x.offered_ns"
        )

    @classmethod
    def read(cls, store: Path, sat: Sat) -> "_Recorded":
        return cls(store, sat.session)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return rows_of(self._store, sql, [self._session])

    def exposure_of(self, entry: TruthEntry) -> dict[str, Any] | None:
        """The exposure that a deed was done to: of one of its requests, or the one that they offered again."""
        own = [row for row in self.exposures if int(row["request_id"]) in entry.request_ids]
        if own:
            return own[0]
        asked = [self.by_request[number] for number in entry.request_ids if number in self.by_request]
        episodes = {task["assignment"] for task in asked if task["disposition"] == "reused"}
        again = [
            row
            for row in self.exposures
            if row["assignment"] in episodes
            and row["offered_ns"] < entry.at_ns
            and (row["content"] or "").endswith(entry.suggestion)
        ]
        return again[-1] if again else None


Recorded = Mapping[str, _Recorded]


def _requests(whole: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    sent = {(one.sitting.name, number) for one in whole for number in one.sent_ns}
    found = {(one.sitting.name, number) for one in whole for number in recorded[one.sitting.name].by_request}
    ledger.equal("sittings without loss", "every request is a task, and nothing else is", sent, found)
    for name, number in sorted(sent ^ found):
        ledger.differ(f"{name}: request {number} is only {'sent' if (name, number) in sent else 'recorded'}")
    dropped = sum(end["dropped_events"] for one in whole for end in recorded[one.sitting.name].ends)
    ledger.equal("sittings without loss", "records dropped", 0, dropped)
    faults = Counter[str]()
    for one in whole:
        kinds = recorded[one.sitting.name].incidents
        faults.update({kind: n for kind, n in kinds.items() if kind.startswith("fault") or kind == "gap"})
    ledger.equal("sittings without loss", "gaps and faults of codetrial itself", {}, dict(faults))
    for kind, n in faults.items():
        ledger.differ(f"{n} incidents {kind}")


def _losses(faulty: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    """What is missing was sent while nobody could record, and the gap is on record itself."""
    for fault in LOSING:
        some = [one for one in faulty if one.sitting.fault is fault]
        if not some:
            continue
        missing = {
            (one.sitting.name, n)
            for one in some
            for n in one.sent_ns.keys() - recorded[one.sitting.name].by_request.keys()
        }
        excused = {
            (one.sitting.name, n)
            for one in some
            for n in one.sent_ns
            if _is_excused(one, one.sent_ns[n], recorded[one.sitting.name])
        }
        asked = sum(len(one.sent_ns) for one in some)
        ledger.holds(str(fault), "requests that are not recorded, all while the fault lasted",
                     missing <= excused, f"of {asked} asked", missing)  # fmt: skip
        for name, number in sorted(missing - excused):
            ledger.differ(f"{name}: request {number} is lost without a fault")


def _is_excused(sat: Sat, sent_ns: int, recorded: _Recorded) -> bool:
    fault = sat.fault
    assert fault is not None
    if sent_ns < fault.begins_ns - QUEUED_NS:
        return False
    if sat.sitting.fault is Fault.EVALUATOR_KILLED:
        again = [task["requested_ns"] for task in recorded.tasks if task["requested_ns"] > fault.begins_ns]
        return not again or sent_ns < min(again)
    return True


def _offers(whole: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    offered = {(one.sitting.name, number) for one in whole for number in one.offered}
    exposed, again = set(), set()
    for one in whole:
        known = recorded[one.sitting.name]
        exposed |= {(one.sitting.name, int(row["request_id"])) for row in known.exposures}
        again |= {(one.sitting.name, n) for n, task in known.by_request.items() if task["disposition"] == "reused"}
    ledger.equal("offers", "suggestions that reached the editor are exposures (or such offered again)",
                 offered - again, exposed)  # fmt: skip
    for name, number in sorted((offered - again) ^ exposed):
        ledger.differ(f"{name}: request {number}: {'no exposure' if (name, number) in offered else 'never arrived'}")
    pending = [row for one in whole for row in recorded[one.sitting.name].exposures if row["outcome"] is None]
    ledger.equal("offers", "exposures without an outcome", 0, len(pending))


def _attempts(sat: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    for label in ArmLabel:
        asked = found = missing = 0
        for one in sat:
            known = recorded[one.sitting.name]
            sent = sum(1 + a["retries"] for a in known.attempts if a["label"] == label and _was_sent(a))
            if one.sitting.fault not in LOSING:
                asked, found = asked + one.asked[label], found + sent
                if one.asked[label] != sent:
                    ledger.differ(
                        f"{one.sitting.name}: arm {label} was asked {one.asked[label]} times, {sent} recorded"
                    )
            else:
                missing += one.asked[label] - sent
        ledger.equal("attempts", f"requests that reached model {label} are attempts or their retries", asked, found)
        ledger.holds("attempts", f"... of model {label} lost with what was killed", missing >= 0, "", missing)


def _was_sent(attempt: Mapping[str, Any]) -> bool:
    return attempt["sent_ns"] is not None and not attempt["is_cache_hit"]


def _deeds(sat: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    """By what was done: how it was read. Kills leave what was undecided unknown."""
    read: dict[str, Counter[str]] = {}
    for one in sat:
        settled = set()
        for entry in one.deeds:
            row = recorded[one.sitting.name].exposure_of(entry)
            if entry.deed not in OUTCOME_OF or (row is not None and row["suggestion"] in settled):
                continue
            if row is not None and entry.deed in TAKING:
                settled.add(row["suggestion"])
            if row is None:
                if one.sitting.fault not in LOSING:
                    ledger.differ(f"{one.sitting.name}: {entry.deed} of {entry.suggestion!r} has no exposure")
                    read.setdefault(entry.deed, Counter())["no exposure"] += 1
                continue
            wanted = OUTCOME_OF[entry.deed]
            if one.sitting.fault in LOSING and row["outcome"] in (None, "unknown"):
                read.setdefault(entry.deed, Counter())["unknown"] += 1
                continue
            is_right = row["outcome"] == wanted
            read.setdefault(entry.deed, Counter())["right" if is_right else "wrong"] += 1
            if not is_right:
                ledger.differ(f"{one.sitting.name}: {_told(entry)} was read as {row['outcome']} ({row['rule']})")
    for deed in OUTCOME_OF:
        if deed in read:
            counts = read[deed]
            told = f"{counts['right']} {OUTCOME_OF[deed]}" + (
                f", {counts['unknown']} unknown" if counts["unknown"] else ""
            )
            bad = counts["wrong"] + counts["no exposure"]
            ledger.holds(
                "deeds", f"{deed}", not bad, sum(counts.values()), told + (f", {bad} otherwise" if bad else "")
            )


def _told(entry: TruthEntry) -> str:
    return f"{entry.deed} of {entry.suggestion!r} (taken {entry.taken!r})"


def _faults(sat: Sequence[Sat], recorded: Recorded, ledger: Ledger) -> None:
    """Each fault has left its own trace, as often as it happened."""

    def of(fault: Fault) -> list[tuple[Sat, _Recorded]]:
        return [(one, recorded[one.sitting.name]) for one in sat if one.sitting.fault is fault]

    def equal(fault: Fault, claim: str, scripted: int, found: int) -> None:
        if of(fault):
            ledger.equal(str(fault), claim, scripted, found)

    killed = of(Fault.EVALUATOR_KILLED)
    equal(Fault.EVALUATOR_KILLED, "restarts on record", len(killed),
          sum(known.incidents["evaluator_restart"] for _, known in killed))  # fmt: skip
    gone = of(Fault.RELAY_KILLED)
    equal(Fault.RELAY_KILLED, "sessions that ended because the link did", len(gone),
          sum(end["reason"] == "link_closed" for _, known in gone for end in known.ends))  # fmt: skip
    off = of(Fault.ALL_KILLED)
    equal(Fault.ALL_KILLED, "sessions without an end", len(off), sum(not known.ends for _, known in off))
    for one, known in of(Fault.MODEL_HANGS):
        answered = [a for a in known.attempts if a["label"] == ArmLabel.B]
        ledger.equal(str(Fault.MODEL_HANGS), f"attempts of B at {one.sitting.name}, none of them answered",
                     one.asked[ArmLabel.B],
                     sum(1 + a["retries"] for a in answered if a["status"] in ("timeout", "cancelled")))  # fmt: skip
        latencies = sum(a["latency_ms"] is not None for a in answered)
        ledger.equal(str(Fault.MODEL_HANGS), "... with a latency, though it never ended", 0, latencies)
    for one, known in of(Fault.MODEL_SLOW):
        fast = [a for a in known.attempts if a["label"] == ArmLabel.A and (a["latency_ms"] or 1e9) < 3000]
        ledger.equal(str(Fault.MODEL_SLOW), f"attempts of A at {one.sitting.name} faster than the delay", 0, len(fast))
    for one, known in of(Fault.DISK_FULL):
        assert one.fault is not None
        assert one.fault.ends_ns is not None
        meanwhile = {n for n, sent_ns in one.sent_ns.items() if one.fault.begins_ns < sent_ns < one.fault.ends_ns}
        ledger.equal(str(Fault.DISK_FULL), f"requests while nothing could be stored at {one.sitting.name}",
                     meanwhile, meanwhile & known.by_request.keys())  # fmt: skip
        ledger.equal(
            str(Fault.DISK_FULL), "... and the person was told once", 1, sum("full" in text for text in one.told)
        )
    for one, known in of(Fault.CLOCK_JUMP):
        hours = sorted({task["requested_at"][:13] for task in known.tasks})
        ledger.holds(str(Fault.CLOCK_JUMP), f"hours on record at {one.sitting.name}", len(hours) >= 2, "2 or 3", hours)
        slow = [a for a in known.attempts if (a["latency_ms"] or 0) > 60_000]
        ledger.equal(str(Fault.CLOCK_JUMP), "... and latencies of hours", 0, len(slow))


def _kept(desks: Sequence[Desk], ledger: Ledger) -> None:
    seen = lost = 0
    for desk in desks:
        before = set(desk.stored)
        desk.stored.clear()
        desk.note_stored()
        seen, lost = seen + len(before), lost + len(before - desk.stored)
    ledger.holds(
        "nothing lost", "rows seen on disk at any time that are gone at the end", lost == 0, f"of {seen}", lost
    )
