"""`python -m bench [name ...]`: run benchmarks and write bench/RESULTS.md."""

from importlib import import_module
from pathlib import Path

import click

from bench.report import Report

NOT_BENCHMARKS = {"__init__", "__main__", "report"}
NAMES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in NOT_BENCHMARKS)


@click.command(epilog="For example: python -m bench store")
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
def main(names: tuple[str, ...]) -> None:
    """Run the named benchmarks, or all; each replaces its own section of bench/RESULTS.md."""
    for name in names or NAMES:
        module = import_module(f"bench.{name}")
        if not hasattr(module, "run"):
            continue  # Something that benchmarks share.
        report = Report(name)
        module.run(report)
        report.write()


main()
