"""Attribution of restarts. A crash is a restart of the candidate alone; a restart of all services has another cause.

The same holds for a worker's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from auto_deployment.release.analysis.sequential import Floats


def crashes(own: Floats, others: Sequence[Floats]) -> Floats:
    """The crashes known at each observation, from the restarts of a candidate and of its baseline (last axis: observations).

    A crash is known one observation later. Services are not scraped at the same moment, and the next observation may show
    that all of them restarted. A value of the baseline is NaN where its pod did not exist.
    """
    alone = np.where(_of_all(others), 0.0, own)
    return np.concatenate([np.zeros_like(alone[..., :1]), alone[..., :-1]], axis=-1)


def counted_observations(own: Floats, *others: Floats) -> npt.NDArray[np.bool_]:
    """The observations whose restarts `crashes` has counted as the candidate's by the last one."""
    counted = ~_of_all(others) & np.ones(own.shape, dtype=bool)
    counted[..., -1:] = False
    return counted


def _of_all(others: Sequence[Floats]) -> npt.NDArray[np.bool_]:
    """Whether every service of the baseline restarted nearby, of those that were there (NaN: it was not)."""
    restarted = [_nearby(each > 0) for each in others]
    excused = [near | np.isnan(each) for near, each in zip(restarted, others, strict=True)]
    return np.asarray(np.logical_and.reduce(excused) & np.logical_or.reduce(restarted))


def _nearby(restarted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether a service restarted at an observation, at the one before or at the one after."""
    near = restarted.copy()
    near[..., 1:] |= restarted[..., :-1]
    near[..., :-1] |= restarted[..., 1:]
    return near
