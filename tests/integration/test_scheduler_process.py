"""The scheduler as a process, with runs that are small scripts: stopped, killed, started twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

from auto_deployment.common.lock import is_held
from auto_deployment.scheduler.__main__ import RUN_LOCK
from auto_deployment.scheduler.plan import COLLECT, RETRAIN, Run
from auto_deployment.scheduler.state_file import Memory
from tests.integration.faketime import STEADY, NoFaketimeError, environment_of, set_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600.0
# The command as it is, but for what a run is.
DRIVER = "import sys; from auto_deployment.scheduler.__main__ import main; sys.exit(main([], sys.argv[1:]))"
# A run notes its begin and its end, and works until a file tells it its exit status. TERM ends it at its next look.
RUN = """\
trap 'stop=143' TERM
echo "begin $$ $*" >>runs
while [[ -z ${stop:-} && ! -e go ]]; do sleep 0.02; done
echo "end $$" >>runs
exit "${stop:-$(<go)}"
"""


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for `condition`; an assertion fails where it does not come."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


class Ended(NamedTuple):
    """A process that has ended."""

    status: int
    out: str
    err: str


class Schedulers:
    """Schedulers in one folder, and what their runs noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.environment: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self._files: list[IO[bytes]] = []
        (folder / "run.sh").write_text(RUN)
        self.data.mkdir()

    def start(self, *arguments: str, command: tuple[str, ...] = ("bash", "run.sh"), **settings: str) -> subprocess.Popen[bytes]:
        """Start one."""
        environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COV")}
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *command] if not arguments else [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(ROOT), "DATA_DIR": "data", "LOG_DIR": "logs", **self.environment, **settings},
            stdout=self._open("out"),
            stderr=self._open("err"),
        )
        self._started.append(process)
        return process

    def _open(self, kind: str) -> IO[bytes]:
        """A file for what the next process says: a pipe would stay open with its run."""
        self._files.append((self.folder / f"{kind}.{len(self._started)}").open("wb"))
        return self._files[-1]

    def ended(self, process: subprocess.Popen[bytes], number: int = 0) -> Ended:
        """Send a signal and wait for the end."""
        if number:
            process.send_signal(number)
        status, at = process.wait(30), self._started.index(process)
        return Ended(status, *((self.folder / f"{kind}.{at}").read_text() for kind in ("out", "err")))

    def status(self) -> str:
        """What `--status` prints."""
        found = self.ended(self.start("auto_deployment.scheduler", "--status"))
        assert (found.status, found.err) == (0, "")
        return found.out

    def noted(self) -> list[list[str]]:
        """What the runs noted, in words."""
        path = self.folder / "runs"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self) -> list[list[str]]:
        """The arguments of the runs that have begun."""
        return [words[2:] for words in self.noted() if words[0] == "begin"]

    def wait_for_run(self, number: int) -> int:
        """Wait until so many runs have begun; the last one's process."""
        wait_until(lambda: len(self.begun()) >= number)
        return int([words for words in self.noted() if words[0] == "begin"][-1][1])

    def let_go(self, status: int = 0) -> None:
        """All runs end with this status."""
        (self.folder / "go.new").write_text(str(status))
        (self.folder / "go.new").replace(self.folder / "go")

    def remember(self, **runs: Run) -> None:
        """The runs of an earlier scheduler."""
        remembered = {job: runs.get(job, Run()) for job in (RETRAIN, COLLECT)}
        Memory(self.data / "scheduler.json").write(remembered, dict.fromkeys(remembered, 0.0))

    def runs(self) -> Mapping[str, Run]:
        """What is remembered."""
        return Memory(self.data / "scheduler.json").read()[0]

    def has_looked(self, times: int) -> bool:
        """Whether so many schedulers have looked at what is due."""
        return self.log().count("the scheduler runs") == times

    def log(self) -> str:
        """The log file."""
        path = self.folder / "logs" / "auto_deploy.log"
        return path.read_text() if path.exists() else ""

    def clear(self) -> None:
        """End what still goes on."""
        self.let_go()
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(30)
        for file in self._files:
            file.close()
        wait_until(lambda: not is_held(self.data / RUN_LOCK))


