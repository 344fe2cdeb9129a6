"""`python -m auto_deployment.scheduler`: the daemon that runs the pipeline every RETRAIN_DAYS, and collects in between.

What is due is decided from the remembered runs and the time alone (`due_times`), again at every look. `schedule` remembers
nothing, knows only local time and trusts the clock; told anew each time, it waits out neither a clock set back nor summer time.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import schedule

from auto_deployment import logs, notify
from auto_deployment.errors import RunError
from auto_deployment.settings import load_settings
from auto_deployment.state import StateError, read_json, write_json_synced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from auto_deployment.settings import Settings

log = logging.getLogger("auto_deployment.scheduler")

RETRAIN, COLLECT = "retrain", "collect"
JOBS = (RETRAIN, COLLECT)
COMMAND = (sys.executable, "-m", "auto_deployment.auto_deploy")
ARGUMENTS: dict[str, tuple[str, ...]] = {RETRAIN: (), COLLECT: ("--collect-only",)}

STATE, LOCK, RUN_LOCK = "scheduler.json", "scheduler.lock", ".scheduler.run.lock"
BUSY = 75
BUSY_SECONDS, BUSY_RETRIES = 300.0, 12
STOP_SECONDS = 900.0
# A jump of the clock is noticed, and an adopted run's end seen, this late at most.
LOOK_SECONDS = 30.0
STOP_LOOK_SECONDS = 1.0
# A clock that is set right by less is none that was set back.
SLACK_SECONDS = 60.0
WORDS = {
    0: "done",
    1: "failed",
    2: "wrong use",
    3: "refused",
    4: "inconclusive",
    BUSY: "another run held the lock",
    130: "stopped by Ctrl-C",
    143: "stopped by TERM",
}
# The end of a run that got as far as it could; any other was cut off.
FINISHED = frozenset({0, 1, 2, 3, 4, BUSY})
# Of these a run tells by itself, or there is nothing to tell. Of bad settings, or when it is killed, it cannot.
QUIET = frozenset({0, 1, 3, 4, BUSY, 130, 143})
# Stands for the exit status of a run that another scheduler had started.
UNSEEN = 1 << 16


class HeldError(RunError):
    """Another scheduler holds the lock."""

    status = BUSY


class Every(NamedTuple):
    """Seconds from start to start of each kind of run, and the most that one may take."""

    retrain: float
    collect: float
    longest: float


@dataclass(frozen=True)
class Run:
    """The last run of a job. Times in seconds since 1970; no `started`: it never ran; no `ended`: it goes on, or was cut off.

    `cut_off`: it was stopped with the scheduler, or died with it, and is due again. `busy`: so many tries found another run.
    """

    started: float | None = None
    ended: float | None = None
    status: int | None = None
    pid: int | None = None
    busy: int = 0
    cut_off: bool = False
    note: str = ""


Runs = dict[str, Run]


def due_times(runs: Mapping[str, Run], every: Every, now: float) -> dict[str, float]:
    """When each job is due, in seconds since 1970; up to `now` means now. Only one is due at a time.

    However many were missed, one run makes up for them. A full run collects too, so that it takes the place of a collection.
    """
    retrain = _due(runs[RETRAIN], every.retrain, now)
    collect = _due(runs[COLLECT], every.collect, now)
    if (full := runs[RETRAIN].started) is not None:
        collect = max(collect, full + every.collect)
    if retrain <= now:
        collect = max(collect, now + every.collect)
    return {RETRAIN: retrain, COLLECT: collect}


def _due(run: Run, seconds: float, now: float) -> float:
    if run.started is None or run.cut_off:
        return now
    if run.ended is not None and is_retried(run):
        return run.ended + BUSY_SECONDS
    return run.started + seconds


def is_retried(run: Run) -> bool:
    """Whether it found another run at work, and is to be tried again soon."""
    return run.status == BUSY and run.busy <= BUSY_RETRIES


def settled(runs: Mapping[str, Run], now: float) -> Runs:
    """The same runs, but after the clock was set back: what lies in the future counts as just now."""
    return {job: replace(run, started=_settled(run.started, now), ended=_settled(run.ended, now)) for job, run in runs.items()}


def _settled(moment: float | None, now: float) -> float | None:
    return now if moment is not None and moment > now + SLACK_SECONDS else moment


def ended(run: Run, status: int, now: float, note: str = "") -> Run:
    """That run, over with a status."""
    busy = run.busy + 1 if status == BUSY else 0
    return replace(run, ended=now, status=None if status == UNSEEN else status, pid=None, busy=busy, note=note)


def words_of(run: Run) -> str:
    """The end of a run as a person reads it."""
    if run.status is None:
        text = "cut off" if run.cut_off else "ended unseen"
    elif run.status < 0:
        text = f"killed by signal {-run.status}"
    else:
        text = f"{run.status} {WORDS.get(run.status, 'unknown')}"
    return f"{text}: {run.note}" if run.note else text


def to_document(runs: Mapping[str, Run], due: Mapping[str, float]) -> dict[str, Any]:
    """What scheduler.json holds."""
    return {
        "jobs": {
            job: {**asdict(run), "started": _iso(run.started), "ended": _iso(run.ended), "next_due": _iso(due[job])}
            for job, run in runs.items()
        }
    }


def from_document(document: Mapping[str, Any]) -> tuple[Runs, dict[str, float | None]]:
    """The runs, and when each job is due next, of a document. Raises ValueError for what `to_document` does not write."""
    try:
        jobs = {job: document["jobs"][job] for job in JOBS}
        return {job: _run(told) for job, told in jobs.items()}, {job: _seconds(told["next_due"]) for job, told in jobs.items()}
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not what the scheduler writes ({error!r})") from error


def _run(told: Mapping[str, Any]) -> Run:
    return Run(
        started=_seconds(told["started"]),
        ended=_seconds(told["ended"]),
        status=_whole(told["status"]),
        pid=_whole(told["pid"]),
        busy=_whole(told["busy"]) or 0,
        cut_off=told["cut_off"] is True,
        note=str(told["note"]),
    )


def _whole(number: object) -> int | None:
    if number is not None and type(number) is not int:
        raise ValueError(f"{number!r} is no whole number")
    return number


def _iso(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


class Memory:
    """The file that remembers the runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Runs, dict[str, float | None]]:
        """The runs and when each job is due next. Raises ValueError for a corrupt file, StateError for an unreadable one."""
        try:
            document = read_json(self._path)
        except StateError as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise ValueError(str(error)) from error
        if document is None:
            return dict.fromkeys(JOBS, Run()), dict.fromkeys(JOBS)
        return from_document(document)

    def recall(self) -> Runs:
        """The runs. A corrupt file is set aside, and all begins anew."""
        try:
            return self.read()[0]
        except ValueError as error:
            broken = self._path.with_name(f"{self._path.name}.broken")
            self._path.replace(broken)
            log.error("%s is corrupt (%s): set aside as %s; all jobs count as never run", self._path, error, broken.name)  # noqa: TRY400
            return dict.fromkeys(JOBS, Run())

    def write(self, runs: Mapping[str, Run], due: Mapping[str, float]) -> None:
        """Replace it. A full disk is no reason to stop: it is said, and what is not remembered may run once more."""
        try:
            write_json_synced(self._path, to_document(runs, due))
        except OSError as error:
            log.error("%s cannot be written (%s): a restart would not know of this run", self._path, error.strerror)  # noqa: TRY400


