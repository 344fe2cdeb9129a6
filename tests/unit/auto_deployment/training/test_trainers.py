from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from surprise import SVD, BaselineOnly

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.settings import load_settings
from auto_deployment.training import sgd
from auto_deployment.training.rating_model import Factors
from auto_deployment.training.sgd import FACTORS, SgdTrainer
from auto_deployment.training.surprise_svd import SurpriseSVD, UserFilmBias
from auto_deployment.training.trainers import TRAINERS, trainer_of
from tests.unit.auto_deployment.samples import SCALE, random_ratings, ratings_of, surprise_trainset

if TYPE_CHECKING:
    from auto_deployment.training.rating_model import Trainer

USERS, FILMS = 20, 15
RATED = random_ratings(120, USERS - 2, FILMS - 2)


def bits(factors: Factors) -> dict[str, bytes]:
    """Every array, to the bit."""
    return {name: array.tobytes() for name, array in factors.arrays().items()}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(SurpriseSVD(), SVD(random_state=4)), (UserFilmBias(), BaselineOnly(verbose=False))]
)
def test_it_predicts_what_surprise_predicts(ours: Trainer, theirs: SVD | BaselineOnly) -> None:
    """For every pair of the data set, known to the training or not, the library's own `predict` says the same."""
    factors = ours.fit(ratings_of(RATED), (USERS, FILMS), SCALE, 4)
    theirs.fit(surprise_trainset(RATED))
    users, films = (each.ravel().astype(np.int32) for each in np.meshgrid(np.arange(USERS), np.arange(FILMS)))
    expected = [theirs.predict(user, film).est for user, film in zip(users.tolist(), films.tolist(), strict=True)]
    assert len({user for user, _, _ in RATED}) < USERS
    assert len({film for _, film, _ in RATED}) < FILMS
    np.testing.assert_allclose(factors.predict(users, films), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trainer", [SurpriseSVD(), SgdTrainer()])
def test_the_same_data_and_seed_give_the_same_bits(trainer: Trainer) -> None:
    """Twice the same; another seed gives others."""
    first, again, other = (trainer.fit(ratings_of(RATED), (USERS, FILMS), SCALE, seed) for seed in (1, 1, 2))
    assert bits(first) == bits(again)
    assert bits(first)["user_factors"] != bits(other)["user_factors"]


def test_the_fast_trainer_takes_the_steps_of_the_textbook() -> None:
    """An epoch is the gradient of each row in turn: error times the other side, less the ridge, biases alike."""
    draw = np.random.default_rng(2)
    users, films = np.array([0, 1, 0], dtype=np.int32), np.array([1, 1, 0], dtype=np.int32)
    stars = np.array([1.5, -0.5, 0.25], dtype=np.float32)
    arrays = [draw.normal(0, 0.3, shape).astype(np.float32) for shape in ((2,), (2,), (2, FACTORS), (2, FACTORS))]
    user_bias, film_bias, ours, theirs = (array.astype(np.float64) for array in arrays)
    sgd._epoch(users, films, stars, *arrays)
    for user, film, star in zip(users, films, stars, strict=True):
        error = star - user_bias[user] - film_bias[film] - ours[user] @ theirs[film]
        before = ours[user].copy()
        user_bias[user] += sgd.RATE * (error - sgd.RIDGE * user_bias[user])
        film_bias[film] += sgd.RATE * (error - sgd.RIDGE * film_bias[film])
        ours[user] += sgd.RATE * (error * theirs[film] - sgd.RIDGE * ours[user])
        theirs[film] += sgd.RATE * (error * before - sgd.RIDGE * theirs[film])
    for found, expected in zip(arrays, (user_bias, film_bias, ours, theirs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_fast_trainer_errs_no_more_than_surprise() -> None:
    """On ratings that were held out of a table that taste explains."""
    draw = np.random.default_rng(5)
    tastes, kinds = draw.normal(0, 0.8, (80, 2)), draw.normal(0, 0.8, (50, 2))
    pairs = [(user, film) for user in range(80) for film in range(50) if draw.random() < 0.4]
    rated = [(user, film, float(np.clip(3 + tastes[user] @ kinds[film] + draw.normal(0, 0.3), 1, 5))) for user, film in pairs]
    held = ratings_of(rated[::5])
    train = ratings_of([row for at, row in enumerate(rated) if at % 5])
    models = [trainer.fit(train, (80, 50), SCALE, 0) for trainer in (SgdTrainer(), SurpriseSVD())]
    ours, theirs = (float(np.square(model.predict(held.user, held.film) - held.stars).mean()) for model in models)
    assert ours <= theirs


def test_biases_know_no_chance() -> None:
    """The seed does not matter to the baseline."""
    first, other = (UserFilmBias().fit(ratings_of(RATED), (USERS, FILMS), SCALE, seed) for seed in (1, 2))
    assert bits(first) == bits(other)


@pytest.mark.parametrize(("trainer", "size"), [(SurpriseSVD(), 100), (SgdTrainer(), FACTORS)])
def test_what_training_did_not_see_is_zero(trainer: Trainer, size: int) -> None:
    """Arrays have a row for every user and film of the data set, in its order, as float32."""
    factors = trainer.fit(ratings_of([(3, 2, 5.0), (1, 4, 2.0), (3, 4, 3.0)]), (5, 6), SCALE, 0)
    arrays = factors.arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        "mean": (1,),
        "user_bias": (5,),
        "film_bias": (6,),
        "user_factors": (5, size),
        "film_factors": (6, size),
    }
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert arrays["mean"][0] == pytest.approx(10 / 3)
    assert np.flatnonzero(arrays["user_bias"]).tolist() == np.flatnonzero(arrays["user_factors"].any(axis=1)).tolist() == [1, 3]
    assert np.flatnonzero(arrays["film_bias"]).tolist() == np.flatnonzero(arrays["film_factors"].any(axis=1)).tolist() == [2, 4]


def test_predictions_stay_on_the_scale() -> None:
    """A sum beyond the scale is its end, as on Surprise's own predictions."""
    one = np.ones((1, 1), dtype=np.float32)
    none = np.zeros(1, dtype=np.int32)
    for mean, expected in ((9.0, 4.0), (-9.0, 2.0), (1.5, 2.5)):
        factors = Factors(mean, (2.0, 4.0), one[0], one[0] - 1, one, one - 1)
        assert factors.predict(none, none).tolist() == [expected]


def test_every_trainer_has_its_name() -> None:
    """The one that stands in the settings and the metadata; the reference comes first."""
    assert list(TRAINERS) == ["surprise", "sgd", "spark"]
    assert [make("local").name for make in TRAINERS.values()] == list(TRAINERS)


def test_spark_is_asked_for_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyspark, or without Java, the settings and the trainer refuse with what to install; the others do not care."""
    monkeypatch.setattr("auto_deployment.common.spark_packages.find_spec", lambda _: None)
    found = r"scripts/run --install spark"
    with pytest.raises(WrongUseError, match=f"TRAINER: .*{found}"):
        load_settings(_env_file=None, trainer="spark")
    with pytest.raises(WrongUseError, match=found):
        trainer_of("spark", "local")
    assert load_settings(_env_file=None, trainer="sgd").trainer == trainer_of("sgd", "local").name == "sgd"
    monkeypatch.setattr("auto_deployment.common.spark_packages.find_spec", lambda _: True)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(WrongUseError, match="Spark needs Java 17 or newer: install it"):
        load_settings(_env_file=None, trainer="spark")
    monkeypatch.setenv("JAVA_HOME", "/jdk")
    assert trainer_of("spark", "local").name == "spark"
