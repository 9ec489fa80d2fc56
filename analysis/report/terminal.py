"""The report in a terminal: the verdict first, then what a statistician would ask for."""

import io
from collections.abc import Mapping
from typing import Any

import plotext
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from analysis.report import by, measures, reviews_text, words
from analysis.report.reviews_terminal import review_parts

__all__ = ["render", "to_text"]

Report = Mapping[str, Any]

PLOT_LINES = 14

CURVES = (("high", "dot"), ("estimate", "braille"), ("low", "dot"))

COLOURS = {"win": "bold green", "tie": "bold cyan", "conflict": "bold yellow", "not_yet": "bold yellow"}


def to_text(report: Report, *, width: int = 100) -> str:
    """The same without colours, for files and tests."""
    out = io.StringIO()
    render(report, Console(file=out, width=width, no_color=True, highlight=False))
    return out.getvalue()


def render(report: Report, console: Console) -> None:
    """Print it; the first line is the verdict."""
    reviews = report["reviews"]
    if "arms" in report:
        _head(report, _size_line(report), console)
        for part in _parts(report, console.width):
            console.print()
            console.print(part)
        if reviews is not None:
            console.print()
            console.rule("Reviews", align="left")
    if reviews is not None:
        _head(reviews, reviews_text.size_line(reviews), console)
        for part in review_parts(reviews):
            console.print()
            console.print(part)


def _head(report: Report, size: str, console: Console) -> None:
    verdict = report["verdict"]
    console.print(Text(verdict["sentence"], style=COLOURS[verdict["decision"]]), soft_wrap=True)
    if report["banner"]:
        console.print(Panel(report["banner"], title=report["origin"].upper(), title_align="left", style="magenta"))
    for reason in verdict["reasons"]:
        console.print(Text(reason, style="dim"))
    for warning in verdict["warnings"]:
        console.print(Text(f"Warning: {warning}", style="bold red"))
    console.print(Text(size, style="dim"))


def _size_line(report: Report) -> str:
    size, trial = report["size"], report["trial"]
    since = f", since {trial['since']}" if trial["since"] else ""
    return (
        f"{trial['name']} ({trial['id'][:10]}), {report['origin']}{since}: {size['days']:.1f} days, "
        f"{size['developers']} developer{_s(size['developers'])}, {size['sessions']:,} session{_s(size['sessions'])}, "
        f"{size['episodes']:,} episode{_s(size['episodes'])}, {size['requests']:,} request{_s(size['requests'])}."
    )


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def _parts(report: Report, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = [_effects(report)]
    if (plot := _over_time(report, width)) is not None:
        parts.append(plot)
    parts += [_funnel(report), _latency(report)]
    if (plot := _ecdf(report, width)) is not None:
        parts.append(plot)
    parts += [_retention(report), _guardrails(report), _cost(report)]
    if report["by"] is not None:
        parts.append(_groups(report))
    if report["published"] is not None:
        parts.append(_published(report))
    parts.append(_checks(report))
    return parts


def _table(report: Report, *extra: str) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, 2))
    found.add_column("")
    for label in ("A", "B"):
        found.add_column(report["arms"][label]["name"], justify="right")
    for name in extra:
        found.add_column(name, justify="right")
    return found


def _effects(report: Report) -> RenderableType:
    title, table = (
        Text("Effects, with intervals that may be looked at at any time (95%)", style="bold"),
        _table(report, "difference (95% interval)"),
    )
    notes = []
    for effect in report["effects"].values():
        is_primary = effect["name"] == report["primary"]["name"]
        table.add_row(
            Text(effect["title"] + (" *" if is_primary else ""), style="bold" if is_primary else ""),
            words.effect(effect["mean_a"], effect["unit"], effect["scale"]),
            words.effect(effect["mean_b"], effect["unit"], effect["scale"]),
            words.interval(effect["interval"], effect["scale"], effect["unit"]),
        )
    primary, forecast = report["primary"], report["forecast"]
    scale, unit = primary["scale"], primary["unit"]
    notes.append(
        f"* decides: {words.plural(primary['units'], 'episode')} in "
        f"{words.plural(primary['clusters'], 'finished session')}; margin "
        f"{primary['margin'] * scale:g} {unit}"
        + ("" if primary["is_margin_frozen"] else " (assumed: the manifest names none)")
    )
    if forecast["detectable"] is not None:
        later = forecast["detectable_in_30_days"]
        notes.append(
            f"Smallest effect that shows by now: about {forecast['detectable'] * scale:.1f} {unit}"
            + (f"; in 30 more days about {later * scale:.1f}." if later is not None else ".")
        )
    general = primary["developers_in_general"]
    notes.append(
        "Developers in general: "
        + (
            words.interval(general, scale, unit) + f", {general['developers']} developers, look {general['look']}."
            if general is not None
            else f"no claim ({primary['developers_in_general_refused']}). The figures above are about these developers."
        )
    )
    return Group(title, table, *(Padding(Text(note, style="dim"), (0, 0)) for note in notes))


