"""What GitHub, a change, or a stranger can come up with, through the whole bot: seen by people, and never lost."""

import logging
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pr_bot import github, posting
from pr_bot.github import Forbidden, GitHubError, Missing, RateLimited, Refused
from pr_bot.identity import Identity
from pr_bot.pulls import Result
from pr_bot.render import MAX_BODY_CHARS, last_marker, markers
from pr_bot.settings import ReviewSettings
from pr_bot.state import MAX_TRIES, State
from pr_bot.work import do
from tests.fakehub.state import Pull, Repo
from tests.pr_bot.conftest import Scene, ScriptedReviewer
from tests.pr_bot.models import finding

BEFORE = "def mean(values):\n    return sum(values) / len(values)\n"
AFTER = "def mean(values):\n    total = 0\n    for v in values:\n        total =+ v\n    return total / len(values)\n"
WRONG = finding(start_line=4, end_line=4, quote="total =+ v", title="`=+` assigns instead of adding",
                body="Only the last value is kept.")  # fmt: skip


@pytest.fixture
def pull(scene: Scene) -> tuple[Repo, Pull]:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    return repo, scene.hub.open_pull(repo, {"app.py": AFTER})


def state_seen(repo: Repo) -> tuple[str, str]:
    """What a person sees at the head of the pull request."""
    output = repo.check_runs[-1]["output"]
    assert repo.check_runs[-1]["conclusion"] in (None, "neutral"), "it must never block a merge"
    return output["title"], output["summary"]


def odd_change(repo: Repo, entries: dict[str, tuple[str, bytes]]) -> str:
    """A commit on main with entries of any mode: links, submodules, binaries."""
    index = {"GIT_INDEX_FILE": str(repo.folder / "odd.index")}
    main = repo.git("rev-parse", "main")
    repo.git("read-tree", main, extra=index)
    for path, (mode, content) in entries.items():
        name = main if mode == "160000" else repo.git("hash-object", "-w", "--stdin", stdin=content)
        repo.git("update-index", "--add", "--cacheinfo", mode, name, path, extra=index)
    return repo.git("commit-tree", repo.git("write-tree", extra=index), "-p", main, "-m", "Odd")


