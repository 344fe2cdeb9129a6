"""How pages print values: each figure with its unit, each time in UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STATUS = {0: "0 done", 1: "1 failed", 2: "2 wrong use", 3: "3 refused", 4: "4 inconclusive", 75: "75 another run works"}
UNKNOWN = "not known"
# How a list was chosen, and what the gate compares.
LISTS = {
    "known": "a list of their own",
    "fresh": "a list that follows what they have just watched or rated",
    "demographics": "popular films of the user's group",
    "popular": "popular films, for a user without a history",
    "seen_all": "popular films, for a user who has seen everything",
}
CHECKS = {
    "rmse": "RMSE below the limit",
    "bias": "no worse than means of users and films",
    "shuffled": "better than with shuffled ratings",
    "champion": "no worse than the recipe in service",
    "ranking": "lists no worse than those in service",
}


def number(value: float) -> str:
    """A whole number, or four digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{f'{100 * value:.2f}'.rstrip('0').rstrip('.')} %"


def score(value: float) -> str:
    """A metric such as RMSE."""
    return f"{value:.3f}"


def seconds(value: float) -> str:
    """A short time."""
    return f"{1000 * value:.3g} ms" if value < 1 else span(value)


def rate(value: float) -> str:
    """Events a second."""
    return f"{value:.3g} a second"


def size(value: float) -> str:
    """Bytes in their largest decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def span(value: float) -> str:
    """A duration in its two largest units."""
    left, parts = max(0, round(value)), list[str]()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def time(value: float) -> str:
    """A time in seconds since 1970, in UTC."""
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"


def status(value: float) -> str:
    """An exit status with its meaning."""
    return STATUS.get(int(value), f"{value:.0f}")


def list_name(step: str) -> str:
    """How a list was chosen, in words."""
    return LISTS.get(step, step)


def check_name(name: str) -> str:
    """A check of the gate, in words."""
    return CHECKS.get(name, name)


KINDS: dict[str, Callable[[float], str]] = {
    "number": number,
    "share": share,
    "score": score,
    "seconds": seconds,
    "rate": rate,
    "bytes": size,
    "time": time,
    "status": status,
    "span": span,
    "yes": lambda value: "yes" if value else "NO",
}


# Units of a release's measures.
UNITS: dict[str, Callable[[float], str]] = {
    "s": seconds,
    "share": share,
    "bytes": size,
    "ratio": lambda value: f"{number(value)} times",
}


def measured(value: float | None, unit: str) -> str:
    """A measure of a release in a unit that people read, such as ms for small values in `s`."""
    if value is None or not isfinite(value):
        return UNKNOWN
    return UNITS[unit](value) if unit in UNITS else f"{number(value)} {unit}".rstrip()


def printed(value: object, kind: str) -> str:
    """A value of a kind; `not known` for what is missing, no number, or beyond what a kind can print."""
    if not isinstance(value, int | float) or not isfinite(value):
        return UNKNOWN
    try:
        return KINDS[kind](value)
    except (OverflowError, OSError, ValueError):
        return UNKNOWN
