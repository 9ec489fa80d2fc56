"""The relay: two pumps and a loop between an editor, its language server and the evaluator.

The pumps' threads carry the traffic and ask the doors (doors.py) about each message; the main thread runs the loop: the
evaluator's answers, deadlines, processes, the pause file. Whatever fails here, the rule is the same: the bytes that
came go on as they came.
"""

import contextlib
import gc
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lsp_proxy.relay import rewrite
from lsp_proxy.relay.doors import EditorDoor, ServerDoor, delivered
from lsp_proxy.relay.frames import FrameError, FrameReader, encode, id_key, peek
from lsp_proxy.relay.ledger import BYPASSED, NOTHING, UNMERGEABLE, Ledger, Settled
from lsp_proxy.relay.link import Link
from lsp_proxy.relay.main import Options, start_server
from lsp_proxy.relay.pump import Outlet, Pump, widen, write_all
from lsp_proxy.relay.revive import RESTARTS, Revival
from lsp_proxy.relay.state import StateFile, is_paused, runtime_dir
from lsp_proxy.relay.supervise import Evaluator

__all__ = ["Relay"]

MS = 1_000_000
SECOND = 1_000_000_000

MERGE_BUDGET_NS = 20 * MS
"""How long a completion answer may wait for a suggestion, until the evaluator has read what codetrial.toml says."""
INLINE_DEADLINE_NS = 5 * SECOND
TICK_NS = SECOND // 2
"""A pause takes effect within a second."""
GRACE_NS = 5 * SECOND
"""A server whose editor has vanished may take so long to end by itself: it first answers what it has read."""
FORCE_AFTER_S = 2.0
"""One that was signalled gets the next signal after that."""
GRACE_AFTER_EXIT_NS = 10 * SECOND
"""One that was asked to exit may write its caches."""
DRAIN_S = 1.0
"""A dead server's last bytes may come from the pipe for so long; a grandchild that keeps it open does not keep us."""
FAULTS_TO_BYPASS = 3
FAULTS_WITHIN_NS = 60 * SECOND
SLOW_HOOK_NS = 50 * MS
"""Of processor time: a hook above it counts as a fault, for the editor waited."""

ERROR, WARNING, INFO, LOG = 1, 2, 3, 4
LEVELS = {"error": ERROR, "warning": WARNING, "info": INFO, "log": LOG}

_T = TypeVar("_T")


