"""The films of a user's history that drove an answer, and how. Pure: arrays in, texts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auto_deployment.common.errors import RunError
from auto_deployment.provenance.contributions import contributions, likes
from auto_deployment.ranking.ranker_factory import SCORED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.model import Array, ServingModel
    from auto_deployment.provenance.history import HistoryFilm

MOST_DRIVERS = 10
# The step of lists by group, which only versions of software 1.0 served.
GROUPS = "demographics"
# The array of the rating part that explains the lists of a ranker. Versions of older code may lack it.
EXPLAINING_ARRAYS = {
    "popularity": "popularity_films",
    "svd": "film_factors",
    "ease": "ease_films",
    "als": "als_films",
    "blend": "ease_films",
}
# The content of a list, by ranker.
LIST_CONTENTS = {
    "popularity": "the films that most users liked, without those that this user had rated or watched",
    "svd": "the films with the highest rating predicted for this user, without those rated or watched",
    "ease": "the films that those they liked explain best, item to item, without those rated or watched",
    "als": "the films nearest to what they liked, by factors of likes, without those rated or watched",
    "blend": "the films that item-to-item weights and factors of their likes put highest, without those rated or watched",
}


@dataclass(frozen=True)
class Driver:
    """A film of the history, and its effect on the list as a text (`did`)."""

    film: str
    did: str


def step_meaning(step: str, metadata: Mapping[str, Any]) -> str:
    """The meaning of a step of the ranking, for the ranker of the version."""
    content = LIST_CONTENTS.get(str(metadata.get("ranker")), "their own list, computed ahead")
    meanings = {
        "known": f"a user of the training data: {content}",
        GROUPS: "no user of the training data, but their group was known: the films that were popular in the group",
        "fresh": "a list that was computed from the history and from what the user watched and rated since",
        "popular": "no user of the training data: the films that most users liked, the same for everybody",
        "seen_all": "the user had seen every film there is: the films that most users liked, all the same",
    }
    return meanings.get(step, step)


def find_drivers(
    step: str, shown: Sequence[str], history: Sequence[HistoryFilm], serving: ServingModel, rating: Mapping[str, Array]
) -> list[Driver]:
    """At most ten films of the history that drove the list `shown`, the strongest first. Only a known user has drivers.

    Raises RunError if the version keeps no array that explains its lists.
    """
    if step != "known":
        return []
    ranker = serving.metadata.get("ranker")
    if EXPLAINING_ARRAYS.get(str(ranker)) not in rating:
        raise RunError(f"version {serving.version} keeps nothing to explain lists of {ranker!r} by")
    places = {film: at for at, film in enumerate(serving.films)}
    known = [each for each in history if each.film in places]
    if ranker == "popularity":
        return _by_popularity(len(shown), known, places, rating["popularity_films"])[:MOST_DRIVERS]
    # An order of popular films leaves out all that was seen; only what training has read can drive scores.
    known = latest_films(known, serving.metadata.get("latest_films"))
    if ranker == "svd":
        return _by_factors(shown, known, places, rating)[:MOST_DRIVERS]
    if ranker not in SCORED:
        raise RunError(f"this code cannot explain lists of {ranker!r}: replay the answer with the image of its version")
    return _by_scores(shown, known, places, serving.metadata, rating)[:MOST_DRIVERS]


def latest_films(history: Sequence[HistoryFilm], most: int | None) -> list[HistoryFilm]:
    """The `most` latest films of a history in their order, as training takes them; all films where `most` is None."""
    latest = sorted(sorted(history, key=lambda each: each.film), key=lambda each: each.last_at, reverse=True)[:most]
    kept = {each.film for each in latest}
    return [each for each in history if each.film in kept]


def _by_popularity(count: int, history: Sequence[HistoryFilm], places: Mapping[str, int], order: Array) -> list[Driver]:
    """A history only takes films out of `order`. The drivers are films before the end of a list of `count` films."""
    place = np.argsort(order)
    found: list[Driver] = []
    for rank, film in sorted((int(place[places[each.film]]) + 1, each.film) for each in history):
        # Each film that is left out extends the list by one place.
        if rank > count + len(found):
            break
        found.append(Driver(film, f"left out as seen; it is number {rank} of the popular films"))
    return found


def _by_scores(
    shown: Sequence[str],
    history: Sequence[HistoryFilm],
    places: Mapping[str, int],
    metadata: Mapping[str, Any],
    rating: Mapping[str, Array],
) -> list[Driver]:
    """The mean contribution of each liked film to the scores of the list, and the film with its largest contribution."""
    rows = np.array([places[film] for film in shown if film in places], dtype=np.int64)
    if not len(rows):
        return []
    liked = likes(history, places, tuple(metadata["scale"]), rating)
    added = contributions(rows, liked, metadata, rating)
    films = [film for film in shown if film in places]
    names = {places[each.film]: each for each in history}
    found = []
    for at in np.argsort(-added.mean(axis=1), kind="stable").tolist():
        each, top = names[int(liked.films[at])], int(added[at].argmax())
        how = f"rated {each.stars:g}" if each.stars is not None else f"watched {each.minutes} minutes"
        did = f"{how}; adds {added[at].mean():+.3f} to the scores of the list, most to {films[top]} ({added[at, top]:+.3f})"
        found.append(Driver(each.film, did))
    return found


def _by_factors(
    shown: Sequence[str], history: Sequence[HistoryFilm], places: Mapping[str, int], rating: Mapping[str, Array]
) -> list[Driver]:
    """The pull of each rating on the list: its likeness to the shown films, times its distance from the expected rating."""
    factors, bias, mean = rating["film_factors"], rating["film_bias"], float(rating["mean"][0])
    rows = [places[film] for film in shown if film in places]
    if not rows:
        return []
    centre = _unit(factors[rows]).mean(axis=0)
    pulls = []
    for each in history:
        if each.stars is not None:
            at = places[each.film]
            surprise = each.stars - mean - float(bias[at])
            pulls.append((surprise * float(_unit(factors[at : at + 1])[0] @ centre), surprise, each))
    pulls.sort(key=lambda pull: -abs(pull[0]))
    return [
        Driver(each.film, f"rated {each.stars:g}, {surprise:+.2f} against the expected; pull on the list {pull:+.3f}")
        for pull, surprise, each in pulls
    ]


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
