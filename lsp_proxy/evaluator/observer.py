"""Watches the documents: which offered suggestions were taken, what was written instead, what is left of it.

Synchronous and without a clock of its own: it is told what happened and when, so that tests can let hours pass.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from analysis.scores import SCORER_VERSION, kept_share, score
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
from lsp_proxy.evaluator.continuations import TEXT_LIMIT, Due, Horizon, Suggested, Watch, Watches
from lsp_proxy.evaluator.documents import Documents, View
from lsp_proxy.evaluator.edits import Edit, Point, Span
from lsp_proxy.evaluator.recorder import Recorder

__all__ = ["Observer"]

OUTSIDE_CHARS = 12
"""Fewer inserted at once may be a word from the language server's own list."""

ANSWER, KEYSTROKE = "answer", "keystroke"
"""Horizons of scores that do not wait for a continuation: the answer itself, and the first keystroke after it."""

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

    # What happens to documents.

    def notification(self, method: str, params: Mapping[str, Any]) -> None:
        """One notification from the editor about documents."""
        if method == "textDocument/didSave":
            self._saved(params)
        else:
            self.documents.apply(method, params)

    def changed(self, uri: str, edits: Sequence[Edit]) -> None:
        self._watches.follow(uri, edits, self._now())
        view = self.documents.view(uri)
        is_explained = False
        for offer in self._offers.get(uri, ()):
            touching = [edit for edit in edits if offer.span.follow(edit)]
            if touching and view is not None and offer.step(touching, view, self._now()):
                is_explained = True
        self._note_outside(uri, edits, is_explained=is_explained)

    def settled(self, uri: str) -> None:
        view = self.documents.view(uri)
        if view is None:
            return
        for offer in self._offers.get(uri, ()):
            offer.settle(view, self._now())
            if offer.is_taken:
                self._keep(uri, offer, view)

    def lost(self, uri: str, reason: str) -> None:
        self._recorder.count(f"document_{reason}")
        for due in self._watches.close(uri):
            self._put_continuation(due, ContinuationState.UNKNOWN, reason, None)
        self._finish_all(uri, reason, is_known=False)

    def closed(self, uri: str) -> None:
        for due in self._watches.close(uri):
            self._put_continuation(due, ContinuationState.CENSORED, "closed", None)
        self._finish_all(uri, "closed", is_known=True)
        self._removed.pop(uri, None)

    def hints(self, uri: str) -> Sequence[Point]:
        return [offer.span.end for offer in self._offers.get(uri, ()) if offer.is_open]

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
                self._put_continuation(due, ContinuationState.CENSORED, "closed", None)

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
            self._put_continuation(due, ContinuationState.CENSORED, reason, None)
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
            self._put_continuation(due, ContinuationState.UNKNOWN, "document_unknown", None)
        elif due.watch.taken is not None:
            self._take_kept(due, due.watch.taken, view)
        else:
            self._take_continuation(due, view)

    def _take_continuation(self, due: Due, view: View) -> None:
        watch = due.watch
        if watch.span.is_swallowed:
            self._put_continuation(due, ContinuationState.GONE, "replaced", None)
            return
        text = view.between(watch.span.start, watch.span.end)[:TEXT_LIMIT]
        before = view.line(watch.span.start.line)[: watch.span.start.column]
        is_same = squeeze(before) == squeeze(watch.context)
        self._put_continuation(due, ContinuationState.FOUND if is_same else ContinuationState.EDITED, None, text)
        watch.seen[due.horizon] = text
        for label, suggestion in watch.suggestions.items():
            self._put_scores(watch, label, suggestion, due.horizon, text)

    def _put_on_time(self, watch: Watch, label: ArmLabel, suggestion: Suggested, saved_chars: float) -> None:
        """Whether the answer would have come before the next keystroke: the same keystroke for both arms."""
        latency_ns = watch.latencies_ns.get(label)
        if latency_ns is None or watch.routed_ns is None:
            return
        is_on_time = watch.next_change_ns is None or watch.routed_ns + latency_ns <= watch.next_change_ns
        self._put_score(watch.task, suggestion.id, label, KEYSTROKE, "on_time", float(is_on_time))
        useful = saved_chars if is_on_time else 0.0
        self._put_score(watch.task, suggestion.id, label, KEYSTROKE, "useful_chars_on_time", useful)

    def _take_kept(self, due: Due, taken: Suggested, view: View) -> None:
        watch = due.watch
        if watch.span.is_swallowed:
            standing = taken.text if view.find(taken.text) is not None else ""
        else:
            standing = view.between(watch.span.start, watch.span.end)[:TEXT_LIMIT]
        share = kept_share(taken.text, standing, watch.language)
        label = watch.taken_label
        if label is not None:
            self._put_score(watch.task, taken.id, label, due.horizon, "kept_share", share)

    def _put_continuation(self, due: Due, state: ContinuationState, reason: str | None, text: str | None) -> None:
        if due.watch.taken is not None:
            return  # A taken text has scores only; its task's own watch tells what stands there.
        self._recorder.put(
            Continuation(
                id=new_id(),
                task=due.watch.task,
                horizon=due.horizon,
                state=state,
                reason=reason,
                text_hash=None if text is None else self._recorder.text(text),
                chars=None if text is None else len(text),
                taken_ns=self._now(),
                taken_at=utc_text(),
            )
        )

    def _put_scores(self, watch: Watch, label: ArmLabel, suggestion: Suggested, horizon: str, text: str) -> None:
        measured = score(suggestion.text, text, watch.language)
        for metric, value in measured.items():
            self._put_score(watch.task, suggestion.id, label, horizon, metric, value)
        if horizon == self._first_horizon:
            self._put_on_time(watch, label, suggestion, measured["saved_chars"] or 0.0)

    def describe(self, task: str, label: ArmLabel, suggestion: Suggested, values: Mapping[str, float | None]) -> None:
        """What the suggestion is like, whatever is written later."""
        for metric, value in values.items():
            self._put_score(task, suggestion.id, label, ANSWER, metric, value)

    def _put_score(
        self, task: str, suggestion: str, label: ArmLabel, horizon: str, metric: str, value: float | None
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
                reason=None if value is not None else "not_measurable",
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
        """Count what some other assistant, or a paste, put there at once."""
        removed = self._removed[uri]
        for edit in edits:
            inserted = squeeze(edit.new)
            is_large = len(inserted) >= OUTSIDE_CHARS and not inserted.isidentifier()
            if is_large and not is_explained and len(edits) == 1 and inserted not in removed:
                self._recorder.incident(
                    "outside_insertion", chars=len(edit.new), lines=edit.new.count("\n") + 1, replaced=len(edit.old)
                )
            if 0 < len(edit.old) <= TEXT_LIMIT:
                removed.append(squeeze(edit.old))
