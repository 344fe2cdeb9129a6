"""Whom and what the lists of a version reach: how much of the catalogue, how evenly, how well known. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.ranking.precompute import BLOCK_USERS

if TYPE_CHECKING:
    import numpy.typing as npt

    from app.model import Array
    from auto_deployment.ranking.ranker import Popularity, Seen

    Counts = npt.NDArray[np.int64]

AT = 20
MOST_BLOCKS = 20
CURVE_POINTS = 21


@dataclass(frozen=True)
class Exposure:
    """What the first 20 films of all users' lists show.

    `gini` of the films' places in lists: 0 all alike, towards 1 a few have all. Novelty is the mean self-information of a film
    in bits: -log2 of the share of users who rated or watched it. `audience` is the mean of that share itself. Both of what is
    recommended and of what users have seen. `bare_popular` is the share of users whose list is the popular films that they
    have not seen. `curve[i]` is the share of places that the most shown i/20 of the films have.
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
    """How many of the lists (rows of `top`) show each film among the first 20."""
    counts = np.zeros(films + 1, dtype=np.int64)
    for start in range(0, len(top), BLOCK_USERS):
        rows = np.minimum(top[start : start + BLOCK_USERS, :AT].astype(np.int64), films)  # an empty place is the highest number
        counts += np.bincount(rows.ravel(), minlength=films + 1)
    return counts[:films]


def gini(counts: npt.NDArray[np.int64]) -> float:
    """The Gini coefficient of counts; 0 where there is nothing to share."""
    total, n = int(counts.sum()), len(counts)
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(2 * (ranks * np.sort(counts)).sum() / (n * total) - (n + 1) / n)


def top_share(counts: npt.NDArray[np.int64], share: float) -> float:
    """The share of all that the films with the most have, so large a share of the films (at least one)."""
    most = max(1, round(share * len(counts)))
    return float(np.sort(counts)[::-1][:most].sum() / max(counts.sum(), 1))


def measure(top: Array, shown: Counts, seen: Seen, popularity: Popularity) -> Exposure:
    """Of the lists `top` (see `app.model`), whose films have `shown` places; `seen` is what each user has rated or watched."""
    audience = np.bincount(seen.films, minlength=len(shown))
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
    """Of at most `MOST_BLOCKS` blocks of users, spread evenly: enough for a share at any size."""
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
