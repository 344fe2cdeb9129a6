from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any

import pytest

from auto_deployment.scheduler.daemon import Daemon
from auto_deployment.scheduler.plan import BUSY, COLLECT, RETRAIN, UNOBSERVED, Run, words_of
from auto_deployment.scheduler.signals import Times
from auto_deployment.scheduler.state_file import Memory
from tests.unit.auto_deployment.scheduler.runs import DAY, EVERY, HOUR, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from auto_deployment.notify import Notice


class Clock:
    """A clock that only waits move, or the test; waits of a daemon end what it waits for by `events`."""

    def __init__(self) -> None:
        self.now = NOW
        self.steady = 0.0
        self.stop: int | None = None
        self.events: dict[float, Callable[[], None]] = {}
        self._idle = 0

    def wait(self, seconds: float) -> None:
        """Time passes; what happens in it, happens."""
        self._idle = self._idle + 1 if seconds <= 0 else 0
        assert self._idle < 3, "it turns round and round"
        self.now += seconds
        self.steady += seconds
        for moment in sorted(moment for moment in self.events if moment <= self.steady):
            self.events.pop(moment)()

    def ends(self) -> None:
        """Somebody sends TERM."""
        self.stop = signal.SIGTERM


class Process:
    """A run that ends after so many seconds with a status, sooner on TERM if it listens."""

    def __init__(self, clock: Clock, seconds: float, status: int, on_term: int | None = 143) -> None:
        self.pid: int | None = 77
        self.asked: list[str] = []
        self._clock = clock
        self._end = clock.steady + seconds
        self._status = status
        self._on_term = on_term

    def poll(self) -> int | None:
        """Its status, once it has ended."""
        return self._status if self._clock.steady >= self._end else None

    def terminate(self) -> None:
        """It may listen."""
        self.asked.append("TERM")
        if self._on_term is not None:
            self._end, self._status = self._clock.steady + 10, self._on_term

    def kill(self) -> None:
        """It ends."""
        self.asked.append("KILL")
        self._end, self._status = self._clock.steady, -9


class World:
    """A daemon whose clock, runs and notices are a test's own."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.memory = Memory(folder / "scheduler.json")
        self.started: list[tuple[str, float]] = []
        self.processes: list[Process] = []
        self.notices: list[str] = []
        self.published: list[Mapping[str, float]] = []
        self.outcomes: Callable[[str], Process] = lambda _job: Process(self.clock, HOUR / 2, 0)

    def daemon(self) -> Daemon:
        """One that has just been started."""
        times = Times(lambda: self.clock.now, lambda: self.clock.steady)
        return Daemon(self.memory, EVERY, self._launch, self._tell, self.clock, self.published.append, times)

    def serve(self, hours: float, **given_: Any) -> int:
        """A daemon from its start until TERM after so many hours; its exit status."""
        self.clock.stop = None
        self.clock.events[self.clock.steady + hours * HOUR] = self.clock.ends
        return self.daemon().serve(**given_)

    def runs(self) -> Mapping[str, Run]:
        """What is remembered."""
        return self.memory.read()[0]

    def hours(self) -> list[tuple[str, float]]:
        """What was started, and at which hour."""
        return [(job, round((moment - NOW) / HOUR, 2)) for job, moment in self.started]

    def _launch(self, job: str) -> Process:
        self.started.append((job, self.clock.now))
        self.processes.append(self.outcomes(job))
        return self.processes[-1]

    def _tell(self, notice: Notice) -> None:
        self.notices.append(notice.subject)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing has run."""
    return World(tmp_path)


def test_four_days_of_a_scheduler(world: World) -> None:
    """A full run every two days, a collection every six hours between them, and TERM ends it with 143."""
    assert world.serve(97) == 143
    between = [6, 12, 18, 24, 30, 36, 42]
    expected = [(RETRAIN, 0), *[(COLLECT, hour) for hour in between]]
    expected += [(RETRAIN, 48), *[(COLLECT, 48 + hour) for hour in between], (RETRAIN, 96)]
    assert world.hours() == expected
    assert world.notices == []


