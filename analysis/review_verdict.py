"""Whose findings developers act on: the decision on a review trial, on the metric `acted_on`, with its guardrails.

The decision rests on the asymptotic sequence over finished pull requests, from 30 of them on, of posted minus held back
of arm A minus the same of arm B. docs/design/0013-reviews-compared.md gives the reasons.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from analysis.guardrails import Guardrail, failures_guardrail, guardrail_margin, latency_guardrail
from analysis.queries import Evidence
from analysis.reviews import (
    SHARED,
    FindingUnit,
    Rate,
    Reviews,
    more_pulls_for,
    net_contrast,
    posted_minus_held_back,
    rate,
    split_of_findings,
    with_ends,
)
from analysis.statistics import MIN_CLUSTERS, Interval, SampleRatio, rounded_up
from analysis.statistics.contrasts import MIN_UNITS, Contrast
from analysis.verdict import Decision, setup_warnings, silent_arms
from codetrial.records import ArmLabel, Origin

__all__ = ["METRIC", "ReviewCost", "ReviewJudgement", "StratumResult", "judge_reviews", "review_costs"]

METRIC = "acted_on"

DEFAULT_MARGIN = 0.05
"""A difference of shares; a manifest's `margins.acted_on` goes before it."""

POINTS = 100

NANO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumResult:
    """The findings of one arm alone, or those of both."""

    found: int
    posted: Rate
    held_back: Rate
    """Both without those beside which another posted one lies."""
    posted_in_all: Rate
    """With them, and with those posted by rule: how it really went, compared with nothing."""
    net: Contrast
    """Posted minus held back."""
    refusal: str | None
    """Why there is no interval for it."""
    by_rule: int
    """Posted whatever the draw."""
    open: int
    not_observed: int
    near_posted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewCost:
    """US dollars; None where a price, or what it would be divided by, is not known."""

    reviews: int
    priced: int
    trial_usd: float | None
    per_review_usd: float | None
    per_finding_acted_on_usd: float | None
    """Had all findings been posted: the cost of the finished reviews over the findings acted on."""
    per_finding_acted_on_because_posted_usd: float | None
    """The same over those that would not have been acted on anyway; None if posting has shown no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewJudgement:
    decision: Decision
    winner: ArmLabel | None
    sentence: str
    """With the arms as `{A}` and `{B}`."""
    reasons: list[str]
    warnings: list[str]
    contrast: Contrast
    """Arm A minus arm B."""
    margin: float
    is_margin_frozen: bool
    strata: Mapping[str, StratumResult]
    words: Mapping[ArmLabel, Rate]
    """Findings that both arms had, by whose words were posted."""
    costs: Mapping[ArmLabel, ReviewCost]
    guardrails: list[Guardrail]
    more_pulls: int | None
    more_days: float | None
    days: float
    split: SampleRatio

    @property
    def interval(self) -> Interval | None:
        """Within what a difference of differences can be."""
        last = self.contrast.last
        return None if last is None else Interval(last.estimate, max(last.low, -2.0), min(last.high, 2.0))


def judge_reviews(evidence: Evidence, reviews: Reviews) -> ReviewJudgement:
    """Decide what can be decided, and say what cannot."""
    evidence = with_ends(evidence, reviews)
    margins = evidence.trial.settings.get("margins")
    frozen = margins.get(METRIC) if isinstance(margins, Mapping) else None
    margin = float(frozen) if frozen is not None else DEFAULT_MARGIN
    found = net_contrast(reviews)
    strata = {name: _stratum(reviews, name) for name in (*ArmLabel, SHARED)}
    split = split_of_findings(reviews)
    costs = review_costs(evidence, reviews, strata)
    guardrails = [latency_guardrail(evidence), failures_guardrail(evidence), _cost_guardrail(evidence, costs)]
    reasons: list[str] = []
    decision, winner = _decide(found, margin, guardrails, split, reasons)
    days = _days(reviews)
    more = _more(found, margin, reviews)
    has_pace = days >= 0.5 and reviews.finished and evidence.origin is Origin.PERSON
    more_days = more * days / len(reviews.finished) if more is not None and has_pace else None
    judged = ReviewJudgement(
        decision=decision,
        winner=winner,
        sentence="",
        reasons=reasons,
        warnings=[*_warnings(split), *setup_warnings(evidence), *silent_arms(evidence)],
        contrast=found,
        margin=margin,
        is_margin_frozen=frozen is not None,
        strata=strata,
        words={label: _rate_of(reviews, SHARED, _in_words_of(label)) for label in ArmLabel},
        costs=costs,
        guardrails=guardrails,
        more_pulls=more,
        more_days=more_days,
        days=days,
        split=split,
    )
    return replace(judged, sentence=_sentence(evidence, reviews, judged))


def _posted(unit: FindingUnit) -> bool:
    return unit.is_posted


def _held_back(unit: FindingUnit) -> bool:
    return not unit.is_posted


def _in_words_of(label: ArmLabel) -> Callable[[FindingUnit], bool]:
    return lambda unit: unit.shown == label.value


def _rate_of(reviews: Reviews, stratum: str, is_wanted: Callable[[FindingUnit], bool]) -> Rate:
    return rate(unit for unit in reviews.of(stratum) if unit.is_compared and is_wanted(unit))


def _stratum(reviews: Reviews, name: str) -> StratumResult:
    own = reviews.of(name)
    net = posted_minus_held_back(reviews, name)
    return StratumResult(
        found=len(own),
        posted=_rate_of(reviews, name, _posted),
        held_back=_rate_of(reviews, name, _held_back),
        posted_in_all=rate(unit for unit in own if unit.is_posted),
        net=net,
        refusal=None if net.last is not None else _refusal(own, reviews),
        by_rule=sum(unit.is_forced for unit in own),
        open=sum(unit.is_open for unit in own),
        not_observed=sum(not unit.is_open and unit.is_acted_on is None for unit in own),
        near_posted=sum(unit.is_near_posted and not unit.is_forced for unit in own),
    )


def _refusal(own: list[FindingUnit], reviews: Reviews) -> str:
    if len(reviews.finished) < MIN_CLUSTERS:
        return f"needs {MIN_CLUSTERS} finished pull requests, has {len(reviews.finished)}"
    compared = [unit for unit in own if unit.is_compared]
    posted = sum(unit.is_posted for unit in compared)
    return f"needs {MIN_UNITS} posted and {MIN_UNITS} held-back findings, has {posted} and {len(compared) - posted}"


def _warnings(split: SampleRatio) -> list[str]:
    if not split.is_mismatch:
        return []
    posted, held = split.counts
    return [
        f"Findings posted ({posted:,}) and held back ({held:,}) do not fit the share asked for: some were lost "
        "unevenly. Find out why before you believe any comparison."
    ]


def review_costs(
    evidence: Evidence, reviews: Reviews, strata: Mapping[str, StratumResult]
) -> Mapping[ArmLabel, ReviewCost]:
    """Each arm's cost from what was recorded; a finding that both had counts for both."""
    found = {}
    for label in ArmLabel:
        sums = evidence.attempts[label]
        attempts, priced = int(sums.attempts.sum()), int(sums.priced.sum())
        known = float(sums.known_cost_nanousd.sum()) * NANO
        each = known / priced if priced else None
        acted_on, because = _acted_on_if_all_posted([strata[label], strata[SHARED]])
        paid = None if each is None else each * reviews.reviews_finished
        found[label] = ReviewCost(
            reviews=attempts,
            priced=priced,
            trial_usd=known if priced else None,
            per_review_usd=each,
            per_finding_acted_on_usd=None if paid is None or not acted_on else paid / acted_on,
            per_finding_acted_on_because_posted_usd=None
            if paid is None or because is None or because <= 0
            else paid / because,
        )
    return found


