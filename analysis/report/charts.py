"""The charts of the page as inline SVG: text stays text; colours come from the page, so dark mode needs no script."""

import io
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.report import words

__all__ = ["effect_over_time", "funnel", "latency", "retention"]

Report = Mapping[str, Any]

# Stand-ins that matplotlib can parse; the page's own variables take their place in the SVG.
INK, FAINT, ARM_A, ARM_B, MARGIN = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    ARM_A: "var(--a)",
    ARM_B: "var(--b)",
    MARGIN: "var(--margin)",
}

COLOURS = {"A": ARM_A, "B": ARM_B}
DASHES = {"A": "-", "B": (0, (5, 2))}
"""Told apart without colour too."""

SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "codetrial",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def effect_over_time(report: Report) -> str | None:
    """Estimate and limits of the primary effect against the number of episodes; None before there are any."""
    primary = report["primary"]
    over_time = primary["over_time"]
    if over_time is None or len(over_time["units"]) < 3:
        return None
    scale = primary["scale"]
    names = {label: report["arms"][label]["name"] for label in ("A", "B")}
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.5)
        units = over_time["units"]
        low, high, middle = ([v * scale for v in over_time[k]] for k in ("low", "high", "estimate"))
        axes.axhspan(-primary["margin"] * scale, primary["margin"] * scale, color=MARGIN, alpha=0.35, linewidth=0)
        axes.axhline(0, color=INK, linewidth=1)
        axes.fill_between(units, low, high, color=ARM_A, alpha=0.22, linewidth=0)
        axes.plot(units, low, color=ARM_A, linewidth=0.8)
        axes.plot(units, high, color=ARM_A, linewidth=0.8)
        axes.plot(units, middle, color=ARM_A, linewidth=2)
        # The first few episodes exclude nothing and would flatten all that follows.
        tail = [i for i, n in enumerate(units) if n >= units[-1] * 0.04]
        reach = max(abs(bound[i]) for i in tail for bound in (low, high)) * 1.05
        axes.set_ylim(-reach, reach)
        axes.set_xlim(0, units[-1] * 1.02)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}" if v else "0"))
        axes.set_xlabel("episodes, in order of assignment")
        axes.set_ylabel(f"difference, {primary['unit']}")
        axes.text(0.995, 0.97, f"{names['A']} better ↑", transform=axes.transAxes, ha="right", va="top")
        axes.text(0.995, 0.03, f"{names['B']} better ↓", transform=axes.transAxes, ha="right", va="bottom")
        last = words.interval(primary["over_episodes"], scale, primary["unit"])
        return to_svg(
            figure,
            "effect",
            f"{names['A']} minus {names['B']}: estimate and 95% confidence sequence",
            f"After {units[-1]:,} episodes: {last}. The band in the middle is the margin within which both are alike.",
        )


def funnel(report: Report) -> str | None:
    """Shares of the assigned requests at each step, both arms."""
    steps = {label: report["arms"][label]["funnel"] for label in ("A", "B")}
    if not any(step["count"] for arm in steps.values() for step in arm):
        return None
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.6)
        tips = {}
        for offset, (label, arm) in zip((-0.19, 0.19), steps.items(), strict=True):
            first = arm[0]["count"]
            shares = [step["count"] / first * 100 if first else 0.0 for step in arm]
            bars = axes.barh(
                [i + offset for i in range(len(arm))],
                shares,
                height=0.34,
                color=COLOURS[label],
                label=report["arms"][label]["name"],
                hatch=None if label == "A" else "///",
                edgecolor="none" if label == "A" else INK,
                linewidth=0,
            )
            for i, (bar, step, share) in enumerate(zip(bars, arm, shares, strict=True)):
                bar.set_gid(f"funnel-{label}-{i}")
                tips[f"funnel-{label}-{i}"] = f"{report['arms'][label]['name']}: {step['title']}: {step['count']:,}"
                axes.text(share + 1, i + offset, f"{step['count']:,} ({share:.0f}%)", va="center", fontsize=9.5)
        axes.set_yticks(range(len(steps["A"])), [step["title"] for step in steps["A"]])
        axes.invert_yaxis()
        axes.set_xlim(0, 122)
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(
            figure,
            "funnel",
            "From assigned to kept",
            "Requests of the episodes that show each arm, step by step.",
            tips,
        )


