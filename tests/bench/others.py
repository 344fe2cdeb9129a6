"""`bench score`, `parse`, `artifact` and `train`: each part compared with its usual replacement."""

from __future__ import annotations

import pickle
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from surprise import SVD

from app import events
from app.model import load_serving
from app.recommender import Recommender
from auto_deployment.evaluation.evaluate import rmse
from auto_deployment.training import surprise_svd
from auto_deployment.training.sgd import SgdTrainer
from tests.bench import fixtures
from tests.bench.measure import PAIRS, Row, interleaved, processor_seconds, row
from tests.bench.servers import server

if TYPE_CHECKING:
    from auto_deployment.training.rating_model import Factors, Trainer

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SCALE = (1.0, 5.0)
ANSWERS = 20_000
SCORE_GOAL = 1 / 500
PARSE_GOAL = 0.3
PARSE_LINES = 40_000
BYTES_A_USER = 100
BYTES_FOR_A_MILLION = 130_000_000
MILLION = 1_000_000
READY_SECONDS = 2.0
FAST_GOAL = 0.1
FAST_PAIRS = 2


def score() -> list[Row]:
    """The precomputed answer against asking Surprise's `predict` for each of 27,000 films."""
    svd = SVD(random_state=0, n_epochs=1).fit(surprise_svd._trainset(fixtures.ratings(60_000, 1000), SCALE))
    user = next(iter(svd.trainset._raw2inner_id_users))

    def loop() -> None:
        found = [(svd.predict(user, film).est, film) for film in range(fixtures.FILMS)]
        sorted(found, reverse=True)[:20]

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        recommender = Recommender(load_serving(fixtures.artifact(Path(folder) / "model", 100_000)))
        users = [number * 7919 % 100_000 * fixtures.USER_STEP for number in range(ANSWERS)]

        def answers() -> None:
            for each in users:
                recommender.recommend(each)

        pairs = interleaved(lambda: processor_seconds(answers) / ANSWERS * 1e6, lambda: processor_seconds(loop) * 1e6)
    return [row("score", "time of one user's list", pairs, "lower", SCORE_GOAL, "us")]


def parse() -> list[Row]:
    """Lines/s of the parser against the bare compiled expression, its groups taken."""
    shared = ROOT.parent / "shared" / "data"
    files = [path for path in (shared / "movielog-ratings.log", shared / "movielog-watches.log") if path.exists()]
    rows = []
    for path in files or [ROOT / "data" / "sample" / "movielog.log"]:
        lines = path.read_text().splitlines()
        lines = (lines * (PARSE_LINES // len(lines) + 1))[:PARSE_LINES]
        pairs = interleaved(
            lambda lines=lines: len(lines) / processor_seconds(lambda: _parse_all(lines)),  # type: ignore[misc]
            lambda lines=lines: len(lines) / processor_seconds(lambda: _match_all(lines)),  # type: ignore[misc]
        )
        rows.append(row("parse", path.stem, pairs, "higher", PARSE_GOAL, "lines/s"))
    return rows


def _parse_all(lines: list[str]) -> None:
    parse_line = events.parse
    for line in lines:
        parse_line(line)


def _match_all(lines: list[str]) -> None:
    match = events._RATING_OR_WATCH
    for line in lines:
        found = match(line)
        if found is not None:
            found.groups()


def artifact() -> list[Row]:
    """Size, loading and memory of the artifact, against Surprise's pickle of a model of the same users and films."""
    users = 100_000
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        pickled = folder / "svd.pickle"
        svd = SVD(random_state=0, n_epochs=1).fit(surprise_svd._trainset(fixtures.ratings(500_000, users), SCALE))
        pickled.write_bytes(pickle.dumps(svd))
        ours = fixtures.artifact(folder / "model", users)
        sizes = (
            [((ours / "serving" / "users.npy").stat().st_size + (ours / "serving" / "top.npy").stat().st_size) / users],
            [pickled.stat().st_size / users],
        )
        loads = interleaved(lambda: _seconds(lambda: load_serving(ours)), lambda: _seconds(lambda: _unpickle(pickled)))
        return [
            row("artifact", "bytes a user", list(zip(*sizes, strict=True)), "lower", BYTES_A_USER / sizes[1][0], "B"),
            row("artifact", "time to load", loads, "lower", None, "s"),
            *_million(folder),
        ]


def _million(folder: Path) -> list[Row]:
    """A million users and 27,000 films: bytes, seconds until ready, and what a worker has to itself of the memory."""
    model = fixtures.artifact(folder / "million", MILLION)
    size = sum(path.stat().st_size for path in (model / "serving").iterdir())
    started = time.perf_counter()
    with server(folder, "million", {"MODEL_DIR": str(model), "JOURNAL_DIR": ""}) as running:
        ready = time.perf_counter() - started
        own = running.worker_memory("Private_Clean") + running.worker_memory("Private_Dirty")
        resident = running.worker_memory("Rss")
    return [
        row("artifact", "bytes of 1 million users", [(size, BYTES_FOR_A_MILLION)], "lower", 1.0, "B"),
        row("artifact", "1 million users: ready", [(ready, READY_SECONDS)], "lower", 1.0, "s"),
        row("artifact", "1 million users: a worker's own", [(own, resident)], "lower", None, "MiB"),
    ]


def _seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def _unpickle(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)  # noqa: S301 - the baseline, of our own making


def training() -> list[Row]:
    """Training to arrays against Surprise's bare `fit` on a training set that is there; then the fast trainer against it."""
    ratings = fixtures.ratings(200_000, 20_000)
    trainset = surprise_svd._trainset(ratings, SCALE)
    pairs = interleaved(
        lambda: processor_seconds(lambda: surprise_svd.SurpriseSVD().fit(ratings, (20_000, fixtures.FILMS), SCALE, 0)),
        lambda: processor_seconds(lambda: SVD(random_state=0).fit(trainset)),
        min(PAIRS, 3),
    )
    return [row("train", "200,000 ratings", pairs, "lower", None, "s"), *_fast_training()]


def _fast_training() -> list[Row]:
    """`TRAINER=sgd` against `surprise` on 1 million ratings, in time and, on a tenth held out, in RMSE."""
    whole, shape = fixtures.ratings(MILLION, 40_000), (40_000, fixtures.FILMS)
    held = np.random.default_rng(1).random(MILLION) < 0.1
    known, test = whole[~held], whole[held]
    errors = []

    def seconds(trainer: Trainer) -> float:
        models: list[Factors] = []
        spent = processor_seconds(lambda: models.append(trainer.fit(known, shape, SCALE, 0)))
        errors.append((trainer.name, rmse(models[0].predict(test.user, test.film), test.stars) or 0.0))
        return spent

    # The first training compiles, which takes half a second once in a process.
    SgdTrainer().fit(known[:100], shape, SCALE, 0)
    pairs = interleaved(lambda: seconds(SgdTrainer()), lambda: seconds(surprise_svd.SurpriseSVD()), FAST_PAIRS)
    found = dict(errors)
    return [
        row("train", "sgd, 1 million ratings", pairs, "lower", FAST_GOAL, "s"),
        row("train", "sgd, RMSE of a tenth held out", [(found["sgd"], found["surprise"])], "lower", 1.0),
    ]