# --- odd changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"logo.png": ("100644", b"\x89PNG\0\1\2")}, "binary"),
        ({"lib": ("160000", b""), ".gitmodules": ("100644", b'[submodule "lib"]\n path = lib\n url = ext::touch x\n')},
         "submodule"),
        ({"big.psd": ("100644", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n")}, None),
        ({"link": ("120000", b"/etc/passwd")}, None),
        ({"app.py": ("100755", BEFORE.encode())}, "no lines"),
    ],
    ids=["binary", "submodule", "lfs-pointer", "link", "mode"],
)  # fmt: skip
def test_what_is_no_text_is_left_out_and_named(
    scene: Scene, entries: dict[str, tuple[str, bytes]], reason: str | None
) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    pr = scene.hub.open_pull(repo, {}, head=odd_change(repo, entries))
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        done = bot.review(api, "octo/app", 1)
    assert done.result is Result.POSTED, done
    if reason is not None:
        assert f"`{next(iter(entries))}` ({reason})" in pr.reviews[0].body
    prompt = scene.arms["alpha"].prompts[0].user
    assert "root:" not in prompt, "a link is not followed"


def test_a_change_of_nothing_is_said_to_be_nothing(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    pr = scene.hub.open_pull(repo, {"app.py": BEFORE})
    with closing(scene.bot([WRONG], [WRONG])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.SKIPPED
    assert state_seen(repo) == ("Nothing to review", "The change has no lines that can be reviewed.")
    assert pr.reviews == []
    assert scene.arms["alpha"].prompts == []


HOSTILE_NAMES = [
    "with space.py", 'quo"te.py', "tab\there.py", "back\\slash.py", "日本語.py", "$(touch x).py", "`id`.py",
    "@everyone.py", "#12.py", "<img src=x onerror=alert(1)>.py", "[x](evil.example).py", "-rf.py", ":(glob)**.py",
    "a/```suggestion.py", "<!-- codetrial:1:000000000000000000000000 -->.py", "new\nline.py", "\u202eyp.exe.py",
]  # fmt: skip


def test_hostile_file_names_carry_comments_like_any_other(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"README.md": "x\n"})
    pr = scene.hub.open_pull(repo, dict.fromkeys(HOSTILE_NAMES, AFTER))
    said = [{**WRONG, "path": name, "title": f"{word} is added wrongly", "body": f"Reason {word} {word}"}
            for name, word in zip(HOSTILE_NAMES, "abcdefghijklmnopq", strict=True)]  # fmt: skip
    bot = scene.bot(said, [], max_inline=12)
    with closing(bot), scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
        exposed = bot.store.rows("SELECT count(*) AS n FROM exposure")[0]["n"]
    assert len(pr.comments) == 12
    assert {comment.path for comment in pr.comments} <= set(HOSTILE_NAMES)
    [review] = pr.reviews
    assert exposed == len(HOSTILE_NAMES) == len(pr.comments) + len(markers(review.body)) - 1
    outside_code = re.sub(r"`+[^`]*`+", "", review.body)
    assert "@everyone" not in outside_code
    assert "<img" not in outside_code


def test_a_hostile_name_in_a_renamed_and_in_a_deleted_file(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"old `name`.py": AFTER, "gone @x.py": BEFORE})
    after = AFTER.replace("=+", "+=")
    pr = scene.hub.open_pull(repo, {"old `name`.py": None, "new <b>.py": after, "gone @x.py": None})
    renamed = finding(path="old `name`.py", side="LEFT", start_line=4, end_line=4, quote="total =+ v", title="Old line")
    deleted = finding(path="gone @x.py", side="LEFT", start_line=1, end_line=2, quote="def mean(values):", title="Gone")
    with closing(scene.bot([renamed], [deleted])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert sorted((c.path, c.side, c.start_line, c.line) for c in pr.comments) == [
        ("gone @x.py", "LEFT", 1, 2), ("new <b>.py", "LEFT", None, 4)]  # fmt: skip


# --- GitHub says no --------------------------------------------------------------------------------------------------


def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    from pr_bot.git import GitError, Repository

    def fail(*_: object) -> None:
        raise GitError("no network for git")

    monkeypatch.setattr(Repository, "fetch", fail)


def test_a_406_for_a_diff_too_large_is_seen_on_the_pull_request(
    scene: Scene, pull: tuple[Repo, Pull], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_git(monkeypatch)
    scene.hub.fail(
        "GET", r"/pulls/1/files$", 406, message="Sorry, the diff exceeded the maximum number of files (300)."
    )
    bot = scene.bot([WRONG], [])
    with closing(bot), scene.api() as api, pytest.raises(Refused, match="maximum number of files"):
        bot.review(api, "octo/app", 1)
    assert state_seen(pull[0])[0] == "Not reviewed"
    assert "maximum number of files" in state_seen(pull[0])[1]
    assert scene.arms["alpha"].prompts == []


def test_a_change_of_more_than_300_files_is_read_by_git_where_the_api_would_say_406(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    pr = scene.hub.open_pull(repo, {"app.py": AFTER, **{f"d/{n}.txt": "x\n" for n in range(310)}})
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert [comment.line for comment in pr.comments] == [4]


def test_the_apis_own_gaps_are_stated_where_git_cannot_help(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    without_git(monkeypatch)
    monkeypatch.setattr(github, "MAX_FILES", 3)
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE, "old.py": AFTER})
    pr = scene.hub.open_pull(
        repo, {"app.py": AFTER, "logo.png": b"\0\1\2", "old.py": None, "new name.py": AFTER.replace("=+", "+=")}
    )
    renamed = finding(path="new name.py", start_line=4, end_line=4, quote="total += v", title="Now it adds")
    with closing(scene.bot([WRONG], [renamed])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert sorted((c.path, c.line) for c in pr.comments) == [("app.py", 4), ("new name.py", 4)]
    assert "`logo.png` (no patch from GitHub: binary or too large)" in pr.reviews[0].body
    assert "(further files)" in pr.reviews[0].body


def test_a_base_branch_that_is_gone_is_reviewed_by_its_commit(scene: Scene, pull: tuple[Repo, Pull]) -> None:
    repo, pr = pull
    repo.base_commit(pr)
    repo.git("update-ref", "-d", "refs/heads/main")
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert [comment.line for comment in pr.comments] == [4]


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_repository_that_is_deleted_ends_the_review_and_nothing_is_posted(
    scene: Scene, pull: tuple[Repo, Pull], when: str
) -> None:
    repo, pr = pull
    bot = scene.bot([WRONG], [])
    if when == "before":
        repo.is_deleted = True
    else:
        during(scene, lambda: setattr(repo, "is_deleted", True))
    with closing(bot), scene.api() as api, pytest.raises(Missing, match="gone"):
        bot.review(api, "octo/app", 1)
    assert pr.reviews == []


def during(scene: Scene, what: Any) -> None:
    """Let something happen at GitHub while the arms read."""

    class Interrupted(ScriptedReviewer):
        async def review(self, prompt: Any, *, deadline_s: float) -> Any:
            what()
            return await super().review(prompt, deadline_s=deadline_s)

    scene.arms["alpha"] = Interrupted(scene.arms["alpha"].findings)


def test_a_forced_push_during_the_review_overtakes_it_and_the_new_head_gets_its_own(
    scene: Scene, pull: tuple[Repo, Pull]
) -> None:
    repo, pr = pull
    bot = scene.bot([WRONG], [])
    start = repo.git("rev-parse", "main")
    during(scene, lambda: scene.hub.set_head(repo, pr, repo.write(start, {"app.py": AFTER + "# more\n"}, "Rebased")))
    with closing(bot), scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.SKIPPED
        assert pr.reviews == []
        assert [row["kind"] for row in bot.store.rows("SELECT kind FROM incident")] == ["overtaken"]
        scene.arms["alpha"] = ScriptedReviewer([WRONG])
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert [comment.line for comment in pr.comments] == [4], "it was never shown, so it is no repetition"


def test_a_revoked_permission_is_seen_where_it_can_still_be_seen(scene: Scene, pull: tuple[Repo, Pull]) -> None:
    repo, pr = pull
    scene.hub.fail("GET", r"/pulls/1/reviews$", 403, times=99, message="Resource not accessible by integration")
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
        assert bot.store.rows("SELECT json_extract(detail, '$.how') AS how FROM incident") == [{"how": "check"}]
    assert pr.reviews == []
    shown = [run["output"]["summary"] for run in repo.check_runs]
    assert any("assigns instead of adding" in text for text in shown)


def test_without_any_permission_left_the_job_says_so(scene: Scene, pull: tuple[Repo, Pull]) -> None:
    bot = scene.bot([WRONG], [])
    with (
        closing(bot),
        scene.api(permissions={"contents": "read"}) as api,
        pytest.raises(Forbidden, match="permissions"),
    ):
        bot.review(api, "octo/app", 1)
    assert pull[1].reviews == []


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {}, 60.0),
        (429, {"Retry-After": "3"}, 3.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, 1.0),
    ],
    ids=["bare-429", "429", "primary"],
)
def test_each_way_to_say_too_much_is_waited_for(
    scene: Scene, pull: tuple[Repo, Pull], status: int, headers: dict[str, str], waits: float
) -> None:
    scene.hub.fail("POST", r"/pulls/1/reviews$", status, headers=headers, message="Slow down")
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert scene.slept == [waits]
    assert len(pull[1].reviews) == 1


def test_a_failing_read_is_repeated_and_a_failing_check_does_not_stop_the_review(
    scene: Scene, pull: tuple[Repo, Pull]
) -> None:
    scene.hub.fail("GET", r"/pulls/1$", 502)
    scene.hub.fail("*", r"/check-runs", 500, times=99)
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert len(pull[1].reviews) == 1


def test_a_check_is_written_once_though_its_answer_is_lost(scene: Scene, pull: tuple[Repo, Pull]) -> None:
    scene.hub.fail("POST", r"/check-runs$", 502, after=True)
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    repo, _ = pull
    assert [(run["status"], run["output"]["title"]) for run in repo.check_runs] == [("completed", "Reviewed")]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Scene) -> State:
    monkeypatch.setenv("GITHUB_TOKEN", scene.hub.token("codetrial[bot]"))
    monkeypatch.setenv("GITHUB_API_URL", scene.hub.url)
    return State(tmp_path / "queue.db")


