"""Who may see what. Rules fail closed, and a task refused for one arm is refused for both.

`Policy` is built before anything is sent and refuses to exist on a forbidden endpoint. Secrets are scrubbed from
prompts as soon as either arm is off this machine: a trial's second arm is a second party that gets the code.
"""

import fnmatch
import ipaddress
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pathspec

from codetrial.arms.base import ArmDefinition, Prompt
from codetrial.config import PrivacyConfig
from codetrial.errors import ConfigError, PrivacyError
from codetrial.records import Api, ArmLabel

__all__ = ["ALWAYS_EXCLUDED", "SECRET_MASK", "Policy", "Scrubbed", "is_on_this_machine", "scrub"]

logger = logging.getLogger(__name__)

SECRET_MASK = "REDACTED"

ALWAYS_EXCLUDED = (
    ".env",
    ".env.*",
    "!.env.example",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "*.tfvars",
    "*.kdbx",
)
"""Files that hold secrets and nothing else; no rule can allow them."""

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


class Scrubbed(NamedTuple):
    prompt: Prompt
    secrets: int
    """How many were masked; what they were is kept nowhere."""


class Policy:
    """The privacy rules of one trial, for its two arms.

    Raises:
        PrivacyError: an arm's endpoint is forbidden; says why and what would allow it.
        ConfigError: a rule cannot be read.
    """

    def __init__(self, config: PrivacyConfig, definitions: Mapping[ArmLabel, ArmDefinition]) -> None:
        self._config = config
        if config.self_hosted_only:
            for definition in definitions.values():
                self._require_self_hosted(definition)
        rules = (config.a, config.b)
        self._paths = _path_spec([*config.exclude_paths, *(p for r in rules for p in r.exclude_paths)])
        self._languages = _folded(config.exclude_languages, *(r.exclude_languages for r in rules))
        self._repositories = _folded(config.exclude_repositories, *(r.exclude_repositories for r in rules))
        self._leaves_machine = not all(map(is_on_this_machine, definitions.values()))

    @property
    def scrubs(self) -> bool:
        return self._config.scrub_secrets and self._leaves_machine

    def refusal(self, *, path: str, language: str, repository: str | None) -> str | None:
        """Why a document must not be sent, or None. The reason names the rule, never the content."""
        if self._config_has_paths and not _is_inside(path):
            return "its path is not known to lie in the repository, so path rules cannot be checked"
        if self._paths.match_file(path.lstrip("/")):
            return "a path rule excludes it"
        if language.lower() in self._languages:
            return f"the language {language} is excluded"
        if self._repositories:
            if repository is None:
                return "its repository is not known, so repository rules cannot be checked"
            if any(fnmatch.fnmatchcase(repository.lower(), rule) for rule in self._repositories):
                return "its repository is excluded"
        return None

    def admit(self, prompt: Prompt) -> Prompt | str:
        """The prompt as it may be sent, the same to both arms; or the reason why it may not."""
        reason = self.refusal(path=prompt.path, language=prompt.language, repository=prompt.repository)
        if reason is not None:
            return reason
        allowed = tuple(s for s in prompt.snippets if _is_inside(s.path) and not self._paths.match_file(s.path))
        if len(allowed) != len(prompt.snippets):
            prompt = replace(prompt, snippets=allowed)
        return scrub(prompt).prompt if self.scrubs else prompt

    @property
    def _config_has_paths(self) -> bool:
        config = self._config
        return bool(config.exclude_paths or config.a.exclude_paths or config.b.exclude_paths)

    def _require_self_hosted(self, definition: ArmDefinition) -> None:
        if is_on_this_machine(definition) or _host_allowed(definition.url, self._config.allow_hosts):
            return
        if definition.api is Api.COMMAND and definition.is_self_hosted:
            return
        host = urlsplit(definition.url or "").hostname or definition.api.value
        raise PrivacyError(
            f"[privacy] self_hosted_only forbids arm {definition.label} ({definition.name}): {host} is neither this "
            "machine, nor a private network address, nor in allow_hosts; if it is yours, add it there."
        )


