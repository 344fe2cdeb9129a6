"""A popular list of different tastes, for unknown users. Pure.

Each place goes to the film with the highest remaining popularity: users whom the list already serves count for less. This is
Thiele's sequential rule, which elects a committee that represents everyone. The rule needs no knowledge about the films.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.ranker import Indices

# A user who has seen this many films of the list counts half.
HALF_SERVED = 4
# Only this many of the most popular films are candidates.
POOL = 200


def diverse_popular(scores: npt.NDArray[np.float64], feedback: Feedback, count: int) -> Indices:
    """At most `count` films, best first, by `scores` (each film's popularity) and by the users in `feedback` who saw them."""
    pool = np.argsort(-scores, kind="stable")[: max(POOL, count)].astype(np.int32)
    audience = _audience(feedback, pool)
    sizes = np.diff(audience.indptr)
    served, left = np.zeros(audience.shape[0]), scores[pool].astype(np.float64)
    chosen = np.empty(min(count, len(pool)), dtype=np.int64)
    for place in range(len(chosen)):
        # One more who is never served: of a film without an audience there is nothing to take away.
        best = int(np.argmax(left * (audience.T @ (HALF_SERVED / (HALF_SERVED + served)) + 1) / (sizes + 1)))
        chosen[place], left[best] = best, -np.inf
        served[audience.indices[audience.indptr[best] : audience.indptr[best + 1]]] += 1
    return pool[chosen]


def _audience(feedback: Feedback, films: Indices) -> sparse.csc_array:
    """Users x `films`: 1 where the user rated or watched the film."""
    column = np.full(feedback.shape[1], -1, dtype=np.int32)
    column[films] = np.arange(len(films), dtype=np.int32)
    tables = (feedback.ratings, feedback.watches)
    users = np.concatenate([each.user[column[each.film] >= 0] for each in tables])
    columns = np.concatenate([column[each.film][column[each.film] >= 0] for each in tables])
    seen = sparse.csc_array((np.ones(len(users), dtype=np.int8), (users, columns)), shape=(feedback.shape[0], len(films)))
    seen.data[:] = 1
    return seen
