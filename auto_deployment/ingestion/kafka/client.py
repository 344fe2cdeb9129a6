"""The interface of a Kafka client. Each library has its own implementation."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 60.0
CONNECT_SECONDS = 15.0


class StreamError(RunError):
    """The broker does not answer in time, or has no such topic. The text says what to check."""


class OffsetGoneError(Exception):
    """Kafka's retention has removed the requested offset. The partition now begins later."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(f"partition {partition}: offset {offset} is gone")
        self.partition = partition
        self.offset = offset


class MessageBatch(NamedTuple):
    """Messages as two lists of equal length: ascending offsets in the partition, and values. A missing value is `b""`.

    An object for each message would take as long as reading the message from the broker.
    """

    offsets: list[int]
    values: list[bytes]

    def before(self, stop: int) -> MessageBatch:
        """The messages with offsets below `stop`."""
        count = bisect_left(self.offsets, stop)
        return self if count == len(self.offsets) else MessageBatch(self.offsets[:count], self.values[:count])


class Client(Protocol):
    """Reads one topic of a broker. It waits for a broker that restarts, and raises StreamError when the wait is too long.

    Nothing is committed to the broker: we keep the offsets with the rows.
    """

    def partitions(self) -> list[int]:
        """The topic's partitions, ascending. Raises StreamError if the broker does not answer or has no such topic."""
        ...

    def first_offsets(self) -> dict[int, int]:
        """The first offset that each partition still has."""
        ...

    def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get."""
        ...

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """The first offset at or after a time in milliseconds since 1970, or the end offset if there is none."""
        ...

    def read(self, partition: int, start: int, stop: int) -> Iterator[MessageBatch]:
        """The messages with `start <= offset < stop`, in order, in batches. Some offsets have no message.

        Raises OffsetGoneError if `start` is before the partition's first offset, StreamError if the broker does not answer.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
