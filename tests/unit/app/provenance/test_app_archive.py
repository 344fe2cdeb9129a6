from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.journal import ServedList
from app.provenance.archive import Archive, Given, Served
from app.provenance.backup import BackupError, OtherHistoryError, Restored, from_lines, restore, to_lines
from tests.unit.app.samples import ROW, first_format, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from app.provenance import TrackingRow

TRAINED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the tables hold UTC without a zone
VERSION: TrackingRow = {
    "version_number": 3,
    "data_creation": TRAINED,
    "trained_on": TRAINED,
    "model_rmse": 0.75,
    "git_commit": "c" * 40,
    "data_md5": "d" * 32,
    "model_md5": "e" * 32,
}

LISTS = [ServedList("a" * 16, 6, 3, 1, "BwAAAP8.AQ"), ServedList("b" * 16, 6, 3, 86_400_000_000, "CAAAAP8.")]


@pytest.fixture
def make_archive(tmp_path: Path) -> Iterator[Callable[[], Archive]]:
    """Makes databases with their tables."""
    made: list[Archive] = []

    def make() -> Archive:
        made.append(Archive(f"sqlite:///{tmp_path / f'{len(made)}.sqlite'}"))
        made[-1].create()
        return made[-1]

    yield make
    for archive in made:
        archive.close()


@pytest.fixture
def archive(make_archive: Callable[[], Archive]) -> Archive:
    """A database with a version, two served lists, and four answers, one of them of a version that nobody knows."""
    made = make_archive()
    made.track(VERSION)
    rows = [
        row(9, inputs="seed=7"),
        row(1, version_number=2, served_at=5),
        row(5, user_id=6),
        row(6, track="canary", user_id=6),
    ]
    made.add_answers("stable-1/1.tsv", rows, 100, LISTS)
    return made


def test_versions_that_gave_kept_answers_are_found_on_every_day(archive: Archive) -> None:
    """Also on days before the first answer id and after the last one: a clock may have been set."""
    day = 86_400_000_000
    others = [(2, 4, 20_000), (3, 5, 30_000), (4, 6, 20_255)]
    rows = [row(number, version_number=version, served_at=days * day) for number, version, days in others]
    archive.add_answers("stable-2/1.tsv", rows, 100)
    assert archive.answered_by({1, 2, 3, 4, 5, 6}) == {2, 3, 4, 5, 6}
    assert archive.answered_by({1, 5}) == {5}


def test_an_empty_database_keeps_no_answer(make_archive: Callable[[], Archive]) -> None:
    """There is neither a first nor a last day."""
    assert make_archive().answered_by({1}) == set()


def test_what_a_user_was_served_comes_oldest_first(archive: Archive) -> None:
    """With its version, one that nobody knows too, and nobody else's."""
    first, second = archive.find("user_id", 5)
    assert (first.answer_id, first.version_number, first.trained_on, first.model_rmse) == (f"{1:032x}", 2, None, None)
    assert (second.answer_id, second.version_number, second.trained_on, second.model_rmse) == (f"{9:032x}", 3, TRAINED, 0.75)
    assert (second.step, second.digest, second.inputs, second.model_md5) == (ROW.step, ROW.digest, "seed=7", "e" * 32)
    assert archive.find("user_id", 7) == []


def test_answers_are_found_by_either_id(archive: Archive) -> None:
    """One by its answer id, all of a request by the request's."""
    assert [each.user_id for each in archive.find("answer_id", f"{5:032x}")] == [6]
    assert len(archive.find("request_id", "request-1")) == 4
    assert archive.find("answer_id", "request-1") == []


def test_the_last_users_come_newest_first(archive: Archive) -> None:
    """By the answers' ids, each answer once, at most so many."""
    everybody = archive.last_users(10)
    assert len(everybody) == 4
    assert everybody[1:3] == [6, 6]
    assert archive.last_users(2) == everybody[:2]


def test_the_latest_answers_come_newest_first_with_version_track_and_step(archive: Archive) -> None:
    """By the answers' ids, at most so many."""
    assert archive.latest(2) == [
        Given(3, "stable", "known", archive.find("answer_id", f"{9:032x}")[0].served_at),
        Given(3, "canary", "known", archive.find("answer_id", f"{6:032x}")[0].served_at),
    ]
    assert len(archive.latest(9)) == 4


def test_of_many_answers_to_a_user_the_newest_are_found(archive: Archive) -> None:
    """The oldest of them first."""
    archive.add_answers("stable-1/1.tsv", [row(number, user_id=8, served_at=number) for number in range(20, 30)], 200)
    assert [int(each.answer_id, 16) for each in archive.find("user_id", 8, 3)] == [27, 28, 29]


