from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_deployment import logs
from auto_deployment.scheduler import (
    BUSY,
    BUSY_RETRIES,
    BUSY_SECONDS,
    COLLECT,
    RETRAIN,
    UNSEEN,
    Adopted,
    Child,
    Daemon,
    Every,
    HeldError,
    Memory,
    Run,
    Signals,
    Times,
    due_times,
    ended,
    from_document,
    is_held,
    locked,
    main,
    settled,
    show,
    span,
    status_text,
    to_document,
    words_of,
)
from auto_deployment.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from auto_deployment.notify import Notice

HOUR, DAY = 3600.0, 86400.0
EVERY = Every(2 * DAY, 6 * HOUR, 12 * HOUR)
NOW = 1_800_000_000.0
NEVER = {RETRAIN: Run(), COLLECT: Run()}
moments = st.none() | st.floats(0, 4e9)
some_runs = st.builds(
    Run,
    started=moments,
    ended=moments,
    status=st.none() | st.integers(-15, 255),
    pid=st.none() | st.integers(2, 2**22),
    busy=st.integers(0, 20),
    cut_off=st.booleans(),
    note=st.text(),
)


def done(started: float, status: int = 0, **given_: Any) -> Run:
    """A run of a minute."""
    return Run(started=started, ended=started + 60, status=status, **given_)


def due(retrain: Run, collect: Run = Run(), now: float = NOW) -> dict[str, float]:  # noqa: B008 - it is frozen
    """When each is due, from now on in seconds."""
    return {job: moment - now for job, moment in due_times({RETRAIN: retrain, COLLECT: collect}, EVERY, now).items()}


def test_a_full_run_is_due_at_once_where_none_ever_ran() -> None:
    """It collects too, so the first collection comes after it."""
    assert due(Run()) == {RETRAIN: 0, COLLECT: 6 * HOUR}


def test_runs_are_due_from_start_to_start() -> None:
    """However long they take, they do not drift."""
    retrain, collect = Run(NOW - DAY, NOW - HOUR, 0), done(NOW - 2 * HOUR)
    assert due(retrain, collect) == {RETRAIN: DAY, COLLECT: 4 * HOUR}


def test_a_full_run_takes_the_place_of_a_collection() -> None:
    """The next one is due that long after the later of both."""
    assert due(done(NOW - HOUR), done(NOW - 7 * HOUR))[COLLECT] == 5 * HOUR


def test_only_one_run_is_due_where_both_are() -> None:
    """The full one, as it does the other's work."""
    assert due(done(NOW - 3 * DAY), done(NOW - 7 * HOUR)) == {RETRAIN: -DAY, COLLECT: 6 * HOUR}


def test_missed_runs_are_made_up_once() -> None:
    """After a month away one is due; once it has begun, the next comes two days later."""
    assert due(done(NOW - 30 * DAY))[RETRAIN] <= 0
    assert due(done(NOW))[RETRAIN] == 2 * DAY


@pytest.mark.parametrize("status", [1, 2, 3, 4, 143, -9])
def test_a_failed_run_waits_for_its_turn(status: int) -> None:
    """Whatever it ended with, it is not hammered."""
    assert due(done(NOW - HOUR, status))[RETRAIN] == 2 * DAY - HOUR


def test_a_run_that_was_cut_off_is_due_again() -> None:
    """It goes on where it stood."""
    assert due(done(NOW - HOUR, 143, cut_off=True))[RETRAIN] == 0


def test_a_run_that_found_another_one_is_tried_again_twelve_times() -> None:
    """Five minutes after each; then it waits for its turn."""
    for busy in range(1, BUSY_RETRIES + 1):
        assert due(done(NOW - 60, BUSY, busy=busy))[RETRAIN] == BUSY_SECONDS
    assert due(done(NOW - 60, BUSY, busy=BUSY_RETRIES + 1))[RETRAIN] == 2 * DAY - 60


