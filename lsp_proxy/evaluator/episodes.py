"""Episodes, the unit of assignment: opened by the first request in a document that has none, ended by the clock.

What is shown or taken never ends one: an end that depended on it would give the arm that is taken more often shorter
episodes, and with them other requests (docs/design/0004-episodes.md has the simulation).
"""

from collections.abc import Callable
from dataclasses import dataclass

from codetrial.assignment import SharesLike, draw
from codetrial.clock import utc_text
from codetrial.ids import new_id
from codetrial.records import Assignment, Shown, Trial, Unit

__all__ = ["Episode", "Episodes"]

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Episode:
    id: str
    document: str
    shown: Shown
    is_sampled: bool
    opened_ns: int
    closes_ns: int

    def is_open(self, now_ns: int) -> bool:
        return self.opened_ns <= now_ns < self.closes_ns


class Episodes:
    """Opens and remembers the episodes of one session.

    Args:
        put: Stores an assignment; called before `current` returns a new episode.
        find: An episode of this developer that is still open in the store for this document: opened before the
            evaluator was restarted, or by another window.
    """

    def __init__(
        self,
        *,
        trial: Trial,
        session: str,
        shares: SharesLike,
        sample: float,
        episode_s: float,
        put: Callable[[Assignment], None],
        find: Callable[[str, int], Episode | None],
    ) -> None:
        self._trial = trial
        self._session = session
        self._shares = shares
        self._sample = sample
        self._length_ns = int(episode_s * SECOND_NS)
        self._put = put
        self._find = find
        self._open: dict[str, Episode] = {}
        self._begun: dict[str, Assignment] = {}
        """What `put` was given for the episodes that are open and began here."""

    def current(self, document: str, now_ns: int) -> Episode:
        """The document's open episode, opened now if there is none."""
        known = self._open.get(document)
        if known is not None and known.is_open(now_ns):
            return known
        self._forget_ended(now_ns)
        episode = self._find(document, now_ns) or self._begin(document, now_ns)
        self._open[document] = episode
        return episode

    def _begin(self, document: str, now_ns: int) -> Episode:
        unit = new_id()
        drawn = draw(self._trial.seed, unit, self._shares, self._sample)
        episode = Episode(unit, document, drawn.shown, drawn.is_sampled, now_ns, now_ns + self._length_ns)
        self._begun[unit] = Assignment(
            id=unit,
            trial=self._trial.id,
            session=self._session,
            unit=Unit.EPISODE,
            document=document,
            shown=drawn.shown,
            propensity_a=drawn.propensities.a,
            propensity_b=drawn.propensities.b,
            propensity_none=drawn.propensities.none,
            is_sampled=drawn.is_sampled,
            reason=None,
            opened_ns=now_ns,
            opened_at=utc_text(),
            closes_ns=episode.closes_ns,
        )
        self._put(self._begun[unit])
        return episode

    def put_again(self, episode: Episode) -> None:
        """Store an assignment that may have been lost: a row that is there already stays as it is."""
        if episode.id in self._begun:
            self._put(self._begun[episode.id])

    def _forget_ended(self, now_ns: int) -> None:
        self._open = {document: episode for document, episode in self._open.items() if episode.is_open(now_ns)}
        still_open = {episode.id for episode in self._open.values()}
        self._begun = {unit: row for unit, row in self._begun.items() if unit in still_open}
