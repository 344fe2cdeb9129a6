from __future__ import annotations

import re
from dataclasses import replace

import pytest

from auto_deployment.common.errors import RefusedError
from auto_deployment.training.seen import Seen
from auto_deployment.training.sizes import SURPRISE_MOST, needed_bytes, require_memory
from auto_deployment.training.trainers import resolve
from tests.unit.auto_deployment.samples import dataset_of, random_ratings


def test_auto_takes_the_trainer_by_the_number_of_ratings() -> None:
    """The reason has the number. A trainer's own name stays what it is."""
    assert [resolve("auto", count)[0] for count in (0, SURPRISE_MOST, SURPRISE_MOST + 1)] == ["surprise", "surprise", "sgd"]
    assert "1,000,001 ratings" in resolve("auto", 1_000_001)[1]
    assert [resolve(name, 10**9)[0] for name in ("surprise", "sgd", "spark")] == ["surprise", "sgd", "spark"]


def test_surprise_needs_ten_times_the_memory_of_sgd_for_a_rating() -> None:
    """A year of the stream fits 8 GB with `sgd` and each user's latest 50 films, and not with `surprise`."""
    year = {"ratings": 28_000_000, "watches": 33_000_000, "users": 1_000_000, "films": 27_000, "seen": 300_000_000}
    year["matrix_films"] = 8_000
    assert needed_bytes("sgd", **year) < 8e9 < needed_bytes("surprise", **year)


def test_the_item_matrix_counts_where_it_needs_more_than_the_training() -> None:
    """It is inverted before the training, and kept while the training goes on."""
    small = needed_bytes("sgd", 1_000_000, 0, 1_000, 8_000)
    assert needed_bytes("sgd", 1_000_000, 0, 1_000, 8_000, matrix_films=8_000) > small + 700_000_000
    large = needed_bytes("surprise", 10_000_000, 0, 1_000, 8_000)
    assert needed_bytes("surprise", 10_000_000, 0, 1_000, 8_000, matrix_films=8_000) == large + 256_000_000


def test_a_training_that_needs_more_memory_is_refused_with_what_to_set() -> None:
    """With the sizes and both numbers of GB. Only what would help is named."""
    data = dataset_of(random_ratings(120, 20, 15), 20, 15)
    require_memory("surprise", data, 1.0, 50)
    text = "training 120 ratings and 0 watches by surprise needs about 0.4 GB, and MEMORY_GB is 0.1: set TRAINER=sgd or "
    with pytest.raises(RefusedError, match=re.escape(f"{text}TRAINER=auto, or a higher MEMORY_GB")):
        require_memory("surprise", data, 0.1, 50)
    require_memory("spark", data, 0.8, 50)
    with pytest.raises(RefusedError, match=r"by spark needs about 0.4 GB, and MEMORY_GB is 0.6, which leaves 0.3 "):
        require_memory("spark", data, 0.6, 50)
    cut = replace(data, seen=Seen.of(data.ratings.user, data.ratings.film, len(data.users)))
    with pytest.raises(RefusedError, match="set LATEST_FILMS below 50, or a higher MEMORY_GB"):
        require_memory("sgd", cut, 0.1, 50)
