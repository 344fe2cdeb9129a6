from __future__ import annotations

import re
from itertools import islice

import pytest

from scripts.simulator.world import FIRST_YEAR, LAST_YEAR, NO_YEAR, Draws, distinct_films, film_id

REAL_IDS = [
    ("Interstellar", 2014, "interstellar+2014"),
    ("The Good, the Bad and the Ugly", 1966, "the+good_+the+bad+and+the+ugly+1966"),
    ("Mr. & Mrs. Smith", 2005, "mr.++mrs.+smith+2005"),
    ("Dr. No", 1962, "dr.+no+1962"),
    ("Bat*21", 1988, "bat*21+1988"),
    ("Connections", NO_YEAR, "connections+"),
    ("Monsters, Inc.", 2001, "monsters_+inc.+2001"),
    ("Star Wars: Episode III - Revenge of the Sith", 2005, "star+wars+episode+iii+-+revenge+of+the+sith+2005"),
    ("Yours, Mine & Ours", 2005, "yours_+mine++ours+2005"),
    ("One Flew Over the Cuckoo's Nest", 1975, "one+flew+over+the+cuckoos+nest+1975"),
    ("Noises Off...", 1992, "noises+off...+1992"),
]


@pytest.mark.parametrize(("title", "year", "expected"), REAL_IDS)
def test_an_id_is_made_as_the_service_makes_it(title: str, year: int, expected: str) -> None:
    """Titles whose ids stand in the real stream give those very ids."""
    assert film_id(title, year) == expected


def test_made_up_films_are_distinct_and_of_every_form() -> None:
    """No id comes twice, all keep to the stream's characters, and each oddity of the real ids occurs."""
    films = list(islice(distinct_films(Draws(3, 0)), 5000))
    ids = [name for name, _, _ in films]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9+._*-]+\+([0-9]{4})?", name) for name in ids)
    for oddity in (r"_\+", r"\+\+", r"\+$", r"\.", r"-", r"\*", r"[0-9].*\+[0-9]{4}$"):
        assert any(re.search(oddity, name) for name in ids), oddity


def test_years_begin_in_1893() -> None:
    """The years of films are those that the service has; a few films have none."""
    years = {year for _, _, year in islice(distinct_films(Draws(3, 0)), 5000)}
    assert NO_YEAR in years
    assert {FIRST_YEAR, LAST_YEAR} <= years
    assert min(years - {NO_YEAR}) == 1893
