"""What the demo leaves to look at: the pull request as its readers saw it, and beside it what they could not see."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis.store import Store
from pr_bot.diff import Diff, Line, Side
from pr_bot.render import last_marker
from pr_bot.state import State

__all__ = ["page", "report_of"]

CONTEXT_LINES = 3
REPORT_TIMEOUT_S = 120.0


class Row(NamedTuple):
    """A finding with what only the trial knows."""

    arm: str
    title: str
    place: str
    severity: str
    fate: str
    outcome: str


def report_of(database: Path, html_file: Path) -> str:
    """The report of these reviews as a person would ask for it, also written as a page."""
    command = [sys.executable, "-P", "-m", "codetrial.cli", "report", "--door", "reviews"]
    command += ["--store", str(database), "--html", str(html_file)]
    wide = {**os.environ, "COLUMNS": "110"}
    done = subprocess.run(command, capture_output=True, text=True, env=wide, timeout=REPORT_TIMEOUT_S)
    return done.stdout if done.returncode == 0 else f"The report could not be made: {done.stderr.strip()[-500:]}"


def page(
    title: str, diff: Diff, pull: Any, comments: Iterable[Any], *, happened: list[str], store: Store, state: State,
    arms: Mapping[str, str], report: str,
) -> str:  # fmt: skip
    """One HTML file without scripts; every text of others is escaped."""
    own = list(comments)
    return _TEMPLATE.render(
        title=title,
        changed=sum(entry.changed for entry in diff.files),
        files=len(diff.files),
        reviews=[_body(review.body) for review in pull.reviews if last_marker(review.body)],
        comments=[_comment(diff, comment, pull.comments) for comment in own],
        happened=happened,
        rows=_rows(store, state, arms),
        arms=arms,
        report=report,
    )


def _body(markdown: str) -> Markup:
    """A comment's text as GitHub would show it, for what our renderer writes; HTML in it stays text."""
    text = re.sub(r"^<!-- codetrial:1:\w+ -->$", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"^<sub>(.*)</sub>$", r"*\1*", text, flags=re.MULTILINE)
    text = re.sub(r"</?details>|<summary>|</summary>", "", text)
    return Markup(MarkdownIt("commonmark", {"html": False}).render(text))


def _comment(diff: Diff, comment: Any, everything: Iterable[Any]) -> dict[str, Any]:
    start = comment.start_line or comment.original_line
    counted: dict[str, list[str]] = {}
    for reaction in comment.reactions:
        counted.setdefault(_FACES.get(reaction["content"], reaction["content"]), []).append(reaction["user"].login)
    return {
        "place": f"{comment.path}:{comment.original_line}",
        "lines": _snippet(diff, comment.path, Side(comment.side), start, comment.original_line),
        "body": _body(comment.body),
        "reactions": {face: ", ".join(who) for face, who in counted.items()},
        "replies": [(c.user.login, _body(c.body)) for c in everything if c.in_reply_to == comment.id],
        "resolver": comment.resolved_by.login if comment.resolved_by else None,
        "is_outdated": comment.is_outdated,
    }


_FACES = {"+1": "👍", "-1": "👎", "heart": "❤️", "rocket": "🚀", "eyes": "👀", "confused": "😕"}


def _snippet(diff: Diff, path: str, side: Side, start: int | None, end: int | None) -> list[tuple[str, str, str, bool]]:
    """(number, sign, text, flagged) of the lines before and at the flagged ones."""
    entry = diff.file(path)
    if entry is None or start is None or end is None:
        return []
    for hunk in entry.hunks:
        places = [
            at for at, line in enumerate(hunk.lines) if (n := line.number(side)) is not None and start <= n <= end
        ]
        if places:
            shown = range(max(0, places[0] - CONTEXT_LINES), places[-1] + 1)
            return [_shown(hunk.lines[at], at in places) for at in shown]
    return []


def _shown(line: Line, is_flagged: bool) -> tuple[str, str, str, bool]:
    sign = "-" if line.new is None else "+" if line.old is None else " "
    return str(line.new if line.new is not None else line.old), sign, line.text, is_flagged


_OUTCOMES = """
SELECT f.id, g.label, t.content AS text, f.severity, f.stratum, o.outcome
FROM finding f JOIN suggestion g ON g.id = f.id LEFT JOIN text t ON t.hash = g.text_hash
LEFT JOIN outcome o ON o.suggestion = f.id AND o.rule LIKE 'final%' ORDER BY g.label, f.start_line
"""


