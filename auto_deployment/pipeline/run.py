"""The pipeline, the one place where the order of the steps stands.

Collect, check, train, gate, version, push, track, tell. A version that is being published is on record, and each of its steps
can be done again. After a kill, or with a remote away, the next run continues from the record.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.model import read_metadata
from app.provenance import tracking_row
from auto_deployment import notify
from auto_deployment.common.errors import RefusedError, RunError, WrongUseError
from auto_deployment.common.json_file import StateError, read_json, write_json_synced
from auto_deployment.common.signals import Stop, StoppedError
from auto_deployment.evaluation import champion
from auto_deployment.ingestion.collect_with_progress import collect_showing, collected
from auto_deployment.ingestion.collector import RECORD, Collector, lag_grows
from auto_deployment.ingestion.events import rules_of
from auto_deployment.ingestion.kafka.client_factory import open_client
from auto_deployment.ingestion.sources import FileSource, TopicSource, check_readable
from auto_deployment.ingestion.tables import Tables
from auto_deployment.ingestion.users.fetch import fetch_recent_users
from auto_deployment.online_evaluation import metrics_text
from auto_deployment.online_evaluation.metrics import OnlineMetrics
from auto_deployment.online_evaluation.telemetry import Telemetry
from auto_deployment.pipeline.candidate import Version, train_version
from auto_deployment.pipeline.pending_version import RELEASE, Release
from auto_deployment.pipeline.restore import restore
from auto_deployment.pipeline.tracking import put_rows
from auto_deployment.reports import beyond_accuracy as beyond
from auto_deployment.reports import version_report
from auto_deployment.versioning.repository import TABLES, Places, Versions, set_version, write_parts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import Settings
    from auto_deployment.ingestion.sources import Source

log = logging.getLogger(__name__)

PENDING = "tracking_pending.json"
GOES_ON = "Nothing is lost: the next run continues from there. The log has the details."


class Pipeline:
    """One run. `step` is what it does now, for the message about its end.

    `in_service` reads the version in service from a checkout; None before the first release.
    """

    def __init__(
        self,
        settings: Settings,
        options: argparse.Namespace,
        progress: Progress,
        channels: Sequence[notify.Channel],
        stop: Stop,
        in_service: Callable[[Path], int | None],
    ) -> None:
        self._settings = settings
        self._options = options
        self._progress = progress
        self._channels = channels
        self._stop = stop
        self._in_service = in_service
        self._data = settings.data_dir.absolute()
        self._places = Places(Path.cwd(), self._data)
        self._versions = Versions(self._places, settings.git_remote, settings.git_branch, settings.dvc_remote)
        self._telemetry = Telemetry(settings)
        self._lag = 0
        self.step = "check"

    def run(self) -> int:
        """Do it, and tell how it ended; the exit status."""
        try:
            notice = self._run()
        except StoppedError as stopped:
            log.warning("stopped before the step '%s'; the next run goes on", self.step)
            return stopped.status
        except RefusedError as error:
            notice = notify.refused([str(error)], error.figures, error.limit)
            return self._end(notice, error.status, str(error))
        except RunError as error:
            return self._end(notify.failed(self.step, str(error), GOES_ON), error.status, f"{self.step}: {error}")
        except Exception as error:
            log.exception("the step '%s' failed", self.step)
            return self._end(notify.failed(self.step, repr(error), GOES_ON), 1, f"{self.step}: {error!r} (see the log)")
        if notice is not None:
            notify.tell(notice, self._channels)
        return 0

    def _run(self) -> notify.Notice | None:
        release = Release.load(self._data / RELEASE)
        self._begin_step("check")
        for path in self._options.input or ():
            check_readable(path)
        self._check_scale()
        if self._options.collect_only and release is not None and release.stage != "begun":
            # The stream's retention does not wait for a remote that is away.
            self._collect_and_warn()
            self._begin_step("check")
            self._versions.check_tree(release.number)
            self._finish(release)
            return None
        if not self._options.collect_only or release is not None:
            self._versions.check_tree(release.number if release else None)
        restore(self._places, self._versions)
        self._telemetry.recover()
        if release is not None:
            log.info("going on with version %d, which an earlier run began (%s)", release.number, release.stage)
            was_waiting = release.stage != "begun"
            self._finish(release)
            if self._options.collect_only or not was_waiting:
                return None
        collector = self._collect_and_warn()
        if self._options.collect_only:
            return None
        begun = self._begin(collector)
        if begun is None:
            return self._nothing_new()
        self._finish(begun)
        return None

    def _check_scale(self) -> None:
        """Refuse another scale than that of the last version's ratings: the table has one. Raises WrongUseError."""
        path, model = self._data / RECORD, self._data / "model"
        scale = (read_json(path) or {}).get("scale")
        if scale is None and self._versions.current() > 0 and model.exists():  # software 1.0 recorded no scale
            scale = read_metadata(model).get("scale")
        lowest, highest = self._settings.scale
        if scale is not None and tuple(scale) != (lowest, highest):
            raise WrongUseError(
                f"RATING_MIN and RATING_MAX say {lowest:g} to {highest:g}, but the last version's ratings go from {scale[0]:g} "
                f"to {scale[1]:g}, and one table cannot hold two scales: set them back, or begin anew with an empty DATA_DIR. "
                f'If the table\'s ratings are on the new scale, write "scale": [{lowest:g}, {highest:g}] to {path}'
            )

    def _collect_and_warn(self) -> Collector:
        """Collect; alarm when it falls behind. What else waits for the database and needs no version is put there.

        Raises RefusedError when the collection, judged by itself, has too many rejects.
        """
        collector, hints = self._collect()
        if not self._options.input and lag_grows(lags := collector.record.lags):
            notify.tell(notify.lag_alarm(lags[-1], lags[-2]), self._channels)
        self._put_pending()
        collector.judge(self._settings.max_reject_share, hints)
        return collector

    def _collect(self) -> tuple[Collector, Sequence[str]]:
        """Append what the stream, or the files, have now; with it what the source may be, if no stream lines."""
        self._begin_step("collect")
        collector = Collector(Tables(self._data), self._data / RECORD, rules_of(self._settings), self._telemetry)
        until = time.monotonic() + 60 * self._settings.collect_minutes
        with self._source() as source:
            collect_showing(collector, source, self._progress, lambda: time.monotonic() < until and not self._stop.asked())
            self._stop.check()
            hints = source.hints() if isinstance(source, FileSource) else []
            if isinstance(source, TopicSource):
                # What came in since the run began is the next one's, and no lag.
                lags = source.lags(collector.record.marks) if collector.capped else {}
                self._lag = sum(lags.values())
                collector.note_lag(self._lag)
                self._telemetry.note_unread([key for key, lag in lags.items() if lag])
        self._telemetry.drop_expired()
        for line in collected(collector.record.counts):
            self._progress.say(line)
        if self._lag:
            self._progress.say(f"{self._lag:,} lines of the stream are left unread")
        for line in fetch_recent_users(self._settings, lambda: not self._stop.asked()):
            self._progress.say(line)
        return collector, hints

    @contextmanager
    def _source(self) -> Iterator[Source]:
        if self._options.input:
            yield FileSource(self._options.input)
            return
        with closing(open_client(self._settings)) as client:
            yield TopicSource(client, self._settings.kafka_topic, self._settings.collect_begin(time.time()))

    def _begin(self, collector: Collector) -> Release | None:
        """Record a release of all rows so far; None where no row is new."""
        self._begin_step("begin")
        record, offsets = collector.record, read_json(self._places.offsets)
        starts = {table: int((offsets or {"sizes": {}})["sizes"].get(table, 0)) for table in TABLES}
        stops = {table: record.sizes.get(table, 0) for table in TABLES}
        if starts == stops:
            return None
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        release = Release(
            self._versions.current() + 1,
            self._versions.head(),
            now,
            now,
            starts,
            stops,
            record.marks,
            record.counts.to_dict(),
            record.gaps,
            self._lag,
        )
        release.save(self._data / RELEASE, "begun")
        return release

    def _finish(self, release: Release) -> None:
        """Bring a version from its stage to its end, and notify people.

        After a kill the notice may come twice, but it always comes.
        """
        if release.stage == "begun":
            # A kill may have come right after the commit: what it names is the version, and is not made a second time.
            if self._versions.is_committed(release.number):
                self._versions.check_own(release.number, release.marks)
            else:
                # The code may have been mended since the release was begun.
                release.base = self._versions.head()
                release.save(self._data / RELEASE, "begun")
                self._train(release)
            self._commit(release)
        if release.stage == "committed" and not self._options.no_push:
            self._push(release)
        if release.stage in ("committed", "pushed"):
            self._track(release)
        notify.tell(self._published(release), self._channels)
        (self._data / RELEASE).unlink()

    def _published(self, release: Release) -> notify.Notice:
        number = release.number
        path = self._places.report(number)
        told, shown = read_json(path), beyond.read(self._data, number)
        if told is None:
            raise StateError(f"{path}: is missing: git checkout -- {path}")
        details = (
            version_report.lines(told)
            + (beyond.lines(shown) if shown else [])
            + metrics_text.summary(told["telemetry"] and OnlineMetrics.model_validate(told["telemetry"]))
            + self._telemetry.problems
        )
        rmse, ratings = told["gate"]["rmse"], told["data"]["ratings"]["pairs"]
        return notify.published(number, rmse, ratings, details, pushed=not self._options.no_push)

    def _train(self, release: Release) -> None:
        """Train, judge, and write artifact and report. A refused candidate leaves its rows for the next run."""
        self._begin_step("train")
        version = Version(release.number, release.base, release.data_creation, release.trained_on)
        before = read_json(self._places.report(release.number - 1))
        try:
            metadata = train_version(self._settings, version, self._progress, champion.recipe_of(self._champion(release)))
        except RefusedError:
            # An earlier run may have let it pass, and been broken off when its files were written.
            self._versions.discard(release.number)
            (self._data / RELEASE).unlink()
            raise
        self._telemetry.keep_popular(self._data / "model", Tables(self._data))
        told = version_report.report(metadata, release.counts, release.gaps, release.lag, before)
        metrics = self._telemetry.metrics()
        told["telemetry"] = metrics and metrics.model_dump(mode="json")
        write_json_synced(self._places.report(release.number), told)
        for line in version_report.clock_lines(told):
            log.warning("%s", line)

    def _champion(self, release: Release) -> Mapping[str, Any] | None:
        """The report of the version in service."""
        server = self._settings.server_dir or self._places.root
        return champion.report_in_service(
            lambda: self._in_service(server), release.number - 1, lambda number: read_json(self._places.report(number))
        )

    def _commit(self, release: Release) -> None:
        self._begin_step("version")
        write_parts(self._places, release.number, {table: (release.starts[table], release.stops[table]) for table in TABLES})
        write_json_synced(self._places.offsets, {"version": release.number, "marks": release.marks, "sizes": release.stops})
        set_version(self._places, release.number)
        self._versions.commit(release.number)
        Collector(Tables(self._data), self._data / RECORD, rules_of(self._settings)).begin_version(release.number)
        self._telemetry.compact()
        release.save(self._data / RELEASE, "committed")

    def _push(self, release: Release) -> None:
        self._begin_step("push")
        self._versions.push()
        release.save(self._data / RELEASE, "pushed")
        self._versions.drop_old(release.number)

    def _track(self, release: Release) -> None:
        """Put the `tracking` row, and those of earlier versions that the database has missed."""
        self._begin_step("track")
        row = tracking_row(read_metadata(self._data / "model"), self._data / "model")
        others = [each for each in self._pending() if each["version_number"] != release.number]
        self._put([*others, row])
        release.save(self._data / RELEASE, "tracked")

    def _put_pending(self) -> None:
        """Put the `tracking` rows of earlier versions that the database has missed: no new version may come for long."""
        if (pending := self._pending()) and self._settings.database_url is not None:
            self._put(pending)

    def _pending(self) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = (read_json(self._data / PENDING) or {"rows": []})["rows"]
        return rows

    def _put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put `tracking` rows; those that could not be are pending."""
        write_json_synced(self._data / PENDING, {"rows": put_rows(self._settings.database_url, rows)})

    def _nothing_new(self) -> notify.Notice:
        """No version is made; what `--no-push` has kept back is pushed now."""
        self._progress.say("nothing new: no version is made")
        if self._options.no_push or not (late := self._versions.unpushed()):
            return notify.nothing_new()
        self._begin_step("push")
        self._versions.push()
        return notify.nothing_new(late[-1])

    def _begin_step(self, name: str) -> None:
        """The boundary between two steps."""
        self._stop.check()
        self.step = name
        self._progress.heading(name)
        log.info("step %s", name)

    def _end(self, notice: notify.Notice, status: int, said: str) -> int:
        log.error("%s", said)
        notify.tell(notice, self._channels)
        return status
