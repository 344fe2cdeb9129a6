from __future__ import annotations

import json
import random
from dataclasses import replace
from math import inf, nan, sqrt
from statistics import stdev
from typing import TYPE_CHECKING

import pytest

from auto_deployment.evaluation.evaluate import Errors, RankerComparison, evaluate, shuffled
from auto_deployment.evaluation.gate import ENOUGH_KNOWN_ROWS, decide
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.samples import SCALE, evaluation, of_all, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.evaluation.gate import Decision
    from auto_deployment.training.dataset import Dataset

GOOD = (0.80, 0.82, 0.81, 0.83, 0.79)


def refused_by(decision: Decision) -> list[str]:
    """The names of the checks that did not pass."""
    assert decision.passed == all(check.passed for check in decision.checks)
    assert len(decision.reasons) == sum(not check.passed for check in decision.checks)
    return [check.name for check in decision.checks if not check.passed]


def above(errors: tuple[float, ...], *gains: float) -> tuple[tuple[float, ...], ...]:
    """Two shuffled trainings, each so much worse than `errors` on each split."""
    return (tuple(error + gain for error, gain in zip(errors, gains, strict=True)),) * 2


def test_a_good_model_passes() -> None:
    """Below the limit, no worse than biases, better than shuffled: no reason against it."""
    decision = decide(evaluation(), 1.0, SCALE)
    assert refused_by(decision) == []
    assert decision.reasons == []
    assert [check.name for check in decision.checks] == ["rmse", "bias", "shuffled"]


def test_an_error_above_the_limit_alone_refuses() -> None:
    """The reason names the error, the limit and its setting."""
    decision = decide(evaluation(), 0.7, SCALE)
    assert refused_by(decision) == ["rmse"]
    assert decision.reasons == [
        "RMSE 0.710 of users known at the cut is not below the limit 0.7 (RMSE_LIMIT, scaled to the range of ratings)"
    ]


def test_the_limit_itself_is_not_below_the_limit() -> None:
    """An error at the limit is refused."""
    for error, refused in ((0.99, []), (1.0, ["rmse"])):
        errors = (error,) * 5
        evidence = evaluation(model=Errors(errors, errors, errors), bias=of_all(*errors), shuffled=((2.0,) * 5,) * 2)
        assert refused_by(decide(evidence, 1.0, SCALE)) == refused


@pytest.mark.parametrize("error", [nan, inf])
def test_a_training_that_ran_away_is_refused(error: float) -> None:
    """An error that is no number, in one split or in all, is a reason and not a crash."""
    for errors in ((error,) * 5, (*GOOD[:4], error)):
        decision = decide(evaluation(model=Errors(errors, errors, errors)), 1.0, SCALE)
        assert refused_by(decision) == ["rmse", "bias", "shuffled"]


@pytest.mark.parametrize(("scale", "limit"), [((1.0, 5.0), 1.0), ((1.0, 10.0), 2.25), ((0.5, 5.0), 1.125), ((0.0, 1.0), 0.25)])
def test_the_limit_scales_with_the_range(scale: tuple[float, float], limit: float) -> None:
    """It is meant for a scale of 1 to 5."""
    for error, passes in ((limit * 1.001, False), (limit * 0.999, True)):
        evidence = evaluation(
            known_rows=(0,) * 5, model=of_all(*(error,) * 5), bias=of_all(*(error,) * 5), shuffled=((9.0,) * 5,) * 2
        )
        decision = decide(evidence, 1.0, scale)
        assert decision.checks[0].threshold == pytest.approx(limit)
        assert decision.passed == passes


def test_worse_than_biases_by_more_than_the_spread_alone_refuses() -> None:
    """Factors have to be worth having; within the spread over the splits they may be worse."""
    spread = sqrt(0.00025)
    for distance, refused in ((1.01, ["bias"]), (0.99, [])):
        bias = of_all(*(error - distance * spread for error in GOOD))
        decision = decide(evaluation(bias=bias), 1.0, SCALE)
        assert refused_by(decision) == refused
    assert decide(evaluation(bias=of_all(*(error - 0.1 for error in GOOD))), 1.0, SCALE).reasons == [
        "RMSE 0.810 is worse than user-plus-film bias (0.710) by more than the spread (0.016)"
    ]