@contextmanager
def locked(path: Path, tries: int = 10) -> Iterator[None]:
    """Hold the lock of the only scheduler, with a line in it that says who. Raises HeldError. The kernel frees it.

    It is tried for a second: `--status` holds it for a moment.
    """
    with path.open("a+", encoding="utf-8") as file:
        for left in reversed(range(tries)):
            if _take(file.fileno(), fcntl.LOCK_EX):
                break
            if not left:
                raise HeldError(
                    f"another scheduler runs already: {_holder(path)}; stop that one first, or leave it to its work"
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {_iso(time.time())}\n")
        file.flush()
        yield


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() or "its name is not written yet"


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with path.open("rb") as file:
            return not _take(file.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


class Running(Protocol):
    """A run that goes on."""

    pid: int | None

    def poll(self) -> int | None:
        """Its exit status once it has ended; negative: the signal that killed it."""
        ...

    def terminate(self) -> None:
        """Ask it to end at the next step's boundary."""
        ...

    def kill(self) -> None:
        """End it and all that it started."""
        ...


class Child:
    """A run as a child process.

    It inherits a lock, which tells a later scheduler that it still goes on should this one be killed; and it has a process
    group of its own, so that Ctrl-C reaches it through the scheduler only.
    """

    def __init__(self, command: Sequence[str], lock: Path) -> None:
        """Raises OSError where it cannot be started, BlockingIOError among them where another run goes on."""
        with lock.open("ab") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[file.fileno()]
            )
        self.pid: int | None = self._process.pid

    def poll(self) -> int | None:
        """Its exit status once it has ended."""
        return self._process.poll()

    def terminate(self) -> None:
        """TERM to the run alone: the programs that it started may finish their step."""
        self._process.terminate()

    def kill(self) -> None:
        """KILL to its whole process group."""
        _kill_group(self._process.pid)
        self._process.wait()


class Adopted:
    """A run that an earlier scheduler started and did not see end. Its exit status stays unknown."""

    def __init__(self, pid: int | None, lock: Path) -> None:
        self.pid = pid
        self._lock = lock

    def poll(self) -> int | None:
        """UNSEEN once it has ended."""
        return None if is_held(self._lock) else UNSEEN

    def terminate(self) -> None:
        """TERM, where its number is known."""
        if self.pid is not None:
            _signal(os.kill, self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """KILL to its process group, where its number is known."""
        if self.pid is not None:
            _kill_group(self.pid)


def _kill_group(pid: int) -> None:
    _signal(os.killpg, pid, signal.SIGKILL)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    try:
        send(pid, number)
    except ProcessLookupError:
        log.debug("process %d has ended already", pid)


class Signals:
    """TERM and INT are kept until asked for; a wait ends early on them, and when a child ends."""

    def __init__(self) -> None:
        self.stop: int | None = None

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.settimeout(0)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float) -> None:
        """Wait so long at most."""
        if select.select([self._reader], [], [], max(0.0, seconds))[0]:
            self._reader.recv(4096)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.stop = self.stop or number


class Waiting(Protocol):
    """What the daemon needs of `Signals`."""

    stop: int | None

    def wait(self, seconds: float) -> None:
        """Wait so long at most."""
        ...


@dataclass
class Times:
    """The clock (seconds since 1970), one that nobody sets, and the limits of waiting in seconds."""

    clock: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    look: float = LOOK_SECONDS
    stop: float = STOP_SECONDS


@dataclass
class Daemon:
    """Runs what is due, one at a time, until a signal stops it."""

    memory: Memory
    every: Every
    launch: Callable[[str], Running]
    tell: Callable[[notify.Notice], object]
    signals: Waiting
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
        log.info("the scheduler runs, next: %s", ", ".join(f"{job} {_iso(moment)}" for job, moment in self._due().items()))
        while self.signals.stop is None:
            due = self.look()
            if self.signals.stop is None:
                self.signals.wait(min(self.times.look, *(moment - self.times.clock() for moment in due.values())))
        log.info("the scheduler ends: signal %d", self.signals.stop)
        return 128 + self.signals.stop

    def look(self) -> dict[str, float]:
        """Run what is due now; when each job is due next."""
        self._settle()
        due = self._due()
        for name, job in self._jobs.items():
            # Relative to the clock that it is compared with: that one tells local time, which has gaps and repeats itself.
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
            self.tell(notify.failed(job, f"it cannot be started: {error.strerror}", "Look at the scheduler's log."))
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
                log.warning("%s of %s was cut off, and is made up for", job, _iso(run.started))
                self._remember(job, replace(ended(run, UNSEEN, self.times.clock()), cut_off=True))

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
            self.signals.wait(min(left, self.times.look))
        self._over(job, status)

    def _stop(self, job: str, running: Running) -> None:
        log.info("%s is stopped: it ends at its next step, within %g min", job, self.times.stop / 60)
        status = self._bring_to_end(running)
        if status in FINISHED:
            self._end(job, status)
        else:
            self._end(job, status, "stopped with the scheduler, goes on at its next start", cut_off=True)

    def _end_hung(self, job: str, running: Running) -> None:
        hours = f"{self.every.longest / 3600:g} h"
        log.error("%s goes on for more than %s (RUN_MAX_HOURS), and is ended", job, hours)
        self._bring_to_end(running)
        self._end(job, 1, f"hung, ended after {hours}")
        what_to_do = "The log says at which step. If that much time is needed, raise RUN_MAX_HOURS."
        self.tell(notify.failed(job, f"no end after {hours}, so it was ended", what_to_do))

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
            self.signals.wait(min(left, STOP_LOOK_SECONDS))
        return status

    def _over(self, job: str, status: int) -> None:
        """A run has ended by itself. Told is what the run could not tell."""
        self._end(job, status)
        run = self.runs[job]
        if status == BUSY and not is_retried(run):
            reason = f"another run has held the lock, {run.busy} times"
            self.tell(notify.failed(job, reason, "See which process that is, and whether it hangs."))
        elif status not in QUIET | {UNSEEN}:
            self.tell(notify.failed(job, words_of(run), "The run's own last lines in the log say more."))

    def _end(self, job: str, status: int, note: str = "", *, cut_off: bool = False) -> None:
        run = ended(self.runs[job], status, self.times.clock(), note)
        self._remember(job, replace(run, cut_off=cut_off))
        log.log(logging.INFO if status in {0, UNSEEN} else logging.WARNING, "%s ended: %s", job, words_of(run))

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
        self.memory.write(self.runs, self._due())


def status_text(runs: Mapping[str, Run], due: Mapping[str, float | None], holder: str | None, now: float) -> str:
    """What `--status` prints; `holder` is the scheduler that runs."""
    lines = [f"scheduler: {holder or 'does not run'}"]
    for job in JOBS:
        lines += [f"{job}:", f"  last: {_last(runs[job], now, alive=holder is not None)}"]
        lines += [f"  next: {_next(due[job], now, alive=holder is not None)}"]
    return "\n".join(lines) + "\n"


def _last(run: Run, now: float, *, alive: bool) -> str:
    if run.started is None:
        return "never"
    if run.ended is None:
        state = f"goes on since {span(now - run.started)}, pid {run.pid}" if alive else "cut off"
        return f"{_iso(run.started)}, {state}"
    return f"{_iso(run.started)} to {_iso(run.ended)} ({span(run.ended - run.started)}), {words_of(run)}"


def _next(due: float | None, now: float, *, alive: bool) -> str:
    if due is None:
        return "when the scheduler starts"
    if due > now:
        return f"{_iso(due)}, in {span(due - now)}"
    return f"{_iso(due)}, {'now, or after the run that goes on' if alive else 'when the scheduler starts'}"


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def show(folder: Path) -> str:
    """The text of `--status`. Never raises for a file that is corrupt: it says so."""
    try:
        runs, due = Memory(folder / STATE).read()
    except ValueError as error:
        return f"{folder / STATE} is corrupt ({error}): the scheduler sets it aside when it starts, and begins anew\n"
    holder = _holder(folder / LOCK) if is_held(folder / LOCK) else None
    return status_text(runs, due, holder, time.time())


def serve(settings: Settings, command: Sequence[str] = COMMAND) -> int:
    """Be the scheduler until a signal comes; the exit status. Raises HeldError, WrongUseError, OSError."""
    folder = settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK), Signals() as signals:
        logs.configure(settings.log_dir, "scheduler", secrets=logs.secrets_of(settings))
        channels = notify.open_channels(settings)
        daemon = Daemon(
            memory=Memory(folder / STATE),
            every=Every(settings.retrain_days * 86400, settings.collect_every_hours * 3600, settings.run_max_hours * 3600),
            launch=lambda job: Child([*command, *ARGUMENTS[job]], folder / RUN_LOCK),
            tell=lambda notice: notify.tell(notice, channels),
            signals=signals,
        )
        return daemon.serve(lambda pid: Adopted(pid, folder / RUN_LOCK) if is_held(folder / RUN_LOCK) else None)


def main(arguments: Sequence[str] | None = None, command: Sequence[str] = COMMAND) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m auto_deployment.scheduler", description=__doc__.partition("\n")[0])
    parser.add_argument("--status", action="store_true", help="print the last and the next run of each job")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if options.status:
            sys.stdout.write(show(settings.data_dir))
            return 0
        return serve(settings, command)
    except RunError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except OSError as error:
        sys.stderr.write(f"{error}: DATA_DIR must be a folder that the scheduler can write\n")
        return 1
    except Exception:
        log.exception("the scheduler failed; its state is kept: start it again")
        return 1


if __name__ == "__main__":
    sys.exit(main())
