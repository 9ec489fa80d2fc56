"""Is an arm what its configuration says? Small infilling probes with known answers, and what they cost and take.

A wrong template, an ignored suffix or a missing chat template does not fail: it answers, with status 200, and makes a
good model look bad. So each arm is asked things whose answer is known before a trial starts. The result is kept by the
arm's fingerprint; a trial refuses to start on an arm whose answers were garbage, unless `[trial] force` says so.
"""

import asyncio
import json
import logging
import re
import secrets
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codetrial import prices
from codetrial.arms import Answer, Arm, ArmDefinition, Preparable, Prompt, build
from codetrial.clock import now_utc, utc_text
from codetrial.config import ArmConfig, Config
from codetrial.errors import CodetrialError
from codetrial.paths import data_dir
from codetrial.records import Api, ArmLabel, AttemptStatus

__all__ = ["PROBES", "Probe", "Report", "Verdict", "check", "first_look", "needs_look", "recorded"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A cursor whose continuation a working code model knows."""

    name: str
    prefix: str
    suffix: str
    expected: str
    """Pattern that the answer must begin with."""
    needs_suffix: bool = False
    """Only the text after the cursor gives the answer away."""

    @property
    def prompt(self) -> Prompt:
        return Prompt(prefix=self.prefix, suffix=self.suffix, path="probe.py", language="python")


PROBES = (
    Probe(
        name="expression",
        prefix="def square(x):\n    return ",
        suffix="\n\n\nprint(square(4))\n",
        expected=r"\s*(x\s*\*\s*x|x\s*\*\*\s*2|pow\(x, ?2\))",
    ),
    Probe(
        name="argument",
        prefix="def add(a, b):\n    return a + b\n\n\nprint(add(1, ",
        suffix="))\n",
        expected=r"\s*\d+",
    ),
    Probe(
        name="member",
        prefix="import os\n\n\ndef is_there(path):\n    return os.path.",
        suffix="(path)\n",
        expected=r"(exists|isfile|isdir|lexists)\b",
    ),
    Probe(
        name="names",
        prefix="def mean(values):\n    total = sum(values)\n    return total / ",
        suffix="\n",
        expected=r"\s*len\(values\)",
    ),
    Probe(
        name="inside a token",
        prefix="import json\n\n\ndef parse(text):\n    return json.loa",
        suffix="(text)\n",
        expected=r"ds\b",
    ),
    Probe(
        name="suffix: value",
        prefix='colour = "',
        suffix='"\nassert colour == "turquoise"\n',
        expected=r"turquoise",
        needs_suffix=True,
    ),
    Probe(
        name="suffix: name",
        prefix="def ",
        suffix="(first, second):\n    return first * second\n\n\nprint(multiply(6, 7))\n",
        expected=r"multiply\b",
        needs_suffix=True,
    ),
)

LEAKED = re.compile(
    r"<\|?fim[_-]|<[|｜]?(file_sep|repo_name|im_start|im_end|endoftext|file_separator)[|｜]?>|<｜|\[(PREFIX|SUFFIX|MIDDLE)\]"
    r"|<(PRE|SUF|MID|EOT)>"
)
"""Sentinels in an answer: the server did not take them for special tokens, or the stops are missing."""

TIMED_RUNS = 3
TIMED_PREFIX = (
    "import json\nfrom pathlib import Path\n\n\ndef read_settings(path):\n"
    '    """Read the settings file at path and return a dictionary."""\n    '
)
STREAM_GAP_S = 0.002
"""An answer of several tokens that comes all within this was not streamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The short form, as it is kept by fingerprint."""

    is_usable: bool
    reason: str
    checked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Medians over a few runs; None where nothing came."""

    first_token_ms: float | None
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the check of one arm found."""

    label: ArmLabel
    definition: ArmDefinition
    verdict: Verdict
    right: int
    asked: int
    suffix_right: int
    suffix_asked: int
    """0 for an arm that is configured to get no suffix."""
    alone: Speed | None
    together: Speed | None
    """While the other arm runs."""
    usd_per_1000: float | None
    """For prompts as long as the configured windows; None if the price is unknown."""
    problems: tuple[str, ...]
    """Each with its mend."""


@dataclass(slots=True)
class _Session:
    """One arm under examination."""

    label: ArmLabel
    config: ArmConfig
    arm: Arm
    answers: dict[str, Answer]

    async def ask(self, prompt: Prompt) -> Answer:
        return await self.arm.answer(prompt, deadline_s=self.config.timeout_s)


async def check(config: Config) -> list[Report]:
    """Examine both arms, one after the other and then together. Keeps each verdict by the arm's fingerprint."""
    sessions = []
    failed: dict[ArmLabel, Report] = {}
    for label in ArmLabel:
        arm = build(config.arms[label], label, templates=config.templates)
        session = _Session(label, config.arms[label], arm, {})
        try:
            if isinstance(arm, Preparable):
                await arm.prepare(None)
            for probe in PROBES:
                session.answers[probe.name] = await session.ask(probe.prompt)
        except CodetrialError as fault:
            failed[label] = _failed(session, str(fault))
        sessions.append(session)
    try:
        running = [session for session in sessions if session.label not in failed and _answers(session)]
        alone = {session.label: await _speed([session]) for session in running}
        together = await _speed(running) if len(running) > 1 else {}
        reports = []
        for session in sessions:
            report = failed.get(session.label) or await _report(
                session, config, alone.get(session.label, {}).get(session.label), together.get(session.label)
            )
            if session.label not in failed and _answers(session):
                _keep(report.definition, report.verdict)  # A server that was down says nothing about the template.
            reports.append(report)
        return reports
    finally:
        for session in sessions:
            await session.arm.aclose()


def needs_look(definition: ArmDefinition) -> bool:
    """Whether an arm that was never checked should be looked at before its answers count.

    A wrong template or endpoint answers garbage with status 200. Where nothing is put around the cursor (n-gram,
    prefix only), nothing can be put wrongly; a program or the Copilot server does that itself, and may know nothing of
    the probes.
    """
    if definition.api in (Api.NGRAM, Api.COMMAND, Api.COPILOT):
        return False
    is_prefix_only = (definition.template or "").partition("@")[0] == "prefix-only"
    return not is_prefix_only and recorded(definition) is None


async def first_look(definition: ArmDefinition, ask: Callable[[Prompt], Awaitable[Answer]]) -> Verdict | None:
    """The short check of an arm that nobody has checked: probes until one answer is right. Keeps the verdict.

    A working arm is asked once or twice. Returns None, and keeps nothing, where failures let nothing be said.
    """
    answers: list[Answer] = []
    for probe in PROBES:
        answer = await ask(probe.prompt)
        answers.append(answer)
        if answer.status not in (AttemptStatus.OK, AttemptStatus.EMPTY):
            return None
        if LEAKED.search(answer.text) or _is_right(probe, answer):
            break
    reason = _judged(answers, right=int(_is_right(probe, answer)))
    verdict = Verdict(is_usable=reason is None, reason=reason or "usable at first look", checked_at=utc_text())
    _keep(definition, verdict)
    return verdict


def recorded(definition: ArmDefinition) -> Verdict | None:
    """The verdict of the last check of exactly this arm, or None."""
    try:
        content = json.loads(_place(definition).read_text(encoding="utf-8"))
        return Verdict(**content)
    except (OSError, ValueError, TypeError):
        return None


def _place(definition: ArmDefinition) -> Path:
    return data_dir() / "checks" / f"{definition.fingerprint}.json"


def _keep(definition: ArmDefinition, verdict: Verdict) -> None:
    path = _place(definition)
    content = {"is_usable": verdict.is_usable, "reason": verdict.reason, "checked_at": verdict.checked_at}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as fault:
        logger.warning("the check of arm %s cannot be kept in %s: %s", definition.label, path, fault)


def _answers(session: _Session) -> bool:
    return any(answer.status in (AttemptStatus.OK, AttemptStatus.EMPTY) for answer in session.answers.values())


async def _speed(sessions: Sequence[_Session]) -> dict[ArmLabel, Speed]:
    """Time the same prompts on these arms at once; each run's prompt differs, so that no cache answers."""
    taken: dict[ArmLabel, list[Answer]] = {session.label: [] for session in sessions}
    for _ in range(TIMED_RUNS):
        nonce = secrets.token_hex(4)
        prompt = Prompt(prefix=f"# {nonce}\n{TIMED_PREFIX}", suffix="\n", path="probe.py", language="python")
        answers = await asyncio.gather(*(session.ask(prompt) for session in sessions))
        for session, answer in zip(sessions, answers, strict=True):
            taken[session.label].append(answer)
    return {label: _medians(answers) for label, answers in taken.items()}


def _medians(answers: Sequence[Answer]) -> Speed:
    first, rates = [], []
    for answer in answers:
        if answer.sent_ns is None or answer.first_byte_ns is None or answer.end_ns is None:
            continue
        first.append((answer.first_byte_ns - answer.sent_ns) / 1e6)
        seconds = (answer.end_ns - answer.first_byte_ns) / 1e9
        if answer.usage.tokens_out is not None and answer.usage.tokens_out > 2 and seconds > STREAM_GAP_S:
            rates.append((answer.usage.tokens_out - 1) / seconds)
    return Speed(
        first_token_ms=statistics.median(first) if first else None,
        tokens_per_s=statistics.median(rates) if rates else None,
    )


def _is_right(probe: Probe, answer: Answer) -> bool:
    return answer.status is AttemptStatus.OK and re.match(probe.expected, answer.text) is not None


def _gets_suffix(session: _Session) -> bool:
    """Whether the configuration sends the text after the cursor at all."""
    if session.arm.definition.api is Api.NGRAM or session.config.suffix_chars == 0:
        return False
    return (session.arm.definition.template or "").partition("@")[0] != "prefix-only"


async def _report(session: _Session, config: Config, alone: Speed | None, together: Speed | None) -> Report:
    plain = [probe for probe in PROBES if not probe.needs_suffix]
    on_suffix = [probe for probe in PROBES if probe.needs_suffix] if _gets_suffix(session) else []
    right = sum(_is_right(probe, session.answers[probe.name]) for probe in plain)
    suffix_right = sum(_is_right(probe, session.answers[probe.name]) for probe in on_suffix)
    problems = [*_failures(session), *_suffix_problem(session, suffix_right, len(on_suffix))]
    problems += _stream_problems(session)
    if not any(answer.status is AttemptStatus.ERROR for answer in session.answers.values()):
        problems += await _stop_problem(session, config.templates)
        problems += await _overlap_problem(session)
    garbage = _garbage(session, right + suffix_right)
    return Report(
        label=session.label,
        definition=session.arm.definition,
        verdict=Verdict(is_usable=garbage is None, reason=garbage or "usable", checked_at=utc_text()),
        right=right,
        asked=len(plain),
        suffix_right=suffix_right,
        suffix_asked=len(on_suffix),
        alone=alone,
        together=together,
        usd_per_1000=_usd_per_1000(session, config),
        problems=tuple(([garbage] if garbage else []) + problems),
    )


def _failed(session: _Session, reason: str) -> Report:
    return Report(
        label=session.label,
        definition=session.arm.definition,
        verdict=Verdict(is_usable=False, reason=reason, checked_at=utc_text()),
        right=0,
        asked=0,
        suffix_right=0,
        suffix_asked=0,
        alone=None,
        together=None,
        usd_per_1000=None,
        problems=(reason,),
    )


def _garbage(session: _Session, right: int) -> str | None:
    """Why the arm cannot be used, or None."""
    if session.arm.definition.api is Api.NGRAM:
        return None  # It is silent outside a repository, as it should be.
    return _judged(list(session.answers.values()), right)


def _judged(answers: Sequence[Answer], right: int) -> str | None:
    texts = [answer.text for answer in answers if answer.status is AttemptStatus.OK]
    errors = [answer.error for answer in answers if answer.error]
    if not texts and errors:
        return f"It answered no probe: {errors[0]}"
    if not texts:
        return "It answered every probe with nothing. Check the template, the stops and the model's name."
    if any(LEAKED.search(text) for text in texts):
        return (
            "Its answers contain the template's own tokens: this template does not belong to this model, or the server "
            "does not read special tokens in prompts. Choose another template (`codetrial arms list --templates`)."
        )
    if right == 0:
        return "None of its answers is what any code model would say. Check the template and the model's name."
    return None


def _failures(session: _Session) -> list[str]:
    """One line per kind of failure, not per probe."""
    kinds: dict[str, str] = {}
    for answer in session.answers.values():
        if answer.error_kind is not None:
            kinds.setdefault(answer.error_kind, answer.error or answer.error_kind)
    return [f"{kind}: {sentence}" for kind, sentence in kinds.items()]


def _suffix_problem(session: _Session, right: int, asked: int) -> list[str]:
    if not asked or right or not _answers(session):
        return []
    return [
        "The text after the cursor seems to be ignored: no answer made use of it. Many servers ignore `suffix` "
        "silently; use a fill-in-the-middle template, or expect answers that repeat what follows."
    ]


def _stream_problems(session: _Session) -> list[str]:
    problems = []
    good = [answer for answer in session.answers.values() if answer.status is AttemptStatus.OK]
    several = [
        a for a in good if (a.usage.tokens_out or 0) >= 4 and a.first_byte_ns is not None and a.end_ns is not None
    ]
    streams = session.arm.definition.api not in (Api.NGRAM, Api.COPILOT)
    gaps_ns = [(a.end_ns or 0) - (a.first_byte_ns or 0) for a in several]
    if streams and gaps_ns and statistics.median(gaps_ns) < STREAM_GAP_S * 1e9:
        problems.append("It does not stream: the first token comes with the last. Look for a proxy that buffers.")
    if streams and good and all(answer.usage.tokens_out is None for answer in good):
        problems.append(
            "It reports no token usage: costs per token will be unknown. Write a price per request or hour."
        )
    asked_for = session.config.model
    returned = {answer.model_returned for answer in good if answer.model_returned}
    if asked_for is not None and returned and not any(asked_for in name or name in asked_for for name in returned):
        problems.append(f"It was asked for {asked_for!r} and says that {sorted(returned)[0]!r} answered.")
    return problems


async def _stop_problem(session: _Session, templates: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Ask the same arm with a stop that it must meet at once."""
    if session.arm.definition.api in (Api.NGRAM, Api.COPILOT, Api.OPENAI_RESPONSES, Api.COMMAND):
        return []
    probe = PROBES[0]
    stopping = build(replace(session.config, stops=(")",)), session.label, templates=templates)
    try:
        answer = await stopping.answer(
            Prompt(prefix="print(add(1, 2))\nprint(add(3, 4", suffix="", path=probe.prompt.path, language="python"),
            deadline_s=session.config.timeout_s,
        )
    finally:
        await stopping.aclose()
    if answer.status is AttemptStatus.OK and ")" in answer.text and not stopping.definition.post_processing:
        return ["It ignores stop sequences: answers run on until max_tokens, which costs time and money."]
    return []


async def _overlap_problem(session: _Session) -> list[str]:
    """Ask again while an answer is under way, as typing does."""
    if session.arm.definition.api in (Api.NGRAM, Api.COPILOT, Api.COMMAND):
        return []
    prompt = Prompt(prefix=TIMED_PREFIX, suffix="\n", path="probe.py", language="python")
    answers = await asyncio.gather(session.ask(prompt), session.ask(PROBES[0].prompt))
    if all(answer.error_kind != "interrupted" for answer in answers):
        return []
    return [
        "It interrupts an answer when the next request comes, and both arms lose answers that way. llama-cpp-python's "
        "server does not with `--interrupt_requests false`; arms on one such server also need "
        '[editor] schedule = "staggered".'
    ]


def _usd_per_1000(session: _Session, config: Config) -> float | None:
    """From the probes' tokens per character, for prompts that fill the configured windows."""
    good = [a for a in session.answers.values() if a.status is AttemptStatus.OK and a.usage.tokens_in]
    chars = sum(len(p.prefix) + len(p.suffix) for p in PROBES if session.answers[p.name] in good)
    prefix_chars = session.config.prefix_chars or config.editor.prefix_chars
    suffix_chars = config.editor.suffix_chars if session.config.suffix_chars is None else session.config.suffix_chars
    probe = next(iter(good), None) or next(iter(session.answers.values()))
    if good and chars:
        tokens_in = round(sum(a.usage.tokens_in or 0 for a in good) / chars * (prefix_chars + suffix_chars))
        tokens_out = round(statistics.mean(a.usage.tokens_out or 0 for a in good))
        probe = replace(probe, usage=replace(probe.usage, tokens_in=tokens_in, tokens_cached=0, tokens_out=tokens_out))
    cost = prices.cost_of(session.arm.definition, session.config.price, probe, when=now_utc())
    return None if cost.nanousd is None else cost.nanousd * 1000 / 1e9
