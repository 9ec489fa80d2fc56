"""Outcomes beside the truth: precision and recall of every class, through real editors and the whole proxy.

Places in real commits and scripted behaviours towards what is suggested there, in editors that run the item's command
and in editors that leave nothing but document changes to go by.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scipy.stats import beta

from bench.report import Report
from codetrial.paths import cache_dir
from tests.lsp_proxy.long_session import LongSession, replay
from tests.lsp_proxy.truth import BEHAVIOURS, Tally, cases
from tests.lsp_proxy.truth_neovim import in_neovim
from tests.lsp_proxy.truth_scripted import SCRIPTED, in_scripted_editor

EACH = int(os.environ.get("CODETRIAL_TRUTH_EACH", "25"))
"""Cases of each behaviour in each editor."""
KNOWN = 1600
"""Places in real commits to choose from."""
AT_ONCE = 6
"""Editors side by side; they mostly wait for the ten seconds that a taken text must stand."""
CONFIDENCE = 0.95
HOURS, SPEED = 8.0, 50.0
COMMAND = "python -m bench truth"


def editor(name: str) -> str:
    return str(Path(os.environ.get("CODETRIAL_EDITORS", cache_dir() / "editors")) / "bin" / name)


async def measure() -> dict[str, Tally]:
    known = cases(Path(__file__).parents[1], KNOWN, seed=2026)
    found: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for surface, program, runs in (
            ("inline", "nvim", False),
            ("inline", "nvim", True),
            ("menu", "nvim-0.11", False),
            ("menu", "nvim-0.11", True),
        ):
            name = f"Neovim {'0.12' if program == 'nvim' else '0.11'}, {surface}, {'command' if runs else 'no command'}"
            found[name] = await in_neovim(
                root / name, editor(program), known, EACH, surface=surface, runs_commands=runs, at_once=AT_ONCE
            )
        for name, profile in SCRIPTED.items():
            found[f"scripted, {name}"] = await in_scripted_editor(root / name, profile, known, EACH, at_once=AT_ONCE)
    return found


def bound(share: float, cases_: int) -> float:
    """What a share is at least, with `CONFIDENCE`: Clopper and Pearson's limit, on one side."""
    right = round(share * cases_)
    return float(beta.ppf(1 - CONFIDENCE, right, cases_ - right + 1)) if right else 0.0


def together(found: Mapping[str, Tally]) -> list[list[object]]:
    """Every class over all editors, and whole accepts over those that leave nothing but changes to go by."""
    everything, silent = Tally(), Tally()
    for name, tally in found.items():
        everything.add(tally)
        if "no command" in name:
            silent.add(tally)
    classes = [("all", name, counted) for name, counted in everything.classes().items()]
    classes.append(("without a command", "accepted", silent.classes()["accepted"]))
    return [
        [
            editors,
            outcome,
            target := 0.99 if editors != "all" else 0.97,
            counted.done,
            f"{counted.precision:.4f}",
            f"{bound(counted.precision, counted.said):.4f}",
            f"{counted.recall:.4f}",
            f"{bound(counted.recall, counted.done):.4f}",
            "yes" if min(counted.precision, counted.recall) >= target else "no",
        ]
        for editors, outcome, counted in classes
    ]


def run(report: Report) -> None:
    found = asyncio.run(measure())
    report.table(
        "Outcomes beside the truth, all editors together",
        ["editors", "what was done", "target", "cases", "precision", "at least", "recall", "at least", "met"],
        together(found),
        command=COMMAND,
        note=f"At least: with {CONFIDENCE:.0%} confidence, one-sided (Clopper and Pearson). "
        f"{EACH} cases of each behaviour in each editor (CODETRIAL_TRUTH_EACH).",
    )
    rows: list[list[object]] = []
    for name, tally in found.items():
        for outcome, counted in tally.classes().items():
            rows.append([name, outcome, counted.done, f"{counted.precision:.3f}", f"{counted.recall:.3f}"])
    report.table(
        "Outcomes beside the truth, in each editor",
        ["editor", "what was done", "cases", "precision", "recall"],
        rows,
        command=COMMAND,
    )
    report.table(
        "The same by behaviour: read right / done",
        ["behaviour", "is", *found],
        [
            [name, wanted, *(_share(tally, name) for tally in found.values())]
            for name, (_, wanted) in BEHAVIOURS.items()
        ],
        command=COMMAND,
        note="-: that editor cannot do it.",
    )
    report.table(
        "Every suggestion once",
        [
            "editor",
            "offered",
            "with an outcome",
            "none appeared",
            "outside insertions",
            "seen",
            "too many",
        ],
        [
            [name, t.offered, t.decided, t.not_shown, t.outside_expected, t.outside_seen, t.outside_false]
            for name, t in found.items()
        ],
        command=COMMAND,
    )
    _long(report)


def _long(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found: LongSession = asyncio.run(replay(Path(folder), Path(__file__).parents[1], hours=HOURS, speed=SPEED))
    first, last, growth = found.memory[0], found.memory[-1], found.growth_mb_an_hour()
    report.table(
        "A long session",
        [
            "hours",
            "played in, s",
            "characters",
            "offered",
            "with an outcome",
            "with two",
            "lost records",
            "evaluator, MB",
            "growth, MB an hour",
            "relay, MB",
            "growth, MB an hour",
        ],
        [
            [
                f"{found.hours:.1f}",
                f"{found.wall_s:.0f}",
                found.keys,
                found.offered,
                found.decided,
                found.twice,
                found.lost,
                f"{first.evaluator_mb:.0f} -> {last.evaluator_mb:.0f}",
                f"{growth.evaluator_mb:+.1f}",
                f"{first.relay_mb:.1f} -> {last.relay_mb:.1f}",
                f"{growth.relay_mb:+.1f}",
            ]
        ],
        command=COMMAND,
        note=f"Real commits typed {SPEED:g} times as fast as people type; growth: least squares after the first hour.",
    )


def _share(tally: Tally, behaviour: str) -> str:
    total, right = tally.behaviours().get(behaviour, (0, 0))
    return f"{right} / {total}" if total else "-"
