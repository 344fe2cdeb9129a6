"""The rating model: what a user would give a film. Trainers stand behind one small interface, see `Trainer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from surprise import SVD, BaselineOnly, Trainset

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.dataset import Ratings

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """A rating model as arrays: `mean + user_bias + film_bias + user_factors @ film_factors`, clipped to the scale.

    The arrays have a row for every user and film of the data set; a row that training did not see is zero, which predicts what
    Surprise predicts for an unknown one.
    """

    mean: float
    scale: tuple[float, float]
    user_bias: Floats
    film_bias: Floats
    user_factors: Floats
    film_factors: Floats

    def predict(self, users: npt.NDArray[np.int32], films: npt.NDArray[np.int32]) -> Floats:
        """The predicted ratings of pairs, row by row."""
        dot = np.einsum("ij,ij->i", self.user_factors[users], self.film_factors[films])
        ratings: Floats = self.mean + self.user_bias[users] + self.film_bias[films] + dot
        return ratings.clip(*self.scale).astype(np.float32)

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """The arrays of the artifact's rating part."""
        return {
            "mean": np.array([self.mean], dtype=np.float32),
            "user_bias": self.user_bias,
            "film_bias": self.film_bias,
            "user_factors": self.user_factors,
            "film_factors": self.film_factors,
        }


class Trainer(Protocol):
    """Trains a rating model. The same ratings and seed give the same factors to the bit."""

    name: str

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """`shape` is the number of users and films of the data set."""
        ...


class SurpriseSVD:
    """Surprise's SVD with its defaults: 100 factors, 20 epochs, rate 0.005, regularisation 0.02 (Koren's biased SVD)."""

    name = "surprise"

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """See `Trainer`."""
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
    """Surprise's baseline: the mean, a bias for each user and one for each film. What an SVD has to be worth its factors."""

    name = "bias"

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:  # noqa: ARG002
        """See `Trainer`; nothing in here is drawn, so the seed does not matter."""
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
    """Surprise's own form, users and films numbered in the order of their first rating, as `build_full_trainset` does."""
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
