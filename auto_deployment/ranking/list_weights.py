"""The `fresh` part of an artifact: a version's item weights as whole numbers, with each user's likes and seen films. Pure.

`app.fresh.list_model` computes lists from it. Of EASE's weights each film's `KEPT` strongest are kept. The weights of ALS are
products of the films' factors, for a fixed number of likes. docs/freshness.md has what both cost in relevance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.events import Rules
from app.fresh.list_model import BEST_GRADE, ESCAPE, FADES_AT
from app.model import row_type
from auto_deployment.ranking.als import ALPHA
from auto_deployment.ranking.implicit_ratings import LEFT_EARLY, WATCHED, lengths, preferences_of_stars
from auto_deployment.training.seen import BLOCK_USERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from scipy import sparse

    from app.model import Array
    from auto_deployment.ranking.als import ImplicitAls
    from auto_deployment.ranking.ease import Ease
    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.training.seen import Seen

KEPT = 300
# Weights have 16 bits with their sign, factors 13.
WEIGHT_STEPS, FACTOR_STEPS = 32_767, 4_095
RANK_BITS = 20
# With 10,000 likes of the highest grade a sum of EASE's weights stays below 2^50, one of ALS's below 2^51.
MOST_SHARE, MOST_POPULAR = 1 << 13, 2.0**50
# ALS solves for each user. This many likes stand for every user: the order of a list hardly depends on their number.
TYPICAL_LIKES = 9


class ItemWeights(NamedTuple):
    """The arrays `popular` and `item_*`, and the factor of the item weights in a score."""

    arrays: dict[str, Array]
    item_share: int


def item_weights(popular: npt.NDArray[np.float64], ease: Ease | None, als: ImplicitAls | None, als_share: float) -> ItemWeights:
    """The weights of a ranker: popularity's scores for a user without likes, and its EASE and ALS, None where it has none."""
    if ease is None and als is None:
        # Far apart, so that popularity which fades keeps their order.
        ranks = np.unique(popular, return_inverse=True)[1].astype(np.int64) << RANK_BITS
        return ItemWeights({"popular": ranks}, 1)
    arrays: dict[str, Array] = {}
    # No sum may reach 2^53, see `app.fresh.list_model`: that bounds how small the unit of a score can be.
    least_unit, share = float(popular.max(initial=0)) * BEST_GRADE * FADES_AT / MOST_POPULAR, 1
    unit = least_unit
    factors = None if als is None else als.weighing_factors(TYPICAL_LIKES) * np.sqrt(als_share * (1 + ALPHA))
    if factors is not None:
        unit = max(unit, (float(np.abs(factors).max(initial=0)) / FACTOR_STEPS) ** 2)
    if ease is not None:
        weight_unit = float(np.abs(ease.weights).max(initial=0)) / WEIGHT_STEPS
        # A step of EASE's weights is a whole number of the score's unit, which is that of ALS where there is one.
        unit = max(unit if factors is not None else weight_unit, least_unit, weight_unit / MOST_SHARE)
        weight_unit = max(weight_unit, unit)
        share = int(weight_unit / unit)
        unit = weight_unit / share
        if len(ease.films):
            arrays |= _strongest(ease, weight_unit, len(popular))
    if factors is not None:
        arrays["item_factors"] = np.rint(factors / np.sqrt(unit)).astype(np.int16)
    arrays["popular"] = np.rint(popular * BEST_GRADE / unit).astype(np.int64)
    return ItemWeights(arrays, share)


def _strongest(ease: Ease, unit: float, n_films: int) -> dict[str, Array]:
    """For each film that has weights the strongest of its row of them, as multiples of `unit`."""
    films, weights = ease.strongest_of_likes(KEPT)
    return {
        "item_rows": ease.films.astype(row_type(n_films)),
        "item_films": films.astype(row_type(n_films)),
        "item_weights": np.rint(weights / unit).astype(np.int16),
    }


def likes_and_seen(taste: sparse.csr_array, seen: Seen) -> dict[str, Array]:
    """The arrays `like_*` and `seen_*`: `taste` is users x films, 1 for the strongest like."""
    number = row_type(taste.shape[1])
    grades = np.maximum(np.rint(taste.data * BEST_GRADE), 1).astype(np.uint8)
    gaps, ends = seen_gaps(seen)
    return {
        "like_ends": taste.indptr[1:].astype(np.int64),
        "like_films": taste.indices.astype(number),
        "like_grades": grades,
        "seen_ends": ends,
        "seen_gaps": gaps,
    }


def seen_gaps(seen: Seen) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The gaps between each user's seen films as bytes, and where each user's bytes end."""
    blocks, ends, total = [np.empty(0, dtype=np.uint8)], [np.empty(0, dtype=np.int64)], 0
    users = len(seen.starts) - 1
    for start in range(0, users, BLOCK_USERS):
        stop = min(start + BLOCK_USERS, users)
        films = seen.films[seen.starts[start] : seen.starts[stop]].astype(np.int64)
        firsts = seen.starts[start:stop][np.diff(seen.starts[start : stop + 1]) > 0] - seen.starts[start]
        gaps = np.diff(films, prepend=-1)
        gaps[firsts] = films[firsts] + 1
        escapes, rest = np.divmod(gaps, ESCAPE)
        encoded = np.full(len(gaps) + int(escapes.sum()), ESCAPE, dtype=np.uint8)
        places = (escapes + 1).cumsum()
        encoded[places - 1] = rest
        blocks.append(encoded)
        stops = seen.starts[start + 1 : stop + 1] - seen.starts[start]
        ends.append(total + np.concatenate([[0], places])[stops])
        total += len(encoded)
    return np.concatenate(blocks), np.concatenate(ends)


def film_minutes(feedback: Feedback) -> npt.NDArray[np.float32]:
    """Each film's length in minutes, 0 where nobody has watched the film."""
    return lengths(feedback.watches, feedback.shape[1]).astype(np.float32)


def facts(scale: tuple[float, float], user_id_max: int, item_share: int, offsets: Mapping[str, int]) -> dict[str, Any]:
    """What the metadata say about the part: which lines are valid, how events are graded, and where the version's data end."""
    stars = list(Rules(*scale).stars.values())
    grades = np.rint(preferences_of_stars(np.array(stars, dtype=np.float32), scale) * BEST_GRADE)
    return {
        "grades": {f"{each:g}": int(grade) for each, grade in zip(stars, grades, strict=True)},
        "watched_grade": round(WATCHED * BEST_GRADE),
        "left_early": LEFT_EARLY,
        "user_id_max": user_id_max,
        "item_share": item_share,
        "offsets": dict(offsets),
    }