def test_every_log_line_of_a_job_names_its_delivery(
    scene: Scene, pull: tuple[Repo, Pull], queue: State, caplog: pytest.LogCaptureFixture
) -> None:
    scene.hub.fail("GET", r"/pulls/1$", 403, message="Resource not accessible by integration")
    need = {"repository": "octo/app", "number": 1}
    with queue, closing(scene.bot([], [])) as bot, closing(Identity(pace_s=0)) as identity, caplog.at_level("INFO"):
        for number in range(2):
            queue.accept(f"delivery-{number}", f"hash-{number}", "pull_request", [("review", "octo/app#1", need)])
            job = queue.claim("w")
            assert job is not None
            do(queue, job, bot, identity)
    lines = [record.getMessage() for record in caplog.records if record.name == "pr_bot.work"]
    assert "delivery-0" in lines[0]
    assert "given up" in lines[0]
    assert "delivery-1" in lines[1]


def test_after_the_last_try_a_person_is_told_and_the_job_keeps_its_error(
    scene: Scene, pull: tuple[Repo, Pull], queue: State
) -> None:
    scene.hub.fail("POST", r"/pulls/1/reviews$", 503, times=999)
    queue.put("review", "octo/app#1", {"repository": "octo/app", "number": 1})
    with queue, closing(scene.bot([WRONG], [])) as bot, closing(Identity(pace_s=0)) as identity:
        clock = queue.now
        for tries in range(MAX_TRIES):
            queue.now = lambda ahead=tries: clock() + 4_000.0 * (ahead + 1)  # type: ignore[misc]
            job = queue.claim("w")
            assert job is not None
            do(queue, job, bot, identity)
        assert queue.counts() == {"failed": 1}
        assert "Server Error" in queue.rows("SELECT error FROM job")[0]["error"]
    title, summary = state_seen(pull[0])
    assert title == "Not reviewed"
    assert summary.startswith("Given up: ")
    assert len(scene.arms["alpha"].prompts) == 1, "no try asks the arms again"


