"""From claims to what is posted and what is held back: placed, deduplicated, assigned, capped and shuffled.

Everything here is pure and deterministic. No model judges another one's findings: a judge might favour an arm.
"""

import hashlib
import hmac
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from codetrial.assignment import Propensities, draw
from codetrial.ids import new_id
from codetrial.records import ArmLabel, Shown
from pr_bot.anchors import Anchor, anchor
from pr_bot.diff import Diff
from pr_bot.review import Claim
from pr_bot.settings import ReviewSettings

__all__ = [
    "Assigned",
    "Earlier",
    "Group",
    "Placed",
    "Plan",
    "PostedAt",
    "assign",
    "deduplicate",
    "distance",
    "fingerprint",
    "marker_id",
    "place",
    "place_key",
    "plan",
    "word_hashes",
]

OVERLAP_SLACK_LINES = 1
SAME_WORDS = 0.3
"""Jaccard overlap from which texts at one place are one finding; place alone would merge distinct bugs of a line."""

_WORD = re.compile(r"[a-z_][a-z0-9_]{2,}")
_COMMON_WORDS = """
the and for not that this with from are was will can but has have should would could may might when where which there
here into its then than you your line code function method value use used using instead
"""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One arm's finding at its place in the change."""

    id: str
    label: ArmLabel
    claim: Claim
    anchor: Anchor
    suggestion: str | None = None
    """Replacement of the anchored lines, only if it was found to apply, to parse and to change something."""
    suggestion_note: str | None = None
    """Why a suggestion of the model is shown as plain text instead."""

    @property
    def words(self) -> frozenset[str]:
        return _words(f"{self.claim.title} {self.claim.body}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The same finding by one arm or by both."""

    members: tuple[Placed, ...]

    @property
    def id(self) -> str:
        """The assignment's id: that of the first member, A's where both have it."""
        return self.members[0].id

    @property
    def stratum(self) -> str:
        return "both" if len(self.members) == 2 else self.members[0].label.value

    def member(self, label: ArmLabel) -> Placed | None:
        return next((member for member in self.members if member.label is label), None)

    @property
    def rank(self) -> int:
        return min(member.claim.severity.rank for member in self.members)


def place(diff: Diff, claims: Iterable[Claim], label: ArmLabel) -> list[Placed]:
    return [Placed(id=new_id(), label=label, claim=claim, anchor=anchor(diff, claim.place)) for claim in claims]


def place_key(path: str, anchor: Anchor) -> str:
    """Where a finding is without its line number: the path, the side and the flagged text itself."""
    text = " ".join(anchor.text.split())
    return hashlib.sha256(f"{path}\0{anchor.side}\0{text}".encode("utf-8", "replace")).hexdigest()[:24]


def fingerprint(finding: Placed) -> str:
    """A finding's identity across pushes; lines may shift and models word things anew, so neither is part of it."""
    content = f"{place_key(finding.anchor.path, finding.anchor)}\0{finding.claim.category}"
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def word_hashes(finding: Placed) -> frozenset[str]:
    """The words of a finding so that a later one can be compared with it, though its text is not kept."""
    return frozenset(hashlib.sha256(word.encode()).hexdigest()[:8] for word in finding.words)


class Earlier(NamedTuple):
    """A finding of an earlier head of the same pull request."""

    place_key: str
    words: frozenset[str]
    posted_at: "PostedAt | None" = None
    """None if nobody was shown it."""


class PostedAt(NamedTuple):
    """Where a posted finding stood, in the head that it was posted at."""

    head: str
    path: str
    start_line: int | None
    end_line: int | None


def without_earlier(found: Iterable[Placed], earlier: Sequence[Earlier]) -> list[Placed]:
    """The findings that no earlier review of the pull request had, posted or held back."""
    return [finding for finding in found if not any(_is_again(finding, before) for before in earlier)]


def _is_again(finding: Placed, before: Earlier) -> bool:
    return place_key(finding.anchor.path, finding.anchor) == before.place_key and (
        _jaccard(word_hashes(finding), before.words) >= SAME_WORDS
    )


def deduplicate(found: Iterable[Placed]) -> list[Group]:
    """Merge what says the same at the same place, within an arm and across the two.

    Of one arm's repetitions the first (its gravest) stays.
    """
    kept: dict[ArmLabel, list[Placed]] = {label: [] for label in ArmLabel}
    for finding in sorted(found, key=lambda finding: finding.claim.severity.rank):
        if not any(is_same(finding, other) for other in kept[finding.label]):
            kept[finding.label].append(finding)
    groups: list[Group] = []
    left = list(kept[ArmLabel.B])
    for finding in kept[ArmLabel.A]:
        same = [other for other in left if is_same(finding, other)]
        if same:
            # The nearest in words, not the first in the list, so that no arm's order decides.
            twin = max(same, key=lambda other: (_jaccard(finding.words, other.words), other.id))
            left.remove(twin)
            groups.append(Group(members=(finding, twin)))
        else:
            groups.append(Group(members=(finding,)))
    return [*groups, *(Group(members=(finding,)) for finding in left)]


def is_same(one: Placed, other: Placed) -> bool:
    return _overlap(one.anchor, other.anchor) and _jaccard(one.words, other.words) >= SAME_WORDS


def _overlap(one: Anchor, other: Anchor) -> bool:
    if one.path != other.path or one.side is not other.side:
        return False
    if not (one.is_inline and other.is_inline):
        return one.kind is other.kind
    return distance(one, other) <= OVERLAP_SLACK_LINES


def distance(one: Anchor, other: Anchor) -> int:
    """Lines between two anchored ranges of one file; 0 where they overlap."""
    if one.start_line is None or one.end_line is None or other.start_line is None or other.end_line is None:
        return 0
    return max(0, one.start_line - other.end_line, other.start_line - one.end_line)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower())) - _COMMON


