"""The telemetry as the pipeline uses it. Nothing in this module raises. A failure is logged and reported, and fails no run."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.common.errors import first_line
from auto_deployment.online_evaluation.metrics import compute_metrics
from auto_deployment.online_evaluation.parquet_store import FAILURES, SCRATCH, ParquetStore
from auto_deployment.online_evaluation.popular import Popular
from auto_deployment.online_evaluation.retention import compact, drop_expired, recover

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import BlockRows
    from auto_deployment.online_evaluation.metrics import OnlineMetrics

log = logging.getLogger(__name__)

DAYS = 7


class Telemetry:
    """The telemetry of a data folder. Each collection adds to it, and a retraining run reports its metrics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = ParquetStore(settings.telemetry)
        self._popular = Popular(settings.telemetry / "popular")
        self._problems = Counter[str]()

    @property
    def problems(self) -> list[str]:
        """The failed steps, and how often each failed."""
        return [text if count == 1 else f"{text}, {count:,} times" for text, count in self._problems.items()]

    def recover(self) -> None:
        """Complete or remove what killed runs left. Call it first, while no other run works."""
        with self._reported("files that killed runs left could not be repaired"):
            recover(self._store.folder)

    def roll_back(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """See `collector.BlockSink`."""
        with self._reported("blocks that will be collected again could not be removed"):
            self._store.roll_back(marks)

    def keep(self, source: str, mark: Mapping[str, Any], rows: BlockRows) -> None:
        """See `collector.BlockSink`."""
        with self._reported(f"a block of {source} was not kept"):
            self._store.keep(source, mark, rows)

    def keep_popular(self, model: Path, pairs: str) -> None:
        """Keep the popular list of the version in `model`, and its films that each user has rated or watched.

        `pairs` is an SQL relation of user_id and movie_id.
        """
        with self._reported("the popular list was not kept"):
            self._popular.keep(model, pairs, self._store.folder / SCRATCH)

    def note_unread(self, sources: Sequence[str]) -> None:
        """Note which sources the collection did not read to their end: see `metrics.known_until`."""
        with self._reported("the unread sources were not noted"):
            self._store.note_unread(sources)

    def compact(self) -> None:
        """Compact the days that are over. All blocks must belong to a version, so that none is collected again."""
        with self._reported("days could not be compacted"):
            compact(self._store, (self._store.days("watches") or [str(now().date())])[-1])

    def drop_expired(self) -> None:
        """Drop the oldest days, by age and by size, and the popular lists of versions that answered before them."""
        with self._reported("days could not be dropped"):
            room = self._settings.telemetry_max_gb * 1e9 - self._popular.size()
            dropped = drop_expired(self._store, now().date(), self._settings.telemetry_keep_days, room)
            if dropped:
                log.info("telemetry: dropped %s", ", ".join(dropped))
            if days := self._store.days():
                self._popular.drop_before(date.fromisoformat(days[0]))

    def metrics(self) -> OnlineMetrics | None:
        """The metrics of the last days. None after a failure, or without a request."""
        computed: list[OnlineMetrics] = []
        with self._reported("there are no metrics"):
            computed.append(compute_metrics(self._store, self._popular, self._settings.database_url, DAYS, now()))
        return computed[0] if computed and computed[0].requests else None

    @contextmanager
    def _reported(self, failure: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            log.warning("telemetry: %s: %s", failure, error)
            self._problems[f"telemetry: {failure} ({first_line(error)})"] += 1
        except Exception as error:
            log.exception("telemetry: %s", failure)
            self._problems[f"telemetry: {failure} ({error!r}, see the log)"] += 1


def now() -> datetime:
    """The time in UTC, without a zone, as the times of the stream."""
    return datetime.now(UTC).replace(tzinfo=None)
