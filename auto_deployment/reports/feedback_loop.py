"""Whether users watch only what we recommend: new watches compared with the last version's lists. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from auto_deployment.reports.exposure import AT, gini, top_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from app.model import Array, ServingModel
    from auto_deployment.training.dataset import Dataset

    Rows = npt.NDArray[np.int64]

# Of so many pairs the lists are compared at a time: the lists take 160 bytes a pair.
BLOCK_PAIRS = 1 << 20


@dataclass(frozen=True)
class NewWatches:
    """New pairs of user and film since the last version, and how concentrated they are over all films of the catalogue.

    The shares are of pairs whose film the last version had shown. It was in this user's list, in the popular list, or among
    the most shown films. Users unknown to the last version count as having had the popular list. All fields are None where
    the new pairs are not known. All but `pairs` are None where there is no new pair.
    """

    pairs: int | None = None
    gini: float | None = None
    top_1_percent: float | None = None
    in_own_list: float | None = None
    in_popular_list: float | None = None
    in_most_shown: float | None = None


class Pairs(NamedTuple):
    """Ids of users, each with the row of a film in `films`."""

    user: Rows
    film: npt.NDArray[np.int32]
    films: tuple[str, ...]


def new_pairs(dataset: Dataset, last_version: int) -> Pairs:
    """The pairs that were watched for the first time since version `last_version`."""
    new = dataset.watches[dataset.first_versions > last_version]
    return Pairs(dataset.users[new.user], new.film, dataset.films)


def watched(pairs: Pairs, last: ServingModel | None, most_shown: Sequence[str]) -> NewWatches:
    """Count new `pairs`, by the lists of `last`. `most_shown` are the films that its lists showed most, empty if not known."""
    if not len(pairs.user):
        return NewWatches(0)
    counts = np.bincount(pairs.film, minlength=len(pairs.films)).astype(np.int64)
    shown = pd.Index(pairs.films).isin(most_shown)[pairs.film]
    shares: dict[str, float | None] = {"in_most_shown": _mean(shown) if most_shown else None}
    if last is not None:
        rows = pd.Index(last.films).get_indexer(pd.Index(pairs.films)).astype(np.int64)[pairs.film]
        starts = range(0, len(rows), BLOCK_PAIRS)
        in_own = [_in_own_list(last, pairs.user[at : at + BLOCK_PAIRS], rows[at : at + BLOCK_PAIRS]) for at in starts]
        shares["in_own_list"] = _mean(np.concatenate(in_own))
        shares["in_popular_list"] = _mean(np.isin(rows, last.cold[0, :AT]))
    return NewWatches(len(pairs.user), gini(counts), top_share(counts, 0.01), **shares)


def _in_own_list(model: ServingModel, users: Rows, films: Rows) -> npt.NDArray[np.bool_]:
    """For each pair, whether the film, a row of the model's films, is in the model's list for the user."""
    return np.asarray((lists_for(model, users) == films[:, None]).any(axis=1))


def lists_for(model: ServingModel, users: Rows) -> Array:
    """The first 20 films of a model for each of `users`, as rows of its films; an unknown user gets the popular list."""
    at = np.minimum(np.searchsorted(model.users, users), max(len(model.users) - 1, 0))
    lists: Array = np.tile(model.cold[0, :AT], (len(users), 1)).astype(np.int64)
    known = model.users[at] == users if len(model.users) else np.zeros(len(users), dtype=bool)
    lists[known] = model.top[at[known], :AT]
    lists[lists == model.empty] = -2  # neither a film nor the -1 of a film that is not in the catalogue
    return lists


def overlap(last: ServingModel, users: Rows, films: tuple[str, ...], top: Array) -> float | None:
    """The mean share of a user's first 20 films that were in the last list too, over users in both models; None without one."""
    both = np.flatnonzero(np.isin(users, last.users))
    if not len(both):
        return None
    sample = both[np.linspace(0, len(both) - 1, min(len(both), 20_000)).astype(np.int64)]
    row_of = np.append(pd.Index(last.films).get_indexer(pd.Index(films)), -1)
    mine = row_of[np.minimum(top[sample, :AT].astype(np.int64), len(films))]
    theirs = lists_for(last, users[sample])
    kept = [np.isin(ours, others).sum() for ours, others in zip(mine, theirs, strict=True)]
    return float(np.sum(kept) / max((mine >= 0).sum(), 1))


def _mean(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean())