def test_an_error_of_our_own_is_tried_again_and_ends_nothing(
    scene: Scene, pull: tuple[Repo, Pull], queue: State
) -> None:
    class Broken(ScriptedReviewer):
        async def review(self, prompt: Any, *, deadline_s: float) -> Any:
            raise ZeroDivisionError

    queue.put("review", "octo/app#1", {"repository": "octo/app", "number": 1})
    with queue, closing(scene.bot([], [])) as bot, closing(Identity(pace_s=0)) as identity:
        scene.arms["alpha"] = Broken([])
        job = queue.claim("w")
        assert job is not None
        do(queue, job, bot, identity)
        [row] = queue.rows("SELECT state, error FROM job")
    assert (row["state"], "codetrial itself" in row["error"]) == ("queued", True)


# --- models say too much ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["", "no JSON", "[" * 100_000, "x" * 500_000, '{"findings": "none"}'])
def test_unusable_answers_of_both_arms_are_seen_as_such(scene: Scene, pull: tuple[Repo, Pull], answer: str) -> None:
    with closing(scene.bot(answer, answer)) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.FAILED
        assert {row["error_kind"] for row in bot.store.rows("SELECT error_kind FROM attempt")} == {"bad_json"}
    title, summary = state_seen(pull[0])
    assert (title, "bad_json" in summary) == ("Not reviewed", True)
    assert pull[1].reviews == []


