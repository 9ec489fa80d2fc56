"""The records of a trial: one frozen dataclass per table of the store, named with the words of the design.

A record is written once and never changed. Its fields are the table's columns, in order; `table` names it.
Times: `*_ns` are monotonic nanoseconds and only differences mean anything; `*_at` are UTC ISO 8601 text.
`None` always means "not known" or "does not apply", never zero.
"""

from dataclasses import Field, dataclass
from enum import StrEnum
from typing import Any, ClassVar

__all__ = [
    "Api",
    "ArmLabel",
    "ArmRow",
    "Assignment",
    "Attempt",
    "AttemptStatus",
    "Continuation",
    "ContinuationState",
    "Disposition",
    "Door",
    "Enclosing",
    "Exposure",
    "Finding",
    "Incident",
    "LinePart",
    "Origin",
    "Outcome",
    "OutcomeClass",
    "Place",
    "Record",
    "Score",
    "Session",
    "SessionEnd",
    "Shown",
    "Suggestion",
    "Surface",
    "Task",
    "Text",
    "Trial",
    "Unit",
]


class ArmLabel(StrEnum):
    """The blinded name of an arm within its trial."""

    A = "A"
    B = "B"


class Shown(StrEnum):
    """Which arm an episode shows; NONE is the control."""

    A = "A"
    B = "B"
    NONE = "none"


class Door(StrEnum):
    EDITOR = "editor"
    PULL_REQUEST = "pull_request"
    REPLAY = "replay"
    """Tasks made from history without an editor or a pull request."""


class Origin(StrEnum):
    """Whose behaviour a session records. Only `person` is evidence about people."""

    PERSON = "person"
    REPLAY = "replay"
    TEST = "test"


class Unit(StrEnum):
    EPISODE = "episode"
    FINDING = "finding"


class Surface(StrEnum):
    """How a suggestion could reach the person."""

    INLINE = "inline"
    MENU = "menu"
    NONE = "none"
    REVIEW_COMMENT = "review_comment"


class Disposition(StrEnum):
    """What became of a task before any arm was asked."""

    ROUTED = "routed"
    SUPERSEDED = "superseded"
    """A newer request came within the debounce."""
    CANCELLED = "cancelled"
    """The editor withdrew it within the debounce."""
    SAMPLED_OUT = "sampled_out"
    EXCLUDED = "excluded"
    """Privacy rules forbid this document; both arms alike."""
    PAUSED = "paused"
    REUSED = "reused"
    """Answered from the episode's own earlier suggestion, which what was typed still agrees with."""


class Place(StrEnum):
    """Where the cursor stands, by syntax; the axis on which preferences differ most.

    The first that fits is taken, from the most particular to the most general.
    """

    IMPORT = "import"
    DOCSTRING = "docstring"
    """A comment or string that documents a definition, or will."""
    COMMENT = "comment"
    STRING = "string"
    MEMBER = "member"
    """Just after a member access such as `.`, `->` or `::`."""
    SIGNATURE = "signature"
    """In the head of a definition: its name, parameters, types, bases."""
    ARGUMENT = "argument"
    """Inside the parentheses of a call."""
    EXPRESSION = "expression"
    """Inside a statement that has begun."""
    TEST = "test"
    """At the start of a statement or block inside a test."""
    BLOCK = "block"
    """At the start of a block that holds nothing before the cursor."""
    STATEMENT = "statement"
    """At the start of a statement; its first word may have begun."""
    LINE_START = "line_start"
    """Where syntax tells no more, as in data files: only white space before it on its line, and nothing after."""
    LINE_END = "line_end"
    """Where syntax tells no more: nothing after it on its line."""
    MID_LINE = "mid_line"
    """Where syntax tells no more: something follows on its line."""
    UNKNOWN = "unknown"


class LinePart(StrEnum):
    """Where in its line the cursor stands, white space apart."""

    START = "start"
    """Nothing on the line, neither before nor after."""
    END = "end"
    """Something before, nothing after."""
    MID = "mid"
    """Something after."""


class Enclosing(StrEnum):
    """The innermost definition around the cursor, as far as the text that the arms were sent shows it."""

    TEST = "test"
    """A test case, or what groups them."""
    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"
    """Any type or module with a body: class, structure, interface, trait, package."""
    NONE = "none"
    """Top level."""


class AttemptStatus(StrEnum):
    OK = "ok"
    EMPTY = "empty"
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    OVER_BUDGET = "over_budget"


