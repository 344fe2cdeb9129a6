"""What the tests ask of a real Spark, in a process of its own: `python -m tests.integration.spark.work ACT ...`; JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.model import load_rating, load_serving
from auto_deployment.common.errors import RunError
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.evaluation.evaluate import rmse
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.pipeline.candidate import Version
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.precompute import BLOCK_USERS, Lists, by_threads
from auto_deployment.ranking.precompute_spark import by_spark
from auto_deployment.ranking.ranker_factory import RankerFactory, Tuning
from auto_deployment.sample import train_tables
from auto_deployment.training.dataset import Watches
from auto_deployment.training.spark import session
from auto_deployment.training.spark.als import SparkTrainer
from auto_deployment.training.surprise_svd import UserFilmBias
from tests.bench.fixtures import ratings

if TYPE_CHECKING:
    from collections.abc import Callable

MASTER = "local[2]"
SCALE = (1.0, 5.0)
USERS, FILMS, RATINGS = 3_000, 400, 60_000
VERSION = Version(1, "c0ffee", "2026-01-05T09:00:00Z", "2026-01-05T09:10:00Z")


def train_twice() -> dict[str, Any]:
    """Errors on held-out rows, and how many users get the same 20 films from a second training, in either way of listing."""
    rows = ratings(RATINGS, USERS, FILMS)
    _, first = np.unique(rows.user.astype(np.int64) * FILMS + rows.film, return_index=True)
    rows = rows[np.sort(first)]
    held = np.random.default_rng(1).random(len(rows)) < 0.1
    known, test = rows[~held], rows[held]
    trainer = SparkTrainer(MASTER)
    model, bias = (each.fit(known, (USERS, FILMS), SCALE, 0) for each in (trainer, UserFilmBias()))
    lists = [_lists(known, trainer) for _ in range(2)]
    starts = range(0, USERS, BLOCK_USERS)
    spark, again = (np.concatenate(list(by_spark(MASTER, each, starts))) for each in lists)
    threads = np.concatenate(list(by_threads(lists[0], starts)))
    return {
        "rmse": rmse(model.predict(test.user, test.film), test.stars),
        "bias": rmse(bias.predict(test.user, test.film), test.stars),
        "same": float((spark[:, :20] == again[:, :20]).all(axis=1).mean()),
        "as_threads": bool((spark == threads).all()),
        "finite": bool(all(np.isfinite(each).all() for each in model.arrays().values())),
    }


def _lists(known: Any, trainer: SparkTrainer) -> Lists:
    none = np.zeros(0, dtype=np.int32)
    feedback = Feedback(known, Watches(none, none, none, none.astype(np.int64)), (USERS, FILMS), SCALE)
    return Lists(RankerFactory(feedback, trainer, 0).make("svd", Tuning()), feedback.seen(), USERS)


def pipeline(folder: str, log: str) -> dict[str, Any]:
    """A version by the whole pipeline, from lines to the artifact that a service loads."""
    settings = load_settings(
        _env_file=None, data_dir=Path(folder) / "data", trainer="spark", spark_master=MASTER, ranker="popularity"
    )
    collect_files([Path(log)], settings, Progress(StringIO()))
    metadata = train_tables(settings, VERSION, Progress(sys.stderr))
    model = load_serving(settings.data_dir / "model")
    return {
        "trainer": metadata.trainer,
        "gate": metadata.metrics.gate.passed,
        "pyspark": metadata.packages["pyspark"],
        "users": len(model.users),
        "factors": list(load_rating(settings.data_dir / "model")["user_factors"].shape),
        "listed": int((model.top[:, 0] != model.empty).sum()),
    }


def tops(master: str) -> list[list[int]]:
    """Everybody's first 20 films by a training on `master`."""
    rows = ratings(RATINGS, USERS, FILMS)
    lists = _lists(rows, SparkTrainer(master))
    listed: list[list[int]] = np.concatenate(list(by_threads(lists, range(0, USERS, BLOCK_USERS))))[:, :20].tolist()
    return listed


def begin(master: str, seconds: str) -> str:
    """Whether a session begins there, with so long a wait for a worker, and leaves the handler of Ctrl-C as it was."""
    session.FIRST_JOB_SECONDS = float(seconds)
    before = signal.getsignal(signal.SIGINT)
    try:
        session.session(master)
    except RunError as error:
        return str(error)
    return "begun" if signal.getsignal(signal.SIGINT) == before else "begun, Ctrl-C taken"


ACTS: dict[str, Callable[..., Any]] = {each.__name__: each for each in (train_twice, pipeline, tops, begin)}

if __name__ == "__main__":
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    sys.stdout.write(f"{json.dumps(ACTS[sys.argv[1]](*sys.argv[2:]))}\n")
