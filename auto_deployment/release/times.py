"""Times as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(seconds: float) -> str:
    """A time in seconds since 1970, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def minutes_of(seconds: float) -> str:
    """How long: seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