@given(some_runs, some_runs, st.floats(1e9, 2e9))
def test_no_wait_is_longer_than_an_interval_and_at_most_one_run_is_due(retrain: Run, collect: Run, now: float) -> None:
    """Whatever is remembered, and wherever the clock was set: no endless wait, no storm."""
    waits = due_times(settled({RETRAIN: retrain, COLLECT: collect}, now), EVERY, now)
    assert waits[RETRAIN] <= now + EVERY.retrain + 60
    assert waits[COLLECT] <= now + EVERY.collect + EVERY.retrain
    assert sum(moment <= now for moment in waits.values()) <= 1


def test_a_run_in_the_future_counts_as_just_now() -> None:
    """The clock was set back by a year: the next run is one interval away."""
    runs = settled({RETRAIN: done(NOW + 365 * DAY), COLLECT: done(NOW - HOUR)}, NOW)
    assert (runs[RETRAIN].started, runs[RETRAIN].ended) == (NOW, NOW)
    assert runs[COLLECT] == done(NOW - HOUR)


def test_a_clock_that_is_set_right_by_seconds_changes_nothing() -> None:
    """Time servers do so all day."""
    assert settled({RETRAIN: done(NOW - 50)}, NOW) == {RETRAIN: done(NOW - 50)}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (done(NOW), "0 done"),
        (done(NOW, 3), "3 refused"),
        (done(NOW, 75), "75 another run held the lock"),
        (done(NOW, 99), "99 unknown"),
        (done(NOW, -9), "killed by signal 9"),
        (done(NOW, 1, note="hung, ended after 12 h"), "1 failed: hung, ended after 12 h"),
        (ended(Run(NOW), UNSEEN, NOW), "ended unseen"),
        (Run(NOW, NOW, cut_off=True), "cut off"),
    ],
)
def test_an_end_is_told_in_words(run: Run, words: str) -> None:
    """The status as a number, what it means, and what is known beside it."""
    assert words_of(run) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (2 * DAY, "2 d"),
        (DAY + HOUR + 60, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    """A person wants no more."""
    assert span(seconds) == text


@given(some_runs, some_runs)
def test_what_is_written_is_read_again(retrain: Run, collect: Run) -> None:
    """To the millisecond, through JSON."""
    runs = {RETRAIN: retrain, COLLECT: collect}
    document = json.loads(json.dumps(to_document(runs, {RETRAIN: NOW, COLLECT: NOW + 1})))
    read, due_ = from_document(document)
    assert due_ == {RETRAIN: NOW, COLLECT: NOW + 1}
    assert to_document(read, {RETRAIN: NOW, COLLECT: NOW + 1}) == document


DOCUMENT = to_document({RETRAIN: done(NOW), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})


@pytest.mark.parametrize("name", list(DOCUMENT["jobs"][RETRAIN]))
@pytest.mark.parametrize("value", [1.5, "x", [], True])
def test_a_value_of_another_kind_is_corrupt_or_harmless(name: str, value: object) -> None:
    """It is refused, or read as something of the right kind."""
    document = json.loads(json.dumps(DOCUMENT))
    document["jobs"][RETRAIN][name] = value
    try:
        runs, _ = from_document(document)
    except ValueError:
        return
    assert name in {"note", "cut_off"}
    assert isinstance(runs[RETRAIN].note, str)
    assert isinstance(runs[RETRAIN].cut_off, bool)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"jobs": 3}', '{"jobs": {"retrain": {}, "collect": {}}}', "\x00" * 50]
)
def test_a_corrupt_file_is_set_aside_and_all_begins_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and kept for whoever wants to look; `--status` says so without touching it."""
    (tmp_path / "scheduler.json").write_text(content)
    assert "is corrupt" in show(tmp_path)
    assert (tmp_path / "scheduler.json").exists()
    assert Memory(tmp_path / "scheduler.json").recall() == NEVER
    assert not (tmp_path / "scheduler.json").exists()
    assert (tmp_path / "scheduler.json.broken").read_text() == content
    assert "scheduler.json.broken" in caplog.text


def test_a_file_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The runs go on, and the log says what a restart would not know."""
    (tmp_path / "file").write_text("in the way")
    Memory(tmp_path / "file" / "scheduler.json").write(NEVER, {RETRAIN: NOW, COLLECT: NOW})
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """It may be sound: it is not set aside."""
    (tmp_path / "scheduler.json").mkdir()
    with pytest.raises(StateError, match=r"scheduler\.json"):
        Memory(tmp_path / "scheduler.json").recall()
    assert (tmp_path / "scheduler.json").exists()


