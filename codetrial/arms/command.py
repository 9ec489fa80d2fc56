"""Any local program as an arm: one line of JSON in, lines of JSON out, on stdio.

The program stays running and may work on several requests at once. A request is

    {"id": 7, "prefix": "...", "suffix": "...", "path": "a.py", "language": "python", "max_tokens": 64, "stops": [],
     "snippets": [{"path": "...", "text": "..."}]}

and its answer any number of `{"id": 7, "text": "..."}`, then `{"id": 7, "done": true}`, which may also hold
`finish_reason`, `model` and `usage` (`tokens_in`, `tokens_cached`, `tokens_out`, `tokens_reasoning`); or
`{"id": 7, "error": "..."}`. A request that is given up is announced with `{"id": 7, "cancel": true}`.
What the program writes to stderr goes to codetrial's log.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from codetrial.arms.base import Answer, ArmDefinition, Prompt, Usage, keep_partial
from codetrial.clock import now_ns
from codetrial.errors import ArmError
from codetrial.records import AttemptStatus
from codetrial.redact import redact

__all__ = ["CommandArm"]

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 1_000_000
MAX_TEXT_CHARS = 1_000_000
END_S = 2.0
"""How long the program may take to end by itself once its stdin is closed."""


@dataclass(slots=True)
class _Pending:
    """One request under way."""

    done: asyncio.Future[None]
    sent_ns: int
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    first_byte_ns: int | None = None
    first_line_ns: int | None = None
    end_ns: int | None = None
    end: Mapping[str, Any] = field(default_factory=dict)
    error_kind: str | None = None
    error: str | None = None

    def fail(self, kind: str, message: str) -> None:
        self.error_kind, self.error = kind, redact(message)
        self.finish()

    def finish(self) -> None:
        self.end_ns = now_ns()
        if not self.done.done():
            self.done.set_result(None)

    def add(self, text: str) -> None:
        now = now_ns()
        self.first_byte_ns = self.first_byte_ns or now
        self.parts.append(text)
        self.chars += len(text)
        if self.first_line_ns is None and "\n" in "".join(self.parts).lstrip():
            self.first_line_ns = now
        if self.chars > MAX_TEXT_CHARS:
            self.fail("too_large", f"The answer is longer than {MAX_TEXT_CHARS} characters; it was cut off.")

    def answer(self, status: AttemptStatus) -> Answer:
        usage = self.end.get("usage")
        known = {f: usage.get(f) for f in Usage.__dataclass_fields__} if isinstance(usage, Mapping) else {}
        first_line_ns = self.first_line_ns
        if first_line_ns is None and status is AttemptStatus.OK:
            first_line_ns = self.end_ns
        return Answer(
            status=status,
            text="".join(self.parts),
            sent_ns=self.sent_ns,
            first_byte_ns=self.first_byte_ns,
            first_line_ns=first_line_ns,
            end_ns=self.end_ns or now_ns(),
            usage=Usage(**{name: value for name, value in known.items() if isinstance(value, int)}),
            finish_reason=_text(self.end.get("finish_reason")),
            model_returned=_text(self.end.get("model")),
            error_kind=self.error_kind,
            error=self.error,
        )


class CommandArm:
    """An arm behind a program of the user's own: `options.command`, a list of words; no shell is involved."""

    def __init__(self, definition: ArmDefinition, command: tuple[str, ...]) -> None:
        self._definition = definition
        self._command = command
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()

    @property
    def definition(self) -> ArmDefinition:
        return self._definition

    async def prepare(self, root: str | None) -> None:
        await self._running()

    async def answer(self, prompt: Prompt, *, deadline_s: float) -> Answer:
        loop = asyncio.get_running_loop()
        number = next(self._ids)
        pending = self._pending[number] = _Pending(loop.create_future(), now_ns())
        try:
            async with asyncio.timeout(deadline_s):
                process = await self._running()
                pending.sent_ns = now_ns()
                await self._send(process, self._request(number, prompt))
                await pending.done
        except TimeoutError:
            await self._cancel(number)
            pending.error_kind, pending.error = "deadline", f"No complete answer within {deadline_s:g} s."
            return pending.answer(AttemptStatus.TIMEOUT)
        except asyncio.CancelledError:
            await self._cancel(number)
            keep_partial(pending.answer(AttemptStatus.CANCELLED))
            raise
        except ArmError as fault:
            pending.fail("not_ready", str(fault))
        except (BrokenPipeError, ConnectionError):
            pending.fail("program_ended", f"{self._command[0]} ended.")
        finally:
            del self._pending[number]
        if pending.error_kind is not None:
            logger.info("arm %s: %s: %s", self._definition.label, pending.error_kind, pending.error)
            return pending.answer(AttemptStatus.ERROR)
        has_text = bool("".join(pending.parts).strip())
        return pending.answer(AttemptStatus.OK if has_text else AttemptStatus.EMPTY)

    async def aclose(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def _request(self, number: int, prompt: Prompt) -> Mapping[str, Any]:
        return {
            "id": number,
            "prefix": prompt.prefix,
            "suffix": prompt.suffix,
            "path": prompt.path,
            "language": prompt.language,
            "max_tokens": self._definition.max_tokens,
            "stops": list(self._definition.stops),
            "snippets": [{"path": s.path, "text": s.text} for s in prompt.snippets],
        }

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                try:
                    self._process = await asyncio.create_subprocess_exec(
                        *self._command,
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        stderr=asyncio.subprocess.PIPE,
                        limit=MAX_LINE_BYTES,
                    )
                except OSError as fault:
                    raise ArmError(
                        f"Cannot start {self._command[0]!r} of arm {self._definition.label}: {fault.strerror}. "
                        "Correct options.command, a list of words, the program first."
                    ) from fault
                self._readers = [reader for reader in self._readers if not reader.done()]
                self._readers += [
                    asyncio.create_task(self._read(self._process), name="command arm's answers"),
                    asyncio.create_task(self._log(self._process), name="command arm's log"),
                ]
            return self._process

    async def _send(self, process: asyncio.subprocess.Process, message: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()

    async def _cancel(self, number: int) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            with contextlib.suppress(ConnectionError):  # It ended by itself.
                process.stdin.write(json.dumps({"id": number, "cancel": True}).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        problem = ("program_ended", f"{self._command[0]} ended before it had answered.")
        try:
            while line := await process.stdout.readline():
                if line.strip():
                    self._take(line)
        except UnicodeDecodeError:
            problem = ("invalid_utf8", f"{self._command[0]} wrote a line that is not UTF-8.")
        except ValueError:
            # A line longer than the limit, or no JSON: what follows cannot be trusted to be whole lines.
            problem = ("bad_stream", f"{self._command[0]} wrote something that is not a line of JSON.")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
            for pending in list(self._pending.values()):
                pending.fail(*problem)

    def _take(self, line: bytes) -> None:
        message = json.loads(line.decode("utf-8"))
        if not isinstance(message, Mapping):
            raise ValueError("not an object")
        pending = self._pending.get(message.get("id", -1))
        if pending is None:
            return  # Given up since.
        if isinstance(text := message.get("text"), str) and text:
            pending.add(text)
        if message.get("error") is not None:
            pending.fail("program_error", str(message["error"]))
        elif message.get("done"):
            pending.end = message
            pending.finish()

    async def _log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with contextlib.suppress(ValueError):  # A line beyond the limit: no more logging from this run of it.
            while line := await process.stderr.readline():
                logger.info("%s: %s", self._command[0], redact(line.decode("utf-8", "replace")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
