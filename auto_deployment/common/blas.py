"""The number of threads of the linear algebra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from contextlib import ContextDecorator


def one_thread() -> ContextDecorator:
    """Decorate a function: its linear algebra uses one thread, whatever the machine has.

    Most matrices are small: on a busy machine the wait for a second thread is ten times what that thread saves. One thread
    also makes sums equal to the bit on machines with other numbers of cores.
    """
    limited: ContextDecorator = threadpool_limits.wrap(1, "blas")
    return limited
