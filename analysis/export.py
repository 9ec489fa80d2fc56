"""Accepted and rejected suggestions as training material, each row with where it comes from.

Two forms. `fim`: prefix, suffix and middle, with whether the person took it. `preference`: the same place with a chosen
and a rejected text. The only preference a person has really shown is between a suggestion they were offered and did
not take, and what they then wrote; that another arm's unseen text would have been worse is a guess, and is exported
only when asked for, under its own name.

Privacy rules are applied again, as they are now. Documents and repositories are stored as hashes, so a rule that was
added after recording cannot be checked against them: then the rows stay out (rules fail closed).
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from analysis.store import Store
from codetrial import __version__
from codetrial.arms.base import Prompt
from codetrial.clock import utc_text
from codetrial.config import PrivacyConfig
from codetrial.errors import EvidenceError
from codetrial.privacy import scrub
from codetrial.records import ArmLabel, ContinuationState, Door, Origin, OutcomeClass

__all__ = ["SPLITS", "Exported", "Form", "Order", "SplitBy", "export"]

SPLITS = ("train", "validation", "test")


class Form(StrEnum):
    FIM = "fim"
    PREFERENCE = "preference"


class SplitBy(StrEnum):
    TIME = "time"
    """Whole sessions: the oldest train, the newest test."""
    REPOSITORY = "repository"
    DEVELOPER = "developer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to export and how."""

    origin: Origin
    form: Form
    trial: str | None = None
    """Id, beginning of it, or name; None for all trials."""
    arm: ArmLabel | None = None
    split_by: tuple[SplitBy, ...] = (SplitBy.TIME,)
    """Several: a row belongs to a split only if it does by each of them."""
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    horizon: str = "120s"
    """When what was written counts as what the person wanted."""
    min_kept: float | None = None
    """Leave out accepted texts of which less than this share was seen standing later."""
    with_unseen: bool = False
    """Add pairs of an accepted text over the other arm's, which nobody was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    folder: Path
    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One row to come, by the hashes of its texts."""

    facts: Mapping[str, Any]
    """As it came from the store."""
    middle: str
    other: str | None
    """The rejected text of a preference."""
    basis: str

    @property
    def place(self) -> tuple[str, str]:
        return str(self.facts["prefix_hash"]), str(self.facts["suffix_hash"])


