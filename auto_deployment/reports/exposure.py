"""What the lists of a version show: how much of the catalogue, how evenly, and how popular the films are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.precompute import BLOCK_USERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from app.model import Array
    from auto_deployment.ranking.ranker import Popularity
    from auto_deployment.training.seen import Seen

    Counts = npt.NDArray[np.int64]

AT = 20
MOST_BLOCKS = 20
CURVE_POINTS = 21


@dataclass(frozen=True)
class Exposure:
    """What the first 20 films of all users' lists show.

    `gini` is of the films' places in lists: 0 where all films have alike, near 1 where few films have all. `audience` is the
    mean share of users who rated or watched a film. `novelty` is the mean of -log2 of that share, in bits. Both are of films in
    lists; with `history_` they are of films that users watched or rated. `bare_popular` is the share of users whose list is
    the popular films without those they know. `curve[i]` is the share of places of the most shown i/20 of the films.
    """

    users: int
    films: int
    coverage: float
    gini: float
    novelty: float
    history_novelty: float
    audience: float
    history_audience: float
    bare_popular: float
    curve: list[float]


def exposures(top: Array, films: int) -> Counts:
    """The number of lists (rows of `top`) that show each film among the first 20."""
    counts = np.zeros(films + 1, dtype=np.int64)
    for start in range(0, len(top), BLOCK_USERS):
        rows = np.minimum(top[start : start + BLOCK_USERS, :AT].astype(np.int64), films)  # an empty place is the highest number
        counts += np.bincount(rows.ravel(), minlength=films + 1)
    return counts[:films]


def gini(counts: npt.NDArray[np.int64]) -> float:
    """The Gini coefficient of counts; 0 where all counts are 0."""
    total, n = int(counts.sum()), len(counts)
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(2 * (ranks * np.sort(counts)).sum() / (n * total) - (n + 1) / n)


def top_share(counts: npt.NDArray[np.int64], share: float) -> float:
    """The part of all counts that the highest `share` of them (at least one) has."""
    most = max(1, round(share * len(counts)))
    return float(np.sort(counts)[::-1][:most].sum() / max(counts.sum(), 1))


def measure(top: Array, shown: Counts, seen: Seen, popularity: Popularity) -> Exposure:
    """Measure the lists `top` (see `app.model`). `shown` has each film's places, `seen` each user's rated and watched films."""
    audience = seen.audience(len(shown))
    share = np.maximum(audience, 1) / max(len(top), 1)
    information = -np.log2(share)
    return Exposure(
        users=len(top),
        films=len(shown),
        coverage=float((shown > 0).mean()) if len(shown) else 0.0,
        gini=gini(shown),
        novelty=_mean(information, shown),
        history_novelty=_mean(information, audience),
        audience=_mean(share, shown),
        history_audience=_mean(share, audience),
        bare_popular=_bare(top, seen, popularity),
        curve=[top_share(shown, at / (CURVE_POINTS - 1)) if at else 0.0 for at in range(CURVE_POINTS)],
    )


def _mean(values: npt.NDArray[np.float64], weights: Counts) -> float:
    return float((values * weights).sum() / max(int(weights.sum()), 1))


def _bare(top: Array, seen: Seen, popularity: Popularity) -> float:
    """The share among at most `MOST_BLOCKS` blocks of users, spread evenly: the sample is large enough at any size."""
    starts = np.arange(0, len(top), BLOCK_USERS)
    if len(starts) > MOST_BLOCKS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_BLOCKS).astype(np.int64)]
    bare, users, empty = 0, 0, np.iinfo(top.dtype).max
    for start in starts.tolist():
        stop = min(start + BLOCK_USERS, len(top))
        popular = popularity.top(start, stop, seen, AT)
        popular = np.where(popular < 0, empty, popular)
        bare += int((top[start:stop, :AT] == popular).all(axis=1).sum())
        users += stop - start
    return bare / max(users, 1)
