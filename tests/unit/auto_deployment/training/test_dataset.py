from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auto_deployment.common.errors import RefusedError
from auto_deployment.ingestion.tables import RATING_HEADER, WATCH_HEADER, Tables
from tests.unit.auto_deployment.samples import read_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from auto_deployment.training.dataset import Dataset

TIME = "2024-01-01T00:00:00"
RATING, WATCHED = f"1,a+1999,4,{TIME}", f"1,a+1999,3,{TIME}"


def tables_of(folder: Path, ratings: Sequence[str] = (), watches: Sequence[str] = ()) -> Tables:
    """Tables with these rows."""
    tables = Tables(folder)
    tables.ratings.write_text("\n".join([RATING_HEADER, *ratings, ""]))
    rows = (f"{row},{row.rpartition(',')[2]}" for row in watches)
    tables.watches.write_text("\n".join([WATCH_HEADER, *rows, ""]))
    return tables


def dataset(folder: Path, ratings: Sequence[str] = (), watches: Sequence[str] = ()) -> Dataset:
    """The data set of tables with these rows."""
    return read_tables(tables_of(folder, ratings, watches))


def stars_of(data: Dataset) -> dict[tuple[int, str], float]:
    """The ratings by user and film."""
    rated = data.ratings
    return {
        (int(data.users[user]), data.films[film]): float(stars)
        for user, film, stars in zip(rated.user, rated.film, rated.stars, strict=True)
    }


def minutes_of(data: Dataset) -> dict[tuple[int, str], int]:
    """The minutes by user and film."""
    seen = data.watches
    return {
        (int(data.users[user]), data.films[film]): int(minutes)
        for user, film, minutes in zip(seen.user, seen.film, seen.minutes, strict=True)
    }


def test_the_tables_become_arrays(tmp_path: Path) -> None:
    """Users and films of both tables in order, ratings in the order of time, and how many rows there were."""
    data = dataset(
        tmp_path,
        [f"30,b+1999,4,{TIME}", "4,a+1999,2.5,2023-12-31T23:59:59"],
        [f"1999999,c+,7,{TIME}", f"4,b+1999,1,{TIME}"],
    )
    assert data.users.tolist() == [4, 30, 1_999_999]
    assert data.films == ("a+1999", "b+1999", "c+")
    assert stars_of(data) == {(4, "a+1999"): 2.5, (30, "b+1999"): 4.0}
    assert minutes_of(data) == {(4, "b+1999"): 1, (1_999_999, "c+"): 7}
    assert data.ratings.stars.tolist() == [2.5, 4.0]
    assert data.rows == {"ratings": 2, "watches": 2}
    assert data.look_alikes == ()


def test_arrays_have_the_types_that_are_reported(tmp_path: Path) -> None:
    """Also where a table holds a header alone."""
    for data in (dataset(tmp_path, [RATING], [WATCHED]), dataset(tmp_path, [RATING]), dataset(tmp_path)):
        rated, seen = data.ratings, data.watches
        arrays = (data.users, rated.user, rated.film, rated.stars, rated.time, seen.user, seen.film, seen.minutes)
        assert [str(array.dtype) for array in arrays] == ["int64", "int32", "int32", "float32", "int64", *["int32"] * 3]
    assert len(data.ratings) == len(data.users) == len(data.films) == 0


def test_the_latest_rating_of_a_pair_counts(tmp_path: Path) -> None:
    """By time, not by where the row stands; of equal times the later row."""
    rows = [
        "1,a+1999,5,2024-01-01T00:00:02",
        "1,a+1999,1,2024-01-01T00:00:01",
        "2,a+1999,1,2024-01-01T00:00:01",
        "2,a+1999,4,2024-01-01T00:00:01",
        "3,a+1999,2,2024-01-01T00:00:00.999",
        "3,a+1999,3,2024-01-01T00:00:00.998",
    ]
    assert stars_of(dataset(tmp_path, rows)) == {(1, "a+1999"): 5.0, (2, "a+1999"): 4.0, (3, "a+1999"): 2.0}


