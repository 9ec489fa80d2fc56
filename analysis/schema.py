"""The store's schema: named, ordered migrations. A migration, once released, is never edited."""

from analysis.lean_sqlite import Database, Migrations
from analysis.sums import MEASURED

__all__ = ["migrations"]

migrations = Migrations("codetrial")


@migrations()
def m001_tables(db: Database) -> None:
    """All tables are STRICT and append-only; ids are ULIDs, so rows sort by creation."""
    db.executescript("""
    CREATE TABLE trial (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, manifest TEXT NOT NULL, manifest_hash TEXT NOT NULL UNIQUE,
        seed TEXT NOT NULL, assignment_unit TEXT NOT NULL, primary_metric TEXT NOT NULL, created_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE arm (
        id TEXT PRIMARY KEY, trial TEXT NOT NULL REFERENCES trial(id), label TEXT NOT NULL CHECK (label IN ('A', 'B')),
        name TEXT NOT NULL, fingerprint TEXT NOT NULL, definition TEXT NOT NULL,
        is_self_hosted INTEGER NOT NULL, UNIQUE (trial, label)
    ) STRICT;
    CREATE TABLE session (
        id TEXT PRIMARY KEY, trial TEXT NOT NULL REFERENCES trial(id), door TEXT NOT NULL, origin TEXT NOT NULL,
        developer TEXT NOT NULL, client_name TEXT, client_version TEXT, server_name TEXT, surface TEXT NOT NULL,
        position_encoding TEXT, repository TEXT, codetrial_version TEXT NOT NULL,
        started_ns INTEGER NOT NULL, started_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE session_end (
        session TEXT PRIMARY KEY REFERENCES session(id), reason TEXT NOT NULL, dropped_events INTEGER NOT NULL,
        ended_ns INTEGER NOT NULL, ended_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE assignment (
        id TEXT PRIMARY KEY, trial TEXT NOT NULL REFERENCES trial(id), session TEXT NOT NULL REFERENCES session(id),
        unit TEXT NOT NULL, document TEXT, shown TEXT NOT NULL CHECK (shown IN ('A', 'B', 'none')),
        propensity_a REAL NOT NULL, propensity_b REAL NOT NULL, propensity_none REAL NOT NULL,
        is_sampled INTEGER NOT NULL, reason TEXT, opened_ns INTEGER NOT NULL, opened_at TEXT NOT NULL, closes_ns INTEGER
    ) STRICT;
    CREATE INDEX assignment_session ON assignment(session);
    CREATE TABLE task (
        id TEXT PRIMARY KEY, trial TEXT NOT NULL REFERENCES trial(id), session TEXT NOT NULL REFERENCES session(id),
        assignment TEXT REFERENCES assignment(id), door TEXT NOT NULL, disposition TEXT NOT NULL, request_id TEXT,
        document TEXT, document_version INTEGER, language TEXT, place TEXT NOT NULL, "trigger" TEXT,
        line INTEGER, character INTEGER, prefix_hash TEXT, suffix_hash TEXT, prefix_chars INTEGER, suffix_chars INTEGER,
        requested_ns INTEGER NOT NULL, requested_at TEXT NOT NULL, routed_ns INTEGER
    ) STRICT;
    CREATE INDEX task_session ON task(session);
    CREATE INDEX task_assignment ON task(assignment);
    CREATE TABLE attempt (
        id TEXT PRIMARY KEY, task TEXT NOT NULL REFERENCES task(id), arm TEXT NOT NULL REFERENCES arm(id),
        label TEXT NOT NULL, is_shown INTEGER NOT NULL, status TEXT NOT NULL, error_kind TEXT, error TEXT,
        sent_ns INTEGER, first_byte_ms REAL, first_line_ms REAL, latency_ms REAL, censored_at_ms REAL,
        http_status INTEGER, model_returned TEXT, finish_reason TEXT, tokens_in INTEGER, tokens_cached INTEGER,
        tokens_out INTEGER, tokens_reasoning INTEGER, cost_nanousd INTEGER, cost_basis TEXT,
        is_cache_hit INTEGER NOT NULL, retries INTEGER NOT NULL, in_flight INTEGER NOT NULL, server_timings TEXT
    ) STRICT;
    CREATE INDEX attempt_task ON attempt(task);
    CREATE TABLE suggestion (
        id TEXT PRIMARY KEY, attempt TEXT NOT NULL REFERENCES attempt(id), task TEXT NOT NULL REFERENCES task(id),
        label TEXT NOT NULL, rank INTEGER NOT NULL, raw_hash TEXT NOT NULL, text_hash TEXT NOT NULL,
        raw_chars INTEGER NOT NULL, chars INTEGER NOT NULL, lines INTEGER NOT NULL,
        filters TEXT NOT NULL, cut_version TEXT NOT NULL
    ) STRICT;
    CREATE INDEX suggestion_task ON suggestion(task);
    CREATE TABLE finding (
        id TEXT PRIMARY KEY REFERENCES suggestion(id), task TEXT NOT NULL REFERENCES task(id), path_hash TEXT NOT NULL,
        side TEXT NOT NULL, start_line INTEGER, end_line INTEGER, anchor TEXT NOT NULL, severity TEXT NOT NULL,
        category TEXT NOT NULL, fingerprint TEXT NOT NULL, stratum TEXT NOT NULL
    ) STRICT;
    CREATE TABLE exposure (
        id TEXT PRIMARY KEY, suggestion TEXT NOT NULL REFERENCES suggestion(id), task TEXT NOT NULL REFERENCES task(id),
        label TEXT NOT NULL, surface TEXT NOT NULL, rank INTEGER NOT NULL,
        offered_ns INTEGER NOT NULL, offered_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX exposure_suggestion ON exposure(suggestion);
    CREATE TABLE outcome (
        id TEXT PRIMARY KEY, suggestion TEXT NOT NULL REFERENCES suggestion(id), task TEXT NOT NULL REFERENCES task(id),
        label TEXT NOT NULL, outcome TEXT NOT NULL, rule TEXT NOT NULL, accepted_chars INTEGER,
        decided_ns INTEGER NOT NULL, decided_at TEXT NOT NULL, detail TEXT
    ) STRICT;
    CREATE INDEX outcome_suggestion ON outcome(suggestion);
    CREATE INDEX outcome_task ON outcome(task);
    CREATE TABLE continuation (
        id TEXT PRIMARY KEY, task TEXT NOT NULL REFERENCES task(id), horizon TEXT NOT NULL, state TEXT NOT NULL,
        reason TEXT, text_hash TEXT, chars INTEGER, taken_ns INTEGER NOT NULL, taken_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX continuation_task ON continuation(task);
    CREATE TABLE score (
        id TEXT PRIMARY KEY, suggestion TEXT NOT NULL REFERENCES suggestion(id), task TEXT NOT NULL REFERENCES task(id),
        label TEXT NOT NULL, horizon TEXT NOT NULL, metric TEXT NOT NULL, value REAL, reason TEXT,
        scorer_version TEXT NOT NULL
    ) STRICT;
    CREATE INDEX score_task ON score(task, metric, horizon);
    CREATE TABLE text (hash TEXT PRIMARY KEY, content TEXT NOT NULL) STRICT;
    CREATE TABLE incident (
        id TEXT PRIMARY KEY, session TEXT REFERENCES session(id), kind TEXT NOT NULL, count INTEGER NOT NULL, detail TEXT,
        happened_ns INTEGER NOT NULL, happened_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX incident_session ON incident(session);
    """)


