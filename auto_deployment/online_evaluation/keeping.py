"""What the pipeline does of the telemetry. Nothing in here raises. A failure is logged and reported, and fails no run."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from auto_deployment.online_evaluation.failures import FAILURES, first_line
from auto_deployment.online_evaluation.figures import figures
from auto_deployment.online_evaluation.popular import Popular
from auto_deployment.online_evaluation.store import SCRATCH, Store
from auto_deployment.online_evaluation.upkeep import clear, compact, mend

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.rows import Rows
    from auto_deployment.ingestion.tables import Tables

log = logging.getLogger(__name__)

DAYS = 7


class Telemetry:
    """The telemetry of a data folder: collections keep it, and a retraining run reports it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings.telemetry)
        self._popular = Popular(settings.telemetry / "popular")
        self._problems = Counter[str]()

    @property
    def problems(self) -> list[str]:
        """What could not be done, and how often."""
        return [text if count == 1 else f"{text}, {count:,} times" for text, count in self._problems.items()]

    def mend(self) -> None:
        """Bring to its end what killed runs left half-done. To be called while no other run is at work, before all else."""
        with self._told("what killed runs left could not be mended"):
            mend(self._store.folder)

    def roll_back(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """See `collect.Keeper`."""
        with self._told("blocks that are collected again could not be removed"):
            self._store.roll_back(marks)

    def keep(self, source: str, mark: Mapping[str, Any], rows: Rows) -> None:
        """See `collect.Keeper`."""
        with self._told(f"a block of {source} was not kept"):
            self._store.keep(source, mark, rows)

    def keep_popular(self, model: Path, tables: Tables) -> None:
        """Keep the popular list of a version that was just made of these tables, and who had seen what of it."""
        with self._told("the popular list was not kept"):
            self._popular.keep(model, tables, self._store.folder / SCRATCH)

    def note_unread(self, sources: Sequence[str]) -> None:
        """Of which sources the collection has left something unread: see `figures.known_until`."""
        with self._told("what is left unread was not noted"):
            self._store.note_unread(sources)

    def settle(self) -> None:
        """Pack the days that are over. All blocks must be of a version: none is collected again then."""
        with self._told("days could not be packed"):
            compact(self._store, (self._store.days("watches") or [str(now().date())])[-1])

    def clear(self) -> None:
        """Drop the oldest days, by age and by size, and the popular lists of versions that answered before them."""
        with self._told("days could not be dropped"):
            room = self._settings.telemetry_max_gb * 1e9 - self._popular.size()
            dropped = clear(self._store, now().date(), self._settings.telemetry_keep_days, room)
            if dropped:
                log.info("telemetry: dropped %s", ", ".join(dropped))
            if days := self._store.days():
                self._popular.drop_before(date.fromisoformat(days[0]))

    def figures(self) -> dict[str, Any] | None:
        """The figures of the last days as JSON can hold them; None where there are none."""
        told: list[dict[str, Any]] = []
        with self._told("there are no figures"):
            found = figures(self._store, self._popular, self._settings.database_url, DAYS, now())
            told += [found.to_dict()] if found.judged.requests else []
        return told[0] if told else None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            log.warning("telemetry: %s: %s", what, error)
            self._problems[f"telemetry: {what} ({first_line(error)})"] += 1
        except Exception as error:
            log.exception("telemetry: %s", what)
            self._problems[f"telemetry: {what} ({error!r}, see the log)"] += 1


def now() -> datetime:
    """The time in UTC, without saying so, as the stream tells times."""
    return datetime.now(UTC).replace(tzinfo=None)