@pytest.fixture
def schedulers(tmp_path: Path) -> Iterator[Schedulers]:
    """None runs yet; none runs any more at the end."""
    made = Schedulers(tmp_path)
    yield made
    made.clear()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_midst_of_a_run_ends_both_in_order(schedulers: Schedulers, number: int, status: int) -> None:
    """The run gets TERM and comes to its own end; the next start goes on with it, once."""
    scheduler = schedulers.start()
    schedulers.wait_for_run(1)
    assert schedulers.ended(scheduler, number).status == status
    assert [words[0] for words in schedulers.noted()] == ["begin", "end"]
    run = schedulers.runs()[RETRAIN]
    assert (run.status, run.cut_off, run.pid) == (143, True, None)
    again = schedulers.start()
    schedulers.wait_for_run(2)
    schedulers.let_go()
    wait_until(lambda: schedulers.runs()[RETRAIN].ended)
    assert schedulers.ended(again, signal.SIGTERM).status == 143
    assert len(schedulers.begun()) == 2
    assert not schedulers.runs()[RETRAIN].cut_off


def test_a_restart_makes_up_for_missed_runs_once(schedulers: Schedulers) -> None:
    """After a week: one full run, and no collection beside it; a restart later none."""
    week_ago = time.time() - 7 * 24 * HOUR
    schedulers.remember(retrain=Run(week_ago, week_ago + 60, 0), collect=Run(week_ago + HOUR, week_ago + HOUR + 60, 0))
    schedulers.let_go()
    for times in (1, 2):
        scheduler = schedulers.start()
        wait_until(lambda: (schedulers.runs()[RETRAIN].ended or 0) > week_ago + 60)
        wait_until(partial(schedulers.has_looked, times))
        assert schedulers.ended(scheduler, signal.SIGTERM).status == 143
    assert schedulers.begun() == [[]]


def test_a_collection_is_run_as_such(schedulers: Schedulers) -> None:
    """Between full runs, with --collect-only; its status is recorded and logged."""
    schedulers.remember(retrain=Run(time.time() - 7 * HOUR, time.time() - 6 * HOUR, 0))
    schedulers.let_go(4)
    scheduler = schedulers.start()
    wait_until(lambda: schedulers.runs()[COLLECT].ended)
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143
    assert schedulers.begun() == [["--collect-only"]]
    assert schedulers.runs()[COLLECT].status == 4
    assert "WARNING scheduler auto_deployment.scheduler: collect ended: 4 inconclusive" in schedulers.log()