def _acted_on_if_all_posted(strata: list[StratumResult]) -> tuple[float, float | None]:
    """Findings that would be acted on were all of them posted, and how many of these because of it."""
    acted_on, because = 0.0, 0.0
    is_known = True
    for stratum in strata:
        observed = stratum.found - stratum.open - stratum.not_observed
        if not observed:
            continue
        if stratum.posted_in_all.findings:
            acted_on += observed * stratum.posted_in_all.acted_on / stratum.posted_in_all.findings
        if stratum.net.estimate is None:
            is_known = False
        else:
            because += observed * stratum.net.estimate
    return acted_on, because if is_known else None


def _cost_guardrail(evidence: Evidence, costs: Mapping[ArmLabel, ReviewCost]) -> Guardrail:
    def text(label: ArmLabel) -> str:
        value = costs[label].per_finding_acted_on_usd
        return "unknown" if value is None else f"${value:,.4f}"

    return Guardrail(
        name="cost",
        title="Cost per finding acted on",
        a=text(ArmLabel.A),
        b=text(ArmLabel.B),
        margin=f"{guardrail_margin(evidence, 'cost'):.0%} dearer",
        harms=None,
        note="No interval, so it never decides.",
    )


def _days(reviews: Reviews) -> float:
    """From the first finding to the last."""
    if not reviews.units:
        return 0.0
    first, last = (datetime.fromisoformat(reviews.units[i].opened_at) for i in (0, -1))
    return (last - first).total_seconds() / 86_400