class OutcomeClass(StrEnum):
    """The one terminal outcome of an offered suggestion."""

    ACCEPTED = "accepted"
    PARTLY_ACCEPTED = "partly_accepted"
    TYPED_THROUGH = "typed_through"
    NOT_TAKEN = "not_taken"
    UNKNOWN = "unknown"
    # Findings of a review:
    COMMITTED = "committed"
    CHANGED = "changed"
    RESOLVED = "resolved"
    REACTED = "reacted"
    REPLIED = "replied"
    DISMISSED = "dismissed"


class ContinuationState(StrEnum):
    FOUND = "found"
    """The anchored place still exists; the text is what stands there."""
    MOVED = "moved"
    """Cut out and put in elsewhere, in this document or another file of the commit, and found there."""
    EDITED = "edited"
    """What stands before the place on its line was changed; of a taken text, a part of itself."""
    GONE = "gone"
    """Replaced together with what stood around it, or, of a taken text, less than half of it is left."""
    CENSORED = "censored"
    """The document or session ended before the horizon: not observed, which is not zero."""
    UNKNOWN = "unknown"


class Api(StrEnum):
    """The APIs that an arm can speak; each has its module in `codetrial.arms`."""

    NGRAM = "ngram"
    OPENAI_COMPLETIONS = "openai-completions"
    LLAMACPP_INFILL = "llamacpp-infill"
    OLLAMA_GENERATE = "ollama-generate"
    MISTRAL_FIM = "mistral-fim"
    DEEPSEEK_FIM = "deepseek-fim"
    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC_MESSAGES = "anthropic-messages"
    GEMINI = "gemini"
    COPILOT = "copilot"
    COMMAND = "command"


