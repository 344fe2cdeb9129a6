"""The gate: whether a model may serve. A pure decision; its inputs are stored with the version.

On the real stream RMSE below a limit refuses nothing, a constant passes it. So a model must also be better than plain biases,
and better than the same model on shuffled ratings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite, nan, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.evaluation.evaluate import Evaluation

ENOUGH_KNOWN_ROWS = 100
USUAL_RANGE = 4.0
# Of what the ranker in service is worth: with many users a smaller loss than anybody notices is beyond its interval.
RANKING_LOSS = 0.02
# One-sided 1 % point of Student's t with 4 degrees of freedom: five splits.
T_LIMIT = 3.75


@dataclass(frozen=True)
class Check:
    """One thing that was asked: `value` had to be below `threshold`; None where there was nothing to hold it against."""

    name: str
    value: float
    threshold: float | None
    passed: bool
    said: str


@dataclass(frozen=True)
class Decision:
    """What the gate says. `rmse` and its `spread` over the splits are those of `rows`, all or known users' rows."""

    passed: bool
    rmse: float
    spread: float
    rows: str
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it was refused; empty when it was not."""
        return [check.said for check in self.checks if not check.passed]

    @property
    def remarks(self) -> list[str]:
        """What passed for want of anything to hold it against."""
        return [check.said for check in self.checks if check.threshold is None]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def decide(evaluation: Evaluation, rmse_limit: float, scale: tuple[float, float], champion_loss: str = "refuse") -> Decision:
    """Pass or refuse a model by its evaluation. `rmse_limit` is meant for a scale of 1 to 5 and scales with the range.

    If the champion's recipe was trained on the same splits, a loss beyond the spread refuses. With `warn` the loss is only
    reported.
    """
    errors, rows = _judged(evaluation)
    rmse, spread = fmean(errors), _spread(errors)
    checks = (
        _below_limit(rmse, rows, rmse_limit * (scale[1] - scale[0]) / USUAL_RANGE),
        _worth_its_factors(fmean(evaluation.model.all), fmean(evaluation.bias.all), _spread(evaluation.model.all)),
        _worth_its_data(evaluation),
        *_no_worse_than_champion(evaluation, champion_loss),
        *_ranks_no_worse_than_champion(evaluation, champion_loss),
    )
    return Decision(all(check.passed for check in checks), rmse, spread, rows, checks)


def _judged(evaluation: Evaluation) -> tuple[tuple[float, ...], str]:
    """The errors that the limit is held against: of users known at the cut where there are enough such rows, else of all."""
    known = tuple(error for error in evaluation.model.known if error is not None)
    enough = min(evaluation.known_rows) >= ENOUGH_KNOWN_ROWS
    return (known, "users known at the cut") if enough else (evaluation.model.all, "all users (few were known at the cut)")


def _below_limit(rmse: float, rows: str, limit: float) -> Check:
    said = f"RMSE {rmse:.3f} of {rows} is not below the limit {limit:g} (RMSE_LIMIT, scaled to the range of ratings)"
    return Check("rmse", rmse, limit, rmse < limit, said)


def _worth_its_factors(rmse: float, bias: float, spread: float) -> Check:
    said = f"RMSE {rmse:.3f} is worse than user-plus-film bias ({bias:.3f}) by more than the spread ({spread:.3f})"
    return Check("bias", rmse, bias + spread, rmse <= bias + spread, said)


def _worth_its_data(evaluation: Evaluation) -> Check:
    """Better than every shuffled training on every split, and by more than chance over the splits.

    On ratings that say nothing the real training is just one more shuffle. It is the best of three on all five splits once in
    243 times. It passes the t-test on the mean gain once in 100 times.
    """
    pairs = [(real, noise) for real, *noise in zip(evaluation.model.all, *evaluation.shuffled, strict=True)]
    gains = [fmean(noise) - real for real, noise in pairs]
    least = T_LIMIT * _spread(gains) / sqrt(len(gains))
    always = all(real < min(noise) for real, noise in pairs)
    rmse, noise = fmean(evaluation.model.all), fmean(map(fmean, evaluation.shuffled))
    said = f"RMSE {rmse:.3f} is not clearly better than the same model on shuffled ratings ({noise:.3f}): they say nothing"
    return Check("shuffled", rmse, noise - least, always and fmean(gains) > least, said)


def _no_worse_than_champion(evaluation: Evaluation, loss: str) -> tuple[Check, ...]:
    """Against the recipe of the version in service, trained on the same rows: its artifact may have seen the test rows."""
    rmse = fmean(evaluation.model.all)
    if evaluation.untrained_champion is not None:
        said = f"the recipe in service cannot be trained here: {evaluation.untrained_champion}; nothing was held against it"
        return (Check("champion", rmse, None, passed=True, said=said),)
    if evaluation.champion is None:
        return ()
    rival, spread = fmean(evaluation.champion.all), _spread(evaluation.model.all)
    if not isfinite(rival):
        said = "the recipe in service runs away on these rows, its RMSE is no number; nothing was held against it"
        return (Check("champion", rmse, None, passed=True, said=said),)
    said = f"RMSE {rmse:.3f} is worse than that of the recipe in service ({rival:.3f}) by more than the spread ({spread:.3f})"
    return (Check("champion", rmse, rival + spread, rmse <= rival + spread or loss == "warn", said),)


def _ranks_no_worse_than_champion(evaluation: Evaluation, loss: str) -> tuple[Check, ...]:
    """Against the ranker of the version in service, on the same rows: where it is another one."""
    if evaluation.beside is None:
        return ()
    told = evaluation.beside
    limit = -RANKING_LOSS * told.quality
    said = (
        f"lists by {told.ranker} are worse than those by {told.champion}, as in service: the mean of NDCG@10 and Recall@20 is "
        f"{told.above:+.4f} ({told.low:+.4f} to {told.high:+.4f}) of {told.quality:.4f}, more than a loss of {RANKING_LOSS:.0%}"
    )
    return (Check("ranking", -told.high, -limit, told.high >= limit or loss == "warn", said),)


def _spread(values: Sequence[float]) -> float:
    """The standard deviation; no number where a training ran away and one of `values` is none: every check then refuses."""
    return stdev(values) if all(map(isfinite, values)) else nan
