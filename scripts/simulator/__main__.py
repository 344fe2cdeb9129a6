"""Runs `python -m scripts.simulator`; on TERM it clears up and ends with status 143."""

import signal
import sys
from types import FrameType
from typing import NoReturn

from scripts.simulator.command import main

TERMINATED = 143


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(sys.argv[1:]))
