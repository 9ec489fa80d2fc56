"""What people do with findings, seen by polling the stand-in for GitHub, posted and held back alike."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from codetrial.clock import now_utc
from pr_bot.collecting import collect
from pr_bot.github import Api
from pr_bot.pulls import Bot, Result
from pr_bot.reception import reply_kind
from tests.fakehub.state import Comment, Pull, Repo
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


class Reviewed:
    """A pull request whose findings have been posted, or held back."""

    def __init__(self, scene: Scene, bot: Bot, api: Api, repo: Repo, pull: Pull) -> None:
        self.scene, self.hub, self.bot, self.api, self.repo, self.pull = scene, scene.hub, bot, api, repo, pull

    @property
    def comment(self) -> Comment:
        return next(c for c in self.pull.comments if "assigns instead" in c.body)

    def collect(self, *, after_days: float = 0) -> list[str]:
        """The rules of all outcomes so far, oldest first."""
        moment: datetime = now_utc() + timedelta(days=after_days)
        collect(self.bot, self.api, now=moment)
        return [row["rule"] for row in self.bot.store.rows("SELECT rule FROM outcome ORDER BY id")]

    def final(self, *, after_days: float = 8) -> dict[str, str]:
        """By arm, the final outcome."""
        self.collect(after_days=after_days)
        rows = self.bot.store.rows("SELECT label, outcome FROM outcome WHERE rule LIKE 'final%'")
        return {row["label"]: row["outcome"] for row in rows}

    def edit(self, old: str, new: str, **push: Any) -> None:
        text = self.repo.text(self.pull.head, "app.py") or ""
        assert old in text
        self.hub.push(self.repo, self.pull, {"app.py": text.replace(old, new)}, **push)


def reviewed(scene: Scene, **review: Any) -> Iterator[Reviewed]:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    pull = scene.hub.open_pull(repo, {"app.py": AFTER})
    bot, api = scene.bot([WRONG], [OTHER], **review), scene.api()
    try:
        done = bot.review(api, "octo/app", 1)
        assert done.result in (Result.POSTED, Result.NOTHING_TO_POST), done
        yield Reviewed(scene, bot, api, repo, pull)
    finally:
        api.close()
        bot.close()


@pytest.fixture
def posted(scene: Scene) -> Iterator[Reviewed]:
    yield from reviewed(scene)


@pytest.fixture
def held_back(scene: Scene) -> Iterator[Reviewed]:
    yield from reviewed(scene, post_share=0.0)


def test_nothing_happened_is_no_outcome_until_the_window_closes(posted: Reviewed) -> None:
    assert posted.collect() == []
    assert posted.collect(after_days=100) == [], "an open pull request is censored, however old"
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.collect(after_days=6) == []
    assert posted.final() == {"A": "not_taken", "B": "not_taken"}
    assert posted.bot.state.rows("SELECT is_finished FROM pull")[0]["is_finished"] == 1


def test_the_button_beneath_a_suggestion_is_seen_with_its_trailer(posted: Reviewed) -> None:
    posted.hub.commit_suggestion(posted.repo, posted.pull, posted.comment)
    assert posted.collect() == ["committed_with_trailer", "lines_changed", "function_changed"]
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final() == {"A": "committed", "B": "not_taken"}


def test_a_suggestion_typed_by_hand_counts_by_its_content_alone(posted: Reviewed) -> None:
    posted.edit("        total =+ v", "        total +=  v", message="wip")
    assert "committed_content" in posted.collect()


def test_another_repair_of_the_flagged_line_is_a_change(posted: Reviewed) -> None:
    posted.edit("        total =+ v", "        total = total + v")
    assert posted.collect() == ["lines_changed", "function_changed"]
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final()["A"] == "changed"


def test_a_squash_merge_of_a_committed_suggestion_still_counts(posted: Reviewed) -> None:
    posted.hub.commit_suggestion(posted.repo, posted.pull, posted.comment)
    posted.hub.merge(posted.repo, posted.pull, squash=True)
    assert posted.final()["A"] == "committed"


def test_held_back_findings_get_the_same_look_as_a_baseline(held_back: Reviewed) -> None:
    held_back.edit("        total =+ v", "        total += v")
    assert "lines_changed" in held_back.collect()
    held_back.hub.merge(held_back.repo, held_back.pull)
    assert held_back.final() == {"A": "committed", "B": "not_taken"}
    [row] = held_back.bot.store.rows("SELECT detail FROM outcome WHERE rule LIKE 'final%' AND label = 'A'")
    assert json.loads(row["detail"])["is_posted"] is False
    assert held_back.bot.store.rows("SELECT count(*) AS n FROM exposure")[0]["n"] == 0


def test_an_edit_elsewhere_in_the_function_is_the_weak_signal_only(posted: Reviewed) -> None:
    posted.edit("    total = 0\n", "    total = 0.0\n")
    assert posted.collect() == ["function_changed"]


def test_lines_that_only_moved_are_untouched(posted: Reviewed) -> None:
    posted.edit("CONSTANT_0 = 0\n", "CONSTANT_0 = 0\nNEW = 1\nNEWER = 2\n")
    assert posted.collect() == []


def test_a_renamed_file_is_followed(posted: Reviewed) -> None:
    posted.hub.push(posted.repo, posted.pull, {"app.py": None, "lib/mean.py": AFTER})
    assert posted.collect() == []
    text = AFTER.replace("total =+ v", "total += v")
    posted.hub.push(posted.repo, posted.pull, {"lib/mean.py": text})
    assert "committed_content" in posted.collect()


def test_white_space_alone_is_no_change(posted: Reviewed) -> None:
    posted.edit("        total =+ v", "        total  =+  v")
    assert posted.collect() == ["lines_reformatted"]
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final()["A"] == "not_taken"


def test_a_deleted_file_is_unknown_not_a_repair(posted: Reviewed) -> None:
    posted.hub.push(posted.repo, posted.pull, {"app.py": None, "new.py": "x = 1\n"})
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final()["A"] == "unknown"


def test_what_the_base_branch_changed_is_not_the_authors_answer(posted: Reviewed) -> None:
    main = posted.hub.advance_main(posted.repo, {"app.py": BEFORE.replace("CONSTANT_3 = 3", "A = 1\nB = 2\nC = 3")})
    tree = posted.repo.git("merge-tree", "--write-tree", main, posted.pull.head).split("\n")[0]
    commit = posted.repo.git("commit-tree", tree, "-p", posted.pull.head, "-p", main, "-m", "Merge main")
    posted.hub.set_head(posted.repo, posted.pull, commit)
    assert posted.collect() == []
    posted.edit("        total =+ v", "        total += v")
    assert "committed_content" in posted.collect()


def test_a_rebase_and_forced_push_keeps_the_place(posted: Reviewed) -> None:
    main = posted.hub.advance_main(posted.repo, {"app.py": "# licence\n# text\n" + BEFORE})
    posted.hub.set_head(
        posted.repo, posted.pull, posted.repo.write(main, {"app.py": "# licence\n# text\n" + AFTER}, "Rebased")
    )
    assert posted.collect() == []
    posted.edit("        total =+ v", "        total = total + v")
    assert "lines_changed" in posted.collect()


def test_a_repair_within_days_after_the_merge_counts(posted: Reviewed) -> None:
    posted.hub.merge(posted.repo, posted.pull)
    text = posted.repo.text("main", "app.py") or ""
    posted.hub.advance_main(posted.repo, {"app.py": text.replace("total =+ v", "total = total + v")}, "Fix mean")
    assert posted.final()["A"] == "changed"
    assert "final_merged_changed_after_merge" in posted.collect()


def test_a_pull_request_that_was_given_up_decides_nothing(posted: Reviewed) -> None:
    posted.hub.close(posted.repo, posted.pull)
    assert posted.final() == {"A": "unknown", "B": "unknown"}


def test_reactions_are_kept_with_their_history_and_only_of_people(posted: Reviewed) -> None:
    posted.hub.react(posted.comment, "+1", by="author")
    posted.hub.react(posted.comment, "+1", by="other[bot]")
    posted.hub.react(posted.comment, "eyes", by="reviewer")
    posted.hub.react(posted.comment, "rocket", by="codetrial[bot]")
    assert sorted(posted.collect()) == ["reaction_neutral", "reaction_positive"]
    assert len(posted.collect()) == 2, "seen once is written once"
    posted.hub.unreact(posted.comment, "+1", by="author")
    posted.hub.react(posted.comment, "-1", by="author")
    assert sorted(posted.collect())[-2:] == ["reaction_positive", "reaction_withdrawn"]
    assert "reaction_negative" in posted.collect()


def test_resolving_counts_only_by_a_person(posted: Reviewed) -> None:
    posted.hub.resolve(posted.repo, posted.pull, posted.comment, by="author")
    assert posted.collect() == ["resolved_person"]
    posted.comment.resolved_by = None
    assert posted.collect()[-1] == "resolved_undone"


def test_a_clearing_out_of_all_threads_is_named_as_such(posted: Reviewed) -> None:
    posted.hub.review_by(posted.repo, posted.pull, [{"path": "app.py", "line": LINE, "body": "hm"}], by="reviewer")
    for comment in posted.pull.comments:
        posted.hub.resolve(posted.repo, posted.pull, comment, by="author")
    assert set(posted.collect()) == {"resolved_sweep"}


def test_replies_are_classed_and_a_bots_reply_is_none(posted: Reviewed) -> None:
    posted.hub.reply(posted.repo, posted.pull, posted.comment, "Good catch, fixed!", by="author")
    posted.hub.reply(posted.repo, posted.pull, posted.comment, "Great catch!", by="other[bot]")
    assert posted.collect() == ["reply_agree"]
    assert posted.collect() == ["reply_agree"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Thanks, but this is a false positive.", "refute"),
        ("> Good catch?\n\nThis is intentional.", "refute"),
        ("You're right.", "agree"),
        ("What would you do instead?", "ask"),
        ("See the ticket.", "other"),
    ],
)
def test_a_refusal_wins_over_politeness(text: str, kind: str) -> None:
    assert reply_kind(text) == kind


def test_hidden_and_deleted_comments_are_dismissals(posted: Reviewed) -> None:
    posted.hub.minimize(posted.comment, "off-topic")
    assert posted.collect() == ["minimised_off-topic"]
    posted.pull.comments.remove(next(c for c in posted.pull.comments if "Callers" in c.body))
    assert posted.collect()[-1] == "deleted"
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final() == {"A": "dismissed", "B": "dismissed"}


def test_one_broken_thread_does_not_hide_the_others_or_look_deleted(posted: Reviewed) -> None:
    broken, whole = posted.pull.comments
    posted.hub.broken_threads.add(broken.id)
    posted.hub.react(whole, "+1", by="author")
    assert posted.collect() == ["reaction_positive"]


def test_what_has_not_changed_costs_one_query_and_nothing_of_the_rest_limit(posted: Reviewed) -> None:
    posted.collect()
    used, points = posted.hub.used, posted.hub.points
    result = collect(posted.bot, posted.api)
    assert (result.pulls, result.unchanged, result.calls) == (1, 1, 1)
    assert (posted.hub.used - used, posted.hub.points - points) == (0, 1)


def test_a_deleted_repository_ends_the_window_with_unknowns(posted: Reviewed) -> None:
    posted.repo.is_deleted = True
    assert posted.final(after_days=0) == {"A": "unknown", "B": "unknown"}
    assert posted.bot.state.rows("SELECT is_finished FROM pull")[0]["is_finished"] == 1


def test_other_reviewers_remarks_are_observed_as_outside_arms(posted: Reviewed) -> None:
    posted.hub.review_by(posted.repo, posted.pull, [{"path": "app.py", "line": LINE, "body": "typo?"}], by="reviewer")
    posted.hub.review_by(
        posted.repo, posted.pull, [{"path": "app.py", "line": LINE + 5, "body": "x"}], by="rabbit[bot]"
    )
    posted.collect()
    posted.edit("        total =+ v", "        total = total + v")
    posted.hub.merge(posted.repo, posted.pull)
    posted.final()
    rows = posted.bot.store.rows("SELECT detail FROM incident WHERE kind = 'outside_finding'")
    seen = {(json.loads(row["detail"])["is_bot"], json.loads(row["detail"])["fate"]) for row in rows}
    assert seen == {(False, "changed"), (True, "untouched")}
    assert "reviewer" not in json.dumps(rows)