def test_status_tells_last_and_next_of_each_job() -> None:
    """With times, durations and exit status in words."""
    runs = {RETRAIN: Run(NOW - HOUR, NOW - HOUR / 2, 3), COLLECT: Run(NOW - 90, pid=77)}
    text = status_text(runs, {RETRAIN: NOW + DAY, COLLECT: NOW}, "pid 5 on host since then", NOW)
    assert text.splitlines() == [
        "scheduler: pid 5 on host since then",
        "retrain:",
        "  last: 2027-01-15T07:00:00.000Z to 2027-01-15T07:30:00.000Z (30 min), 3 refused",
        "  next: 2027-01-16T08:00:00.000Z, in 1 d",
        "collect:",
        "  last: 2027-01-15T07:58:30.000Z, goes on since 1 min 30 s, pid 77",
        "  next: 2027-01-15T08:00:00.000Z, now, or after the run that goes on",
    ]


def test_status_tells_what_is_known_without_a_scheduler() -> None:
    """What was cut off, what never ran, what its start will do."""
    text = status_text({RETRAIN: Run(NOW - 90), COLLECT: Run()}, {RETRAIN: NOW - 5, COLLECT: None}, None, NOW)
    assert [line.partition(": ")[2] for line in text.splitlines() if ": " in line] == [
        "does not run",
        "2027-01-15T07:58:30.000Z, cut off",
        "2027-01-15T07:59:55.000Z, when the scheduler starts",
        "never",
        "when the scheduler starts",
    ]


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
        self.told: list[str] = []
        self.outcomes: Callable[[str], Process] = lambda _job: Process(self.clock, HOUR / 2, 0)

    def daemon(self) -> Daemon:
        """One that has just been started."""
        times = Times(lambda: self.clock.now, lambda: self.clock.steady)
        return Daemon(self.memory, EVERY, self._launch, self._tell, self.clock, times)

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
        self.told.append(notice.subject)


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
    assert world.told == []


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
    assert world.told == ["movierec: failed at retrain: no end after 12 h, so it was ended"]


def test_a_run_that_finds_another_one_is_tried_every_five_minutes(world: World) -> None:
    """Until the other one has ended."""
    world.outcomes = lambda _job: Process(world.clock, 60, BUSY if len(world.started) < 4 else 0)
    world.serve(2)
    assert world.hours() == [(RETRAIN, 0), (RETRAIN, 0.1), (RETRAIN, 0.2), (RETRAIN, 0.3)]
    assert world.runs()[RETRAIN].busy == 0
    assert world.told == []


def test_a_run_that_always_finds_another_one_is_told_after_an_hour(world: World) -> None:
    """Twelve times again and no more; two days later it is tried anew."""
    world.outcomes = lambda job: Process(world.clock, 60, BUSY if job == RETRAIN else 0)
    world.serve(47)
    assert [job for job, _ in world.started].count(RETRAIN) == 13
    assert world.told == ["movierec: failed at retrain: another run has held the lock, 13 times"]
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
    assert world.told == ["movierec: failed at retrain: it cannot be started: No such file or directory"]