def test_what_a_version_served_is_counted_by_track(archive: Archive) -> None:
    """With the first and the last time; nothing of a version that served nobody."""
    (canary, stable) = archive.served_by(3)
    assert (canary.track, canary.answers, stable.track, stable.answers) == ("canary", 1, "stable", 2)
    assert archive.served_by(2) == [Served("stable", 1, datetime(1970, 1, 1, 0, 0, 0, 5), datetime(1970, 1, 1, 0, 0, 0, 5))]  # noqa: DTZ001 - see above
    assert archive.served_by(7) == []
    assert archive.version(3) == VERSION
    assert archive.version(7) is None


def test_a_backup_restored_elsewhere_is_the_same(archive: Archive, make_archive: Callable[[], Archive]) -> None:
    """Versions, answers and served lists, every column; restored again nothing is added."""
    lines = list(to_lines(archive.everything()))
    other = make_archive()
    assert restore(other, from_lines(lines)) == Restored(4, 0, 0)
    assert sorted(map(repr, other.everything())) == sorted(map(repr, archive.everything()))
    assert restore(other, from_lines(lines)) == Restored(0, 4, 0)
    assert other.count() == 4
    assert [each for each in other.everything() if isinstance(each, ServedList)] == LISTS


def test_a_backup_from_before_served_lists_is_restored(archive: Archive, make_archive: Callable[[], Archive]) -> None:
    """Also where a list is there already."""
    other = make_archive()
    other.add_answers("stable-1/1.tsv", [], 1, LISTS[:1])
    assert restore(other, from_lines(first_format(to_lines(archive.everything())))) == Restored(4, 0, 0)
    assert [each for each in other.everything() if isinstance(each, ServedList)] == LISTS[:1]


def test_a_restore_adds_to_what_is_there_and_changes_nothing(archive: Archive, make_archive: Callable[[], Archive]) -> None:
    """New answers stay, missing ones come back, one with other content stays as it is and is counted."""
    other = make_archive()
    other.add_answers("stable-1/1.tsv", [row(5, user_id=7), row(70), row(9, inputs="seed=7")], 1)
    assert restore(other, from_lines(to_lines(archive.everything()))) == Restored(2, 1, 1)
    assert [each.user_id for each in other.find("answer_id", f"{5:032x}")] == [7]
    assert other.count() == 5


def test_the_backup_of_another_installation_is_refused(archive: Archive, make_archive: Callable[[], Archive]) -> None:
    """A number that stands for another model: no answer is added."""
    other = make_archive()
    other.track({**VERSION, "model_md5": "f" * 32})
    with pytest.raises(OtherHistoryError, match="version 3 is another one"):
        restore(other, from_lines(to_lines(archive.everything())))
    assert other.count() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:0], "line 0: the backup was cut off here"),
        (lambda lines: lines[1:], "line 1: not a backup"),
        (lambda lines: [b'{"format": "another", "number": 1}\n', *lines[1:]], "line 1: not a backup"),
        (lambda lines: [lines[0].replace(b"2", b"3"), *lines[1:]], "line 1: the backup has format 3, .* formats up to 2"),
        (lambda lines: [lines[0].replace(b"2", b"1"), *lines[1:]], "changed or left out"),
        (lambda lines: lines[:-1], "the backup was cut off here"),
        (lambda lines: lines[:2] + lines[3:], "changed or left out"),
        (lambda lines: [*lines[:3], lines[3].replace(b"stable", b"canary"), *lines[4:]], "changed or left out"),
        (lambda lines: [*lines[:2], b"nonsense\n", *lines[2:]], "line 3: neither a version nor an answer"),
        (lambda lines: [*lines[:2], b'{"version": 5}\n', *lines[2:]], "line 3: neither a version nor an answer"),
    ],
)
def test_a_damaged_backup_is_refused(archive: Archive, change: Callable[[list[bytes]], list[bytes]], message: str) -> None:
    """Cut off, changed, or something else: BackupError with the line."""
    lines = list(to_lines(archive.everything()))
    with pytest.raises(BackupError, match=message):
        list(from_lines(change(lines)))


def test_a_backup_is_of_one_moment(archive: Archive, tmp_path: Path) -> None:
    """What is added while it is read is not in it, and need not wait for it."""
    held = archive.everything()
    assert next(held) == VERSION
    with closing(sqlite3.connect(tmp_path / "0.sqlite", timeout=1)) as database, database:
        database.execute("delete from reccom")
    assert len(list(held)) == 4 + len(LISTS)


def test_what_was_served_between_two_times(archive: Archive) -> None:
    """From the first to before the last, in microseconds; across days; with what finds an answer on the stream."""
    archive.add_answers("stable-1/1.tsv", [row(20, served_at=86_400_000_000 + 7, track="canary", user_id=8)], 200)
    first, last = datetime(1970, 1, 1, 0, 0, 0, 5), datetime(1970, 1, 2, 0, 0, 0, 7)  # noqa: DTZ001
    found = sorted(archive.served_between(first, last + timedelta(microseconds=1)))
    assert [each[0] for each in found] == [5, 8]
    assert found[0] == (5, 2, ROW.track, first, ROW.digest)
    assert found[1][2:4] == ("canary", last)
    assert [each[0] for each in archive.served_between(first, last)] == [5]
