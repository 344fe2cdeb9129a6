"""The process that follows the stream, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from app.events import to_line
from app.fresh.__main__ import Follower, run
from app.fresh.follow import FileSource
from app.fresh.list_model import ListModel
from app.fresh.overlay import STATUS, Reader, Status, folder_of, read_status, unpack
from app.fresh.state import State
from app.fresh.writer import LOCK, Writer, only_one
from app.model import load_serving
from tests.integration.small_disk import enlarge, small_disk
from tests.unit.app.crashes import ROOT, rounds, wait_until
from tests.unit.app.fresh.versions import FILMS, FULL, rated, save_fresh, watched
from tests.unit.app.samples import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.events import Event

NEW = 1234


class Place:
    """The folders of a process, and the file that it follows."""

    def __init__(self, folder: Path) -> None:
        self.model = save_fresh(folder / "model")
        self.fresh = folder / "fresh"
        self.file = folder / "stream.log"
        self.overlay = folder_of(self.fresh, self.model, VERSION)
        self.reader = Reader(self.overlay)
        self.environment = {
            **os.environ,
            "MODEL_DIR": str(self.model),
            "FRESH_DIR": str(self.fresh),
            "FOLLOW_FILE": str(self.file),
            "PYTHONPATH": str(ROOT),
        }

    @contextmanager
    def process(self, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """The process, killed at the end where it still runs."""
        command = [sys.executable, "-m", "app.fresh"]
        environment = {**self.environment, **settings}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
            try:
                yield child
            finally:
                child.kill()

    def append(self, *events: Event) -> None:
        """Append the lines of events."""
        with self.file.open("a") as file:
            file.writelines(f"{to_line(event)}\n" for event in events)

    def films(self, user: int) -> list[int]:
        """The struck films of a user."""
        content = self.reader.find(user)
        return [] if content is None else sorted(unpack(content).films)

    def wait_for(self, user: int, films: list[int]) -> None:
        """Wait until these films are struck."""
        wait_until(lambda: self.films(user) == films, 30)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Folders, and no file yet."""
    return Place(tmp_path)


def test_appended_lines_count_and_term_ends_it(place: Place) -> None:
    """The file may come later than the process. Lines that are damaged or of other kinds change nothing."""
    with place.process() as process:
        place.append(watched(FULL, 3), rated(NEW, 7))
        place.wait_for(FULL, [3])
        place.wait_for(NEW, [7])
        with place.file.open("a") as file:
            file.write(f"rubbish\n\n2026-11-29T12:00:00,{NEW},GET /rate/{FILMS[8]}=9\n2026-11-29T12:0")
        with place.file.open("a") as file:
            file.write(f"0:00,{NEW},GET /rate/{FILMS[9]}=4\n")
        place.wait_for(NEW, [7, 9])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert load_serving(place.model).version == VERSION


def test_its_status_says_how_fresh_answers_are(place: Place) -> None:
    """The time of the last look, the users, and their lists. A restart keeps it, and damage is as no status."""
    with place.process():
        before = time.time()
        place.append(watched(FULL, 3), rated(NEW, 7))
        place.wait_for(NEW, [7])
        wait_until(lambda: read_status(place.overlay).as_of > before)
        wait_until(lambda: read_status(place.overlay).lists == 1)
    known = read_status(place.overlay)
    assert known[1:] == (2, 0, 1, 0)
    writer = Writer(place.overlay, 300.0)
    writer.read()
    (place.overlay / STATUS).unlink()
    writer.publish(State(ListModel(place.model)), FileSource(place.file, 0, {}))
    assert read_status(place.overlay).as_of == known.as_of
    for content in ("", "{}", "[]", '{"as_of": "x"}', "\udcff"):
        (place.overlay / STATUS).write_text(content, encoding="utf-8", errors="surrogateescape")
        assert read_status(place.overlay) == Status()


def test_folders_of_versions_that_left_long_ago_are_removed(place: Place) -> None:
    """Those that no process holds, after two weeks."""
    old, held, young = (place.fresh / name for name in ("1-old", "1-held", "1-young"))
    for folder in (old, held, young):
        folder.mkdir(parents=True)
        (folder / LOCK).touch()
        if folder != young:
            os.utime(folder, (0, 0))
    with only_one(held), place.process():
        place.append(watched(FULL, 3))
        place.wait_for(FULL, [3])
        wait_until(lambda: not old.exists())
        assert held.exists()
        assert young.exists()


