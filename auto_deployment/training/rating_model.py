"""The rating model as arrays, and the interface of what trains it. Executors of Spark need this, and no trainer's library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from auto_deployment.training.dataset import Ratings

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """A rating model as arrays: `mean + user_bias + film_bias + user_factors @ film_factors`, clipped to the scale.

    The arrays have a row for every user and film of the data set. A row that training did not see is zero. It predicts what
    Surprise predicts for an unknown user or film.
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
    """Trains a rating model. The same ratings and seed give the same factors to the bit; Spark's only up to rounding."""

    name: str

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """`shape` is the number of users and films of the data set."""
        ...
