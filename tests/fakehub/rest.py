"""The REST operations that the bot uses, each under the name it has in GitHub's description."""

import base64
from typing import TYPE_CHECKING, Any

from .places import check_place
from .routing import Context, Reply, route
from .shapes import known_comment, known_pull, known_repo, known_review
from .state import PERMISSIONS, Review, Rule

if TYPE_CHECKING:
    from .hub import Hub

__all__: list[str] = []

MAX_BODY_CHARS = 65_536
MAX_DIFF_FILES = 300
MAX_DIFF_LINES = 20_000
REPO = "/repos/{owner}/{repo}"
PULL = f"{REPO}/pulls/{{pull_number}}"


@route("GET", "/user")
def user(hub: "Hub", context: Context) -> Reply:
    return Reply(context.actor.user.known())


@route("GET", "/app", "app:write")
def app(hub: "Hub", context: Context) -> Reply:
    return Reply({"id": 1, "slug": "codetrial", "name": "codetrial", "owner": context.actor.user.known(),
                  "permissions": PERMISSIONS, "events": ["pull_request"]})  # fmt: skip


@route("GET", "/rate_limit")
def rate_limit(hub: "Hub", context: Context) -> Reply:
    core = {"limit": hub.limit, "remaining": max(0, hub.limit - hub.used), "reset": 0, "used": hub.used}
    return Reply({"resources": {"core": core, "search": core}, "rate": core})


@route("POST", "/app/installations/{installation_id}/access_tokens", "app:write")
def installation_token(hub: "Hub", context: Context) -> Reply:
    number = int(context.path["installation_id"])
    if number not in hub.installations:
        raise Rule(404, "Not Found")
    wanted = (context.json or {}).get("permissions") or PERMISSIONS
    token = hub.token("codetrial[bot]", wanted)
    hub.actors[token].installation = number
    hub.actors[token].repositories = (context.json or {}).get("repositories")
    expires = hub.clock.now().replace(microsecond=0)
    return Reply({"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:59:59Z"), "permissions": wanted}, 201)


@route("GET", f"{REPO}/installation", "app:write")
def installation_of(hub: "Hub", context: Context) -> Reply:
    for number, entry in hub.installations.items():
        if context.repository.full_name in entry["repositories"]:
            return Reply({"id": number, "account": hub.user("octo").known(), "permissions": PERMISSIONS,
                          "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"})  # fmt: skip
    raise Rule(404, "Not Found")


@route("GET", "/app/hook/deliveries", "app:write")
def deliveries(hub: "Hub", context: Context) -> Reply:
    return Reply([{**entry, "delivered_at": hub.clock.text()} for entry in reversed(hub.deliveries)], is_list=True)


@route("GET", REPO)
def repository(hub: "Hub", context: Context) -> Reply:
    return Reply(known_repo(hub, context.repository))


@route("GET", f"{REPO}/pulls")
def pulls(hub: "Hub", context: Context) -> Reply:
    state = context.query.get("state", "open")
    found = [pull for pull in context.repository.pulls.values() if state in ("all", pull.state)]
    if context.query.get("sort") == "updated":
        found.sort(key=lambda pull: pull.updated_at, reverse=context.query.get("direction") == "desc")
    return Reply([known_pull(hub, context.repository, pull) for pull in found], is_list=True)


@route("GET", PULL)
def pull(hub: "Hub", context: Context) -> Reply:
    if "diff" in context.accept:
        out = context.repository.raw("diff", hub_merge_base(context), context.pull.head)
        files = context.repository.git("diff", "--name-only", hub_merge_base(context), context.pull.head).split("\n")
        if len(files) > MAX_DIFF_FILES or out.count(b"\n") > MAX_DIFF_LINES:
            raise Rule(406, "Sorry, the diff exceeded the maximum number of files (300).")
        return Reply(out, media="application/vnd.github.diff; charset=utf-8")
    return Reply(known_pull(hub, context.repository, context.pull))


def hub_merge_base(context: Context) -> str:
    return context.repository.merge_base(context.pull)


@route("GET", f"{PULL}/commits")
def commits(hub: "Hub", context: Context) -> Reply:
    found = []
    for sha in context.repository.commits(context.pull)[:250]:
        message = context.repository.git("log", "-1", "--format=%B", sha)
        name, email = context.repository.git("log", "-1", "--format=%cn%n%ce", sha).split("\n")
        found.append(
            {"sha": sha, "commit": {"message": message, "committer": {"name": name, "email": email}}, "parents": []}
        )
    return Reply(found, is_list=True)


