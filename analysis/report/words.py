"""Numbers as people read them. Unknown is a word, never a zero or a dash that could be one."""

from collections.abc import Mapping
from typing import Any

__all__ = ["UNKNOWN", "count", "effect", "interval", "ms", "percent", "plural", "quantile", "signed", "usd"]

UNKNOWN = "unknown"


def count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def percent(value: float | None, digits: int = 0) -> str:
    return UNKNOWN if value is None else f"{value * 100:.{digits}f}%"


def ms(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.1f} ms" if value < 10 else f"{value:,.0f} ms"


def usd(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    if value == 0:
        return "$0"
    if abs(value) < 0.01:
        return f"${value:.5f}".rstrip("0")
    return f"${value:,.4f}" if abs(value) < 1 else f"${value:,.2f}"


def signed(value: float | None, scale: float = 1.0) -> str:
    return UNKNOWN if value is None else f"{value * scale:+z.1f}"


def interval(found: Mapping[str, Any] | None, scale: float, unit: str) -> str:
    """For example `+3.1 points (1.2 to 5.0)`."""
    if found is None:
        return UNKNOWN
    return (
        f"{signed(found['estimate'], scale)} {unit} ({signed(found['low'], scale)} to {signed(found['high'], scale)})"
    )


def effect(value: float | None, unit: str, scale: float) -> str:
    """One arm's mean in the metric's own unit."""
    if value is None:
        return UNKNOWN
    return f"{value * scale:.1f}%" if unit == "points" else f"{value * scale:.1f}"


def quantile(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return UNKNOWN
    low, high = ("?" if found[side] is None else f"{found[side]:,.0f}" for side in ("low", "high"))
    return f"{ms(found['value'])} ({low} to {high})"
