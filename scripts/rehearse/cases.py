"""The cases of a rehearsal: the version's faults, what happens during its release, and the expected ending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATE = 120.0


@dataclass(frozen=True)
class Case:
    """One release.

    `faults` are environment variables of faulty.py. `rate`: visits a second. `action` names a function of actions.py.
    `options` are those of the release command, `settings` its environment variables. `expected` is the last ending in the
    words of `status`; `earlier` has the endings before it.
    """

    name: str
    description: str
    expected: str
    faults: Mapping[str, str] = field(default_factory=dict)
    rate: float = RATE
    action: str = "release"
    options: tuple[str, ...] = ("--no-shadow",)
    settings: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    @property
    def endings(self) -> tuple[str, ...]:
        """The expected endings of the case's releases, in order."""
        return (*self.earlier, self.expected)


# The faults begin after the warm-up, so that only the bake can find them.
LATER = {"FAULT_AFTER_SECONDS": "20"}
# The test needs some 10,000 tries at the canary to find 1 % of errors.
THIN = {"CANARY_BAKE_MINUTES": "10", "CANARY_MAX_BAKE_MINUTES": "14"}
BRIEF = {"CANARY_MAX_BAKE_MINUTES": "1"}
CASES = (
    Case("good", "a good version", "promoted", options=()),
    Case("slow", "slower than 500 ms", "aborted", {**LATER, "FAULT_SECONDS": "0.7"}, rate=40),
    Case("slower", "slower than stable, under 500 ms", "aborted", {**LATER, "FAULT_SECONDS": "0.03"}),
    Case("errors-1", "1 % of the answers are errors", "aborted", {**LATER, "FAULT_ERROR_SHARE": "0.01"}, settings=THIN),
    Case("errors-20", "20 % of the answers are errors", "aborted", {**LATER, "FAULT_ERROR_SHARE": "0.2"}),
    Case("crash", "the service dies every 8 seconds", "aborted", {"FAULT_DIES_SECONDS": "8"}),
    Case("worker-crash", "workers are killed, the master process lives", "aborted", {**LATER, "FAULT_WORKER_ANSWERS": "50"}),
    Case("unhealthy", "the service never becomes healthy", "aborted", {"FAULT_START": "1"}),
    Case("cut-model", "a file of the model is truncated", "failed", action="cut_model"),
    Case("shadow", "20 % errors, found by the shadow", "refused", {"FAULT_ERROR_SHARE": "0.2"}, options=()),
    Case("no-traffic", "no requests", "inconclusive", rate=0, settings=BRIEF),
    Case("prometheus-away", "Prometheus is stopped for half the bake", "promoted", action="without_prometheus"),
    Case("killed", "the controller is killed at every step", "promoted", action="killed_at_every_step", options=()),
    Case("newer", "a newer version arrives during the bake", "promoted", action="superseded", earlier=("superseded",)),
    Case("rollback", "rollback to the version before", "rolled back", action="rolled_back"),
)


def wrong_endings(case: Case, endings: Sequence[str]) -> str:
    """The difference between a case's actual and expected endings; empty where they agree."""
    if tuple(endings) == case.endings:
        return ""
    return f"{', '.join(endings) or 'no end'} instead of {', '.join(case.endings)}"


def select_cases(names: list[str]) -> list[Case]:
    """The cases of these names; every case if `names` is empty. Raises KeyError with the first unknown name."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names] if names else list(CASES)
