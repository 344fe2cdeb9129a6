"""Who visits a recommender."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from scripts.simulator.draws import Draws
from scripts.simulator.errors import InputError

_VISITORS = 30


def visitors(users: str, seed: int) -> Iterator[str]:
    """Name visitors without end: with a number N ids from 1 to N at random, with a file its lines over and over."""
    if users.isdecimal() and int(users):
        return _at_random(int(users), Draws(seed, _VISITORS))
    try:
        listed = [line.strip("\r") for line in Path(users).read_text("utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the users from {users}: {error}; give a number, or a file with one id a line") from error
    if not any(listed):
        raise InputError(f"{users} names no user: give a number, or a file with one id a line")
    return cycle(filter(None, listed))


def _at_random(highest: int, draws: Draws) -> Iterator[str]:
    while True:
        yield str(1 + draws.below(highest))