def test_the_rest_of_an_earlier_run_counts_as_another_run(world: World) -> None:
    """It holds the lock that runs inherit."""
    world.outcomes = raising(BlockingIOError(11, "busy"))
    world.serve(0.1)
    assert world.runs()[RETRAIN].status == BUSY
    assert len(world.started) == 2


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0), (143, 0), (-9, 1), (-11, 1), (99, 1)],
)
def test_what_a_run_could_not_tell_itself_is_told(world: World, status: int, told: int) -> None:
    """It was killed, or its settings are bad; the rest it tells."""
    world.outcomes = lambda _job: Process(world.clock, 60, status)
    world.serve(1)
    assert len(world.told) == told
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
    orphan = Process(world.clock, 7 * HOUR, UNSEEN)
    world.serve(8, adopted=lambda _pid: orphan)
    assert world.hours() == [(COLLECT, 7)]
    assert words_of(world.runs()[RETRAIN]) == "ended unseen"


def test_a_run_that_outlived_its_scheduler_may_hang_no_longer_than_others(world: World) -> None:
    """Its hours count from its own start."""
    world.memory.write({RETRAIN: Run(NOW - 11 * HOUR, pid=77), COLLECT: Run()}, {RETRAIN: NOW, COLLECT: NOW})
    orphan = Process(world.clock, 90 * HOUR, UNSEEN)
    world.serve(2, adopted=lambda _pid: orphan)
    assert orphan.asked == ["TERM"]
    assert len(world.told) == 1


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


def test_a_second_scheduler_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """By process, host and time; its exit status is 75, and the lock is free again afterwards."""
    path = tmp_path / "lock"
    with locked(path), pytest.raises(HeldError, match=rf"pid {os.getpid()} on .* since 20") as caught, locked(path, tries=1):
        pass
    assert caught.value.status == 75
    assert not is_held(path)
    with locked(path):
        assert is_held(path)


def test_a_lock_that_status_looks_at_is_waited_for(tmp_path: Path) -> None:
    """A look is no reason not to start."""
    path = tmp_path / "lock"
    with path.open("a") as looking:
        timer = threading.Timer(0.05, looking.close)
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer.start()
        with locked(path):
            assert is_held(path)
        timer.join()


def test_a_file_that_does_not_exist_is_not_held(tmp_path: Path) -> None:
    """No scheduler ever ran."""
    assert not is_held(tmp_path / "lock")


def test_signals_end_a_wait_and_are_kept() -> None:
    """The first one counts, and the handlers before are set again."""
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        signals.wait(20)
        assert signals.stop == signal.SIGTERM
        signals.wait(0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_inherits_the_lock_that_says_that_it_goes_on(tmp_path: Path) -> None:
    """Nothing else can be started beside it; and KILL ends it with all that it started."""
    lock = tmp_path / "lock"
    with Signals() as signals:
        run = Child(["bash", "-c", "sleep 60 & wait"], lock)
        assert is_held(lock)
        with pytest.raises(BlockingIOError):
            Child(["true"], lock)
        run.kill()
        assert run.poll() == -9
        while is_held(lock):
            signals.wait(0.01)
        run = Child(["true"], lock)
        while run.poll() is None:
            signals.wait(20)
        assert run.poll() == 0
    assert not is_held(lock)


def test_a_run_that_has_just_ended_may_be_asked_to_end(tmp_path: Path) -> None:
    """Or one whose process is not known."""
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
    for run in (Adopted(process.pid, tmp_path / "lock"), Adopted(None, tmp_path / "lock")):
        run.terminate()
        run.kill()
        assert run.poll() == UNSEEN


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, so that systemd starts it again."""
    monkeypatch.chdir(tmp_path)
    try:
        assert main([], command=[object()]) == 1  # type: ignore[list-item]
    finally:
        logs.shut()
    assert "the scheduler failed" in capsys.readouterr().err.splitlines()[-1]
    assert "Traceback" in (tmp_path / "logs" / "auto_deploy.log").read_text()


def test_a_wrong_argument_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and the usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(["--nonsense"])
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_bad_setting_stops_the_start_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, exit status 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRAIN_DAYS", "0")
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("RETRAIN_DAYS: ")


def test_a_data_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the setting, exit status 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))
    assert main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "DATA_DIR" in line


def test_status_of_nothing_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that nothing ever ran, and leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    assert main(["--status"]) == 0
    assert "does not run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