def test_a_restart_remembers(world: World) -> None:
    """What ran is not run again, and what is due next stays due then."""
    world.serve(7)
    world.serve(40)
    assert world.hours()[:4] == [(RETRAIN, 0), (COLLECT, 6), (COLLECT, 12), (COLLECT, 18)]
    assert [job for job, _ in world.hours()].count(RETRAIN) == 1


def test_missed_runs_are_made_up_once_at_the_start(world: World) -> None:
    """After a week away: one full run at once, and then as ever."""
    world.serve(1)
    world.clock.now += 7 * DAY
    world.serve(7)
    assert world.hours() == [(RETRAIN, 0), (RETRAIN, 169), (COLLECT, 175)]


def test_a_clock_set_back_neither_holds_up_nor_repeats(world: World) -> None:
    """By a year, while it runs: the next runs come one interval later."""
    world.clock.events[HOUR] = lambda: setattr(world.clock, "now", world.clock.now - 365 * DAY)
    world.serve(60)
    back = -365 * 24 + 1
    assert world.hours()[:3] == [(RETRAIN, 0), (COLLECT, back + 6), (COLLECT, back + 12)]
    assert [hour for job, hour in world.hours() if job == RETRAIN] == [0, back + 48]


def test_a_clock_set_forward_runs_what_is_due_once(world: World) -> None:
    """A year ahead is no year of runs."""
    world.clock.events[HOUR] = lambda: setattr(world.clock, "now", world.clock.now + 365 * DAY)
    world.serve(5)
    assert [job for job, _ in world.started] == [RETRAIN, RETRAIN]


def test_term_is_passed_on_and_the_run_s_end_waited_for(world: World) -> None:
    """It ends at a step's boundary; the next start goes on with it at once."""
    world.outcomes = lambda _job: Process(world.clock, 5 * HOUR, 0)
    assert world.serve(1) == 143
    run = world.runs()[RETRAIN]
    assert world.processes[0].asked == ["TERM"]
    assert (run.status, run.cut_off) == (143, True)
    world.serve(1)
    assert [job for job, _ in world.started] == [RETRAIN, RETRAIN]


def test_a_run_that_term_reached_first_goes_on_at_the_next_start(world: World) -> None:
    """A shutdown sends TERM to both, and the run may have ended before the scheduler has heard of it."""
    world.outcomes = lambda _job: Process(world.clock, HOUR - 0.5, 143)
    assert world.serve(1) == 143
    assert world.runs()[RETRAIN].cut_off
    world.serve(1)
    assert [job for job, _ in world.started] == [RETRAIN, RETRAIN]


def test_a_run_that_finishes_after_term_is_not_repeated(world: World) -> None:
    """It was in its last step."""
    world.outcomes = lambda _job: Process(world.clock, 5 * HOUR, 0, on_term=0)
    world.serve(1)
    world.serve(1)
    assert len(world.started) == 1


def test_a_run_that_does_not_listen_is_killed_after_a_quarter_of_an_hour(world: World) -> None:
    """The scheduler ends all the same."""
    world.outcomes = lambda _job: Process(world.clock, 5 * HOUR, 0, on_term=None)
    assert world.serve(1) == 143
    assert world.processes[0].asked == ["TERM", "KILL"]
    assert world.clock.steady == HOUR + 900


def test_ctrl_c_ends_it_with_130(world: World) -> None:
    """And TERM after it does not change that."""
    world.clock.events[HOUR] = lambda: setattr(world.clock, "stop", signal.SIGINT)
    assert world.daemon().serve() == 130


def test_a_hung_run_is_ended_recorded_and_told(world: World) -> None:
    """After RUN_MAX_HOURS; the next one comes in its turn."""
    world.outcomes = lambda _job: Process(world.clock, 90 * HOUR, 0, on_term=None)
    world.serve(13)
    run = world.runs()[RETRAIN]
    assert (run.status, run.note, run.cut_off) == (1, "hung, ended after 12 h", False)
    assert world.processes[0].asked == ["TERM", "KILL"]
    assert world.notices == ["movierec: failed at retrain: no end after 12 h, so it was ended"]


