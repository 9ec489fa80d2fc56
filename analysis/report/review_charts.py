"""The charts of the review door."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter

from analysis.report import words
from analysis.report.charts import ARM_A, COLOURS, INK, MARGIN, SETTINGS, new_figure, to_svg

__all__ = ["acted_on", "net_over_time"]

Found = Mapping[str, Any]

SIDES = (("posted", "posted"), ("held_back", "held back"))


def acted_on(found: Found) -> str | None:
    """Shares acted on with their limits, posted above held back, arm by arm; None without a finding to show."""
    bars = [
        (label, key, f"{found['arms'][label]['name']}, {title}", found["arms"][label]["own"][key])
        for label in ("A", "B")
        for key, title in SIDES
    ]
    if not any(rate["findings"] for *_, rate in bars):
        return None
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 2.6)
        tips = {}
        for place, (label, key, title, rate) in enumerate(bars):
            if not rate["findings"]:
                axes.text(1, place, "none", va="center", fontsize=9.5)
                continue
            value, low, high = (rate[name] * 100 for name in ("rate", "low", "high"))
            [line] = axes.plot([low, high], [place, place], color=COLOURS[label], linewidth=7, alpha=0.35)
            line.set_solid_capstyle("round")
            filled = key == "posted"
            [dot] = axes.plot(
                value,
                place,
                "o",
                color=COLOURS[label],
                markersize=9,
                markerfacecolor=COLOURS[label] if filled else "none",
            )
            dot.set_gid(f"acted-{label}-{key}")
            tips[f"acted-{label}-{key}"] = (
                f"{title}: {rate['acted_on']:,} of {rate['findings']:,} acted on, "
                f"{value:.0f}% ({low:.0f} to {high:.0f})"
            )
        axes.set_yticks(range(len(bars)), [title for _, _, title, _ in bars])
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}%"))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("findings acted on")
        described = [f"{title}: {rate['acted_on']} of {rate['findings']}" for _, _, title, rate in bars]
        return to_svg(figure, "acted", "Findings acted on, posted and held back", "; ".join(described) + ".", tips)


def net_over_time(found: Found) -> str | None:
    """A minus B, of posted minus held back, against the number of finished pull requests."""
    over_time = found["primary"]["over_time"]
    if over_time is None or len(over_time["clusters"]) < 3:
        return None
    names = {label: found["arms"][label]["name"] for label in ("A", "B")}
    margin = found["primary"]["margin"] * 100
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.3)
        pulls = over_time["clusters"]
        low, high, middle = ([v * 100 for v in over_time[key]] for key in ("low", "high", "estimate"))
        axes.axhspan(-margin, margin, color=MARGIN, alpha=0.35, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        axes.fill_between(pulls, low, high, color=ARM_A, alpha=0.22, linewidth=0)
        for values, width in ((low, 0.8), (high, 0.8), (middle, 2)):
            axes.plot(pulls, values, color=ARM_A, linewidth=width)
        reach = max(*(abs(v) for v in (*low, *high)), margin) * 1.05
        axes.set_ylim(-reach, reach)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}" if v else "0"))
        axes.set_xlabel("finished pull requests")
        axes.set_ylabel("difference, points")
        axes.text(0.995, 0.97, f"{names['A']} better ↑", transform=axes.transAxes, ha="right", va="top")
        axes.text(0.995, 0.03, f"{names['B']} better ↓", transform=axes.transAxes, ha="right", va="bottom")
        last = words.interval(found["primary"]["interval"], 100, "points")
        return to_svg(
            figure,
            "net",
            f"{names['A']} minus {names['B']}: what posting adds, with its 95% confidence sequence",
            f"After {pulls[-1]:,} pull requests: {last}.",
        )
