"""Sends a notice by every channel, and tries again where another try helps. A failure here never fails a run."""

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


def deliver(notice: Notice, channels: Sequence[Channel], sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Send a notice by each channel, with up to three tries. Returns the failed channels with their reasons. Never raises."""
    failures = []
    for channel in channels:
        if problem := _problem_of(notice, channel, sleep):
            log.error("%s: not sent (%s): %s", channel.name, problem, notice.whole[0])
            failures.append(f"{channel.name}: {problem}")
        else:
            log.info("%s: sent: %s", channel.name, notice.whole[0])
    return failures


def _problem_of(notice: Notice, channel: Channel, sleep: Callable[[float], None]) -> NotifyError | None:
    try:
        return _last_problem(channel.name, channel.delivery(notice), sleep)
    except Exception as error:
        log.exception("%s: unexpected error", channel.name)
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
