"""All that is known of one request, gathered from the store and shown to a person.

An inspection is about the request, so the arms stay A and B: whoever takes part in the trial may look at their own
requests without learning which model answered. Names appear only when asked for.
"""

import dataclasses
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analysis.reading import select
from analysis.store import Store
from codetrial.errors import EvidenceError
from codetrial.records import (
    ArmLabel,
    ArmRow,
    Assignment,
    Attempt,
    Continuation,
    Exposure,
    Finding,
    Incident,
    Outcome,
    Score,
    Session,
    SessionEnd,
    Suggestion,
    Task,
    Trial,
)

__all__ = ["Answered", "Inspection", "Offered", "as_json", "find_task", "inspect", "printable", "show"]

LAST = "last"

LISTED = 5
"""Ids named when a prefix fits several."""


class Offered(NamedTuple):
    """A suggestion with what became of it."""

    suggestion: Suggestion
    raw: str | None
    """None: not stored, or deleted since."""
    text: str | None
    finding: Finding | None
    assignment: Assignment | None
    """Of a finding; a completion's lies with its task."""
    exposures: list[Exposure]
    outcomes: list[Outcome]
    scores: list[Score]


class Answered(NamedTuple):
    """One arm's attempt with its suggestions."""

    attempt: Attempt
    arm: ArmRow | None
    offered: list[Offered]


class Continued(NamedTuple):
    continuation: Continuation
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One request, whole."""

    task: Task
    prefix: str | None
    suffix: str | None
    session: Session | None
    """None: the file is half written, or the row was deleted."""
    session_end: SessionEnd | None
    trial: Trial | None
    assignment: Assignment | None
    position: tuple[int, int] | None
    """(which, of how many): the request's place among those of its episode, from 1."""
    answers: list[Answered]
    continuations: list[Continued]
    incidents: list[Incident]
    """Those that name this task or one of its suggestions."""


def find_task(store: Store, wanted: str) -> str:
    """The id of a task by its beginning, in any case; `last` is the task that was requested last.

    Raises:
        EvidenceError: none begins so, or several do.
    """
    if wanted.lower() == LAST:
        rows = store.rows("SELECT id FROM task ORDER BY requested_at DESC, id DESC LIMIT 1")
        if not rows:
            raise EvidenceError(
                f"{store.path} holds no request yet: work with `codetrial lsp`, or run `codetrial demo`."
            )
        return str(rows[0]["id"])
    # Comparing from both sides uses the primary key's index; LIKE would read the whole table.
    rows = store.rows(
        "SELECT id FROM task WHERE id >= :a AND id < :a || char(1114111) "
        "UNION SELECT id FROM task WHERE id >= :b AND id < :b || char(1114111) ORDER BY id LIMIT :n",
        {"a": wanted, "b": wanted.upper(), "n": LISTED + 1},
    )
    found = [str(row["id"]) for row in rows]
    if wanted in found:
        return wanted
    if len(found) == 1:
        return found[0]
    if not found:
        raise EvidenceError(
            f"No request in {store.path} has an id that begins with {wanted!r}. "
            "`codetrial inspect last` shows the last one."
        )
    more = " and more" if len(found) > LISTED else ""
    raise EvidenceError(f"{wanted!r} fits several requests: {', '.join(found[:LISTED])}{more}. Give more of the id.")


def inspect(store: Store, wanted: str) -> Inspection:
    """Gather one request by the beginning of its id, or `last`.

    Raises:
        EvidenceError: no such task, or several.
    """
    [task] = select(store, Task, "WHERE id = ?", [find_task(store, wanted)])
    return Inspection(
        task=task,
        prefix=store.text(task.prefix_hash),
        suffix=store.text(task.suffix_hash),
        session=_one(select(store, Session, "WHERE id = ?", [task.session])),
        session_end=_one(select(store, SessionEnd, "WHERE session = ?", [task.session])),
        trial=_one(select(store, Trial, "WHERE id = ?", [task.trial])),
        assignment=_one(select(store, Assignment, "WHERE id = ?", [task.assignment])),
        position=_position(store, task),
        answers=_answers(store, task),
        continuations=[
            Continued(row, store.text(row.text_hash))
            for row in select(store, Continuation, "WHERE task = ? ORDER BY taken_ns, id", [task.id])
        ],
        incidents=_incidents(store, task),
    )


def _one(found: list[Any]) -> Any:
    return found[0] if found else None


def _position(store: Store, task: Task) -> tuple[int, int] | None:
    if task.assignment is None:
        return None
    [row] = store.rows(
        "SELECT sum(requested_ns < :ns OR (requested_ns = :ns AND id <= :id)) AS which, count(*) AS n "
        "FROM task WHERE assignment = :assignment",
        {"ns": task.requested_ns, "id": task.id, "assignment": task.assignment},
    )
    return int(row["which"]), int(row["n"])