def test_a_review_longer_than_github_takes_says_what_it_left_out(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": "x = 1\n"})
    body = "".join(f"value_{n} = {n}\n" for n in range(400))
    pr = scene.hub.open_pull(repo, {"app.py": body})
    long = [
        finding(start_line=n * 5 + 1, end_line=n * 5 + 1, quote=f"value_{n * 5}", severity="minor",
                title=f"{arm}{n} is wrong", body=f"{arm}word{n} " * 400, suggestion="(" * 6_000)
        for arm in "a" for n in range(40)
    ]  # fmt: skip
    bot = scene.bot(long[:20], long[20:], max_inline=1)
    with closing(bot), scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
        exposed = bot.store.rows("SELECT count(*) AS n FROM exposure")[0]["n"]
        [incident] = bot.store.rows("SELECT count FROM incident WHERE kind = 'did_not_fit'")
    [review] = pr.reviews
    assert len(review.body) <= MAX_BODY_CHARS
    assert "more did not fit." in review.body
    assert exposed == len(pr.comments) + len(markers(review.body)) - 1, "exposed is what can be seen"
    assert exposed + incident["count"] == 40
    assert last_marker(review.body) is not None


def test_nobody_can_ask_for_more_comments_than_github_takes_at_once() -> None:
    with pytest.raises(msgspec.ValidationError, match="max_inline"):
        msgspec.convert({"max_inline": 16}, ReviewSettings)


# --- nothing leaks ---------------------------------------------------------------------------------------------------

SECRET = "ghp_" + "a1B2c3D4e5" * 4


def test_secrets_in_a_change_reach_no_model_and_no_page(scene: Scene) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE})
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    pr = scene.hub.open_pull(repo, {"app.py": AFTER + f'TOKEN = "{SECRET}"\nAWS = "{key}"\n'}, body=f"uses {SECRET}")
    said = finding(start_line=6, end_line=6, quote="TOKEN =", title=f"A token: {SECRET}", body=f"Remove {key}",
                   severity="critical", category="security", suggestion=f'TOKEN = "{SECRET}x"')  # fmt: skip
    bot = scene.bot([said], [], arms={"a": {"url": "https://models.example/v1"}})
    with closing(bot), scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    prompt = scene.arms["alpha"].prompts[0]
    for text in (prompt.user, prompt.system, pr.reviews[0].body, *(comment.body for comment in pr.comments)):
        assert SECRET not in text
        assert key not in text


def test_logs_hold_no_token_and_no_code_at_their_most_talkative(
    scene: Scene, pull: tuple[Repo, Pull], caplog: pytest.LogCaptureFixture
) -> None:
    scene.hub.fail(
        "POST", r"/pulls/1/reviews$", 422, message="Unprocessable Entity", errors=["Line could not be resolved"]
    )
    with caplog.at_level(logging.DEBUG), closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        token = api.token()
        bot.review(api, "octo/app", 1)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("pr_bot"))
    everything = "\n".join(record.getMessage() for record in caplog.records)
    assert "total =+ v" not in ours
    assert token not in everything


@pytest.mark.parametrize("how", ["hash", "none"])
def test_the_store_keeps_no_name_and_without_leave_no_text(
    scene: Scene, pull: tuple[Repo, Pull], tmp_path: Path, how: str
) -> None:
    scene.hub.open_pull(pull[0], {"app.py": AFTER}, by="gwendolyn")
    bot = scene.bot([WRONG], [], more=f'[store]\nstore_text = "{how}"\n')
    with closing(bot), scene.api() as api:
        assert bot.review(api, "octo/app", 2).result is Result.POSTED
        assert bot.store.rows("SELECT count(*) AS n FROM text")[0]["n"] == 0
    data = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    for private in (b"gwendolyn", b"octo/app", b"app.py", b"total =+ v", b"assigns instead"):
        assert private not in data, private


