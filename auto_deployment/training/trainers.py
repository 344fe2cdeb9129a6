"""Every trainer by the name that the setting `TRAINER` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auto_deployment.common.errors import WrongUseError
from auto_deployment.common.spark_packages import missing
from auto_deployment.training.sizes import SURPRISE_MOST
from auto_deployment.training.spark.als import SparkTrainer
from auto_deployment.training.surprise_svd import SurpriseSVD

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.training.rating_model import Trainer


def _sgd(_: str) -> Trainer:
    from auto_deployment.training.sgd import SgdTrainer  # noqa: PLC0415 - numba would take a tenth of every start

    return SgdTrainer()


AUTO = "auto"
TRAINERS: dict[str, Callable[[str], Trainer]] = {
    SurpriseSVD.name: lambda _: SurpriseSVD(),
    "sgd": _sgd,
    SparkTrainer.name: SparkTrainer,
}


def resolve(setting: str, ratings: int) -> tuple[str, str]:
    """The name of the trainer for a value of `TRAINER` and a number of ratings, and the reason."""
    if setting != AUTO:
        return setting, f"TRAINER={setting}"
    if ratings <= SURPRISE_MOST:
        return SurpriseSVD.name, f"{ratings:,} ratings are at most {SURPRISE_MOST:,}"
    return "sgd", f"{ratings:,} ratings are more than {SURPRISE_MOST:,}"


def trainer_of(name: str, spark_master: str) -> Trainer:
    """The trainer `name`; `spark_master` is where Spark runs, the others run here.

    Raises WrongUseError where Spark is not installed, and for a name that no trainer has.
    """
    if name not in TRAINERS:
        raise WrongUseError(f"there is no trainer {name!r}: there are {', '.join(TRAINERS)}")
    if name == SparkTrainer.name and (problem := missing()) is not None:
        raise WrongUseError(problem)
    return TRAINERS[name](spark_master)
