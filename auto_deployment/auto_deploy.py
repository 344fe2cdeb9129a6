"""`python -m auto_deployment.auto_deploy`: one retraining run, or one collection. See `auto_deployment.pipeline.run`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from app import __version__
from auto_deployment import notify
from auto_deployment.common.errors import RunError
from auto_deployment.common.lock import locked
from auto_deployment.common.logs import configure, secrets_of
from auto_deployment.common.output import keep_output
from auto_deployment.common.progress import Progress
from auto_deployment.common.settings import load_settings
from auto_deployment.common.signals import Stop
from auto_deployment.models import retention_of
from auto_deployment.pipeline import metrics
from auto_deployment.pipeline.model_retention import remove_unneeded
from auto_deployment.pipeline.restore import LOCK
from auto_deployment.pipeline.run import CONTINUES, Pipeline, RunOptions
from auto_deployment.release.state import in_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auto_deployment.common.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    options, channels = _options(arguments), list[notify.Channel]()
    try:
        settings = load_settings()
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        configure(settings.log_dir, run_id, secrets=secrets_of(settings))
        channels += notify.open_channels(settings)
        with locked(settings.data_dir / LOCK, "another run holds the lock"):
            progress, stop = Progress(sys.stdout), Stop()
            status = Pipeline(settings, options, progress, channels, stop, in_service).run()
            metrics.write_run_metrics(settings, "collect" if options.collect_only else "retrain", status)
            if status == 0 and options.push and not options.collect_only:
                _remove_models(settings, progress, stop)
            return status
    except RunError as error:
        sys.stderr.write(f"auto_deploy: {error}\n")
        return error.status
    except OSError as error:
        # The folder of the data or of the logs cannot be written, so no run can begin or end.
        reason = f"{error.filename or 'the disk'}: {error.strerror or error}"
        sys.stderr.write(f"auto_deploy: {reason}\n")
        notify.deliver(notify.failed("start", reason, CONTINUES), channels)
        return 1


def _remove_models(settings: Settings, progress: Progress, stop: Stop) -> None:
    """Remove the models that nobody needs any more."""
    removed = remove_unneeded(retention_of(settings), lambda: not stop.asked())
    if removed:
        progress.say(f"{len(removed)} models that nobody needs are removed: up to version {removed[-1].number}")


def _options(arguments: Sequence[str] | None) -> RunOptions:
    parser = argparse.ArgumentParser(prog="python -m auto_deployment.auto_deploy", description="one retraining run")
    parser.add_argument("--version", action="version", version=f"movierec {__version__}")
    parser.add_argument(
        "--input", metavar="FILE", type=Path, action="append", default=[], help="stream lines from files, not from Kafka"
    )
    parser.add_argument("--no-push", action="store_true", help="make the version here; the next run without it pushes")
    parser.add_argument("--collect-only", action="store_true", help="append to the tables and stop")
    parsed = parser.parse_args(arguments)
    return RunOptions(inputs=parsed.input, push=not parsed.no_push, collect_only=parsed.collect_only)


if __name__ == "__main__":
    sys.exit(main())
