"""`python -m auto_deployment.online_evaluation`: the share of our answers that users watched, compared with popular films."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from auto_deployment.common.errors import RunError, first_line
from auto_deployment.common.output import keep_output
from auto_deployment.common.settings import load_settings
from auto_deployment.online_evaluation import metrics_text
from auto_deployment.online_evaluation.metrics import compute_metrics
from auto_deployment.online_evaluation.parquet_store import FAILURES, ParquetStore
from auto_deployment.online_evaluation.popular import Popular
from auto_deployment.online_evaluation.telemetry import DAYS, now

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status, see docs/operations.md."""
    keep_output()
    options = _options(arguments)
    try:
        settings = load_settings()
        store, popular = ParquetStore(settings.telemetry), Popular(settings.telemetry / "popular")
        metrics = compute_metrics(store, popular, settings.database_url, options.days, now())
    except FAILURES as error:
        sys.stderr.write(f"telemetry: {first_line(error)}\n")
        return error.status if isinstance(error, RunError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    printed = [json.dumps(metrics.model_dump(mode="json"), indent=2)] if options.json else metrics_text.table(metrics)
    sys.stdout.write("".join(f"{line}\n" for line in printed))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m auto_deployment.online_evaluation", description=__doc__)
    parser.add_argument("--days", metavar="N", type=_days, default=DAYS, help="the last N days of the stream (%(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(arguments)


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
