"""The cases of a rehearsal: what is wrong with the version, what happens meanwhile, and how it has to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATE = 120.0


@dataclass(frozen=True)
class Case:
    """One release.

    `faults` are the service's (see faulty.py), `rate` visits a second, `act` what happens meanwhile (see acts.py), `options`
    of the command, `settings` of the release. `expected` is the last ending as status tells it, `earlier` are those before it.
    """

    name: str
    told: str
    expected: str
    faults: Mapping[str, str] = field(default_factory=dict)
    rate: float = RATE
    act: str = "release"
    options: tuple[str, ...] = ("--no-shadow",)
    settings: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    @property
    def endings(self) -> tuple[str, ...]:
        """How its releases end, in order."""
        return (*self.earlier, self.expected)


# Long enough for the warm-up to find nothing.
LATER = {"FAULT_AFTER_SECONDS": "20"}
# 1 % of errors takes some 10,000 tries at the canary to be sure of.
THIN = {"CANARY_BAKE_MINUTES": "10", "CANARY_MAX_BAKE_MINUTES": "14"}
BRIEF = {"CANARY_MAX_BAKE_MINUTES": "1"}
CASES = (
    Case("good", "a good version", "promoted", options=()),
    Case("slow", "slower than 500 ms", "aborted", {**LATER, "FAULT_SECONDS": "0.7"}, rate=40),
    Case("slower", "slower than stable, under 500 ms", "aborted", {**LATER, "FAULT_SECONDS": "0.03"}),
    Case("errors-1", "1 % of its answers are errors", "aborted", {**LATER, "FAULT_ERROR_SHARE": "0.01"}, settings=THIN),
    Case("errors-20", "20 % of its answers are errors", "aborted", {**LATER, "FAULT_ERROR_SHARE": "0.2"}),
    Case("crash", "it dies every 8 seconds", "aborted", {"FAULT_DIES_SECONDS": "8"}),
    Case("worker-crash", "its workers are killed, its master lives", "aborted", {**LATER, "FAULT_WORKER_ANSWERS": "50"}),
    Case("unhealthy", "it never gets healthy", "aborted", {"FAULT_START": "1"}),
    Case("cut-model", "its model is cut", "failed", act="cut_model"),
    Case("shadow", "the shadow finds its errors", "refused", {"FAULT_ERROR_SHARE": "0.2"}, options=()),
    Case("no-traffic", "nobody asks", "inconclusive", rate=0, settings=BRIEF),
    Case("prometheus-away", "Prometheus is away for half the bake", "promoted", act="without_prometheus"),
    Case("killed", "the controller is killed at every step", "promoted", act="killed_at_every_step", options=()),
    Case("newer", "a newer version comes during the bake", "promoted", act="superseded", earlier=("superseded",)),
    Case("rollback", "back to the version before", "rolled back", act="rolled_back"),
)


def wrong_endings(case: Case, endings: Sequence[str]) -> str:
    """What is wrong with how a case's releases ended; empty where nothing is."""
    if tuple(endings) == case.endings:
        return ""
    return f"{', '.join(endings) or 'no end'} instead of {', '.join(case.endings)}"


def chosen(names: list[str]) -> list[Case]:
    """The cases of these names, all where none is named. Raises KeyError with the first name that there is none of."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names] if names else list(CASES)
