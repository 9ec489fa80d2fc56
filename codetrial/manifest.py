"""A configuration frozen into a trial: its manifest, and the records that stand for it in the store.

The manifest holds what could change a result; whatever is changed in it makes another trial.
"""

import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from codetrial.arms import ArmDefinition, define
from codetrial.canonical import canonical_json
from codetrial.clock import utc_text
from codetrial.config import Config, PriceConfig
from codetrial.errors import ConfigError
from codetrial.paths import data_dir
from codetrial.records import ArmLabel, ArmRow, Trial, Unit

__all__ = ["Frozen", "freeze", "frozen", "trial_salt"]

SALT_BYTES = 32


class Frozen(NamedTuple):
    trial: Trial
    arms: tuple[ArmRow, ArmRow]


def freeze(config: Config) -> Frozen:
    """The trial of completions and its arms as records: the same configuration always gives the same trial.

    Budgets and the store's place are left out of the manifest: they may change while a trial runs.
    """
    definitions = {label: define(config.arms[label], label, templates=config.templates) for label in ArmLabel}
    trial = dataclasses.asdict(config.trial)
    del trial["seed"]
    manifest = {
        "format": 1,
        "trial": trial,
        "assignment_unit": Unit.EPISODE,
        "arms": {label: json.loads(definitions[label].canonical()) for label in ArmLabel},
        "prices": {label: _plain(config.arms[label].price) for label in ArmLabel},
        "editor": dataclasses.asdict(config.editor),
        "privacy": dataclasses.asdict(config.privacy),
        "review": dict(config.review),
    }
    return frozen(
        config, manifest, definitions, assignment_unit=Unit.EPISODE, primary_metric=config.trial.primary_metric
    )


def frozen(
    config: Config,
    manifest: Mapping[str, Any],
    definitions: Mapping[ArmLabel, ArmDefinition],
    *,
    assignment_unit: Unit,
    primary_metric: str,
) -> Frozen:
    """The records of a manifest, whichever door wrote it."""
    content = canonical_json(manifest)
    digest = hashlib.sha256(content.encode()).hexdigest()
    trial = Trial(
        id=f"t-{digest[:20]}",
        name=config.trial.name,
        manifest=content,
        manifest_hash=digest,
        seed=config.trial.seed or hashlib.sha256(digest.encode() + trial_salt()).hexdigest(),
        assignment_unit=assignment_unit,
        primary_metric=primary_metric,
        created_at=utc_text(),
    )
    return Frozen(
        trial,
        (_row(trial, ArmLabel.A, definitions[ArmLabel.A]), _row(trial, ArmLabel.B, definitions[ArmLabel.B])),
    )


def _row(trial: Trial, label: ArmLabel, definition: ArmDefinition) -> ArmRow:
    return ArmRow(
        id=f"{trial.id}-{label}",
        trial=trial.id,
        label=label,
        name=definition.name,
        fingerprint=definition.fingerprint,
        definition=definition.canonical(),
        is_self_hosted=definition.is_self_hosted,
    )


def _plain(price: PriceConfig | None) -> Mapping[str, Any] | None:
    return None if price is None else dataclasses.asdict(price)


def trial_salt() -> bytes:
    """Random bytes of this machine, made once: without them anybody with the manifest could foresee assignments."""
    path = data_dir() / "salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written whole under another name, then linked: several editors may start at the same moment.
        draft = path.with_name(f"salt.{os.getpid()}")
        if not path.exists():
            draft.write_bytes(secrets.token_bytes(SALT_BYTES))
            draft.chmod(0o600)
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_bytes()
    except OSError as fault:
        raise ConfigError(
            f"Cannot keep the trial's salt in {path}: {fault.strerror}. "
            "Set CODETRIAL_DATA_DIR to a folder you can write."
        ) from fault