def test_runs_come_at_their_interval(schedulers: Schedulers) -> None:
    """A full run every second: never two at a time."""
    schedulers.let_go()
    scheduler = schedulers.start(RETRAIN_DAYS=str(0.4 / 86400))
    schedulers.wait_for_run(4)
    schedulers.ended(scheduler, signal.SIGTERM)
    noted = schedulers.noted()
    assert [words[0] for words in noted] == ["begin", "end"] * (len(noted) // 2)


def test_a_clock_that_is_set_back_neither_repeats_a_run_nor_holds_up_the_next(schedulers: Schedulers) -> None:
    """By a year, under a scheduler that runs: the next full run comes one interval later, here five seconds."""
    clock = schedulers.folder / "clock"
    set_clock(clock, 0)
    try:
        schedulers.environment = {**environment_of(clock), **STEADY}
    except NoFaketimeError as error:
        pytest.skip(str(error))
    schedulers.let_go()
    scheduler = schedulers.start(RETRAIN_DAYS=str(5 / 86400))
    schedulers.wait_for_run(1)
    wait_until(lambda: schedulers.runs()[RETRAIN].ended)
    set_clock(clock, -365)
    back = time.time() - 365 * 24 * HOUR
    schedulers.wait_for_run(2)
    assert "the clock was set back" in schedulers.log()
    schedulers.wait_for_run(3)
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143
    second, third = starts_of(schedulers.log())[:2]
    assert back <= second <= third - 4.5 < back + HOUR


def starts_of(log: str) -> list[float]:
    """When full runs began, by the log: it has rolled since the clock was set back."""
    lines = [line.split() for line in log.splitlines() if line.endswith(": retrain begins")]
    return [datetime.fromisoformat(words[0]).timestamp() for words in lines]


def test_a_run_that_outlives_a_killed_scheduler_is_waited_for(schedulers: Schedulers) -> None:
    """Only the scheduler gets kill -9: its run goes on, the next one starts none beside it and takes note of its end."""
    scheduler = schedulers.start()
    pid = schedulers.wait_for_run(1)
    wait_until(lambda: schedulers.runs()[RETRAIN].pid)
    assert schedulers.ended(scheduler, signal.SIGKILL).status == -9
    again = schedulers.start()
    wait_until(lambda: f"retrain of an earlier scheduler still goes on (pid {pid})" in schedulers.log())
    assert "goes on since" in schedulers.status()
    assert schedulers.ended(again, signal.SIGTERM).status == 143
    assert [words[0] for words in schedulers.noted()] == ["begin", "end"]
    assert schedulers.runs()[RETRAIN].cut_off


def test_a_run_that_was_killed_with_its_scheduler_is_made_up_for_once(schedulers: Schedulers) -> None:
    """As when the power fails."""
    scheduler = schedulers.start()
    pid = schedulers.wait_for_run(1)
    schedulers.ended(scheduler, signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)
    wait_until(lambda: not is_held(schedulers.data / RUN_LOCK))
    schedulers.let_go()
    again = schedulers.start()
    wait_until(lambda: schedulers.runs()[RETRAIN].ended and not schedulers.runs()[RETRAIN].cut_off)
    assert schedulers.ended(again, signal.SIGTERM).status == 143
    assert len(schedulers.begun()) == 2
    assert "was cut off, and is made up for" in schedulers.log()


def test_a_run_that_dies_is_recorded_and_the_scheduler_goes_on(schedulers: Schedulers) -> None:
    """Killed from outside, as by a machine without memory."""
    scheduler = schedulers.start()
    os.killpg(schedulers.wait_for_run(1), signal.SIGKILL)
    wait_until(lambda: schedulers.runs()[RETRAIN].ended)
    assert schedulers.runs()[RETRAIN].status == -9
    assert "killed by signal 9" in schedulers.status()
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143


def test_a_run_that_hangs_is_ended(schedulers: Schedulers) -> None:
    """After RUN_MAX_HOURS, here half a second; it is recorded as failed, and the scheduler goes on."""
    scheduler = schedulers.start(RUN_MAX_HOURS=str(0.5 / HOUR))
    wait_until(lambda: [words[0] for words in schedulers.noted()] == ["begin", "end"])
    wait_until(lambda: schedulers.runs()[RETRAIN].ended)
    assert schedulers.runs()[RETRAIN].status == 1
    assert "1 failed: hung, ended after" in schedulers.status()
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143


def test_a_second_scheduler_ends_at_once_and_says_who_runs(schedulers: Schedulers) -> None:
    """Exit status 75 and one line; the first one is not disturbed."""
    first = schedulers.start()
    schedulers.wait_for_run(1)
    status, _, err = schedulers.ended(schedulers.start())
    assert status == 75
    assert f"pid {first.pid} on " in err
    assert len(err.splitlines()) == 1
    assert first.poll() is None
    assert len(schedulers.begun()) == 1


def test_status_is_readable_while_it_runs(schedulers: Schedulers) -> None:
    """Who runs, what goes on, what comes next."""
    scheduler = schedulers.start()
    pid = schedulers.wait_for_run(1)
    wait_until(lambda: schedulers.runs()[RETRAIN].pid)
    lines = schedulers.status().splitlines()
    assert lines[0].startswith(f"scheduler: pid {scheduler.pid} on ")
    assert f"pid {pid}" in lines[2]
    assert lines[3].endswith(("in 1 d 23 h", "in 2 d"))
    assert lines[5] == "  last: never"
    assert lines[6].endswith(("in 5 h 59 min", "in 6 h"))


def test_a_corrupt_memory_is_set_aside_and_all_begins_anew(schedulers: Schedulers) -> None:
    """The scheduler starts all the same."""
    (schedulers.data / "scheduler.json").write_text('{"jobs": ')
    schedulers.let_go()
    scheduler = schedulers.start()
    schedulers.wait_for_run(1)
    assert (schedulers.data / "scheduler.json.broken").read_text() == '{"jobs": '
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143
    assert "is corrupt" in schedulers.log()


def test_half_set_channels_stop_the_start(schedulers: Schedulers) -> None:
    """With the missing setting's name, before anything runs; the password is not shown."""
    status, _, err = schedulers.ended(schedulers.start(SMTP_HOST="127.0.0.1", SMTP_PASSWORD="hunter2"))  # noqa: S106 - of nothing
    assert status == 2
    assert err.splitlines()[-1].startswith("MAIL_FROM: ")
    assert "hunter2" not in err + schedulers.log()
    assert schedulers.begun() == []


def test_a_run_that_cannot_be_started_is_recorded(schedulers: Schedulers) -> None:
    """The scheduler goes on, for the next one may."""
    scheduler = schedulers.start(command=("/nowhere/python",))
    wait_until(lambda: (schedulers.data / "scheduler.json").exists() and schedulers.runs()[RETRAIN].ended)
    assert "cannot be started (No such file or directory)" in schedulers.status()
    assert schedulers.ended(scheduler, signal.SIGTERM).status == 143
