"""Users' lists made on Spark's executors, a partition of blocks at a time, see `by_spark`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from auto_deployment.common.blas import one_thread
from auto_deployment.training.spark.session import session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyspark.broadcast import Broadcast

    from auto_deployment.ranking.precompute import Lists
    from auto_deployment.ranking.ranker import Rows

BLOCKS_A_PARTITION = 16


def by_spark(master: str, lists: Lists, starts: Sequence[int]) -> Iterator[Rows]:
    """See `auto_deployment.ranking.precompute.by_threads`: the same blocks. Each executor gets the ranker once."""
    context = session(master).sparkContext
    held = context.broadcast(lists)
    partitions = max(-(-len(starts) // BLOCKS_A_PARTITION), 1)
    try:
        yield from context.parallelize(starts, partitions).map(partial(_block, held)).toLocalIterator(prefetchPartitions=True)
    finally:
        held.destroy()


@one_thread()
def _block(held: Broadcast[Lists], start: int) -> Rows:
    lists: Lists = held.value
    return lists.block(start)