def test_of_many_equal_times_the_last_row_counts(tmp_path: Path) -> None:
    """Also where there are too many to be in order by luck."""
    rows = [f"{at % 7},a+1999,{1 + at % 5},2024-01-01T00:00:0{at % 3}" for at in range(1_050)]
    latest = {(at % 7, "a+1999"): float(1 + at % 5) for at in range(2, 1_050, 3)}
    assert stars_of(dataset(tmp_path, rows)) == latest


@pytest.mark.parametrize("decimals", ["", ".585", ".585123", ".585123456"])
def test_any_year_of_the_stream_is_read_with_any_decimals(tmp_path: Path, decimals: str) -> None:
    """Nanoseconds end in 2262: one line with 9 decimals must not turn a far year into a damaged row."""
    times = [f"2026-01-05T08:00:00{decimals}", f"2999-01-01T00:00:00{decimals}", "1001-01-01T00:00:00.000000001"]
    rated, seen = ([f"{user},a+1999,4,{time}" for user, time in enumerate(times)] for _ in range(2))
    data = dataset(tmp_path, rated, seen)
    assert data.users[data.ratings.user].tolist() == [2, 0, 1]
    assert data.watches.time[data.watches.user == 0].tolist() == data.ratings.time[data.ratings.user == 0].tolist()


def test_the_watches_of_a_pair_are_combined(tmp_path: Path) -> None:
    """Rows of several blocks give one row of minutes."""
    rows = [f"1,a+1999,3,{TIME}", f"2,a+1999,1,{TIME}", f"1,b+1999,1,{TIME}", f"1,a+1999,40,{TIME}"]
    assert minutes_of(dataset(tmp_path, watches=rows)) == {(1, "a+1999"): 43, (1, "b+1999"): 1, (2, "a+1999"): 1}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ({"gold+1999": 20, "goldx+1999": 1}, {"goldx+1999"}),
        ({"gold+1999": 20, "go7ld+1999": 1, "ggold+1999": 1}, {"go7ld+1999", "ggold+1999"}),
        ({"gold+1999": 40, "goldx+1999": 2}, {"goldx+1999"}),
        ({"gold+1999": 39, "goldx+1999": 2}, set()),
        ({"gold+1999": 19, "goldx+1999": 1}, set()),
        ({"gold+1999": 29_999, "goldx+1999": 3}, set()),
        ({"gold+1999": 30_000, "goldx+1999": 3}, {"goldx+1999"}),
        ({"gold+1999": 20, "go+ld+1999": 1, "gol-d+1999": 1, "gold+2019": 1}, set()),
        ({"goldx+1999": 20, "gold+1999": 1}, set()),
        ({"gold+1999": 20, "gox7ld+1999": 1}, set()),
        ({"gold+1999": 20, "gild+1999": 1}, set()),
        ({"connections+": 20, "conne1ctions+": 1}, {"conne1ctions+"}),
        ({"goldx+1999": 1}, set()),
        ({}, set()),
    ],
)
def test_only_what_damage_alone_explains_is_a_look_alike(tmp_path: Path, lines: dict[str, int], found: set[str]) -> None:
    """One letter or digit more than a film seen twenty times as often, or, with three lines, ten thousand times as often."""
    data = dataset(tmp_path, watches=[f"1,{film},{minutes},{TIME}" for film, minutes in lines.items()])
    assert set(data.look_alikes) == found