def test_a_version_without_a_fresh_part_is_waited_out(tmp_path: Path) -> None:
    """It says so once, and TERM ends it."""
    model, file = save_fresh(tmp_path / "model", fresh=None), tmp_path / "stream.log"
    environment = {**os.environ, "MODEL_DIR": str(model), "FRESH_DIR": str(tmp_path / "fresh"), "FOLLOW_FILE": str(file)}
    command = [sys.executable, "-m", "app.fresh"]
    environment |= {"HEARTBEAT_FILE": str(tmp_path / "heartbeat"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        wait_until((tmp_path / "heartbeat").exists)
        child.terminate()
        _, output = child.communicate(timeout=20)
    assert child.returncode == 0
    assert output.count("the version has no part for freshness: train it with FRESH=true") == 1


def test_a_second_process_waits_and_takes_over(place: Place) -> None:
    """One writer for each version: the second one says why it waits, continues when the first ends, and ends on TERM."""
    with place.process() as first, place.process() as second:
        place.append(watched(FULL, 3))
        place.wait_for(FULL, [3])
        assert second.stderr is not None
        waiting = next(line for line in second.stderr if "another process writes" in line or "follows" in line)
        one, other = (first, second) if "another" in waiting else (second, first)
        one.kill()
        place.append(watched(FULL, 4))
        place.wait_for(FULL, [3, 4])
        other.terminate()
        assert other.wait(20) == 0


def test_it_continues_after_its_last_line(place: Place) -> None:
    """What came meanwhile counts once: minutes are added up."""
    for minutes in (2, 5):
        place.append(*(watched(FULL, 3, minute) for minute in range(minutes)))
        with place.process():
            wait_until(lambda least=minutes: place.films(FULL) == [3] and _minutes(place) >= least)  # type: ignore[misc]
    with place.process():
        place.append(watched(NEW, 1))
        place.wait_for(NEW, [1])
        assert _minutes(place) == 7


def _minutes(place: Place) -> int:
    return unpack(place.reader.find(FULL) or b"").minutes[0]


@pytest.mark.crash
def test_a_process_that_is_killed_at_any_moment_loses_and_doubles_nothing(place: Place, request: pytest.FixtureRequest) -> None:
    """Each minute counts once, whatever the moment. Films that were struck stay struck all the time."""
    written, struck = 0, set[int]()
    for chance in rounds(request, 5):
        with place.process(CHECKPOINT_SECONDS="0.2"):
            end = time.monotonic() + chance.uniform(0.5, 2)
            while time.monotonic() < end:
                place.append(watched(FULL, written % 40))
                written += 1
                found = {*place.films(FULL)}
                assert found >= struck
                struck = found
                time.sleep(0.02)
    with place.process():
        place.append(watched(NEW, 1))
        place.wait_for(NEW, [1])
        record = unpack(place.reader.find(FULL) or b"")
        assert sum(record.minutes) == written
        assert sorted(path.name.partition("-")[0] for path in place.overlay.iterdir()) == [
            "base",
            "lock",
            "recent",
            "status.json",
        ]
        assert sorted(record.films) == list(range(min(written, 40)))


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"FOLLOW_FILE": ""}, 2, "fresh: set one of KAFKA_BOOTSTRAP_SERVERS and FOLLOW_FILE: new lines come from there\n"),
        ({"MODEL_DIR": "/nowhere"}, 1, "fresh: /nowhere/metadata.json: No such file or directory: is there a trained model?\n"),
        ({"FRESH_DIR": "/proc/nowhere"}, 1, "fresh: [Errno 2] No such file or directory: '/proc/nowhere'\n"),
    ],
)
def test_unusable_settings_are_one_line(place: Place, settings: dict[str, str], status: int, message: str) -> None:
    """Nothing is followed."""
    with place.process(**settings) as process:
        _, output = process.communicate(timeout=20)
    assert (process.returncode, output) == (status, message)


def test_term_ends_it_while_lists_are_due(place: Place) -> None:
    """Struck films are published before thousands of lists are computed, and the end does not wait for the lists."""
    place.append(*(rated(user, 7) for user in range(20_000)))
    place.append(watched(FULL, 3))
    with place.process() as process:
        wait_until(lambda: 3 in place.films(FULL), 30)
        process.terminate()
        assert process.wait(5) == 0


