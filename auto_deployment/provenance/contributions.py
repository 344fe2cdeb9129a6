"""The contribution of each film of a history to the scores of a list, for `ease`, `als` and `blend`. Pure.

EASE's score of a film is a sum over the liked films. The artifact keeps the strongest weights of each film. ALS's score is a
sum, too: a user's factors are the weighted sum of the factors of the liked films. Folding in solves for the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auto_deployment.ranking.als import ALPHA, film_weights
from auto_deployment.ranking.implicit_ratings import preferences_of_minutes, preferences_of_stars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from app.model import Array
    from auto_deployment.provenance.history import HistoryFilm

    Floats = npt.NDArray[np.float64]


class Likes(NamedTuple):
    """The rows of the liked films of a history, and how much each film is liked, above 0 and up to 1."""

    films: npt.NDArray[np.int64]
    grades: Floats


def likes(
    history: Sequence[HistoryFilm], places: Mapping[str, int], scale: tuple[float, float], rating: Mapping[str, Array]
) -> Likes:
    """The liked films of a history. A rating counts if there is one, otherwise the minutes by the film's length."""
    rows = np.array([places[each.film] for each in history], dtype=np.int64)
    stars = np.array([each.stars or 0.0 for each in history], dtype=np.float32)
    minutes = np.array([each.minutes for each in history], dtype=np.int32)
    rated = np.array([each.stars is not None for each in history], dtype=bool)
    length = rating["film_minutes"][rows] if "film_minutes" in rating else np.full(len(rows), np.inf)
    found = np.where(rated, preferences_of_stars(stars, scale), preferences_of_minutes(minutes, length)).astype(np.float64)
    return Likes(rows[found > 0], found[found > 0])


def contributions(
    shown: npt.NDArray[np.int64], liked: Likes, metadata: Mapping[str, Any], rating: Mapping[str, Array]
) -> Floats:
    """What each liked film adds to the score of each film of `shown`: an array of liked x shown."""
    tuning = metadata["metrics"]["choice"]["tuning"]
    ranker, total = metadata["ranker"], np.zeros((len(liked.films), len(shown)))
    if ranker in ("ease", "blend"):
        total += ease_contributions(shown, liked, rating)
    if ranker in ("als", "blend"):
        share = tuning["als_share"] if ranker == "blend" else 1.0
        total += share * als_contributions(shown, liked, rating, tuning["als_ridge"])
    return total


def ease_contributions(shown: npt.NDArray[np.int64], liked: Likes, rating: Mapping[str, Array]) -> Floats:
    """EASE's part, for the weights that the artifact keeps."""
    is_kept = rating["ease_films"][shown][None, :, :] == liked.films[:, None, None]
    weights: Floats = (is_kept * rating["ease_weights"][shown][None, :, :]).sum(axis=2, dtype=np.float64)
    return liked.grades[:, None] * weights


def als_contributions(shown: npt.NDArray[np.int64], liked: Likes, rating: Mapping[str, Array], ridge: float) -> Floats:
    """ALS's part. Its sum over the liked films is the score, to the precision of float32."""
    if not len(liked.films):
        return np.zeros((0, len(shown)))
    films = rating["als_films"].astype(np.float64)
    diagonal = rating["als_squares"] + ridge * np.sqrt(len(liked.films))
    weights = film_weights(films[liked.films][None], ALPHA * liked.grades[None], diagonal)[0]
    added: Floats = weights[:, None] * ((films[liked.films] / diagonal) @ films[shown].T)
    return added