def test_no_better_than_shuffled_alone_refuses() -> None:
    """Data that say nothing, below the limit and beside biases that know no more."""
    decision = decide(evaluation(shuffled=above(GOOD, 0.001, -0.001, 0.002, 0.0, -0.002)), 1.0, SCALE)
    assert refused_by(decision) == ["shuffled"]
    assert decision.reasons == ["RMSE 0.810 is not clearly better than with shuffled ratings (0.810): they have no information"]


def test_one_lost_split_refuses() -> None:
    """However much better on the others: each split has to be won against each shuffle, and a draw is no win."""
    clearly = evaluation(shuffled=above(GOOD, 0.2, 0.2, 0.2, 0.2, 0.2))
    assert refused_by(decide(clearly, 1.0, SCALE)) == []
    for best in (GOOD[3], GOOD[3] - 0.001):
        one = (*(error + 0.2 for error in GOOD[:3]), best, GOOD[4] + 0.2)
        assert refused_by(decide(evaluation(shuffled=(clearly.shuffled[0], one)), 1.0, SCALE)) == ["shuffled"]


def test_a_gain_that_chance_explains_refuses() -> None:
    """Each split won, and yet the mean gain has to exceed a t-test's bound on the five gains."""
    ways = (-0.2, -0.1, 0.0, 0.1, 0.2)
    for t, refused in ((3.79, []), (3.71, ["shuffled"])):
        gains = [t * stdev(ways) / sqrt(5) + way for way in ways]
        assert min(gains) > 0
        assert refused_by(decide(evaluation(shuffled=above(GOOD, *gains)), 1.0, SCALE)) == refused


def test_chance_seldom_passes() -> None:
    """Where the real training is just one shuffle more it passes about once in 400 times."""
    draw = random.Random(2)
    passed = 0
    for _ in range(4_000):
        real, *noise = (tuple(draw.gauss(0.8, 0.01) for _ in range(5)) for _ in range(3))
        evidence = evaluation(model=of_all(*real), known_rows=(0,) * 5, bias=of_all(*real), shuffled=tuple(noise))
        passed += decide(evidence, 1.0, SCALE).passed
    assert passed < 20


def test_known_users_are_judged_where_there_are_enough() -> None:
    """With 100 rows of known users in each split the limit is held against these, with fewer in one against all."""
    for least, rmse, rows in (
        (ENOUGH_KNOWN_ROWS, 0.71, "users known at the cut"),
        (ENOUGH_KNOWN_ROWS - 1, 0.81, "all users (few were known at the cut)"),
    ):
        decision = decide(evaluation(known_rows=(500, 500, least, 500, 500)), 1.0, SCALE)
        assert decision.measured_on == rows
        assert decision.rmse == decision.checks[0].value == pytest.approx(rmse)
        assert decision.spread == pytest.approx(sqrt(0.00025))


def test_splits_without_known_users_are_judged_by_all() -> None:
    """No error of known users at all is no obstacle."""
    decision = decide(evaluation(known_rows=(0,) * 5, model=of_all(*GOOD)), 1.0, SCALE)
    assert decision.passed
    assert decision.rmse == pytest.approx(0.81)


@pytest.mark.parametrize(
    ("distance", "loss", "passes"), [(0.99, "refuse", True), (1.01, "refuse", False), (1.01, "warn", True)]
)
def test_worse_than_the_recipe_in_service_refuses(distance: float, loss: str, *, passes: bool) -> None:
    """By more than the spread, unless CHAMPION_LOSS is warn; without a champion nothing is asked."""
    spread = sqrt(0.00025)
    champion = of_all(*(error - distance * spread for error in GOOD))
    decision = decide(evaluation(champion=champion), 1.0, SCALE, loss)
    assert refused_by(decision) == ([] if passes else ["champion"])
    check = decision.checks[-1]
    assert check.name == "champion"
    assert check.value == pytest.approx(0.81)
    assert check.threshold == pytest.approx(0.81 - distance * spread + spread)
    assert "recipe in service" in check.reason


