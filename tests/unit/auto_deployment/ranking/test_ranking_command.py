from __future__ import annotations

import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from auto_deployment.ranking import offline_evaluation
from auto_deployment.ranking.__main__ import _baseline, _write, main
from auto_deployment.ranking.metrics import interval
from auto_deployment.ranking.offline_evaluation import measure
from auto_deployment.ranking.ranker_factory import NAMES
from auto_deployment.ranking.rating_files import read_task
from auto_deployment.training.surprise_svd import SurpriseSVD
from tests.unit.auto_deployment.ranking.tastes import two_tastes

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "user_id,movie_id,rating,timestamp"


def write(path: Path, rows: list[str]) -> str:
    """A table."""
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return str(path)


def training_rows() -> list[str]:
    """Two tastes, as a table of names."""
    rated = two_tastes().ratings
    rows = zip(rated.user.tolist(), rated.film.tolist(), rated.stars.tolist(), strict=True)
    return [f"u{user:02},film+{film:02},{stars},{at}" for at, (user, film, stars) in enumerate(rows)]


def test_every_ranker_is_compared_with_the_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Users without training counted apart; the chosen lists in the dump, nothing of the training rows in them."""
    train = write(tmp_path / "train.csv", training_rows())
    test = write(
        tmp_path / "test.csv", ["u00,film+06,5,900", "u01,film+07,4.5,900", "stranger,film+06,5,900", "u02,unseen,5,9"]
    )
    dump = tmp_path / "dump.tsv"
    assert main([train, test, "--dump", str(dump)]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("3 users of TRAIN with a relevant test film; 1 users of TEST are not in TRAIN")
    assert output[1].startswith("chosen inside TRAIN: ")
    assert [line.split()[0] for line in output[2::2]] == [*NAMES, "ease-300"]
    lists = dict(line.split("\t") for line in dump.read_text().splitlines())
    assert len(lists) == 59
    taken = {tuple(row.split(",")[:2]) for row in training_rows()}
    for user, row in lists.items():
        films = row.split(",")
        assert 1 <= len(films) == len(set(films)) <= 20
        assert not {(user, film) for film in films} & taken
    assert set(lists["u00"].split(",")[:9]) == {f"film+{film:02}" for film in range(0, 20, 2)} - {"film+04"}


def test_a_training_on_latest_films_shows_nothing_of_the_whole_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other metrics than with all films; lists still leave out every film of TRAIN. A number of films is needed."""
    train = write(tmp_path / "train.csv", training_rows())
    test = write(tmp_path / "test.csv", ["u00,film+06,5,900", "u01,film+07,4.5,900"])
    dump = tmp_path / "dump.tsv"
    assert main([train, test]) == 0
    whole = capsys.readouterr().out
    assert main([train, test, "--latest", "4", "--dump", str(dump)]) == 0
    assert capsys.readouterr().out != whole
    taken = {tuple(row.split(",")[:2]) for row in training_rows()}
    lists = [line.split("\t") for line in dump.read_text().splitlines()]
    assert not {(user, film) for user, row in lists for film in row.split(",")} & taken
    with pytest.raises(SystemExit):
        main([train, test, "--latest", "0"])
    assert "'0' is not a number of films, 1 or more" in capsys.readouterr().err


def half_star_rows(pull: float, seed: int) -> list[str]:
    """150 users draw 8 to 24 of 90 films, some more popular; `pull` times as often those of their own of 3 tastes."""
    draw = np.random.default_rng(seed)
    shares, rows = 1 / np.arange(1, 91), []
    for user in range(150):
        own = np.arange(90) % 3 == user % 3
        weights = shares * np.where(own, pull, 1)
        for film in draw.choice(90, draw.integers(8, 25), replace=False, p=weights / weights.sum()).tolist():
            stars = np.clip(np.rint(2 * draw.normal(4 if own[film] and pull > 1 else 3.5, 1.2)) / 2, 0.5, 5)
            rows.append(f"user-{user},{film},{stars},{draw.integers(10**9)}")
    draw.shuffle(rows)
    return rows


