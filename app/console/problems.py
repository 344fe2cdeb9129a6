"""What a page shows where a source gives nothing: what is missing, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ProblemError(Exception):
    """A source gives nothing. `action` says what to do."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.message = message
        self.action = action


class Found(NamedTuple, Generic[T]):
    """A value, or the problem in place of it."""

    value: T | None
    problem: ProblemError | None = None


def attempt(read: Callable[[], T]) -> Found[T]:
    """What `read` returns, or its problem: one missing source must not empty a page."""
    try:
        return Found(read())
    except ProblemError as problem:
        return Found(None, problem)
