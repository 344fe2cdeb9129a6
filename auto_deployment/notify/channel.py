"""What a notification channel is, and the time limits of its tries."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from auto_deployment.notify.notice import Notice

STEP_SECONDS = 10.0
TOTAL_SECONDS = 30.0

Result = TypeVar("Result")


class NotifyError(Exception):
    """A channel did not send a notice; `permanent`: no further try helps."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class TooLongError(NotifyError):
    """A try took longer than its limit in all, and was abandoned."""


class Channel(Protocol):
    """A way to send notices to people."""

    @property
    def name(self) -> str:
        """Its name in logs."""
        ...

    def delivery(self, notice: Notice) -> Callable[[], None]:
        """A function that sends the notice: each call is one try, for whom the earlier ones missed, within a limit of time.

        The function raises NotifyError.
        """
        ...


def within(seconds: float, action: Callable[[], Result]) -> Result:
    """Run `action` for at most `seconds` in all: a server that sends its answer byte by byte passes every limit of a step.

    Raises what `action` raises, and TooLongError after `seconds`; the thread of the action is abandoned then.
    """
    done: Future[Result] = Future()

    def work() -> None:
        try:
            done.set_result(action())
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        problem = done.exception(seconds)
    except TimeoutError:
        raise TooLongError(f"not done after {seconds:g} s in all") from None
    if problem:
        raise problem
    return done.result()
