"""What a release works with, assembled once."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.json_file import PUBLIC, make_public
from auto_deployment.release.analysis.comparison import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auto_deployment.common.prometheus import Source
    from auto_deployment.common.settings import Settings
    from auto_deployment.notify import Channel
    from auto_deployment.release.shadow_result import ShadowResult
    from auto_deployment.release.stack import Stack
    from auto_deployment.release.state_machine import Rollout

EVENTS = "events.jsonl"
BOOT = Path("/proc/sys/kernel/random/boot_id")


def _uptime() -> float:
    """Seconds since the machine's start, sleep included: nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class ReleaseContext:
    """`folder` is the release folder, `root` the checkout."""

    settings: Settings
    root: Path
    folder: Path
    stack: Stack
    prometheus: Source
    channels: Sequence[Channel]
    shadow: Callable[[ReleaseContext, Rollout, Callable[[], None]], ShadowResult]
    now: Callable[[], float] = time.time
    uptime: Callable[[], float] = _uptime
    sleep: Callable[[float], None] = time.sleep

    @property
    def limits(self) -> Limits:
        """The limits beyond which a version is worse."""
        return Limits.of(self.settings)

    @property
    def boot(self) -> str:
        """The machine's start, as the kernel names it."""
        return BOOT.read_text(encoding="ascii").strip()

    def record_event(self, rollout: Rollout, message: str) -> None:
        """Print an event, and append it to the release's events."""
        at = self.now()
        sys.stdout.write(f"{time.strftime('%H:%M:%S', time.gmtime(at))}  version {rollout.version}: {message}\n")
        sys.stdout.flush()
        path = self.folder / rollout.folder / EVENTS
        path.parent.mkdir(parents=True, exist_ok=True)
        make_public(path.parent)
        with path.open("a", encoding="utf-8") as file:
            os.fchmod(file.fileno(), PUBLIC)
            file.write(json.dumps({"at": round(at, 3), "step": rollout.step, "said": message}) + "\n")
