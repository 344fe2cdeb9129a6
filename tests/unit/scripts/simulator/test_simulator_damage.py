from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.simulator.lines import Damager, DamageRates, Kind, empty_rating, insert_character, replace_film
from scripts.simulator.world import Draws

WATCH = "2023-10-25T07:20:57,135941,GET /data/m/interstellar+2014/134.mpg"
RATING = "2023-09-28T20:20:23,303668,GET /rate/the+good_+the+bad+and+the+ugly+1966=4"
REQUEST = "2022-03-04T20:22:00.415793,1,recommendation request h:1, status 200, result: a+1999, 3 ms"
MANY = 100_000


def damaged_share(kind: Kind, line: str, rates: DamageRates) -> float:
    """The share of many such lines that come back changed."""
    damage = Damager(rates, Draws(4, 0))
    return sum(damage(kind, line) != line for _ in range(MANY)) / MANY


@given(st.integers(min_value=0, max_value=len(RATING)), st.sampled_from("aZ0 "))
def test_one_character_more_anywhere(place: int, character: str) -> None:
    """Without the character put in, the line is as it was: also when it stands first or last."""
    line = insert_character(RATING, place, character)
    assert line[place] == character
    assert line[:place] + line[place + 1 :] == RATING


def test_only_the_film_is_replaced() -> None:
    """Time, user, minute and rating stay; signs of the film's own do not mislead."""
    assert replace_film(WATCH, "u8SHqOxj49") == "2023-10-25T07:20:57,135941,GET /data/m/u8SHqOxj49/134.mpg"
    assert replace_film(RATING, "GnjPfPIV") == "2023-09-28T20:20:23,303668,GET /rate/GnjPfPIV=4"


def test_an_empty_rating_lost_its_value_or_its_film_too() -> None:
    """Both forms that the real stream has."""
    assert empty_rating(RATING, film=True) == "2023-09-28T20:20:23,303668,GET /rate/="
    assert empty_rating(RATING, film=False) == RATING.removesuffix("4")


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [(Kind.WATCH, WATCH, 0.01), (Kind.RATING, RATING, 0.0006), (Kind.RECOMMENDATION, REQUEST, 0.0)],
)
def test_damage_is_as_frequent_as_measured(kind: Kind, line: str, expected: float) -> None:
    """By default 1 watch line in 100, and 4 ratings in 10,000 beside 2 that are empty; no request."""
    assert damaged_share(kind, line, DamageRates()) == pytest.approx(expected, rel=0.3)


def test_rates_are_taken_as_given() -> None:
    """No rate, no damage; a rate of one, nothing but damage."""
    assert damaged_share(Kind.RATING, RATING, DamageRates(0, 1, 0)) == 0
    assert damaged_share(Kind.WATCH, WATCH, DamageRates(1, 0, 1)) == 0
    assert damaged_share(Kind.RATING, RATING, DamageRates(0, 0, 1)) == 1


def test_damage_is_a_character_too_many_or_another_film() -> None:
    """All damaged lines are of the two kinds; replacements have 8 to 58 letters and digits, insertions blanks too."""
    damage, inserted, lengths = Damager(DamageRates(watches=1.0), Draws(4, 0)), set(), set()
    for _ in range(5000):
        line = damage(Kind.WATCH, WATCH)
        noise = re.fullmatch(r"2023-10-25T07:20:57,135941,GET /data/m/([A-Za-z0-9]+)/134\.mpg", line)
        if noise and len(line) != len(WATCH) + 1:
            lengths.add(len(noise[1]))
        else:
            assert len(line) == len(WATCH) + 1
            inserted.add(next(new for new, old in zip(line, WATCH + "\n", strict=True) if new != old))
    assert (min(lengths), max(lengths)) == (8, 58)
    assert {" ", "0", "a", "Z"} < inserted