class Relay:
    """One session of one editor with one language server."""

    def __init__(self, options: Options, server: int, to_server: int, from_server: int) -> None:
        self.options = options
        self.session = os.urandom(13).hex()
        self.server_pid = server
        self._from_server = from_server
        self.ledger = Ledger()
        self.link = Link()
        self.evaluator = Evaluator(options, self.session)
        self.to_editor = Outlet(1)
        self.to_server = Outlet(to_server, outlives=options.restart)
        self._editor_pump = Pump(0, self.to_server, EditorDoor(self))
        self.revival = Revival() if options.restart else None
        self._server_thread: threading.Thread | None = None
        self._new_server: int | None = None
        """The pipe to a server that has been started again and has not answered `initialize` yet."""
        self.is_replaying = False
        self.is_replayed = False
        """The new server has answered `initialize`."""
        self._runtime_dir = runtime_dir()
        self._state = StateFile(self._runtime_dir)

        self.editor = rewrite.ClientAbilities(has_inline=False, has_commands=False, name=None)
        self.initialize_key: bytes | None = None
        """The id of an `initialize` that the server has not answered."""
        self.is_initialized = False
        """The server's answer has gone to the editor."""
        self.may_tell = False
        """The editor has said `initialized`: it can show messages now."""
        self.command: str | None = None
        """Our own, by which an editor confirms an acceptance; unique, because editors register commands globally."""
        self.surface = options.surface
        self.has_announced_inline = False
        self.server_inline: set[str] = set()
        """Registrations by which the server has taken inline completions over since: they are its own then."""
        self.encoding = "utf-16"
        self.server_info: dict[str, Any] = {}
        self.merge_budget_ns = MERGE_BUDGET_NS
        self.inline_deadline_ns = INLINE_DEADLINE_NS
        self.is_paused = False
        self.is_bypassed = False
        self.has_exited = False
        """The editor has sent `exit`."""

        self._asked_ns: int | None = None
        """When the evaluator was asked something, if nothing has come from it since."""
        self._has_spoken = False
        """It answers `initialize` first of all; on a busy machine its imports alone may take longer than a deadline."""
        self._faults: list[int] = []
        self._told: set[str] = set()
        self._has_told_end = False
        self._untold: list[tuple[int, str]] = []
        self._reader = FrameReader()
        self._end_ns: int | None = None
        """When the server is to be ended because its editor is gone."""
        self._signals_sent = 0
        self._next_tick_ns = 0
        self._watches_write = False
        self._started_ns = time.monotonic_ns()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    # The loop

    def run(self) -> int:
        """Carry traffic until the server ends; returns (or dies with) the status that it ended with."""
        self._take_signals()
        from_editor = threading.Thread(target=self._carry_to_server, daemon=True)
        from_editor.start()
        self._listen_to_server()
        widen(1)
        gc.freeze()
        status = self._loop()
        self._drain()
        self._release()
        self._leave()
        return _end_like(status)

    def _listen_to_server(self) -> None:
        self._server_thread = threading.Thread(target=self._carry_to_editor, args=(self._from_server,), daemon=True)
        self._server_thread.start()
        widen(self._from_server)

    def _drain(self) -> None:
        if self._server_thread is not None:
            self._server_thread.join(DRAIN_S)

    def _loop(self) -> int:
        while True:
            if (status := self._server_status()) is not None and not self._revive(status):
                return status
            try:
                self._turn()
            except Exception as fault:
                self.fault(fault)

    def _turn(self) -> None:
        now = time.monotonic_ns()
        if now >= self._next_tick_ns:
            self._next_tick_ns = now + TICK_NS
            self._tick()
        self._supervise(now)
        if self.is_replayed:
            self._finish_replay()
        for settled in self.ledger.overdue(now):
            self.carry_out(settled)
        self._wait(now)

    def _wait(self, now: int) -> None:
        """Sleep until something happens or is due."""
        due = [self._next_tick_ns, self.ledger.next_due_ns(), self._end_ns]
        if self.is_initialized:
            due.append(self.evaluator.due_ns)
        timeout_ns = max(0, min(at for at in due if at is not None) - time.monotonic_ns())
        connection = self.evaluator.connection
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        if connection is not None:
            self._watches_write = self.link.wants_write
            poll.register(connection, select.POLLIN | (select.POLLOUT if self._watches_write else 0))
        # Rounded up: waking before something is due would only mean another turn.
        events = dict(poll.poll(-(-timeout_ns // MS)))
        self._watches_write = False
        if self._wake_in in events:
            _empty(self._wake_in)
        if connection is None or not (event := events.get(connection.fileno(), 0)):
            return
        if event & select.POLLOUT:
            self.link.flush()
        if event & ~select.POLLOUT:
            self._read_evaluator()

    def wake(self) -> None:
        """Let the loop look again: something is due sooner than it knows, or the link has something to write."""
        with contextlib.suppress(OSError):  # Full: it is awake already.
            os.write(self._wake_out, b"x")

    def _tick(self) -> None:
        paused = is_paused(self._runtime_dir)
        if paused != self.is_paused:
            self.is_paused = paused
            self.offer(rewrite.notification("codetrial/paused", {"paused": paused}))
        self.link.settle()
        if self.is_initialized:
            self._write_state()

    def _write_state(self) -> None:
        self._state.write(
            server=self.options.server,
            server_name=self.server_info.get("name"),
            editor=self.editor.name,
            root=os.getcwd(),
            session=self.session,
            origin=self.options.origin,
            surface=self.surface,
            is_paused=self.is_paused,
            is_bypassed=self.is_bypassed,
            evaluator_pid=self.evaluator.pid,
            evaluator_starts=self.evaluator.generation,
            is_evaluator_silent=self.is_silent(),
            started_epoch_s=int(time.time() - (time.monotonic_ns() - self._started_ns) / SECOND),
        )

    # The language server and the editor

    def _carry_to_server(self) -> None:
        try:
            self._editor_pump.run()
        except OSError:
            # The server does not read any more: the editor shall see what it would see without us.
            os.close(0)
        self.to_server.close()
        self._end_ns = time.monotonic_ns() + (GRACE_AFTER_EXIT_NS if self.has_exited else GRACE_NS)
        self.wake()

    def _carry_to_editor(self, from_server: int) -> None:
        pump = Pump(from_server, self.to_editor, ServerDoor(self), drops_partial=self.revival is not None)
        try:
            pump.run()
        except OSError:
            self._end_ns = time.monotonic_ns() + GRACE_NS
        else:
            self._release()
        os.close(from_server)
        if self.revival is None:
            self.to_editor.close()
        self.wake()

    def _revive(self, status: int) -> bool:
        """Start a server again that ended without being asked to; False if this is the end."""
        revival = self.revival
        is_wanted = self.is_initialized and not self.has_exited and self._end_ns is None
        if revival is None or not is_wanted or revival.count >= RESTARTS:
            return False
        self.to_server.suspend()
        self._drain()
        if self.to_editor.is_inside_frame:
            return False  # Half an answer has gone out; nothing that we could send would fit behind it.
        # Until the editor's pump stands still, a change may have been sent and not yet been mirrored.
        end = time.monotonic() + DRAIN_S
        while not (self._editor_pump.is_idle or self.to_server.is_blocked) and time.monotonic() < end:
            time.sleep(0.001)
        if self.has_exited:
            return False  # It was asked to end after all, a moment ago.
        self._release()
        self.to_editor.inject(revival.last_will())
        self.server_inline.clear()
        try:
            self.server_pid, to_server, self._from_server = start_server(self.options.server)
        except OSError:
            return False
        if self._new_server is not None:
            os.close(self._new_server)
        self._new_server = to_server
        self.is_replaying = True
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        self.tell(WARNING, f"The language server ended ({how}); codetrial has started it again.")
        [initialize, *_] = self.link.opening()
        self.initialize_key = id_key(peek(initialize).id or b"")
        self._listen_to_server()
        with contextlib.suppress(OSError):  # It has ended again: the loop will see.
            write_all(to_server, encode(initialize))
        return True

    def _finish_replay(self) -> None:
        """The new server has answered `initialize`: give it all that the old one knew, and let the traffic go on."""
        self.is_replayed = self.is_replaying = False
        bodies = self.link.opening()[1:]
        cells: dict[str, dict[str, Any]] = {item["uri"]: item for item in self.link.text_documents()}
        for notebook in self.link.open_notebooks():
            own = [cells.pop(c["document"]) for c in notebook.get("cells", ()) if c["document"] in cells]
            opened = {"notebookDocument": notebook, "cellTextDocuments": own}
            bodies.append(rewrite.notification("notebookDocument/didOpen", opened))
        bodies += [rewrite.notification("textDocument/didOpen", {"textDocument": item}) for item in cells.values()]
        if self._new_server is not None:
            to_server, self._new_server = self._new_server, None
            with contextlib.suppress(OSError):  # It has ended again: the loop will see.
                self.to_server.resume(to_server, b"".join(map(encode, bodies)))

    def _server_status(self) -> int | None:
        try:
            pid, status = os.waitpid(self.server_pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status) if pid else None

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)

    def _on_stop(self, number: int, _frame: object) -> None:
        # In a thread: the main one may be stuck in a write to an editor that does not read.
        threading.Thread(target=self._stop_server, args=(number,), daemon=True).start()

    def _stop_server(self, number: int) -> None:
        """End the server as the signal would have ended it, then with more force."""
        for force in (number, signal.SIGTERM, signal.SIGKILL):
            self._signal_server(force)
            time.sleep(FORCE_AFTER_S)
        os._exit(128 + number)

    def _signal_server(self, number: int) -> None:
        with contextlib.suppress(OSError):  # It has ended.
            os.kill(self.server_pid, number)

    def _leave(self) -> None:
        self._state.remove()
        self.evaluator.reap()
        if self.evaluator.is_stopped:
            self.evaluator.kill()  # Nobody else would ever wake it.

    # The evaluator

    def _supervise(self, now: int) -> None:
        if self._end_ns is not None and now >= self._end_ns:
            self._signal_server(signal.SIGKILL if self._signals_sent else signal.SIGTERM)
            self._signals_sent += 1
            self._end_ns = now + SECOND
        if (ended := self.evaluator.reap()) is not None:
            self._evaluator_ended(ended.how)
        if self.evaluator.is_stopped and len(self.ledger):
            self._release()
        is_due = self.evaluator.due_ns is not None and now >= self.evaluator.due_ns
        is_first = self.is_initialized and self.evaluator.generation == 0 and self.evaluator.due_ns is None
        if self.is_initialized and not self.is_bypassed and self._end_ns is None and (is_due or is_first):
            self._start_evaluator()

    def _start_evaluator(self) -> None:
        try:
            connection = self.evaluator.start()
        except (OSError, ValueError) as fault:
            self.evaluator.generation += 1
            self.tell(WARNING, f"codetrial cannot start its evaluator ({fault}). Your language server is not affected.")
            return
        self._reader = FrameReader()
        self._asked_ns = None
        self._has_spoken = False
        self.ledger.waits = True
        self.link.attach(connection, rewrite.notification("codetrial/session", self._session()))
        if self.is_paused:
            self.offer(rewrite.notification("codetrial/paused", {"paused": True}))
        self._write_state()

    def _session(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "generation": self.evaluator.generation,
            "origin": self.options.origin,
            "acceptCommand": self.command,
            "surface": self.surface,
            "positionEncoding": self.encoding,
            "serverName": self.server_info.get("name"),
            "serverVersion": self.server_info.get("version"),
            "startedNs": self._started_ns,
            "restarts": self.evaluator.generation - 1,
        }

    def _evaluator_ended(self, how: str) -> None:
        self.link.detach()
        self._release()
        if self.has_exited:
            return
        again = "It is started again" if self.evaluator.due_ns is not None else "It is not started again"
        message = f"codetrial's evaluator ended ({how}). {again}; your language server is not affected."
        # One message a session: the person can do nothing about the second one.
        self.tell(LOG if self._has_told_end else WARNING, message)
        self._has_told_end = True

    def _read_evaluator(self) -> None:
        connection = self.evaluator.connection
        if connection is None:
            return
        try:
            chunk = connection.recv(1 << 16)
            bodies = self._reader.feed(chunk)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            chunk, bodies = b"", []
        if not chunk:
            # Its end of the link is closed or unreadable: as good as dead.
            self.evaluator.connection = None
            self.link.detach()
            self.evaluator.kill()
            return
        self._asked_ns = None
        self._has_spoken = True
        for body in bodies:
            try:
                self._hear(body)
            except Exception as fault:
                self.fault(fault)

    def _hear(self, body: bytes) -> None:
        """One message of the evaluator."""
        head = peek(body)
        if head.method == "codetrial/settings":
            self._apply_settings(rewrite.params_of(body))
        elif head.method == "codetrial/notice":
            params = rewrite.params_of(body)
            self.tell(LEVELS.get(str(params.get("level")), LOG), str(params["message"]))
        elif head.method == "codetrial/later":
            token = rewrite.named_id(body)
            if token is not None and (settled := self.ledger.evaluator_is_late(token)) is not None:
                self.carry_out(settled)
        elif head.method == "codetrial/ready":
            self.ledger.waits = True
        elif head.method is None and head.id is not None and head.id in self.ledger:
            self._hear_answer(head.id, body)

    def _hear_answer(self, token: bytes, body: bytes) -> None:
        try:
            if self.ledger.is_inline(token):
                settled = self.ledger.evaluator_answers_inline(token, rewrite.inline_offer_of(body))
            else:
                settled = self.ledger.evaluator_offers_menu(token, rewrite.offer_of(body))
            wrong = None
        except (ValueError, KeyError, AttributeError, RecursionError) as fault:
            settled, wrong = self.ledger.forget(token, UNMERGEABLE), fault
        if settled is not None:
            self.carry_out(settled)
        if wrong is not None:
            self.fault(wrong)

    def _apply_settings(self, params: dict[str, Any]) -> None:
        if self.options.surface == "auto" and (surface := params.get("surface")) in ("inline", "menu", "none"):
            self.surface = surface
        for name in ("mergeBudgetMs", "inlineDeadlineMs"):
            value = params.get(name)
            if isinstance(value, int | float) and 0 <= value <= 60_000:
                if name == "mergeBudgetMs":
                    self.merge_budget_ns = int(value * MS)
                else:
                    self.inline_deadline_ns = int(value * MS)

    # What the doors use

    def is_silent(self) -> bool:
        """Whether nobody waits for the evaluator: it has not spoken since it started, or let a whole deadline pass."""
        asked = self._asked_ns
        return (
            not self._has_spoken
            or self.evaluator.is_stopped
            or (asked is not None and time.monotonic_ns() - asked > self.inline_deadline_ns)
        )

    @property
    def answers_inline(self) -> bool:
        """Whether inline completions are answered here, and the server knows nothing of them."""
        return self.has_announced_inline and not self.server_inline

    def may_offer(self, surface: str) -> bool:
        """Whether a suggestion could be offered on this surface now."""
        return (
            self.surface == surface
            and self.link.is_open
            and not self.is_paused
            and not self.is_bypassed
            and not self.is_silent()
        )

    def offer(self, body: bytes, *, is_question: bool = False) -> bool:
        """Copy a message to the evaluator."""
        is_taken = self.link.offer(body)
        if is_taken and is_question and self._asked_ns is None:
            self._asked_ns = time.monotonic_ns()
        self.wake_for_link()
        return is_taken

    def wake_for_link(self) -> None:
        if self.link.wants_write and not self._watches_write:
            self.wake()

    def carry_out(self, settled: Settled) -> None:
        """Send the editor what an entry ended with, and tell the evaluator what became of its answer."""
        if settled.frame:
            try:
                self.to_editor.inject(settled.frame)
            except OSError:
                return  # The editor is gone; the pumps find out by themselves.
        if settled.reason != NOTHING:
            self.offer(delivered(settled))

    def _release(self) -> None:
        """Let go of everything that waits for the evaluator."""
        for settled in self.ledger.release_all(BYPASSED):
            self.carry_out(settled)

    def tell(self, level: int, message: str) -> None:
        """Say something to the person, once a session; `LOG` goes where only the curious look."""
        if message in self._told:
            return
        self._told.add(message)
        if not self.may_tell:
            self._untold.append((level, message))
            return
        method = "window/logMessage" if level == LOG else "window/showMessage"
        with contextlib.suppress(OSError):  # Nobody is there to be told.
            self.to_editor.inject(encode(rewrite.notification(method, {"type": level, "message": message})))

    def tell_pending(self) -> None:
        """The editor can show messages from now on."""
        self.may_tell = True
        untold, self._untold = self._untold, []
        for level, message in untold:
            self._told.discard(message)
            self.tell(level, message)

    def fault(self, fault: Exception) -> None:
        """Count a fault of ours; too many, and for the rest of the session we only carry bytes."""
        now = time.monotonic_ns()
        self._faults = [at for at in self._faults if now - at < FAULTS_WITHIN_NS] + [now]
        if len(self._faults) >= FAULTS_TO_BYPASS:
            self.bypass(f"{type(fault).__name__}: {fault}")

    def bypass(self, why: str) -> None:
        """Carry bytes and nothing else from now on."""
        if self.is_bypassed:
            return
        self.is_bypassed = True
        self._release()
        self.tell(LOG, f"codetrial has switched itself off for this session ({why}). Nothing else changes.")

    def guarded(self, hook: Callable[[], _T], otherwise: _T) -> _T:
        """Run a hook of a door; whatever it does, the traffic goes on."""
        began = time.thread_time_ns()
        try:
            return hook()
        except Exception as fault:
            self.fault(fault)
            return otherwise
        finally:
            if time.thread_time_ns() - began > SLOW_HOOK_NS:
                self.fault(TimeoutError("looking at a message took more than 50 ms"))


def _empty(fd: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(fd, 4096):
            pass


def _end_like(status: int) -> int:
    """Leave as the server left, with its status or by its signal; threads that wait for the editor do not keep us."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # The dump would be of the wrong program.
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)
