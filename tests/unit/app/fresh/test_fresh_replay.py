"""Answers that follow new events are computed again to the byte, whatever the processor adds up first."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.events import Rating, Watch
from app.exploring import recommender_of
from app.fresh.list_model import ListModel
from app.fresh.overlay import unpack
from app.fresh.recommender import FreshRecommender
from app.fresh.state import MOST_FILMS, State
from app.model import RESERVE, load_serving
from auto_deployment.ranking.list_weights import seen_gaps
from auto_deployment.training.seen import Seen
from tests.unit.app import samples
from tests.unit.app.fresh.versions import MINUTES, TIME, Records, facts

if TYPE_CHECKING:
    from pathlib import Path

    from app.model import Array

# Kernels of OpenBLAS for processors with SSE3, SSE4.2, AVX2 and AVX-512.
KERNELS = ("Prescott", "Nehalem", "Haswell", "SkylakeX")
FILMS = tuple(f"film+{number}+1990" for number in range(3000))
KNOWN, ANSWERS = 400, 1000
SEEN, LIKED = 60, 20
WEIGHTS, FACTORS = 100, 48
# Of the events since the oldest of so many newly rated films, fewer than a thousand begin a film.
EVENTS, NEWEST = 10_000, 200
# Prints which kernel it used, and for each line of the file the answer that it computed.
PROGRAM = """
import json, sys
from pathlib import Path
from threadpoolctl import threadpool_info
from app.exploring import recommender_of
from app.fresh.list_model import ListModel
from app.fresh.recommender import FreshRecommender
from app.model import load_serving
folder, rows = map(Path, sys.argv[1:])
serving, model = load_serving(folder), ListModel(folder)
recommender = FreshRecommender(recommender_of(serving), serving, None, lambda: model)
print(json.dumps([each["architecture"] for each in threadpool_info()]))
for line in rows.read_text().splitlines():
    print(json.dumps(recommender.replay(*json.loads(line))))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with weights and factors as large as they can be. Films come in pairs with equal scores."""
    rng = np.random.default_rng(1)
    count, number = len(FILMS), np.uint16
    seen = np.sort(rng.permuted(np.tile(np.arange(count, dtype=np.int32), (KNOWN, 1)), axis=1)[:, :SEEN], axis=1)
    gaps, ends = seen_gaps(Seen(np.arange(KNOWN + 1) * SEEN, seen.ravel()))
    factors = rng.integers(-4095, 4096, (count, FACTORS)).astype(np.int16)
    factors[1::2] = factors[::2]
    targets = rng.integers(0, count // 2, (count, WEIGHTS)) * 2
    arrays: dict[str, Array] = {
        "popular": np.zeros(count, dtype=np.int64),
        "film_minutes": np.full(count, MINUTES, dtype=np.float32),
        "item_rows": np.arange(count, dtype=number),
        "item_films": np.concatenate([targets, targets + 1], axis=1).astype(number),
        "item_weights": np.tile(rng.integers(-32_767, 32_768, (count, WEIGHTS)).astype(np.int16), 2),
        "item_factors": factors,
        "like_ends": np.arange(1, KNOWN + 1) * LIKED,
        "like_films": seen[:, :LIKED].ravel().astype(number),
        "like_grades": rng.integers(1, 256, KNOWN * LIKED).astype(np.uint8),
        "seen_ends": ends,
        "seen_gaps": gaps,
    }
    serving = samples.serving(FILMS, tuple(range(KNOWN)))
    serving["top"] = rng.permuted(np.tile(np.arange(count, dtype=number), (KNOWN, 1)), axis=1)[:, :RESERVE]
    folder = tmp_path_factory.mktemp("replay") / "model"
    return samples.save(folder, {"fresh": facts(item_share=8192), "scale": (1.0, 5.0)}, None, arrays, **serving)


def test_a_thousand_answers_are_computed_again_under_every_kernel(model: Path, tmp_path: Path) -> None:
    """Of known users and others, with struck films and with computed lists: 1,000 of 1,000, to the byte."""
    serving, list_model, rng = load_serving(model), ListModel(model), np.random.default_rng(2)
    state = State(list_model)
    for user in range(ANSWERS):
        for film in rng.choice(serving.top[user % KNOWN], 3, replace=False).tolist():
            state.apply(Watch(TIME, user, FILMS[film], 1))
        if user % 4:
            for film in rng.choice(len(FILMS), 6, replace=False).tolist():
                state.apply(Rating(TIME, user, FILMS[film], int(rng.integers(1, 6))))
    state.compute_due()
    recommender = FreshRecommender(recommender_of(serving), serving, Records(state), lambda: list_model)
    answers = [recommender.recommend(user) for user in range(ANSWERS)]
    assert sum(answer.inputs.startswith("fresh:") for answer in answers) > ANSWERS // 2
    assert sum(answer.inputs.startswith("struck:") for answer in answers) > ANSWERS // 20
    rows = tmp_path / "rows"
    rows.write_text("".join(f"{json.dumps([at, each.inputs, each.source])}\n" for at, each in enumerate(answers)))
    used = set()
    for kernel in KERNELS:
        environment = {**os.environ, "OPENBLAS_CORETYPE": kernel}
        command = [sys.executable, "-c", PROGRAM, str(model), str(rows)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        architectures, *found = ended.stdout.splitlines()
        used.add(architectures)
        assert [tuple(json.loads(line)) for line in found] == [tuple(answer) for answer in answers]
    assert len(used) > 1


@pytest.mark.parametrize("user", [0, KNOWN])
def test_answers_for_a_user_with_ten_thousand_events_are_right_and_computed_again(model: Path, user: int) -> None:
    """Of more films than are kept: no answer has one of the newest films, and each answer is computed again to the byte."""
    serving, list_model, chance = load_serving(model), ListModel(model), random.Random(3)
    state, begun, steps = State(list_model), dict[str, None](), set[str]()
    recommender = FreshRecommender(recommender_of(serving), serving, Records(state), lambda: list_model)
    for number in range(EVENTS):
        film = chance.choice(recommender.recommend(user).body.split(",") if number % 40 == 0 else FILMS)
        if number % 3:
            state.apply(Watch(TIME, user, film, 1))
        else:
            state.apply(Rating(TIME, user, film, chance.randint(1, 5)))
            begun.pop(film, None)
        begun[film] = None
        if number % 20 == 0:
            if number % 60:
                state.compute_due()
            answer = recommender.recommend(user)
            assert not {*answer.body.split(",")} & {*list(begun)[-NEWEST:]}
            assert recommender.replay(user, answer.inputs, answer.source) == answer
            steps.add(answer.inputs.partition(":")[0])
    assert len(begun) > 2 * MOST_FILMS
    assert len(unpack(state.records()[user]).films) == MOST_FILMS
    assert steps >= {"fresh"}
