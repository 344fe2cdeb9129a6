"""How many threads the linear algebra takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from contextlib import ContextDecorator


def one_thread() -> ContextDecorator:
    """One in the function that this decorates, whatever the machine has.

    Most of the matrices are small: on a machine that is busy a second thread is waited for ten times as long as it saves. And
    sums come out the same to the bit on machines with other numbers of cores.
    """
    limited: ContextDecorator = threadpool_limits.wrap(1, "blas")
    return limited