def _over_time(report: Report, width: int) -> RenderableType | None:
    primary = report["primary"]
    over_time = primary["over_time"]
    if over_time is None or len(over_time["units"]) < 3:
        return None
    scale = primary["scale"]
    # The first interval spans everything and would flatten the rest.
    shown = [i for i, low in enumerate(over_time["low"]) if low > -0.6 or i == len(over_time["low"]) - 1]
    units = [over_time["units"][i] for i in shown]
    curves = [([over_time[name][k] * scale for k in shown], marker) for name, marker in CURVES]
    return _plot(
        f"{report['arms']['A']['name']} minus {report['arms']['B']['name']}, {primary['unit']}, by episodes",
        [(units, ys, marker, None) for ys, marker in curves],
        width,
        zero=True,
    )


def _plot(
    title: str,
    curves: list[tuple[list[float], list[float], str, str | None]],
    width: int,
    *,
    zero: bool = False,
    is_log: bool = False,
) -> Text:
    figure = plotext.figure
    figure.clear()
    figure.theme("clear")
    figure.plot_size(min(width, 100), PLOT_LINES)
    for xs, ys, marker, name in curves:
        signal = figure.signal(xs, ys, marker=marker).lines()
        figure.draw(signal.label(name) if name else signal)
    if zero:
        figure.line(0, 1)
    if is_log:
        figure.ruler("x").scale("log")
    figure.title(title)
    return Text.from_ansi(str(figure.build()))


def _funnel(report: Report) -> RenderableType:
    title, table = (
        Text("From assigned to kept (requests of the episodes that show each arm)", style="bold"),
        _table(report),
    )
    steps = zip(report["arms"]["A"]["funnel"], report["arms"]["B"]["funnel"], strict=True)
    first = [report["arms"][label]["funnel"][0]["count"] for label in ("A", "B")]
    for a, b in steps:
        cells = [
            f"{step['count']:,}  {words.percent(step['count'] / n) if n else '':>5}"
            for step, n in zip((a, b), first, strict=True)
        ]
        table.add_row(a["title"], *cells)
    looked = [report["arms"][label]["kept_looked_at"] for label in ("A", "B")]
    note = f"Of the taken ones {looked[0]:,} and {looked[1]:,} could be looked at after 30 s."
    return Group(title, table, Text(note, style="dim"))


def _latency(report: Report) -> RenderableType:
    title, table = Text("Latency and answers (both arms, shown or not)", style="bold"), _table(report)
    for name, row in (("p50", "median"), ("p95", "95th percentile")):
        table.add_row(row, *(words.quantile(report["arms"][label]["latency_ms"][name]) for label in ("A", "B")))
    statuses = dict.fromkeys([*report["arms"]["A"]["statuses"], *report["arms"]["B"]["statuses"]])
    for status in statuses:
        cells = []
        for label in ("A", "B"):
            arm = report["arms"][label]
            n = arm["statuses"].get(status, 0)
            cells.append(f"{n:,}  {words.percent(n / arm['attempts'], 1) if arm['attempts'] else '':>6}")
        table.add_row(status, *cells)
    if not statuses:
        return Group(title, table, Text("No attempt has been recorded.", style="dim"))
    return Group(title, table)


def _ecdf(report: Report, width: int) -> RenderableType | None:
    curves = {label: report["arms"][label]["latency_ms"]["ecdf"] for label in ("A", "B")}
    if not any(len(points) > 2 for points in curves.values()):
        return None
    drawn = [
        ([x for x, _ in points], [y * 100 for _, y in points], marker, report["arms"][label]["name"])
        for (label, points), marker in zip(curves.items(), ("braille", "dot"), strict=True)
        if points
    ]
    return _plot("Answers complete within so many milliseconds, %", drawn, width, is_log=True)


def _retention(report: Report) -> RenderableType:
    title, table = (
        Text("Taken text that still stands (Kaplan-Meier; limits hold at all horizons and times)", style="bold"),
        _table(report),
    )
    rows = zip(report["arms"]["A"]["retention"], report["arms"]["B"]["retention"], strict=True)
    for a, b in rows:
        table.add_row(f"after {a['horizon_s']} s", *(_survival(point) for point in (a, b)))
    return Group(title, table)


