"""The errors that can end a run, each with its exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunError(Exception):
    """A run cannot continue. The message is one readable line with what to do."""

    status = 1


class WrongUseError(RunError):
    """Arguments or settings that cannot be used."""

    status = 2


class RefusedError(RunError):
    """The data check or the gate refuses. `metrics` are the checked values by name, `limit` is the limit that they failed."""

    status = 3

    def __init__(self, text: str, metrics: Mapping[str, float] | None = None, limit: float | str = "none") -> None:
        super().__init__(text)
        self.metrics = dict(metrics or {})
        self.limit = limit


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)
