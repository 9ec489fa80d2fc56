"""Reviews of the past: real git, a real test suite in a real sandbox, model servers on this machine."""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analysis.replay.sandbox import Bubblewrap, Sandbox, Unprotected
from analysis.store import Store
from codetrial.config import load
from codetrial.records import ArmLabel
from pr_bot.commands import pr
from pr_bot.replay import Options, Recall, Replayed, load_recall, replay_reviews
from tests.pr_bot.conftest import WorkingCopy
from tests.pr_bot.models import finding, serve_model
from tests.pr_bot.test_local import configuration

TESTS = ("python", "-m", "unittest", "-q")
TEST_FILE = """
import unittest
from shop import total

class TotalTest(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total(3, 0), 3)
        self.assertEqual(total(3, 5), 8)
"""
BEFORE = "def total(price, fee):\n    return price\n"
AFTER = "def total(price, fee):\n    if fee == 0:\n        return price\n    return price + fee\n"


@pytest.fixture
def shop(working_copy: WorkingCopy) -> WorkingCopy:
    working_copy.commit({"shop.py": BEFORE})
    working_copy.commit({"shop.py": AFTER, "test_shop.py": TEST_FILE}, "Add the fee")
    return working_copy


def attentive(body: dict[str, Any]) -> str:
    """Flags a line only if it is not as it should be."""
    text = json.dumps(body)
    for number, line in enumerate(AFTER.split("\n"), start=1):
        if line and line.strip() not in text:
            place = {"path": "shop.py", "start_line": number, "end_line": number}
            return json.dumps({"findings": [finding(**place, title="This line is wrong")]})
    return json.dumps({"findings": []})


NOISY = [finding(path="shop.py", start_line=4, end_line=4, title="I never like this line")]


def sandbox() -> Sandbox:
    return Bubblewrap() if shutil.which("bwrap") else Unprotected()


def replayed(folder: Path, config: Path, store: Path, **more: Any) -> Replayed:
    options = Options(repository=folder, **{"tests": TESTS, "limit_s": 30.0, **more})
    return asyncio.run(replay_reviews(options, load(folder, config_file=config), sandbox=sandbox(), store=store))


def both(folder: Path, tmp_path: Path, a: Any, b: Any, **more: Any) -> tuple[Replayed, tuple[Recall, ...]]:
    with serve_model(a) as one, serve_model(b) as other:
        done = replayed(folder, configuration(tmp_path, one, other), tmp_path / "r.db", **more)
    return done, load_recall(tmp_path / "r.db", done.trial)


def test_recall_and_false_alarms_are_told_apart(shop: WorkingCopy, tmp_path: Path) -> None:
    done, [recall] = both(shop.folder, tmp_path, attentive, NOISY)
    assert (done.asked, done.stopped) == (2, None)
    assert (recall.kind, recall.defects, recall.twins, recall.changes) == ("seeded", 1, 1, 1)
    a, b = recall.arms[ArmLabel.A], recall.arms[ArmLabel.B]
    assert (a.found, a.confirmed, a.twin_findings) == (1, 1, 0)
    # The same function is the right place, but it flagged that in the twin as well.
    assert (b.found, b.confirmed, b.twin_findings) == (1, 0, 1)
    assert (recall.both, recall.only_a, recall.only_b, recall.neither) == (1, 0, 0, 0)
    assert a.lines_per_defect is not None
    assert recall.difference is None, "one defect leaves everything possible"


def test_both_arms_see_the_same_and_the_twin_differs_in_one_line(shop: WorkingCopy, tmp_path: Path) -> None:
    with serve_model([]) as a, serve_model([]) as b:
        replayed(shop.folder, configuration(tmp_path, a, b), tmp_path / "r.db")
        prompts = [[request["messages"][-1]["content"] for request in arm.requests] for arm in (a, b)]
    assert prompts[0] == prompts[1]
    mutant, twin = (_without_nonces(prompt).split("\n") for prompt in prompts[0])
    assert sum(x != y for x, y in zip(mutant, twin, strict=True)) == 1


