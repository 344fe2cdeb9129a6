"""Which films of a user's history drove an answer, and how. Pure: arrays in, words out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auto_deployment.common.errors import RunError
from auto_deployment.provenance.drivers import added, likes
from auto_deployment.ranking.factory import SCORED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.model import Array, ServingModel
    from auto_deployment.provenance.history import Seen

MOST_SHOWN = 10
# The step of lists by group, which only versions of software 1.0 served.
GROUPS = "demographics"
# Without this array of the rating part, which versions of older code may not have, a ranker's lists cannot be explained.
KEPT = {
    "popularity": "popularity_films",
    "svd": "film_factors",
    "ease": "ease_films",
    "als": "als_films",
    "blend": "ease_films",
}
# What a list of each ranker has.
RANKED = {
    "popularity": "the films that most users liked, without those that this user had rated or watched",
    "svd": "the films with the highest rating predicted for this user, without those rated or watched",
    "ease": "the films that those they liked explain best, item to item, without those rated or watched",
    "als": "the films nearest to what they liked, by factors of likes, without those rated or watched",
    "blend": "the films that item-to-item weights and factors of their likes put highest, without those rated or watched",
}


class Driver(NamedTuple):
    """A film of the history and what it did."""

    film: str
    did: str


def step_told(step: str, metadata: Mapping[str, Any]) -> str:
    """What a step of the ranking means, for the ranker of that version."""
    steps = {
        "known": f"a user of the training data: {RANKED.get(str(metadata.get('ranker')), 'their own list, computed ahead')}",
        GROUPS: "no user of the training data, but their group was known: the films that were popular in the group",
        "popular": "no user of the training data: the films that most users liked, the same for everybody",
        "seen_all": "the user had seen every film there is: the films that most users liked, all the same",
    }
    return steps.get(step, step)


def drivers(
    step: str, shown: Sequence[str], seen: Sequence[Seen], serving: ServingModel, rating: Mapping[str, Array]
) -> list[Driver]:
    """The films of the history that made the list what it is, the strongest first; at most ten.

    Raises RunError where the version keeps nothing to tell them by.
    """
    if step != "known":
        return []
    ranker = serving.metadata.get("ranker")
    if KEPT.get(str(ranker)) not in rating:
        raise RunError(f"version {serving.version} keeps nothing to explain lists of {ranker!r} by")
    places = {film: at for at, film in enumerate(serving.films)}
    known = [each for each in seen if each.film in places]
    if ranker == "popularity":
        return _by_popularity(len(shown), known, places, rating["popularity_films"])[:MOST_SHOWN]
    if ranker == "svd":
        return _by_factors(shown, known, places, rating)[:MOST_SHOWN]
    if ranker not in SCORED:
        raise RunError(f"this code cannot explain lists of {ranker!r}: replay the answer with the image of its version")
    return _by_scores(shown, known, places, serving.metadata, rating)[:MOST_SHOWN]


def _by_popularity(count: int, seen: Sequence[Seen], places: Mapping[str, int], order: Array) -> list[Driver]:
    """History only takes films out of `order`: those before the end of a list of `count`, by their place."""
    place = np.argsort(order)
    found: list[Driver] = []
    for rank, film in sorted((int(place[places[each.film]]) + 1, each.film) for each in seen):
        # Each film left out lets the list reach one further down.
        if rank > count + len(found):
            break
        found.append(Driver(film, f"left out as seen; it is number {rank} of the popular films"))
    return found


def _by_scores(
    shown: Sequence[str],
    seen: Sequence[Seen],
    places: Mapping[str, int],
    metadata: Mapping[str, Any],
    rating: Mapping[str, Array],
) -> list[Driver]:
    """What each liked film adds to the scores of the list, and to which of its films most."""
    rows = np.array([places[film] for film in shown if film in places], dtype=np.int64)
    if not len(rows):
        return []
    liked = likes(seen, places, tuple(metadata["scale"]), rating)
    told = added(rows, liked, metadata, rating)
    films = [film for film in shown if film in places]
    names = {places[each.film]: each for each in seen}
    found = []
    for at in np.argsort(-told.mean(axis=1), kind="stable").tolist():
        each, most = names[int(liked.films[at])], int(told[at].argmax())
        how = f"rated {each.stars:g}" if each.stars is not None else f"watched {each.minutes} minutes"
        did = f"{how}; adds {told[at].mean():+.3f} to the scores of the list, most to {films[most]} ({told[at, most]:+.3f})"
        found.append(Driver(each.film, did))
    return found


def _by_factors(
    shown: Sequence[str], seen: Sequence[Seen], places: Mapping[str, int], rating: Mapping[str, Array]
) -> list[Driver]:
    """How much a rating pulls the list towards films like it: likeness to those shown, times its distance from the expected."""
    factors, bias, mean = rating["film_factors"], rating["film_bias"], float(rating["mean"][0])
    rows = [places[film] for film in shown if film in places]
    if not rows:
        return []
    centre = _unit(factors[rows]).mean(axis=0)
    pulls = []
    for each in seen:
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
