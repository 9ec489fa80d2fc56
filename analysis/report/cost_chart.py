"""The break-even as a picture: what a machine of one's own and the other arm cost a month, over use."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter

from analysis.report.charts import ARM_A, ARM_B, INK, SETTINGS, new_figure, to_svg

__all__ = ["break_even"]


def break_even(found: Mapping[str, Any] | None) -> str | None:
    """Both monthly costs; None without a machine to compare with."""
    if found is None:
        return None
    curve, now = found["curve"], found["completions_per_month"]
    row = found["rows"][0]
    crossing = row["completions_per_month"]
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(7.6, 3.3)
        axes.step(curve["completions"], curve["hosted_usd"], where="post", color=ARM_A, linewidth=2,
                  label="machines of your own")  # fmt: skip
        axes.plot(curve["completions"], curve["rival_usd"], color=ARM_B, linewidth=2, linestyle=(0, (5, 2)),
                  label=found["against"])  # fmt: skip
        axes.axvline(now, color=INK, linewidth=1, linestyle=":")
        top = max(max(curve["hosted_usd"]), max(curve["rival_usd"])) * 1.08
        axes.text(now, top, " your use now", ha="left", va="top", fontsize=9.5)
        tips = {}
        if crossing is not None:
            [dot] = axes.plot(crossing, row["api_usd_per_month"], "o", color=INK, markersize=7)
            dot.set_gid("even-point")
            tips["even-point"] = (
                f"The same cost at {crossing:,.0f} completions a month: ${row['api_usd_per_month']:,.0f}"
            )
        if curve["completions"][0] > 0:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(curve["completions"][0], curve["completions"][-1])
            axes.set_ylim(max(0.5, min(*curve["hosted_usd"], *curve["rival_usd"])) * 0.7, top)
        else:
            axes.set_xlim(0, curve["completions"][-1])
            axes.set_ylim(0, top)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"${v:,.0f}"))
        axes.set_xlabel("completions a month")
        axes.legend(loc="center right" if crossing is None else "lower right")
        told = "never" if crossing is None else f"from {crossing:,.0f} completions a month on"
        return to_svg(
            figure,
            "even",
            f"Monthly cost: machines of your own against {found['against']}",
            f"Cheaper {told}; the present use is {now:,.0f} a month.",
            tips,
        )
