"""Whose restart it was: a crash is the candidate's alone; what restarts everybody, as the engine does, is nobody's fault.

The same holds of a worker's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from auto_deployment.release.analysis.sequential import Floats


def crashes(own: Floats, others: Sequence[Floats]) -> Floats:
    """How many restarts of its own are known at each look, of restarts per look (last axis) of a candidate and its baseline.

    One is known a look later: services are not scraped at the same moment, and the next look may tell that all restarted.
    """
    alone = np.where(_everybodys(others), 0.0, own)
    return np.concatenate([np.zeros_like(alone[..., :1]), alone[..., :-1]], axis=-1)


def counted_looks(own: Floats, *others: Floats) -> npt.NDArray[np.bool_]:
    """The looks whose restarts `crashes` counts as the candidate's by the last one: neither everybody's, nor not known yet."""
    counted = ~_everybodys(others) & np.ones(own.shape, dtype=bool)
    counted[..., -1:] = False
    return counted


def _everybodys(others: Sequence[Floats]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce([_nearby(each > 0) for each in others]))


def _nearby(restarted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether it did so at a look, the one before or the one after."""
    near = restarted.copy()
    near[..., 1:] |= restarted[..., :-1]
    near[..., :-1] |= restarted[..., 1:]
    return near
