from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from auto_deployment.provenance.contributions import als_contributions, contributions, ease_contributions, likes
from auto_deployment.provenance.history import HistoryFilm
from auto_deployment.ranking.als import ImplicitAls
from auto_deployment.ranking.ease import Ease
from auto_deployment.ranking.ranker_factory import RankerFactory, Tuning
from auto_deployment.training.seen import Seen
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.ranking.tastes import FILMS, USERS, feedback_of, two_tastes
from tests.unit.auto_deployment.samples import SCALE

if TYPE_CHECKING:
    from auto_deployment.ranking.feedback import Feedback

TUNING = Tuning(ease_ridge=5.0, als_ridge=0.5, als_share=0.7)
SHOWN = np.arange(FILMS)
PLACES = {str(film): film for film in range(FILMS)}


def history(feedback: Feedback, user: int) -> list[HistoryFilm]:
    """The films that the user rated or watched, as in the tables."""
    rated = feedback.ratings[feedback.ratings.user == user]
    watched = feedback.watches[feedback.watches.user == user]
    pairs = zip(rated.film.tolist(), rated.stars.tolist(), strict=True)
    minutes = zip(watched.film.tolist(), watched.minutes.tolist(), strict=True)
    return [
        *(HistoryFilm(str(film), stars, "2026-01-05T08:00:00", 0) for film, stars in pairs),
        *(HistoryFilm(str(film), None, None, each) for film, each in minutes),
    ]


def kept(name: str, feedback: Feedback) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and arrays of the artifact, as far as drivers read them."""
    arrays = RankerFactory(feedback, SurpriseSVD(), 0).kept(name, TUNING)
    return {"ranker": name, "scale": list(SCALE), "metrics": {"choice": {"tuning": asdict(TUNING)}}}, arrays


@pytest.mark.parametrize("user", [0, 2, 3, 40])
def test_what_the_films_add_is_the_score(user: int) -> None:
    """Of every film, by item-to-item weights, by factors and by both: nothing of the score comes from elsewhere."""
    feedback = two_tastes()
    ease, als = (
        Ease(feedback.taste(), 5.0).scores(user, user + 1)[0],
        ImplicitAls(feedback.taste(), 0.5, 0).scores(user, user + 1)[0],
    )
    for name, score in (("ease", ease), ("als", als), ("blend", ease + 0.7 * als)):
        metadata, arrays = kept(name, feedback)
        liked = likes(history(feedback, user), PLACES, SCALE, arrays)
        assert contributions(SHOWN, liked, metadata, arrays).sum(axis=0) == pytest.approx(score, abs=1e-5)


def test_a_film_of_the_same_taste_adds_most() -> None:
    """To the films of its own taste; the other taste's get next to nothing from it."""
    feedback = two_tastes()
    metadata, arrays = kept("blend", feedback)
    liked = likes([HistoryFilm("4", 5.0, "2026-01-05T08:00:00", 0)], PLACES, SCALE, arrays)
    added = contributions(SHOWN, liked, metadata, arrays)[0]
    others = np.setdiff1d(np.arange(0, FILMS, 2), [4])
    assert added[others].min() > 5 * np.abs(added[1::2]).max()


def test_dislikes_add_nothing_and_minutes_count_by_the_films_length() -> None:
    """1 and 2 of 5 and what was left early are no likes; a film watched whole is; where no lengths are kept no watch counts."""
    watched = [(user, 3, 100) for user in range(20)]
    arrays = kept("als", feedback_of([(user, film, 5.0) for user in range(USERS) for film in (0, 1)], USERS, FILMS, watched))[1]
    seen = [
        HistoryFilm("0", 2.0, "t", 90),
        HistoryFilm("1", 4.0, "t", 0),
        HistoryFilm("3", None, None, 50),
        HistoryFilm("4", None, None, 5),
    ]
    liked = likes(seen, PLACES, SCALE, arrays)
    assert (liked.films.tolist(), liked.grades.tolist()) == ([1, 3], pytest.approx([0.85, 0.425]))
    assert likes(seen, PLACES, SCALE, {}).films.tolist() == [1]


def test_who_liked_nothing_has_no_driver() -> None:
    """No row, and no error."""
    metadata, arrays = kept("blend", two_tastes())
    liked = likes([HistoryFilm("4", 1.0, "t", 0)], PLACES, SCALE, arrays)
    assert contributions(SHOWN, liked, metadata, arrays).shape == (0, FILMS)


def test_of_each_film_the_strongest_weights_are_kept() -> None:
    """By size, whatever the sign; films outside the matrix have none."""
    ease = Ease(feedback_of([*((u, f, 5.0) for u in range(9) for f in range(u % 2, 8, 2)), (9, 8, 5.0)], 10, 9).taste(), 1.0)
    films, kept_weights = ease.strongest(3)
    assert films.shape == kept_weights.shape == (9, 3)
    for film in range(8):
        weights = ease.weights[:, film]
        assert np.abs(kept_weights[film]).tolist() == sorted(np.abs(weights).tolist(), reverse=True)[:3]
        assert kept_weights[film].tolist() == weights[films[film]].tolist()
    assert not kept_weights[8].any()


def test_popularitys_order_is_kept_as_its_lists_follow_it() -> None:
    """With the half-life that was chosen: the very order of the lists, every film in it once."""
    factory, tuning = RankerFactory(two_tastes(), SurpriseSVD(), 0), Tuning(half_life=0.05)
    found = factory.kept("popularity", tuning)["popularity_films"]
    nothing = np.zeros(0, dtype=np.int32)
    nobody = Seen.of(nothing, nothing, USERS)
    assert found.dtype == np.uint16
    assert found.tolist() == factory.make("popularity", tuning).top(0, 1, nobody, FILMS)[0].tolist()


def test_what_is_kept_is_bounded() -> None:
    """A film's place, or fifty weights and its factors: whatever the ranker needs and nothing else."""
    names = {name: set(kept(name, two_tastes())[1]) for name in ("popularity", "svd", "ease", "als", "blend")}
    assert names == {
        "popularity": {"popularity_films"},
        "svd": set(),
        "ease": {"ease_films", "ease_weights"},
        "als": {"als_films", "als_squares"},
        "blend": {"ease_films", "ease_weights", "als_films", "als_squares"},
    }
    arrays = kept("blend", two_tastes())[1]
    assert arrays["ease_weights"].shape == (FILMS, 50)
    assert ease_contributions(SHOWN[:0], likes([], PLACES, SCALE, arrays), arrays).shape == (0, 0)
    assert als_contributions(SHOWN[:3], likes([], PLACES, SCALE, arrays), arrays, 0.5).shape == (0, 3)
