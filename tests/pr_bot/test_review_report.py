"""The report of what the real bot recorded on the stand-in for GitHub, from reviewing to collecting."""

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from analysis.cost_commands import cost
from analysis.report_commands import report
from codetrial.clock import now_utc
from pr_bot.collecting import collect
from pr_bot.pulls import Result
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import finding

HEADER = "".join(f"CONSTANT_{number} = {number}\n" for number in range(12))
BEFORE = HEADER + "\n\ndef mean(values):\n    return sum(values) / len(values)\n\n\ndef other():\n    return 1\n"
BODY = "def mean(values):\n    total = 0\n    for v in values:\n        total =+ v\n    return total / len(values)\n"
AFTER = HEADER + "\n\n" + BODY + "\n\ndef other():\n    return 2\n"
LINE = AFTER.split("\n").index("        total =+ v") + 1

WRONG = finding(start_line=LINE, end_line=LINE, quote="total =+ v", title="`=+` assigns instead of adding",
                body="Only the last value is kept.", suggestion="        total += v")  # fmt: skip
OTHER = finding(start_line=LINE + 5, end_line=LINE + 5, quote="return 2", title="Callers expect the constant one",
                body="Every caller compares it with 1.", severity="minor")  # fmt: skip

PRICES = (
    "[arms.a.price]\ninput_usd_per_million = 1.0\noutput_usd_per_million = 5.0\n"
    "[arms.b.price]\ninput_usd_per_million = 0.1\noutput_usd_per_million = 0.4\n"
)


def said(scene: Scene, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(
        report, ["--store", str(scene.folder / "store.db"), "--door", "reviews", "--json", *arguments]
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)["reviews"]
    return found


def test_what_people_did_on_pull_requests_stands_in_the_report(scene: Scene) -> None:
    """Both arms see the wrong line; arm A alone complains about the constant. One request is left open."""
    repos = [scene.hub.repository(f"octo/app{number}", {"app.py": BEFORE}) for number in range(3)]
    bot, api = scene.bot([WRONG, OTHER], [WRONG], more=PRICES), scene.api()
    try:
        pulls = [scene.hub.open_pull(repo, {"app.py": AFTER}) for repo in repos]
        for number, pull in enumerate(pulls):
            assert bot.review(api, f"octo/app{number}", pull.number).result is Result.POSTED
        first, second, _ = pulls
        suggested = next(comment for comment in first.comments if "assigns instead" in comment.body)
        scene.hub.react(suggested, "+1", by="reviewer")
        scene.hub.commit_suggestion(repos[0], first, suggested)
        doubted = next(comment for comment in second.comments if "constant one" in comment.body)
        scene.hub.reply(repos[1], second, doubted, "This is intentional.", by="author")
        collect(bot, api)
        for repo, pull in zip(repos, (first, second), strict=False):
            scene.hub.merge(repo, pull)
        collect(bot, api, now=now_utc() + timedelta(days=8))
    finally:
        api.close()
        bot.close()
    found = said(scene)
    assert found["origin"] == "test"
    size = found["size"]
    assert (size["pull_requests"], size["finished_pull_requests"], size["reviews"]) == (3, 2, 3)
    assert (size["findings"], size["open_findings"]) == (6, 2)
    own, shared = found["arms"]["A"]["own"], found["shared"]
    assert (own["posted"]["findings"], own["posted"]["acted_on"], own["open"]) == (2, 0, 1)
    assert (shared["posted"]["findings"], shared["posted"]["acted_on"], shared["open"]) == (2, 1, 1)
    assert found["arms"]["B"]["own"]["findings"] == 0
    assert found["arms"]["A"]["signals"].get("reply_refute") == 1
    liked = [found["arms"][label]["signals"].get("reaction_positive", 0) for label in ("A", "B")]
    assert sum(liked) == 1, "the reaction belongs to the arm whose words were posted"
    assert "no finding is held back" in found["verdict"]["sentence"]
    each = found["arms"]["A"]["cost"]
    assert each["per_review_usd"] == pytest.approx((1000 * 1.0 + 100 * 5.0) / 1e6)
    # Two finished reviews, one of two shared findings acted on, none of its own.
    assert each["per_finding_acted_on_usd"] == pytest.approx(2 * each["per_review_usd"])
    page = CliRunner(env={"COLUMNS": "160"}).invoke(cost, ["--store", str(scene.folder / "store.db")])
    assert "per review finding acted on" in page.output, page.output


def test_held_back_findings_are_the_baseline(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    bot, api = scene.bot([WRONG], [OTHER], post_share=0.0), scene.api()
    try:
        pull = scene.hub.open_pull(repo, {"app.py": AFTER})
        bot.review(api, "octo/app", 1)
        scene.hub.push(repo, pull, {"app.py": AFTER.replace("total =+ v", "total += v")})
        collect(bot, api)
        scene.hub.merge(repo, pull)
        collect(bot, api, now=now_utc() + timedelta(days=8))
    finally:
        api.close()
        bot.close()
    found = said(scene)
    held = [found["arms"][label]["own"]["held_back"] for label in ("A", "B")]
    assert [(rate["acted_on"], rate["findings"]) for rate in held] == [(1, 1), (0, 1)]
    assert found["arms"]["A"]["own"]["net"]["estimate"] is None
    assert "no finding has been posted" in found["verdict"]["sentence"]
