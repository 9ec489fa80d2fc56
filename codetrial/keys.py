"""Keys of models, by the name of an environment variable: from the environment, else from the system's keyring.

A value is given to the one place that sends it, and to the redactor, which must know what to mask.
"""

import logging
import os
from functools import lru_cache
from importlib.util import find_spec

__all__ = ["SERVICE", "find_key"]

logger = logging.getLogger(__name__)

SERVICE = "codetrial"
"""`keyring set codetrial MISTRAL_API_KEY` stores one."""


def find_key(name: str) -> str | None:
    """The key of that name, or None. The first look into a keyring may take a moment or ask the person."""
    return os.environ.get(name, "").strip() or _from_keyring(name)


@lru_cache(maxsize=32)
def _from_keyring(name: str) -> str | None:
    if find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, name)
    except KeyringError as fault:
        logger.debug("no keyring can be asked for %s: %s", name, type(fault).__name__)
        return None
