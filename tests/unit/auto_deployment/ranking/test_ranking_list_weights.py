from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.fresh.list_model import EXACT, ListModel, NewLike
from auto_deployment.common.blas import one_thread
from auto_deployment.ranking.cold_start_evaluation import with_short_histories
from auto_deployment.ranking.list_weights import facts, likes_and_seen
from auto_deployment.ranking.metrics import UserMetrics, interval, lists_of, user_metrics
from auto_deployment.ranking.ranker import NONE
from auto_deployment.ranking.ranker_factory import RankerFactory, Tuning
from auto_deployment.ranking.rating_files import read_task
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.app.samples import save, serving
from tests.unit.auto_deployment.ranking.tastes import feedback_of, two_tastes

if TYPE_CHECKING:
    from auto_deployment.ranking.feedback import Feedback
    from auto_deployment.ranking.ranker import Indices
    from auto_deployment.ranking.rating_files import Task

MOVIELENS = Path(__file__).resolve().parents[5] / "shared" / "data" / "ml-100k"


def list_model(folder: Path, feedback: Feedback, ranker: str, tuning: Tuning) -> ListModel:
    """The list model of a version that is trained on the feedback."""
    factory = RankerFactory(feedback, SurpriseSVD(), 0)
    weights = factory.weights(ranker, tuning)
    minutes = np.zeros(feedback.shape[1], dtype=np.float32)
    fresh = {**weights.arrays, **likes_and_seen(factory.taste, feedback.seen()), "film_minutes": minutes}
    films = tuple(f"film+{number}+1990" for number in range(feedback.shape[1]))
    arrays = serving(films, tuple(range(feedback.shape[0])))
    arrays["cold"] = np.full_like(arrays["cold"], np.iinfo(arrays["cold"].dtype).max)
    arrays["cold"][0, 0] = 0
    arrays["top"][:] = arrays["cold"][0]
    metadata = {"fresh": facts(feedback.scale, 10**6, weights.item_share, {}), "scale": feedback.scale}
    return ListModel(save(folder, metadata, None, fresh, **arrays))


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """MovieLens 100K, `ua`, as TRAIN and TEST."""
    if not MOVIELENS.is_dir():
        pytest.skip(f"{MOVIELENS} is not here")
    folder, tables = tmp_path_factory.mktemp("ua"), []
    for path in (MOVIELENS / "ua.base", MOVIELENS / "ua.test"):
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        table = folder / f"{path.name}.csv"
        table.write_text("user_id,movie_id,rating,timestamp\n" + "".join(f"{','.join(row)}\n" for row in rows))
        tables.append(table)
    return read_task(*tables)


def fresh_lists(model: ListModel, feedback: Feedback, users: Indices) -> Indices:
    """Lists for users whom the model does not know, from the likes in the feedback."""
    taste, seen, rows = feedback.taste(), feedback.seen(), []
    for user in users:
        mine = slice(taste.indptr[user], taste.indptr[user + 1])
        grades = np.rint(taste.data[mine] * 255)
        likes = tuple(NewLike(int(film), int(grade)) for film, grade in zip(taste.indices[mine], grades, strict=True))
        films = model.compute(None, likes, seen.films[seen.starts[user] : seen.starts[user + 1]].astype(np.int64)).films
        rows.append([*films, *[NONE] * (40 - len(films))])
    return np.array(rows, dtype=np.int32)


@pytest.mark.slow
@pytest.mark.parametrize("ranker", ["ease", "blend"])
@one_thread()
def test_lists_of_new_users_are_as_good_as_after_a_retraining(movielens: Task, tmp_path: Path, ranker: str) -> None:
    """With 1, 2 and 5 films: Recall@20 is at most 0.005 below that of a model that was trained with these films.

    It is above that of popular films by more than chance.
    """
    train, tuning = movielens.train, Tuning()
    relevant = movielens.test[movielens.test.stars >= train.liked_from]
    half = np.random.default_rng(0).random(train.shape[0]) < 0.5
    for most in (1, 2, 5):
        retrained, fresh, popular = list[UserMetrics](), list[UserMetrics](), list[UserMetrics]()
        for number, new in enumerate((half, ~half)):
            short, users = with_short_histories(train, new, most, 0), np.flatnonzero(new).astype(np.int32)
            factory, seen = RankerFactory(short, SurpriseSVD(), 0), short.seen()
            retrained.append(user_metrics(users, lists_of(factory.make(ranker, tuning), users, seen), relevant))
            popular.append(user_metrics(users, lists_of(factory.popularity(None), users, seen), relevant))
            known = replace(short, ratings=short.ratings[~new[short.ratings.user]])
            model = list_model(tmp_path / f"{most}-{number}", known, ranker, tuning)
            fresh.append(user_metrics(users, fresh_lists(model, short, users), relevant))
        ours, theirs, plain = (np.concatenate([each.recall for each in found]) for found in (fresh, retrained, popular))
        gain = interval(ours - plain, 0)
        means = f"{ours.mean():.4f}, retrained {theirs.mean():.4f}, popularity {plain.mean():.4f}"
        print(f"{ranker}, {most} films: Recall@20 {means}, above popularity by {gain}")
        assert ours.mean() > theirs.mean() - 0.005
        assert gain is not None
        assert gain.low > 0