def export(store: Store, folder: Path, order: Order, privacy: PrivacyConfig) -> Exported:
    """Write train.jsonl, validation.jsonl, test.jsonl and about.json into an empty folder.

    Raises:
        EvidenceError: nothing fits, no texts were stored, rules cannot be checked, or the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EvidenceError(f"{folder} is not an empty folder: an export is never mixed with other files.")
    left_out: Counter[str] = Counter()
    found = _decided(store, order)
    _require_texts(store, found, order)
    allowed = [facts for facts in found if not _refused(facts, privacy, left_out)]
    if not allowed:
        reasons = "; ".join(f"{reason}: {number}" for reason, number in left_out.items())
        raise EvidenceError(f"Privacy rules leave nothing to export ({reasons}). See [privacy] in codetrial.toml.")
    rows = [row for facts in allowed for row in _rows(facts, order, left_out)]
    split, notes = _split(rows, order, left_out)
    clean = _texts(store, scrubs=privacy.scrub_secrets)
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: _write(folder / f"{name}.jsonl", split[name], order, clean, left_out) for name in SPLITS}
    about = _about(store, order, privacy, written, left_out, notes)
    with _private(folder / "about.json") as file:
        json.dump(about, file, indent=2, ensure_ascii=False)
    return Exported(folder=folder, rows=written, left_out=dict(left_out), notes=notes)


# What people decided.


def _decided(store: Store, order: Order) -> list[dict[str, Any]]:
    """Outcomes in the editor that are a yes or a no, with everything known about them but texts."""
    rows = store.rows(
        """
        SELECT o.id AS outcome_id, o.outcome, o.rule, o.accepted_chars, g.id AS suggestion, g.text_hash, g.cut_version,
               g.label, t.id AS task, t.trial, t.assignment AS episode, t.session, t.language, t.place, t.prefix_hash,
               t.suffix_hash, t.requested_at, s.developer, s.repository, s.origin, s.started_at, s.surface,
               s.codetrial_version, r.name AS arm_name, r.fingerprint, r.definition, m.manifest, m.manifest_hash,
               m.name AS trial_name, a.propensity_a, a.propensity_b,
               (SELECT h.text_hash FROM suggestion h WHERE h.task = t.id AND h.label <> g.label AND h.chars > 0
                ORDER BY h.rank LIMIT 1) AS unseen_hash,
               (SELECT c.text_hash FROM continuation c WHERE c.task = t.id AND c.horizon = :horizon
                AND c.state = :found AND c.chars > 0 LIMIT 1) AS written_hash,
               (SELECT json_group_object(k.horizon, k.value) FROM score k WHERE k.suggestion = g.id
                AND k.task = t.id AND k.metric = 'kept_share' AND k.value IS NOT NULL) AS kept
        FROM outcome o JOIN suggestion g ON g.id = o.suggestion JOIN task t ON t.id = o.task
        JOIN session s ON s.id = t.session JOIN trial m ON m.id = t.trial
        LEFT JOIN arm r ON r.trial = t.trial AND r.label = g.label LEFT JOIN assignment a ON a.id = t.assignment
        WHERE t.door = :door AND s.origin = :origin AND o.outcome IN (:yes, :no) AND (:arm IS NULL OR g.label = :arm)
          AND (:trial IS NULL OR m.name = :trial OR substr(m.id, 1, length(:trial)) = :trial)
        ORDER BY t.requested_at, o.id
        """,
        {
            "horizon": order.horizon,
            "found": ContinuationState.FOUND.value,
            "door": Door.EDITOR.value,
            "origin": order.origin.value,
            "yes": OutcomeClass.ACCEPTED.value,
            "no": OutcomeClass.NOT_TAKEN.value,
            "arm": order.arm and order.arm.value,
            "trial": order.trial,
        },
    )
    if not rows:
        others = store.rows("SELECT origin, count(*) AS n FROM v_outcome GROUP BY origin ORDER BY origin")
        known = ", ".join(f"{row['n']} of origin {row['origin']}" for row in others) or "none at all"
        raise EvidenceError(
            f"{store.path} holds no accepted or rejected suggestion of origin {order.origin} that fits. "
            f"Outcomes: {known}."
        )
    return rows


def _require_texts(store: Store, found: Sequence[Mapping[str, Any]], order: Order) -> None:
    hashes = {facts[name] for facts in found for name in ("text_hash", "prefix_hash") if facts[name]}
    for digest in hashes:
        if store.text(digest) is not None:
            return
    raise EvidenceError(
        f"{store.path} holds {len(found)} decided suggestions of origin {order.origin}, but not their texts: they were "
        'recorded with [store] store_text = "hash" or "none", or the texts were purged. Only what is recorded with '
        'store_text = "full" can be exported.'
    )


# Privacy.


def _refused(facts: Mapping[str, Any], privacy: PrivacyConfig, left_out: Counter[str]) -> bool:
    reason = _refusal(facts, privacy)
    if reason is not None:
        left_out[reason] += 1
    return reason is not None


def _refusal(facts: Mapping[str, Any], privacy: PrivacyConfig) -> str | None:
    rules = (privacy, privacy.a, privacy.b)
    languages = {language.lower() for rule in rules for language in rule.exclude_languages}
    if str(facts["language"]).lower() in languages:
        return f"the language {facts['language']} is excluded"
    then = _recorded_rules(str(facts["manifest"]))
    for what in ("exclude_paths", "exclude_repositories"):
        now = [rule for group in rules for rule in getattr(group, what)]
        if not _covers(then.get(what, []), now):
            return f"[privacy] {what} was changed after recording and cannot be checked against hashes"
    return None


def _recorded_rules(manifest: str) -> Mapping[str, list[str]]:
    """The rules in force when the trial was recorded; its manifest holds them."""
    try:
        privacy = json.loads(manifest).get("privacy", {})
    except (ValueError, AttributeError):
        return {}
    groups = [privacy, privacy.get("a") or {}, privacy.get("b") or {}]
    merged: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        for what in ("exclude_paths", "exclude_repositories"):
            merged[what] += group.get(what, ())
    return merged


def _covers(then: Sequence[str], now: Sequence[str]) -> bool:
    """Whether what was let through then would be let through now. With exceptions (`!`) only the same rules will do."""
    if any(rule.startswith("!") for rule in (*then, *now)):
        return list(then) == list(now) or not now
    return set(now) <= set(then)


def _texts(store: Store, *, scrubs: bool) -> Callable[[str], str | None]:
    """Reads a text as it may leave: with likely secrets masked."""

    def read(digest: str) -> str | None:
        content = store.text(digest)
        if content is None or not scrubs:
            return content
        return scrub(Prompt(prefix=content, suffix="", path="", language="")).prompt.prefix

    return read


# Rows.


def _rows(facts: Mapping[str, Any], order: Order, left_out: Counter[str]) -> Iterator[_Row]:
    is_accepted = facts["outcome"] == OutcomeClass.ACCEPTED
    if not (facts["prefix_hash"] and facts["suffix_hash"] and facts["text_hash"]):
        left_out["texts were not stored"] += 1
        return
    if is_accepted and order.min_kept is not None:
        kept = _latest(_kept(facts))
        if kept is None or kept < order.min_kept:
            left_out["accepted, but not seen to be kept"] += 1
            return
    if order.form is Form.FIM:
        yield _Row(facts=facts, middle=facts["text_hash"], other=None, basis=facts["outcome"])
    elif is_accepted:
        yield from _over_unseen(facts, order, left_out)
    elif facts["written_hash"] is None or facts["written_hash"] == facts["text_hash"]:
        left_out[f"rejected, and nothing else seen to be written after {order.horizon}"] += 1
    else:
        yield _Row(facts=facts, middle=facts["written_hash"], other=facts["text_hash"], basis="written_instead")


def _over_unseen(facts: Mapping[str, Any], order: Order, left_out: Counter[str]) -> Iterator[_Row]:
    if not order.with_unseen:
        left_out["accepted, and nothing was rejected beside it"] += 1
    elif facts["unseen_hash"] in (None, facts["text_hash"]):
        left_out["accepted, and the other arm said nothing else"] += 1
    else:
        yield _Row(facts=facts, middle=facts["text_hash"], other=facts["unseen_hash"], basis="accepted_over_unseen")


def _kept(facts: Mapping[str, Any]) -> dict[str, float]:
    return dict(json.loads(facts["kept"])) if facts["kept"] else {}


def _latest(kept: Mapping[str, float]) -> float | None:
    timed = {int(name[:-1]): share for name, share in kept.items() if name[:-1].isdigit()}
    return timed[max(timed)] if timed else None


# Splits.


def _split(rows: list[_Row], order: Order, left_out: Counter[str]) -> tuple[dict[str, list[_Row]], list[str]]:
    notes: list[str] = []
    maps = [(by, _groups(rows, by, order.shares, notes)) for by in order.split_by]
    split: dict[str, list[_Row]] = {name: [] for name in SPLITS}
    for row in rows:
        names = {groups[_group(row, by)] for by, groups in maps}
        if len(names) == 1:
            split[names.pop()].append(row)
        else:
            left_out["in different splits by " + " and ".join(order.split_by)] += 1
    _drop_known(split, left_out)
    return split, notes


def _group(row: _Row, by: SplitBy) -> str:
    if by is SplitBy.TIME:
        return f"{row.facts['started_at']} {row.facts['session']}"
    return str(row.facts[by.value])


def _groups(rows: list[_Row], by: SplitBy, shares: tuple[float, float, float], notes: list[str]) -> Mapping[str, str]:
    """The split of each group, so that about the wanted shares of the rows fall to each; no group is ever cut."""
    sizes = Counter(_group(row, by) for row in rows)
    ordered = sorted(sizes, key=str if by is SplitBy.TIME else _shuffled)
    if len(ordered) < sum(share > 0 for share in shares):
        what = "session" if by is SplitBy.TIME else by.value
        notes.append(f"Only {len(ordered)} {what} to split by: some splits are empty.")
    split, seen, bounds = {}, 0, _bounds(shares)
    for group in ordered:
        # By its middle, so that a group larger than a split goes where most of it would.
        middle = (seen + sizes[group] / 2) / max(1, sizes.total())
        split[group] = next(name for name, bound in zip(SPLITS, bounds, strict=True) if middle <= bound)
        seen += sizes[group]
    return split


def _bounds(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    return shares[0], shares[0] + shares[1], float("inf")


def _shuffled(group: str) -> str:
    return hashlib.sha256(f"split/{group}".encode()).hexdigest()


def _drop_known(split: dict[str, list[_Row]], left_out: Counter[str]) -> None:
    """Nothing twice, and nothing to be tested on that was trained on."""
    seen: set[tuple[object, ...]] = set()
    trained: set[tuple[str, str]] = set()
    for name in SPLITS:
        kept = []
        for row in split[name]:
            identity = (*row.place, row.middle, row.other, row.basis)
            if identity in seen:
                left_out["the same as another row"] += 1
            elif row.place in trained:
                left_out[f"of {name}, with a place that is in an earlier split"] += 1
            else:
                kept.append(row)
                seen.add(identity)
        split[name] = kept
        trained |= {row.place for row in kept}


# Files.


def _private(path: Path) -> TextIO:
    """A new file that only its owner can read: it holds code."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="\n")


