"""Signals that look like an answer to a finding and are none, or that are one and do not look so."""

import json
from collections.abc import Callable, Iterator

import pytest

from codetrial.clock import now_utc
from codetrial.errors import StoreError
from pr_bot.collecting import collect
from pr_bot.github import RateLimited
from pr_bot.threads import THREADS_QUERY
from tests.fakehub.graph import points
from tests.pr_bot.conftest import Scene
from tests.pr_bot.models import finding
from tests.pr_bot.test_collecting import AFTER, BEFORE, LINE, OTHER, WRONG, Reviewed, reviewed

HEAD_LINE = LINE - 3
"""Of `def mean(values):`, which the pull request shows and does not change."""


@pytest.fixture
def posted(scene: Scene) -> Iterator[Reviewed]:
    yield from reviewed(scene)


@pytest.fixture
def on_context(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reviewed]:
    """Arm A's finding stands on a line of the base that the pull request only shows."""
    from tests.pr_bot import test_collecting

    context = finding(start_line=HEAD_LINE, end_line=HEAD_LINE, quote="def mean(values):", title="It has no types",
                      body="Callers have to guess.")  # fmt: skip
    monkeypatch.setattr(test_collecting, "WRONG", context)
    yield from reviewed(scene)


def merge_main_in(case: Reviewed, old: str, new: str) -> None:
    """The base changes a line, and its author merges that into the pull request, as text: git calls it a conflict."""
    main = case.hub.advance_main(case.repo, {"app.py": BEFORE.replace(old, new)})
    head = case.pull.head
    text = (case.repo.text(head, "app.py") or "").replace(old, new)
    case.hub.set_head(case.repo, case.pull, case.repo.write(head, {"app.py": text}, "Merge main", parents=(head, main)))


@pytest.mark.parametrize("squash", [False, True])
def test_where_the_base_changed_the_flagged_line_itself_the_fate_is_unknown(on_context: Reviewed, squash: bool) -> None:
    merge_main_in(on_context, "def mean(values):", "def mean(values: list[float]):")
    assert "lines_changed" not in on_context.collect()
    assert "lines_base_changed" in on_context.collect()
    on_context.hub.merge(on_context.repo, on_context.pull, squash=squash)
    assert on_context.final()["A"] == "unknown"


def test_where_the_base_changed_the_line_beside_it_the_authors_answer_still_counts(on_context: Reviewed) -> None:
    merge_main_in(on_context, "CONSTANT_11 = 11", "CONSTANT_11 = 12")
    assert on_context.collect() == []
    on_context.edit("def mean(values):", "def mean(values: list[float]) -> float:")
    assert "lines_changed" in on_context.collect()


@pytest.mark.parametrize(
    ("message", "committer", "rule"),
    [
        ("Apply suggestion from @codetrial[bot]\n\nCo-authored-by: codetrial[bot] <1+x@users.noreply.github.com>",
         "GitHub", "committed_with_trailer"),
        ("Apply suggestions from code review\n\nCo-authored-by: codetrial[bot] <1+x@users.noreply.github.com>",
         "GitHub", "committed_with_trailer"),
        ("Apply suggestions from code review", "GitHub", "committed_with_trailer"),
        ("Update app.py\n\nCo-authored-by: codetrial[bot] <1+x@users.noreply.github.com>",
         "GitHub", "committed_with_trailer"),
        ("Apply suggestions from code review", "dev", "committed_content"),
        ("fix the sum", "GitHub", "committed_content"),
        ("wip", "dev", "committed_content"),
    ],
    ids=["single", "batch", "batch-of-ones-own", "older-single", "forged-subject", "web-editor", "by-hand"],
)  # fmt: skip
def test_each_form_of_the_button_is_known_and_only_the_content_decides(
    posted: Reviewed, message: str, committer: str, rule: str
) -> None:
    posted.edit("        total =+ v", "        total += v", message=message, committer=committer)
    assert rule in posted.collect()


def test_the_usual_subject_without_the_text_is_no_commitment(posted: Reviewed) -> None:
    posted.edit("def other():", "def another():", message="Apply suggestion from @codetrial[bot]", committer="GitHub")
    assert not any(rule.startswith("committed") for rule in posted.collect())


def test_a_suggestion_taken_and_taken_back_was_taken(posted: Reviewed) -> None:
    posted.edit("        total =+ v", "        total += v")
    posted.edit("        total += v", "        total =+ v")
    assert "committed_content" in posted.collect()
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.final()["A"] == "committed"


def test_half_of_a_suggestion_is_a_change_and_not_a_commitment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.pr_bot import test_collecting

    two = {**WRONG, "suggestion": "        total += v\n        count += 1"}
    monkeypatch.setattr(test_collecting, "WRONG", two)
    for case in reviewed(scene):
        case.edit("        total =+ v", "        total += v")
        rules = case.collect()
        assert "lines_changed" in rules
        assert not any(rule.startswith("committed") for rule in rules)


def test_a_suggestion_that_stands_beside_the_line_already_proves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.pr_bot import test_collecting

    there = {**WRONG, "suggestion": "    for v in values:"}
    monkeypatch.setattr(test_collecting, "WRONG", there)
    for case in reviewed(scene):
        case.edit("def other():", "def another():")
        assert not any(rule.startswith("committed") for rule in case.collect())


