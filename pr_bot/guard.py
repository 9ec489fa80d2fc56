"""What a review may send, and what it may cost: the trial's own rules, held against whole changes."""

from dataclasses import replace

from analysis.syntax import language_of
from codetrial.arms.base import Answer, Prompt, Usage
from codetrial.budget import Budget
from codetrial.clock import now_utc
from codetrial.config import Config
from codetrial.prices import Cost, cost_of
from codetrial.privacy import Policy, scrub
from codetrial.records import ArmLabel, AttemptStatus
from pr_bot.diff import Diff
from pr_bot.recording import ReviewTrial
from pr_bot.review import ReviewPrompt
from pr_bot.settings import ReviewSettings

__all__ = ["Guard"]

CHARS_PER_TOKEN = 3.0
"""Few, so that an estimate errs on the dear side."""

NANO = 1_000_000_000


class Guard:
    """Privacy and money of one trial's reviews; whatever stops one arm stops both.

    Raises:
        PrivacyError: an arm's endpoint is forbidden.
    """

    def __init__(self, config: Config, trial: ReviewTrial, settings: ReviewSettings) -> None:
        self._config, self._trial, self._settings = config, trial, settings
        self._policy = Policy(config.privacy, trial.definitions)
        fingerprints = {label: definition.fingerprint for label, definition in trial.definitions.items()}
        self._budget = Budget(config.budget, fingerprints)

    def exclude(self, diff: Diff, repository: str) -> Diff:
        """The change without the files that a rule keeps from either arm; they count against the coverage."""
        kept, withheld = [], []
        for entry in diff.files:
            names = {entry.path, entry.old_path}
            refused = [
                self._policy.refusal(path=name, language=language_of(name), repository=repository) for name in names
            ]
            if any(refused):
                withheld.append((entry.path, "private"))
            else:
                kept.append(entry)
        return replace(diff, files=tuple(kept), missing=(*diff.missing, *withheld))

    def mask(self, text: str) -> str:
        """The text with likely secrets masked, line by line, if any of it leaves this machine."""
        if not self._policy.scrubs:
            return text
        return scrub(Prompt(prefix=text, suffix="", path="change.diff", language="diff")).prompt.prefix

    async def refusal(self, prompt: ReviewPrompt) -> str | None:
        """Why neither arm is asked: today's budget is used up, or this one review would cost too much."""
        await self._budget.open()
        if (spent := self._budget.exhausted()) is not None:
            return spent
        if self._settings.max_usd is None:
            return None
        for label in self._trial.definitions:
            estimate = self._estimate(label, prompt)
            if estimate.nanousd is not None and estimate.nanousd > self._settings.max_usd * NANO:
                dollars = estimate.nanousd / NANO
                return f"this review might cost {dollars:.2f} US dollars, more than max_usd = {self._settings.max_usd}"
        return None

    def _estimate(self, label: ArmLabel, prompt: ReviewPrompt) -> Cost:
        tokens_in = int((len(prompt.system) + len(prompt.user)) / CHARS_PER_TOKEN)
        usage = Usage(tokens_in=tokens_in, tokens_out=self._settings.max_tokens)
        return self.cost(label, Answer(status=AttemptStatus.OK, text="", sent_ns=0, end_ns=0, usage=usage))

    def cost(self, label: ArmLabel, answer: Answer) -> Cost:
        return cost_of(self._trial.definitions[label], self._config.arms[label].price, answer, when=now_utc())

    def begin(self) -> None:
        for label in self._trial.definitions:
            self._budget.begin(label)

    async def end(self, label: ArmLabel, answer: Answer) -> None:
        tokens = (answer.usage.tokens_in or 0) + (answer.usage.tokens_out or 0)
        await self._budget.end(label, tokens=tokens, nanousd=self.cost(label, answer).nanousd or 0)
