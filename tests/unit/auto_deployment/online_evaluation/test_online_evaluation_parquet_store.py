from __future__ import annotations

from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from app.events import DEFAULT_RULES, Recommendation
from app.routes import digest_of as digest_of_service
from auto_deployment.common.database import QUERY
from auto_deployment.common.settings import load_settings
from auto_deployment.ingestion.collector import Collector
from auto_deployment.ingestion.sources import FileSource
from auto_deployment.ingestion.tables import Tables
from auto_deployment.online_evaluation.parquet_store import SCRATCH, ParquetStore, answer_lines, digest_of
from auto_deployment.online_evaluation.retention import WHOLE, compact, drop_expired, expired_days, recover
from auto_deployment.online_evaluation.telemetry import Telemetry
from tests.unit.auto_deployment.online_evaluation.viewers import NOON, SOURCE, Scene, empty_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from auto_deployment.ingestion.rows import BlockRows

DAY = timedelta(days=1)
ANSWER = "2026-01-05T12:00:{:02}.123,{},recommendation request s:8082, status 200, result: a+1999, b+1999, 5 ms"
WATCH = "2026-01-0{}T12:01:{:02},{},GET /data/m/a+1999/{}.mpg"


class KilledError(BaseException):
    """As a kill: nothing catches it."""


