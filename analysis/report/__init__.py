"""Reports of a trial, all from one set of numbers: terminal, HTML, Markdown, JSON, CSV."""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from analysis.breakdown import Dimension, break_down
from analysis.cost import Hosting
from analysis.doors import DoorName, choose
from analysis.published import outside, published
from analysis.queries import Evidence, gather
from analysis.report.by import by_numbers
from analysis.report.measures import published_numbers
from analysis.report.numbers import SCHEMA, header, naming, numbers
from analysis.report.reviews import review_numbers
from analysis.review_verdict import judge_reviews
from analysis.reviews import gather_reviews
from analysis.source import Source
from analysis.statistics import ALPHA
from analysis.verdict import Decision, judge
from codetrial import __version__
from codetrial.clock import now_utc, utc_text
from codetrial.errors import EvidenceError
from codetrial.records import ArmLabel, Origin

__all__ = ["make", "schema", "write_html", "write_page"]

Json = dict[str, Any]


def make(
    source: Source,
    *,
    trial: str | None = None,
    door: DoorName | None = None,
    origin: Origin | None = None,
    since: str | None = None,
    now: datetime | None = None,
    blind: bool = False,
    by: Sequence[Dimension] = (),
    with_published: bool = False,
    hosting: Hosting | None = None,
    against: ArmLabel | None = None,
) -> Json:
    """The report as numbers: of completions, of reviews, or of both where both have data.

    Args:
        by: What to group completions by; nothing for no groups.
        with_published: Add measures by definitions that others have published.
        hosting: A machine of one's own, for the break-even; None leaves it out.
        against: The arm to compare it with; by default the one that is paid by use.

    Raises:
        EvidenceError: there is no such trial, or what is stored cannot be read.
    """
    from analysis.cost_report import break_even_numbers  # It prints in this package's words.

    doors = choose(source, trial=trial, door=door)
    if doors.completions is None and (by or with_published or hosting is not None):
        raise EvidenceError(
            "--by, --published and a break-even are about completions, and this report is about reviews alone."
        )
    moment = now or now_utc()
    gathered = {
        name: gather(source, trial=facts.id, origin=origin, since=since, now=moment)
        for name, facts in zip(DoorName, doors, strict=True)
        if facts is not None
    }
    completions, reviewed = gathered.get(DoorName.COMPLETIONS), gathered.get(DoorName.REVIEWS)
    judged = None if completions is None else judge(completions)
    findings = None if reviewed is None else gather_reviews(source, reviewed)
    judged_reviews = None if reviewed is None or findings is None else judge_reviews(reviewed, findings)
    # The arms are the same at both doors: a name given away at one would lift the blind from the other.
    is_hidden = blind and any(j is not None and j.decision is Decision.NOT_YET for j in (judged, judged_reviews))
    report: Json = {
        "schema": SCHEMA,
        "codetrial_version": __version__,
        "made_at": utc_text(moment),
        "store": source.place,
        "door": "both" if len(gathered) == len(DoorName) else next(iter(gathered)).value,
        "alpha": ALPHA,
        "reviews": None,
    }
    # What both doors have is said of completions where there are any, so reviews come first.
    if reviewed is not None and findings is not None and judged_reviews is not None:
        called = naming(reviewed, is_hidden=is_hidden)
        report["reviews"] = review_numbers(reviewed, findings, judged_reviews, called)
        report |= header(reviewed, judged_reviews, called)
    if completions is not None and judged is not None:
        called = naming(completions, is_hidden=is_hidden)
        report |= header(completions, judged, called) | numbers(completions, judged, called)
        report["by"] = by_numbers(break_down(source, completions, judged.primary.metric, by)) if by else None
        report["published"] = _published(source, completions, since) if with_published else None
        report["break_even"] = (
            None if hosting is None else break_even_numbers(completions, hosting, against, called.names)
        )
    for found in (report, report["reviews"] or {}):
        if found:
            found["trial"] = {**found["trial"], "other_trials_in_store": _others(gathered.values())}
    return report


def _published(source: Source, completions: Evidence, since: str | None) -> Json:
    trial, origin = completions.trial.id, completions.origin
    return published_numbers(published(source, trial, origin, since), outside(source, trial, origin, since))


def _others(gathered: Collection[Evidence]) -> int:
    """Trials that this report says nothing about."""
    return next(iter(gathered)).other_trials + 1 - len(gathered)


def write_html(report: Json, path: Path) -> None:
    """Write the report's page."""
    from analysis.report.html import page

    write_page(page(report), path)


def write_page(text: str, path: Path) -> None:
    """Write a page, whole or not at all: a browser may be looking at the old one."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as fault:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise EvidenceError(f"Cannot write {path}: {fault.strerror}. Name another place with --html.") from fault


def schema() -> Json:
    """The published JSON schema of `codetrial report --json`."""
    found: Json = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return found
