"""Subcommands that check a trial and complete it from the repository."""

from pathlib import Path

import click

__all__ = ["audit", "rescore", "retention"]

_store = click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path),
    envvar="CODETRIAL_STORE",
    show_envvar=True,
    help="Database to use; codetrial.db in the data directory by default.",
)


@click.command(epilog="Example:  codetrial audit")
@_store
@click.option("--trial", help="Only this trial; all that are stored by default.")
def audit(database: Path | None, trial: str | None) -> None:
    """Draw every assignment again from its seed, and check what is stored against the rules of the experiment."""
    from analysis import audit as auditing
    from analysis.store import Store
    from codetrial.paths import default_database

    with Store(database or default_database(), readonly=True) as store:
        audits = [auditing.audit(store, name) for name in ([trial] if trial else auditing.trials(store))]
    if not audits:
        click.echo("No trial is stored yet.")
    for found in audits:
        click.echo("\n".join(auditing.lines(found)))
    if not all(found.is_sound for found in audits):
        raise SystemExit(1)


@click.command(epilog="Example:  codetrial retention .")
@click.argument("repository", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@_store
def retention(repository: Path, database: Path | None) -> None:
    """Look for what was taken and written in the commits since, and store how much of it is there.

    REPOSITORY is the folder that was worked in. Needs stored texts; run it again after more commits.
    """
    from analysis.retention import measure
    from analysis.store import Store
    from codetrial.paths import default_database

    with Store(database or default_database()) as store:
        records = list(measure(store, repository.absolute()))
        if records:
            store.append(*records)
    click.echo(f"{len(records)} figures stored from the commits of {repository.absolute()}.")


@click.command(epilog="Example:  codetrial rescore --check")
@_store
@click.option("--check", is_flag=True, help="Only compare; ends with 1 if a recorded score is not what its texts give.")
def rescore(database: Path | None, check: bool) -> None:
    """Compute scores again from the stored texts, and add those that this version has and the database has not.

    What is recorded stays as it is: each score names the version of the scorer that made it.
    """
    from analysis import rescoring
    from analysis.scores import SCORER_VERSION
    from analysis.store import Store
    from codetrial.paths import default_database

    with Store(database or default_database(), readonly=check) as store:
        if not check:
            records = list(rescoring.rescored(store))
            if records:
                store.append(*records)
            click.echo(f"{len(records):,} scores of version {SCORER_VERSION} added.")
            return
        found = rescoring.check(store)
    different = sum(found.different.values())
    click.echo(
        f"{found.equal:,} scores of version {SCORER_VERSION} are what their texts give, {different:,} are not.\n"
        f"Not compared: {found.not_computable:,} whose texts are not stored or do not suffice, "
        f"{found.other_version:,} of another version."
    )
    for metric, count in found.different.most_common():
        click.echo(f"  {metric}: {count:,} differ")
    if different:
        raise SystemExit(1)
