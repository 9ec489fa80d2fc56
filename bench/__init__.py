"""Measurements: each prints a ratio against a named peer or a direct run of the same process run.

    python -m bench              # all of them; writes bench/RESULTS.md
    python -m bench store relay  # only these; the other sections of RESULTS.md stay

A benchmark is a module of this folder with `run(report: Report) -> None`, which calls `report.table(...)`.
Absolute times drift on shared machines: read the ratios, and compare only within one table.
"""

from bench.report import Report

__all__ = ["Report"]
