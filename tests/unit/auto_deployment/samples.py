"""Small data for the tests of the host side: data sets of a few films, an evaluation that passes, a stream that teaches."""

from __future__ import annotations

import random
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from surprise import Dataset as SurpriseDataset
from surprise import Reader

from app.events import Rating, parse
from auto_deployment.evaluation.evaluate import Errors, Evaluation
from auto_deployment.ingestion.rows import BlockRows, Counts
from auto_deployment.ingestion.tables import Tables
from auto_deployment.ranking.offline_evaluation import RankingMetrics
from auto_deployment.training.dataset import Dataset, Ratings, Watches, read
from auto_deployment.training.pair_table import PairTables, source_of_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surprise import Trainset

SCALE = (1.0, 5.0)
START = datetime(2026, 1, 5, 8)  # noqa: DTZ001 - the stream tells no zone
WATCH_ONLY = range(900, 905)


def ratings_of(rated: Sequence[tuple[int, int, float]]) -> Ratings:
    """Ratings (user, film, stars), a second apart in the order given."""
    user, film, stars = zip(*rated, strict=True) if rated else ((), (), ())
    return Ratings(
        np.array(user, dtype=np.int32),
        np.array(film, dtype=np.int32),
        np.array(stars, dtype=np.float32),
        np.arange(len(rated), dtype=np.int64) * 1_000_000,
    )


def watches_of(watched: Sequence[tuple[int, int]]) -> Watches:
    """A minute of each pair (user, film), a second apart in the order given."""
    pairs = np.array(watched, dtype=np.int32).reshape(-1, 2)
    times = np.arange(len(pairs), dtype=np.int64) * 1_000_000
    return Watches(pairs[:, 0], pairs[:, 1], np.ones(len(pairs), dtype=np.int32), times)


def films_of(count: int) -> tuple[str, ...]:
    """So many ids of films, in order."""
    return tuple(f"film+{at:06}+1999" for at in range(count))


def dataset_of(
    rated: Sequence[tuple[int, int, float]], users: int, films: int, watched: Sequence[tuple[int, int]] = ()
) -> Dataset:
    """A data set of users 0, 10, 20, ... and `films` films; pairs are rows of both."""
    rows = {"ratings": len(rated), "watches": len(watched)}
    known = np.arange(users, dtype=np.int64) * 10
    return Dataset(
        known, films_of(films), ratings_of(rated), watches_of(watched), (), rows, np.zeros(len(watched), dtype=np.int32)
    )


def random_ratings(count: int, users: int, films: int, seed: int = 1) -> list[tuple[int, int, float]]:
    """Different pairs with stars that depend on the film, a little on the user, and on chance."""
    draw = random.Random(seed)
    pairs = draw.sample([(user, film) for user in range(users) for film in range(films)], count)
    return [(user, film, float(min(5, max(1, 1 + film % 5 + draw.choice((-1, 0, 0, user % 2)))))) for user, film in pairs]


def read_lines(lines: Sequence[str]) -> Dataset:
    """The ratings among lines of the stream."""
    rated = [event for event in map(parse, lines) if isinstance(event, Rating)]
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Path(folder))
        rows = [f"{event.user},{event.film},{event.stars:g},{event.time}" for event in rated]
        tables.append(BlockRows(rows, [], [], [], Counts()))
        return read_tables(tables)


def read_tables(tables: Tables, scale: tuple[float, float] = SCALE) -> Dataset:
    """All rows of the tables as training reads them. Raises RefusedError."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        pairs = PairTables(base / "pairs")
        manifest = pairs.update(source_of_tables(tables, base / "clean_watch_0.parquet", base / "scratch"), scale)
        return read(pairs.folder / "0", manifest, base / "scratch")


def surprise_trainset(rated: Sequence[tuple[int, int, float]]) -> Trainset:
    """The same ratings as Surprise reads them itself."""
    frame = pd.DataFrame(rated, columns=["user", "film", "stars"])
    return SurpriseDataset.load_from_df(frame, Reader(rating_scale=SCALE)).build_full_trainset()


def evaluation(**changed: Any) -> Evaluation:
    """An evaluation that passes the gate with a limit of 1, with some of its values changed."""
    errors = (0.80, 0.82, 0.81, 0.83, 0.79)
    popularity, svd = RankingMetrics(0.20, 0.01, 0.30, 0.10, 50), RankingMetrics(0.10, 0.02, 0.20, 0.40, 50)
    good = Evaluation(
        rows=5_000,
        test_rows=(500,) * 5,
        known_rows=(200,) * 5,
        model=Errors(errors, tuple(error - 0.1 for error in errors), tuple(error + 0.1 for error in errors)),
        bias=Errors(tuple(error + 0.01 for error in errors), errors, errors),
        shuffled=(tuple(error + 0.2 for error in errors), tuple(error + 0.21 for error in errors)),
        ranking={"popularity": popularity, "svd": svd},
        absent_users=7,
    )
    return good.model_copy(update=changed)


def of_all(*errors: float) -> Errors:
    """Errors of all rows; of no known and no unknown user."""
    return Errors(errors, (None,) * len(errors), (None,) * len(errors))


def stream(seed: int = 3, users: int = 60, films: int = 24) -> list[str]:
    """Lines in order of time: 900 ratings that a film's quality explains, 300 watched films, and users who only watch.

    The last of `WATCH_ONLY` watched every film.
    """
    draw = random.Random(seed)
    names = [f"{chr(97 + film)}lpha+beta+{1950 + film}" for film in range(films)]
    pairs = draw.sample([(user, film) for user in range(users) for film in range(films)], 1_200)
    requests = [f"{100 + user},GET /rate/{names[film]}={_stars(draw, film)}" for user, film in pairs[:900]]
    requests += [f"{100 + user},GET /data/m/{names[film]}/{minute}.mpg" for user, film in pairs[900:] for minute in (3, 4)]
    draw.shuffle(requests)
    requests += [f"{user},GET /data/m/{names[user % films]}/1.mpg" for user in WATCH_ONLY]
    requests += [f"{WATCH_ONLY[-1]},GET /data/m/{name}/2.mpg" for name in names]
    return [f"{START + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S},{request}" for at, request in enumerate(requests)]


def _stars(draw: random.Random, film: int) -> int:
    return min(5, max(1, 1 + film % 5 + draw.choice((-1, 0, 0, 0, 1))))
