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


def deliver(
    notice: Notice,
    channels: Sequence[Channel],
    sleep: Callable[[float], None] = time.sleep,
    accepted: Callable[[str], None] = lambda _name: None,
) -> list[str]:
    """Send a notice by each channel, with up to three tries. Returns the failed channels with their reasons.

    The channels take turns, so a slow one delays another by one try at most. `accepted` gets the name of each channel that
    took the notice, before the next try. Raises only what `accepted` raises.
    """
    deliveries: dict[str, Callable[[], None]] = {}
    left, failures = list(channels), []
    for number, pause in enumerate((0.0, *PAUSES), 1):
        if left and pause:
            sleep(pause)
        for channel in tuple(left):
            problem = _try_once(notice, channel, deliveries)
            if problem is not None and not problem.permanent:
                log.warning("%s: %s", channel.name, problem)
                if number <= len(PAUSES):
                    continue
                problem = NotifyError(f"{problem} ({number} tries)")
            left.remove(channel)
            if problem is None:
                log.info("%s: sent: %s", channel.name, notice.whole[0])
                accepted(channel.name)
            else:
                log.error("%s: not sent (%s): %s", channel.name, problem, notice.whole[0])
                failures.append(f"{channel.name}: {problem}")
    return failures


def _try_once(notice: Notice, channel: Channel, deliveries: dict[str, Callable[[], None]]) -> NotifyError | None:
    """What went wrong at one try. The delivery of a channel is kept for its next try."""
    try:
        if channel.name not in deliveries:
            deliveries[channel.name] = channel.delivery(notice)
        deliveries[channel.name]()
    except NotifyError as error:
        return error
    except Exception as error:
        log.exception("%s: unexpected error", channel.name)
        return NotifyError(type(error).__name__, permanent=True)
    return None
