"""Which findings lie beside another one that was posted, so that what people do there may be the answer to that one.

Such a finding is not compared, whether it was itself posted or held back (docs/design/0013-reviews-compared.md).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pr_bot.anchors import Anchor
from pr_bot.findings import Assigned, Placed, distance

__all__ = ["NEAR_LINES", "Spot", "near_posted"]

NEAR_LINES = 3
"""Who mends one line sees the next."""


class Spot(NamedTuple):
    """A place in the head under review, with the function around it where syntax knows one."""

    anchor: Anchor
    function: str | None


def near_posted(
    assigned: Sequence[Assigned], functions: Mapping[str, str | None], standing: Sequence[Spot] = ()
) -> frozenset[str]:
    """Ids of the findings with another posted one beside them.

    It depends on the draws of the others and on what was posted before, never on a finding's own draw: so leaving these
    out takes the same share of posted and held-back ones at each place, and the comparison leans neither way.

    Args:
        functions: By finding id, the enclosing function, where syntax knows it.
        standing: Where findings that were posted at earlier heads stand now.
    """
    posted = [(entry.group, _spot(member, functions)) for entry in assigned if (member := entry.posted) is not None]
    near: set[str] = set()
    for entry in assigned:
        others = [*standing, *(spot for group, spot in posted if group is not entry.group)]
        own = [_spot(member, functions) for member in entry.group.members]
        if any(_is_near(one, other) for one in own for other in others):
            near.update(member.id for member in entry.group.members)
    return frozenset(near)


def _spot(finding: Placed, functions: Mapping[str, str | None]) -> Spot:
    return Spot(finding.anchor, functions.get(finding.id))


def _is_near(one: Spot, other: Spot) -> bool:
    if one.anchor.path != other.anchor.path:
        return False
    if not (one.anchor.is_inline and other.anchor.is_inline):
        return True
    if one.function is not None and one.function == other.function:
        return True
    return one.anchor.side is other.anchor.side and distance(one.anchor, other.anchor) <= NEAR_LINES
