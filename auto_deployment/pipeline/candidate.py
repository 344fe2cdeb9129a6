"""A candidate: trained on the tables, judged by the gate, and built into an artifact where it passes."""

from __future__ import annotations

import logging
import platform
from dataclasses import replace
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from app.model import RESERVE, md5_of, save
from auto_deployment.common.blas import one_thread
from auto_deployment.common.errors import RefusedError, WrongUseError
from auto_deployment.evaluation.evaluate import FEWEST_RATINGS, beside, count_steps, evaluate
from auto_deployment.evaluation.gate import decide
from auto_deployment.ingestion.tables import Tables
from auto_deployment.ingestion.users import demographics
from auto_deployment.ranking.diverse_popular import varied
from auto_deployment.ranking.exploration import explore_arrays
from auto_deployment.ranking.factory import RankerFactory
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.model_selection import rankers_for
from auto_deployment.ranking.precompute import cold_arrays, serving_arrays
from auto_deployment.ranking.precompute_factory import maker_of
from auto_deployment.reports import beyond_accuracy as beyond
from auto_deployment.reports import console
from auto_deployment.reports.exposure import exposures
from auto_deployment.training.dataset import read
from auto_deployment.training.trainers import trainer_of

if TYPE_CHECKING:
    from pathlib import Path

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import Settings
    from auto_deployment.evaluation.champion import Recipe
    from auto_deployment.evaluation.evaluate import Evaluation
    from auto_deployment.evaluation.gate import Decision
    from auto_deployment.ranking.model_selection import Choice
    from auto_deployment.training.dataset import Dataset
    from auto_deployment.training.rating_model import Trainer

log = logging.getLogger(__name__)

PACKAGES = ("numba", "numpy", "pandas", "scikit-surprise", "scipy")


class Version(NamedTuple):
    """A version's number, the commit of the code, and when its data and its model were made, as ISO 8601 in UTC."""

    number: int
    git_commit: str
    data_creation: str
    trained_on: str


@one_thread()
def train_version(settings: Settings, version: Version, progress: Progress, champion: Recipe | None = None) -> dict[str, Any]:
    """Train on the tables and, if the gate lets it, write the artifact to `data_dir/model`; its metadata.

    Raises RefusedError, with the reasons, where the table or the model is not good enough; nothing is written then.
    """
    tables = Tables(settings.data_dir)
    dataset = read(tables, settings.scale)
    for line in console.data(dataset):
        progress.say(line)
    if len(dataset.ratings) < FEWEST_RATINGS:
        raise RefusedError(f"{len(dataset.ratings)} ratings are too few to judge a model: {FEWEST_RATINGS} are needed")
    evaluation, decision = _judge(dataset, settings, progress, champion)
    if not decision.passed:
        figures = {check.name: check.value for check in decision.checks}
        raise RefusedError("the gate refused the model: " + "; ".join(decision.reasons), figures, settings.rmse_limit)
    progress.say("the gate lets it pass")
    return _build(dataset, settings, version, evaluation, decision, progress)


def _judge(dataset: Dataset, settings: Settings, progress: Progress, champion: Recipe | None) -> tuple[Evaluation, Decision]:
    """Evaluate and decide."""
    trainer, seed = trainer_of(settings.trainer, settings.spark_master), settings.random_state
    rival, untrained = _rival(settings, champion)
    rankers = rankers_for(settings.ranker, champion.ranker if champion is not None else None)
    with progress.task("evaluate", count_steps(rival=rival is not None, rankers=rankers), "trainings") as task:
        evaluation = evaluate(dataset, trainer, settings.scale, seed, task.advance, rival, rankers)
    against = None
    if champion is not None:
        against = beside(evaluation, _served_by(settings, evaluation.choice), champion.ranker, seed)
    evaluation = replace(evaluation, untrained_champion=untrained, beside=against)
    decision = decide(evaluation, settings.rmse_limit, settings.scale, settings.champion_loss)
    for line in console.figures(evaluation, decision):
        progress.say(line)
    return evaluation, decision


def _rival(settings: Settings, champion: Recipe | None) -> tuple[tuple[Trainer, int] | None, str | None]:
    """The champion's trainer and seed, or why that recipe cannot be trained here; neither where there is nothing to compare.

    A champion of the same two would give the same figures and is not trained again.
    """
    if champion is None or (champion.trainer, champion.random_state) == (settings.trainer, settings.random_state):
        return None, None
    try:
        return (trainer_of(champion.trainer, settings.spark_master), champion.random_state), None
    except WrongUseError as error:
        log.warning("the recipe in service cannot be trained here: %s", error)
        return None, str(error)


