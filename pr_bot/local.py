"""A review of local commits, without GitHub: both arms' findings side by side, for trying a configuration."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from codetrial.config import load
from codetrial.errors import ReviewError
from codetrial.records import ArmLabel
from pr_bot.diff import Side, local_diff
from pr_bot.findings import Placed
from pr_bot.git import Repository
from pr_bot.guard import Guard
from pr_bot.isolated import IsolatedReviewer
from pr_bot.recording import freeze_reviews
from pr_bot.reviewing import Change, Reviewed, members, review_change
from pr_bot.settings import review_arms, settings

__all__ = ["review_locally"]


def review_locally(folder: Path, commits: str, *, config_file: Path | None = None, as_json: bool = False) -> str:
    """What both arms say about `BASE..HEAD`; nothing is posted, assigned to anybody or stored.

    Raises:
        ReviewError: the range is not one, or is not in the repository.
        ConfigError: an arm cannot review.
    """
    base, dots, head = commits.partition("..")
    if not dots or not base:
        raise ReviewError(f"{commits!r} is not a range of commits: write BASE..HEAD, for example main..HEAD.")
    repository = Repository.open(folder)
    diff = local_diff(repository, base, head.removeprefix(".") or "HEAD")
    title, _, description = repository.text("log", "-1", "--format=%B", diff.head).strip().partition("\n")
    config = load(folder, config_file=config_file)
    own = settings(config)
    arms = review_arms(config, own)
    guidelines = repository.blob(diff.merge_base, own.guidelines)
    change = Change(
        title=title,
        description=description.strip(),
        diff=diff,
        guidelines="" if guidelines is None else guidelines.decode("utf-8", "replace"),
    )
    trial = freeze_reviews(config, own, arms)
    guard = Guard(config, trial, own)
    change = replace(change, diff=guard.exclude(diff, folder.resolve().name))
    reviewed = asyncio.run(
        review_change(
            change,
            repository=repository,
            reviewers={label: IsolatedReviewer(arm) for label, arm in arms.items()},
            settings=own,
            trial=trial.trial,
            guard=guard,
        )
    )
    return _as_json(reviewed) if as_json else _as_text(reviewed)


def _as_text(reviewed: Reviewed) -> str:
    coverage = reviewed.packed.coverage
    parts = [f"Reviewed {coverage.shown_lines} of {coverage.changed_lines} changed lines, the same for both arms."]
    parts.extend(f"Not reviewed: {path} ({reason})" for path, reason in coverage.left_out)
    parts.extend(f"Reviewed in part: {path}" for path in coverage.partly)
    for label, review in sorted(reviewed.reviews.items()):
        answer = review.answer
        took = (
            ""
            if answer.sent_ns is None or answer.end_ns is None
            else f", {(answer.end_ns - answer.sent_ns) / 1e9:.1f} s"
        )
        tokens = (
            "" if answer.usage.tokens_out is None else f", {answer.usage.tokens_in} + {answer.usage.tokens_out} tokens"
        )
        parts.append(f"\nArm {label}: {answer.status}{took}{tokens}" + (f" ({answer.error})" if answer.error else ""))
        found = [(member, entry) for member, entry in members(reviewed) if member.label is label]
        if not found:
            parts.append("  no findings")
        for member, entry in found:
            also = "  [both arms]" if entry.group.stratum == "both" else ""
            parts.append(
                f"  {_place(member)}: {member.claim.severity} {member.claim.category}: {member.claim.title}{also}"
            )
            parts.extend(f"      {line}" for line in member.claim.body.splitlines())
            if member.suggestion is not None:
                parts.extend(f"      + {line}" for line in member.suggestion.splitlines())
    return "\n".join(parts)


def _place(finding: Placed) -> str:
    anchor = finding.anchor
    if anchor.start_line is None:
        return f"{anchor.path} ({anchor.kind})"
    lines = f"{anchor.start_line}" if anchor.start_line == anchor.end_line else f"{anchor.start_line}-{anchor.end_line}"
    old = " (old)" if anchor.side is Side.LEFT else ""
    return f"{anchor.path}:{lines}{old}"


def _as_json(reviewed: Reviewed) -> str:
    findings = [
        {
            "arm": member.label,
            "stratum": entry.group.stratum,
            "path": member.anchor.path,
            "side": member.anchor.side,
            "start_line": member.anchor.start_line,
            "end_line": member.anchor.end_line,
            "anchor": member.anchor.kind,
            "severity": member.claim.severity,
            "category": member.claim.category,
            "title": member.claim.title,
            "body": member.claim.body,
            "suggestion": member.suggestion,
        }
        for member, entry in members(reviewed)
    ]
    attempts = {
        label: {"status": review.answer.status, "error_kind": review.answer.error_kind}
        for label, review in reviewed.reviews.items()
    }
    coverage = reviewed.packed.coverage
    return json.dumps(
        {
            "changed_lines": coverage.changed_lines,
            "shown_lines": coverage.shown_lines,
            "arms": {label: attempts[label] for label in ArmLabel},
            "findings": findings,
        },
        indent=2,
    )
