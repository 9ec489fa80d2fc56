"""An arm in a process of its own that holds nothing worth stealing: no token, no store, no other arm's key.

The parent holds the token and believes nothing that comes back; this process holds one model key and reads what
strangers wrote. Run as `python -m pr_bot.isolated`, it reads one request from stdin and writes one answer to stdout.
"""

import asyncio
import dataclasses
import os
import sys

import msgspec

from codetrial.arms.base import Answer
from codetrial.clock import now_ns
from codetrial.config import ArmConfig
from codetrial.records import AttemptStatus
from pr_bot.review import ReviewPrompt

__all__ = ["IsolatedReviewer"]

START_GRACE_S = 10.0
"""Starting Python and reading the answer, on a machine that is busy with other reviews."""

MAX_OUTPUT_BYTES = 8 * 1024 * 1024

_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY",
    "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SYSTEMROOT",
)  # fmt: skip
"""What a client needs to reach its endpoint. Everything else, GITHUB_TOKEN first, stays outside."""


class _Request(msgspec.Struct, frozen=True):
    arm: ArmConfig
    prompt: ReviewPrompt
    deadline_s: float


class IsolatedReviewer:
    """A `Reviewer` that asks from a fresh process each time."""

    def __init__(self, arm: ArmConfig) -> None:
        self._arm = arm

    async def review(self, prompt: ReviewPrompt, *, deadline_s: float) -> Answer:
        request = msgspec.json.encode(_Request(self._arm, prompt, deadline_s))
        started_ns = now_ns()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pr_bot.isolated",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
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

    def _environment(self) -> dict[str, str]:
        names = [*_PASSED_ON, *([self._arm.key_env] if self._arm.key_env else [])]
        return {name: os.environ[name] for name in names if name in os.environ}


def _failure(started_ns: int, status: AttemptStatus, kind: str, error: str) -> Answer:
    return Answer(status=status, text="", sent_ns=started_ns, end_ns=now_ns(), error_kind=kind, error=error)


async def _main() -> None:
    from pr_bot.chat import ChatReviewer  # Only here: httpx costs the parent nothing when it asks elsewhere.

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=_Request)
    answer = await ChatReviewer(request.arm).review(request.prompt, deadline_s=request.deadline_s)
    sys.stdout.buffer.write(msgspec.json.encode(dataclasses.asdict(answer)))


if __name__ == "__main__":
    asyncio.run(_main())