def test_github_repoints_its_review_after_a_forced_push_and_ours_stays(posted: Reviewed) -> None:
    head = posted.pull.head
    start = posted.repo.git("rev-parse", "main")
    posted.hub.set_head(posted.repo, posted.pull, posted.repo.write(start, {"app.py": "# new\n" + AFTER}, "Rebased"))
    assert posted.pull.reviews[0].commit_id == posted.pull.head != head
    assert {row["head"] for row in posted.bot.state.rows("SELECT head FROM finding")} == {head}
    assert posted.collect() == []


def test_who_reacts_with_everything_counts_once_a_kind_and_who_left_is_a_ghost(posted: Reviewed) -> None:
    for what in ("+1", "heart", "-1"):
        posted.hub.react(posted.comment, what, by="author")
    assert sorted(posted.collect()) == ["reaction_negative", "reaction_positive", "reaction_positive"]


def test_a_limit_in_the_middle_keeps_what_was_seen_and_goes_on_later(posted: Reviewed) -> None:
    posted.hub.react(posted.comment, "+1", by="author")
    posted.hub.fail("GET", r"/reactions$", 429, headers={"Retry-After": "900"})
    with pytest.raises(RateLimited):
        collect(posted.bot, posted.api)
    assert posted.collect() == ["reaction_positive"]


def test_points_are_counted_as_githubs_own_example_counts_them() -> None:
    """By "Rate limits and query limits for the GraphQL API": 1 + 50 + 1,000 requests are 11 points."""
    example = """{ viewer { repositories(first: 50) { edges { node { pullRequests(first: 20) { edges { node {
        comments(first: 10) { edges { node { body } } } } } } } } } } }"""
    assert points(example) == 11
    assert points(THREADS_QUERY) == 1


def test_graphqls_limit_comes_with_status_200_and_stops_the_look(posted: Reviewed) -> None:
    posted.hub.points = posted.hub.limit
    with pytest.raises(RateLimited, match="rate limit exceeded") as limit:
        collect(posted.bot, posted.api)
    assert 3000 < limit.value.retry_after_s <= 3600, "until GitHub's hour begins again"


def test_a_look_that_was_cut_off_before_the_store_had_it_loses_nothing_and_repeats_nothing(
    posted: Reviewed, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted.edit("        total =+ v", "        total += v")
    posted.hub.react(posted.comment, "+1", by="author")
    # Once before the store has the rows, and once before the bot knows that it has.
    for cut_off in (full, then(posted.bot.store.append, full)):
        with monkeypatch.context() as patched:
            patched.setattr(posted.bot.store, "append", cut_off)
            with pytest.raises(StoreError):
                collect(posted.bot, posted.api)
    seen = sorted(posted.collect())
    assert seen == ["committed_content", "function_changed", "lines_changed", "reaction_positive"]
    assert posted.bot.state.rows("SELECT * FROM outbox") == []


def full(*_: object) -> None:
    raise StoreError("the disk is full")


def then(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def both(*rows: object) -> None:
        first(*rows)
        second()

    return both


def test_the_outcomes_tell_open_pull_requests_from_closed_windows(posted: Reviewed) -> None:
    posted.hub.merge(posted.repo, posted.pull)
    assert posted.collect(after_days=6.9) == []
    posted.collect(after_days=7.1)
    rows = posted.bot.store.rows("SELECT detail FROM outcome WHERE rule LIKE 'final%'")
    assert {json.loads(row["detail"])["ended"] for row in rows} == {"merged"}


@pytest.mark.parametrize("pulls", [40])
def test_five_hundred_open_pull_requests_fit_into_the_hourly_limit(scene: Scene, pulls: int) -> None:
    """Each costs the same: nothing of the REST limit and a point of GraphQL's. `python -m bench pr` looks at 500."""
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    first = scene.hub.open_pull(repo, {"app.py": AFTER})
    for _ in range(pulls - 1):
        scene.hub.open_pull(repo, {}, head=first.head)
    bot, api = scene.bot([WRONG], [OTHER]), scene.api()
    try:
        assert bot.review(api, "octo/app", 1).detail
        for number in range(2, pulls + 1):
            bot._remember(api.pull("octo/app", number))
            with bot.state.transaction() as db:
                db.execute(
                    "INSERT INTO finding SELECT id || ?, ?, task, label, assignment, stratum, head, merge_base, path, "
                    "side, start_line, end_line, anchor, place_key, words, suggestion, marker, is_posted, rank, "
                    "near_posted, NULL, created_at FROM finding WHERE pull = 'octo/app#1'",
                    (f"-{number}", f"octo/app#{number}"),
                )  # fmt: skip
        cold = collect(bot, api, now=now_utc())
        before, points = len(scene.hub.calls), scene.hub.points
        warm = collect(bot, api, now=now_utc())
        calls = scene.hub.calls[before:]
    finally:
        api.close()
        bot.close()
    free = sum(call.status == 304 for call in calls)
    queries = sum(call.path == "/graphql" for call in calls)
    assert (warm.pulls, warm.unchanged, free, queries) == (pulls, pulls, pulls, pulls)
    assert len(calls) == 2 * pulls, "nothing else is asked"
    assert scene.hub.points - points == pulls, "GitHub counts what a query may have to open, not queries"
    per_pull = cold.calls / pulls
    assert 500 * per_pull <= 5_000, "even the first look at all of them fits"
    assert 2 * 500 * warm.calls / pulls <= 5_000, "and so do two looks an hour"