@dataclass(frozen=True, slots=True)
class _Shares:
    a: float
    b: float
    none: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A finding with its draw, made before anything about its reception can be known."""

    group: Group
    shown: Shown
    propensities: Propensities
    reason: str | None = None

    @property
    def posted(self) -> Placed | None:
        """The member whose words are posted; None if the finding is held back."""
        return None if self.shown is Shown.NONE else self.group.member(ArmLabel(self.shown.value))


def assign(groups: Iterable[Group], *, seed: str, settings: ReviewSettings, is_shadow: bool) -> list[Assigned]:
    """Post or hold back each finding, by a draw that depends on the seed and its id alone.

    A finding of both arms is drawn once, and the draw also picks whose words are used.
    """
    assigned = []
    for group in groups:
        shares = _shares(group, 0.0 if is_shadow else settings.post_share)
        if not is_shadow and (rule := _always(group, settings)):
            # Drawn all the same between the two arms' words, but never held back; the propensities say so.
            drawn = draw(seed, group.id, _shares(group, 1.0), 1.0)
            assigned.append(Assigned(group=group, shown=drawn.shown, propensities=drawn.propensities, reason=rule))
            continue
        drawn = draw(seed, group.id, shares, 1.0)
        assigned.append(Assigned(group=group, shown=drawn.shown, propensities=drawn.propensities))
    return assigned


def _shares(group: Group, post_share: float) -> _Shares:
    none = 1.0 - post_share
    if group.stratum == "both":
        return _Shares(a=post_share / 2, b=post_share / 2, none=none)
    is_a = group.members[0].label is ArmLabel.A
    return _Shares(a=post_share if is_a else 0.0, b=0.0 if is_a else post_share, none=none)


def _always(group: Group, settings: ReviewSettings) -> str | None:
    for member in group.members:
        names = (member.claim.severity.value, f"{member.claim.severity}/{member.claim.category}")
        for name in names:
            if name in settings.always_post:
                return f"severity_override:{name}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one review posts, and where; the order is drawn, so that it says nothing about the arms."""

    inline: tuple[Placed, ...]
    folded: tuple[Placed, ...]
    """In the body: findings on files, on nothing in the diff, and what is over the cap."""
    held_back: tuple[Placed, ...]


def plan(assigned: Sequence[Assigned], *, seed: str, task: str, max_inline: int) -> Plan:
    """Cap each arm alike, then shuffle."""
    posted = [member for entry in assigned if (member := entry.posted) is not None]
    held = [entry.group.members[0] for entry in assigned if entry.posted is None]
    inline: list[Placed] = []
    folded: list[Placed] = []
    room = dict.fromkeys(ArmLabel, max_inline)
    for finding in sorted(posted, key=lambda finding: (finding.claim.severity.rank, finding.id)):
        if finding.anchor.is_inline and room[finding.label] > 0:
            room[finding.label] -= 1
            inline.append(finding)
        else:
            folded.append(finding)
    order = random.Random(hmac.digest(seed.encode(), f"codetrial/1/order/{task}".encode(), "sha256"))
    order.shuffle(inline)
    order.shuffle(folded)
    return Plan(inline=tuple(inline), folded=tuple(folded), held_back=tuple(held))


def marker_id(seed: str, finding_id: str) -> str:
    """What a posted comment carries: without the seed it tells neither the finding, nor its arm, nor its order."""
    return hmac.digest(seed.encode(), f"codetrial/1/marker/{finding_id}".encode(), "sha256").hex()[:24]


def with_suggestion(finding: Placed, suggestion: str | None, note: str | None) -> Placed:
    return replace(finding, suggestion=suggestion, suggestion_note=note)