def _answers(store: Store, task: Task) -> list[Answered]:
    suggestions = select(store, Suggestion, "WHERE task = ? ORDER BY label, rank, id", [task.id])
    scores = select(store, Score, "WHERE task = ? ORDER BY horizon, metric, scorer_version, id", [task.id])
    arms = {arm.id: arm for arm in select(store, ArmRow, "WHERE trial = ?", [task.trial])}
    offered = {s.id: _offered(store, s, [score for score in scores if score.suggestion == s.id]) for s in suggestions}
    return [
        Answered(attempt, arms.get(attempt.arm), [offered[s.id] for s in suggestions if s.attempt == attempt.id])
        for attempt in select(store, Attempt, "WHERE task = ? ORDER BY label, id", [task.id])
    ]


def _offered(store: Store, suggestion: Suggestion, scores: list[Score]) -> Offered:
    finding = _one(select(store, Finding, "WHERE id = ?", [suggestion.id]))
    return Offered(
        suggestion,
        store.text(suggestion.raw_hash),
        store.text(suggestion.text_hash),
        finding,
        _one(select(store, Assignment, "WHERE id = ?", [suggestion.id])) if finding else None,
        select(store, Exposure, "WHERE suggestion = ? ORDER BY offered_ns, id", [suggestion.id]),
        select(store, Outcome, "WHERE suggestion = ? ORDER BY decided_ns, id", [suggestion.id]),
        scores,
    )


def _incidents(store: Store, task: Task) -> list[Incident]:
    return select(
        store,
        Incident,
        "WHERE session = :session AND json_valid(detail) AND (json_extract(detail, '$.task') = :task "
        "OR json_extract(detail, '$.suggestion') IN (SELECT id FROM suggestion WHERE task = :task)) ORDER BY id",
        {"session": task.session, "task": task.id},
    )


def as_json(inspection: Inspection, *, with_names: bool) -> str:
    """Everything as one JSON object; without `with_names` nothing in it tells which model an arm is."""
    content = _plain(inspection)
    if not with_names:
        if content["trial"] is not None:
            del content["trial"]["name"], content["trial"]["manifest"]
        for answer in content["answers"]:
            answer["arm"] = (
                None if answer["arm"] is None else {"id": answer["arm"]["id"], "label": answer["arm"]["label"]}
            )
            for revealing in _REVEALING:
                del answer["attempt"][revealing]
    return json.dumps(content, indent=2, ensure_ascii=False)


_REVEALING = ("model_returned", "server_timings", "cost_basis", "error")
"""Fields of an attempt in which a model, or its server, gives itself away."""


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def printable(text: str) -> str:
    """A text whose control and direction characters are made visible, so that it cannot command the terminal.

    What a model writes is not to be trusted with a terminal: an escape sequence could hide or rewrite what is shown.
    """
    return "".join(char if char in "\n\t" or not _is_control(char) else _picture(char) for char in text)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def _picture(char: str) -> str:
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else f"\\u{code:04x}"


def show(inspection: Inspection, console: Console, *, with_names: bool) -> None:
    """Print an inspection for a person."""
    for part in _parts(inspection, with_names=with_names):
        console.print(part)


def _parts(seen: Inspection, *, with_names: bool) -> Iterator[RenderableType]:
    yield _heading(f"Request {seen.task.id}")
    yield _facts(_task_facts(seen))
    yield _heading("Episode" if seen.assignment else "Assignment")
    yield _facts(_assignment_facts(seen))
    if seen.prefix is not None or seen.suffix is not None:
        yield _heading("At the cursor")
        yield _surroundings(seen.prefix or "", seen.suffix or "")
    yield _heading("Attempts")
    yield from _attempts(seen, with_names=with_names)
    if seen.continuations:
        yield _heading("What was written there")
        yield _continuations(seen.continuations)
    if any(offered.scores for answer in seen.answers for offered in answer.offered):
        yield _heading("Scores")
        yield _scores(seen)
    if seen.incidents:
        yield _heading("Incidents")
        yield _facts({printable(i.kind): f"{i.happened_at} {printable(i.detail or '')}" for i in seen.incidents})


def _heading(words: str) -> RenderableType:
    return Padding(Text(words, style="bold"), (1, 0, 0, 0))


