"""Reports of a trial, all from one set of numbers: terminal, HTML, Markdown, JSON, CSV."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.queries import gather
from analysis.report.numbers import numbers
from analysis.source import Source
from analysis.verdict import judge
from codetrial.errors import EvidenceError
from codetrial.records import Origin

__all__ = ["make", "schema", "write_html"]

Json = dict[str, Any]


def make(
    source: Source,
    *,
    trial: str | None = None,
    origin: Origin | None = None,
    since: str | None = None,
    now: datetime | None = None,
    blind: bool = False,
) -> Json:
    """The report as numbers.

    Raises:
        EvidenceError: there is no such trial, or what is stored cannot be read.
    """
    evidence = gather(source, trial=trial, origin=origin, since=since, now=now)
    return numbers(evidence, judge(evidence), blind=blind)


def write_html(report: Json, path: Path) -> None:
    """Write the page, whole or not at all: a browser may be looking at the old one."""
    from analysis.report.html import page

    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page(report), encoding="utf-8")
        draft.replace(path)
    except OSError as fault:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise EvidenceError(f"Cannot write {path}: {fault.strerror}. Name another place with --html.") from fault


def schema() -> Json:
    """The published JSON schema of `codetrial report --json`."""
    found: Json = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return found