@pytest.mark.parametrize(
    "table",
    ['[arms.a]\nurl = "http://evil.example"\n', "post_share = 1.0\n", "max_usd = 100\n", "always_post = []\n",
     'guidelines = "../../etc/passwd"\n', "x = [\n", "max_inline = 0\n", "ignore = 3\n", "y" * 30_000],
)  # fmt: skip
def test_a_repository_may_not_say_more_than_less(scene: Scene, table: str) -> None:
    repo = scene.hub.repository("octo/app", {"app.py": BEFORE, ".codetrial/review.toml": table})
    scene.hub.open_pull(repo, {"app.py": AFTER})
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.FAILED
    assert state_seen(repo)[0] == "Not reviewed"
    assert scene.arms["alpha"].prompts == []


def test_the_bot_says_nothing_to_github_but_reviews_checks_and_comments(
    scene: Scene, pull: tuple[Repo, Pull], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It resolves, approves, edits and deletes nothing, so `contents: read` is enough."""
    from pr_bot import collecting, threads

    assert "mutation" not in threads.THREADS_QUERY
    with closing(scene.bot([WRONG], [])) as bot, scene.api() as api:
        bot.review(api, "octo/app", 1)
        collecting.collect(bot, api)
    written = {(call.method, re.sub(r"\d+", "N", call.path)) for call in scene.hub.calls if call.method != "GET"}
    assert written == {("POST", "/repos/octo/app/pulls/N/reviews"), ("POST", "/repos/octo/app/check-runs"),
                       ("PATCH", "/repos/octo/app/check-runs/N"), ("POST", "/graphql")}  # fmt: skip
    assert pull[1].reviews[0].state == "COMMENTED"


@pytest.mark.parametrize(
    ("status", "message", "headers", "kind"),
    [
        (401, "Bad credentials", {}, Forbidden), (403, "Resource not accessible", {}, Forbidden),
        (403, "You have exceeded a secondary rate limit", {}, RateLimited),
        (403, "x", {"Retry-After": "5"}, RateLimited),
        (403, "x", {"x-ratelimit-remaining": "0"}, RateLimited), (429, "x", {}, RateLimited),
        (422, "was submitted too quickly (abuse)", {}, RateLimited), (422, "Validation Failed", {}, Refused),
        (404, "Not Found", {}, Missing), (410, "Gone", {}, Missing), (451, "Blocked", {}, Missing),
        (406, "too large", {}, Refused), (500, "x", {}, github.Unavailable), (502, "", {}, github.Unavailable),
    ],
)  # fmt: skip
def test_each_refusal_is_known_for_what_it_is(
    status: int, message: str, headers: dict[str, str], kind: type[GitHubError]
) -> None:
    fault = github.classify("Reading", status, {"message": message}, headers)
    assert type(fault) is kind
    assert str(fault).startswith("Reading: ")


def test_a_line_range_is_posted_with_both_ends_and_a_single_line_with_one(
    scene: Scene, pull: tuple[Repo, Pull]
) -> None:
    both = finding(start_line=2, end_line=4, quote="total = 0", title="The loop could be sum")
    with closing(scene.bot([both], [WRONG])) as bot, scene.api() as api:
        assert bot.review(api, "octo/app", 1).result is Result.POSTED
    assert sorted((c.start_line or 0, c.line or 0) for c in pull[1].comments) == [(0, 4), (2, 4)]


def test_the_summary_of_a_check_is_never_longer_than_github_takes() -> None:
    assert posting.MAX_PAUSE_S <= 60
    assert MAX_BODY_CHARS < 65_535
