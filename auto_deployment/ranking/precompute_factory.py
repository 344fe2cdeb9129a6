"""Where the lists are made: in threads of this process, or on Spark's executors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from auto_deployment.ranking.precompute import by_threads
from auto_deployment.ranking.precompute_spark import by_spark
from auto_deployment.training.spark.als import SparkTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auto_deployment.ranking.precompute import Lists
    from auto_deployment.ranking.ranker import Rows


def maker_of(name: str, spark_master: str) -> Callable[[Lists, Sequence[int]], Iterator[Rows]]:
    """What makes the lists where `name` trains: threads of this process, or Spark's executors."""
    return partial(by_spark, spark_master) if name == SparkTrainer.name else by_threads
