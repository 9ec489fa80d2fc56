"""A whole review without GitHub: the stand-in serves a real commit as a pull request, and a scripted person answers it.

The arms are real processes asked over real HTTP. Without a configuration of one's own they are two scripted reviewers
that know a few rules: enough to see every step, and no evidence about any model.
"""

import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from github import Auth

from codetrial.arms import local
from codetrial.config import Config, load
from codetrial.errors import ReviewError
from codetrial.records import Origin
from pr_bot.collecting import collect
from pr_bot.demo_page import page, report_of
from pr_bot.diff import Diff, local_diff
from pr_bot.git import Repository
from pr_bot.github import Api
from pr_bot.packing import pack
from pr_bot.pulls import Bot, open_bot
from pr_bot.render import last_marker
from pr_bot.state import State

__all__ = ["run"]

NAME = "demo/repository"
LOOK_BACK = 200
"""Commits to search for one that is worth a review."""
FEWEST_LINES, MOST_LINES = 15, 600
MOST_CANDIDATES = 25
"""Each costs a diff: a second for all of them."""
ENOUGH_FINDINGS = 8
"""Some are held back, and the scripted people take, like, refute and mend one each."""
MOST_CHARS = 48_000


class Candidate(NamedTuple):
    base: str
    head: str
    title: str
    diff: Diff


def run(folder: Path, *, keep: Path | None, config_file: Path | None, has_local_models: bool = False) -> str:
    """Open, review, post, react, collect; what happened, in a few lines.

    Args:
        has_local_models: Without a configuration of one's own, ask the local model in two ways instead of scripts.

    Raises:
        ReviewError: the repository has no fitting commit.
    """
    repository = Repository.open(folder)
    candidate = _candidate(repository, is_scripted=config_file is None and not has_local_models)
    target = keep or Path(tempfile.mkdtemp(prefix="codetrial-demo-"))
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        _new_hub(Path(scratch) / "hub") as hub,
        _arms(config_file, target, has_local_models) as config,
    ):
        bot = _bot(config, target, Path(scratch))
        api = Api(Auth.Token(hub.token("codetrial[bot]")), url=hub.url, pace_s=0)
        try:
            return _play(hub, bot, api, repository, candidate, target)
        finally:
            api.close()
            bot.close()


PACKAGE = "pr_bot.fakehub"
"""The stand-in's name in the wheel; in a checkout its source lies in tests/fakehub."""


def _new_hub(folder: Path) -> Any:
    """The stand-in for GitHub; with the test dependencies at hand it checks what is said against GitHub's contract."""
    if importlib.util.find_spec(PACKAGE) is None:
        _load_from_checkout(Path(__file__).parents[1] / "tests/fakehub")
    hub = importlib.import_module(f"{PACKAGE}.hub").Hub
    return hub(folder, is_checked=importlib.util.find_spec("openapi_core") is not None)