@route("GET", f"{PULL}/files")
def files(hub: "Hub", context: Context) -> Reply:
    repo, base = context.repository, hub_merge_base(context)
    out = repo.raw("diff", "--raw", "-z", "-M", "--no-abbrev", base, context.pull.head).split(b"\0")
    found: list[dict[str, Any]] = []
    place = 0
    while place + 1 < len(out):
        meta = out[place].decode().split(" ")
        letter = meta[4][0]
        names = out[place + 1 : place + (3 if letter in "RC" else 2)]
        place += 1 + len(names)
        path = names[-1].decode("utf-8", "replace")
        text = repo.raw(
            "--literal-pathspecs",
            "diff",
            "-M",
            base,
            context.pull.head,
            "--",
            *[n.decode("utf-8", "replace") for n in names],
        )
        start = text.find(b"\n@@ ")
        status = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}[letter]
        entry: dict[str, Any] = {"sha": meta[3], "filename": path, "status": status}
        if len(names) == 2:
            entry["previous_filename"] = names[0].decode("utf-8", "replace")
        # GitHub leaves the patch out for binary and for very large files.
        if start >= 0 and len(text) < 1_000_000:
            entry["patch"] = text[start + 1 :].decode("utf-8", "replace").rstrip("\n")
        found.append(entry)
    return Reply(found[:3000], is_list=True)


@route("GET", f"{REPO}/compare/{{basehead}}")
def compare(hub: "Hub", context: Context) -> Reply:
    base, _, head = context.path["basehead"].partition("...")
    merge_base = context.repository.git("merge-base", base, head)
    return Reply({"merge_base_commit": {"sha": merge_base}, "base_commit": {"sha": base}, "commits": [], "files": [],
                  "status": "ahead"})  # fmt: skip


@route("GET", f"{REPO}/contents/{{path}}")
def contents(hub: "Hub", context: Context) -> Reply:
    ref = context.query.get("ref", "main")
    text = context.repository.text(ref, context.path["path"])
    if text is None:
        raise Rule(404, "Not Found")
    return Reply({"type": "file", "encoding": "base64", "content": base64.b64encode(text.encode()).decode(),
                  "path": context.path["path"], "name": context.path["path"].rsplit("/", 1)[-1], "size": len(text),
                  "sha": context.repository.git("rev-parse", f"{ref}:{context.path['path']}")})  # fmt: skip


@route("GET", f"{REPO}/collaborators/{{username}}/permission")
def permission(hub: "Hub", context: Context) -> Reply:
    level = context.repository.collaborators.get(context.path["username"], "read")
    return Reply({"permission": level, "role_name": level, "user": hub.user(context.path["username"]).known()})


# --- reviews ---------------------------------------------------------------------------------------------------------


@route("GET", f"{PULL}/reviews")
def reviews(hub: "Hub", context: Context) -> Reply:
    visible = [r for r in context.pull.reviews if r.state != "PENDING" or r.user == context.actor.user]
    return Reply([known_review(hub, context.repository, context.pull, review) for review in visible], is_list=True)


@route("POST", f"{PULL}/reviews", "pull_requests:write")
def create_review(hub: "Hub", context: Context) -> Reply:
    repo, pull, actor = context.repository, context.pull, context.actor
    event = context.json.get("event")
    commit = context.json.get("commit_id", pull.head)
    if any(review.state == "PENDING" and review.user == actor.user for review in pull.reviews):
        raise Rule(422, "Unprocessable Entity", ["User can only have one pending review per pull request"])
    if event in ("COMMENT", "REQUEST_CHANGES") and not context.json.get("body"):
        raise Rule(422, "Unprocessable Entity", ["Body can't be blank"])
    if len(context.json.get("body") or "") > MAX_BODY_CHARS:
        raise Rule(422, "Unprocessable Entity", ["Body is too long (maximum is 65536 characters)"])
    if commit not in {*repo.commits(pull)}:
        raise Rule(422, "Unprocessable Entity", ["commit_id is not part of the pull request"])
    entries = context.json.get("comments", [])
    for entry in entries:
        if "position" in entry:
            raise Rule(422, "Unprocessable Entity", ["position is deprecated"])
        if len(entry["body"]) > MAX_BODY_CHARS:
            raise Rule(422, "Unprocessable Entity", ["Body is too long"])
        check_place(repo, pull, entry, commit)
    state = {"COMMENT": "COMMENTED", "APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED"}.get(
        event, "PENDING"
    )
    at = None if state == "PENDING" else hub.clock.text()
    review = Review(hub.number(), actor.user, context.json.get("body") or "", state, commit, at)
    pull.reviews.append(review)
    for entry in entries:
        hub.comment(pull, review, entry)
    return Reply(known_review(hub, repo, pull, review))


def _review(context: Context) -> Review:
    for review in context.pull.reviews:
        if review.id == int(context.path["review_id"]):
            return review
    raise Rule(404, "Not Found")


@route("GET", f"{PULL}/reviews/{{review_id}}")
def one_review(hub: "Hub", context: Context) -> Reply:
    return Reply(known_review(hub, context.repository, context.pull, _review(context)))


@route("DELETE", f"{PULL}/reviews/{{review_id}}", "pull_requests:write")
def delete_review(hub: "Hub", context: Context) -> Reply:
    review = _review(context)
    if review.state != "PENDING":
        raise Rule(422, "Can not delete a non-pending pull request review")
    context.pull.reviews.remove(review)
    context.pull.comments = [c for c in context.pull.comments if c.review is not review]
    return Reply(known_review(hub, context.repository, context.pull, review))