@pytest.mark.parametrize(("pull", "personal"), [(8.0, True), (1.0, False)])
def test_on_half_stars_tastes_beat_popularity_and_no_taste_is_never_below_it(
    tmp_path: Path, pull: float, *, personal: bool
) -> None:
    """With tastes: clearly above popularity and not below plain EASE. Without: what is chosen is not below popularity."""
    rows = half_star_rows(pull, 1)
    cut = len(rows) * 4 // 5
    task = read_task(Path(write(tmp_path / "train.csv", rows[:cut])), Path(write(tmp_path / "test.csv", rows[cut:])))
    assert task.train.scale == (0.5, 5.0)
    found = measure(task.train, task.test, SurpriseSVD(), 0, lambda: None)
    chosen, popular = found.per_user[found.choice.ranker], found.per_user["popularity"]
    plain = _baseline(task, found)
    above, beside = interval(chosen.ndcg - popular.ndcg, 0), interval(chosen.ndcg - plain.ndcg, 0)
    assert above is not None
    assert beside is not None
    assert (found.choice.ranker != "popularity") is personal
    assert above.low > 0.05 if personal else above.high >= 0
    assert beside.high >= 0


@pytest.mark.parametrize("stamp", ["2026-01-05T08:00:00Z", "1767600000", "1767600000.5"])
def test_times_are_numbers_or_iso(tmp_path: Path, stamp: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same pair the latest rating counts."""
    train = write(tmp_path / "train.csv", [f"1,a,5,{stamp}", f"2,a,4,{stamp}", f"2,b,5,{stamp}"])
    assert main([train, write(tmp_path / "test.csv", [f"1,b,5,{stamp}"])]) == 0
    assert capsys.readouterr().out.startswith("1 users of TRAIN")


def test_a_dump_that_cannot_be_written_is_named_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is evaluated for it."""
    table = write(tmp_path / "train.csv", training_rows())
    for dump in (tmp_path / "none" / "dump.tsv", tmp_path):
        assert main([table, table, "--dump", str(dump)]) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith(f"evaluate: {dump}: no file can be written there")


LINES = ["u1\ta,b\n"] * 1000


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """As a full disk does; by default the signal would kill."""
    kept, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)


def test_a_dump_is_whole_or_what_was_there_before(tmp_path: Path) -> None:
    """Nothing is left of one that the disk did not hold."""
    dump = tmp_path / "dump.tsv"
    dump.write_text("before")
    with pytest.raises(OSError, match="File too large"), files_end_at(100):
        _write(dump, LINES)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("dump.tsv", "before")]
    _write(dump, LINES)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("dump.tsv", "".join(LINES))]