def _write(
    path: Path, rows: list[_Row], order: Order, text: Callable[[str], str | None], left_out: Counter[str]
) -> int:
    written = 0
    with _private(path) as file:
        for row in rows:
            content = _content(row, order, text)
            if content is None:
                left_out["texts were deleted since"] += 1
                continue
            # Escaped, because some readers take U+2028 in a text for the end of the line.
            file.write(json.dumps(content) + "\n")
            written += 1
    return written


def _content(row: _Row, order: Order, text: Callable[[str], str | None]) -> dict[str, Any] | None:
    prefix, suffix = text(row.facts["prefix_hash"]), text(row.facts["suffix_hash"])
    middle, other = text(row.middle), text(row.other) if row.other else None
    if prefix is None or suffix is None or middle is None or (row.other and other is None):
        return None
    content: dict[str, Any] = {"prefix": prefix, "suffix": suffix}
    if order.form is Form.FIM:
        content |= {"middle": middle, "is_accepted": row.basis == OutcomeClass.ACCEPTED}
    else:
        content |= {"chosen": middle, "rejected": other, "basis": row.basis}
    return content | {"provenance": _provenance(row, order)}


def _provenance(row: _Row, order: Order) -> dict[str, Any]:
    facts = row.facts
    plain = (
        *("trial", "manifest_hash", "session", "episode", "task", "suggestion", "origin", "developer", "repository"),
        *("language", "place", "surface", "requested_at", "outcome", "rule", "cut_version", "codetrial_version"),
    )
    definition = json.loads(facts["definition"]) if facts["definition"] else {}
    return {
        **{name: facts[name] for name in plain},
        "arm": facts["label"],
        "arm_name": facts["arm_name"],
        "arm_fingerprint": facts["fingerprint"],
        "model": definition.get("model"),
        "propensity": facts["propensity_a"] if facts["label"] == ArmLabel.A else facts["propensity_b"],
        "kept_share": _kept(facts),
        "written_at_horizon": order.horizon if row.basis == "written_instead" else None,
    }


def _about(
    store: Store,
    order: Order,
    privacy: PrivacyConfig,
    written: Mapping[str, int],
    left_out: Mapping[str, int],
    notes: list[str],
) -> dict[str, Any]:
    return {
        "made_at": utc_text(),
        "codetrial_version": __version__,
        "database": store.path.name,
        "form": order.form,
        "origin": order.origin,
        "trial": order.trial,
        "arm": order.arm,
        "split_by": order.split_by,
        "shares": dict(zip(SPLITS, order.shares, strict=True)),
        "horizon": order.horizon,
        "min_kept": order.min_kept,
        "with_unseen": order.with_unseen,
        "secrets_masked": privacy.scrub_secrets,
        "rows": written,
        "left_out": left_out,
        "notes": notes,
    }
