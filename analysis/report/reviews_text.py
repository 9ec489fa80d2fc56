"""The review door in words: the same rows for the terminal, Markdown and the page."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from analysis.report import words
from analysis.report.reviews import SIGNALS

__all__ = ["Line", "checks", "cost_lines", "finding_lines", "notes", "shared_lines", "signal_lines", "size_line"]

Found = Mapping[str, Any]

NO_UNIT = "none"


class Line(NamedTuple):
    title: str
    a: str
    b: str
    difference: str = ""


def size_line(found: Found) -> str:
    """How much the figures rest on."""
    size = found["size"]
    since = f", since {found['trial']['since']}" if found["trial"]["since"] else ""
    return (
        f"{found['trial']['name']} ({found['trial']['id'][:10]}), {found['origin']}{since}: "
        f"{words.plural(size['pull_requests'], 'pull request')} ({size['finished_pull_requests']:,} finished), "
        f"{words.plural(size['reviews'], 'review')}, {words.plural(size['findings'], 'finding')} "
        f"({size['open_findings']:,} open), {words.plural(size['developers'], 'developer')}, {size['days']:.1f} days."
    )


def rate_text(rate: Found) -> str:
    """For example `25% (10% to 48%), 3 of 12`."""
    if not rate["findings"]:
        return NO_UNIT
    limits = f"{words.percent(rate['low'])} to {words.percent(rate['high'])}"
    return f"{words.percent(rate['rate'])} ({limits}), {rate['acted_on']:,} of {rate['findings']:,}"


def net_text(net: Found) -> str:
    """The difference with its interval, or why it has none."""
    if net["interval"] is not None:
        return words.interval(net["interval"], 100, "points")
    if net["estimate"] is None:
        return "not yet"
    return f"{words.signed(net['estimate'], 100)} points so far"


def finding_lines(found: Found) -> Iterator[Line]:
    """Findings of one arm alone, acted on."""
    a, b = (found["arms"][label]["own"] for label in ("A", "B"))
    yield Line("Posted", rate_text(a["posted"]), rate_text(b["posted"]))
    yield Line("Held back", rate_text(a["held_back"]), rate_text(b["held_back"]))
    yield Line("Posted minus held back", net_text(a["net"]), net_text(b["net"]), net_text(found["primary"]))
    if any(arm["posted_in_all"] != arm["posted"] for arm in (a, b)):
        yield Line("Posted, those not compared too", rate_text(a["posted_in_all"]), rate_text(b["posted_in_all"]))


def shared_lines(found: Found) -> Iterator[Line]:
    """Findings that both arms had, by whose words were posted."""
    shared = found["shared"]
    if not shared["findings"]:
        return
    spoken = shared["in_words_of"]
    yield Line("Both had it, posted in its words", rate_text(spoken["A"]), rate_text(spoken["B"]))
    yield Line("Both had it, held back", rate_text(shared["held_back"]), "", "")
    yield Line("Both had it, posted minus held back", net_text(shared["net"]), "", "")


def count_lines(found: Found) -> Iterator[Line]:
    for key, title in (
        ("findings", "Findings of this arm alone"),
        ("posted_by_rule", "posted by rule, not compared"),
        ("open", "still open"),
        ("not_observed", "could not be observed"),
        ("beside_posted", "beside another that was posted, not compared"),
    ):
        values = [found["arms"][label]["own"][key] for label in ("A", "B")]
        if key == "findings" or any(values):
            yield Line(title, *(f"{value:,}" for value in values))


def signal_lines(found: Found) -> Iterator[Line]:
    """What people did besides changing code."""
    for kind, title in SIGNALS:
        values = [found["arms"][label]["signals"].get(kind, 0) for label in ("A", "B")]
        if any(values):
            yield Line(title, *(f"{value:,}" for value in values))


def cost_lines(found: Found) -> Iterator[Line]:
    """Time and money per review."""
    arms = [found["arms"][label] for label in ("A", "B")]
    yield Line("Time per review, median", *(words.quantile(arm["latency_ms"]["p50"]) for arm in arms))
    yield Line("Time per review, 95th percentile", *(words.quantile(arm["latency_ms"]["p95"]) for arm in arms))
    for status in dict.fromkeys(status for arm in arms for status in arm["statuses"]):
        yield Line(f"Reviews: {status.replace('_', ' ')}", *(f"{arm['statuses'].get(status, 0):,}" for arm in arms))
    for key, title in (
        ("per_review_usd", "Cost per review"),
        ("per_finding_acted_on_usd", "Cost per finding acted on"),
        ("per_finding_acted_on_because_posted_usd", "Cost per finding acted on because it was posted"),
        ("trial_usd", "Spent by this trial so far"),
    ):
        yield Line(title, *(words.usd(arm["cost"][key]) for arm in arms))


def notes(found: Found) -> Iterator[str]:
    """What the figures mean, and what is missing."""
    primary = found["primary"]
    assumed = "" if primary["is_margin_frozen"] else " (assumed: the manifest names none)"
    yield (
        "Acted on: the suggestion was committed, or the flagged lines were changed until the window closed. Lines "
        "change anyway, which the held-back findings measure. A minus B decides, over finished pull requests; margin "
        f"{primary['margin'] * 100:g} points{assumed}."
    )
    for label in ("A", "B"):
        refused = found["arms"][label]["own"]["net"]["refused"]
        if refused is not None:
            yield f"{found['arms'][label]['name']}: no interval for posted minus held back: {refused}."
        cost = found["arms"][label]["cost"]
        if cost["priced"] < cost["reviews"]:
            missing = cost["reviews"] - cost["priced"]
            yield f"{found['arms'][label]['name']}: the price of {missing:,} of {cost['reviews']:,} reviews is unknown."


def checks(found: Found) -> Iterator[str]:
    """Whether the trial ran as designed, and what others remarked."""
    split = found["split"]
    p = "" if split["p_value"] is None else f", p = {split['p_value']:.2g}"
    yield (
        f"Posted {split['posted']:,} (expected {split['expected'][0]:,.0f}), held back {split['held_back']:,} "
        f"(expected {split['expected'][1]:,.0f}): {'does NOT fit' if split['is_mismatch'] else 'fits'}{p}."
    )
    for who, title in (("people", "people"), ("bots", "other bots")):
        seen = found["outside"][who]
        if seen["remarks"]:
            observed = seen["remarks"] - seen["not_observed"]
            yield (
                f"Remarks of {title} on the same pull requests: {seen['remarks']:,}; lines changed at "
                f"{seen['acted_on']:,} of {observed:,} that could be observed."
            )
    if found["incidents"]:
        listed = ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in found["incidents"].items())
        yield f"Incidents: {listed}."
    yield "A claim about developers in general is not made: the figures are about these pull requests."
