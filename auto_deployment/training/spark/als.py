"""The rating model by Spark's ALS: see `SparkTrainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from auto_deployment.training.rating_model import Factors
from auto_deployment.training.spark.session import session

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyspark.sql import DataFrame

    from auto_deployment.training.dataset import Ratings

    Floats = npt.NDArray[np.float32]

# The ridge of the lowest RMSE on MovieLens 100K, `ua`: 0.937, where 0.1 gives 0.948, 0.2 0.945 and 0.3 0.961.
FACTORS = 16
SWEEPS = 8
RIDGE = 0.15
# Spark draws the first factors block by block: another number of blocks is another model, so it must not follow the cores.
BLOCKS = 10
# Ratings' worth of the mean in a film's and in a user's bias.
FILM_PRIOR = 5
USER_PRIOR = 10


class SparkTrainer:
    """Biases of films and users, shrunk towards the mean, and Spark's ALS (explicit, ridge by count) on what they leave.

    The same ratings and seed give the same factors on any number of cores, except for rounding. The order of executors'
    messages, and so of the sums, is not fixed.
    """

    name = "spark"

    def __init__(self, master: str) -> None:
        self._master = master

    def fit(self, ratings: Ratings, shape: tuple[int, int], scale: tuple[float, float], seed: int) -> Factors:
        """See `auto_deployment.training.rating_model.Trainer`."""
        mean = np.float32(ratings.stars.mean(dtype=np.float64))
        film_bias = _bias(ratings.film, ratings.stars - mean, shape[1], FILM_PRIOR)
        user_bias = _bias(ratings.user, ratings.stars - mean - film_bias[ratings.film], shape[0], USER_PRIOR)
        rest = ratings.stars - mean - film_bias[ratings.film] - user_bias[ratings.user]
        users, films = self._factors(ratings, rest, shape, seed)
        return Factors(float(mean), scale, user_bias, film_bias, users, films)

    def _factors(self, ratings: Ratings, rest: Floats, shape: tuple[int, int], seed: int) -> tuple[Floats, Floats]:
        import pyarrow as pa  # noqa: PLC0415 - an optional requirement
        from pyspark.ml.recommendation import ALS  # noqa: PLC0415 - the same

        spark = session(self._master)
        table = spark.createDataFrame(pa.table({"user": ratings.user, "film": ratings.film, "rest": rest}))
        table = table.repartition(BLOCKS, "user").sortWithinPartitions("user", "film")
        als = ALS(
            rank=FACTORS,
            maxIter=SWEEPS,
            regParam=RIDGE,
            numUserBlocks=BLOCKS,
            numItemBlocks=BLOCKS,
            userCol="user",
            itemCol="film",
            ratingCol="rest",
            seed=seed,
        )
        model = als.fit(table)
        return _spread(model.userFactors, shape[0]), _spread(model.itemFactors, shape[1])


def _bias(rows: npt.NDArray[np.int32], above: Floats, size: int, prior: float) -> Floats:
    """How far the ratings of each row are above the mean, shrunk; 0 where there is none."""
    counts = np.bincount(rows, minlength=size)
    return (np.bincount(rows, above, size) / (counts + prior)).astype(np.float32)


def _spread(factors: DataFrame, size: int) -> Floats:
    """Spark's table of ids and factors as an array; rows that it does not know are zero."""
    whole = np.zeros((size, FACTORS), dtype=np.float32)
    table = factors.toArrow()
    values = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    whole[table["id"].to_numpy()] = values.reshape(-1, FACTORS)
    return whole