@migrations()
def m002_views(db: Database) -> None:
    """Meaning lives in views: the raw rows are never edited."""
    db.executescript("""
    CREATE VIEW v_episode AS
        SELECT a.*, s.developer, s.origin, s.door, s.server_name, s.client_name
        FROM assignment a JOIN session s ON s.id = a.session;
    CREATE VIEW v_attempt AS
        SELECT t.id AS task, t.trial, t.session, t.assignment, t.language, t.place, t.document, t.requested_at,
               s.origin, s.developer, e.shown, p.id AS attempt, p.label, p.is_shown, p.status, p.latency_ms,
               p.first_byte_ms, p.first_line_ms, p.censored_at_ms, p.tokens_in, p.tokens_cached, p.tokens_out,
               p.cost_nanousd, p.is_cache_hit, g.id AS suggestion, g.text_hash, g.chars, g.lines
        FROM task t
        JOIN session s ON s.id = t.session
        LEFT JOIN assignment e ON e.id = t.assignment
        JOIN attempt p ON p.task = t.id
        LEFT JOIN suggestion g ON g.attempt = p.id;
    CREATE VIEW v_outcome AS
        SELECT o.*, t.trial, t.session, t.assignment, t.language, t.place, x.surface, x.offered_at, g.chars, s.origin
        FROM outcome o
        JOIN task t ON t.id = o.task
        JOIN session s ON s.id = t.session
        JOIN suggestion g ON g.id = o.suggestion
        LEFT JOIN exposure x ON x.suggestion = o.suggestion;
    CREATE VIEW v_pair AS
        SELECT a.task, t.session, t.trial, t.assignment, t.language, t.place, e.shown, s.origin, a.horizon, a.metric,
               a.value AS value_a, b.value AS value_b, a.scorer_version
        FROM score a
        JOIN score b ON b.task = a.task AND b.horizon = a.horizon AND b.metric = a.metric
                    AND b.scorer_version = a.scorer_version AND b.label = 'B'
        JOIN task t ON t.id = a.task
        JOIN session s ON s.id = t.session
        LEFT JOIN assignment e ON e.id = t.assignment
        WHERE a.label = 'A';
    """)