def _facts(facts: Mapping[str, object]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(f"  {name}", Text(printable(str(value))))
    return table


def _task_facts(seen: Inspection) -> dict[str, object]:
    task, session = seen.task, seen.session
    where = (
        None if task.line is None or task.character is None else f"line {task.line + 1}, column {task.character + 1}"
    )
    facts: dict[str, object] = {
        "requested": task.requested_at,
        "routed": _routed(task),
        "what": _joined(task.language, task.place, where, task.trigger),
        "document": _joined(
            task.document, None if task.document_version is None else f"version {task.document_version}"
        ),
        "window": _joined(_count(task.prefix_chars, "before"), _count(task.suffix_chars, "after")),
        "request": task.request_id,
        "trial": task.trial,
    }
    if session is None:
        return facts | {"session": f"{task.session} (its row is missing)"}
    client = _joined(session.client_name, session.client_version, sep=" ")
    end = seen.session_end
    return facts | {
        "session": _joined(session.id, session.origin, session.door, client, session.server_name, session.surface),
        "session ended": "not yet, or cut off" if end is None else f"{end.ended_at}, {end.reason}",
        "events lost": end.dropped_events if end is not None and end.dropped_events else None,
        "developer": session.developer,
        "repository": session.repository,
    }


def _routed(task: Task) -> str:
    if task.routed_ns is None:
        return f"no: {task.disposition}"
    return f"{task.disposition}, after {(task.routed_ns - task.requested_ns) / 1e6:.1f} ms"


def _count(number: int | None, what: str) -> str | None:
    return None if number is None else f"{number:,} characters {what}"


def _joined(*parts: object, sep: str = " · ") -> str | None:
    known = [str(part) for part in parts if part is not None]
    return sep.join(known) if known else None


def _assignment_facts(seen: Inspection) -> dict[str, object]:
    drawn = seen.assignment
    if drawn is None and seen.task.assignment is not None:
        return {"episode": f"{seen.task.assignment} (its row is missing)"}
    if drawn is None:
        findings = sum(len(answer.offered) for answer in seen.answers)
        return {"none": f"each of the {findings} findings is assigned by itself" if findings else "not assigned"}
    facts = _draw_facts(drawn)
    which, of = seen.position or (1, 1)
    window = None if drawn.closes_ns is None else f"{(drawn.closes_ns - drawn.opened_ns) / 1e9:.0f} s"
    return {
        "episode": drawn.id,
        **facts,
        "opened": _joined(drawn.opened_at, None if window is None else f"for {window}"),
        "this request": f"number {which} of {of} in it",
    }


def _draw_facts(drawn: Assignment) -> dict[str, object]:
    chance = {"A": drawn.propensity_a, "B": drawn.propensity_b, "none": drawn.propensity_none}
    return {
        "shows": f"{drawn.shown} (drawn with probability {chance.get(drawn.shown, float('nan')):.4g})",
        "propensities": ", ".join(f"{name} {share:.4g}" for name, share in chance.items()),
        "evaluated": None if drawn.is_sampled else "no: sampled out",
        "decided by": drawn.reason,
    }


def _surroundings(prefix: str, suffix: str, lines: int = 6) -> RenderableType:
    before, after = prefix.splitlines()[-lines:], suffix.splitlines()[:lines]
    text = Text(printable("\n".join(before)), no_wrap=True)
    if prefix.endswith("\n"):
        text.append("\n")
    text.append("▮", style="reverse")
    text.append(printable("\n".join(after)), style="dim")
    return Padding(Panel(text, expand=False, border_style="dim"), (0, 0, 0, 2))


def _attempts(seen: Inspection, *, with_names: bool) -> Iterator[RenderableType]:
    if not seen.answers:
        yield Text(f"  none: {seen.task.disposition}", style="dim")
        return
    table = Table(box=None, padding=(0, 2), show_header=True, header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    columns = [_attempt_facts(answer, with_names=with_names) for answer in seen.answers]
    for answer in seen.answers:
        table.add_column(f"{answer.attempt.label}{' (shown)' if answer.attempt.is_shown else ''}", overflow="fold")
    for name in dict.fromkeys(name for column in columns for name in column):
        if any(column.get(name) is not None for column in columns):
            table.add_row(name, *(Text(printable(str(_dash(column.get(name))))) for column in columns))
    yield table
    yield from _pairs(seen.answers)


def _dash(value: object) -> object:
    return "-" if value is None else value


def _attempt_facts(answer: Answered, *, with_names: bool) -> dict[str, object]:
    row = answer.attempt
    named: dict[str, object] = {}
    if with_names:
        named = {
            "arm": answer.arm.name if answer.arm else None,
            "model returned": row.model_returned,
            "error": row.error,
            "price": row.cost_basis,
        }
    return {
        **named,
        "status": _joined(row.status, row.error_kind, None if row.http_status is None else f"HTTP {row.http_status}"),
        "first byte": _ms(row.first_byte_ms),
        "first line": _ms(row.first_line_ms),
        "last byte": _ms(row.latency_ms),
        "cut off after": _ms(row.censored_at_ms),
        "finish": row.finish_reason,
        "tokens in": _joined(row.tokens_in, None if not row.tokens_cached else f"{row.tokens_cached} cached"),
        "tokens out": _joined(
            row.tokens_out, None if not row.tokens_reasoning else f"{row.tokens_reasoning} reasoning"
        ),
        "cost": None if row.cost_nanousd is None else f"${row.cost_nanousd / 1e9:.7f}",
        "from our cache": "yes" if row.is_cache_hit else None,
        "retries": row.retries or None,
        "others in flight": row.in_flight or None,
    }


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f} ms"


def _pairs(answers: list[Answered]) -> Iterator[RenderableType]:
    """The suggestions of both arms side by side, by rank."""
    by_label = {label: [o for a in answers if a.attempt.label == label for o in a.offered] for label in ArmLabel}
    for rank in range(max(map(len, by_label.values()), default=0)):
        table = Table(box=None, padding=(0, 2), show_header=False, expand=True)
        sides = []
        for offered in by_label.values():
            table.add_column(ratio=1)
            sides.append(_suggestion(offered[rank]) if rank < len(offered) else Text(""))
        table.add_row(*sides)
        yield table


def _suggestion(offered: Offered) -> RenderableType:
    row = offered.suggestion
    title = f"{row.label} · {row.chars} characters, {row.lines} lines"
    parts: list[RenderableType] = [_stored(offered.text)]
    filters = _filters(row)
    if offered.raw != offered.text or filters:
        acted = f" by {', '.join(filters)}" if filters else ""
        parts += [
            Text(f"raw, {row.raw_chars} characters (cut{acted}):", style="dim"),
            _stored(offered.raw, style="dim"),
        ]
    facts: dict[str, object] = {}
    if offered.finding is not None:
        facts |= _finding_facts(offered.finding)
    if offered.assignment is not None:
        facts |= _draw_facts(offered.assignment)
    facts["offered"] = "no" if not offered.exposures else "; ".join(map(_exposure, offered.exposures))
    for outcome in offered.outcomes:
        facts["outcome"] = _joined(facts.get("outcome"), _outcome(outcome), sep="; ")
    return Panel(Group(*parts, _facts(facts)), title=Text(title), title_align="left", border_style="dim")


def _filters(row: Suggestion) -> list[str]:
    try:
        found = json.loads(row.filters)
    except ValueError:
        return [row.filters]
    return [str(name) for name in found] if isinstance(found, list) else [str(found)]


def _stored(text: str | None, style: str = "") -> RenderableType:
    if text is None:
        return Text("not stored", style="italic dim")
    return Text(printable(text) or "(empty)", style=style)


def _exposure(row: Exposure) -> str:
    return f"{row.surface}, rank {row.rank}, {row.offered_at}"


def _outcome(row: Outcome) -> str:
    taken = None if row.accepted_chars is None else f"{row.accepted_chars} characters"
    return f"{row.outcome} (rule {row.rule}{'' if taken is None else ', ' + taken}) {row.decided_at}"


def _finding_facts(row: Finding) -> dict[str, object]:
    lines = None if row.start_line is None else f"lines {row.start_line} to {row.end_line}"
    return {"finding": _joined(row.severity, row.category, f"stratum {row.stratum}"), "at": _joined(row.anchor, lines)}


def _continuations(rows: list[Continued]) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("  horizon", "state", "characters", "text"):
        table.add_column(name, overflow="fold")
    for row, text in rows:
        state = row.state if row.reason is None else f"{row.state} ({printable(row.reason)})"
        shown = Text("not stored" if row.text_hash else "-", style="dim") if text is None else Text(printable(text))
        table.add_row(f"  {row.horizon}", state, str(_dash(row.chars)), shown)
    return table


def _scores(seen: Inspection) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("  horizon")
    table.add_column("metric")
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    sides = [(answer, offered) for answer in seen.answers for offered in answer.offered]
    for _, offered in sides:
        for score in offered.scores:
            key = (score.horizon, score.metric, score.scorer_version)
            values.setdefault(key, {})[offered.suggestion.id] = _score(score)
    for _, offered in sides:
        table.add_column(offered.suggestion.label, justify="right")
    table.add_column("scorer")
    for (horizon, metric, version), by_suggestion in sorted(values.items(), key=lambda item: _horizon_order(item[0])):
        cells = [by_suggestion.get(offered.suggestion.id, "-") for _, offered in sides]
        table.add_row(f"  {horizon}", metric, *map(printable, cells), version)
    return table


def _score(score: Score) -> str:
    return f"{score.value:.3f}" if score.value is not None else f"? ({score.reason or 'no reason given'})"


def _horizon_order(key: tuple[str, str, str]) -> tuple[float, str, str]:
    horizon, metric, version = key
    seconds = float(horizon[:-1]) if horizon.endswith("s") and horizon[:-1].isdigit() else float("inf")
    return seconds, horizon + metric, version
