"""Metrics of lists, user by user: the protocol of every offline metric of a ranking. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_deployment.ranking.ranker import NONE

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.ranker import Indices, Ranker
    from auto_deployment.training.dataset import Ratings
    from auto_deployment.training.seen import Seen

    Floats = npt.NDArray[np.float64]

NDCG_AT = 10
RECALL_AT = 20
MOST_USERS = 20_000
RUN_USERS = 250
MOST_GAP = 8
BLOCK_USERS = 1024
RESAMPLES = 2_000
CERTAINTY = 0.95


class UserMetrics(NamedTuple):
    """NDCG@10 and Recall@20 of each of `users` (ascending), who all have a relevant film."""

    users: Indices
    ndcg: Floats
    recall: Floats

    @property
    def quality(self) -> Floats:
        """The criterion for the choice of a ranker: the mean of both metrics."""
        return (self.ndcg + self.recall) / 2


class Interval(NamedTuple):
    """A mean, and its interval with `CERTAINTY`."""

    mean: float
    low: float
    high: float


def user_metrics(users: Indices, lists: Indices, relevant: Ratings) -> UserMetrics:
    """NDCG@10 with the ideal over min(10, relevant), Recall@20 over all relevant, of those of `users` who have a relevant film.

    `lists` has the best 20 films of each of `users`, `NONE` where there is none; a pair is relevant once.
    """
    width = 1 + int(max(relevant.film.max(initial=0), lists.max(initial=0)))
    wanted = np.unique(relevant.user.astype(np.int64) * width + relevant.film)
    counts = np.bincount(wanted // width, minlength=int(users.max(initial=-1)) + 1)[users]
    hits = np.isin(users[:, None].astype(np.int64) * width + lists, wanted) & (lists != NONE)
    discount = 1 / np.log2(np.arange(NDCG_AT) + 2)
    some = counts > 0
    ideal = np.cumsum(discount)[np.minimum(counts[some], NDCG_AT) - 1]
    gain = hits[some, :NDCG_AT] @ discount[: lists.shape[1]]
    return UserMetrics(users[some], gain / ideal, hits[some, :RECALL_AT].sum(axis=1) / counts[some])


def lists_of(ranker: Ranker, users: Indices, seen: Seen) -> Indices:
    """The best 20 films of each of `users` (ascending). Each run of users is one block, with small gaps filled."""
    if not len(users):
        return np.empty((0, RECALL_AT), dtype=np.int32)
    runs = np.split(users, np.flatnonzero(np.diff(users) > MOST_GAP) + 1)
    blocks = [run[at : at + BLOCK_USERS] for run in runs for at in range(0, len(run), BLOCK_USERS)]
    return np.concatenate(
        [ranker.top(int(block[0]), int(block[-1]) + 1, seen, RECALL_AT)[block - block[0]] for block in blocks]
    )


def some_of(users: Indices, most: int = MOST_USERS) -> Indices:
    """At most `most` users, in runs that are spread evenly: enough for stable metrics at any size."""
    if len(users) <= most:
        return users
    width = min(RUN_USERS, most)
    starts = np.linspace(0, len(users) - width, most // width).astype(np.int64)
    taken: Indices = users[(starts[:, None] + np.arange(width)).ravel()]
    return taken


def interval(values: Floats, seed: int) -> Interval | None:
    """The mean of users' values with its bootstrap percentile interval over users; None without two users."""
    if len(values) < 2:
        return None
    draw = np.random.default_rng(seed)
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CERTAINTY) / 2, (1 + CERTAINTY) / 2])
    return Interval(float(values.mean()), float(low), float(high))