@migrations()
def m003_finding_assignment(db: Database) -> None:
    """A finding that both arms have is drawn once; without this its second member's draw stood in outcomes only."""
    db.execute("ALTER TABLE finding ADD COLUMN assignment TEXT REFERENCES assignment(id)")


@migrations()
def m004_finer_places_and_distances(db: Database) -> None:
    """What older files did not look at stays null there."""
    # One by one: a script would end the transaction that all migrations share.
    for table, column in (
        ("task", "line_part TEXT"),
        ("task", "enclosing TEXT"),
        ("task", "typed_chars INTEGER"),
        ("continuation", "kept_share REAL"),
        ("continuation", "char_distance INTEGER"),
        ("continuation", "token_distance INTEGER"),
        ("continuation", "next_change_ms REAL"),
    ):
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


_LATE = {
    "assignment": "",
    "task": "",
    "incident": "",
    "attempt": "",
    "exposure": "",
    "outcome": "",
    "continuation": " WHEN {row}.horizon = '30s'",
    "score": " WHEN {row}.metric IN ('kept_share', 'first_line_similarity')"
    " AND {row}.horizon IN ('30s', '120s', '300s', '600s')",
}
"""Tables whose rows are summed up, and which of them: what a later commit kept changes no sum."""


@migrations()
def m005_sums(db: Database) -> None:
    """Sums of sessions that have ended (analysis/sums.py). A late row, or a deleted one, deletes them."""
    measured = ", ".join(f"{name}_{label} INTEGER NOT NULL" for label in "AB" for name in MEASURED)
    for statement in (
        "CREATE TABLE session_sum (id INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, "
        f"made_at TEXT NOT NULL, {measured}) STRICT",
        "CREATE TABLE episode_sum (sum INTEGER NOT NULL, position INTEGER NOT NULL, opened INTEGER NOT NULL, "
        "window_ms INTEGER NOT NULL, shown INTEGER NOT NULL, share_a REAL NOT NULL, share_b REAL NOT NULL, "
        "share_none REAL NOT NULL, tasks INTEGER NOT NULL, asked INTEGER NOT NULL, routed INTEGER NOT NULL, "
        "accepted INTEGER NOT NULL, accepted_chars INTEGER NOT NULL, kept_chars REAL NOT NULL, pair_a REAL, "
        "pair_b REAL, pair_requests INTEGER, PRIMARY KEY (sum, position)) STRICT, WITHOUT ROWID",
        "CREATE TABLE attempt_sum (sum INTEGER NOT NULL, label TEXT NOT NULL, status TEXT NOT NULL, error_kind TEXT, "
        "bin INTEGER, is_cut_off INTEGER NOT NULL, n INTEGER NOT NULL, answered INTEGER NOT NULL) STRICT",
        "CREATE TABLE count_sum (sum INTEGER NOT NULL, name TEXT NOT NULL, label TEXT, key TEXT, other TEXT, "
        "n INTEGER NOT NULL, total REAL NOT NULL) STRICT",
        "CREATE INDEX attempt_sum_sum ON attempt_sum(sum)",
        "CREATE INDEX count_sum_sum ON count_sum(sum)",
        # All that a report asks of these two, in the order in which it groups: it then neither sorts nor sees the table.
        "CREATE INDEX attempt_sum_keys ON attempt_sum(label, status, error_kind, bin, is_cut_off, n, answered)",
        "CREATE INDEX count_sum_keys ON count_sum(name, label, key, other, n, total)",
        "CREATE INDEX exposure_task ON exposure(task)",
        "CREATE TRIGGER session_sum_gone AFTER DELETE ON session_sum BEGIN "
        "DELETE FROM episode_sum WHERE sum = OLD.id; DELETE FROM attempt_sum WHERE sum = OLD.id; "
        "DELETE FROM count_sum WHERE sum = OLD.id; END",
        "CREATE TRIGGER session_delete_unsums AFTER DELETE ON session BEGIN "
        "DELETE FROM session_sum WHERE session = OLD.id; END",
        *(_late(table, event, row) for table in _LATE for event, row in (("INSERT", "NEW"), ("DELETE", "OLD"))),
    ):
        db.execute(statement)


def _late(table: str, event: str, row: str) -> str:
    """A trigger that deletes the sums of a session that a row is added to, or deleted from."""
    is_of_task = table not in ("assignment", "task", "incident")
    session = f"(SELECT session FROM task WHERE id = {row}.task)" if is_of_task else f"{row}.session"
    return (
        f"CREATE TRIGGER {table}_{event.lower()}_unsums AFTER {event} ON {table}{_LATE[table].format(row=row)} BEGIN "
        f"DELETE FROM session_sum WHERE session = {session}; END"
    )
