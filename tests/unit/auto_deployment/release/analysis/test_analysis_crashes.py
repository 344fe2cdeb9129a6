"""Whose restart it was."""

from __future__ import annotations

import numpy as np

from auto_deployment.release.analysis.crashes import counted_observations, crashes

NOBODY = np.zeros(6)


def at(*observations: int) -> np.ndarray:
    """A service that restarted before each of these observations, of six."""
    return np.isin(np.arange(6), observations).astype(float)


def test_a_restart_of_its_own_is_known_a_look_later() -> None:
    """Also where one of the others restarted as well, or all of them at another time."""
    assert crashes(at(2), [NOBODY, NOBODY]).tolist() == [0, 0, 0, 1, 0, 0]
    assert crashes(at(2), [at(2), NOBODY]).sum() == 1
    assert crashes(at(1), [at(4), at(4)]).sum() == 1


def test_what_restarts_everybody_is_nobodys_crash() -> None:
    """Services are not scraped at the same moment: an observation apart is together."""
    for other in (1, 2, 3):
        assert crashes(at(2), [at(2), at(other)]).sum() == 0


def test_a_restart_in_the_last_look_is_not_judged_yet() -> None:
    """The next observation may tell that everybody restarted."""
    assert crashes(at(5), [NOBODY, NOBODY]).sum() == 0


def test_the_looks_that_count_are_those_whose_crashes_are_counted() -> None:
    """All but the last, and those near a restart of everybody."""
    own, others = at(0, 2, 5), [at(2), at(3)]
    counted = counted_observations(own, *others)
    assert counted.tolist() == [True, True, False, False, True, False]
    assert own[counted].sum() == crashes(own, others).sum() == 1


def test_releases_are_judged_side_by_side() -> None:
    """The last axis is observations."""
    both = crashes(np.stack([at(2), at(2)]), [np.stack([NOBODY, at(2)])])
    assert both.sum(axis=-1).tolist() == [1, 0]
