"""A candidate: evaluated on the tables, judged by the gate, and built into an artifact if it passes."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import version as package_version
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from app.model import RESERVE, Array, md5_of, save
from auto_deployment.common.blas import one_thread
from auto_deployment.common.database import database_memory
from auto_deployment.common.errors import RefusedError, RunError, WrongUseError
from auto_deployment.evaluation.evaluate import FEWEST_RATINGS, Evaluated, compare_rankers, count_steps, evaluate
from auto_deployment.evaluation.gate import Decision, decide
from auto_deployment.evaluation.model_metadata import DataFile, ModelMetadata, ModelMetrics, RatingCounts
from auto_deployment.ingestion.users import demographics
from auto_deployment.pipeline.history_source import hashed_ratings
from auto_deployment.ranking.diverse_popular import diverse_popular
from auto_deployment.ranking.ease import DENSE_FILMS
from auto_deployment.ranking.exploration import explore_arrays
from auto_deployment.ranking.feedback import Feedback
from auto_deployment.ranking.list_weights import facts, film_minutes, likes_and_seen
from auto_deployment.ranking.model_selection import rankers_for
from auto_deployment.ranking.precompute import cold_arrays, serving_arrays
from auto_deployment.ranking.precompute_spark import list_maker
from auto_deployment.ranking.ranker_factory import RankerFactory
from auto_deployment.reports import beyond_accuracy as beyond
from auto_deployment.reports import console
from auto_deployment.reports.exposure import exposures
from auto_deployment.training.dataset import distribution_of, read
from auto_deployment.training.pair_table import FOLDER, SCRATCH, PairTables
from auto_deployment.training.sizes import WHOLE_PAIRS, require_memory
from auto_deployment.training.spark.als import SparkTrainer
from auto_deployment.training.spark.session import session
from auto_deployment.training.trainers import AUTO, resolve, trainer_of
from auto_deployment.versioning.pointers import md5_of_list
from auto_deployment.versioning.repository import RATINGS, WATCHES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import TrainingSettings
    from auto_deployment.evaluation.champion import Recipe
    from auto_deployment.ranking.ranker import Popularity
    from auto_deployment.training.dataset import Dataset
    from auto_deployment.training.pair_table import Manifest, Source
    from auto_deployment.training.rating_model import Trainer
    from auto_deployment.training.seen import Seen

log = logging.getLogger(__name__)

RATING_FILE = f"{RATINGS}.csv"
# A year has millions of damaged ids, and git keeps every version's report.
SHOWN_LOOK_ALIKES = 100
PACKAGES = ("numba", "numpy", "pandas", "scikit-surprise", "scipy")


class Version(NamedTuple):
    """A version's number, the commit of the code, and when its data and its model were made, as ISO 8601 in UTC.

    `offsets` are those where the version's data end, by partition of the topic; empty where its data come from files.
    """

    number: int
    git_commit: str
    data_creation: str
    trained_on: str
    offsets: Mapping[str, int] = MappingProxyType({})


class Artifact(NamedTuple):
    """The arrays of a model, and what they were made from, for the report. `ranker` is the name of the ranker.

    `fresh` is None without a fresh part, and `item_share` is of `ItemWeights` then.
    """

    ranker: str
    seen: Seen
    popularity: Popularity
    serving: dict[str, Array]
    rating: dict[str, Array]
    fresh: dict[str, Array] | None = None
    item_share: int = 1


@one_thread()
def train_version(
    settings: TrainingSettings, version: Version, source: Source, progress: Progress, champion: Recipe | None = None
) -> ModelMetadata:
    """Train on `source` and, if the gate passes the model, write the artifact to `data_dir/model`. Returns its metadata.

    Raises RefusedError, with the reasons, where the table or the model is not good enough; nothing is written then.
    """
    if settings.trainer == SparkTrainer.name:
        session(settings.spark_master, settings.memory_gb)
    with progress.stage("history"):
        tables = PairTables(settings.data_dir / FOLDER, database_memory(settings.memory_gb))
        manifest = tables.update(source, settings.scale)
    # After the merge, which needs the disk itself.
    with hashed_ratings(source) as rating_md5:
        with progress.stage("read"):
            latest = settings.latest_films if manifest.pairs > WHOLE_PAIRS else None
            dataset = read(tables.folder / str(manifest.version), manifest, tables.folder / SCRATCH, latest)
        _print(console.data(dataset), progress)
        if len(dataset.ratings) < FEWEST_RATINGS:
            raise RefusedError(f"{len(dataset.ratings)} ratings are too few to judge a model: {FEWEST_RATINGS} are needed")
        settings = _with_trainer(settings, dataset, champion, progress)
        with progress.stage("evaluate"):
            evaluated = _evaluate(dataset, settings, champion, progress)
            data = _data_files(manifest, rating_md5.result(), settings.data_dir)
    decision = _decide(evaluated, settings, progress)
    artifact = _build(dataset, settings, evaluated, progress)
    with progress.stage("reports"):
        _report_beyond_accuracy(dataset, settings, version, evaluated, artifact, progress)
    with progress.stage("write"):
        metadata = _describe(dataset, settings, version, evaluated, decision, artifact, data)
        try:
            save(settings.data_dir / "model", metadata.model_dump(), artifact.serving, artifact.rating, artifact.fresh)
        except OSError as error:
            raise RunError(f"{settings.data_dir / 'model'}: cannot be written ({error}): make room, then run again") from error
    return metadata


def _with_trainer(
    settings: TrainingSettings, dataset: Dataset, champion: Recipe | None, progress: Progress
) -> TrainingSettings:
    """The settings with the name of a trainer in place of `auto`. Raises RefusedError where its training needs more memory."""
    name, reason = resolve(settings.trainer, len(dataset.ratings))
    if settings.trainer == AUTO:
        progress.say(f"trained by {name}: {reason}")
    rankers = rankers_for(settings.ranker, champion.ranker if champion is not None else None)
    matrix_films = min(len(dataset.films), DENSE_FILMS) if "ease" in rankers else 0
    require_memory(name, dataset, settings.memory_gb, settings.latest_films, matrix_films)
    return settings.model_copy(update={"trainer": name})


def _evaluate(dataset: Dataset, settings: TrainingSettings, champion: Recipe | None, progress: Progress) -> Evaluated:
    """The candidate's metrics and the choice of a ranker, compared with the champion where its recipe is another one."""
    trainer, seed = trainer_of(settings.trainer, settings.spark_master), settings.random_state
    champion_trainer, untrained = _champion_trainer(settings, champion)
    rankers = rankers_for(settings.ranker, champion.ranker if champion is not None else None)
    with progress.task("evaluate", count_steps(champion=champion_trainer is not None, rankers=rankers), "trainings") as task:
        latest = None if dataset.sample is None else settings.latest_films
        evaluated = evaluate(dataset, trainer, settings.scale, seed, task.advance, champion_trainer, rankers, latest)
    comparison = None
    if champion is not None:
        comparison = compare_rankers(evaluated.held_out, _ranker(settings, evaluated), champion.ranker, seed)
    update = {"untrained_champion": untrained, "comparison": comparison}
    return evaluated._replace(evaluation=evaluated.evaluation.model_copy(update=update))


