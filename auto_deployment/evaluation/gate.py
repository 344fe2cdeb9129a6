"""The gate decides whether a model may serve. Pure; its inputs are stored with the version.

On the real stream a limit of the RMSE alone refuses nothing: even a constant passes. So a model must also be better than plain
biases, and better than the same model on shuffled ratings.
"""

from __future__ import annotations

from math import isfinite, nan, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from pydantic import Field

from auto_deployment.common.json_file import Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.evaluation.evaluate import Evaluation

ENOUGH_KNOWN_ROWS = 100
USUAL_RANGE = 4.0
# A share of the quality of the ranker in service. With many users even a loss that nobody notices lies outside the interval.
RANKING_LOSS = 0.02
# One-sided 1 % point of Student's t with 4 degrees of freedom: five splits.
T_LIMIT = 3.75


class Check(Stored):
    """One check of the gate: `value` must be below `threshold`; None where there was nothing to compare with.

    `reason` says why the check failed, or what it could not compare.
    """

    name: str
    value: float
    threshold: float | None
    passed: bool
    reason: str = Field(validation_alias="said", serialization_alias="said")


class Decision(Stored):
    """The gate's decision. `rmse` and its `spread` over the splits are those of the rows that `measured_on` describes."""

    passed: bool
    rmse: float
    spread: float
    measured_on: str = Field(validation_alias="rows", serialization_alias="rows")
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        """The reasons of the failed checks; empty where all passed."""
        return [check.reason for check in self.checks if not check.passed]

    @property
    def remarks(self) -> list[str]:
        """The checks that passed because there was nothing to compare with."""
        return [check.reason for check in self.checks if check.threshold is None]


def decide(evaluation: Evaluation, rmse_limit: float, scale: tuple[float, float], champion_loss: str = "refuse") -> Decision:
    """Pass or refuse a model by its evaluation. `rmse_limit` is meant for a scale of 1 to 5 and scales with the range.

    If the champion's recipe was trained on the same splits, a loss beyond the spread refuses. With `warn` the loss is only
    reported.
    """
    errors, measured_on = _errors_for_limit(evaluation)
    rmse, spread = fmean(errors), _spread(errors)
    checks = (
        _below_limit(rmse, measured_on, rmse_limit * (scale[1] - scale[0]) / USUAL_RANGE),
        _worth_its_factors(fmean(evaluation.model.all), fmean(evaluation.bias.all), _spread(evaluation.model.all)),
        _worth_its_data(evaluation),
        *_no_worse_than_champion(evaluation, champion_loss),
        *_ranks_no_worse_than_champion(evaluation, champion_loss),
    )
    passed = all(check.passed for check in checks)
    return Decision(passed=passed, rmse=rmse, spread=spread, measured_on=measured_on, checks=checks)


def _errors_for_limit(evaluation: Evaluation) -> tuple[tuple[float, ...], str]:
    """The errors to compare with the limit: of users known at the cut if they have enough rows, else of all users."""
    known = tuple(error for error in evaluation.model.known if error is not None)
    enough = min(evaluation.known_rows) >= ENOUGH_KNOWN_ROWS
    return (known, "users known at the cut") if enough else (evaluation.model.all, "all users (few were known at the cut)")


def _below_limit(rmse: float, measured_on: str, limit: float) -> Check:
    reason = f"RMSE {rmse:.3f} of {measured_on} is not below the limit {limit:g} (RMSE_LIMIT, scaled to the range of ratings)"
    return Check(name="rmse", value=rmse, threshold=limit, passed=rmse < limit, reason=reason)


def _worth_its_factors(rmse: float, bias: float, spread: float) -> Check:
    limit = bias + spread
    reason = f"RMSE {rmse:.3f} is worse than user-plus-film bias ({bias:.3f}) by more than the spread ({spread:.3f})"
    return Check(name="bias", value=rmse, threshold=limit, passed=rmse <= limit, reason=reason)


def _worth_its_data(evaluation: Evaluation) -> Check:
    """Better than every shuffled training on every split, and by more than chance over the splits.

    On ratings without information the real training is just one more shuffle. It is the best of three on all splits once in
    243 times. It passes the t-test on the mean gain once in 100 times.
    """
    pairs = [(real, noise) for real, *noise in zip(evaluation.model.all, *evaluation.shuffled, strict=True)]
    gains = [fmean(noise) - real for real, noise in pairs]
    least = T_LIMIT * _spread(gains) / sqrt(len(gains))
    always = all(real < min(noise) for real, noise in pairs)
    rmse, noise = fmean(evaluation.model.all), fmean(map(fmean, evaluation.shuffled))
    reason = f"RMSE {rmse:.3f} is not clearly better than with shuffled ratings ({noise:.3f}): they have no information"
    passed = always and fmean(gains) > least
    return Check(name="shuffled", value=rmse, threshold=noise - least, passed=passed, reason=reason)


def _no_worse_than_champion(evaluation: Evaluation, loss: str) -> tuple[Check, ...]:
    """Compare with the champion's recipe, trained on the same rows: the champion's artifact may have used the test rows."""
    rmse = fmean(evaluation.model.all)
    if evaluation.untrained_champion is not None:
        return (_not_compared(rmse, f"the recipe in service cannot be trained here: {evaluation.untrained_champion}"),)
    if evaluation.champion is None:
        return ()
    champion, spread = fmean(evaluation.champion.all), _spread(evaluation.model.all)
    if not isfinite(champion):
        return (_not_compared(rmse, "the recipe in service diverges on these rows"),)
    reason = f"RMSE {rmse:.3f} is worse than {champion:.3f}, of the recipe in service, by more than the spread ({spread:.3f})"
    limit = champion + spread
    passed = rmse <= limit or loss == "warn"
    return (Check(name="champion", value=rmse, threshold=limit, passed=passed, reason=reason),)


def _not_compared(rmse: float, why: str) -> Check:
    reason = f"{why}; the candidate is not compared with the recipe in service"
    return Check(name="champion", value=rmse, threshold=None, passed=True, reason=reason)


def _ranks_no_worse_than_champion(evaluation: Evaluation, loss: str) -> tuple[Check, ...]:
    """Compare with the champion's ranker on the same rows, where it is another ranker."""
    found = evaluation.comparison
    if found is None:
        return ()
    limit = RANKING_LOSS * found.quality
    reason = (
        f"lists by {found.ranker} are worse than lists by {found.champion}, the ranker in service: the mean of NDCG@10 and "
        f"Recall@20 differs by {found.above:+.4f} ({found.low:+.4f} to {found.high:+.4f}) from {found.quality:.4f}, "
        f"a loss of more than {RANKING_LOSS:.0%}"
    )
    passed = -found.high <= limit or loss == "warn"
    return (Check(name="ranking", value=-found.high, threshold=limit, passed=passed, reason=reason),)


def _spread(values: Sequence[float]) -> float:
    """The standard deviation; NaN where a training diverged and a value is not finite: every check then refuses."""
    return stdev(values) if all(map(isfinite, values)) else nan
