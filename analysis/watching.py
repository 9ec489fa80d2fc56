"""Look at a running trial: a live view in the terminal, and the database in Datasette with ready questions."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.report import reviews_text, words
from codetrial.errors import EvidenceError

__all__ = ["QUESTIONS", "datasette_metadata", "explore", "watch"]

Json = dict[str, Any]

QUESTIONS = {
    "taken_by_arm_and_language": (
        "Offered and taken suggestions by arm and language",
        "SELECT label, language, count(*) AS offered, sum(outcome IN ('accepted', 'partly_accepted')) AS taken "
        "FROM v_outcome WHERE origin = :origin GROUP BY label, language ORDER BY offered DESC",
    ),
    "slowest_attempts": (
        "The slowest attempts",
        "SELECT task, label, status, latency_ms, tokens_out, requested_at FROM v_attempt "
        "WHERE origin = :origin AND latency_ms IS NOT NULL ORDER BY latency_ms DESC LIMIT 100",
    ),
    "failures_by_hour": (
        "Failed attempts by hour",
        "SELECT substr(requested_at, 1, 13) AS hour, label, status, count(*) AS n FROM v_attempt "
        "WHERE origin = :origin AND status NOT IN ('ok', 'empty') GROUP BY hour, label, status ORDER BY hour DESC",
    ),
    "pairs_that_differ_most": (
        "Requests that showed nothing, where the arms agree least with each other about what came next",
        "SELECT task, language, place, value_a, value_b, abs(value_a - value_b) AS difference FROM v_pair "
        "WHERE origin = :origin AND shown = 'none' AND metric = 'first_line_similarity' AND horizon = '30s' "
        "ORDER BY difference DESC LIMIT 100",
    ),
    "what_became_of_findings": (
        "Review findings by arm, posted or held back, and what became of them",
        "SELECT f.stratum, a.shown = 'none' AS held_back, o.outcome, count(DISTINCT a.id) AS findings FROM outcome o "
        "JOIN finding f ON f.id = o.suggestion JOIN assignment a ON a.id = f.assignment "
        "JOIN session s ON s.id = a.session WHERE s.origin = :origin AND o.rule LIKE 'final%' "
        "AND (a.shown = o.label OR (a.shown = 'none' AND o.suggestion = a.id)) "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 4 DESC",
    ),
    "incidents": ("Incidents by kind", "SELECT kind, sum(count) AS n FROM incident GROUP BY kind ORDER BY n DESC"),
}


def view(report: Json) -> Group:
    """One screen of a running trial, of each door that has data."""
    parts = [_completions(report)] if "arms" in report else []
    if report["reviews"] is not None:
        parts.append(_reviews(report["reviews"]))
    foot = f"{report['made_at']}. Ctrl-C ends."
    return Group(*(part for group in parts for part in (group, Text())), Text(foot, style="dim"))


def _head(report: Json) -> list[Text]:
    verdict = report["verdict"]
    head = [Text(verdict["sentence"], style="bold")]
    if report["banner"]:
        head.append(Text(report["banner"], style="magenta"))
    return head + [Text(f"Warning: {text}", style="bold red") for text in verdict["warnings"]]


def _reviews(found: Json) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for label in ("A", "B"):
        table.add_column(found["arms"][label]["name"], justify="right")
    for line in (*reviews_text.finding_lines(found), *reviews_text.signal_lines(found)):
        table.add_row(line.title, line.a, line.b)
    return Group(*_head(found), Text(), table, Text(), Text(reviews_text.size_line(found), style="dim"))


def _completions(report: Json) -> Group:
    size = report["size"]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("")
    for label in ("A", "B"):
        table.add_column(report["arms"][label]["name"], justify="right")
    for i, step in enumerate(report["arms"]["A"]["funnel"]):
        table.add_row(step["title"], *(f"{report['arms'][label]['funnel'][i]['count']:,}" for label in ("A", "B")))
    for name, title in (("p50", "median latency"), ("p95", "95th percentile")):
        table.add_row(title, *(words.quantile(report["arms"][label]["latency_ms"][name]) for label in ("A", "B")))
    for label in ("A", "B"):
        failed = {k: n for k, n in report["arms"][label]["statuses"].items() if k not in ("ok", "empty")}
        if failed:
            listed = ", ".join(f"{kind} {n:,}" for kind, n in failed.items())
            table.add_row(Text(f"failed, {report['arms'][label]['name']}: {listed}", style="red"))
    foot = (
        f"{size['requests']:,} requests, {size['episodes']:,} episodes ({size['open_episodes']:,} open), "
        f"{size['sessions']:,} sessions."
    )
    return Group(*_head(report), Text(), table, Text(), Text(foot, style="dim"))


def watch(make: Callable[[], Json], console: Console, *, every_s: float, rounds: int | None = None) -> None:
    """Show the trial again and again, until Ctrl-C or for so many rounds."""
    with Live(console=console, auto_refresh=False) as live:
        try:
            while rounds is None or rounds > 0:
                live.update(view(make()), refresh=True)
                if rounds is not None:
                    rounds -= 1
                if rounds != 0:
                    time.sleep(every_s)
        except KeyboardInterrupt:
            return


def datasette_metadata(database: Path) -> Json:
    """Ready questions, as Datasette's canned queries."""
    queries = {name: {"title": title, "sql": sql, "params": {}} for name, (title, sql) in QUESTIONS.items()}
    return {"title": "codetrial", "databases": {database.stem: {"queries": queries}}}


def explore(database: Path, *, port: int) -> None:
    """Become Datasette on this database, on loopback only.

    Raises:
        EvidenceError: Datasette is not installed, or there is no database.
    """
    program = shutil.which("datasette")
    if program is None:
        raise EvidenceError("Exploring needs Datasette: pip install 'codetrial[explore]'")
    if not database.exists():
        raise EvidenceError(
            f"No database at {database}: nothing has been recorded yet, or --store names another place."
        )
    metadata = database.with_suffix(".datasette.json")
    metadata.write_text(json.dumps(datasette_metadata(database)), encoding="utf-8")
    arguments = [str(database), "--metadata", str(metadata), "--host", "127.0.0.1", "--port", str(port)]
    os.execv(program, [program, "serve", *arguments])
