"""What became of an offered suggestion, from document changes alone; the item's command only confirms.

One offer is one small state machine. It does not match edits, which differ between editors, but looks at what stands at
the cursor after each of them: undo, redo, formatters, closing brackets that the editor adds, several changes in one
notification and whole-text synchronisation all come out right because only the text counts. White space is ignored, and
brackets that the editor closed by itself are forgiven.

How a text came there decides between the classes: a change that brings more than a keystroke could is an insertion.
docs/design/0005-acceptance.md has the rules with their reasons.
"""

import json
from dataclasses import dataclass, field
from typing import Protocol

from rapidfuzz.distance import Levenshtein, Prefix

from analysis.scores import MOSTLY_KEPT, kept_share
from codetrial.records import ArmLabel, OutcomeClass, Surface
from lsp_proxy.evaluator.edits import Edit, Point, Span, rewritten

__all__ = ["Offer", "Readable", "Rhythm", "Verdict"]

_AUTO_PAIRS = frozenset({"()", "[]", "{}", "<>", '""', "''", "``", "''''''", '""""""'})
_CLOSERS = frozenset(")]}>\"'`")
_BATCH_CHARS = 3
"""What fast fingers type within the 150 ms that Neovim gathers into one notification."""
_GATHERED_NS = 150_000_000
"""How long Neovim at most waits for more before it tells of a change; in a replay too, so it is not scaled."""


