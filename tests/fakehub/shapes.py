"""What the stand-in holds, in the shapes that GitHub writes."""

from typing import TYPE_CHECKING, Any

from .state import Comment, Pull, Repo, Review, User

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["known_comment", "known_pull", "known_repo", "known_review", "plain"]


def known_repo(hub: "Hub", repo: Repo) -> dict[str, Any]:
    owner, name = repo.full_name.split("/")
    return {
        "id": repo.id, "name": name, "full_name": repo.full_name, "private": False, "default_branch": "main",
        "owner": hub.user(owner).known(), "clone_url": f"{hub.url}/{repo.full_name}.git", "fork": False,
        "url": f"{hub.url}/repos/{repo.full_name}", "html_url": f"{hub.url}/{repo.full_name}",
    }  # fmt: skip


def known_pull(hub: "Hub", repo: Repo, pull: Pull) -> dict[str, Any]:
    main = repo.base_commit(pull)
    api = f"{hub.url}/repos/{repo.full_name}/pulls/{pull.number}"
    head_repo = {**known_repo(hub, repo), "fork": pull.is_fork}
    if pull.is_fork:
        head_repo.update(id=repo.id + 1, full_name=f"{pull.user.login}/{repo.full_name.split('/')[1]}")
    return {
        "id": repo.id * 1000 + pull.number, "number": pull.number, "url": api, "title": pull.title,
        "html_url": f"{hub.url}/{repo.full_name}/pull/{pull.number}", "body": pull.body, "state": pull.state,
        "user": pull.user.known(), "draft": pull.draft, "locked": False, "created_at": pull.created_at,
        "updated_at": pull.updated_at, "closed_at": pull.closed_at, "merged_at": pull.merged_at,
        "merged": pull.merged_at is not None, "merged_by": pull.merged_by.known() if pull.merged_by else None,
        "merge_commit_sha": pull.merge_commit, "author_association": "CONTRIBUTOR", "labels": [],
        "head": {"ref": f"topic-{pull.number}", "sha": pull.head, "label": "x", "user": pull.user.known(),
                 "repo": head_repo},
        "base": {"ref": pull.base, "sha": main, "label": "x", "user": hub.user("octo").known(),
                 "repo": known_repo(hub, repo)},
        "commits": len(repo.commits(pull)), "auto_merge": None,
    }  # fmt: skip


def known_review(hub: "Hub", repo: Repo, pull: Pull, review: Review) -> dict[str, Any]:
    known = {
        "id": review.id, "node_id": f"R_{review.id}", "user": review.user.known(), "body": review.body,
        "state": review.state, "commit_id": review.commit_id, "author_association": "NONE",
        "html_url": f"{hub.url}/{repo.full_name}/pull/{pull.number}#pullrequestreview-{review.id}",
        "pull_request_url": f"{hub.url}/repos/{repo.full_name}/pulls/{pull.number}",
    }  # fmt: skip
    return known if review.submitted_at is None else {**known, "submitted_at": review.submitted_at}


def known_comment(hub: "Hub", repo: Repo, comment: Comment) -> dict[str, Any]:
    counts = dict.fromkeys(("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket"), 0)
    for reaction in comment.reactions:
        counts[reaction["content"]] += 1
    known = {
        "id": comment.id, "node_id": f"C_{comment.id}", "pull_request_review_id": comment.review.id,
        "user": comment.user.known(), "body": comment.body, "path": comment.path, "commit_id": comment.commit_id,
        "original_commit_id": comment.original_commit_id, "line": comment.line, "side": comment.side,
        "original_line": comment.original_line, "start_line": comment.start_line,
        "start_side": comment.start_side, "created_at": comment.created_at, "updated_at": comment.created_at,
        "subject_type": comment.subject_type, "diff_hunk": "@@", "author_association": "NONE",
        "reactions": {"url": f"{hub.url}/", "total_count": len(comment.reactions), **counts},
    }  # fmt: skip
    return known if comment.in_reply_to is None else {**known, "in_reply_to_id": comment.in_reply_to}


def plain(hub: "Hub", value: Any, repo: Repo) -> Any:
    """Objects of the stand-in as GitHub writes them into a payload."""
    if isinstance(value, dict):
        return {key: plain(hub, item, repo) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(hub, item, repo) for item in value]
    if isinstance(value, User):
        return value.known()
    if isinstance(value, Repo):
        return known_repo(hub, value)
    if isinstance(value, Pull):
        return plain(hub, known_pull(hub, repo, value), repo)
    if isinstance(value, Comment):
        return plain(hub, known_comment(hub, repo, value), repo)
    return value
