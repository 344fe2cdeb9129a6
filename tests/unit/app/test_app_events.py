from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.events import (
    MAX_LINE,
    Event,
    NewAccount,
    Rating,
    Recommendation,
    Reject,
    Repaired,
    Rules,
    Watch,
    in_microseconds,
    is_film,
    parse,
    to_line,
    watches_of,
)

if TYPE_CHECKING:
    from pathlib import Path

TIME = "2023-10-25T07:20:57"
SERVER = "17645-team08.isri.cmu.edu:8082"
TIMEOUT = "java.util.concurrent.TimeoutException: Request timeout to 17645-team17.isri.cmu.edu/128.2.205.118:8082 after 800 ms"
RATE, WATCH = f"{TIME},123,GET /rate/some+film+1999=", f"{TIME},123,GET /data/m/some+film+1999/"
ASKED = f",514537,recommendation request {SERVER}, status "

SOUND = {
    "2023-10-25T07:20:57,135941,GET /data/m/interstellar+2014/134.mpg": Watch(TIME, 135941, "interstellar+2014", 134),
    "2023-09-28T20:20:23,303668,GET /rate/how+to+train+your+dragon+2+2014=4": Rating(
        "2023-09-28T20:20:23", 303668, "how+to+train+your+dragon+2+2014", 4.0
    ),
    "2024-10-14T15:22,70999,GET /rate/carcasses+2009=4": Rating("2024-10-14T15:22:00", 70999, "carcasses+2009", 4.0),
    "2024-10-14T15:22,70999,GET /data/m/centennial+1978/1215.mpg": Watch("2024-10-14T15:22:00", 70999, "centennial+1978", 1215),
    f"2022-03-04T20:22:00.415793{ASKED}200, result: fight+club+1999, penguins+of+madagascar+2014, 391 ms": Recommendation(
        "2022-03-04T20:22:00.415793", 514537, SERVER, 200, ("fight+club+1999", "penguins+of+madagascar+2014"), "", 391
    ),
    f"2022-03-04T20:22:00.415{ASKED}200, result: fight+club+1999,connections+, 391ms": Recommendation(
        "2022-03-04T20:22:00.415", 514537, SERVER, 200, ("fight+club+1999", "connections+"), "", 391
    ),
    f"2022-02-09T01:45:32.945123789{ASKED}0, result: {TIMEOUT}, 815 ms": Recommendation(
        "2022-02-09T01:45:32.945123789", 514537, SERVER, 0, (), TIMEOUT, 815
    ),
    f"2022-02-09T01:45{ASKED}500, result: one, two, 3 ms, 815 ms": Recommendation(
        "2022-02-09T01:45:00", 514537, SERVER, 500, (), "one, two, 3 ms", 815
    ),
    "2026-01-05T08:09:22,447528,GET /create_account": NewAccount("2026-01-05T08:09:22", 447528),
    "2026-01-05T08:09,0,GET /create_account": NewAccount("2026-01-05T08:09:00", 0),
}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize(("line", "event"), SOUND.items())
def test_a_sound_line_is_its_event(line: str, event: Event, end: str) -> None:
    """Every form of the stream is taken as it stands, whatever ends the line."""
    assert parse(line + end) == event


REQUESTS = ("GET /rate/some+film+1999=4", "GET /data/m/some+film+1999/7.mpg", "GET /create_account")


@pytest.mark.parametrize("decimals", ["", ".585", ".585123", ".585123456"])
def test_every_kind_of_line_may_have_decimals(decimals: str) -> None:
    """One clock writes all lines; many watches are read as one is."""
    time = TIME + decimals
    watch = f"{time},123,GET /data/m/some+film+1999/7.mpg"
    assert [parse(f"{time},123,{request}") for request in REQUESTS] == [
        Rating(time, 123, "some+film+1999", 4.0),
        Watch(time, 123, "some+film+1999", 7),
        NewAccount(time, 123),
    ]
    assert parse(f"{time}{ASKED}0, result: no, 1 ms") == Recommendation(time, 514537, SERVER, 0, (), "no", 1)
    assert watches_of([watch, watch]) == [(time, "123", "some+film+1999")] * 2


def test_times_with_decimals_have_one_order() -> None:
    """That of their microseconds, which training compares: further decimals, and zeros at the end, make no difference."""
    times = ["2026-01-05T08:00", "2026-01-05T08:00:00.000001", "2026-01-05T08:00:00.1", "2026-01-05T08:00:00.585"]
    assert sorted(times, key=in_microseconds) == times
    assert len({in_microseconds(f"2026-01-05T08:00:00.585{more}") for more in ("", "000", "000000", "000999")}) == 1