@route("GET", f"{PULL}/reviews/{{review_id}}/comments")
def review_comments(hub: "Hub", context: Context) -> Reply:
    review = _review(context)
    return Reply(
        [known_comment(hub, context.repository, c) for c in context.pull.comments if c.review is review], is_list=True
    )


@route("GET", f"{PULL}/comments")
def comments(hub: "Hub", context: Context) -> Reply:
    return Reply([known_comment(hub, context.repository, c) for c in context.pull.comments], is_list=True)


@route("POST", f"{PULL}/comments", "pull_requests:write")
def create_comment(hub: "Hub", context: Context) -> Reply:
    check_place(context.repository, context.pull, context.json, context.json["commit_id"])
    review = Review(hub.number(), context.actor.user, "", "COMMENTED", context.pull.head, hub.clock.text())
    context.pull.reviews.append(review)
    return Reply(known_comment(hub, context.repository, hub.comment(context.pull, review, context.json)), 201)


@route("GET", f"{REPO}/pulls/comments/{{comment_id}}/reactions")
def reactions(hub: "Hub", context: Context) -> Reply:
    for pull in context.repository.pulls.values():
        for comment in pull.comments:
            if comment.id == int(context.path["comment_id"]):
                return Reply(list(comment.reactions), is_list=True)
    raise Rule(404, "Not Found")


@route("GET", f"{REPO}/issues/{{issue_number}}/comments")
def issue_comments(hub: "Hub", context: Context) -> Reply:
    return Reply([{**entry, "updated_at": entry["created_at"]} for entry in context.pull.issue_comments], is_list=True)


@route("POST", f"{REPO}/issues/{{issue_number}}/comments", "issues:write")
def create_issue_comment(hub: "Hub", context: Context) -> Reply:
    entry = {"id": hub.number(), "body": context.json["body"], "user": context.actor.user,
             "created_at": hub.clock.text()}  # fmt: skip
    context.pull.issue_comments.append(entry)
    return Reply({**entry, "updated_at": entry["created_at"]}, 201)


@route("POST", f"{REPO}/issues/comments/{{comment_id}}/reactions", "issues:write")
def react_to_issue_comment(hub: "Hub", context: Context) -> Reply:
    return Reply({"id": hub.number(), "user": context.actor.user, "content": context.json["content"],
                  "created_at": hub.clock.text()}, 201)  # fmt: skip


# --- checks ----------------------------------------------------------------------------------------------------------


@route("POST", f"{REPO}/check-runs", "checks:write")
def create_check(hub: "Hub", context: Context) -> Reply:
    _check_output(context.json)
    run = {"id": hub.number(), "status": "queued", "conclusion": None, "external_id": "", **context.json}
    context.repository.check_runs.append(run)
    return Reply(_check(hub, run), 201)


@route("PATCH", f"{REPO}/check-runs/{{check_run_id}}", "checks:write")
def update_check(hub: "Hub", context: Context) -> Reply:
    _check_output(context.json)
    for run in context.repository.check_runs:
        if run["id"] == int(context.path["check_run_id"]):
            run.update(context.json)
            if "conclusion" in context.json:
                run["status"] = "completed"
            return Reply(_check(hub, run))
    raise Rule(404, "Not Found")


@route("GET", f"{REPO}/commits/{{ref}}/check-runs")
def checks_of(hub: "Hub", context: Context) -> Reply:
    found = [_check(hub, run) for run in context.repository.check_runs if run["head_sha"] == context.path["ref"]]
    return Reply({"total_count": len(found), "check_runs": found})


def _check_output(body: dict[str, Any]) -> None:
    if body.get("status") == "completed" and not body.get("conclusion"):
        raise Rule(422, "Invalid request. conclusion is required when status is completed.")
    output = body.get("output", {})
    if len(output.get("annotations", [])) > 50:
        raise Rule(422, "Invalid request. No more than 50 items are allowed.")
    if len(output.get("summary", "")) > 65_535 or len(output.get("text", "") or "") > 65_535:
        raise Rule(422, "Invalid request. Only 65535 characters are allowed.")


def _check(hub: "Hub", run: dict[str, Any]) -> dict[str, Any]:
    output = run.get("output", {})
    return {
        "id": run["id"], "head_sha": run["head_sha"], "name": run["name"], "status": run["status"],
        "conclusion": run.get("conclusion"), "external_id": run.get("external_id"), "pull_requests": [],
        "html_url": f"{hub.url}/runs/{run['id']}", "url": f"{hub.url}/runs/{run['id']}", "app": None,
        "started_at": None, "completed_at": None, "details_url": None, "check_suite": None,
        "output": {"title": output.get("title"), "summary": output.get("summary"), "text": output.get("text"),
                   "annotations_count": 0, "annotations_url": f"{hub.url}/"},
    }  # fmt: skip
