"""The films that users have seen."""

from __future__ import annotations

import tracemalloc

import numpy as np

from auto_deployment.training.seen import Seen


def test_the_audience_of_each_film_is_counted_without_a_copy_of_all_pairs() -> None:
    """A year has 300 million pairs: a copy with numbers of twice the size took 2.4 GB."""
    films = np.random.default_rng(0).integers(0, 50, 10_000_000, dtype=np.int32)
    seen = Seen(np.array([0, len(films)]), films)
    tracemalloc.start()
    audience = seen.audience(60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < films.nbytes
    assert audience.tolist() == np.bincount(films, minlength=60).tolist()
