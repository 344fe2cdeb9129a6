"""What is drawn for the versions of a soak."""

from __future__ import annotations

from random import Random

import pytest

from tests.soak.troubles import FORTNIGHT, OUTAGES, draw


@pytest.mark.parametrize("seed", range(50))
def test_a_fortnight_has_troubles_of_every_kind(seed: int) -> None:
    """Two versions with kills, two that are collected before, all outages, and a full disk."""
    drawn = draw(FORTNIGHT, Random(seed))
    assert [troubles.version for troubles in drawn] == list(range(1, FORTNIGHT + 1))
    assert sum(troubles.kills > 0 for troubles in drawn) == 2
    assert sum(troubles.collected_before for troubles in drawn) == 2
    assert sum(troubles.full_disk for troubles in drawn) == 1
    for name, versions in OUTAGES.items():
        assert sum(name in troubles.away for troubles in drawn) == versions


def test_every_other_fortnight_is_calm_and_the_disk_fills_once() -> None:
    """So that times of undisturbed versions can be compared."""
    drawn = draw(26 * FORTNIGHT, Random(0))
    calm = [troubles for number, troubles in enumerate(drawn) if number // FORTNIGHT % 2 and not troubles.full_disk]
    assert all(troubles.in_one_run and not troubles.away for troubles in calm)
    assert [troubles.version for troubles in drawn if troubles.full_disk] == [13 * FORTNIGHT + 1]
