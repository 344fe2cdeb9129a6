"""`python -m auto_deployment.sample`: version 0, trained on the sample that comes with the project, in `DATA_DIR`.

For an image that is built before there is any version of one's own. The gate judges it like any other.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import RunError
from auto_deployment.common.output import keep_output
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.sources import SAMPLE
from auto_deployment.pipeline.candidate import Version, train_version
from auto_deployment.versioning.repository import write_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings


def train_first(inputs: Sequence[Path], settings: Settings, git_commit: str, progress: Progress) -> dict[str, Any]:
    """Collect the files and train version 0 in `settings.data_dir`; its metadata. Raises RefusedError as the gate does."""
    progress.heading("collect")
    collect_files(inputs, settings, progress)
    progress.heading("train")
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return train_version(settings, Version(0, git_commit, now, now), progress)


def main() -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    try:
        settings = load_settings()
        train_first([SAMPLE], settings, "", Progress(sys.stdout))
        write_version(settings.data_dir, 0)
    except RunError as error:
        sys.stderr.write(f"sample: {error}\n")
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