def _rows(store: Store, state: State, arms: Mapping[str, str]) -> list[Row]:
    places = {row["id"]: row for row in state.rows("SELECT id, path, end_line, is_posted, stratum FROM finding")}
    found = []
    for row in store.rows(_OUTCOMES):
        place = places[row["id"]]
        fate = "posted" if place["is_posted"] else "held back"
        if row["stratum"] == "both":
            fate += ", found by both"
        title = (row["text"] or "").split("\n")[0].strip("*")
        where = f"{place['path']}:{place['end_line']}" if place["end_line"] else place["path"]
        outcome = (row["outcome"] or "open").replace("_", " ")
        found.append(Row(arms[row["label"]], title, where, row["severity"], fate, outcome))
    return found


_TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>codetrial: {{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #d1d9e0; --soft: #59636e; --box: #f6f8fa; --add: #dafbe1; --gone: #ffebe9;
  --flag: #fff8c5; --blue: #0969da }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9198a1; --box: #151b23; --add: #12261e;
  --gone: #25171c; --flag: #3b2e0a; --blue: #4493f8 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem }
.soft { color: var(--soft); margin: .2rem 0 1rem }
article { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; overflow: hidden }
article > .text { padding: .2rem 1rem .5rem }
article > header { background: var(--box); border-bottom: 1px solid var(--line); padding: .35rem 1rem; font-size: 13px;
  display: flex; gap: 1rem; flex-wrap: wrap }
code, pre, .code td { font-family: ui-monospace, monospace; font-size: 12.5px }
pre { background: var(--box); padding: .6rem .8rem; border-radius: 6px; overflow-x: auto }
pre:has(> code.language-suggestion) { background: var(--add); border-left: 3px solid #1a7f37 }
.scroll { overflow-x: auto }
.code { border-collapse: collapse; width: 100%; border-bottom: 1px solid var(--line) }
.code td { padding: 0 .5rem; white-space: pre }
.code td:first-child { color: var(--soft); text-align: right; width: 3.5rem; user-select: none }
.code .add { background: var(--add) } .code .gone { background: var(--gone) }
.code .flagged td { box-shadow: inset 3px 0 0 var(--blue); font-weight: 600 }
.chip { border: 1px solid var(--line); border-radius: 1rem; padding: 0 .6rem; font-size: 13px; display: inline-block }
.done { color: #8250df } .reply { border-top: 1px solid var(--line); padding: .2rem 1rem; background: var(--box) }
.reply p, .text p { margin: .5rem 0 } .text em { color: var(--soft); font-style: normal; font-size: 13px }
table.all { border-collapse: collapse; width: 100%; font-size: 14px }
table.all th { text-align: left; color: var(--soft); font-weight: 500 }
table.all td, table.all th { border-bottom: 1px solid var(--line); padding: .35rem .8rem .35rem 0; vertical-align: top }
li { margin: .15rem 0 }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="soft">A real commit, opened as a pull request on a stand-in for GitHub: {{ changed }} changed
lines in {{ files }} file{{ "" if files == 1 else "s" }}. The people are scripted, so nothing here is evidence.</p>

<h2>What everybody sees</h2>
{% for review in reviews %}
<article><header><b>codetrial</b> <span>reviewed</span></header><div class="text">{{ review }}</div></article>
{% endfor %}
{% for comment in comments %}
<article>
<header><code>{{ comment.place }}</code>
{% if comment.is_outdated %}<span>outdated</span>{% endif %}
{% if comment.resolver %}<span class="done">resolved by {{ comment.resolver }}</span>{% endif %}</header>
{% if comment.lines %}
<div class="scroll"><table class="code">
{% for number, sign, text, flagged in comment.lines %}
<tr class="{{ {"+": "add", "-": "gone"}.get(sign, "") }}{{ " flagged" if flagged }}"><td>{{ number }}</td>\
<td>{{ sign }} {{ text }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
<div class="text">{{ comment.body }}
{% for face, who in comment.reactions.items() %}<span class="chip">{{ face }} {{ who }}</span> {% endfor %}</div>
{% for who, text in comment.replies %}<div class="reply"><b>{{ who }}</b> {{ text }}</div>{% endfor %}
</article>
{% endfor %}

<h2>What happened</h2>
<ul>{% for line in happened %}<li>{{ line }}</li>{% endfor %}</ul>

<h2>What only the trial knows</h2>
<p class="soft">Who wrote what, and what was held back by lot: the control group, whose lines were watched all the
same.</p>
<div class="scroll"><table class="all">
<tr><th>arm</th><th>finding</th><th>place</th><th>severity</th><th>draw</th><th>in the end</th></tr>
{% for row in rows %}
<tr><td>{{ row.arm }}</td><td>{{ row.title }}</td><td><code>{{ row.place }}</code></td><td>{{ row.severity }}</td>\
<td>{{ row.fate }}</td><td>{{ row.outcome }}</td></tr>
{% else %}
<tr><td colspan="6">Neither arm found anything.</td></tr>
{% endfor %}
</table></div>

<h2>The report</h2>
<pre>{{ report }}</pre>
</body>
</html>
""")
