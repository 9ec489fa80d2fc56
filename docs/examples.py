"""Makes the worked examples of docs/reading-a-report.md: the real report over trials whose truth is made up.

    python docs/examples.py            write them into the page
    python docs/examples.py --check    only say whether they are what the report prints; ends with 1 if not
    python docs/examples.py --picture  also take docs/report.png and docs/pull-request.png, with a Chromium from the system
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
os.environ.update(COLUMNS="200", LINES="100")  # Charts also look at the terminal, whose size must not show in a page.
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # The made-up trials live with the tests, outside of any package.

from generate import fill  # noqa: E402

from analysis.report import make, write_html  # noqa: E402
from analysis.report.terminal import to_text  # noqa: E402
from analysis.source import SqliteSource  # noqa: E402
from tests.analysis.synthetic import Plan, Truth, build  # noqa: E402

PAGE = DOCS / "reading-a-report.md"
WIDTH = 96
PICTURE_WIDTH, PICTURE_HEIGHT = 1000, 985
CHROMIUM_TIME_LIMIT_S = 90.0
DAYS_LATER = 60
"""By then every episode's window has passed."""

FIRST, SECOND = Truth(name="model-1"), Truth(name="model-2")
KEEN_FIRST, KEEN_SECOND = Truth(name="model-1", acceptance=0.5), Truth(name="model-2", acceptance=0.5)
KEEN_AND_SLOW = Truth(name="model-1", acceptance=0.8, median_ms=500)
TRIALS: Mapping[str, Plan] = {
    "a-wins": Plan(sessions=90, episodes=15, a=KEEN_FIRST, b=SECOND),
    "b-wins": Plan(sessions=90, episodes=15, a=FIRST, b=KEEN_SECOND),
    "tie": Plan(sessions=60, episodes=25, a=FIRST, b=SECOND, margins=(("acceptance", 0.15),)),
    "not-yet": Plan(a=FIRST, b=SECOND),
    "at-a-price": Plan(sessions=90, episodes=15, a=KEEN_AND_SLOW, b=SECOND),
}
WHOLE = "a-wins"
"""Shown from top to bottom; of the others the verdict, the effects and, where it decides, the guardrails."""


def report_of(plan: Plan) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = SqliteSource(build(Path(folder) / "codetrial.db", plan))
        try:
            return make(source, now=plan.end + timedelta(days=DAYS_LATER))
        finally:
            source.close()


def example(name: str) -> str:
    """What `codetrial report` prints of it."""
    text = to_text(report_of(TRIALS[name]), width=WIDTH)
    lines = [line.rstrip() for line in text.splitlines()]
    if name != WHOLE:
        end = next(n for n, line in enumerate(lines) if line.startswith("Smallest effect"))
        guardrails = lines[lines.index("Guardrails") : lines.index("Cost")] if name == "at-a-price" else []
        lines = [*lines[: end + 1], *([""] if guardrails else []), *guardrails]
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(["```text", *lines, "```", ""])


PAYMENTS = '''"""Payments as the shop books them."""

import json
import subprocess


def read(path, found=[]):
    try:
        text = open(path).read()
    except:
        return None
    found.append(json.loads(text))
    return found


def total(payments):
    amount = 0
    for payment in payments:
        if payment["refund"] == None:
            amount += payment["amount"]
    print("total", amount)
    return amount


def book(name):
    subprocess.run("booking " + name, shell=True)
    return eval(name)
'''
"""A change with something to find for the demo's scripted reviewers."""


def take_pictures() -> None:
    """The upper part of the report's page and of the review demo's, as a browser draws them."""
    with tempfile.TemporaryDirectory() as folder:
        report, kept = Path(folder) / "report.html", Path(folder) / "kept"
        write_html(report_of(TRIALS[WHOLE]), report)
        photograph(report, DOCS / "report.png", Path(folder))
        repository = Path(folder) / "shop"
        repository.mkdir()
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        for command in (("init", "-q"), (*identity, "commit", "-q", "--allow-empty", "-m", "Begin")):
            subprocess.run(["git", *command], cwd=repository, check=True)
        (repository / "payments.py").write_text(PAYMENTS, encoding="utf-8")
        for command in (("add", "."), (*identity, "commit", "-q", "-m", "Read and book payments")):
            subprocess.run(["git", *command], cwd=repository, check=True)
        subprocess.run(
            [sys.executable, "-m", "codetrial.cli", "pr", "demo", "--repository", repository, "--keep", kept],
            check=True, capture_output=True, env={**os.environ, "CODETRIAL_DATA_DIR": str(Path(folder) / "data")},
        )  # fmt: skip
        photograph(kept / "review.html", DOCS / "pull-request.png", Path(folder))


def photograph(page: Path, picture: Path, folder: Path) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    command = [
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *(f"--window-size={PICTURE_WIDTH},{PICTURE_HEIGHT}", f"--user-data-dir={folder / 'profile'}"),
        *(f"--screenshot={picture}", page.as_uri()),
    ]
    subprocess.run(command, capture_output=True, check=True, timeout=CHROMIUM_TIME_LIMIT_S)
    size = struct.unpack(">II", picture.read_bytes()[16:24])
    if size != (PICTURE_WIDTH, PICTURE_HEIGHT):
        raise SystemExit(f"{picture} is {size[0]} by {size[1]}, not what was asked for.")


def main(arguments: list[str]) -> int:
    text = fresh = PAGE.read_text(encoding="utf-8")
    for name in TRIALS:
        fresh = fill(fresh, PAGE.name, name, example(name))
    if "--check" in arguments:
        if fresh != text:
            print(f"{PAGE.name} is not what the report prints. Run: python docs/examples.py", file=sys.stderr)
        return int(fresh != text)
    PAGE.write_text(fresh, encoding="utf-8")
    if "--picture" in arguments:
        take_pictures()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
