"""What a person reads of a run: the figures as lines of text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.training.sizes import WHOLE_PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auto_deployment.evaluation.evaluate import Evaluation
    from auto_deployment.evaluation.gate import Decision
    from auto_deployment.ranking.metrics import Interval
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.training.dataset import Dataset


def data(dataset: Dataset) -> list[str]:
    """What the tables hold."""
    lines = [
        f"{len(dataset.users):,} users, {len(dataset.films):,} films, {len(dataset.ratings):,} ratings, "
        f"{len(dataset.watches.user):,} films watched"
    ]
    if dataset.seen is not None:
        lines.append(
            f"that is the latest films of each user, because there are more than {WHOLE_PAIRS:,} pairs; lists leave out all "
            f"{len(dataset.seen.films):,} films that users have seen"
        )
    if dataset.look_alikes:
        lines.append(f"{len(dataset.look_alikes):,} damaged look-alikes left out, such as {dataset.look_alikes[0]}")
    return lines


def metrics(evaluation: Evaluation, decision: Decision) -> list[str]:
    """RMSE and ranking, each with its baseline, and what the gate could not check."""
    noise = [error for errors in evaluation.shuffled for error in errors]
    lines = [
        f"RMSE {decision.rmse:.3f} ± {decision.spread:.3f} over {len(evaluation.test_rows)} cuts in time, "
        f"{decision.measured_on}",
        f"  all {_mean(evaluation.model.all)}, known users {_mean(evaluation.model.known)}, new users "
        f"{_mean(evaluation.model.unknown)}; bias alone {_mean(evaluation.bias.all)}, shuffled ratings {_mean(noise)}",
    ]
    if evaluation.sampled_users is not None:
        lines.append(sample_line(evaluation.sampled_users))
    for name, ranking in evaluation.ranking.items():
        lines.append(
            f"ranked by {name}: NDCG@10 {ranking.ndcg_at_10:.3f} ± {ranking.error:.3f}, Recall@20 {ranking.recall_at_20:.3f}, "
            f"{ranking.coverage_at_20:.1%} of the films shown, {ranking.users:,} users"
        )
    if "svd" in evaluation.ranking:
        lines.append(_ranking_verdict(evaluation))
    return [*lines, *decision.remarks]


def sample_line(users: int) -> str:
    """The line that says which users the metrics are of."""
    return f"evaluated on {users:,} users, evenly spread: the table is too large to evaluate whole; intervals are over them"


def choice(made: Choice) -> list[str]:
    """What each ranker was chosen or left by: held-out ratings inside the training data."""
    scored = {name: each for name, each in made.scores.items() if each.quality is not None}
    if not scored:
        return ["no user has enough ratings to hold some out: what is popular is all there is to choose"]
    return [
        f"inside the training data, {made.users:,} users: {name} {_told(each.quality)}, against popularity "
        f"{_told(each.above_popularity, '+')}; NDCG@10 {each.ndcg_at_10:.3f}, Recall@20 {each.recall_at_20:.3f}"
        for name, each in scored.items()
    ]


def _told(interval: Interval | None, sign: str = "") -> str:
    return "none" if interval is None else f"{interval.mean:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def _ranking_verdict(evaluation: Evaluation) -> str:
    svd, popular = evaluation.ranking["svd"].ndcg_at_10, evaluation.ranking["popularity"].ndcg_at_10
    relation = "better than" if svd > popular else "no better than" if svd == popular else "worse than"
    return f"the SVD predicts ratings; ranking by them is {relation} popularity here"


def _mean(errors: Iterable[float | None]) -> str:
    values = [error for error in errors if error is not None]
    return f"{sum(values) / len(values):.3f}" if values else "none"
