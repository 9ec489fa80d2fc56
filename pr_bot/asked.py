"""The process that asks one arm: one request from stdin, one answer to stdout. Started by `pr_bot.isolated`.

Two of these start for each review, so it imports what asking needs and no more.
"""

import asyncio
import dataclasses
import sys

import msgspec

from codetrial.config import ArmConfig
from pr_bot.review import ReviewPrompt

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True):
    arm: ArmConfig
    prompt: ReviewPrompt
    deadline_s: float


async def _main() -> None:
    # httpx loads its own command line with click and rich wherever they are installed: half of what its import costs.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    from pr_bot.chat import ChatReviewer  # Only here: httpx costs the parent nothing when it asks elsewhere.

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answer = await ChatReviewer(request.arm).review(request.prompt, deadline_s=request.deadline_s)
    sys.stdout.buffer.write(msgspec.json.encode(dataclasses.asdict(answer)))


if __name__ == "__main__":
    asyncio.run(_main())