@pytest.mark.parametrize("ranker", ["ease", "als", "blend"])
def test_a_like_of_either_taste_brings_films_of_that_taste(tmp_path: Path, ranker: str) -> None:
    """Of a user whom the model does not know. The list is that of the scores to the film."""
    tuning = Tuning(ease_ridge=5.0, als_ridge=0.5, popularity_share=0.01, blend_popularity_share=0.01)
    model = list_model(tmp_path / "model", two_tastes(), ranker, tuning)
    for liked in (4, 5):
        films = model.compute(None, (NewLike(liked, 255),), np.array([liked])).films[:8]
        assert {film % 2 for film in films} == {liked % 2}


@pytest.mark.parametrize("ranker", ["ease", "als", "blend"])
def test_a_known_user_without_news_gets_nearly_the_version_s_list(tmp_path: Path, ranker: str) -> None:
    """Whole numbers and fixed factors change hardly a place among the first ten."""
    feedback = two_tastes()
    tuning = Tuning(ease_ridge=5.0, als_ridge=0.5, popularity_share=0.01, blend_popularity_share=0.01)
    model = list_model(tmp_path / "model", feedback, ranker, tuning)
    tops = RankerFactory(feedback, SurpriseSVD(), 0).make(ranker, tuning).top(0, feedback.shape[0], feedback.seen(), 2)
    computed = [model.compute(user, (), np.empty(0, dtype=np.int64)).films for user in range(feedback.shape[0] - 1)]
    same = [{*films[:2]} == {*top} for films, top in zip(computed, tops.tolist(), strict=False)]
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("ranker", ["popularity", "svd"])
def test_a_ranker_without_item_weights_keeps_the_order_of_popularity(tmp_path: Path, ranker: str) -> None:
    """After the film of the version's own list. Likes do not change it."""
    feedback = two_tastes()
    model = list_model(tmp_path / "model", feedback, ranker, Tuning())
    popular = RankerFactory(feedback, SurpriseSVD(), 0).popularity(None).order.tolist()
    assert not model.is_personal
    for likes in ((), (NewLike(5, 255),)):
        found = list(model.compute(None, likes, np.empty(0, dtype=np.int64)).films)
        assert found == [0, *(film for film in popular if film)]


def test_users_with_single_likes_have_no_item_weights(tmp_path: Path) -> None:
    """Nobody likes two films, so EASE explains none. A list is that of popularity."""
    feedback = feedback_of([(user, user % 5, 5.0) for user in range(10)], 10, 6)
    model = list_model(tmp_path / "model", feedback, "ease", Tuning())
    assert not model.is_personal
    assert model.compute(None, (NewLike(2, 255),), np.array([2])).films[:2] == (0, 1)


@pytest.mark.parametrize("ridge", [0.1, 1.0, 50.0, 1000.0])
@pytest.mark.parametrize("ranker", ["ease", "als", "blend"])
def test_no_score_reaches_what_float64_cannot_hold(ranker: str, ridge: float) -> None:
    """Whatever ALS's ridge makes of the factors: with the best grade for each film, sums stay below 2^53."""
    tuning = Tuning(ease_ridge=5.0, als_ridge=ridge)
    weights = RankerFactory(two_tastes(), SurpriseSVD(), 0).weights(ranker, tuning)
    arrays, most = weights.arrays, 255 * 10_000
    largest = float(arrays["popular"].max()) * 10
    if "item_weights" in arrays:
        largest += weights.item_share * most * float(np.abs(arrays["item_weights"]).max())
    if "item_factors" in arrays:
        factors = np.abs(arrays["item_factors"].astype(np.float64)).max()
        largest += arrays["item_factors"].shape[1] * most * factors * factors
    assert largest < EXACT
    assert arrays["popular"].min() >= 0