def stream_file(folder: Path) -> Path:
    """Three days of a few users."""
    lines = [ANSWER.format(at, at) for at in range(20)]
    lines += [WATCH.format(day, at, at % 7, at) for day in (5, 6, 7) for at in range(20)]
    path = folder / "movie.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def files(folder: Path) -> dict[str, bytes]:
    """What is kept, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def collector(folder: Path, keeper: Telemetry) -> Collector:
    """As a new run makes it."""
    return Collector(Tables(folder / "data"), folder / "data" / "collected.json", DEFAULT_RULES, keeper)


def telemetry(folder: Path) -> Telemetry:
    """That of a data folder."""
    return Telemetry(load_settings(data_dir=folder / "data"))


def test_a_block_s_answers_and_watches_are_kept_by_day(tmp_path: Path) -> None:
    """All fields of the stream. The row of a film has its first minute."""
    scene = Scene(tmp_path)
    scene.answer(7, NOON, ["a+1999", "b+1999"])
    scene.fail(8, NOON + DAY)
    scene.begin(7, "a+1999", NOON + DAY, 12)
    scene.collect()
    assert scene.store.days() == ["2026-01-05", "2026-01-06"]
    digest = digest_of(["a+1999", "b+1999"])
    assert scene.all("answers") == [
        (NOON, 7, "s:8082", 200, 40, ["a+1999", "b+1999"], digest, None),
        (NOON + DAY, 8, "s:8082", 0, 800, None, None, "time-out"),
    ]
    assert scene.all("watches") == [(7, "a+1999", NOON + DAY, 12)]


def test_the_digest_is_that_of_provenance() -> None:
    """Or no answer would ever be found there."""
    films = ["the+good_+the+bad+1966", "bat*21+1988"]
    assert f"{digest_of(films):016x}" == digest_of_service(",".join(films))


def test_what_the_stream_says_cannot_end_a_field_or_a_line() -> None:
    """Tabs, line ends and unpaired halves of signs in an error are blanks; a long one is cut."""
    rows = empty_rows()
    rows.answers.append(Recommendation("2026-01-05T12:00:00.123456789", 7, "s:1", 0, (), "a\tb\rc\udc80" + 999 * "x", 1))
    (line,) = answer_lines(rows.answers)
    assert line.split("\t")[:2] == ["2026-01-05T12:00:00.123456", "7"]
    assert len(line.split("\t")) == 8
    assert line.split("\t")[-1].startswith("a b c xxx")
    assert len(line) < 300


def test_the_same_block_again_changes_nothing(tmp_path: Path) -> None:
    """Neither files nor bytes: a run that is repeated keeps each row once."""
    scene = Scene(tmp_path)
    for _ in range(2):
        scene.offset = 0
        scene.answer(7, NOON, ["a+1999"])
        scene.begin(7, "a+1999", NOON)
        scene.collect()
        first = files(tmp_path)
    assert files(tmp_path) == first
    assert (len(scene.all("answers")), len(scene.all("watches"))) == (1, 1)


@pytest.mark.parametrize("dies_at", range(1, 5))
def test_a_killed_collection_keeps_what_an_undisturbed_one_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Killed at any file that it writes, and gone on with: byte for byte."""
    path = stream_file(tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(collector(whole, telemetry(whole)).collect(FileSource([path], 20), lambda: True))
    kept = telemetry(broken)
    written = 0

    def dying(store: ParquetStore, source: str, mark: Mapping[str, Any], rows: BlockRows) -> None:
        nonlocal written
        undisturbed(store, source, mark, rows)
        written += 1
        if written == dies_at:
            raise KilledError

    undisturbed = ParquetStore.keep
    with monkeypatch.context() as patch:
        patch.setattr(ParquetStore, "keep", dying)
        with pytest.raises(KilledError):
            list(collector(broken, kept).collect(FileSource([path], 20), lambda: True))
    list(collector(broken, telemetry(broken)).collect(FileSource([path], 20), lambda: True))
    assert files(broken / "data") == files(whole / "data")


def test_what_lies_beyond_the_record_goes(tmp_path: Path) -> None:
    """It is read again, perhaps in other blocks; what the record has stays."""
    scene = Scene(tmp_path)
    for user in (1, 2, 3):
        scene.answer(user, NOON, ["a+1999"])
        scene.collect()
    assert scene.store.roll_back({SOURCE: {"offset": 2000}, "other/0": {"offset": 5}}) == 1
    assert [row[1] for row in scene.all("answers")] == [1, 2]
    assert scene.store.roll_back({"other/0": {"offset": 5}}) == 2


def test_where_there_is_no_record_nothing_is_left(tmp_path: Path) -> None:
    """All of the stream is read anew then, days that were packed included."""
    scene = packed_scene(tmp_path)
    scene.store.roll_back({})
    assert files(tmp_path) == {}


def packed_scene(folder: Path) -> Scene:
    """Two days in three blocks, of which the first day is packed."""
    scene = Scene(folder)
    for at in range(3):
        scene.answer(at, NOON, ["a+1999"])
        scene.begin(1, "a+1999", NOON + timedelta(minutes=10 * at), 10)
        scene.begin(1, "a+1999", NOON + DAY)
        scene.collect()
    assert compact(scene.store, "2026-01-06") == 2
    return scene


def test_a_day_that_is_over_becomes_one_file_with_the_same_in_it(tmp_path: Path) -> None:
    """Each answer once; of a film that a user watched one row, with its first minute and all of them; today stays as it is."""
    scene = packed_scene(tmp_path)
    assert [path.name for path in (tmp_path / "telemetry" / "answers" / "2026-01-05").iterdir()] == [WHOLE]
    assert len(list((tmp_path / "telemetry" / "watches" / "2026-01-06").iterdir())) == 3
    assert [row[1] for row in scene.all("answers")] == [0, 1, 2]
    assert scene.all("watches")[0] == (1, "a+1999", NOON, 30)
    assert compact(scene.store, "2026-01-06") == 0


def test_a_block_that_comes_later_joins_its_packed_day(tmp_path: Path) -> None:
    """A partition that lagged behind."""
    scene = packed_scene(tmp_path)
    scene.answer(9, NOON, ["a+1999"])
    scene.collect()
    assert compact(scene.store, "2026-01-06") == 1
    assert [row[1] for row in scene.all("answers")] == [0, 1, 2, 9]


@contextmanager
def killed_at_a_rename(monkeypatch: pytest.MonkeyPatch, dies: Callable[[Path], bool]) -> Iterator[None]:
    """Kill what runs here at the first rename to a target for which `dies` holds."""

    def dying(path: Path, target: Path) -> Path:
        if dies(target):
            raise KilledError
        return path.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", dying)
        with pytest.raises(KilledError):
            yield


def three_blocks(folder: Path) -> Scene:
    """An answer of the same day in each."""
    scene = Scene(folder)
    for user in (1, 2, 3):
        scene.answer(user, NOON, ["a+1999"])
        scene.collect()
    return scene


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_killed_compaction_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    """Killed before, between and after its renames: each row is there once."""
    scene, renames = three_blocks(tmp_path), count(1)
    with killed_at_a_rename(monkeypatch, lambda _: next(renames) == dies_at):
        compact(scene.store, "2026-01-06")
    recover(scene.store.folder)
    assert [row[1] for row in scene.all("answers")] == [1, 2, 3]
    assert [path.name for path in (tmp_path / "telemetry" / "answers").iterdir()] == ["2026-01-05"]


@pytest.mark.parametrize(
    ("keep", "most", "dropped"),
    [
        (30, 1e9, []),
        (3, 1e9, ["2026-01-01", "2026-01-02"]),
        (30, 25.0, ["2026-01-01", "2026-01-02", "2026-01-03"]),
        (30, 1.0, 4),
    ],
)
def test_days_go_by_age_and_by_size_the_oldest_first(keep: int, most: float, dropped: list[str] | int) -> None:
    """Age counts from the newest day, which stays whatever it takes."""
    days = [f"2026-01-0{day}" for day in range(1, 6)]
    expected = days[:dropped] if isinstance(dropped, int) else dropped
    assert expired_days(dict.fromkeys(days, 10), date(2026, 11, 23), keep, most) == expected


def test_a_day_that_is_yet_to_come_goes_and_makes_no_other_old() -> None:
    """Damage in a time; tomorrow may be today elsewhere."""
    sizes = dict.fromkeys(["2026-01-05", "2026-01-06", "2999-01-01"], 10)
    assert expired_days(sizes, date(2026, 1, 5), 3, 1e9) == ["2999-01-01"]
    assert expired_days({"2999-01-01": 1}, date(2026, 1, 5), 3, 1e9) == ["2999-01-01"]


def test_a_day_that_goes_takes_its_answers_and_watches_along(tmp_path: Path) -> None:
    """Both kinds, and nothing else."""
    scene = packed_scene(tmp_path)
    assert drop_expired(scene.store, date(2026, 1, 6), 1, 1e9) == ["2026-01-05"]
    assert (scene.store.days("answers"), scene.store.days("watches")) == ([], ["2026-01-06"])


def test_a_failure_of_telemetry_is_reported_and_fails_no_collection(tmp_path: Path) -> None:
    """A folder that cannot be written: tables and record are as without telemetry."""
    path, kept = stream_file(tmp_path), telemetry(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "telemetry").write_text("a file where a folder should be")
    running = collector(tmp_path, kept)
    list(running.collect(FileSource([path], 1000), lambda: True))
    assert running.state.counts.lines == 80
    assert kept.problems
    assert all(problem.startswith("telemetry: ") for problem in kept.problems)
    kept.compact()
    assert kept.metrics() is None


def test_a_kill_while_days_are_packed_costs_the_next_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two renames: the unfinished day is no day, is recovered first, and nothing is lost."""
    scene, kept = packing_scene(tmp_path), telemetry(tmp_path)
    with killed_at_a_rename(monkeypatch, lambda target: target.name == "2026-01-05"):
        compact(scene.store, "2026-01-06")
    assert "2026-01-05" not in scene.store.days()
    scratch = scene.store.folder / SCRATCH / f"{QUERY}999999999-x"
    scratch.mkdir()
    kept.recover()
    kept.compact()
    kept.drop_expired()
    assert [row[1] for row in scene.all("answers")] == [1, 2, 3, 4]
    assert (kept.problems, scratch.exists()) == ([], False)


def packing_scene(folder: Path) -> Scene:
    """Three blocks of a day and one of the next, in the data folder of a pipeline."""
    scene = three_blocks(folder / "data")
    scene.answer(4, NOON + DAY, ["a+1999"])
    scene.collect()
    return scene


def test_a_repeated_failure_is_reported_once(tmp_path: Path) -> None:
    """With how often: a mail is no log."""
    kept = telemetry(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "telemetry").write_text("a file where a folder should be")
    rows = empty_rows()
    rows.answers.append(Recommendation("2026-01-05T12:00:00", 7, "s:1", 200, ("a+1999",), "", 1))
    for stop in range(3):
        kept.keep("movielog4/0", {"offset": stop}, rows)
    (problem,) = kept.problems
    assert problem.endswith("3 times")


def test_an_unexpected_error_fails_no_run_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has it with its traceback, and the report names it."""
    monkeypatch.setattr("auto_deployment.online_evaluation.telemetry.compute_metrics", lambda *_: 1 // 0)
    kept = telemetry(tmp_path)
    assert kept.metrics() is None
    assert "ZeroDivisionError" in kept.problems[0]