def _more(found: Contrast, margin: float, reviews: Reviews) -> int | None:
    if found.estimate is None:
        return None
    estimate = abs(found.estimate)
    return more_pulls_for(max(estimate, margin - estimate), found, len(reviews.finished))


def _decide(
    found: Contrast, margin: float, guardrails: list[Guardrail], split: SampleRatio, reasons: list[str]
) -> tuple[Decision, ArmLabel | None]:
    interval = found.last
    if interval is None:
        return Decision.NOT_YET, None
    if split.is_mismatch:
        reasons.append("The split into posted and held back does not fit its share, so nothing is decided.")
        return Decision.NOT_YET, None
    if interval.lies_within(margin):
        return Decision.TIE, None
    if not interval.excludes(0.0):
        return Decision.NOT_YET, None
    winner = ArmLabel.A if interval.estimate > 0 else ArmLabel.B
    if any(guardrail.harms is winner for guardrail in guardrails):
        return Decision.CONFLICT, winner
    return Decision.WIN, winner


def _sentence(evidence: Evidence, reviews: Reviews, judged: ReviewJudgement) -> str:
    prefix = "" if evidence.origin is Origin.PERSON else f"In this {evidence.origin.value}: "
    interval, winner = judged.interval, judged.winner
    if interval is not None and winner is not None:
        name, other = (f"{{{label}}}" for label in (winner, ArmLabel.B if winner is ArmLabel.A else ArmLabel.A))
        gain = (
            f"posting its findings makes developers act on {abs(interval.estimate) * POINTS:.1f} points more of them "
            f"than posting {other}'s does"
        )
        if judged.decision is Decision.WIN:
            return f"{prefix}{name} wins: {gain}."
        harm = next(rail.title for rail in judged.guardrails if rail.harms is winner)
        return f"{prefix}{name} is better, but at a price: {gain}; its guardrail '{harm}' is broken."
    if judged.decision is Decision.TIE:
        return (
            f"{prefix}A tie: what posting does differs by less than {judged.margin * POINTS:g} points between {{A}} "
            "and {B}."
        )
    start = "Not yet" if evidence.origin is Origin.PERSON else f"Not yet, in this {evidence.origin.value}"
    return f"{start}: {_not_yet(evidence, reviews, judged)}"


def _not_yet(evidence: Evidence, reviews: Reviews, judged: ReviewJudgement) -> str:
    if not reviews.units:
        return "no review has found anything yet." if reviews.reviews else "no pull request has been reviewed yet."
    if evidence.trial.is_shadow:
        return "the trial is in shadow mode, so no finding is posted and none can be acted on."
    if not any(unit.is_posted for unit in reviews.units):
        return "no finding has been posted."
    if all(unit.is_forced for unit in reviews.units):
        return "every finding so far was posted by rule ([review] always_post), so there is nothing to compare yet."
    if all(unit.share_posted >= 1 or unit.is_forced for unit in reviews.units):
        return "no finding is held back, so there is nothing to compare with; set [review] post_share below 1."
    interval = judged.interval
    if interval is None:
        n, of = len(reviews.finished), reviews.pulls_with_findings
        so_far = f"{n} of {of} pull request{'s' if of != 1 else ''} with findings {'is' if n == 1 else 'are'} finished"
        if n < MIN_CLUSTERS:
            return f"{so_far}; a comparison needs {MIN_CLUSTERS}."
        return f"{so_far}, but each arm needs {MIN_UNITS} posted and {MIN_UNITS} held-back findings."
    low, high = interval.low * POINTS, interval.high * POINTS
    so_far = f"{{A}} minus {{B}} is somewhere between {low:+.1f} and {high:+.1f} points"
    if judged.more_days is not None and judged.more_days <= 3650:
        days = rounded_up(judged.more_days)
        return f"{so_far}; about {days:,} more day{'s' if days > 1 else ''} at the present pace."
    if judged.more_pulls:
        return f"{so_far}; about {rounded_up(judged.more_pulls):,} more pull requests are needed."
    return f"{so_far}."
