"""Telling people: by every channel, again where need be, and never a reason for a run to fail."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from auto_deployment.notify.channel import NotifyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auto_deployment.notify.channel import Channel
    from auto_deployment.notify.notice import Notice

log = logging.getLogger(__name__)

PAUSES = (2.0, 10.0)


def tell(notice: Notice, channels: Sequence[Channel], sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Tell it by each channel, three times where need be; who was not told, and why. Never raises.

    What a channel has perhaps told is logged, and not among these: who tells it again may tell it twice.
    """
    failures = []
    for channel in channels:
        if problem := _problem_of(notice, channel, sleep):
            how = "perhaps" if problem.perhaps else "not"
            log.error("%s was %s told (%s): %s", channel.name, how, problem, notice.whole[0])
            failures += [] if problem.perhaps else [f"{channel.name}: {problem}"]
        else:
            log.info("%s was told: %s", channel.name, notice.whole[0])
    return failures


def _problem_of(notice: Notice, channel: Channel, sleep: Callable[[float], None]) -> NotifyError | None:
    try:
        return _last_problem(channel.name, channel.delivery(notice), sleep)
    except Exception as error:
        log.exception("%s failed in a way of its own", channel.name)
        return NotifyError(type(error).__name__)


def _last_problem(name: str, deliver: Callable[[], None], sleep: Callable[[float], None]) -> NotifyError | None:
    problem = ""
    for pause in (0.0, *PAUSES):
        if pause:
            sleep(pause)
        try:
            deliver()
        except NotifyError as error:
            problem = str(error)
            if error.permanent:
                return error
            log.warning("%s: %s", name, problem)
        else:
            return None
    return NotifyError(f"{problem} ({1 + len(PAUSES)} tries)")