def test_look_alikes_are_left_out_of_everything(tmp_path: Path) -> None:
    """Their rows are no rows, who is known by them alone is not known, and they are told; minutes count as lines."""
    data = dataset(
        tmp_path,
        [f"1,gold+1999,4,{TIME}", f"2,goldx+1999,4,{TIME}", f"3,other+1999,2,{TIME}"],
        [f"1,gold+1999,19,{TIME}", f"4,goldy+1999,1,{TIME}", f"1,go2ld+1999,1,{TIME}"],
    )
    assert data.look_alikes == ("go2ld+1999", "goldx+1999", "goldy+1999")
    assert data.films == ("gold+1999", "other+1999")
    assert data.users.tolist() == [1, 3]
    assert stars_of(data) == {(1, "gold+1999"): 4.0, (3, "other+1999"): 2.0}
    assert minutes_of(data) == {(1, "gold+1999"): 19}
    assert data.rows == {"ratings": 3, "watches": 3}


def test_the_real_look_alikes_need_support(tmp_path: Path) -> None:
    """Without a film seen far more often nothing is left out, however alike."""
    data = dataset(tmp_path, [f"1,gold+1999,4,{TIME}", f"2,goldx+1999,4,{TIME}"])
    assert data.look_alikes == ()
    assert len(data.films) == 2


DAMAGED_ROWS = {
    "too many fields": f"{RATING},x",
    "a field more that is empty": f"{RATING},",
    "too few fields": "1,a+1999,4",
    "blank": "",
    "no user": f",a+1999,4,{TIME}",
    "a letter in the user": f"1a,a+1999,4,{TIME}",
    "a blank before the user": f" 1,a+1999,4,{TIME}",
    "a sign before the user": f"+1,a+1999,4,{TIME}",
    "a negative user": f"-1,a+1999,4,{TIME}",
    "a broken user": f"1.0,a+1999,4,{TIME}",
    "a user beyond any number": f"{'9' * 23},a+1999,4,{TIME}",
    "a user beyond 2^63": f"9999999999999999999,a+1999,4,{TIME}",
    "no film": f"1,,4,{TIME}",
    "a capital in the film": f"1,A+1999,4,{TIME}",
    "a film in quotes": f'1,"a+1999",4,{TIME}',
    "a film beyond ASCII": f"1,caf\u00e9+1999,4,{TIME}",
    "no rating": f"1,a+1999,,{TIME}",
    "a letter in the rating": f"1,a+1999,4x,{TIME}",
    "a power in the rating": f"1,a+1999,4e0,{TIME}",
    "a rating that is none": f"1,a+1999,nan,{TIME}",
    "an endless rating": f"1,a+1999,inf,{TIME}",
    "a rating below the scale": f"1,a+1999,0.5,{TIME}",
    "a rating above the scale": f"1,a+1999,6,{TIME}",
    "no time": "1,a+1999,4,",
    "another form of time": "1,a+1999,4,2024-01-01 00:00:00",
    "30 February": "1,a+1999,4,2024-02-30T00:00:00",
    "hour 25": "1,a+1999,4,2024-01-01T25:00:00",
    "NUL in the user": f"1\x002,a+1999,4,{TIME}",
    "NUL in the film": f"1,a+\x00b+1999,4,{TIME}",
    "NUL in the rating": f"1,a+1999,4\x00,{TIME}",
    "NUL in the time": f"1,a+1999,4,{TIME}\x00",
    "another line end": f"{RATING}\r",
    "two rows in one": f"{RATING}\r{RATING}",
}


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in DAMAGED_ROWS.items()])
def test_a_damaged_row_refuses_the_table(tmp_path: Path, row: str, before: int) -> None:
    """In the first row or half-way: nothing is read, and file and line are named."""
    tables = tables_of(tmp_path, [*[RATING] * before, row, RATING], [WATCHED])
    with pytest.raises(RefusedError) as raised:
        read_tables(tables)
    assert str(raised.value).startswith(f"{tables.ratings} line {before + 2}: ")
    assert "nothing was read" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "row",
    ["1,a+1999,0,2024-01-01T00:00:00", "1,a+1999,1.5,2024-01-01T00:00:00", "1,a+1999,1,2023-02-29T00:00:00", "1,a+1999,1"],
)
def test_a_damaged_row_of_watches_refuses_them(tmp_path: Path, row: str) -> None:
    """The table of watches is held to its shape like the other: whole minutes, one or more, at a time that was."""
    tables = tables_of(tmp_path, [RATING], [WATCHED, row])
    with pytest.raises(RefusedError) as raised:
        read_tables(tables)
    assert str(raised.value).startswith(f"{tables.watches} line 3: ")