@pytest.mark.parametrize(
    "film",
    [
        "the+good_+the+bad+and+the+ugly+1966",
        "mr.++mrs.+smith+2005",
        "dr.+no+1962",
        "bat*21+1988",
        "connections+",
        "blacksmith+scene+1893",
        "_++++1954",
        "spider-man+2002",
        "2001+a+space+odyssey+1968",
    ],
)
def test_every_form_of_a_film_is_taken(film: str) -> None:
    """Signs, years back to 1893 and films without a year are no damage, in either kind of line."""
    assert is_film(film)
    assert parse(f"{TIME},7,GET /rate/{film}=5") == Rating(TIME, 7, film, 5.0)
    assert parse(f"{TIME},7,GET /data/m/{film}/0.mpg") == Watch(TIME, 7, film, 0)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            "2024-10-14T15 :42:39,172236,GET /rate/robots+2005=3",
            Rating("2024-10-14T15:42:39", 172236, "robots+2005", 3.0),
        ),
        (
            "2024-10-14T16G:55:12,484541,GET /rate/el+dorado+1988=4",
            Rating("2024-10-14T16:55:12", 484541, "el+dorado+1988", 4.0),
        ),
        (" 2024-10-14T16:55,1,GET /create_account", NewAccount("2024-10-14T16:55:00", 1)),
        ("2024-10-14TT16:55,1,GET /create_account", NewAccount("2024-10-14T16:55:00", 1)),
        (f"{TIME}q.123{ASKED}0, result: no, 1 ms", Recommendation(f"{TIME}.123", 514537, SERVER, 0, (), "no", 1)),
        (f"{RATE}4x", Rating(TIME, 123, "some+film+1999", 4.0)),
        (f"{RATE} 4", Rating(TIME, 123, "some+film+1999", 4.0)),
        (f"{RATE}4 ", Rating(TIME, 123, "some+film+1999", 4.0)),
        (f"{WATCH}1Z34.mpg", Watch(TIME, 123, "some+film+1999", 134)),
        (f"{WATCH}134.mmpg", Watch(TIME, 123, "some+film+1999", 134)),
        (f"{WATCH}134. mpg", Watch(TIME, 123, "some+film+1999", 134)),
    ],
)
def test_a_letter_or_blank_among_digits_is_repaired(line: str, event: Event, end: str) -> None:
    """In the time, the minute and the rating a letter or blank hides nothing: the event is taken, the original is kept."""
    assert parse(line + end) == Repaired(event, line)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        *((f"{TIME},{user},GET /rate/x+1999=4", "user") for user in ("38448G", "2494A20", "C289901", " 40754", "6 62024")),
        *((f"{TIME},{user},GET /data/m/some+film+1999/1.mpg", "user") for user in ("", "07", "-7", "7.0", "7 ", "+7", "1e3")),
        (f"{TIME},3166535,GET /rate/some+film+1999=4", "user_out_of_range"),
        *(
            (f"{TIME},123,GET /rate/{film}=4", "film")
            for film in (
                "riot+in+Ccell+block+11+1954",
                "titan ic+1997",
                "pulp+fiction+199w4",
                "pulp+fiction+19954",
                "u8SHqOxj49",
                "GnjPfPIVkAQpiok3JL1t",
                "testament+t1983",
                "the+lord+ofY+the+rings+the+return+of+the+king+2003",
                "connections+7",
                "some+film+1799",
                "some+film+2199",
                "caf\u00e9+1999",
                "a/b+1999",
                "a=b+1999",
                "",
            )
        ),
        *((f"{TIME},123,GET /data/m/{film}/93.mpg", "film") for film in ("a+man+Qfor+all+seasons+1966", "u8SHqOxj49", "")),
        (f"{TIME},123,GET /rate/=", "film_and_rating_missing"),
        ("2023-11-29T12:01:05,123456,GET /rate/some+film+1999=", "rating_missing"),
        *((f"{RATE}{stars}", "rating") for stars in ("4.5", "04", "4.", "-4", "4e0", "x", "6.125", "1e9")),
        *((f"{RATE}{stars}", "rating_above_scale") for stars in ("6", "10", "44", "5.5", "100")),
        (f"{RATE}0", "rating_below_scale"),
        *((f"{WATCH}{minute}", "minute") for minute in (".mpg", "134.mp3g", "13445.mpg", "134", "-1.mpg", "1.5.mpg")),
        *((f"{TIME},123,{request}", "request") for request in ("", "GET /raate/x+1999=4", "GET /create_account2", "POST /x")),
        *(
            (f"{TIME}.123,1,recommendation request {SERVER}, {rest}", "recommendation")
            for rest in (
                f"status 200, result: {TIMEOUT}, 391 ms",
                "status 200, result: , 391 ms",
                "status 200, result: fight+club+1999, ..., 391 ms",
                "status 200, result: fight+club+1999,  dr.+no+1962, 391 ms",
                "status 200, result: fight+club+1999 391 ms",
                "status 200, result: fight+club+1999",
                "status 2000, result: fight+club+1999, 391 ms",
                "status , result: fight+club+1999, 391 ms",
            )
        ),
        *(
            (f"{TIME}.{digits},123,{request}", "time")
            for digits in ("", "1", "12", "1234", "1234567", "12345678", "1234567890")
            for request in (*REQUESTS, f"{ASKED.split(',', 2)[2]}0, result: no, 1 ms")
        ),
        *((line, "fields_missing") for line in ("x", f"{TIME},123", "u8SHqOxj49", ",")),
        *((line, "empty") for line in ("", " ", "\t")),
    ],
)
def test_a_damaged_line_is_rejected_with_its_reason(line: str, reason: str, end: str) -> None:
    """What could have been another user, film or number is not taken; the line is kept as it came, and why."""
    assert parse(line + end) == Reject(reason, line)


