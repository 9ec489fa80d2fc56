"""Watches the documents: which offered suggestions were taken, what was written instead, what is left of it.

Synchronous and without a clock of its own: it is told what happened and when, so that tests can let hours pass.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from analysis.scores import SCORER_VERSION, retained, score
from analysis.syntax import language_of
from codetrial.clock import utc_text
from codetrial.ids import new_id
from codetrial.records import (
    ArmLabel,
    Continuation,
    ContinuationState,
    Exposure,
    Outcome,
    OutcomeClass,
    Score,
)
from lsp_proxy.evaluator.acceptance import Offer, Rhythm, Verdict, squeeze
from lsp_proxy.evaluator.continuations import TEXT_LIMIT, Due, Horizon, Sight, Suggested, Watch, Watches, look
from lsp_proxy.evaluator.documents import Documents, View
from lsp_proxy.evaluator.edits import Edit, Point, Span, after
from lsp_proxy.evaluator.recorder import Recorder

__all__ = ["Observer"]

OUTSIDE_CHARS = 12
"""Fewer inserted at once may be a word from the language server's own list."""

OUTSIDE_WATCHES = 200
"""Outside insertions that are followed at a time: an assistant that rewrites a project makes more, all alike."""

ANSWER, KEYSTROKE = "answer", "keystroke"
"""Horizons of scores that do not wait for a continuation: the answer itself, and the first keystroke after it."""

ELSEWHERE_LINES = 20_000
"""On each side: looking for a name in a file without end would hold up what comes next."""

UNDO_MEMORY = 64
"""Removed pieces that are remembered, so that an undo is not taken for an assistant."""


