"""The daemon: runs each job when the job is due, waits for its end and remembers the result.

`schedule` keeps the list of jobs and runs the due ones in their order of time. The times come from `due_times` at every check.
Alone, `schedule` would forget its jobs at a restart. It follows local time, which jumps with summer time or a clock set back.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import schedule

from auto_deployment import notify
from auto_deployment.common.time_format import to_iso
from auto_deployment.scheduler.plan import (
    BUSY,
    BUSY_RETRIES,
    FINISHED,
    JOBS,
    QUIET,
    STOPPED,
    UNOBSERVED,
    Run,
    due_times,
    ended,
    is_retried,
    settled,
    words_of,
)
from auto_deployment.scheduler.signals import Times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auto_deployment.scheduler.plan import Every, Runs
    from auto_deployment.scheduler.process import Running
    from auto_deployment.scheduler.signals import Waiting
    from auto_deployment.scheduler.state_file import Memory

log = logging.getLogger(__package__)

STOP_CHECK_SECONDS = 1.0
STOPPED_WITH = "stopped with the scheduler, goes on at its next start"


@dataclass
class Daemon:
    """Runs what is due, one at a time, until a signal stops it."""

    memory: Memory
    every: Every
    launch: Callable[[str], Running]
    send_notice: Callable[[notify.Notice], object]
    signals: Waiting
    publish_due: Callable[[Mapping[str, float]], None]
    times: Times = field(default_factory=Times)
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.runs = self.memory.recall()
        self._schedule = schedule.Scheduler()
        self._jobs: dict[str, schedule.Job] = {}
        for job, seconds in zip(JOBS, (self.every.retrain, self.every.collect), strict=True):
            self._jobs[job] = self._schedule.every(max(1, round(seconds))).seconds.do(self.run_due, job)

    def serve(self, adopted: Callable[[int | None], Running | None] = lambda _pid: None) -> int:
        """Work until TERM or INT; the exit status. `adopted` finds the run of a scheduler that was killed, if it goes on."""
        self._take_over(adopted)
        log.info("the scheduler runs, next: %s", ", ".join(f"{job} {to_iso(moment)}" for job, moment in self._due().items()))
        while self.signals.stop is None:
            due = self.run_pending()
            if self.signals.stop is None:
                self.signals.wait(min(self.times.check, *(moment - self.times.clock() for moment in due.values())))
        log.info("the scheduler ends: signal %d", self.signals.stop)
        return 128 + self.signals.stop

    def run_pending(self) -> dict[str, float]:
        """Run what is due now; when each job is due next."""
        self._settle()
        due = self._due()
        for name, job in self._jobs.items():
            # `schedule` compares this time with the local time now: only the difference to our own clock counts.
            job.next_run = datetime.now() + timedelta(seconds=due[name] - self.times.clock())  # noqa: DTZ005
        self._schedule.run_pending()
        return self._due()

    def run_due(self, job: str) -> None:
        """Run a job to its end, if it is due still: the one before it may have changed that."""
        if self.signals.stop is not None or self._due()[job] > self.times.clock():
            return
        busy = self.runs[job].busy if is_retried(self.runs[job]) else 0
        self._remember(job, Run(started=self.times.clock(), busy=busy))
        log.info("%s begins%s", job, f" again, retry {busy} of {BUSY_RETRIES}" if busy else "")
        try:
            running = self.launch(job)
        except BlockingIOError:
            self._over(job, BUSY)
        except OSError as error:
            self._end(job, 1, f"cannot be started ({error.strerror})")
            self.send_notice(notify.failed(job, f"it cannot be started: {error.strerror}", "Look at the scheduler's log."))
        else:
            self._remember(job, replace(self.runs[job], pid=running.pid))
            self._watch(job, running, self.every.longest)

    def _take_over(self, adopted: Callable[[int | None], Running | None]) -> None:
        """What became of runs that were not seen to end: gone on with, or due again."""
        self._settle()
        for job, run in self.runs.items():
            if run.started is None or run.ended is not None:
                continue
            running = adopted(run.pid)
            if running:
                log.warning("%s of an earlier scheduler still goes on (pid %s)", job, run.pid)
                self._watch(job, running, self.every.longest - (self.times.clock() - run.started))
            else:
                log.warning("%s of %s was cut off, and is made up for", job, to_iso(run.started))
                self._remember(job, replace(ended(run, UNOBSERVED, self.times.clock()), cut_off=True))

    def _watch(self, job: str, running: Running, seconds: float) -> None:
        """Wait for the end of a run, for so long at most."""
        until = self.times.steady() + seconds
        while (status := running.poll()) is None:
            left = until - self.times.steady()
            if self.signals.stop is not None:
                self._stop(job, running)
                return
            if left <= 0:
                self._end_hung(job, running)
                return
            self.signals.wait(min(left, self.times.check))
        if status in STOPPED and self.signals.stop is None:
            self.signals.wait(STOP_CHECK_SECONDS)  # TERM may have reached the run before it reaches this
        if status in STOPPED and self.signals.stop is not None:
            self._end(job, status, STOPPED_WITH, cut_off=True)
        else:
            self._over(job, status)

    def _stop(self, job: str, running: Running) -> None:
        log.info("%s is stopped: it ends at its next step, within %g min", job, self.times.stop / 60)
        status = self._bring_to_end(running)
        if status in FINISHED:
            self._end(job, status)
        else:
            self._end(job, status, STOPPED_WITH, cut_off=True)

    def _end_hung(self, job: str, running: Running) -> None:
        hours = f"{self.every.longest / 3600:g} h"
        log.error("%s goes on for more than %s (RUN_MAX_HOURS), and is ended", job, hours)
        self._bring_to_end(running)
        self._end(job, 1, f"hung, ended after {hours}")
        what_to_do = "The log says at which step. If that much time is needed, raise RUN_MAX_HOURS."
        self.send_notice(notify.failed(job, f"no end after {hours}, so it was ended", what_to_do))

    def _bring_to_end(self, running: Running) -> int:
        """TERM, and KILL when that does not help; the exit status."""
        until = self.times.steady() + self.times.stop
        running.terminate()
        while (status := running.poll()) is None:
            left = until - self.times.steady()
            if left <= 0:
                log.error("pid %s did not end on TERM, and is killed", running.pid)
                running.kill()
                return -signal.SIGKILL
            self.signals.wait(min(left, STOP_CHECK_SECONDS))
        return status

    def _over(self, job: str, status: int) -> None:
        """A run has ended by itself. People are notified of what the run could not report."""
        self._end(job, status)
        run = self.runs[job]
        if status == BUSY and not is_retried(run):
            reason = f"another run has held the lock, {run.busy} times"
            self.send_notice(notify.failed(job, reason, "See which process that is, and whether it hangs."))
        elif status not in QUIET | {UNOBSERVED}:
            self.send_notice(notify.failed(job, words_of(run), "The run's own last lines in the log say more."))

    def _end(self, job: str, status: int, note: str = "", *, cut_off: bool = False) -> None:
        run = ended(self.runs[job], status, self.times.clock(), note)
        self._remember(job, replace(run, cut_off=cut_off))
        log.log(logging.INFO if status in {0, UNOBSERVED} else logging.WARNING, "%s ended: %s", job, words_of(run))

    def _settle(self) -> None:
        """Take back what the clock has taken back."""
        runs = settled(self.runs, self.times.clock())
        if runs != self.runs:
            log.warning("the clock was set back: runs in the future count as just now")
            self.runs = runs
            self._save()

    def _due(self) -> dict[str, float]:
        return due_times(self.runs, self.every, self.times.clock())

    def _remember(self, job: str, run: Run) -> None:
        self.runs[job] = run
        self._save()

    def _save(self) -> None:
        due = self._due()
        self.memory.write(self.runs, due)
        self.publish_due(due)
