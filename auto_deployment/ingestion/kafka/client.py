"""What collection needs of a broker: one small interface, with a client for each library behind it."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol

from auto_deployment.common.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator


class StreamError(RunError):
    """The broker does not answer within its time, or does not have the topic; the text says what to look at."""


class OffsetGoneError(Exception):
    """Retention has removed the offset that was asked for; the partition now begins later."""

    def __init__(self, partition: int, offset: int) -> None:
        super().__init__(f"partition {partition}: offset {offset} is gone")
        self.partition = partition
        self.offset = offset


class Batch(NamedTuple):
    """Messages: their offsets in the partition, ascending, and their bytes, as many; a message without a value has none.

    Two lists, as an object for each message takes as long as reading it from the broker.
    """

    offsets: list[int]
    values: list[bytes]

    def before(self, stop: int) -> Batch:
        """Those with offsets below `stop`."""
        count = bisect_left(self.offsets, stop)
        return self if count == len(self.offsets) else Batch(self.offsets[:count], self.values[:count])


class Client(Protocol):
    """Reads one topic of a broker. Every wait ends, in a StreamError at last; a broker that restarts is waited for.

    Nothing is committed to the broker: offsets are kept with the rows that they produced.
    """

    def partitions(self) -> list[int]:
        """The topic's partitions, ascending. Raises StreamError where the broker is away or has no such topic."""
        ...

    def first_offsets(self) -> dict[int, int]:
        """The first offset that each partition still has."""
        ...

    def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get."""
        ...

    def offsets_at(self, milliseconds: int) -> dict[int, int]:
        """The first offset at or after a time, in milliseconds since 1970; the end offset where there is none."""
        ...

    def read(self, partition: int, start: int, stop: int) -> Iterator[Batch]:
        """The messages with `start <= offset < stop`, in order, in batches; offsets without a message are passed over.

        Raises OffsetGoneError where `start` is before the partition's first offset, StreamError where it waits in vain.
        """
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...
