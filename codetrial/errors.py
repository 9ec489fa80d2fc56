"""Every error that codetrial raises on purpose.

    CodetrialError
    ├── ConfigError          codetrial.toml or a flag is wrong
    ├── StoreError           the database cannot be used
    ├── ArmError             an arm cannot be built or reached
    ├── PrivacyError         a rule forbids what was asked
    ├── ProxyError           the editor's door
    ├── ReviewError          the pull request's door
    └── EvidenceError        what is stored does not support the question

Each message says what happened, to which thing, and how to mend it: people see the sentence, never a traceback.
"""

__all__ = [
    "ArmError",
    "CodetrialError",
    "ConfigError",
    "EvidenceError",
    "PrivacyError",
    "ProxyError",
    "ReviewError",
    "StoreError",
]


class CodetrialError(Exception):
    """Base of all; `exit_code` is what the command line ends with."""

    exit_code = 1


class ConfigError(CodetrialError):
    """The configuration cannot be used as written."""

    exit_code = 2


class StoreError(CodetrialError):
    """The database cannot be opened, read or written."""


class ArmError(CodetrialError):
    """An arm cannot be built, fetched, started or reached."""


class PrivacyError(CodetrialError):
    """A privacy rule forbids it; rules fail closed."""


class ProxyError(CodetrialError):
    """The editor's door cannot do what was asked."""


class ReviewError(CodetrialError):
    """The pull request's door cannot do what was asked."""


class EvidenceError(CodetrialError):
    """What is stored cannot answer the question honestly."""