class Observer:
    """Follows documents, offers and watched places of one session, and stores what becomes of them."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        horizons: Sequence[Horizon],
        rhythm: Rhythm,
        now: Callable[[], int],
        gathers_keystrokes: bool = False,
    ) -> None:
        self.documents = Documents(self)
        self.rhythm = rhythm
        self.gathers_keystrokes = gathers_keystrokes
        self._recorder = recorder
        self._now = now
        self._watches = Watches(horizons)
        self._first_horizon = min(horizons, key=lambda horizon: horizon.after_ns).name if horizons else None
        self._offers: dict[str, list[Offer]] = defaultdict(list)
        self._by_token: dict[str, tuple[str, Offer]] = {}
        self._removed: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=UNDO_MEMORY))
        self._kept: set[str] = set()
        self._typed: dict[str, int] = defaultdict(int)
        self._runs: dict[str, Edit] = {}
        self._settled_ns: dict[str, int] = {}
        self._listed: dict[str, str] = {}

    # What happens to documents.

    def notification(self, method: str, params: Mapping[str, Any]) -> None:
        """One notification from the editor about documents."""
        if method == "textDocument/didSave":
            self._saved(params)
        else:
            self.documents.apply(method, params)

    def changed(self, uri: str, edits: Sequence[Edit], *, is_whole: bool) -> None:
        view = self.documents.view(uri)
        self._watches.follow(uri, edits, self._now(), view)
        is_explained = False
        is_listed = view is not None and self._is_listed(uri, edits, view)
        for offer in self._offers.get(uri, ()):
            touching = [edit for edit in edits if offer.span.follow(edit)]
            if touching and view is not None:
                is_explained |= offer.step(touching, view, self._now(), is_whole=is_whole, is_listed=is_listed)
        if is_listed and not is_explained:
            self._typed[uri] += sum(len(edit.new) for edit in edits)
        else:
            self._note_outside(uri, edits, is_explained=is_explained)
        self._note_run(uri, edits)

    def settled(self, uri: str) -> None:
        view = self.documents.view(uri)
        if view is None:
            return
        is_explained = False
        for offer in self._offers.get(uri, ()):
            is_explained |= offer.settle(view, self._now())
            if offer.is_taken:
                self._keep(uri, offer, view)
        self._end_run(uri, is_explained=is_explained)

    def lost(self, uri: str, reason: str) -> None:
        self._recorder.count(f"document_{reason}")
        self._runs.pop(uri, None)
        for due in self._watches.close(uri):
            self._put_unseen(due, ContinuationState.UNKNOWN, reason)
        self._finish_all(uri, reason, is_known=False)

    def closed(self, uri: str) -> None:
        for due in self._watches.close(uri):
            self._put_unseen(due, ContinuationState.CENSORED, "closed")
        self._finish_all(uri, "closed", is_known=True)
        self._removed.pop(uri, None)
        self._typed.pop(uri, None)
        self._settled_ns.pop(uri, None)
        self._listed.pop(uri, None)

    def hints(self, uri: str) -> Sequence[Point]:
        return [offer.span.end for offer in self._offers.get(uri, ()) if offer.is_open]

    def listed(self, uri: str, item: str | None) -> None:
        """What is selected in the list that the editor has open beside a suggestion; None if it has none open."""
        if item:
            self._listed[uri] = item
        else:
            self._listed.pop(uri, None)

    def typed_chars(self, uri: str) -> int:
        """What was typed in a document since this was last asked; without what was taken or inserted at once."""
        return self._typed.pop(uri, 0)

    # What is offered and watched.

    def watch(self, *, uri: str, task: str, language: str, at: Point, context: str, opened_ns: int) -> Watch:
        """Follow the place of a request from now on; `begin` or `release` it."""
        watch = Watch(uri=uri, task=task, language=language, span=Span(at, at), context=context, opened_ns=opened_ns)
        self._watches.hold(watch)
        return watch

    def begin(self, watch: Watch) -> None:
        """The watched request was sent to the arms: take what stands there at every horizon."""
        self._watches.start(watch)
        if watch.is_closed:
            for due in self._watches.censored(watch):
                self._put_unseen(due, ContinuationState.CENSORED, "closed")

    def release(self, watch: Watch) -> None:
        """The watched request was not sent to the arms."""
        self._watches.release(watch)

    def suggested(self, watch: Watch, label: ArmLabel, suggestion: Suggested, latency_ns: int | None) -> None:
        """An arm's suggestion for a watched task; scored at once against the horizons that have passed."""
        watch.suggestions[label] = suggestion
        if latency_ns is not None:
            watch.latencies_ns[label] = latency_ns
        for horizon, text in watch.seen.items():
            self._put_scores(watch, label, suggestion, horizon, text)
        if watch.is_timed:
            self._put_on_time(watch, label, suggestion)

    def elsewhere(self, watch: Watch) -> str:
        """The document but for what was written at the watched place, which may be the suggestion itself by now."""
        view = self.documents.view(watch.uri)
        if view is None:
            return ""
        first, last = watch.span.start.line - ELSEWHERE_LINES, watch.span.end.line + ELSEWHERE_LINES
        before = view.between(Point(max(0, first), 0), watch.span.start)
        return f"{before}\n{view.between(watch.span.end, Point(last, 0))}"

    def offer(self, offer: Offer, uri: str) -> None:
        """A suggestion that is about to be answered."""
        self._offers[uri].append(offer)
        self._by_token[offer.suggestion] = (uri, offer)

    def reusable(self, uri: str, at: Point, tasks: Iterable[str]) -> tuple[Offer, str] | None:
        """An offer of these tasks that still agrees with what was typed up to this point, and what is left of it."""
        view = self.documents.view(uri)
        if view is None:
            return None
        wanted = set(tasks)
        for offer in reversed(self._offers.get(uri, ())):
            if offer.task in wanted and offer.span.end == at and (rest := offer.remainder(view)):
                return offer, rest
        return None

    def delivered(self, token: str, *, was_delivered: bool, reason: str | None, at_ns: int) -> None:
        """Whether an answer really went out to the editor. Only this makes an exposure."""
        if token not in self._by_token:
            self._recorder.count("delivered_unknown")
            return
        uri, offer = self._by_token[token]
        if not was_delivered:
            self._recorder.count(f"undelivered_{reason or 'unknown'}")
            return
        if offer.delivered_ns is not None:
            return
        self._expose(offer, at_ns)
        for other in self._offers[uri]:
            if other is not offer and other.is_open and other.delivered_ns is not None:
                self._finish(other, "superseded", is_known=True)

    def command(self, token: str) -> None:
        """The editor ran a suggestion's command: it was taken."""
        known = self._by_token.get(token)
        if known is None or not known[1].confirm(self._now()):
            self._recorder.count("command_too_late" if known else "command_unknown")
            return
        uri, offer = known
        if offer.delivered_ns is None:
            # The proof overtook the relay's message.
            self._expose(offer, self._now())
        if not offer.is_taken:
            return  # A part of it; how much, is known when it ends.
        self._recorder.incident("taken", suggestion=offer.suggestion, rule="command", chars=offer.accepted_chars)
        view = self.documents.view(uri)
        if view is not None:
            self._keep(uri, offer, view)

    # What time does.

    def next_due_ns(self) -> int | None:
        offers = (offer.due_ns() for listed in self._offers.values() for offer in listed if offer.verdict is None)
        watches = self._watches.next_due_ns()
        return min((due for due in (*offers, watches) if due is not None), default=None)

    def tick(self) -> None:
        """Take the horizons and make the outcomes final whose time has come."""
        now_ns = self._now()
        for due in self._watches.due(now_ns):
            self._take(due)
        for uri, offers in list(self._offers.items()):
            view = self.documents.view(uri)
            for offer in offers:
                if offer.verdict is None and now_ns >= offer.due_ns() and view is not None:
                    if offer.is_taken:
                        self._keep(uri, offer, view, at_last=True)
                    self._put_verdict(offer, offer.tick(view, now_ns))
            self._forget_final(uri)

    def end(self, reason: str) -> None:
        """The session ends: what is open is censored, never guessed."""
        for due in self._watches.close_all():
            self._put_unseen(due, ContinuationState.CENSORED, reason)
        for uri in list(self._offers):
            self._finish_all(uri, reason, is_known=True)
        self._recorder.store_counts()

    # How it is stored.

    def _saved(self, params: Mapping[str, Any]) -> None:
        document = params.get("textDocument")
        uri = document.get("uri") if isinstance(document, Mapping) else None
        for due in list(self._watches.saved(uri)) if isinstance(uri, str) else ():
            self._take(due)

    def _take(self, due: Due) -> None:
        view = self.documents.view(due.watch.uri)
        if view is None:
            self._put_unseen(due, ContinuationState.UNKNOWN, "document_unknown")
            return
        sight = look(due.watch, view)
        if due.watch.taken is not None:
            self._put_kept(due, due.watch.taken, sight)
        else:
            self._take_continuation(due, sight)

    def _take_continuation(self, due: Due, sight: Sight) -> None:
        watch = due.watch
        first = watch.seen.get(self._first_horizon or "")
        self._put_continuation(due, sight, first)
        if sight.state is not ContinuationState.GONE:
            watch.seen[due.horizon] = sight.text
            for label, suggestion in watch.suggestions.items():
                self._put_scores(watch, label, suggestion, due.horizon, sight.text)
        self._time(due)

    def _put_unseen(self, due: Due, state: ContinuationState, reason: str) -> None:
        """What was not looked at, because the document or the session ended: that is not the same as nothing there."""
        if due.watch.taken is not None:
            self._put_kept(due, due.watch.taken, Sight(state, reason, ""))
            return
        self._put_continuation(due, Sight(state, reason, ""), None)
        self._time(due)

    def _time(self, due: Due) -> None:
        """The first horizon is over: say which arms were in time for the keystroke that came next."""
        watch = due.watch
        if due.horizon != self._first_horizon or watch.is_timed:
            return
        watch.is_timed = True
        for label, suggestion in watch.suggestions.items():
            self._put_on_time(watch, label, suggestion)

    def _put_on_time(self, watch: Watch, label: ArmLabel, suggestion: Suggested) -> None:
        """Whether the answer would have come before the next keystroke: the same keystroke for both arms."""
        latency_ns = watch.latencies_ns.get(label)
        text = watch.seen.get(self._first_horizon or "")
        if latency_ns is None or watch.routed_ns is None or (watch.next_change_ns is None and text is None):
            return
        is_on_time = watch.next_change_ns is None or watch.routed_ns + latency_ns <= watch.next_change_ns
        self._put_score(watch.task, suggestion.id, label, KEYSTROKE, "on_time", float(is_on_time))
        saved = None if text is None else score(suggestion.text, text, watch.language)["saved_chars"]
        useful = None if text is None else (saved or 0.0) if is_on_time else 0.0
        self._put_score(watch.task, suggestion.id, label, KEYSTROKE, "useful_chars_on_time", useful)

    def _put_kept(self, due: Due, taken: Suggested, sight: Sight) -> None:
        """How much of a taken or inserted text still stands, and how it was found."""
        watch = due.watch
        was_seen = sight.state not in (ContinuationState.CENSORED, ContinuationState.UNKNOWN)
        left = retained(taken.text, sight.text, watch.language) if was_seen else None
        values = {
            "kept_share": left and left.share,
            "kept_char_distance": left and float(left.char_distance),
            "kept_token_distance": left and float(left.token_distance),
        }
        label = watch.taken_label
        if label is None:
            self._recorder.incident(
                "outside_kept",
                insertion=taken.id,
                horizon=due.horizon,
                state=sight.state.value,
                kept_share=left and left.share,
                char_distance=left and left.char_distance,
                token_distance=left and left.token_distance,
            )
            return
        for metric, value in values.items() if was_seen else [("kept_share", None)]:
            self._put_score(watch.task, taken.id, label, due.horizon, metric, value, reason=sight.state.value)

    def _put_continuation(self, due: Due, sight: Sight, first: str | None) -> None:
        watch = due.watch
        is_there = sight.state in (ContinuationState.FOUND, ContinuationState.MOVED, ContinuationState.EDITED)
        is_seen = is_there or sight.state is ContinuationState.GONE
        left = retained(first, sight.text, watch.language) if is_seen and first is not None else None
        next_change_ms = None
        if due.horizon == self._first_horizon and watch.next_change_ns is not None and watch.routed_ns is not None:
            next_change_ms = (watch.next_change_ns - watch.routed_ns) / 1e6
        self._recorder.put(
            Continuation(
                id=new_id(),
                task=watch.task,
                horizon=due.horizon,
                state=sight.state,
                reason=sight.reason,
                text_hash=self._recorder.text(sight.text) if is_there else None,
                chars=len(sight.text) if is_there else None,
                taken_ns=self._now(),
                taken_at=utc_text(),
                kept_share=left and left.share,
                char_distance=left and left.char_distance,
                token_distance=left and left.token_distance,
                next_change_ms=next_change_ms,
            )
        )

    def _put_scores(self, watch: Watch, label: ArmLabel, suggestion: Suggested, horizon: str, text: str) -> None:
        for metric, value in score(suggestion.text, text, watch.language).items():
            self._put_score(watch.task, suggestion.id, label, horizon, metric, value)

    def describe(self, task: str, label: ArmLabel, suggestion: Suggested, values: Mapping[str, float | None]) -> None:
        """What the suggestion is like, whatever is written later."""
        for metric, value in values.items():
            self._put_score(task, suggestion.id, label, ANSWER, metric, value)

    def _put_score(
        self,
        task: str,
        suggestion: str,
        label: ArmLabel,
        horizon: str,
        metric: str,
        value: float | None,
        reason: str | None = None,
    ) -> None:
        self._recorder.put(
            Score(
                id=new_id(),
                suggestion=suggestion,
                task=task,
                label=label,
                horizon=horizon,
                metric=metric,
                value=value,
                reason=reason or (None if value is not None else "not_measurable"),
                scorer_version=SCORER_VERSION,
            )
        )

    def _expose(self, offer: Offer, at_ns: int) -> None:
        offer.delivered_ns = at_ns
        self._recorder.put(
            Exposure(
                id=f"x-{offer.suggestion}",
                suggestion=offer.suggestion,
                task=offer.task,
                label=offer.label,
                surface=offer.surface,
                rank=0,
                offered_ns=at_ns,
                offered_at=utc_text(),
            )
        )

    def _keep(self, uri: str, offer: Offer, view: View, *, at_last: bool = False) -> None:
        """Begin to watch a taken text, once it stands there (the command may come before the change)."""
        if offer.suggestion in self._kept or not (at_last or offer.stands(view)):
            return
        self._kept.add(offer.suggestion)
        if offer.rule != "command":
            self._recorder.incident("taken", suggestion=offer.suggestion, rule=offer.rule, chars=offer.accepted_chars)
        offer.span.grows = False
        self._watch_taken(uri, offer, offer.text)

    def _watch_taken(self, uri: str, offer: Offer, text: str) -> None:
        watch = Watch(
            uri=uri,
            task=offer.task,
            language=offer.language,
            span=Span(offer.span.start, offer.span.end, grows=False),
            context=offer.context,
            opened_ns=offer.taken_ns,
            taken=Suggested(offer.suggestion, text),
            taken_label=offer.label,
        )
        self._watches.hold(watch)
        self._watches.start(watch)

    def _finish_all(self, uri: str, reason: str, *, is_known: bool) -> None:
        for offer in self._offers.pop(uri, ()):
            self._finish(offer, reason, is_known=is_known)
            self._by_token.pop(offer.suggestion, None)
            self._kept.discard(offer.suggestion)

    def _finish(self, offer: Offer, rule: str, *, is_known: bool) -> None:
        self._put_verdict(offer, offer.finish(rule, self._now(), is_known=is_known))

    def _put_verdict(self, offer: Offer, verdict: Verdict | None) -> None:
        if verdict is None or offer.delivered_ns is None:
            return  # What never reached the editor has no outcome.
        if verdict.outcome is OutcomeClass.PARTLY_ACCEPTED and (part := offer.part()):
            uri = self._by_token[offer.suggestion][0] if offer.suggestion in self._by_token else None
            if uri is not None and self.documents.view(uri) is not None:
                self._watch_taken(uri, offer, part)
        self._recorder.put(
            Outcome(
                id=f"o-{offer.suggestion}",
                suggestion=offer.suggestion,
                task=offer.task,
                label=offer.label,
                outcome=verdict.outcome,
                rule=verdict.rule,
                accepted_chars=verdict.accepted_chars,
                decided_ns=verdict.decided_ns,
                decided_at=utc_text(),
                detail=verdict.detail,
            )
        )

    def _forget_final(self, uri: str) -> None:
        kept = [offer for offer in self._offers[uri] if offer.verdict is None]
        for offer in self._offers[uri]:
            if offer.verdict is not None:
                self._by_token.pop(offer.suggestion, None)
                self._kept.discard(offer.suggestion)
        self._offers[uri] = kept
        if not kept:
            del self._offers[uri]

    def _note_outside(self, uri: str, edits: Sequence[Edit], *, is_explained: bool) -> None:
        """Count what some other assistant, or a paste, put there at once; and what was typed."""
        removed = self._removed[uri]
        for edit in edits:
            inserted = squeeze(edit.new)
            if not is_explained and len(edits) == 1 and inserted not in removed:
                if len(inserted) >= OUTSIDE_CHARS and not inserted.isidentifier():
                    self._watch_outside(uri, edit)
                else:
                    self._typed[uri] += len(edit.new)
            if 0 < len(edit.old) <= TEXT_LIMIT:
                removed.append(squeeze(edit.old))

    def _is_listed(self, uri: str, edits: Sequence[Edit], view: View) -> bool:
        """Whether a change brought the rest of what the editor's own list had selected."""
        item = self._listed.get(uri)
        if item is None or len(edits) != 1 or len(edits[0].new) < 2 or not item.endswith(edits[0].new):
            return False
        end = after(edits[0].start, edits[0].new)
        return view.line(end.line)[: end.column].endswith(item)

    def _note_run(self, uri: str, edits: Sequence[Edit]) -> None:
        """Join single characters that follow each other within one notification: an insertion told in small pieces."""
        run = self._runs.pop(uri, None)
        if len(edits) != 1 or not edits[0].is_insertion or len(edits[0].new) != 1:
            return
        [edit] = edits
        follows = run is not None and after(run.start, run.new) == edit.start
        self._runs[uri] = Edit(run.start, run.end, "", run.new + edit.new) if run is not None and follows else edit

    def _end_run(self, uri: str, *, is_explained: bool) -> None:
        now_ns = self._now()
        passed_ns = now_ns - self._settled_ns.get(uri, 0)
        self._settled_ns[uri] = now_ns
        run = self._runs.pop(uri, None)
        if run is None:
            return
        if is_explained:
            # Each character looked typed by itself; only all of them together were a suggestion.
            self._typed[uri] = max(0, self._typed[uri] - len(run.new))
        elif len(run.new) > self.rhythm.keys_within(passed_ns, gathers_keystrokes=self.gathers_keystrokes):
            self._typed[uri] -= len(run.new)
            self._note_outside(uri, [run], is_explained=False)

    def _watch_outside(self, uri: str, edit: Edit) -> None:
        """Note an outside insertion and see what is left of it at each horizon, as of a taken one."""
        identity = new_id()
        self._recorder.incident(
            "outside_insertion",
            insertion=identity,
            chars=len(edit.new),
            lines=edit.new.count("\n") + 1,
            replaced=len(edit.old),
        )
        view = self.documents.view(uri)
        if view is None or len(edit.new) > TEXT_LIMIT or self._watches.outside() >= OUTSIDE_WATCHES:
            self._recorder.count("outside_not_followed")
            return
        watch = Watch(
            uri=uri,
            task="",
            language=language_of("", view.language_id),
            span=Span(edit.start, after(edit.start, edit.new), grows=False),
            context="",
            opened_ns=self._now(),
            taken=Suggested(identity, edit.new),
        )
        self._watches.hold(watch)
        self._watches.start(watch)
