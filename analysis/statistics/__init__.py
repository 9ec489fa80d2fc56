"""The statistics of a trial: intervals that may be looked at at any time, and say nothing where little is known."""

from analysis.statistics.checks import Clustering, SampleRatio, clustering, sample_ratio
from analysis.statistics.developers import (
    LOOK_DAYS,
    MIN_DEVELOPERS,
    GeneralClaim,
    developers_in_general,
    planned_look,
)
from analysis.statistics.effects import Hajek, centred_ipw, cluster_sums, hajek
from analysis.statistics.planning import (
    bernstein_half_width,
    clusters_for_half_width,
    fixed_sample_size,
    rounded_up,
    units_for_half_width,
)
from analysis.statistics.quantiles import LOG_BIN, Quantile, bin_edges, bin_of, effective_size, quantile
from analysis.statistics.sequences import (
    ALPHA,
    MIN_CLUSTERS,
    Interval,
    Sequence,
    asymptotic_half_width,
    cluster_ratio,
    empirical_bernstein,
    look_times,
)
from analysis.statistics.survival import SurvivalPoint, kaplan_meier, proportion_limits

__all__ = [
    "ALPHA",
    "LOG_BIN",
    "LOOK_DAYS",
    "MIN_CLUSTERS",
    "MIN_DEVELOPERS",
    "Clustering",
    "GeneralClaim",
    "Hajek",
    "Interval",
    "Quantile",
    "SampleRatio",
    "Sequence",
    "SurvivalPoint",
    "asymptotic_half_width",
    "bernstein_half_width",
    "bin_edges",
    "bin_of",
    "centred_ipw",
    "cluster_ratio",
    "cluster_sums",
    "clustering",
    "clusters_for_half_width",
    "developers_in_general",
    "effective_size",
    "empirical_bernstein",
    "fixed_sample_size",
    "hajek",
    "kaplan_meier",
    "look_times",
    "planned_look",
    "proportion_limits",
    "quantile",
    "rounded_up",
    "sample_ratio",
    "units_for_half_width",
]
