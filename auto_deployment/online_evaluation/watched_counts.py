"""Who watched what they were shown in a bake, as telemetry counts it and as the evidence keeps it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

# Users by the time of their first answer: what moves in time is met by both sides alike.
BIN_MINUTES = 10
# A film counts as watched when it begins this soon after the answer.
WATCHED_MINUTES = 60.0


@dataclass(frozen=True)
class Watched:
    """What telemetry knows of a bake: in each bin of time users and those who watched, the canary's and stable's.

    `until`: the last answer that is old enough, as the stream tells times; `state`: of what it was made; `problem`: why
    nothing more is known.
    """

    users: tuple[int, ...] = ()
    hits: tuple[int, ...] = ()
    base_users: tuple[int, ...] = ()
    base_hits: tuple[int, ...] = ()
    until: str = ""
    state: str = ""
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        return cls(**values)