def _decide(evaluated: Evaluated, settings: TrainingSettings, progress: Progress) -> Decision:
    """The gate's decision to pass. Raises RefusedError, with its reasons and the values of the checks."""
    decision = decide(evaluated.evaluation, settings.rmse_limit, settings.scale, settings.champion_loss)
    _print(console.metrics(evaluated.evaluation, decision), progress)
    if not decision.passed:
        values = {check.name: check.value for check in decision.checks}
        raise RefusedError("the gate refused the model: " + "; ".join(decision.reasons), values, settings.rmse_limit)
    progress.say("the gate passes the model")
    return decision


def _build(dataset: Dataset, settings: TrainingSettings, evaluated: Evaluated, progress: Progress) -> Artifact:
    """Train on all data with the evaluated choice, and compute every user's list."""
    feedback, choice, name = Feedback.of(dataset, settings.scale), evaluated.choice, _ranker(settings, evaluated)
    _print(console.choice(choice), progress)
    progress.say(f"ranked by {name}, {'the best inside the data' if settings.ranker == 'auto' else 'as RANKER says'}")
    factory = RankerFactory(feedback, trainer_of(settings.trainer, settings.spark_master), settings.random_state)
    with progress.stage("fit"):
        ranker, popularity = factory.make(name, choice.tuning), factory.popularity(choice.tuning.half_life)
        rating = {**factory.factors.arrays(), **factory.kept(name, choice.tuning)}
    seen = dataset.seen or feedback.seen()
    with progress.stage("lists"), progress.task("lists", len(dataset.users), "users") as task:
        serving = serving_arrays(dataset, ranker, seen, task.advance, list_maker(settings.trainer, settings.spark_master))
    serving |= cold_arrays(diverse_popular(popularity.scores, feedback, RESERVE), serving["top"].dtype)
    if settings.explore_share:
        shown = exposures(serving["top"], len(dataset.films))
        serving |= explore_arrays(serving, shown, seen, settings.random_state)
    artifact = Artifact(ranker=name, seen=seen, popularity=popularity, serving=serving, rating=rating)
    if not settings.fresh:
        return artifact
    weights = factory.weights(name, choice.tuning)
    fresh = {**weights.arrays, **likes_and_seen(factory.taste, seen), "film_minutes": film_minutes(feedback)}
    return artifact._replace(fresh=fresh, item_share=weights.item_share)


