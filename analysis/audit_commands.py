"""Subcommands that check a trial and complete it from the repository."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codetrial.options import database, echo_json, json_option, store_option

if TYPE_CHECKING:
    from analysis.audit import Audit

__all__ = ["audit", "rescore", "retention"]


@click.command(epilog="Example:  codetrial audit")
@store_option
@click.option("--trial", metavar="ID|NAME", help="Only this trial; all that are stored by default.")
@json_option
def audit(store: Path | None, trial: str | None, as_json: bool) -> None:
    """Draw every assignment again from its seed, and check what is stored against the rules of the experiment.

    Ends with 1 if a rule is broken.
    """
    from analysis import audit as auditing
    from analysis.store import Store

    with Store(database(store), readonly=True) as opened:
        audits = [auditing.audit(opened, name) for name in ([trial] if trial else auditing.trials(opened))]
    if as_json:
        echo_json([_audit_as_json(found) for found in audits])
    elif not audits:
        click.echo("No trial is stored yet.")
    else:
        for found in audits:
            click.echo("\n".join(auditing.lines(found)))
    if not all(found.is_sound for found in audits):
        raise SystemExit(1)


def _audit_as_json(found: "Audit") -> dict[str, Any]:
    return {
        "trial": found.trial,
        "name": found.name,
        "is_sound": found.is_sound,
        "assignments": found.assignments,
        "decided": found.decided,
        "ratio": None if found.ratio is None else found.ratio._asdict(),
        "findings": [finding._asdict() for finding in found.findings],
        "notes": found.notes,
    }


@click.command(epilog="Example:  codetrial retention .")
@click.argument("repository", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@store_option
@json_option
def retention(repository: Path, store: Path | None, as_json: bool) -> None:
    """Look for what was taken and written in the commits since, and store how much of it is there.

    REPOSITORY is the folder that was worked in. Needs stored texts; run it again after more commits.
    """
    from analysis.retention import measure
    from analysis.store import Store

    with Store(database(store)) as opened:
        records = list(measure(opened, repository.absolute()))
        if records:
            opened.append(*records)
    if as_json:
        echo_json({"repository": repository.absolute(), "stored": len(records)})
    else:
        click.echo(f"{len(records)} figures stored from the commits of {repository.absolute()}.")


@click.command(epilog="Example:  codetrial rescore --check")
@store_option
@click.option("--check", is_flag=True, help="Only compare; ends with 1 if a recorded score is not what its texts give.")
@json_option
def rescore(store: Path | None, check: bool, as_json: bool) -> None:
    """Compute scores again from the stored texts, and add those that this version has and the database has not.

    What is recorded stays as it is: each score names the version of the scorer that made it.
    """
    from analysis.store import Store

    with Store(database(store), readonly=check) as opened:
        if check:
            _compare(opened, as_json=as_json)
        else:
            _complete(opened, as_json=as_json)


def _complete(store: Any, *, as_json: bool) -> None:
    from analysis.rescoring import rescored
    from analysis.scores import SCORER_VERSION

    records = list(rescored(store))
    if records:
        store.append(*records)
    if as_json:
        echo_json({"scorer_version": SCORER_VERSION, "added": len(records)})
    else:
        click.echo(f"{len(records):,} scores of version {SCORER_VERSION} added.")


def _compare(store: Any, *, as_json: bool) -> None:
    import dataclasses

    from analysis import rescoring
    from analysis.scores import SCORER_VERSION

    found = rescoring.check(store)
    different = sum(found.different.values())
    if as_json:
        echo_json({"scorer_version": SCORER_VERSION, **dataclasses.asdict(found)})
    else:
        click.echo(
            f"{found.equal:,} scores of version {SCORER_VERSION} are what their texts give, {different:,} are not.\n"
            f"Not compared: {found.not_computable:,} whose texts are not stored or do not suffice, "
            f"{found.other_version:,} of another version."
        )
        for metric, count in found.different.most_common():
            click.echo(f"  {metric}: {count:,} differ")
    if different:
        raise SystemExit(1)
