"""`python -m auto_deployment.sample`: version 0, trained on the project's sample, in `DATA_DIR`.

An image needs version 0 when it is built before the first retraining. The gate judges version 0 like any other.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError
from auto_deployment.common.output import keep_output
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collect_with_progress import collect_files
from auto_deployment.ingestion.sources import SAMPLE
from auto_deployment.ingestion.tables import Tables
from auto_deployment.pipeline.candidate import Version, train_version
from auto_deployment.training.pair_table import FOLDER, SCRATCH, source_of_tables
from auto_deployment.versioning.repository import WATCHES, write_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.common.settings import TrainingSettings
    from auto_deployment.evaluation.champion import Recipe
    from auto_deployment.evaluation.model_metadata import ModelMetadata


def train_first(inputs: Sequence[Path], settings: TrainingSettings, git_commit: str, progress: Progress) -> ModelMetadata:
    """Collect the files and train version 0 in `settings.data_dir`. Returns its metadata. Raises RefusedError."""
    progress.heading("collect")
    with progress.stage("collect"):
        collect_files(inputs, settings, progress)
    progress.heading("train")
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    with progress.stage("train"):
        return train_tables(settings, Version(number=0, git_commit=git_commit, data_creation=now, trained_on=now), progress)


def train_tables(
    settings: TrainingSettings, version: Version, progress: Progress, champion: Recipe | None = None
) -> ModelMetadata:
    """Train a version on all rows of the tables in `settings.data_dir`. Returns its metadata. Raises RefusedError."""
    pairs = settings.data_dir / FOLDER
    with tempfile.TemporaryDirectory(dir=settings.data_dir) as scratch:
        source = source_of_tables(Tables(settings.data_dir), Path(scratch) / f"{WATCHES}_0.parquet", pairs / SCRATCH)
        return train_version(settings, version, source, progress, champion)


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
