"""What happens to an installation while it makes a version, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

FORTNIGHT = 7  # versions, of two days each
# How many versions of a fortnight in a row are made without them.
OUTAGES = {"git": 2, "dvc": 1, "database": 3}


@dataclass
class Troubles:
    """The troubles of one version. The kills come before the run that makes the version."""

    version: int
    kills: int = 0
    collected_before: bool = False
    away: set[str] = field(default_factory=set)
    full_disk: bool = False

    @property
    def in_one_run(self) -> bool:
        """Whether one run does all the work of the version, and of no other one."""
        return not (self.kills or self.collected_before or self.remote_away or self.full_disk)

    @property
    def remote_away(self) -> bool:
        """Whether no push can succeed."""
        return bool(self.away & {"git", "dvc"})

    def __str__(self) -> str:
        others = {f"{self.kills} kills": self.kills, "collected before": self.collected_before, "full disk": self.full_disk}
        return ", ".join([*(f"no {name}" for name in sorted(self.away)), *(name for name, is_so in others.items() if is_so)])


def draw(versions: int, chance: Random) -> list[Troubles]:
    """The troubles of each version, from version 1 on: all kinds in every other fortnight, and one disk that fills."""
    drawn = [Troubles(number) for number in range(1, versions + 1)]
    for begin in range(0, versions, 2 * FORTNIGHT):
        _trouble(drawn[begin : begin + FORTNIGHT], chance)
    drawn[versions // 2].full_disk = True
    return drawn


def _trouble(fortnight: list[Troubles], chance: Random) -> None:
    for troubles in chance.sample(fortnight, min(2, len(fortnight))):
        troubles.kills = chance.randint(1, 2)
    for troubles in chance.sample(fortnight, min(2, len(fortnight))):
        troubles.collected_before = True
    for name, length in OUTAGES.items():
        begin = chance.randrange(max(1, len(fortnight) - length + 1))
        for troubles in fortnight[begin : begin + length]:
            troubles.away.add(name)
