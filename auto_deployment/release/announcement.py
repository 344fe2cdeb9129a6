"""The end of a release is announced: its report page, and its notice by each channel."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auto_deployment import notify
from auto_deployment.common.errors import RunError
from auto_deployment.common.json_file import StateError, read_typed, write_synced
from auto_deployment.release import bake
from auto_deployment.release.analysis.verdict import Verdict
from auto_deployment.release.context import EVENTS
from auto_deployment.release.notices import SERVER, Advice, notice_of
from auto_deployment.release.page import page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from auto_deployment.notify import Channel
    from auto_deployment.release.analysis.comparison import Limits
    from auto_deployment.release.analysis.readings import Reading
    from auto_deployment.release.state import ReleaseEnd

log = logging.getLogger(__name__)

# After this time a notice is no news any more.
NOTIFY_SECONDS = 24 * 3600.0
END, REPORT = "end.json", "report.html"


@dataclass(frozen=True)
class Announcer:
    """Writes reports and sends notices of ends whose evidence lies in a folder."""

    channels: Sequence[Channel]
    limits: Limits
    now: Callable[[], float]
    sleep: Callable[[float], None]
    advice: Advice = SERVER

    def announce(self, folder: Path, end: ReleaseEnd, save: Callable[[ReleaseEnd], None]) -> None:
        """Write the report, and send the notice by each channel that has not accepted it yet.

        Each acceptance is saved before the next try. After a day, `save` gets the end as notified in any case.
        """
        self._report(folder, end)
        notice = notice_of(end, _last_readings(folder / bake.VERDICT), self.advice)
        left = [channel for channel in self.channels if channel.name not in end.notified_by]

        def accepted(name: str) -> None:
            nonlocal end
            end = replace(end, notified_by=(*end.notified_by, name))
            save(end)

        notify.deliver(notice, left, self.sleep, accepted)
        missing = [channel.name for channel in left if channel.name not in end.notified_by]
        if missing and self.now() - end.ended < NOTIFY_SECONDS:
            return
        if missing:
            log.error("%s: given up after a day: %s", ", ".join(missing), notice.subject)
        with (folder / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(self.now(), 3), "step": "told", "said": notice.subject}) + "\n")
        save(replace(end, notified=True))

    def _report(self, folder: Path, end: ReleaseEnd) -> None:
        """Write the report page. A page that cannot be drawn must not stop a notice."""
        try:
            write_synced(folder / REPORT, page(folder, end, self.limits, self.advice).encode())
        except (RunError, OSError, ValueError, KeyError) as error:
            log.warning("%s cannot be written (%s)", folder / REPORT, error)


def _last_readings(path: Path) -> tuple[Reading, ...]:
    """The readings of the last verdict. A damaged file must not stop a notice."""
    try:
        verdict = read_typed(path, Verdict)
    except StateError as error:
        log.warning("%s", error)
        return ()
    return verdict.readings if verdict else ()