@pytest.mark.parametrize(
    "line",
    [
        "2024-10-14T15  :42:39,123,GET /rate/some+film+1999=4",
        "2024-10-14aT15b:42:39,123,GET /rate/some+film+1999=4",
        "2024-10-14T15 :42:39,12x3,GET /rate/some+film+1999=4",
        "2024-10-14T15 :42:39,123,GET /rate/some+Film+1999=4",
        "2024-10-14T15 :42:39,123,GET /rate/some+film+1999=4x",
        "2024-10-14T15 :42:39,123,GET /rate/some+film+1999=6",
        "2024-10-14T15 :42:39,9999999,GET /rate/some+film+1999=4",
        "2024-02-30 T15:42:39,123,GET /rate/some+film+1999=4",
        f"{RATE}x4x",
        f"{WATCH}1 3 4.mpg",
        f"{TIME} .1234{ASKED}0, result: no, 1 ms",
    ],
)
def test_two_damages_are_never_repaired(line: str) -> None:
    """A repair takes out one character and leaves nothing wrong behind it."""
    assert isinstance(parse(line), Reject)


@pytest.mark.parametrize(
    "time", ["20234-10-25T07:20:57", "2023-101-25T07:20", "2023-10-25T07:20:577", "2023-10-25T07:201", "12023-10-25T07:20:57"]
)
def test_a_digit_too_many_in_the_time_is_never_guessed(time: str) -> None:
    """The inserted digit cannot be identified."""
    assert parse(f"{time},123,GET /rate/some+film+1999=4").__class__ is Reject


@pytest.mark.parametrize(
    ("day", "exists"),
    [
        ("2023-02-28", True),
        ("2023-02-29", False),
        ("2024-02-29", True),
        ("2024-02-30", False),
        ("2000-02-29", True),
        ("1900-02-29", False),
        ("2023-04-30", True),
        ("2023-04-31", False),
        ("2023-12-31", True),
        ("2023-13-01", False),
        ("2023-00-10", False),
        ("2023-01-00", False),
        ("2023-01-32", False),
        ("0023-01-01", False),
    ],
)
def test_a_day_has_to_stand_in_the_calendar(day: str, *, exists: bool) -> None:
    """Days and leap years are looked up, in every kind of line, also where a repair would be due."""
    lines = {
        f"{day}T10:00:00,1,GET /rate/a+1999=4": Rating,
        f"{day}T10:00:00,1,GET /data/m/a+1999/4.mpg": Watch,
        f"{day}T10:00:00,1,GET /create_account": NewAccount,
        f"{day}T10:00:00.123{ASKED}0, result: no, 1 ms": Recommendation,
        f"{day}T10:00 :00,1,GET /rate/a+1999=4": Repaired,
    }
    assert [type(parse(line)) for line in lines] == [kind if exists else Reject for kind in lines.values()]


@pytest.mark.parametrize("clock", ["24:00:00", "23:60:00", "23:00:60", "7:20:57", "07:20:5", "07", "07.20.57"])
def test_a_time_has_to_stand_on_the_clock(clock: str) -> None:
    """No hour 24, no minute or second 60, no other form."""
    assert parse(f"2023-10-25T{clock},1,GET /rate/a+1999=4") == Reject("time", f"2023-10-25T{clock},1,GET /rate/a+1999=4")


