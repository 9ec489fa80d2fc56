"""The report in a few lines of Markdown, for a pull request or a chat."""

from collections.abc import Mapping
from typing import Any

from analysis.report import by, measures, reviews_text, words

__all__ = ["to_markdown"]


def to_markdown(report: Mapping[str, Any]) -> str:
    """The verdict, a table, and what limits them; of each door that has data."""
    parts = [_completions(report)] if "arms" in report else []
    if report["reviews"] is not None:
        parts.append(_reviews(report["reviews"]))
    return "\n".join("\n".join(part) + "\n" for part in parts)


def _head(found: Mapping[str, Any]) -> list[str]:
    verdict = found["verdict"]
    lines = [f"**{_plain(verdict['sentence'])}**", ""]
    if found["banner"]:
        lines += [f"> {found['banner']}", ""]
    lines += [f"- {_plain(text)}" for text in verdict["reasons"]]
    lines += [f"- Warning: {_plain(text)}" for text in verdict["warnings"]]
    if verdict["reasons"] or verdict["warnings"]:
        lines.append("")
    return lines


def _reviews(found: Mapping[str, Any]) -> list[str]:
    lines = _head(found)
    names = " | ".join(_plain(found["arms"][label]["name"]) for label in ("A", "B"))
    lines += [f"| Review findings acted on | {names} | A minus B (95% interval) |", "| --- | ---: | ---: | ---: |"]
    rows = [
        *reviews_text.finding_lines(found),
        *reviews_text.shared_lines(found),
        *reviews_text.signal_lines(found),
        *reviews_text.cost_lines(found),
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *(f"- {_plain(note)}" for note in reviews_text.notes(found)), ""]
    lines.append(
        f"{_plain(reviews_text.size_line(found))} Intervals hold whenever they are looked at. "
        f"Manifest `{found['trial']['manifest_hash'][:12]}`."
    )
    return lines


def _completions(report: Mapping[str, Any]) -> list[str]:
    size = report["size"]
    a, b = report["arms"]["A"], report["arms"]["B"]
    lines = _head(report)
    names = f"{_plain(a['name'])} | {_plain(b['name'])}"
    lines += [f"| | {names} | difference (95% interval) |", "| --- | ---: | ---: | ---: |"]
    for effect in report["effects"].values():
        mark = " (decides)" if effect["name"] == report["primary"]["name"] else ""
        cells = [
            effect["title"] + mark,
            words.effect(effect["mean_a"], effect["unit"], effect["scale"]),
            words.effect(effect["mean_b"], effect["unit"], effect["scale"]),
            words.interval(effect["interval"], effect["scale"], effect["unit"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for key, title in (("p50", "Median latency"), ("p95", "95th percentile of latency")):
        lines.append(f"| {title} | {words.quantile(a['latency_ms'][key])} | {words.quantile(b['latency_ms'][key])} | |")
    for key, title in (
        ("per_1000_completions_usd", "Cost per 1,000 completions"),
        ("per_1000_kept_chars_usd", "Cost per 1,000 kept characters"),
    ):
        lines.append(f"| {title} | {words.usd(a['cost'][key])} | {words.usd(b['cost'][key])} | |")
    if report["by"] is not None:
        lines += ["", *_groups(report["by"], names)]
    if report["published"] is not None:
        lines += ["", *_published(report["published"], names)]
    lines += [
        "",
        f"{size['episodes']:,} episodes, {size['requests']:,} requests, {size['sessions']:,} sessions, "
        f"{size['developers']} developers, {size['days']:.1f} days; origin: {report['origin']}. Intervals hold "
        f"whenever they are looked at. Manifest `{report['trial']['manifest_hash'][:12]}`.",
    ]
    return lines


def _groups(found: Mapping[str, Any], names: str) -> list[str]:
    titles = by.heads(found)
    n = len(found["dimensions"])
    lines = [f"By {', '.join(found['dimensions'])}: {found['title']}", ""]
    lines.append(f"| {' | '.join(titles)} | {names} | difference (95% interval) |")
    lines.append("| " + " | ".join(["---"] * n + ["---:"] * (len(titles) - n + 3)) + " |")
    lines += ["| " + " | ".join(_plain(cell) for cell in cells) + " |" for cells in by.group_cells(found)]
    more = by.hidden(found)
    return [*lines, "", by.NOTE + (f" {more:,} smaller groups are not shown." if more else "")]


def _published(found: Mapping[str, Any], names: str) -> list[str]:
    lines = [f"| measure | after | {names} |", "| --- | --- | ---: | ---: |"]
    lines += ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in measures.cells(found)]
    return [*lines, "", measures.NOTE]


def _plain(text: str) -> str:
    """Names may hold characters that Markdown would read as a table or as emphasis."""
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text
