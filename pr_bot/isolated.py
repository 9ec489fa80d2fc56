"""An arm in a process of its own that holds nothing worth stealing: no token, no store, no other arm's key.

The parent, here, holds the token and believes nothing that comes back; the process (`pr_bot.asked`) holds one model key
and reads what strangers wrote.
"""

import asyncio
import os
import sys
from dataclasses import replace

import msgspec

from codetrial.arms import define, local
from codetrial.arms.base import Answer
from codetrial.clock import now_ns
from codetrial.config import ArmConfig
from codetrial.errors import ArmError
from codetrial.keys import find_key
from codetrial.records import ArmLabel, AttemptStatus
from pr_bot.asked import Request
from pr_bot.review import ReviewPrompt

__all__ = ["IsolatedReviewer"]

START_GRACE_S = 10.0
"""Starting Python and reading the answer, on a machine that is busy with other reviews."""

LOCAL_SCHEME = "local:"
LOCAL_KEY = "CODETRIAL_LOCAL_KEY"
"""How the key of codetrial's own server, which is new for each start, reaches the arm's process."""

MAX_OUTPUT_BYTES = 8 * 1024 * 1024

_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY",
    "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SYSTEMROOT",
)  # fmt: skip
"""What a client needs to reach its endpoint. Everything else, GITHUB_TOKEN first, stays outside."""


class IsolatedReviewer:
    """A `Reviewer` that asks from a fresh process each time."""

    def __init__(self, arm: ArmConfig) -> None:
        self._arm = arm
        self._lease: local.Lease | None = None

    async def review(self, prompt: ReviewPrompt, *, deadline_s: float) -> Answer:
        started_ns = now_ns()
        try:
            arm, keys = await asyncio.to_thread(self._reachable)
        except ArmError as fault:
            return _failure(started_ns, AttemptStatus.ERROR, "local_server", str(fault))
        request = msgspec.json.encode(Request(arm, prompt, deadline_s))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "pr_bot.asked",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**_environment(), **keys},
        )  # fmt: skip
        try:
            async with asyncio.timeout(deadline_s + START_GRACE_S):
                output, errors = await process.communicate(request)
        except TimeoutError:
            return _failure(started_ns, AttemptStatus.TIMEOUT, "timeout", f"No answer within {deadline_s:.0f} s.")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            if process.returncode != 0 or len(output) > MAX_OUTPUT_BYTES:
                raise ValueError(errors.decode("utf-8", "replace").strip().split("\n")[-1][:300])
            return msgspec.json.decode(output, type=Answer)
        except (ValueError, msgspec.ValidationError) as fault:
            return _failure(started_ns, AttemptStatus.ERROR, "process", f"The arm's process ended badly: {fault}")

    def _reachable(self) -> tuple[ArmConfig, dict[str, str]]:
        """The arm with an address and its key: codetrial's own server is started here, where the person's files are.

        Raises:
            ArmError: the local server does not start.
            ConfigError: the arm cannot be used as written.
        """
        definition = define(self._arm, ArmLabel.A)
        url, name = definition.url or "", definition.key_env
        if not url.startswith(LOCAL_SCHEME):
            value = find_key(name) if name else None
            return replace(self._arm, url=url, key_env=name), {name: value} if name and value else {}
        model = url.removeprefix(LOCAL_SCHEME)
        self._lease = self._lease or local.Lease(model)
        running = local.ensure_running(model)
        return replace(self._arm, url=f"{running.url}/v1", key_env=LOCAL_KEY), {LOCAL_KEY: running.key}


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _failure(started_ns: int, status: AttemptStatus, kind: str, error: str) -> Answer:
    return Answer(status=status, text="", sent_ns=started_ns, end_ns=now_ns(), error_kind=kind, error=error)