def is_on_this_machine(definition: ArmDefinition) -> bool:
    """True if what the arm gets never leaves this machine."""
    if definition.api is Api.NGRAM:
        return True
    url = definition.url or ""
    if url.startswith("local:"):
        return True
    if definition.api in (Api.COPILOT, Api.COMMAND):
        return False  # A program may send what it gets anywhere.
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_allowed(url: str | None, allowed: tuple[str, ...]) -> bool:
    """By address: private, or in an allowed network. By name: only if allowed, since a name says nothing."""
    host = (urlsplit(url or "").hostname or "").lower()
    if not host:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(fnmatch.fnmatchcase(host, rule.lower()) for rule in allowed)
    if address.is_private and not address.is_unspecified:
        return True
    return any(address in network for network in map(_network, allowed) if network is not None)


def _network(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return None


def _path_spec(rules: list[str]) -> "pathspec.GitIgnoreSpec":
    try:
        # Last match wins in this syntax, so that the fixed rules stand last: no rule of a project can undo them.
        return pathspec.GitIgnoreSpec.from_lines([*rules, *ALWAYS_EXCLUDED])
    except ValueError as fault:
        raise ConfigError(f"[privacy] exclude_paths cannot be read: {fault}.") from fault


def _folded(*groups: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.lower() for group in groups for word in group)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts


def scrub(prompt: Prompt) -> Scrubbed:
    """The prompt with likely secrets masked. Masks keep the lines, so that the code keeps its shape."""
    prefix, in_prefix = _scrub_text(prompt.prefix)
    suffix, in_suffix = _scrub_text(prompt.suffix)
    secrets = in_prefix + in_suffix
    snippets = []
    for snippet in prompt.snippets:
        text, found = _scrub_text(snippet.text)
        secrets += found
        snippets.append(replace(snippet, text=text))
    if not secrets:
        return Scrubbed(prompt, 0)
    return Scrubbed(replace(prompt, prefix=prefix, suffix=suffix, snippets=tuple(snippets)), secrets)


def _scrub_text(text: str) -> tuple[str, int]:
    text, keys = _PRIVATE_KEY.subn(lambda found: SECRET_MASK + "\n" * found[0].count("\n"), text)
    lines = text.split("\n")
    found = 0
    for number, line in enumerate(lines):
        lines[number], count = _scrub_line(line)
        found += count
    return "\n".join(lines), keys + found


@lru_cache(maxsize=8192)  # Successive prompts share nearly all their lines.
def _scrub_line(line: str) -> tuple[str, int]:
    spans = sorted(set(_secret_spans(line)))
    out, end, count = [], 0, 0
    for start, stop in spans:
        if start < end:
            continue
        out.append(line[end:start] + SECRET_MASK)
        end = stop
        count += 1
    return "".join(out) + line[end:], count


_SKIPPED_DETECTORS = frozenset({"IPPublicDetector"})
"""An address in code is no secret, and masking version numbers would harm completions."""
MIN_GROUP_CHARS = 12
"""Some detectors capture only a token's first letters; then the whole match is masked."""


@lru_cache(maxsize=1)
def _detectors() -> tuple[Any, ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: Any = get_mapping_from_secret_type_to_class().values()
    return tuple(kind() for kind in classes if kind.__name__ not in _SKIPPED_DETECTORS)


def _secret_spans(line: str) -> Iterator[tuple[int, int]]:
    from detect_secrets.plugins.base import RegexBasedDetector

    for detector in _detectors():
        if isinstance(detector, RegexBasedDetector) and type(detector).__name__ != "KeywordDetector":
            for pattern in detector.denylist:
                for found in pattern.finditer(line):
                    yield _span(found)
            continue
        # Entropy and keyword detectors judge quoted values; they give the value, not the place.
        for secret in detector.analyze_line(filename="prompt.py", line=line, line_number=1):
            value = secret.secret_value or ""
            start = line.find(value)
            while value and start >= 0:
                yield start, start + len(value)
                start = line.find(value, start + len(value))


def _span(found: "re.Match[str]") -> tuple[int, int]:
    groups = [found.span(i) for i in range(1, len(found.groups()) + 1) if found.span(i)[0] >= 0]
    longest = max(groups, key=lambda span: span[1] - span[0], default=found.span())
    return longest if longest[1] - longest[0] >= MIN_GROUP_CHARS else found.span()