def _report_beyond_accuracy(
    dataset: Dataset,
    settings: TrainingSettings,
    version: Version,
    evaluated: Evaluated,
    artifact: Artifact,
    progress: Progress,
) -> None:
    """Write the report beyond accuracy. It compares with the model in `data_dir`, so it comes before the new model."""
    lists = beyond.VersionLists(
        version=version.number,
        trained_on=version.trained_on,
        ranker=artifact.ranker,
        seed=settings.random_state,
        dataset=dataset,
        seen=artifact.seen,
        popularity=artifact.popularity,
        serving=artifact.serving,
    )
    _print(beyond.lines(beyond.write(settings.data_dir, lists, evaluated.held_out)), progress)


def _describe(
    dataset: Dataset,
    settings: TrainingSettings,
    version: Version,
    evaluated: Evaluated,
    decision: Decision,
    artifact: Artifact,
    data: Mapping[str, DataFile],
) -> ModelMetadata:
    return ModelMetadata(
        version=version.number,
        trained_on=version.trained_on,
        data_creation=version.data_creation,
        data_md5=data[RATING_FILE].md5,
        data=data,
        git_commit=version.git_commit,
        random_state=settings.random_state,
        rmse=decision.rmse,
        metrics=ModelMetrics(evaluation=evaluated.evaluation, gate=decision, choice=evaluated.choice),
        explore_share=settings.explore_share,
        fresh=None
        if artifact.fresh is None
        else facts(settings.scale, settings.user_id_max, artifact.item_share, version.offsets),
        latest_films=None if dataset.seen is None else settings.latest_films,
        trainer=settings.trainer,
        ranker=artifact.ranker,
        scale=settings.scale,
        cold_lists=("popular",),
        users=len(dataset.users),
        films=len(dataset.films),
        look_alikes=dataset.look_alikes[:SHOWN_LOOK_ALIKES],
        look_alike_count=len(dataset.look_alikes),
        ratings=_rating_counts(dataset),
        packages=_packages(settings.trainer),
    )


def _print(lines: list[str], progress: Progress) -> None:
    for line in lines:
        progress.say(line)


def _champion_trainer(settings: TrainingSettings, champion: Recipe | None) -> tuple[tuple[Trainer, int] | None, str | None]:
    """The champion's trainer and seed, or the reason why its recipe cannot be trained here.

    Neither without a champion, nor for a champion with the candidate's trainer and seed: its metrics would be the same.
    """
    if champion is None or (champion.trainer, champion.random_state) == (settings.trainer, settings.random_state):
        return None, None
    try:
        return (trainer_of(champion.trainer, settings.spark_master), champion.random_state), None
    except WrongUseError as error:
        log.warning("the recipe in service cannot be trained here: %s", error)
        return None, str(error)


def _ranker(settings: TrainingSettings, evaluated: Evaluated) -> str:
    """The name of the ranker that makes the lists."""
    return evaluated.choice.ranker if settings.ranker == "auto" else settings.ranker


def _data_files(manifest: Manifest, rating_md5: str, data_dir: Path) -> dict[str, DataFile]:
    """What the model is trained on, by name. The watches have the MD5 of a list of their parts, as `md5sum` prints it."""
    users = data_dir / demographics.FILE
    parts = {name: md5 for name, md5 in manifest.parts.items() if name.startswith(WATCHES)}
    files = {
        RATING_FILE: DataFile(md5=rating_md5, rows=manifest.rating_rows),
        WATCHES: DataFile(md5=md5_of_list(parts), rows=manifest.watch_rows),
    }
    if users.exists():
        files[users.name] = DataFile(md5=md5_of(users), rows=_rows(users))
    return files


def _packages(trainer: str) -> dict[str, str]:
    names = (*PACKAGES, "pyspark") if trainer == "spark" else PACKAGES
    return {"python": platform.python_version(), **{name: package_version(name) for name in names}}


def _rating_counts(dataset: Dataset) -> RatingCounts:
    """The distribution of the ratings that count, and the number of rows that rate a pair again."""
    distribution = dataset.distribution or distribution_of(dataset.ratings)
    pairs = sum(distribution.values())
    return RatingCounts(pairs=pairs, duplicates=dataset.rows["ratings"] - pairs, distribution=distribution)


def _rows(path: Path) -> int:
    """The lines of a table without its header."""
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1
