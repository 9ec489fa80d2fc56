"""Canonical JSON: the same content is the same text. Manifests, fingerprints and task keys are hashes of it."""

import json
from typing import Any

__all__ = ["canonical_json"]


def canonical_json(content: Any) -> str:
    """Keys sorted, no blanks, letters as they are; what JSON does not know, such as a date from TOML, as its text."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