@pytest.mark.parametrize("error", [nan, inf])
def test_a_recipe_in_service_that_runs_away_stops_nobody(error: float) -> None:
    """Its error is no number on these rows: the check passes, and says why; a loss against it cannot be evidence."""
    decision = decide(evaluation(champion=of_all(*GOOD[:4], error)), 1.0, SCALE)
    assert refused_by(decision) == []
    assert decision.checks[-1].threshold is None
    assert decision.remarks == [
        "the recipe in service diverges on these rows; the candidate is not compared with the recipe in service"
    ]


def test_a_recipe_in_service_that_cannot_be_trained_stops_nobody() -> None:
    """The decision says so; without one nothing is remarked."""
    decision = decide(evaluation(untrained_champion="Spark needs Java"), 1.0, SCALE)
    assert refused_by(decision) == []
    assert decision.checks[-1].name == "champion"
    assert decision.remarks == [
        "the recipe in service cannot be trained here: Spark needs Java; "
        "the candidate is not compared with the recipe in service"
    ]
    assert decide(evaluation(), 1.0, SCALE).remarks == []


@pytest.mark.parametrize(
    ("high", "loss", "passes"),
    [(-0.005, "refuse", True), (-0.007, "refuse", False), (-0.007, "warn", True), (0.01, "refuse", True)],
)
def test_lists_that_are_clearly_worse_than_those_in_service_refuse(high: float, loss: str, *, passes: bool) -> None:
    """By more than a fiftieth beyond the interval, unless CHAMPION_LOSS is warn."""
    comparison = RankerComparison("svd", "blend", quality=0.3, above=high - 0.01, low=high - 0.02, high=high)
    decision = decide(evaluation(comparison=comparison), 1.0, SCALE, loss)
    assert refused_by(decision) == ([] if passes else ["ranking"])
    assert decision.checks[-1].name == "ranking"
    assert decision.checks[-1].threshold == pytest.approx(0.006)
    assert "lists by svd are worse than lists by blend, the ranker in service" in decision.checks[-1].reason


def test_every_reason_is_named_at_once() -> None:
    """All three, in their order."""
    evidence = evaluation(bias=of_all(*(error - 0.3 for error in GOOD)), shuffled=above(GOOD, *(0.0,) * 5))
    assert refused_by(decide(evidence, 0.5, SCALE)) == ["rmse", "bias", "shuffled"]


def test_a_decision_is_kept_as_json() -> None:
    """With each check's name, value and threshold, as the metadata holds it."""
    decision = decide(evaluation(), 0.7, SCALE)
    kept = json.loads(json.dumps(decision.model_dump()))
    assert (kept["passed"], kept["rows"]) == (False, "users known at the cut")
    assert kept["rmse"] == decision.rmse
    assert [check["name"] for check in kept["checks"]] == ["rmse", "bias", "shuffled"]
    assert kept["checks"][0]["threshold"] == 0.7
    assert [check["passed"] for check in kept["checks"]] == [False, True, True]
    assert kept["checks"][0]["said"] == decision.reasons[0]


@pytest.fixture(scope="module")
def real(real_ratings: Path) -> Dataset:
    """The real rating log."""
    return read_lines(real_ratings.read_text().splitlines())


def test_real_ratings_pass(real: Dataset) -> None:
    """The model of the real log, with the settings' defaults."""
    assert refused_by(decide(evaluate(real, SurpriseSVD(), SCALE, 0, lambda: None).evaluation, 1.0, SCALE)) == []


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_real_ratings_shuffled_among_the_rows_are_refused(real: Dataset, seed: int) -> None:
    """They pass any limit that the real ones pass: it is the comparison with shuffled ratings that tells."""
    noise = replace(real, ratings=shuffled(real.ratings, seed))
    assert refused_by(decide(evaluate(noise, SurpriseSVD(), SCALE, 0, lambda: None).evaluation, 1.0, SCALE)) == ["shuffled"]
