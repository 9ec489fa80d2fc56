"""Outside arms: the remarks of other people and other bots, followed in the same way as findings."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from codetrial.pseudonyms import pseudonym_of_author
from codetrial.records import Record
from pr_bot.fates import Files
from pr_bot.github import Api, Pull
from pr_bot.lines import track
from pr_bot.pulls import Bot
from pr_bot.render import last_marker
from pr_bot.threads import Thread

__all__ = ["note_outside", "outside_incidents"]


def note_outside(bot: Bot, pull: Pull, findings: list[sqlite3.Row], threads: list[Thread]) -> None:
    """Remember where other people and other bots commented, so that their remarks get the same look at the end."""
    own = {row["comment"] for row in findings}
    for thread in threads:
        first = thread.opening.comment
        if first.id in own or thread.line is None:
            continue
        if last_marker(first.body) is not None or bot.state.seen(f"outside:{first.id}", "place"):
            continue
        place = {
            "pull": pull.key, "head": pull.head_sha, "base": pull.base_sha, "path": thread.path, "line": thread.line,
            "is_bot": first.author_is_bot, "author": pseudonym_of_author(bot.trial.trial.seed, first.author),
        }  # fmt: skip
        bot.state.note(f"outside:{first.id}", "place", json.dumps(place))


def outside_incidents(bot: Bot, api: Api, pull: Pull) -> Iterator[Record]:
    """What became of the lines they were about."""
    rows = bot.state.rows("SELECT finding, value FROM seen WHERE finding LIKE 'outside:%' AND signal = 'place'")
    places = {row["finding"]: place for row in rows if (place := json.loads(row["value"]))["pull"] == pull.key}
    if not places:
        return
    repository = bot.fetch(api, pull)
    files = Files(repository, pull)
    pull_session = bot.session(pull).id
    for remark, place in places.items():
        reviewed = files.text(place["head"], place["path"])
        now = files.text(pull.head_sha, files.name_in(place["head"], pull.head_sha, place["path"]))
        fate = "unknown" if reviewed is None else track(reviewed, now, place["line"], place["line"]).fate.value
        detail = {"author": place["author"], "is_bot": place["is_bot"], "fate": fate}
        # Named after the remark, so that a look that was cut off and is done again writes it once.
        yield replace(bot.incident(pull, "outside_finding", 1, detail), id=f"{pull_session}-{remark}")