def test_every_row_of_another_width_refuses_the_table(tmp_path: Path) -> None:
    """A table whose rows agree with each other and not with its header is not read either."""
    for rows in ([f"{RATING},x"] * 3, [f"{RATING},"] * 3, ["1,a+1999,4"] * 3):
        with pytest.raises(RefusedError, match="line 2: not a row of user_id,movie_id,rating,rated_at"):
            dataset(tmp_path, rows)


@pytest.mark.parametrize(
    ("end", "line"),
    [(f"1,a+1999,4,{TIME[:-3]}", 3), ("1,a+1999", 3), (f"{RATING}\n\n", 4), ("\x1a", 3), (f"{RATING}{RATING}", 3)],
)
def test_a_torn_end_refuses_the_table(tmp_path: Path, end: str, line: int) -> None:
    """A last line that a crash cut off, or one too many, is named by its number."""
    tables = tables_of(tmp_path, [RATING])
    with tables.ratings.open("a") as file:
        file.write(end)
    with pytest.raises(RefusedError, match=f"{tables.ratings} line {line}: not a row"):
        read_tables(tables)


def test_a_last_row_without_its_line_end_is_whole(tmp_path: Path) -> None:
    """Nothing of it is missing, so it is read."""
    tables = tables_of(tmp_path, [RATING])
    with tables.ratings.open("a") as file:
        file.write(f"2,a+1999,5,{TIME}")
    assert stars_of(read_tables(tables)) == {(1, "a+1999"): 4.0, (2, "a+1999"): 5.0}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "user_id,movie_id,rating",
        "movie_id,user_id,rating,rated_at",
        f"{RATING_HEADER},x",
        WATCH_HEADER,
        RATING,
        f"\ufeff{RATING_HEADER}",
    ],
)
def test_another_header_refuses_the_table(tmp_path: Path, header: str) -> None:
    """Missing, shorter, longer, in another order or of the other table: line 1 is named."""
    tables = tables_of(tmp_path)
    tables.ratings.write_text(f"{header}\n{RATING}\n")
    with pytest.raises(RefusedError, match=f"{tables.ratings} line 1: the header is not {RATING_HEADER}"):
        read_tables(tables)


def test_a_file_without_a_byte_is_no_table(tmp_path: Path) -> None:
    """An empty file is refused like a wrong header."""
    tables = tables_of(tmp_path)
    tables.ratings.write_bytes(b"")
    with pytest.raises(RefusedError, match=f"{tables.ratings} line 1: the header is not"):
        read_tables(tables)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """With what to do; a folder in its place is named too."""
    tables = tables_of(tmp_path)
    tables.ratings.unlink()
    with pytest.raises(RefusedError, match=f"{tables.ratings}: there is no such table: collect lines"):
        read_tables(tables)
    tables.ratings.mkdir()
    with pytest.raises(RefusedError, match=f"{tables.ratings}: Is a directory"):
        read_tables(tables)


def test_the_scale_decides_which_ratings_are_sound(tmp_path: Path) -> None:
    """The bounds themselves are in it."""
    tables = tables_of(tmp_path, [f"1,a+1999,10,{TIME}", f"2,a+1999,0.5,{TIME}"])
    assert len(read_tables(tables, (0.5, 10.0)).ratings) == 2
    with pytest.raises(RefusedError, match=r"line 2: rating 10\.0 is not between 0\.5 and 5"):
        read_tables(tables, (0.5, 5.0))
