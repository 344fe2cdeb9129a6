"""The pipeline: the one place that defines the order of the steps.

Collect, check, train, gate, version, push, track, notify. A file records the pending version, and each of its steps can run
again. After a kill, or while a remote is unreachable, the next run continues from the file.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.events import rules_of
from app.model import read_metadata
from app.provenance import tracking_row
from auto_deployment import notify
from auto_deployment.common.database import database_memory
from auto_deployment.common.errors import RefusedError, RunError, WrongUseError
from auto_deployment.common.json_file import StateError, read_json, write_json_synced
from auto_deployment.common.memory import whole_gb
from auto_deployment.common.signals import Stop, StoppedError
from auto_deployment.evaluation.champion import recipe_in_service
from auto_deployment.ingestion import collector
from auto_deployment.ingestion.collect_with_progress import collect_with_progress, summary_lines
from auto_deployment.ingestion.collector import CollectionState, Collector, lag_grows
from auto_deployment.ingestion.kafka.client_factory import open_client
from auto_deployment.ingestion.sources import FileSource, TopicSource, check_readable
from auto_deployment.ingestion.tables import OPEN_WATCHES, WATCH_HEADER, Tables
from auto_deployment.ingestion.users.fetch import fetch_recent_users
from auto_deployment.online_evaluation import metrics_text
from auto_deployment.online_evaluation.telemetry import Telemetry
from auto_deployment.pipeline import pending_version, tracking
from auto_deployment.pipeline.candidate import Version, train_version
from auto_deployment.pipeline.history_source import source_of, write_parts
from auto_deployment.pipeline.pending_version import PendingVersion
from auto_deployment.pipeline.restore import restore
from auto_deployment.pipeline.tracking import TrackingQueue
from auto_deployment.pipeline.upgrade import upgrade
from auto_deployment.reports import beyond_accuracy as beyond
from auto_deployment.reports import version_report
from auto_deployment.training.pair_table import FOLDER, PairTables
from auto_deployment.versioning.repository import RATINGS, Places, Versions, write_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from auto_deployment.common.progress import Progress
    from auto_deployment.common.settings import Settings
    from auto_deployment.evaluation.champion import Recipe
    from auto_deployment.ingestion.sources import StreamSource
    from auto_deployment.reports.version_report import EarlierReport
    from auto_deployment.training.pair_table import Source

log = logging.getLogger(__name__)

CONTINUES = "Nothing is lost: the next run continues from there. The log has the details."


class RunOptions(NamedTuple):
    """What one run does. Without `inputs`, files of stream lines, it reads the Kafka topic."""

    inputs: Sequence[Path] = ()
    push: bool = True
    collect_only: bool = False


class Pipeline:
    """One run. `step` names the running step, for the message about the run's end.

    `in_service` reads the version in service from a checkout; None before the first release.
    """

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
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
        self._tracking = TrackingQueue(self._data / tracking.FILE, settings.database_url)
        self._pairs = PairTables(self._data / FOLDER)
        self._pending_file = self._data / pending_version.FILE
        self._state_file = self._data / collector.FILE
        self._lag = 0
        self._running = ExitStack()
        self.step = "check"

    def run(self) -> int:
        """Run all steps, and notify people of the end. Returns the exit status."""
        with self._progress.stage("total"), self._running:
            return self._run_and_notify()

    def _run_and_notify(self) -> int:
        try:
            notice = self._run()
        except StoppedError as stopped:
            log.warning("stopped before the step '%s'; the next run continues there", self.step)
            return stopped.status
        except RefusedError as error:
            notice = notify.refused([str(error)], error.metrics, error.limit)
            return self._end(notice, error.status, str(error))
        except RunError as error:
            return self._end(notify.failed(self.step, str(error), CONTINUES), error.status, f"{self.step}: {error}")
        except Exception as error:
            log.exception("the step '%s' failed", self.step)
            return self._end(notify.failed(self.step, repr(error), CONTINUES), 1, f"{self.step}: {error!r} (see the log)")
        if notice is not None:
            notify.deliver(notice, self._channels)
        return 0

    def _run(self) -> notify.Notice | None:
        pending = PendingVersion.load(self._pending_file)
        self._begin_step("check")
        for path in self._options.inputs:
            check_readable(path)
        self._check_scale()
        self._check_memory()
        self._pairs.recover()
        if upgrade(self._places, self._versions):
            pending = PendingVersion.load(self._pending_file)
        if self._options.collect_only and pending is not None and pending.stage != "begun":
            # Kafka's retention deletes lines even while a remote is unreachable: collect first.
            self._collect_and_warn()
            self._begin_step("check")
            self._versions.check_tree(pending.number)
            self._publish(pending)
            return None
        if not self._options.collect_only or pending is not None:
            self._versions.check_tree(pending.number if pending else None)
        if restore(self._places, self._versions):
            upgrade(self._places, self._versions)
        self._telemetry.recover()
        if pending is not None:
            log.info("continuing version %d, which an earlier run began (%s)", pending.number, pending.stage)
            was_committed = pending.stage != "begun"
            self._publish(pending)
            if self._options.collect_only or not was_committed:
                return None
        collected = self._collect_and_warn()
        if self._options.collect_only:
            return None
        begun = self._begin(collected.state)
        if begun is None:
            return self._nothing_new()
        self._publish(begun)
        return None

    def _check_scale(self) -> None:
        """Refuse another scale than that of the last version: a table has one scale. Raises WrongUseError."""
        state, model = CollectionState.load(self._state_file), self._data / "model"
        scale = state.scale if state is not None else None
        if scale is None and self._versions.current() > 0 and model.exists():  # software 1.0 recorded no scale
            scale = read_metadata(model).get("scale")
        lowest, highest = self._settings.scale
        if scale is not None and tuple(scale) != (lowest, highest):
            raise WrongUseError(
                f"RATING_MIN and RATING_MAX say {lowest:g} to {highest:g}, but the last version's ratings go from {scale[0]:g} "
                f"to {scale[1]:g}, and one table cannot hold two scales: set them back, or begin anew with an empty DATA_DIR. "
                f'If the table\'s ratings are on the new scale, write "scale": [{lowest:g}, {highest:g}] to {self._state_file}'
            )

    def _check_memory(self) -> None:
        """Warn of a limit that cannot be kept: the kernel would end the run first."""
        if self._settings.memory_gb > (whole := whole_gb()):
            log.warning(
                "MEMORY_GB is %g, but this machine or its cgroup has only %.1f GB: a large run may be killed. Lower MEMORY_GB",
                self._settings.memory_gb,
                whole,
            )

    def _collect_and_warn(self) -> Collector:
        """Collect; notify people of a growing lag. Insert the `tracking` rows that wait for the database.

        Raises RefusedError when the collection, judged by itself, has too many rejects.
        """
        collected, hints = self._collect()
        if not self._options.inputs and lag_grows(lags := collected.state.lags):
            notify.deliver(notify.lag_alarm(lags[-1], lags[-2]), self._channels)
        self._tracking.retry()
        collected.judge(self._settings.max_reject_share, hints)
        return collected

    def _collect(self) -> tuple[Collector, Sequence[str]]:
        """Append the new lines of the stream, or of the files. Also returns hints where the input has no stream lines."""
        self._begin_step("collect")
        collected = Collector(Tables(self._data), self._state_file, rules_of(self._settings), self._telemetry)
        until = time.monotonic() + 60 * self._settings.collect_minutes
        with self._source() as source:
            collect_with_progress(
                collected, source, self._progress, lambda: time.monotonic() < until and not self._stop.asked()
            )
            self._stop.check()
            hints = source.hints() if isinstance(source, FileSource) else []
            if isinstance(source, TopicSource):
                # Lines that came in since the run began belong to the next run, and are no lag.
                lags = source.lags(collected.state.marks) if collected.capped else {}
                self._lag = sum(lags.values())
                collected.note_lag(self._lag)
                self._telemetry.note_unread([key for key, lag in lags.items() if lag])
        self._telemetry.drop_expired()
        for line in summary_lines(collected.state.counts):
            self._progress.say(line)
        if self._lag:
            self._progress.say(f"{self._lag:,} lines of the stream are left unread")
        for line in fetch_recent_users(self._settings, lambda: not self._stop.asked()):
            self._progress.say(line)
        return collected, hints

    @contextmanager
    def _source(self) -> Iterator[StreamSource]:
        if self._options.inputs:
            yield FileSource(self._options.inputs)
            return
        with closing(open_client(self._settings)) as client:
            yield TopicSource(client, self._settings.kafka_topic, self._settings.collect_begin(time.time()))

    def _begin(self, state: CollectionState) -> PendingVersion | None:
        """Record a version of all rows so far; None where no row is new."""
        self._begin_step("begin")
        offsets = read_json(self._places.offsets) or {"sizes": {}}
        starts = {RATINGS: int(offsets["sizes"].get(RATINGS, 0))}
        stops = {table: state.sizes.get(table, 0) for table in (RATINGS, OPEN_WATCHES)}
        if starts[RATINGS] == stops[RATINGS] and stops[OPEN_WATCHES] <= len(WATCH_HEADER) + 1:
            return None
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        pending = PendingVersion(
            number=self._versions.current() + 1,
            base=self._versions.head(),
            data_creation=now,
            trained_on=now,
            starts=starts,
            stops=stops,
            marks=state.marks,
            lines=state.counts,
            gaps=state.gaps,
            lag=self._lag,
        )
        pending.save(self._pending_file, "begun")
        return pending

    def _publish(self, pending: PendingVersion) -> None:
        """Bring a version from its stage to its end, and notify people.

        After a kill people may get the notice twice, but they always get it.
        """
        if pending.stage == "begun":
            # The kill may have come right after the commit. The commit is the version then, and is not made again.
            if self._versions.is_committed(pending.number):
                self._versions.check_own(pending.number, pending.marks)
            else:
                # The code may have been repaired since the version was begun.
                pending.base = self._versions.head()
                pending.save(self._pending_file, "begun")
                self._train(pending)
            self._commit(pending)
        if pending.stage == "committed" and self._options.push:
            self._push(pending)
        if pending.stage in ("committed", "pushed"):
            self._track(pending)
        self._running.close()
        notify.deliver(self._published(pending.number), self._channels)
        self._pending_file.unlink()

    def _published(self, number: int) -> notify.Notice:
        path = self._places.report(number)
        report, beyond_report = version_report.read(path), beyond.read(self._data, number)
        if report is None:
            raise StateError(f"{path}: is missing: git checkout -- {path}")
        details = (
            version_report.lines(report)
            + (beyond.lines(beyond_report) if beyond_report else [])
            + metrics_text.summary(report.telemetry)
            + self._telemetry.problems
        )
        return notify.published(number, report.gate.rmse, report.data.ratings.pairs, details, pushed=self._options.push)

    def _train(self, pending: PendingVersion) -> None:
        """Train, judge, and write model and report. The rows of a refused candidate stay for the next run."""
        self._begin_step("train")
        version = Version(
            number=pending.number,
            git_commit=pending.base,
            data_creation=pending.data_creation,
            trained_on=pending.trained_on,
            offsets={source: int(mark["offset"]) for source, mark in pending.marks.items() if "offset" in mark},
        )
        previous = version_report.read_earlier(self._places.report(pending.number - 1))
        try:
            source = self._write_parts(pending, previous)
            metadata = train_version(self._settings, version, source, self._progress, self._champion(pending))
        except RefusedError:
            # An earlier run may have passed the gate, and been killed while it wrote its files.
            self._versions.discard(pending.number)
            self._pairs.drop(pending.number)
            self._pending_file.unlink()
            raise
        with self._progress.stage("telemetry"):
            self._telemetry.keep_popular(self._data / "model", self._pairs.relation(pending.number))
            telemetry = self._telemetry.metrics()
        report = version_report.build(metadata, pending.lines, pending.gaps, pending.lag, previous, telemetry)
        version_report.write(self._places.report(pending.number), report)
        for line in version_report.clock_lines(report):
            log.warning("%s", line)

    def _write_parts(self, pending: PendingVersion, previous: EarlierReport | None) -> Source:
        """Write the parts of a version. Returns what its pair table is made from. `previous` is the last version's report."""
        with self._progress.stage("parts"):
            state = CollectionState.load(self._state_file)
            open_since = state.version if state is not None else 0
            write_parts(self._places, pending, open_since, database_memory(self._settings.memory_gb))
            return source_of(self._places, self._versions, pending, previous)

    def _champion(self, pending: PendingVersion) -> Recipe | None:
        """The recipe of the version in service."""
        server = self._settings.server_dir or self._places.root
        return recipe_in_service(lambda: self._in_service(server), pending.number - 1, self._recipe)

    def _recipe(self, number: int) -> Recipe | None:
        report = version_report.read_earlier(self._places.report(number))
        return None if report is None else report.recipe

    def _commit(self, pending: PendingVersion) -> None:
        self._begin_step("version")
        if not self._versions.is_committed(pending.number):
            sizes = {RATINGS: pending.stops[RATINGS]}
            write_json_synced(self._places.offsets, {"version": pending.number, "marks": pending.marks, "sizes": sizes})
            write_version(self._places.data, pending.number)
        self._versions.commit(pending.number)
        Collector(Tables(self._data), self._state_file, rules_of(self._settings)).begin_version(
            pending.number, pending.stops[OPEN_WATCHES]
        )
        self._pairs.drop_but(pending.number)
        self._telemetry.compact()
        pending.save(self._pending_file, "committed")

    def _push(self, pending: PendingVersion) -> None:
        self._begin_step("push")
        self._versions.push()
        pending.save(self._pending_file, "pushed")
        self._versions.drop_old(pending.number)

    def _track(self, pending: PendingVersion) -> None:
        """Insert the `tracking` row, and the waiting rows of earlier versions."""
        self._begin_step("track")
        self._tracking.put(tracking_row(read_metadata(self._data / "model"), self._data / "model"))
        pending.save(self._pending_file, "tracked")

    def _nothing_new(self) -> notify.Notice:
        """No row is new: no version is made. Versions that `--no-push` kept here are pushed now."""
        self._progress.say("nothing new: no version is made")
        if not self._options.push or not (late := self._versions.unpushed()):
            return notify.nothing_new()
        self._begin_step("push")
        self._versions.push()
        self._versions.drop_old(late[-1])
        return notify.nothing_new(late[-1])

    def _begin_step(self, name: str) -> None:
        """The boundary between two steps."""
        self._running.close()
        self._stop.check()
        self.step = name
        self._progress.heading(name)
        log.info("step %s", name)
        self._running.enter_context(self._progress.stage(name))

    def _end(self, notice: notify.Notice, status: int, message: str) -> int:
        log.error("%s", message)
        notify.deliver(notice, self._channels)
        return status
