"""`bench precompute`: a million users' lists over 27,000 films, from the feedback to the arrays that are served.

`python -m tests.bench.precompute USERS` is the process that it measures: one line of JSON. Beside it stands what one would
write first: for each user the product of factors with all films, and argpartition.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from auto_deployment.common.blas import one_thread
from auto_deployment.ranking.als import FACTORS
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.precompute import serving_arrays
from auto_deployment.ranking.ranker_factory import RankerFactory, Tuning
from auto_deployment.training.dataset import Dataset, Watches
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.bench import fixtures
from tests.bench.measure import Row, row

ROOT = Path(__file__).resolve().parents[2]
USERS = 1_000_000
FILMS_A_USER = 20
RANKER = "blend"
SCALE = (1.0, 5.0)
MOST_SECONDS = 600.0
MOST_MIB = 4096.0
CORES = 2
PLAIN_USERS = 300


def run() -> list[Row]:
    """The whole million, in a process of its own, so that its memory is its own.

    The clock's time needs a machine with nothing else to do; processor time, of both cores, holds anywhere.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.precompute", str(USERS)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return rows(json.loads(ended.stdout))


def rows(report: dict[str, Any]) -> list[Row]:
    """The rows of the process's report: a user's list compared with the plain way, then times and memory with their limits."""
    ours, plain = report["lists_processor_s"] / report["users"] * 1e6, report["plain_us"]
    size, seconds = f"{report['users']:,} users", report["ranker_s"] + report["lists_s"]
    return [
        row("precompute", f"{report['ranker']}, processor time of a user's list", [(ours, plain)], "lower", None, "us"),
        row(
            "precompute",
            f"{size}: ranker and lists",
            [(seconds, MOST_SECONDS)],
            "lower",
            1.0,
            "s",
        ),
        row("precompute", f"{size}: processor time", [(report["processor_s"], CORES * MOST_SECONDS)], "lower", 1.0, "s"),
        row("precompute", f"{size}: peak memory", [(report["peak_mib"], MOST_MIB)], "lower", 1.0, "MiB"),
    ]


@one_thread()
def measured(users: int, films: int = fixtures.FILMS) -> dict[str, Any]:
    """Seconds for the ranker and for the lists of so many users, microseconds of the plain way, and the peak of memory."""
    dataset = _dataset(users, films)
    feedback, started, started_processor = Feedback.of(dataset, SCALE), time.perf_counter(), time.process_time()
    factory = RankerFactory(feedback, SurpriseSVD(), 0)
    ranker, seen = factory.make(RANKER, Tuning()), feedback.seen()
    made, made_processor = time.perf_counter(), time.process_time()
    top = serving_arrays(dataset, ranker, seen, lambda _: None)["top"]
    done, done_processor = time.perf_counter(), time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "users": len(top),
        "ranker": RANKER,
        "ranker_s": made - started,
        "lists_s": done - made,
        "lists_processor_s": done_processor - made_processor,
        "processor_s": done_processor - started_processor,
        "plain_us": _plain(films),
        "peak_mib": peak,
    }


def _dataset(users: int, films: int) -> Dataset:
    ratings = fixtures.ratings(users * FILMS_A_USER, users, films)
    _, first = np.unique(ratings.user.astype(np.int64) * films + ratings.film, return_index=True)
    none = np.zeros(0, dtype=np.int32)
    watches = Watches(none, none, none, none.astype(np.int64))
    known = np.arange(users, dtype=np.int64) * fixtures.USER_STEP
    return Dataset(known, fixtures.film_ids(films), ratings[np.sort(first)], watches, (), {}, none.astype(np.int64))


def _plain(films: int) -> float:
    """Microseconds of processor time a user of matrix times vector and argpartition."""
    draw = np.random.default_rng(0)
    factors, vectors = (draw.normal(size=(size, FACTORS)).astype(np.float32) for size in (films, PLAIN_USERS))
    started = time.process_time()
    for vector in vectors:
        scores = factors @ vector
        best = np.argpartition(-scores, FILMS_A_USER)[:FILMS_A_USER]
        best[np.argsort(-scores[best])]
    return (time.process_time() - started) / PLAIN_USERS * 1e6


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(measured(int(sys.argv[1])))}\n")