def latency(report: Report) -> str | None:
    """Share of answers complete within a time, on a logarithmic axis."""
    curves = {label: report["arms"][label]["latency_ms"]["ecdf"] for label in ("A", "B")}
    if not any(len(points) > 1 for points in curves.values()):
        return None
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.3)
        for label, points in curves.items():
            if points:
                xs, ys = [x for x, _ in points], [y * 100 for _, y in points]
                name = report["arms"][label]["name"]
                axes.step(xs, ys, where="post", color=COLOURS[label], linestyle=DASHES[label], linewidth=2, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else f"{v / 1000:g} s"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.axhline(95, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 101)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}%"))
        axes.set_xlabel("milliseconds from sending to the last byte")
        axes.legend(loc="lower right")
        texts = [
            f"{report['arms'][label]['name']}: median {words.quantile(report['arms'][label]['latency_ms']['p50'])}, "
            f"95th percentile {words.quantile(report['arms'][label]['latency_ms']['p95'])}"
            for label in ("A", "B")
        ]
        return to_svg(figure, "latency", "How fast answers are complete", "; ".join(texts) + ".")


def retention(report: Report) -> str | None:
    """Kaplan-Meier curves of taken text."""
    curves = {
        label: [p for p in report["arms"][label]["retention"] if p["survival"] is not None] for label in ("A", "B")
    }
    if not any(curves.values()):
        return None
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.3)
        tips = {}
        for label, points in curves.items():
            if not points:
                continue
            name = report["arms"][label]["name"]
            # A little further than the last look, or its step would have no width.
            xs = [0, *(p["horizon_s"] / 60 for p in points), points[-1]["horizon_s"] / 60 + 0.25]
            seen = [*points, points[-1]]
            middle, low, high = ([100, *(p[key] * 100 for p in seen)] for key in ("survival", "low", "high"))
            axes.fill_between(xs, low, high, step="post", color=COLOURS[label], alpha=0.16, linewidth=0)
            axes.step(xs, middle, where="post", color=COLOURS[label], linestyle=DASHES[label], linewidth=2, label=name)
            for i, p in enumerate(points):
                [dot] = axes.plot(p["horizon_s"] / 60, p["survival"] * 100, "o", color=COLOURS[label], markersize=6)
                dot.set_gid(f"retention-{label}-{i}")
                tips[f"retention-{label}-{i}"] = (
                    f"{name}, {p['horizon_s']} s: {p['survival']:.0%} ({p['low']:.0%} to {p['high']:.0%}); "
                    f"{p['at_risk']:,} seen, {p['gone']:,} gone, {p['censored']:,} lost from sight"
                )
        axes.set_ylim(0, 102)
        axes.set_xlim(0, 10.3)
        axes.xaxis.set_major_locator(MaxNLocator(11, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}%"))
        axes.set_xlabel("minutes after it was taken")
        axes.legend(loc="lower left")
        texts = []
        for label, points in curves.items():
            if points:
                texts.append(
                    f"{report['arms'][label]['name']}: {points[-1]['survival']:.0%} after {points[-1]['horizon_s']} s"
                )
        return to_svg(figure, "retention", "Taken text that still stands", "; ".join(texts) + ".", tips)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    # Not pyplot: it keeps figures and picks a display.
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def to_svg(figure: Figure, name: str, title: str, description: str, tips: Mapping[str, str] | None = None) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Several drawings share one page, so their ids must differ.
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    for stand_in, variable in VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    svg = _with_tips(svg, name, tips or {})
    head = f'<svg role="img" aria-labelledby="{name}-title {name}-desc" class="chart"'
    labels = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    return re.sub(r"<svg([^>]*)>", lambda m: f"{head}{m[1]}>{labels}", svg, count=1)


def _with_tips(svg: str, name: str, tips: Mapping[str, str]) -> str:
    for gid, text in tips.items():
        svg = svg.replace(f'<g id="{name}-{gid}">', f'<g id="{name}-{gid}"><title>{escape(text)}</title>', 1)
    return svg
