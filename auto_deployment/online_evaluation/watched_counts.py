"""The users of a bake who watched a film of their answer, as the telemetry counts them and the evidence keeps them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Users are grouped by the time of their first answer, so that both tracks meet the same changes over time.
BIN_MINUTES = 10
# A film counts as watched when it begins this soon after the answer.
WATCHED_MINUTES = 60.0


@dataclass(frozen=True)
class WatchedCounts:
    """Users and watching users (`hits`) of the canary in each bin of time; `base_users` and `base_hits` are those of stable.

    `until` is the time of the last answer that is old enough, in the stream's time. `state` is a checksum of the data.
    `problem` says why nothing more is known.
    """

    users: tuple[int, ...] = ()
    hits: tuple[int, ...] = ()
    base_users: tuple[int, ...] = ()
    base_hits: tuple[int, ...] = ()
    until: str = ""
    state: str = ""
    problem: str = ""