def _without_nonces(prompt: str) -> str:
    return re.sub(r"[0-9a-f]{32}", "NONCE", prompt)


def test_a_second_run_asks_nothing_twice(shop: WorkingCopy, tmp_path: Path) -> None:
    first, _ = both(shop.folder, tmp_path, [], [])
    # The addresses of the servers are part of the arms, so both runs need the same ones.
    with serve_model([]) as a, serve_model([]) as b:
        config = configuration(tmp_path, a, b)
        assert replayed(shop.folder, config, tmp_path / "s.db").asked == 2
        again = replayed(shop.folder, config, tmp_path / "s.db")
        assert (again.asked, again.already_done) == (0, 2)
        assert len(a.requests) == 2
    assert first.asked == 2


def test_replays_are_labelled_and_never_shown(shop: WorkingCopy, tmp_path: Path) -> None:
    both(shop.folder, tmp_path, attentive, NOISY)
    with Store(tmp_path / "r.db", readonly=True) as store:
        assert store.rows("SELECT DISTINCT origin FROM session") == [{"origin": "replay"}]
        assert store.rows("SELECT DISTINCT shown FROM assignment") == [{"shown": "none"}]
        assert store.rows("SELECT count(*) AS n FROM exposure") == [{"n": 0}]


def test_blamed_changes_need_no_tests(working_copy: WorkingCopy, tmp_path: Path) -> None:
    working_copy.commit({"app.py": "start = 1\n"})
    working_copy.commit({"app.py": "start = 1\n\n\ndef half(n):\n    return n * 2\n"}, "Halve")
    working_copy.commit({"app.py": "start = 1\n\n\ndef half(n):\n    return n / 2\n"}, "Fix half")
    right = [finding(path="app.py", start_line=5, end_line=5, title="Doubles instead")]
    done, [recall] = both(working_copy.folder, tmp_path, right, [], tests=(), blamed=5)
    assert (done.asked, recall.kind, recall.twins) == (1, "blamed", 0)
    assert (recall.only_a, recall.only_b) == (1, 0)


def test_an_arm_that_refuses_the_key_ends_it_and_nothing_is_stored(shop: WorkingCopy, tmp_path: Path) -> None:
    with serve_model([]) as a, serve_model([]) as b:
        b.status = 401
        done = replayed(shop.folder, configuration(tmp_path, a, b), tmp_path / "r.db")
    assert "arm B did not review" in (done.stopped or "")
    assert load_recall(tmp_path / "r.db", done.trial) == ()


def test_a_budget_ends_it_after_a_whole_change(shop: WorkingCopy, tmp_path: Path) -> None:
    shop.commit({"shop.py": AFTER + "\n\ndef net(price, fee):\n    return price - fee\n",
                 "test_shop.py": TEST_FILE + "        from shop import net\n        self.assertEqual(net(3, 1), 2)\n"},
                "Add the net price")  # fmt: skip
    priced = "[arms.a.price]\nrequest_usd = 0.01\n[arms.b.price]\nrequest_usd = 0.01"
    with serve_model([]) as a, serve_model([]) as b:
        config = configuration(tmp_path, a, b, priced)
        done = replayed(shop.folder, config, tmp_path / "r.db", budget_usd=0.05)
    assert done.asked == 2
    assert done.spent_usd == pytest.approx(0.04)
    assert "no room for another review" in (done.stopped or "")


def test_the_command_end_to_end(shop: WorkingCopy, tmp_path: Path) -> None:
    with serve_model(attentive) as a, serve_model([]) as b:
        words = ["replay", str(shop.folder), "--tests", " ".join(TESTS), "--store", str(tmp_path / "r.db"), "--json"]
        words += ["--config", str(configuration(tmp_path, a, b))]
        if shutil.which("bwrap") is None:
            words.append("--no-sandbox")
        done = CliRunner().invoke(pr, words)
    assert done.exit_code == 0, done.output
    [recall] = json.loads(done.stdout)
    assert (recall["only_a"], recall["only_b"]) == (1, 0)


def test_the_command_needs_something_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(pr, ["replay", str(tmp_path)])
    assert done.exit_code == 2
    assert "--tests" in done.output
