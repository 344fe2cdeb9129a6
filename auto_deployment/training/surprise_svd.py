"""The trainers by Surprise, behind `auto_deployment.training.rating_model.Trainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from surprise import SVD, BaselineOnly, Trainset

from auto_deployment.training.rating_model import Factors

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.training.dataset import Ratings

    Floats = npt.NDArray[np.float32]


class SurpriseSVD:
    """Surprise's SVD with its defaults: 100 factors, 20 epochs, rate 0.005, regularisation 0.02 (Koren's biased SVD)."""

    name = "surprise"

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """See `auto_deployment.training.rating_model.Trainer`."""
        trainset = _trainset(ratings, scale)
        svd = SVD(random_state=seed).fit(trainset)
        return Factors(
            float(trainset.global_mean),
            scale,
            _spread(svd.bu, trainset.to_raw_uid, shape[0]),
            _spread(svd.bi, trainset.to_raw_iid, shape[1]),
            _spread(svd.pu, trainset.to_raw_uid, shape[0]),
            _spread(svd.qi, trainset.to_raw_iid, shape[1]),
        )


class UserFilmBias:
    """Surprise's baseline: the mean and a bias for each user and film. An SVD must beat it to be worth its factors."""

    name = "bias"

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:  # noqa: ARG002
        """See `auto_deployment.training.rating_model.Trainer`; nothing in here is drawn, so the seed does not matter."""
        trainset = _trainset(ratings, scale)
        model = BaselineOnly(verbose=False).fit(trainset)
        no_factors = [np.zeros((size, 1), dtype=np.float32) for size in shape]
        return Factors(
            float(trainset.global_mean),
            scale,
            _spread(model.bu, trainset.to_raw_uid, shape[0]),
            _spread(model.bi, trainset.to_raw_iid, shape[1]),
            *no_factors,
        )


def _trainset(ratings: Ratings, scale: tuple[float, float]) -> Trainset:
    """Surprise's form of the ratings: users and films numbered by their first rating, as in `build_full_trainset`."""
    by_user: dict[int, list[tuple[int, float]]] = {}
    by_film: dict[int, list[tuple[int, float]]] = {}
    users: dict[int, int] = {}
    films: dict[int, int] = {}
    for raw_user, raw_film, stars in zip(ratings.user.tolist(), ratings.film.tolist(), ratings.stars.tolist(), strict=True):
        user, film = users.setdefault(raw_user, len(users)), films.setdefault(raw_film, len(films))
        by_user.setdefault(user, []).append((film, stars))
        by_film.setdefault(film, []).append((user, stars))
    return Trainset(by_user, by_film, len(users), len(films), len(ratings), scale, users, films)


def _spread(values: npt.NDArray[np.float64], raw_of: object, size: int) -> Floats:
    """Values by Surprise's numbers as float32 by the data set's rows; rows it does not know are zero."""
    whole = np.zeros((size, *values.shape[1:]), dtype=np.float32)
    whole[[raw_of(inner) for inner in range(len(values))]] = values  # type: ignore[operator]
    return whole
