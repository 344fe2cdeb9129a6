"""A way to tell people something, and the limit to each."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.notify.notice import Notice

STEP_SECONDS = 10.0
TOTAL_SECONDS = 30.0


class NotifyError(Exception):
    """A channel did not take a notice; `permanent` where no further try helps, `perhaps` where it may have taken it."""

    def __init__(self, text: str, *, permanent: bool = False, perhaps: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.perhaps = perhaps


class TooLongError(NotifyError):
    """A try took too long as a whole, and was left behind."""


class Channel(Protocol):
    """A way to tell people something."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """Tells it: each call is a try, for what the one before left. Comes back within a limit; raises NotifyError."""
        ...


def within(seconds: float, action: Callable[[], object]) -> None:
    """Do `action`, but wait no longer for it than that: a limit to each step is none to a server that drips its answer.

    Raises what `action` raises, and TooLongError when it takes too long; its thread is left behind then.
    """
    done: Future[None] = Future()

    def work() -> None:
        try:
            action()
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        problem = done.exception(seconds)
    except TimeoutError:
        raise TooLongError(f"not done after {seconds:g} s in all") from None
    if problem:
        raise problem
