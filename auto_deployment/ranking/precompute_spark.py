"""Users' lists from Spark's executors, a partition of blocks at a time, or from threads of this process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from auto_deployment.common.blas import one_thread
from auto_deployment.ranking.precompute import by_threads
from auto_deployment.training.spark.als import SparkTrainer
from auto_deployment.training.spark.session import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pyspark.broadcast import Broadcast

    from auto_deployment.ranking.precompute import Lists
    from auto_deployment.ranking.ranker import Indices

BLOCKS_A_PARTITION = 16


def list_maker(trainer: str, spark_master: str) -> Callable[[Lists, Sequence[int]], Iterator[Indices]]:
    """The function that makes the lists: on Spark's executors for `TRAINER=spark`, else in threads of this process."""
    return partial(by_spark, spark_master) if trainer == SparkTrainer.name else by_threads


def by_spark(master: str, lists: Lists, starts: Sequence[int]) -> Iterator[Indices]:
    """See `auto_deployment.ranking.precompute.by_threads`: the same blocks. Each executor gets the ranker once."""
    context = session(master).sparkContext
    held = context.broadcast(lists)
    partitions = max(-(-len(starts) // BLOCKS_A_PARTITION), 1)
    try:
        yield from context.parallelize(starts, partitions).map(partial(_block, held)).toLocalIterator(prefetchPartitions=True)
    finally:
        held.destroy()


@one_thread()
def _block(held: Broadcast[Lists], start: int) -> Indices:
    lists: Lists = held.value
    return lists.block(start)