class Readable(Protocol):
    """The document as far as an offer must see it."""

    def between(self, start: Point, end: Point) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How long to wait before something is final, in nanoseconds; all divided by the trial's time scale in replays."""

    deleted_ns: int = 10_000_000_000
    """An accepted text that is gone by then was not taken."""
    confirm_ns: int = 1_000_000_000
    """A last character may have been typed or taken: the command that tells arrives right behind the change."""
    diverged_ns: int = 10_000_000_000
    """People mistype: until then they may come back to the suggestion."""
    expire_ns: int = 300_000_000_000
    """A suggestion that nothing happens to for so long is no longer looked at."""
    key_ns: int = 40_000_000
    """Nobody types faster than this for more than a few keys: what one notification brings faster was inserted."""

    def keys_within(self, passed_ns: int, *, gathers_keystrokes: bool) -> int:
        """How many characters can have been typed in a time at most."""
        if gathers_keystrokes:
            passed_ns = min(passed_ns, _GATHERED_NS)
        return max(_BATCH_CHARS, passed_ns // self.key_ns)

    def scaled(self, factor: float) -> "Rhythm":
        return Rhythm(
            deleted_ns=int(self.deleted_ns / factor),
            confirm_ns=int(self.confirm_ns / factor),
            diverged_ns=int(self.diverged_ns / factor),
            expire_ns=int(self.expire_ns / factor),
            key_ns=int(self.key_ns / factor),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one terminal outcome."""

    outcome: OutcomeClass
    rule: str
    accepted_chars: int | None
    decided_ns: int
    detail: str | None


def squeeze(text: str) -> str:
    """Without white space: indentation and wrapping are the editor's, not the person's."""
    return "".join(text.split())


@dataclass(slots=True, kw_only=True)
class Offer:
    """A suggestion at a cursor, from its answer to its outcome."""

    suggestion: str
    task: str
    label: ArmLabel
    surface: Surface
    text: str
    language: str
    span: Span
    """What was written at the cursor since."""
    context: str
    """The cursor's line before it."""
    opened_ns: int
    rhythm: Rhythm
    gathers_keystrokes: bool = False
    """The client tells together what was typed within some time; where it sends whole texts, as one change."""
    delivered_ns: int | None = None
    verdict: Verdict | None = None
    accepted_at: Point | None = None
    _want: str = field(init=False)
    _ends: list[int] = field(init=False)
    """For each count of squeezed characters, where they end in the text."""
    _matched: int = 0
    _agrees: bool = True
    _typed: int = 0
    _taken_chars: int = 0
    _parts: list[str] = field(default_factory=list)
    _part_end: int = 0
    _rule: str | None = None
    """Set when the whole was taken; the outcome waits for `deleted_ns`."""
    _taken_ns: int = 0
    _completed_ns: int | None = None
    """Typed to its end; waits for a confirming command."""
    _diverged_ns: int | None = None
    _settled_matched: int = 0
    """How much stood there after the last notification."""
    _settled_ns: int = field(init=False)
    _standing: str | None = None
    """What stood in the span when it was last looked at, within `deleted_ns` of a take; None before any."""

    def __post_init__(self) -> None:
        self._settled_ns = self.opened_ns
        self._want = squeeze(self.text)
        self._ends = [0] + [at + 1 for at, character in enumerate(self.text) if not character.isspace()]

    @property
    def is_open(self) -> bool:
        """Nothing final has happened to it: it may still be on display."""
        return self.verdict is None and self._rule is None and self._completed_ns is None

    @property
    def is_taken(self) -> bool:
        """The whole was taken; whether it stays is not known yet."""
        return self._rule is not None and self.verdict is None

    @property
    def rule(self) -> str | None:
        return self._rule

    @property
    def taken_ns(self) -> int:
        return self._taken_ns

    @property
    def accepted_chars(self) -> int:
        return self._taken_chars

    def remainder(self, document: Readable) -> str | None:
        """What is left of the suggestion at the end of what was written; None if that no longer agrees with it."""
        if not self.is_open:
            return None
        written = document.between(self.span.start, self.span.end)
        if self.text.startswith(written) and len(written) < len(self.text):
            return self.text[len(written) :]
        return None

    def catch_up(self, document: Readable) -> str | None:
        """Count what was typed between request and answer, and give what is left; None if nothing, or it disagrees."""
        rest = self.remainder(document)
        matched = self._match(document) if rest else None
        if matched is None:
            return None
        self._matched = self._typed = self._settled_matched = matched
        return rest

    def stands(self, document: Readable) -> bool:
        """Whether the whole suggestion is there now."""
        return self._match(document) == len(self._want)

    def part(self) -> str:
        """What was taken of it, up to the end of the last part."""
        return self.text[: self._part_end]

    def step(
        self, edits: list[Edit], document: Readable, now_ns: int, *, is_whole: bool, is_listed: bool = False
    ) -> bool:
        """Take note of one content change that touched the span; True if the suggestion explains it.

        Args:
            is_whole: The editor sent the whole text, so that several keystrokes may look like one change.
            is_listed: The change is an item of the editor's own list, which is another way of typing.
        """
        if self.verdict is not None or self._rule is not None:
            return False
        matched = self._match(document)
        self._agrees = matched is not None
        if matched is None:
            return False
        gained, before = matched - self._matched, self._matched
        self._matched = matched
        if gained <= 0:
            # Taken back: what was typed or taken of it no longer counts.
            self._completed_ns = None
            if matched == 0:
                self._typed = 0
                self._forget_parts()
            return False
        is_gathered = self.gathers_keystrokes and is_whole
        by_hand = is_listed or self._is_keystroke(edits, before, is_gathered=is_gathered)
        # A menu item is taken whole; and three characters in a gathered text are as likely three keystrokes.
        has_parts = self.surface is Surface.INLINE and not is_gathered
        if matched == len(self._want):
            self._complete(before, by_hand=by_hand, now_ns=now_ns)
        elif by_hand or not has_parts or not (edge := self._edge(matched)):
            self._typed += gained
        else:
            self._parts.append(edge)
            self._part_end = self._ends[matched]
            self._taken_ns = now_ns
            self._taken_chars += self._ends[matched] - self._ends[before]
        return not by_hand

    def settle(self, document: Readable, now_ns: int) -> bool:
        """After all changes of one notification: between them a text may disagree for a moment.

        Returns:
            True if only all of it together shows that the suggestion was taken.
        """
        if self.verdict is not None:
            return False
        is_taken = self._was_too_fast(now_ns)
        if is_taken:
            self._typed -= len(self._want) - self._settled_matched
            self._take("whole_insertion" if not self._parts else "parts", self._settled_matched, now_ns)
        self._settled_matched, self._settled_ns = self._matched, now_ns
        if self._agrees:
            self._mend_start(document)
        if (self._rule is not None or self._parts) and now_ns < self._taken_ns + self.rhythm.deleted_ns:
            self._standing = self._stands_there(document)
        if not self.is_open or self._agrees:
            self._diverged_ns = None
        elif self._diverged_ns is None:
            self._diverged_ns = now_ns
        return is_taken

    def _mend_start(self, document: Readable) -> None:
        """Put the left edge behind a context that was deleted and written again, or an undo would not come to it."""
        start = self.span.start
        line_start = Point(start.line, 0)
        if squeeze(document.between(line_start, start)) == squeeze(self.context):
            return
        end = self.span.end
        line = document.between(line_start, end if end.line == start.line else Point(start.line + 1, 0))
        column = rewritten(self.context, line)
        if column is not None and column > start.column:
            self.span.start = min(Point(start.line, column), end)

    def _was_too_fast(self, now_ns: int) -> bool:
        """Whether this notification's keystrokes, one by one, completed it faster than anybody types.

        Neovim 0.11 tells of an accepted menu item as of one change for each of its characters.
        """
        if self._completed_ns is None or self._rule is not None:
            return False
        passed_ns = now_ns - self._settled_ns
        at_most = self.rhythm.keys_within(passed_ns, gathers_keystrokes=self.gathers_keystrokes)
        return self._matched - self._settled_matched > at_most

    def confirm(self, now_ns: int) -> bool:
        """The editor ran the item's command; False if an outcome was already final.

        Neovim runs it for a part too, whose change it has told before. Then what stands there says how much was taken,
        and if the rest is taken as well, that will be seen.
        """
        if self.verdict is not None:
            return False
        if self._parts and self._matched < len(self._want):
            return True
        if self._rule is None:
            before = self._matched if self._matched < len(self._want) else 0
            self._take("command", before, now_ns)
        self._rule = "command"
        return True

    def tick(self, document: Readable, now_ns: int) -> Verdict | None:
        """The verdict, if time alone makes it final now."""
        if self.verdict is not None:
            return None
        if self._rule is not None:
            if now_ns < self._taken_ns + self.rhythm.deleted_ns:
                return None
            self._standing = self._stands_there(document)
            return self.finish("kept", now_ns)
        if self._completed_ns is not None:
            return self.finish("completed", now_ns) if now_ns >= self._completed_ns + self.rhythm.confirm_ns else None
        if self._diverged_ns is not None and now_ns >= self._diverged_ns + self.rhythm.diverged_ns:
            return self.finish("diverged", now_ns)
        if now_ns >= self.opened_ns + self.rhythm.expire_ns:
            return self.finish("expired", now_ns)
        return None

    def due_ns(self) -> int:
        """When `tick` can next make it final."""
        if self._rule is not None:
            return self._taken_ns + self.rhythm.deleted_ns
        if self._completed_ns is not None:
            return self._completed_ns + self.rhythm.confirm_ns
        if self._diverged_ns is not None:
            return self._diverged_ns + self.rhythm.diverged_ns
        return self.opened_ns + self.rhythm.expire_ns

    def finish(self, rule: str, now_ns: int, *, is_known: bool = True) -> Verdict | None:
        """Make it final now, because of `rule` if nothing it was taken by says more.

        Args:
            is_known: False if what happened to the document was not seen: then nothing is guessed.
        """
        if self.verdict is not None:
            return None
        if self._rule is not None:
            return self._decide_taken(OutcomeClass.ACCEPTED, self._rule, self.text, now_ns)
        if self._completed_ns is not None and not self._parts:
            return self._decide(OutcomeClass.TYPED_THROUGH, "typed_through", 0, now_ns)
        if self._parts:
            return self._decide_taken(OutcomeClass.PARTLY_ACCEPTED, self._parts[-1], self.part(), now_ns)
        if not is_known:
            return self._decide(OutcomeClass.UNKNOWN, rule, None, now_ns)
        return self._decide(OutcomeClass.NOT_TAKEN, "diverged" if self._diverged_ns is not None else rule, 0, now_ns)

    def _match(self, document: Readable) -> int | None:
        """How many squeezed characters of the suggestion stand there; None if something else does."""
        written = squeeze(document.between(self.span.start, self.span.end))
        if (matched := self._agreement(written)) is not None:
            return matched
        # An editor may have replaced the text before the cursor together with it: compare from the line's start.
        line = squeeze(document.between(Point(self.span.start.line, 0), self.span.end))
        context = squeeze(self.context)
        if not context or not line.startswith(context):
            return None
        return self._agreement(line[len(context) :])

    def _agreement(self, written: str) -> int | None:
        matched = 0
        for mine, theirs in zip(self._want, written, strict=False):
            if mine != theirs:
                break
            matched += 1
        # Brackets and quotes that the editor closed by itself wait behind the cursor.
        return matched if set(written[matched:]) <= _CLOSERS else None

    def _is_keystroke(self, edits: list[Edit], before: int, *, is_gathered: bool) -> bool:
        inserted = squeeze("".join(edit.new for edit in reversed(edits)))
        if len(inserted) <= 1 or inserted in _AUTO_PAIRS:
            return True
        if is_gathered and len(inserted) <= _BATCH_CHARS:
            # Taken at once from the start it is as likely a very short suggestion; a command will tell.
            return before > 0 or len(self._want) > _BATCH_CHARS
        return False

    def _complete(self, before: int, *, by_hand: bool, now_ns: int) -> None:
        if by_hand:
            self._typed += len(self._want) - before
            self._completed_ns = now_ns
        else:
            self._take("whole_insertion" if not self._parts else "parts", before, now_ns)

    def _take(self, rule: str, before: int, now_ns: int) -> None:
        self._rule = rule
        self._taken_chars += len(self.text) - self._ends[before]
        self._taken_ns = now_ns
        self._completed_ns = None

    def _edge(self, matched: int) -> str | None:
        """`line` or `word` if so many characters end there in the suggestion."""
        end = self._ends[matched]
        rest = self.text[end:]
        if rest.lstrip(" \t").startswith("\n"):
            return "line"
        is_inside = self.text[end - 1].isalnum() or self.text[end - 1] == "_"
        return None if is_inside and (rest[:1].isalnum() or rest[:1] == "_") else "word"

    def _stands_there(self, document: Readable) -> str:
        return "" if self.span.is_swallowed else document.between(self.span.start, self.span.end)

    def _was_kept(self, taken: str) -> bool:
        """Whether at least half of what was taken stood there when last looked; not having looked speaks for it."""
        if self._standing is None:
            return True
        share = kept_share(taken, self._standing, self.language) or 0.0
        # A renamed word, or one that was typed on, is a lost token, but not a deleted text: any measure saves it.
        mine, theirs = squeeze(taken), squeeze(self._standing)
        likeness = Levenshtein.normalized_similarity(mine, theirs)
        begun = Prefix.normalized_similarity(mine, theirs[: len(mine)])
        return max(share, likeness, begun) >= MOSTLY_KEPT

    def _forget_parts(self) -> None:
        self._taken_chars, self._parts, self._part_end, self._standing = 0, [], 0, None

    def _decide_taken(self, outcome: OutcomeClass, rule: str, taken: str, now_ns: int) -> Verdict:
        if self._was_kept(taken):
            return self._decide(outcome, rule, self._taken_chars, now_ns)
        return self._decide(OutcomeClass.NOT_TAKEN, "deleted_within_10s", 0, now_ns, accepted_by=rule)

    def _decide(self, outcome: OutcomeClass, rule: str, chars: int | None, now_ns: int, **detail: object) -> Verdict:
        if self._typed:
            detail["typed"] = self._typed
        if self._parts:
            detail["parts"] = len(self._parts)
        text = json.dumps(detail, sort_keys=True) if detail else None
        self.verdict = Verdict(outcome, rule, chars, now_ns, text)
        return self.verdict