def test_a_run_that_finds_another_one_is_tried_every_five_minutes(world: World) -> None:
    """Until the other one has ended."""
    world.outcomes = lambda _job: Process(world.clock, 60, BUSY if len(world.started) < 4 else 0)
    world.serve(2)
    assert world.hours() == [(RETRAIN, 0), (RETRAIN, 0.1), (RETRAIN, 0.2), (RETRAIN, 0.3)]
    assert world.runs()[RETRAIN].busy == 0
    assert world.notices == []


def test_a_run_that_always_finds_another_one_is_reported_after_an_hour(world: World) -> None:
    """Twelve times again and no more; two days later it is tried anew."""
    world.outcomes = lambda job: Process(world.clock, 60, BUSY if job == RETRAIN else 0)
    world.serve(47)
    assert [job for job, _ in world.started].count(RETRAIN) == 13
    assert world.notices == ["movierec: failed at retrain: another run has held the lock, 13 times"]
    world.serve(4)
    assert [job for job, _ in world.started].count(RETRAIN) == 26


def raising(error: OSError) -> Callable[[str], Process]:
    """A run that cannot be started."""

    def start(_job: str) -> Process:
        raise error

    return start


def test_a_run_that_cannot_be_started_is_recorded_and_told(world: World) -> None:
    """And the scheduler goes on."""
    world.outcomes = raising(FileNotFoundError(2, "No such file or directory"))
    assert world.serve(1) == 143
    assert words_of(world.runs()[RETRAIN]) == "1 failed: cannot be started (No such file or directory)"
    assert world.notices == ["movierec: failed at retrain: it cannot be started: No such file or directory"]


def test_the_rest_of_an_earlier_run_counts_as_another_run(world: World) -> None:
    """It holds the lock that runs inherit."""
    world.outcomes = raising(BlockingIOError(11, "busy"))
    world.serve(0.1)
    assert world.runs()[RETRAIN].status == BUSY
    assert len(world.started) == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0), (143, 0), (-9, 1), (-11, 1), (99, 1)],
)
def test_what_a_run_could_not_report_is_reported_for_it(world: World, status: int, expected: int) -> None:
    """It was killed, or its settings are bad; the rest it tells."""
    world.outcomes = lambda _job: Process(world.clock, 60, status)
    world.serve(1)
    assert len(world.notices) == expected
    assert world.runs()[RETRAIN].status == status


def test_a_run_whose_scheduler_was_killed_with_it_is_made_up_for(world: World) -> None:
    """Once."""
    world.memory.write({RETRAIN: Run(NOW - HOUR, pid=77), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})
    world.serve(1)
    world.serve(1)
    assert world.hours() == [(RETRAIN, 0)]


def test_a_run_that_outlived_its_scheduler_is_waited_for(world: World) -> None:
    """Nothing runs beside it, and it is not done again."""
    world.memory.write({RETRAIN: Run(NOW - HOUR, pid=77), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})
    orphan = Process(world.clock, 7 * HOUR, UNOBSERVED)
    world.serve(8, adopted=lambda _pid: orphan)
    assert world.hours() == [(COLLECT, 7)]
    assert words_of(world.runs()[RETRAIN]) == "ended unseen"


def test_a_run_that_outlived_its_scheduler_may_hang_no_longer_than_others(world: World) -> None:
    """Its hours count from its own start."""
    world.memory.write({RETRAIN: Run(NOW - 11 * HOUR, pid=77), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})
    orphan = Process(world.clock, 90 * HOUR, UNOBSERVED)
    world.serve(2, adopted=lambda _pid: orphan)
    assert orphan.asked == ["TERM"]
    assert len(world.notices) == 1


def test_what_happens_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Begin and end of each run, a failure as a warning."""
    caplog.set_level(logging.INFO, logger="auto_deployment")
    caplog.set_level(logging.INFO, logger="schedule")
    world.outcomes = lambda job: Process(world.clock, 60, 0 if job == RETRAIN else 1)
    world.serve(7)
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    assert lines == [
        "INFO the scheduler runs, next: retrain 2027-01-15T08:00:00.000Z, collect 2027-01-15T14:00:00.000Z",
        "INFO retrain begins",
        "INFO retrain ended: 0 done",
        "INFO collect begins",
        "WARNING collect ended: 1 failed",
        "INFO the scheduler ends: signal 15",
    ]