def test_a_full_disk_leaves_the_last_state_in_use(place: Place) -> None:
    """Nothing is left of the attempts, and it continues when there is room."""
    with small_disk(place.fresh, "1m"), place.process(CHECKPOINT_SECONDS="0.1"):
        place.append(watched(FULL, 3))
        place.wait_for(FULL, [3])
        _fill(place.fresh / "filler")
        place.append(watched(FULL, 4))
        time.sleep(3)
        assert place.films(FULL) == [3]
        assert sorted(path.name.partition("-")[0] for path in place.overlay.iterdir()) == [
            "base",
            "lock",
            "recent",
            "status.json",
        ]
        enlarge(place.fresh)
        place.wait_for(FULL, [3, 4])


def _fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(file, b"x" * 4096):
            pass
    except OSError:
        os.close(file)


def test_a_damaged_checkpoint_is_read_again_from_the_version_s_end(place: Place) -> None:
    """The log says so, and nothing is lost: the lines are still there."""
    place.append(watched(FULL, 3))
    with place.process():
        place.wait_for(FULL, [3])
    (left,) = place.overlay.glob("base-*")
    left.write_bytes(b"rubbish")
    place.append(watched(FULL, 4))
    with place.process() as process:
        place.wait_for(FULL, [3, 4])
        process.terminate()
        _, output = process.communicate(timeout=10)
    assert "the last state cannot be used" in output


class Endless:
    """A source that always has another line of one user, until it has given `count`. A line takes 10 ms of `clock`."""

    name, lost, as_of = "endless", 0, 1.0

    def __init__(self, count: int, clock: list[float], stop: threading.Event) -> None:
        self._left = count
        self._clock = clock
        self._stop_now = stop

    @property
    def marks(self) -> dict[str, int]:
        """See `Source`."""
        return {}

    def poll(self) -> list[str]:
        """See `Source`."""
        self._clock[0] += 0.01
        self._left -= 1
        if not self._left:
            self._stop_now.set()
        return [to_line(rated(NEW, self._left % len(FILMS)))]

    def close(self) -> None:
        """See `Source`."""


def test_a_client_that_sends_lines_all_the_time_gets_one_list_for_each_publication(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,050 ratings within 10.5 s, ten are followed by a list."""
    clock, stop = [0.0], threading.Event()
    monkeypatch.setattr("app.fresh.__main__.time.monotonic", lambda: clock[0])
    place.overlay.mkdir(parents=True)
    model = ListModel(place.model)
    state = State(model)
    follower = Follower(Endless(1050, clock, stop), state, Writer(place.overlay, 300.0), model.rules)
    run(follower, {}, stop, lambda: None)
    assert state.lists == 10
    assert len(place.films(NEW)) == len(FILMS)


class TestFileSource:
    """Lines of a file that grows, shrinks and disappears."""

    def test_whole_lines_are_read_once(self, tmp_path: Path) -> None:
        """A line without its end is left for later."""
        file = tmp_path / "stream.log"
        source = FileSource(file, 0, {})
        assert source.poll() == []
        file.write_bytes(b"one\ntwo\r\nthr")
        assert source.poll() == ["one", "two\r"]
        assert source.poll() == []
        with file.open("ab") as added:
            added.write(b"ee\n\xff\n")
        assert source.poll() == ["three", "\udcff"]
        assert FileSource(file, 0, source.marks).poll() == []

    def test_only_a_line_feed_ends_a_line(self, tmp_path: Path) -> None:
        """As in the collection: nobody can put an event of somebody else into a line."""
        file = tmp_path / "stream.log"
        file.write_bytes("one\x1ctwo\x85\u2028three\x0b\x0c\nfour\n".encode())
        assert FileSource(file, 0, {}).poll() == ["one\x1ctwo\x85\u2028three\x0b\x0c", "four"]

    def test_what_is_left_of_an_overlong_line_is_no_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It could look like an event."""
        monkeypatch.setattr("app.fresh.follow.LARGEST_READ", 10)
        file = tmp_path / "stream.log"
        file.write_text("x" * 25 + "like\nnext\n")
        source, found = FileSource(file, 0, {}), list[str]()
        for _ in range(6):
            found += source.poll()
        assert found == ["next"]

    def test_a_shorter_file_is_read_from_its_start(self, tmp_path: Path) -> None:
        """It was replaced, as a rotated log is."""
        file = tmp_path / "stream.log"
        file.write_text("one\ntwo\n")
        source = FileSource(file, file.stat().st_size, {})
        assert source.poll() == []
        file.write_text("new\n")
        assert source.poll() == ["new"]
        file.unlink()
        assert source.poll() == []