def _build(
    dataset: Dataset, settings: Settings, version: Version, evaluation: Evaluation, decision: Decision, progress: Progress
) -> dict[str, Any]:
    """The artifact by the choice that the evaluation made and scored: what was measured is what is served."""
    feedback, choice = Feedback.of(dataset, settings.scale), evaluation.choice
    trainer = trainer_of(settings.trainer, settings.spark_master)
    for line in console.choice(choice):
        progress.say(line)
    name = _served_by(settings, choice)
    progress.say(f"ranked by {name}, {'the best in there' if settings.ranker == 'auto' else 'as RANKER says'}")
    factory = RankerFactory(feedback, trainer, settings.random_state)
    ranker, popularity = factory.make(name, choice.tuning), factory.popularity(choice.tuning.half_life)
    seen = feedback.seen()
    with progress.task("precompute", len(dataset.users), "users") as task:
        serving = serving_arrays(dataset, ranker, seen, task.advance, maker_of(settings.trainer, settings.spark_master))
    serving |= cold_arrays(varied(popularity.scores, feedback, RESERVE), serving["top"].dtype)
    if settings.explore_share:
        shown = exposures(serving["top"], len(dataset.films))
        serving |= explore_arrays(serving, shown, seen, settings.random_state)
    if evaluation.held_out is not None:
        lists = beyond.VersionLists(
            version=version.number,
            trained_on=version.trained_on,
            ranker=name,
            seed=settings.random_state,
            dataset=dataset,
            seen=seen,
            popularity=popularity,
            serving=serving,
        )
        for line in beyond.lines(beyond.write(settings.data_dir, lists, evaluation.held_out)):
            progress.say(line)
    metadata = _metadata(settings, version, evaluation, decision, dataset, name, choice)
    save(settings.data_dir / "model", metadata, serving, {**factory.factors.arrays(), **factory.kept(name, choice.tuning)})
    return metadata


def _served_by(settings: Settings, choice: Choice) -> str:
    """The ranker that makes the lists."""
    return choice.ranker if settings.ranker == "auto" else settings.ranker


def _metadata(
    settings: Settings,
    version: Version,
    evaluation: Evaluation,
    decision: Decision,
    dataset: Dataset,
    ranker: str,
    choice: Choice,
) -> dict[str, Any]:
    tables = Tables(settings.data_dir)
    data = {
        path.name: {"md5": md5_of(path), "rows": dataset.rows[name]}
        for name, path in (("ratings", tables.ratings), ("watches", tables.watches))
    }
    people = settings.data_dir / demographics.FILE
    if people.exists():
        data[people.name] = {"md5": md5_of(people), "rows": _rows(people)}
    return {
        "version": version.number,
        "trained_on": version.trained_on,
        "data_creation": version.data_creation,
        "data_md5": data[tables.ratings.name]["md5"],
        "data": data,
        "git_commit": version.git_commit,
        "random_state": settings.random_state,
        "rmse": decision.rmse,
        "metrics": {
            "evaluation": evaluation.to_dict(),
            "gate": decision.to_dict(),
            "choice": choice.to_dict(),
        },
        "explore_share": settings.explore_share,
        "trainer": settings.trainer,
        "ranker": ranker,
        "scale": list(settings.scale),
        "cold_lists": ["popular"],
        "users": len(dataset.users),
        "films": len(dataset.films),
        "look_alikes": list(dataset.look_alikes),
        "ratings": _ratings(dataset),
        "packages": _packages(settings.trainer),
    }


def _packages(trainer: str) -> dict[str, str]:
    names = (*PACKAGES, "pyspark") if trainer == "spark" else PACKAGES
    return {"python": platform.python_version(), **{name: package_version(name) for name in names}}


def _ratings(dataset: Dataset) -> dict[str, Any]:
    """How the ratings that count are spread, and how many rows gave a pair's rating again."""
    stars, counts = np.unique(dataset.ratings.stars, return_counts=True)
    pairs = len(dataset.ratings)
    spread = {f"{value:g}": int(count) for value, count in zip(stars.tolist(), counts.tolist(), strict=True)}
    return {"pairs": pairs, "duplicates": dataset.rows["ratings"] - pairs, "distribution": spread}


def _rows(path: Path) -> int:
    """The lines of a table without its header."""
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1
