"""What the running proxies say about themselves, and the switch that silences them all.

The proxies look at these files by themselves (`lsp_proxy.relay.state`): nothing here talks to a process.
"""

import json
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codetrial.errors import ConfigError, ProxyError
from codetrial.paths import runtime_dir

__all__ = ["Pause", "Proxy", "pause", "paused", "proxies", "read_duration", "resume"]

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running `codetrial lsp`, as it described itself last."""

    pid: int
    editor: str | None
    server: str
    root: str
    surface: str
    is_paused: bool
    is_bypassed: bool
    is_evaluator_silent: bool
    evaluator_starts: int
    started_at: datetime

    @property
    def state(self) -> str:
        if self.is_bypassed:
            return "passing through only: an internal fault switched it off for this session"
        if self.is_paused:
            return "paused"
        if self.is_evaluator_silent:
            return "waiting for the evaluator"
        return {"inline": "suggests in the text", "menu": "suggests in the menu"}.get(self.surface, "records only")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    until: datetime | None
    """None: until somebody resumes."""


def proxies() -> list[Proxy]:
    """Those that run, oldest first. Files of dead ones are left alone: reading must not write."""
    found = []
    for path in sorted((runtime_dir() / "proxies").glob("*.json")):
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            os.kill(int(content["pid"]), 0)
            found.append(_proxy(content))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Ended, or being written: it is not there for us.
    return sorted(found, key=lambda proxy: proxy.started_at)


def _proxy(content: dict[str, Any]) -> Proxy:
    server = content.get("server") or []
    return Proxy(
        pid=int(content["pid"]),
        editor=content.get("editor"),
        server=content.get("server_name") or (Path(server[0]).name if server else "none (suggestions only)"),
        root=content.get("root", ""),
        surface=content.get("surface", "none"),
        is_paused=bool(content.get("is_paused")),
        is_bypassed=bool(content.get("is_bypassed")),
        is_evaluator_silent=bool(content.get("is_evaluator_silent")),
        evaluator_starts=int(content.get("evaluator_starts") or 0),
        started_at=datetime.fromtimestamp(content.get("started_epoch_s", 0), UTC),
    )


def paused() -> Pause | None:
    """The pause that holds now."""
    try:
        until = json.loads(_switch().read_text(encoding="utf-8"))["until"]
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        return Pause(until=None)  # As the proxies read it: something was asked.
    if until is not None and until <= time.time():
        return None
    return Pause(until=None if until is None else datetime.fromtimestamp(until, UTC))


def pause(for_s: float | None) -> Pause:
    """Silence all proxies of this user within a second, those that start later too.

    Raises:
        ProxyError: the runtime folder cannot be written.
    """
    until = None if for_s is None else time.time() + for_s
    path = _switch()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"until": until}), encoding="utf-8")
        draft.replace(path)
    except OSError as fault:
        raise ProxyError(f"Cannot write {path}: {fault.strerror}. Set CODETRIAL_RUNTIME_DIR.") from fault
    return Pause(until=None if until is None else datetime.fromtimestamp(until, UTC))


def resume() -> bool:
    """Let suggestions appear again; False if nothing was paused."""
    was_paused = paused() is not None
    try:
        _switch().unlink(missing_ok=True)
    except OSError as fault:
        raise ProxyError(f"Cannot remove {_switch()}: {fault.strerror}. Delete it by hand.") from fault
    return was_paused


def read_duration(text: str) -> float:
    """Seconds in `90s`, `30m`, `1h`, `2d` or `1h30m`.

    Raises:
        ConfigError: it is none of these.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ConfigError(f"{text!r} is no length of time: write 30m, 1h or 1h30m.")
    return sum(float(number) * UNITS_S[unit] for number, unit in parts)


def _switch() -> Path:
    return runtime_dir() / "paused.json"