class Record:
    """Base of all records."""

    __slots__ = ()
    table: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Record):
    """One comparison of exactly two arms under one frozen manifest."""

    table: ClassVar[str] = "trial"
    id: str
    name: str
    manifest: str
    """Canonical JSON of all that defines the trial; no secrets, arms' names included."""
    manifest_hash: str
    seed: str
    """Hexadecimal; every assignment can be recomputed from it."""
    assignment_unit: Unit
    primary_metric: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow(Record):
    """An arm as it is really used."""

    table: ClassVar[str] = "arm"
    id: str
    trial: str
    label: ArmLabel
    name: str
    fingerprint: str
    definition: str
    """Canonical JSON; keys appear by the name of their environment variable only."""
    is_self_hosted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Record):
    """One run of one door: an editor's proxy from start to end, or one pull request."""

    table: ClassVar[str] = "session"
    id: str
    trial: str
    door: Door
    origin: Origin
    developer: str
    """Pseudonym: hash of the trial's seed and the person's git identity."""
    client_name: str | None
    client_version: str | None
    server_name: str | None
    surface: Surface
    position_encoding: str | None
    repository: str | None
    """Hash of the repository's identity."""
    codetrial_version: str
    started_ns: int
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd(Record):
    """A session without this row was cut off (kill -9, power): its open horizons are censored."""

    table: ClassVar[str] = "session_end"
    session: str
    reason: str
    dropped_events: int
    ended_ns: int
    ended_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment(Record):
    """Which arm an episode (or a finding) shows; stored before any result exists, never changed."""

    table: ClassVar[str] = "assignment"
    id: str
    """The episode's id; for reviews the finding's."""
    trial: str
    session: str
    unit: Unit
    document: str | None
    """Hash of the document's URI; for reviews of the pull request."""
    shown: Shown
    propensity_a: float
    propensity_b: float
    propensity_none: float
    is_sampled: bool
    """False: by `sample`, the episode is not evaluated at all."""
    reason: str | None
    """Set only where something other than the draw decided (for example a severity override)."""
    opened_ns: int
    opened_at: str
    closes_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """One real thing to do: a completion at a cursor, or one pull-request head to review."""

    table: ClassVar[str] = "task"
    id: str
    trial: str
    session: str
    assignment: str | None
    """The episode; None for a review, whose findings are assigned one by one."""
    door: Door
    disposition: Disposition
    request_id: str | None
    """The JSON-RPC id as it stood on the wire (`1` and `"1"` differ), or the pull request's head."""
    document: str | None
    document_version: int | None
    language: str | None
    place: Place
    trigger: str | None
    """`invoked`, `automatic`, a trigger character; None if the editor did not say."""
    line: int | None
    character: int | None
    """In the session's position encoding."""
    prefix_hash: str | None
    suffix_hash: str | None
    prefix_chars: int | None
    suffix_chars: int | None
    requested_ns: int
    requested_at: str
    routed_ns: int | None
    """When the arms were asked, after the debounce; None if they were not."""
    line_part: LinePart | None = None
    """None in files of before this column, and where the place was not looked for."""
    enclosing: Enclosing | None = None
    """None too where the definition's head lies outside the text that was looked at."""
    typed_chars: int | None = None
    """Typed in the document since its request before this one: without what was taken or inserted at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Record):
    """One arm's answer to one task; failures are attempts too."""

    table: ClassVar[str] = "attempt"
    id: str
    task: str
    arm: str
    label: ArmLabel
    is_shown: bool
    """True if this episode shows this arm (whether or not it answered in time)."""
    status: AttemptStatus
    error_kind: str | None
    error: str | None
    """Redacted; never a key, never code."""
    sent_ns: int | None
    first_byte_ms: float | None
    first_line_ms: float | None
    latency_ms: float | None
    """Sent to last byte; None if it never ended by itself (timeout, cancelled)."""
    censored_at_ms: float | None
    """How long it had run when it was cut off; None if it ended by itself."""
    http_status: int | None
    model_returned: str | None
    finish_reason: str | None
    tokens_in: int | None
    tokens_cached: int | None
    tokens_out: int | None
    tokens_reasoning: int | None
    cost_nanousd: int | None
    """Integer 1e-9 US dollars; None if the price or the usage is unknown."""
    cost_basis: str | None
    is_cache_hit: bool
    """From our own cache: such rows stay out of latency."""
    retries: int
    in_flight: int
    """Other attempts under way on the same accelerator when this one was sent."""
    server_timings: str | None
    """JSON as the server reported it, such as llama.cpp's `timings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion(Record):
    """A piece of an attempt that a person could take."""

    table: ClassVar[str] = "suggestion"
    id: str
    attempt: str
    task: str
    label: ArmLabel
    rank: int
    raw_hash: str
    text_hash: str
    """After the canonical cut."""
    raw_chars: int
    chars: int
    lines: int
    filters: str
    """JSON list of the cut's filters that acted, in order."""
    cut_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Record):
    """What a review suggestion says and where; belongs to the suggestion of the same id."""

    table: ClassVar[str] = "finding"
    id: str
    task: str
    path_hash: str
    side: str
    start_line: int | None
    end_line: int | None
    anchor: str
    """How the place was found: `exact`, `quote`, `file`, `body`."""
    severity: str
    category: str
    fingerprint: str
    """Independent of the line number, so that it survives pushes."""
    stratum: str
    """`A`, `B` or `both`."""
    assignment: str | None = None
    """The draw that decided about it; shared where both arms have the finding. None in files of before this column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure(Record):
    """What was really offered to the person."""

    table: ClassVar[str] = "exposure"
    id: str
    suggestion: str
    task: str
    label: ArmLabel
    surface: Surface
    rank: int
    offered_ns: int
    offered_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """What the person did with an offered suggestion; one per suggestion in the editor."""

    table: ClassVar[str] = "outcome"
    id: str
    suggestion: str
    task: str
    label: ArmLabel
    outcome: OutcomeClass
    rule: str
    """The rule that decided, such as `command`, `whole_insertion`, `diverged`."""
    accepted_chars: int | None
    decided_ns: int
    decided_at: str
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation(Record):
    """What stands at the task's place later; the truth that both arms are scored against."""

    table: ClassVar[str] = "continuation"
    id: str
    task: str
    horizon: str
    """`30s`, `120s`, `300s`, `600s`, `save` or `commit`."""
    state: ContinuationState
    reason: str | None
    text_hash: str | None
    chars: int | None
    taken_ns: int
    taken_at: str
    kept_share: float | None = None
    """Of what stood there at the first horizon, the share that still stands, by characters of whole tokens."""
    char_distance: int | None = None
    """Edit distance, in characters, from what stood there at the first horizon."""
    token_distance: int | None = None
    next_change_ms: float | None = None
    """First horizon only: from asking the arms to the next change of the document, which both must be in time for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Record):
    """A recomputable measure of one suggestion against one continuation."""

    table: ClassVar[str] = "score"
    id: str
    suggestion: str
    task: str
    label: ArmLabel
    horizon: str
    metric: str
    value: float | None
    """None: not measurable, see `reason`."""
    reason: str | None
    """Why there is no value; of `kept_share` how the text was found: `found`, `moved`, `edited`, `gone`."""
    scorer_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Record):
    """A text by its hash, apart from the numbers, so that it can be off or deleted without losing one."""

    table: ClassVar[str] = "text"
    hash: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(Record):
    """Something the evidence must account for: dropped events, a gap, an outside insertion, an evaluator restart."""

    table: ClassVar[str] = "incident"
    id: str
    session: str | None
    kind: str
    count: int
    detail: str | None
    """JSON; never code unless text is stored."""
    happened_ns: int
    happened_at: str
