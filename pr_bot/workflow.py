"""The GitHub workflow that `codetrial pr install` writes: least permissions, pinned, and nothing of a stranger's run.

`pull_request_target` runs the default branch's workflow with the repository's own token, for forks as well. That is
safe only because nothing of the pull request is ever checked out or executed; see docs/pull-requests.md.
"""

import re
from pathlib import Path

from codetrial.errors import ReviewError

__all__ = ["WORKFLOW", "install", "render"]

WORKFLOW = Path(".github/workflows/codetrial.yml")

_ACTION = re.compile(r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")
_NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")

_TEMPLATE = """\
# Written by `codetrial pr install`.
# No step checks the pull request out: its code is read by git objects and by the API only, and never run.
name: codetrial

on:
  pull_request_target: # zizmor: ignore[dangerous-triggers] nothing of the pull request is checked out or run
    types: [opened, reopened, synchronize, ready_for_review]
  schedule:
    - cron: "17 */2 * * *"

permissions: {}

# One run at a time, for the store is one file; a running review is never cancelled half-way. GitHub lets only one run
# wait and drops the others: what they would have reviewed is reviewed by the schedule.
concurrency:
  group: codetrial-store
  cancel-in-progress: false

jobs:
  codetrial:
    name: Review or collect
    # A cache belongs to a branch. Pull requests onto other branches are reviewed by the schedule, with the one store.
    if: github.event_name == 'schedule' || github.event.pull_request.base.ref == github.event.repository.default_branch
    runs-on: ubuntu-24.04
    timeout-minutes: 20
    permissions:
      contents: read # the change and the base branch's settings
      pull-requests: write # the one review
      checks: write # the state a person can see
    steps:
      - name: Configuration
        env:
          CONFIG: ${{ vars.CODETRIAL_CONFIG }}
        run: printf '%s' "$CONFIG" > "$RUNNER_TEMP/codetrial.toml"
      - name: Fetch the store
        uses: actions/cache/restore@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3
        with:
          path: ~/codetrial-data
          key: codetrial-${{ github.run_id }}-${{ github.run_attempt }}
          restore-keys: codetrial-
      - name: Review or collect
        uses: @ACTION@
        with:
          task: ${{ github.event_name == 'schedule' && 'collect' || 'review' }}
          config: ${{ runner.temp }}/codetrial.toml
          data: ~/codetrial-data
          pull-request: ${{ github.event.pull_request.number }}
          token: ${{ github.token }}
          salt: ${{ secrets.CODETRIAL_SALT }}
@KEYS@      - name: Keep the store
        # Also after a failure: what was recorded before it is evidence, and nothing of it must be done twice.
        if: always()
        uses: actions/cache/save@5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3
        with:
          path: ~/codetrial-data
          key: codetrial-${{ github.run_id }}-${{ github.run_attempt }}
"""


def render(action: str, keys: tuple[str, ...] = ()) -> str:
    """The workflow's text.

    Raises:
        ReviewError: the action is not pinned to a full commit id, or a key's name is not one.
    """
    if not _ACTION.match(action):
        raise ReviewError(f"{action!r} is not pinned: name the action as owner/repo@ with a full 40-digit commit id.")
    for key in keys:
        if not _NAME.match(key):
            raise ReviewError(f"{key!r} is not the name of a secret, such as OPENAI_API_KEY.")
    lines = [f"          {key}: ${{{{ secrets.{key} }}}}\n" for key in keys]
    block = "".join(["        env:\n", *lines]) if lines else ""
    return _TEMPLATE.replace("@ACTION@", action).replace("@KEYS@", block)


def install(folder: Path, action: str, *, keys: tuple[str, ...] = (), force: bool = False) -> Path:
    """Write the workflow into a repository; its path.

    Raises:
        ReviewError: one is there already, or `folder` is no repository's top folder.
    """
    if not (folder / ".git").exists():
        raise ReviewError(f"{folder.absolute()} is not the top folder of a git repository.")
    path = folder / WORKFLOW
    if path.exists() and not force:
        raise ReviewError(f"{path} exists already; --overwrite replaces it.")
    text = render(action, keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