def _survival(point: Mapping[str, Any]) -> str:
    if point["survival"] is None:
        return words.UNKNOWN
    limits = f"{words.percent(point['low'])} to {words.percent(point['high'])}"
    return f"{words.percent(point['survival'])} ({limits}), {point['at_risk']:,} seen"


def _guardrails(report: Report) -> RenderableType:
    title, table = Text("Guardrails", style="bold"), _table(report, "harm is", "proven harm")
    for rail in report["guardrails"]:
        harm = report["arms"][rail["harms"]]["name"] if rail["harms"] else "none"
        table.add_row(
            rail["title"], rail["a"], rail["b"], rail["margin"], Text(harm, style="bold red" if rail["harms"] else "")
        )
    notes = [Text(f"{rail['title']}: {rail['note']}", style="dim") for rail in report["guardrails"] if rail["note"]]
    return Group(title, table, *notes)


def _cost(report: Report) -> RenderableType:
    title, table = Text("Cost", style="bold"), _table(report)
    for key, row in (
        ("per_1000_completions_usd", "per 1,000 completions"),
        ("per_1000_accepted_chars_usd", "per 1,000 characters taken"),
        ("per_1000_kept_chars_usd", "per 1,000 characters kept"),
        ("per_month_usd", "a month at the present pace, alone"),
        ("trial_usd", "spent by this trial so far"),
    ):
        table.add_row(row, *(words.usd(report["arms"][label]["cost"][key]) for label in ("A", "B")))
    notes = []
    for label in ("A", "B"):
        cost = report["arms"][label]["cost"]
        if cost["priced"] < cost["attempts"]:
            name = report["arms"][label]["name"]
            missing = cost["attempts"] - cost["priced"]
            notes.append(f"{name}: the price of {missing:,} of {cost['attempts']:,} attempts is unknown.")
    return Group(title, table, *(Text(note, style="dim") for note in notes))


def _groups(report: Report) -> RenderableType:
    found = report["by"]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for i, name in enumerate(by.heads(found)):
        table.add_column(name, justify="left" if i < len(found["dimensions"]) else "right")
    for label in ("A", "B"):
        table.add_column(report["arms"][label]["name"], justify="right")
    table.add_column("difference (95% interval)", justify="right")
    for cells in by.group_cells(found):
        table.add_row(*cells)
    notes = [Text(by.NOTE, style="dim")]
    if more := by.hidden(found):
        notes.append(Text(f"{more:,} smaller groups are not shown; --json and --csv have them.", style="dim"))
    return Group(Text(f"By {', '.join(found['dimensions'])}: {found['title']}", style="bold"), table, *notes)


def _published(report: Report) -> RenderableType:
    tables = []
    names = [report["arms"][label]["name"] for label in ("A", "B")]
    for heads, rows in (
        ((*measures.HEADS[:2], *names), list(measures.cells(report["published"]))),
        (measures.OUTSIDE_HEADS, list(measures.outside_cells(report["published"]))),
    ):
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        for i, name in enumerate(heads):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*row)
        if rows:
            tables.append(table)
    return Group(Text("By published definitions", style="bold"), *tables, Text(measures.NOTE, style="dim"))


def _checks(report: Report) -> RenderableType:
    ratio = report["sample_ratio"]
    found = zip(("A", "B", "none"), ratio["counts"], ratio["expected"], strict=True)
    split = ", ".join(f"{name} {n:,} (expected {e:,.0f})" for name, n, e in found)
    p = "" if ratio["p_value"] is None else f", p = {ratio['p_value']:.2g}"
    lines = [f"Assignment: {split}: {'does NOT fit' if ratio['is_mismatch'] else 'fits'}{p}."]
    if report["dispositions"]:
        lines.append("Requests: " + ", ".join(f"{name} {n:,}" for name, n in report["dispositions"].items()) + ".")
    if report["incidents"]:
        lines.append("Incidents: " + ", ".join(f"{name} {n:,}" for name, n in report["incidents"].items()) + ".")
    others = report["trial"]["sessions_of_other_origins"]
    if others:
        lines.append(
            "Left out: " + ", ".join(f"{n:,} {name} session{_s(n)}" for name, n in others.items()) + " of this trial."
        )
    if report["trial"]["other_trials_in_store"]:
        lines.append(
            f"{report['trial']['other_trials_in_store']} other trial(s) in this store, not pooled (--trial names one)."
        )
    size = report["size"]
    if size["open_episodes"]:
        lines.append(f"{size['open_episodes']:,} episodes are still open and wait for their outcome.")
    return Group(Text("Checks", style="bold"), *(Text(line) for line in lines))
