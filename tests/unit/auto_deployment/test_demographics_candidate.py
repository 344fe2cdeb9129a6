from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING

from app.model import load_serving
from app.recommender import Recommender
from auto_deployment.candidate import train_version
from auto_deployment.demographics import store
from auto_deployment.demographics.store import Person
from auto_deployment.progress import Progress
from tests.unit.auto_deployment.samples import START
from tests.unit.auto_deployment.test_candidate import VERSION, collected

if TYPE_CHECKING:
    from pathlib import Path

USERS, FILMS, EACH = 240, 60, 8


def lines_of_two_tastes() -> list[str]:
    """Women, of even ids, mostly rate films 1900 to 1929, men those after; a film's stars are nearly the same for all."""
    draw, rated = random.Random(4), []
    for user in range(USERS):
        own, other = (range(30), range(30, 60)) if user % 2 == 0 else (range(30, 60), range(30))
        films = draw.sample(own, EACH - 2) + draw.sample(other, 2)
        rated += [(user, film, min(5, 3 + film % 3 + draw.choice((0, 0, 0, 1)))) for film in films]
    draw.shuffle(rated)
    names = [f"{chr(97 + film % 26)}{chr(97 + film // 26)}+film+{1900 + film}" for film in range(FILMS)]
    return [
        f"{START + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S},{100 + user},GET /rate/{names[film]}={stars}"
        for at, (user, film, stars) in enumerate(rated)
    ]


def test_a_newcomer_whose_group_is_known_gets_what_it_likes(tmp_path: Path) -> None:
    """From lines of the stream and a table of people to the answers: by group, and the popular list for all others.

    The metadata says which table of people it was, as it says it of the others.
    """
    settings, said = collected(tmp_path, lines_of_two_tastes(), ranker="popularity", trainer="sgd"), StringIO()
    people = {100 + user: Person(30, "M" if user % 2 else "F") for user in range(USERS)}
    store.write(settings.data_dir, {**people, 7: Person(33, "F"), 8: Person(33, "M"), 9: Person()})
    metadata = train_version(settings, VERSION, Progress(said))
    assert metadata["metrics"]["demographics"]["attributes"] is not None
    assert "2 users without a history get the list of theirs by" in said.getvalue()
    table = (settings.data_dir / store.FILE).read_bytes()
    assert metadata["data"][store.FILE] == {"md5": hashlib.md5(table, usedforsecurity=False).hexdigest(), "rows": USERS + 3}
    recommender = Recommender(load_serving(settings.data_dir / "model"))
    answers = {user: recommender.recommend(user) for user in (7, 8, 9, 10)}
    assert [answer.step for answer in answers.values()] == ["demographics", "demographics", "popular", "popular"]
    years = {user: [int(film[-4:]) for film in answer.body.split(",")[:10]] for user, answer in answers.items()}
    assert max(years[7]) < 1930 <= min(years[8])
    assert answers[9] == answers[10]
    assert recommender.recommend(100).step == "known"