RATING_REASONS = {"rating", "rating_above_scale", "rating_below_scale"}


@pytest.mark.parametrize(
    ("rules", "taken", "refused"),
    [
        (Rules(1, 10), ["1", "9", "10"], ["0", "11", "4.5", "100"]),
        (Rules(0.5, 5), ["0.5", "1", "4.5", "5"], ["0", "5.5", "0.25", "4.7"]),
        (Rules(0, 1), ["0", "1"], ["2", "0.5"]),
    ],
)
def test_the_scale_is_a_setting(rules: Rules, taken: list[str], refused: list[str]) -> None:
    """Whole numbers between whole bounds, halves where a bound is a half, nothing outside."""
    assert [parse(RATE + stars, rules) for stars in taken] == [
        Rating(TIME, 123, "some+film+1999", float(stars)) for stars in taken
    ]
    assert {event.reason for stars in refused if isinstance(event := parse(RATE + stars, rules), Reject)} <= RATING_REASONS
    assert all(isinstance(parse(RATE + stars, rules), Reject) for stars in refused)


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME},\u0661\u0662,GET /rate/some+film+1999=4",
        f"{RATE}\u0664",
        f"{WATCH}\u0661.mpg",
        f"\u0662{TIME[1:]},123,GET /rate/some+film+1999=4",
        f"{TIME},123,GET /rate/some+film+199\u0669=4",
        f"{TIME}.12\u0663{ASKED}0, result: no, 1 ms",
        f"{TIME}{ASKED}0, result: no, \u0661 ms",
    ],
)
def test_digits_of_other_scripts_are_no_digits(line: str) -> None:
    """An Arabic-Indic digit is rejected in every field."""
    assert isinstance(parse(line), Reject)


def test_a_user_beyond_the_highest_is_out_of_range() -> None:
    """The bound itself is taken, one more is not, in every kind of line."""
    rules = Rules(user_max=500)
    failed = "recommendation request s, status 0, result: no, 1 ms"
    for request in ("GET /rate/a+1999=4", "GET /data/m/a+1999/1.mpg", "GET /create_account", failed):
        taken = parse(f"{TIME},500,{request}", rules)
        assert not isinstance(taken, Reject | Repaired)
        assert taken.user == 500
        assert parse(f"{TIME},501,{request}", rules) == Reject("user_out_of_range", f"{TIME},501,{request}")


def test_a_very_long_line_is_rejected_as_too_long() -> None:
    """Nobody waits for a megabyte without a sense, of whatever kind; the longest recommendation still is one."""
    start, end = f"{TIME}.123{ASKED}0, result: ", ", 815 ms"
    longest = start + "x" * (MAX_LINE - len(start) - len(end)) + end
    assert isinstance(parse(longest), Recommendation)
    many = [sign * 2**20 for sign in "x,=+"]
    film = f"{RATE}4".replace("some", "some" * 2**18)
    for line in (longest.replace("xx", "xxx", 1), *many, *(f"{TIME},1,GET /rate/{each}" for each in many), film):
        assert parse(line) == Reject("too_long", line)


def test_every_real_rating_line_is_accounted_for(real_ratings: Path) -> None:
    """10,614 of 10,619 real lines are ratings; the five others are the known ones, each with its reason."""
    parsed = [parse(line) for line in real_ratings.read_text().splitlines(keepends=True)]
    assert len(parsed) == 10_619
    assert sum(isinstance(event, Rating) for event in parsed) == 10_614
    assert [(event.reason, event.line.split("GET ")[1]) for event in parsed if isinstance(event, Reject)] == [
        ("film_and_rating_missing", "/rate/="),
        ("film", "/rate/testament+t1983=4"),
        ("user", "/rate/interstellar+2014=4"),
        ("film", "/rate/the+lord+ofY+the+rings+the+return+of+the+king+2003=5"),
        ("film_and_rating_missing", "/rate/="),
    ]


def test_every_real_watch_line_is_accounted_for(real_watches: Path) -> None:
    """4,366 of 4,367 real lines are watches; the other has the known damage."""
    parsed = [parse(line) for line in real_watches.read_text().splitlines(keepends=True)]
    assert len(parsed) == 4_367
    assert sum(isinstance(event, Watch) for event in parsed) == 4_366
    assert [event.reason for event in parsed if isinstance(event, Reject)] == ["film"]


