"""Whose restart it was: a crash is the candidate's alone; what restarts everybody, as the engine does, is nobody's fault.

The same holds of a worker's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from auto_deployment.canary.sequential import Floats


def crashes(own: Floats, others: Sequence[Floats]) -> Floats:
    """How many restarts of its own are known at each look, of restarts per look (last axis) of a candidate and its baseline.

    One is known a look later: services are not scraped at the same moment, and the next look may tell that all restarted.
    """
    everybody = np.logical_and.reduce([_nearby(each > 0) for each in others])
    alone = np.where(everybody, 0.0, own)
    return np.concatenate([np.zeros_like(alone[..., :1]), alone[..., :-1]], axis=-1)


def _nearby(restarted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether it did so at a look, the one before or the one after."""
    near = restarted.copy()
    near[..., 1:] |= restarted[..., :-1]
    near[..., :-1] |= restarted[..., 1:]
    return near
