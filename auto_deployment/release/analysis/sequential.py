"""Evidence that may be read after every scrape: e-processes, vectorised over releases. The last axis is observations in time.

Each is a mean of non-negative supermartingales that start at 1. So under "not worse by more than the margin" it ever reaches
1/alpha with a probability of at most alpha, however often one observes. Sources: Ville 1939; Robbins 1970; Howard, Ramdas,
McAuliffe and Sekhon 2021 ("Time-uniform, nonparametric, nonasymptotic confidence sequences"). The null hypothesis has the
margin in it. A test of equality is always-valid too, but with enough traffic it aborts every healthy canary that is 3 %
slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

# The stakes that are mixed: small ones find small differences late, large ones large differences soon.
STAKES = (0.1, 0.2, 0.4, 0.8, 1.6)
# The same for counts.
COUNT_STAKES = (0.1, 0.4, 1.0)
# An observation multiplies evidence by at most e^3.5: no single bad minute decides. A capped supermartingale remains one.
MAX_PER_OBSERVATION = 3.5
# An instance's own noise: a share may be higher by this part without being worse.
NOISE = 0.2


def mixed(processes: Sequence[Floats]) -> Floats:
    """The logarithm of the mean of e-processes that are given as logarithms: again an e-process."""
    return np.asarray(np.logaddexp.reduce(np.stack(processes), axis=0) - np.log(len(processes)), dtype=np.float64)


def more_often(
    bad: Floats,
    total: Floats,
    bad_base: Floats,
    total_base: Floats,
    increase: float,
    noise: float = NOISE,
    stakes: Sequence[float] = COUNT_STAKES,
) -> Floats:
    """Log evidence that the share `bad` of `total` exceeds 1 + `noise` times the baseline's by over `increase`.

    `bad` and `total` of both sides are counts per observation; the result is the evidence after each observation. It is a
    product of Poisson bounds on binomial moments, in which the baseline's share cancels out at each observation. It needs no
    estimate and is not asymptotic. The share may change in time, if it changes for both sides alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(total_base > 0, (1 + noise) * total / total_base, np.inf)
        most = np.where((total > 0) & (total_base > 0), np.log1p(0.98 / weight), 0.0)
    weight = np.where(np.isfinite(weight), weight, 0.0)
    processes = []
    for stake in stakes:
        lam = np.minimum(stake, most)
        lift = np.expm1(lam)
        gain = lam * bad + np.log1p(-weight * lift) * bad_base - increase * total * lift
        processes.append(np.cumsum(np.minimum(gain, MAX_PER_OBSERVATION), axis=-1))
    return mixed(processes)
