from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.bench.days import Comparison, Given, History, Plan, compare, count, simulate

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0


def test_answers_are_counted_by_what_the_user_began() -> None:
    """After the answer within a day, or more than 30 s before it. Answers after the last time do not count."""
    history = History(("a", "b"), {1: {"a": 100.0}, 2: {"b": DAY}})
    answers = [
        Given(90.0, 1, ("a", "b"), known=True, step="known", chance=0.5),
        Given(110.0, 1, ("a",), known=True, step="known"),
        Given(131.0, 1, ("a",), known=True, step="fresh"),
        Given(132.0, 1, ("a",), known=True, step="seen_all"),
        Given(140.0, 2, ("b", "a"), known=False, step="popular", chance=0.25),
        Given(DAY + 141.0, 2, ("b",), known=True, step="known"),
    ]
    found = count(answers, history, [1, 2], DAY)
    assert found.answers.tolist() == [4, 1]
    assert found.watched.tolist() == [1, 1]
    assert found.chance.tolist() == [0.5, 0.25]
    assert found.begun.tolist() == [1, 0]
    assert (found.unknown.tolist(), found.unknown_watched.tolist()) == ([0, 1], [0, 1])


def test_the_interval_holds_the_planted_difference() -> None:
    """A tenth of the answers more; and one of nothing holds 0."""
    draw, answers = np.random.default_rng(5), np.full(2000, 10.0)
    more, same, other = (draw.binomial(10, share, 2000).astype(float) for share in (0.4, 0.3, 0.3))
    found, nothing = compare((more, answers), (same, answers)), compare((other, answers), (same, answers))
    assert found.difference[0] < 0.1 < found.difference[1]
    assert found.ratio[0] < 4 / 3 < found.ratio[1]
    assert found.difference[1] - found.difference[0] == pytest.approx(2 * 1.96 * np.sqrt((0.24 + 0.21) / 20_000), rel=0.2)
    assert nothing.difference[0] < 0 < nothing.difference[1]


def test_a_comparison_is_written_with_its_interval() -> None:
    """The shares, their difference, and its interval."""
    text = Comparison(0.25, 0.2, (0.01, 0.09), (1.1, 1.4)).text()
    assert text == "0.2500 with freshness, 0.2000 without, +0.0500 (+0.0100 to +0.0900)"


def test_no_answer_has_a_begun_film_with_freshness(tmp_path: Path) -> None:
    """In a small world, where many answers have one without."""
    plan = Plan(users=150, films=120, viewings_a_day=2.0, history=1.5, end=4.5, between=1.0)
    fresh, plain = (simulate(1, plan, tmp_path, fresh=is_fresh) for is_fresh in (True, False))
    assert fresh.answers.sum() > 300
    assert fresh.begun.sum() == 0
    assert plain.begun.sum() > 0.2 * plain.answers.sum()
    assert 0.1 < fresh.watched.sum() / fresh.answers.sum() < 1
