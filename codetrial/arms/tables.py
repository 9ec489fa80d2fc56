"""How the check of the arms is shown in a terminal."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from codetrial.arms.check import Report, Speed

__all__ = ["print_reports"]

_ROWS: Sequence[tuple[str, Callable[[Report], str]]] = (
    ("verdict", lambda r: "usable" if r.verdict.is_usable else "NOT USABLE"),
    ("probes answered right", lambda r: f"{r.right} of {r.asked}" if r.asked else "-"),
    ("text after the cursor used", lambda r: f"{r.suffix_right} of {r.suffix_asked}" if r.suffix_asked else "not sent"),
    ("first token, alone", lambda r: _first(r.alone)),
    ("first token, with the other", lambda r: _first(r.together)),
    ("tokens per second, alone", lambda r: _rate(r.alone)),
    ("tokens per second, with the other", lambda r: _rate(r.together)),
    ("$ per 1,000 completions", lambda r: "unknown" if r.usd_per_1000 is None else f"{r.usd_per_1000:.2f}"),
)


def print_reports(reports: Sequence[Report], *, console: Console | None = None) -> None:
    """One column per arm, then what is wrong with each and how to mend it."""
    console = console or Console()
    table = Table()
    table.add_column("")
    for report in reports:
        table.add_column(f"{report.label}  {report.definition.name}", justify="right")
    for name, shown in _ROWS:
        table.add_row(name, *(shown(report) for report in reports))
    console.print(table)
    for report in reports:
        for problem in report.problems:
            console.print(f"{report.label}: {problem}", markup=False, highlight=False)
    console.print(
        "$ are for prompts that fill the configured windows. Probes are few: they test the plumbing.", style="dim"
    )


def _first(speed: Speed | None) -> str:
    return "-" if speed is None or speed.first_token_ms is None else f"{speed.first_token_ms:,.0f} ms"


def _rate(speed: Speed | None) -> str:
    return "-" if speed is None or speed.tokens_per_s is None else f"{speed.tokens_per_s:,.0f}"