pieces = st.sampled_from(
    [
        *(TIME, ",", "123", "GET /rate/", "a+1999", "=", "4", "GET /data/m/", "/", ".mpg", "GET /create_account"),
        *("recommendation request ", "status 200", "result: ", " ms", ".123"),
        *("\n", "\r", " ", "\x00", "\udc80", "\u0661", "2024-02-30T10:00:00"),
    ]
)
any_line = st.text() | st.text(st.characters(categories=["Cs", "Nd", "Zs", "Cc"])) | st.lists(pieces, max_size=14).map("".join)


@given(any_line)
def test_no_text_makes_it_raise(line: str) -> None:
    """Any text is an event, a repaired event or a reject; what is not an event is kept as it came, but for its line end."""
    parsed = parse(line)
    if isinstance(parsed, Repaired | Reject):
        assert parsed.line == line.rstrip("\r\n")


def _date(year: int, month: int, day: int) -> str:
    return f"{year:04}-{month:02}-{day:02}"


clock = st.builds("{:02}:{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
fractions = st.sampled_from(["", ".123", ".000001", ".123456789"])
days = st.builds(_date, st.integers(1000, 2999), st.integers(1, 12), st.integers(1, 28))
times = st.builds("{}T{}{}".format, days, clock, fractions)
users = st.integers(0, 1_999_999)
films = st.builds(
    "{}+{}".format, st.text("ab9._*+-", min_size=1, max_size=12), st.one_of(st.just(""), st.integers(1800, 2099).map(str))
)
servers = st.text(string.ascii_letters + string.digits + ".:-", min_size=1, max_size=20)
errors = st.text(st.characters(exclude_characters="\n"), max_size=40)
ratings = st.builds(Rating, times, users, films, st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]))
watches = st.builds(Watch, times, users, films, st.integers(0, 9999))
recommended = st.builds(
    lambda time, user, server, ids, ms: Recommendation(time, user, server, 200, tuple(ids), "", ms),
    times, users, servers, st.lists(films, min_size=1, max_size=20), st.integers(0, 99_999),
)  # fmt: skip
failed = st.builds(
    lambda time, user, server, status, error, ms: Recommendation(time, user, server, status, (), error, ms),
    times, users, servers, st.integers(0, 999).filter(lambda status: status != 200), errors, st.integers(0, 99_999),
)  # fmt: skip
events: st.SearchStrategy[Event] = st.one_of(ratings, watches, recommended, failed, st.builds(NewAccount, times, users))


@given(events, st.sampled_from(["", "\n", "\r\n"]))
def test_an_event_is_what_its_line_says(event: Event, end: str) -> None:
    """The line of an event, parsed, is the event again."""
    assert parse(to_line(event) + end) == event


@given(any_line)
def test_what_was_taken_has_a_line_of_its_own(line: str) -> None:
    """Whatever text was taken as an event: the event's own line gives it again."""
    parsed = parse(line)
    event = parsed.event if isinstance(parsed, Repaired) else parsed
    if not isinstance(event, Reject):
        assert parse(to_line(event)) == event


@settings(max_examples=500)
@given(
    event=events, stray=st.sampled_from(f"{string.ascii_letters}{string.digits} "), place=st.floats(0, 1), short=st.booleans()
)
def test_a_stray_character_never_makes_another_event(event: Event, stray: str, place: float, *, short: bool) -> None:
    """What the source does to a line is refused or undone, except where the line alone cannot tell.

    A title can gain a small letter or digit, a user a digit within the highest user, and what no table keeps (the minute, what
    a recommendation says) any character: never another time, rating or kind, and what is called repaired is the whole truth.
    """
    line = to_line(event)
    if short and line[16:20] == ":00,":
        line = line[:16] + line[19:]
    at = round(place * len(line))
    parsed = parse(line[:at] + stray + line[at:])
    if isinstance(parsed, Reject):
        return
    if isinstance(parsed, Repaired):
        assert parsed.event == event
        return
    assert type(parsed) is type(event)
    assert parsed.time == event.time
    assert parsed.user == event.user or _gained(str(event.user), str(parsed.user), string.digits)
    if isinstance(event, Rating) and isinstance(parsed, Rating):
        assert parsed.stars == event.stars
    if isinstance(event, Rating | Watch) and isinstance(parsed, Rating | Watch):
        assert parsed.film == event.film or _gained(event.film, parsed.film, string.ascii_lowercase + string.digits)


def _gained(old: str, new: str, of: str) -> bool:
    """Whether `new` is `old` with one character of `of` more."""
    return any(new[:at] + new[at + 1 :] == old and new[at] in of for at in range(len(new)))
