"""What the film service's API tells of users and films: documents made from the seeded world."""

from scripts.simulator.draws import Draws
from scripts.simulator.titles import NO_YEAR
from scripts.simulator.world import GENRES, World

OCCUPATIONS = (
    "other or not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)
YOUNGEST, TYPICAL_AGE, AGE_SPREAD = 8, 33, 12
MEN_SHARE = 0.7
MOST_VOTES = 15_000

_USER, _FILM = 40, 41

Document = dict[str, object]


def user_document(world: World, user_id: int) -> Document | None:
    """Describe a user, or give None for an id that nobody has."""
    if world.users.place(user_id) is None:
        return None
    draws = Draws(world.seed, (_USER << 64) + user_id)
    return {
        "user_id": user_id,
        "age": max(YOUNGEST, round(TYPICAL_AGE + AGE_SPREAD * draws.normal())),
        "occupation": OCCUPATIONS[draws.below(len(OCCUPATIONS))],
        "gender": "M" if draws.uniform() < MEN_SHARE else "F",
    }


def film_document(world: World, film_id: str) -> Document | None:
    """Describe a film, or give None for an id that is not in the catalogue. Most numbers are strings, as they come."""
    films = world.films
    place = films.places.get(film_id)
    if place is None:
        return None
    draws = Draws(world.seed, (_FILM << 64) + place)
    year, share = films.years[place], films.popularity[place] / films.popularity[0]
    return {
        "id": film_id,
        "tmdb_id": place + 1,
        "imdb_id": f"tt{place + 1:07d}",
        "title": films.titles[place],
        "original_title": films.titles[place],
        "adult": "False",
        "budget": str(draws.below(200) * 500_000),
        "genres": [{"id": GENRES[genre][0], "name": GENRES[genre][1]} for genre in films.genres[place]],
        "original_language": "en",
        "popularity": f"{100 * share:.6f}",
        "release_date": "" if year == NO_YEAR else f"{year}-{1 + draws.below(12):02d}-{1 + draws.below(28):02d}",
        "runtime": films.runtimes[place],
        "status": "Released",
        "vote_average": f"{min(9.5, max(1.0, 6.5 + films.quality[place])):.1f}",
        "vote_count": str(1 + int(MOST_VOTES * share)),
    }