def test_a_dump_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """A kill before that leaves the old one."""
    dump, during = tmp_path / "dump.tsv", list[str]()
    dump.write_text("before")

    def lines() -> Iterator[str]:
        yield from LINES
        during.append(dump.read_text())

    _write(dump, lines())
    assert during == ["before"]


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_and_what_a_link_names_are_written_as_they_are(tmp_path: Path, name: str) -> None:
    """Such as /dev/stdout, a link: both stay what they are, and who reads the pipe gets the lines."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    _write(tmp_path / name, LINES)
    assert os.read(reader, 10_000).decode() == "".join(LINES)
    os.close(reader)
    assert (pipe.is_fifo(), link.is_symlink()) == (True, True)
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}


def test_no_user_with_a_relevant_film_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No figure, no warning; lists are dumped all the same."""
    train, dump = write(tmp_path / "train.csv", training_rows()), tmp_path / "dump.tsv"
    test = write(tmp_path / "test.csv", ["stranger,film+06,5,900"])
    assert main([train, test, "--cold", "--dump", str(dump)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("0 users of TRAIN")
    assert "nan" not in output
    assert "no user with a short history has a relevant test film" in output
    assert len(dump.read_text().splitlines()) == 59


def test_of_many_users_those_are_drawn_who_can_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of all, of whom few may be in the test; and how many there were is output."""
    monkeypatch.setattr(offline_evaluation, "MOST_USERS", 5)
    train = write(tmp_path / "train.csv", training_rows())
    rows = [f"u{user:02},film+{film:02},5,900" for user in range(20, 28) for film in (user % 2, user % 2 + 2)]
    assert main([train, write(tmp_path / "test.csv", rows)]) == 0
    assert capsys.readouterr().out.startswith("5 users of TRAIN with a relevant test film, evenly drawn of 8; 0 users of TEST")


@pytest.mark.parametrize("second", [1, 10**3, 10**6, 10**9])
def test_times_in_parts_of_a_second_keep_their_proportions(tmp_path: Path, second: int) -> None:
    """Milliseconds, microseconds and nanoseconds since 1970, too: what is popular now goes by them."""
    rows = [f"{user},a,4,{(1_767_600_000 + 86_400 * user) * second}" for user in range(3)]
    path = Path(write(tmp_path / "train.csv", rows))
    times = read_task(path, path).train.ratings.time
    assert times[0] > 0
    assert (times[1] - times[0]) / (times[2] - times[0]) == pytest.approx(0.5, abs=1e-6)


def test_a_comma_that_ends_every_row_is_no_column(tmp_path: Path) -> None:
    """As some tools write tables."""
    path = Path(write(tmp_path / "train.csv", ["1,a,4,3,", "2,b,5,4,"]))
    task = read_task(path, path)
    assert (task.users, task.films, task.train.ratings.stars.tolist()) == (["1", "2"], ["a", "b"], [4.0, 5.0])


def test_whole_numbers_with_decimals_are_the_ids_that_they_mean(tmp_path: Path) -> None:
    """As pandas writes a column of numbers that once had a hole; other names with dots stay."""
    train = Path(write(tmp_path / "train.csv", ["1,10,4,3", "2,v1.0,5,4"]))
    test = Path(write(tmp_path / "test.csv", ["1.0,10.00,4,5", "2.5,v1.0,5,6"]))
    task = read_task(train, test)
    assert (task.users, task.films) == (["1", "2"], ["10", "v1.0"])
    assert (task.test.user.tolist(), task.test.film.tolist()) == ([0, 2], [0, 1])


def test_tables_that_share_no_film_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their ids are written in two ways: figures without a film to find are no result."""
    train = write(tmp_path / "train.csv", ["1,a,4,3", "2,b,5,4"])
    assert main([train, write(tmp_path / "test.csv", ["1,A,4,5"])]) == 2
    assert "no movie_id is in TRAIN (TRAIN has 'a', TEST 'A')" in capsys.readouterr().err


def test_a_scale_that_ends_at_zero_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rating is a share of the highest one."""
    table = write(tmp_path / "train.csv", ["1,a,-1,1", "1,b,0,2"])
    assert main([table, table]) == 2
    assert "train.csv: its highest rating is 0: it must be above 0" in capsys.readouterr().err


def test_any_word_is_a_name(tmp_path: Path) -> None:
    """Also those that elsewhere stand for a hole."""
    names = ["NA", "null", "nan", "None", "#N/A", "-inf"]
    rows = [f"{name},{film},4,{at}" for at, (name, film) in enumerate(zip(names, names[::-1], strict=True))]
    path = Path(write(tmp_path / "train.csv", rows))
    task = read_task(path, path)
    assert task.users == task.films == sorted(names)


def test_a_table_of_our_own_is_read_as_it_stands(tmp_path: Path) -> None:
    """Its column of times is `rated_at`, in ISO 8601."""
    (tmp_path / "train.csv").write_text(
        "user_id,movie_id,rating,rated_at\n1,a,4,2026-01-05T08:00:00\n2,b,3,2026-01-05T08:00:01\n"
    )
    (tmp_path / "test.csv").write_text(f"{HEADER}\n1,b,5,1767600002\n")
    task = read_task(tmp_path / "train.csv", tmp_path / "test.csv")
    assert task.train.ratings.time.tolist() == [1767600000000000, 1767600001000000]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("user,film\n1,2\n", "not a table of user_id,movie_id,rating,timestamp"),
        ("user_id,movie_id,rating,time\n1,a,4,2\n", "column timestamp is missing; there are user_id, movie_id, rating, time"),
        (f"{HEADER}\n", "has no row"),
        *((f"{HEADER}\n1,a,4,2\n{row}\n", "a row with a hole") for row in (",a,4,3", "1,,4,3", "1,a,,3", "1,a,4,", "1,a,4")),
        ("user_id,movie_id,rating,rated_at\n1,a,4,2026-01-05T08:00:00\n2,a,4,\n", "a row with a hole"),
        (f"{HEADER}\n1,a,good,3\n", "not a table"),
        (f"{HEADER}\n1,a,3,soon\n", "not a table"),
        (f"{HEADER}\n1,2,3,4,5\n1,3,3,4,5\n", "rows have more fields than the header"),
        (f"{HEADER}\n1,a,inf,3\n", "must be finite"),
        (f"{HEADER}\n1,a,4,inf\n", "must be finite"),
        (f'{HEADER}\n"1,2",a,4,3\n', "a name with a comma"),
        (f'{HEADER}\n1,"a\nb",4,3\n', "a name with a comma"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use, the file and its fault in a line."""
    good, bad = write(tmp_path / "train.csv", training_rows()), tmp_path / "bad.csv"
    bad.write_text(content)
    assert main([good, str(bad)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"evaluate: {bad}: ")
    assert fault in error
    assert error.count("\n") == 1
    assert main([good, str(tmp_path / "none.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