def _load_from_checkout(folder: Path) -> None:
    """Under the wheel's name and by its path: a project's own `tests` package must not be taken for ours."""
    place = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(PACKAGE, place, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None or not place.exists():
        raise ReviewError("The stand-in for GitHub is missing from this installation: install codetrial again.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def _candidate(repository: Repository, *, is_scripted: bool) -> Candidate:
    """The last commit on the main line that changes some code, and not too much.

    For the scripted arms the last in which they find enough to show every step, or else the one with the most.
    """
    best: tuple[int, Candidate] | None = None
    for candidate in islice(_fitting(repository), MOST_CANDIDATES if is_scripted else 1):
        found = _scripted_findings(candidate.diff) if is_scripted else 0
        if best is None or found > best[0]:
            best = found, candidate
        if found >= ENOUGH_FINDINGS:
            break
    if best is not None:
        return best[1]
    raise ReviewError(
        f"None of the last {LOOK_BACK} commits here changes {FEWEST_LINES} to {MOST_LINES} lines of code."
    )


def _fitting(repository: Repository) -> Iterator[Candidate]:
    for commit in repository.text("rev-list", "--first-parent", f"--max-count={LOOK_BACK}", "HEAD").split():
        parents = repository.text("rev-list", "--parents", "--max-count=1", commit).split()[1:]
        if not parents:
            continue
        diff = local_diff(repository, parents[0], commit)
        lines = sum(
            entry.changed for entry in diff.files if entry.path.endswith((".py", ".js", ".ts", ".go", ".rs", ".c"))
        )
        if FEWEST_LINES <= lines <= MOST_LINES:
            title = repository.text("log", "-1", "--format=%s", commit).strip()
            yield Candidate(parents[0], commit, title, diff)


def _scripted_findings(diff: Diff) -> int:
    """How many both scripted arms will have, nothing if none can be taken with a button."""
    text = pack(diff, max_chars=MOST_CHARS).text
    found = [entry for name in _RULES for entry in json.loads(_scripted(name, text))["findings"]]
    return len(found) if any(entry["suggestion"] for entry in found) else 0


def _bot(config: Config, target: Path, scratch: Path) -> Bot:
    bot = open_bot(config, database=target / "codetrial.db", origin=Origin.REPLAY)
    bot.state.close()
    # A state of its own: the demo must not count among the pull requests of a real bot on this machine.
    bot.state = State(target / "pull-requests.db")
    bot.mirrors = scratch / "mirrors"
    return bot


def _play(hub: Any, bot: Bot, api: Api, repository: Repository, candidate: Candidate, target: Path) -> str:
    repo = hub.repository(NAME, {"README.md": "demo\n"})
    source = str(repository.folder.absolute())
    repo.git(
        "fetch", "--quiet", source, f"{candidate.base}:refs/heads/main", f"{candidate.head}:refs/heads/topic", "--force"
    )
    pull = hub.open_pull(repo, {}, head=candidate.head, title=candidate.title, by="author")
    done = bot.review(api, NAME, pull.number)
    lines = [f"Pull request: {candidate.title}"]
    own = [comment for comment in pull.comments if last_marker(comment.body)]
    happened = [done.detail, *_person(hub, repo, pull, own)]
    first = collect(bot, api)
    hub.merge(repo, pull)
    hub.clock.advance(days=8)
    last = collect(bot, api, now=hub.clock.now())
    happened.append("The author merges it, and a week passes.")
    happened.append(f"Collected {first.signals} signals, and {last.signals} more after the window closed.")
    database = target / "codetrial.db"
    report = report_of(database, target / "report.html")
    shown = page(
        candidate.title, candidate.diff, pull, own, happened=happened, store=bot.store, state=bot.state,
        arms={label: definition.name for label, definition in bot.trial.definitions.items()}, report=report,
    )  # fmt: skip
    (target / "review.html").write_text(shown, encoding="utf-8")
    lines += [*happened, *_outcomes(bot), f"The report says: {report.partition(chr(10))[0]}"]
    lines.append(f"To look at: {target / 'review.html'}, and the whole report: {target / 'report.html'}")
    lines.append(f"As text: codetrial report --door reviews --store {database}")
    return "\n".join(lines)


def _person(hub: Any, repo: Any, pull: Any, own: list[Any]) -> Iterator[str]:
    """What the scripted people do: take one suggestion, like one finding, refute one, and mend a line by hand."""
    taken = next((c for c in own if "```suggestion" in c.body and c.line is not None), None)
    if taken is not None:
        hub.commit_suggestion(repo, pull, taken, by="author")
        hub.resolve(repo, pull, taken, by="author")
        yield f"The author commits the suggestion at {taken.path}:{taken.original_line} and resolves its thread."
    others = [comment for comment in own if comment is not taken]
    if others:
        hub.react(others[0], "+1", by="reviewer")
        yield f"A reviewer likes the finding at {others[0].path}:{others[0].original_line}."
    if len(others) > 1:
        hub.reply(repo, pull, others[1], "This is intentional.", by="author")
        yield f"The author refutes the finding at {others[1].path}:{others[1].original_line}."
    by_hand = [comment for comment in others[2:] if comment.path.endswith(".py") and comment.line is not None]
    if by_hand:
        lines = (repo.text(pull.head, by_hand[0].path) or "").split("\n")
        lines[by_hand[0].line - 1] += "  # looked at again"
        hub.push(repo, pull, {by_hand[0].path: "\n".join(lines)}, message="Look at it again")
        yield f"The author changes the flagged line at {by_hand[0].path}:{by_hand[0].original_line} by hand."


def _outcomes(bot: Bot) -> list[str]:
    rows = bot.store.rows(
        """
        SELECT o.label, json_extract(o.detail, '$.is_posted') AS posted, o.outcome, count(*) AS n
        FROM outcome o WHERE o.rule LIKE 'final%' GROUP BY 1, 2, 3 ORDER BY 1, 2 DESC, 3
        """
    )
    return [
        f"  arm {row['label']}, {'posted' if row['posted'] else 'held back'}: {row['n']} {row['outcome']}"
        for row in rows
    ] or ["  no findings"]


# --- scripted arms -------------------------------------------------------------------------------------------------

_LINE = re.compile(r"^\s*R(\d+) \+ (.*)$")
_FILE = re.compile(r"^## (\S.*?)(?: \(was .*\))? \[\w+\]$")

Rule = tuple[re.Pattern[str], str, str, Callable[[str], str | None]]

MOST_OF_A_RULE = 3
"""More of the same would only be more of the same."""


def _grouped(line: str) -> str:
    return _LONG_NUMBER.sub(lambda match: f"{int(match[0]):_}", line, count=1)


_LONG_NUMBER = re.compile(r"(?<![\w.\"'#/-])[1-9]\d{4,}(?![\w.\"'])")

_RULES: dict[str, tuple[Rule, ...]] = {
    "careful": (
        (re.compile(r"\bexcept( Exception)?:"), "Catches everything", "A typo in the block would be swallowed as well.",
         lambda _: None),
        (re.compile(r"[=!]= None\b"), "Compares with None by value", "Identity is meant here.",
         lambda line: line.replace("== None", "is None").replace("!= None", "is not None")),
        (re.compile(r"\bopen\((?!.*encoding)"), "Opens a file without an encoding", "The platform's default differs.",
         lambda _: None),
        (re.compile(r"\bassert \w"), "Checks with assert", "Assertions vanish under optimisation.", lambda _: None),
        (_LONG_NUMBER, "A long number is easily misread", "Groups of three digits can be told apart.", _grouped),
        (re.compile(r"\bwhile True\b"), "A loop without an end", "Nothing here says when it ends.", lambda _: None),
    ),
    "busy": (
        (re.compile(r"^\s+return \w+$"), "Returns without a check", "The caller cannot tell failure from success.",
         lambda _: None),
        (re.compile(r"\bfor \w+ in range\("), "Loops by index", "The elements can be iterated over.", lambda _: None),
        (re.compile(r"^\s*def \w+\(.*\):$"), "Has no types", "Callers have to guess its types.", lambda _: None),
        (_LONG_NUMBER, "This long number is easily misread", "Its groups of three digits cannot be told apart.",
         _grouped),
        (re.compile(r"^.{105,}$"), "A line too long to read at once", "Two statements would say the same.",
         lambda _: None),
        (re.compile(r"\blambda\b"), "A function without a name", "A name would say what it is for.", lambda _: None),
    ),
}  # fmt: skip


def _scripted(name: str, prompt: str) -> str:
    path = ""
    found: list[dict[str, object]] = []
    used: Counter[str] = Counter()
    for line in prompt.split("\n"):
        if (title := _FILE.match(line)) is not None:
            path = title[1]
            continue
        added = _LINE.match(line)
        for pattern, headline, why, mend in _RULES[name]:
            if added is None or not pattern.search(added[2]) or used[headline] >= MOST_OF_A_RULE:
                continue
            used[headline] += 1
            better = mend(added[2])
            found.append({
                "path": path, "side": "RIGHT", "start_line": int(added[1]), "end_line": int(added[1]),
                "quote": added[2].strip(), "severity": "minor" if better is None else "major", "category": "bug",
                "title": headline, "body": why, "suggestion": better,
            })  # fmt: skip
    return json.dumps({"findings": found})


_LOCAL_MODELS = """\
# One small model, cold and warm: it shows that real models go the whole way, and is no match for either.
[arms.a]
name = "SmolLM2-135M, cold"
api = "openai-chat"
model = "smollm2-135m-instruct"
url = "local:smollm2"
temperature = 0.0
[arms.b]
name = "SmolLM2-135M, warm"
api = "openai-chat"
model = "smollm2-135m-instruct"
url = "local:smollm2"
temperature = 0.7
[review]
post_share = 0.5
max_prompt_chars = 1600
max_tokens = 200
timeout_s = 240
"""


@contextmanager
def _arms(config_file: Path | None, target: Path, has_local_models: bool) -> Iterator[Config]:
    """The configuration: the user's, or one with two arms on this machine, the local model's or scripted ones."""
    path = target / "codetrial.toml"
    if config_file is None and has_local_models:
        if not local.find("smollm2").path.is_file():
            raise ReviewError("The local model is not here yet: get it with `codetrial arms fetch` (98 MB).")
        path.write_text(_LOCAL_MODELS)
        os.environ.setdefault("CODETRIAL_DATA_DIR", str(target))
        config_file = path
    if config_file is not None:
        yield load(Path.cwd(), config_file=config_file)
        return

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # The name that http.server calls.
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = _scripted(body["model"], body["messages"][1]["content"])
            message = {"role": "assistant", "content": text}
            reply = {"model": body["model"], "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Nothing: the demo prints what a person wants to see."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="scripted-arms")
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        path.write_text(
            "# Two scripted arms, for the demonstration only.\n"
            + "".join(
                f'[arms.{label}]\nname = "scripted: {model}"\napi = "openai-chat"\nmodel = "{model}"\nurl = "{url}"\n'
                for label, model in (("a", "careful"), ("b", "busy"))
            )
            # What can be taken with a button is always posted, so that every demo has something to take.
            + '[review]\npost_share = 0.5\nalways_post = ["major"]\n'
        )
        os.environ.setdefault("CODETRIAL_DATA_DIR", str(target))
        yield load(target, config_file=path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
